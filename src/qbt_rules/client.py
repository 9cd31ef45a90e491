"""The other side of the HTTP API: asks a server, and turns its answers into errors for a person."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

import requests

from qbt_rules.model import JobStatus
from qbt_rules.queue_manager import NoSuchJob
from seedkeep import clock
from seedkeep.errors import Misused, Partial, Refused, SeedError, Unreachable

FIRST_LOOK_S, SLOWEST_LOOK_S = 0.1, 2.0
AWAY_S = 60.0  # how long `wait` bears a server that is being restarted

Answer = dict[str, Any]


class ServerUnreachable(Unreachable):
    """The server did not answer, or did not let us in."""

    code = "server-unreachable"


class ServerRefused(Refused):
    """The server understood and said no; nothing was changed."""

    code = "server-refused"


class BadRequest(Misused):
    """The server cannot do anything with what it was asked."""

    code = "bad-request"


class ServerFailed(SeedError):
    """The server has a bug or lost its storage; its log has the trace id."""

    code = "server-failed"


class JobFailed(SeedError):
    """The job that was waited for has failed, or somebody has cancelled it."""

    code = "job-failed"


class JobGoesOn(Partial):
    """The time to wait is over, and the job is not."""

    code = "job-goes-on"


class ServerClient:
    """One server.  Every method may raise `ServerUnreachable`, `BadRequest`, `ServerFailed`."""

    def __init__(self, url: str, key: str, *, timeout_s: float = 10.0) -> None:
        self.url = url
        self._timeout_s = timeout_s
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy and no ~/.netrc for a server of one's own
        self._session.headers["X-API-Key"] = key.encode().decode("latin-1")

    def execute(self, context: str | None, torrent_hash: str | None, dry_run: bool) -> Answer:
        query = {"context": context, "hash": torrent_hash, "dry_run": "true" if dry_run else None}
        return self._ask("POST", "/api/execute", query)

    def job(self, job_id: str) -> Answer:
        """Raises `NoSuchJob`."""
        return self._ask("GET", f"/api/jobs/{quote(job_id, safe='')}")

    def jobs(self, **filters: Any) -> Answer:
        """`status`, `context`, `limit`, `offset`."""
        return self._ask("GET", "/api/jobs", filters)

    def cancel(self, job_id: str) -> Answer:
        """Raises `NoSuchJob`, and `ServerRefused` when the job does not wait any more."""
        return self._ask("DELETE", f"/api/jobs/{quote(job_id, safe='')}")

    def stats(self) -> Answer:
        return self._ask("GET", "/api/stats")

    def health(self) -> Answer:
        """Also what an unhealthy server says."""
        return self._ask("GET", "/api/health", fine=(200, 503))

    def reload(self) -> Answer:
        """Raises `ServerRefused` when the rules have mistakes."""
        return self._ask("POST", "/api/reload")

    def wait(
        self,
        job_id: str,
        *,
        timeout_s: float | None = None,
        seen: Callable[[Answer], None] = lambda _: None,
    ) -> Answer:
        """The job once it is over; `seen` is told of each answer.  Raises `JobGoesOn`."""
        begun, pause, away_since = clock.monotonic(), FIRST_LOOK_S, None
        while True:
            try:
                job = self.job(job_id)
                away_since = None
                seen(job)
                if JobStatus(job["status"]).is_final:
                    return job
            except ServerUnreachable:
                away_since = away_since or clock.monotonic()
                if clock.monotonic() - away_since > AWAY_S:
                    raise
            if timeout_s is not None and clock.monotonic() - begun >= timeout_s:
                raise JobGoesOn(
                    f"job {job_id} is not over yet", hint=f"qbt-rules jobs show {job_id}"
                )
            clock.sleep(pause)
            pause = min(pause * 1.5, SLOWEST_LOOK_S)

    def _ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] | None = None,
        fine: tuple[int, ...] = (200, 202),
    ) -> Answer:
        try:
            response = self._session.request(
                method,
                self.url + path,
                params={name: value for name, value in (query or {}).items() if value is not None},
                timeout=self._timeout_s,
                allow_redirects=False,
            )
        except requests.RequestException as why:
            raise ServerUnreachable(
                f"the server at {self.url} does not answer",
                detail=_deepest(why),
                hint="is it running (qbt-rules --serve), and is client.server_url right?",
            ) from why
        body = _body(response)
        if response.status_code in fine and body is not None:
            return body
        raise self._error(response.status_code, body or {}, path)

    def _error(self, status: int, body: Answer, path: str) -> SeedError:
        said = str(body.get("message") or body.get("error") or f"HTTP {status}")
        trace = str(body.get("trace_id", ""))
        detail = f"trace id {trace}" if trace else f"HTTP {status} from {self.url}{path}"
        if not trace:
            return ServerUnreachable(
                f"what answers at {self.url} is not a qbt-rules server",
                detail=detail,
                hint="is client.server_url right?",
            )
        if status == 401:
            return ServerUnreachable(
                f"the server at {self.url} does not accept the API key",
                detail=detail,
                hint="client.api_key must be one of the server's server.api_key",
            )
        if status == 422:
            return ServerRefused(said, detail="\n".join(map(str, body.get("errors", []))))
        if status == 400 and "message" not in body:  # the requirement's form for a cancelled job
            return ServerRefused(said, detail=detail)
        kind, hint = _KINDS.get(status, _KINDS[400] if status < 500 else _KINDS[500])
        return kind(said, detail=detail, hint=hint)


_KINDS: dict[int, tuple[type[SeedError], str]] = {
    400: (BadRequest, ""),
    404: (NoSuchJob, "qbt-rules jobs list"),
    429: (ServerUnreachable, "try again later"),
    500: (ServerFailed, "the server's log has more under this id"),
    503: (ServerUnreachable, "try again later"),
}


def _body(response: requests.Response) -> Answer | None:
    try:
        body = response.json()
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


def _deepest(why: BaseException) -> str:
    """The cause of a cause: "Connection refused", without what each layer wraps around it."""
    while (inner := why.__cause__ or why.__context__) is not None:
        why = inner
    return str(getattr(why, "strerror", None) or why)


def failed(job: Answer) -> JobFailed | None:
    """The error that a job's end is, if it is one."""
    if job["status"] == JobStatus.FAILED.value:
        return JobFailed(f"job {job['job_id']} failed", detail=str(job["error"] or ""))
    if job["status"] == JobStatus.CANCELLED.value:
        return JobFailed(f"job {job['job_id']} was cancelled")
    return None
