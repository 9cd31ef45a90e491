"""A client that is asked again when it is away for a moment, as over a restart."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Protocol, TypeVar, cast, runtime_checkable

from seedkeep import clock
from seedkeep.errors import Unreachable
from seedkeep.torrent_client import LoginRefused
from seedkeep.torrent_details import MOVED_AT_ONCE, DetailedClient, QueueMove

PATIENCE_S = 60.0  # how long one job waits for the client, all in all
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 8.0

T = TypeVar("T")


class Stopped(Exception):
    """The job was told to end while it waited."""


class _Patient:
    """Every method of the client, tried until it answers.

    Each is safe to repeat but those that have a method of their own here.
    """

    def __init__(
        self, connect: Callable[[], DetailedClient], stopped: Callable[[], bool], patience_s: float
    ) -> None:
        self._connect, self._stopped = connect, stopped
        self._left_s = patience_s
        self._client: DetailedClient | None = None

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            return self._insist(lambda client: getattr(client, name)(*args, **kwargs))

        return call

    def delete(self, ids: Collection[str], *, with_files: bool) -> None:
        """A torrent that is gone after it was asked for is no torrent that was never there."""
        seen: set[str] = set()

        def ask(client: DetailedClient) -> None:
            there = {row["hash"] for row in client.listed(ids)}
            done = seen - there
            seen.update(there)
            client.delete([some for some in ids if some not in done], with_files=with_files)

        self._insist(ask)

    def move_in_queue(self, ids: Collection[str], move: QueueMove) -> None:
        """Asked for again only where the queue shows that nothing happened."""
        wanted = sorted(ids)
        for start in range(0, len(wanted), MOVED_AT_ONCE):
            self._move(wanted[start : start + MOVED_AT_ONCE], move)

    def _move(self, ids: Collection[str], move: QueueMove) -> None:
        before: list[str] = []

        def ask(client: DetailedClient) -> None:
            if not before:
                before.extend(_queue(client))
            else:
                clock.sleep(2 * client.refresh_interval())  # until it would show
                if _moved(ids, before, _queue(client)):
                    return
            client.move_in_queue(ids, move)

        self._insist(ask)

    def _insist(self, ask: Callable[[DetailedClient], T]) -> T:
        pause = _FIRST_PAUSE_S
        while True:
            try:
                if self._client is None:
                    self._client = self._connect()
                return ask(self._client)
            except LoginRefused:
                raise
            except Unreachable:
                self._drop()
                if self._left_s < pause:
                    raise
                if self._stopped():
                    raise Stopped from None
                clock.sleep(pause)
                self._left_s -= pause
                pause = min(pause * 2, _LONGEST_PAUSE_S)

    def _drop(self) -> None:
        """Its connection is good for nothing, and an error that is kept would keep it open."""
        client, self._client = self._client, None
        if isinstance(client, _Closable):
            client.close()


@runtime_checkable
class _Closable(Protocol):
    def close(self) -> None: ...


def _queue(client: DetailedClient) -> list[str]:
    """What the client queues, first to last."""
    places = [(row.get("priority"), row["hash"]) for row in client.listed()]
    return [name for _, name in sorted((at, name) for at, name in places if _is_place(at))]


def _is_place(found: object) -> bool:
    return isinstance(found, int) and found > 0


def _moved(ids: Collection[str], before: list[str], after: list[str]) -> bool:
    """Has one of them another place among those that are in both?  Others come and go."""
    both = set(before) & set(after)
    old, new = ([some for some in queue if some in both] for queue in (before, after))
    return any(was != now and (was in ids or now in ids) for was, now in zip(old, new, strict=True))


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
