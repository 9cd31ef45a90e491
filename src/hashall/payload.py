"""What the content of a torrent is, apart from where it lies and what its folder is called.

Pure: names and hashes in, identities out.  The layout always comes from the client's own file
list; a directory listing would swallow the neighbours of a torrent that has no root folder.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hashall.model import Member
from seedkeep.errors import SeedError

_ESCAPED = frozenset("\\\t\n")  # what is escaped in a manifest
# Files that release groups add or drop while the media stays the same: endings, and SAMPLE.
SAMPLE = "sample"  # files of that name, or ending in it, and what is in a folder of that name
EXTRAS = frozenset({".nfo", ".sfv", ".txt", ".srr", ".srs", SAMPLE})


class UnsafeName(SeedError):
    """A torrent lists a file name that would leave its own folder."""

    code = "unsafe-name"


@dataclass(frozen=True)
class Layout:
    """How a torrent's file list is built."""

    root_name: str  # common top folder; "" when the torrent has none
    relpaths: tuple[str, ...]  # below the root, in the order of the list


def layout_of(names: Sequence[str]) -> Layout:
    """Split a file list into its common top folder and what is below it.

    Raises:
        UnsafeName: A name is absolute, empty, has "..", "." or NUL in it, or is no text.
    """
    if _may_be_unsafe("/|/".join(names)):  # as one text: this is asked of every file
        for name in names:
            check_name(name)
    top, slash, _ = names[0].partition("/") if names else ("", "", "")
    if slash and all(name.startswith(top + slash) for name in names):
        return Layout(top, tuple([name[len(top) + 1 :] for name in names]))
    return Layout("", tuple(names))


def _may_be_unsafe(names: str) -> bool:
    between = f"/{names}/"
    signs = "\0" in names or "//" in between or "/./" in between or "/../" in between
    return signs or not _can_be_a_name(names)


def check_name(name: str) -> None:
    parts = name.split("/")
    if any(part in ("", ".", "..") for part in parts):
        why = "such a name would point outside the torrent's own folder"
    elif "\0" in name or not _can_be_a_name(name):
        why = "no file can have such a name"
    else:
        return
    raise UnsafeName(
        f"the torrent lists a file as {name!r}",
        detail=why,
        hint="rename the file in the client, or leave this torrent alone",
    )


def _can_be_a_name(name: str) -> bool:
    """JSON can spell half of a surrogate pair, which is nothing on a disk or in a database."""
    try:
        name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


@dataclass(frozen=True)
class Hashes:
    """The three identities of one manifest."""

    payload_hash: str
    content_hash: str
    media_hash: str


def hashes_of(members: Sequence[Member], extras: frozenset[str] = EXTRAS) -> Hashes | None:
    """All three in one pass; None while a member has no sha256."""
    lines, pairs, media = [], [], []
    endings = tuple(extras)
    for member in members:
        if member.sha256 is None:
            return None
        line = _line(member.relpath, member.size, member.sha256)
        lines.append(line)
        pairs.append(line[1])
        lower = member.relpath.lower()
        may_be = lower.endswith(endings) or SAMPLE in lower  # no need to take the others apart
        if not (may_be and is_extra(member.relpath, extras)):
            media.append(line)
    return Hashes(_manifest_hash(lines), _content_hash(pairs), _manifest_hash(media))


def payload_hash(members: Iterable[Member]) -> str | None:
    """SHA-256 of the manifest; None while a member has no sha256.

    The manifest has one line a member, `relpath TAB size TAB sha256 LF`, sorted by the bytes of
    relpath.  Tab, line feed and backslash in a name are escaped, so that no name can pass for two
    lines.
    """
    hashes = hashes_of(tuple(members))
    return hashes.payload_hash if hashes else None


def content_hash(members: Iterable[Member]) -> str | None:
    """The same bytes under any names and in any layout; None while a member has no sha256."""
    hashes = hashes_of(tuple(members))
    return hashes.content_hash if hashes else None


def media_hash(members: Iterable[Member]) -> str | None:
    """`payload_hash` without extras.  Finds candidates for a person; nothing automatic uses it."""
    hashes = hashes_of([member for member in members if not is_extra(member.relpath)])
    return hashes.payload_hash if hashes else None


Line = tuple[bytes, bytes]  # relpath, and what follows it


def _line(relpath: str, size: int, sha256: str) -> Line:
    if not _ESCAPED.isdisjoint(relpath):
        relpath = relpath.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n")
    return relpath.encode("utf-8", "surrogateescape"), b"\t%d\t%s\n" % (size, sha256.encode())


def _manifest_hash(lines: list[Line]) -> str:
    lines.sort()
    return hashlib.sha256(b"".join([part for line in lines for part in line])).hexdigest()


def _content_hash(pairs: list[bytes]) -> str:
    """Over `size TAB sha256 LF` of each file, sorted by these bytes."""
    return hashlib.sha256(b"".join([pair[1:] for pair in sorted(pairs)])).hexdigest()


def is_extra(relpath: str, extras: frozenset[str] = EXTRAS) -> bool:
    lower = relpath.lower()
    folders, _, name = lower.rpartition("/")
    stem, dot, suffix = name.rpartition(".")
    if not dot or not stem:  # ".nfo" is a name, not a suffix
        stem, suffix = name, ""
    if f".{suffix}" in extras:
        return True
    if SAMPLE not in extras:
        return False
    if stem == SAMPLE or stem.endswith(("-sample", ".sample")):
        return True
    return SAMPLE in folders and SAMPLE in folders.split("/")
