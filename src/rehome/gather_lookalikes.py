"""Torrents that may belong to a group although nobody can say so, because they cannot be seen.

What shares a path or an inode with a group is found by `gather_strangers`.  Here are copies that
the catalog does not know by their hashes, and torrents whose files are not to be seen at all.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from hashall.catalog.inventory import NOT_READ
from hashall.catalog.scans import MOST_AHEAD
from hashall.model import TorrentFileOnDisk, TorrentInstance
from hashall.payload import hashes_of, layout_of
from hashall.problems import with_way_out
from hashall.qbittorrent import Mapped, WantedFile
from rehome.look import Look
from seedkeep import clock
from seedkeep.errors import SeedError
from seedkeep.torrent_client import TorrentFile, TorrentState
from seedkeep.units import format_duration

Leading = tuple[str, int]  # name without folders, and size, of a file
_File = WantedFile | TorrentFile
_WAITS_FOR_SCAN = (
    "has files of the same names and sizes, and no hash says yet whether they are the same; run"
    " `hashall scan` on it and then `hashall payload sync`"
)

# What keeps a sync from seeing files; a check that goes on does not say where they are.
_NOT_SEEN = (
    *("unreadable on disk", "path map not proved", "missing on disk", "unknown filesystem"),
    *("busy:", NOT_READ),
)
_AT_WORK_ON_WHOLE = frozenset({TorrentState.CHECKING_UP, TorrentState.MOVING})


class _Copy(NamedTuple):
    """A torrent that is here as a whole and has the paths and sizes of some payload."""

    torrent_id: str
    skeleton: frozenset[tuple[str, int]]  # relative paths with their sizes
    device_id: int | None
    payload_hash: str | None  # None: not to be said before a scan
    why: str


class _Unseen(NamedTuple):
    """A torrent whose files may lie anywhere."""

    torrent_id: str  # its key, when another client has it
    largest: Leading
    problem: str


@dataclass
class Lookalikes:
    look: Look

    def of(
        self,
        group: Collection[str],
        devices: Collection[int],
        unready: Collection[str] = (),
        told: Collection[str] = (),
        on_disk: Iterable[TorrentFileOnDisk] = (),
    ) -> tuple[str, ...]:
        """A sentence about each, sorted: who, why nobody can say, and what helps.

        Args:
            group: Ids of torrents that the client has.
            devices: Where the group lies.
            unready: Torrents that use files of the group and have a problem, which a sync does not
                change.
            told: Torrents that are named elsewhere.
            on_disk: The files of the group.
        """
        found = self._alike(group, devices) if self._copies or self._unseen_with else {}
        problems = {other: self.look.changed[other].problem or "" for other in unready}
        for other in problems.keys() | self._unfinished_users(on_disk):
            problem = problems.get(other) or self.look.instances[other].problem or ""
            found[other] = f"uses files of this group and is not ready: {_way_out(other, problem)}"
        sentences = [
            f"{self._named(key)} {found[key]}{_then_sync(key)}"
            for key in sorted(found.keys() - {*group, *told})
        ]
        return (*sentences, *self._unread_clients)

    def unseen_like(self, group: Collection[str]) -> tuple[str, ...]:
        """Torrents that are not of the group and may seed its very files, sorted: what each is."""
        items = [self.look.mapped(torrent_id) for torrent_id in group] if self._unseen_with else []
        found = {other.torrent_id: other for item in items for other in self._unseen_like(item)}
        return tuple(
            f"{self._named(key)}: {_way_out(key, found[key].problem)}{_then_sync(key)}"
            for key in sorted(found.keys() - {*group})
        )

    def _named(self, key: str) -> str:
        torrent_id, _, client = key.partition("@")
        if client:
            name = self.look.instances[key].name
            return f"torrent {torrent_id} ({name}) of the client {client!r}"
        return f"torrent {key} ({self.look.inventory[key].name})"

    def _alike(self, group: Collection[str], devices: Collection[int]) -> dict[str, str]:
        """By id, what is to be said of it; those of the group among them."""
        found: dict[str, str] = {}
        hashes = {None, *(self.look.payload_hash(torrent_id) for torrent_id in group)}
        for item in map(self.look.mapped, group):
            for copy in self._copies_of(item):
                if copy.device_id in devices and copy.payload_hash in hashes:
                    found[copy.torrent_id] = copy.why
            for other in self._unseen_like(item):
                why = _way_out(other.torrent_id, other.problem)
                found[other.torrent_id] = f"may seed files of this group: {why}"
        return found

    @cached_property
    def _unread_clients(self) -> tuple[str, ...]:
        """Of other clients there is no more than the last sync of each."""
        states = {state.client: state for state in self.look.catalog.inventory.clients()}
        oldest = clock.now() - self.look.layout.max_scan_age
        found = []
        for client in self.look.layout.other_clients:
            state = states.get(client)
            if state is None or state.synced_at is None:
                why = "never all read"
            elif clock.parse_iso(state.synced_at) < oldest:
                age = format_duration(self.look.layout.max_scan_age)
                why = f"last read longer than {age} ago"
            elif clock.parse_iso(state.synced_at) > clock.now() + MOST_AHEAD:
                why = "last read in the future: set the clock"
            else:
                continue
            found.append(
                f"the torrents of the client {client!r} were {why}, so one of them may seed files"
                " of this group; run `hashall payload sync`, or take it out of"
                " qbittorrent.instances if there is no such client any more"
            )
        return tuple(found)

    # -- copies of their own

    def _copies_of(self, item: Mapped) -> Iterator[_Copy]:
        copies = self._copies.get(sum([file.size for file in item.files]))
        if copies and item.files:
            skeleton = _skeleton(item)
            yield from (copy for copy in copies if copy.skeleton == skeleton)

    @cached_property
    def _copies(self) -> Mapping[int, Sequence[_Copy]]:
        """By their size in bytes."""
        look = self.look
        found = [
            self._copy(torrent_id, item)
            for torrent_id, item in look.changed.items()
            if _lies_whole(item) and (item.problem is None or item.torrent.state.is_busy)
        ]
        for torrent_id, files in look.catalog.read_lists_without_hash().items():
            if "@" in torrent_id or (
                torrent_id in look.inventory and torrent_id not in look.changed
            ):
                device_id = look.instances[torrent_id].device_id
                skeleton = _skeleton_of(files)
                found.append(_Copy(torrent_id, skeleton, device_id, None, _WAITS_FOR_SCAN))
        by_size: dict[int, list[_Copy]] = {}
        for copy in found:
            by_size.setdefault(sum([size for _, size in copy.skeleton]), []).append(copy)
        return by_size

    def _copy(self, torrent_id: str, item: Mapped) -> _Copy:
        skeleton = _skeleton(item)
        if item.problem is not None:
            why = f"has files of the same names and sizes, and is {with_way_out(item.problem)}"
            return _Copy(torrent_id, skeleton, self._device_of(item), None, why)
        seen = self.look.found(torrent_id)
        hashes = hashes_of(seen.members)
        if hashes is None:
            return _Copy(torrent_id, skeleton, seen.device_id, None, _WAITS_FOR_SCAN)
        why = (
            "has the same content, and the catalog does not know that yet;"
            " run `hashall payload sync`"
        )
        return _Copy(torrent_id, skeleton, seen.device_id, hashes.payload_hash, why)

    def _device_of(self, item: Mapped) -> int | None:
        try:
            return self.look.places.find(item.save_path).place.device_id
        except (OSError, SeedError):
            return None

    # -- files that are not to be seen

    def _unseen_like(self, item: Mapped) -> Iterator[_Unseen]:
        """Unseen torrents that have the largest file of this one, or it has theirs."""
        if not self._unseen_with or not item.files:
            return
        largest = _largest(item)
        yield from self._unseen_with.get(largest, ())
        for file in item.files:
            if file.size not in self._unseen_sizes:
                continue
            name = _leading(file)
            for other in self._unseen_with.get(name, ()):
                if other.largest == name:
                    yield other

    @cached_property
    def _unseen_with(self) -> Mapping[Leading, Sequence[_Unseen]]:
        """By each of their files."""
        found: dict[Leading, list[_Unseen]] = {}
        unseen: list[tuple[str, Sequence[_File], str]] = [*self._unseen, *self._unseen_of_others]
        for key, files, problem in unseen:
            largest = _leading(max(files, key=lambda file: file.size))
            if largest[1]:
                for name in {*map(_leading, files)}:
                    found.setdefault(name, []).append(_Unseen(key, largest, problem))
        return found

    @property
    def _unseen(self) -> Iterator[tuple[str, Sequence[WantedFile], str]]:
        for torrent_id, item in self.look.changed.items():
            if item.files and _is_unseen(item):
                yield torrent_id, item.files, item.problem or "its files are not to be seen"

    # -- torrents of other clients, as of the last sync of each

    @property
    def _unseen_of_others(self) -> Iterator[tuple[str, Sequence[TorrentFile], str]]:
        for key, listed in self.look.catalog.read_lists_of_others().items():
            instance, files = self.look.instances.get(key), [file for file in listed if file.wanted]
            if instance is not None and files and _was_unseen(instance):
                yield key, files, instance.problem or "its files are not to be seen"

    def _unfinished_users(self, on_disk: Iterable[TorrentFileOnDisk]) -> set[str]:
        """Who has not finished one of these files, or checks it; those of the main one are found
        by what the client shows now.
        """
        if not self._unfinished_of_others:
            return set()
        keys = [key for f in on_disk for key in ((f.device_id, f.path), (f.device_id, f.inode))]
        return {other for key in keys for other in self._unfinished_of_others.get(key, ())}

    @cached_property
    def _unfinished_of_others(self) -> Mapping[tuple[int, str | int | None], Sequence[str]]:
        found: dict[tuple[int, str | int | None], list[str]] = {}
        for key, device_id, path, inode in self.look.catalog.link_groups.unfinished_of_others():
            if key in self.look.instances:
                found.setdefault((device_id, path), []).append(key)
                found.setdefault((device_id, inode), []).append(key)
        return found

    @cached_property
    def _unseen_sizes(self) -> frozenset[int]:
        """Of the largest file of each."""
        return frozenset(
            [one.largest[1] for unseen in self._unseen_with.values() for one in unseen]
        )


def _way_out(key: str, problem: str) -> str:
    """Each client has a path map of its own."""
    client = key.partition("@")[2]
    section = f"qbittorrent.instances.{client}" if client else "rehome"
    return with_way_out(problem).replace("rehome.path_map", f"{section}.path_map")


def _then_sync(key: str) -> str:
    """What is known of other clients is as old as their last sync."""
    return "; then run `hashall payload sync`" if "@" in key else ""


def _was_unseen(instance: TorrentInstance) -> bool:
    """The same as `_is_unseen`, of a torrent without a payload in the catalog.

    A symlink counts as missing here: its inode was not written down.
    """
    problem = instance.problem or ""
    return problem.startswith(_NOT_SEEN) or not os.path.isdir(instance.save_path)


def _is_unseen(item: Mapped) -> bool:
    """Whether its files may lie where we cannot see them, or under another name here.

    What the client knows to be missing, or has not loaded yet, is not there for anybody; what a
    symlink leads to is known by its inode.
    """
    if item.unmapped or any(file.unseen for file in item.files):
        return True
    at_work = item.torrent.state in _AT_WORK_ON_WHOLE
    return (at_work or not item.is_unfinished) and any(
        file.stamp is None and not os.path.isfile(item.save_path / file.name) for file in item.files
    )


def _lies_whole(item: Mapped) -> bool:
    return bool(item.files) and all(
        file.stamp is not None and file.stamp.size == file.size for file in item.files
    )


def _skeleton(item: Mapped) -> frozenset[tuple[str, int]]:
    return frozenset([(file.relpath, file.size) for file in item.files])


def _skeleton_of(files: Sequence[TorrentFile]) -> frozenset[tuple[str, int]]:
    relpaths = layout_of([file.name for file in files]).relpaths
    pairs = zip(relpaths, files, strict=True)
    return frozenset([(relpath, file.size) for relpath, file in pairs if file.wanted])


def _largest(item: Mapped) -> Leading:
    return _leading(max(item.files, key=lambda file: file.size))


def _leading(file: _File) -> Leading:
    return file.name.rpartition("/")[2], file.size
