"""The settings in force, and on SIGHUP the ones that files say by now."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from qbt_rules.config import schedule, server_keys
from seedkeep.errors import SeedError
from seedkeep.settings import Setting, Settings
from seedkeep.settings_qbt_rules import (
    CONFIG_DIR,
    LOG_FILE,
    QUEUE_BACKEND,
    QUEUE_REDIS_URL,
    QUEUE_SQLITE_PATH,
    SERVER_HOST,
    SERVER_PORT,
    SERVER_THREADS,
    SERVER_WORKERS,
)

# What processes, sockets and the queue were opened with.
FIXED: tuple[Setting[Any], ...] = (
    CONFIG_DIR,
    SERVER_HOST,
    SERVER_PORT,
    SERVER_WORKERS,
    SERVER_THREADS,
    QUEUE_BACKEND,
    QUEUE_SQLITE_PATH,
    QUEUE_REDIS_URL,
    LOG_FILE,
)

log = logging.getLogger("qbt_rules.settings")


class LiveSettings:
    """One in each process of the server."""

    def __init__(self, settings: Settings, load: Callable[[], Settings]) -> None:
        """`load` reads flags, environment and files again."""
        self.now = settings
        self._load = load

    def reload(self) -> bool:
        """Take what the files say by now, as a whole or, when something is wrong, not at all."""
        try:
            fresh = self._load()
            server_keys(fresh)
            schedule(fresh)
        except (OSError, SeedError) as why:  # a folder that is closed to us, for one
            log.error("the settings stay as they are: %s", "; ".join(str(why).splitlines()))
            return False
        moved = [row.key for row in FIXED if fresh[row] != self.now[row]]
        if moved:
            log.error("the settings stay as they are: %s needs a restart", " and ".join(moved))
            return False
        self.now = fresh
        log.info("settings were read again")
        return True
