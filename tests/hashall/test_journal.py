from __future__ import annotations

import contextlib
import itertools
from datetime import timedelta
from typing import Any

import pytest
from tests.support.catalog_lab import CatalogLab

from hashall import journal
from hashall.catalog import open_catalog
from hashall.catalog.runs import RunStatus, StepState, WrongState
from hashall.journal import Run
from seedkeep import clock
from seedkeep.errors import Misused
from seedkeep.sqlite import transaction

STEPS = ({"kind": "stop", "n": 1}, {"kind": "hide", "path": "ü"}, {"kind": "place"})


def begin(lab: CatalogLab, **changes: Any) -> Run:
    given: dict[str, Any] = {
        "kind": "demote",
        "plan_id": "p1",
        "plan": {"version": 1, "torrents": ["a"]},
        "steps": STEPS,
        "torrents": ("a", "b"),
        "actor": "ann@host",
        "reason": "rehome apply plan.json --force",
        "retain": timedelta(hours=1),
    }
    return journal.begin(lab.catalog, **(given | changes))


def state(run: Run, seq: int = 0) -> StepState:
    return run.steps()[seq].state


def test_a_run_is_written_with_all_its_steps_before_the_first_act(lab: CatalogLab) -> None:
    """R-REH-12"""
    run = begin(lab)

    assert run.row.status is RunStatus.OPEN
    assert (run.row.kind, run.row.plan_id, run.row.plan["torrents"]) == ("demote", "p1", ["a"])
    assert (run.row.actor, run.row.reason) == ("ann@host", "rehome apply plan.json --force")
    assert [step.step for step in run.steps()] == list(STEPS)
    assert {step.state for step in run.steps()} == {StepState.PLANNED}
    assert [step.seq for step in run.todo_steps()] == [0, 1, 2]
    assert run.begun_steps() == []
    assert clock.parse_iso(run.row.started_at) <= clock.now()


def test_it_is_there_for_the_next_process(lab: CatalogLab) -> None:
    run = begin(lab)
    run.intend(0)

    with open_catalog(lab.db_path, create=False) as other:
        again = journal.find_run(other, run.run_id)
        assert [step.state for step in again.steps()][:2] == [StepState.INTENDED, StepState.PLANNED]


def test_a_step_goes_from_planned_to_intended_to_done(lab: CatalogLab) -> None:
    run = begin(lab)
    run.intend(0)
    run.done(0)
    run.intend(1)

    first, second, third = run.steps()

    assert (first.state, second.state, third.state) == (
        StepState.DONE,
        StepState.INTENDED,
        StepState.PLANNED,
    )
    assert first.intended_at is not None
    assert first.done_at is not None
    assert (second.done_at, third.intended_at) == (None, None)
    assert [step.seq for step in run.begun_steps()] == [0, 1]
    assert [step.seq for step in run.todo_steps()] == [1, 2]


ARROWS = {
    ("planned", "intended"),
    ("intended", "intended"),  # tried again after a crash
    ("intended", "done"),
    ("intended", "undone"),
    ("done", "undone"),
    ("undone", "undone"),  # the undo was tried again
    ("undone", "intended"),  # a run that is resumed takes its switch back first
}
WAYS: dict[str, tuple[str, ...]] = {
    "planned": (),
    "intended": ("intend",),
    "done": ("intend", "done"),
    "undone": ("intend", "undone"),
}
MOVES = {"intended": "intend", "done": "done", "undone": "undone"}


@pytest.mark.parametrize(("before", "after"), list(itertools.product(WAYS, MOVES)))
def test_a_step_moves_only_along_the_arrows(lab: CatalogLab, before: str, after: str) -> None:
    run = begin(lab)
    for way in WAYS[before]:
        getattr(run, way)(0)

    if (before, after) in ARROWS:
        getattr(run, MOVES[after])(0)
        assert state(run).value == after
    else:
        with pytest.raises(WrongState, match=f"step 0 of run 1 cannot become {after} now"):
            getattr(run, MOVES[after])(0)
        assert state(run).value == before


def test_an_undone_step_is_to_be_done_again_and_has_left_no_trace(lab: CatalogLab) -> None:
    """R-REH-13"""
    run = begin(lab)
    for seq in range(2):
        run.intend(seq)
        run.done(seq)
    run.undone(1)

    assert [step.seq for step in run.begun_steps()] == [0]
    assert [step.seq for step in run.todo_steps()] == [1, 2]
    run.intend(1)
    assert [step.seq for step in run.begun_steps()] == [0, 1]


@pytest.mark.parametrize("seq", [-1, 3])
def test_a_step_that_is_not_planned_cannot_happen(lab: CatalogLab, seq: int) -> None:
    with pytest.raises(WrongState):
        begin(lab).intend(seq)


def test_a_failure_is_kept_with_its_step_until_it_succeeds(lab: CatalogLab) -> None:
    run = begin(lab)
    run.intend(0)
    run.failed(0, "no space left")
    assert run.steps()[0].error == "no space left"
    assert state(run) is StepState.INTENDED

    run.intend(0)
    run.done(0)
    assert run.steps()[0].error == ""


def test_a_commit_closes_the_run_and_says_when_the_source_may_go(lab: CatalogLab) -> None:
    run = begin(lab)
    run.commit()

    assert run.row.status is RunStatus.COMMITTED
    assert run.row.retire_at is not None
    assert run.row.ended_at is not None
    kept = clock.parse_iso(run.row.retire_at) - clock.parse_iso(run.row.ended_at)
    assert abs(kept - timedelta(hours=1)) < timedelta(seconds=1)


def test_a_commit_is_part_of_the_transaction_around_it(lab: CatalogLab) -> None:
    run = begin(lab)
    with contextlib.suppress(ZeroDivisionError), transaction(lab.db):
        lab.catalog.devices.register("ext4:1", "ext4", stable=True)
        run.commit()
        assert run.row.status is RunStatus.COMMITTED
        _ = 1 / 0

    assert run.row.status is RunStatus.OPEN
    assert run.row.retire_at is None
    assert lab.catalog.devices.all() == []


@pytest.mark.parametrize("end", ["commit", "rolled_back"])
def test_no_step_moves_in_a_run_that_has_ended(lab: CatalogLab, end: str) -> None:
    run = begin(lab)
    run.intend(0)
    run.commit() if end == "commit" else run.rolled_back("as asked")

    with pytest.raises(WrongState):
        run.done(0)
    assert state(run) is StepState.INTENDED


def test_a_run_ends_only_once_and_only_one_way(lab: CatalogLab) -> None:
    run = begin(lab)
    run.rolled_back("the pool was full")

    assert run.row.status is RunStatus.ROLLED_BACK
    assert run.row.note == "the pool was full"
    for again in (run.commit, lambda: run.rolled_back(""), run.retired):
        with pytest.raises(WrongState):
            again()
    assert run.row.status is RunStatus.ROLLED_BACK


def test_only_a_committed_run_is_retired(lab: CatalogLab) -> None:
    run = begin(lab)
    with pytest.raises(WrongState, match="run 1 cannot become retired now"):
        run.retired()
    run.commit()
    ended = run.row.ended_at

    run.freed(5)
    run.freed(2)  # retiring may take several tries
    run.retired()

    assert run.row.status is RunStatus.RETIRED
    assert run.row.bytes_freed == 7
    assert run.row.ended_at == ended
    assert run.row.retired_at is not None


def test_a_note_can_be_left_on_a_run(lab: CatalogLab) -> None:
    run = begin(lab)
    lab.catalog.runs.note(run.run_id, "waits for a person")
    run.commit()

    assert run.row.note == "waits for a person"


def test_unfinished_runs_are_found_by_their_torrents(lab: CatalogLab) -> None:
    runs = lab.catalog.runs
    first = begin(lab, torrents=("a", "b"))
    second = begin(lab, torrents=("c",))
    kept = begin(lab, torrents=("a", "d"))
    kept.commit()
    retired = begin(lab, torrents=("a", "c"))
    retired.commit()
    retired.retired()

    a_kept, a_open = (kept.run_id, RunStatus.COMMITTED), (first.run_id, RunStatus.OPEN)
    assert runs.unfinished_with(["a"]) == [a_open, a_kept]
    assert runs.unfinished_with(["b", "c"]) == [a_open, (second.run_id, RunStatus.OPEN)]
    assert runs.unfinished_with(["d"]) == [a_kept]
    assert runs.unfinished_with([]) == []
    assert [row.run_id for row in runs.all()] == [1, 2, 3, 4]


def test_a_run_that_does_not_exist_is_a_mistake_of_the_asker(lab: CatalogLab) -> None:
    with pytest.raises(Misused, match="there is no run 7") as error:
        journal.find_run(lab.catalog, 7)
    assert error.value.exit_code == 2
    assert lab.catalog.runs.get(7) is None


def test_a_run_is_whole_or_not_there(lab: CatalogLab) -> None:
    with pytest.raises(TypeError):
        begin(lab, steps=[{"bad": object()}])

    assert lab.catalog.runs.all() == []
