"""The settings of qbt-rules as its parts need them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qbt_rules.queue_manager import QueueManager, create_queue
from seedkeep.errors import Misused
from seedkeep.settings import Settings, load
from seedkeep.settings_qbt_rules import (
    CLIENT_API_KEY,
    QBT_RULES,
    QUEUE_BACKEND,
    QUEUE_REDIS_URL,
    QUEUE_SQLITE_PATH,
    SCHEDULE,
    SERVER_API_KEY,
)
from seedkeep.settings_table import SETTINGS

# The environment variable of each setting, by its place in the config file.
ENV_VARS = {row.key: row.env[0] for row in SETTINGS if QBT_RULES in row.programs and row.env}


class NoApiKey(Misused):
    """The server does not start, and the client does not ask, without an API key."""

    code = "no-api-key"


def load_settings(flags: Mapping[str, Any] | None = None) -> Settings:
    """Raises what `seedkeep.settings.load` raises."""
    return load(QBT_RULES, flags or {})


def server_keys(settings: Settings) -> tuple[str, ...]:
    """Raises `NoApiKey`."""
    keys = settings.get(SERVER_API_KEY)
    if not keys:
        raise NoApiKey(
            "the server needs an API key",
            hint="put the output of `openssl rand -hex 32` into a file and name it in"
            " QBT_RULES_SERVER_API_KEY_FILE, or set QBT_RULES_SERVER_API_KEY",
        )
    return keys


def client_key(settings: Settings) -> str:
    """Raises `NoApiKey`."""
    keys = settings.get(SERVER_API_KEY)
    key = settings[CLIENT_API_KEY] or next(iter(keys), "")
    if not key:
        raise NoApiKey(
            "the server wants an API key, and none is set",
            hint="set QBT_RULES_CLIENT_API_KEY, or QBT_RULES_CLIENT_API_KEY_FILE to the name of a"
            " file with it",
        )
    return key


def open_queue(settings: Settings) -> QueueManager:
    """Raises `Misused`, and what the storage raises when it cannot be opened."""
    if settings[QUEUE_BACKEND] == "redis":
        if not settings[QUEUE_REDIS_URL]:
            raise Misused(
                "queue.backend is redis, and queue.redis_url is not set",
                hint="for example QBT_RULES_QUEUE_REDIS_URL=redis://localhost:6379/0",
            )
        return create_queue("redis", url=settings[QUEUE_REDIS_URL])
    return create_queue("sqlite", path=settings[QUEUE_SQLITE_PATH])


def schedule(settings: Settings) -> tuple[Any, ...]:
    """Entries of the scheduler.  Raises `Misused`."""
    from qbt_rules.scheduler import parse_schedule

    raw = settings.get(SCHEDULE)
    try:
        return parse_schedule(list(raw))
    except ValueError as why:
        raise Misused(f"schedule: {why}", detail=f"read from {settings.origin(SCHEDULE)}") from why
