"""Torrents that share files with a group although the catalog does not say so."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from hashall.hashing import inode_of
from hashall.model import TorrentFileOnDisk
from hashall.qbittorrent import Mapped
from rehome.look import Look
from seedkeep.errors import SeedError

Key = tuple[int, str | int]  # device with path, and device with inode


class Users(NamedTuple):
    """Ids of torrents, each in one of the two."""

    direct: frozenset[str]  # by hardlinks, or the files as they are
    by_symlink: frozenset[str]


@dataclass
class Strangers:
    """Only torrents that changed since the last sync cost a call."""

    look: Look

    def of(self, group: Iterable[str], files: Iterable[TorrentFileOnDisk]) -> Users:
        """Who else uses files of a group."""
        ours = frozenset(group)
        direct: set[str] = set()
        linked: set[str] = set()
        if self._users:
            for file in files:
                for key in ((file.device_id, file.path), (file.device_id, file.inode)):
                    for torrent_id, by_symlink in self._users.get(key, ()):
                        if torrent_id not in ours:
                            (linked if by_symlink else direct).add(torrent_id)
        return Users(frozenset(direct), frozenset(linked - direct))

    def named(self, torrents: Iterable[str]) -> tuple[str, ...]:
        names = self.look.inventory
        return tuple(f"{torrent_id} ({names[torrent_id].name})" for torrent_id in sorted(torrents))

    @cached_property
    def _users(self) -> Mapping[tuple[int, str | int | None], set[tuple[str, bool]]]:
        found: dict[tuple[int, str | int | None], set[tuple[str, bool]]] = {}
        for torrent_id, item in self.look.changed.items():
            for key, by_symlink in self._lying_at(item):
                found.setdefault(key, set()).add((torrent_id, by_symlink))
        return found

    def _lying_at(self, item: Mapped) -> Iterator[tuple[Key, bool]]:
        """Path and inode of each file that lies on disk, whatever the client says of progress."""
        for file in item.files:
            path = item.save_path / file.name
            try:
                place, inode = self.look.places.find(path).place, inode_of(path.stat())
            except (OSError, SeedError):
                continue  # not there, or on a filesystem that is none of ours
            by_symlink = _is_behind_symlink(item.save_path, file.name)
            yield (place.device_id, place.relpath), by_symlink
            yield (place.device_id, inode), by_symlink


def _is_behind_symlink(save_path: Path, name: str) -> bool:
    """Some cross-seeders make symlinks; when our files go, theirs lead to nothing."""
    here = str(save_path)
    for part in name.split("/"):
        here = f"{here}/{part}"
        if os.path.islink(here):
            return True
    return False
