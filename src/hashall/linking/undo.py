"""Separate links again: each name that a plan linked becomes a file of its own, as it was."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from hashall import fsreplace
from hashall.catalog import Catalog
from hashall.catalog.files import parent_of
from hashall.catalog.links import Settled
from hashall.catalog.links_names import Moved
from hashall.dirfd import lstat_at, sync
from hashall.fscopy import copy_in
from hashall.hashing import READ_FLAGS, FileStamp, inode_of
from hashall.linking import leases
from hashall.linking.execute import Progress, result_of
from hashall.linking.folders import Folder, Folders
from hashall.linking.look import Skip, as_skip, name_of
from hashall.linking.model import Action, ActionState, Result
from seedkeep.errors import SeedError
from seedkeep.sqlite import transaction
from seedkeep.units import format_size

SPACE_MARGIN = 64 << 20  # bytes that stay free, or a hundredth of a smaller filesystem


@dataclass
class Undo:
    """Goes backwards, so that names which were one file before are one file again."""

    catalog: Catalog
    folders: Folders
    plan_id: int
    progress: Progress = lambda _: None
    # by (device, old inode): the action whose name has the copy, and the copy itself; a number
    # alone would not tell it from a newer file, which may get the number of one that went
    _copies: dict[tuple[int, int], tuple[Action, FileStamp]] = field(default_factory=dict)

    def run(self, actions: Sequence[Action], *, dry_run: bool = False) -> list[Result]:
        results = []
        for action in reversed(actions):
            end = self._look(action) if dry_run else self._one(action)
            results.append(result_of(self.folders, action, end))
            self.progress(results[-1])
            self.folders.trim()
        return results

    def _look(self, action: Action) -> Settled:
        try:
            self._prepared(action)
        except Skip as skip:
            return Settled(action.seq, ActionState.SKIPPED, skip.reason, skip.detail)
        return Settled(action.seq, ActionState.PLANNED)

    def _one(self, action: Action) -> Settled:
        try:
            folder, now = self._prepared(action)
        except Skip as skip:
            return Settled(action.seq, ActionState.SKIPPED, skip.reason, skip.detail)
        with transaction(self.catalog.db):
            self.catalog.links.intend(self.plan_id, [action.seq], ActionState.UNDOING)
        try:
            lost = self._separate(action, folder, now)
        except (OSError, SeedError, Skip) as why:
            stopped = why if isinstance(why, Skip) else as_skip(why)
            with transaction(self.catalog.db):
                back = Settled(action.seq, ActionState.DONE, bytes_saved=action.bytes_saved)
                self.catalog.links.settle(self.plan_id, [back])
            return Settled(action.seq, ActionState.SKIPPED, stopped.reason, stopped.detail)
        made, left = lstat_at(folder.fd, name_of(action)), self._source_now(action)
        assert made is not None
        move = Moved(
            action.target.device_id,
            action.target.path,
            FileStamp.of(made),
            action.source.inode,
            left,
        )
        detail = f"could not be kept: {', '.join(lost)}" if lost else ""
        end = Settled(action.seq, ActionState.UNDONE, detail=detail, bytes_saved=0)
        with transaction(self.catalog.db):
            self.catalog.links.settle(self.plan_id, [end])
            self.catalog.linked_names.separated([move])
        self._copies.setdefault(
            (action.target.device_id, action.target.inode), (action, FileStamp.of(made))
        )
        return replace(end, bytes_saved=-(action.bytes_saved or 0))

    def _prepared(self, action: Action) -> tuple[Folder, os.stat_result]:
        """The directory, and the name as it is.  Raises `Skip` when it is no link of the plan."""
        try:
            folder = self.folders.at(action.target.device_id, parent_of(action.target.path))
            now = lstat_at(folder.fd, name_of(action))
            space = os.fstatvfs(folder.fd)
        except (OSError, SeedError) as why:
            raise as_skip(why) from why
        if now is None:
            raise Skip("missing", "it is gone")
        if (inode_of(now), now.st_size) != (action.source.inode, action.size):
            raise Skip("changed", "it is not the link that the plan made any more")
        first = (action.target.device_id, action.target.inode) not in self._copies
        free = space.f_bavail * space.f_frsize
        margin = min(SPACE_MARGIN, space.f_blocks * space.f_frsize // 100)
        if first and free < action.size + margin:
            raise Skip(
                "no-space",
                f"a copy needs {format_size(action.size)}, and {format_size(margin)} must"
                f" stay free; {format_size(free)} are",
            )
        return folder, now

    def _separate(self, action: Action, folder: Folder, now: os.stat_result) -> list[str]:
        """Returns what the new file could not have: "owner", "mode", names of attributes."""
        lost: list[str] = []
        name = name_of(action)
        other = self._copies.get((action.target.device_id, action.target.inode))

        def is_link(found: os.stat_result) -> bool:
            return os.path.samestat(found, now)

        link = os.open(name, READ_FLAGS, dir_fd=folder.fd)
        try:
            leased = leases.take(link)  # or what a program writes meanwhile would be in one of two
            if other is not None:
                self._link_to_copy(other[0], folder, name)
            else:
                copied = copy_in(
                    Path(folder.path, name),
                    Path(folder.path, fsreplace.new_name(name)),
                    sha256=action.sha256,
                    stamp=FileStamp.of(now),
                )
                lost += [what for what in copied.not_kept if what not in ("owner", "mode")]
            made = lstat_at(folder.fd, fsreplace.new_name(name))
            try:
                if other is None:
                    lost = self._dress(action, folder, name) + lost
                elif made is None or not FileStamp.of(made).same_bytes_expected(other[1]):
                    raise Skip("changed", "the other name of its copy is another file by now")
                if leased and not leases.is_held(link):
                    raise Skip("open-for-writing", "a program began to write to it")
                fsreplace.swap_in_file(folder.fd, name, is_target=is_link)
            except (OSError, SeedError, Skip):
                fsreplace.drop_new(
                    folder.fd,
                    name,
                    is_ours=lambda f: made is not None and os.path.samestat(f, made),
                )
                raise
        finally:
            os.close(link)
        sync(folder.fd)
        return lost

    def _dress(self, action: Action, folder: Folder, name: str) -> list[str]:
        return fsreplace.dress(
            folder.fd,
            name,
            mode=action.target_mode,
            uid=action.target_uid,
            gid=action.target_gid,
            mtime_ns=action.target.mtime_ns,
        )

    def _link_to_copy(self, other: Action, folder: Folder, name: str) -> None:
        """Two names were one file before: the second one joins the first one's copy."""
        source = self.folders.at(other.target.device_id, parent_of(other.target.path))
        fsreplace.link_new(source.fd, name_of(other), folder.fd, name)

    def _source_now(self, action: Action) -> FileStamp | None:
        folder = self.folders.at(action.source.device_id, parent_of(action.source.path))
        found = lstat_at(folder.fd, action.source.path.rpartition("/")[2])
        if found is None or inode_of(found) != action.source.inode:
            return None
        return FileStamp.of(found)
