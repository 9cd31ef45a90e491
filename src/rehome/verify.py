"""Look at placed files once more before the commit, as far as a person asked for it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hashall.payload_verify import pieces_of_torrent
from hashall.qbittorrent import PathMap
from rehome.model import Plan, Retirement
from rehome.world import Copying, WrongBytes, verify_bytes
from seedkeep.torrent_client import TorrentClient


@dataclass(frozen=True)
class Checks:
    """What is read again, at its new place, before a run is committed."""

    spot_check: int = 0  # so many files of each group, in full
    verify_hash: bool = False  # every file, in full
    pieces: bool = False  # every torrent, against its own piece hashes

    def verify_torrents(
        self,
        client: TorrentClient,
        plan: Plan,
        path_map: PathMap,
        reading: Copying = lambda _: None,
    ) -> None:
        """Hold each torrent against its own pieces, where it lies now.  Raises `WrongBytes`."""
        for move in plan.torrents if self.pieces else ():
            report = pieces_of_torrent(client, move.torrent_id, path_map, progress=reading)
            if not report.is_proved:
                raise WrongBytes(
                    f"torrent {move.torrent_id} ({move.name}) is not what its pieces say",
                    detail=f"{len(report.bad)} of {report.pieces} pieces are bad:"
                    f" {', '.join((*report.files_in_bad, *report.missing)[:5])}",
                    hint="recheck it in qBittorrent where it is",
                )

    def verify(self, plan: Plan, reading: Copying = lambda _: None) -> int:
        """Read and compare; returns how many bytes were read.  Raises `WrongBytes`.

        Siblings share inodes, so each content is read once.
        """
        read = 0
        for item in self.chosen(plan):
            read += verify_bytes(Path(item.witness), item.sha256, progress=reading).size
        return read

    def chosen(self, plan: Plan) -> Sequence[Retirement]:
        """The files to read: all, or a sample that is the same whenever the plan is."""
        contents = {(item.seen.size, item.sha256): item for item in plan.retire}
        items = sorted(contents.values(), key=lambda item: _draw(plan.plan_id, item.sha256))
        return items if self.verify_hash else items[: self.spot_check]


def _draw(plan_id: str, sha256: str) -> str:
    return hashlib.sha256(f"{plan_id} {sha256}".encode()).hexdigest()
