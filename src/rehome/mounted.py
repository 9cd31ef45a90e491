"""Stash and pool must be the filesystems that a plan was made for; reads only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from hashall.catalog import Catalog
from hashall.catalog.runs import RunRow, RunStatus
from hashall.model import Place
from hashall.places import Places
from hashall.presence import may_lie_at
from hashall.relpath import join
from rehome.model import Direction, Plan
from rehome.outcome import asked_of, ways_out_of
from seedkeep.errors import Refused


@dataclass(frozen=True)
class _Side:
    """Paths of a plan on one side, and the filesystem that they are to be on."""

    paths: Sequence[Path]
    devices: Sequence[int]  # by the catalog's numbers


def require_mounts(
    places: Places, row: RunRow, plan: Plan, *, copy_lost: bool = False, among_others: bool = False
) -> None:
    """Raises `Refused` with one of them not mounted, or not answering.

    What lies there would look gone, and so be believed done.

    Args:
        copy_lost: A person gives up the side of the copy.  Then it must not be mounted: what lies
            there would be nobody's, and the client would carry it across by itself.  Of a run that
            was begun without it this holds until the run has committed; then nobody needs to know.
        among_others: That was said of several runs at once.
    """
    copy, kept = _sides(plan)
    if_copy_lost, if_kept_lost = ways_out_of(row)
    if copy_lost:
        _require_absence(places, copy, _leave_out("--copy-lost") if not among_others else _one(row))
    elif not asked_of(row).copy_lost:
        _require(places, copy, if_copy_lost)
    elif row.status is RunStatus.OPEN:
        _require_absence(places, copy, _wait_for(row))
    _require(places, kept, if_kept_lost)


def is_copy_there(places: Places, plan: Plan) -> bool:
    """Whether the filesystem of a plan's copy is mounted where it was, and answers."""
    copy, _ = _sides(plan)
    try:
        return all(_is_on(places, path, copy.devices) for path in copy.paths)
    except OSError:
        return False


def require_source_lost(places: Places, plan: Plan) -> None:
    """Raises `Refused` while the filesystem with what a run has hidden is mounted."""
    _require_absence(places, _sources(plan), _leave_out("--source-lost"))


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
        elsewhere = None
        try:
            there, detail = _is_on(places, path, side.devices), "it may not be mounted"
            elsewhere = None if there else _elsewhere(places, path, side.devices)
        except OSError as why:
            there, detail = False, f"{why.strerror}; it may not be mounted"
        if elsewhere is not None:
            detail, or_else = f"that filesystem is mounted elsewhere, and has it at {elsewhere}", ""
        if not there:
            raise Refused(
                f"{path} is not on the filesystem that the plan was made for",
                detail=detail,
                hint=f"mount it, and run the same command again; nothing was changed{or_else}",
            )


def _require_absence(places: Places, side: _Side, hint: str) -> None:
    for path in side.paths:
        try:
            there, detail = _is_on(places, path, side.devices), "its filesystem is mounted there"
            if not there and (elsewhere := _elsewhere(places, path, side.devices)) is not None:
                there, detail = True, f"its filesystem is mounted, and has it at {elsewhere}"
        except OSError as why:
            there, detail = True, f"it cannot be looked at: {why.strerror}"
        if there:
            raise Refused(f"{path} is not lost", detail=detail, hint=hint)


def _elsewhere(places: Places, path: Path, devices: Sequence[int]) -> Path | None:
    """Where one of these filesystems shows what should be at `path`, through another mount.

    Of a mount that is gone nobody can say which folder it had shown.  So a path that ends like
    `path` and has something is taken for it: the answer can only be that no disk is lost.
    """
    usual = Path(places.mounts.locate_missing(path).abspath)
    for device_id in devices:
        for relpath in dict.fromkeys(_relpaths(places.catalog, usual, device_id)):
            found = places.abspath(Place(device_id, relpath))
            if found is not None and found != usual and may_lie_at(found):
                return found
    return None


def _relpaths(catalog: Catalog, usual: Path, device_id: int) -> Iterator[str]:
    """Where it can be inside the filesystem: below a mount of before, or a folder once scanned."""
    for point in catalog.devices.mount_points(device_id):
        if usual.is_relative_to(point):
            yield "/".join(usual.relative_to(point).parts)
    for root in [path for device, path, *_ in catalog.scans.roots() if device == device_id]:
        if PurePosixPath(root).name == usual.name:
            yield root
        for start in range(1, len(usual.parts)):
            yield join(root, "/".join(usual.parts[start:]))


def _leave_out(flag: str) -> str:
    return (
        f"leave out {flag}; or, if that disk is broken, unmount it first"
        " (umount -l does so while programs still use it)"
    )


def _one(row: RunRow) -> str:
    return (
        f"the copy of run {row.run_id} is there, and nothing was changed; take back one by one"
        " those whose copy is lost: rehome rollback RUN --copy-lost; then the others:"
        " rehome rollback --all"
    )


def _wait_for(row: RunRow) -> str:
    return (
        f"run {row.run_id} was begun without that disk: unmount it until the run has ended, and run"
        " the same command again (umount -l does so while programs still use it)"
    )


def _is_on(places: Places, path: Path, devices: Sequence[int]) -> bool:
    # Of what a retired source left empty, the folder itself may be gone by now.
    located = places.mounts.locate_missing(path)
    device = places.catalog.devices.by_key(located.identity.fs_key)
    return device is not None and device.device_id in devices
