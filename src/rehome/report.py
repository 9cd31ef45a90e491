"""What could go where, what may not and why, and what lies on both sides.  Values only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from hashall.model import Payload
from rehome.batch import EXECUTABLE, name_of
from rehome.gather import Gathering
from rehome.look import Look
from rehome.model import Blocker, Direction, Plan, Verdict
from seedkeep import clock


@dataclass(frozen=True)
class Entry:
    """One group and what was decided about it."""

    torrent: str  # id of one of its torrents
    name: str
    decision: Verdict
    torrents: int
    total_bytes: int
    bytes_to_copy: int
    bytes_freed: int
    save_paths: tuple[str, ...]
    blockers: tuple[Blocker, ...]


@dataclass(frozen=True)
class Outlook:
    """Everything that one direction could do."""

    eligible: tuple[Entry, ...]  # most freed first
    blocked: tuple[Entry, ...]  # largest first
    reasons: tuple[tuple[str, int], ...]  # code of a blocker, groups that it keeps
    bytes_to_copy: int
    bytes_freed: int


@dataclass(frozen=True)
class Duplicate:
    """A payload that lies on both sides."""

    payload_hash: str
    total_bytes: int
    on_stash: str  # its root
    on_pool: str
    torrents_on_stash: int
    torrents_on_pool: int


@dataclass(frozen=True)
class Report:
    made_at: datetime
    torrents: int  # in the client
    stash_seeding_root: str
    pool_seeding_root: str
    demotions: Outlook
    promotions: Outlook
    duplicates: tuple[Duplicate, ...]  # largest first
    duplicate_bytes: int


def make_report(
    look: Look,
    decided: Mapping[Direction, Iterable[Plan]],
    gatherings: Mapping[Direction, Gathering],
) -> Report:
    """Put decisions about all groups together."""
    duplicates = _duplicates(look, gatherings)
    layout = look.layout
    return Report(
        made_at=clock.now(),
        torrents=len(look.inventory),
        stash_seeding_root=str(layout.stash_seeding_root),
        pool_seeding_root=str(layout.pool_seeding_root),
        demotions=outlook(decided[Direction.DEMOTE]),
        promotions=outlook(decided[Direction.PROMOTE]),
        duplicates=duplicates,
        duplicate_bytes=sum(item.total_bytes for item in duplicates),
    )


def outlook(plans: Iterable[Plan]) -> Outlook:
    eligible, blocked = [], []
    for plan in plans:
        if plan.verdict in EXECUTABLE:
            eligible.append(entry_of(plan))
        elif plan.verdict is Verdict.BLOCK and not _is_elsewhere(plan):
            blocked.append(entry_of(plan))
    reasons = Counter(code for entry in blocked for code in {b.code for b in entry.blockers})
    return Outlook(
        eligible=tuple(sorted(eligible, key=lambda e: (-e.bytes_freed, e.torrent))),
        blocked=tuple(sorted(blocked, key=lambda e: (-e.total_bytes, e.torrent))),
        reasons=tuple(sorted(reasons.items(), key=lambda item: (-item[1], item[0]))),
        bytes_to_copy=sum(entry.bytes_to_copy for entry in eligible),
        bytes_freed=sum(entry.bytes_freed for entry in eligible),
    )


def entry_of(plan: Plan) -> Entry:
    return Entry(
        torrent=plan.asked_for,
        name=name_of(plan),
        decision=plan.verdict,
        torrents=len(plan.torrents),
        total_bytes=plan.total_bytes,
        bytes_to_copy=plan.bytes_to_copy,
        bytes_freed=plan.bytes_freed,
        save_paths=tuple(sorted({move.save_path for move in plan.torrents})),
        blockers=plan.blockers,
    )


def _is_elsewhere(plan: Plan) -> bool:
    """Seeds from neither side: rehome has nothing to say about it."""
    return bool(plan.torrents) and all(not move.target_path for move in plan.torrents)


def _duplicates(look: Look, gatherings: Mapping[Direction, Gathering]) -> tuple[Duplicate, ...]:
    demotion = gatherings[Direction.DEMOTE]
    stash = {place.device_id for _, place in demotion.roots.source.tops()}
    pool = {place.device_id for _, place in demotion.roots.target.tops()}
    seeds = Counter(
        instance.payload_id for key, instance in look.instances.items() if key in look.inventory
    )
    by_hash: dict[str, list[Payload]] = {}
    for payload in look.catalog.payloads.all():
        if payload.payload_hash is not None:
            by_hash.setdefault(payload.payload_hash, []).append(payload)
    found = [
        Duplicate(
            payload_hash=payload_hash,
            total_bytes=one.total_bytes,
            on_stash=look.places.shown(one.device_id, one.root_path),
            on_pool=look.places.shown(two.device_id, two.root_path),
            torrents_on_stash=seeds[one.payload_id],
            torrents_on_pool=seeds[two.payload_id],
        )
        for payload_hash, payloads in by_hash.items()
        for one in payloads
        if one.device_id in stash
        for two in payloads
        if two.device_id in pool and two.device_id != one.device_id
    ]
    return tuple(sorted(found, key=lambda item: (-item.total_bytes, item.payload_hash)))
