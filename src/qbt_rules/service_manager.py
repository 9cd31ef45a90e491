"""Tell systemd how the service is (sd_notify); nothing happens without systemd."""

from __future__ import annotations

import contextlib
import socket

from seedkeep.settings import environment


def notify(state: str) -> None:
    """Send "READY=1" or "STOPPING=1" to where NOTIFY_SOCKET says.  Never fails."""
    address = environment().get("NOTIFY_SOCKET", "")
    if address[:1] not in ("/", "@"):
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as there:
        there.connect(address.replace("@", "\0", 1) if address.startswith("@") else address)
        there.sendall(state.encode())
