"""A relocation of a rule that was cut short: the worker brings it to its end, and only its own."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from tests.qbt_rules.disk_stage import DiskStage, disk_stage
from tests.support.engines import RESULT, forked
from tests.support.qbt import wait_for
from tests.support.relocating import killed_in
from tests.support.simulated import SimulatedClient

from hashall.lock import exclusive
from qbt_rules.engine import RuleEngine
from qbt_rules.model import Job, JobResult, JobStatus
from qbt_rules.pulse import Notice
from qbt_rules.queue_backends.sqlite_queue import SQLiteQueue
from qbt_rules.seed_data import open_seed_data
from qbt_rules.seed_data_runs import FIRST_PAUSE, MOST_TRIES
from qbt_rules.settling import EVERY_S, STANDBY_S, Settling
from qbt_rules.worker import Worker, WorkerOptions, run_worker
from rehome.app import App
from rehome.outcome import ASKED_BACK, Watch
from seedkeep import clock
from seedkeep.console import Interrupted
from seedkeep.errors import Locked, Refused, SeedError
from seedkeep.settings import load

FILM = {"film.mkv": 300_000, "film.nfo": 50}
DEMOTE = """
rules:
  - name: "To the pool"
    conditions: {field: info.category, operator: "!=", value: stays}
    actions: [{type: rehome_demote}]
"""


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[DiskStage]:
    with (
        SimulatedClient("5.1", refresh_s=0.05) as client,
        disk_stage(client, tmp_path) as prepared,
    ):
        yield prepared


def interrupted_run(stage: DiskStage, name: str = "Film", step: int = 12) -> str:
    """The torrent of a rule's run that was killed in the middle of the switch."""
    torrent_id = stage.lab.seed(name, FILM)
    stage.lab.look()
    with killed_in(step, afterwards=True):
        stage.run(DEMOTE)
    assert statuses(stage)[-1] == "open"
    return torrent_id


def statuses(stage: DiskStage) -> list[str]:
    return [run["status"] for run in runs(stage)]


def runs(stage: DiskStage) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = stage.lab.json("rehome", "runs", "list")["runs"]
    return sorted(found, key=lambda run: int(run["run_id"]))


def note(stage: DiskStage, run_id: int = 1) -> str:
    with closing(stage.disk()) as disk:
        row = disk.catalog.runs.get(run_id)
        assert row is not None
        return row.note


def settle(stage: DiskStage) -> tuple[int, ...]:
    """What a worker does between jobs; the runs that are still open."""
    engine = RuleEngine(
        stage.lab.home / "rules.yml", stage.connect, lambda: open_seed_data(stage.connect)
    )
    engine.settle(lambda: False)
    return engine.interrupted()


def test_a_worker_that_starts_brings_the_run_of_a_killed_one_to_its_end(
    stage: DiskStage, tmp_path: Path
) -> None:
    """SIGKILL in the middle of a copy, and a new worker: nobody has to type anything."""
    lab, path, busy = stage.lab, tmp_path / "queue.db", tmp_path / "busy"
    torrent_id = lab.seed("Film", FILM)
    lab.look()
    (tmp_path / "rules.yml").write_text(DEMOTE)

    def copying(_bytes: int) -> None:
        busy.touch()
        time.sleep(60)

    def work(watch: Watch) -> Callable[[], int]:
        def run() -> int:
            with mock.patch("qbt_rules.seed_data.Watch", return_value=watch):
                return run_worker(lambda: SQLiteQueue(path), engine, WorkerOptions(), "x")

        return run

    def engine() -> RuleEngine:
        return RuleEngine(
            tmp_path / "rules.yml", stage.connect, lambda: open_seed_data(stage.connect)
        )

    queue = SQLiteQueue(path)
    asked = queue.enqueue()
    first = forked(work(Watch(copying=copying)))
    wait_for(busy.exists, "the copy to begin", timeout_s=60)
    os.kill(first, signal.SIGKILL)
    os.waitpid(first, 0)
    queue.leave("x")  # as the server does that saw it die
    assert statuses(stage) == ["open"]
    second = forked(work(Watch()))
    try:
        wait_for(lambda: queue.stats().depth == 0, "the job to end", timeout_s=120)
    finally:
        os.kill(second, signal.SIGTERM)
        os.waitpid(second, 0)
    done = queue.get_job(asked.job_id)
    assert done is not None
    assert (done.status, done.attempts) == (JobStatus.COMPLETED, 2)
    queue.close()
    assert statuses(stage) == ["committed"]
    assert lab.rows()[torrent_id]["save_path"].rstrip("/") == str(lab.pool_seeding)
    assert note(stage) == "it was interrupted; qbt-rules resumed it"


def test_the_next_relocation_ends_the_interrupted_one_first(stage: DiskStage) -> None:
    torrent_id = interrupted_run(stage)
    result = stage.run(DEMOTE)
    assert statuses(stage) == ["committed"]
    assert result["runs"] == [1]
    assert result["outcomes"] == {"done": 1, "skipped": 1}
    assert "run 1, which was interrupted, was resumed" in result["actions"][0]["reason"]
    assert stage.lab.rows()[torrent_id]["state"] in ("stalledUP", "uploading")


def test_a_dry_run_resumes_nothing_and_says_that_the_worker_will(stage: DiskStage) -> None:
    interrupted_run(stage)
    result = stage.run(DEMOTE, dry_run=True)
    assert statuses(stage) == ["open"]
    assert result["outcomes"] == {"blocked": 1}
    assert "the worker resumes it before it moves anything" in result["actions"][0]["reason"]


def test_a_run_of_a_person_is_the_persons(stage: DiskStage) -> None:
    torrent_id = stage.lab.seed("Film", FILM)
    stage.lab.look()
    with killed_in(12, afterwards=True), mock.patch("qbt_rules.seed_data.REASON", "rehome apply"):
        stage.run(DEMOTE)
    assert settle(stage) == ()
    result = stage.run(DEMOTE)
    assert statuses(stage) == ["open"]
    assert result["outcomes"] == {"blocked": 1}
    assert "rehome resume 1" in result["actions"][0]["reason"]
    assert torrent_id == result["actions"][0]["hash"]


def test_a_way_back_that_was_begun_is_gone_to_its_end(stage: DiskStage) -> None:
    """By `rehome rollback` of a person, who would not want it forward after all."""
    torrent_id = interrupted_run(stage)
    app = App(load("rehome"))
    with (
        mock.patch("rehome.recovery._close", side_effect=KeyboardInterrupt),
        closing(app),
        pytest.raises(Interrupted),
    ):
        app.rollback(1, Watch())
    assert statuses(stage) == ["open"]
    assert settle(stage) == ()
    assert statuses(stage) == ["rolled-back"]
    assert stage.lab.rows()[torrent_id]["save_path"].rstrip("/") == str(stage.lab.seeding)


def test_a_way_back_that_a_person_asked_for_is_gone_although_nothing_of_it_was_done_yet(
    stage: DiskStage,
) -> None:
    torrent_id = interrupted_run(stage)
    failing_rollback()
    assert note(stage) == ASKED_BACK
    with mock.patch("qbt_rules.seed_data_runs.Runner.rollback", side_effect=SeedError("no luck")):
        assert settle(stage) == (1,)
    assert note(stage).startswith("qbt-rules: tried 1 time to resume it, last at 20")
    assert ASKED_BACK in note(stage)
    with clock.using(now=lambda: datetime.now(UTC) + FIRST_PAUSE):
        assert settle(stage) == ()
    assert statuses(stage) == ["rolled-back"]
    assert stage.lab.rows()[torrent_id]["save_path"].rstrip("/") == str(stage.lab.seeding)


def test_a_person_who_goes_forward_after_all_takes_the_rollback_back(stage: DiskStage) -> None:
    interrupted_run(stage)
    failing_rollback()
    with (
        closing(App(load("rehome"))) as app,
        mock.patch("rehome.runner.executor.apply", side_effect=SeedError("not now")),
        pytest.raises(SeedError, match="not now"),
    ):
        app.resume(1, Watch())
    assert statuses(stage) == ["open"]
    assert note(stage) == ""


def failing_rollback() -> None:
    """`rehome rollback`, which did not get to its first step."""
    with (
        closing(App(load("rehome"))) as app,
        mock.patch("rehome.world.World.undo_together", side_effect=SeedError("it hangs")),
        pytest.raises(SeedError, match="stays open"),
    ):
        app.rollback(1, Watch())


def test_a_run_that_may_be_alive_is_not_touched(stage: DiskStage) -> None:
    interrupted_run(stage)
    before = note(stage)
    with exclusive(stage.lab.catalog, "rehome apply plan.json"):
        with pytest.raises(Locked, match="in use"):
            settle(stage)
        result = stage.run(DEMOTE)
        assert result["outcomes"] == {"blocked": 1}
    assert (statuses(stage), note(stage)) == (["open"], before)
    assert settle(stage) == ()


def test_what_cannot_be_resumed_blocks_its_own_payload_only(stage: DiskStage) -> None:
    stuck = interrupted_run(stage)
    free = stage.lab.seed("Other", {"other.mkv": 200_000})
    stage.lab.look()
    with mock.patch("qbt_rules.seed_data_runs.Runner.resume", side_effect=SeedError("no luck")):
        result = stage.run(DEMOTE)
    found = {row["hash"]: (row["outcome"], row["reason"]) for row in result["actions"]}
    assert found[free][0] == "done"
    assert found[stuck][0] == "blocked"
    assert "run 1, which rules began, was interrupted and is not at its end" in found[stuck][1]
    assert statuses(stage) == ["open", "committed"]


def test_a_resume_that_fails_is_tried_less_and_less_often_and_then_not_any_more(
    stage: DiskStage, caplog: pytest.LogCaptureFixture
) -> None:
    interrupted_run(stage)
    now = datetime.now(UTC)
    tried = 0

    def failing(*_: object) -> None:
        nonlocal tried
        tried += 1
        raise SeedError("a disk fails")

    with mock.patch("qbt_rules.seed_data_runs.Runner.resume", failing):
        for number in range(1, MOST_TRIES + 3):
            with clock.using(now=standing_at(now)):
                assert settle(stage) == (1,)
                assert settle(stage) == (1,), "not due yet"
            assert tried == min(number, MOST_TRIES)
            now += FIRST_PAUSE * 2 ** (number - 1) + timedelta(seconds=1)
    assert "tried 5 times to resume it" in note(stage)
    assert "a disk fails" in note(stage)
    last = caplog.messages[-1]
    assert "it was tried 5 times in vain, and is not any more" in last
    assert "rehome resume 1, or rehome rollback 1" in last
    assert settle(stage) == (1,), "whatever the clock says"
    stage.lab.run("rehome", "resume", "1")
    assert statuses(stage) == ["committed"]


def standing_at(moment: datetime) -> Callable[[], datetime]:
    return lambda: moment


def test_a_resume_that_takes_its_process_along_counts_as_a_try(stage: DiskStage) -> None:
    interrupted_run(stage)
    with killed_in(0, afterwards=False):
        settle(stage)
    assert statuses(stage) == ["open"]
    assert "tried 1 time to resume it" in note(stage)
    assert settle(stage) == (1,), "not at once again"
    with clock.using(now=lambda: datetime.now(UTC) + FIRST_PAUSE):
        assert settle(stage) == ()


def test_a_client_or_a_disk_that_is_away_costs_no_try(stage: DiskStage) -> None:
    interrupted_run(stage)
    stage.lab.client.kill()
    assert settle(stage) == (1,)
    assert note(stage) == ""
    stage.lab.client.start()
    with mock.patch("rehome.runner.require_mounts", side_effect=Refused("the pool is away")):
        assert settle(stage) == (1,)
    assert note(stage) == ""
    assert settle(stage) == ()
    assert statuses(stage) == ["committed"]


# -- between jobs, and what is told


class Told:
    """An engine with a run that stays open until a test says so."""

    def __init__(self) -> None:
        self.open: tuple[int, ...] = (7,)
        self.settled = self.looked = 0
        self.error: BaseException | None = None

    def run(self, job: Job, cancelled: Callable[[], bool]) -> JobResult:
        return RESULT

    def interrupted(self) -> tuple[int, ...]:
        self.looked += 1
        return self.open

    def settle(self, cancelled: Callable[[], bool]) -> None:
        self.settled += 1
        if self.error is not None:
            raise self.error


def test_what_stays_open_is_tried_again_with_growing_pauses_and_told_meanwhile() -> None:
    engine, notice, now = Told(), Notice(), 0.0
    with clock.using(monotonic=lambda: now):
        settling = Settling(engine, notice)
        pauses = []
        for _ in range(6):
            assert settling.is_due()
            settling.run(lambda: False)
            assert notice.read() == (7,)
            pauses.append(next(s for s in range(10_000) if is_due_after(settling, now + s)))
            now += pauses[-1]
        assert pauses == [30, 60, 120, 240, 300, 300]
        engine.open = ()
        assert not settling.is_due()
        assert notice.read() == ()
        assert not is_due_after(settling, now + EVERY_S - 1)


def is_due_after(settling: Settling, moment: float) -> bool:
    with clock.using(monotonic=lambda: moment):
        return settling.is_due()


def test_runs_that_may_be_alive_are_not_told_of() -> None:
    engine, notice = Told(), Notice()
    engine.error = Locked("the catalog is in use")
    settling = Settling(engine, notice)
    assert settling.is_due()
    settling.run(lambda: False)
    assert notice.read() == ()
    assert not settling.is_due()


def test_nothing_that_goes_wrong_between_jobs_ends_the_worker(
    caplog: pytest.LogCaptureFixture,
) -> None:
    engine = Told()
    for engine.error in (SeedError("the catalog is damaged"), ZeroDivisionError("a bug")):
        Settling(engine, Notice()).run(lambda: False)
    assert [record.levelno for record in caplog.records] == [logging.WARNING, logging.ERROR]


def test_a_catalog_that_cannot_be_understood_ends_no_worker(
    caplog: pytest.LogCaptureFixture,
) -> None:
    engine, notice = Told(), Notice()
    settling = Settling(engine, notice)
    with mock.patch.object(engine, "interrupted", side_effect=ValueError("no JSON")):
        assert not settling.is_due()
        settling.run(lambda: False)
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 2


def test_a_job_that_has_to_wait_is_next_although_giving_it_back_failed_at_first(
    tmp_path: Path,
) -> None:
    """Held by a worker that lives on, it would keep all other jobs from being begun."""
    queue, engine = SQLiteQueue(tmp_path / "queue.db"), Told()
    asked, release = queue.enqueue(), queue.release
    failures = [SeedError("the queue is locked")] * 2

    def releasing(job: Job, *, interrupted: bool = False) -> Job:
        if failures:
            raise failures.pop()
        return release(job, interrupted=interrupted)

    worker = Worker(queue, engine)
    thread = threading.Thread(target=worker.run, daemon=True)
    with mock.patch.object(queue, "release", releasing):
        thread.start()
        try:
            wait_for(lambda: queue.stats().depth == 0, "the job to end", timeout_s=20)
        finally:
            worker.stop()
            thread.join(60)
    done = queue.get_job(asked.job_id)
    assert done is not None
    assert (done.status, done.attempts, engine.settled) == (JobStatus.COMPLETED, 1, 1)
    queue.close()


def test_a_worker_that_stands_by_leaves_it_to_the_one_with_the_seat() -> None:
    engine, now = Told(), 0.0
    with clock.using(monotonic=lambda: now):
        settling = Settling(engine, Notice())
        assert settling.is_due()
        settling.is_for_another()
        assert not settling.is_due()
        now = STANDBY_S
        assert settling.is_due()


def test_a_notice_is_seen_in_other_processes() -> None:
    notice = Notice()

    def tell() -> int:
        notice.tell((9, 8))
        return 0

    os.waitpid(forked(tell), 0)
    assert notice.read() == (8, 9)
    notice.tell(range(1000))
    assert len(notice.read()) == 20


def test_of_two_workers_only_the_one_with_the_seat_resumes(tmp_path: Path) -> None:
    queues = [SQLiteQueue(tmp_path / "queue.db") for _ in range(2)]
    engines = [Told(), Told()]
    workers = [Worker(queue, one) for queue, one in zip(queues, engines, strict=True)]
    threads = [threading.Thread(target=one.run, daemon=True) for one in workers]
    threads[0].start()
    wait_for(lambda: engines[0].settled == 1, "the first to begin", timeout_s=60)
    threads[1].start()
    wait_for(lambda: engines[1].looked > 0, "the second to look", timeout_s=60)
    for one, thread in zip(workers, threads, strict=True):
        one.stop()
        thread.join(60)
    assert [engine.settled for engine in engines] == [1, 0]
    for queue in queues:
        queue.close()
