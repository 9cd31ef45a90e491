"""Find out by doing what a place can: make a file there, link it, look, and take all away again.

Everything made is inside one folder of ours in each place.  What a killed probe leaves is removed
by the next one, when it is old enough not to be another probe's at work.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from hashall.dirfd import PREFIX
from hashall.fsops import remove_tree_of_ours
from seedkeep import clock
from seedkeep.errors import SeedError

PROBE_PREFIX = f"{PREFIX}probe-"
OLD_S = 3600.0
_CONTENT = b"hashall doctor looks whether hardlinks work here; this file may be removed\n"


@dataclass(frozen=True)
class ProbeFile:
    """A small file of ours in a place, or why there is none."""

    root: Path
    path: Path | None
    errno: int  # 0: it was made
    ahead_s: float  # how far the place's clock is ahead of ours


@dataclass(frozen=True)
class LinkResult:
    """One attempt to give a file a second name."""

    errno: int  # 0: the system said that it was done
    same_inode: bool
    nlink: int  # of the file, after it


@contextmanager
def probe_files(roots: Sequence[Path]) -> Iterator[list[ProbeFile]]:
    """One probe file in each root; they are removed at the end, however it ends."""
    failed: set[Path] = set()
    with ExitStack() as stack:
        made = []
        for root in roots:
            _remove_old(root)
            folder = root / f"{PROBE_PREFIX}{secrets.token_hex(8)}"
            stack.callback(_remove, folder, failed)
            made.append(_make(root, folder))
            if made[-1].errno:
                failed.add(folder)
        yield made


def try_link(existing: Path, beside: Path) -> LinkResult:
    """Link a probe file into the folder of another (or its own), look, and take the link away."""
    name = beside.with_name(f"link-{secrets.token_hex(8)}")
    try:
        os.link(existing, name, follow_symlinks=False)
    except OSError as why:
        return LinkResult(why.errno or -1, same_inode=False, nlink=0)
    try:
        first, second = os.lstat(existing), os.lstat(name)
        same = (first.st_dev, first.st_ino) == (second.st_dev, second.st_ino)
        return LinkResult(0, same, second.st_nlink)
    finally:
        os.unlink(name)


def _make(root: Path, folder: Path) -> ProbeFile:
    try:
        os.mkdir(folder, 0o700)
        path = folder / "probe"
        before = clock.now().timestamp()
        with path.open("xb") as file:
            file.write(_CONTENT)
            file.flush()
            os.fsync(file.fileno())
        written = os.lstat(path).st_mtime
        after = clock.now().timestamp()
    except OSError as why:
        return ProbeFile(root, None, why.errno or -1, 0.0)
    ahead = written - after if written > after else min(written - before, 0.0)
    return ProbeFile(root, path, 0, ahead)


def _remove(folder: Path, failed: Collection[Path]) -> None:
    """What is kept by a disk that failed meanwhile goes with a later probe."""
    try:
        remove_tree_of_ours(folder)
    except FileNotFoundError:
        pass
    except (OSError, SeedError):
        if folder not in failed:
            raise


def _remove_old(root: Path) -> None:
    now = clock.now().timestamp()
    try:
        names = [name for name in os.listdir(root) if name.startswith(PROBE_PREFIX)]
    except OSError:
        return
    for name in names:
        with suppress(OSError, SeedError):
            seen = os.lstat(root / name)
            if stat.S_ISDIR(seen.st_mode) and now - seen.st_mtime > OLD_S:
                remove_tree_of_ours(root / name)
