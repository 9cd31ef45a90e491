"""One hash over a directory and all that is below it, from the catalog alone.

A file's hash is its SHA-256.  A directory's is the SHA-256 over its entries sorted by the bytes of
their names, each as `f` or `d`, a space, the entry's hash in hex, a space, the name, and NUL.
Directories without any file below them do not count, as a catalog of files cannot tell them from
directories that are gone.  Symlinks and special files are not in the catalog, and what is mounted
below is another filesystem: neither is part of a tree.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from hashall.catalog.trees import Directory, TreeTable
from hashall.model import RelPath
from hashall.places import Places, Spot
from seedkeep.errors import Misused

MOST_MISSING = 20  # paths that are listed as a reason for having no hash


@dataclass(frozen=True, slots=True)
class Tree:
    """What is known of one directory."""

    tree_hash: str | None  # None: something in it has no hash, or was not seen
    files: int
    bytes: int  # by name: a file with two names in it counts twice
    holes: tuple[RelPath, ...]  # the first places without a hash; empty exactly when there is one


@dataclass(frozen=True)
class TreeView:
    """A tree as it was asked for."""

    path: str  # absolute
    device_id: int
    tree_hash: str | None
    files: int
    bytes: int
    holes: tuple[str, ...]  # below `path`: why there is no hash


def hash_trees(
    table: TreeTable, directories: Iterable[Directory], gaps: Mapping[RelPath, str]
) -> dict[int, Tree]:
    """The tree of each directory, by its id, without those that have no file below them.

    Args:
        directories: Complete below each of them: a missing child would be a missing part.
        gaps: What a scan could not read.
    """
    todo = sorted(directories, key=lambda d: len(d.path), reverse=True)  # children come first
    holes = _holes(todo, gaps)
    below: dict[int, list[tuple[bytes, Tree]]] = {}
    found: dict[int, Tree] = {}
    for directory in todo:
        children = below.pop(directory.dir_id, [])
        tree = _tree(table, directory, children, holes.get(directory.dir_id, ()))
        if tree.files or tree.holes:
            found[directory.dir_id] = tree
            if directory.parent_id is not None:
                name = os.fsencode(directory.path.rpartition("/")[2])
                below.setdefault(directory.parent_id, []).append((name, tree))
    return found


def _tree(
    table: TreeTable,
    directory: Directory,
    children: list[tuple[bytes, Tree]],
    holes: tuple[RelPath, ...],
) -> Tree:
    lines: list[tuple[bytes, bytes, str]] = []  # (name, kind, hash)
    missing = list(holes)
    files = size = 0
    for entry in table.entries(directory.dir_id):
        files += 1
        size += entry.size
        if entry.sha256 is not None:
            lines.append((os.fsencode(entry.name), b"f", entry.sha256))
        elif len(missing) < MOST_MISSING:
            missing.append(f"{directory.path}/{entry.name}" if directory.path else entry.name)
    for name, child in children:
        files += child.files
        size += child.bytes
        missing += child.holes[: MOST_MISSING - len(missing)]
        lines.append((name, b"d", child.tree_hash or ""))
    if missing:
        return Tree(None, files, size, tuple(sorted(missing)))
    digest = hashlib.sha256()
    for name, kind, child_hash in sorted(lines):
        digest.update(b"%s %s %s\0" % (kind, child_hash.encode("ascii"), name))
    return Tree(digest.hexdigest(), files, size, ())


def _holes(
    directories: Iterable[Directory], gaps: Mapping[RelPath, str]
) -> dict[int, tuple[RelPath, ...]]:
    """Gaps by the deepest directory that the catalog has on the way to them."""
    found: dict[int, tuple[RelPath, ...]] = {}
    if not gaps:
        return found
    by_path = {directory.path: directory.dir_id for directory in directories}
    for gap in sorted(gaps):
        way = gap
        while way not in by_path and way:
            way = way.rpartition("/")[0]
        if way in by_path:
            found[by_path[way]] = (*found.get(by_path[way], ()), gap)
    return found


@dataclass(frozen=True)
class KnownTree:
    """One directory of the catalog with the trees of everything below it."""

    spot: Spot
    table: TreeTable
    top: Directory
    trees: Mapping[int, Tree]
    gaps: frozenset[str]  # paths below the top that nobody has read; "" is the top itself

    def view(self) -> TreeView:
        tree = self.trees.get(self.top.dir_id) or Tree(hashlib.sha256().hexdigest(), 0, 0, ())
        return TreeView(
            path=str(self.spot.abspath),
            device_id=self.table.device_id,
            tree_hash=tree.tree_hash,
            files=tree.files,
            bytes=tree.bytes,
            holes=tuple(_below(hole, self.top.path) or "." for hole in tree.holes),
        )


def known_tree(places: Places, path: Path) -> KnownTree:
    """A directory's tree, as of the last scan.

    Raises:
        Misused: It is not there, or the catalog does not know it.
        Partial: It cannot be looked at.
    """
    spot = places.named(path)
    place = spot.place
    table = TreeTable(places.catalog.db, place.device_id)
    top = table.directory(place.relpath)
    if top is None:
        if not spot.abspath.is_dir():
            raise Misused(f"{spot.abspath} is no directory", hint="name its directory")
        raise Misused(
            f"the catalog does not know the directory {spot.abspath}",
            detail="no scan has seen it",
            hint=f"hashall scan {spot.abspath}",
        )
    coverage = places.catalog.scans.coverage(place.device_id, place.relpath)
    gaps = dict(coverage.gaps)
    if coverage.completed_at is None:
        gaps.setdefault(place.relpath, "no scan of it came to its end")
    return KnownTree(
        spot,
        table,
        top,
        hash_trees(table, table.below(top.dir_id), gaps),
        frozenset(_below(gap, place.relpath) for gap in gaps),
    )


def _below(path: RelPath, top: RelPath) -> str:
    """What remains of a path below `top`; a gap on the way to it is at the top itself."""
    return path[len(top) :].lstrip("/")
