"""Is everything here as this product needs it?  Probed, where believing would not do.

Facts are gathered here; what they mean is decided in `doctor_rules`, which looks at nothing.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from hashall.catalog import Catalog
from hashall.catalog.health import Health
from hashall.catalog.inventory import ClientState
from hashall.disk_failures import DISK_ERRORS
from hashall.fsops_probe import LinkResult, ProbeFile, probe_files, try_link
from hashall.lock import holder
from hashall.model import Place
from hashall.mounts import UnknownFilesystem
from hashall.pathing import MountTable
from hashall.places import Places
from seedkeep import clock
from seedkeep.database_place import filesystem_type
from seedkeep.errors import SeedError


@dataclass(frozen=True)
class RootFacts:
    """What was found out about one folder."""

    path: Path
    error: str  # "" when it could be looked at
    offline: bool = False  # a scanned folder that no mount shows now
    silent: bool = False  # one whose disk fails so that nothing can be told of it
    fs_type: str = ""
    fs_key: str = ""
    stable: bool = False
    st_dev: int = 0
    mount_point: str = ""
    free_bytes: int = 0
    probe: ProbeFile | None = None  # None: probing was not wanted, or not possible
    inside: LinkResult | None = None  # a link beside the probe file itself


@dataclass(frozen=True)
class PairFacts:
    first: RootFacts
    second: RootFacts
    link: LinkResult


@dataclass(frozen=True)
class CatalogFacts:
    path: Path
    exists: bool
    error: str  # "" when it could be opened
    hint: str  # what to do about the error
    filesystem: str
    bytes: int
    free_bytes: int
    sqlite: str
    held_by: str | None
    newest_scan: str | None  # UTC; None: nothing was scanned
    clients: tuple[ClientState, ...] = ()


@dataclass(frozen=True)
class Facts:
    now: datetime
    catalog: CatalogFacts
    roots: tuple[RootFacts, ...]
    pairs: tuple[PairFacts, ...]


def catalog_facts(path: Path, catalog: Catalog | None, error: SeedError | None) -> CatalogFacts:
    """Args: `catalog` is None when it could not be opened, and `error` says why."""
    place = next(folder for folder in path.absolute().parents if folder.is_dir())
    scans = [] if catalog is None else [at for _, _, _, at in catalog.scans.roots() if at]
    return CatalogFacts(
        path=path,
        exists=path.exists(),
        error="" if error is None else error.brief,
        hint="" if error is None else error.hint,
        filesystem=filesystem_type(place),
        bytes=path.stat().st_size if path.is_file() else 0,
        free_bytes=shutil.disk_usage(place).free,
        sqlite="" if catalog is None else Health(catalog.db).versions().sqlite,
        held_by=holder(path),
        newest_scan=max(scans, default=None),
        clients=() if catalog is None else catalog.inventory.clients(),
    )


def roots_to_probe(places: Places | None, paths: Sequence[Path]) -> list[RootFacts | Path]:
    """The folders to look at: `paths`, or else every folder that was scanned.

    Args:
        places: None when there is no catalog.
    """
    if paths or places is None:
        return list(dict.fromkeys(path.absolute() for path in paths))
    found: dict[RootFacts | Path, None] = {}
    for device_id, root, _, _ in places.catalog.scans.roots():
        path = places.abspath(Place(device_id, root))
        if path is None:
            gone = Path(places.shown(device_id, root))
            silence = places.silence_of(places.catalog.devices.get(device_id))
            if silence:  # for the doctor a problem, where an absent disk is none
                why = f"its disk is mounted and does not answer ({silence})"
                found[RootFacts(gone, why, silent=True)] = None
            else:
                found[RootFacts(gone, "no mount shows it now", offline=True)] = None
        else:
            found[path] = None
    return list(found)


def gather(catalog: CatalogFacts, roots: Sequence[RootFacts | Path], *, probe: bool) -> Facts:
    """Look at each root and, with `probe`, make, link and remove files in them."""
    mounts = MountTable.read()
    with probe_files([r for r in roots if isinstance(r, Path)] if probe else []) as probes:
        by_root = {made.root: made for made in probes}
        looked = tuple(
            _look(mounts, root, by_root.get(root)) if isinstance(root, Path) else root
            for root in roots
        )
        pairs = tuple(
            PairFacts(first, second, try_link(first.probe.path, second.probe.path))
            for first in looked
            for second in looked
            if first is not second
            if first.probe and first.probe.path and second.probe and second.probe.path
        )
    return Facts(clock.now(), catalog, looked, pairs)


def _look(mounts: MountTable, root: Path, probe: ProbeFile | None) -> RootFacts:
    try:
        located = mounts.locate(root)
        free = shutil.disk_usage(root).free
    except UnknownFilesystem as why:
        return RootFacts(root, f"{why.brief}; {why.detail}".rstrip("; "))
    except OSError as why:
        return RootFacts(root, str(why.strerror), silent=why.errno in DISK_ERRORS)
    inside = None if probe is None or probe.path is None else try_link(probe.path, probe.path)
    return RootFacts(
        path=root,
        error="",
        fs_type=located.identity.fs_type,
        fs_key=located.identity.fs_key,
        stable=located.identity.stable,
        st_dev=located.st_dev,
        mount_point=located.mount_point,
        free_bytes=free,
        probe=probe,
        inside=inside,
    )
