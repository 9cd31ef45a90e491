"""Read everything that decisions about groups need: catalog, disk and client, now."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from operator import attrgetter
from pathlib import PurePosixPath
from typing import Any

from hashall.catalog.runs import RunStatus
from hashall.model import Place, TorrentFileOnDisk
from hashall.payload_sync import Found
from hashall.places import Places
from hashall.qbittorrent import Mapped
from rehome.config import Layout
from rehome.facts import Facts, FileFact, TorrentFact
from rehome.gather_links import Links
from rehome.gather_lookalikes import Lookalikes
from rehome.gather_roots import Roots
from rehome.gather_strangers import Strangers
from rehome.gather_target import TargetSide, wanted_by
from rehome.look import Look
from rehome.model import Direction, Fingerprint, Running
from rehome.save_paths import Destination, Kind, destination
from seedkeep.errors import Refused, SeedError
from seedkeep.torrent_client import (
    NoSuchTorrent,
    Torrent,
    TorrentClient,
    TorrentState,
    resolve,
)

MOST_LOOKS = 3  # how often everything is read again because mounts changed meanwhile


class Unsteady(SeedError):
    """Filesystems were mounted or unmounted all the time while facts were gathered."""

    code = "unsteady"


@dataclass
class Gatherer:
    """The three sources, read together."""

    client: TorrentClient
    places: Places
    layout: Layout

    def facts(self, torrent_hash: str, direction: Direction = Direction.DEMOTE) -> Facts:
        """Facts about the group of one torrent.

        Raises:
            Misused: No such torrent, or a root that does not exist.
            Refused: The catalog has not seen the torrent.
            Unreachable: The client does not answer.
        """
        for _ in range(MOST_LOOKS):
            look = self.look(whole=False)
            asked = resolve(list(look.inventory.values()), torrent_hash)
            found = self.gathering(look, direction).facts(asked.torrent_id)
            if look.places.is_steady():
                return found
        raise unsteady()

    def facts_of(
        self, torrents: Sequence[str], direction: Direction = Direction.DEMOTE
    ) -> dict[str, Facts | SeedError]:
        """Facts about the groups of several torrents (ids), from one look; as exact as `facts`.

        What `facts` would raise about one of them stands in its place.
        """
        for _ in range(MOST_LOOKS):
            look = self.look(whole=False)
            gathering = self.gathering(look, direction)
            groups = {key for torrent_id in torrents for key in look.group_of(torrent_id)}
            look.read_lists(groups & look.inventory.keys())
            found = {torrent_id: gathering.try_facts(torrent_id) for torrent_id in torrents}
            if look.places.is_steady():
                return found
        raise unsteady()

    def look(self, *, whole: bool) -> Look:
        return Look.take(self.client, self.places, self.layout, whole=whole)

    def gathering(self, look: Look, direction: Direction) -> Gathering:
        return Gathering(look, direction)


def unsteady() -> Unsteady:
    return Unsteady(
        "the mounts of this machine changed again and again while facts were gathered",
        hint="try again when nothing is being mounted",
    )


@dataclass
class Gathering:
    """Facts about any group of one look, in one direction."""

    look: Look
    direction: Direction
    _goals: dict[object, _Goal] = field(default_factory=dict)

    @property
    def layout(self) -> Layout:
        return self.look.layout

    @cached_property
    def roots(self) -> Roots:
        return Roots(self.look, self.direction)

    @cached_property
    def target(self) -> TargetSide:
        return TargetSide(self.look, self.direction)

    @cached_property
    def strangers(self) -> Strangers:
        return Strangers(self.look)

    @cached_property
    def lookalikes(self) -> Lookalikes:
        return Lookalikes(self.look)

    @cached_property
    def links(self) -> Links:
        return Links(self.look, self.roots)

    def try_facts(self, asked_for: str) -> Facts | SeedError:
        try:
            return self.facts(asked_for)
        except (NoSuchTorrent, Refused) as why:
            return why

    def facts(self, asked_for: str) -> Facts:
        """Raises `Refused` for a torrent that the catalog does not know, or `NoSuchTorrent`."""
        look = self.look
        if asked_for not in look.inventory:
            raise NoSuchTorrent(
                f"qBittorrent has no torrent {asked_for} any more",
                hint="run `hashall payload sync`, then make a new plan",
            )
        if asked_for not in look.instances:
            raise Refused(
                f"the catalog does not know torrent {asked_for} ({look.inventory[asked_for].name})",
                hint="run `hashall payload sync` first",
            )
        group = look.group_of(asked_for)
        runs = look.runs_with(group)
        open_runs = tuple([run for run, status in runs if status is RunStatus.OPEN])
        present = [torrent_id for torrent_id in group if torrent_id in look.inventory]
        if self._has_arrived(look.inventory[asked_for]) and not open_runs:
            found: dict[str, Any] = {"torrents": tuple(map(self._arrived, present))}
        else:
            found = self._about(present)
        return Facts(
            asked_for=asked_for,
            direction=self.direction,
            payload_hash=look.payload_hash(asked_for),
            missing_torrents=tuple([key for key in group if key not in look.inventory]),
            open_runs=open_runs,
            kept_runs=tuple([run for run, status in runs if status is RunStatus.COMMITTED]),
            **found,
        )

    def _about(self, present: Sequence[str]) -> dict[str, Any]:
        """Fields of `Facts` that need a look at the disk."""
        look, target = self.look, self.target
        found = {torrent_id: look.found(torrent_id) for torrent_id in present}
        stamps = {
            (on_disk.device_id, on_disk.path): file.stamp
            for torrent_id in present
            for file, on_disk in zip(
                look.mapped(torrent_id).files, found[torrent_id].on_disk, strict=False
            )
        }
        torrents = tuple([self._torrent(look.mapped(key), found[key]) for key in present])
        on_disk = [file for item in found.values() for file in item.on_disk]
        devices = tuple(
            sorted({item.device_id for item in found.values() if item.device_id is not None})
        )
        users = self.strangers.of(present, on_disk)
        unready = {key for key in users.direct if look.changed[key].problem is not None}
        direct = users.direct - unready
        wanted = wanted_by(torrents)
        return {
            "torrents": torrents,
            "strangers": self.strangers.named(direct),
            "lookalikes": self.lookalikes.of(
                present, devices, unready, told=direct | users.by_symlink, on_disk=on_disk
            ),
            "through_symlinks": self.strangers.named(users.by_symlink),
            "symlinks": self.roots.symlinks_to(Place(f.device_id, f.path) for f in on_disk),
            "source_devices": devices,
            "links": self.links.of(on_disk, stamps),
            "uncovered": self.roots.uncovered(devices),
            "target_devices": target.devices(wanted),
            "target_files": target.files(wanted),
            "foreign": target.foreign(wanted),
            "new_dirs": target.new_dirs(wanted),
            "reusable": tuple(target.reusable(torrents)),
            "missing_categories": self._missing_categories(torrents),
            "free_bytes": target.free_bytes,
        }

    def _missing_categories(self, torrents: Iterable[TorrentFact]) -> tuple[str, ...]:
        wanted = {t.target_category for t in torrents if t.target_category != t.category} - {""}
        return tuple(sorted(wanted - self._categories.keys())) if wanted else ()

    # -- torrents

    def has_arrived(self, torrent_id: str) -> bool:
        """Whether a torrent of the client seeds from the target side."""
        torrent = self.look.inventory.get(torrent_id)
        return torrent is not None and self._has_arrived(torrent)

    def _has_arrived(self, torrent: Torrent) -> bool:
        return self.roots.is_at_target(self.look.our_path(torrent.save_path))

    def _arrived(self, torrent_id: str) -> TorrentFact:
        """A torrent of a group that is where it should be; nobody needs to know more of it."""
        torrent = self.look.inventory[torrent_id]
        save_path = self.look.our_path(torrent.save_path)
        return TorrentFact(
            torrent_id=torrent_id,
            name=torrent.name,
            running=_running(torrent),
            category=torrent.category,
            target_category=torrent.category,
            auto_tmm=torrent.auto_tmm,
            target_auto_tmm=torrent.auto_tmm,
            save_path=save_path,
            client_save_path=torrent.save_path,
            client_download_path=torrent.download_path,
            root_name="",
            files=(),
            problem=None,
            arrived=self._has_arrived(torrent),
            target_path=save_path,
            client_target_path=torrent.save_path,
        )

    def _torrent(self, item: Mapped, found: Found) -> TorrentFact:
        torrent = item.torrent
        # A torrent with a problem has nothing on disk that counts, and then no hashes either.
        hashes = {file.name: file.sha256 for file in found.on_disk}
        way = self.roots.way_from(item.save_path)
        goal = self._goal(way, torrent) if way is not None else _NOWHERE
        goes = goal.destination
        errored = torrent.state in (TorrentState.ERROR, TorrentState.MISSING_FILES)
        problem = found.problem if found.problem and not found.needs_scan else None
        problem = problem or (f"errored: {torrent.state.value}" if errored else None)
        problem = problem or self._unmovable(item, found.on_disk) or goal.problem
        return TorrentFact(
            torrent_id=torrent.torrent_id,
            name=torrent.name,
            running=_running(torrent),
            category=torrent.category,
            target_category=goes.category if goes else torrent.category,
            auto_tmm=torrent.auto_tmm,
            target_auto_tmm=self._stays_managed(torrent, goes, goal.client_path),
            save_path=self.roots.spelled(item.save_path),
            client_save_path=torrent.save_path,
            client_download_path=torrent.download_path,
            root_name=item.root_name,
            files=tuple(
                [
                    FileFact(
                        file.name,
                        file.size,
                        hashes.get(file.name),
                        Fingerprint(stamp.inode, stamp.size, stamp.mtime_ns) if stamp else None,
                    )
                    for file in sorted(item.files, key=_BY_NAME)
                    for stamp in (file.stamp,)
                ]
            ),
            problem=problem,
            arrived=self._has_arrived(torrent),
            target_path=goes.path if goes else None,
            client_target_path=goal.client_path,
        )

    def _goal(self, way: PurePosixPath, torrent: Torrent) -> _Goal:
        """Torrents of one kind from one folder go to one place, unless a rule asks for trackers."""
        kind = Kind(torrent.category, torrent.tags)
        key = (way, kind) if not self._asks_for_trackers else torrent.torrent_id
        goal = self._goals.get(key)
        if goal is None:
            layout = self.layout
            goes = destination(way, kind, layout, self.direction, lambda: self.look.hosts(torrent))
            client_path = layout.path_map.to_client(goes.path)
            goal = _Goal(goes, client_path, _untellable(client_path) or _unsure(goes))
            self._goals[key] = goal
        return goal

    @cached_property
    def _asks_for_trackers(self) -> bool:
        return any(rule.tracker for rule in self.layout.save_paths)

    def _stays_managed(
        self, torrent: Torrent, goes: Destination | None, client_target: str
    ) -> bool:
        """Only where its category says that very place: else the client would move it once more."""
        if not (torrent.auto_tmm and goes and self.layout.keep_managed and goes.category):
            return False
        return self._categories.get(goes.category) == client_target

    @cached_property
    def _categories(self) -> Mapping[str, str]:
        return self.look.categories

    def _unmovable(self, item: Mapped, on_disk: Sequence[TorrentFileOnDisk]) -> str | None:
        """Why renaming this torrent's files one by one would not be enough; None when it is."""
        if item.unwanted:
            # The client moves such a file by itself, copying it across the border (measured).
            return f"it has files on disk that it does not want, such as {item.unwanted[0]!r}"
        home = self.roots.home(item.save_path)
        if home is None:
            return None  # its files are missing then, which is said elsewhere
        top = f"{home.relpath}/" if home.relpath else ""
        elsewhere = [
            file.name.rpartition("/")[0]
            for file in on_disk
            if file.path != top + file.name or file.device_id != home.device_id
        ]
        if elsewhere:
            return f"its folder {min(elsewhere)!r} is a symlink or a mount of its own"
        return None


@dataclass(frozen=True)
class _Goal:
    """Where a torrent goes, and how the client calls it."""

    destination: Destination | None
    client_path: str = ""
    problem: str | None = None


_NOWHERE = _Goal(None)
_BY_NAME = attrgetter("name")


def _unsure(goes: Destination) -> str | None:
    unsure = "a rule of save_paths asks for its tracker, and qBittorrent shows none"
    return unsure if goes.unsure else None


def _untellable(client_path: str) -> str | None:
    """Why qBittorrent's Web API could not be told of a path: it takes text, and trims it."""
    try:
        client_path.encode()
    except UnicodeEncodeError:
        return f"qBittorrent cannot be told of {client_path}, which is not UTF-8"
    if client_path != client_path.strip():
        return f"qBittorrent cannot be told of {client_path!r}, which ends with a blank"
    return None


def _running(torrent: Torrent) -> Running:
    if torrent.state.is_stopped:
        return Running.STOPPED
    return Running.FORCED if torrent.force_start else Running.RUNNING
