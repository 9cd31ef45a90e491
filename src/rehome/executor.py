"""Apply plans so that all steps of a group happen, or none is left behind."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from hashall.catalog.runs import RunStatus
from hashall.journal import Run
from rehome import recovery
from rehome.lanes import (
    Act,
    Lane,
    Told,
    attempt,
    by_lane,
    one_by_one,
    run_ahead,
    step_from,
    torrents_of_all,
    write_down,
)
from rehome.recovery import NotAsBefore, RollbackFailed
from rehome.switch import Unproved
from rehome.world import World
from seedkeep.errors import Partial, SeedError

__all__ = ["NotAsBefore", "RollbackFailed", "RolledBack", "apply"]


class RolledBack(Partial):
    """A step failed and everything before it was undone."""

    code = "rolled-back"


def apply(lanes: Sequence[Lane], world: World, told: Told) -> None:
    """Perform the steps that are not done yet, side by side, then verify and commit each lane.

    A lane that fails goes back by itself at the end and the others go on; its `error` says how it
    ended.  An interruption takes back all that have not committed, and is raised again.
    """
    try:
        queues = [_queue(lane) for lane in lanes]
        while acts := _next(queues):
            _perform(acts, world, told)
            queues = [queue for queue in queues if queue and queue[0].lane.failure is None]
        for lane in lanes:
            if lane.failure is None:
                _finish(lane)
        # In here: who interrupts the way back of one has it begun once more, of all.
        _take_back([lane for lane in lanes if lane.failure is not None], world, told)
    except BaseException as why:  # Ctrl-C, SIGTERM, a bug: nothing may be left in between
        for lane in lanes:
            lane.failure = lane.failure or why
        _take_back([lane for lane in lanes if _is_open(lane.run)], world, told)
        raise


def _queue(lane: Lane) -> list[Act]:
    return [Act(lane, row, step_from(row.step)) for row in lane.run.todo_steps()]


def _next(queues: Sequence[list[Act]]) -> list[Act]:
    """What the lanes that are furthest behind do next."""
    waiting = [queue for queue in queues if queue]
    if not waiting:
        return []
    rank = min(queue[0].rank for queue in waiting)
    return [act for queue in waiting if queue[0].rank == rank for act in run_ahead(queue)]


def _perform(acts: list[Act], world: World, told: Told) -> None:
    try:
        write_down(acts, Run.intend)  # durable before anything moves: a crash may follow
        for act in acts:
            told(act.step, "do")
        world.before([act.step for act in acts])
        shares = list(by_lane(acts).values())
        together = attempt if acts[0].is_merged else one_by_one
        failed = together(shares, partial(_perform_all, world), torrents_of_all)
        for share, why in failed:
            share[0].lane.failure = why
        done = [act for act in acts if act.lane.failure is None]
        remarks = {(act.lane.run, act.row.seq): world.remark_on(act.step) for act in done}
        write_down(done, lambda run, seq: _done(run, seq, remarks[run, seq]))
    except (OSError, SeedError) as why:
        for act in acts:
            act.lane.failure = act.lane.failure or why
        return
    for act in done:
        told(act.step, "done")


def _done(run: Run, seq: int, remark: str) -> None:
    run.done(seq)
    if remark:
        run.remark(seq, remark)


def _perform_all(world: World, shares: Sequence[Sequence[Act]]) -> None:
    world.perform_together([act.step for share in shares for act in share])


def _finish(lane: Lane) -> None:
    try:
        lane.finish()
    except (OSError, SeedError) as why:
        lane.failure = why


def _is_open(run: Run) -> bool:
    return run.row.status is RunStatus.OPEN


def _take_back(lanes: Sequence[Lane], world: World, told: Told) -> None:
    recovery.recover(lanes, world, told)
    for lane in lanes:
        why = lane.failure
        if isinstance(lane.error, NotAsBefore) and isinstance(why, OSError | SeedError):
            lane.error.detail = f"it went back because: {why}\n{lane.error.detail}"
        if lane.error is not None or why is None:
            continue
        if isinstance(why, Unproved):
            lane.error = why  # it came before anything was copied or stopped: a refusal
            continue
        lane.error = RolledBack(
            f"run {lane.run.run_id} failed and was rolled back: nothing was moved", detail=str(why)
        )
        lane.error.__cause__ = why
