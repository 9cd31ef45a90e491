"""Delete a copy that another filesystem has too; only on request, and never the last one.

The copy that stays is read whole and proved by its SHA-256 right before, and so is the one that
goes.  Both are looked at as everything is: as planned, open for writing by nobody.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hashall import fsops
from hashall.catalog import Catalog
from hashall.catalog.links import Settled
from hashall.devices import link_count_doubt
from hashall.dirfd import sync
from hashall.hashing import FileStamp, hash_descriptor
from hashall.linking.execute import Progress, result_of
from hashall.linking.folders import Folders
from hashall.linking.look import Opened, Skip, as_skip, open_planned, open_source
from hashall.linking.model import Action, ActionState, Result
from seedkeep.errors import SeedError
from seedkeep.sqlite import transaction


@dataclass
class Removal:
    catalog: Catalog
    folders: Folders
    plan_id: int
    used: frozenset[tuple[int, int]] = frozenset()  # (device, inode) of files of any torrent
    progress: Progress = lambda _: None

    def run(self, actions: Sequence[Action]) -> list[Result]:
        results = []
        for action in actions:
            if self.catalog.links.is_cancelled(self.plan_id):
                break
            with transaction(self.catalog.db):
                self.catalog.links.intend(self.plan_id, [action.seq], ActionState.INTENDED)
            end = self._one(action)
            results.append(result_of(self.folders, action, end))
            self.progress(results[-1])
            self.folders.trim()
        return results

    def look(self, action: Action) -> Result:
        """What `run` would do, without reading the copies."""
        end = Settled(action.seq, ActionState.PLANNED, bytes_saved=action.bytes_to_save)
        source = target = None
        try:
            source, target = self._open(action)
        except Skip as skip:
            end = Settled(action.seq, ActionState.SKIPPED, skip.reason, skip.detail)
        finally:
            _close(source, target)
        return result_of(self.folders, action, end)

    def _one(self, action: Action) -> Settled:
        try:
            saved, left = self._remove(action)
        except Skip as skip:
            end = Settled(action.seq, ActionState.SKIPPED, skip.reason, skip.detail, 0)
            with transaction(self.catalog.db):
                self.catalog.links.settle(self.plan_id, [end])
            return end
        end = Settled(action.seq, ActionState.DONE, bytes_saved=saved)
        at = action.target
        with transaction(self.catalog.db):
            self.catalog.links.settle(self.plan_id, [end])
            self.catalog.linked_names.gone(at.device_id, at.path, at.inode, left)
        return end

    def _remove(self, action: Action) -> tuple[int, FileStamp | None]:
        """Returns bytes freed, and the inode if it has other names still."""
        source, target = self._open(action)
        try:
            for file in (source, target):
                file.lease()
                if hash_descriptor(file.fd, file.path).sha256 != action.sha256:
                    raise Skip("bytes-differ", f"{file.path} does not have the planned bytes")
            sync(source.fd)  # it may be in memory only, and is the last copy after this
            sync(source.folder.fd)
            if not (source.undisturbed and target.undisturbed):
                raise Skip("open-for-writing", "a program began to write to one of the copies")
            if not _is_there(source):
                raise Skip("changed", "the copy that stays lost its name meanwhile")
            stamp = FileStamp.of(target.seen)
            saved = fsops.retire_file(Path(target.folder.path), target.name, stamp=stamp)
            left = os.fstat(target.fd)
            return saved, FileStamp.of(left) if left.st_nlink else None
        except (OSError, SeedError) as why:
            raise as_skip(why, source, target) from why
        finally:
            _close(source, target)

    def _open(self, action: Action) -> tuple[Opened, Opened]:
        at = action.target
        users = self.catalog.link_groups.torrents_of(at.device_id, at.inode, [at.path])
        if users or (at.device_id, at.inode) in self.used:
            raise Skip("seeded", "a torrent uses this copy by now")
        for side in (action.source, at):
            doubt = link_count_doubt(self.catalog.devices.get(side.device_id).fs_type)
            if doubt is not None:  # it may show the very file that goes
                raise Skip("unknown-links", doubt)
        source = None
        try:
            source = open_source(self.folders, action)
            target = open_planned(self.folders, at, action.size)
        except (OSError, SeedError) as why:
            _close(source)
            raise as_skip(why) from why
        except Skip:
            _close(source)
            raise
        if source.seen.st_dev == target.seen.st_dev:
            _close(source, target)
            raise Skip("changed", "both copies are on one filesystem now: link them instead")
        return source, target


def _is_there(file: Opened) -> bool:
    try:
        return file.is_same(os.stat(file.name, dir_fd=file.folder.fd, follow_symlinks=False))
    except FileNotFoundError:
        return False


def _close(*files: Opened | None) -> None:
    for file in files:
        if file is not None:
            file.close()
