"""Before runs go back: mend what the client has lost, and find what is not to be touched any more.

A client that was killed shows a torrent where it was told to be before, and does not find its files
there.  Whatever it forgot of an earlier way back is begun again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial

from hashall import fsops
from hashall.catalog.runs import StepState
from hashall.journal import Run
from hashall.presence import lies_at
from rehome.copy_lost import proofs_of_absence, refuse_begun_anew
from rehome.emptied import refuse_emptied
from rehome.lanes import Failure, Lane, attempt, step_of
from rehome.model import (
    Adopt,
    Direction,
    Hide,
    MakeStaging,
    Nothing,
    Place,
    ProveAway,
    Relocate,
    SetCategory,
    SetManagement,
    StartTorrents,
    Step,
    StopTorrents,
)
from rehome.world import World


def make_ready(lanes: Sequence[Lane], world: World) -> list[tuple[Lane, Failure]]:
    """Returns the lanes that cannot go back now; of the others sets `gone`.

    Those are torrents that somebody removed from the client or moved elsewhere meanwhile.  A run
    that asked nothing of the client yet needs none; it may even be down.
    """
    asked = [lane for lane in lanes if any(isinstance(s, StopTorrents) for s in _begun(lane.run))]
    return attempt(asked, partial(_mend, world), lambda lane: _places(lane.run))


def without(step: Step, gone: frozenset[str]) -> Step:
    """The step for those torrents that still are in the client; the files go back all the same."""
    match step:
        case StopTorrents(torrents) | StartTorrents(torrents):
            return type(step)(tuple(was for was in torrents if was.torrent_id not in gone))
        case SetManagement() | SetCategory() | Relocate() if step.torrent_id in gone:
            return Nothing()
    return step


def _begun(run: Run) -> list[Step]:
    return [step_of(row) for row in run.begun_steps()]


def _moves(run: Run, *states: StepState) -> list[Relocate]:
    """Changes of location; of all states, or of these."""
    rows = [row for row in run.steps() if not states or row.state in states]
    return [step for step in map(step_of, rows) if isinstance(step, Relocate)]


def _places(run: Run) -> dict[str, tuple[str, ...]]:
    """The save paths that each torrent can have through this run.

    The new one only while its relocation has begun: otherwise nothing of ours will lie there.
    """
    moves = _moves(run)
    begun = set(_moves(run, StepState.INTENDED, StepState.DONE))
    both = {m.torrent_id: (m.client_from, m.client_to) for m in moves}
    return both | {m.torrent_id: (m.client_from,) for m in moves if m not in begun}


def _mend(world: World, lanes: Sequence[Lane]) -> None:
    _begin_again(world, lanes)
    places = {key: paths for lane in lanes for key, paths in _places(lane.run).items()}
    lost = world.switch.not_ours(places)
    if lost == places.keys():
        known = {item.key for item in lanes[0].run.catalog.payloads.instances()}
        shown = {torrent.torrent_id for torrent in world.switch.client.torrents()}
        refuse_emptied(shown, known, places)
    moving: list[Lane] = []
    for lane in lanes:
        lane.gone |= lost & _places(lane.run).keys()
        begun = _begun(lane.run)
        if any(isinstance(step, Relocate) for step in begun):
            _hide_again(world, lane, begun)
            if _went_to_lost(lane):
                refuse_begun_anew(step for step in begun if isinstance(step, Relocate))
            for proof in _proofs(lane, begun):
                world.perform(proof)
            moving.append(lane)
    _heal(moving, world)


# -- what a client has forgotten of an earlier way back


def _begin_again(world: World, lanes: Sequence[Lane]) -> None:
    """Have the steps undone once more that a client which was killed has not saved."""
    if seeming := _forgotten(world, lanes):
        # One that somebody is just moving there may not have its first file there yet.
        world.switch.rest([move.torrent_id for moves in seeming.values() for move in moves])
        seeming = _forgotten(world, list(seeming))
    for lane, moves in seeming.items():
        for row in lane.run.steps():
            if row.state is StepState.UNDONE and _concerns(step_of(row), moves):
                lane.run.intend(row.seq)


def _forgotten(world: World, lanes: Sequence[Lane]) -> dict[Lane, list[Relocate]]:
    """The changes of location that were taken back, and seem not to be known any more."""
    told = {lane: _moves(lane.run, StepState.UNDONE) for lane in lanes}
    there = world.switch.at({m.torrent_id: m.client_to for moves in told.values() for m in moves})
    found = {
        lane: [m for m in moves if m.torrent_id in there and _is_forgotten(lane, m)]
        for lane, moves in told.items()
    }
    return {lane: moves for lane, moves in found.items() if moves}


def _is_forgotten(lane: Lane, move: Relocate) -> bool:
    """Whether a torrent is where its files are not, and they are where it was told to go back to.

    Who moves a torrent in the client takes its files along; then it is let be.
    """
    steps = [step_of(row) for row in lane.run.steps()]
    adopted = [path for s in steps if isinstance(s, Adopt) for path in _paths(s.src_root, s.names)]
    not_theirs = {*adopted, *_paths(move.to_root, move.empty)}
    if any(lies_at(p) for p in _paths(move.to_root, move.names) if p not in not_theirs):
        return False
    if lane.copy_lost and not _went_to_lost(lane):
        return True  # its files are on the disk that is given up
    hidden = {
        path: aside
        for hide in (step for step in steps if isinstance(step, Hide))
        for path, aside in zip(
            _paths(hide.src_root, hide.names), _paths(hide.dst_root, hide.names), strict=True
        )
    }
    home = _paths(move.from_root, move.names)
    return all(lies_at(path) or (path in hidden and lies_at(hidden[path])) for path in home)


def _paths(root: str, names: Iterable[str]) -> list[str]:
    return [f"{root}/{name}" for name in names]


def _concerns(step: Step, moves: Sequence[Relocate]) -> bool:
    """Whether a step has to be undone again when these torrents are to be brought back."""
    match step:
        case SetManagement() | SetCategory() | Relocate():
            return any(step.torrent_id == move.torrent_id for move in moves)
        case Hide():
            return any(step.src_root == move.from_root for move in moves)
        case Adopt():
            return any(step.src_root == move.to_root for move in moves)
    return isinstance(step, MakeStaging)


# -- what a client has lost


def _proofs(lane: Lane, begun: Iterable[Step]) -> list[ProveAway]:
    """That the client sees nothing of a disk that is given up, before it is told to go back."""
    if not lane.copy_lost:
        return []
    planned = [step for step in map(step_of, lane.run.steps()) if isinstance(step, ProveAway)]
    forward = _went_to_lost(lane)
    moves = (step if forward else step.inverse() for step in begun)
    return planned or proofs_of_absence(moves, lane.run.row.plan_id)


def _went_to_lost(lane: Lane) -> bool:
    """Whether the place that the client was told is on a disk that is given up."""
    return lane.copy_lost and lane.run.row.kind != Direction.UNDO.value


def _hide_again(world: World, lane: Lane, begun: Sequence[Step]) -> None:
    """Files that somebody put back by hand would be in the way of the client's going back.

    So are those that an earlier way back has shown already; torrents that have them may run.
    """
    placed = any(isinstance(step, Place) for step in begun)
    again = [
        replace(step, names=(name,))
        for step in begun
        if isinstance(step, Hide) or (isinstance(step, Adopt) and not placed)
        if not lane.is_lost(step)
        for name in step.names
        if lies_at(f"{step.src_root}/{name}")
        and (isinstance(step, Hide) or not lies_at(f"{step.dst_root}/{name}"))
    ]
    if again:
        stops = [step for step in begun if isinstance(step, StopTorrents)]
        world.perform_together([without(step, lane.gone) for step in stops])
    for step in again:
        with suppress(fsops.LostFile):
            world.perform(step)


def _heal(lanes: Sequence[Lane], world: World) -> None:
    """Before going back: a client that was killed too may have lost torrents on the new side.

    It finds them when the staged view is in its place; the undo that follows takes it away again.
    """
    places: dict[str, str] = {}
    for lane in lanes:
        if _went_to_lost(lane) or not _has_view(lane.run):
            continue  # nobody will ever find files there
        for step in _begun(lane.run):
            if isinstance(step, Relocate) and step.torrent_id not in lane.gone:
                places[step.torrent_id] = step.client_to

    def show_files(torrents: frozenset[str]) -> None:
        for lane in lanes:
            if not torrents.isdisjoint(_places(lane.run)):
                refuse_begun_anew(m for m in _moves(lane.run) if m.torrent_id in torrents)
                _show_view(lane.run, world)

    if places:
        world.switch.heal(places, show_files)


def _has_view(run: Run) -> bool:
    """Whether all files are there that the client could find; staging may be gone again."""
    places = [step for step in map(step_of, run.steps()) if isinstance(step, Place)]
    return all(
        lies_at(f"{step.src_root}/{name}") or lies_at(f"{step.dst_root}/{name}")
        for step in places
        for name in step.names
    )


def _show_view(run: Run, world: World) -> None:
    for row in run.steps():
        step = step_of(row)
        if isinstance(step, Place) and row.state is not StepState.DONE:
            run.intend(row.seq)
            world.perform(step)
            run.done(row.seq)
