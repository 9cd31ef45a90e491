"""Decide what a plan of links would do.  Reads nothing, changes nothing.

Savings are true: the bytes of an inode are freed with its last name, so they count only when
every name that the disk has is known and may be replaced.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase

from hashall.linking.model import (
    Action,
    Canonical,
    Copy,
    CrossGroup,
    FileAt,
    Group,
    InodeFacts,
    Kind,
    PlanOptions,
)
from hashall.model import RelPath

Shown = Callable[[int, RelPath], str]  # the absolute path of a place


def plan_links(groups: Iterable[Group], options: PlanOptions, shown: Shown) -> Iterator[Action]:
    """Actions for equal files of one filesystem; numbered from 1, in the order of the groups."""
    wanted = _Filter(options, shown)
    return _numbered(action for group in groups for action in _of_group(group, wanted, options))


def plan_cross(groups: Iterable[CrossGroup], options: PlanOptions, shown: Shown) -> list[Action]:
    """For bytes on several filesystems: which copy could go.  Nothing of it happens by itself."""
    wanted = _Filter(options, shown)
    return list(_numbered(action for group in groups for action in _of_copies(group, wanted)))


def renumbered(actions: Iterable[Action], start: int) -> list[Action]:
    return [action._replace(seq=number) for number, action in enumerate(actions, start)]


def _numbered(actions: Iterable[Action]) -> Iterator[Action]:
    return (action._replace(seq=number) for number, action in enumerate(actions, 1))


@dataclass(frozen=True)
class _Filter:
    options: PlanOptions
    shown: Shown

    def names(self, device_id: int, inode: InodeFacts) -> tuple[RelPath, ...]:
        """The names that the plan may look at."""
        since = self.options.mtime_since
        if since is not None:
            midnight = datetime(since.year, since.month, since.day, tzinfo=UTC)
            if inode.mtime_ns < int(midnight.timestamp()) * 1_000_000_000:
                return ()
        if not self.options.include and not self.options.exclude:
            return inode.paths
        return tuple(path for path in inode.paths if self._passes(self.shown(device_id, path)))

    def _passes(self, path: str) -> bool:
        included = not self.options.include or _matches(path, self.options.include)
        return included and not _matches(path, self.options.exclude)


def _matches(path: str, globs: Iterable[str]) -> bool:
    return any(fnmatchcase(path, glob) for glob in globs)


def _of_group(group: Group, wanted: _Filter, options: PlanOptions) -> Iterator[Action]:
    seen = {inode.inode: wanted.names(group.device_id, inode) for inode in group.inodes}
    taking_part = [inode for inode in group.inodes if seen[inode.inode]]
    able = [inode for inode in taking_part if not _excuse(inode, seen[inode.inode])]
    # An inode that cannot be freed anyway is the best one to keep.
    source = _source(taking_part, able, options.canonical)
    if source is None:
        return
    kept = seen[source.inode]
    anchor = _at(group.device_id, kept[0], source)
    if len(kept) > 1:
        second = _at(group.device_id, kept[1], source)
        yield _action(Kind.NOOP, group, anchor, second, source, why=("linked", _linked(kept)))
    for inode in taking_part:
        if inode is not source:
            yield from _of_inode(group, anchor, source, inode, seen[inode.inode])


def _linked(names: tuple[RelPath, ...]) -> str:
    return f"{len(names)} names are one file already"


def _of_inode(
    group: Group,
    anchor: FileAt,
    source: InodeFacts,
    inode: InodeFacts,
    names: tuple[RelPath, ...],
) -> Iterator[Action]:
    targets = [_at(group.device_id, name, inode) for name in names]
    excuse = _excuse(inode, names) or _excuse_of_source(source)
    if group.doubt is not None:
        excuse = "unknown-links", group.doubt
    if excuse is not None:
        yield _action(Kind.SKIP, group, anchor, targets[0], inode, why=excuse)
        return
    note = _difference(source, inode), ""
    for target in targets:
        saved = group.size if target is targets[-1] else 0
        yield _action(Kind.HARDLINK, group, anchor, target, inode, saved=saved, why=note)


def _source(
    taking_part: list[InodeFacts], able: list[InodeFacts], canonical: Canonical
) -> InodeFacts | None:
    """The inode that stays; one that is not sound does not if any other can."""
    candidates = [inode for inode in taking_part if inode.is_sound] or taking_part
    if canonical is Canonical.LEXICAL:
        return min(candidates, key=lambda i: i.paths[0], default=None)
    if canonical is Canonical.OLDEST:
        return min(candidates, key=lambda i: (i.mtime_ns, i.paths[0]), default=None)
    replaceable = {inode.inode for inode in able}  # of thousands, which no list finds fast
    return min(
        candidates, key=lambda i: (i.inode in replaceable, -i.nlink, i.paths[0]), default=None
    )


def _excuse(inode: InodeFacts, names: tuple[RelPath, ...]) -> tuple[str, str] | None:
    """Why an inode is not replaced: a word and a sentence; None when it can be."""
    if inode.unfinished:
        return "unfinished", "a torrent is still writing to it or checking it"
    if inode.racy:
        return "just-written", "it was hashed in the moment of its last change; scan again"
    if inode.damaged:
        return "damaged", "`hashall verify` read other bytes than its hash is of: restore it"
    if inode.unseen:
        return (
            "unseen-names",
            f"{inode.unseen} of its {inode.nlink} names are in no scan, so replacing the others"
            " would free nothing",
        )
    if len(names) < len(inode.paths):
        return (
            "filtered-names",
            f"{len(inode.paths) - len(names)} of its {len(inode.paths)} names are filtered out, so"
            " replacing the others would free nothing",
        )
    return None


def _excuse_of_source(source: InodeFacts) -> tuple[str, str] | None:
    if not source.is_sound:
        return "no-source", "no other file with these bytes is finished, settled and undamaged"
    return None


def _difference(source: InodeFacts, target: InodeFacts) -> str:
    """What a link would change on the target, as far as the catalog knows."""
    same_owner = (source.uid, source.gid) == (target.uid, target.gid)
    if same_owner and stat.S_IMODE(source.mode) == stat.S_IMODE(target.mode):
        return ""
    return "owner-differs" if not same_owner else "mode-differs"


def _action(
    kind: Kind,
    group: Group | CrossGroup,
    source: FileAt,
    target: FileAt,
    inode: InodeFacts,
    *,
    saved: int = 0,
    why: tuple[str, str] = ("", ""),
) -> Action:
    reason, detail = why
    return Action(
        seq=0,
        kind=kind,
        sha256=group.sha256,
        size=group.size,
        source=source,
        target=target,
        target_mode=inode.mode,
        target_uid=inode.uid,
        target_gid=inode.gid,
        bytes_to_save=saved,
        reason=reason,
        detail=detail,
    )


def _at(device_id: int, name: RelPath, inode: InodeFacts) -> FileAt:
    return FileAt(device_id, name, inode.inode, inode.mtime_ns)


# -- across filesystems


def _of_copies(group: CrossGroup, wanted: _Filter) -> Iterator[Action]:
    """Keep the copy that is used most; propose to delete the others that nobody needs."""
    copies = [
        (copy, names)
        for copy in group.copies
        if (names := wanted.names(copy.device_id, copy.inode))
    ]
    if len({copy.device_id for copy, _ in copies}) < 2:
        return
    keep, kept_names = min(copies, key=lambda item: _keeping_order(item[0]))
    source = _at(keep.device_id, kept_names[0], keep.inode)
    for copy, names in copies:
        if copy.device_id == keep.device_id:
            continue  # what is on one filesystem can be linked
        targets = [_at(copy.device_id, name, copy.inode) for name in names]
        needed = _why_needed(copy, keep, names)
        if needed is not None:
            yield _action(Kind.SKIP, group, source, targets[0], copy.inode, why=needed)
            continue
        for target in targets:
            saved = group.size if target is targets[-1] else 0
            yield _action(Kind.DELETE, group, source, target, copy.inode, saved=saved)


def _keeping_order(copy: Copy) -> tuple[object, ...]:
    used = bool(copy.torrents), bool(copy.libraries)
    return (
        copy.doubt is not None,
        not copy.inode.is_sound,
        *(not use for use in used),
        -copy.inode.nlink,
        copy.device_id,
        copy.inode.paths[0],
    )


def _why_needed(copy: Copy, keep: Copy, names: tuple[RelPath, ...]) -> tuple[str, str] | None:
    """Why a copy is no candidate for deletion: a word and a sentence; None when it is one."""
    if copy.torrents:
        return "seeded", f"{len(copy.torrents)} torrents use this copy"
    if copy.libraries:
        return "in-library", f"it is in {', '.join(copy.libraries)}"
    doubt = copy.doubt or keep.doubt
    if doubt is not None:  # mergerfs, overlay, NFS: both may be one file
        return "unknown-links", doubt
    if copy.pool and copy.pool == keep.pool:
        return (
            "shared-blocks",
            "both are subvolumes of one btrfs; one may be a snapshot of the other",
        )
    return _excuse(copy.inode, names) or _excuse_of_source(keep.inode)
