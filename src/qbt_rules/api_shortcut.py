"""The request that comes in bursts, answered without the framework around the endpoint.

A hook for each of a thousand torrents asks for a job with the key in a header.  Whatever is not
exactly that, or goes wrong in any way, takes the way through the application, which has the words.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from werkzeug.datastructures import MultiDict

from qbt_rules import api_answers
from qbt_rules.api_models import ExecuteQuery, read_query
from seedkeep.errors import SeedError

if TYPE_CHECKING:
    from qbt_rules.server import Service

FAILED = "qbt_rules.failed"  # in the environ: why the queue did not take the job


class Shortcut:
    """WSGI, between the front and the application."""

    def __init__(self, app: Any, service: Service) -> None:
        self._app = app
        self._service = service

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        body = self._accepted(environ) if _is_plain(environ) else None
        if body is None:
            return self._app(environ, start_response)
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
        start_response("202 ACCEPTED", headers)
        return [body]

    def _accepted(self, environ: dict[str, Any]) -> bytes | None:
        here = self._service
        key = environ["HTTP_X_API_KEY"].encode("latin-1", "replace")
        if here.wrong_keys.wait_s(environ.get("REMOTE_ADDR", "")) or not here.keys.accept([key]):
            return None
        try:
            asked = parse_qsl(environ["QUERY_STRING"], keep_blank_values=True, errors="strict")
            query = read_query(ExecuteQuery, MultiDict(asked))
            job = here.queue.enqueue(
                query.context, query.hash, dry_run=query.dry_run, coalesce=here.coalesce
            )
        except SeedError as why:
            environ[FAILED] = why  # it waited for the queue long enough
            return None
        except Exception:
            return None  # asked again below, where errors become answers
        return json.dumps(api_answers.queued(job), separators=(",", ":")).encode() + b"\n"


def _is_plain(environ: dict[str, Any]) -> bool:
    return (
        environ.get("PATH_INFO") == "/api/execute"
        and environ.get("REQUEST_METHOD") == "POST"
        and environ.get("CONTENT_LENGTH", "") in ("", "0")
        and bool(environ.get("HTTP_X_API_KEY"))
        and environ.get("QUERY_STRING", "").isascii()
    )
