"""Gunicorn's messages and the access log in our logging: without query strings."""

from __future__ import annotations

import logging
import sys
from datetime import timedelta
from typing import Any

from gunicorn.glogging import Logger

from seedkeep.text import printable

QUIET = ("/ping", "/api/health")  # asked every few seconds by those that watch


class WebLog(Logger):  # type: ignore[misc]
    """Gunicorn asks for such a class; everything goes to `seedkeep.logs`."""

    def setup(self, cfg: Any) -> None:  # noqa: ARG002  gunicorn's own handlers are not wanted
        self.error_log = logging.getLogger("qbt_rules.web")
        self.access_log = logging.getLogger("qbt_rules.access")

    def exception(self, msg: str, *args: Any, **kwargs: Any) -> None:
        # A client that does not read its answer is nothing to worry about.
        if isinstance(sys.exc_info()[1], (BlockingIOError, ConnectionError, TimeoutError)):
            self.error_log.debug(msg, *args)
            return
        self.error_log.exception(msg, *args, **kwargs)

    def access(self, resp: Any, req: Any, environ: Any, request_time: timedelta) -> None:  # noqa: ARG002
        path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
        status = str(getattr(resp, "status", "")).split(" ", 1)[0]
        quiet = path in QUIET and status == "200"
        self.access_log.log(
            logging.DEBUG if quiet else logging.INFO,
            "%s %s %s %s %.1f ms",
            environ.get("REMOTE_ADDR", "-"),
            printable(str(environ.get("REQUEST_METHOD", "-"))),
            printable(path[:200]),
            status,
            request_time.total_seconds() * 1000,
        )

    def info(self, msg: str, *args: Any, **kwargs: Any) -> None:
        self.error_log.debug(msg, *args, **kwargs)  # "Booting worker with pid": of no use to users

    def reopen_files(self) -> None:
        """The file's handler notices by itself."""

    def close_on_exec(self) -> None:
        """Python's files are not inherited."""
