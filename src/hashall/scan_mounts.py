"""What a scan has to say about filesystems that were mounted where it looked, and are not now."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hashall.places import Places
    from hashall.scan_model import ScanSummary


def tell_missed_mounts(places: Places, summary: ScanSummary) -> None:
    """Whoever names the bare folder of a disk means the disk, wherever it is by now.

    Also where it was unmounted during the scan, which then finds nothing left to read.
    """
    places.mounts.refresh()
    for root in summary.roots:
        missed = places.missed_at(Path(root.path))
        if missed is None:
            continue
        device = missed.device.alias or missed.device.device_id
        if missed.is_at:  # what lies here now is no part of it, and was scanned for itself
            moved = (
                f"device {device} was mounted at {missed.was_at} and is at {missed.is_at[0]} now"
            )
            summary.notes[root.path] = f"{moved}: scan it there"
        else:
            why = f"device {device} was mounted there and is not now"
            summary.unreadable[root.path] = f"{why}: mount it and scan again"
