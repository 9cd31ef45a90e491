"""Are the bytes of two open files the same?"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

from hashall.hashing import BLOCK, DROP_EVERY, hash_descriptor
from hashall.linking.look import Opened, Skip
from hashall.linking.model import Verify


def refuse_difference(
    source: Opened, target: Opened, sha256: str, how: Verify, *, keep_source: bool = False
) -> None:
    """Raises `Skip` unless the files are equal, as sure as `how` wants it.

    `keep_source`: it will be read again soon, so its pages stay in the page cache.
    """
    if how is Verify.NONE:
        return
    if how is Verify.BYTES:
        equal = same_bytes(source.fd, target.fd, target.seen.st_size, keep_first=keep_source)
        what = "the two files do not have the same bytes"
    else:
        equal = all(hash_descriptor(f.fd, f.path).sha256 == sha256 for f in (source, target))
        what = "its bytes are not those that the catalog has a hash of"
    if not equal:
        raise Skip("bytes-differ", f"{what}; the hashes are forgotten: scan again", doubt=True)


def same_bytes(one: int, other: int, size: int, *, keep_first: bool = False) -> bool:
    """Compare two files of this size, from the start; what was read leaves the page cache."""
    if size < BLOCK:
        return _read_all(one, size) == _read_all(other, size)
    with ThreadPoolExecutor(1) as beside:  # both disks, or both ends of one, work at once
        return _same_blocks(
            (one, other), size, beside, drop=(other,) if keep_first else (one, other)
        )


def _read_all(fd: int, size: int) -> bytes:
    """The whole file, and a byte more if it grew."""
    found = os.pread(fd, size + 1, 0)
    while 0 < len(found) < size and (more := os.pread(fd, size + 1 - len(found), len(found))):
        found += more
    return found


def _same_blocks(
    pair: tuple[int, int], size: int, beside: ThreadPoolExecutor, *, drop: tuple[int, ...]
) -> bool:
    one, other = pair
    mine, its = bytearray(BLOCK), bytearray(BLOCK)  # compared by memcmp; memoryviews are not
    for fd in pair:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)
    done = dropped = 0
    while done <= size:
        reading = beside.submit(_fill, other, its, done)
        count = _fill(one, mine, done)
        if reading.result() != count:
            return False
        if mine != its and (count == BLOCK or mine[:count] != its[:count]):
            return False
        done += count
        if done - dropped >= DROP_EVERY or count < BLOCK:
            for fd in drop:
                os.posix_fadvise(fd, dropped, done - dropped, os.POSIX_FADV_DONTNEED)
            dropped = done
        if count < BLOCK:
            break
    return done == size


def _fill(fd: int, buffer: bytearray, start: int) -> int:
    """Read until the buffer is full or the file ends."""
    view = memoryview(buffer)
    filled = 0
    while filled < len(buffer) and (count := os.preadv(fd, [view[filled:]], start + filled)):
        filled += count
    return filled
