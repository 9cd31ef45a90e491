"""What systemd is told about the service (sd_notify, watchdog); nothing without systemd.

The parent of the server's processes tells it, so `NotifyAccess=main` is enough.  The service is
ready, and alive, only while the web process answers and the worker gives signs of life.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from qbt_rules.ping import ask
from qbt_rules.pulse import Pulse
from seedkeep.settings import environment, take_variable

Check = Callable[[], str]  # what is wrong; "" when nothing is

LOOK_S = 10.0  # between two looks, unless the watchdog wants them more often
FIRST_LOOKS_S = 0.1  # while the service starts
NOT_WELL_S = 1.0
LOOKS_PER_WATCHDOG = 4
ANSWER_S = 2.0  # for an answer of the web process; signals wait meanwhile
OLDEST_PULSE_S = 10.0

log = logging.getLogger("qbt_rules.service")


def notify(address: str, *lines: str) -> None:
    """Send a message like "READY=1" to the socket `address`, as NOTIFY_SOCKET names it.

    Never fails: a service that cannot tell how it is goes on.
    """
    if address[:1] not in ("/", "@"):
        return
    name = f"\0{address[1:]}" if address.startswith("@") else address
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as there:
        there.connect(name)
        there.sendall("\n".join(lines).encode())


def watchdog_s(environ: Mapping[str, str]) -> float | None:
    """How long this process may be silent; None where nobody watches it."""
    usec = environ.get("WATCHDOG_USEC", "")
    if not usec.isdecimal() or not int(usec):
        return None
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(usec) / 1_000_000


@dataclass
class ServiceManager:
    """Looks now and then, and says what it saw; a `seedkeep` server has one in its parent."""

    address: str  # NOTIFY_SOCKET
    watchdog_s: float | None
    checks: Sequence[Check]
    _ready: bool = False
    _wrong: str = ""

    def look(self) -> float:
        """Look and tell.  Returns in how many seconds to look again."""
        wrong = next((text for check in self.checks if (text := check())), "")
        if wrong:
            self._is_wrong(wrong)
            return FIRST_LOOKS_S if not self._ready else min(NOT_WELL_S, self._pause_s())
        lines = [] if self._ready else ["READY=1"]
        if self._wrong or not self._ready:
            lines.append("STATUS=web process and worker are at work")
        if self._wrong and self._ready:
            log.warning("the service is well again")
        if self.watchdog_s is not None:
            lines.append("WATCHDOG=1")
        self._ready, self._wrong = True, ""
        if lines:
            notify(self.address, *lines)
        return self._pause_s()

    def stopping(self) -> None:
        notify(self.address, "STOPPING=1", "STATUS=the job under way may end")

    def _is_wrong(self, wrong: str) -> None:
        if wrong != self._wrong:
            if self._ready:
                log.warning("systemd is not told that the service is alive: %s", wrong)
            notify(self.address, f"STATUS={'' if self._ready else 'starting: '}{wrong}")
        self._wrong = wrong

    def _pause_s(self) -> float:
        return (
            LOOK_S if self.watchdog_s is None else min(LOOK_S, self.watchdog_s / LOOKS_PER_WATCHDOG)
        )


def service_manager(host: str, port: int, worker: Pulse) -> ServiceManager | None:
    """For a server at this address; None when systemd did not ask to be told.

    The variable is taken away: gunicorn would answer it as well, and too early.
    """
    address = take_variable("NOTIFY_SOCKET")
    if not address:
        return None
    allowed = watchdog_s(environment())
    oldest_s = OLDEST_PULSE_S if allowed is None else min(OLDEST_PULSE_S, allowed / 2)
    checks = (lambda: ask(host, port, ANSWER_S), lambda: worker_is_wrong(worker, oldest_s))
    return ServiceManager(address, allowed, checks)


def worker_is_wrong(pulse: Pulse, oldest_s: float) -> str:
    age_s = pulse.age_s()
    if age_s is None:
        return "the worker does not run"
    return "" if age_s <= oldest_s else "the worker gives no sign of life"
