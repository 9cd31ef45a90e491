"""What facts, plans and steps are made of: plain values.

Paths are absolute and ours, unless they are named `client_…`.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Direction(enum.Enum):
    DEMOTE = "demote"  # from stash to pool
    PROMOTE = "promote"  # from pool to stash, only where stash has the bytes
    UNDO = "undo"  # back to where a committed run came from, while its source is kept


class Verdict(enum.Enum):
    MOVE = "MOVE"  # some bytes have to be copied to the other side
    REUSE = "REUSE"  # the other side has all of them
    BLOCK = "BLOCK"  # must not move; see the blockers
    SKIP = "SKIP"  # is where it belongs


class Running(enum.Enum):
    """The kind of state that a torrent is brought back to."""

    STOPPED = "stopped"
    RUNNING = "running"
    FORCED = "forced"


@dataclass(frozen=True)
class Blocker:
    """One reason why nothing may move."""

    code: str
    sentence: str
    paths: tuple[str, ...] = ()


@dataclass(frozen=True)
class Fingerprint:
    """The file behind a path, as it must still be when we act on it."""

    inode: int  # as the catalog stores it: less 2**64 from 2**63 on; in JSON as stat(1) has it
    size: int  # bytes
    mtime_ns: int


@dataclass(frozen=True)
class Copy:
    """One distinct content that crosses the border, once."""

    source: str
    target: str  # in staging
    sha256: str
    seen: Fingerprint


@dataclass(frozen=True)
class Witness:
    """A file on the target side that has the bytes already."""

    path: str
    sha256: str
    seen: Fingerprint


@dataclass(frozen=True)
class Link:
    source: str
    name: str  # below the view's root


@dataclass(frozen=True)
class Was:
    """What a torrent is brought back to."""

    torrent_id: str
    running: Running


@dataclass(frozen=True)
class Retirement:
    """A source file that may go after the commit, and the copy that allows it."""

    hidden_root: str
    name: str
    seen: Fingerprint
    sha256: str
    witness: str  # path on the target side
