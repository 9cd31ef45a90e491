"""Wake a worker through Redis, on whatever host it runs."""

from __future__ import annotations

import redis

from seedkeep import clock

CHANNEL = "qbt_rules:queue:bell"


class RedisBell:
    """A `Bell`: a subscription.  What is published while Redis or the network is away is lost."""

    def __init__(self, client: redis.Redis) -> None:
        self._subscription: redis.client.PubSub = client.pubsub(  # type: ignore[no-untyped-call]
            ignore_subscribe_messages=True
        )
        self._subscribed = False

    def wait(self, timeout_s: float) -> bool:
        deadline = clock.monotonic() + timeout_s
        try:
            if not self._subscribed:
                self._subscription.subscribe(CHANNEL)
                self._subscribed = True
                return True  # what came before the subscription made no sound
            while (left := deadline - clock.monotonic()) > 0:
                if self._subscription.get_message(timeout=left) is not None:
                    self._drain()
                    return True
        except redis.RedisError:
            self._subscribed = False
            self._subscription.reset()
            clock.sleep(max(0.0, deadline - clock.monotonic()))
        return False

    def close(self) -> None:
        self._subscription.close()

    def _drain(self) -> None:
        """Many rings are one."""
        while self._subscription.get_message(timeout=0) is not None:
            continue
