"""A client that was just started: whether it shows all torrents that it has.

From 4.5 on qBittorrent answers when all are there (source; measured with thousands).  Before that
it answers at once, and they come in one by one: what is not shown yet looks as if it were removed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from seedkeep.errors import Unreachable
from seedkeep.torrent_client import ClientVersion

LOADED_WHEN_IT_ANSWERS = (2, 8, 11)  # 4.5
STEADY_S = 5.0  # for so long none has come in: then all have
LONGEST_S = 1800.0
POLL_S = 0.5

log = logging.getLogger(__name__)


class LoadingClient:
    """Needs `_api`, `_host`, `_read` and `version` of the class that it is a part of."""

    _api: Any
    _host: str
    _read: Callable[..., Any]
    version: Callable[[], ClientVersion]
    _loaded: int = -1  # torrents when they were all there

    def _was_loading(self) -> bool:
        """Wait until all torrents are there; whether something read before that may lack some.

        Raises:
            Unreachable: They still come in after half an hour.
        """
        if self.version().api >= LOADED_WHEN_IT_ANSWERS:
            return False
        shown = self._count()
        if 0 <= self._loaded <= shown:
            self._loaded = shown
            return False
        since = began = time.monotonic()
        said = False
        while time.monotonic() - since < STEADY_S:
            if time.monotonic() - began > LONGEST_S:
                raise Unreachable(
                    f"qBittorrent at {self._host} is still loading its torrents",
                    detail=f"it shows {shown} by now",
                    hint="wait until it is done, or update it: 4.5 answers when it is",
                )
            time.sleep(min(POLL_S, STEADY_S / 4))
            now = self._count()
            if now != shown:
                shown, since = now, time.monotonic()
                if not said:
                    said = True
                    log.warning(
                        "qBittorrent at %s is still loading its torrents; waiting for all of them",
                        self._host,
                    )
        self._loaded = shown
        return True

    def _count(self) -> int:
        return len(self._read(self._api.torrents_info))
