"""What may be sent to qBittorrent: ids and paths, checked before they leave."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

from seedkeep.errors import Misused

_ID = re.compile(r"[0-9a-f]{40}")


def checked_ids(ids: Iterable[str]) -> set[str]:
    """Ids in lower case.  "all", which qBittorrent takes literally, does not get through."""
    wanted = {text.lower() for text in ids}
    for text in wanted:
        if not _ID.fullmatch(text):
            raise Misused(f"{text!r} is not a torrent id", hint="an id has 40 hex digits")
    return wanted


def absolute(path: str) -> str:
    if not path.startswith("/") or "\0" in path:
        raise Misused(f"{path!r} is not an absolute path")
    # qBittorrent stores paths cleaned: compare what it will answer.  A leading "//" is kept by
    # POSIX rules and dropped by qBittorrent.
    return "/" + posixpath.normpath(path).lstrip("/")


def in_chunks(values: Sequence[str], size: int) -> Iterator[list[str]]:
    rest = iter(values)
    while some := list(islice(rest, size)):
        yield some


def by_value(wishes: Mapping[str, str], ids: Iterable[str]) -> list[tuple[str, list[str]]]:
    """The ids by what each of them is to get: one request serves all that get the same."""
    found: dict[str, list[str]] = {}
    for torrent_id in ids:
        found.setdefault(wishes[torrent_id], []).append(torrent_id)
    return sorted(found.items())
