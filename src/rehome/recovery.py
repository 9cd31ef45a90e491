"""Take runs back: after a failure, after a kill, or because a person says so; one code path."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import partial

from hashall.catalog.runs import RunStatus, StepState
from hashall.journal import Run
from hashall.presence import lies_at
from rehome.lanes import (
    Act,
    Lane,
    Told,
    attempt,
    by_lane,
    one_by_one,
    run_ahead,
    step_from,
    step_of,
    write_down,
)
from rehome.mending import make_ready, without
from rehome.model import (
    Hide,
    MakeStaging,
    Recheck,
    Relocate,
    SetCategory,
    SetManagement,
    StopTorrents,
)
from rehome.world import World, remove_if_empty
from seedkeep.errors import Partial, SeedError

# Kept with the step that stopped them, before the run is closed: a way back that ends right there
# is followed by one that has to tell it.
LEFT_ALONE = "left alone, because it was removed or moved, or misses files"


class RollbackFailed(Partial):
    """An undo failed too; the run stays open."""

    code = "rollback-failed"


class NotAsBefore(Partial):
    """The run is rolled back; what others removed or moved meanwhile stays as they left it."""

    code = "not-as-before"


def recover(lanes: Sequence[Lane], world: World, told: Told) -> None:
    """Undo every begun step of open runs, newest first.  Safe to repeat.

    Steps of one phase are independent and all are tried; an older phase is not touched while a
    newer one is stuck, because showing the source again before the client is back would make it
    owe a full check.  Afterwards `lane.error` is None, `RollbackFailed` (something could not be
    undone; the run stays open) or `NotAsBefore`.
    """
    # One that committed, and what came after failed: there is nothing to take back.
    lanes = [lane for lane in lanes if lane.run.row.status is RunStatus.OPEN]
    for lane in lanes:
        _judge_again(lane)
    _undo(lanes, world, told, down_to=0)
    for lane in lanes:
        if lane.error is None:
            _close(lane)


def take_back_switch(lanes: Sequence[Lane], world: World, told: Told) -> None:
    """Undo the switch of interrupted runs, so that it can be done again from its beginning.

    Going on in the middle would have to trust a client that may have been killed too and forgotten
    what it was told; going back heals that, and what was copied stays.  A lane with an `error`
    afterwards must not go on.
    """
    _undo(lanes, world, told, down_to=Recheck.phase)
    changed = [lane for lane in lanes if lane.error is None and (lane.gone or _look_for(lane))]
    for lane in changed:
        lane.failure = SeedError("it was interrupted, and others changed things since")
    recover(changed, world, told)
    for lane in lanes:
        if lane.error is not None:
            continue
        for row in lane.run.begun_steps():
            step = step_from(row.step)
            if isinstance(step, MakeStaging):
                remove_if_empty(step.undo_remove)  # the client made them when it was told of them


def _close(lane: Lane) -> None:
    missing = _look_for(lane)
    if lane.error is not None:
        return
    left = [f"{LEFT_ALONE}: {torrent}" for torrent in sorted(lane.gone | lane.lame)]
    note = "; ".join([lane.reason, *(f"missing: {path}" for path in missing), *left])
    try:
        lane.run.rolled_back(note)
    except SeedError as why:
        lane.error = _still_open(lane, [str(why)])
        return
    if missing or left:
        lane.error = NotAsBefore(
            f"run {lane.run.run_id} was rolled back, but not everything is as it was before",
            detail="\n".join([*(f"gone, and not by us: {path}" for path in missing), *left]),
            hint="look at these; the run is closed",
        )


def _judge_again(lane: Lane) -> None:
    """An earlier try left torrents alone and ended before it could say so: find out anew which.

    Those that are back by now, or their files on a disk that is back, get all that they had.
    """
    if lane.gone or lane.lame:
        return  # that was this very try
    rows = [row for row in lane.run.steps() if row.state is StepState.UNDONE]
    noted = [row for row in rows if row.error.startswith(LEFT_ALONE)]
    left = "".join(row.error for row in noted)
    theirs = (SetManagement, SetCategory)
    skipped = [r for r in rows if isinstance(s := step_of(r), theirs) and s.torrent_id in left]
    try:
        for row in (*skipped, *noted):  # while the note stands, a try that is killed is repeated
            lane.run.intend(row.seq)
    except SeedError as why:
        lane.error = _still_open(lane, [str(why)])


def _undo(lanes: Sequence[Lane], world: World, told: Told, *, down_to: int) -> None:
    """Go back in step; `lane.error` is set where something could not be undone."""
    for lane, why in _away(lanes).items():
        lane.error = _still_open(lane, [why])
    for lane, reason in make_ready([lane for lane in lanes if lane.error is None], world):
        lane.error = _still_open(lane, [str(reason)])
    queues = [_queue(lane, down_to) for lane in lanes if lane.error is None]
    while acts := _next(queues):
        _undo_together(acts, world, told)
        queues = [queue for queue in queues if queue and _may_go_on(queue[0])]
    for lane in lanes:
        if lane.stuck and lane.error is None:
            lane.error = _still_open(lane, lane.stuck)


def _away(lanes: Iterable[Lane]) -> dict[Lane, str]:
    """Lanes whose stash or pool is not mounted, and what is wrong."""
    found = {}
    for lane in lanes:
        try:
            lane.require_mounts()
        except SeedError as why:
            found[lane] = f"{why.brief}: {why.detail}"
    return found


def _queue(lane: Lane, down_to: int) -> list[Act]:
    begun = [Act(lane, row, step_from(row.step)) for row in reversed(lane.run.begun_steps())]
    return [act for act in begun if act.step.phase >= down_to]


def _may_go_on(act: Act) -> bool:
    return act.lane.stuck_phase in (None, act.step.phase)


def _next(queues: Sequence[list[Act]]) -> list[Act]:
    waiting = [queue for queue in queues if queue]
    if not waiting:
        return []
    rank = max(queue[0].rank for queue in waiting)
    return [act for queue in waiting if queue[0].rank == rank for act in run_ahead(queue)]


def _undo_together(acts: Sequence[Act], world: World, told: Told) -> None:
    for act in acts:
        told(act.step, "undo")
    together = attempt if acts[0].is_merged else one_by_one
    failed = together(acts, partial(_undo_all, world), lambda act: act.torrents)
    undone = [act for act in acts if all(act is not other for other, _ in failed)]
    # What went away meanwhile was looked at as if it were empty: nothing of that is to be believed.
    away = _away(by_lane(undone))
    failed += [(act, SeedError(away[act.lane])) for act in undone if act.lane in away]
    undone = [act for act in undone if act.lane not in away]
    # A step on a lost disk stays begun: should the disk be there when the way back goes on, it is
    # undone then.  What lay in its place before may be in the staging folder.
    written = [act for act in undone if not act.lane.is_lost(act.step)]
    remarks = {(act.lane.run, act.row.seq): _remark_on(act) for act in written}
    try:
        write_down(written, lambda run, seq: _undone(run, seq, remarks[run, seq]))
    except SeedError as why:
        failed += [(act, why) for act in undone]
        undone = []
    for act, reason in failed:
        with suppress(SeedError):  # a full disk stops the journal, not the way back
            act.lane.run.failed(act.row.seq, str(reason))
        act.lane.stuck.append(f"{type(act.step).__name__}: {reason}")
        act.lane.stuck_phase = act.step.phase
    for act in undone:
        told(act.step, "undone")


def _remark_on(act: Act) -> str:
    """What has to outlive this try; "": nothing."""
    left = sorted(act.lane.gone | act.lane.lame)
    return f"{LEFT_ALONE}: {', '.join(left)}" if left and isinstance(act.step, StopTorrents) else ""


def _undone(run: Run, seq: int, remark: str) -> None:
    run.undone(seq)
    if remark:
        run.remark(seq, remark)


def _undo_all(world: World, acts: Sequence[Act]) -> None:
    acts = [act for act in acts if not act.lane.is_lost(act.step)]
    for act in acts:
        if isinstance(act.step, StopTorrents):
            hurt, lame = _hurt(act.lane.run)  # all that is still there is back by now
            act.lane.gone |= hurt
            act.lane.lame = lame
    world.undo_together(
        [without(act.step.inverse(), act.lane.gone | act.lane.lame) for act in acts]
    )


def _look_for(lane: Lane) -> tuple[str, ...]:
    """What is missing; sets `lane.error` when that cannot be known."""
    try:
        missing = _missing(lane)
    except OSError as why:
        lane.error = _still_open(lane, [str(why)])
        return ()
    for away in _away([lane] if missing else []).values():
        lane.error = _still_open(lane, [away])
    return missing


def _missing(lane: Lane) -> tuple[str, ...]:
    """Source files that are neither in their place nor hidden any more; somebody removed them."""
    begun = [row for row in lane.run.steps() if row.state is not StepState.PLANNED]
    steps = [step for step in map(step_of, begun) if not lane.is_lost(step)]
    hides = [step for step in steps if isinstance(step, Hide)]
    return tuple(
        f"{hide.src_root}/{name}"
        for hide in hides
        for name in hide.names
        if not any(lies_at(f"{root}/{name}") for root in (hide.src_root, hide.dst_root))
    )


def _hurt(run: Run) -> tuple[frozenset[str], frozenset[str]]:
    """Torrents of which a file is gone; starting them would make them download.

    First those that the run had hidden, then those that were missing before it began, as they may
    be when a copy that was lost is taken back.
    """
    steps = [step_of(row) for row in run.steps()]
    hidden = {f"{h.src_root}/{name}" for h in steps if isinstance(h, Hide) for name in h.names}
    hurt: set[str] = set()
    lame: set[str] = set()
    for move in (step for step in steps if isinstance(step, Relocate)):
        for path in (f"{move.from_root}/{name}" for name in move.names):
            if not lies_at(path):
                (hurt if path in hidden else lame).add(move.torrent_id)
    return frozenset(hurt), frozenset(lame)


def _still_open(lane: Lane, stuck: Sequence[str]) -> RollbackFailed:
    number = lane.run.run_id
    return RollbackFailed(
        f"run {number} could not be undone completely; it stays open",
        detail="\n".join([f"it failed because: {lane.reason}", *stuck]),
        hint=f"remove the cause, then: rehome rollback {number}"
        f"  (or go forward: rehome resume {number})",
    )
