"""A client that shows none of its torrents has not lost them: it is another one, or not itself."""

from __future__ import annotations

from collections.abc import Collection

from hashall.emptied import NoTorrents


def refuse_emptied(shown: Collection[str], known: Collection[str], own: Collection[str]) -> None:
    """Raises `NoTorrents` when none of the known torrents is shown.

    Args:
        known: Keys of instances; those of other clients than the main one have its name behind
            an @.
        own: Torrents that are in question.  Where the catalog knows no others, nobody can say.
            One that is shown, at whatever place, proves that it is the client.
    """
    others = {key for key in known if "@" not in key}.difference(own)
    if others and others.union(own).isdisjoint(shown):
        raise NoTorrents.of("qBittorrent", len(shown), len(others))
