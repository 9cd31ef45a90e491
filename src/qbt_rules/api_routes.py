"""The endpoints: read the query, ask the queue, answer."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, wraps
from importlib import metadata
from typing import Any, TypeVar, get_type_hints

from flask import Response, current_app, request
from flask_openapi3.blueprint import APIBlueprint
from pydantic import BaseModel

from qbt_rules import api_answers
from qbt_rules.api_models import (
    Cancelled,
    ErrorAnswer,
    ExecuteQuery,
    ExplainAnswer,
    ExplainQuery,
    Health,
    JobDetail,
    JobList,
    JobPath,
    ListQuery,
    NoQuery,
    Pong,
    Queued,
    Reloaded,
    RulesError,
    StatsAnswer,
    Unhealthy,
    VersionAnswer,
    read_query,
)
from qbt_rules.api_shortcut import FAILED
from qbt_rules.checks import InvalidRules
from qbt_rules.health import health_report
from qbt_rules.metrics import CONTENT_TYPE, metrics_page
from qbt_rules.queue_manager import NoSuchJob
from qbt_rules.server import SECURITY, failure, json_response, service
from seedkeep import console
from seedkeep.build import this_build
from seedkeep.errors import Unreachable
from seedkeep.torrent_client import NoSuchTorrent

api = APIBlueprint("api", __name__)
V = TypeVar("V", bound=Callable[..., Any])
Responses = dict[str | int, type[BaseModel] | dict[Any, Any] | None]

BAD: Responses = {"400": ErrorAnswer}
ERRORS: Responses = {
    "401": ErrorAnswer,
    "429": ErrorAnswer,
    "500": ErrorAnswer,
    "503": ErrorAnswer,
}


def checked(view: V) -> V:
    """Give the view its query and path; anything else in the query is a bad request."""
    hints = get_type_hints(view)
    query = hints.get("query", NoQuery)

    @wraps(view)
    def reading(**path: Any) -> Any:
        given: dict[str, Any] = {"path": JobPath(**path)} if path else {}
        read = read_query(query, request.args)
        return view(**given, **({"query": read} if "query" in hints else {}))

    # The library would build the JSON schema of the model anew for every request.
    reading.__delay_validate_request__ = True  # type: ignore[attr-defined]
    return reading  # type: ignore[return-value]


@api.post(
    "/api/execute",
    operation_id="execute",
    summary="Queue a job that runs the rules",
    description="Rules of the context run and those without one; without `context` only the latter."
    " Without `hash` they look at all torrents. A body is not looked at.",
    responses={"202": Queued, **BAD, "413": ErrorAnswer, **ERRORS},
    security=SECURITY,
)
@checked
def execute(query: ExecuteQuery) -> Response:
    here = service()
    if failed := request.environ.get(FAILED):
        raise failed
    job = here.queue.enqueue(
        query.context, query.hash, dry_run=query.dry_run, coalesce=here.coalesce
    )
    return json_response(api_answers.queued(job), 202)


@api.get(
    "/api/jobs",
    operation_id="listJobs",
    summary="List jobs, the newest first",
    responses={"200": JobList, **BAD, **ERRORS},
    security=SECURITY,
)
@checked
def list_jobs(query: ListQuery) -> Response:
    jobs = service().queue.list_jobs(
        query.status, query.context, limit=query.limit, offset=query.offset
    )
    return json_response(api_answers.page(jobs))


@api.get(
    "/api/jobs/<job_id>",
    operation_id="getJob",
    summary="One job with its result",
    responses={"200": JobDetail, **BAD, "404": ErrorAnswer, **ERRORS},
    security=SECURITY,
)
@checked
def get_job(path: JobPath) -> Response:
    job = service().queue.get_job(path.job_id)
    if job is None:
        raise NoSuchJob(path.job_id)
    return json_response(api_answers.detail(job))


@api.delete(
    "/api/jobs/<job_id>",
    operation_id="cancelJob",
    summary="Cancel a job that still waits",
    responses={"200": Cancelled, **BAD, "404": ErrorAnswer, **ERRORS},
    security=SECURITY,
)
@checked
def cancel_job(path: JobPath) -> Response:
    job = service().queue.cancel_job(path.job_id)
    return json_response(
        {
            "job_id": job.job_id,
            "status": job.status.value,
            "message": "Job cancelled successfully",
        }
    )


@api.get(
    "/api/stats",
    operation_id="stats",
    summary="Numbers for people and dashboards",
    responses={"200": StatsAnswer, **BAD, **ERRORS},
    security=SECURITY,
)
@checked
def stats() -> Response:
    here = service()
    return json_response(api_answers.stats(here.queue.stats(), here.queue.backend, here.uptime_s))


@api.get(
    "/api/health",
    operation_id="health",
    summary="Whether everything works that a job needs",
    responses={"200": Health, **BAD, "500": ErrorAnswer, "503": Unhealthy},
)
@checked
def health() -> Response:
    report = health_report(service())
    return json_response(report, 503 if report["status"] == "unhealthy" else 200)


@api.get(
    "/api/version",
    operation_id="version",
    summary="Versions of the server and of what it is built on",
    responses={"200": VersionAnswer, **BAD, "500": ErrorAnswer},
)
@checked
def version() -> Response:
    return json_response(_versions())


@cache
def _versions() -> dict[str, str | None]:
    """They do not change while a process lives, and anybody may ask."""
    build = this_build()
    return {
        "version": build.version,
        "api_version": "1.0",
        "qbittorrent_api_version": metadata.version("qbittorrent-api"),
        "build_date": build.date,
        "git_commit": build.commit,
    }


@api.get(
    "/api/explain",
    operation_id="explain",
    summary="Why each rule would or would not act on a torrent",
    description="The tree of conditions: each value seen, each verdict, and which parts decided."
    " Asks qBittorrent and the catalog at once; no job is queued, nothing is changed.",
    responses={"200": ExplainAnswer, **BAD, "404": ErrorAnswer, "422": RulesError, **ERRORS},
    security=SECURITY,
)
@checked
def explain(query: ExplainQuery) -> Response:
    here = service()
    client = here.client.look()
    if client.version is None:  # one more login could be the one that gets this address banned
        return failure(503, "Service Unavailable", f"qBittorrent is out of reach: {client.problem}")
    try:
        here.rules.read()
        found = here.explain(query.hash, query.context, query.rule)
    except InvalidRules as why:
        return failure(422, "Invalid Rules", why.brief, errors=list(why.reasons))
    except NoSuchTorrent as why:
        return failure(404, "Not Found", why.brief)
    except Unreachable as why:
        return failure(503, "Service Unavailable", why.brief)
    return json_response({"hash": query.hash, "rules": console.plain(found)})


@api.post(
    "/api/reload",
    operation_id="reload",
    summary="Read the rules file again",
    description="Rules that do not validate are not taken: those in force stay in force.",
    responses={"200": Reloaded, **BAD, "413": ErrorAnswer, "422": RulesError, **ERRORS},
    security=SECURITY,
)
@checked
def reload() -> Response:
    try:
        rules = service().rules.read()
    except InvalidRules as why:
        return failure(422, "Invalid Rules", why.brief, errors=list(why.reasons))
    return json_response(
        {"status": "reloaded", "rules": rules.count, "warnings": list(rules.warnings)}
    )


@api.get(
    "/metrics",
    operation_id="metrics",
    summary="Numbers for Prometheus",
    responses={
        "200": {"description": "OK", "content": {"text/plain": {"schema": {"type": "string"}}}},
        **BAD,
        **ERRORS,
    },
    security=SECURITY,
)
@checked
def metrics() -> Response:
    return Response(metrics_page(service()), content_type=CONTENT_TYPE)


@api.get(
    "/ping",
    operation_id="ping",
    summary="Whether the web process is alive",
    responses={"200": Pong, **BAD, "500": ErrorAnswer},
)
@checked
def ping() -> Response:
    return json_response({"ping": "pong"})


@api.get("/api/openapi.json", doc_ui=False)
@checked
def openapi() -> Response:
    document = current_app.api_doc  # type: ignore[attr-defined]
    return json_response(document | {"servers": [{"url": request.root_path or "/"}]})
