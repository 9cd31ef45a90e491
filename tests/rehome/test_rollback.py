"""Every step of a run gets broken once; promises 3, 4 and 7."""

from __future__ import annotations

from collections import Counter

import pytest
from tests.support.qbt import VERSIONS
from tests.support.relocating import (
    A_DAY,
    SimulatedLab,
    breaking,
    changes,
    killed_in,
    seed_family,
    simulated_lab,
)

from hashall.catalog.runs import RunStatus
from rehome.executor import RolledBack
from rehome.outcome import Watch

pytestmark = pytest.mark.repeated
STEPS = {
    "MakeStaging": 1,
    "ProveFolder": 5,
    "FillPayload": 1,
    "VerifyReuse": 1,
    "BuildView": 4,
    "Recheck": 1,
    "StopTorrents": 1,
    "SetManagement": 2,
    "Hide": 4,
    "Adopt": 1,
    "Relocate": 4,
    "AwaitPlaces": 1,
    "Place": 4,
    "CheckFiles": 4,
    "StartTorrents": 1,
}
NUMBERS = range(sum(STEPS.values()))


def test_the_family_needs_every_kind_of_step(lab: SimulatedLab) -> None:
    plan = lab.plan(seed_family(lab).plain)
    assert Counter(type(step).__name__ for step in plan.steps) == STEPS


@pytest.mark.parametrize("number", NUMBERS)
def test_a_failed_step_leaves_everything_as_it_was(number: int) -> None:
    with simulated_lab(VERSIONS[number % 2]) as lab:  # each kind with several steps meets both
        family = seed_family(lab)
        before = lab.seen()
        for afterwards in (False, True):
            plan = lab.plan(family.plain)
            with pytest.raises(RolledBack), breaking(number, afterwards=afterwards):
                lab.apply(plan)
            assert changes(before, lab.seen()) == []
        assert lab.own_debris() == []
        assert lab.bad_states() == set()
        with lab.app() as app:
            assert {row.status for row in app.runs()} == {RunStatus.ROLLED_BACK}


@pytest.mark.parametrize("number", NUMBERS)
def test_a_run_that_was_killed_in_a_step_can_be_taken_back(lab: SimulatedLab, number: int) -> None:
    family = seed_family(lab)
    before, plan = lab.seen(), lab.plan(family.plain)
    for run_id, afterwards in ((1, False), (2, True)):
        with killed_in(number, afterwards=afterwards):
            lab.apply(plan)
        with lab.app() as app:
            assert app.rollback(run_id, Watch()).row.status is RunStatus.ROLLED_BACK
        assert changes(before, lab.seen()) == []
    assert lab.own_debris() == []
    assert lab.bad_states() == set()


@pytest.mark.parametrize("number", NUMBERS)
def test_a_run_that_was_killed_after_a_step_can_be_resumed(lab: SimulatedLab, number: int) -> None:
    family = seed_family(lab)
    plan = lab.plan(family.plain)
    with killed_in(number, afterwards=True):  # done, and the journal does not know
        lab.apply(plan, A_DAY)
    with lab.app() as app:
        assert app.resume(1, Watch()).status is RunStatus.COMMITTED
    rows = lab.rows()
    assert {rows[move.torrent_id]["save_path"] for move in plan.torrents} == {
        move.target_path for move in plan.torrents
    }
    assert {row["progress"] for row in rows.values()} == {1}
    assert lab.bad_states() == set()
