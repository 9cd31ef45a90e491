"""Between jobs: relocations that were cut short are brought to their end.

At the start, since the worker before may have been killed in the middle of one, and then now and
then, since what such a run needs may be away: qBittorrent, a disk, the catalog's lock.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from qbt_rules.engine import Engine, JobStopped
from qbt_rules.pulse import Notice
from seedkeep import clock
from seedkeep.errors import Locked, SeedError

EVERY_S = 300.0
STANDBY_S = 10.0  # for a worker without the seat, which may be a dead one's until its lease ends
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 30.0, 300.0

log = logging.getLogger("qbt_rules.relocations")


class Settling:
    """For the thread that runs jobs, which does no job meanwhile."""

    def __init__(self, engine: Engine, notice: Notice) -> None:
        self._engine, self._notice = engine, notice
        self._due_at = float("-inf")  # monotonic
        self._pause_s = _FIRST_PAUSE_S

    def is_due(self) -> bool:
        """Whether there is something to do now; looks into the catalog only now and then."""
        if clock.monotonic() < self._due_at:
            return False
        found = self._look()
        if not found:
            self._notice.tell(())
            self._pause_s = _FIRST_PAUSE_S
            self._due_at = clock.monotonic() + EVERY_S
        return bool(found)

    def is_for_another(self) -> None:
        """This worker has no seat: the one that has does it."""
        self._due_at = clock.monotonic() + STANDBY_S

    def run(self, cancelled: Callable[[], bool]) -> None:
        """Never raises an `Exception`; what is left is tried again later."""
        is_theirs = False
        try:
            self._engine.settle(cancelled)
        except JobStopped:
            return
        except Locked as why:
            is_theirs = True  # it may be alive
            log.info("runs that are open are left alone: %s", " ".join(str(why).split()))
        except SeedError as why:
            log.warning("interrupted runs stay open: %s", " ".join(str(why).split()))
        except Exception:
            log.exception("interrupted runs stay open")
        if not is_theirs:
            self._notice.tell(self._look())
        self._due_at = clock.monotonic() + self._pause_s
        self._pause_s = min(self._pause_s * 2, _LONGEST_PAUSE_S)

    def _look(self) -> tuple[int, ...]:
        try:
            return self._engine.interrupted()
        except SeedError as why:
            log.warning("cannot look for interrupted runs: %s", " ".join(str(why).split()))
        except Exception:
            log.exception("cannot look for interrupted runs")
        return ()
