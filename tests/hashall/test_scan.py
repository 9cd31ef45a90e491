from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest
from tests.support.catalog_lab import CatalogLab, counted_reads, on_disk, settle, watched_writes

from hashall import scan as scanning
from hashall import scan_read
from hashall.scan import DriftPolicy, ScannedRoot
from seedkeep.errors import Misused

BIG = bytes(200_000)  # more than the samples read

# -- a first scan


def test_a_first_scan_knows_every_name_and_hash(lab: CatalogLab) -> None:
    """R-CAT-3"""
    lab.write("Film/film.mkv", b"film")
    lab.write("Film/Subs/de.srt", b"")

    summary = lab.scan()

    assert lab.known() == on_disk(lab.root)
    assert (summary.added, summary.changed, summary.unchanged, summary.deleted) == (2, 0, 0, 0)
    assert (summary.hashes.files, summary.hashes.bytes) == (2, 4)
    assert summary.roots == [ScannedRoot(str(lab.root), lab.spot().device.device_id)]


def test_an_inode_is_read_once_however_many_names_it_has(lab: CatalogLab) -> None:
    film = lab.write("a/film.mkv", b"film")
    for name in ("b.mkv", "c.mkv"):
        os.link(film, lab.root / name)

    with counted_reads() as reads:
        summary = lab.scan()

    assert len(reads.whole) == 1
    assert summary.hashes.files == 1
    assert summary.added == 3
    assert {file.sha256 for file in lab.known().values()} == {lab.known()["b.mkv"].sha256}
    assert lab.known() == on_disk(lab.root)


def test_names_that_only_linux_allows_are_catalogued(lab: CatalogLab) -> None:
    names = [b"caf\xe9", b"new\nline", b"n" * 255, b"-rf", b"\xff\xfe/\x80", b" ", b"a\\b"]
    for name in names:
        lab.write(os.fsdecode(name), name)

    lab.scan()

    assert lab.known() == on_disk(lab.root)
    assert len(lab.known()) == len(names)


NUMBERS = ("1", "007", "1e3", "0x10", "-0", "+5", "1.0", "1.", ".5", " 1", "1_000", "9" * 30)
NUMBERS_IN_WORDS = ("inf", "nan", "NULL", "true")


@pytest.mark.parametrize("known_before", [False, True])
def test_names_that_look_like_numbers_stay_the_text_they_are(
    lab: CatalogLab, known_before: bool
) -> None:
    """SQLite would make 7 of 007, and 1000.0 of 1e3, wherever it is let."""
    if known_before:
        lab.write("12/film.mkv", b"film")
        lab.scan()
    for name in (*NUMBERS, *NUMBERS_IN_WORDS):
        lab.write(name, f"file {name}".encode())
        lab.write(f"12/{name}", f"file {name} in a folder".encode())
        lab.write(f"in {name}/{name}", b"")

    lab.scan()

    assert lab.known() == on_disk(lab.root)
    assert all(file.sha256 for file in lab.known().values())
    assert {"007", "12/007", "1e3", "in 1e3/1e3"} <= lab.known().keys()


def test_symlinks_are_skipped_and_counted(lab: CatalogLab) -> None:
    """R-CAT-5"""
    film = lab.write("film.mkv")
    folder = lab.write("real/inside.mkv").parent
    (lab.root / "link.mkv").symlink_to(film)
    (lab.root / "dangling").symlink_to("nowhere")
    (lab.root / "folder-link").symlink_to(folder)

    summary = lab.scan()

    assert set(lab.known()) == {"film.mkv", "real/inside.mkv"}
    assert summary.skipped == {"symlink": 3}


def test_sockets_and_pipes_are_skipped_and_counted(lab: CatalogLab) -> None:
    os.mkfifo(lab.root / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        here = os.open(lab.root, os.O_RDONLY)  # because a socket's path must be short
        server.bind(f"/proc/self/fd/{here}/socket")
        os.close(here)
        summary = lab.scan()

    assert lab.known() == {}
    assert summary.skipped == {"no regular file": 2}


@pytest.mark.parametrize(
    "name",
    [
        ".zfs/snapshot/x",
        ".snapshots/1/x",
        "lost+found/x",
        ".nfs0000123",
        ".fuse_hidden0001",
        ".seedkeep-run-1/x",
    ],
)
def test_snapshots_and_leftovers_are_no_content(lab: CatalogLab, name: str) -> None:
    lab.write(f"Film/{name}")
    lab.write("Film/film.mkv")

    summary = lab.scan()

    assert set(lab.known()) == {"Film/film.mkv"}
    assert summary.skipped == {"snapshot, recovery or staging name": 1}


def test_names_that_only_resemble_skipped_ones_are_content(lab: CatalogLab) -> None:
    for name in ("zfs", "x.nfs", "lost+found2/x", ".snapshots.txt", "seedkeep-x"):
        lab.write(name)

    lab.scan()

    assert lab.known() == on_disk(lab.root)


# -- a scan of what did not change


def test_nothing_changed_means_nothing_read_and_no_file_row_written(lab: CatalogLab) -> None:
    """R-CAT-3"""
    for number in range(40):
        lab.write(f"folder {number % 7}/film {number}.mkv", b"%d" % number)
    lab.scan()

    with counted_reads() as reads, watched_writes() as written:
        summary = lab.scan()

    assert (reads.whole, reads.samples) == ([], [])
    assert summary.unchanged == 40
    assert summary.hashes.files == 0
    about_files = [line for line in written if "_1" in line]
    assert about_files == []
    assert written != []  # that it was scanned again is noted


def test_only_what_is_new_is_hashed(lab: CatalogLab) -> None:
    lab.write("old.mkv")
    lab.scan()
    lab.write("new.mkv", b"new")

    with counted_reads() as reads:
        summary = lab.scan()

    assert reads.whole == ["new.mkv"]
    assert (summary.added, summary.unchanged) == (1, 1)


def test_a_file_of_another_size_or_time_is_hashed_again(lab: CatalogLab) -> None:
    lab.write("grown.mkv", b"a")
    lab.write("touched.mkv", b"b")
    lab.scan()
    lab.write("grown.mkv", b"aa")
    settle(lab.root / "touched.mkv", seconds_ago=60)

    with counted_reads() as reads:
        summary = lab.scan()

    assert sorted(reads.whole) == ["grown.mkv", "touched.mkv"]
    assert summary.changed == 2
    assert lab.known() == on_disk(lab.root)


def test_a_file_that_was_replaced_under_its_name_is_hashed_again(lab: CatalogLab) -> None:
    path = lab.write("film.mkv", b"old bytes")
    seen = path.stat()
    lab.scan()
    fresh = lab.write("fresh", b"new bytes")
    fresh.replace(path)
    os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns))  # same name, size and mtime

    summary = lab.scan()

    assert summary.changed == 1
    assert lab.known() == on_disk(lab.root)


def test_inodes_without_a_name_are_forgotten(lab: CatalogLab) -> None:
    """Their numbers are given again to other files, which must not inherit a hash."""
    path = lab.write("film.mkv", b"old")
    lab.write("gone.mkv")
    lab.scan()
    (lab.root / "gone.mkv").unlink()
    lab.scan()
    assert known_inodes(lab) == {path.stat().st_ino}

    lab.write("fresh").replace(path)
    lab.scan()
    assert known_inodes(lab) == {path.stat().st_ino}


def known_inodes(lab: CatalogLab) -> set[int]:
    return {row[0] for row in lab.db.tuples("SELECT inode FROM inodes_1")}


def test_a_moved_file_keeps_its_hash(lab: CatalogLab) -> None:
    lab.write("old/film.mkv", BIG)
    lab.scan()
    (lab.root / "new").mkdir()
    (lab.root / "old/film.mkv").rename(lab.root / "new/other.mkv")

    with counted_reads() as reads:
        summary = lab.scan()

    assert reads.whole == []
    assert (summary.added, summary.moved, summary.deleted) == (0, 1, 0)
    assert lab.known() == on_disk(lab.root)


# -- only the ctime moved


@pytest.mark.parametrize(
    ("drift", "whole", "samples"),
    [(DriftPolicy.METADATA, 0, 0), (DriftPolicy.QUICK, 0, 1), (DriftPolicy.FULL, 1, 0)],
)
def test_a_new_ctime_alone_costs_what_the_policy_says(
    lab: CatalogLab, drift: DriftPolicy, whole: int, samples: int
) -> None:
    path = lab.write("film.mkv", BIG)
    lab.scan()
    path.chmod(0o600)

    with counted_reads() as reads:
        lab.scan(drift=drift)
        assert (len(reads.whole), len(reads.samples)) == (whole, samples)
        lab.scan(drift=drift)  # the new ctime was noted
        assert (len(reads.whole), len(reads.samples)) == (whole, samples)

    assert lab.known() == on_disk(lab.root)


def forge(path: Path, at: int) -> None:
    """Change one byte and put the mtime back, as a careless or a hostile program does."""
    seen = path.stat()
    with path.open("r+b") as out:
        out.seek(at)
        out.write(b"X")
    os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns))


@pytest.mark.parametrize(
    ("drift", "at", "noticed"),
    [
        (DriftPolicy.METADATA, 0, False),
        (DriftPolicy.QUICK, 0, True),
        (DriftPolicy.QUICK, 50_000, False),  # between the samples
        (DriftPolicy.FULL, 50_000, True),
    ],
)
def test_bytes_changed_behind_an_equal_mtime_are_noticed_as_far_as_the_policy_reads(
    lab: CatalogLab, drift: DriftPolicy, at: int, noticed: bool
) -> None:
    path = lab.write("film.mkv", BIG)
    lab.scan()
    forge(path, at)

    lab.scan(drift=drift)

    assert (lab.known() == on_disk(lab.root)) == noticed


def test_samples_that_cannot_be_read_lead_to_a_full_read(
    lab: CatalogLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = lab.write("film.mkv", BIG)
    lab.scan()
    path.chmod(0o600)

    def refuse(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(scan_read, "sample_descriptor", refuse)
    summary = lab.scan()

    assert summary.hashes.files == 1
    assert lab.known() == on_disk(lab.root)


# -- files that move while they are looked at


NOON = 1_700_000_000_700_000_001  # nanoseconds


class Clock:
    """The time at which files are read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_ns = NOON
        monkeypatch.setattr(scan_read, "time", self)

    def time_ns(self) -> int:
        return self.now_ns


@pytest.mark.parametrize(
    ("age_ns", "again"),
    [
        (0, 1),
        (9_000_000, 1),  # within a tick of the kernel's clock
        (11_000_000, 0),
        (NOON % 10**9, 1),  # a filesystem that keeps whole seconds
        (NOON % 10**9 + 3 * 10**9, 0),
        (-60 * 10**9, 1),  # a server's clock that runs ahead
        (-3 * 3600 * 10**9, 0),  # set by hand: no write will repeat it
    ],
)
def test_a_file_as_young_as_its_reading_is_not_trusted_next_time(
    lab: CatalogLab, monkeypatch: pytest.MonkeyPatch, age_ns: int, again: int
) -> None:
    Clock(monkeypatch)
    path = lab.write("film.mkv", b"film")
    os.utime(path, ns=(NOON - age_ns, NOON - age_ns))
    lab.scan()

    with counted_reads() as reads:
        lab.scan()

    assert len(reads.whole) == again


def test_a_young_file_is_trusted_once_it_was_read_at_a_later_time(
    lab: CatalogLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    path = lab.write("film.mkv", b"film")
    os.utime(path, ns=(NOON, NOON))
    lab.scan()
    clock.now_ns += 20_000_000
    lab.scan()

    with counted_reads() as reads:
        lab.scan()

    assert reads.whole == []


def test_a_second_write_within_the_tick_of_the_clock_is_found_by_the_next_scan(
    lab: CatalogLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    Clock(monkeypatch)
    path = lab.write("film.mkv", b"first")
    os.utime(path, ns=(NOON, NOON))
    lab.scan()
    path.write_bytes(b"later")
    os.utime(path, ns=(NOON, NOON))

    lab.scan(drift=DriftPolicy.METADATA)

    assert lab.known() == on_disk(lab.root)


def changing(path: Path, how: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `how` happen to a file right before it is read."""
    real = scan_read.open_item

    def open_after_it_happened(top: int, below: str, st_dev: int | None) -> Any:
        if Path(os.readlink(f"/proc/self/fd/{top}"), below) == path:
            how()
        return real(top, below, st_dev)

    monkeypatch.setattr(scan_read, "open_item", open_after_it_happened)


def test_a_file_written_to_while_it_is_read_gets_no_hash_and_is_reported(
    lab: CatalogLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = lab.write("film.mkv", bytes(3 << 20))
    lab.write("calm.mkv")
    real = os.readv

    def read_and_write(fd: int, buffers: Any) -> int:
        with path.open("ab") as out:
            out.write(b"more")
        return real(fd, buffers)

    monkeypatch.setattr(os, "readv", read_and_write)
    summary = lab.scan()

    assert summary.hashes.changing == [str(path)]
    assert lab.known()["film.mkv"].sha256 is None
    assert lab.known()["calm.mkv"].sha256 is not None


def test_a_file_written_to_before_its_turn_gets_no_hash_and_is_reported(
    lab: CatalogLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = lab.write("film.mkv", b"as listed")
    with monkeypatch.context() as patch:
        changing(path, lambda: path.write_bytes(b"as read"), patch)
        summary = lab.scan()

    assert summary.hashes.changing == [str(path)]
    assert lab.known()["film.mkv"].sha256 is None

    lab.scan()
    assert lab.known() == on_disk(lab.root)


def test_a_file_that_was_replaced_before_its_turn_lends_its_hash_to_nobody(
    lab: CatalogLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = lab.write("film.mkv", b"as listed")
    other = lab.write("other.mkv", b"something")
    with monkeypatch.context() as patch:
        changing(path, lambda: path.exists() and other.replace(path), patch)
        lab.scan(workers=1)

    assert lab.known()["film.mkv"].sha256 is None
    lab.scan()
    assert lab.known() == on_disk(lab.root)


def test_a_file_that_vanishes_before_its_turn_is_no_trouble(
    lab: CatalogLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = lab.write("film.mkv")
    with monkeypatch.context() as patch:
        changing(path, path.unlink, patch)
        summary = lab.scan()

    assert (summary.unreadable, summary.hashes.changing) == ({}, [])
    lab.scan()
    assert lab.known() == {}


def test_a_file_that_cannot_be_read_is_named_with_the_reason(
    lab: CatalogLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = lab.write("film.mkv")

    def fail() -> None:
        raise OSError(5, "Input/output error")

    changing(path, fail, monkeypatch)
    summary = lab.scan()

    assert summary.unreadable == {str(path): "Input/output error"}
    assert lab.known()["film.mkv"].sha256 is None


def test_a_file_that_became_a_symlink_before_its_turn_is_not_followed(
    lab: CatalogLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = lab.write("film.mkv")

    def swap() -> None:
        path.unlink()
        path.symlink_to("/etc/hostname")

    changing(path, swap, monkeypatch)
    summary = lab.scan()

    assert list(summary.unreadable) == [str(path)]
    assert "not a regular file" in summary.unreadable[str(path)]


# -- deletions


def test_deleted_files_and_folders_leave_the_active_names(lab: CatalogLab) -> None:
    lab.write("kept.mkv")
    lab.write("gone.mkv")
    lab.write("folder/deep/gone.mkv")
    lab.scan()
    (lab.root / "gone.mkv").unlink()
    (lab.root / "folder/deep/gone.mkv").unlink()
    (lab.root / "folder/deep").rmdir()
    (lab.root / "folder").rmdir()

    summary = lab.scan()

    assert summary.deleted == 2
    assert set(lab.known()) == {"kept.mkv"}
    assert lab.scan().deleted == 0


def test_a_folder_that_became_a_file_and_back_is_followed(lab: CatalogLab) -> None:
    lab.write("thing/inside.mkv")
    lab.scan()
    (lab.root / "thing/inside.mkv").unlink()
    (lab.root / "thing").rmdir()
    lab.write("thing")
    lab.scan()
    assert set(lab.known()) == {"thing"}

    (lab.root / "thing").unlink()
    lab.write("thing/inside.mkv")
    lab.scan()
    assert set(lab.known()) == {"thing/inside.mkv"}


def failing_at(path: Path, error: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let reading one directory fail; root would be let in by the disk."""
    real = os.scandir
    inode = path.stat().st_ino

    def scandir(fd: int) -> Any:
        if os.fstat(fd).st_ino == inode:
            raise OSError(error, os.strerror(error))
        return real(fd)

    monkeypatch.setattr(os, "scandir", scandir)


def test_nothing_is_deleted_below_a_directory_that_cannot_be_read(
    lab: CatalogLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R-CAT-7"""
    for name in ("closed/film.mkv", "closed/deep/film.mkv", "open/film.mkv"):
        lab.write(name)
    lab.scan()
    for path in list(lab.root.rglob("*.mkv")):
        path.unlink()
    with monkeypatch.context() as patch:
        failing_at(lab.root / "closed", 13, patch)
        summary = lab.scan()

    assert summary.unreadable == {str(lab.root / "closed"): "Permission denied"}
    assert set(lab.known()) == {"closed/film.mkv", "closed/deep/film.mkv"}
    assert summary.deleted == 1

    assert lab.scan().deleted == 2  # once it can be read again
    assert lab.known() == {}


def test_a_directory_that_fails_half_way_through_concludes_nothing(
    lab: CatalogLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.write("folder/a.mkv")
    lab.write("folder/b.mkv")
    lab.scan()

    class Half:
        def __init__(self, inner: Any) -> None:
            self.inner = inner

        def __enter__(self) -> Any:
            self.inner.__enter__()
            return self.rows()

        def rows(self) -> Any:
            yield next(iter(self.inner))
            raise OSError(5, "Input/output error")

        def __exit__(self, *_: object) -> None:
            self.inner.close()

    scandir = os.scandir
    inode = (lab.root / "folder").stat().st_ino

    def broken(fd: int) -> Any:
        found = scandir(fd)
        return Half(found) if os.fstat(fd).st_ino == inode else found

    monkeypatch.setattr(os, "scandir", broken)
    summary = lab.scan()

    assert summary.unreadable == {str(lab.root / "folder"): "Input/output error"}
    assert set(lab.known()) == {"folder/a.mkv", "folder/b.mkv"}


def test_a_folder_that_vanishes_during_the_scan_is_gone_and_no_gap(
    lab: CatalogLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.write("a/film.mkv")
    lab.write("b/film.mkv")
    lab.scan()
    real = os.open

    def remove_first(path: Any, *rest: Any, **named: Any) -> int:
        if path == "b" and (lab.root / "b").exists():
            (lab.root / "b/film.mkv").unlink()
            (lab.root / "b").rmdir()
        return real(path, *rest, **named)

    monkeypatch.setattr(os, "open", remove_first)
    summary = lab.scan()

    assert summary.unreadable == {}
    assert set(lab.known()) == {"a/film.mkv"}


def test_a_folder_that_became_a_symlink_during_the_scan_is_not_followed(
    lab: CatalogLab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lab.write("b/film.mkv")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/secret.mkv").write_bytes(b"x")
    real = os.open

    def swap_first(path: Any, *rest: Any, **named: Any) -> int:
        if path == "b" and not (lab.root / "b").is_symlink():
            (lab.root / "b").rename(tmp_path / "aside")
            (lab.root / "b").symlink_to(tmp_path / "elsewhere")
        return real(path, *rest, **named)

    monkeypatch.setattr(os, "open", swap_first)
    summary = lab.scan()

    assert lab.known() == {}
    assert list(summary.unreadable) == [str(lab.root / "b")]


def test_a_file_that_vanishes_between_listing_and_look_was_never_there(
    lab: CatalogLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.write("a.mkv")
    real = os.scandir

    class Vanishing:
        def __init__(self, inner: Any) -> None:
            self.inner = inner

        def __enter__(self) -> Any:
            rows = list(self.inner)
            (lab.root / "a.mkv").unlink()
            return iter(rows)

        def __exit__(self, *_: object) -> None:
            self.inner.close()

    monkeypatch.setattr(os, "scandir", lambda fd: Vanishing(real(fd)))
    summary = lab.scan()

    assert (summary.seen, summary.unreadable) == (0, {})


# -- roots


def test_only_the_scanned_root_is_judged(lab: CatalogLab) -> None:
    lab.write("a/film.mkv")
    lab.write("b/film.mkv")
    lab.scan()
    (lab.root / "a/film.mkv").unlink()
    (lab.root / "b/film.mkv").unlink()

    lab.scan(lab.root / "a")

    assert set(lab.known()) == {"b/film.mkv"}


def test_a_root_inside_another_root_is_scanned_once(lab: CatalogLab) -> None:
    lab.write("a/film.mkv")

    summary = lab.scan(lab.root, lab.root / "a", lab.root)

    assert summary.roots == [ScannedRoot(str(lab.root), 1)]
    assert summary.seen == 1


def test_a_symlinked_root_is_the_directory_it_leads_to(lab: CatalogLab, tmp_path: Path) -> None:
    """R-STO-4"""
    lab.write("film.mkv")
    (tmp_path / "shortcut").symlink_to(lab.root)
    lab.scan()

    summary = lab.scan(tmp_path / "shortcut")

    assert summary.roots == [ScannedRoot(str(lab.root), 1)]
    assert (summary.added, summary.unchanged) == (0, 1)


@pytest.mark.parametrize(
    ("name", "detail", "hint"),
    [
        ("missing", "No such file or directory", "name a directory that exists"),
        ("film.mkv", "it is no directory", "name its directory"),
        ("loop", "Too many levels of symbolic links", ""),
    ],
)
def test_a_root_that_cannot_be_scanned_is_said_before_anything_is_written(
    lab: CatalogLab, name: str, detail: str, hint: str
) -> None:
    lab.write("film.mkv")
    (lab.root / "loop").symlink_to("loop")

    with watched_writes() as written, pytest.raises(Misused) as error:
        lab.scan(*([lab.root] if name == "film.mkv" else []), lab.root / name)

    assert error.value.brief == f"cannot scan {lab.root / name}"
    assert (error.value.detail, error.value.hint) == (detail, hint)
    assert written == []


def test_an_interface_of_the_kernel_is_not_content(lab: CatalogLab) -> None:
    summary = lab.scan(Path("/proc"))

    assert summary.skipped == {"pseudo filesystem": 1}
    assert lab.catalog.devices.all() == []


def test_many_directories_are_written_in_several_transactions(
    lab: CatalogLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scanning, "CHANGES_PER_COMMIT", 4)
    monkeypatch.setattr(scanning, "READ_PER_TASK", 2)
    for number in range(10):
        lab.write(f"{number}/film.mkv", b"%d" % number)
    seen: list[int] = []

    lab.scan(progress=lambda state: seen.append(state.summary.seen))

    assert len(set(seen)) >= 3
    assert seen == sorted(seen)
    assert lab.known() == on_disk(lab.root)
