"""What the doctor has to know of catalog and filesystems: a part of the bridge, `seed_data.py`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from hashall.catalog import Catalog, open_catalog
from hashall.lock import holder
from hashall.mounts import UnknownFilesystem
from hashall.pathing import MountTable
from rehome.config import layout_from
from seedkeep import settings_table as table
from seedkeep.errors import SeedError
from seedkeep.settings import Settings, load


@dataclass(frozen=True)
class RootFacts:
    name: str  # "stash" or "pool"
    path: Path
    error: str = ""  # "" when it could be looked at
    writable: bool = False
    fs_key: str = ""
    fs_type: str = ""
    free_bytes: int = 0


@dataclass(frozen=True)
class CatalogFacts:
    path: Path | None  # None: even the settings of rehome cannot be read
    error: str = ""  # "" when it could be opened
    hint: str = ""
    exists: bool = False
    newest_scan: str | None = None  # UTC; None: nothing was scanned to its end
    max_scan_age: timedelta = timedelta(0)
    torrents: int = 0
    open_runs: tuple[int, ...] = ()  # interrupted: open, and nobody works with the catalog
    layout_error: str = ""  # why rehome could not move anything like this
    layout_hint: str = ""
    layout_set: bool = False  # at least one root is named
    roots: tuple[RootFacts, ...] = ()


def look_at_seed_data(flags: Mapping[str, object] | None = None) -> CatalogFacts:
    """Facts as rehome's own settings lead to them; opens the catalog and changes nothing."""
    try:
        settings = load("rehome", flags or {})
    except SeedError as why:
        return CatalogFacts(None, " ".join((why.brief, why.detail)).strip(), why.hint)
    layout_error, layout_hint, roots = _layout(settings)
    path = settings[table.CATALOG_PATH]
    base = CatalogFacts(
        path,
        exists=path.exists(),
        max_scan_age=settings[table.MAX_SCAN_AGE],
        layout_error=layout_error,
        layout_hint=layout_hint,
        layout_set=settings[table.STASH_SEEDING_ROOT] is not None
        or settings[table.POOL_SEEDING_ROOT] is not None,
        roots=roots,
    )
    try:
        catalog = open_catalog(path, create=False)
    except SeedError as why:
        return replace(base, error=why.brief, hint=why.hint)
    try:
        return _read(catalog, base)
    except SeedError as why:
        return replace(base, error=why.brief, hint=why.hint)
    finally:
        catalog.db.close()


def _read(catalog: Catalog, base: CatalogFacts) -> CatalogFacts:
    scans = [completed for _, _, _, completed in catalog.scans.roots() if completed]
    busy = holder(catalog.db.path) is not None
    return replace(
        base,
        newest_scan=max(scans, default=None),
        torrents=len(catalog.payloads.instances()),
        open_runs=() if busy else tuple(row.run_id for row in catalog.runs.open()),
    )


def _layout(settings: Settings) -> tuple[str, str, tuple[RootFacts, ...]]:
    """(what is wrong, what to do, the roots as they are)."""
    try:
        layout = layout_from(settings)
    except SeedError as why:
        return why.brief, why.hint, ()
    mounts = MountTable.read()
    found = (
        _root(mounts, "stash", layout.stash_seeding_root),
        _root(mounts, "pool", layout.pool_seeding_root),
    )
    return "", "", found


def _root(mounts: MountTable, name: str, path: Path) -> RootFacts:
    try:
        if not path.is_dir():
            return RootFacts(name, path, "there is no such folder")
        identity = mounts.locate(path).identity
        free = os.statvfs(path)
    except UnknownFilesystem as why:
        return RootFacts(name, path, why.brief)
    except OSError as why:
        return RootFacts(name, path, why.strerror or str(why))
    return RootFacts(
        name,
        path,
        writable=os.access(path, os.W_OK | os.X_OK),
        fs_key=identity.fs_key,
        fs_type=identity.fs_type,
        free_bytes=free.f_bavail * free.f_frsize,
    )
