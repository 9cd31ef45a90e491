"""Put in order what an interrupted run left in the middle.  Abort and crash are one code path.

What happened is read from the names: the target itself, the new name and the kept one beside it.
Finished when the target is the link already, taken back when it is not.  Safe to repeat.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from hashall import fsreplace
from hashall.catalog import Catalog
from hashall.catalog.files import parent_of
from hashall.catalog.links import Settled
from hashall.catalog.links_names import Moved
from hashall.dirfd import lstat_at, sync
from hashall.fsreplace import Leftovers
from hashall.hashing import READ_FLAGS, FileStamp, inode_of
from hashall.linking import leases
from hashall.linking.compare import same_bytes
from hashall.linking.execute import result_of
from hashall.linking.folders import Folder, Folders
from hashall.linking.look import Skip, as_skip, name_of
from hashall.linking.model import Action, ActionState, Kind, Result
from seedkeep.errors import SeedError
from seedkeep.sqlite import transaction

# The old file went right before the interruption, and whether that was its last name nobody saw.
NOT_COUNTED = "its old file went before the interruption; whether bytes were freed is not known"


@dataclass
class Recovery:
    """Goes through every action that is not settled, of all plans."""

    catalog: Catalog
    folders: Folders
    results: list[Result] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)  # what has to wait for a person, in words

    def run(self) -> None:
        for plan_id, action in self.catalog.links.unsettled():
            try:
                end, moves = self._settle(action)
            except (OSError, SeedError, Skip) as why:
                skip = why if isinstance(why, Skip) else as_skip(why)
                where = self.folders.shown(action.target.device_id, action.target.path)
                self.stuck.append(f"{where}: {skip.detail}")
                continue
            with transaction(self.catalog.db):
                self.catalog.links.settle(plan_id, [end])
                if action.state is ActionState.UNDOING:
                    self.catalog.linked_names.separated(moves)
                else:
                    self.catalog.linked_names.moved(moves)
            self.results.append(result_of(self.folders, action, end))
            self.folders.trim()

    def _settle(self, action: Action) -> tuple[Settled, list[Moved]]:
        if action.kind is Kind.DELETE:
            return self._deletion(action)
        folder = self.folders.at(action.target.device_id, parent_of(action.target.path))
        left = fsreplace.leftovers(folder.fd, name_of(action))
        if action.state is ActionState.UNDOING:
            return self._undoing(action, folder, left)
        left = self._without_new(action, folder, left)
        if _is(left.there, action.source.inode):
            return self._finish(action, folder, left)
        return self._revert(action, folder, left), []

    def _deletion(self, action: Action) -> tuple[Settled, list[Moved]]:
        """One unlink: it happened or it did not."""
        folder = self.folders.at(action.target.device_id, parent_of(action.target.path))
        sync(folder.fd)
        if lstat_at(folder.fd, name_of(action)) is not None:
            return Settled(action.seq, ActionState.PLANNED), []
        self.catalog.linked_names.gone(
            action.target.device_id, action.target.path, action.target.inode, None
        )
        return Settled(action.seq, ActionState.DONE, detail=NOT_COUNTED, bytes_saved=0), []

    def _without_new(self, action: Action, folder: Folder, left: Leftovers) -> Leftovers:
        """End what the new name is about: a link on its way in, or a file just put aside."""
        name = name_of(action)
        if left.new is None:
            return left
        foreign = inode_of(left.new) not in (action.source.inode, action.target.inode)
        if foreign:
            _put_back(folder, name, was_exchanged=_is(left.there, action.source.inode))
        elif _is(left.new, action.target.inode) and left.kept is None:
            fsreplace.keep_displaced(folder.fd, name)
        fsreplace.drop_new(folder.fd, name, is_ours=lambda _: True)
        return fsreplace.leftovers(folder.fd, name)

    def _finish(
        self, action: Action, folder: Folder, left: Leftovers
    ) -> tuple[Settled, list[Moved]]:
        """The target is the link: the kept file goes, if it still is what was compared."""
        name = name_of(action)
        sync(folder.fd)
        assert left.there is not None
        if left.kept is not None and not _is(left.kept, action.target.inode):
            raise Skip("leftover", f"{fsreplace.kept_name(name)} beside it is no file of the plan")
        if left.kept is not None and not _is_old(left.kept, action, folder):
            fsreplace.take_back(
                folder.fd, name, is_link=lambda found: _is(found, action.source.inode)
            )
            sync(folder.fd)
            return _changed(action), []
        saved, detail = 0, NOT_COUNTED
        if left.kept is not None:
            fsreplace.drop_kept(folder.fd, name, is_target=lambda _: True)
            saved, detail = (action.size if left.kept.st_nlink == 1 else 0), ""
            sync(folder.fd)
        move = Moved(
            action.target.device_id,
            action.target.path,
            FileStamp.of(left.there),
            action.target.inode,
            None,
        )
        return Settled(action.seq, ActionState.DONE, detail=detail, bytes_saved=saved), [move]

    def _revert(self, action: Action, folder: Folder, left: Leftovers) -> Settled:
        """The target is no link of ours: it stays as it is, and our names beside it go."""
        name = name_of(action)
        if left.there is None and left.kept is not None:
            # Never by us: somebody removed the name.  The kept file is not ours to judge.
            raise Skip(
                "missing",
                f"it was removed meanwhile; its old content is {fsreplace.kept_name(name)}"
                " beside it: remove or rename that",
            )
        if left.kept is not None and inode_of(left.kept) not in (
            action.source.inode,
            action.target.inode,
        ):
            raise Skip("leftover", f"{fsreplace.kept_name(name)} beside it is no file of the plan")
        if left.kept is not None and not _is(left.there, action.target.inode):
            raise Skip(
                "changed",
                f"another file took its place; its old content is {fsreplace.kept_name(name)}"
                " beside it: remove or rename that",
            )
        if left.kept is not None:
            fsreplace.drop_kept(folder.fd, name, is_target=lambda _: True)
        sync(folder.fd)
        return Settled(action.seq, ActionState.PLANNED)

    def _undoing(
        self, action: Action, folder: Folder, left: Leftovers
    ) -> tuple[Settled, list[Moved]]:
        """The target is a file of its own again, or still the link; our new name goes."""
        name = name_of(action)
        fsreplace.drop_part(folder.fd, name)
        strange = left.new is not None and not (
            _is(left.new, action.source.inode) or _is_copy(left.new, action)
        )
        if strange:
            _put_back(folder, name, was_exchanged=_is_copy(left.there, action))
            left = fsreplace.leftovers(folder.fd, name)
        if left.new is not None:
            fsreplace.drop_new(folder.fd, name, is_ours=lambda _: True)
        sync(folder.fd)
        if not _is_copy(left.there, action):  # still the link, or somebody's: no word of its bytes
            return Settled(action.seq, ActionState.DONE, bytes_saved=action.bytes_saved), []
        assert left.there is not None
        device, path = action.target.device_id, action.target.path
        source = lstat_at(
            self.folders.at(action.source.device_id, parent_of(action.source.path)).fd,
            action.source.path.rpartition("/")[2],
        )
        before = FileStamp.of(source) if _is(source, action.source.inode) and source else None
        move = Moved(device, path, FileStamp.of(left.there), action.source.inode, before)
        return Settled(action.seq, ActionState.UNDONE, bytes_saved=0), [move]


def _put_back(folder: Folder, name: str, *, was_exchanged: bool) -> None:
    """A file that came to the name right before the exchange, which nobody had looked at yet.

    Raises `Skip` when it cannot be that: then somebody else put it under our name.
    """
    new = fsreplace.new_name(name)
    if not (was_exchanged and fsreplace.exchange(folder.fd, new, name)):
        raise Skip("leftover", f"{new} beside it is no file of the plan")


def _is(found: os.stat_result | None, inode: int) -> bool:
    return found is not None and inode_of(found) == inode


def _is_copy(found: os.stat_result | None, action: Action) -> bool:
    """The file that undo makes: with the mtime that the target had, or still the source's."""
    mtimes = action.target.mtime_ns, action.source.mtime_ns
    return (
        found is not None
        and inode_of(found) != action.source.inode
        and found.st_size == action.size
        and found.st_mtime_ns in mtimes
    )


def _is_old(kept: os.stat_result, action: Action, folder: Folder) -> bool:
    """The kept file is the planned one, nobody writes to it, and the link has its bytes."""
    planned = action.target.inode, action.size, action.target.mtime_ns
    if (inode_of(kept), kept.st_size, kept.st_mtime_ns) != planned:
        return False
    fd = os.open(fsreplace.kept_name(name_of(action)), READ_FLAGS, dir_fd=folder.fd)
    try:
        leases.take(fd)
        link = os.open(name_of(action), READ_FLAGS, dir_fd=folder.fd)
        try:
            sync(link)
            return same_bytes(fd, link, action.size)
        finally:
            os.close(link)
    except leases.HasWriter:
        return False
    finally:
        os.close(fd)


def _changed(action: Action) -> Settled:
    return Settled(action.seq, ActionState.SKIPPED, "open-for-writing", "a program wrote to it", 0)
