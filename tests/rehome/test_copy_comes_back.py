"""A disk that was given up comes back before its run has ended, or is there only for the client."""

from __future__ import annotations

from contextlib import suppress

import pytest
from tests.rehome.test_copy_lost import pool_dead, rollback, statuses, undo
from tests.support.relocating import (
    A_DAY,
    Failed,
    Family,
    SimulatedLab,
    changes,
    killed_in,
    seed_family,
)

from hashall.catalog.runs import RunStatus
from rehome.commit import Commit
from rehome.executor import NotAsBefore, RollbackFailed
from rehome.model import Adopt, Hide, Place, Relocate, Step
from rehome.outcome import Watch
from rehome.switch import ClientSwitch
from seedkeep.errors import Refused, SeedError
from seedkeep.qbittorrent import QBittorrentClient

pytestmark = pytest.mark.root


@pytest.fixture
def family(lab: SimulatedLab) -> Family:
    return seed_family(lab)


def stuck_on_the_way_back(lab: SimulatedLab, run_id: int, patch: pytest.MonkeyPatch) -> None:
    """All is taken back without the copy, but for the torrents that are not started."""

    def refused(*_: object) -> None:
        raise Failed("not now")

    with patch.context() as patched, pool_dead(lab):
        patched.setattr(ClientSwitch, "start", refused)
        with pytest.raises(RollbackFailed):
            rollback(lab, run_id)


@pytest.mark.parametrize("kind", [Hide, Adopt, Relocate, Place])
def test_promise_9_what_lay_on_a_pool_that_comes_back_is_not_removed_with_the_staging_folder(
    lab: SimulatedLab, family: Family, monkeypatch: pytest.MonkeyPatch, kind: type[Step]
) -> None:
    before, plan = lab.seen(), lab.plan(family.plain)
    with killed_in([type(step) for step in plan.steps].index(kind), afterwards=True):
        lab.apply(plan, A_DAY)
    stuck_on_the_way_back(lab, 1, monkeypatch)
    rollback(lab, copy_lost=False)
    assert changes(before, lab.seen()) == []
    assert lab.own_debris() == []


def test_promise_9_copies_that_an_undo_had_hidden_are_shown_again_when_the_pool_comes_back(
    lab: SimulatedLab, family: Family, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.apply(lab.plan(family.plain), A_DAY)
    before = lab.seen()
    with killed_in(20, afterwards=True):
        undo(lab, copy_lost=False)
    stuck_on_the_way_back(lab, 2, monkeypatch)
    with suppress(NotAsBefore):
        rollback(lab, 2, copy_lost=False)
    assert changes(before, lab.seen()) == []


def test_it_says_that_the_disk_has_to_wait_for_a_run_that_was_begun_without_it(
    lab: SimulatedLab, family: Family
) -> None:
    lab.apply(lab.plan(family.plain), A_DAY)
    with pool_dead(lab), killed_in(9, afterwards=True):
        undo(lab)
    with lab.app() as app, pytest.raises(Refused, match="is not lost") as why:
        app.resume(2, Watch())
    assert "run 2 was begun without that disk" in why.value.hint
    assert "--copy-lost" not in why.value.hint  # that was said when it was begun


@pytest.mark.parametrize("command", ["resume", "retire"])
def test_a_run_that_has_committed_without_a_disk_is_closed_also_when_it_is_there_again(
    lab: SimulatedLab, family: Family, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    def refused(*_: object) -> None:
        raise Failed("not now")

    lab.apply(lab.plan(family.plain), A_DAY)
    with monkeypatch.context() as patched, pool_dead(lab):
        patched.setattr(Commit, "refresh", refused)
        with pytest.raises(Failed):
            undo(lab)
        assert statuses(lab) == [RunStatus.RETIRED, RunStatus.COMMITTED]
    before = lab.seen()
    lab.run("rehome", command, "2")
    assert changes(before, lab.seen()) == []
    assert statuses(lab) == [RunStatus.RETIRED] * 2


# -- the client alone sees it


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Places that the client was told, from when it sees another pool than we do."""
    monkeypatch.setattr("rehome.switch.PROOF_S", 0.1)
    places: list[str] = []

    def remember(_: QBittorrentClient, wanted: dict[str, str]) -> None:
        places.extend(wanted.values())
        raise Failed("this would have moved files")

    monkeypatch.setattr(QBittorrentClient, "set_locations", remember)
    monkeypatch.setattr(QBittorrentClient, "make_folder", lambda *_: None)
    return places


@pytest.mark.parametrize("how", ["resume", "rollback"])
@pytest.mark.parametrize("number", [6, 8, 9, 16])
def test_promise_8_a_run_that_was_interrupted_is_proved_anew_before_anything_moves(
    lab: SimulatedLab,
    family: Family,
    request: pytest.FixtureRequest,
    number: int,
    how: str,
) -> None:
    lab.apply(lab.plan(family.plain), A_DAY)
    with pool_dead(lab):
        with killed_in(number, afterwards=True):
            undo(lab)
        told: list[str] = request.getfixturevalue("told")
        with lab.app() as app, suppress(SeedError):
            getattr(app, how)(2, Watch())
        assert told == []


def test_promise_8_an_undo_is_taken_back_to_a_lost_disk_only_with_a_proof(
    lab: SimulatedLab, family: Family, request: pytest.FixtureRequest
) -> None:
    lab.apply(lab.plan(family.plain), A_DAY)
    with killed_in(20, afterwards=True):
        undo(lab, copy_lost=False)
    with pool_dead(lab):
        told: list[str] = request.getfixturevalue("told")
        with pytest.raises(RollbackFailed, match="is not our"):
            rollback(lab, 2)
        assert told == []


# -- nothing of it is left in the client


def undo_without_torrents(lab: SimulatedLab, family: Family) -> None:
    """What the run placed is kept for a day, hidden on the pool."""
    lab.apply(lab.plan(family.plain), A_DAY)
    lab.client.api.torrents_delete(delete_files=False, torrent_hashes=list(family.all))
    with lab.app() as app:
        app.undo(1, A_DAY, "a test", Watch())


def test_promise_8_hidden_files_of_removed_torrents_are_not_believed_gone_with_their_disk(
    lab: SimulatedLab, family: Family
) -> None:
    undo_without_torrents(lab, family)
    with pool_dead(lab):
        said = lab.run("rehome", "retire", "2", expect=3).stderr
    assert "rehome retire 2 --source-lost" in said
    assert statuses(lab) == [RunStatus.RETIRED, RunStatus.COMMITTED]


def test_promise_9_hidden_files_of_removed_torrents_are_not_forgotten_while_their_disk_is_there(
    lab: SimulatedLab, family: Family
) -> None:
    undo_without_torrents(lab, family)
    assert "is not lost" in lab.run("rehome", "retire", "2", "--source-lost", expect=3).stderr
    assert statuses(lab) == [RunStatus.RETIRED, RunStatus.COMMITTED]


def test_what_may_be_left_is_told_also_when_not_everything_is_as_before(
    lab: SimulatedLab, family: Family
) -> None:
    plan = lab.plan(family.plain)
    with killed_in([type(step) for step in plan.steps].index(Adopt), afterwards=True):
        lab.apply(plan, A_DAY)
    lab.client.api.torrents_delete(delete_files=False, torrent_hashes=[family.flat])
    with pool_dead(lab):
        said = lab.run("rehome", "rollback", "1", "--copy-lost", expect=4)
    assert "not everything is as it was before" in said.stderr
    assert f"copies may be in {plan.staging}" in said.stdout
