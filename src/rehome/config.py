"""Where stash, pool and libraries are, and the limits of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from hashall.qbittorrent import PathMap
from rehome.model import Direction
from seedkeep import settings_table as table
from seedkeep.errors import Misused
from seedkeep.setting_types import SaveRule
from seedkeep.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where things are.  All paths ours."""

    stash_seeding_root: Path  # the seeding domain: links in here hold nothing on stash
    pool_seeding_root: Path
    library_roots: tuple[Path, ...]
    path_map: PathMap
    max_scan_age: timedelta
    space_margin: int  # bytes that stay free on the target side
    save_paths: tuple[SaveRule, ...] = ()  # the first that fits wins
    reuse_floor: int = 0  # bytes; a smaller file is copied rather than linked to another payload's
    keep_managed: bool = False  # automatic management stays on where the category allows it
    other_clients: tuple[str, ...] = ()  # names of those in the catalog beside the main one
    min_age: timedelta = timedelta(0)  # since completion; plans of many leave younger groups alone

    def source_root(self, direction: Direction) -> Path:
        return self._root(direction is Direction.DEMOTE)

    def target_root(self, direction: Direction) -> Path:
        return self._root(direction is Direction.PROMOTE)

    def _root(self, stash: bool) -> Path:
        return self.stash_seeding_root if stash else self.pool_seeding_root


def layout_from(settings: Settings) -> Layout:
    """Raises `Misused` when a root is not set."""
    stash = settings.get(table.STASH_SEEDING_ROOT)
    pool = settings.get(table.POOL_SEEDING_ROOT)
    missing = [
        setting.key
        for setting, value in ((table.STASH_SEEDING_ROOT, stash), (table.POOL_SEEDING_ROOT, pool))
        if value is None
    ]
    if stash is None or pool is None:
        raise Misused(
            f"rehome does not know {' and '.join(missing)}",
            detail="nothing is assumed about where stash and pool are",
            hint="`rehome config init` writes a first configuration; or give --stash-seeding-root"
            " and --pool-seeding-root",
        )
    libraries = settings.get(table.LIBRARY_ROOTS)
    _refuse_overlap(stash, pool, libraries)
    rules = settings.get(table.SAVE_PATHS)
    _refuse_outside(rules, stash, pool)
    return Layout(
        stash_seeding_root=stash,
        pool_seeding_root=pool,
        library_roots=libraries,
        path_map=PathMap([*settings.get(table.PATH_MAP)]),
        max_scan_age=settings.get(table.MAX_SCAN_AGE),
        min_age=settings.get(table.MIN_AGE),
        space_margin=settings.get(table.SPACE_MARGIN),
        save_paths=rules,
        other_clients=tuple(instance.name for instance in settings.get(table.QBIT_INSTANCES)),
        reuse_floor=settings.get(table.REUSE_FLOOR),
        keep_managed=settings.get(table.AUTO_TMM) == "keep-by-category",
    )


def _refuse_outside(rules: Sequence[SaveRule], stash: Path, pool: Path) -> None:
    """Raises `Misused` for a rule that leads out of the folders that torrents seed from."""
    for number, rule in enumerate(rules, 1):
        for path, root, side in ((rule.stash, stash, "stash"), (rule.pool, pool, "pool")):
            if path is not None and (".." in path.parts or not _is_within(path, root)):
                raise Misused(
                    f"{table.SAVE_PATHS.key}, rule {number}: {path} is not below {root}",
                    detail=f"torrents on the {side} seed from below its seeding root",
                    hint=f"change the rule, or rehome.{side}_seeding_root",
                )


def _refuse_overlap(stash: Path, pool: Path, libraries: Sequence[Path]) -> None:
    """Raises `Misused` for roots of which one decides about files of another."""
    for root in (stash, pool, *libraries):
        if ".." in root.parts:
            raise Misused(f"{root} has .. in it", hint="write the path that it stands for")
    if _is_within(stash, pool) or _is_within(pool, stash):
        raise Misused(
            f"{table.STASH_SEEDING_ROOT.key} and {table.POOL_SEEDING_ROOT.key} overlap",
            detail=f"{stash} and {pool}",
            hint="one of them is on the fast filesystem, the other one on the large one",
        )
    for library in libraries:
        if _is_within(library, stash):
            raise Misused(
                f"the library root {library} lies in the seeding root {stash}",
                detail="a hardlink there would count as a sibling and not as the library's",
                hint="name the folder that torrents seed from, and a library outside of it",
            )


def _is_within(path: Path, root: Path) -> bool:
    return path == root or root in path.parents
