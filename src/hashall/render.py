"""hashall's results as text for people."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from hashall.catalog.inventory import ClientState
from hashall.catalog.scans import MOST_AHEAD
from hashall.render_scan import short_list as _list
from hashall.views import DeviceView, StatusView
from seedkeep import clock
from seedkeep.progress import Progress
from seedkeep.text import printable, table
from seedkeep.units import format_duration, format_size

# Up to this age, how exactly it is told.
_STEPS = (
    (timedelta(minutes=1), timedelta(seconds=1)),
    (timedelta(days=1), timedelta(minutes=1)),
)


@contextmanager
def count_progress(what: str, as_json: bool) -> Iterator[Callable[[int, int], None]]:
    with Progress(f"reading {what}", unit=what, as_json=as_json) as progress:

        def show(done: int, total: int) -> None:
            if progress.total != total:
                progress.set_total(total)
            progress.advance(done - progress.done)

        yield show


def devices(views: tuple[DeviceView, ...]) -> str:
    rows = [
        (
            f"{view.device.device_id} {view.device.alias or ''}".rstrip(),
            view.device.fs_key,
            "yes" if view.device.stable else "no",
            view.names,
            view.inodes,
            format_size(view.bytes),
            ", ".join(view.mount_points) or "(not mounted)",
        )
        for view in views
    ]
    headers = ("ID", "FILESYSTEM", "STABLE", "FILES", "INODES", "SIZE", "MOUNTED AT")
    text = table(headers, rows, "lllrrr")
    if any(not view.device.stable for view in views):
        text += (
            "\nSTABLE no: this filesystem has no lasting id; after a reboot or a new mount it may"
            " count as another one and has to be scanned again"
        )
    return text


def status(view: StatusView) -> str:
    rows = [
        (root.device_id, age(root.coverage.completed_at), len(root.coverage.gaps), root.path)
        for root in view.roots
    ]
    lines = [
        f"catalog   {printable(str(view.catalog))}",
        f"devices   {len(view.devices)}",
        f"files     {sum(device.names for device in view.devices)}"
        f" ({format_size(sum(device.bytes for device in view.devices))})",
        f"torrents  {view.torrents}, {view.torrents_with_problems} with problems",
        *(f"synced    {_synced(client)}" for client in view.clients),
        f"payloads  {view.payloads}, {view.incomplete_payloads} need a scan",
        "",
        table(("DEVICE", "SCANNED", "GAPS", "ROOT"), rows, "rlr"),
        *_list("not covered, because the last scan could not read it:", _gaps(view)),
    ]
    lines += [
        f"run {run} was interrupted: `rehome resume {run}` or `rehome rollback {run}`"
        for run in view.open_runs
    ]
    return "\n".join(lines)


def _synced(client: ClientState) -> str:
    when = None if client.synced_at is None else clock.parse_iso(client.synced_at)
    text = f"{client.client}, all torrents: {age(when)}"
    if not client.unread:
        return text
    unread = "1 torrent" if client.unread == 1 else f"{client.unread} torrents"
    since = "since then " if when else ""
    return f"{text}; {since}{unread} could not be read ({printable(client.why)})"


def _gaps(view: StatusView) -> list[str]:
    found = set()
    for root in view.roots:
        for gap, reason in root.coverage.gaps:
            below = gap.removeprefix(root.coverage.path).strip("/")
            found.add(f"{os.path.join(root.path, below) if below else root.path}: {reason}")
    return sorted(found)


def age(moment: datetime | None) -> str:
    """How long ago something ended."""
    if moment is None:
        return "never to its end"
    passed = clock.now() - moment
    if passed < -MOST_AHEAD:
        return "in the future (a wrong clock)"
    passed = max(passed, timedelta(0))
    step = next((fine for limit, fine in _STEPS if passed < limit), timedelta(hours=1))
    return f"{format_duration(passed - passed % step)} ago" if passed >= step else "just now"
