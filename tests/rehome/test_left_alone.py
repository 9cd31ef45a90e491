"""A way back that left torrents alone says so, also when it was killed before it could."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.rehome.test_copy_lost import pool_dead, rollback, statuses, undo
from tests.support.qbt import settle
from tests.support.relocating import (
    A_DAY,
    REFRESH_S,
    Failed,
    Family,
    Killed,
    Seen,
    SimulatedLab,
    changes,
    killed_in,
    seed_family,
)

from hashall.catalog.runs import RunStatus, StepState
from hashall.journal import Run
from rehome import recovery, render_runs
from rehome.executor import NotAsBefore, RollbackFailed
from rehome.lanes import Act, write_down
from rehome.model import AwaitPlaces, Relocate, StopTorrents, TorrentMove
from rehome.outcome import Watch
from seedkeep.errors import SeedError

PLACED = 20  # of the undo of the family: the files are back, and nothing was started yet


@pytest.fixture
def family(lab: SimulatedLab) -> Family:
    return seed_family(lab)


@pytest.fixture
def undone_halfway(lab: SimulatedLab, family: Family) -> Seen:
    """How it was when run 2 began to take run 1 back; it was killed when it was almost there."""
    lab.apply(lab.plan(family.plain), A_DAY)
    moved = lab.seen()
    with killed_in(PLACED, afterwards=True):
        undo(lab, copy_lost=False)
    return moved


def left_alone(torrents: Sequence[str]) -> list[str]:
    return [f"{recovery.LEFT_ALONE}: {torrent}" for torrent in sorted(torrents)]


@contextmanager
def never_closed() -> Iterator[None]:
    """The journal cannot be written when all is taken back and the run is to be closed."""

    def refused(_run: Run, _note: str) -> None:
        raise Failed("the disk is full")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "rolled_back", refused)
        yield


@contextmanager
def killed_at_write(number: int) -> Iterator[list[int]]:
    """The process ends at entry `number` (from 0) of a way back: odd ones are written, even not.

    Yields a list that has the number once that has happened.
    """
    count, happened = 0, []

    def writing(acts: Sequence[Act], entry: Callable[[Run, int], None]) -> None:
        nonlocal count
        count += bool(acts)
        if not acts or count - 1 < number // 2:
            write_down(acts, entry)
            return
        if number % 2:
            write_down(acts, entry)
        happened.append(number)
        raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recovery, "write_down", writing)
        yield happened


@pytest.mark.root
@pytest.mark.usefixtures("undone_halfway")
def test_a_rollback_that_could_not_be_closed_tells_the_next_time_which_torrents_it_left_alone(
    lab: SimulatedLab, family: Family
) -> None:
    with pool_dead(lab):
        with never_closed(), pytest.raises(RollbackFailed, match="the disk is full"):
            rollback(lab, 2)
        with pytest.raises(NotAsBefore) as why:
            rollback(lab, 2)
    assert why.value.detail.splitlines() == left_alone(family.all)


@pytest.mark.root
@pytest.mark.usefixtures("undone_halfway")
def test_it_tells_the_same_in_json_and_the_history_keeps_it(
    lab: SimulatedLab, family: Family
) -> None:
    with pool_dead(lab):
        with never_closed(), pytest.raises(RollbackFailed):
            rollback(lab, 2)
        said = lab.run("rehome", "rollback", "2", "--copy-lost", "--json", expect=4).stdout
    error = json.loads(said)["error"]
    assert error["code"] == "not-as-before"
    assert error["detail"].splitlines()[:4] == left_alone(family.all)
    with lab.app() as app:
        view = app.run(2)
    assert all(line in view.row.note for line in left_alone(family.all))
    (stopped,) = (row for row, step in view.steps if isinstance(step, StopTorrents))
    assert stopped.error == f"{recovery.LEFT_ALONE}: {', '.join(sorted(family.all))}"
    assert stopped.error in render_runs.run(view)


@pytest.mark.root
@pytest.mark.repeated
@pytest.mark.usefixtures("undone_halfway")
def test_promise_7_a_rollback_may_be_killed_at_every_entry_and_tells_the_same_at_the_end(
    lab: SimulatedLab, family: Family
) -> None:
    error: SeedError | None = None
    kills = 0
    with pool_dead(lab):
        while error is None:
            # Those that were left alone are judged anew each time; the kill comes after that.
            number = kills % 2 + (2 if starting_is_written(lab) else 0)
            with killed_at_write(number) as happened:
                try:
                    rollback(lab, 2)
                except Killed:
                    assert statuses(lab)[1] is RunStatus.OPEN
                except NotAsBefore as why:
                    error = why
            assert bool(happened) is (error is None)
            kills += 1
    assert kills > 20
    assert error.detail.splitlines() == left_alone(family.all)
    assert statuses(lab) == [RunStatus.COMMITTED, RunStatus.ROLLED_BACK]


def starting_is_written(lab: SimulatedLab) -> bool:
    with lab.app() as app:
        rows = [row for row, step in app.run(2).steps if isinstance(step, StopTorrents)]
    return rows[0].state is StepState.UNDONE


@pytest.mark.root
def test_torrents_that_were_left_alone_are_started_when_their_disk_is_back_in_time(
    lab: SimulatedLab, undone_halfway: Seen
) -> None:
    with pool_dead(lab), never_closed(), pytest.raises(RollbackFailed):
        rollback(lab, 2)
    rollback(lab, 2, copy_lost=False)
    assert changes(undone_halfway, lab.seen()) == []
    assert statuses(lab) == [RunStatus.COMMITTED, RunStatus.ROLLED_BACK]


@pytest.mark.root
@pytest.mark.usefixtures("undone_halfway")
def test_promise_3_what_was_left_alone_runs_again_when_it_is_undone_after_the_disk_came_back(
    lab: SimulatedLab, family: Family
) -> None:
    with pool_dead(lab), pytest.raises(NotAsBefore):
        rollback(lab, 2)
    undo(lab, copy_lost=False)
    states = {key: lab.rows()[key]["state"] for key in family.all}
    assert states.pop(family.stopped) == "stoppedUP"
    assert states.pop(family.managed) == "forcedUP"
    assert set(states.values()) == {"stalledUP"}


@pytest.mark.parametrize("how", ["resume", "rollback"])
def test_a_torrent_that_was_removed_meanwhile_is_named_also_by_whoever_ends_the_run(
    lab: SimulatedLab, family: Family, how: str
) -> None:
    plan = lab.plan(family.plain)
    number = [type(step) for step in plan.steps].index(Relocate)
    with killed_in(number, afterwards=True):
        lab.apply(plan, A_DAY)
    lab.client.api.torrents_delete(delete_files=False, torrent_hashes=[family.flat])
    with never_closed(), pytest.raises(RollbackFailed):
        rollback(lab, copy_lost=False)
    before = lab.seen()
    with lab.app() as app, pytest.raises(NotAsBefore) as why:
        getattr(app, how)(1, Watch())
    assert why.value.detail.splitlines()[-1:] == left_alone([family.flat])
    assert changes(before, lab.seen()) == []


def taken_away(lab: SimulatedLab, family: Family, torrent: str) -> TorrentMove:
    """A torrent is elsewhere when run 1 is taken back, and that run cannot be closed then."""
    plan = lab.plan(family.plain)
    with killed_in([type(step) for step in plan.steps].index(AwaitPlaces), afterwards=True):
        lab.apply(plan, A_DAY)
    move_to(lab, torrent, str(lab.home))
    with never_closed(), pytest.raises(RollbackFailed):
        rollback(lab, copy_lost=False)
    return next(move for move in plan.torrents if move.torrent_id == torrent)


def move_to(lab: SimulatedLab, torrent: str, place: str) -> None:
    lab.client.api.torrents_set_location(location=place, torrent_hashes=[torrent])
    settle(lab.client.api, [torrent], refresh_s=REFRESH_S)


@pytest.mark.parametrize("which", ["flat", "managed"])
def test_promise_3_one_that_is_back_in_its_place_in_time_gets_all_that_it_had(
    lab: SimulatedLab, family: Family, which: str
) -> None:
    torrent, before = getattr(family, which), lab.seen()
    move_to(lab, torrent, taken_away(lab, family, torrent).client_save_path)
    rollback(lab, copy_lost=False)
    assert changes(before, lab.seen()) == []


def test_promise_3_one_that_is_where_its_copy_was_by_now_is_not_started_there(
    lab: SimulatedLab, family: Family
) -> None:
    """Who moves a torrent takes its files along: with such there it is not ours any more."""
    move = taken_away(lab, family, family.flat)
    move_to(lab, family.flat, move.client_target_path)
    theirs = Path(move.target_path) / move.file_names[0]
    theirs.parent.mkdir(parents=True, exist_ok=True)
    theirs.write_bytes(b"of somebody else")
    lab.client.forget_states()
    with pytest.raises(NotAsBefore) as why:
        rollback(lab, copy_lost=False)
    assert why.value.detail.splitlines() == left_alone([family.flat])
    assert set(lab.client.states_of(family.flat)) <= {"stoppedUP"}
    assert theirs.read_bytes() == b"of somebody else"


def test_one_that_is_where_its_copy_was_and_has_nothing_there_is_brought_back(
    lab: SimulatedLab, family: Family
) -> None:
    """It could only seed nothing from there, and all of it lies where it was before."""
    before = lab.seen()
    move_to(lab, family.flat, taken_away(lab, family, family.flat).client_target_path)
    rollback(lab, copy_lost=False)
    assert changes(before, lab.seen()) == []
