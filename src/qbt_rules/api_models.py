"""What goes into the HTTP API and what comes out: the words of the specification.

Queries are read by `read_query`; the models of answers describe them in the OpenAPI document, and
a test compares each answer with its model.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
)
from werkzeug.datastructures import MultiDict

from qbt_rules.model import CONTEXT, LONGEST_CONTEXT, MOST_LISTED, TORRENT_HASH, JobStatus

KEY_PARAMETERS = ("key", "apikey")
MOST_OFFSET = 1_000_000_000
LONGEST_RULE = 200
RULE = re.compile(rf"[^\x00-\x1f\x7f]{{1,{LONGEST_RULE}}}")
_TRUTH = {"true": True, "1": True, "false": False, "0": False}


class BadQuery(ValueError):
    """What is wrong with a query, as words for the caller."""


def _hash(given: str) -> str:
    if not TORRENT_HASH.fullmatch(given):
        raise ValueError(f"hash must be 40 or 64 hex digits, not {given[:80]!r}")
    return given.lower()


def _context(given: str) -> str:
    if not CONTEXT.fullmatch(given):
        raise ValueError(
            f"context must be 1 to {LONGEST_CONTEXT} characters without control characters;"
            " leave it out for none"
        )
    return given


def _rule(given: str) -> str:
    if not RULE.fullmatch(given):
        raise ValueError(f"rule must be 1 to {LONGEST_RULE} characters without control characters")
    return given


def _truth(given: str) -> bool:
    if given.lower() not in _TRUTH:
        raise ValueError(f"dry_run must be true or false, not {given[:80]!r}")
    return _TRUTH[given.lower()]


def _status(given: str) -> JobStatus:
    if given not in set(JobStatus):
        raise ValueError(f"status must be one of {', '.join(JobStatus)}, not {given[:80]!r}")
    return JobStatus(given)


def _number(name: str, least: int, most: int) -> Callable[[str], int]:
    def read(given: str) -> int:
        # int() would also take "1_0" and digits of other scripts.
        if not re.fullmatch(r"-?[0-9]{1,20}", given) or not least <= int(given) <= most:
            raise ValueError(f"{name} must be between {least} and {most}, not {given[:80]!r}")
        return int(given)

    return read


def _schema(**words: Any) -> WithJsonSchema:
    return WithJsonSchema(words, mode="validation")


Context = Annotated[
    str | None,
    BeforeValidator(_context),
    _schema(
        type="string",
        minLength=1,
        maxLength=LONGEST_CONTEXT,
        pattern=r"^[^\u0000-\u001f\u007f]+$",
        description="A context; any name.",
    ),
]
_HASH_SCHEMA = _schema(
    type="string",
    pattern="^([0-9a-fA-F]{40}|[0-9a-fA-F]{64})$",
    description="A torrent: its id, v1 or v2 infohash.",
)
Hash = Annotated[str | None, BeforeValidator(_hash), _HASH_SCHEMA]
NeededHash = Annotated[str, BeforeValidator(_hash), _HASH_SCHEMA]
Truth = Annotated[
    bool,
    BeforeValidator(_truth),
    _schema(type="boolean", description="Change nothing, tell what would be done."),
]
RuleName = Annotated[
    str | None,
    BeforeValidator(_rule),
    _schema(
        type="string",
        minLength=1,
        maxLength=LONGEST_RULE,
        pattern=r"^[^\u0000-\u001f\u007f]+$",
        description="Only the rule of this name.",
    ),
]
Status = Annotated[
    JobStatus | None,
    BeforeValidator(_status),
    _schema(
        type="string",
        enum=[str(status) for status in JobStatus],
        description="Only jobs in this status.",
    ),
]
Limit = Annotated[
    int,
    BeforeValidator(_number("limit", 1, MOST_LISTED)),
    _schema(type="integer", minimum=1, maximum=MOST_LISTED, description="Jobs in the answer."),
]
Offset = Annotated[
    int,
    BeforeValidator(_number("offset", 0, MOST_OFFSET)),
    _schema(type="integer", minimum=0, maximum=MOST_OFFSET, description="Newer jobs to leave out."),
]


class Query(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=False)


class NoQuery(Query):
    """Takes no parameters."""


class ExecuteQuery(Query):
    context: Context = None
    hash: Hash = None
    dry_run: Truth = False


class ExplainQuery(Query):
    hash: NeededHash
    context: Context = None
    rule: RuleName = None


class ListQuery(Query):
    status: Status = None
    context: Context = None
    limit: Limit = 50
    offset: Offset = 0


Q = TypeVar("Q", bound=Query)


def read_query(kind: type[Q], given: MultiDict[str, str]) -> Q:
    """The parameters of a request.  Raises `BadQuery` with every reason."""
    reasons = []
    values: dict[str, str] = {}
    for name, listed in given.lists():
        if name in KEY_PARAMETERS:
            continue
        if name not in kind.model_fields:
            reasons.append(_unknown(name, kind))
        elif len(listed) > 1:
            reasons.append(f"{name} is given {len(listed)} times")
        else:
            values[name] = listed[0]
    try:
        query = kind.model_validate(values)
    except ValidationError as why:
        reasons += [
            str(error["ctx"]["error"]) if "ctx" in error else f"{error['loc'][0]} is needed"
            for error in why.errors()
        ]
    if reasons:
        raise BadQuery("; ".join(dict.fromkeys(reasons)))
    return query


def _unknown(name: str, kind: type[Query]) -> str:
    known = ", ".join(kind.model_fields) or "none but the key"
    return f"there is no parameter {name[:80]!r} here (there is {known})"


# -- answers

Moment = Annotated[
    str,
    Field(json_schema_extra={"format": "date-time"}, examples=["2025-12-13T10:00:00Z"]),
]
JobId = Annotated[str, Field(examples=["550e8400-e29b-41d4-a716-446655440000"])]


class JobPath(BaseModel):
    job_id: Annotated[str, Field(description="As /api/execute gave it.")]


class Queued(BaseModel):
    """The job, or the equal one that still waited."""

    job_id: JobId
    status: JobStatus
    context: str | None
    hash: str | None
    queued_at: Moment
    dry_run: bool


class JobDetail(BaseModel):
    job_id: JobId
    status: JobStatus
    context: str | None
    hash: str | None
    created_at: Moment
    started_at: Moment | None
    completed_at: Moment | None
    result: dict[str, Any] | None
    error: str | None
    dry_run: bool
    attempts: int
    interruptions: int
    requests: int


class JobSummary(BaseModel):
    job_id: JobId
    status: JobStatus
    context: str | None
    hash: str | None
    created_at: Moment
    started_at: Moment | None
    completed_at: Moment | None
    error: str | None
    dry_run: bool


class JobList(BaseModel):
    """One page, the newest first."""

    total: int
    limit: int
    offset: int
    jobs: list[JobSummary]


class Cancelled(BaseModel):
    job_id: JobId
    status: JobStatus
    message: str


class QueueState(BaseModel):
    backend: str
    pending_jobs: int
    processing_jobs: int


class WorkerState(BaseModel):
    status: str
    last_job_completed: Moment | None


class ClientState(BaseModel):
    connected: bool
    version: str | None


class RulesState(BaseModel):
    loaded: bool
    rules: int | None
    error: str | None


class Health(BaseModel):
    status: Annotated[str, Field(examples=["healthy"])]
    version: str
    queue: QueueState
    worker: WorkerState
    qbittorrent: ClientState
    rules: RulesState
    warnings: list[str]


class Unhealthy(Health):
    errors: list[str]


class JobCounts(BaseModel):
    total: int
    pending: int
    processing: int
    completed: int
    failed: int
    cancelled: int


class Performance(BaseModel):
    average_execution_time: Annotated[str | None, Field(examples=["4.2s"])]
    average_execution_seconds: float | None
    jobs_per_hour: float


class QueueDepth(BaseModel):
    backend: str
    depth: int


class StatsAnswer(BaseModel):
    jobs: JobCounts
    performance: Performance
    queue: QueueDepth
    uptime: Annotated[str, Field(examples=["5d 12h 30m"])]
    uptime_seconds: int


class VersionAnswer(BaseModel):
    version: str
    api_version: str
    qbittorrent_api_version: str
    build_date: str | None
    git_commit: Annotated[str, Field(examples=["unknown"])]


class Reloaded(BaseModel):
    status: Annotated[str, Field(examples=["reloaded"])]
    rules: int
    warnings: list[str]


class ConditionExplained(BaseModel):
    """A part of a condition; `verdict` null is unknown, for the `reason` given."""

    text: Annotated[str, Field(examples=["info.ratio >= 2.0"])]
    place: Annotated[str, Field(examples=["rules.yml:12:7"])]
    verdict: bool | None
    seen: Any
    reason: str
    decided: bool
    parts: list[ConditionExplained]


class RuleExplained(BaseModel):
    """`runs`: it is enabled and a job of that context runs it."""

    rule: str
    place: str
    enabled: bool
    contexts: list[str]
    runs: bool
    condition: ConditionExplained


class ExplainAnswer(BaseModel):
    hash: str
    rules: list[RuleExplained]


class Pong(BaseModel):
    ping: Annotated[str, Field(examples=["pong"])]


class ErrorAnswer(BaseModel):
    """`error` is the kind, `message` the reason; `trace_id` is in the log too."""

    error: str
    message: str | None = None
    trace_id: str


class RulesError(ErrorAnswer):
    errors: list[str]
