"""Directories with equal content, inside one filesystem and across all of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hashall.catalog.scans import is_at_or_below
from hashall.catalog.trees import Directory, TreeTable
from hashall.places import Places
from hashall.shown import ShownPaths
from hashall.treehash import Tree, hash_trees


@dataclass(frozen=True)
class TreeCopy:
    device_id: int
    path: str  # absolute


@dataclass(frozen=True)
class EqualTreeGroup:
    """Directories with the same tree hash, of which no directory above says the same."""

    tree_hash: str
    files: int  # of one
    bytes: int  # of one
    redundant: int  # bytes beyond one copy; names of one inode are one copy
    copies: tuple[TreeCopy, ...]


@dataclass(frozen=True)
class EqualTrees:
    groups: tuple[EqualTreeGroup, ...]  # the most redundant first
    redundant: int  # bytes
    incomplete: int  # directories without a tree hash, because something in them has no hash


@dataclass(frozen=True)
class _Member:
    table: TreeTable
    directory: Directory
    tree: Tree
    parent: tuple[str | None, int, int | None]  # its tree hash, device and directory


def find_equal_trees(places: Places, *, min_size: int = 1) -> EqualTrees:
    """Groups of equal directories, the topmost only, as of the last scan.

    Args:
        min_size: Bytes below one directory.
    """
    by_hash: dict[str, list[_Member]] = {}
    incomplete = 0
    for device in places.catalog.devices.all():
        for member in _members(places, device.device_id):
            if member.tree.tree_hash is None:
                incomplete += 1
            elif member.tree.bytes >= min_size:
                by_hash.setdefault(member.tree.tree_hash, []).append(member)
    shown = ShownPaths(places)
    groups = [
        group
        for tree_hash, members in by_hash.items()
        if len(members) > 1 and not _implied(members)
        if (group := _group(tree_hash, members, shown)).redundant or not group.bytes
    ]
    groups.sort(key=lambda group: (-group.redundant, group.tree_hash))
    return EqualTrees(tuple(groups), sum(group.redundant for group in groups), incomplete)


def _members(places: Places, device_id: int) -> Iterator[_Member]:
    """Every directory of a device that a complete scan has seen as a whole."""
    scans = places.catalog.scans
    roots = [root for device, root, _, done in scans.roots() if device == device_id and done]
    table = TreeTable(places.catalog.db, device_id)
    directories = {
        d.dir_id: d
        for d in table.directories()
        if any(is_at_or_below(d.path, root) for root in roots)
    }
    gaps = {gap: why for root in roots for gap, why in scans.coverage(device_id, root).gaps}
    trees = hash_trees(table, directories.values(), gaps)
    for dir_id, tree in trees.items():
        directory = directories[dir_id]
        above = trees.get(directory.parent_id) if directory.parent_id is not None else None
        parent = (above.tree_hash if above else None, device_id, directory.parent_id)
        yield _Member(table, directory, tree, parent)


def _implied(members: list[_Member]) -> bool:
    """The directories above are equal too, each with one of these in it."""
    hashes = {member.parent[0] for member in members}
    parents = {member.parent[1:] for member in members}
    return len(hashes) == 1 and None not in hashes and len(parents) == len(members)


def _group(tree_hash: str, members: list[_Member], shown: ShownPaths) -> EqualTreeGroup:
    inodes: dict[tuple[int, int], int] = {}
    sizes = []
    for member in members:
        mine = member.table.inodes_below(member.directory.dir_id)
        sizes.append(sum(mine.values()))
        inodes |= {(member.table.device_id, inode): size for inode, size in mine.items()}
    copies = sorted(
        (m.table.device_id, shown.in_words(m.table.device_id, m.directory.path)) for m in members
    )
    return EqualTreeGroup(
        tree_hash=tree_hash,
        files=members[0].tree.files,
        bytes=members[0].tree.bytes,
        redundant=sum(inodes.values()) - min(sizes),
        copies=tuple(TreeCopy(*copy) for copy in copies),
    )
