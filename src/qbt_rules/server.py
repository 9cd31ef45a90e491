"""The HTTP API as a WSGI application.

It knows the queue and what `Service` gives it, and starts nothing: `web` runs it under gunicorn.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from flask import Response, current_app, request
from flask_openapi3.models.info import Info
from flask_openapi3.openapi import OpenAPI
from werkzeug.exceptions import HTTPException

import seedkeep
from qbt_rules.api_models import BadQuery, ErrorAnswer
from qbt_rules.api_security import Front, Keys, WrongKeys, offered_keys
from qbt_rules.api_shortcut import Shortcut
from qbt_rules.checks import ClientCheck, RulesCheck
from qbt_rules.queue_manager import NoSuchJob, QueueManager, QueueUnreachable, WrongStatus
from seedkeep import clock
from seedkeep.errors import Locked, SeedError
from seedkeep.sqlite import DatabaseError
from seedkeep.text import printable

if TYPE_CHECKING:
    from qbt_rules.engine import ExplainedRule

LARGEST_BODY = 64 * 1024  # bytes; nothing in a body is looked at
WITHOUT_KEY = ("/ping", "/api/health", "/api/version", "/api/openapi.json")
SECURITY: list[dict[str, list[Any]]] = [
    {"header": []},
    {"bearer": []},
    {"query": []},
    {"short_query": []},
]
_SCHEMES: dict[str, Any] = {
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    "bearer": {"type": "http", "scheme": "bearer"},
    "query": {"type": "apiKey", "in": "query", "name": "key"},
    "short_query": {"type": "apiKey", "in": "query", "name": "apikey"},
}
NAME = "qbt_rules"

log = logging.getLogger("qbt_rules.server")


# (torrent, context, rule) → why each rule, or the one of that name, would or would not act on it.
Explain = Callable[[str, str | None, str | None], "Sequence[ExplainedRule]"]


@dataclass(frozen=True, kw_only=True)
class Service:
    """What the handlers work with; one in each web process."""

    queue: QueueManager
    keys: Keys
    client: ClientCheck
    rules: RulesCheck
    explain: Explain  # may raise `SeedError`
    open_runs: Callable[[], tuple[int, ...]] = tuple  # relocations that were cut short
    coalesce: bool = True
    base_url: str = ""
    trusted_proxies: tuple[str, ...] = ()
    started: float = field(default_factory=clock.monotonic)  # of the server, not of this process
    wrong_keys: WrongKeys = field(default_factory=WrongKeys)

    @property
    def uptime_s(self) -> float:
        return clock.monotonic() - self.started


def create_app(service: Service) -> OpenAPI:
    from qbt_rules.api_routes import api

    app = OpenAPI(
        NAME,
        info=Info(title="qbt-rules", version=seedkeep.__version__, description=_DESCRIPTION),
        security_schemes=_SCHEMES,
        validation_error_status=400,
        validation_error_model=ErrorAnswer,
        doc_ui=False,
    )
    app.config["MAX_CONTENT_LENGTH"] = LARGEST_BODY
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.json.compact = True  # type: ignore[attr-defined]
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False
    app.extensions[NAME] = service
    app.before_request(_admit)
    for kind, handler in _HANDLERS.items():
        app.register_error_handler(kind, handler)
    app.register_api(api)
    inner = Shortcut(app.wsgi_app, service)
    app.wsgi_app = Front(inner, service.trusted_proxies, service.base_url)  # type: ignore[method-assign]
    return app


_DESCRIPTION = (
    "Jobs that run the rules, one at a time. Every error has a `trace_id`, which the log has too."
)


def service() -> Service:
    return cast(Service, current_app.extensions[NAME])


def _admit() -> Response | None:
    """Before anything else about the request is looked at: is the caller allowed to ask?"""
    if (request.content_length or 0) > LARGEST_BODY:
        return failure(413, "Content Too Large", f"a body may have {LARGEST_BODY} bytes")
    if request.path in WITHOUT_KEY or request.method == "OPTIONS":
        return None
    here, address = service(), request.remote_addr or ""
    if wait := here.wrong_keys.wait_s(address):
        answer = failure(
            429, "Too Many Requests", f"too many wrong API keys from {address}; wait {wait} s"
        )
        answer.headers["Retry-After"] = str(wait)
        return answer
    offered = offered_keys(request)
    if here.keys.accept(offered):
        return None
    if offered:
        here.wrong_keys.count(address)
        log.warning("wrong API key from %s", address)
    answer = failure(401, "Unauthorized", "Invalid or missing API key")
    answer.headers["WWW-Authenticate"] = 'Bearer realm="qbt-rules"'
    return answer


def failure(status: int, error: str, message: str | None = None, **more: Any) -> Response:
    """An error as the API writes it; the trace id is in the log with the reason."""
    trace_id = secrets.token_hex(8)
    level = logging.ERROR if status >= 500 and status != 503 else logging.INFO
    log.log(
        level,
        "%s %s: %d %s (trace %s)",
        request.method,
        printable(request.path[:200]),
        status,
        printable(message or error),
        trace_id,
        exc_info=status == 500,
    )
    body = {"error": error} | ({"message": message} if message is not None else {})
    return json_response(body | more | {"trace_id": trace_id}, status)


def json_response(body: dict[str, Any], status: int = 200) -> Response:
    response = cast(Response, current_app.json.response(body))
    response.status_code = status
    return response


def _bad_query(why: BadQuery) -> Response:
    return failure(400, "Bad Request", str(why))


def _no_such_job(_: NoSuchJob) -> Response:
    job_id = (request.view_args or {}).get("job_id", "")
    return failure(404, "Not Found", f"Job not found: {printable(str(job_id)[:100])}")


def _wrong_status(why: WrongStatus) -> Response:
    return failure(400, f"Cannot cancel job in status: {why.status}")


def _storage_away(why: SeedError) -> Response:
    log.warning("the queue is out of reach: %s", " ".join(str(why).split()))
    response = failure(503, "Service Unavailable", f"the queue is out of reach: {why.brief}")
    response.headers["Retry-After"] = "5"
    return response


def _http(why: HTTPException) -> Response:
    if why.response is not None:
        return cast(Response, why.response)
    response = failure(why.code or 500, why.name, _reason(why))
    for name, value in why.get_headers():
        if name.lower() == "allow":
            response.headers[name] = value
    return response


def _reason(why: HTTPException) -> str:
    if why.code == 404:
        return f"there is no {printable(request.path[:200])}"
    if why.code == 405:
        return f"{request.method} is not possible here"
    return why.description or why.name


def _unexpected(_: Exception) -> Response:
    return failure(500, "Internal Server Error", "An unexpected error occurred")


_HANDLERS: dict[type[Exception], Callable[[Any], Response]] = {
    BadQuery: _bad_query,
    NoSuchJob: _no_such_job,
    WrongStatus: _wrong_status,
    QueueUnreachable: _storage_away,
    Locked: _storage_away,
    DatabaseError: _storage_away,
    HTTPException: _http,
    Exception: _unexpected,
}
