"""What all payloads say together: groups, duplicates, candidates, orphans, the unmanaged.

Everything here only reads the catalog.  Nothing in it is a permission to remove anything.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from functools import cached_property
from pathlib import Path

from hashall.catalog.inventory import ClientState
from hashall.catalog.payload_questions import PayloadQuestions
from hashall.catalog.scans import MOST_AHEAD, is_at_or_below
from hashall.domain import Domain
from hashall.folders import Folders
from hashall.model import Payload, Place, RelPath, TorrentInstance
from hashall.payload_compare import components, subsets
from hashall.places import Places
from hashall.qbittorrent import INCOMPLETE_SUFFIX, UNWANTED_FOLDER
from hashall.relpath import join
from hashall.shown import ShownPaths
from seedkeep import clock
from seedkeep.errors import Misused, SeedError

NO_MEDIA = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"  # of no file at all
# Where qBittorrent keeps what it does not want, and pieces that belong to no wanted file.
CLIENTS_OWN = (UNWANTED_FOLDER,)
PARTS_SUFFIX = ".parts"


class Residency(Enum):
    STASH = "stash"
    POOL = "pool"
    BOTH = "both"  # the same payload on either side
    OTHER = "other"  # in neither root, or no root is set


class Likeness(Enum):
    CONTENT = "same content, other layout"
    MEDIA = "same media, other extras"
    SUBSET = "part of another"


@dataclass(frozen=True)
class PayloadLine:
    """One payload in a list."""

    payload: Payload
    root: str  # as it shows here
    residency: Residency
    torrents: tuple[str, ...]  # keys


@dataclass(frozen=True)
class Group:
    """Torrents that move together."""

    torrents: tuple[TorrentInstance, ...]
    payloads: tuple[int, ...]
    bytes: int  # of its payloads; shared inodes count once for each payload


@dataclass(frozen=True)
class Duplicate:
    """One payload that lies on several devices."""

    payload_hash: str
    copies: tuple[PayloadLine, ...]
    freeable: tuple[int, ...]  # bytes of each copy that no other name holds


@dataclass(frozen=True)
class Candidate:
    """Payloads that a person may want to look at; for SUBSET the smaller one stands first."""

    likeness: Likeness
    payloads: tuple[PayloadLine, ...]


@dataclass(frozen=True)
class Orphan:
    path: str
    size: int  # bytes
    first_seen_at: str  # when our catalog first saw the name
    linked: bool  # a torrent uses the same inode under another name: removing it frees nothing


@dataclass(frozen=True)
class Orphans:
    files: tuple[Orphan, ...]  # the largest first, as many as were asked for
    found: int  # in all
    bytes: int  # of those that no torrent links
    younger: int  # names that no torrent wants, within the grace or newer than the last sync
    synced_at: str  # UTC; when all torrents were read, the oldest of several clients
    unlisted: tuple[str, ...]  # torrents whose list was never read: a file may be theirs
    # Torrents that do not lie here where the client has them: likewise, if the path map is wrong.
    elsewhere: tuple[str, ...]


@dataclass(frozen=True)
class Unmanaged:
    """A torrent that rehome could not move, and why."""

    torrent: TorrentInstance
    reason: str


@dataclass
class Report:
    places: Places
    stash: Path | None
    pool: Path | None
    _shown: ShownPaths = field(init=False)

    def __post_init__(self) -> None:
        self._shown = ShownPaths(self.places)

    @property
    def _ask(self) -> PayloadQuestions:
        return self.places.catalog.payload_questions

    # -- payloads

    def payloads(
        self, residency: Residency | None = None, status: str | None = None
    ) -> tuple[PayloadLine, ...]:
        """Payloads on one side, or (BOTH) those that lie on either."""
        found = [line for line in self._lines.values() if residency in (None, line.residency)]
        if residency is Residency.BOTH:
            sides: dict[str | None, set[Residency]] = {}
            for line in self._lines.values():
                sides.setdefault(line.payload.payload_hash, set()).add(line.residency)
            both = {Residency.STASH, Residency.POOL}
            found = [
                line
                for line in self._lines.values()
                if line.payload.payload_hash and both <= sides[line.payload.payload_hash]
            ]
        return tuple(line for line in found if status in (None, line.payload.status.value))

    @cached_property
    def _lines(self) -> dict[int, PayloadLine]:
        torrents: dict[int, list[str]] = {}
        for instance in self._instances.values():
            if instance.payload_id is not None:
                torrents.setdefault(instance.payload_id, []).append(instance.key)
        return {
            payload.payload_id: PayloadLine(
                payload,
                self._shown.in_words(payload.device_id, payload.root_path),
                self._side_of(payload),
                tuple(torrents.get(payload.payload_id, ())),
            )
            for payload in self.places.catalog.payloads.all()
        }

    @cached_property
    def _instances(self) -> dict[str, TorrentInstance]:
        return {instance.key: instance for instance in self.places.catalog.payloads.instances()}

    def _side_of(self, payload: Payload) -> Residency:
        """Where any of its torrents has it: siblings in other folders share one payload."""
        places = [Place(payload.device_id, payload.root_path), *self._files[payload.payload_id]]
        sides = (self.residency(place) for place in places)
        return next((side for side in sides if side is not Residency.OTHER), Residency.OTHER)

    @cached_property
    def _files(self) -> dict[int, list[Place]]:
        found: dict[int, list[Place]] = defaultdict(list)
        for payload_id, device_id, path in self._ask.first_files():
            found[payload_id].append(Place(device_id, path))
        return found

    def residency(self, place: Place) -> Residency:
        for side, root in self._tops:
            if root.device_id == place.device_id and is_at_or_below(place.relpath, root.relpath):
                return side
        return Residency.OTHER

    @cached_property
    def _tops(self) -> tuple[tuple[Residency, Place], ...]:
        sides = ((Residency.STASH, self.stash), (Residency.POOL, self.pool))
        return tuple(
            (side, place)
            for side, root in sides
            if root is not None
            for _, place in Domain(self.places, root).tops()
        )

    # -- groups

    def groups(self) -> tuple[Group, ...]:
        """Groups of more than one torrent."""
        keys = self._ask.keys_by_number()
        found = components(keys, self._ask.links_between_torrents())
        return tuple(
            self._group(tuple(sorted(keys[number] for number in numbers)))
            for numbers in found
            if len(numbers) > 1
        )

    def _group(self, keys: tuple[str, ...]) -> Group:
        torrents = tuple(self._instances[key] for key in keys)
        payloads = sorted({t.payload_id for t in torrents if t.payload_id is not None})
        size = sum(self._lines[number].payload.total_bytes for number in payloads)
        return Group(torrents, tuple(payloads), size)

    # -- duplicates and candidates

    def duplicates(self) -> tuple[Duplicate, ...]:
        return tuple(
            Duplicate(
                payload_hash,
                tuple(self._lines[number] for number in numbers),
                tuple(
                    self._ask.alone(number, self._lines[number].payload.device_id)
                    for number in numbers
                ),
            )
            for payload_hash, numbers in self._ask.on_several_devices()
        )

    def candidates(self) -> tuple[Candidate, ...]:
        found = [Candidate(Likeness.CONTENT, self._those(n)) for _, n in self._ask.same_content()]
        found += [
            Candidate(Likeness.MEDIA, self._those(numbers))
            for media_hash, numbers in self._ask.same_media()
            if media_hash != NO_MEDIA
        ]
        told = {(a.payload.payload_id, b.payload.payload_id) for c in found for a, b in _pairs(c)}
        for smaller, larger in subsets(self._ask.contents()):
            if (smaller, larger) not in told:
                found.append(Candidate(Likeness.SUBSET, self._those((smaller, larger))))
        return tuple(found)

    def _those(self, numbers: tuple[int, ...]) -> tuple[PayloadLine, ...]:
        return tuple(self._lines[number] for number in numbers)

    # -- files without a torrent, torrents without a place

    def orphans(self, grace: timedelta, most: int) -> Orphans:
        """Files in the seeding roots that no torrent of any client lists.

        Args:
            grace: How long our catalog must have known the name; an mtime may be years old in a
                file that was put there a minute ago.

        Raises:
            Misused: A client was never read to its end, or in the future, as a wrong clock had it,
                so its files would be listed.
        """
        synced_at = self.places.catalog.inventory.oldest_sync()
        if synced_at is None:
            raise Misused(
                "no torrents were read yet, or not all, so files would look unwanted that are not",
                detail="; ".join(map(_never_whole, self.places.catalog.inventory.clients())),
                hint="run `hashall payload sync`, without a limit, a category or a tag",
            )
        # Of what came after the last sync nobody knows what wants it.
        last, now = clock.parse_iso(synced_at), clock.now()
        if last > now + MOST_AHEAD:
            raise Misused(
                "the last sync is dated in the future, so nobody can say what came after it",
                detail=synced_at,
                hint="set the clock, then run `hashall payload sync` without a limit or filter",
            )
        before = min(now - grace, last)
        folders = Folders(self.places)
        wanted, unlisted = self._wanted(folders)
        found: dict[tuple[int, RelPath], Orphan] = {}
        younger = 0
        for _, top in self._tops:
            paths, inodes = self._ask.seeded(top.device_id)
            paths |= wanted.get(top.device_id, set())
            for name in self._ask.names_below(top.device_id, top.relpath):
                if name.path in paths or _is_clients_own(name.path):
                    continue
                if _is_younger(name.first_seen_at, before):
                    younger += 1
                    continue
                found[top.device_id, name.path] = Orphan(
                    self._shown.in_words(top.device_id, name.path),
                    name.size,
                    name.first_seen_at,
                    name.inode in inodes,
                )
        order = sorted(found.values(), key=lambda orphan: (-orphan.size, orphan.path))
        return Orphans(
            files=tuple(order[:most]),
            found=len(order),
            bytes=sum(orphan.size for orphan in order if not orphan.linked),
            younger=younger,
            synced_at=synced_at,
            unlisted=unlisted,
            elsewhere=tuple(
                key for key in sorted(self._instances) if self._is_elsewhere(key, folders)
            ),
        )

    def _is_elsewhere(self, key: str, folders: Folders) -> bool:
        instance = self._instances[key]
        if (instance.problem or "").startswith(("missing on disk", "unreadable on disk")):
            return True
        try:
            folders.at(instance.save_path)
        except (OSError, SeedError):
            return True
        return False

    def _wanted(self, folders: Folders) -> tuple[dict[int, set[RelPath]], tuple[str, ...]]:
        """By device, every path that some torrent lists; and torrents without a list."""
        wanted: dict[int, set[RelPath]] = {}
        unlisted = []
        places: dict[str, Place | None] = {}
        for row in self._ask.listed():
            if row.names is None or not row.names:
                unlisted.append(row.key)
                continue
            for top in {row.save_path, row.download_path} - {""}:
                for name in row.names:
                    parent, _, base = f"{top.rstrip('/')}/{name}".rpartition("/")
                    if parent not in places:
                        places[parent] = self._place_of(parent, folders)
                    place = places[parent]
                    if place is None:
                        continue  # not there, so nothing in it is catalogued as active
                    path = f"{place.relpath}/{base}" if place.relpath else base
                    paths = wanted.setdefault(place.device_id, set())
                    paths.update((path, path + INCOMPLETE_SUFFIX))
        return wanted, tuple(sorted(unlisted))

    def _place_of(self, path: str, folders: Folders) -> Place | None:
        """Where a folder is, or must be if its disk fails or it is closed to us; None: nowhere."""
        try:
            return folders.at(path).place
        except (FileNotFoundError, NotADirectoryError, SeedError):
            return None
        except OSError:
            pass  # the catalog has what was in it
        for above in Path(path).parents:
            try:
                place = self.places.known(above).place
            except OSError:
                continue
            except SeedError:
                return None
            rest = Path(path).relative_to(above)
            return Place(place.device_id, join(place.relpath, str(rest)))
        return None

    def unmanaged(self) -> tuple[Unmanaged, ...]:
        found = []
        for key in sorted(self._instances):
            instance = self._instances[key]
            reason = self._why_unmanaged(instance)
            if reason:
                found.append(Unmanaged(instance, reason))
        return tuple(found)

    def _why_unmanaged(self, instance: TorrentInstance) -> str | None:
        if instance.problem is not None:
            return instance.problem
        line = self._lines.get(instance.payload_id or 0)
        if line is None:
            return "it has no payload"
        if self._tops and line.residency is Residency.OTHER:
            return f"its files lie outside the seeding roots, in {line.root}"
        return None


def _pairs(candidate: Candidate) -> list[tuple[PayloadLine, PayloadLine]]:
    return [(a, b) for a in candidate.payloads for b in candidate.payloads if a is not b]


def _never_whole(client: ClientState) -> str:
    if client.synced_at is not None:
        return f"{client.client} was read at {client.synced_at}"
    why = f": {client.unread} could not be read ({client.why})" if client.unread else ""
    return f"the torrents of {client.client} were never all read{why}"


def _is_younger(first_seen_at: str, before: datetime) -> bool:
    return clock.parse_iso(first_seen_at) > before


def _is_clients_own(path: RelPath) -> bool:
    *folders, name = path.split("/")
    return any(folder in CLIENTS_OWN for folder in folders) or (
        name.startswith(".") and name.endswith(PARTS_SUFFIX)
    )
