"""A client that shows none of its torrents has not lost them: it is another one, or not itself."""

from __future__ import annotations

from collections.abc import Collection

from seedkeep.errors import Refused

FEW = 10  # torrents: so many may well be removed between two looks


class NoTorrents(Refused):
    """The client shows none of the torrents that the catalog knows.  Nothing was changed."""

    code = "no-torrents"

    @classmethod
    def of(cls, who: str, shown: int, known: int) -> NoTorrents:
        """`who` shows so many torrents, and none of so many that are known."""
        return cls(
            f"{who} shows none of the torrents that the catalog knows",
            detail=f"it shows {shown}, and none of the {known} that the catalog knows",
            hint="is this its address, and was it started with its own profile? Where all of them"
            " were removed, `hashall payload sync --all-removed` forgets them",
        )


def refuse_emptied(shown: Collection[str], known: Collection[str], client: str) -> None:
    """Raises `NoTorrents` when not one of many known torrents is shown.

    Forgotten, their files would be listed as nobody's.
    """
    if len(known) >= FEW and set(shown).isdisjoint(known):
        raise NoTorrents.of(f"client {client}", len(shown), len(known))
