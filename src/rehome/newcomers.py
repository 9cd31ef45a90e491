"""Torrents that came to a group's files while these were hidden, and would be left without."""

from __future__ import annotations

import os
from collections.abc import Iterator

from rehome.look import Look
from rehome.model import Plan
from rehome.planning import StalePlan


def refuse_newcomers(look: Look, plan: Plan) -> None:
    """Raises `StalePlan` for a torrent, added since, that expects its files where ours were.

    Going back gives them to it.  One that has begun to write files of its own there is let be.
    """
    left = frozenset(_left(look, plan))
    ours = {move.torrent_id for move in plan.torrents}
    found = [
        f"{torrent_id} ({item.torrent.name})"
        for torrent_id, item in sorted(look.changed.items())
        if torrent_id not in ours
        and any(f"{item.save_path}/{file.name}" in left for file in item.files)
    ]
    if found:
        raise StalePlan(
            "a torrent was added that seeds files of this group from where they were",
            detail="\n".join(found),
            hint="run `hashall payload sync`, then plan or undo again",
        )


def _left(look: Look, plan: Plan) -> Iterator[str]:
    """Places of the source, as the client calls them, where nothing lies any more."""
    for move in plan.torrents:
        folder = look.ours(move.client_save_path)
        for name in move.file_names:
            if not os.path.lexists(f"{folder}/{name}"):
                yield f"{folder}/{name}"
