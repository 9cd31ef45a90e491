"""Read one file into its hashes, and notice when it changes meanwhile.

SHA-256 is the identity of bytes.  The quick hash only ever proves that two files differ: it is
xxh3-128 over the size (8 bytes, little endian) and `QUICK_SAMPLE` bytes each from the start, the
middle and the end; a file of three samples or less is taken whole.  Changing any of these numbers
makes every quick hash in every catalog worthless.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import xxhash

from seedkeep.errors import Refused, SeedError

QUICK_SAMPLE = 16 * 1024  # bytes
BLOCK = 1 << 20  # bytes; larger reads were measured and are not faster
DROP_EVERY = 64 << 20  # bytes read before their pages leave the cache

WIDEST = (1 << 63) - 1  # of SQLite's integers

Progress = Callable[[int], None]  # called with the bytes read since the last call
Stop = Callable[[], bool]  # asked before every block

# O_NONBLOCK: a FIFO planted under the name must not hang the scan.
READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class ChangedWhileReading(SeedError):
    """The file was written to while it was read: no hash can be given."""

    code = "changed-while-reading"


class NotRegular(Refused):
    """A symlink, device, FIFO, socket or directory stands where a file was expected."""

    code = "not-a-file"


class HashingStopped(SeedError):
    """`stop` said so; nothing about the file is known."""

    exit_code = 130
    code = "stopped"


def inode_of(found: os.stat_result) -> int:
    """The inode's number as the catalog has it: SQLite's integers are signed.

    mergerfs, overlay (xino) and CIFS give numbers up to 2**64; those from 2**63 on become negative.
    `hashall.model` has the same for a number alone, and the way back.
    """
    return found.st_ino if found.st_ino <= WIDEST else found.st_ino - (1 << 64)


def folded(found: os.stat_result) -> os.stat_result:
    """The same with `st_ino` as `inode_of` says; nearly always the very same object."""
    if found.st_ino <= WIDEST:
        return found
    times = {name: getattr(found, name) for name in ("st_atime_ns", "st_mtime_ns", "st_ctime_ns")}
    return os.stat_result((found.st_mode, inode_of(found), *found[2:]), times)


class FileStamp(NamedTuple):
    """What `stat` said of one inode, inside one filesystem, at one moment.

    A tuple, which costs a fifth of a frozen dataclass to make: every look at a file makes one.
    """

    inode: int
    size: int  # bytes
    mtime_ns: int
    ctime_ns: int
    nlink: int
    mode: int  # with the file type, as in st_mode
    uid: int
    gid: int

    @classmethod
    def of(cls, found: os.stat_result) -> FileStamp:
        return cls(
            inode_of(found),
            found.st_size,
            found.st_mtime_ns,
            found.st_ctime_ns,
            found.st_nlink,
            found.st_mode,
            found.st_uid,
            found.st_gid,
        )

    def same_bytes_expected(self, other: FileStamp) -> bool:
        """Equal inode, size and mtime.  ctime is left out: every link made or removed moves it."""
        return (self.inode, self.size, self.mtime_ns) == (other.inode, other.size, other.mtime_ns)


@dataclass(frozen=True)
class Hashed:
    """One complete reading of a file."""

    sha256: str  # hex
    quick_hash: str  # hex; "" when it was not wanted
    stamp: FileStamp  # from before the first byte was read


@dataclass(frozen=True)
class Sampled:
    """A reading of samples only: shaped like `Hashed`, without an identity."""

    quick_hash: str  # hex
    stamp: FileStamp
    sha256: None = None


def hash_file(
    path: str | os.PathLike[str],
    *,
    dir_fd: int | None = None,
    want_quick: bool = True,
    progress: Progress | None = None,
    stop: Stop | None = None,
) -> Hashed:
    """Read the whole file.

    Raises:
        ChangedWhileReading: Size or mtime moved between the first byte and the last.
        NotRegular: It is no regular file; a symlink is never followed.
        HashingStopped: `stop` returned true.
        OSError: It is gone, or cannot be opened or read.
    """
    fd = open_regular(path, dir_fd=dir_fd)
    try:
        return hash_descriptor(fd, path, want_quick=want_quick, progress=progress, stop=stop)
    finally:
        os.close(fd)


def forget_cached(fd: int) -> None:
    """Have what is read next come from the disk, of which what memory holds proves nothing.

    Pages that are mapped or dirty stay.
    """
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)


def quick_hash_file(path: str | os.PathLike[str], dir_fd: int | None = None) -> Sampled:
    """Read the samples only; raises as `hash_file` does."""
    fd = open_regular(path, dir_fd=dir_fd)
    try:
        before = os.fstat(fd)
        quick = sample_descriptor(fd, before.st_size)
        refuse_change(fd, before, path)
        return Sampled(quick, FileStamp.of(before))
    finally:
        os.close(fd)


def sample_descriptor(fd: int, size: int) -> str:
    """The quick hash of an open file of so many bytes; its position stays."""
    samples = Samples(size)
    if size > BLOCK:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)  # no read-ahead past a sample
    for start, end in samples.windows:
        samples.feed(start, os.pread(fd, end - start, start))
    return samples.hexdigest()


def open_regular(path: str | os.PathLike[str], *, dir_fd: int | None = None) -> int:
    """Open a regular file for reading; raises `NotRegular` or OSError.  The caller closes."""
    return open_regular_seen(path, dir_fd=dir_fd)[0]


def open_regular_seen(
    path: str | os.PathLike[str], *, dir_fd: int | None = None
) -> tuple[int, os.stat_result]:
    """The same, with what `fstat` said of it."""
    try:
        fd = os.open(path, READ_FLAGS, dir_fd=dir_fd)
    except OSError as why:
        if why.errno in (errno.ELOOP, errno.ENXIO):  # a symlink; a socket
            raise NotRegular(f"not a regular file: {os.fspath(path)!r}") from why
        raise
    seen = folded(os.fstat(fd))
    if not stat.S_ISREG(seen.st_mode):
        os.close(fd)
        raise NotRegular(f"not a regular file: {os.fspath(path)!r}")
    return fd, seen


def hash_small(fd: int, size: int) -> tuple[str, str] | None:
    """(SHA-256, quick hash) of an open file of so many bytes, less than BLOCK, in one read.

    None when it has more or less: the position is as before then.  Whether the bytes were the same
    all the time is for the caller to see.
    """
    data = os.read(fd, size + 1)  # one more than expected, to notice growth
    if len(data) != size:
        os.lseek(fd, -len(data), os.SEEK_CUR)
        return None
    return _hashes(data)


def hash_cached(fd: int, size: int, buffer: memoryview) -> tuple[str, str] | None:
    """The same where memory has all of it; waits for no disk, and leaves the position.

    None also when it has more or less bytes.  The first `size` + 1 bytes of `buffer` are
    overwritten.

    Raises:
        OSError: Also EOPNOTSUPP, EINVAL or ENOSYS, where filesystem or kernel cannot tell.
    """
    try:
        count = os.preadv(fd, [buffer[: size + 1]], 0, os.RWF_NOWAIT)
    except BlockingIOError:
        return None
    return _hashes(buffer[:size]) if count == size else None


def _hashes(data: bytes | memoryview) -> tuple[str, str]:
    """(SHA-256, quick hash) of a whole file."""
    size = len(data)
    quick = xxhash.xxh3_128(size.to_bytes(8, "little"))
    if size <= 3 * QUICK_SAMPLE:
        quick.update(data)
    else:
        view = memoryview(data)
        for start, end in sample_windows(size):
            quick.update(view[start:end])
    return hashlib.sha256(data).hexdigest(), quick.hexdigest()


def hash_descriptor(
    fd: int,
    path: str | os.PathLike[str],
    *,
    want_quick: bool = False,
    progress: Progress | None = None,
    stop: Stop | None = None,
) -> Hashed:
    """Hash an open file from its current position, which must be its start; `path` is for words."""
    before = os.fstat(fd)
    whole = hashlib.sha256()
    samples = Samples(before.st_size) if want_quick else None
    done = 0
    for block in blocks(fd, before.st_size, stop=stop):
        whole.update(block)
        if samples is not None:
            samples.feed(done, block)
        done += len(block)
        if progress is not None:
            progress(len(block))
    refuse_change(fd, before, path, read=done)
    quick = samples.hexdigest() if samples is not None else ""
    # The older stamp: a write that put mtime back shows as a moved ctime at the next look.
    return Hashed(whole.hexdigest(), quick, FileStamp.of(before))


def refuse_change(
    fd: int, before: os.stat_result, path: str | os.PathLike[str], *, read: int | None = None
) -> None:
    """Raise `ChangedWhileReading` if size or mtime moved, or `read` bytes are not the size."""
    after = os.fstat(fd)
    # By hand: two stamps here would cost a tenth of the time of a small file.
    same = before.st_size == after.st_size and before.st_mtime_ns == after.st_mtime_ns
    if same and read in (None, before.st_size):
        return
    raise ChangedWhileReading(
        f"changed while it was read: {os.fspath(path)!r}",
        detail=f"{before.st_size} bytes before, {after.st_size} after",
        hint="something is writing to it; scan again when that has ended",
    )


def blocks(fd: int, size: int, *, stop: Stop | None = None) -> Iterator[bytes | memoryview]:
    """The bytes of an open file in order.

    Large files come in one buffer that the next block overwrites, and leave the page cache behind
    the reader.  A file that grows is given up soon after `size`, so the caller must compare what
    it got with what it expected.
    """
    if stop is not None and stop():
        raise HashingStopped("stopped before the file was read")
    if size < BLOCK:
        yield from _small_blocks(fd, size)
    else:
        yield from _large_blocks(fd, size, stop)


def _small_blocks(fd: int, size: int) -> Iterator[bytes]:
    left = size
    while block := os.read(fd, left + 1):  # one more than expected, to notice growth
        yield block
        left -= len(block)
        if left <= 0:
            return


def _large_blocks(fd: int, size: int, stop: Stop | None) -> Iterator[memoryview]:
    buffer = memoryview(bytearray(BLOCK))
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)
    done = dropped = 0
    while done <= size and (count := os.readv(fd, [buffer])):
        yield buffer[:count]
        done += count
        if done - dropped >= DROP_EVERY:
            os.posix_fadvise(fd, dropped, done - dropped, os.POSIX_FADV_DONTNEED)
            dropped = done
        if stop is not None and stop():
            raise HashingStopped("stopped in the middle of a file")
    os.posix_fadvise(fd, dropped, 0, os.POSIX_FADV_DONTNEED)


class Samples:
    """The quick hash of a file whose bytes pass by in order."""

    def __init__(self, size: int) -> None:
        self.windows = sample_windows(size)
        self._hash = xxhash.xxh3_128(size.to_bytes(8, "little"))

    def feed(self, position: int, block: bytes | memoryview) -> None:
        """Take from `block`, which starts at byte `position`, what belongs to a sample."""
        for start, end in self.windows:
            low, high = max(start - position, 0), min(end - position, len(block))
            if low < high:
                self._hash.update(block[low:high])

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


def sample_windows(size: int) -> tuple[tuple[int, int], ...]:
    """Byte ranges (start, end) that the quick hash reads, ascending and without overlap."""
    if size <= 3 * QUICK_SAMPLE:
        return ((0, size),)
    middle = (size - QUICK_SAMPLE) // 2
    return (
        (0, QUICK_SAMPLE),
        (middle, middle + QUICK_SAMPLE),
        (size - QUICK_SAMPLE, size),
    )
