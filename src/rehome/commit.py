"""Prove that a relocation is whole, then write it into the catalog together with its commit."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from hashall.catalog.files import parent_of
from hashall.hashing import FileStamp, quick_hash_file
from hashall.journal import Run
from hashall.payload_sync import by_place, record
from hashall.places import Places
from hashall.qbittorrent import Mapped, PathMap, map_torrent, stamp_at
from rehome.model import BuildView, Fingerprint, Place, Plan, VerifyReuse
from rehome.presence import regular_at
from rehome.undo import adopted, source_files
from rehome.world import verify_bytes
from seedkeep.errors import SeedError
from seedkeep.sqlite import transaction
from seedkeep.torrent_client import TorrentClient


class NotWhole(SeedError):
    """What was placed is not what was planned."""

    code = "not-whole"


@dataclass(frozen=True)
class _Read:
    """Files that nobody copied, as they were when their bytes were read."""

    by_inode: Mapping[int, Fingerprint]
    stayed: frozenset[str]  # paths that must be one of these

    @classmethod
    def by(cls, plan: Plan, placed: Mapping[str, str]) -> _Read:
        """What the target side had: elsewhere, or in its place.  Raises `WrongBytes`.

        What nobody has read in its place, as in a run that an older version began, is read now.
        """
        files = [f for step in plan.steps if isinstance(step, VerifyReuse) for f in step.files]
        seen = {file.seen.inode: file.seen for file in files}
        stayed = adopted(plan)
        for path in sorted(stayed & placed.keys()):
            stamp = stamp_at(path)
            if stamp is not None and stamp.inode not in seen:
                stamp = verify_bytes(Path(path), placed[path])
                seen[stamp.inode] = Fingerprint(stamp.inode, stamp.size, stamp.mtime_ns)
        return cls(seen, stayed)

    @classmethod
    def before(cls, original: Plan) -> _Read:
        """What a run hid, which a later one puts back."""
        seen = {item.seen.inode: item.seen for item in original.retire}
        return cls(seen, frozenset(source_files(original)))

    def still_holds(self, path: str, now: FileStamp) -> bool:
        seen = self.by_inode.get(now.inode)
        if seen is None:
            return path not in self.stayed
        return (now.size, now.mtime_ns) == (seen.size, seen.mtime_ns)


@dataclass(frozen=True)
class Commit:
    """Everything that the end of a run needs."""

    client: TorrentClient
    places: Places
    path_map: PathMap

    def finish(self, run: Run, plan: Plan) -> None:
        """Verify, then commit the catalog and the run in one transaction.

        Raises:
            NotWhole, WrongBytes: Something is not as planned; nothing was written.
        """
        self._verify_links(plan)
        mapped = self._torrents(plan)
        placed = {item.witness: item.sha256 for item in plan.retire}
        gone = () if plan.keep_source else _sources(plan)
        read = _Read.by(plan, placed)
        with transaction(self.places.catalog.db):
            self._write(mapped, placed, gone, read)
            run.commit()

    def finish_undo(self, run: Run, plan: Plan, undone: Run, original: Plan) -> None:
        """The same for a run that took `undone` back, which ends with it."""
        mapped = self._torrents(plan)
        with transaction(self.places.catalog.db):
            self._write(mapped, source_files(original), _sources(plan), _Read.before(original))
            undone.retired(f"taken back by run {run.run_id}")
            run.commit()

    def _write(
        self, mapped: Iterable[Mapped], placed: Mapping[str, str], gone: Iterable[Path], read: _Read
    ) -> None:
        for path, sha256 in sorted(placed.items()):
            self._write_target(Path(path), sha256, read)
        for source in gone:
            spot = self.places.find_missing(source)
            self.places.catalog.files(spot.device.device_id).drop_path(spot.place.relpath)
        fresh: set[int] = set()
        for item in sorted(mapped, key=by_place):
            outcome = record(item, self.places, fresh)
            if outcome.payload_hash is None:
                raise NotWhole(f"{outcome.name} has no payload there: {outcome.problem}")
        self.places.catalog.payloads.forget_unused()

    def refresh(self, plan: Plan) -> None:
        """The staging names are gone: link counts and ctimes on the pool are other ones now."""
        with transaction(self.places.catalog.db):
            for path in sorted({Path(retirement.witness) for retirement in plan.retire}):
                stamp = stamp_at(path)
                if stamp is not None:
                    device = self.places.find(path.parent).device
                    self.places.catalog.files(device.device_id).refresh_inode(stamp)

    def _verify_links(self, plan: Plan) -> None:
        """Each placed file is the very inode that was copied in or reused."""
        homes = {step.src_root: step.dst_root for step in plan.steps if isinstance(step, Place)}
        for step in plan.steps:
            if not isinstance(step, BuildView):
                continue
            for link in step.links:
                placed = Path(homes[step.root]) / link.name
                if not os.path.samestat(os.lstat(link.source), os.lstat(placed)):
                    raise NotWhole(f"{placed} is no hardlink to {link.source}")

    def _torrents(self, plan: Plan) -> list[Mapped]:
        """The group as the client has it now; complete, and where it should be."""
        ids = [move.torrent_id for move in plan.torrents]
        found = {torrent.torrent_id: torrent for torrent in self.client.torrents(ids)}
        mapped = []
        for move in plan.torrents:
            torrent = found.get(move.torrent_id)
            if torrent is None:
                raise NotWhole(f"torrent {move.torrent_id} is gone from the client")
            item = map_torrent(torrent, self.client.files(move.torrent_id), self.path_map)
            problem = item.problem
            if not _is_same(item.save_path, Path(move.target_path)):
                problem = f"its save path is {item.save_path}, not {move.target_path}"
            if problem:
                raise NotWhole(f"torrent {move.torrent_id} ({move.name}): {problem}")
            mapped.append(item)
        return mapped

    def _write_target(self, path: Path, sha256: str, read: _Read) -> None:
        spot = self.places.find(path)
        stamp = regular_at(path)
        if stamp is None:
            raise NotWhole(f"{path} vanished")
        if not read.still_holds(str(path), stamp):
            raise NotWhole(f"{path} was changed or exchanged after its bytes were read")
        files = self.places.catalog.files(spot.device.device_id)
        relpath = spot.place.relpath
        files.put_name(files.ensure_dir(parent_of(relpath)), path.name, stamp.inode)
        files.put_inode(stamp, keep_hash=False)
        files.put_hash(stamp, sha256, quick_hash_file(path).quick_hash, racy=False)


def _is_same(one: Path, other: Path) -> bool:
    """The client may call a folder by a symlink that leads to it."""
    try:
        return one == other or one.samefile(other)
    except OSError:
        return False


def _sources(plan: Plan) -> Iterable[Path]:
    """Where the hidden files were before they were hidden."""
    return sorted({Path(r.hidden_root).parent / r.name for r in plan.retire})
