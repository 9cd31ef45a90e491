"""What a demotion costs: each byte written once, and seconds without seeding that no size changes.

A group of three siblings, with 10 MiB and with 1 GiB, on both versions.  The figures are in the
report of the test run (`-rA` shows them).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from tests.support.filesystems import lab_folder, xfs
from tests.support.lab import Lab
from tests.support.moves import KIND, Rows, steady
from tests.support.qbt import RealClient
from tests.support.shapes import Shape, group_of
from tests.support.traffic import written_to
from tests.support.watch import Observation, Observer

pytestmark = [pytest.mark.real, pytest.mark.root, pytest.mark.slow]
MIB = 2**20
SIZES = {"10 MiB": 10 * MIB, "1 GiB": 1024 * MIB}
MOST_S = 8.0  # without seeding
REFRESH_S = 1.5  # of what the client reports: two equal waits can differ by as much
OVERHEAD = 4 * MIB  # for directories, inodes and the filesystem's own journal


@dataclass(frozen=True)
class Cost:
    shape: Shape
    size: int  # bytes of the payload
    written: int  # bytes, to the pool's own disk
    seen: Observation
    before: Rows
    after: Rows
    files: tuple[Path, ...]  # of every torrent, on the pool
    steps: tuple[tuple[str, float], ...]  # with their seconds

    def __str__(self) -> str:
        slow = ", ".join(f"{name} {took:.1f}" for name, took in self.steps if took >= 0.1)
        return (
            f"{self.size // MIB} MiB, {len(self.shape.group)} torrents:"
            f" {self.written / MIB:.1f} MiB written,"
            f" {self.seen.of(self.shape.group).worst_s:.1f} s not seeding; seconds in {slow}"
        )


@pytest.fixture(scope="module")
def costs(version: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Cost]]:
    """Stash in memory, pool on a disk of its own."""
    folder = tmp_path_factory.mktemp("bar")
    with (
        lab_folder(Path("/dev/shm")) as stash,
        lab_folder() as disks,
        xfs(disks, "1600M", name="pool") as pool,
        RealClient(version, profile=folder / "client") as client,
    ):
        lab = Lab(folder / "home", stash, pool, client)
        shapes = {
            name: group_of(lab, name.replace(" ", "-"), size, siblings=3)
            for name, size in SIZES.items()
        }
        lab.look()
        yield {name: demote(lab, shape) for name, shape in shapes.items()}


def demote(lab: Lab, shape: Shape) -> Cost:
    before, plan = lab.rows(), lab.home / "plan.json"
    lab.run("rehome", "plan", "--demote", "--torrent-hash", shape.asked, "-o", plan)
    written = written_to(lab.pool)
    with Observer(lab.client.url) as watch:
        done = lab.json("rehome", "apply", plan, "--force", "--retain", "0")
    written = written_to(lab.pool) - written
    after = lab.rows()
    run = lab.json("rehome", "runs", "show", str(done["applied"]["run_id"]))["run"]
    return Cost(
        shape=shape,
        size=shape.to_copy,
        written=written,
        seen=watch.seen,
        before=before,
        after=after,
        files=tuple(
            Path(after[torrent]["save_path"], "Film.2024", "film.mkv") for torrent in shape.group
        ),
        steps=tuple((row["step"]["step"], seconds(row)) for row in run["steps"]),
    )


def seconds(row: dict[str, Any]) -> float:
    began, ended = (datetime.fromisoformat(row[key]) for key in ("intended_at", "done_at"))
    return (ended - began).total_seconds()


@pytest.fixture(params=SIZES)
def cost(costs: dict[str, Cost], request: pytest.FixtureRequest) -> Cost:
    return costs[request.param]


def test_the_pool_gets_every_byte_once(cost: Cost) -> None:
    print(cost)
    assert cost.size <= cost.written <= cost.size + OVERHEAD
    assert len({path.stat().st_ino for path in cost.files}) == 1
    assert cost.files[0].stat().st_nlink == len(set(cost.files)) == 2
    assert cost.files[0].stat().st_size == cost.size


def test_no_torrent_is_without_seeding_for_more_than_a_few_seconds(cost: Cost) -> None:
    assert cost.seen.longest_gap_s < 1
    assert 0 < cost.seen.of(cost.shape.group).worst_s <= MOST_S


def test_the_seconds_without_seeding_do_not_grow_with_the_payload(costs: dict[str, Cost]) -> None:
    worst = [cost.seen.of(cost.shape.group).worst_s for cost in costs.values()]
    assert max(worst) - min(worst) <= REFRESH_S


def test_nothing_was_checked_or_downloaded_at_any_moment(cost: Cost) -> None:
    assert cost.seen.unanswered == 0
    assert cost.seen.dreaded == []


def test_every_torrent_seeds_with_its_category_tags_dates_and_statistics(cost: Cost) -> None:
    for torrent in cost.shape.group:
        before, after = cost.before[torrent], cost.after[torrent]
        assert steady(after) == steady(before)
        assert KIND[after["state"]] == KIND[before["state"]] == "running"
        assert before["category"].startswith("category")
