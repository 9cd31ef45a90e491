"""Wake a waiting process on this machine: datagram sockets in the abstract namespace.

They have no file, so nothing is left behind by a killed process, and no folder has to support them.
They reach only processes in the same network namespace; anybody else notices a job at the next look
(`qbt_rules.worker.LOOK_S`).  A datagram carries nothing: who wakes without reason finds no job.
"""

from __future__ import annotations

import os
import secrets
import select
import socket

_DRAIN = 64


class SocketBell:
    """A `Bell`; `name` is what others pass to `ring`."""

    def __init__(self) -> None:
        self.name = f"qbt-rules-{secrets.token_hex(16)}"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.bind(_address(self.name))

    def wait(self, timeout_s: float) -> bool:
        ready, _, _ = select.select([self._socket], [], [], max(0.0, timeout_s))
        if not ready:
            return False
        for _ in range(_DRAIN):  # many rings are one
            try:
                self._socket.recv(1)
            except BlockingIOError:
                break
        return True

    def close(self) -> None:
        self._socket.close()


class Ringer:
    """Rings bells by name; safe for threads and after a fork."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)

    def ring(self, name: str | None) -> None:
        """A bell that is gone, full or out of reach is no error: its owner looks by itself."""
        if not name:
            return
        try:
            self._socket.sendto(b"!", _address(name))
        except OSError:
            return

    def close(self) -> None:
        self._socket.close()


def _address(name: str) -> bytes:
    return b"\0" + os.fsencode(name)
