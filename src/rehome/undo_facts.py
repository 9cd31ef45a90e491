"""Read what taking a committed run back depends on, and refuse what cannot be taken back."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from hashall.catalog import Catalog
from hashall.catalog.runs import RunStatus
from hashall.journal import Run
from hashall.presence import lies_at, why_unseen
from hashall.qbittorrent import stamp_at
from rehome.copy_lost import WITHOUT_COPY, begun_anew, lying_there, missing_folders, placed_paths
from rehome.emptied import refuse_emptied
from rehome.gather_lookalikes import Lookalikes
from rehome.look import Look
from rehome.model import Direction, Fingerprint, Hide, Plan, Relocate, Running, TorrentMove
from rehome.outcome import asked_of, plan_of
from rehome.switch import same_path
from rehome.undo import Now, Present, adopted, path_before
from rehome.undo_links import broken_by_undo
from seedkeep.errors import Refused
from seedkeep.torrent_client import Torrent, TorrentState

_CLOSED = {
    RunStatus.RETIRED: (
        "its source is no longer kept",
        "plan a move in the other direction instead",
    ),
    RunStatus.ROLLED_BACK: (
        "it was rolled back already: everything is as it was before it",
        "rehome runs show {}",
    ),
}


class CannotUndo(Refused):
    """A run that is not to be taken back, or not in this way.  Nothing was changed."""

    code = "cannot-undo"


def refuse_undo(catalog: Catalog, run: Run, original: Plan) -> None:
    """Raises `CannotUndo` for a run that has no hidden source, or is in the middle of something."""
    status = run.row.status
    if status is RunStatus.OPEN:
        raise CannotUndo(
            f"run {run.run_id} was interrupted",
            hint=f"take it back with: rehome rollback {run.run_id}",
        )
    if status in _CLOSED:
        detail, hint = _CLOSED[status]
        raise CannotUndo(
            f"run {run.run_id} cannot be taken back", detail=detail, hint=hint.format(run.run_id)
        )
    if original.direction is Direction.UNDO:
        raise CannotUndo(
            f"run {run.run_id} took run {run.row.undoes} back",
            hint="make a new plan to move the group once more",
        )
    undoing = catalog.runs.undone_by(run.run_id)
    if undoing is not None:
        raise CannotUndo(
            f"run {undoing} is taking run {run.run_id} back already",
            hint=f"end it with: rehome resume {undoing}, or rehome rollback {undoing}",
        )


def refuse_entangled(catalog: Catalog, run: Run, plan: Plan) -> None:
    """Raises `Refused` for a committed run that cannot be closed now: another one needs it."""
    runs = catalog.runs
    if any(row.status is RunStatus.OPEN and row.plan_id == plan.plan_id for row in runs.all()):
        # Its staging and its hidden files have the same names as ours.
        raise Refused(f"another run of plan {plan.plan_id} is open", hint="end that one first")
    if (undoing := runs.undone_by(run.run_id)) is not None:
        raise Refused(
            f"run {undoing} is about to bring run {run.run_id} back",
            hint=f"end that one first: rehome resume {undoing}, or rehome rollback {undoing}",
        )


def look_for_undo(look: Look, run: Run, original: Plan, *, copy_lost: bool = False) -> Now:
    """What there is now of the source, of what was placed, and of the torrents.

    With `copy_lost` nothing of what was placed counts: its disk is given up.
    """
    _require_source(original)
    ours = [move.torrent_id for move in original.torrents]
    found = {key: look.inventory[key] for key in ours if key in look.inventory}
    if not found:
        refuse_emptied(look.inventory.keys(), look.instances.keys(), ours)
    moved = [
        f"{move.torrent_id} is at {found[move.torrent_id].save_path}"
        for move in original.torrents
        if move.torrent_id in found
        and not same_path(found[move.torrent_id].save_path, move.client_target_path)
    ]
    if moved:
        raise CannotUndo(
            f"torrents of run {run.run_id} are no longer where it brought them",
            detail="\n".join(moved),
            hint="bring them there in qBittorrent, or look after them by hand",
        )
    _refuse_changed(look, original, found)
    absent = missing_folders(str(Path(path_before(item)).parent) for item in original.retire)
    if copy_lost:
        torrents = _as_before_a_try(look.catalog, run.run_id, _presents(original, found))
        return Now(run.run_id, torrents, {}, absent, _refuse_others_files(original))
    _refuse_unseen_copy(run.run_id, original)
    _refuse_begun_anew(original)
    placed = {
        item.witness: Fingerprint(stamp.inode, stamp.size, stamp.mtime_ns)
        for item in original.retire
        if (stamp := stamp_at(Path(item.witness))) is not None
    }
    _refuse_others(look, original, placed)
    stays = adopted(original)  # what lay there before is shown again in its place
    _refuse_symlinks(look, run, original, {k: placed[k] for k in placed if k not in stays})
    torrents = _presents(original, found)
    if len(placed) < len({item.witness for item in original.retire}):
        # A try without the copy may have been taken back, and then the disk came back.
        torrents = _as_before_a_try(look.catalog, run.run_id, torrents)
    return Now(run.run_id, torrents, placed, absent)


def _presents(original: Plan, found: Mapping[str, Torrent]) -> dict[str, Present]:
    return {
        move.torrent_id: _present(move, found[move.torrent_id])
        for move in original.torrents
        if move.torrent_id in found
    }


def _as_before_a_try(
    catalog: Catalog, run_id: int, torrents: Mapping[str, Present]
) -> dict[str, Present]:
    """Torrents that miss files are stopped when a try is taken back; they ran all the same."""
    tried = [
        row
        for row in catalog.runs.all()
        if row.undoes == run_id and (asked_of(row).copy_lost or WITHOUT_COPY in row.note)
    ]
    running = {m.torrent_id: m.running for row in tried for m in plan_of(row).torrents}
    return {
        key: replace(present, running=running.get(key, present.running))
        if present.running is Running.STOPPED
        else present
        for key, present in torrents.items()
    }


def _refuse_others_files(original: Plan) -> tuple[str, ...]:
    """Folders of the lost copy that are not there now; files there would go with the torrents."""
    _refuse_unseen("what lies where the lost copy was", placed_paths(original))
    there = lying_there(original)
    if there:
        raise CannotUndo(
            "files lie where the lost copy was, on another disk",
            detail="\n".join(there[:10]),
            hint="move them away; qBittorrent may have begun to download them anew",
        )
    return missing_folders({move.target_path for move in original.torrents})


def _refuse_begun_anew(original: Plan) -> None:
    begun = begun_anew(step for step in original.steps if isinstance(step, Relocate))
    if begun:
        raise CannotUndo(
            "qBittorrent has begun to download files of the copy anew",
            detail="\n".join(begun[:10]),
            hint="stop these torrents, and move what was begun away; the source is whole",
        )


def _refuse_others(look: Look, original: Plan, placed: Iterable[str]) -> None:
    """What the run placed is taken away: nobody else may seed it, or have come to the group."""
    ours = {move.torrent_id for move in original.torrents}
    others = {user for path in placed for user in look.users_of(Path(path))}
    payloads = {i.proved for key, i in look.instances.items() if key in ours} - {None}
    if placed:
        siblings = {key for key, i in look.instances.items() if i.proved in payloads}
        others |= siblings & look.inventory.keys()
    named = [f"{key} ({look.inventory[key].name})" for key in sorted(others - ours)]
    named += [f"{key} ({look.instances[key].name})" for key in _users_elsewhere(look, placed)]
    if named:
        raise CannotUndo(
            "other torrents seed what the run placed",
            detail="\n".join(named),
            hint="remove them first, or plan a move in the other direction instead",
        )
    present = sorted(ours & look.inventory.keys())
    if placed and (unseen := Lookalikes(look).unseen_like(present)):
        raise CannotUndo(
            "other torrents may seed what the run placed, and cannot be seen",
            detail="\n".join(unseen),
            hint="do what is said of each; nothing was changed",
        )


def _users_elsewhere(look: Look, placed: Iterable[str]) -> list[str]:
    """Torrents of other clients that had a file of these at their last sync, by key."""
    found: set[str] = set()
    for path in placed:
        place, stamp = look.places.find(path).place, stamp_at(path)
        if stamp is not None:
            found.update(
                look.catalog.link_groups.torrents_of(place.device_id, stamp.inode, [place.relpath])
            )
    return sorted(key for key in found & look.instances.keys() if "@" in key)


def _refuse_symlinks(
    look: Look, run: Run, original: Plan, placed: Mapping[str, Fingerprint]
) -> None:
    """What leads to the files that are taken away would lead to nothing."""
    broken = broken_by_undo(look, run.row, original, placed) if placed else ()
    if broken:
        raise CannotUndo(
            "symlinks lead to what the run placed",
            detail="\n".join(broken),
            hint="remove them first, or put hardlinks in their place",
        )


def _refuse_changed(look: Look, original: Plan, found: Mapping[str, Torrent]) -> None:
    """The client would move a file that we do not know of by itself, across the border."""
    changed = []
    for move in original.torrents:
        torrent = found.get(move.torrent_id)
        if torrent is None:
            continue
        if {f.name for f in look.files(move.torrent_id) if f.wanted} != set(move.file_names):
            changed.append(f"{move.torrent_id} has other files, or other names for them")
        if move.auto_tmm and (
            torrent.category not in (move.category, move.target_category)
            or not same_path(
                look.categories.get(move.category) or move.client_save_path, move.client_save_path
            )
        ):
            changed.append(f"{move.torrent_id}: its category leads elsewhere by now")
    if changed:
        raise CannotUndo(
            "torrents were changed in the client since",
            detail="\n".join(changed),
            hint="change that back in qBittorrent, or plan a move in the other direction instead",
        )


def _require_source(original: Plan) -> None:
    """Every hidden file still is the one that was hidden, and its place is free."""
    wrong = []
    hidden = [f"{item.hidden_root}/{item.name}" for item in original.retire]
    _refuse_unseen("the hidden source", [*hidden, *map(path_before, original.retire)])
    for item, path in zip(original.retire, hidden, strict=True):
        stamp = stamp_at(path)
        seen = item.seen
        if stamp is None:
            wrong.append(f"{path} is gone")
        elif (stamp.inode, stamp.size, stamp.mtime_ns) != (seen.inode, seen.size, seen.mtime_ns):
            wrong.append(f"{path} has changed")
        if lies_at(path_before(item)):
            wrong.append(f"{path_before(item)} is taken by something else")
    if wrong or not any(isinstance(step, Hide) for step in original.steps):
        raise CannotUndo(
            "the hidden source is not as it was left",
            detail="\n".join(wrong[:10]),
            hint="look at these files; nothing was changed",
        )


def _refuse_unseen(what: str, paths: Iterable[str]) -> None:
    """Nothing is gone, and no place free, only because the disk does not answer."""
    _refuse(what, _unseen(paths), "look at that disk; nothing was changed")


def _refuse_unseen_copy(run_id: int, original: Plan) -> None:
    """The client would find these files, and carry them across or fail in that."""
    unseen = _unseen(item.witness for item in original.retire)
    _refuse("the copy", unseen, _ways_around(unseen, run_id, original))


def _unseen(paths: Iterable[str]) -> dict[str, str]:
    """Paths of which nobody can say what lies there, each with the reason."""
    return {path: why for path in paths if (why := why_unseen(path))}


def _ways_around(unseen: Iterable[str], run_id: int, original: Plan) -> str:
    """How the torrents come back all the same: the kept source has all that they need."""
    roots = {move.target_path for move in original.torrents}
    folders = {_folder_that_answers(path, roots) for path in unseen}
    without = (
        "or unmount that disk, for good or until they are back, and then:"
        f" rehome undo {run_id} --copy-lost"
    )
    if "" in folders:
        return f"mount that disk again, or mend it; {without}"
    return (
        "mend that disk, or the rights on it; or, if nothing else uses it, rename"
        f" {', '.join(sorted(folders))}: then the same command goes on, and leaves what is in there"
        f" alone; {without}"
    )


def _folder_that_answers(path: str, roots: Collection[str]) -> str:
    """The nearest folder above that can be looked at, and so be renamed; "" at a save path."""
    for folder in map(str, Path(path).parents):
        if folder in roots:
            break
        if not why_unseen(folder):
            return folder
    return ""


def _refuse(what: str, unseen: Mapping[str, str], hint: str) -> None:
    if unseen:
        raise CannotUndo(
            f"{what} cannot be looked at",
            detail="\n".join(f"{path}: {why}" for path, why in list(unseen.items())[:10]),
            hint=hint,
        )


def _present(move: TorrentMove, torrent: Torrent) -> Present:
    running = Running.FORCED if torrent.force_start else Running.RUNNING
    if torrent.state.is_stopped and torrent.progress == 1:
        running = Running.STOPPED
    elif not torrent.state.is_seeding and torrent.state is not TorrentState.QUEUED_UP:
        running = move.running  # it misses its files: what it was before must do
    return Present(
        torrent.torrent_id, running, torrent.category, torrent.auto_tmm, torrent.download_path
    )
