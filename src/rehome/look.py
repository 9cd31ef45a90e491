"""One look at client and catalog, shared by all groups that are gathered from it."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from hashall.catalog.remembering import RememberingCatalog, SeededFile
from hashall.catalog.runs import RunStatus
from hashall.model import TorrentInstance
from hashall.pathing import MountTable
from hashall.payload import UnsafeName
from hashall.payload_sync import Found, find_members
from hashall.places import Places
from hashall.qbittorrent import Mapped, map_torrent
from hashall.steady import SteadyFolders, SteadyPlaces
from rehome.config import Layout
from rehome.save_paths import hosts_of
from seedkeep.errors import SeedError
from seedkeep.torrent_client import NoSuchTorrent, Torrent, TorrentClient, TorrentFile


@dataclass
class Look:
    """Everything that is read once.  Torrents' paths are the client's, unless they say "ours"."""

    client: TorrentClient
    places: SteadyPlaces
    layout: Layout
    inventory: Mapping[str, Torrent]  # everything in the client, by id
    instances: Mapping[str, TorrentInstance]  # everything in the catalog, by id
    recorded: Mapping[str, list[SeededFile]] | None  # None: a look at a few groups only
    _lists: dict[str, list[TorrentFile] | SeedError] = field(default_factory=dict)
    _mapped: dict[str, Mapped] = field(default_factory=dict)
    _found: dict[str, Found] = field(default_factory=dict)
    _paths: dict[str, frozenset[Path]] = field(default_factory=dict)
    _devices: dict[str, int | None] = field(default_factory=dict)  # of save paths
    _ours: dict[str, Path] = field(default_factory=dict)
    _hosts: dict[str, tuple[str, ...] | None] = field(default_factory=dict)
    _unmoved: dict[str, bool] = field(default_factory=dict)

    @classmethod
    def take(cls, client: TorrentClient, places: Places, layout: Layout, *, whole: bool) -> Look:
        """Read inventory and catalog now; `whole` when most groups are going to be gathered."""
        catalog = RememberingCatalog(places.catalog.db)
        steady = SteadyPlaces(catalog, MountTable.read())
        return cls(
            client=client,
            places=steady,
            layout=layout,
            inventory={torrent.torrent_id: torrent for torrent in client.torrents()},
            instances={item.key: item for item in catalog.payloads.instances()},
            recorded=catalog.read_torrent_files() if whole else None,
        )

    @property
    def catalog(self) -> RememberingCatalog:
        assert isinstance(self.places.catalog, RememberingCatalog)
        return self.places.catalog

    # -- groups

    def group_of(self, torrent_id: str) -> tuple[str, ...]:
        if self.recorded is None:
            return self.catalog.payloads.group_of(torrent_id)
        return self._groups.get(torrent_id, (torrent_id,))

    @cached_property
    def _groups(self) -> Mapping[str, tuple[str, ...]]:
        """What `PayloadTable.group_of` says, for all torrents at once."""
        above: dict[str, str] = {torrent_id: torrent_id for torrent_id in self.instances}

        def top(torrent_id: str) -> str:
            while above[torrent_id] != torrent_id:
                above[torrent_id] = above[above[torrent_id]]
                torrent_id = above[torrent_id]
            return torrent_id

        first: dict[object, str] = {}
        for torrent_id, instance in self.instances.items():
            keys: list[object] = [] if instance.proved is None else [("payload", *instance.proved)]
            for file in (self.recorded or {}).get(torrent_id, ()):
                keys.append((file.device_id, file.path))
                if file.inode is not None:
                    keys.append((file.device_id, file.inode))
            for key in keys:
                other = first.setdefault(key, torrent_id)
                if other != torrent_id:
                    above[top(torrent_id)] = top(other)
        members: dict[str, list[str]] = {}
        for torrent_id in above:
            members.setdefault(top(torrent_id), []).append(torrent_id)
        groups = {key: tuple(sorted(ids)) for key, ids in members.items()}
        return {torrent_id: groups[top(torrent_id)] for torrent_id in above}

    def payload_hash(self, torrent_id: str) -> str | None:
        instance = self.instances.get(torrent_id)
        if instance is None or instance.payload_id is None:
            return None
        if self.recorded is None:
            return self.catalog.payloads.get(instance.payload_id).payload_hash
        return self._payload_hashes.get(instance.payload_id)

    @cached_property
    def _payload_hashes(self) -> Mapping[int, str | None]:
        return self.catalog.read_payload_hashes()

    def runs_with(self, group: Iterable[str]) -> list[tuple[int, RunStatus]]:
        """Runs on these torrents that are open, or whose source is still kept."""
        return sorted({run for torrent in group for run in self._runs.get(torrent, ())})

    @cached_property
    def _runs(self) -> Mapping[str, list[tuple[int, RunStatus]]]:
        found: dict[str, list[tuple[int, RunStatus]]] = {}
        for run_id, status, torrent in self.catalog.runs.unfinished():
            found.setdefault(torrent, []).append((run_id, status))
        return found

    # -- torrents on our disk

    def mapped(self, torrent_id: str) -> Mapped:
        """A torrent's files as they are now; its list may be that of the last sync, if it fits."""
        if torrent_id not in self._mapped:
            torrent = self.inventory[torrent_id]
            item = None
            if self.recorded is not None and self.is_as_recorded(torrent):
                item = self._as_recorded(torrent)
            if item is None or item.problem:
                item = self._as_listed(torrent)
            self._mapped[torrent_id] = item
        return self._mapped[torrent_id]

    def found(self, torrent_id: str) -> Found:
        if torrent_id not in self._found:
            item = self.mapped(torrent_id)
            self._found[torrent_id] = find_members(item, self.places, self._folders)
        return self._found[torrent_id]

    @cached_property
    def _folders(self) -> SteadyFolders:
        return SteadyFolders(self.places)

    def ask_client(self, torrents: Iterable[str]) -> None:
        """From now on use the client's own lists of these torrents, whatever was recorded."""
        ids = [torrent_id for torrent_id in torrents if torrent_id in self.inventory]
        self.read_lists(ids)
        for torrent_id in ids:
            self._found.pop(torrent_id, None)
            self._mapped[torrent_id] = self._as_listed(self.inventory[torrent_id])

    def forget(self, torrents: Iterable[str]) -> None:
        """Let go of what was seen of these torrents' files; it is looked at again when needed."""
        for torrent_id in torrents:
            self._mapped.pop(torrent_id, None)
            self._found.pop(torrent_id, None)

    def _as_listed(self, torrent: Torrent) -> Mapped:
        path_map = self.layout.path_map
        try:
            return map_torrent(torrent, self.files(torrent.torrent_id), path_map)
        except (UnsafeName, NoSuchTorrent) as why:
            return Mapped(torrent, path_map.to_ours(torrent.save_path), "", (), refused=why.brief)

    def _as_recorded(self, torrent: Torrent) -> Mapped | None:
        files = self._recorded_lists.get(torrent.torrent_id, ())
        if not files or sum(file.size for file in files if file.wanted) != torrent.size:
            return None
        return map_torrent(torrent, files, self.layout.path_map)

    @cached_property
    def _recorded_lists(self) -> Mapping[str, tuple[TorrentFile, ...]]:
        return self.catalog.read_torrent_lists()

    def is_as_recorded(self, torrent: Torrent) -> bool:
        """Whether it still is where the last sync saw it, by the same name, and wants as much."""
        known = self._unmoved.get(torrent.torrent_id)
        if known is None:
            known = self._unmoved[torrent.torrent_id] = self._is_unmoved(torrent)
        return known

    def _is_unmoved(self, torrent: Torrent) -> bool:
        instance = self.instances.get(torrent.torrent_id)
        if instance is None or instance.payload_id is None:
            return False
        if instance.save_path != self.ours(torrent.save_path):
            return False
        if self._payload_bytes.get(instance.payload_id) != torrent.size:
            return False  # it wants other files
        if self._device_at(instance.save_path) not in (None, instance.device_id):
            return False  # the catalog has them on what was another filesystem
        if not instance.root_name or not torrent.content_path:
            return True
        content_path = self.layout.path_map.text_of_ours(torrent.content_path)
        return content_path == f"{instance.save_path}/{instance.root_name}"

    @cached_property
    def _payload_bytes(self) -> Mapping[int, int]:
        return self.catalog.read_payload_bytes()

    def _device_at(self, save_path: str) -> int | None:
        """None where nothing is to be seen."""
        if save_path not in self._devices:
            try:
                self._devices[save_path] = self.places.find(save_path).place.device_id
            except (OSError, SeedError):
                self._devices[save_path] = None
        return self._devices[save_path]

    def ours(self, client_path: str) -> str:
        """Our name of a client's path."""
        return str(self.our_path(client_path))

    def our_path(self, client_path: str) -> Path:
        if client_path not in self._ours:
            self._ours[client_path] = self.layout.path_map.to_ours(client_path)
        return self._ours[client_path]

    def files(self, torrent_id: str) -> list[TorrentFile]:
        """The client's own list, read once.  Raises `NoSuchTorrent`."""
        if torrent_id not in self._lists:
            self._lists[torrent_id] = self.client.files(torrent_id)
        found = self._lists[torrent_id]
        if isinstance(found, SeedError):
            raise found
        return found

    def read_lists(self, torrents: Collection[str]) -> None:
        """Read the lists of many torrents at once."""
        wanted = [torrent_id for torrent_id in torrents if torrent_id not in self._lists]
        for found in self.client.file_lists(wanted) if len(wanted) > 1 else ():
            if found.error is not None and not isinstance(found.error, NoSuchTorrent):
                raise found.error
            self._lists[found.torrent_id] = found.error or list(found.files)

    # -- everybody else

    @cached_property
    def changed(self) -> Mapping[str, Mapped]:
        """Torrents that are not as the last sync saw them, by id."""
        ids = [
            torrent_id
            for torrent_id, torrent in self.inventory.items()
            if not self.is_as_recorded(torrent) or self._lost_its_names(torrent)
        ]
        self.read_lists(ids)
        return {torrent_id: self._as_listed(self.inventory[torrent_id]) for torrent_id in ids}

    def _lost_its_names(self, torrent: Torrent) -> bool:
        """Whether a torrent without a root folder, whose path tells nothing, was renamed."""
        instance = self.instances[torrent.torrent_id]
        if instance.root_name:
            return False
        if self.recorded is None:
            names = [file.name for file in self.catalog.payloads.files_of(torrent.torrent_id)]
        else:
            names = [file.name for file in self.recorded.get(torrent.torrent_id, ())]
        # One that cannot be looked at counts as renamed: then the client is asked.
        return not all(os.path.lexists(f"{instance.save_path}/{name}") for name in names)

    def users_of(self, path: Path) -> Iterator[str]:
        """Torrents that seed the file at our `path`."""
        client_path = self.layout.path_map.to_client(path)
        for torrent_id in sorted({*self._below(client_path), *self._anywhere}):
            if path in self._our_paths(torrent_id):
                yield torrent_id

    def _below(self, client_path: str) -> Iterator[str]:
        at = client_path
        while at:
            yield from self._by_content_path.get(at, ())
            at = at.rpartition("/")[0]

    @cached_property
    def _by_content_path(self) -> Mapping[str, list[str]]:
        """A torrent's files lie at or below its content path."""
        found: dict[str, list[str]] = {}
        for torrent_id, torrent in self.inventory.items():
            found.setdefault(content_path(torrent).rstrip("/"), []).append(torrent_id)
        return found

    @cached_property
    def _anywhere(self) -> tuple[str, ...]:
        """Torrents whose content may lie elsewhere, until they are complete or loaded."""
        return tuple(
            torrent_id
            for torrent_id, torrent in self.inventory.items()
            if not content_path(torrent) or torrent.download_path
        )

    def _our_paths(self, torrent_id: str) -> frozenset[Path]:
        if torrent_id not in self._paths:
            root = self.layout.path_map.to_ours(self.inventory[torrent_id].save_path)
            self._paths[torrent_id] = frozenset(root / f.name for f in self.files(torrent_id))
        return self._paths[torrent_id]

    @cached_property
    def unfinished(self) -> tuple[str, ...]:
        """Where unfinished torrents have their files, ours, each with a slash at its end."""
        return tuple(
            f"{self.layout.path_map.to_ours(content_path(torrent) or torrent.save_path)}/"
            for torrent in self.inventory.values()
            if torrent.progress < 1 or torrent.amount_left
        )

    # -- labels

    @cached_property
    def categories(self) -> Mapping[str, str]:
        return self.client.categories()

    def hosts(self, torrent: Torrent) -> tuple[str, ...] | None:
        """The tracker that answers, else all that the torrent has; None when it has none."""
        return hosts_of([torrent.tracker]) or self._all_hosts(torrent.torrent_id)

    def _all_hosts(self, torrent_id: str) -> tuple[str, ...] | None:
        if torrent_id not in self._hosts:
            try:
                self._hosts[torrent_id] = hosts_of(self.client.trackers(torrent_id)) or None
            except NoSuchTorrent:
                self._hosts[torrent_id] = None
        return self._hosts[torrent_id]


def content_path(torrent: Torrent) -> str:
    """Absolute, or "": while it loads a torrent, 4.5 shows the path below the save path."""
    path = torrent.content_path
    return path if path.startswith("/") else ""
