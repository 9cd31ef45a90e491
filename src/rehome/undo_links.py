"""Symlinks that lead to what a run placed: which of them taking the run back would break."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from hashall.catalog.files import join
from hashall.catalog.runs import RunRow
from hashall.model import Place, TorrentFileOnDisk
from rehome.gather_roots import Roots
from rehome.gather_strangers import Strangers
from rehome.look import Look
from rehome.model import Direction, Fingerprint, MakeStaging, Plan
from seedkeep import clock

CLOCKS_DIFFER_S = 60.0  # at most: a server's clock gives the times of its files
_MOST_LINKS = 40  # as the kernel follows


def broken_by_undo(
    look: Look, row: RunRow, original: Plan, placed: Mapping[str, Fingerprint]
) -> tuple[str, ...]:
    """Symlinks of libraries, and torrents behind symlinks, that need files of `placed`.

    A symlink that is older than the run, to a folder that is older too, is none of them: it goes on
    to lead there, and there is what there was.
    """
    demoted = original.direction is Direction.DEMOTE
    roots = Roots(look, Direction.PROMOTE if demoted else Direction.DEMOTE)
    files = [_on_disk(look, path, seen) for path, seen in placed.items()]
    places = {Place(file.device_id, file.path) for file in files}
    began = clock.parse_iso(row.started_at).timestamp() - CLOCKS_DIFFER_S
    fresh = places | {place for folder in _made(original) if (place := roots.home(Path(folder)))}
    links = [
        link
        for link, place in sorted(roots.leading_to(places).items())
        if place in fresh or not _is_older(link, began)
    ]
    strangers = Strangers(look)
    users = strangers.of([move.torrent_id for move in original.torrents], files)
    return (*links, *(f"torrent {name}" for name in strangers.named(users.by_symlink)))


def _made(original: Plan) -> Collection[str]:
    """Folders that did not exist when the run was planned."""
    steps = [step for step in original.steps if isinstance(step, MakeStaging)]
    return {folder for step in steps for folder in step.undo_remove}


def _is_older(link: str, moment: float) -> bool:
    """Whether a symlink, and each other one on its way, is as it was at a moment (Unix time).

    Nobody can set back the time of a change.
    """
    try:
        return all(changed < moment for changed in _changes_on_the_way(link))
    except OSError:
        return False


def _changes_on_the_way(path: str) -> Iterator[float]:
    """When each symlink on the way was made or renamed.  Raises `OSError`."""
    here, ahead, left = "/", path.split("/")[::-1], _MOST_LINKS
    while ahead:
        name = ahead.pop()
        if name in ("", "."):
            continue
        if name == "..":
            here = os.path.dirname(here)
            continue
        there = os.path.join(here, name)
        if not os.path.islink(there):
            here = there
            continue
        if not left:
            raise OSError(f"too many symlinks on the way: {path}")
        left -= 1
        yield os.lstat(there).st_ctime
        to = os.readlink(there)
        here = "/" if to.startswith("/") else here
        ahead += to.split("/")[::-1]


def _on_disk(look: Look, path: str, seen: Fingerprint) -> TorrentFileOnDisk:
    folder, _, name = path.rpartition("/")
    place = look.places.find(Path(folder)).place
    return TorrentFileOnDisk(
        name, seen.size, place.device_id, join(place.relpath, name), seen.inode, seen.mtime_ns, None
    )
