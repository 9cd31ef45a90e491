"""An observer of a client: every state of every torrent, from a process of its own.

It asks for all torrents every 50 ms, so a state that the client shows for that long is seen,
whatever the test is doing meanwhile.  Times are CLOCK_MONOTONIC, the same in all processes.
"""

from __future__ import annotations

import json
import select
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

POLL_S = 0.05
SEEDING = frozenset({"uploading", "stalledUP", "forcedUP"})
DREADED = frozenset(  # a check or a download: what a relocation must never cause
    {
        "checkingUP",
        "checkingDL",
        "checkingResumeData",
        "downloading",
        "stalledDL",
        "queuedDL",
        "forcedDL",
        "metaDL",
        "forcedMetaDL",
        "missingFiles",
        "error",
    }
)


@dataclass(frozen=True)
class Sight:
    """One torrent from `at` on, until its next sight."""

    at: float  # seconds, monotonic
    torrent_id: str
    state: str  # as this version spells it; "gone" when it is not listed any more
    progress: float
    save_path: str


@dataclass(frozen=True)
class Observation:
    """What was seen between start and stop."""

    sights: tuple[Sight, ...]  # in order of time; only changes
    ended: float  # seconds, monotonic
    longest_gap_s: float  # between two answers: what was shorter may have gone unseen
    unanswered: int  # questions that the client did not answer

    def of(self, ids: Iterable[str]) -> Observation:
        """The same, of these torrents only."""
        wanted = set(ids)
        kept = tuple(sight for sight in self.sights if sight.torrent_id in wanted)
        return Observation(kept, self.ended, self.longest_gap_s, self.unanswered)

    @property
    def states(self) -> set[str]:
        return {sight.state for sight in self.sights}

    @property
    def dreaded(self) -> list[Sight]:
        """Sights of a check, a download, or of less than everything."""
        return [s for s in self.sights if s.state in DREADED or s.progress < 1]

    def seconds_not_seeding(self, torrent_id: str) -> float:
        """Wall clock in states in which a peer that asks gets nothing."""
        own = [sight for sight in self.sights if sight.torrent_id == torrent_id]
        ends = [*(sight.at for sight in own[1:]), self.ended]
        spans = zip(own, ends, strict=True)
        return sum(end - sight.at for sight, end in spans if sight.state not in SEEDING)

    @property
    def worst_s(self) -> float:
        """Seconds without seeding of the torrent that had the most."""
        ids = {sight.torrent_id for sight in self.sights}
        return max((self.seconds_not_seeding(torrent_id) for torrent_id in ids), default=0.0)


class Observer:
    """`with Observer(client.url) as watch: …`, then `watch.seen`."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._process: subprocess.Popen[str] | None = None
        self.seen = Observation((), 0.0, 0.0, 0)

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).resolve()), self._url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "watching\n", "the observer did not start"
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process is not None
        text, _ = self._process.communicate(timeout=30)  # closes stdin, which ends it
        data = json.loads(text)
        sights = tuple(Sight(**sight) for sight in data.pop("sights"))
        self.seen = Observation(sights, **data)


def _watch(url: str) -> dict[str, Any]:
    """Ask until stdin ends."""
    shown: dict[str, tuple[Any, ...]] = {}
    sights: list[dict[str, Any]] = []
    unanswered, longest_gap, last = 0, 0.0, time.monotonic()
    told = False
    while True:
        try:
            with urllib.request.urlopen(f"{url}/api/v2/torrents/info", timeout=20) as answer:
                rows = {row["hash"]: row for row in json.load(answer)}
        except OSError:
            unanswered += 1
        else:
            now = time.monotonic()
            longest_gap, last = max(longest_gap, now - last), now
            for torrent_id in sorted({*rows, *shown}):
                seen = _sight(rows.get(torrent_id))
                if shown.get(torrent_id) != seen:
                    shown[torrent_id] = seen
                    state, progress, save_path = seen
                    sights.append(
                        {
                            "at": now,
                            "torrent_id": torrent_id,
                            "state": state,
                            "progress": progress,
                            "save_path": save_path,
                        }
                    )
            if not told:
                print("watching", flush=True)
                told = True
        if select.select([sys.stdin], [], [], POLL_S)[0]:
            return {
                "sights": sights,
                "ended": time.monotonic(),
                "longest_gap_s": longest_gap,
                "unanswered": unanswered,
            }


def _sight(row: dict[str, Any] | None) -> tuple[Any, ...]:
    if row is None:
        return ("gone", 0.0, "")
    return (row["state"], row["progress"], row["save_path"])


if __name__ == "__main__":
    print(json.dumps(_watch(sys.argv[1])))
