"""A verification as text for people."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from hashall.disk_failures import GivenUp
from hashall.render_scan import counted
from hashall.verify import Damage, Outcome, Verified
from seedkeep.progress import Progress
from seedkeep.text import printable
from seedkeep.units import format_duration, format_size

MOST_LINES = 20


@contextmanager
def progress(as_json: bool) -> Iterator[Callable[[Verified], None]]:
    with Progress("verifying", unit="bytes", as_json=as_json) as bar:
        yield lambda result: bar.advance(result.bytes - bar.done)


def verified(result: Verified) -> str:
    lines = [line for damage in result.damaged for line in _damage(damage)]
    lines.append(
        f"{counted(result.read, 'file')} read ({format_size(result.bytes)}),"
        f" {result.same} as they were, {len(result.damaged)} damaged"
    )
    lines += [line for lost in result.given_up for line in _given_up(lost)]
    lines += _list("could not be read:", [f"{p}: {why}" for p, why in result.unreadable.items()])
    lines += _list("changed since the scan; run `hashall scan`:", result.changed)
    lines += _list("gone since the scan:", result.gone)
    if result.not_mounted:
        what = counted(result.not_mounted, "file")
        lines.append(f"{what} on filesystems that are not mounted")
    if result.left:
        lines.append(
            f"{counted(result.left, 'file')} ({format_size(result.left_bytes)})"
            " left for another time; the same command goes on"
        )
    return "\n".join(lines)


def _given_up(lost: GivenUp) -> Iterator[str]:
    took = format_duration(timedelta(seconds=round(lost.seconds)))
    what = "it is mounted and does not answer"
    if lost.failed:
        what = f"{counted(lost.failed, 'file')} could not be read, which took {took}"
    left = f"{counted(lost.left, 'file')} ({format_size(lost.left_bytes)})"
    yield f"GAVE UP  device {printable(lost.device)}: {what} ({lost.why})"
    yield f"  {left} not tried: save what matters there first; `dmesg` and `smartctl -a` tell more"


def _damage(damage: Damage) -> Iterator[str]:
    if damage.outcome is Outcome.UNSTABLE:
        why = "two readings differ: suspect memory, cable or disk"
    elif damage.ctime_moved:
        why = "its ctime moved: a program may have written it and put its mtime back"
    else:
        why = "nobody wrote it: the disk gives other bytes than before"
    yield f"{damage.outcome.value.upper()}  {printable(damage.path)}"
    yield f"  {why}"
    yield f"  was   {damage.expected}"
    yield f"  now   {damage.found}"
    for copy in damage.good_copies[:3]:
        yield f"  had the same content: {printable(copy)}"
    if not damage.good_copies:
        yield "  no other file in the catalog had the same content"


def _list(title: str, lines: list[str]) -> list[str]:
    if not lines:
        return []
    shown = [f"  {printable(line)}" for line in sorted(lines)[:MOST_LINES]]
    more = len(lines) - len(shown)
    return [title, *shown, *([f"  … and {more} more (--json lists all)"] if more else [])]
