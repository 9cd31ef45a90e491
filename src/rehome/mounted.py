"""Stash and pool must be the filesystems that a plan was made for; reads only."""

from __future__ import annotations

from pathlib import Path

from hashall.places import Places
from rehome.model import Plan
from seedkeep.errors import Refused


def require_mounts(places: Places, plan: Plan) -> None:
    """Raises `Refused` with one of them not mounted, or not answering.

    What lies there would look gone, and so be believed done.
    """
    target = Path(plan.staging).parent
    sources = {Path(move.save_path) for move in plan.torrents}
    for path, devices in (
        *((source, plan.source_devices) for source in sorted(sources)),
        (target, plan.target_devices),
    ):
        try:
            # Of what a retired source left empty, the folder itself may be gone by now.
            located = places.mounts.locate_missing(path)
            device = places.catalog.devices.by_key(located.identity.fs_key)
            there = device is not None and device.device_id in devices
            detail = "it may not be mounted"
        except OSError as why:
            there, detail = False, f"{why.strerror}; it may not be mounted"
        if not there:
            raise Refused(
                f"{path} is not on the filesystem that the plan was made for",
                detail=detail,
                hint="mount it, and run the same command again; nothing was changed",
            )
