"""Torrents that came to a group's files while these were hidden, and would be left without."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from hashall.presence import lies_at
from rehome.look import Look
from rehome.model import Plan
from rehome.planning import StalePlan


def refuse_newcomers(look: Look, plan: Plan) -> None:
    """Raises `StalePlan` for a torrent, added since, that expects its files where ours were.

    Going back gives them to it.  One that has begun to write files of its own there is let be.
    """
    places = frozenset(_places(look, plan))
    ours = {move.torrent_id for move in plan.torrents}
    found = [
        f"{torrent_id} ({item.torrent.name})"
        for torrent_id, item in sorted(look.changed.items())
        if torrent_id not in ours
        and any(_is_left(f"{item.save_path}/{file.name}", places) for file in item.files)
    ]
    if found:
        raise StalePlan(
            "a torrent was added that seeds files of this group from where they were",
            detail="\n".join(found),
            hint="run `hashall payload sync`, then plan or undo again",
        )


def _is_left(path: str, places: Collection[str]) -> bool:
    """Whether it is a place of the source where nothing lies any more."""
    return path in places and not lies_at(path)


def _places(look: Look, plan: Plan) -> Iterator[str]:
    """Places of the source, as the client calls them."""
    for move in plan.torrents:
        folder = look.ours(move.client_save_path)
        for name in move.file_names:
            yield f"{folder}/{name}"
