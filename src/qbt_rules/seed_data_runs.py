"""Relocations that rules began and that were cut short: a part of the bridge, `seed_data.py`.

A run of rehome that nobody brings to its end keeps its torrents stopped.  Those of a person are the
person's; those that rules began are ours.  A run that is still alive is not touched: whoever works
on one holds the catalog's lock.

How often we tried is written into the run's note before each try, so that a run that takes the
whole process with it is not tried for ever, and `rehome runs show` tells it.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from hashall.catalog import Catalog
from hashall.catalog.runs import RunRow, RunStatus, StepState
from hashall.journal import Run
from hashall.lock import exclusive
from qbt_rules.disk import Deed
from rehome.outcome import ASKED_BACK, Watch
from rehome.runner import Ground, Runner
from seedkeep import clock
from seedkeep.errors import Refused, SeedError
from seedkeep.torrent_client import LoginRefused
from seedkeep.units import format_duration

REASON = "qbt-rules"  # what runs of rules are written down for; rehome's own begin with "rehome"
MOST_TRIES = 5
FIRST_PAUSE = timedelta(minutes=1)  # after the first try; doubled with each
_NOTE = re.compile(rf"{REASON}: tried (\d+) times? to resume it, last at (\S+Z)")
_MOST_WORDS = 300
_TELL_AGAIN_S = 3600.0  # the same of the same run goes into the log no sooner
_told: dict[tuple[Path, int], tuple[str, float]] = {}  # by catalog and run: what, and when

log = logging.getLogger("qbt_rules.relocations")


@dataclass(frozen=True)
class Tries:
    """What a run's note says about our tries."""

    count: int = 0
    last_at: datetime | None = None

    @classmethod
    def of(cls, row: RunRow) -> Tries:
        found = _NOTE.match(row.note)
        return cls(int(found[1]), clock.parse_iso(found[2])) if found else cls()

    @property
    def is_over(self) -> bool:
        return self.count >= MOST_TRIES

    def pause_left(self, now: datetime) -> timedelta:
        """Until the next try; not more than the whole pause, whatever the clock was before."""
        if self.last_at is None:
            return timedelta(0)
        pause: timedelta = FIRST_PAUSE * 2 ** (self.count - 1)
        left = min(pause, max(timedelta(0), self.last_at + pause - now))
        return timedelta(seconds=math.ceil(left.total_seconds()))


def interrupted(catalog: Catalog) -> list[RunRow]:
    """Open runs that rules began; one of them may be alive, in another process."""
    return [row for row in catalog.runs.open() if row.reason == REASON]


def finish_interrupted(ground: Ground, cancelled: Callable[[], bool]) -> list[Deed]:
    """Bring these runs to their end; a deed for each, `failed` while it stays open.

    Raises:
        Locked: Somebody works with the catalog, on one of these runs perhaps.
        LoginRefused: No further login should be tried soon.
    """
    if not interrupted(ground.catalog):
        return []
    with exclusive(ground.catalog.db.path, f"{REASON}: resume"):
        deeds = []
        for row in interrupted(ground.catalog):  # as they are now that nobody else is at work
            if cancelled():
                break
            deeds.append(_finish(ground, row))
    return deeds


def _finish(ground: Ground, row: RunRow) -> Deed:
    tries, now = Tries.of(row), clock.now()
    if tries.is_over:
        return _open(ground, row, f"it was tried {tries.count} times in vain, and is not any more")
    if pause := tries.pause_left(now):
        return _open(ground, row, f"it is tried again in {format_duration(pause)}")
    try:
        _ = ground.client  # one that is away is no try
    except LoginRefused:
        raise
    except SeedError as why:
        return _open(ground, row, why.brief)
    return _bring_to_its_end(ground, row, Tries(tries.count + 1, now))


def _bring_to_its_end(ground: Ground, row: RunRow, tries: Tries) -> Deed:
    """Forward; but back, where a person wants that, or a way back was begun already."""
    run, runs = Run(ground.catalog, row.run_id), ground.catalog.runs
    runner = Runner(ground, Watch())
    is_asked_back = ASKED_BACK in row.note
    goes_back = is_asked_back or any(step.state is StepState.UNDONE for step in run.steps())
    how = "its way back goes on" if goes_back else "it is resumed"
    log.warning("run %d was interrupted; %s", row.run_id, how)
    runs.note(run.run_id, _note(tries, "", is_asked_back))
    try:
        (ended,) = runner.rollback([run]) if goes_back else runner.resume([run])
        why = ended.error
    except SeedError as error:
        why = error
    status = run.row.status
    if status is not RunStatus.OPEN:
        return _ended(run, status, why)
    if isinstance(why, Refused):  # a disk is not mounted: nothing was tried
        runs.note(run.run_id, row.note)
    else:
        runs.note(run.run_id, _note(tries, str(why), is_asked_back))
    text = "" if why is None else " ".join(str(why.detail or why.brief).split())
    return _open(ground, run.row, text)


def _ended(run: Run, status: RunStatus, why: SeedError | None) -> Deed:
    if _NOTE.match(run.row.note):
        run.catalog.runs.note(run.run_id, f"it was interrupted; {REASON} resumed it")
    moved = status is not RunStatus.ROLLED_BACK
    told = f"run {run.run_id}, which was interrupted, was "
    told += "resumed: it is committed" if moved else "taken back"
    told += f"; {' '.join(str(why).split())}" if why is not None else ""
    log.log(logging.WARNING if why else logging.INFO, "%s", told)
    return Deed(_torrents(run.catalog, run.run_id), moved, told, run.run_id)


def _open(ground: Ground, row: RunRow, why: str) -> Deed:
    told = f"run {row.run_id}, which rules began, was interrupted and is not at its end: {why}"
    key, now = (ground.catalog.db.path, row.run_id), clock.monotonic()
    before, at = _told.get(key, ("", 0.0))
    if told != before or now - at > _TELL_AGAIN_S:
        _told[key] = (told, now)
        by_hand = "by hand: rehome resume %d, or rehome rollback %d"
        log.warning(f"%s; {by_hand}", told, row.run_id, row.run_id)
    ids = _torrents(ground.catalog, row.run_id)
    return Deed(ids, False, told, row.run_id, failed=True)


def _torrents(catalog: Catalog, run_id: int) -> tuple[str, ...]:
    return catalog.runs.torrents(run_id)


def _note(tries: Tries, why: str, is_asked_back: bool) -> str:
    assert tries.last_at is not None
    times = "time" if tries.count == 1 else "times"
    told = f"{REASON}: tried {tries.count} {times} to resume it, last at {clock.iso(tries.last_at)}"
    told += f"; {ASKED_BACK}" if is_asked_back else ""
    return f"{told}: {' '.join(why.split())[:_MOST_WORDS]}" if why else told
