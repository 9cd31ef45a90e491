"""The client's inventory: which files on disk are this torrent's.

Layout comes from the file list below the save path.  `content_path` is no help: for a torrent
without a root folder it is the shared save directory itself.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from hashall.hashing import FileStamp
from hashall.payload import Layout, layout_of
from hashall.presence import may_lie_at, why_unseen
from seedkeep.torrent_client import Torrent, TorrentFile

INCOMPLETE_SUFFIX = ".!qB"  # behind the name of a file that has begun, if the client is set so
UNWANTED_FOLDER = ".unwanted"  # beside the wanted files, likewise


@dataclass(frozen=True)
class PathMap:
    """Pairs of prefixes, (client's, ours); the longest that fits wins."""

    pairs: Sequence[tuple[str, str]] = ()
    # Thousands of torrents have few save paths, and making a path costs as much as an lstat.
    _ours: dict[str, Path] = field(default_factory=dict, init=False, repr=False, compare=False)
    _theirs: dict[Path, str] = field(default_factory=dict, init=False, repr=False, compare=False)

    def to_ours(self, path: str) -> Path:
        if path not in self._ours:
            self._ours[path] = Path(_swap(path, self.pairs))
        return self._ours[path]

    def text_of_ours(self, path: str) -> str:
        """`to_ours` as text, without a `Path` of each: for what thousands have each their own."""
        return _swap(path, self.pairs)

    def to_client(self, path: Path) -> str:
        if path not in self._theirs:
            pairs = tuple((ours, client) for client, ours in self.pairs)
            self._theirs[path] = _swap(str(path), pairs)
        return self._theirs[path]


def _swap(path: str, pairs: Sequence[tuple[str, str]]) -> str:
    path = _normal(path)
    fits = [(a, b) for a, b in pairs if (path + "/").startswith(a.rstrip("/") + "/")]
    if not fits:
        return path
    old, new = max(fits, key=lambda pair: len(pair[0]))
    return _normal(new + "/" + path[len(old.rstrip("/")) :])


def _normal(path: str) -> str:
    """Two leading slashes, which normpath keeps, mean nothing special on Linux."""
    normal = os.path.normpath(path)
    return normal[1:] if normal.startswith("//") else normal


@dataclass(frozen=True)
class WantedFile:
    """One file that the torrent wants, as it is on disk now."""

    name: str  # below the save path
    relpath: str  # below the payload root
    size: int  # bytes, as the torrent says
    stamp: FileStamp | None  # None: missing, or no regular file
    unseen: str = ""  # why nobody can say whether it is missing: its disk fails, or is closed to us


@dataclass(frozen=True)
class Mapped:
    """A torrent's files on our disk."""

    torrent: Torrent
    save_path: Path  # ours
    root_name: str  # "" without a root folder
    files: tuple[WantedFile, ...]
    refused: str | None = None  # why its file list was not even looked at
    unwanted: tuple[str, ...] = ()  # on disk, or not to be told, of files that it does not want
    listed: tuple[TorrentFile, ...] = ()  # everything that the client lists
    download_path: Path | None = None  # ours, for unfinished data
    unmapped: bool = False  # not even its save path is there: the path map may lack a pair

    @cached_property
    def problem(self) -> str | None:
        """Why these bytes cannot be the torrent's whole content; None when they can."""
        return self.refused or self._problem_in_client() or self._problem_on_disk()

    @property
    def is_unfinished(self) -> bool:
        """The client is still writing to its files, or may: it checks or moves them."""
        torrent = self.torrent
        return torrent.state.is_busy or torrent.progress < 1 or torrent.amount_left > 0

    def _problem_in_client(self) -> str | None:
        if not self.save_path.is_absolute():
            return f"its save path is no absolute path: {str(self.save_path)!r}"
        if self.torrent.state.is_busy:
            return f"busy: {self.torrent.state.value}"
        if self.torrent.progress < 1 or self.torrent.amount_left:
            return f"incomplete: {self.torrent.progress:.1%} in the client"
        return None

    def _problem_on_disk(self) -> str | None:
        if not self.files:
            return "empty: the torrent wants no file"
        unseen = [file for file in self.files if file.unseen]
        if unseen:
            return f"unreadable on disk: {_some([f.name for f in unseen])}: {unseen[0].unseen}"
        if self.unmapped:
            return (
                f"path map not proved: the client has it in {self.torrent.save_path!r},"
                f" and there is no folder {str(self.save_path)!r} here"
            )
        absent = [file.name for file in self.files if file.stamp is None]
        if absent:
            return f"missing on disk: {_some(absent)}"
        wrong = [f.name for f in self.files if f.stamp is not None and f.stamp.size != f.size]
        return f"wrong size on disk: {_some(wrong)}" if wrong else None


def map_torrent(torrent: Torrent, files: Sequence[TorrentFile], path_map: PathMap) -> Mapped:
    """Look up a torrent's wanted files on our disk.

    Raises:
        UnsafeName: A listed name would leave the torrent's folder.
    """
    layout = layout_of([file.name for file in files]) if files else Layout("", ())
    save_path = path_map.to_ours(torrent.save_path)
    top = f"{str(save_path).rstrip('/')}/"
    wanted = tuple(
        [
            _wanted(file, relpath, top + file.name)
            for file, relpath in zip(files, layout.relpaths, strict=True)
            if file.wanted
        ]
    )
    lying = tuple(
        name
        for file in files
        if not file.wanted
        for name in _names_on_disk(file.name)
        if may_lie_at(top + name)
    )
    nowhere = all(file.stamp is None and not file.unseen for file in wanted)
    return Mapped(
        torrent,
        save_path,
        layout.root_name,
        wanted,
        unwanted=lying,
        listed=tuple(files),
        download_path=path_map.to_ours(torrent.download_path) if torrent.download_path else None,
        unmapped=nowhere and not os.path.isdir(save_path),
    )


def _names_on_disk(name: str) -> tuple[str, ...]:
    """Where the client may keep a file that it does not want, whole or begun."""
    folder, slash, base = name.rpartition("/")
    aside = f"{folder}{slash}{UNWANTED_FOLDER}/{base}"
    return (name, name + INCOMPLETE_SUFFIX, aside, aside + INCOMPLETE_SUFFIX)


def _wanted(file: TorrentFile, relpath: str, path: str) -> WantedFile:
    stamp = stamp_at(path)
    unseen = why_unseen(path) if stamp is None else ""
    return WantedFile(file.name, relpath, file.size, stamp, unseen)


def stamp_at(path: str | Path) -> FileStamp | None:
    """What lstat says of a regular file; None when there is none (a symlink is none either)."""
    try:
        seen = os.lstat(path)
    except (OSError, ValueError):
        return None
    return FileStamp.of(seen) if stat.S_ISREG(seen.st_mode) else None


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(repr(name) for name in names[:3]) + more
