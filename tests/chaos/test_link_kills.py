"""SIGKILL of `hashall link execute`: at every change it makes, and at random moments."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.catalog_lab import CatalogLab
from tests.support.filesystems import lab_folder
from tests.support.kill_points import changes_of, killed_at
from tests.support.link_kills import KillStage, killed_after, staged, watched
from tests.support.linking import LinkLab, contents, same_file

from hashall.linking import execute

SEED = 20261121
PARTS = 4  # so that several processes share the work
DOZEN = 12
KILLS = int(os.environ.get("SEEDKEEP_LINK_KILLS", DOZEN))  # `make test-link-kills`: 200
GROUPS = 40
BATCH = 7  # small, so that a kill meets every part of a batch


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder on a filesystem that syncs in no time, so that many kills fit into a test."""
    with lab_folder(Path("/dev/shm")) as folder:
        yield folder


@pytest.mark.chaos
@pytest.mark.parametrize("part", range(PARTS))
def test_a_kill_before_any_change_is_put_in_order_by_the_next_run(memory: Path, part: int) -> None:
    count = memory / "count"
    count.mkdir()
    calls = changes_of(staged(count, SEED, groups=2).act)
    assert calls.count("renameat2") >= 3
    for point in range(part, len(calls), PARTS):
        folder = memory / str(point)
        folder.mkdir()
        stage = staged(folder, SEED, groups=2)
        assert killed_at(point, stage.act), f"not killed before {calls[point]}"
        stage.judge_interrupted()
        stage.resume()
        stage.judge_finished()


@pytest.mark.chaos
@pytest.mark.parametrize("part", range(PARTS))
def test_a_kill_in_the_middle_of_recovery_is_put_in_order_too(memory: Path, part: int) -> None:
    count = memory / "count"
    count.mkdir()
    calls = changes_of(staged(count, SEED, groups=2).act)
    worst = max(number for number, call in enumerate(calls) if call == "renameat2") + 1
    for again in range(part, 24, PARTS):
        folder = memory / str(again)
        folder.mkdir()
        stage = staged(folder, SEED, groups=2)
        assert killed_at(worst, stage.act)
        killed_at(again, stage.act)
        stage.judge_interrupted()
        stage.resume()
        stage.judge_finished()


@pytest.mark.chaos
@pytest.mark.parametrize("part", range(PARTS))
def test_a_kill_of_undo_is_put_in_order_by_the_next_one(memory: Path, part: int) -> None:
    def undo(stage: KillStage) -> None:
        lab = CatalogLab(stage.folder)
        try:
            LinkLab(lab).runner().undo(stage.plan_id, dry_run=False, limit=None)
        finally:
            lab.close()

    (memory / "count").mkdir()
    counted = staged(memory / "count", SEED, groups=1)
    counted.act()
    calls = changes_of(lambda: undo(counted))
    for point in range(part, len(calls), PARTS):
        folder = memory / str(point)
        folder.mkdir()
        stage = staged(folder, SEED, groups=1)
        stage.act()
        assert killed_at(point, lambda: undo(stage)), f"not killed before {calls[point]}"  # noqa: B023
        stage.judge_interrupted()
        undo(stage)
        assert contents(stage.root) == stage.before
        (group,) = stage.groups
        assert not any(same_file(group[0], other) for other in group[1:-1])


@pytest.mark.chaos
@pytest.mark.parametrize("part", range(PARTS))
def test_kills_at_random_moments_are_seen_by_nobody(
    memory: Path, part: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execute, "BATCH_ACTIONS", BATCH)
    (memory / "first").mkdir()
    undisturbed = staged(memory / "first", SEED, groups=GROUPS)
    began = time.monotonic()
    undisturbed.act()
    whole_s = time.monotonic() - began
    undisturbed.judge_finished()
    rng = random.Random(f"{SEED} {part}")
    killed = 0
    for number in range(part, KILLS, PARTS):
        folder = memory / str(number)
        folder.mkdir()
        stage = staged(folder, number, groups=GROUPS)
        # The first one right at the beginning: on a busy machine the others may come too late.
        delay_s = rng.uniform(0, whole_s) if number != part else 0.0
        with watched(stage):
            killed += killed_after(stage, delay_s, batch=BATCH)
            stage.judge_interrupted()
            stage.resume()
        stage.judge_finished()
    assert killed > 0
