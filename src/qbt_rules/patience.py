"""A client that is asked again when it is away for a moment, as over a restart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from seedkeep import clock
from seedkeep.errors import Unreachable
from seedkeep.torrent_client import LoginRefused
from seedkeep.torrent_details import DetailedClient

PATIENCE_S = 60.0  # how long one job waits for the client, all in all
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 8.0


class Stopped(Exception):
    """The job was told to end while it waited."""


class _Patient:
    """Every method of the client, tried until it answers; each of them is safe to repeat."""

    def __init__(
        self, connect: Callable[[], DetailedClient], stopped: Callable[[], bool], patience_s: float
    ) -> None:
        self._connect, self._stopped = connect, stopped
        self._left_s = patience_s
        self._client: DetailedClient | None = None

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            pause = _FIRST_PAUSE_S
            while True:
                try:
                    if self._client is None:
                        self._client = self._connect()
                    return getattr(self._client, name)(*args, **kwargs)
                except LoginRefused:
                    raise
                except Unreachable:
                    self._client = None
                    if self._left_s < pause:
                        raise
                    if self._stopped():
                        raise Stopped from None
                    clock.sleep(pause)
                    self._left_s -= pause
                    pause = min(pause * 2, _LONGEST_PAUSE_S)

        return call


def patient(
    connect: Callable[[], DetailedClient],
    stopped: Callable[[], bool],
    patience_s: float = PATIENCE_S,
) -> DetailedClient:
    """A client that connects when it is first asked.

    Its methods raise `Stopped` when `stopped` says so during a wait, `LoginRefused` at once, and
    `Unreachable` once `patience_s` is used up.
    """
    return cast(DetailedClient, _Patient(connect, stopped, patience_s))
