"""What is due is enqueued once, at the right moment of the local clock."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from tests.support.queues import START, Hands, taken

from qbt_rules.queue_backends.sqlite_queue import SQLiteQueue
from qbt_rules.queue_manager import QueueUnreachable
from qbt_rules.scheduler import Scheduler, local_zone, parse_schedule
from seedkeep.errors import SeedError

BERLIN = ZoneInfo("Europe/Berlin")
HOUR = timedelta(hours=1)


@pytest.fixture
def hands() -> Iterator[Hands]:
    with Hands().in_force() as moving:
        yield moving


@pytest.fixture
def queue(tmp_path: Path, hands: Hands) -> Iterator[SQLiteQueue]:
    opened = SQLiteQueue(tmp_path / "queue.db")
    yield opened
    opened.close()


def moments(raw: object, start: datetime, hours: int) -> list[datetime]:
    """Due moments of the one entry, in local time."""
    (entry,) = parse_schedule(raw)
    found, moment = [], start
    while (moment := entry.after(moment, BERLIN)) <= start + hours * HOUR:
        found.append(moment.astimezone(BERLIN))
    return found


def test_an_entry_says_when_and_what() -> None:
    nightly, often = parse_schedule(
        [
            {"name": "nightly", "cron": "0 3 * * *", "context": "cleanup", "dry_run": "true"},
            {"every": "1h30m", "hash": "AB" * 20},
        ]
    )
    assert (nightly.name, nightly.context, nightly.dry_run) == ("nightly", "cleanup", True)
    assert nightly.cron == "0 3 * * *"
    assert (often.name, often.context) == ("every 1h30m scheduled", "scheduled")
    assert (often.every, often.torrent_hash) == (timedelta(minutes=90), "ab" * 20)
    assert parse_schedule((nightly, often)) == (nightly, often)
    assert parse_schedule(None) == parse_schedule([]) == ()


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ("0 3 * * *", "must be a list"),
        (["0 3 * * *"], "entry 1 must have `cron:` or `every:`"),
        ([{"every": "1h", "cron": "* * * * *"}], "entry 1 needs either"),
        ([{"context": "a"}], "entry 1 needs either"),
        ([{"cron": "61 * * * *"}], "'61 \\* \\* \\* \\*' is no cron expression"),
        ([{"cron": "0 0 30 2 *"}], "is no cron expression"),
        ([{"every": "1s"}], "every must be 10s or more"),
        ([{"every": "often"}], "'often' is not a duration"),
        ([{"every": "1h", "when": "now"}], "when is not known"),
        ([{"every": "1h", "dry_run": "maybe"}], "dry_run must be true or false"),
        ([{"every": "1h"}, {"every": "60m"}], "two entries are called"),
        ([{"every": "100000000d"}], "every must be 3650d or less"),
        ([{"every": "1h", "hash": "all"}], "hash must be 40 or 64 hex digits, not 'all'"),
        ([{"every": "1h", "hash": ["ab" * 20]}], "hash must be 40 or 64 hex digits"),
        ([{"every": "1h", "context": ["a", "b"]}], "context must be one name"),
        ([{"every": "1h", "context": "a" * 101}], "context must be one name"),
        ([{"every": "1h", "name": ["a"]}], "name must be text"),
    ],
)
def test_a_wrong_entry_says_what_is_wrong(raw: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_schedule(raw)


def test_cron_follows_the_local_clock_through_both_changes_of_the_year() -> None:
    nightly = [{"cron": "30 2 * * *"}]
    spring = moments(nightly, datetime(2026, 3, 28, 12, tzinfo=BERLIN), 48)
    assert [(m.day, m.hour, m.minute) for m in spring] == [(29, 3, 0), (30, 2, 30)]
    autumn = moments(nightly, datetime(2026, 10, 24, 12, tzinfo=BERLIN), 48)
    assert [(m.day, m.hour) for m in autumn] == [(25, 2), (26, 2)]
    hourly = moments([{"cron": "0 * * * *"}], datetime(2026, 10, 24, 22, tzinfo=UTC), 4)
    assert len(hourly) == 4


def test_in_the_hour_that_comes_twice_the_next_moment_is_not_a_past_one() -> None:
    """A daily entry belongs to the first of the two hours, which is over in the second."""
    (nightly,) = parse_schedule([{"cron": "30 2 * * *"}])
    second = datetime(2026, 10, 25, 1, 10, tzinfo=UTC)  # 02:10, for the second time
    assert nightly.after(second, BERLIN) == datetime(2026, 10, 26, 1, 30, tzinfo=UTC)


@pytest.mark.parametrize("minute", [10, 35])
def test_a_server_that_starts_in_the_hour_that_comes_twice_makes_up_for_nothing_of_the_first(
    queue: SQLiteQueue, minute: int
) -> None:
    entries = parse_schedule([{"cron": "30 2 * * *"}])
    before = datetime(2026, 10, 24, 22, tzinfo=UTC)
    Scheduler(entries, before, BERLIN).tick(queue, before)
    now = datetime(2026, 10, 25, 1, minute, tzinfo=UTC)  # it was due at 00:30 UTC
    assert Scheduler(entries, now, BERLIN).tick(queue, now) == 0


def test_intervals_are_the_same_moments_on_every_server() -> None:
    (entry,) = parse_schedule([{"every": "6h"}])
    assert entry.after(START, UTC) == entry.after(START + HOUR, UTC) == START + 2 * HOUR
    assert entry.after(START + 2 * HOUR, UTC) == START + 8 * HOUR


def test_a_due_entry_is_enqueued_once(queue: SQLiteQueue) -> None:
    entries = parse_schedule([{"every": "1h", "context": "cleanup"}])
    one, two = (Scheduler(entries, START, UTC) for _ in range(2))
    assert one.next_due == START + HOUR
    assert one.tick(queue, START + HOUR - timedelta(seconds=1)) == 0
    assert one.tick(queue, START + HOUR) == 1
    assert one.next_due == START + 2 * HOUR
    assert two.tick(queue, START + HOUR + timedelta(seconds=5)) == 0
    assert two.next_due == START + 2 * HOUR
    assert taken(queue).context == "cleanup"


def test_many_servers_enqueue_each_moment_once(tmp_path: Path, hands: Hands) -> None:
    hands.at = START + 10 * HOUR
    entries = parse_schedule([{"every": "1h"}])
    SQLiteQueue(tmp_path / "queue.db").close()
    barrier = threading.Barrier(4, timeout=60)
    counts: list[int] = []

    def server() -> None:
        own, scheduler = SQLiteQueue(tmp_path / "queue.db"), Scheduler(entries, START, UTC)
        barrier.wait()
        counts.append(sum(scheduler.tick(own, START + n * HOUR) for n in range(1, 11)))
        own.close()

    threads = [threading.Thread(target=server) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(counts) == 10


def test_what_was_due_while_the_machine_slept_runs_once(queue: SQLiteQueue) -> None:
    scheduler = Scheduler(parse_schedule([{"cron": "0 * * * *"}]), START, UTC)
    assert scheduler.tick(queue, START + 50 * HOUR + timedelta(minutes=7)) == 1
    assert scheduler.next_due == START + 51 * HOUR


@pytest.mark.parametrize(
    ("when", "minute"),
    [({"cron": "* * * * *"}, 7), ({"every": "10s"}, 7), ({"cron": "5 0 1 1 *"}, 5)],
)
def test_a_clock_that_jumps_by_years_is_followed_at_once(
    queue: SQLiteQueue, when: dict[str, str], minute: int
) -> None:
    # A small computer without a clock of its own learns the time from the network.
    scheduler = Scheduler(parse_schedule([when]), datetime(2024, 3, 1, tzinfo=UTC), UTC)
    begun = time.process_time()
    assert scheduler.tick(queue, datetime(2026, 6, 1, 12, 7, 3, tzinfo=UTC)) == 1
    assert time.process_time() - begun < 3
    row = queue._connections.reader().one("SELECT due FROM schedule_slots")
    assert row is not None
    found = datetime.fromisoformat(row["due"])
    assert (found.year, found.minute) == (2026, minute)


def test_a_clock_that_was_set_back_does_not_stop_the_schedule(queue: SQLiteQueue) -> None:
    scheduler = Scheduler(parse_schedule([{"every": "1h"}]), START + 10000 * HOUR, UTC)
    assert scheduler.tick(queue, START + 10001 * HOUR) == 1
    assert scheduler.tick(queue, START) == 0
    assert scheduler.next_due == START + HOUR
    assert scheduler.tick(queue, START + HOUR) == 1


def after_a_restart(
    queue: SQLiteQueue, now: datetime, when: dict[str, str], known_since: datetime
) -> int:
    """Jobs that a server enqueues at its start; one before it had the same schedule."""
    entries = parse_schedule([{"name": "one", **when}])
    Scheduler(entries, known_since, UTC).tick(queue, known_since)
    return Scheduler(entries, now, UTC).tick(queue, now)


def test_a_moment_that_fell_into_a_restart_is_made_up_for_once(queue: SQLiteQueue) -> None:
    hourly, before = {"cron": "0 * * * *"}, START - timedelta(minutes=20)
    assert after_a_restart(queue, START + timedelta(seconds=40), hourly, before) == 1
    assert taken(queue).context == "scheduled"
    assert after_a_restart(queue, START + timedelta(seconds=50), hourly, before) == 0


def test_a_moment_that_was_seen_before_the_restart_is_not_repeated(queue: SQLiteQueue) -> None:
    entries = parse_schedule([{"cron": "0 * * * *"}])
    running = Scheduler(entries, START - HOUR / 2, UTC)
    assert running.tick(queue, START + timedelta(seconds=1)) == 1
    again = Scheduler(entries, START + timedelta(seconds=30), UTC)
    assert again.tick(queue, START + timedelta(seconds=30)) == 0
    assert again.next_due == START + HOUR


@pytest.mark.parametrize(
    ("when", "stopped_for", "expected"),
    [
        ({"cron": "0 * * * *"}, timedelta(minutes=9), 1),
        ({"cron": "0 * * * *"}, timedelta(minutes=11), 0),
        ({"cron": "0 * * * *"}, timedelta(days=3), 1),
        ({"every": "10s"}, timedelta(days=3), 1),
        ({"cron": "0 3 * * *"}, timedelta(days=3), 0),
    ],
)
def test_after_a_long_stop_at_most_the_newest_moment_is_made_up_for(
    queue: SQLiteQueue, when: dict[str, str], stopped_for: timedelta, expected: int
) -> None:
    stopped_at = START - timedelta(minutes=1)
    now = START + stopped_for
    assert after_a_restart(queue, now, when, stopped_at) == expected
    assert queue.stats().depth == expected


def test_a_new_entry_does_not_run_for_a_moment_before_it_was_there(queue: SQLiteQueue) -> None:
    entries = parse_schedule([{"cron": "0 * * * *"}])
    scheduler = Scheduler(entries, START + timedelta(minutes=2), UTC)
    assert scheduler.tick(queue, START + timedelta(minutes=2)) == 0
    assert scheduler.tick(queue, START + HOUR) == 1


def test_an_entry_with_other_times_than_before_does_not_run_for_what_is_past(
    queue: SQLiteQueue,
) -> None:
    now = START + timedelta(minutes=2)
    (entry,) = parse_schedule([{"name": "one", "cron": "0 3 * * *"}])
    Scheduler([entry], START - HOUR, UTC).tick(queue, START - HOUR)
    assert Scheduler([replace(entry, cron="0 * * * *")], now, UTC).tick(queue, now) == 0
    assert Scheduler([replace(entry, cron="0 * * * *")], now, BERLIN).tick(queue, now) == 0


def test_a_clock_that_was_set_back_repeats_no_moment(queue: SQLiteQueue, hands: Hands) -> None:
    entries = parse_schedule([{"cron": "*/20 * * * *"}])
    scheduler = Scheduler(entries, START - HOUR, UTC)
    assert scheduler.tick(queue, START) == 1
    back = START - timedelta(minutes=30)
    hands.at = back
    assert scheduler.tick(queue, back) == 0
    assert scheduler.tick(queue, START - timedelta(minutes=20)) == 0
    assert scheduler.tick(queue, START) == 0
    assert scheduler.tick(queue, START + timedelta(minutes=20)) == 1


def test_a_server_that_starts_with_the_clock_set_back_makes_nothing_up(
    queue: SQLiteQueue, hands: Hands
) -> None:
    entries = parse_schedule([{"cron": "0 * * * *"}])
    assert Scheduler(entries, START - HOUR, UTC).tick(queue, START) == 1
    for back in (timedelta(minutes=-3), timedelta(minutes=58), timedelta(hours=5, minutes=-3)):
        hands.at = START - back
        assert Scheduler(entries, START - back, UTC).tick(queue, START - back) == 0


def test_what_was_missed_is_made_up_for_when_the_queue_is_back(queue: SQLiteQueue) -> None:
    entries = parse_schedule([{"cron": "0 * * * *"}])
    Scheduler(entries, START - HOUR / 2, UTC).tick(queue, START - HOUR / 2)
    now = START + timedelta(minutes=1)
    scheduler = Scheduler(entries, now, UTC)
    with pytest.raises(SeedError):
        scheduler.tick(Away(), now)  # type: ignore[arg-type]
    assert scheduler.tick(queue, now + timedelta(minutes=40)) == 1
    assert scheduler.tick(queue, now + timedelta(minutes=41)) == 0


def test_a_newer_moment_stands_for_the_one_that_was_missed(queue: SQLiteQueue) -> None:
    entries = parse_schedule([{"cron": "0 * * * *"}])
    Scheduler(entries, START - HOUR / 2, UTC).tick(queue, START - HOUR / 2)
    scheduler = Scheduler(entries, START + timedelta(minutes=1), UTC)
    assert scheduler.tick(queue, START + HOUR) == 1
    assert scheduler.tick(queue, START + HOUR + timedelta(minutes=1)) == 0


class Away:
    """A queue that nobody reaches."""

    def note_schedule(self, *_: object) -> None:
        raise QueueUnreachable("Redis does not answer")

    def enqueue_scheduled(self, *_: object, **__: object) -> None:
        raise QueueUnreachable("Redis does not answer")


def test_an_entry_stays_due_until_the_queue_has_taken_it(queue: SQLiteQueue) -> None:
    scheduler = Scheduler(parse_schedule([{"every": "1h"}]), START, UTC)
    with pytest.raises(SeedError):
        scheduler.tick(Away(), START + HOUR)  # type: ignore[arg-type]
    assert scheduler.tick(queue, START + HOUR) == 1


def test_without_entries_nothing_is_due(queue: SQLiteQueue) -> None:
    scheduler = Scheduler((), START)
    assert scheduler.next_due is None
    assert scheduler.tick(queue, START + HOUR) == 0


def test_the_local_zone_is_tz_or_the_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    assert local_zone() == BERLIN
    monkeypatch.setenv("TZ", "Nowhere/Land")
    assert local_zone() is UTC
    monkeypatch.delenv("TZ")
    assert local_zone().utcoffset(START) is not None


def test_a_zone_that_nobody_knows_is_told_where_something_is_scheduled(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("TZ", "Europe/Berln")
    Scheduler((), START)
    assert caplog.text == ""
    Scheduler(parse_schedule([{"cron": "0 3 * * *"}]), START)
    assert "TZ is 'Europe/Berln'" in caplog.text
    assert "the schedule follows UTC" in caplog.text
