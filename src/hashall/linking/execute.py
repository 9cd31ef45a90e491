"""Carry a plan out, batch by batch, under its journal.

One batch: the intent of each action is made durable; each name is swapped, and the old file kept
beside it under a name of ours; the directories are synced; the kept files go; the directories are
synced again; states and catalog rows are written in one transaction.  So a crash at any moment
leaves names and a journal from which `recover` finishes or takes back, and costs two syncs a batch
instead of two a file.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from hashall import fsreplace
from hashall.catalog import Catalog
from hashall.catalog.links import Settled
from hashall.catalog.links_names import Moved
from hashall.dirfd import explained, sync
from hashall.hashing import FileStamp, inode_of
from hashall.linking import leases
from hashall.linking.compare import refuse_difference
from hashall.linking.folders import Folders
from hashall.linking.look import (
    Opened,
    Skip,
    as_skip,
    is_read_only,
    open_planned,
    open_source,
    refuse_unlinkable,
)
from hashall.linking.model import Action, ActionState, FileAt, Result, Verify
from seedkeep.errors import SeedError
from seedkeep.sqlite import transaction

BATCH_ACTIONS = 200  # each holds a descriptor until the batch is settled
BATCH_BYTES = 64 << 20

Progress = Callable[[Result], None]


@dataclass(frozen=True, kw_only=True)
class ExecuteOptions:
    verify: Verify = Verify.BYTES
    match_owner: bool = False
    allow_delete: bool = False
    limit: int | None = None  # actions


@dataclass
class _Swapped:
    """A name that is the source's file now; the old file is still there, open and kept."""

    action: Action
    target: Opened
    source: FileStamp


@dataclass
class Executor:
    catalog: Catalog
    folders: Folders
    plan_id: int
    options: ExecuteOptions
    unfinished: frozenset[tuple[int, int]] = frozenset()  # (device, inode)
    progress: Progress = lambda _: None
    _results: list[Result] = field(default_factory=list)
    _last: dict[FileAt, int] = field(default_factory=dict)  # source → the last action with it
    _durable: set[tuple[int, int]] = field(default_factory=set)  # (st_dev, inode) of sources

    def run(self, actions: Sequence[Action]) -> list[Result]:
        """Perform HARDLINK actions in order, until the plan is cancelled.

        Raises what nobody could foresee, after which (as after SIGKILL) `recover` has to put the
        last batch in order.
        """
        self._last = {action.source: action.seq for action in actions}
        for batch in batches(actions):
            if self.catalog.links.is_cancelled(self.plan_id):
                break
            self._batch(batch)
            self.folders.trim()
        return self._results

    def look(self, action: Action) -> Result:
        """What `run` would do, by a look at both files; nothing is read, nothing is changed."""
        source = target = None
        try:
            source, target = self._open(action)
        except Skip as skip:
            return self._result(action, ActionState.SKIPPED, 0, skip.reason, skip.detail)
        finally:
            _close(source, target)
        return self._result(action, ActionState.PLANNED, action.bytes_to_save)

    def _batch(self, batch: Sequence[Action]) -> None:
        with transaction(self.catalog.db):
            self.catalog.links.intend(self.plan_id, [a.seq for a in batch], ActionState.INTENDED)
        swapped: list[_Swapped] = []
        skipped: list[tuple[Action, Skip]] = []
        try:
            for action in batch:
                try:
                    swapped.append(self._swap(action))
                except Skip as skip:
                    skipped.append((action, skip))
            self._settle(swapped, skipped)
        finally:
            for item in swapped:
                item.target.close()

    def _swap(self, action: Action) -> _Swapped:
        source, target = self._open(action)
        tidy = False
        try:
            for file in (source, target):
                file.lease()
            refuse_difference(
                source,
                target,
                action.sha256,
                self.options.verify,
                keep_source=self._last.get(action.source) != action.seq,
            )
            self._make_durable(source)
            if not (source.undisturbed and target.undisturbed):
                raise Skip("open-for-writing", "a program began to write to one of the two files")
            tidy = fsreplace.is_tidy(target.folder.fd, target.name)
            fsreplace.swap_in_link(
                source.folder.fd,
                source.name,
                target.folder.fd,
                target.name,
                is_source=source.is_same,
                is_target=target.is_same,
            )
            if not target.undisturbed:
                fsreplace.take_back(
                    target.folder.fd,
                    target.name,
                    is_link=lambda found: found.st_ino == source.seen.st_ino,
                )
                raise Skip("open-for-writing", "a program began to write to it")
            now = FileStamp.of(os.fstat(source.fd))
        except (OSError, SeedError) as why:
            try:
                if tidy and not fsreplace.is_tidy(target.folder.fd, target.name):
                    # Something of ours stayed: not for a skip, the journal has it for `recover`.
                    with explained("replace a file", target.path):
                        raise why
                raise as_skip(why, source, target) from why
            finally:
                target.close()
        except BaseException:
            target.close()
            raise
        finally:
            source.close()
        return _Swapped(action, target, now)

    def _make_durable(self, source: Opened) -> None:
        """What was compared may be in memory only; after a power cut the source would be empty."""
        key = source.seen.st_dev, source.seen.st_ino
        if key not in self._durable:
            sync(source.fd)
            self._durable.add(key)

    def _open(self, action: Action) -> tuple[Opened, Opened]:
        """Both files, as planned and fit to become one.  Raises `Skip`."""
        source = target = None
        try:
            source = open_source(self.folders, action)
            target = open_planned(self.folders, action.target, action.size, action.source.inode)
            refuse_unlinkable(
                source,
                target,
                match_owner=self.options.match_owner,
                unfinished=self.unfinished,
                device_id=action.target.device_id,
            )
            if is_read_only(target.folder):
                raise Skip("read-only", "the filesystem is mounted read-only")
        except (OSError, SeedError) as why:
            _close(source, target)
            raise as_skip(why) from why
        except Skip:
            _close(source, target)
            raise
        return source, target

    def _settle(self, swapped: Sequence[_Swapped], skipped: Sequence[tuple[Action, Skip]]) -> None:
        """Make the swaps durable, let the old files go, write down what became of the batch."""
        folders = {item.target.folder.fd for item in swapped}
        for fd in folders:
            sync(fd)
        settled: list[Settled] = []
        moved: list[Moved] = []
        for item in swapped:
            settled.append(self._let_go(item, moved))
        for fd in folders:
            sync(fd)  # or a kept name could come back after a power cut, with no journal of it
        settled += [
            Settled(a.seq, ActionState.SKIPPED, skip.reason, skip.detail, 0) for a, skip in skipped
        ]
        with transaction(self.catalog.db):
            self.catalog.links.settle(self.plan_id, settled)
            self.catalog.linked_names.moved(moved)
            for action, skip in skipped:
                if skip.doubt:
                    self.catalog.linked_names.doubt(
                        {(f.device_id, f.inode) for f in (action.source, action.target)}
                    )
        by_seq = {item.action.seq: item.action for item in swapped}
        by_seq |= {action.seq: action for action, _ in skipped}
        for end in sorted(settled, key=lambda s: s.seq):
            result = result_of(self.folders, by_seq[end.seq], end)
            self._results.append(result)
            self.progress(result)

    def _let_go(self, item: _Swapped, moved: list[Moved]) -> Settled:
        """Remove the old file's kept name, unless somebody came to write to it after all."""
        action, target = item.action, item.target
        if not target.undisturbed or (not target.leased and leases.has_writer(target.fd)):
            fsreplace.take_back(
                target.folder.fd,
                target.name,
                is_link=lambda found: inode_of(found) == item.source.inode,
            )
            return Settled(
                action.seq, ActionState.SKIPPED, "open-for-writing", "a program wrote to it", 0
            )
        fsreplace.drop_kept(target.folder.fd, target.name, is_target=target.is_same)
        left = os.fstat(target.fd)
        moved.append(
            Moved(
                action.target.device_id,
                action.target.path,
                item.source,
                action.target.inode,
                FileStamp.of(left) if left.st_nlink else None,
            )
        )
        saved = 0 if left.st_nlink else left.st_size
        return Settled(action.seq, ActionState.DONE, bytes_saved=saved)

    def _result(
        self, action: Action, state: ActionState, saved: int, reason: str = "", detail: str = ""
    ) -> Result:
        end = Settled(action.seq, state, reason, detail, saved)
        return result_of(self.folders, action, end)


def result_of(folders: Folders, action: Action, end: Settled) -> Result:
    return Result(
        seq=action.seq,
        kind=action.kind,
        state=end.state,
        source=folders.shown(action.source.device_id, action.source.path),
        target=folders.shown(action.target.device_id, action.target.path),
        size=action.size,
        bytes_saved=end.bytes_saved or 0,
        reason=end.reason,
        detail=end.detail,
    )


def batches(actions: Sequence[Action]) -> Iterator[list[Action]]:
    """Cut into pieces: many small files share their syncs, a large one is settled at once."""
    batch: list[Action] = []
    size = 0
    for action in actions:
        batch.append(action)
        size += action.size
        if len(batch) >= BATCH_ACTIONS or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _close(*files: Opened | None) -> None:
    for file in files:
        if file is not None:
            file.close()
