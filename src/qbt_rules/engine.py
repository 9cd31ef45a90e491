"""The seam between the worker and the rules, and the engine behind it.

The worker knows `Engine` only.  `RuleEngine` runs the rule file as it is when a job begins.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from qbt_rules.api import World
from qbt_rules.disk import Disk, NoDisk
from qbt_rules.language.conditions import Explained, explain
from qbt_rules.language.rulefile import load_rules
from qbt_rules.language.values import RuleBook
from qbt_rules.model import Job, JobResult
from qbt_rules.patience import PATIENCE_S, Stopped, patient
from qbt_rules.rule_run import RuleRun
from seedkeep import clock
from seedkeep.errors import SeedError, Unreachable
from seedkeep.torrent_client import LoginRefused, NoSuchTorrent
from seedkeep.torrent_details import DetailedClient

MAX_DELETES = 50
SHUT_OUT_S = 15 * 60.0  # no job tries a login again so soon after one was refused

Connect = Callable[[], DetailedClient]
Cancelled = Callable[[], bool]
log = logging.getLogger(__name__)


class JobStopped(Exception):
    """The engine saw that it should stop.  What it did so far is done; the job may run again."""


class Engine(Protocol):
    def run(self, job: Job, cancelled: Cancelled) -> JobResult:
        """Run the rules of the job's context on its torrents.

        Ask `cancelled` before every call that changes something, and raise `JobStopped` when it
        says so: the worker is being ended, or the job is another worker's by now.

        Raises:
            JobStopped: See above.
            SeedError: The job failed; its text is for people.
        """
        ...

    def interrupted(self) -> tuple[int, ...]:
        """Relocations of these rules that may have been cut short: open runs of rehome.

        Raises:
            SeedError: It could not be looked at.
        """
        ...

    def settle(self, cancelled: Cancelled) -> None:
        """Bring them to their end, those that are not alive.

        Raises:
            SeedError: Nothing can be done for them now.
        """
        ...


class RuleFile:
    """The rules of a file: read again when it changed; the last good ones while it is wrong."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stamp: tuple[int, int, int] | None = None
        self._book: RuleBook | None = None
        self._warning = ""

    def book(self) -> tuple[RuleBook, str]:
        """The rules in force, and what is wrong with the file if they are not the file's.

        Raises:
            SeedError: The file is wrong and there are no earlier rules.
        """
        stamp = self._look()
        if stamp is None or stamp != self._stamp:
            try:
                self._book, self._warning = load_rules(self.path), ""
            except SeedError as why:
                if self._book is None:
                    raise
                self._warning = f"the rules of before stay in force: {why.brief}: {why.detail}"
                log.warning("%s", self._warning)
            self._stamp = stamp
        assert self._book is not None
        return self._book, self._warning

    def _look(self) -> tuple[int, int, int] | None:
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size


@dataclass(frozen=True)
class ExplainedRule:
    """One rule and one torrent: would it act, and why."""

    rule: str  # its name
    place: str  # "rules.yml:12:5"
    enabled: bool
    contexts: tuple[str, ...]  # empty: every job
    runs: bool  # it is enabled and its context is the one that was asked for
    condition: Explained


class RuleEngine:
    """An `Engine` for one thread.

    `connect` is called for each job; `open_disk` gives what the rules may know of the disk, and is
    called when a job begins.
    """

    def __init__(
        self,
        rules_file: Path,
        connect: Connect,
        open_disk: Callable[[], Disk] = NoDisk,
        *,
        max_deletes: int = MAX_DELETES,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._file = RuleFile(rules_file)
        self._connect = connect
        self._open_disk = open_disk
        self._max_deletes, self._patience_s = max_deletes, patience_s
        self._away = False  # the client let the last job wait in vain
        self._shut_out: tuple[float, LoginRefused] | None = None  # until when, and why

    def run(self, job: Job, cancelled: Cancelled) -> JobResult:
        book, wrong = self._file.book()
        self._refuse_shut_out()
        # One job has waited in vain: the hundreds behind it fail at once until the client is back.
        client = patient(self._connect, cancelled, 0 if self._away else self._patience_s)
        disk = self._open_disk()
        try:
            world = World.about(client, disk, clock.now(), job.torrent_hash)
            limit = self._max_deletes
            run = RuleRun(book, world, job.context, job.dry_run, cancelled, limit)
            record = run.run()
        except Stopped:
            raise JobStopped from None
        except LoginRefused as why:
            self._shut_out = (clock.monotonic() + SHUT_OUT_S, why)
            raise
        except Unreachable:
            self._away = True
            raise
        finally:
            disk.close()
        self._away = False
        if wrong:
            record.warnings.append(wrong)
        if job.torrent_hash and not record.torrents:
            record.warnings.append(f"qBittorrent has no torrent {job.torrent_hash}")
        if not any(one.runs_in(job.context) for one in book.rules):
            record.warnings.append(_none_runs(job.context))
        return record.result()

    def interrupted(self) -> tuple[int, ...]:
        disk = self._open_disk()
        try:
            return disk.interrupted()
        finally:
            disk.close()

    def settle(self, cancelled: Cancelled) -> None:
        self._refuse_shut_out()
        disk = self._open_disk()
        try:
            disk.finish_interrupted(cancelled)
        except LoginRefused as why:
            self._shut_out = (clock.monotonic() + SHUT_OUT_S, why)
            raise
        finally:
            disk.close()

    def _refuse_shut_out(self) -> None:
        """Five wrong logins, and the client bans the address: nobody must be the next of them."""
        if self._shut_out is not None and clock.monotonic() < self._shut_out[0]:
            raise self._shut_out[1]

    def explain(
        self, torrent_hash: str, context: str | None = None, rule: str | None = None
    ) -> list[ExplainedRule]:
        """Why each rule (or the one of that name) would or would not act on a torrent.

        Raises:
            NoSuchTorrent: The client does not have it.
            SeedError: The rules are wrong, or the client does not answer.
        """
        book, _ = self._file.book()
        client = patient(self._connect, lambda: False, 0)
        disk = self._open_disk()
        try:
            world = World.about(client, disk, clock.now(), torrent_hash)
            if not world.torrents:
                raise NoSuchTorrent(
                    f"qBittorrent has no torrent {torrent_hash}",
                    hint="check the hash; it is shown in qBittorrent's General tab",
                )
            (torrent,) = world.torrents.values()
            return [
                ExplainedRule(
                    rule=one.name,
                    place=one.place,
                    enabled=one.enabled,
                    contexts=tuple(sorted(one.contexts or ())),
                    runs=one.runs_in(context),
                    condition=explain(one.condition, torrent, world.now),
                )
                for one in book.rules
                if rule in (None, one.name)
            ]
        finally:
            disk.close()


def _none_runs(context: str | None) -> str:
    if context is None:
        return "no rule runs in a job without a context: those that are on all name one"
    return f"no rule that is on runs in the context {context}"
