"""A scan of a disk at its end: it is left alone, and what the catalog knows of it stays."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
from tests.support.catalog_lab import CatalogLab, document, on_disk, settle
from tests.support.filesystems import ext4, file_in, lab_folder, run, shut_down, tmpfs, xfs

from hashall import disk_failures, render_scan, scan_at_once, scan_crew, scan_read
from hashall import scan as scanning
from hashall.cli import cli
from hashall.disk_failures import Failures
from hashall.mounts import UnknownFilesystem
from hashall.pathing import MountTable
from hashall.scan import HashMode, ScanState, ScanSummary
from hashall.scan_at_once import Share, read_at_once
from hashall.scan_model import Findings
from hashall.scan_walk import Walker
from hashall.scan_work import Worker
from seedkeep import clock, console
from seedkeep.errors import Misused

EIO = OSError(errno.EIO, os.strerror(errno.EIO))


@pytest.fixture
def mounts() -> Iterator[CatalogLab]:
    """A lab whose mounts are taken down even when a test fails."""
    with lab_folder() as folder:
        made = CatalogLab(folder)
        yield made
        made.close()


@pytest.fixture
def pool(lab: CatalogLab) -> Iterator[Path]:
    """Another filesystem."""
    with lab_folder() as folder, tmpfs(folder / "pool") as pool:
        yield pool


def fill(folder: Path, files: int) -> None:
    for number in range(files):
        settle(file_in(folder, f"{number}"))


def lose(
    monkeypatch: pytest.MonkeyPatch,
    lost: Callable[[Path], bool],
    code: int = errno.EIO,
    before: Callable[[], None] = lambda: None,
) -> list[str]:
    """Have the reading of these files fail, after something else happened; returns who was tried.

    This process has to read: `workers=1`.
    """
    usual, tried = scan_read.read_item, []

    def broken(known: Any, below: str, opened: scan_read.Opened, *rest: Any) -> Any:
        path = Path(os.readlink(f"/proc/self/fd/{opened[0]}"))
        if not lost(path):
            return usual(known, below, opened, *rest)
        tried.append(below)
        before()
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(scan_read, "read_item", broken)
    return tried


def limit(monkeypatch: pytest.MonkeyPatch, failures: int) -> None:
    monkeypatch.setattr(disk_failures, "FAILURES_IN_A_ROW", failures)


# -- contents


def test_a_disk_that_gives_no_file_is_given_up_and_the_others_are_scanned(
    lab: CatalogLab, pool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(monkeypatch, 5)
    fill(pool, 40)
    film = lab.write("film")
    lab.scan(pool)
    for path in pool.iterdir():
        path.write_bytes(b"other bytes")
        settle(path)
    tried = lose(monkeypatch, lambda path: path.is_relative_to(pool))

    summary = lab.scan(pool, lab.root, workers=1)

    (lost,) = summary.given_up
    device = lab.spot(pool).device.device_id
    assert (lost.device, lost.failed, lost.why) == (str(device), 5, "Input/output error")
    assert (lost.left, lost.left_bytes) == (35, 35 * len(b"other bytes"))
    assert len(tried) == len(summary.unreadable) == 5
    assert summary.deleted == 0
    assert set(lab.known(pool)) == {f"{number}" for number in range(40)}
    assert lab.known()["film"] == on_disk(film.parent)["film"]
    text = render_scan.scan_summary(summary)
    assert (
        f"GAVE UP  device {device}: it failed 5 times, which took 0s (Input/output error)" in text
    )
    assert "  35 files (385 B) not tried, and what the catalog knows of it stays" in text


def test_the_same_scan_reads_the_rest_once_the_disk_answers_again(
    lab: CatalogLab, pool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(monkeypatch, 5)
    fill(pool, 40)
    with monkeypatch.context() as patch:
        lose(patch, lambda path: path.is_relative_to(pool))
        assert len(lab.scan(pool, workers=1).given_up) == 1
    summary = lab.scan(pool)
    assert (summary.given_up, summary.hashes.files) == ([], 40)
    assert lab.known(pool) == on_disk(pool)


def test_a_disk_with_bad_places_is_read_to_its_end(
    lab: CatalogLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(monkeypatch, 3)
    for number in range(12):
        lab.write(f"{number}")
    every_other = cycle([True, False])
    lose(monkeypatch, lambda _: next(every_other))
    summary = lab.scan(workers=1)
    assert (summary.hashes.files, len(summary.unreadable), summary.given_up) == (6, 6, [])


@pytest.mark.parametrize("code", [errno.EACCES, errno.EMFILE, errno.ENOMEM])
def test_what_this_process_may_not_read_says_nothing_of_the_disk(
    lab: CatalogLab, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    limit(monkeypatch, 1)
    for number in range(6):
        lab.write(f"{number}")
    lose(monkeypatch, lambda _: True, code)
    summary = lab.scan(workers=1)
    assert (len(summary.unreadable), summary.given_up) == (6, [])


def test_a_disk_that_takes_long_to_fail_is_given_up_sooner(
    lab: CatalogLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(20):
        lab.write(f"{number}")
    passed = [0.0]

    def wait() -> None:
        passed[0] += 200

    lose(monkeypatch, lambda _: True, before=wait)
    with clock.using(monotonic=lambda: passed[0]):
        summary = lab.scan(workers=1)
    (lost,) = summary.given_up
    assert (lost.failed, lost.seconds, lost.left) == (4, disk_failures.SECONDS_LOST, 16)
    assert "it failed 4 times, which took 10m" in render_scan.scan_summary(summary)


def test_bad_places_at_the_ends_of_large_files_are_no_time_lost(
    lab: CatalogLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was read of a file before it failed took its time, and came."""
    monkeypatch.setattr(scan_read, "TELL_EVERY", 10)
    for number in range(4):
        lab.write(f"{number}", b"%d" % number * 10)
    passed = [0.0]

    def read(_: Any, __: str, opened: Any, ___: bool, tell: Callable[[int], None]) -> Any:
        passed[0] += 2 * disk_failures.SECONDS_LOST
        tell(10)
        passed[0] += 5
        raise EIO

    monkeypatch.setattr(scan_read, "read_item", read)
    with clock.using(monotonic=lambda: passed[0]):
        summary = lab.scan(workers=1)
    assert (len(summary.unreadable), summary.given_up) == (4, [])


def test_the_time_that_another_disk_takes_is_none_that_this_one_lost(
    lab: CatalogLab, pool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    roots = (pool / "a", lab.root, pool / "b")
    for folder in roots:
        fill(folder, 1)
    lab.scan(*roots, mode=HashMode.FAST)
    passed = [0.0]

    def slow(state: ScanState) -> None:
        passed[0] = 2 * disk_failures.SECONDS_LOST * state.summary.hashes.files

    lose(monkeypatch, lambda path: path.is_relative_to(pool))
    with clock.using(monotonic=lambda: passed[0]):
        summary = lab.scan(*roots, mode=HashMode.UPGRADE, workers=1, progress=slow)
    assert passed[0]
    assert (len(summary.unreadable), summary.given_up) == (2, [])


def test_an_upgrade_reads_nothing_more_of_a_disk_that_was_given_up(
    lab: CatalogLab, pool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(monkeypatch, 5)
    for folder in (pool / "a", pool / "b", lab.root):
        fill(folder, 10)
    lab.scan(pool, lab.root, mode=HashMode.FAST)
    tried = lose(monkeypatch, lambda path: path.is_relative_to(pool))
    summary = lab.scan(pool / "a", pool / "b", lab.root, mode=HashMode.UPGRADE, workers=1)
    assert len(summary.given_up) == 1
    assert len(tried) == 5
    assert {file.sha256 for file in lab.known().values()} != {None}
    assert len(summary.roots) == 3  # their names were all seen


# -- names


def blind(monkeypatch: pytest.MonkeyPatch, lost: Callable[[str], bool]) -> list[str]:
    """Have the disk not say what files with such names are; returns who was asked about."""
    usual, asked = os.scandir, []

    class Entry:
        def __init__(self, entry: Any) -> None:
            self.name, self._entry = entry.name, entry

        def stat(self, *, follow_symlinks: bool) -> os.stat_result:
            if lost(self.name):
                asked.append(self.name)
                raise EIO
            seen: os.stat_result = self._entry.stat(follow_symlinks=follow_symlinks)
            return seen

    class Listing:
        def __init__(self, fd: int) -> None:
            self._entries = usual(fd)

        def __enter__(self) -> Iterator[Entry]:
            return map(Entry, self._entries)

        def __exit__(self, *_: object) -> None:
            self._entries.close()

    monkeypatch.setattr(os, "scandir", Listing)
    return asked


def test_a_disk_that_does_not_say_what_its_names_are_is_given_up(
    lab: CatalogLab, pool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(monkeypatch, 20)
    monkeypatch.setattr(scanning, "FOLDERS_PER_TASK", 4)
    for folder in range(50):
        fill(pool / "a" / f"{folder:02}", 6)
    fill(pool / "b", 6)
    lab.scan(pool / "a")
    known = lab.known(pool)
    lab.write("film")
    asked = blind(monkeypatch, lambda name: name.isdecimal() and len(name) == 1)

    summary = lab.scan(pool / "a", pool / "b", lab.root, workers=1)

    assert 20 <= len(asked) <= 30
    (lost,) = summary.given_up
    assert (lost.failed, lost.left, summary.deleted) == (len(asked), 0, 0)
    assert lab.known(pool) == known
    assert lab.known().keys() == {"film"}
    assert [root.path for root in summary.roots] == [str(lab.root)]
    assert summary.unreadable[str(pool / "b")] == "its disk was given up"
    assert "  the rest not tried, and what the catalog knows" in render_scan.scan_summary(summary)
    spot = lab.spot(pool)
    assert lab.catalog.scans.was_interrupted(spot.device.device_id)


def test_what_was_seen_before_a_disk_was_given_up_is_kept(
    lab: CatalogLab, pool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(monkeypatch, 20)
    for folder in range(50):
        fill(pool / f"{folder:02}", 6)
    lab.scan(pool)
    (pool / "film").write_bytes(b"film")
    (pool / "49" / "5").unlink()
    asked = blind(monkeypatch, lambda name: len(name) == 1)
    summary = lab.scan(pool, workers=1)
    assert (summary.added, summary.deleted, len(summary.given_up)) == (1, 0, 1)
    assert len(lab.known(pool)) == 301
    assert asked


def test_damaged_inodes_in_every_folder_give_no_disk_up(
    lab: CatalogLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(monkeypatch, 3)
    for folder in range(10):
        for name in ("bad", "good"):
            lab.write(f"{folder}/{name}")
    blind(monkeypatch, lambda name: name == "bad")
    summary = lab.scan(workers=1)
    assert (summary.added, len(summary.unreadable), summary.given_up) == (10, 10, [])


def test_folders_that_are_listed_end_a_row_of_failures(
    lab: CatalogLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(monkeypatch, 3)
    for depth in range(1, 11):
        lab.write("/".join(["folder"] * depth) + "/bad")
    blind(monkeypatch, lambda name: name == "bad")
    summary = lab.scan(workers=1)
    assert (len(summary.unreadable), summary.given_up) == (10, [])


# -- contents, while names are read


def test_what_is_read_while_walking_stops_at_a_disk_that_fails(
    lab: CatalogLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(monkeypatch, 5)
    for number in range(40):
        lab.write(f"{number}")
    place = scanning._PlaceScan(
        scanning._Scan(lab.places(), scanning.ScanOptions(), lambda _: None), lab.spot()
    ).place
    tried = []

    def broken(fd: int, size: int) -> Any:
        tried.append(fd)
        raise EIO

    monkeypatch.setattr(scan_at_once, "hash_cached", lambda *_: None)
    monkeypatch.setattr(scan_at_once, "hash_small", broken)
    walker = Walker(place)
    found = walker.walk([""], 1000)
    walker.close()
    read_at_once(found, place, Share(0))
    assert len(tried) == 5
    assert found.unread_failures is not None
    assert found.unread_failures.enough
    assert [len(change.files) for change in found.changes] == [40]


def test_failures_are_one_row_across_tasks_until_something_comes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limit(monkeypatch, 5)

    def task(*given: int) -> Failures:
        found = Findings()
        for count in given:
            disk_failures.count_failure(found, EIO, count)
        assert found.failures is not None
        return found.failures

    disk = Failures()
    disk.take(task(0, 0), 0)
    disk.take(task(0, 0), 0)
    assert (disk.in_a_row, disk.enough) == (4, False)
    disk.take(task(0, 0), 1)  # one came at its end
    assert disk.in_a_row == 0
    disk.take(task(2, 2, 3, 3), 3)  # these began after something had come
    assert disk.in_a_row == 2
    disk.take(None, 0)  # an empty task
    disk.take(task(1, 1), 1)
    assert disk.in_a_row == 2
    disk.take(task(0, 0, 0), 0)
    assert (disk.in_a_row, disk.times, disk.enough) == (5, 15, True)
    disk.take(None, 1)
    assert disk.in_a_row == 0


# -- real disks


@pytest.mark.root
@pytest.mark.parametrize("make", [ext4, xfs])
@pytest.mark.parametrize("helpers_from", [1, 1000])
def test_a_real_filesystem_whose_disk_goes_before_its_files_are_read(
    mounts: CatalogLab,
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[..., Any],
    helpers_from: int,
) -> None:
    lab = mounts
    monkeypatch.setattr(scanning, "HELPERS_FROM_FILES", 1000)
    with make(lab.folder, name="disk") as disk:
        fill(disk, 300)
        lab.write("film")
        device = lab.spot(disk).device.device_id
        dead: list[Path] = []

        def die(state: ScanState) -> None:
            if state.summary.seen == 300 and not dead:
                monkeypatch.setattr(scanning, "HELPERS_FROM_FILES", helpers_from)
                run("sync", "-f", disk)
                shut_down(disk)
                dead.append(disk)

        summary = lab.scan(disk, lab.root, progress=die)

        (lost,) = summary.given_up
        assert lost.why == "Input/output error"
        assert lost.failed >= 50
        assert lost.left > 0
        assert (summary.deleted, summary.hashes.files) == (0, 1)
        assert len(list(lab.catalog.files(device).everything())) == 300


def test_a_disk_that_was_given_up_is_told_at_once_and_by_the_exit_code(
    lab: CatalogLab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    limit(monkeypatch, 5)
    for number in range(9):
        lab.write(f"{number}")
    lose(monkeypatch, lambda _: True)
    command = ["scan", "--workers", "1", "--db", str(lab.db_path), str(lab.root)]
    assert console.run(cli, command, "hashall") == 4
    said = capsys.readouterr()
    line = "GAVE UP  device 1: it failed 5 times, which took 0s (Input/output error)\n"
    assert (said.out.count(line), said.err.count(line)) == (1, 1)


def test_a_disk_is_given_up_by_what_is_read_while_walking_and_the_exit_code_says_so(
    lab: CatalogLab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """There is no path to tell then: that is left to the reading after the walk."""
    limit(monkeypatch, 5)
    for number in range(40):
        lab.write(f"{number}")

    def broken(*_: Any) -> Any:
        raise EIO

    monkeypatch.setattr(scan_crew, "Worker", partial(Worker, share=Share(0)))  # as in a helper
    monkeypatch.setattr(scan_at_once, "hash_cached", lambda *_: None)
    monkeypatch.setattr(scan_at_once, "hash_small", broken)
    command = ["scan", "--workers", "1", "--db", str(lab.db_path), str(lab.root), "--json"]
    assert console.run(cli, command, "hashall") == 4
    told = document(capsys.readouterr().out, "scan")
    assert (told["unreadable"], told["roots"]) == ({}, [])
    assert [lost["failed"] for lost in told["given_up"]] == [5]
    assert {file.sha256 for file in lab.known().values()} == {None}
    assert len(lab.known()) == 40


# -- roots that cannot be looked at


def test_a_root_that_is_not_there_keeps_no_other_from_being_scanned(lab: CatalogLab) -> None:
    lab.write("film")
    (lab.root / "loop").symlink_to("loop")
    missing, loop = lab.folder / "missing", lab.root / "loop"
    summary = lab.scan(missing, lab.root, loop)
    assert summary.unreadable == {
        str(missing): "No such file or directory",
        str(loop): "Too many levels of symbolic links",
    }
    assert (summary.added, len(summary.roots)) == (1, 1)


def test_no_root_that_is_there_is_a_mistake(lab: CatalogLab) -> None:
    one, two = lab.folder / "one", lab.folder / "two"
    with pytest.raises(Misused) as error:
        lab.scan(one, two)
    assert error.value.brief == f"cannot scan {one}"
    assert error.value.detail == f"No such file or directory\n{two}: No such file or directory"


def test_a_disk_that_was_unmounted_with_its_folder_is_told_and_keeps_its_files(
    lab: CatalogLab, capfd: pytest.CaptureFixture[str]
) -> None:
    lab.write("film")
    with lab_folder() as folder:
        with tmpfs(folder / "pool") as pool:
            fill(pool, 3)
            lab.scan(pool, lab.root)
            device = lab.spot(pool).device.device_id
        pool.rmdir()
        arguments = ["scan", "--db", str(lab.db_path), str(pool), str(lab.root), "--json"]
        assert console.run(cli, arguments, "hashall") == 4
    told = document(capfd.readouterr().out, "scan")
    why = f"device {device} was mounted there and is not now: mount it and scan again"
    assert told["unreadable"] == {str(pool): why}
    assert (told["unchanged"], told["deleted"]) == (1, 0)
    assert len(list(lab.catalog.files(device).everything())) == 3


@pytest.mark.root
def test_a_root_on_a_dead_disk_is_told_and_the_others_are_scanned(mounts: CatalogLab) -> None:
    lab = mounts
    lab.write("film")
    with xfs(lab.folder, name="disk") as disk:
        fill(disk, 3)
        lab.scan(disk)
        device = lab.spot(disk).device.device_id
        shut_down(disk)
        summary: ScanSummary = lab.scan(disk, lab.root)
        assert summary.unreadable == {str(disk): "Input/output error"}
        assert (summary.added, summary.deleted) == (1, 0)
        assert len(list(lab.catalog.files(device).everything())) == 3


@pytest.mark.parametrize("located", [True, False])
def test_a_root_that_dies_between_the_first_look_and_the_scan_is_told(
    lab: CatalogLab, pool: Path, monkeypatch: pytest.MonkeyPatch, located: bool
) -> None:
    lab.write("film")
    fill(pool, 3)
    dead: list[bool] = []
    usual, usual_stat = scanning._covers, os.stat

    def stat(path: Any, *rest: Any, **options: Any) -> os.stat_result:
        if str(path) == str(pool):
            if dead:
                raise EIO
            if not located:
                dead.append(True)
        return usual_stat(path, *rest, **options)

    def covers(*spots: Any) -> bool:  # asked of the second root, when all are located
        dead.append(True)
        return usual(*spots)

    places = lab.places()
    monkeypatch.setattr(os, "stat", stat)
    monkeypatch.setattr(scanning, "_covers", covers)
    options = scanning.ScanOptions(workers=1)
    summary = scanning.scan(places, [lab.root, pool], options)
    assert summary.unreadable == {str(pool): "Input/output error"}
    assert summary.added == 1


@pytest.mark.parametrize("alone", [True, False])
def test_a_root_whose_filesystem_cannot_be_told_is_told_and_the_others_are_scanned(
    lab: CatalogLab, pool: Path, monkeypatch: pytest.MonkeyPatch, alone: bool
) -> None:
    lab.write("film")
    usual = MountTable.locate

    def locate(self: MountTable, path: Path) -> Any:
        if path == pool:
            raise UnknownFilesystem("two mounted filesystems claim to be the same one")
        return usual(self, path)

    monkeypatch.setattr(MountTable, "locate", locate)
    if alone:
        with pytest.raises(UnknownFilesystem):
            lab.scan(pool)
        return
    summary = lab.scan(pool, lab.root)
    assert summary.unreadable == {str(pool): "two mounted filesystems claim to be the same one"}
    assert summary.added == 1


@pytest.mark.parametrize("helpers_from", [1, 1000])
def test_a_root_that_goes_before_its_files_are_read_ends_no_scan(
    lab: CatalogLab, pool: Path, monkeypatch: pytest.MonkeyPatch, helpers_from: int
) -> None:
    top = lab.root / "top"
    fill(top, 3)
    fill(pool, 2)

    def move_away(state: ScanState) -> None:
        if state.summary.seen == 3 and top.exists():
            monkeypatch.setattr(scanning, "HELPERS_FROM_FILES", helpers_from)
            top.rename(lab.root / "elsewhere")

    summary = lab.scan(top, pool, progress=move_away)
    assert summary.unreadable == {str(top / f"{n}"): "No such file or directory" for n in range(3)}
    assert (summary.given_up, summary.hashes.files, summary.deleted) == ([], 2, 0)
