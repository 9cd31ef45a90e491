"""`qbt-rules --serve`: check what can be checked, then web processes and one worker."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import seedkeep
from qbt_rules.config import open_queue, schedule, server_keys
from qbt_rules.live_settings import LiveSettings
from qbt_rules.pulse import Notice, Pulse
from qbt_rules.service_manager import service_manager
from qbt_rules.supervisor import Child, supervise
from seedkeep import clock, logs
from seedkeep.errors import Misused
from seedkeep.settings import Settings
from seedkeep.settings_qbt_rules import (
    CONFIG_DIR,
    LOG_FILE,
    QUEUE_BACKEND,
    QUEUE_CLEANUP_AFTER,
    QUEUE_COALESCE,
    QUEUE_SQLITE_PATH,
    RULES_FILE,
    SERVER_BASE_URL,
    SERVER_HOST,
    SERVER_PORT,
    SERVER_THREADS,
    SERVER_TRUSTED_PROXIES,
    SERVER_WORKERS,
    SERVER_WRONG_KEYS,
)
from seedkeep.settings_table import (
    LOG_LEVEL,
    QBIT_HOST,
    QBIT_PASSWORD,
    QBIT_TIMEOUT,
    QBIT_USERNAME,
)

if TYPE_CHECKING:
    from flask import Flask

    from qbt_rules.engine import RuleEngine

SHORT_KEY = 16  # characters

log = logging.getLogger("qbt_rules.serve")


def serve(settings: Settings, load: Callable[[], Settings] | None = None) -> int:
    """Run the server until it is told to end.  Raises `Misused` for what cannot work.

    `load` gives the settings as they are by then; on SIGHUP what it gives is taken.
    """
    keys = server_keys(settings)
    schedule(settings)
    _make_folder(settings)
    _check_address(settings)
    _log(settings)
    open_queue(settings).close()  # migrations, and errors for a person, before anything is forked
    if any(len(key) < SHORT_KEY for key in keys):
        log.warning("an API key has less than %d characters and may be guessed", SHORT_KEY)
    log.info(
        "qbt-rules %s: %s queue, qBittorrent at %s, rules in %s",
        seedkeep.__version__,
        settings[QUEUE_BACKEND],
        QBIT_HOST.shown(settings[QBIT_HOST]),
        settings[RULES_FILE],
    )
    live, worker = LiveSettings(settings, load or (lambda: settings)), Pulse()
    return supervise(
        _children(live, worker),
        reload=lambda: _reload(live),
        watcher=service_manager(settings[SERVER_HOST], settings[SERVER_PORT], worker),
    )


def _children(live: LiveSettings, pulse: Pulse) -> list[Child]:
    from qbt_rules.worker import WorkerOptions, worker_child

    started = clock.monotonic()

    def options() -> WorkerOptions:
        return WorkerOptions(retention=live.now[QUEUE_CLEANUP_AFTER], schedule=schedule(live.now))

    return [
        Child(name="web", run=lambda _: _web(live, started, pulse.open_runs), essential=True),
        worker_child(lambda: open_queue(live.now), lambda: make_engine(live.now), options, pulse),
    ]


def _reload(live: LiveSettings) -> bool:
    if not live.reload():
        return False
    _log(live.now)
    return True


def make_engine(settings: Settings) -> RuleEngine:
    from qbt_rules.engine import RuleEngine
    from qbt_rules.seed_data import open_seed_data
    from seedkeep.qbittorrent import QBittorrentClient, connect

    def client() -> QBittorrentClient:
        return connect(
            settings[QBIT_HOST],
            settings[QBIT_USERNAME],
            settings[QBIT_PASSWORD],
            timeout_s=settings[QBIT_TIMEOUT].total_seconds(),
        )

    return RuleEngine(settings[RULES_FILE], client, lambda: open_seed_data(client))


def make_app(settings: Settings, started: float, open_runs: Notice) -> Flask:
    """The application for these settings; `started` on the monotonic clock."""
    from qbt_rules.api_security import Keys, WrongKeys
    from qbt_rules.checks import ClientCheck, RulesCheck, qbittorrent
    from qbt_rules.server import Service, create_app

    return create_app(
        Service(
            queue=open_queue(settings),
            keys=Keys(server_keys(settings)),
            client=ClientCheck(
                lambda: qbittorrent(
                    settings[QBIT_HOST],
                    settings[QBIT_USERNAME],
                    settings[QBIT_PASSWORD],
                    settings[QBIT_TIMEOUT],
                )
            ),
            rules=RulesCheck(settings[RULES_FILE]),
            # A new engine each time: it is for one thread, and this is no daily question.
            explain=lambda *asked: make_engine(settings).explain(*asked),
            coalesce=settings[QUEUE_COALESCE],
            base_url=settings[SERVER_BASE_URL],
            trusted_proxies=settings[SERVER_TRUSTED_PROXIES],
            started=started,
            open_runs=open_runs.read,
            wrong_keys=WrongKeys(settings[SERVER_WRONG_KEYS]),
        )
    )


def _web(live: LiveSettings, started: float, open_runs: Notice) -> int:
    from qbt_rules.web import run_web

    settings = live.now
    return run_web(
        lambda: make_app(live.now, started, open_runs),
        lambda: _reload(live),
        host=settings[SERVER_HOST],
        port=settings[SERVER_PORT],
        workers=settings[SERVER_WORKERS],
        threads=settings[SERVER_THREADS],
    )


def _make_folder(settings: Settings) -> None:
    folders = [settings[CONFIG_DIR]]
    folders += [settings[QUEUE_SQLITE_PATH].parent] if settings[QUEUE_BACKEND] == "sqlite" else []
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as why:
            raise Misused(
                f"cannot make the folder {folder}",
                detail=why.strerror or str(why),
                hint="name one that this user may write to: --config-dir FOLDER",
            ) from why


def _check_address(settings: Settings) -> None:
    """Gunicorn would try again for some seconds and then end without a word for people."""
    host, port = settings[SERVER_HOST], settings[SERVER_PORT]
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as why:
        raise Misused(
            f"cannot listen on {host}, port {port}",
            detail=why.strerror or str(why),
            hint="choose others with --server-host and --server-port",
        ) from why


def _log(settings: Settings) -> None:
    words: dict[str, Any] = {"secrets": settings.secrets(), "file": settings[LOG_FILE]}
    try:
        logs.set_up(settings[LOG_LEVEL], **words)
    except OSError as why:
        log.warning("no log file: %s", why)  # a read-only folder is no reason not to serve
