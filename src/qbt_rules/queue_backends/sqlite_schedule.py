"""Up to which moment each entry of the schedule is done with."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from qbt_rules.model import ScheduleSlot
from qbt_rules.queue_backends.times import stored
from qbt_rules.queue_manager import CLOCKS_AGREE
from seedkeep import clock
from seedkeep.sqlite import Database


def note(db: Database, timings: Mapping[str, str], since: datetime) -> None:
    """Entries that are new, or have other times than before, are done with up to `since`."""
    for entry, timing in timings.items():
        db.execute(
            "INSERT INTO schedule_slots (entry, due, timing) VALUES (:entry, :since, :timing)"
            " ON CONFLICT (entry) DO UPDATE SET timing = excluded.timing, due = CASE"
            " WHEN timing IS NULL THEN due WHEN due > :impossible THEN excluded.due"
            " ELSE max(due, excluded.due) END WHERE timing IS NOT excluded.timing",
            {
                "entry": entry,
                "since": stored(since),
                "timing": timing,
                "impossible": _impossible(),
            },
        )


def claim(db: Database, slot: ScheduleSlot) -> bool:
    """Whether the moment is the caller's to enqueue; from now on it is nobody else's."""
    values = {"entry": slot.entry, "due": stored(slot.due)}
    if slot.missed:
        earlier = "UPDATE schedule_slots SET due = :due WHERE entry = :entry AND due < :due"
        db.execute(earlier, values)
    else:
        db.execute(
            "INSERT INTO schedule_slots (entry, due) VALUES (:entry, :due)"
            " ON CONFLICT (entry) DO UPDATE SET due = excluded.due"
            " WHERE due < excluded.due OR due > :impossible",
            values | {"impossible": _impossible()},
        )
    return db.changes() == 1


def _impossible() -> str:
    """What is later was claimed while the clock was wrong; else the entry would rest until then."""
    return stored(clock.now() + CLOCKS_AGREE)
