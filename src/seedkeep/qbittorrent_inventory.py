"""torrents/info of thousands of torrents, without building an object for each.

What one poll of 30,000 torrents costs is mostly the making of objects that nobody looks at.  Here
the answer stays text; each row is read once for its digests, and again when somebody asks for it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from operator import itemgetter
from typing import Any

from seedkeep.errors import Unreachable
from seedkeep.qbittorrent_rows import Row, read_torrent
from seedkeep.torrent_client import NoSuchTorrent, Prints, Torrent

_WHERE = "torrents/info"
_ID = re.compile(r"[0-9a-fA-F]{40}")
_BLANKS = re.compile(r"[ \t\r\n]*")
_PLACE = itemgetter(
    *("infohash_v1", "infohash_v2", "save_path", "download_path", "content_path"),
    *("size", "progress", "amount_left"),
)
_LABELS = itemgetter("name", "category", "tags")
# In these states what lies on disk is in doubt; the others say only who talks to whom.
_TELLING = re.compile(r"checking|moving|allocating|missingFiles|error|meta", re.IGNORECASE)
_UNTOLD = Prints("", "")  # of a row that lacks something; it equals no print that was kept


@dataclass(frozen=True)
class TextInventory:
    """An `Inventory` that is cut out of the answer's text when it is needed."""

    text: str
    unread: tuple[str, ...]
    _prints: dict[str, Prints]
    _found: dict[str, tuple[int, int, Any]] = field(repr=False)  # start, end, path of its content

    @classmethod
    def of(cls, text: str) -> TextInventory:
        """Raises `Unreachable` for an answer that is no whole list."""
        prints: dict[str, Prints] = {}
        found: dict[str, tuple[int, int, Any]] = {}
        unread: list[str] = []
        for start, end, row in _rows(text):
            torrent_id = row.get("hash") if isinstance(row, dict) else None
            if not isinstance(torrent_id, str) or not _ID.fullmatch(torrent_id):
                unread.append(text[start : min(end, start + 80)])
                continue
            torrent_id = torrent_id.lower()
            prints[torrent_id] = _prints_of(row)
            found[torrent_id] = (start, end, row.get("content_path"))
        return cls(text, tuple(unread), prints, found)

    def prints(self) -> Mapping[str, Prints]:
        return self._prints

    def by_place(self, ids: Iterable[str]) -> list[str]:
        return sorted(ids, key=lambda torrent_id: (str(self._found[torrent_id][2]), torrent_id))

    def torrent(self, torrent_id: str) -> Torrent:
        try:
            start, end, _ = self._found[torrent_id]
        except KeyError:
            raise NoSuchTorrent(f"qBittorrent has no torrent {torrent_id}") from None
        return read_torrent(Row(_WHERE, json.loads(self.text[start:end])))


def _prints_of(row: dict[str, Any]) -> Prints:
    try:
        place, labels, state = _PLACE(row), _LABELS(row), row["state"]
        telling = _telling(state)
    except (KeyError, TypeError):
        return _UNTOLD
    return Prints(_digest((*place, telling)), repr(labels))


@lru_cache
def _telling(state: str) -> str:
    return state if _TELLING.search(state) else ""


def _digest(values: tuple[Any, ...]) -> str:
    text = repr(values).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(text, digest_size=12).hexdigest()


def _rows(text: str) -> Iterator[tuple[int, int, Any]]:
    """(start, end, value) of each element of a JSON list."""
    read = json.JSONDecoder().raw_decode
    with _understood():
        at = _skip(text, 0)
        if text[at : at + 1] != "[":
            raise ValueError(f"a list was expected, not {text[:80]!r}")
        at = _skip(text, at + 1)
        if text[at : at + 1] == "]":
            return
        while True:
            value, end = read(text, at)
            yield at, end, value
            if text.startswith(",{", end):  # as qBittorrent writes it
                at = end + 1
                continue
            at = _skip(text, end)
            if text[at : at + 1] == "]":
                return
            if text[at : at + 1] != ",":
                raise ValueError(f"the list has no end after {at} characters")
            at = _skip(text, at + 1)


@contextmanager
def _understood() -> Iterator[None]:
    try:
        yield
    except (ValueError, RecursionError) as why:
        raise Unreachable(
            f"qBittorrent's answer to {_WHERE} is not understood",
            detail=str(why)[:300],
            hint="is something between this program and qBittorrent changing its answers?",
        ) from why


def _skip(text: str, at: int) -> int:
    if text[at : at + 1] not in " \t\r\n":  # nearly always; a regex costs ten times as much
        return at
    found = _BLANKS.match(text, at)
    return found.end() if found else at
