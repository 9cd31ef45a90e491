"""Residency: what has to stay on stash, and everything else that forbids a move.  Pure.

All reasons are collected, each with a word to grep for: nobody should fix one only to meet the
next.
"""

from __future__ import annotations

from collections.abc import Iterator, Set

from hashall.model import LinkVerdict, shown_inode
from hashall.problems import kept_from_looking, with_way_out
from rehome.config import Layout
from rehome.facts import Facts, TorrentFact
from rehome.model import Blocker, Direction
from rehome.view_builder import Ambiguous, Content, claims_of, content_of
from seedkeep.units import format_size

SIDES = {Direction.DEMOTE: ("stash", "pool"), Direction.PROMOTE: ("pool", "stash")}


def find_blockers(facts: Facts, layout: Layout, to_copy: Set[Content]) -> Iterator[Blocker]:
    """Every reason why this group must not move; `to_copy` is what the target side lacks."""
    if facts.open_runs or facts.kept_runs:
        # Whatever else looks wrong now is what that run left half done.
        yield from _journal(facts)
        return
    yield from _group(facts)
    yield from _hashes(facts)
    yield from _links(facts)
    yield from _coverage(facts)
    yield from _filesystems(facts, layout)
    yield from _path_map(facts, layout)
    yield from _categories(facts)
    yield from _targets(facts)
    yield from _within(facts)
    if facts.direction is Direction.PROMOTE:
        yield from _blind_copy(facts, to_copy)
    else:
        yield from _space(facts, layout, sum(size for size, _ in to_copy))


def _journal(facts: Facts) -> Iterator[Blocker]:
    for run in facts.kept_runs:
        yield Blocker(
            "run-open",
            f"the hidden source of run {run} on this group is still kept; look at it, and then end"
            f" that run with `rehome retire {run}`",
        )
    for run in facts.open_runs:
        yield Blocker(
            "run-open",
            f"run {run} on this group was interrupted; end it with `rehome resume {run}`"
            f" or `rehome rollback {run}`",
        )


def _group(facts: Facts) -> Iterator[Blocker]:
    for key in facts.missing_torrents:
        torrent_id, _, client = key.partition("@")
        what = (
            f"is one of the client {client!r}, and only torrents of the main one are moved"
            if client
            else "is gone from qBittorrent; run `hashall payload sync`"
        )
        yield Blocker("group-not-whole", f"torrent {torrent_id} belongs to this group and {what}")
    for name in facts.strangers:
        yield Blocker(
            "group-not-whole",
            f"torrent {name} uses files of this group and the catalog does not know that yet;"
            " run `hashall payload sync`",
        )
    for sentence in facts.lookalikes:
        yield Blocker("group-not-whole", sentence)
    for name in facts.through_symlinks:
        yield Blocker(
            "group-not-whole",
            f"torrent {name} reaches files of this group through a symlink, which would lead to"
            " nothing; let it have hardlinks (in cross-seed: linkType hardlink), or remove it",
        )
    for torrent in facts.torrents:
        if torrent.problem:
            yield Blocker(
                "group-not-whole",
                f"torrent {torrent.torrent_id} ({torrent.name}) is not ready:"
                f" {with_way_out(torrent.problem)}",
                (str(torrent.save_path),),
            )


def _hashes(facts: Facts) -> Iterator[Blocker]:
    stale = _stale(facts)
    if stale or (facts.payload_hash is None and not any(map(_is_unseen, facts.torrents))):
        yield Blocker(
            "needs-scan",
            "not every file has a fresh SHA-256 in the catalog; run `hashall scan` on these"
            " and then `hashall payload sync`",
            tuple(stale),
        )


def _stale(facts: Facts) -> list[str]:
    """Files without a fresh SHA-256."""
    return sorted(
        {
            f"{torrent.save_path}/{file.name}"
            for torrent in facts.torrents
            if not _is_unseen(torrent)
            for file in torrent.files
            if file.sha256 is None
        }
    )


def _is_unseen(torrent: TorrentFact) -> bool:
    """Whether its files have no hash for another reason than that a scan lacks."""
    return torrent.problem is not None and kept_from_looking(torrent.problem)


def _links(facts: Facts) -> Iterator[Blocker]:
    # Its own files are no library's: that such a torrent seeds from elsewhere is told by itself.
    own = {f"{t.save_path}/{f.name}" for t in facts.torrents if not t.target_path for f in t.files}
    outside = sorted({path for link in facts.links for path in link.outside} - own)
    if facts.symlinks:
        yield Blocker(
            "outside-link",
            "a library uses these bytes through symlinks, which would lead to nothing",
            facts.symlinks,
        )
    if outside and facts.direction is Direction.DEMOTE:
        yield Blocker(
            "outside-link",
            "a library uses these bytes through hardlinks outside the seeding domain;"
            " they stay on stash",
            tuple(outside),
        )
    needs_scan = bool(_stale(facts))
    for link in facts.links:
        # No scan has seen this inode, and `needs-scan` says so: there is no more to say of it.
        if needs_scan and not link.names and link.verdict is LinkVerdict.UNACCOUNTED:
            continue
        inode = shown_inode(link.inode)
        if link.verdict is LinkVerdict.UNACCOUNTED:
            yield Blocker(
                "unaccounted-links",
                f"the disk counts {_names(link.nlink)} for inode {inode} and the catalog knows"
                f" {len(link.names)}{' others' if link.nlink == len(link.names) else ''};"
                " scan every place that may hold them",
                link.names,
            )
        elif link.verdict is LinkVerdict.UNKNOWN:
            yield Blocker(
                "unaccounted-links",
                f"the link count of inode {inode} cannot be known on this filesystem",
                link.names,
            )


def _names(count: int) -> str:
    return "1 name" if count == 1 else f"{count} names"


def _coverage(facts: Facts) -> Iterator[Blocker]:
    for root, why in facts.uncovered:
        yield Blocker("root-not-covered", f"{why}; run `hashall scan` on it", (root,))


def _filesystems(facts: Facts, layout: Layout) -> Iterator[Blocker]:
    if len(facts.source_devices) > 1:
        yield Blocker("unknown-device", "the group lies on more than one filesystem")
    if len(facts.target_devices) > 1:
        target = SIDES[facts.direction][1]
        yield Blocker(
            "unknown-device", f"its places on the {target} are on more than one filesystem"
        )
    if set(facts.source_devices) & set(facts.target_devices):
        yield Blocker(
            "unknown-device",
            "stash and pool are one filesystem here: moving would gain nothing",
            (str(layout.stash_seeding_root), str(layout.pool_seeding_root)),
        )
    for torrent in facts.torrents:
        if torrent.target_path is None:
            yield Blocker(
                "outside-domain",
                f"torrent {torrent.torrent_id} ({torrent.name}) does not seed from below"
                f" {layout.source_root(facts.direction)}",
                (str(torrent.save_path),),
            )


def _path_map(facts: Facts, layout: Layout) -> Iterator[Blocker]:
    """One proof on the pool has to stand for every target: they must use the same mapping."""
    root = layout.target_root(facts.direction)
    client_root = layout.path_map.to_client(root).rstrip("/")
    for torrent in facts.torrents:
        if torrent.target_path is None:
            continue
        way = str(torrent.target_path)[len(str(root).rstrip("/")) :]
        if (torrent.client_target_path or "/") != (f"{client_root}{way}" or "/"):
            yield Blocker(
                "path-map-unproved",
                f"path_map maps a folder below {root} in another way than {root} itself",
                (str(torrent.target_path),),
            )


def _categories(facts: Facts) -> Iterator[Blocker]:
    for category in facts.missing_categories:
        yield Blocker(
            "category-missing",
            f"qBittorrent has no category {category!r}, which save_paths names; make it there",
        )


def _targets(facts: Facts) -> Iterator[Blocker]:
    side = SIDES[facts.direction][1]
    if not facts.foreign and not any(target.exists for target in facts.target_files):
        return
    wanted = {
        f"{torrent.target_path}/{file.name}": content_of(file)
        for torrent in facts.torrents
        if torrent.target_path is not None
        for file in torrent.files
    }
    used, other = [], []
    for target in facts.target_files:
        if not target.exists:
            continue
        if target.used_by:
            used.append(target.path)
        elif target.seen is None or (target.seen.size, target.sha256) != wanted.get(target.path):
            other.append(target.path)
    if used:
        yield Blocker(
            "target-conflict",
            f"another torrent seeds from these places on the {side}",
            tuple(used),
        )
    if other or facts.foreign:
        yield Blocker(
            "target-conflict",
            f"these files on the {side} are in the way and are not known to be the same bytes;"
            f" if they are, `hashall scan` the {side}",
            tuple(sorted({*other, *facts.foreign})),
        )


def _within(facts: Facts) -> Iterator[Blocker]:
    """Torrents of the group that are in each other's way on the target side."""
    if any(t.target_path is None or any(f.sha256 is None for f in t.files) for t in facts.torrents):
        return  # blocked for that, and nothing can be compared
    try:
        claims_of(facts.torrents)
    except Ambiguous as why:
        yield Blocker("target-conflict", why.brief, (str(why.path),))


def _space(facts: Facts, layout: Layout, bytes_to_copy: int) -> Iterator[Blocker]:
    needed = bytes_to_copy + layout.space_margin
    if bytes_to_copy and needed > facts.free_bytes:
        yield Blocker(
            "no-space",
            f"the pool has {format_size(facts.free_bytes)} free; needed are"
            f" {format_size(bytes_to_copy)} and a margin of {format_size(layout.space_margin)}",
            (str(layout.pool_seeding_root),),
        )


def _blind_copy(facts: Facts, to_copy: Set[Content]) -> Iterator[Blocker]:
    missing = tuple(
        sorted(
            f"{torrent.save_path}/{file.name}"
            for torrent in facts.torrents
            for file in torrent.files
            if content_of(file) in to_copy
        )
    )
    if missing:
        yield Blocker(
            "no-blind-copy",
            "stash does not have the bytes of these files, and a promotion copies nothing;"
            " if it has them, `hashall scan` stash",
            missing,
        )
