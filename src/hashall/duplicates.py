"""Files with equal bytes as values: groups, and what hardlinks in their place would save."""

from __future__ import annotations

from dataclasses import dataclass

from hashall.duplicate_list import DuplicateList, list_duplicates
from hashall.model import shown_inode
from hashall.places import Places


@dataclass(slots=True)  # frozen would take four times as long to make, and there are many
class Copy:
    """One inode of a group."""

    device_id: int
    inode: int  # as stat(1) shows it
    nlink: int  # as of the last scan; above len(paths): names that no scan has seen
    paths: tuple[str, ...]  # absolute, sorted


@dataclass(slots=True)
class DuplicateGroup:
    """Equal bytes in more than one inode."""

    sha256: str
    size: int  # bytes of one copy
    saves: int  # bytes that hardlinks inside each filesystem would free
    redundant: int  # bytes beyond one copy, wherever they are
    copies: tuple[Copy, ...]  # what hardlinks would keep comes first on each device


@dataclass(frozen=True)
class Duplicates:
    groups: tuple[DuplicateGroup, ...]  # the most redundant first
    saves: int  # bytes
    redundant: int  # bytes
    unhashed: int  # files without a SHA-256, which may have copies too


def find_duplicates(places: Places, *, across: bool = False, min_size: int = 1) -> Duplicates:
    """What `list_duplicates` finds, as values."""
    return as_values(list_duplicates(places, across=across, min_size=min_size))


def as_values(found: DuplicateList) -> Duplicates:
    groups = []
    for number in found.order:
        copies = tuple(_copy(found, place) for place, _ in found.copies(number))
        groups.append(
            DuplicateGroup(
                sha256=found.sha256s[number],
                size=found.sizes[number],
                saves=found.saves[number],
                redundant=found.redundant[number],
                copies=copies,
            )
        )
    return Duplicates(tuple(groups), found.all_saves, found.all_redundant, found.unhashed)


def _copy(found: DuplicateList, place: int) -> Copy:
    names = found.names[place]
    return Copy(
        device_id=found.devices[place],
        inode=shown_inode(found.inodes[place]),
        nlink=found.links.get(place, 1),
        paths=(names,) if isinstance(names, str) else tuple(names),
    )
