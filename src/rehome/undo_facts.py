"""Read what taking a committed run back depends on, and refuse what cannot be taken back."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from hashall.catalog import Catalog
from hashall.catalog.files import join
from hashall.catalog.runs import RunStatus
from hashall.journal import Run
from hashall.model import Place, TorrentFileOnDisk
from hashall.qbittorrent import stamp_at
from rehome.gather_roots import Roots
from rehome.gather_strangers import Strangers
from rehome.look import Look
from rehome.model import Direction, Fingerprint, Hide, Plan, Running, TorrentMove
from rehome.switch import same_path
from rehome.undo import Now, Present, adopted, path_before
from seedkeep.errors import Refused
from seedkeep.torrent_client import Torrent, TorrentState

_CLOSED = {
    RunStatus.RETIRED: "its source is no longer kept",
    RunStatus.ROLLED_BACK: "it was rolled back already",
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
        raise CannotUndo(
            f"run {run.run_id} cannot be taken back",
            detail=_CLOSED[status],
            hint="plan a move in the other direction instead",
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


def look_for_undo(look: Look, run: Run, original: Plan) -> Now:
    """What there is now of the source, of what was placed, and of the torrents."""
    _require_source(original)
    ours = [move.torrent_id for move in original.torrents]
    found = {key: look.inventory[key] for key in ours if key in look.inventory}
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
    placed = {
        item.witness: Fingerprint(stamp.inode, stamp.size, stamp.mtime_ns)
        for item in original.retire
        if (stamp := stamp_at(Path(item.witness))) is not None
    }
    _refuse_others(look, original, placed)
    stays = adopted(original)  # what lay there before is shown again in its place
    _refuse_symlinks(look, original, {k: placed[k] for k in placed if k not in stays})
    torrents = {
        move.torrent_id: _present(move, found[move.torrent_id])
        for move in original.torrents
        if move.torrent_id in found
    }
    return Now(run.run_id, torrents, placed)


def _refuse_others(look: Look, original: Plan, placed: Iterable[str]) -> None:
    """What the run placed is taken away: nobody else may seed it, or have come to the group."""
    ours = {move.torrent_id for move in original.torrents}
    others = {user for path in placed for user in look.users_of(Path(path))}
    payloads = {i.payload_id for key, i in look.instances.items() if key in ours} - {None}
    if placed:
        siblings = {key for key, i in look.instances.items() if i.payload_id in payloads}
        others |= siblings & look.inventory.keys()
    if others := others - ours:
        raise CannotUndo(
            "other torrents seed what the run placed",
            detail="\n".join(f"{key} ({look.inventory[key].name})" for key in sorted(others)),
            hint="remove them first, or plan a move in the other direction instead",
        )


def _refuse_symlinks(look: Look, original: Plan, placed: Mapping[str, Fingerprint]) -> None:
    """What leads to the files that are taken away would lead to nothing."""
    demoted = original.direction is Direction.DEMOTE
    roots = Roots(look, Direction.PROMOTE if demoted else Direction.DEMOTE)
    files = [_on_disk(look, path, seen) for path, seen in placed.items()]
    links = roots.symlinks_to(Place(file.device_id, file.path) for file in files)
    _, torrents = Strangers(look).of([move.torrent_id for move in original.torrents], files)
    if links or torrents:
        raise CannotUndo(
            "symlinks lead to what the run placed",
            detail="\n".join([*links, *(f"torrent {name}" for name in torrents)]),
            hint="remove them first, or put hardlinks in their place",
        )


def _on_disk(look: Look, path: str, seen: Fingerprint) -> TorrentFileOnDisk:
    folder, _, name = path.rpartition("/")
    place = look.places.find(folder).place
    return TorrentFileOnDisk(
        name, seen.size, place.device_id, join(place.relpath, name), seen.inode, seen.mtime_ns, None
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
    for item in original.retire:
        stamp = stamp_at(Path(item.hidden_root) / item.name)
        seen = item.seen
        if stamp is None:
            wrong.append(f"{item.hidden_root}/{item.name} is gone")
        elif (stamp.inode, stamp.size, stamp.mtime_ns) != (seen.inode, seen.size, seen.mtime_ns):
            wrong.append(f"{item.hidden_root}/{item.name} has changed")
        if os.path.lexists(path_before(item)):
            wrong.append(f"{path_before(item)} is taken by something else")
    if wrong or not any(isinstance(step, Hide) for step in original.steps):
        raise CannotUndo(
            "the hidden source is not as it was left",
            detail="\n".join(wrong[:10]),
            hint="look at these files; nothing was changed",
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
