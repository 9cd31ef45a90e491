"""What a person would compare before and after: names, contents, modes, owners, times."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Entry:
    kind: str  # "file", "dir", "symlink" or "other"
    mode: int
    owner: tuple[int, int]
    content: bytes | None  # of a file; the target of a symlink
    mtime_ns: int | None  # of a file; a directory's moves with its entries
    links: int | None  # of a file


def snapshot(root: Path) -> dict[str, Entry]:
    """Everything below `root` by relative name; symlinks are not followed."""
    found = {}
    for folder, directories, files in os.walk(root):
        for name in (*directories, *files):
            path = Path(folder, name)
            found[os.fspath(path.relative_to(root))] = _entry(path)
    return found


def files_in(root: Path) -> dict[str, Entry]:
    return {name: entry for name, entry in snapshot(root).items() if entry.kind != "dir"}


def _entry(path: Path) -> Entry:
    seen = path.lstat()
    mode, owner = stat.S_IMODE(seen.st_mode), (seen.st_uid, seen.st_gid)
    if stat.S_ISDIR(seen.st_mode):
        return Entry("dir", mode, owner, None, None, None)
    if stat.S_ISLNK(seen.st_mode):
        return Entry("symlink", mode, owner, os.fsencode(path.readlink()), None, None)
    if not stat.S_ISREG(seen.st_mode):
        return Entry("other", mode, owner, None, None, None)
    return Entry("file", mode, owner, path.read_bytes(), seen.st_mtime_ns, seen.st_nlink)
