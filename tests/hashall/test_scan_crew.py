"""Scans with helpers: other processes walk and read, and may be ended at any moment."""

from __future__ import annotations

import os
import random
import signal
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from tests.support.catalog_lab import CatalogLab, on_disk, settle

from hashall import scan as scanning
from hashall import scan_crew, scan_read
from hashall.catalog import open_catalog
from hashall.hashing import BLOCK
from hashall.scan import HashMode, ScanState
from hashall.scan_at_once import Share, read_at_once
from hashall.scan_crew import Crew, HelperEnded
from hashall.scan_model import DriftPolicy, Findings, WalkPlace
from hashall.scan_work import WalkTask, Worker
from seedkeep.sqlite import MissingDatabase


@pytest.fixture(autouse=True)
def helpers_from_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HELPERS_FROM_ENTRIES", "HELPERS_FROM_FILES", "HELPERS_FROM_BYTES"):
        monkeypatch.setattr(scanning, name, 1)
    for name in ("ENTRIES_PER_TASK", "READ_PER_TASK"):
        monkeypatch.setattr(scanning, name, 10)
    monkeypatch.setattr(scanning, "FOLDERS_PER_TASK", 3)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """Every helper that was started; all have ended when the test has."""
    found: list[Any] = []
    real = scan_crew._start

    def start(number: int) -> Any:
        found.append(real(number))
        return found[-1]

    monkeypatch.setattr(scan_crew, "_start", start)
    yield found
    assert all(helper.process.returncode is not None for helper in found)


def a_tree(lab: CatalogLab, folders: int = 25) -> None:
    dice = random.Random(9)
    for folder in range(folders):
        above = f"{folder % 5}/{os.fsdecode(b'caf' + bytes([0xE9]))} {folder}"
        for number in range(8):
            path = lab.write(f"{above}/{number}.mkv", dice.randbytes(dice.randrange(200)))
            if dice.random() < 0.2:
                os.link(path, lab.root / f"link-{folder}-{number}")


def test_helpers_find_what_one_process_finds(lab: CatalogLab, started: list[Any]) -> None:
    a_tree(lab)

    first = lab.scan(workers=3)
    assert lab.known() == on_disk(lab.root)
    again = lab.scan(workers=3)

    alone = CatalogLab(lab.folder / "alone")
    alone.root.rmdir()
    alone.root.symlink_to(lab.root)
    assert asdict(alone.scan(workers=1)) == asdict(first)
    assert asdict(alone.scan(workers=1)) == asdict(again)
    alone.close()
    assert len(started) == 2 * 3 - 1  # the second had nothing to read


def test_changes_are_counted_alike_whoever_is_quicker(lab: CatalogLab, started: list[Any]) -> None:
    """A changed inode with names in many folders: each counts, whichever was compared first."""
    film = lab.write("0/film.mkv", b"old")
    for number in range(1, 30):
        (lab.root / str(number)).mkdir()
        os.link(film, lab.root / f"{number}/film.mkv")
    lab.scan(workers=1)
    for size in (10, 11):
        film.write_bytes(bytes(size))
        settle(film)
        summary = lab.scan(workers=size - 8)
        assert (summary.changed, summary.unchanged) == (30, 0)
    assert lab.known() == on_disk(lab.root)


@pytest.mark.parametrize("mode", list(HashMode))
def test_a_helper_that_is_ended_costs_nothing_but_time(
    lab: CatalogLab, started: list[Any], monkeypatch: pytest.MonkeyPatch, mode: HashMode
) -> None:
    a_tree(lab)
    give = scan_crew._Helper.give
    given = [0]

    def give_and_end(self: Any, task: Any) -> None:
        give(self, task)
        given[0] += 1
        if given[0] in (3, 6):
            os.kill(self.process.pid, signal.SIGKILL)

    monkeypatch.setattr(scan_crew._Helper, "give", give_and_end)
    summary = lab.scan(workers=3, mode=mode)
    monkeypatch.undo()

    assert (summary.seen, summary.unreadable) == (len(on_disk(lab.root)), {})
    lab.scan(workers=1)
    assert lab.known() == on_disk(lab.root)


def test_helpers_that_cannot_live_end_the_scan_with_words(
    lab: CatalogLab, started: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    a_tree(lab)
    monkeypatch.setattr(scan_crew, "_PROGRAM", "raise SystemExit(3)")

    with pytest.raises(HelperEnded, match="end as soon as they are started") as error:
        lab.scan(workers=2)

    assert "--workers 1" in error.value.hint
    monkeypatch.undo()
    lab.scan(workers=1)
    assert lab.known() == on_disk(lab.root)


def test_a_failure_in_a_helper_is_told_as_if_it_were_ours(
    lab: CatalogLab, started: list[Any], tmp_path: Path
) -> None:
    crew = Crew(lambda _: None)
    place = a_place(lab, catalog=str(tmp_path / "missing.db"))
    crew.call(1)
    crew._helpers[0].give(WalkTask(place, ("",), 10))
    crew._open += 1
    try:
        with pytest.raises(MissingDatabase) as error:
            crew.answer()
    finally:
        crew.close()
    assert "missing.db" in error.value.brief


def a_place(lab: CatalogLab, **fields: Any) -> WalkPlace:
    seen = lab.root.stat()
    given: dict[str, Any] = {
        "device_id": 1,
        "abspath": str(lab.root),
        "relpath": "files",
        "st_dev": seen.st_dev,
        "inode": seen.st_ino,
        "catalog": None,
        "first": False,
        "readers": 2,
        "true_links": True,
        "mount_points": frozenset(),
        "databases": frozenset(),
        "exclude": (),
        "drift": DriftPolicy.QUICK,
        "mode": HashMode.FULL,
    }
    return WalkPlace(**(given | fields))


def test_a_place_that_is_another_one_now_is_a_gap_and_not_an_empty_folder(lab: CatalogLab) -> None:
    """R-CAT-7: what a helper that comes late would find below a fresh mount."""
    worker = Worker(lambda _: None)
    place = a_place(lab, inode=1)

    found = worker.do(WalkTask(place, ("", "a"), 10))

    assert isinstance(found, Findings)
    assert found.gaps.keys() == {"files", "files/a"}
    assert found.unreadable == dict.fromkeys(
        (str(lab.root), f"{lab.root}/a"), "something was mounted here during the scan"
    )


def test_progress_tells_of_bytes_within_a_large_file(
    lab: CatalogLab, started: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with (lab.root / "film.mkv").open("wb") as out:
        out.truncate(150 << 20)
    settle(lab.root / "film.mkv")
    seen: list[tuple[bool, int, int]] = []

    def note(state: ScanState) -> None:
        seen.append((state.hashing, state.waiting_bytes, state.read_bytes))

    lab.scan(workers=2, progress=note)

    told = [read for hashing, _, read in seen if hashing]
    assert {64 << 20, 128 << 20} <= set(told)
    assert seen[-1] == (False, 0, 0)


def test_nothing_waits_behind_a_very_large_file_while_another_helper_has_room(
    lab: CatalogLab, started: list[Any]
) -> None:
    def reading(size: int) -> scan_read.ReadTask:
        return scan_read.ReadTask(str(lab.root), 0, None, True, [], size, 0)

    crew = Crew(lambda _: None)
    try:
        crew.call(2)
        crew.submit(reading(1 << 40))
        for _ in range(4):
            crew.submit(reading(1))
        assert sorted(len(helper.tasks) for helper in started) == [1, 4]
    finally:
        crew.close()


def test_many_tasks_wait_in_the_pipe_of_a_helper_without_blocking(
    lab: CatalogLab, started: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    a_tree(lab, folders=40)
    monkeypatch.setattr("hashall.scan.BATCH_FILES", 1)
    monkeypatch.setattr(scan_crew, "_PIPE", 4096)
    lab.scan(workers=2)
    assert lab.known() == on_disk(lab.root)


def test_a_killed_scan_leaves_no_helper_behind(lab: CatalogLab, tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        try:
            a_tree(lab)
            lab.catalog = open_catalog(tmp_path / "other.db", create=True)
            pids = tmp_path / "pids"

            def stop(_: ScanState) -> None:
                running = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text()
                if running:
                    pids.write_text(running)
                    os.kill(os.getpid(), signal.SIGKILL)

            lab.scan(workers=3, progress=stop)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    for pid in (tmp_path / "pids").read_text().split():
        while _lives(int(pid)):
            os.sched_yield()


def _lives(pid: int) -> bool:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return text.rpartition(")")[2].split()[0] != "Z"


def test_reads_of_a_batch_have_one_outcome_each(lab: CatalogLab) -> None:
    lab.write("good.mkv", b"good")
    (lab.root / "folder").mkdir()
    seen = (lab.root / "good.mkv").stat()
    key = (seen.st_ino, seen.st_size, seen.st_mtime_ns)
    items: list[scan_read.Item] = [
        (*key, None, "files", "good.mkv", 0, 9),
        (5, 0, 0, None, "files", "gone.mkv", 0, 9),
        (6, 0, 0, None, "files", "folder", 0, 9),
        (7, *key[1:], None, "files", "good.mkv", 0, 9),
    ]
    task = scan_read.ReadTask(str(lab.root), len("files/"), seen.st_dev, True, items, 8, 100)

    outcome = scan_read.read_all(task)

    assert [row[3:] for row in outcome.reads] == [(9, *key)]
    assert list(outcome.problems) == ["folder"]
    assert outcome.changing == ["good.mkv"]
    elsewhere = scan_read.ReadTask(str(lab.root), len("files/"), 1, True, items[:1], 4, 100)
    assert scan_read.read_all(elsewhere).problems == {
        "good.mkv": "something was mounted here during the scan"
    }


def test_large_files_are_read_the_largest_first_and_by_one_process_more(
    lab: CatalogLab, started: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else one reader may have the largest of all left when the others are done."""
    monkeypatch.setattr("hashall.catalog.scan_load.LARGE_FILE", 1000)
    monkeypatch.setattr(scanning, "LARGE_ON_AVERAGE", 1000)
    monkeypatch.setattr("hashall.scan.BATCH_FILES", 1)
    sizes = [900, 5000, 1000, 800, 7000, 7000, 999]
    for number, size in enumerate(sizes):
        os.link(lab.write(f"{number}.mkv", bytes(size)), lab.root / f"link {number}")
    monkeypatch.setattr(scanning, "HELPERS_FROM_ENTRIES", 1000)  # nothing is read while walking
    asked: list[int] = []
    give = scan_crew._Helper.give

    def note(self: Any, task: Any) -> None:
        if isinstance(task, scan_read.ReadTask):
            asked.extend(item[1] for item in task.items)
        give(self, task)

    monkeypatch.setattr(scan_crew._Helper, "give", note)
    lab.scan(workers=2)

    assert len(started) == 3
    assert asked[:4] == [7000, 7000, 5000, 1000]
    assert sorted(asked[4:]) == [800, 900, 999]
    assert lab.known() == on_disk(lab.root)


def test_each_inode_is_read_once_also_by_helpers_that_came_one_after_the_other(
    lab: CatalogLab, started: list[Any], memory_disk: Path
) -> None:
    """What is left to read calls one helper more than a walk, and no share is its own."""
    large = lab.write("large.mkv", bytes(BLOCK))
    os.link(large, lab.root / "link to large.mkv")
    for number in range(60):
        film = memory_disk / f"{number}.mkv"
        film.write_bytes(b"%d" % number)
        settle(film)
        for folder in (f"{number}", f"again {number}", f"once more {number}"):
            (memory_disk / folder).mkdir()
            os.link(film, memory_disk / folder / "film.mkv")

    summary = lab.scan(lab.root, memory_disk, workers=3)

    assert len(started) == 3
    assert summary.hashes.files == 61
    assert lab.known(memory_disk) == on_disk(memory_disk)


def test_a_first_scan_reads_in_this_process_and_in_one_helper_less_than_there_are_workers(
    lab: CatalogLab, started: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(100):
        lab.write(f"{number % 12}/{number}.nfo", b"%d" % number)
    monkeypatch.setattr(scan_crew, "_MOST_WALKS", 1)  # so that something is left for this one
    read: list[int] = []  # files that were

    def note(found: Findings, place: WalkPlace, share: Share) -> None:
        read_at_once(found, place, share)
        read.append(found.hashed.files)
        assert len(started) == 2

    monkeypatch.setattr("hashall.scan_work.read_at_once", note)
    summary = lab.scan(workers=3)

    assert 0 < sum(read) < summary.hashes.files == 100
    assert lab.known() == on_disk(lab.root)


@pytest.fixture
def memory_disk() -> Iterator[Path]:
    """A folder on another filesystem than the lab's."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)
