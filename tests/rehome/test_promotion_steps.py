"""A promotion is as safe as a demotion: each step broken once, killed, taken back."""

from __future__ import annotations

import pytest
from tests.support.relocating import A_DAY, SimulatedLab, breaking, changes, killed_in

from hashall.catalog.runs import RunStatus
from rehome.executor import RolledBack
from rehome.model import Direction, Plan, Reveal
from rehome.outcome import Watch, Wishes


@pytest.fixture
def cold(lab: SimulatedLab) -> str:
    """A film that seeds from the pool under automatic management, and lies in the library."""
    home = lab.pool_seeding / "cold"
    lab.client.api.torrents_create_category("cold", save_path=str(home))
    torrent = lab.seed(
        "Cold",
        {"cold.mkv": 50_000, "cold.nfo": b"about"},
        on_pool=True,
        below="cold",
        category="cold",
        auto_tmm=True,
    )
    made = lab.made[torrent]
    for path in made.paths:
        target = lab.media / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((made.root / path).read_bytes())
    lab.look()
    lab.client.forget_states()
    return torrent


def promotion(lab: SimulatedLab, torrent: str) -> Plan:
    with lab.app() as app:
        return app.plan(torrent, Direction.PROMOTE)


def test_a_failed_step_leaves_everything_as_it_was(lab: SimulatedLab, cold: str) -> None:
    before, plan = lab.seen(), promotion(lab, cold)
    assert any(isinstance(step, Reveal) for step in plan.steps)
    for number in range(len(plan.steps)):
        with pytest.raises(RolledBack), breaking(number, afterwards=number % 2 == 0):
            lab.apply(plan)
        assert changes(before, lab.seen()) == [], plan.steps[number]
    assert lab.own_debris() == []
    assert lab.bad_states() == set()


@pytest.mark.parametrize("how", ["resume", "rollback"])
def test_promise_7_a_kill_is_ended_by_one_command(lab: SimulatedLab, cold: str, how: str) -> None:
    before, plan = lab.seen(), promotion(lab, cold)
    (reveal,) = [n for n, step in enumerate(plan.steps) if isinstance(step, Reveal)]
    with killed_in(reveal, afterwards=True):
        lab.apply(plan)
    with lab.app() as app:
        if how == "resume":
            assert app.resume(1, Watch()).status is RunStatus.RETIRED
        else:
            app.rollback(1, Watch())
    after = lab.seen()
    assert after.pool == before.pool  # the copy there stays in any case
    if how == "rollback":
        assert changes(before, after) == []
    else:
        assert lab.rows()[cold]["save_path"] == str(lab.seeding / "cold")
    assert lab.own_debris() == []
    assert lab.bad_states() == set()


def test_one_that_was_cleaned_up_can_be_undone_while_the_source_is_kept(
    lab: SimulatedLab, cold: str
) -> None:
    before, plan = lab.seen(), promotion(lab, cold)
    with lab.app() as app:
        wishes = Wishes(retain=A_DAY, reason="a test", cleanup_duplicate=True)
        done = app.apply_all([plan], wishes, Watch())
        assert not done.failed
        app.undo(1, A_DAY, "a test", Watch())
        app.retire(2, due_only=False)
    assert changes(before, lab.seen()) == []
    assert lab.own_debris() == []
