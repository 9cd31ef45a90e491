"""Read everything that decisions about groups need: catalog, disk and client, now."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import PurePosixPath

from hashall import links
from hashall.catalog.files import join
from hashall.catalog.runs import RunStatus
from hashall.devices import link_counts_are_true
from hashall.hashing import FileStamp
from hashall.model import LinkProof, LinkVerdict, Place
from hashall.payload_sync import Found
from hashall.places import Places
from hashall.qbittorrent import Mapped, stamp_at
from rehome.config import Layout
from rehome.facts import Facts, FileFact, LinkFact, TorrentFact
from rehome.gather_roots import Roots
from rehome.gather_strangers import Strangers
from rehome.gather_target import TargetSide
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

Stamps = Mapping[tuple[int, str], FileStamp | None]  # of the group's files, by device and path

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
        known = Facts(
            asked_for=asked_for,
            direction=self.direction,
            payload_hash=look.payload_hash(asked_for),
            torrents=(),
            missing_torrents=tuple(key for key in group if key not in look.inventory),
            open_runs=tuple(run for run, status in runs if status is RunStatus.OPEN),
            kept_runs=tuple(run for run, status in runs if status is RunStatus.COMMITTED),
        )
        present = [torrent_id for torrent_id in group if torrent_id in look.inventory]
        if self._has_arrived(look.inventory[asked_for]) and not known.open_runs:
            return replace(known, torrents=tuple(map(self._arrived, present)))
        return self._about(known, present)

    def _about(self, known: Facts, present: Sequence[str]) -> Facts:
        look, target = self.look, self.target
        found = {torrent_id: look.found(torrent_id) for torrent_id in present}
        stamps = {
            (on_disk.device_id, on_disk.path): file.stamp
            for torrent_id in present
            for file, on_disk in zip(
                look.mapped(torrent_id).files, found[torrent_id].on_disk, strict=False
            )
        }
        torrents = tuple(self._torrent(look.mapped(key), found[key]) for key in present)
        on_disk = [file for item in found.values() for file in item.on_disk]
        devices = tuple(
            sorted({item.device_id for item in found.values() if item.device_id is not None})
        )
        strangers, by_symlink = self.strangers.of(present, on_disk)
        return replace(
            known,
            torrents=torrents,
            strangers=strangers,
            through_symlinks=by_symlink,
            symlinks=self.roots.symlinks_to(Place(f.device_id, f.path) for f in on_disk),
            source_devices=devices,
            links=tuple(self._links(found.values(), stamps)),
            uncovered=self.roots.uncovered(devices),
            target_devices=target.devices(torrents),
            target_files=target.files(torrents),
            foreign=target.foreign(torrents),
            new_dirs=target.new_dirs(torrents),
            reusable=tuple(target.reusable(torrents)),
            missing_categories=self._missing_categories(torrents),
            free_bytes=target.free_bytes,
        )

    def _missing_categories(self, torrents: Iterable[TorrentFact]) -> tuple[str, ...]:
        wanted = {t.target_category for t in torrents if t.target_category != t.category} - {""}
        return tuple(sorted(wanted - self._categories.keys())) if wanted else ()

    # -- torrents

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
        torrent, layout = item.torrent, self.layout
        # A torrent with a problem has no members, and then no hashes either.
        pairs = zip(item.files, found.members, strict=False)
        hashes = {file.name: member.sha256 for file, member in pairs}
        way = self.roots.way_from(item.save_path)
        goes = None
        if way is not None:
            kind = Kind(torrent.category, torrent.tags)
            goes = destination(way, kind, layout, self.direction, lambda: self.look.hosts(torrent))
        client_target = layout.path_map.to_client(goes.path) if goes else ""
        errored = torrent.state in (TorrentState.ERROR, TorrentState.MISSING_FILES)
        problem = found.problem if found.problem and not found.needs_scan else None
        problem = problem or (f"errored: {torrent.state.value}" if errored else None)
        problem = problem or self._unmovable(item) or _untellable(client_target)
        return TorrentFact(
            torrent_id=torrent.torrent_id,
            name=torrent.name,
            running=_running(torrent),
            category=torrent.category,
            target_category=goes.category if goes else torrent.category,
            auto_tmm=torrent.auto_tmm,
            target_auto_tmm=self._stays_managed(torrent, goes, client_target),
            save_path=self.roots.spelled(item.save_path),
            client_save_path=torrent.save_path,
            client_download_path=torrent.download_path,
            root_name=item.root_name,
            files=tuple(
                FileFact(file.name, file.size, hashes.get(file.name), _seen(file.stamp))
                for file in sorted(item.files, key=lambda file: file.name)
            ),
            problem=problem or _unsure(goes),
            arrived=self._has_arrived(torrent),
            target_path=goes.path if goes else None,
            client_target_path=client_target,
        )

    def _destination(self, way: PurePosixPath, torrent: Torrent) -> Destination:
        key = (way, torrent.category) if not self.layout.save_paths else None
        if key is not None and key in self._mirrored:
            return self._mirrored[key]
        kind = Kind(torrent.category, torrent.tags)
        hosts = partial(self.look.hosts, torrent)
        goes = destination(way, kind, self.layout, self.direction, hosts)
        if key is not None:
            self._mirrored[key] = goes
        return goes

    @cached_property
    def _mirrored(self) -> dict[tuple[PurePosixPath, str], Destination]:
        return {}

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

    def _unmovable(self, item: Mapped) -> str | None:
        """Why renaming this torrent's files one by one would not be enough; None when it is."""
        if item.unwanted:
            # The client moves such a file by itself, copying it across the border (measured).
            return f"it has files on disk that it does not want, such as {item.unwanted[0]!r}"
        places = self.look.places
        try:
            home = places.find(item.save_path).place
            for folder in sorted({file.name.rpartition("/")[0] for file in item.files}):
                seen = places.find(f"{item.save_path}/{folder}" if folder else item.save_path).place
                inside = join(home.relpath, folder) if folder else home.relpath
                if seen != Place(home.device_id, inside):
                    return f"its folder {folder!r} is a symlink or a mount of its own"
        except (OSError, SeedError):
            return None  # a file is missing then, which is said elsewhere
        return None

    # -- hardlinks

    def _links(self, found: Iterable[Found], stamps: Stamps) -> Iterator[LinkFact]:
        inodes: dict[tuple[int, int], tuple[str, int]] = {}
        for item in found:
            for file in item.on_disk:
                if file.inode is not None:
                    inodes.setdefault((file.device_id, file.inode), (file.path, file.size))
        shown = self.look.places.shown
        for (device_id, inode), (path, size) in sorted(inodes.items()):
            seen = stamps[device_id, path]
            proof = links.prove(
                self.look.catalog.files(device_id),
                inode,
                seen.nlink if seen and seen.inode == inode else None,
                counts_are_true=self._counts_are_true(device_id),
            )
            names = tuple(shown(device_id, name) for name in proof.known)
            yield LinkFact(
                inode=inode,
                size=size,
                verdict=self._seen_again(device_id, proof, stamps),
                nlink=proof.nlink,
                names=names,
                outside=tuple(
                    name
                    for name, relpath in zip(names, proof.known, strict=True)
                    if self.roots.is_outside(device_id, relpath)
                ),
            )

    def _counts_are_true(self, device_id: int) -> bool:
        if device_id not in self._true_counts:
            device = self.look.catalog.devices.get(device_id)
            self._true_counts[device_id] = link_counts_are_true(device.fs_type)
        return self._true_counts[device_id]

    @cached_property
    def _true_counts(self) -> dict[int, bool]:
        return {}

    def _seen_again(self, device_id: int, proof: LinkProof, stamps: Stamps) -> LinkVerdict:
        """Equal numbers prove nothing when a name went away and another one came."""
        if proof.verdict is not LinkVerdict.PROVED:
            return proof.verdict
        for name in proof.known:
            key = (device_id, name)
            stamp = stamps[key] if key in stamps else self._stamp(device_id, name)
            if stamp is None or stamp.inode != proof.inode:
                return LinkVerdict.UNACCOUNTED
        return LinkVerdict.PROVED

    def _stamp(self, device_id: int, relpath: str) -> FileStamp | None:
        shown = self.look.places.abspath(Place(device_id, relpath))
        return stamp_at(shown) if shown else None


def _unsure(goes: Destination | None) -> str | None:
    if goes is None or not goes.unsure:
        return None
    return "a rule of save_paths asks for its tracker, and qBittorrent shows none"


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


def _seen(stamp: FileStamp | None) -> Fingerprint | None:
    return None if stamp is None else Fingerprint(stamp.inode, stamp.size, stamp.mtime_ns)
