"""A scan as text for people: what it is doing, and what it found."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from hashall.disk_failures import GivenUp
from hashall.scan_model import ScanState, ScanSummary
from seedkeep import clock, console
from seedkeep.progress import Progress
from seedkeep.text import printable
from seedkeep.units import format_duration, format_size

MOST_LINES = 20


@contextmanager
def scan_progress(as_json: bool) -> Iterator[Callable[[ScanState], None]]:
    with Progress("scanning", unit="files", as_json=as_json) as progress:
        speed, told = _Speed(), 0

        def show(state: ScanState) -> None:
            nonlocal told
            for lost in state.summary.given_up[told:]:  # other disks may take a day after this
                console.note(next(_given_up(lost)))
                told += 1
            if state.indexing:
                console.note(
                    f"making the indexes of {state.indexing} names again: an older release made"
                    " others, or a scan was killed"
                )
            progress.describe(_doing(state, speed))
            done = state.summary.seen + state.summary.hashes.files + state.summary.hashes.sampled
            progress.advance(done - progress.done)

        yield show


class _Speed:
    """Bytes a second since this kind of work began on this root."""

    def __init__(self) -> None:
        self._begun: tuple[tuple[str, bool], float, int] | None = None

    def of(self, state: ScanState, done: int) -> float:
        now, what = clock.monotonic(), (state.root, state.hashing)
        if self._begun is None or what != self._begun[0]:
            self._begun = (what, now, done)
        return (done - self._begun[2]) / max(now - self._begun[1], 0.001)


def _doing(state: ScanState, speed: _Speed) -> str:
    where = f"{printable(state.root)} (device {printable(state.device)})"
    if state.indexing:
        return f"making indexes for {where}"
    if not state.hashing:
        words = [counted(state.summary.seen, "file")]
        rate = speed.of(state, state.summary.hashes.bytes)
        if rate > 0:  # a first scan reads small files on its way
            words += [format_size(state.summary.hashes.bytes), f"{format_size(int(rate))}/s"]
        return f"walking {where}: {', '.join(words)}"
    left = state.waiting_bytes - state.read_bytes
    rate = speed.of(state, -left)
    words = [f"{counted(state.waiting, 'file')} to go", format_size(max(left, 0))]
    if rate > 0:
        words += [
            f"{format_size(int(rate))}/s",
            f"{format_duration(timedelta(seconds=round(max(left, 0) / rate)))} left",
        ]
    return f"hashing {where}: {', '.join(words)}"


def scan_summary(summary: ScanSummary) -> str:
    lines = [f"scanned {printable(root.path)} (device {root.device_id})" for root in summary.roots]
    lines.append(
        f"{summary.added} added, {summary.changed} changed, {summary.unchanged} unchanged,"
        f" {summary.moved} moved, {summary.deleted} deleted"
    )
    hashes = summary.hashes
    lines.append(f"{counted(hashes.files, 'file')} hashed ({format_size(hashes.bytes)})")
    if hashes.sampled:
        lines.append(f"samples of {counted(hashes.sampled, 'file')} read")
    lines += [f"skipped {count}: {reason}" for reason, count in sorted(summary.skipped.items())]
    lines += [line for lost in summary.given_up for line in _given_up(lost)]
    lines += short_list(
        f"{len(summary.unreadable)} could not be read; what lies below is not covered:",
        [f"{path}: {reason}" for path, reason in sorted(summary.unreadable.items())],
    )
    lines += [f"note: {printable(path)}: {what}" for path, what in sorted(summary.notes.items())]
    lines += short_list(
        f"{len(hashes.changing)} changed while they were read and have no hash; scan again later:",
        sorted(hashes.changing),
    )
    return "\n".join(lines)


def _given_up(lost: GivenUp) -> Iterator[str]:
    took = format_duration(timedelta(seconds=round(lost.seconds)))
    yield (
        f"GAVE UP  device {printable(lost.device)}: it failed {counted(lost.failed, 'time')},"
        f" which took {took} ({lost.why})"
    )
    left = "the rest"
    if lost.left:
        left = f"{counted(lost.left, 'file')} ({format_size(lost.left_bytes)})"
    yield (
        f"  {left} not tried, and what the catalog knows of it stays: save what matters there"
        " first; `dmesg` and `smartctl -a` tell more"
    )


def short_list(title: str, lines: list[str]) -> list[str]:
    """A title and the first of the lines; nothing when there are none."""
    if not lines:
        return []
    shown = [f"  {printable(line)}" for line in lines[:MOST_LINES]]
    more = len(lines) - len(shown)
    return [title, *shown, *([f"  … and {more} more (--json lists all)"] if more else [])]


def counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
