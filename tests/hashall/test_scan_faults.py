"""Disks, clocks and filesystems that do what they should not while a scan looks at them."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.support.catalog_lab import CatalogLab, counted_reads, on_disk, settle
from tests.support.filesystems import (
    bind,
    ext4,
    file_in,
    image,
    lab_folder,
    mounted,
    run,
    shut_down,
    tmpfs,
    xfs,
    zfs_pool,
)

from hashall import scan as scanning
from hashall import scan_hash
from hashall.catalog import open_catalog
from hashall.catalog import scan_load as loading
from hashall.cli import cli
from hashall.duplicates import find_duplicates
from hashall.scan import DriftPolicy, ScanState
from seedkeep import clock, console
from seedkeep.sqlite import DiskFull, open_database


@pytest.fixture
def mounts() -> Iterator[CatalogLab]:
    """A lab whose mounts are taken down even when a test fails."""
    with lab_folder() as folder:
        made = CatalogLab(folder)
        yield made
        made.close()


# -- the same filesystem under another number


@pytest.mark.root
def test_the_same_disk_under_another_number_is_not_read_again(mounts: CatalogLab) -> None:
    """R-STO-1: an image on another loop device."""
    lab = mounts
    disk, point = image(lab.folder, "ext4", "32M"), lab.folder / "disk"
    with mounted(disk, point, options="loop"):
        settle(file_in(point / "Film"))
        before = point.stat().st_dev
        assert lab.scan(point).hashes.files == 1
    with ExitStack() as occupied:
        for number in range(20):
            occupied.enter_context(tmpfs(lab.folder / f"memory{number}"))
            occupied.enter_context(ext4(lab.folder, "8M", name=f"other{number}"))
            with mounted(disk, lab.folder / "elsewhere", options="loop") as now:
                if now.stat().st_dev == before:
                    continue  # the others do not hold the number that it had yet
                with counted_reads() as reads:
                    summary = lab.scan(now)
                assert lab.known(now) == on_disk(now)
                break
        else:
            raise AssertionError("the number stayed")

    assert reads.whole == []
    assert (summary.added, summary.unchanged, summary.deleted) == (0, 1, 0)
    assert len(lab.catalog.devices.all()) == 1


@pytest.mark.root
def test_a_pool_that_was_exported_and_imported_is_not_read_again(mounts: CatalogLab) -> None:
    """R-STO-1"""
    lab = mounts
    with zfs_pool(lab.folder) as pool:
        media = pool.create("media")
        settle(file_in(media / "Film"))
        before = media.stat().st_dev
        lab.scan(media)
        with ExitStack() as occupied:
            for number in range(20):
                pool.export()
                occupied.enter_context(tmpfs(lab.folder / f"memory{number}"))
                pool.import_again()
                if media.stat().st_dev != before:  # the tmpfs holds the number that it had
                    break
            assert media.stat().st_dev != before
            with counted_reads() as reads:
                summary = lab.scan(media)

        assert reads.whole == []
        assert (summary.added, summary.unchanged, summary.deleted) == (0, 1, 0)
        assert len(lab.catalog.devices.all()) == 1


@pytest.mark.root
def test_two_mounts_of_one_filesystem_are_one_device_and_one_row(mounts: CatalogLab) -> None:
    """R-STO-4"""
    lab = mounts
    with ext4(lab.folder, "16M", name="disk") as point:
        settle(file_in(point / "Film"))
        with bind(point, lab.folder / "again"):
            first = lab.scan(point)
            second = lab.scan(lab.folder / "again")

    assert (first.added, second.added, second.unchanged) == (1, 0, 1)
    assert len(lab.catalog.devices.all()) == 1


# -- loops and places


def test_loops_of_symlinks_end(lab: CatalogLab) -> None:
    lab.write("a/film.mkv")
    (lab.root / "a/up").symlink_to("..")
    (lab.root / "a/self").symlink_to("self")
    (lab.root / "b").symlink_to("c")
    (lab.root / "c").symlink_to("b")

    summary = lab.scan()

    assert set(lab.known()) == {"a/film.mkv"}
    assert summary.skipped == {"symlink": 4}


def test_a_place_beside_the_scanned_ones_is_not_covered(lab: CatalogLab, tmp_path: Path) -> None:
    """R-CAT-11"""
    lab.write("films/film.mkv")
    lab.scan(lab.root / "films")
    spot = lab.spot(tmp_path)
    scans = lab.catalog.scans
    assert scans.coverage(spot.device.device_id, spot.place.relpath).completed_at is None
    assert lab.files().file(lab.spot(lab.root).place.relpath) is None


# -- files that move


def test_a_file_that_is_cut_short_while_it_is_read_gets_no_hash(
    lab: CatalogLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = lab.write("film.mkv", bytes(3 << 20))
    real = os.readv

    def read_and_cut(fd: int, buffers: Any) -> int:
        os.truncate(path, 1 << 20)
        return real(fd, buffers)

    with monkeypatch.context() as patch:
        patch.setattr(os, "readv", read_and_cut)
        summary = lab.scan()

    assert summary.hashes.changing == [str(path)]
    assert lab.known()["film.mkv"].sha256 is None
    lab.scan()
    assert lab.known() == on_disk(lab.root)


@pytest.mark.parametrize("size", [4, 5, 6])
def test_a_small_file_that_changes_its_length_while_it_is_read_gets_no_hash(
    lab: CatalogLab, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    path = lab.write("film.mkv", b"12345")
    real = os.read

    def read_late(fd: int, count: int) -> bytes:
        if os.fstat(fd).st_ino == path.stat().st_ino:
            path.write_bytes(bytes(size))
        return real(fd, count)

    with monkeypatch.context() as patch:
        patch.setattr(os, "read", read_late)
        summary = lab.scan()

    assert summary.hashes.changing == [str(path)]
    lab.scan()
    assert lab.known() == on_disk(lab.root)


# -- clocks


def test_a_clock_that_was_set_back_hides_no_change(lab: CatalogLab) -> None:
    """Neither our clock nor the files' times are compared with the last scan's."""
    lab.write("old.mkv", b"old")
    with clock.using(now=lambda: datetime(2030, 1, 1, tzinfo=UTC)):
        lab.scan()
    lab.write("new.mkv", b"new")
    (lab.root / "old.mkv").unlink()
    film = lab.write("back.mkv", b"back")
    os.utime(film, ns=(0, 0))

    with clock.using(now=lambda: datetime(2020, 1, 1, tzinfo=UTC)):
        summary = lab.scan()

    assert (summary.added, summary.deleted) == (2, 1)
    assert lab.known() == on_disk(lab.root)
    spot = lab.spot()
    covered = lab.catalog.scans.coverage(spot.device.device_id, spot.place.relpath)
    assert covered.completed_at == datetime(2020, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("when_ns", [-(10**18), 0, 4 * 10**18])
def test_times_before_1970_and_far_ahead_are_kept(lab: CatalogLab, when_ns: int) -> None:
    film = lab.write("film.mkv")
    os.utime(film, ns=(0, when_ns))
    lab.scan()
    with counted_reads() as reads:
        assert lab.scan(drift=DriftPolicy.METADATA).unchanged == 1
    assert reads.whole == []


# -- the catalog's own disk


@pytest.mark.root
def test_a_full_disk_under_the_catalog_leaves_a_catalog_that_goes_on(
    mounts: CatalogLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R-OPS-5: at every point at which the disk can be full."""
    lab = mounts
    monkeypatch.setattr(scanning, "CHANGES_PER_COMMIT", 50)
    for name in ("ENTRIES_PER_TASK", "READ_PER_TASK"):
        monkeypatch.setattr(scanning, name, 50)
    monkeypatch.setattr(scan_hash, "SECONDS_PER_COMMIT", -1.0)
    for number in range(300):
        lab.write(f"{number % 20}/{'long name ' * 20}{number}", b"%d" % number)
    expected = on_disk(lab.root)
    full = 0
    with tmpfs(lab.folder / "small", size="24M") as small:
        lab.catalog.db.close()
        lab.catalog = open_catalog(small / "catalog.db", create=True)
        filler = small / "filler"
        for kib in range(3000, 0, -200):
            try:
                _fill(filler, small, kib)
                lab.scan()
            except DiskFull:
                full += 1
                filler.unlink()  # or this test could not read either
                names = {name: file for name, file in lab.known().items() if file.sha256}
                assert names.items() <= expected.items()
                continue
            break
        filler.unlink(missing_ok=True)
        lab.scan()
        assert lab.known() == expected
        assert lab.db.one("PRAGMA integrity_check")[0] == "ok"  # type: ignore[index]
        lab.catalog.db.close()
    assert full > 0


def _fill(filler: Path, disk: Path, leave_kib: int) -> None:
    """Leave so much free, counted down: a little more fits each time."""
    free = os.statvfs(disk)
    filler.write_bytes(bytes(max(0, free.f_bavail * free.f_frsize - (3200 - leave_kib) * 1024)))


# -- readers beside a scan


def test_readers_are_never_blocked_and_never_wrong(
    lab: CatalogLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever reads meanwhile sees each file as it was before the scan, or as it is after it."""
    monkeypatch.setattr(scanning, "CHANGES_PER_COMMIT", 20)
    monkeypatch.setattr(scanning, "READ_PER_TASK", 10)
    monkeypatch.setattr(scanning, "ENTRIES_PER_TASK", 10)
    monkeypatch.setattr(scan_hash, "SECONDS_PER_COMMIT", -1.0)
    monkeypatch.setattr(loading, "LARGE_LOAD", 10)  # indexes come and go
    for number in range(200):
        lab.write(f"{number % 10}/{number}.mkv", b"old %d" % number)
    lab.scan()
    before = lab.known()
    for number in range(0, 200, 3):
        lab.write(f"{number % 10}/{number}.mkv", b"new %d" % number)
    for number in range(1, 200, 5):
        (lab.root / f"{number % 10}/{number}.mkv").rename(
            lab.root / f"{number % 10}/moved {number}"
        )
    after = on_disk(lab.root)
    device = lab.spot().device.device_id
    problems: list[str] = []
    rounds = 0
    ended = threading.Event()

    def read() -> None:
        nonlocal rounds
        with open_database(lab.db_path, readonly=True, busy_timeout_s=0) as db:
            while not ended.is_set():
                rows = db.tuples(
                    f"SELECT path, inode, size, sha256 FROM files_{device} WHERE status = 'active'"
                )
                for path, inode, size, sha256 in rows:
                    name = path[path.index("/files/") + len("/files/") :]
                    known = (inode, size, sha256)
                    fine = [side.get(name) for side in (before, after)]
                    if known not in fine and (inode, size, None) != (known[0], known[1], sha256):
                        problems.append(f"{name}: {known}")
                rounds += 1

    reader = threading.Thread(target=read)
    reader.start()
    try:

        def wait_for_reader(_: ScanState) -> None:
            seen = rounds
            while rounds < seen + 1 and reader.is_alive():
                ended.wait(0.001)

        lab.scan(progress=wait_for_reader)
    finally:
        ended.set()
        reader.join()

    assert problems == []
    assert rounds > 10
    assert lab.known() == after


# -- large loads


def test_a_large_load_makes_its_indexes_again(
    lab: CatalogLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "LARGE_LOAD", 10)
    monkeypatch.setattr(loading, "FOLDERS_REMEMBERED", 3)
    for number in range(60):
        lab.write(f"{number % 7}/deep/{number}.mkv", b"%d" % number)
    before = indexes(lab) if lab.catalog.devices.all() else set()
    lab.scan()
    assert lab.known() == on_disk(lab.root)
    assert indexes(lab) >= {"names_1_by_inode_gone", "inodes_1_by_bytes_nlink"} | before


def test_indexes_that_a_killed_scan_left_out_are_made_by_the_next(lab: CatalogLab) -> None:
    lab.write("film.mkv")
    lab.scan()
    made = indexes(lab)
    lab.db.execute("DROP INDEX names_1_by_inode_gone")
    lab.db.execute("DROP INDEX inodes_1_by_bytes_nlink")
    lab.scan()
    assert indexes(lab) == made


@pytest.mark.parametrize("large", [True, False])
def test_a_scan_replaces_the_indexes_of_an_older_release(
    lab: CatalogLab, monkeypatch: pytest.MonkeyPatch, large: bool
) -> None:
    lab.write("film.mkv")
    lab.write("copy.mkv")
    lab.scan()
    made = indexes(lab)
    lab.db.execute("DROP INDEX names_1_by_inode_gone")
    lab.db.execute("DROP INDEX inodes_1_by_bytes_nlink")
    lab.db.execute("CREATE INDEX names_1_by_inode ON names_1 (inode)")
    lab.db.execute("CREATE INDEX inodes_1_by_bytes ON inodes_1 (sha256, size)")
    before = find_duplicates(lab.places())
    if large:
        monkeypatch.setattr(loading, "LARGE_LOAD", 1)
    lab.write("third.mkv")
    lab.scan()
    assert indexes(lab) == made
    assert [len(group.copies) for group in before.groups] == [2]
    assert [len(group.copies) for group in find_duplicates(lab.places()).groups] == [3]


@pytest.mark.parametrize("as_json", [False, True])
def test_indexes_that_take_a_while_to_make_again_are_told_before(
    lab: CatalogLab,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    as_json: bool,
) -> None:
    """Two million names take long enough to be taken for a hanging program."""
    for number in range(20):
        lab.write(f"{number}")
    lab.scan()
    command = ["scan", "--db", str(lab.db_path), str(lab.root), *(["--json"] if as_json else [])]
    said = "making the indexes of 20 names again"
    for names, told in ((21, 0), (20, 1), (20, 0)):  # once they are there, nobody waits for them
        if told:
            lab.db.execute("DROP INDEX names_1_by_inode_gone")
            lab.db.execute("CREATE INDEX names_1_by_inode ON names_1 (inode)")
        monkeypatch.setattr(loading, "LARGE_LOAD", names)
        assert console.run(cli, command, "hashall") == 0
        assert capsys.readouterr().err.count(said) == told


def test_inodes_that_a_killed_scan_left_without_a_name_are_forgotten_by_the_next(
    lab: CatalogLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = lab.write("gone.mkv")
    other = lab.write("other.mkv")
    lab.scan()
    inode = gone.stat().st_ino
    gone.unlink()
    with monkeypatch.context() as patch:
        patch.setattr(loading.CatalogLoad, "forget_nameless", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            lab.scan()
    assert inode in inodes(lab)
    other.unlink()
    lab.scan()
    assert inodes(lab) == set()


def test_they_are_forgotten_also_when_the_next_scan_finds_nothing_gone(
    lab: CatalogLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends what the killed one began, so no later scan would look for them."""
    gone, other = lab.write("gone.mkv"), lab.write("other.mkv")
    lab.scan()
    stays = other.stat().st_ino
    gone.unlink()
    with monkeypatch.context() as patch:
        patch.setattr(loading.CatalogLoad, "forget_nameless", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            lab.scan()
    lab.scan()
    assert inodes(lab) == {stays}


def indexes(lab: CatalogLab) -> set[str]:
    return {row[0] for row in lab.db.tuples("SELECT name FROM sqlite_schema WHERE type = 'index'")}


def inodes(lab: CatalogLab) -> set[int]:
    return {row[0] for row in lab.db.tuples("SELECT inode FROM inodes_1")}


# -- disks that fail in places


@pytest.mark.root
def test_one_damaged_inode_hides_none_of_its_neighbours(mounts: CatalogLab) -> None:
    lab = mounts
    disk, point = image(lab.folder, "ext4", "32M"), lab.folder / "disk"
    with mounted(disk, point, options="loop"):
        for name in ("a", "bad", "folder/film", "z"):
            settle(file_in((point / name).parent, Path(name).name))
        assert lab.scan(point).added == 4
    run("debugfs", "-w", "-R", "set_inode_field /bad extra_isize 0xfff0", disk)
    with mounted(disk, point, options="loop"):
        settle(file_in(point / "folder", "new"))
        summary = lab.scan(point)
        assert summary.unreadable == {str(point / "bad"): "Structure needs cleaning"}
        assert (summary.added, summary.deleted) == (1, 0)
        assert set(lab.known(point)) == {"a", "bad", "folder/film", "folder/new", "z"}
        spot = lab.spot(point)
        coverage = lab.catalog.scans.coverage(spot.device.device_id, "")
        assert coverage.gaps == (("bad", "Structure needs cleaning"),)


@pytest.mark.root
def test_a_dead_disk_that_is_mounted_below_blinds_no_scan_of_what_is_around_it(
    mounts: CatalogLab,
) -> None:
    lab = mounts
    with xfs(lab.root, name="nested") as nested:
        lab.write("film")
        (lab.root / "folder").mkdir()
        shut_down(nested)
        summary = lab.scan(exclude=("*.img",))
    why = "mounted here, and not to be read: Input/output error"
    assert summary.unreadable == {str(nested): why}
    assert set(lab.known()) == {"film"}


class _Without:
    """A listing in which nobody can say what this name is, and the system says it is not there."""

    def __init__(self, entries: Any, name: str) -> None:
        self._entries, self._name = entries, name

    def __enter__(self) -> Any:
        for entry in self._entries:
            yield _Absent(entry.name) if entry.name == self._name else entry

    def __exit__(self, *_: object) -> None:
        self._entries.close()


@dataclass
class _Absent:
    name: str

    def stat(self, *, follow_symlinks: bool) -> os.stat_result:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))


@pytest.mark.root
def test_what_lies_below_a_mount_that_says_it_is_not_there_is_not_gone(
    mounts: CatalogLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program behind a filesystem may say so of its top."""
    lab, real = mounts, os.scandir
    lab.write("nested/below")
    lab.scan()
    with tmpfs(lab.root / "nested"):
        monkeypatch.setattr(os, "scandir", lambda fd: _Without(real(fd), "nested"))
        assert lab.scan(workers=1).deleted == 0
    assert set(lab.known()) == {"nested/below"}
