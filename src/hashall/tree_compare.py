"""Two trees side by side: are they equal, and where do they first differ."""

from __future__ import annotations

import enum
import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from hashall.catalog.trees import Directory, Entry
from hashall.treehash import KnownTree, TreeView


class Difference(enum.Enum):
    ONLY_FIRST = "only in the first"
    ONLY_SECOND = "only in the second"
    CONTENT = "other content"
    KIND = "a file here, a directory there"
    UNKNOWN = "not hashed, or not read"


@dataclass(frozen=True)
class Differing:
    path: str  # below both trees
    how: Difference


@dataclass(frozen=True)
class Comparison:
    first: TreeView
    second: TreeView
    equal: bool | None  # None: no difference is known, but something has no hash
    differences: tuple[Differing, ...]  # the first ones, in order of their paths
    complete: bool  # these are all


def compare_trees(first: KnownTree, second: KnownTree, *, most: int) -> Comparison:
    """Compare by hash, and go down only where the hashes differ.

    Args:
        most: How many differences to list.
    """
    views = first.view(), second.view()
    if views[0].tree_hash is not None and views[0].tree_hash == views[1].tree_hash:
        return Comparison(*views, equal=True, differences=(), complete=True)
    differences = _differences(first, second)
    found = list(islice(differences, most + 1))
    proved = any(differing.how is not Difference.UNKNOWN for differing in found)
    return Comparison(
        *views,
        equal=False if proved else None,
        differences=tuple(found[:most]),
        complete=len(found) <= most,
    )


def _differences(a: KnownTree, b: KnownTree) -> Iterator[Differing]:
    """In order of their paths.  Trees may be deeper than functions can call themselves."""
    open_folders = [_side_by_side(a, a.top.dir_id, b, b.top.dir_id, "")]
    while open_folders:
        found = next(open_folders[-1], None)
        if found is None:
            open_folders.pop()
        elif isinstance(found, Differing):
            yield found
        else:
            open_folders.append(_side_by_side(a, found.first, b, found.second, found.path))


@dataclass(frozen=True)
class _Below:
    """Two directories of the same name whose hashes differ."""

    first: int
    second: int
    path: str


def _side_by_side(
    a: KnownTree, a_id: int, b: KnownTree, b_id: int, below: str
) -> Iterator[Differing | _Below]:
    """What differs right in two directories, and where to go down."""
    if below in a.gaps or below in b.gaps:
        yield Differing(below or ".", Difference.UNKNOWN)
        return
    left, right = _entries(a, a_id), _entries(b, b_id)
    for name in sorted(left.keys() | right.keys(), key=os.fsencode):
        path = f"{below}/{name}" if below else name
        mine, theirs = left.get(name), right.get(name)
        if isinstance(mine, Directory) and isinstance(theirs, Directory):
            hashes = a.trees[mine.dir_id].tree_hash, b.trees[theirs.dir_id].tree_hash
            if hashes[0] is None or hashes[0] != hashes[1]:
                yield _Below(mine.dir_id, theirs.dir_id, path)
        elif (mine is None and path in a.gaps) or (theirs is None and path in b.gaps):
            yield Differing(path, Difference.UNKNOWN)
        else:
            how = _how(mine, theirs)
            if how is not None:
                yield Differing(path, how)


def _how(mine: Entry | Directory | None, theirs: Entry | Directory | None) -> Difference | None:
    if mine is None:
        return Difference.ONLY_SECOND
    if theirs is None:
        return Difference.ONLY_FIRST
    if isinstance(mine, Directory) or isinstance(theirs, Directory):
        return Difference.KIND
    if mine.size != theirs.size:
        return Difference.CONTENT
    if mine.sha256 is None or theirs.sha256 is None:
        return Difference.UNKNOWN
    return None if mine.sha256 == theirs.sha256 else Difference.CONTENT


def _entries(tree: KnownTree, dir_id: int) -> dict[str, Entry | Directory]:
    found: dict[str, Entry | Directory] = {e.name: e for e in tree.table.entries(dir_id)}
    for child in tree.table.children(dir_id):
        if child.dir_id in tree.trees:
            found[child.path.rpartition("/")[2]] = child
    return found
