"""One question to the tables of all filesystems, of which there may be any number."""

from __future__ import annotations

from collections.abc import Sequence

MOST_TERMS = 400  # SQLite takes 500 in one compound SELECT


def union_all(selects: Sequence[str]) -> str:
    """All rows of these SELECTs, as the text of one; more than SQLite takes at once are nested."""
    while len(selects) > MOST_TERMS:
        selects = [
            f"SELECT * FROM ({' UNION ALL '.join(selects[first : first + MOST_TERMS])})"
            for first in range(0, len(selects), MOST_TERMS)
        ]
    return " UNION ALL ".join(selects)
