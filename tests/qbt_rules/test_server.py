"""The HTTP API as the requirement writes it: paths, status codes, bodies."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.support.rules_app import KEY, Api

import seedkeep
from qbt_rules import api_answers, api_models
from qbt_rules.model import JobStatus, QueueHealth
from qbt_rules.queue_manager import QueueUnreachable
from seedkeep import clock
from seedkeep.build import this_build
from seedkeep.errors import Unreachable
from seedkeep.qbittorrent_errors import LOGIN_HINT

HASH = "0123456789ABCDEF0123456789abcdef01234567"
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?Z")


# Jobs


def test_a_job_is_accepted_with_what_was_asked(api: Api) -> None:
    response = api.ask("POST", f"/api/execute?context=scheduled&hash={HASH}")
    assert response.status_code == 202
    body: Any = response.json
    job_id, queued_at = body.pop("job_id"), body.pop("queued_at")
    assert body == {
        "status": "pending",
        "context": "scheduled",
        "hash": HASH.lower(),
        "dry_run": False,
    }
    assert TIME.fullmatch(queued_at)
    assert api.get(f"/api/jobs/{job_id}")["status"] == "pending"


def test_context_and_hash_may_be_left_out(api: Api) -> None:
    assert {name: api.execute()[name] for name in ("context", "hash")} == {
        "context": None,
        "hash": None,
    }


def test_a_dry_run_is_carried_to_the_worker(api: Api) -> None:
    assert api.execute("dry_run=true")["dry_run"] is True
    assert api.take().dry_run is True


def test_equal_jobs_that_wait_become_one_unless_that_is_switched_off(api: Api) -> None:
    first = api.execute("context=on_added")
    assert api.execute("context=on_added")["job_id"] == first["job_id"]
    assert api.get(f"/api/jobs/{first['job_id']}")["requests"] == 2
    each = Api(api.queue, api.rules_file, service_with(api, coalesce=False))
    assert each.execute("context=on_added")["job_id"] != first["job_id"]


def service_with(api: Api, **changes: Any) -> Any:
    from dataclasses import replace

    return replace(api.service, **changes)


def test_a_completed_job_tells_its_result(api: Api) -> None:
    job_id = api.execute("context=scheduled")["job_id"]
    result = {"torrents_processed": 15, "rules_matched": 3, "actions_executed": 5}
    api.queue.complete(api.take(), result)
    body = api.get(f"/api/jobs/{job_id}")
    times = [body.pop(name) for name in ("created_at", "started_at", "completed_at")]
    assert all(TIME.fullmatch(moment) for moment in times)
    assert times == sorted(times)
    assert body == {
        "job_id": job_id,
        "status": "completed",
        "context": "scheduled",
        "hash": None,
        "result": result,
        "error": None,
        "dry_run": False,
        "attempts": 1,
        "interruptions": 0,
        "requests": 1,
    }


def test_a_failed_job_tells_why(api: Api) -> None:
    job_id = api.execute()["job_id"]
    api.queue.fail(api.take(), "qBittorrent is away")
    body = api.get(f"/api/jobs/{job_id}")
    assert (body["status"], body["error"]) == ("failed", "qBittorrent is away")


def test_jobs_are_listed_newest_first_and_in_pages(api: Api) -> None:
    ids = [api.execute(f"context=c{number}")["job_id"] for number in range(5)]
    page = api.get("/api/jobs?limit=2&offset=1")
    assert [job["job_id"] for job in page["jobs"]] == ids[3:1:-1]
    assert (page["total"], page["limit"], page["offset"]) == (5, 2, 1)
    assert api.get("/api/jobs")["limit"] == 50
    required = {"job_id", "status", "context", "created_at", "completed_at"}
    assert required < set(page["jobs"][0])


def test_jobs_are_listed_by_status_and_context(api: Api) -> None:
    api.execute("context=a")
    api.execute("context=b")
    api.queue.complete(api.take(), {})
    assert [job["context"] for job in api.get("/api/jobs?status=pending")["jobs"]] == ["b"]
    assert [job["status"] for job in api.get("/api/jobs?context=a")["jobs"]] == ["completed"]
    assert api.get("/api/jobs?context=never")["total"] == 0


def test_a_pending_job_can_be_cancelled_and_no_other(api: Api) -> None:
    first, second = api.execute("context=a")["job_id"], api.execute("context=b")["job_id"]
    response = api.ask("DELETE", f"/api/jobs/{second}")
    assert (response.status_code, response.json) == (
        200,
        {"job_id": second, "status": "cancelled", "message": "Job cancelled successfully"},
    )
    api.take()
    for job_id, status in ((first, "processing"), (second, "cancelled")):
        refused = api.ask("DELETE", f"/api/jobs/{job_id}")
        body: Any = refused.json
        assert refused.status_code == 400
        assert body["error"] == f"Cannot cancel job in status: {status}"
        assert set(body) == {"error", "trace_id"}


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_an_unknown_job_is_not_found(api: Api, method: str) -> None:
    response = api.ask(method, "/api/jobs/550e8400-e29b-41d4-a716-446655440000")
    body: Any = response.json
    assert response.status_code == 404
    assert body.pop("trace_id")
    assert body == {
        "error": "Not Found",
        "message": "Job not found: 550e8400-e29b-41d4-a716-446655440000",
    }


BEARER = {"Authorization": f"Bearer {KEY}"}


@pytest.mark.parametrize(
    "query",
    [
        "",
        f"context=on_added&hash={HASH}&dry_run=1",
        "context=a+b%20c%F0%9F%A7%80&",
        "context=%FF",
        "context=Käse",
        "context=a;b",
        "context=",
        "hash=x&hash=y",
        "unknown=1",
        f"key={KEY}",
    ],
)
def test_the_short_way_to_a_job_gives_what_the_long_way_gives(api: Api, query: str) -> None:
    """A key in a header goes the short way, one behind "Bearer" through the framework."""
    short = api.ask("POST", f"/api/execute?{query}")
    long = api.ask("POST", f"/api/execute?{query}", key=None, headers=BEARER)
    answers: list[Any] = [response.json for response in (short, long)]
    for body in answers:
        body.pop("trace_id", None)
        body.pop("queued_at", None)
    assert answers[0] == answers[1], "the second joined the job of the first"
    assert short.status_code == long.status_code
    differing = {"Date", "Content-Length"}
    assert {n: v for n, v in short.headers if n not in differing} == {
        n: v for n, v in long.headers if n not in differing
    }


# Bad input


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("hash=abc123", "hash must be 40 or 64 hex digits, not 'abc123'"),
        ("hash=", "hash must be 40 or 64 hex digits, not ''"),
        (f"hash={'g' * 40}", "hash must be 40 or 64 hex digits"),
        (f"hash={'a' * 41}", "hash must be 40 or 64 hex digits"),
        (f"hash={'a' * 40}%0a", "hash must be 40 or 64 hex digits"),
        ("context=", "context must be 1 to 100 characters"),
        (f"context={'x' * 101}", "context must be 1 to 100 characters"),
        ("context=a%00b", "context must be 1 to 100 characters"),
        ("dry_run=perhaps", "dry_run must be true or false, not 'perhaps'"),
        ("contxt=a", "there is no parameter 'contxt' here (there is context, hash, dry_run)"),
        ("context=a&context=b", "context is given 2 times"),
        ("hash=x&dry_run=y", "hash must be 40 or 64 hex digits, not 'x'; dry_run must be"),
    ],
)
def test_a_bad_request_for_a_job_is_refused_with_its_reason(
    api: Api, query: str, reason: str
) -> None:
    assert api.reason("POST", f"/api/execute?{query}").startswith(reason)
    assert api.queue.stats().total == 0


@pytest.mark.parametrize("hexes", ["a" * 40, "B" * 64])
def test_both_lengths_of_hashes_are_taken(api: Api, hexes: str) -> None:
    assert api.execute(f"hash={hexes}")["hash"] == hexes.lower()


def test_any_context_is_taken(api: Api) -> None:
    assert api.execute("context=Käse%20und%20Brot%F0%9F%A7%80")["context"] == "Käse und Brot🧀"


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("limit=0", "limit must be between 1 and 100, not '0'"),
        ("limit=101", "limit must be between 1 and 100"),
        ("limit=1_0", "limit must be between 1 and 100"),
        ("limit=", "limit must be between 1 and 100"),
        (f"limit={'9' * 5000}", "limit must be between 1 and 100"),
        ("limit=%D9%A5", "limit must be between 1 and 100"),
        ("offset=-1", "offset must be between 0 and 1000000000, not '-1'"),
        ("status=done", "status must be one of pending, processing, completed, failed, cancelled"),
    ],
)
def test_a_bad_list_is_refused_with_its_reason(api: Api, query: str, reason: str) -> None:
    assert api.reason("GET", f"/api/jobs?{query}").startswith(reason)


def test_endpoints_without_parameters_take_none(api: Api) -> None:
    assert "there is none but the key" in api.reason("GET", "/api/stats?x=1")


def test_what_is_not_there_is_not_found_and_what_cannot_be_done_is_said(api: Api) -> None:
    assert api.reason("GET", "/api/nothing", 404) == "there is no /api/nothing"
    response = api.ask("PUT", "/api/jobs")
    assert response.status_code == 405
    assert response.headers["Allow"] == "GET, HEAD, OPTIONS" or set(
        response.headers["Allow"].split(", ")
    ) == {"GET", "HEAD", "OPTIONS"}
    assert response.json["message"] == "PUT is not possible here"  # type: ignore[index]


def test_a_body_is_not_looked_at_and_has_a_largest_size(api: Api) -> None:
    small = api.ask("POST", "/api/execute", data=b"{not json", content_type="application/json")
    assert small.status_code == 202
    large = api.ask("POST", "/api/execute", data=b"x" * 65_537)
    assert large.status_code == 413
    assert large.json["message"] == "a body may have 65536 bytes"  # type: ignore[index]


# Failures


def test_an_unexpected_error_has_a_trace_id_that_the_log_has_too(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> None:
        raise RuntimeError("the secret reason")

    caplog.set_level("INFO", logger="qbt_rules")
    monkeypatch.setattr(api.queue, "stats", broken)
    response = api.ask("GET", "/api/stats")
    body: Any = response.json
    assert response.status_code == 500
    assert body["error"] == "Internal Server Error"
    assert body["message"] == "An unexpected error occurred"
    assert "secret" not in response.text
    assert body["trace_id"] in caplog.text
    assert "the secret reason" in caplog.text


def test_a_queue_that_is_away_is_said_and_asked_for_later(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    def away(*_: Any, **what: Any) -> None:
        asked.append(what)
        raise QueueUnreachable("Redis does not answer", detail="redis://:secret@host")

    monkeypatch.setattr(api.queue, "enqueue", away)
    response = api.ask("POST", "/api/execute")
    assert len(asked) == 1  # it took its time, and may have taken the job all the same
    assert response.status_code == 503
    assert response.headers["Retry-After"] == "5"
    assert "Redis does not answer" in response.text
    assert "secret" not in response.text


# Health, stats, version


def test_a_healthy_server_says_so_without_a_key(api: Api) -> None:
    api.execute()
    api.queue.complete(api.take(), {})
    body = api.get("/api/health", key=None)
    last = body["worker"].pop("last_job_completed")
    assert TIME.fullmatch(last)
    assert body == {
        "status": "healthy",
        "version": seedkeep.__version__,
        "queue": {"backend": "sqlite", "pending_jobs": 0, "processing_jobs": 0},
        "worker": {"status": "running"},
        "qbittorrent": {"connected": True, "version": "v5.1.0"},
        "rules": {"loaded": True, "rules": 1, "error": None},
        "warnings": [],
    }


def test_an_unhealthy_server_lists_what_is_wrong(api: Api) -> None:
    api.client.problem = Unreachable("qBittorrent at http://secret does not answer")
    api.rules_file.write_text("rules: wrong\n")
    response = api.ask("GET", "/api/health", key=None)
    body: Any = response.json
    assert response.status_code == 503
    assert body["status"] == "unhealthy"
    assert body["errors"] == [
        "Worker thread not responding",
        "Cannot connect to qBittorrent",
        "The rules file has mistakes; the rules read before stay in force",
    ]
    assert "secret" not in response.text


def test_a_queue_with_problems_makes_the_server_unhealthy(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = QueueHealth(
        backend="redis",
        pending=0,
        processing=0,
        worker=None,
        last_completed_at=None,
        problems=("Redis does not answer",),
        warnings=("Redis keeps no append-only file",),
    )
    monkeypatch.setattr(api.queue, "health", lambda: away)
    body: Any = api.ask("GET", "/api/health").json
    assert body["errors"][0] == "Redis does not answer"
    assert body["warnings"] == ["Redis keeps no append-only file"]


def test_relocations_that_were_cut_short_are_a_warning_and_a_number(tmp_path: Path) -> None:
    with Api.opened(tmp_path, open_runs=lambda: (7, 9)) as api:
        api.queue.dequeue(api_worker())
        assert api.get("/api/health", key=None)["warnings"] == [
            "Relocations were interrupted and not brought to the end yet: run 7, 9 of rehome"
        ]
        assert "qbt_rules_open_relocations 2.0" in api.ask("GET", "/metrics").text


def test_a_missing_rules_file_is_a_warning(api: Api) -> None:
    api.queue.dequeue(api_worker())
    api.rules_file.unlink()
    body = api.get("/api/health")
    assert body["warnings"] == ["There is no rules file"]
    assert body["rules"] == {"loaded": False, "rules": None, "error": "There is no rules file"}


def api_worker() -> Any:
    from tests.support.rules_app import WORKER

    return WORKER


def test_qbittorrent_is_not_asked_more_often_than_needed(api: Api) -> None:
    for _ in range(5):
        api.ask("GET", "/api/health")
    assert (api.client.asked, api.client.connected) == (1, 1)


def test_a_refused_login_is_not_tried_again_soon(api: Api) -> None:
    api.client.problem = Unreachable("refused the login", hint=LOGIN_HINT)
    now = [1000.0]
    with clock.using(monotonic=lambda: now[0]):
        for later in (0.0, 60.0, 600.0):
            now[0] = 1000.0 + later
            assert not api.service.client.look().version
        assert api.client.connected == 1
        now[0] += 600.0
        api.service.client.look()
    assert api.client.connected == 2


def test_stats_have_the_numbers_and_the_same_for_machines(api: Api) -> None:
    for context in "abc":
        api.execute(f"context={context}")
    api.queue.complete(api.take(), {})
    body = api.get("/api/stats")
    assert body["jobs"] == {
        "total": 3,
        "pending": 2,
        "processing": 0,
        "completed": 1,
        "failed": 0,
        "cancelled": 0,
    }
    assert re.fullmatch(r"\d+\.\ds", body["performance"]["average_execution_time"])
    assert body["performance"]["average_execution_seconds"] >= 0
    assert body["performance"]["jobs_per_hour"] > 0
    assert body["queue"] == {"backend": "sqlite", "depth": 2}
    assert (body["uptime"], body["uptime_seconds"]) == ("0m", 0)


def test_stats_of_a_new_server_have_no_average(api: Api) -> None:
    performance = api.get("/api/stats")["performance"]
    assert performance["average_execution_time"] is None
    assert performance["average_execution_seconds"] is None


@pytest.mark.parametrize(
    ("time", "text"),
    [
        (timedelta(seconds=59), "0m"),
        (timedelta(hours=1), "1h 0m"),
        (timedelta(days=5, hours=12, minutes=30), "5d 12h 30m"),
        (timedelta(days=1, minutes=1), "1d 0h 1m"),
    ],
)
def test_uptime_is_written_as_people_read_it(time: timedelta, text: str) -> None:
    assert api_answers.uptime(time.total_seconds()) == text


def test_the_version_needs_no_key(api: Api) -> None:
    body = api.get("/api/version", key=None)
    assert body["version"] == seedkeep.__version__
    assert body["api_version"] == "1.0"
    assert re.fullmatch(r"20\d\d\.\d+\.\d+", body["qbittorrent_api_version"])
    build = this_build()
    assert (body["git_commit"], body["build_date"]) == (build.commit, build.date)


def test_ping_asks_nobody(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api.queue, "health", None)
    assert api.get("/ping", key=None) == {"ping": "pong"}


# Rules, metrics, specification


def test_reload_tells_how_many_rules_there_are_now(api: Api) -> None:
    assert api.ask("POST", "/api/reload").json == {"status": "reloaded", "rules": 1, "warnings": []}
    api.rules_file.write_text("rules: []\n# and a new length\n")
    assert api.ask("POST", "/api/reload").json["rules"] == 0  # type: ignore[index]


def test_reload_lists_the_mistakes_of_rules_that_are_not_taken(api: Api) -> None:
    api.rules_file.write_text("rules:\n  - name: x\n    condtions: {}\n    actions: [stop]\n")
    response = api.ask("POST", "/api/reload")
    body: Any = response.json
    assert response.status_code == 422
    assert body["error"] == "Invalid Rules"
    assert any("rules.yml:3:5" in reason for reason in body["errors"])
    api.rules_file.unlink()
    assert api.ask("POST", "/api/reload").status_code == 422


def test_metrics_are_the_numbers_of_the_queue(api: Api) -> None:
    api.execute()
    text = api.ask("GET", "/metrics").text
    assert 'qbt_rules_jobs{status="pending"} 1.0' in text
    assert "qbt_rules_worker_up 0.0" in text
    assert "qbt_rules_qbittorrent_up 1.0" in text
    assert "qbt_rules_rules_valid 1.0" in text
    assert f'qbt_rules_build_info{{version="{seedkeep.__version__}"}} 1.0' in text


def test_the_specification_names_every_path_and_how_to_give_the_key(api: Api) -> None:
    document = api.get("/api/openapi.json", key=None)
    routes = {
        re.sub(r"<(\w+)>", r"{\1}", rule.rule)
        for rule in api.app.url_map.iter_rules()
        if rule.endpoint != "static"
    }
    assert set(document["paths"]) == routes - {"/api/openapi.json"}
    assert set(document["components"]["securitySchemes"]) == {
        "header",
        "bearer",
        "query",
        "short_query",
    }


ANSWERS: list[tuple[str, str, type[Any]]] = [
    ("POST", "/api/execute?context=a", api_models.Queued),
    ("GET", "/api/jobs", api_models.JobList),
    ("GET", "/api/jobs/{job}", api_models.JobDetail),
    ("DELETE", "/api/jobs/{job}", api_models.Cancelled),
    ("GET", "/api/stats", api_models.StatsAnswer),
    ("GET", "/api/health", api_models.Unhealthy),
    ("GET", "/api/version", api_models.VersionAnswer),
    ("POST", "/api/reload", api_models.Reloaded),
    ("GET", "/ping", api_models.Pong),
    ("GET", "/api/nothing", api_models.ErrorAnswer),
]


@pytest.mark.parametrize(("method", "path", "model"), ANSWERS)
def test_each_answer_has_exactly_the_fields_of_its_model(
    api: Api, method: str, path: str, model: type[Any]
) -> None:
    job = api.execute()["job_id"]
    body: Any = api.ask(method, path.format(job=job)).json
    assert model.model_validate(body).model_dump(mode="json") == body


def test_every_status_can_be_listed(api: Api) -> None:
    for status in JobStatus:
        assert api.get(f"/api/jobs?status={status}")["total"] == 0
