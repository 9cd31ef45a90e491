"""Filesystems, scanned roots and figures as text for people."""

from __future__ import annotations

from collections.abc import Sequence

from hashall.device_choice import DeviceDetails, Forgotten
from hashall.lookup import DeviceFigures
from hashall.model import Device
from hashall.render import age
from hashall.render_scan import counted
from hashall.views import RootView
from seedkeep import clock
from seedkeep.text import printable, table
from seedkeep.units import format_size


def details(view: DeviceDetails) -> str:
    device = view.device
    lines = [
        f"device     {device.device_id}",
        f"alias      {printable(device.alias or '-')}",
        f"filesystem {device.fs_key} ({device.fs_type})",
        f"stable     {'yes' if device.stable else 'no: after a new mount it may be another one'}",
        f"links      {view.link_count_doubt or 'their counts are true here'}",
        f"mounted at {printable(', '.join(view.mount_points)) or 'nowhere now'}",
        f"preferred  {printable(device.preferred_mount_point or '-')}",
        f"scanned    {_when(device.last_scan_completed)}",
        "",
    ]
    rows = [
        (s.mount_point, s.st_dev, *map(clock.to_second, (s.first_seen_at, s.last_seen_at)))
        for s in view.sightings
    ]
    return "\n".join(lines) + "\n" + table(("SEEN AT", "ST_DEV", "FIRST", "LAST"), rows, "lr")


def changed(device: Device) -> str:
    alias = printable(device.alias or "-")
    preferred = printable(device.preferred_mount_point or "-")
    return f"device {device.device_id}: alias {alias}, preferred mount point {preferred}"


def forgotten(told: Forgotten) -> str:
    known = told.remembered
    what = (
        f"{counted(known.files, 'name')}, {counted(known.payloads, 'payload')},"
        f" {counted(known.torrents, 'torrent')} to map again,"
        f" {counted(known.link_plans, 'link plan')}"
    )
    if told.done:
        return f"device {told.device.device_id} is forgotten: {what}"
    lines = [f"device {told.device.device_id} would be forgotten: {what}"]
    lines += [f"not now: {why}" for why in known.unsettled]
    return "\n".join([*lines, "nothing was changed; --force does it"])


def roots(found: Sequence[RootView]) -> str:
    if not found:
        return "nothing was scanned yet"
    rows = [
        (r.device_id, age(r.coverage.completed_at), len(r.coverage.gaps), r.path) for r in found
    ]
    lines = [table(("DEVICE", "SCANNED", "GAPS", "ROOT"), rows, "rlr")]
    for root in found:
        lines += [
            f"  not read: {printable(gap or '.')} (device {root.device_id}): {printable(reason)}"
            for gap, reason in root.coverage.gaps
        ]
    return "\n".join(lines)


def stats(found: Sequence[DeviceFigures]) -> str:
    if not found:
        return "nothing was scanned yet"
    rows = [
        (
            view.device.alias or view.device.device_id,
            view.figures.names,
            view.figures.inodes,
            format_size(view.figures.bytes),
            format_size(view.figures.largest),
            view.figures.linked_inodes,
            view.figures.unseen_links,
        )
        for view in found
    ]
    headers = ("DEVICE", "FILES", "INODES", "SIZE", "LARGEST", "LINKED", "UNSEEN LINKS")
    hashes = [
        (
            view.device.alias or view.device.device_id,
            f"{view.figures.hashed_inodes} of {view.figures.inodes}",
            format_size(view.figures.hashed_bytes),
            view.figures.sampled_inodes,
            view.figures.verified_inodes,
            view.figures.damaged_inodes,
            _when(view.figures.oldest_reading),
        )
        for view in found
    ]
    more = ("DEVICE", "HASHED", "SIZE", "SAMPLED", "VERIFIED", "DAMAGED", "OLDEST READING")
    return f"{table(headers, rows, 'lrrrrrr')}\n\n{table(more, hashes, 'lrrrrr')}"


def _when(text: str | None) -> str:
    return "-" if text is None else age(clock.parse_iso(text))
