"""Copies on other filesystems: proposed, and deleted only on request and never the last one."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.hashall.linking.test_unfinished import FewTorrents
from tests.support.catalog_lab import CatalogLab, settle
from tests.support.filesystems import lab_folder
from tests.support.linking import CONTENT, LinkLab, an_instance, only, skipped_because
from tests.support.listed_client import a_torrent

from hashall import fsops
from hashall.linking.execute import ExecuteOptions
from hashall.linking.model import ActionState, Plan, PlanStatus
from hashall.linking.running import Runner, RunOptions
from hashall.model import TorrentFileOnDisk
from hashall.qbittorrent import PathMap
from seedkeep.torrent_client import TorrentState


class Two:
    """The same film on the disk and in memory; the one on the disk has two names."""

    def __init__(self, folder: Path, memory: Path) -> None:
        self.linked = LinkLab(CatalogLab(folder))
        self.disk = self.linked.lab.write("film", CONTENT)
        os.link(self.disk, self.disk.with_name("second"))
        self.memory = memory / "film"
        self.memory.write_bytes(CONTENT)
        settle(self.memory)
        self.scan()

    def scan(self) -> None:
        self.linked.lab.scan(self.linked.root, self.memory.parent)

    def plan(self) -> Plan:
        return self.linked.plan(same_device=False, cross_device=True)


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Two]:
    with lab_folder(Path("/dev/shm")) as memory:
        made = Two(tmp_path, memory)
        yield made
        made.linked.lab.close()


def test_the_copy_with_fewer_names_is_proposed_and_nothing_happens_by_itself(two: Two) -> None:
    plan = two.plan()
    assert plan.actions["DELETE"].count == 1
    done = two.linked.execute(plan)
    assert done.results == ()
    assert done.left == 1
    assert two.memory.exists()


def test_with_allow_delete_it_goes_and_the_catalog_knows_it(two: Two) -> None:
    plan = two.plan()
    looked = two.linked.execute(plan, dry_run=True, allow_delete=True)
    assert only(looked).state is ActionState.PLANNED
    assert two.memory.exists()
    done = two.linked.execute(plan, allow_delete=True)
    assert done.bytes_saved == len(CONTENT)
    assert not two.memory.exists()
    assert two.disk.read_bytes() == CONTENT
    assert two.linked.links().find(plan.plan_id).status is PlanStatus.EXECUTED
    assert two.linked.lab.known(two.memory.parent) == {}


def test_a_copy_that_a_torrent_uses_is_never_deleted(two: Two) -> None:
    plan = two.plan()
    place = two.linked.lab.spot(two.memory).place
    an_instance(
        two.linked.lab.catalog,
        "t" * 40,
        [TorrentFileOnDisk("film", 1, place.device_id, place.relpath, two.memory.stat().st_ino)],
    )
    assert skipped_because(two.linked.execute(plan, allow_delete=True)) == ["seeded"]
    (group,) = two.linked.links().analyze(None, cross_device=True, min_size=1, limit=9).cross
    assert [copy.torrents for copy in group.copies] == [(), ("t" * 40,)]
    later = two.plan()  # now the seeded copy is the one to keep
    assert [a.target.path for a in two.linked.lab.catalog.links.actions(later.plan_id)] == [
        str(two.disk).lstrip("/"),
        str(two.disk.with_name("second")).lstrip("/"),
    ] or later.actions["DELETE"].count == 2


def test_a_copy_in_a_library_stays(two: Two) -> None:
    links = two.linked.links(libraries=[two.memory.parent, Path("/nowhere/at/all")])
    (group,) = links.analyze(None, cross_device=True, min_size=1, limit=9).cross
    assert [copy.libraries for copy in group.copies] == [(), (str(two.memory.parent),)]


def damage(path: Path) -> None:
    times = path.stat()
    with path.open("r+b") as out:
        out.write(b"X")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def grow(path: Path) -> None:
    path.write_bytes(CONTENT + b"more")


def remove(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize(
    ("change", "reason"), [(damage, "bytes-differ"), (grow, "changed"), (remove, "missing")]
)
@pytest.mark.parametrize("side", ["disk", "memory"])
def test_the_last_good_copy_is_never_deleted(
    two: Two, change: Callable[[Path], None], reason: str, side: str
) -> None:
    plan = two.plan()
    change(getattr(two, side))
    assert skipped_because(two.linked.execute(plan, allow_delete=True)) == [reason]
    assert side == "memory" or two.memory.read_bytes() == CONTENT


def test_a_copy_that_is_being_written_to_is_not_deleted(two: Two) -> None:
    plan = two.plan()
    with two.disk.open("r+b"):
        done = two.linked.execute(plan, allow_delete=True)
    assert skipped_because(done) == ["open-for-writing"]
    assert two.memory.exists()


@pytest.mark.parametrize("before", [True, False])
def test_a_crash_around_the_deletion_is_put_in_order(
    two: Two, monkeypatch: pytest.MonkeyPatch, before: bool
) -> None:
    plan = two.plan()
    real = fsops.retire_file

    def crash(*args: object, **named: object) -> int:
        if not before:
            real(*args, **named)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    monkeypatch.setattr(fsops, "retire_file", crash)
    with pytest.raises(KeyboardInterrupt):
        two.linked.execute(plan, allow_delete=True)
    monkeypatch.undo()
    assert two.memory.exists() is before
    assert two.linked.execute(plan, allow_delete=True).left == 0
    assert not two.memory.exists()
    # Nobody saw the bytes go that went right before the crash: it may have had another name.
    saved = two.linked.links().find(plan.plan_id).bytes_saved
    assert saved == (len(CONTENT) if before else 0)


def test_a_cancelled_plan_deletes_nothing_more(two: Two) -> None:
    for folder in (two.linked.root, two.memory.parent):
        (folder / "show").write_bytes(b"another film")
        settle(folder / "show")
    two.scan()
    plan = two.plan()
    assert plan.actions["DELETE"].count == 2
    links = two.linked.links()

    def cancel(_: object) -> None:
        links.cancel(plan.plan_id)

    runner = Runner(links, progress=cancel)
    options = RunOptions(act=ExecuteOptions(allow_delete=True), dry_run=False, force=True)
    done = runner.execute(plan.plan_id, options)
    assert (done.done, done.left, done.cancelled) == (1, 1, True)
    assert links.find(plan.plan_id).status is PlanStatus.CANCELLED


def test_a_copy_that_a_torrent_seeds_since_the_last_sync_is_not_deleted(two: Two) -> None:
    an_instance(two.linked.lab.catalog, "t" * 40)  # the catalog knows of a client
    plan = two.plan()
    client = FewTorrents()
    client.add(
        a_torrent(
            "film",
            str(two.memory.parent),
            state=TorrentState.STALLED_UP,
            progress=1.0,
            amount_left=0,
        ),
        "film",
    )
    runner = Runner(two.linked.links(clients=lambda: [(client, PathMap())]))
    options = RunOptions(act=ExecuteOptions(allow_delete=True), dry_run=False, force=True)
    done = runner.execute(plan.plan_id, options)
    assert skipped_because(done) == ["seeded"]
    assert two.memory.exists()


@pytest.mark.root
def test_what_an_overlay_shows_is_no_other_copy(tmp_path: Path) -> None:
    with lab_folder(Path("/dev/shm")) as memory:
        lower, upper, work, merged = (memory / name for name in ("l", "u", "w", "merged"))
        for folder in (lower, upper, work, merged):
            folder.mkdir()
        film = lower / "film"
        film.write_bytes(CONTENT)
        settle(film)
        options = f"lowerdir={lower},upperdir={upper},workdir={work}"
        command = ["mount", "-t", "overlay", "overlay", "-o", options, merged]
        subprocess.run(command, check=True)
        try:
            linked = LinkLab(CatalogLab(tmp_path))
            linked.root.mkdir(parents=True, exist_ok=True)
            linked.lab.scan(merged, lower)
            plan = linked.plan(same_device=False, cross_device=True)
            linked.execute(plan, allow_delete=True)
            assert film.read_bytes() == CONTENT
            linked.lab.close()
        finally:
            subprocess.run(["umount", merged], check=True)
