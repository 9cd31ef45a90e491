"""Pieces of torrents against what lies on disk: v1, padded, v2 and hybrid ones."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import libtorrent
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.torrents import PIECE_SIZE, make_torrent, write_files

from hashall.metainfo import BLOCK, BadTorrentFile, MetaFile, Metainfo, read_metainfo
from hashall.pieces import PieceReport, check_pieces, pieces_of

SIZES = {"a.mkv": 3 * PIECE_SIZE + 17, "b/c.srt": 5, "b/d.nfo": 0, "e.bin": PIECE_SIZE}
V1, V2, HYBRID = libtorrent.create_torrent.v1_only, libtorrent.create_torrent.v2_only, 0


def by_libtorrent(folder: Path, sizes: dict[str, int], kind: int) -> Metainfo:
    """A torrent as libtorrent makes it; a hybrid has padding files."""
    write_files(folder / "Film", dict(sizes))
    listed = libtorrent.list_files(str(folder / "Film"))
    made = libtorrent.create_torrent(listed, PIECE_SIZE, kind)
    libtorrent.set_piece_hashes(made, str(folder))
    return read_metainfo(libtorrent.bencode(made.generate()))


def paths(metainfo: Metainfo, folder: Path) -> list[Path | None]:
    return [folder / metainfo.name / file.path for file in metainfo.content]


def check(metainfo: Metainfo, folder: Path, **options: float) -> PieceReport:
    return check_pieces(metainfo, paths(metainfo, folder), **options)  # type: ignore[arg-type]


@pytest.fixture(params=[V1, V2, HYBRID], ids=["v1", "v2", "hybrid"])
def torrent(request: pytest.FixtureRequest, tmp_path: Path) -> Metainfo:
    return by_libtorrent(tmp_path, SIZES, request.param)


def test_whole_content_is_proved(torrent: Metainfo, tmp_path: Path) -> None:
    report = check(torrent, tmp_path)

    assert report.is_proved
    assert (report.bad, report.unchecked, report.missing) == ((), (), ())
    assert report.checked == report.pieces
    assert report.bytes_read == sum(SIZES.values())
    assert report.files == 3  # an empty one has no piece


def test_the_hashes_are_libtorrents(torrent: Metainfo) -> None:
    assert bool(torrent.infohash_v1) == bool(torrent.pieces)
    assert torrent.pieces or torrent.layers


@pytest.mark.parametrize("name", ["a.mkv", "b/c.srt", "e.bin"])
def test_one_wrong_byte_is_found_with_its_file(
    torrent: Metainfo, tmp_path: Path, name: str
) -> None:
    path = tmp_path / "Film" / name
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)

    report = check(torrent, tmp_path)

    assert not report.is_proved
    assert len(report.bad) == 1
    assert str(path) in report.files_in_bad


@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.write_bytes(b"short")])
def test_a_file_that_is_missing_or_of_another_size_is_named(
    torrent: Metainfo, tmp_path: Path, spoil: Callable[[Path], object]
) -> None:
    path = tmp_path / "Film" / "a.mkv"
    spoil(path)

    report = check(torrent, tmp_path)

    assert not report.is_proved
    assert report.missing == (str(path),)
    assert report.unchecked


@pytest.mark.parametrize("how", ["open", "read", "short"])
def test_a_file_that_the_disk_does_not_give_proves_nothing(
    torrent: Metainfo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    usual = Path.open
    bad = tmp_path / "Film" / "e.bin"

    def opened(path: Path, mode: str = "r") -> IO[Any]:
        if path != bad:
            return usual(path, mode)
        if how == "open":
            raise PermissionError(errno.EACCES, "Permission denied")
        return _Failing(path, short=how == "short")

    monkeypatch.setattr(Path, "open", opened)
    report = check(torrent, tmp_path)

    assert report.checked
    assert not report.bad
    assert report.missing == (str(bad),)
    assert not report.is_proved


class _Failing(io.FileIO):
    """A file on a disk with a bad sector, or one that is cut off while it is read."""

    def __init__(self, path: Path, *, short: bool) -> None:
        super().__init__(path)
        self._short = short

    def read(self, size: int | None = -1) -> bytes:
        if not self._short:
            raise OSError(errno.EIO, "Input/output error")
        return (super().read(-1 if size is None else size) or b"")[:-1]


def test_what_memory_holds_of_a_file_is_no_proof(
    torrent: Metainfo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forgotten: set[str] = set()

    def advise(fd: int, *advice: int) -> None:
        if advice == (0, 0, os.POSIX_FADV_DONTNEED) and os.lseek(fd, 0, os.SEEK_CUR) == 0:
            forgotten.add(os.readlink(f"/proc/self/fd/{fd}"))

    monkeypatch.setattr(os, "posix_fadvise", advise)
    assert check(torrent, tmp_path).is_proved

    assert forgotten == {str(tmp_path / "Film" / name) for name, size in SIZES.items() if size}


def test_pieces_of_an_unwanted_file_are_left_unchecked(torrent: Metainfo, tmp_path: Path) -> None:
    (tmp_path / "Film/a.mkv").unlink()
    wanted = [None if path and path.name == "a.mkv" else path for path in paths(torrent, tmp_path)]

    report = check_pieces(torrent, wanted)

    assert report.is_proved
    assert len(report.unchecked) in (3, 4)  # in v1 the last one reaches into the next file
    assert report.missing == ()


def test_a_sample_has_a_piece_of_each_file_and_can_be_repeated(
    torrent: Metainfo, tmp_path: Path
) -> None:
    report = check(torrent, tmp_path, share=0.01, seed=1)

    assert report == check(torrent, tmp_path, share=0.01, seed=1)
    assert report.is_proved
    assert report.files == 3
    assert report.checked < report.pieces


def test_nothing_read_is_nothing_proved(tmp_path: Path) -> None:
    torrent = by_libtorrent(tmp_path, {"a": 100}, V1)

    assert not check_pieces(torrent, [None]).is_proved
    with pytest.raises(ValueError, match="0 paths, 1 files"):
        check_pieces(torrent, [])


@given(
    sizes=st.lists(st.integers(0, 3 * PIECE_SIZE), min_size=1, max_size=4).filter(any),
    kind=st.sampled_from([V1, V2, HYBRID]),
    chance=st.randoms(use_true_random=False),
)
def test_any_flipped_byte_of_any_torrent_is_found(
    tmp_path_factory: pytest.TempPathFactory,
    sizes: list[int],
    kind: int,
    chance: random.Random,
) -> None:
    folder = tmp_path_factory.mktemp("any")
    torrent = by_libtorrent(folder, {str(n): size for n, size in enumerate(sizes)}, kind)
    assert check(torrent, folder).is_proved

    name = chance.choice([n for n, size in enumerate(sizes) if size])
    path = folder / "Film" / str(name)
    content = bytearray(path.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)

    report = check(torrent, folder)
    assert len(report.bad) == 1
    assert str(path) in report.files_in_bad


def test_many_files_do_not_stay_open(tmp_path: Path) -> None:
    sizes = {f"{number:03}": 100 for number in range(200)}
    torrent = by_libtorrent(tmp_path, sizes, V2)
    assert len(list(pieces_of(torrent))) == 200

    assert check(torrent, tmp_path).is_proved


def test_what_is_not_wanted_of_a_torrent_with_many_files_costs_next_to_nothing(
    tmp_path: Path,
) -> None:
    count = 20_000
    (tmp_path / "wanted").write_bytes(bytes(BLOCK))
    files = tuple(MetaFile(number, str(number), BLOCK) for number in range(count))
    piece = hashlib.sha1(bytes(BLOCK), usedforsecurity=False).digest()
    torrent = Metainfo("many", BLOCK, files, (piece,) * count, {}, "a" * 40, "")
    begun = time.process_time()

    report = check_pieces(torrent, [None] * (count - 1) + [tmp_path / "wanted"])

    assert time.process_time() - begun < 3
    assert report.is_proved
    assert (report.checked, len(report.unchecked)) == (1, count - 1)


# -- torrent files that strangers made


def test_what_torf_makes_has_the_same_infohash(tmp_path: Path) -> None:
    made = make_torrent(tmp_path, "Film", dict(SIZES))
    assert read_metainfo(made.data).infohash_v1 == made.infohash


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"d",
        b"de",
        b"i1e",
        b"d4:infoi1ee",
        b"d4:infod4:name1:x12:piece lengthi0eee",
        b"d4:infod4:name1:x12:piece lengthi16384e6:lengthi1e6:pieces0:ee",  # a hash is missing
        b"d4:infod4:name1:x12:piece lengthi16384e6:lengthi-1e6:pieces0:ee",
        b"d4:infod4:name1:x12:piece lengthi16384e12:meta versioni3eee",
        b"l" * 5000,
        b"99999999999999999999:x",
        b"d4:info5:abc",
        b"d4:infod9:file treed1:ad0:d6:lengthi5eeee12:meta versioni2e4:name1:x"
        b"12:piece lengthi16384eee",  # a file without a root
    ],
)
def test_a_damaged_torrent_file_is_an_error_and_no_guess(data: bytes) -> None:
    with pytest.raises(BadTorrentFile, match="cannot be read"):
        read_metainfo(data)


def test_piece_layers_that_do_not_lead_to_the_root_are_refused(tmp_path: Path) -> None:
    write_files(tmp_path / "Film", {"a": 3 * PIECE_SIZE})
    listed = libtorrent.list_files(str(tmp_path / "Film"))
    made = libtorrent.create_torrent(listed, PIECE_SIZE, V2)
    libtorrent.set_piece_hashes(made, str(tmp_path))
    entry = made.generate()
    (layer,) = entry[b"piece layers"].values()
    data = libtorrent.bencode(entry)

    with pytest.raises(BadTorrentFile) as refused:
        read_metainfo(data.replace(layer[:32], bytes(32)))
    assert "do not lead to its root" in refused.value.detail
