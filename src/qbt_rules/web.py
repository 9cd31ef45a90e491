"""Gunicorn around the application, in a process of its own below the supervisor."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable
from typing import Any

from gunicorn.app.base import BaseApplication

from qbt_rules.web_log import WebLog
from qbt_rules.web_worker import PatientWorker
from seedkeep.errors import SeedError

STOP_S = 20  # for requests under way; the supervisor ends everything at 27
KEEP_ALIVE_S = 30

log = logging.getLogger("qbt_rules.web")


class Web(BaseApplication):  # type: ignore[misc]
    """Settings come from us; no file, variable or command line of gunicorn's is looked at."""

    def __init__(
        self, make_app: Callable[[], Any], reload: Callable[[], bool], options: dict[str, Any]
    ) -> None:
        self._make_app = make_app
        self._reload = reload
        self._options = options
        super().__init__(prog="qbt-rules")

    def load_config(self) -> None:
        for name, value in self._options.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        return self._make_app()

    def reload(self) -> None:
        """SIGHUP: new web processes, with the settings of by then if they can be used."""
        if self._reload():
            try:
                self.callable = self._make_app()
            except (OSError, SeedError) as why:
                log.error("the application stays as it is: %s", "; ".join(str(why).splitlines()))
        super().reload()


def run_web(
    make_app: Callable[[], Any],
    reload: Callable[[], bool],
    *,
    host: str,
    port: int,
    workers: int,
    threads: int,
) -> int:
    """Serve until SIGTERM.  Never returns: gunicorn leaves by SystemExit.

    On SIGHUP `reload` is called, and `make_app` again if it says that there is something new.
    """
    shown = f"[{host}]" if ":" in host else host
    address = f"{shown}:{port}"
    Web(
        make_app,
        reload,
        {
            "bind": address,
            "workers": workers,
            "threads": threads,
            "worker_class": PatientWorker,
            "logger_class": WebLog,
            "preload_app": True,  # the processes share what it imports
            "timeout": 60,
            "graceful_timeout": STOP_S,
            "keepalive": KEEP_ALIVE_S,
            "worker_connections": 1000,
            "backlog": 1024,
            "limit_request_line": 4094,
            "limit_request_fields": 64,
            "limit_request_field_size": 8190,
            "control_socket_disable": True,
            # The application decides about proxies; gunicorn would believe 127.0.0.1 by itself.
            "forwarded_allow_ips": "",
            "secure_scheme_headers": {},
            "forwarder_headers": "",
            "proc_name": "qbt-rules",
            "when_ready": lambda _: _ready(address),
        },
    ).run()
    return 0


def _ready(address: str) -> None:
    """Gunicorn has its handlers now, and no web process was forked that would inherit the mask."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})  # the supervisor blocked it
    log.info("listening on http://%s", address)
