"""What this project needs from a torrent client: values, a protocol, errors.

Names no qBittorrent version: spellings and traps end in `seedkeep.qbittorrent`, the only module
that imports `qbittorrentapi`, and everything that leaves it is normalised to what is here (see
docs/architecture/qbittorrent.md for the facts).
"""

from __future__ import annotations

import enum
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol, TypeVar

from seedkeep.errors import Misused, Refused, SeedError, Unreachable

SHORTEST_PREFIX = 6  # hex digits that a person must at least type
_FULL_IDS = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_HEX = re.compile(r"[0-9a-f]+")


class ClientTooOld(Refused):
    """The client lacks something that every relocation needs."""

    code = "client-version"


class ClientRefused(SeedError):
    """The client said no, or said yes and did nothing; the detail has its words."""

    code = "client-refused"
    torrents: frozenset[str] = frozenset()  # those that it is about, where that is known


class NoSuchTorrent(Misused):
    """The client does not know this torrent (any more)."""

    code = "no-such-torrent"
    torrents: frozenset[str] = frozenset()


class LoginRefused(Unreachable):
    """The client is there and does not let us in.  To try again gets the address banned."""

    code = "login"


class TorrentState(enum.Enum):
    """qBittorrent's state with the spellings of 4.x and 5.x folded together (stopped = paused)."""

    UPLOADING = "uploading"
    STALLED_UP = "stalledUP"
    QUEUED_UP = "queuedUP"
    FORCED_UP = "forcedUP"
    STOPPED_UP = "stoppedUP"
    CHECKING_UP = "checkingUP"
    DOWNLOADING = "downloading"
    STALLED_DL = "stalledDL"
    QUEUED_DL = "queuedDL"
    FORCED_DL = "forcedDL"
    STOPPED_DL = "stoppedDL"
    CHECKING_DL = "checkingDL"
    META_DL = "metaDL"
    FORCED_META_DL = "forcedMetaDL"
    CHECKING_RESUME_DATA = "checkingResumeData"
    MOVING = "moving"
    ALLOCATING = "allocating"
    MISSING_FILES = "missingFiles"
    ERROR = "error"
    UNKNOWN = "unknown"

    @property
    def is_busy(self) -> bool:
        """Moving, checking, allocating: progress means nothing, and nothing may be started."""
        return self in _BUSY

    @property
    def is_stopped(self) -> bool:
        return self in (TorrentState.STOPPED_UP, TorrentState.STOPPED_DL)

    @property
    def is_seeding(self) -> bool:
        """Would serve a peer that asks."""
        return self in _SEEDING

    @property
    def is_downloading(self) -> bool:
        """Wants bytes, or would as soon as it may."""
        return self in _DOWNLOADING


_BUSY = frozenset(
    {
        TorrentState.CHECKING_UP,
        TorrentState.CHECKING_DL,
        TorrentState.CHECKING_RESUME_DATA,
        TorrentState.MOVING,
        TorrentState.ALLOCATING,
    }
)
_SEEDING = frozenset({TorrentState.UPLOADING, TorrentState.STALLED_UP, TorrentState.FORCED_UP})
_DOWNLOADING = frozenset(
    {
        TorrentState.DOWNLOADING,
        TorrentState.STALLED_DL,
        TorrentState.QUEUED_DL,
        TorrentState.FORCED_DL,
        TorrentState.META_DL,
        TorrentState.FORCED_META_DL,
    }
)


@dataclass(frozen=True, kw_only=True)
class Torrent:
    """One torrent as the client described it at one moment.  Paths are the client's own."""

    torrent_id: str  # 40 lower-case hex; for v2 and hybrid the cut v2 hash (qBittorrent's "hash")
    infohash_v1: str  # 40 hex, "" when the torrent has none
    infohash_v2: str  # 64 hex, "" when the torrent has none
    name: str  # for display; says nothing about folders
    state: TorrentState
    progress: float  # 0..1; 1 is no proof that the data is there
    size: int  # bytes of the wanted files
    amount_left: int  # bytes
    save_path: str
    download_path: str  # "" when none is set or when it equals save_path
    content_path: str
    category: str
    tags: tuple[str, ...]  # sorted
    auto_tmm: bool
    force_start: bool
    super_seeding: bool
    added_on: datetime | None
    completion_on: datetime | None  # None: never
    uploaded: int  # bytes, all time
    ratio: float
    upload_limit: int  # bytes/s, 0 or less = none
    download_limit: int  # bytes/s, 0 or less = none
    ratio_limit: float  # -2 global, -1 none
    seeding_time_limit: int  # minutes; -2 global, -1 none
    tracker: str


@dataclass(frozen=True)
class TorrentFile:
    """One row of a torrent's file list: where the client keeps it below the save path."""

    name: str  # relative to the save path, "/" between parts, as renamed in the client
    size: int  # bytes
    progress: float
    wanted: bool  # priority > 0


@dataclass(frozen=True)
class ClientVersion:
    app: str  # "v5.1.0", for people only
    api: tuple[int, int, int]  # Web API version: the only thing decisions may look at


class Prints(NamedTuple):
    """What tells one row of an inventory from another; equal: nothing of its kind changed."""

    place: str  # a digest of whatever says where the files are and whether they are complete
    labels: str  # name, category and tags


@dataclass(frozen=True)
class FileList:
    """A torrent's file list, or why it could not be read."""

    torrent_id: str
    files: tuple[TorrentFile, ...] = ()
    error: SeedError | None = None


class Inventory(Protocol):
    """All torrents of a client at one moment; each is read in full only when it is asked for."""

    @property
    def unread(self) -> tuple[str, ...]:
        """What is wrong with rows that name no torrent: some torrent is missing here."""
        ...

    def prints(self) -> Mapping[str, Prints]:
        """By torrent id."""
        ...

    def by_place(self, ids: Iterable[str]) -> list[str]:
        """Ids of this inventory, sorted so that neighbours have their files near each other."""
        ...

    def torrent(self, torrent_id: str) -> Torrent:
        """Raises `Unreachable` for a row that is not understood."""
        ...


class TorrentClient(Protocol):
    """A torrent client.

    Changes are confirmed by reading back before a method returns; where the client answers "fine"
    and does nothing, `ClientRefused` is raised.  A change of a torrent that the client does not
    have raises `NoSuchTorrent` and changes nothing.  Every method may raise
    `seedkeep.errors.Unreachable`.
    """

    def version(self) -> ClientVersion: ...

    def refresh_interval(self) -> float:
        """Seconds between two refreshes of the states that the client reports."""
        ...

    def torrents(self, ids: Collection[str] | None = None) -> list[Torrent]:
        """All torrents, or those of `ids` that exist; an empty collection gives an empty list."""
        ...

    def files(self, torrent_id: str) -> list[TorrentFile]:
        """File list in the torrent's order.  Raises `NoSuchTorrent`."""
        ...

    def inventory(self) -> Inventory:
        """All torrents, for comparing thousands of them with what was known before."""
        ...

    def file_lists(self, ids: Collection[str]) -> Iterator[FileList]:
        """File lists of many torrents, each once, in any order, as they come.

        A torrent that the client no longer has comes with `NoSuchTorrent`.  When the client stays
        silent, the rest comes with `Unreachable`, without another long wait for each.
        """
        ...

    def export(self, torrent_id: str) -> bytes:
        """The .torrent file.  Raises `NoSuchTorrent`, and `ClientTooOld` before Web API 2.8.14."""
        ...

    def categories(self) -> Mapping[str, str]:
        """Every category with its absolute save path; "" where it follows from other settings."""
        ...

    def trackers(self, torrent_id: str) -> list[str]:
        """Announce addresses, without DHT and the like.  Raises `NoSuchTorrent`."""
        ...

    def stop(self, ids: Collection[str]) -> None: ...

    def start(self, ids: Collection[str]) -> None:
        """Start; those that were force-started before need `set_force_start` as well."""
        ...

    def look_again(self, ids: Collection[str]) -> None:
        """Have `MISSING_FILES` torrents compare what they knew with the disk, without a full check.

        All their files must be back in place at the save path.  They end stopped, with the
        progress they had.  Torrents in another state are left as they are.
        """
        ...

    def recheck(self, ids: Collection[str]) -> None:
        """Read all data of these torrents again; returns once asked.  Slow, and the last resort."""
        ...

    def set_force_start(self, ids: Collection[str], on: bool) -> None: ...

    def set_auto_management(self, ids: Collection[str], on: bool) -> None: ...

    def set_category(self, ids: Collection[str], category: str) -> None:
        """Set a category that exists; "" for none.  Under auto management this moves the data."""
        ...

    def set_download_path(self, torrent_id: str, path: str) -> None:
        """Set or ("") clear the path for unfinished data; not possible under auto management."""
        ...

    def set_download_paths(self, paths: Mapping[str, str]) -> None:
        """`set_download_path` for several torrents (id → path) with one wait."""
        ...

    def make_folder(self, path: str) -> None:
        """Let the client make a folder where it believes `path` to be, with what is missing above.

        Touches no torrent.  Returns when the client has answered, whatever it did.
        """
        ...

    def set_location(self, torrent_id: str, path: str) -> None:
        """Ask for a move to `path`; returns once accepted.  The caller waits for the outcome.

        A torrent in `MISSING_FILES` may owe a full check afterwards: put its files back where it
        expects them and `look_again` first.
        """
        ...

    def set_locations(self, places: Mapping[str, str]) -> None:
        """`set_location` for several torrents (id → path) with one wait."""
        ...


class Identified(Protocol):
    """Anything that a torrent's hashes name."""

    @property
    def torrent_id(self) -> str: ...
    @property
    def infohash_v1(self) -> str: ...
    @property
    def infohash_v2(self) -> str: ...
    @property
    def name(self) -> str: ...


AnyTorrent = TypeVar("AnyTorrent", bound=Identified)


def resolve(torrents: Iterable[AnyTorrent], text: str) -> AnyTorrent:
    """Find the one torrent that a person means.

    `text` is, in any case: the client's id, the v1 or the v2 infohash, or the beginning of one of
    them (at least `SHORTEST_PREFIX` digits) that fits a single torrent.

    Raises:
        Misused: `text` is no hash, too short, or fits several torrents.
        NoSuchTorrent: It fits none.
    """
    wanted = text.strip().lower()
    if not _HEX.fullmatch(wanted) or not SHORTEST_PREFIX <= len(wanted) <= 64:
        raise Misused(
            f"{text!r} is not a torrent hash",
            hint=f"give 40 or 64 hex digits, or the first {SHORTEST_PREFIX} or more of them",
        )
    fits = [torrent for torrent in torrents if _fits(torrent, wanted)]
    if len(fits) == 1:
        return fits[0]
    if not fits:
        raise NoSuchTorrent(
            f"the client has no torrent with the hash {text}",
            hint="check the hash; it is shown in qBittorrent's General tab",
        )
    listed = "\n".join(f"{torrent.torrent_id}  {torrent.name}" for torrent in fits[:10])
    raise Misused(f"{text} fits {len(fits)} torrents", detail=listed, hint="give more digits")


def _fits(torrent: Identified, wanted: str) -> bool:
    hashes = (torrent.torrent_id, torrent.infohash_v1, torrent.infohash_v2)
    if _FULL_IDS.fullmatch(wanted):
        # 40 digits are a whole id, and also what is left of a v2 hash that was cut (a webhook's
        # %K): both are found, and so is a v2 hash whose torrent is listed under its short id.
        return wanted in hashes or (len(wanted) == 64 and torrent.torrent_id == wanted[:40])
    return any(found.startswith(wanted) for found in hashes)
