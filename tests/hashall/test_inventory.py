"""Which files on disk are a torrent's: from its own list, through the path map, by lstat."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from tests.support.filesystems import as_nobody, lab_folder
from tests.support.listed_client import a_file, a_torrent

from hashall.payload import UnsafeName
from hashall.qbittorrent import Mapped, PathMap, map_torrent, stamp_at
from seedkeep.torrent_client import TorrentFile, TorrentState

NO_MAP = PathMap()
CONTAINER = PathMap(
    (
        ("/downloads", "/stash/torrents"),
        ("/downloads/pool", "/pool/torrents"),
        ("/media/", "/stash/media/"),
    )
)

# -- paths of the client and ours


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("/downloads", "/stash/torrents"),
        ("/downloads/", "/stash/torrents"),
        ("/downloads/a b/c", "/stash/torrents/a b/c"),
        ("/downloads/pool/x", "/pool/torrents/x"),  # the longest prefix
        ("/downloads/pool", "/pool/torrents"),
        ("/downloads/pool2/x", "/stash/torrents/pool2/x"),  # whole parts
        ("/downloads2/x", "/downloads2/x"),
        ("/media/x", "/stash/media/x"),
        ("//downloads//x/./y/../z", "/stash/torrents/x/z"),
        ("/elsewhere", "/elsewhere"),
    ],
)
def test_the_longest_prefix_of_whole_parts_is_exchanged(theirs: str, ours: str) -> None:
    """R-STO-3"""
    assert str(CONTAINER.to_ours(theirs)) == ours


@pytest.mark.parametrize(
    "path", ["/downloads", "/downloads/a", "/downloads/pool/x", "/media/x", "/elsewhere"]
)
def test_the_way_back_leads_to_the_same_path(path: str) -> None:
    assert CONTAINER.to_client(CONTAINER.to_ours(path)) == path


@pytest.mark.parametrize(
    ("pair", "theirs", "ours"),
    [
        (("/downloads", "/"), "/downloads/x", "/x"),
        (("/downloads", "/"), "/downloads", "/"),
        (("/", "/host"), "/x/y", "/host/x/y"),
        (("/", "/host"), "/", "/host"),
    ],
)
def test_a_root_directory_may_stand_on_either_side(
    pair: tuple[str, str], theirs: str, ours: str
) -> None:
    assert str(PathMap([pair]).to_ours(theirs)) == ours


def test_without_a_map_the_paths_are_the_same() -> None:
    assert NO_MAP.to_ours("/seeds/x") == Path("/seeds/x")
    assert NO_MAP.to_client(Path("/seeds/x")) == "/seeds/x"


# -- what is on disk


def test_a_regular_file_is_seen_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9")
    path.write_bytes(b"film")
    stamp = stamp_at(path)
    assert stamp is not None
    assert (stamp.inode, stamp.size) == (path.stat().st_ino, 4)


@pytest.mark.parametrize("name", ["missing", "folder", "link", "n" * 300, "nul\0", "file/x"])
def test_everything_else_is_no_content(tmp_path: Path, name: str) -> None:
    """R-CAT-5"""
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "file")

    assert stamp_at(tmp_path / name) is None


def mapped(
    folder: Path, files: dict[str, bytes], listed: list[TorrentFile] | None = None, **changes: Any
) -> Mapped:
    """A torrent whose `files` were written below `folder`."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    rows = listed or [a_file(name, len(content)) for name, content in files.items()]
    return map_torrent(a_torrent(**{"save_path": folder, **changes}), rows, NO_MAP)


def test_files_are_found_below_the_save_path_by_the_torrents_own_list(tmp_path: Path) -> None:
    """R-PAY-10"""
    (tmp_path / "neighbour.mkv").write_bytes(b"not ours")
    found = mapped(tmp_path, {"Film/a.mkv": b"a", "Film/Subs/b.srt": b"bb"})

    assert found.root_name == "Film"
    assert [(f.name, f.relpath, f.size) for f in found.files] == [
        ("Film/a.mkv", "a.mkv", 1),
        ("Film/Subs/b.srt", "Subs/b.srt", 2),
    ]
    assert all(file.stamp is not None for file in found.files)
    assert found.problem is None


def test_unwanted_files_are_no_members_but_shape_the_root(tmp_path: Path) -> None:
    found = mapped(
        tmp_path,
        {"Film/a.mkv": b"a"},
        [a_file("Film/a.mkv", 1), a_file("Film/b.mkv", 9, wanted=False)],
    )
    assert [file.name for file in found.files] == ["Film/a.mkv"]
    assert found.problem is None

    flat = mapped(
        tmp_path, {"Film/a.mkv": b"a"}, [a_file("Film/a.mkv", 1), a_file("b", 9, wanted=False)]
    )
    assert (flat.root_name, flat.files[0].relpath) == ("", "Film/a.mkv")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"state": TorrentState.MOVING}, "busy: moving"),
        ({"state": TorrentState.CHECKING_UP}, "busy: checkingUP"),
        ({"progress": 0.5}, "incomplete: 50.0% in the client"),
        ({"progress": 1.0, "amount_left": 3}, "incomplete: 100.0% in the client"),
        ({"state": TorrentState.MISSING_FILES, "progress": 0.0}, "incomplete: 0.0% in the client"),
        ({"save_path": ""}, "its save path is no absolute path: '.'"),
        ({"save_path": "seeds"}, "its save path is no absolute path: 'seeds'"),
    ],
)
def test_a_torrent_that_is_not_whole_and_at_rest_has_a_problem(
    tmp_path: Path, changes: dict[str, Any], problem: str
) -> None:
    assert mapped(tmp_path, {"a": b"a"}, **changes).problem == problem


def test_a_torrent_that_wants_nothing_has_a_problem(tmp_path: Path) -> None:
    unwanted = mapped(tmp_path, {"a": b"a"}, [a_file("a", 1, wanted=False)])
    without_metadata = map_torrent(a_torrent(save_path=tmp_path), [], NO_MAP)

    assert unwanted.problem == "empty: the torrent wants no file"
    assert without_metadata.problem == "empty: the torrent wants no file"


def test_missing_files_are_named_the_first_three_of_them(tmp_path: Path) -> None:
    found = mapped(tmp_path, {}, [a_file(name) for name in ("a", "b\n", "c", "d", "e")])

    assert found.problem == r"missing on disk: 'a', 'b\n', 'c' and 2 more"


def test_a_symlinked_file_is_missing(tmp_path: Path) -> None:
    """R-CAT-5"""
    (tmp_path / "real").write_bytes(b"bytes")
    (tmp_path / "film.mkv").symlink_to("real")

    found = mapped(tmp_path, {}, [a_file("film.mkv")])

    assert found.problem == "missing on disk: 'film.mkv'"


def test_a_file_of_another_size_is_named(tmp_path: Path) -> None:
    found = mapped(tmp_path, {"a": b"abc", "b": b"b"}, [a_file("a", 4), a_file("b", 1)])

    assert found.problem == "wrong size on disk: 'a'"


def test_the_map_leads_to_the_files_on_our_side(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a")
    torrent = a_torrent(save_path="/downloads")

    found = map_torrent(torrent, [a_file("a", 1)], PathMap([("/downloads", str(tmp_path))]))

    assert (found.save_path, found.problem) == (tmp_path, None)


@pytest.mark.parametrize("wanted", [True, False])
def test_an_unsafe_name_is_refused_even_where_the_file_is_unwanted(
    tmp_path: Path, wanted: bool
) -> None:
    with pytest.raises(UnsafeName):
        mapped(tmp_path, {"a": b"a"}, [a_file("a", 1), a_file("../x", wanted=wanted)])


# -- a disk that fails


def failing(monkeypatch: pytest.MonkeyPatch, name: str, code: int = errno.EIO) -> None:
    """Whoever looks at a file of this name is told that the disk failed."""
    real = os.lstat

    def lstat(path: Any, **rest: Any) -> os.stat_result:
        if os.fspath(path).endswith(name):
            raise OSError(code, os.strerror(code), os.fspath(path))
        return real(path, **rest)

    monkeypatch.setattr(os, "lstat", lstat)


@pytest.mark.parametrize("code", [errno.EIO, errno.EACCES, errno.ESTALE])
def test_a_file_that_the_disk_does_not_show_is_not_called_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    failing(monkeypatch, "b.srt", code)
    found = mapped(tmp_path, {"Film/a.mkv": b"a", "Film/b.srt": b"b"})

    assert found.problem == f"unreadable on disk: 'Film/b.srt': {os.strerror(code)}"
    assert not found.unmapped


@pytest.mark.parametrize("code", [errno.EIO, errno.EACCES, errno.ESTALE])
def test_an_unwanted_file_that_the_disk_does_not_show_counts_as_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """The client would move it along, or remove it, where it is."""
    failing(monkeypatch, "b.mkv.!qB", code)
    listed = [a_file("Film/a.mkv", 1), a_file("Film/b.mkv", 9, wanted=False)]
    found = mapped(tmp_path, {"Film/a.mkv": b"a"}, listed)

    assert found.unwanted == ("Film/b.mkv.!qB", "Film/.unwanted/b.mkv.!qB")


def test_an_unwanted_file_whose_unfinished_name_is_too_long_for_a_disk_is_not_there(
    tmp_path: Path,
) -> None:
    listed = [a_file("Film/a.mkv", 1), a_file(f"Film/{'n' * 253}", 9, wanted=False)]
    assert mapped(tmp_path, {"Film/a.mkv": b"a"}, listed).unwanted == ()


@pytest.mark.root
def test_a_save_path_that_this_user_may_not_enter_is_a_problem_of_its_torrent() -> None:
    with lab_folder() as folder:
        folder.chmod(0o755)
        closed = folder / "closed"
        (closed / "seeds").mkdir(parents=True)
        (closed / "seeds/film.mkv").write_bytes(b"f")
        closed.chmod(0o700)
        with as_nobody():
            found = map_torrent(
                a_torrent(save_path=closed / "seeds"), [a_file("film.mkv", 1)], NO_MAP
            )
            nothing_wanted = map_torrent(
                a_torrent(save_path=closed / "seeds"), [a_file("x", 1, wanted=False)], NO_MAP
            )
    assert found.problem == "unreadable on disk: 'film.mkv': Permission denied"
    assert nothing_wanted.problem == "empty: the torrent wants no file"
