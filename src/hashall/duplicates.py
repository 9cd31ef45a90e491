"""Files with equal bytes as values: groups, and what hardlinks in their place would save."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

from hashall.duplicate_list import DuplicateSearch, EqualFiles, Member, in_order
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
    """What a `DuplicateSearch` finds, as values."""
    search = DuplicateSearch(places, across=across, min_size=min_size)
    with closing(search.parts()) as parts:
        found = [group for files in parts for group in _groups(files)]
    order = in_order(
        [group.redundant for group in found],
        [group.sha256 for group in found],
        [group.copies[0].device_id for group in found],
    )
    return Duplicates(
        groups=tuple(map(found.__getitem__, order)),
        saves=sum(group.saves for group in found),
        redundant=sum(group.redundant for group in found),
        unhashed=search.unhashed,
    )


def _groups(files: EqualFiles) -> Iterator[DuplicateGroup]:
    rows = zip(files.sha256s, files.sizes, files.saves, files.redundant, strict=True)
    for number, (sha256, size, saves, redundant) in enumerate(rows):
        copies = tuple(map(_copy, files.members(number)))
        if len(copies) > 1:
            yield DuplicateGroup(sha256, size, saves, redundant, copies)


def _copy(member: Member) -> Copy:
    names = member.names
    return Copy(
        device_id=member.device_id,
        inode=shown_inode(member.inode),
        nlink=member.nlink,
        paths=(names,) if isinstance(names, str) else tuple(names),
    )
