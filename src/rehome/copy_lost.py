"""What holds when the disk with a run's copy is lost for good, and a person said so.

Then only the side of the source is used.  At the paths of the lost side nothing is moved or
removed, since what is found there now belongs to whatever lies below that mount point; and should
the disk come back, it has everything that it had.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from hashall.catalog.runs import RunRow, RunStatus
from hashall.fsops import PREFIX
from hashall.presence import lies_at
from hashall.qbittorrent import INCOMPLETE_SUFFIX
from rehome.model import (
    Adopt,
    Direction,
    Hide,
    MakeStaging,
    MoveFiles,
    Place,
    Plan,
    ProveAway,
    Relocate,
    Reveal,
    Step,
)
from rehome.switch import InTheWay

AnyMove = TypeVar("AnyMove", bound=MoveFiles)
WITHOUT_COPY = "without its copy: that disk is lost"  # in the note of a run that was taken back so


def is_on_copy_side(step: Step, direction: Direction) -> bool:
    """Whether a step changes files on the side that a run copies to, or takes its copy from."""
    if direction is Direction.UNDO:
        return isinstance(step, Hide | Reveal)
    return isinstance(step, MakeStaging | Place | Adopt)


def lying_there(original: Plan) -> tuple[str, ...]:
    """What lies where the lost copy was: files of another disk.  Raises `OSError`.

    Empty ones that the torrent has as well do not count: a client that starts makes them.
    """
    return tuple(
        path
        for path, is_empty in sorted(placed_paths(original).items())
        if lies_at(path) and not (is_empty and Path(path).lstat().st_size == 0)
    )


def placed_paths(original: Plan) -> dict[str, bool]:
    """Where the torrents of a run have their files since, and whether each is an empty one.

    Also where the client would have begun one anew: that would go along with its torrent.
    """
    moves = [step for step in original.steps if isinstance(step, Relocate)]
    paths = {f"{m.to_root}/{name}": name in m.empty for m in moves for name in m.names}
    return paths | dict.fromkeys(_begun_anew(moves), False)


def begun_anew(moves: Iterable[Relocate]) -> list[str]:
    """Downloads that the client has begun where the copies were.  Raises `OSError`.

    Going back it would take them along, to beside the whole files, and count on them.
    """
    return [path for path in _begun_anew(moves) if lies_at(path)]


def refuse_begun_anew(moves: Iterable[Relocate]) -> None:
    """Raises `InTheWay` for these, or `OSError`."""
    if found := begun_anew(moves):
        raise InTheWay(
            "downloads were begun in the places of the copies",
            detail="\n".join(found[:10]),
            hint="stop these torrents in qBittorrent, and move the files away",
        )


def _begun_anew(moves: Iterable[Relocate]) -> list[str]:
    return [f"{move.to_root}/{name}{INCOMPLETE_SUFFIX}" for move in moves for name in move.names]


def proofs_of_absence(steps: Iterable[Step], plan_id: str) -> list[ProveAway]:
    """That the client sees nothing of the disk to which its torrents are relocated by these."""
    places = {(s.to_root, s.client_to) for s in steps if isinstance(s, Relocate)}
    missing = missing_folders(ours for ours, _ in places)
    return [prove_away(ours, theirs, plan_id, missing) for ours, theirs in sorted(places)]


def prove_away(ours: str, theirs: str, plan_id: str, missing: Iterable[str]) -> ProveAway:
    """`missing`: folders that the client makes on the way; they go again."""
    probe = f"{PREFIX}{plan_id}-probe"
    above = tuple(path for path in missing if f"{ours}/".startswith(f"{path}/"))
    return ProveAway(f"{ours}/{probe}", f"{theirs}/{probe}", above)


def missing_folders(folders: Iterable[str]) -> tuple[str, ...]:
    """Those of `folders`, and of the ones above, that do not exist, deepest first."""
    above = {str(path) for folder in folders for path in (Path(folder), *Path(folder).parents)}
    missing = [path for path in above if not lies_at(path)]
    return tuple(sorted(missing, key=lambda path: (-path.count("/"), path)))


def left_on_it(original: Plan) -> tuple[str, ...]:
    """What is on the lost disk after a committed run was taken back without it."""
    copies = sorted({item.witness for item in original.retire})
    folders = sorted({move.target_path for move in original.torrents})
    return (
        f"given up: {_files(len(copies))} below {', '.join(folders)};"
        " nothing of them was looked at or changed",
        "if that disk comes back, they are on it, and no torrent of this run uses them: after a"
        " scan they count as duplicates, and another demotion would use them again",
    )


def left_behind(row: RunRow, plan: Plan, is_back: Callable[[], bool]) -> tuple[str, ...]:
    """What is on the lost disk of a run that was rolled back without it; nothing of others.

    By looking when `is_back` says that the disk is there again; else what may be.
    """
    if row.status is not RunStatus.ROLLED_BACK or WITHOUT_COPY not in row.note:
        return ()
    try:
        return _found_of(plan) if is_back() else _left_of(plan)
    except OSError:
        return _left_of(plan)


def _found_of(plan: Plan) -> tuple[str, ...]:
    first = tuple(
        f"{_files(count)} that lay in {usual} before {_is(count)} in {now}; move them back first"
        for usual, now, names in _put_aside(plan)
        if (count := _lying(now, names))
    )
    if plan.direction is Direction.UNDO:
        hidden = sorted({step.dst_root for step in _of(Hide, plan) if lies_at(step.dst_root)})
        return (*first, *(f"its copies are in {path}" for path in hidden))
    adopted = {f"{step.src_root}/{name}" for step in _of(Adopt, plan) for name in step.names}
    placed = {
        root: _lying(root, [name for name in names if f"{root}/{name}" not in adopted])
        for root, names in sorted((step.dst_root, step.names) for step in _of(Place, plan))
    }
    staged = (f"copies are in {plan.staging}; nobody uses them",) if lies_at(plan.staging) else ()
    copies = tuple(
        f"{_files(count)} of its copies {_is(count)} in place below {root}; nobody uses them"
        for root, count in placed.items()
        if count
    )
    return (*first, *staged, *copies)


def _put_aside(plan: Plan) -> list[tuple[str, str, tuple[str, ...]]]:
    """Where files of the disk lay before the run, where they may be now, and their names."""
    aside = [(step.src_root, step.dst_root, step.names) for step in _of(Adopt, plan)]
    return aside + [(step.dst_root, step.src_root, step.names) for step in _of(Reveal, plan)]


def _lying(root: str, names: Iterable[str]) -> int:
    return sum(lies_at(f"{root}/{name}") for name in names)


def _left_of(plan: Plan) -> tuple[str, ...]:
    back = "if that disk comes back: "
    first = tuple(
        f"{back}{_files(len(names))} that lay in {usual} before may be in {now};"
        " move them back first"
        for usual, now, names in _put_aside(plan)
    )
    if plan.direction is Direction.UNDO:
        hidden = sorted({step.dst_root for step in _of(Hide, plan)})
        return (*first, *(f"if that disk comes back, its copies may be in {p}" for p in hidden))
    copies = f"{back}copies may be in {plan.staging}, and in their places; nobody uses them"
    return (*first, copies)


def _of(kind: type[AnyMove], plan: Plan) -> list[AnyMove]:
    return [step for step in plan.steps if isinstance(step, kind)]


def _files(count: int) -> str:
    return f"{count} file{'s' if count != 1 else ''}"


def _is(count: int) -> str:
    return "is" if count == 1 else "are"
