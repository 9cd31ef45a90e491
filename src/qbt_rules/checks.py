"""What a web process looks at besides the queue: is qBittorrent there, are the rules valid."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Protocol

from seedkeep import clock
from seedkeep.errors import SeedError
from seedkeep.torrent_client import ClientVersion

FRESH_S = 10.0  # an answer of qBittorrent is not older than this
# qBittorrent bans an address after five wrong logins, so a refused one is not tried again soon.
REFUSED_S = 15 * 60.0
TIMEOUT_S = 3.0
NOBODY = "0" * 40  # a torrent that nobody has: the smallest question

log = logging.getLogger("qbt_rules.health")


class InvalidRules(SeedError):
    """The rules file cannot be used; `reasons` has a line for each mistake."""

    code = "rules-invalid"

    def __init__(self, brief: str, reasons: tuple[str, ...]) -> None:
        super().__init__(brief, detail="\n".join(reasons))
        self.reasons = reasons


@dataclass(frozen=True)
class RulesSeen:
    count: int  # that are enabled
    warnings: tuple[str, ...]


class RulesCheck:
    """Reads the rules file again when it has changed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._seen: tuple[object, RulesSeen | InvalidRules] | None = None

    def is_there(self) -> bool:
        return self.path.is_file()

    def read(self) -> RulesSeen:
        """Raises `InvalidRules`."""
        stamp = _stamp(self.path)
        with self._lock:
            if self._seen is None or self._seen[0] != stamp:
                self._seen = (stamp, _read(self.path))
            found = self._seen[1]
        if isinstance(found, InvalidRules):
            raise InvalidRules(found.brief, found.reasons)
        return found


def _stamp(path: Path) -> object:
    try:
        found = path.stat()
    except OSError as why:
        return why.errno
    return (found.st_ino, found.st_mtime_ns, found.st_size)


def _read(path: Path) -> RulesSeen | InvalidRules:
    from qbt_rules.language.rulefile import load_rules

    try:
        book = load_rules(path)
    except SeedError as why:
        return InvalidRules(why.brief, tuple(why.detail.splitlines()))
    return RulesSeen(sum(rule.enabled for rule in book.rules), tuple(book.warnings))


@dataclass(frozen=True)
class ClientSeen:
    version: str | None  # "v5.1.0"; None: cannot be reached
    problem: str = ""
    until: float = 0.0  # on the monotonic clock


class Answering(Protocol):
    """The part of a torrent client that is looked at."""

    def version(self) -> ClientVersion: ...

    def torrents(self, ids: Collection[str] | None = None) -> Sequence[object]: ...


class ClientCheck:
    """Asks qBittorrent for its version, at most every few seconds, however many ask here."""

    def __init__(self, connect: Callable[[], Answering]) -> None:
        self._connect = connect
        self._client: Answering | None = None
        self._lock = threading.Lock()
        self._last = ClientSeen(None, "not asked yet")

    def look(self) -> ClientSeen:
        if self._last.until > clock.monotonic():
            return self._last
        # Whoever comes while somebody asks gets the answer before, unless there was none.
        if not self._lock.acquire(blocking=self._last.until == 0):
            return self._last
        try:
            if self._last.until <= clock.monotonic():
                self._last = self._ask()
            return self._last
        finally:
            self._lock.release()

    def _ask(self) -> ClientSeen:
        from seedkeep.qbittorrent_errors import LOGIN_HINT

        try:
            self._client = self._client or self._connect()
            self._client.torrents([NOBODY])  # the version is remembered: this really asks
            return ClientSeen(self._client.version().app, until=clock.monotonic() + FRESH_S)
        except SeedError as why:
            self._client = None
            if why.brief != self._last.problem:
                log.warning("%s", " ".join(str(why).split()))
            pause = REFUSED_S if why.hint == LOGIN_HINT else FRESH_S
            return ClientSeen(None, why.brief, clock.monotonic() + pause)


def qbittorrent(host: str, username: str, password: str, timeout: timedelta) -> Answering:
    """Log in to qBittorrent.  Raises `SeedError`."""
    from seedkeep.qbittorrent import connect

    wait = min(timeout.total_seconds(), TIMEOUT_S)
    return connect(host, username, password, timeout_s=wait)
