"""One torrent of the simulated client: what is true of it, and what the client shows of it."""

from __future__ import annotations

import io
import time
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Any

import torf
from tests.support import simulated_disk as disk
from tests.support.simulated_disk import StoredFile

NEVER = -1
NOT_KEPT = ("phase", "live_load", "stored_at", "shown", "shown_progress", "hold", "since_move")


@dataclass(frozen=True)
class Flavour:
    """What differs between the two qBittorrent versions, as far as this project can see it."""

    version: str
    app: str
    api: str
    stopped: str  # the prefix of the state of a stopped torrent, and of the field when adding
    stop: str  # endpoint
    start: str  # endpoint
    shows_moving: bool  # a move that is over at once is shown as "moving" until the next refresh
    forgets_on_move: bool  # moving a torrent with missing files forgets which pieces it had
    never: int  # completion_on of a torrent that never completed
    answers_while_loading: bool = False  # after a start, torrents come in one by one


FLAVOURS = {
    "4.5": Flavour("4.5", "v4.5.2", "2.8.19", "paused", "pause", "resume", True, True, 0),
    # As 4.5 in all else.
    "4.4": Flavour("4.5", "v4.4.5", "2.8.5", "paused", "pause", "resume", True, True, 0, True),
    "5.1": Flavour("5.1", "v5.1.0", "2.11.4", "stopped", "stop", "start", False, False, -1),
}


class Phase(Enum):
    IDLE = "idle"
    LOADING = "loading"  # resume data are being compared with the disk
    CHECKING = "checking"  # every piece is being read
    MOVING = "moving"  # a move takes longer than the request


@dataclass
class SimTorrent:
    hash: str
    name: str
    files: list[StoredFile]
    piece_length: int
    pieces: list[str]  # SHA-1 of each piece, hex
    have: list[bool]
    save_path: str
    tracker: str
    metainfo: str  # the .torrent file, hex
    download_path: str = ""
    category: str = ""
    tags: list[str] = field(default_factory=list)
    auto_tmm: bool = False
    stopped: bool = False
    forced: bool = False
    super_seeding: bool = False
    missing: bool = False
    owed: bool = False  # a full check has to come before it may seed
    added_on: int = 0
    completion_on: int = NEVER
    uploaded: int = 0
    downloaded: int = 0
    up_limit: int = 0
    dl_limit: int = 0
    ratio_limit: float = -2
    seeding_time_limit: int = -2
    num_complete: int = 0  # peers that have all of it, as the tracker says
    tracker_message: str = ""
    infohash_v1: str = ""  # "": `hash`, as of a torrent that has no other
    infohash_v2: str = ""
    # Not kept over a restart:
    phase: Phase = Phase.IDLE
    live_load: bool = False
    stored_at: str = ""  # where the files are while a slow move is under way
    shown: str = ""
    shown_progress: float = 0.0
    hold: int = 0  # refreshes during which what is shown stays as it is
    since_move: int = 99  # refreshes since the last move

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)

    @property
    def amount_left(self) -> int:
        if self.missing:
            return self.size
        full = self.size - self.piece_length * (len(self.have) - 1)
        sizes = [self.piece_length] * (len(self.have) - 1) + [full]
        return sum(size for size, have in zip(sizes, self.have, strict=True) if not have)

    @property
    def progress(self) -> float:
        return 1 - self.amount_left / self.size if self.size else 1.0

    @property
    def complete(self) -> bool:
        return all(self.have) and not self.missing

    def forget(self) -> None:
        self.have = [False] * len(self.have)

    def true_state(self, flavour: Flavour) -> str:
        """What a refresh would show."""
        side = "UP" if self.complete else "DL"
        if self.phase is Phase.MOVING:
            return "moving"
        if self.missing:
            return "missingFiles"
        if self.phase is Phase.LOADING:
            return "checkingResumeData"
        if self.phase is Phase.CHECKING:
            return "checkingUP" if self.completion_on != NEVER else "checkingDL"
        if self.stopped:
            return f"{flavour.stopped}{side}"
        return f"forced{side}" if self.forced else f"stalled{side}"

    def load(self, *, live: bool = False) -> None:
        """Begin what the client does with a torrent at start, and (`live`) when it looks again."""
        self.missing = False
        self.live_load = live
        self.phase = Phase.LOADING
        self.shown, self.shown_progress = "checkingResumeData", self.progress

    def refresh(self) -> None:
        """One step forward: a load, or a full check, is over by the next refresh."""
        self.since_move += 1
        if self.phase is Phase.LOADING:
            self.phase = Phase.IDLE
            if all(self.have) and not disk.all_in_place(self.save_path, self.files):
                self.missing = True
            elif not any(self.have):
                # With nothing to compare, only a running client remembers that files are missing.
                there = disk.any_in_place(self.save_path, self.files)
                self.missing = self.live_load and not there
                self.owed = not self.missing
        elif self.phase is Phase.CHECKING:
            self.phase, self.owed = Phase.IDLE, False
            self.have = disk.check_pieces(
                self.save_path,
                self.files,
                self.piece_length,
                [bytes.fromhex(text) for text in self.pieces],
            )
            if self.complete and self.completion_on == NEVER:
                self.completion_on = int(time.time())
        if self.owed and not self.stopped and self.phase is Phase.IDLE:
            self.phase = Phase.CHECKING

    def show(self, flavour: Flavour) -> None:
        if self.hold:
            self.hold -= 1
            return
        self.shown, self.shown_progress = self.true_state(flavour), self.progress

    def row(self, flavour: Flavour) -> dict[str, Any]:
        """The object that torrents/info has for it."""
        at = self.stored_at or self.save_path
        content = disk.content_path(at, self.files)
        if flavour.version == "4.5" and self.phase is Phase.LOADING:
            content = content.removeprefix(f"{at}/")  # what 4.5 shows while it loads
        left = round(self.size * (1 - self.shown_progress))
        row = {
            "added_on": self.added_on,
            "amount_left": left,
            "auto_tmm": self.auto_tmm,
            "category": self.category,
            "completed": self.size - left,
            "completion_on": flavour.never if self.completion_on == NEVER else self.completion_on,
            "content_path": content,
            "dl_limit": self.dl_limit,
            "download_path": self.download_path,
            "downloaded": self.downloaded,
            "force_start": self.forced and not self.stopped,
            "hash": self.hash,
            "infohash_v1": self.infohash_v1 or self.hash,
            "infohash_v2": self.infohash_v2,
            "name": self.name,
            "num_complete": self.num_complete,
            "progress": self.shown_progress,
            "ratio": self.uploaded / self.size if self.size else 0,
            "ratio_limit": self.ratio_limit,
            # 5.x shows the new path once the files are there, 4.x at once.
            "save_path": self.save_path if flavour.version == "4.5" else at,
            "seeding_time_limit": self.seeding_time_limit,
            "size": self.size,
            "state": self.shown,
            "super_seeding": self.super_seeding,
            "tags": ", ".join(sorted(self.tags)),
            "total_size": self.size,
            # 4.x names a tracker only while it works, and no tracker works here.
            "tracker": "" if flavour.version == "4.5" else self.tracker,
            "up_limit": self.up_limit,
            "uploaded": self.uploaded,
        }
        if flavour.version != "4.5":
            top = disk.top_folder(self.files)
            row |= {"root_path": f"{at}/{top}" if top else "", "has_metadata": True}
            row["inactive_seeding_time_limit"] = -2
        return row

    def file_rows(self) -> list[dict[str, Any]]:
        progress = 1 if self.complete else 0
        return [
            {"index": at, "name": f.name, "size": f.size, "progress": progress, "priority": 1}
            for at, f in enumerate(self.files)
        ]

    def saved(self) -> dict[str, Any]:
        """What survives the end of the client."""
        kept = asdict(self)
        for name in NOT_KEPT:
            del kept[name]
        return kept


def restored(kept: dict[str, Any]) -> SimTorrent:
    files = [StoredFile(**file) for file in kept.pop("files")]
    return SimTorrent(files=files, **kept)


def from_torrent_file(data: bytes, *, save_path: str, with_folder: bool) -> SimTorrent:
    """A torrent as it is when it has just been added; nothing of it is known to be there."""
    made = torf.Torrent.read_stream(io.BytesIO(data))
    info = made.metainfo["info"]
    if "files" in info:
        top = f"{info['name']}/" if with_folder else ""
        files = [StoredFile(top + "/".join(f["path"]), int(f["length"])) for f in info["files"]]
    else:
        files = [StoredFile(str(info["name"]), int(info["length"]))]
    joined = bytes(info["pieces"])
    pieces = [joined[at : at + 20].hex() for at in range(0, len(joined), 20)]
    return SimTorrent(
        hash=str(made.infohash).lower(),
        name=str(info["name"]),
        files=files,
        piece_length=int(info["piece length"]),
        pieces=pieces,
        have=[False] * len(pieces),
        save_path=save_path,
        tracker=str(made.trackers[0][0]) if made.trackers else "",
        metainfo=data.hex(),
        added_on=int(time.time()),
    )
