"""Which hardlinks make a torrent's files appear on the pool.  Pure; fails on ambiguity.

File by file and by content, never by folder: roots may be renamed and layouts may differ between
siblings while the bytes are the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from pathlib import Path

from rehome.facts import FileFact, TorrentFact
from rehome.model import Link
from seedkeep.errors import Refused

Content = tuple[int, str]  # bytes, sha256


class Ambiguous(Refused):
    """Two torrents of one group cannot both have what they want at `path`."""

    code = "target-conflict"

    def __init__(self, brief: str, path: Path) -> None:
        super().__init__(brief)
        self.path = path


@dataclass(frozen=True)
class View:
    """Everything that belongs below one save path on the pool."""

    root: Path
    contents: tuple[tuple[str, Content], ...]  # name below root, sorted

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.contents)


def content_of(file: FileFact) -> Content | None:
    return None if file.sha256 is None else (file.size, file.sha256)


def views_of(torrents: Iterable[TorrentFact]) -> tuple[View, ...]:
    """One view for each save path on the pool; torrents on the very same path share theirs.

    Raises as `claims_of`.
    """
    by_root: dict[Path, list[tuple[str, Content]]] = {}
    for root, name, content in claims_of(torrents).values():
        by_root.setdefault(root, []).append((name, content))
    return tuple(View(root, tuple(sorted(by_root[root]))) for root in sorted(by_root))


def claims_of(torrents: Iterable[TorrentFact]) -> Mapping[str, tuple[Path, str, Content]]:
    """Save path, name and content of each path on the pool that torrents of one group want.

    Raises:
        Ambiguous: Two torrents want different bytes at one path, or a file where the other wants a
            directory.
    """
    claimed: dict[str, tuple[Path, str, Content]] = {}
    for torrent in torrents:
        root = torrent.target_path
        assert root is not None  # blocked before
        top = str(root)
        for file in torrent.files:
            assert file.sha256 is not None  # blocked before
            content = (file.size, file.sha256)
            path = f"{top}/{file.name}"
            first = claimed.setdefault(path, (root, file.name, content))
            if first[2] != content:
                raise Ambiguous(
                    f"two torrents of the group want different bytes at {path}", Path(path)
                )
    _refuse_files_as_folders(claimed.keys())
    return claimed


def _refuse_files_as_folders(paths: Set[str]) -> None:
    """Raises `Ambiguous` where one path is a file and has another one below it."""
    if paths.isdisjoint(_folders_above(paths)):
        return
    folders: dict[str, str] = {}  # with a path below each
    for path in sorted(paths):
        folder = path.rpartition("/")[0]
        while folder and folder not in folders:
            folders[folder] = path
            folder = folder.rpartition("/")[0]
    below = folders[min(folders.keys() & paths)]
    raise Ambiguous(f"{below} would have to lie below a file", Path(below))


def _folders_above(paths: Iterable[str]) -> set[str]:
    found: set[str] = set()
    for deepest in {path.rpartition("/")[0] for path in paths}:
        folder = deepest
        while folder and folder not in found:
            found.add(folder)
            folder = folder.rpartition("/")[0]
    return found


def links_for(
    view: View, sources: Mapping[Content, str], *, present: frozenset[str]
) -> tuple[Link, ...]:
    """The links that a staged view needs; `present` are names that already lie in their place."""
    return tuple(
        Link(sources[content], name) for name, content in view.contents if name not in present
    )
