"""Staged files that somebody removed while a run was open: the source is whole, so it goes back."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.rehome.test_client_forgets import taken_back
from tests.support.qbt import VERSIONS, settle
from tests.support.relocating import (
    A_DAY,
    REFRESH_S,
    SimulatedLab,
    changes,
    killed_in,
    seed_family,
    simulated_lab,
)

from hashall.catalog.runs import RunStatus
from rehome.model import AwaitPlaces, Plan, Step
from rehome.outcome import Watch


def interrupted_with_the_client(lab: SimulatedLab, plan: Plan, after: type[Step]) -> None:
    """The client starts again, and finds its torrents' files nowhere but in our staging."""
    with killed_in([type(step) for step in plan.steps].index(after), afterwards=True):
        lab.apply(plan, A_DAY)
    lab.client.restart()
    settle(lab.client.api, lab.rows(), refresh_s=REFRESH_S)


def copies(plan: Plan) -> list[Path]:
    """Those files of the staging folder that the run has made, not put aside."""
    return sorted(p for p in Path(plan.staging).rglob("film.mkv") if p.is_file())


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("what", ["all copies", "one view"])
def test_promise_7_a_rollback_does_without_staged_files_that_somebody_removed(
    version: str, what: str
) -> None:
    with simulated_lab(version) as lab:
        family = seed_family(lab)
        before = lab.seen()
        plan = lab.plan(family.plain)
        interrupted_with_the_client(lab, plan, AwaitPlaces)
        gone = copies(plan)
        assert gone
        for path in gone if what == "all copies" else gone[-1:]:
            path.unlink()
        taken_back(lab)
        assert changes(before, lab.seen()) == []
        assert lab.own_debris() == []


@pytest.mark.parametrize("version", VERSIONS)
def test_promise_7_a_resume_then_makes_them_anew_or_takes_the_run_back(version: str) -> None:
    with simulated_lab(version) as lab:
        family = seed_family(lab)
        plan = lab.plan(family.plain)
        interrupted_with_the_client(lab, plan, AwaitPlaces)
        for path in copies(plan):
            path.unlink()
        with lab.app() as app:
            app.resume_all([1], Watch())
            assert app.run(1).row.status in (RunStatus.COMMITTED, RunStatus.ROLLED_BACK)
        assert {row["progress"] for row in lab.rows().values()} == {1}
