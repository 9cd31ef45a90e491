"""Where a torrent goes on the other side, and under which category.  Pure.

Without a rule the other side has the same folders.  With rules the first one that fits wins; a rule
names a folder on each side, so that it leads back as well as forth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from rehome.config import Layout
from rehome.model import Direction
from seedkeep.setting_types import SaveRule


@dataclass(frozen=True)
class Kind:
    """What rules look at."""

    category: str
    tags: tuple[str, ...]


@dataclass(frozen=True)
class Destination:
    """Where a torrent goes."""

    path: Path
    category: str
    rule: int | None  # number of the rule from 1; None: none fits
    unsure: bool = False  # an earlier rule asks for the tracker, which nobody could tell


def destination(
    way: PurePosixPath,
    kind: Kind,
    layout: Layout,
    direction: Direction,
    hosts: Callable[[], Iterable[str] | None],
) -> Destination:
    """Where a torrent goes whose save path is `way` below the source side's seeding root.

    Args:
        hosts: Asked only when a rule needs it: the torrent's trackers; None when unknown.
    """
    here = layout.source_root(direction) / way
    unsure = False
    for number, rule in enumerate(layout.save_paths, 1):
        source, target = folders_of(rule, layout, direction)
        if not (here == source or source in here.parents) or not _fits(rule, kind, direction):
            continue
        if rule.tracker:
            known = hosts()
            unsure |= known is None
            if not known or not any(is_host_of(rule.tracker, host) for host in known):
                continue
        category = kind.category
        if rule.pool_category:
            category = rule.pool_category if direction is Direction.DEMOTE else rule.category
        return Destination(target / here.relative_to(source), category, number, unsure)
    return Destination(layout.target_root(direction) / way, kind.category, None, unsure)


def folders_of(rule: SaveRule, layout: Layout, direction: Direction) -> tuple[Path, Path]:
    """The rule's folders on the source and on the target side."""
    stash = rule.stash or layout.stash_seeding_root
    pool = rule.pool or layout.pool_seeding_root
    return (stash, pool) if direction is Direction.DEMOTE else (pool, stash)


def _fits(rule: SaveRule, kind: Kind, direction: Direction) -> bool:
    category = rule.category
    if direction is Direction.PROMOTE and rule.pool_category:
        category = rule.pool_category
    return (not category or category == kind.category) and (not rule.tag or rule.tag in kind.tags)


def is_host_of(wanted: str, host: str) -> bool:
    """Whether `host` is `wanted` or below it: tracker.example.org is of example.org."""
    wanted, host = wanted.lower().strip("."), host.lower()
    return host == wanted or host.endswith(f".{wanted}")


def hosts_of(trackers: Sequence[str]) -> tuple[str, ...]:
    """Host names of announce addresses; what has none (DHT, PeX) is left out."""
    found = (_host(tracker) for tracker in trackers)
    return tuple(dict.fromkeys(host for host in found if host))


def _host(tracker: str) -> str:
    try:
        return urlsplit(tracker).hostname or ""
    except ValueError:  # a broken IPv6 address
        return ""
