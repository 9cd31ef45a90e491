"""Stash and pool must be the filesystems that a plan was made for; reads only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hashall.places import Places
from rehome.model import Direction, Plan
from seedkeep.errors import Refused


@dataclass(frozen=True)
class _Side:
    """Paths of a plan on one side, and the filesystem that they are to be on."""

    paths: Sequence[Path]
    devices: Sequence[int]  # by the catalog's numbers


def require_mounts(
    places: Places, plan: Plan, *, copy_lost: bool = False, ways_out: tuple[str, str] = ("", "")
) -> None:
    """Raises `Refused` with one of them not mounted, or not answering.

    What lies there would look gone, and so be believed done.

    Args:
        copy_lost: A person gave up the side of the copy.  Then it must not be mounted: what lies
            there would be nobody's, and the client would carry it across by itself.
        ways_out: What is to be typed when the side of the copy, or the other one, is lost for
            good; "": nothing.
    """
    copy, kept = _sides(plan)
    if copy_lost:
        _require_absence(places, copy, "--copy-lost")
    else:
        _require(places, copy, ways_out[0])
    _require(places, kept, ways_out[1])


def require_source_lost(places: Places, plan: Plan) -> None:
    """Raises `Refused` while the filesystem with what a run has hidden is mounted."""
    _require_absence(places, _sources(plan), "--source-lost")


def _sides(plan: Plan) -> tuple[_Side, _Side]:
    """The side of the copy, which an undo takes away, and the other one."""
    sources, target = _sources(plan), _Side([Path(plan.staging).parent], plan.target_devices)
    return (sources, target) if plan.direction is Direction.UNDO else (target, sources)


def _sources(plan: Plan) -> _Side:
    """What is hidden counts too: the torrents may all have been removed from the client."""
    paths = {Path(move.save_path) for move in plan.torrents}
    paths |= {Path(item.hidden_root).parent for item in plan.retire}
    return _Side(sorted(paths), plan.source_devices)


def _require(places: Places, side: _Side, way_out: str) -> None:
    or_else = f"; if that disk is lost for good: {way_out}" if way_out else ""
    for path in side.paths:
        try:
            there, detail = _is_on(places, path, side.devices), "it may not be mounted"
        except OSError as why:
            there, detail = False, f"{why.strerror}; it may not be mounted"
        if not there:
            raise Refused(
                f"{path} is not on the filesystem that the plan was made for",
                detail=detail,
                hint=f"mount it, and run the same command again; nothing was changed{or_else}",
            )


def _require_absence(places: Places, side: _Side, flag: str) -> None:
    for path in side.paths:
        try:
            there, detail = _is_on(places, path, side.devices), "its filesystem is mounted there"
        except OSError as why:
            there, detail = True, f"it cannot be looked at: {why.strerror}"
        if there:
            raise Refused(
                f"{path} is not lost",
                detail=detail,
                hint=f"leave out {flag}; or, if that disk is broken, unmount it first"
                " (umount -l does so while programs still use it)",
            )


def _is_on(places: Places, path: Path, devices: Sequence[int]) -> bool:
    # Of what a retired source left empty, the folder itself may be gone by now.
    located = places.mounts.locate_missing(path)
    device = places.catalog.devices.by_key(located.identity.fs_key)
    return device is not None and device.device_id in devices
