"""The settings that only qbt-rules has; the names are the ones its users know from 0.4."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from seedkeep.setting_types import (
    base_path,
    duration,
    file_path,
    items,
    networks,
    one_of,
    optional_file,
    positive,
    redis_url,
    secret,
    secrets,
    show_items,
    show_networks,
    show_truth,
    show_url,
    text,
    truth,
    url,
    whole_number,
)
from seedkeep.settings import CONFIG_DIR_KEY, Setting
from seedkeep.units import format_duration

QBT_RULES = "qbt-rules"
_HERE = frozenset({QBT_RULES})

CONFIG_DIR = Setting(
    key=CONFIG_DIR_KEY,
    env=("QBT_RULES_CONFIG_DIR",),
    flags=("--config-dir",),
    parse=file_path,
    default=Path("/config"),
    metavar="FOLDER",
    help="Folder of config.yml, the rules, the queue and the log.",
    programs=_HERE,
)
SERVER_HOST = Setting(
    key="server.host",
    env=("QBT_RULES_SERVER_HOST",),
    flags=("--server-host",),
    parse=text,
    default="0.0.0.0",
    metavar="ADDRESS",
    help="Address that the server listens on.",
    programs=_HERE,
)
SERVER_PORT = Setting(
    key="server.port",
    env=("QBT_RULES_SERVER_PORT",),
    flags=("--server-port",),
    parse=whole_number(1, 65_535),
    default=5000,
    metavar="PORT",
    help="Port that the server listens on.",
    programs=_HERE,
)
SERVER_API_KEY: Setting[tuple[str, ...]] = Setting(
    key="server.api_key",
    env=("QBT_RULES_SERVER_API_KEY",),
    flags=("--server-api-key",),
    parse=secrets,
    default=(),
    metavar="KEY",
    help="Key that callers must know; a list, or one in each line, makes several valid.",
    programs=_HERE,
    secret=True,
)
SERVER_WORKERS = Setting(
    key="server.workers",
    env=("QBT_RULES_SERVER_WORKERS",),
    flags=("--server-workers",),
    parse=whole_number(1, 64),
    default=1,
    metavar="NUMBER",
    help="Web processes; rules always run one job at a time.",
    programs=_HERE,
)
SERVER_THREADS = Setting(
    key="server.threads",
    env=("QBT_RULES_SERVER_THREADS",),
    flags=("--server-threads",),
    parse=whole_number(1, 256),
    default=16,
    metavar="NUMBER",
    help="Requests that change something, and as many that read, at a time in one web process.",
    programs=_HERE,
)
SERVER_WRONG_KEYS = Setting(
    key="server.wrong_keys",
    env=("QBT_RULES_SERVER_WRONG_KEYS",),
    flags=("--server-wrong-keys",),
    parse=whole_number(1, 1_000_000),
    default=10,
    metavar="NUMBER",
    help="Wrong API keys from one address in a minute, after which it has to wait.",
    programs=_HERE,
)
SERVER_BASE_URL = Setting(
    key="server.base_url",
    env=("QBT_RULES_SERVER_BASE_URL",),
    flags=("--server-base-url",),
    parse=base_path,
    default="",
    metavar="PATH",
    help="Path in front of every address, like /qbt-rules, for a proxy that does not remove it.",
    programs=_HERE,
)
SERVER_TRUSTED_PROXIES: Setting[tuple[str, ...]] = Setting(
    key="server.trusted_proxies",
    env=("QBT_RULES_SERVER_TRUSTED_PROXIES",),
    flags=("--server-trusted-proxy",),
    parse=networks,
    default=(),
    metavar="NETWORK",
    help="Addresses or networks of proxies whose X-Forwarded-* headers are believed.",
    programs=_HERE,
    multiple=True,
    show=show_networks,
)
QUEUE_BACKEND = Setting(
    key="queue.backend",
    env=("QBT_RULES_QUEUE_BACKEND",),
    flags=("--queue-backend",),
    parse=one_of("sqlite", "redis"),
    default="sqlite",
    metavar="NAME",
    help="Where jobs are kept: sqlite or redis.",
    programs=_HERE,
)
QUEUE_SQLITE_PATH = Setting(
    key="queue.sqlite_path",
    env=("QBT_RULES_QUEUE_SQLITE_PATH",),
    flags=("--queue-sqlite-path",),
    parse=file_path,
    default=Path("/config/qbt-rules.db"),
    metavar="FILE",
    help="Database of the queue.",
    programs=_HERE,
    in_config_dir=True,
)
QUEUE_REDIS_URL = Setting(
    key="queue.redis_url",
    env=("QBT_RULES_QUEUE_REDIS_URL",),
    flags=("--queue-redis-url",),
    parse=redis_url,
    default="",
    metavar="URL",
    help="Redis of the queue, like redis://localhost:6379/0.",
    programs=_HERE,
    show=show_url,
)
QUEUE_CLEANUP_AFTER = Setting(
    key="queue.cleanup_after",
    env=("QBT_RULES_QUEUE_CLEANUP_AFTER",),
    flags=("--queue-cleanup-after",),
    parse=positive(duration),
    default=timedelta(days=7),
    metavar="DURATION",
    help="How long a job that has ended is kept.",
    programs=_HERE,
    show=format_duration,
)
QUEUE_COALESCE = Setting(
    key="queue.coalesce",
    env=("QBT_RULES_QUEUE_COALESCE",),
    flags=("--queue-coalesce",),
    parse=truth,
    default=True,
    metavar="BOOLEAN",
    help="Whether equal jobs that still wait become one.",
    programs=_HERE,
    show=show_truth,
)
SCHEDULE: Setting[tuple[Any, ...]] = Setting(
    key="schedule",
    parse=items,
    default=(),
    help="Jobs that start by themselves; only in the config file.",
    programs=_HERE,
    show=show_items,
)
CLIENT_SERVER_URL = Setting(
    key="client.server_url",
    env=("QBT_RULES_CLIENT_SERVER_URL",),
    flags=("--client-server-url",),
    parse=url,
    default="http://localhost:5000",
    metavar="URL",
    help="Address of the server that the client talks to.",
    programs=_HERE,
    show=show_url,
)
CLIENT_API_KEY = Setting(
    key="client.api_key",
    env=("QBT_RULES_CLIENT_API_KEY",),
    flags=("--client-api-key",),
    parse=secret,
    default="",
    metavar="KEY",
    help="Key for the server; the first of server.api_key when it is not set.",
    programs=_HERE,
    secret=True,
)
CLIENT_TIMEOUT = Setting(
    key="client.timeout",
    env=("QBT_RULES_CLIENT_TIMEOUT",),
    flags=("--client-timeout",),
    parse=positive(duration),
    default=timedelta(seconds=10),
    metavar="DURATION",
    help="How long the client waits for one answer of the server.",
    programs=_HERE,
    show=format_duration,
)
RULES_FILE = Setting(
    key="rules.file",
    env=("QBT_RULES_RULES_FILE",),
    flags=("--rules-file",),
    parse=file_path,
    default=Path("/config/rules.yml"),
    metavar="FILE",
    help="The rules.",
    programs=_HERE,
    in_config_dir=True,
)
LOG_FILE: Setting[Path | None] = Setting(
    key="logging.file",
    env=("QBT_RULES_LOG_FILE",),
    flags=("--log-file",),
    parse=optional_file,
    default=Path("/config/qbt-rules.log"),
    metavar="FILE",
    help="Where the server also writes its log; none for the terminal only.",
    programs=_HERE,
    in_config_dir=True,
)

QBT_RULES_SETTINGS: tuple[Setting[Any], ...] = (
    CONFIG_DIR,
    SERVER_HOST,
    SERVER_PORT,
    SERVER_API_KEY,
    SERVER_WORKERS,
    SERVER_THREADS,
    SERVER_WRONG_KEYS,
    SERVER_BASE_URL,
    SERVER_TRUSTED_PROXIES,
    QUEUE_BACKEND,
    QUEUE_SQLITE_PATH,
    QUEUE_REDIS_URL,
    QUEUE_CLEANUP_AFTER,
    QUEUE_COALESCE,
    CLIENT_SERVER_URL,
    CLIENT_API_KEY,
    CLIENT_TIMEOUT,
    RULES_FILE,
    LOG_FILE,
    SCHEDULE,
)
