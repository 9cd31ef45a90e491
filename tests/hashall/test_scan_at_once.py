"""A first scan reads small new files where it walks; everything else waits for its turn."""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from tests.support.catalog_lab import CatalogLab, counted_reads, on_disk, settle, watched_writes

from hashall import scan_at_once, scan_crew, scan_walk
from hashall.catalog.scan_load import CatalogLoad
from hashall.hashing import BLOCK, hash_small
from hashall.scan_at_once import Share
from hashall.scan_model import Difference, DriftPolicy, FolderChange, HashMode, as_listed
from hashall.scan_read import Outcome, ReadTask, read_all
from hashall.scan_work import Worker
from seedkeep.sqlite import transaction

Tasks = list[list[str]]


@pytest.fixture(autouse=True)
def this_process_reads_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a helper does, so that one can look on."""
    monkeypatch.setattr(scan_crew, "Worker", partial(Worker, share=Share(0)))


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Iterator[Tasks]:
    """The names that were left to the reading after the walk, task by task."""
    found: Tasks = []

    def read(task: ReadTask, tell: Callable[[int], None]) -> Outcome:
        found.append(sorted(str(item[5]) for item in task.items))
        return read_all(task, tell)

    monkeypatch.setattr("hashall.scan_work.read_all", read)
    return found


def test_a_small_new_file_is_written_once_with_its_hash(lab: CatalogLab, later: Tasks) -> None:
    for number in range(150):  # more than one batch
        lab.write(f"{number % 7}/{number}.nfo", b"%d" % number)
    with watched_writes() as written:
        summary = lab.scan()

    assert lab.known() == on_disk(lab.root)
    assert (summary.hashes.files, later) == (150, [])
    assert not [statement for statement in written if statement.startswith("UPDATE inodes")]


def test_what_is_too_much_for_one_task_may_be_read_in_another(
    lab: CatalogLab, later: Tasks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan_at_once, "_MOST_FILES", 1)
    monkeypatch.setattr("hashall.scan.READ_PER_TASK", 1)
    lab.write("a/1.nfo", b"one")
    film = lab.write("a/2.nfo", b"two")
    (lab.root / "b").mkdir()
    os.link(film, lab.root / "b/2.nfo")
    with counted_reads() as reads:
        lab.scan(workers=1)

    assert (sorted(reads.whole), later) == (["1.nfo", "2.nfo"], [])


def test_large_files_wait_for_their_turn(lab: CatalogLab, later: Tasks) -> None:
    """Else the helper that finds them would have all the work."""
    lab.write("small.nfo")
    lab.write("large.mkv", bytes(BLOCK))
    lab.scan()

    assert lab.known() == on_disk(lab.root)
    assert later == [["large.mkv"]]


@pytest.mark.parametrize("of", [1, 2])
def test_a_file_with_several_names_is_read_once_whoever_finds_them(
    lab: CatalogLab, later: Tasks, of: int
) -> None:
    """Here everything is given to the first of two helpers; the other's inodes wait."""
    for number in range(20):
        film = lab.write(f"a/{number}.mkv", b"%d" % number)
        os.link(film, lab.root / f"a/same folder {number}.mkv")
        (lab.root / f"{number}").mkdir()
        os.link(film, lab.root / f"{number}/in a folder {number}.mkv")
    with counted_reads() as reads:
        summary = lab.scan(workers=of)

    assert lab.known() == on_disk(lab.root)
    assert (len(reads.whole), summary.hashes.files) == (20, 20)
    waited = {
        file.inode
        for name, file in lab.known().items()
        if name.rpartition("/")[2] in {name for names in later for name in names}
    }
    assert all(inode % of for inode in waited)


@pytest.mark.parametrize("mode", [HashMode.FAST, HashMode.UPGRADE])
def test_samples_are_read_at_once_however_large_the_file(
    lab: CatalogLab, later: Tasks, mode: HashMode
) -> None:
    lab.write("large.mkv", bytes(BLOCK + 5))
    lab.write("twin.mkv", bytes(BLOCK + 5))
    lab.write("alone.mkv", b"a")
    summary = lab.scan(mode=mode)

    assert summary.hashes.sampled == 3
    wanted = {"large.mkv", "twin.mkv"} if mode is HashMode.UPGRADE else set()
    assert {name for names in later for name in names} == wanted


def test_a_second_root_is_not_read_again_where_its_inodes_are_known(
    lab: CatalogLab, later: Tasks
) -> None:
    """R-CAT-3: a library that is hardlinked to what was scanned before."""
    films = [lab.write(f"torrents/{number}.mkv", b"%d" % number) for number in range(9)]
    lab.scan(lab.root / "torrents")
    (lab.root / "library").mkdir()
    for film in films:
        os.link(film, lab.root / "library" / film.name)
    with counted_reads() as reads:
        lab.scan(lab.root / "library")

    # Samples are compared, because a link moves the ctime; nothing is read whole.
    assert reads.whole == []
    assert lab.known() == on_disk(lab.root)


def test_what_changes_before_it_is_read_is_left_to_the_reading_that_tells(
    lab: CatalogLab, later: Tasks, monkeypatch: pytest.MonkeyPatch
) -> None:
    written, gone = lab.write("written.mkv"), lab.write("gone.mkv")
    lab.write("good.mkv")
    batches = scan_at_once._batches

    def meanwhile(files: list[Any]) -> object:
        written.write_bytes(b"other bytes")
        settle(written)
        gone.unlink(missing_ok=True)
        return batches(files)

    monkeypatch.setattr(scan_at_once, "_batches", meanwhile)
    summary = lab.scan()

    assert summary.hashes.changing == [str(written)]
    assert later == [["written.mkv"], ["gone.mkv"]]
    lab.scan()
    assert lab.known() == on_disk(lab.root)


def test_an_unreadable_small_file_is_told_once(
    lab: CatalogLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = lab.write("closed.mkv")
    lab.write("open.mkv")

    def refuse(path: Any, *arguments: Any, **options: Any) -> int:
        if str(path).endswith("closed.mkv"):
            raise PermissionError(13, "Permission denied")
        return real(path, *arguments, **options)

    real = os.open
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        summary = lab.scan()

    assert summary.unreadable == {str(closed): "Permission denied"}
    assert summary.hashes.files == 1


@pytest.mark.parametrize("cached", [True, False])
def test_the_kernel_is_told_what_comes_next_unless_it_has_that_already(
    lab: CatalogLab, monkeypatch: pytest.MonkeyPatch, cached: bool
) -> None:
    told: list[int] = []

    def answer(fd: int, buffers: list[memoryview], offset: int, _: int) -> int:
        if cached:
            return real(fd, buffers, offset)
        raise BlockingIOError(11, "would block")

    real = os.preadv
    monkeypatch.setattr(os, "preadv", answer)
    monkeypatch.setattr(os, "posix_fadvise", lambda fd, *_: told.append(fd))
    for number in range(3):
        lab.write(f"{number}.nfo", b"%d" % number)
    lab.scan()

    assert len(told) == (0 if cached else 3)
    assert lab.known() == on_disk(lab.root)


@pytest.mark.parametrize("has", [None, 0, 7])
def test_what_memory_has_is_read_before_what_the_disk_has_to_bring(
    lab: CatalogLab, monkeypatch: pytest.MonkeyPatch, later: Tasks, has: int | None
) -> None:
    """Of the cold one memory has nothing, no byte of what was asked, or its first bytes."""
    cold = lab.write("cold.nfo", b"the first in the order of reading").stat().st_ino
    for number in range(3):
        lab.write(f"{number}.nfo", b"%d" % number)

    def answer(fd: int, buffers: list[memoryview], offset: int, _: int) -> int:
        if os.fstat(fd).st_ino != cold:
            return real(fd, buffers, offset)
        if has is None:
            raise BlockingIOError(11, "would block")
        return real(fd, [buffers[0][:has]], offset)

    real = os.preadv
    monkeypatch.setattr(os, "preadv", answer)
    with counted_reads() as reads:
        lab.scan()

    assert (sorted(reads.whole[:3]), reads.whole[3:]) == (["0.nfo", "1.nfo", "2.nfo"], ["cold.nfo"])
    assert lab.known() == on_disk(lab.root)
    assert later == []


def test_a_file_that_grew_in_memory_is_left_to_the_reading_that_tells(
    lab: CatalogLab, monkeypatch: pytest.MonkeyPatch, later: Tasks
) -> None:
    """Its first bytes are those of the size that was listed."""
    film = lab.write("film.mkv", b"1234")
    batches = scan_at_once._batches

    def meanwhile(files: list[Any]) -> object:
        film.write_bytes(b"12345")
        return batches(files)

    monkeypatch.setattr(scan_at_once, "_batches", meanwhile)
    assert lab.scan().hashes.changing == [str(film)]
    assert later == [["film.mkv"]]


@pytest.mark.parametrize("warm", [True, False])
def test_a_file_that_was_written_to_while_it_was_read_has_no_hash_of_that_moment(
    lab: CatalogLab, monkeypatch: pytest.MonkeyPatch, later: Tasks, warm: bool
) -> None:
    film = lab.write("film.mkv", b"1234")

    def and_write(*arguments: Any) -> Any:
        found = hash_small(*arguments[:2])
        film.write_bytes(b"4321")
        settle(film, seconds_ago=9)
        return found

    monkeypatch.setattr(scan_at_once, "hash_cached", and_write if warm else lambda *_: None)
    monkeypatch.setattr(scan_at_once, "hash_small", and_write)
    assert lab.scan().hashes.changing == [str(film)]
    assert later == [["film.mkv"]]
    assert lab.known()["film.mkv"].sha256 is None


@pytest.mark.parametrize("mode", [HashMode.FULL, HashMode.FAST])
def test_a_file_that_is_younger_than_its_reading_is_not_trusted(
    lab: CatalogLab, later: Tasks, mode: HashMode
) -> None:
    young, old = lab.write("young.mkv", b"1234"), lab.write("old.mkv", b"123")
    soon = time.time_ns() + 60_000_000_000
    os.utime(young, ns=(soon, soon))
    lab.scan(mode=mode)

    n = lab.spot().device.device_id
    racy = dict(lab.db.tuples(f"SELECT inode, racy FROM inodes_{n}"))
    assert racy == {young.stat().st_ino: 1, old.stat().st_ino: 0}
    assert later == []


def test_a_filesystem_that_cannot_tell_what_memory_has_is_asked_once_a_task(
    lab: CatalogLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def refuse(fd: int, *_: object) -> int:
        asked.append(fd)
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(os, "preadv", refuse)
    for number in range(3):
        lab.write(f"{number}.nfo", b"%d" % number)
    lab.scan()

    assert len(asked) == 1
    assert lab.known() == on_disk(lab.root)


def test_files_of_many_folders_do_not_keep_them_all_open(
    lab: CatalogLab, monkeypatch: pytest.MonkeyPatch, later: Tasks
) -> None:
    monkeypatch.setattr(scan_at_once, "_MOST_FOLDERS", 2)
    most, real = [0], os.open

    def counted(*arguments: Any, **options: Any) -> int:
        fd = real(*arguments, **options)
        folders = [name for it in os.listdir("/proc/self/fd") if (name := _leads_to(it))]
        most.append(len([name for name in folders if "/folder " in name and "." not in name]))
        return fd

    for number in range(12):
        lab.write(f"folder {number % 6}/{number}.nfo", b"%d" % number)
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", counted)
        lab.scan()

    assert max(most) == 2
    assert not [fd for fd in os.listdir("/proc/self/fd") if _leads_to(fd).endswith(".nfo")]
    assert later == []
    assert lab.known() == on_disk(lab.root)


def test_ctrl_c_while_folders_are_closed_is_told_as_that(
    lab: CatalogLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan_at_once, "_MOST_FOLDERS", 2)
    for number in range(6):
        lab.write(f"folder {number}/{number}.nfo", b"%d" % number)
    closed, real = [0], os.close

    def interrupted(fd: int) -> None:
        is_folder = "/folder " in (path := _leads_to(str(fd))) and not path.endswith(".nfo")
        real(fd)
        if is_folder and sys._getframe(1).f_code.co_name == "close":
            closed[0] += 1
            if closed[0] == 1:
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "close", interrupted)
        with pytest.raises(KeyboardInterrupt):
            lab.scan()

    assert closed[0] == 2
    assert not [fd for fd in os.listdir("/proc/self/fd") if "/folder " in _leads_to(fd)]


def _leads_to(fd: str) -> str:
    try:
        return os.path.relpath(os.readlink(f"/proc/self/fd/{fd}"), "/")
    except OSError:
        return ""


def test_a_folder_with_any_number_of_files_is_read_in_parts(
    lab: CatalogLab, later: Tasks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is read here is kept only when the whole task is done."""
    monkeypatch.setattr(scan_at_once, "_MOST_FILES", 10)
    for number in range(25):
        lab.write(f"{number}.nfo", b"%d" % number)
    summary = lab.scan()

    assert lab.known() == on_disk(lab.root)
    assert (summary.hashes.files, sum(map(len, later))) == (25, 15)


def test_a_slow_disk_gets_no_more_than_a_moment_of_each_task(
    lab: CatalogLab, later: Tasks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan_at_once, "_MOST_SECONDS", -1.0)
    lab.write("a.nfo")
    lab.scan()

    assert lab.known() == on_disk(lab.root)
    assert later == [["a.nfo"]]


def test_where_link_counts_are_not_true_each_inode_is_still_read_once(
    lab: CatalogLab, later: Tasks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some FUSE filesystems say 1 of every file."""
    monkeypatch.setattr("hashall.scan.link_counts_are_true", lambda _: False)

    def lying(seen: os.stat_result) -> tuple[int, ...]:
        return (*as_listed(seen)[:4], 1, *as_listed(seen)[5:])

    for module in (scan_walk, scan_at_once):
        monkeypatch.setattr(module, "as_listed", lying)
    for number in range(8):
        film = lab.write(f"{number}.mkv", b"%d" % number)
        os.link(film, lab.root / f"again {number}.mkv")
    with counted_reads() as reads:
        summary = lab.scan()

    assert (len(reads.whole), summary.hashes.files) == (8, 8)
    assert lab.known() == on_disk(lab.root)


def test_advice_that_the_kernel_refuses_is_no_trouble(
    lab: CatalogLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(os, "preadv", refuse)
    monkeypatch.setattr(os, "posix_fadvise", refuse)
    for number in range(3):
        lab.write(f"{number}.nfo")
    lab.scan()

    assert lab.known() == on_disk(lab.root)


def test_an_older_look_at_an_inode_does_not_replace_a_newer_one(lab: CatalogLab) -> None:
    """R-CAT-3: inode numbers are given again, and answers of helpers come in any order."""
    load = CatalogLoad(lab.db, lab.spot().device.device_id, DriftPolicy.QUICK)
    newer = ("b.mkv", 5, 2, 20, 20, 1, 0o100644, 0, 0, "q", "new", False)
    older = ("a.mkv", 5, 1, 10, 10, 1, 0o100644, 0, 0, "q", "old", False)
    with transaction(lab.db):
        load.begin()
        for name, row in (("Y", newer), ("X", older)):
            load.write([FolderChange(name, None, [], [row], [], [], [])])

    row = load.files.inode(5)
    assert row is not None
    assert (row.size, row.ctime_ns, row.sha256) == (2, 20, "new")


@pytest.mark.parametrize("drift", [DriftPolicy.QUICK, DriftPolicy.FULL])
def test_a_chmod_between_two_listings_of_an_inode_is_found_by_the_next_scan(
    lab: CatalogLab, drift: DriftPolicy
) -> None:
    """Answers come in any order: the mode may be of the older look, so its ctime has to be too."""
    load = CatalogLoad(lab.db, lab.spot().device.device_id, drift)
    newer = ("b.mkv", Difference.NEW, 5, 2, 1, 20, 2, 0o100644, 0, 0)
    older = ("a.mkv", Difference.NEW, 5, 2, 1, 10, 2, 0o100600, 0, 0)
    with transaction(lab.db):
        load.begin()
        for name, row in (("Y", newer), ("X", older)):
            load.write([FolderChange(name, None, [row], [], [], [], [])])
        [item] = load.waiting(HashMode.FULL)
        load.put_reads([("whole", "quick", False, item[7], *item[:3])])

    known = load.files.inode(5)
    assert known is not None
    assert (known.sha256, known.ctime_ns) == ("whole", 10)


@pytest.mark.parametrize("size", [5, BLOCK])  # read at once, and after the walk
def test_a_chmod_between_the_listing_and_the_reading_is_found_by_the_next_scan(
    lab: CatalogLab, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """The ctime in the catalog is of the same moment as the mode there, or it would hide it."""
    film = lab.write("film.mkv", bytes(size))
    film.chmod(0o600)

    def chmod_before(reading: Callable[..., Any]) -> Callable[..., Any]:
        def meanwhile(*arguments: Any) -> Any:
            film.chmod(0o644)
            return reading(*arguments)

        return meanwhile

    with monkeypatch.context() as patch:
        patch.setattr(scan_at_once, "_batches", chmod_before(scan_at_once._batches))
        patch.setattr("hashall.scan_work.read_all", chmod_before(read_all))
        assert lab.scan().hashes.files == 1
    lab.scan()

    row = lab.db.one(f"SELECT mode FROM inodes_{lab.spot().device.device_id}")
    assert row is not None
    assert row["mode"] & 0o777 == 0o644
