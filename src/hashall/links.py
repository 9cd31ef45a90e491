"""The hardlink proof: are all names of an inode known?  Every reader of hardlinks asks here."""

from __future__ import annotations

from hashall.catalog import FileTable
from hashall.model import LinkProof, LinkVerdict, RelPath


def prove(files: FileTable, inode: int, nlink: int | None, *, counts_are_true: bool) -> LinkProof:
    """Compare the names that the catalog knows with the count that the disk tells now.

    Args:
        nlink: From an lstat of this moment; None when the file could not be seen.
        counts_are_true: False on filesystems whose link counts mean nothing (FUSE, network).
    """
    return judge(files.names_of(inode), inode, nlink, counts_are_true=counts_are_true)


def judge(
    known: tuple[RelPath, ...], inode: int, nlink: int | None, *, counts_are_true: bool
) -> LinkProof:
    """The same about names that were read already."""
    if nlink is None or not counts_are_true:
        return LinkProof(inode, LinkVerdict.UNKNOWN, nlink or 0, known)
    # Fewer links than names means that the catalog is behind: names are gone or moved.
    verdict = LinkVerdict.PROVED if nlink == len(known) else LinkVerdict.UNACCOUNTED
    return LinkProof(inode, verdict, nlink, known)
