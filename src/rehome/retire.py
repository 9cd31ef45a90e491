"""After the commit: remove the hidden source, file by file, under the last-copy guard."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from hashall import fsops
from hashall.hashing import inode_of
from hashall.presence import lies_at
from rehome.model import Direction, Fingerprint, Plan, Retirement
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
    copies = _Copies.of(plan)
    for item in plan.retire:
        path = Path(item.hidden_root) / item.name
        try:
            if not lies_at(path):
                continue  # gone with an earlier, interrupted try
            copies.verify(item, path)
            if plan.direction is Direction.UNDO:
                # Nobody has read what a run placed since then: it may have got bytes of its own.
                copies.read(path, item.sha256, item.seen)
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


@dataclass(frozen=True)
class _Copies:
    """What replaces the source; each inode is read once, and siblings are many names of one."""

    witnesses: Mapping[tuple[int, str], Sequence[str]]  # by size and SHA-256
    verified: set[tuple[int, int, str]] = field(default_factory=set)  # device, inode, SHA-256

    @classmethod
    def of(cls, plan: Plan) -> _Copies:
        found: dict[tuple[int, str], list[str]] = {}
        for item in plan.retire:
            found.setdefault((item.seen.size, item.sha256), []).append(item.witness)
        return cls(found)

    def verify(self, item: Retirement, path: Path) -> None:
        """Raises unless a copy of `item` that this run placed has its bytes.

        That is its own one.  Where somebody removed that, as with a torrent and its files, a
        sibling's will do; one that is there and spoiled is for a person to look at.
        """
        try:
            self._verify(Path(item.witness), item.sha256, path)
        except FileNotFoundError as why:
            for witness in self.witnesses[item.seen.size, item.sha256]:
                with suppress(FileNotFoundError):
                    self._verify(Path(witness), item.sha256, path)
                    return
            raise SeedError(f"there is no copy of it at {item.witness} any more") from why

    def _verify(self, witness: Path, sha256: str, path: Path) -> None:
        if os.path.samestat(os.lstat(witness), os.lstat(path)):
            raise SeedError(f"{witness} is the same file as {path}, not a copy of it")
        self.read(witness, sha256)

    def read(self, path: Path, sha256: str, seen: Fingerprint | None = None) -> None:
        """Read a file to its end, unless that was done.  Raises `WrongBytes`."""
        found = os.lstat(path)
        if (found.st_dev, inode_of(found), sha256) not in self.verified:
            stamp = verify_bytes(path, sha256, seen)
            self.verified.add((found.st_dev, stamp.inode, sha256))


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
