"""After the commit: remove the hidden source, file by file, under the last-copy guard."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hashall import fsops
from rehome.model import Direction, Plan, Retirement
from rehome.world import planned_stamp, remove_if_empty, verify_bytes
from seedkeep.errors import SeedError


@dataclass(frozen=True)
class Kept:
    """A source file that was not removed, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class Retired:
    bytes_freed: int  # in truth: 0 for an inode that still has another name
    files: int
    kept: tuple[Kept, ...]


def clean_up(plan: Plan) -> None:
    """Remove the staging directory of a committed run; its bytes have their names in the views."""
    fsops.remove_tree_of_ours(Path(plan.staging))


def retire(
    plan: Plan,
    told: Callable[[str], None] = lambda _: None,
    in_use: Callable[[Path], bool] = lambda _: True,
) -> Retired:
    """Remove what was hidden.  Safe to repeat; what cannot be proved is kept and reported.

    `in_use` tells of a folder that held the source whether somebody needs it although it is empty.

    Promise 1: a file goes only after the copy that replaces it was read to its end, here and now,
    with the same SHA-256, and is another file.
    """
    freed = files = 0
    kept: list[Kept] = []
    verified: set[tuple[int, int, str]] = set()  # device, inode, sha256
    for item in plan.retire:
        path = Path(item.hidden_root) / item.name
        try:
            if not _is_there(path):
                continue  # gone with an earlier, interrupted try
            _verify_witness(item, path, verified)
            if plan.direction is Direction.UNDO:
                _verify_own_bytes(item, path, verified)
            told(str(path))
            freed += fsops.retire_file(
                Path(item.hidden_root), item.name, stamp=planned_stamp(path, item.seen)
            )
            files += 1
        except (OSError, SeedError) as why:
            reason = why.brief if isinstance(why, SeedError) else str(why.strerror)
            kept.append(Kept(str(path), reason))
    _remove_emptied(plan, in_use)
    return Retired(freed, files, tuple(kept))


def _is_there(path: Path) -> bool:
    """False only for what is surely gone; a path that cannot be looked at raises."""
    try:
        os.lstat(path)
    except FileNotFoundError:
        return False
    return True


def _verify_witness(item: Retirement, path: Path, verified: set[tuple[int, int, str]]) -> None:
    witness = Path(item.witness)
    seen = os.lstat(witness)
    if os.path.samestat(seen, os.lstat(path)):
        raise SeedError(f"{witness} is the same file as {path}, not a copy of it")
    # Siblings are many names of one inode: it is read once.
    if (seen.st_dev, seen.st_ino, item.sha256) not in verified:
        stamp = verify_bytes(witness, item.sha256)
        verified.add((seen.st_dev, stamp.inode, item.sha256))


def _verify_own_bytes(item: Retirement, path: Path, verified: set[tuple[int, int, str]]) -> None:
    """Nobody has read what a run placed since then: it may have got bytes of its own."""
    seen = os.lstat(path)
    if (seen.st_dev, seen.st_ino, item.sha256) not in verified:
        stamp = verify_bytes(path, item.sha256, item.seen)
        verified.add((seen.st_dev, stamp.inode, item.sha256))


def _remove_emptied(plan: Plan, in_use: Callable[[Path], bool]) -> None:
    """Directories that this run emptied: below the hidden roots, and on the way to the sources.

    The save path itself goes too, and what is above it, as far as nobody needs it.
    """
    by_root: dict[str, list[str]] = {}
    for item in plan.retire:
        by_root.setdefault(item.hidden_root, []).append(item.name)
    for root, names in by_root.items():
        hidden = Path(root)
        fsops.remove_empty_dirs(hidden, names)
        remove_if_empty([root])
        fsops.remove_empty_dirs(hidden.parent, names)
    for root in sorted(by_root, key=len, reverse=True):
        for folder in (path for path in Path(root).parents if not in_use(path)):
            remove_if_empty([str(folder)])
