"""Perform the steps of a run on the world: our disk and the client."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, singledispatchmethod
from pathlib import Path
from typing import TypeVar

from hashall import fsops
from hashall.hashing import FileStamp, hash_file
from hashall.presence import lies_at
from hashall.qbittorrent import stamp_at
from rehome.model import (
    AwaitPlaces,
    BuildView,
    CheckFiles,
    Copy,
    FillPayload,
    Fingerprint,
    MakeStaging,
    MoveFiles,
    Nothing,
    ProveAway,
    ProveFolder,
    Recheck,
    Relocate,
    RemoveFolder,
    RemoveStaging,
    SetCategory,
    SetManagement,
    StartTorrents,
    Step,
    StopTorrents,
    VerifyReuse,
)
from rehome.presence import regular_at
from rehome.switch import ClientSwitch
from seedkeep.errors import SeedError


class WrongBytes(SeedError):
    """What was read has another SHA-256 than the catalog."""

    code = "wrong-bytes"


Copying = Callable[[int], None]  # bytes more
AnyStep = TypeVar("AnyStep", bound=Step)
NOT_KEPT = "the copy could not keep"


@dataclass
class World:
    """What steps are performed on: our disk and the client."""

    connect: Callable[[], ClientSwitch]  # called when a step needs the client for the first time
    recheck: Callable[[Recheck], None]  # raises when the plan no longer is the right one
    copying: Copying = field(default=lambda _: None)
    look: Callable[[Sequence[Recheck]], None] = field(default=lambda _: None)
    _not_kept: dict[Copy, tuple[str, ...]] = field(default_factory=dict)
    _proved: set[tuple[str, str]] = field(default_factory=set)  # parent folders, ours and theirs

    def remark_on(self, step: Step) -> str:
        """What a person should know of a step that was done; "": nothing."""
        if not isinstance(step, FillPayload):
            return ""
        lacking: dict[str, list[str]] = {}
        for copy in step.copies:
            for what in self._not_kept.get(copy, ()):
                lacking.setdefault(what, []).append(copy.source)
        said = [
            f"{what} of {len(files)} file{'s' if len(files) != 1 else ''} (first: {min(files)})"
            for what, files in sorted(lacking.items())
        ]
        return f"{NOT_KEPT}: {'; '.join(said)}" if said else ""

    @cached_property
    def switch(self) -> ClientSwitch:
        return self.connect()

    def before(self, steps: Sequence[Step]) -> None:
        """What several steps of one kind need is read once."""
        rechecks = [step for step in steps if isinstance(step, Recheck)]
        if rechecks:
            self.look(rechecks)

    def perform_together(self, steps: Sequence[Step]) -> None:
        """Make steps of one kind true; what is asked of the client is asked with one wait."""
        match steps[0]:
            case StopTorrents():
                self.switch.stop(
                    [was for step in _all(StopTorrents, steps) for was in step.torrents]
                )
            case StartTorrents():
                self.switch.start(
                    [was for step in _all(StartTorrents, steps) for was in step.torrents]
                )
            case SetManagement():
                self.switch.manage(_all(SetManagement, steps))
            case SetCategory():
                self.switch.categorise(_all(SetCategory, steps))
            case Relocate():
                self._relocate(_all(Relocate, steps))
            case AwaitPlaces():
                places = [item for step in _all(AwaitPlaces, steps) for item in step.places]
                self.switch.await_places(dict(places))
            case _:
                for step in steps:
                    self.perform(step)

    def undo_together(self, steps: Sequence[Step]) -> None:
        """Perform inverses of one kind as far as they go: what others removed stays so."""
        steps = [step for step in steps if not isinstance(step, Nothing)]
        plain = [step for step in steps if not self._is_among_strangers(step)]
        if plain and isinstance(plain[0], MoveFiles):
            for move in _all(MoveFiles, plain):
                self._move_back(move)
        elif plain:
            self.perform_together(plain)
        back = [step for step in plain if isinstance(step, Relocate)]
        if back:
            # Killed right after it has shown a place, the client forgets it (measured).
            self.switch.await_places({step.torrent_id: step.client_to for step in back}, quiet=1)
        for step in _all(Relocate, [step for step in steps if step not in plain]):
            self._relocate_around_strangers(step)

    def _move_back(self, step: MoveFiles) -> None:
        src, dst = Path(step.src_root), Path(step.dst_root)
        names = step.names
        if f"/{fsops.PREFIX}" in step.dst_root:
            # Ours was never taken away: what lies where it was to go is somebody else's.
            names = tuple(n for n in names if stamp_at(dst / n) is None or n in step.empty)
        there = [n for n in names if lies_at(src / n) or lies_at(dst / n)]
        self.perform(replace(step, names=tuple(there)))

    def _is_among_strangers(self, step: Step) -> bool:
        return isinstance(step, Relocate) and bool(_strangers(step))

    def _relocate_around_strangers(self, step: Relocate) -> None:
        """Go back although somebody put files where ours were to be.

        The client would take them along, so they step aside for the moment, under a name of ours,
        and come back whatever happens.
        """
        root, aside = Path(step.from_root), _aside(step)
        names = _strangers(step)
        fsops.make_dirs(aside, like=root)
        fsops.move_files(root, aside, names)
        try:
            self._relocate([step])
            self.switch.await_places({step.torrent_id: step.client_to}, quiet=1)
        finally:
            fsops.move_files(aside, root, names)
            fsops.remove_empty_dirs(aside, names)
            remove_if_empty([str(aside)])

    def _relocate(self, steps: Sequence[Relocate]) -> None:
        for step in steps:
            for root in (Path(step.from_root), Path(step.to_root)):
                for name in step.empty:
                    remove_if_no_bytes(root, name)
        self.switch.relocate(steps)

    @singledispatchmethod
    def perform(self, step: Step) -> None:
        """Make a step true.  Safe to repeat, whatever part of it happened before."""
        raise TypeError(f"no way to perform {step}")

    @perform.register
    def _(self, _step: Nothing) -> None:
        pass

    @perform.register
    def _(self, step: MakeStaging) -> None:
        path = Path(step.path)
        fsops.make_dirs(path, like=path.parent)

    @perform.register
    def _(self, step: RemoveStaging) -> None:
        fsops.remove_tree_of_ours(Path(step.path))
        remove_if_empty(step.then_remove)

    @perform.register
    def _(self, step: FillPayload) -> None:
        for copy in step.copies:
            source, target = Path(copy.source), Path(copy.target)
            fsops.make_dirs(target.parent, like=target.parent.parent)
            copied = fsops.copy_in(
                source,
                target,
                sha256=copy.sha256,
                stamp=planned_stamp(source, copy.seen),
                progress=self.copying,
            )
            self._not_kept[copy] = copied.not_kept

    @perform.register
    def _(self, step: VerifyReuse) -> None:
        for file in step.files:
            verify_bytes(Path(file.path), file.sha256, file.seen, self.copying)

    @perform.register
    def _(self, step: BuildView) -> None:
        root = Path(step.root)
        fsops.make_dirs(root, like=root.parent)
        fsops.link_files([(Path(link.source), link.name) for link in step.links], root)

    @perform.register
    def _(self, step: ProveFolder) -> None:
        self.perform(step.inverse())  # of an interrupted try
        parents = (os.path.dirname(step.path), os.path.dirname(step.client_path))
        if parents not in self._proved:  # groups that switch together often share a folder
            self.switch.prove_folder(step)
            self.perform(step.inverse())
            self._proved.add(parents)

    @perform.register
    def _(self, step: ProveAway) -> None:
        self.perform(step.inverse())
        self.switch.prove_away(step)
        self.perform(step.inverse())

    @perform.register
    def _(self, step: RemoveFolder) -> None:
        remove_if_empty([step.path])

    @perform.register
    def _(self, step: Recheck) -> None:
        self.switch.rest(step.torrents)
        self.recheck(step)

    @perform.register
    def _(self, step: MoveFiles) -> None:
        src, dst = Path(step.src_root), Path(step.dst_root)
        # Undone before anything was done: the root of its source was never made.
        like = src if src.exists() else dst.parent
        fsops.make_dirs(dst, like=like)
        clients, ours = (dst, src) if f"/{fsops.PREFIX}" in step.src_root else (src, dst)
        for name in step.empty:
            if stamp_at(ours / name) is not None:
                remove_if_no_bytes(clients, name)
        fsops.move_files(src, dst, step.names)
        remove_if_empty(step.then_remove)

    @perform.register
    def _(self, step: CheckFiles) -> None:
        self.switch.check(step)


def _all(kind: type[AnyStep], steps: Sequence[Step]) -> list[AnyStep]:
    return [step for step in steps if isinstance(step, kind)]


def _aside(step: Relocate) -> Path:
    return Path(step.from_root) / f"{fsops.PREFIX}{step.torrent_id[:12]}-aside"


def _strangers(step: Relocate) -> list[str]:
    """Names of the torrent under which something lies where nothing of ours does."""
    root, aside = Path(step.from_root), _aside(step)
    names = [name for name in step.names if name not in step.empty]
    return [n for n in names if lies_at(root / n) or lies_at(aside / n)]


def verify_bytes(
    path: Path,
    sha256: str,
    seen: Fingerprint | None = None,
    progress: Copying | None = None,
) -> FileStamp:
    """Read a file from its beginning to its end and compare.  Raises `WrongBytes`."""
    hashed = hash_file(path, want_quick=False, progress=progress)
    stamp = hashed.stamp
    if seen is not None and (stamp.inode, stamp.size, stamp.mtime_ns) != (
        seen.inode,
        seen.size,
        seen.mtime_ns,
    ):
        raise WrongBytes(f"{path} is no longer the file that was planned with")
    if hashed.sha256 != sha256:
        raise WrongBytes(
            f"{path} does not have the bytes that the catalog says",
            detail=f"sha256 {hashed.sha256}, expected {sha256}",
            hint="scan it again, and look at the disk's health",
        )
    return stamp


def planned_stamp(path: Path, seen: Fingerprint) -> FileStamp:
    """What a file must still be, from what the plan saw of it."""
    now = regular_at(path)
    if now is None:
        raise WrongBytes(f"{path} is gone or is no regular file any more")
    return FileStamp(
        inode=seen.inode,
        size=seen.size,
        mtime_ns=seen.mtime_ns,
        ctime_ns=now.ctime_ns,
        nlink=now.nlink,
        mode=now.mode,
        uid=now.uid,
        gid=now.gid,
    )


def remove_if_no_bytes(root: Path, name: str) -> None:
    """Remove an empty file that the client made anew; the torrent's own one is put away safely."""
    stamp = stamp_at(root / name)
    if stamp is not None and stamp.size == 0:
        fsops.retire_file(root, name, stamp=stamp)


def remove_if_empty(dirs: Sequence[str]) -> None:
    """Remove directories that this run made, deepest first, where they are empty."""
    for path in dirs:
        if not lies_at(path):  # asking a read-only disk to remove nothing is an error
            continue
        fsops.remove_empty_dirs(Path(path).parent, [f"{Path(path).name}/x"])
