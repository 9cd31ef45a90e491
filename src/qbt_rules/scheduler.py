"""Moments at which jobs are enqueued by themselves: cron expressions and intervals.

Every server computes the same moments, and the queue accepts each of them once.  A moment that fell
into a restart is made up for once, if the server is back within `MADE_UP_FOR`; no older one is.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from qbt_rules.model import CONTEXT, LONGEST_CONTEXT, TORRENT_HASH, ScheduleSlot
from qbt_rules.queue_manager import QueueManager
from seedkeep.clock import iso
from seedkeep.settings import environment
from seedkeep.units import format_duration, parse_duration

SHORTEST, LONGEST = timedelta(seconds=10), timedelta(days=3650)
MADE_UP_FOR = timedelta(minutes=10)  # a moment that passed so short a time before the start
DEFAULT_CONTEXT = "scheduled"
_KEYS = ("name", "cron", "every", "context", "hash", "dry_run")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CLOCK_STEP = timedelta(minutes=1)
_LOOKS_BACK = [timedelta(hours=1), timedelta(days=1), timedelta(days=32), timedelta(days=366)]

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ScheduleEntry:
    """One entry of `schedule:`; either `cron` or `every` is set."""

    name: str  # the same on all servers: what makes a moment happen once
    context: str | None = DEFAULT_CONTEXT
    torrent_hash: str | None = None
    dry_run: bool = False
    cron: str | None = None  # in local time
    every: timedelta | None = None  # counted from 1970-01-01 UTC

    def after(self, moment: datetime, zone: tzinfo) -> datetime:
        """The first due moment after `moment`, in UTC."""
        if self.every is not None:
            return _EPOCH + ((moment - _EPOCH) // self.every + 1) * self.every
        assert self.cron is not None
        # In the second of two equal hours the first ones it finds may be those of the first hour.
        found = (due.astimezone(UTC) for due in CronSim(self.cron, moment.astimezone(zone)))
        return next(due for due in found if due > moment)

    def timing(self, zone: tzinfo) -> str:
        """What decides about its moments, as text."""
        return f"{self.cron} ({zone})" if self.every is None else format_duration(self.every)


def parse_schedule(raw: Any) -> tuple[ScheduleEntry, ...]:
    """The list below `schedule:` as entries.  Raises `ValueError` with words for the user."""
    if raw in (None, "", ()):
        return ()
    if not isinstance(raw, list | tuple):
        raise ValueError("schedule must be a list of entries")
    entries = tuple(_entry(f"entry {number}", item) for number, item in enumerate(raw, 1))
    names = [entry.name for entry in entries]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"two entries are called {name!r}; give them different names")
    return entries


def _entry(where: str, item: Any) -> ScheduleEntry:
    if isinstance(item, ScheduleEntry):
        return item
    if not isinstance(item, Mapping):
        raise ValueError(f"{where} must have `cron:` or `every:`")
    for key in item:
        if key not in _KEYS:
            raise ValueError(f"{where}: {key} is not known (known: {', '.join(_KEYS)})")
    cron, every = item.get("cron"), item.get("every")
    if (cron is None) == (every is None):
        raise ValueError(f"{where} needs either `cron:` or `every:`")
    interval = _interval(where, every) if every is not None else None
    if cron is not None:
        _check_cron(where, str(cron))
    context = _text(where, item, "context", DEFAULT_CONTEXT)
    if context and not CONTEXT.fullmatch(context):
        raise ValueError(
            f"{where}: context must be one name of at most {LONGEST_CONTEXT} characters"
        )
    torrent_hash = _text(where, item, "hash")
    if torrent_hash and not TORRENT_HASH.fullmatch(torrent_hash):
        raise ValueError(f"{where}: hash must be 40 or 64 hex digits, not {torrent_hash[:80]!r}")
    dry_run = item.get("dry_run", False)
    if str(dry_run).lower() not in ("true", "false"):
        raise ValueError(f"{where}: dry_run must be true or false, not {dry_run!r}")
    when = str(cron) if cron is not None else f"every {format_duration(interval or SHORTEST)}"
    return ScheduleEntry(
        name=_text(where, item, "name") or f"{when} {context}".strip(),
        context=context or None,
        torrent_hash=torrent_hash.lower() or None,
        dry_run=str(dry_run).lower() == "true",
        cron=str(cron) if cron is not None else None,
        every=interval,
    )


def _text(where: str, item: Mapping[str, Any], key: str, default: str = "") -> str:
    """The value of a key, "" for none."""
    value = item.get(key, default)
    if isinstance(value, str | int | float | None):
        return "" if value is None else str(value)
    words = {"context": "one name", "hash": "40 or 64 hex digits"}
    raise ValueError(f"{where}: {key} must be {words.get(key, 'text')}, not {value!r}")


def _interval(where: str, every: Any) -> timedelta:
    try:
        interval = every if isinstance(every, timedelta) else parse_duration(str(every))
    except ValueError as why:
        raise ValueError(f"{where}: {why}") from why
    if interval < SHORTEST:
        raise ValueError(f"{where}: every must be {format_duration(SHORTEST)} or more")
    if interval > LONGEST:
        raise ValueError(f"{where}: every must be {format_duration(LONGEST)} or less")
    return interval


def _check_cron(where: str, cron: str) -> None:
    try:
        next(CronSim(cron, datetime(2024, 1, 1, tzinfo=UTC)))
    except (CronSimError, StopIteration):
        raise ValueError(
            f"{where}: {cron!r} is no cron expression of five fields, like 0 3 * * *"
        ) from None


class Scheduler:
    """Enqueues what is due.  For one thread; call `tick` at `next_due` or earlier."""

    def __init__(
        self, entries: Iterable[ScheduleEntry], now: datetime, zone: tzinfo | None = None
    ) -> None:
        self._entries = {entry.name: entry for entry in entries}
        self._zone = zone or (local_zone() if self._entries else UTC)
        self._started = self._seen = now
        self._noted = not self._entries  # the queue knows the entries
        self._next = self._after(now)
        # Moments just before the start, which are still to be asked about: did anybody see them?
        self._before = self._just_before(now)

    @property
    def next_due(self) -> datetime | None:
        return min(self._next.values(), default=None)

    def tick(self, queue: QueueManager, now: datetime) -> int:
        """Enqueue for each entry the newest moment that has come; returns how many jobs.

        What the queue raises leaves that entry and those after it due.
        """
        if now < self._seen - _CLOCK_STEP:  # the clock was set back
            self._next, self._before = self._after(now), {}
            self._started = min(self._started, now)
        self._seen = now
        enqueued = self._make_up(queue, now)
        for name, entry in self._entries.items():
            if self._next[name] > now:
                continue
            due, following = self._newest(entry, self._next[name], now)
            enqueued += self._enqueue(queue, ScheduleSlot(entry=name, due=due))
            self._next[name] = following
        return enqueued

    def _make_up(self, queue: QueueManager, now: datetime) -> int:
        """Tell the queue what is scheduled, then enqueue what was missed; once."""
        if not self._noted:
            timings = {name: entry.timing(self._zone) for name, entry in self._entries.items()}
            queue.note_schedule(timings, self._started)
            self._noted = True
        enqueued = 0
        for name, due in list(self._before.items()):
            if self._next[name] > now:  # else a newer moment stands for this one
                slot = ScheduleSlot(entry=name, due=due, missed=True)
                enqueued += self._enqueue(queue, slot)
            del self._before[name]
        return enqueued

    def _enqueue(self, queue: QueueManager, slot: ScheduleSlot) -> bool:
        entry = self._entries[slot.entry]
        job = queue.enqueue_scheduled(
            slot, entry.context, entry.torrent_hash, dry_run=entry.dry_run
        )
        if job is None:
            return False
        when = f"was missed at {iso(slot.due)} and is made up for" if slot.missed else "is due"
        log.info("%s %s: job %s", slot.entry, when, job.job_id)
        return True

    def _just_before(self, now: datetime) -> dict[str, datetime]:
        """Of each entry the newest moment that passed no longer than `MADE_UP_FOR` ago, if any."""
        found = {}
        for name, entry in self._entries.items():
            first = entry.after(now - MADE_UP_FOR, self._zone)
            if first <= now:
                found[name], _ = self._newest(entry, first, now)
        return found

    def _newest(
        self, entry: ScheduleEntry, first: datetime, now: datetime
    ) -> tuple[datetime, datetime]:
        """The newest moment up to now, and the one after it; `first` is one of them."""
        for back in _LOOKS_BACK:  # the clock may have jumped by years, which are many minutes
            if now - back > first and (later := entry.after(now - back, self._zone)) <= now:
                first = later
                break
        due, following = first, entry.after(first, self._zone)
        while following <= now:
            due, following = following, entry.after(following, self._zone)
        return due, following

    def _after(self, now: datetime) -> dict[str, datetime]:
        return {name: e.after(now, self._zone) for name, e in self._entries.items()}


def local_zone() -> tzinfo:
    """The zone that TZ names, else the machine's, else UTC."""
    name = environment().get("TZ")
    try:
        if name:
            return ZoneInfo(name.lstrip(":"))
        with Path("/etc/localtime").open("rb") as file:
            return ZoneInfo.from_file(file, key="localtime")
    except (OSError, ValueError, LookupError):
        if name:
            log.warning(
                "TZ is %r, which is no zone known here (like Europe/Berlin):"
                " the schedule follows UTC",
                name,
            )
        return UTC
