"""Many groups in one plan: which of them go, in which order, and what is left out.  Pure.

Every group is planned by itself and stays all-or-none; a batch only chooses, orders and counts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from rehome.model import (
    Blocker,
    Direction,
    FillPayload,
    Plan,
    Relocate,
    Retirement,
    SetCategory,
    SetManagement,
    StopTorrents,
    TorrentMove,
    Verdict,
    VerifyReuse,
)
from seedkeep import clock
from seedkeep.units import format_duration, format_size

EXECUTABLE = (Verdict.MOVE, Verdict.REUSE)
_RANK = {Verdict.MOVE: 0, Verdict.REUSE: 0, Verdict.SKIP: 1, Verdict.BLOCK: 2}


@dataclass(frozen=True, kw_only=True)
class Scope:
    """What a person asked to plan.  Never everything: `all_eligible` needs a limit."""

    torrent_hash: str = ""
    payload_hash: str = ""
    tag: str = ""
    category: str = ""
    all_eligible: bool = False
    max_bytes: int | None = None  # of the groups' sizes together
    limit: int | None = None  # groups

    @property
    def is_named(self) -> bool:
        """Whether a person named what it holds, and did not let a label or the room choose."""
        return bool(self.torrent_hash or self.payload_hash)


@dataclass(frozen=True)
class LeftOut:
    """A group that could go and is beyond the limits."""

    asked_for: str
    name: str
    total_bytes: int
    bytes_freed: int


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Every group of a scope with its decision.  Equal facts give an equal batch."""

    batch_id: str  # 12 hex over the plans
    direction: Direction
    scope: Scope
    groups: tuple[Plan, ...]  # those that go, most freed first; then SKIP; then BLOCK
    left_out: tuple[LeftOut, ...] = ()

    @property
    def executable(self) -> tuple[Plan, ...]:
        return tuple(plan for plan in self.groups if plan.verdict in EXECUTABLE)

    @property
    def bytes_to_copy(self) -> int:
        return sum(plan.bytes_to_copy for plan in self.executable)

    @property
    def bytes_freed(self) -> int:
        return sum(plan.bytes_freed for plan in self.executable)


def make_batch(
    plans: Iterable[Plan], scope: Scope, direction: Direction, *, free_bytes: int, margin: int
) -> Batch:
    """Order plans, apply the limits of the scope, and block what cannot go together.

    Args:
        free_bytes: On the target side now; the groups share it.
        margin: Bytes that have to stay free there.
    """
    ordered = sorted(plans, key=_order)
    chosen, left_out = _within_limits(ordered, scope)
    groups = tuple(sorted(_together(chosen, free_bytes - margin), key=_order))
    text = "\n".join(f"{plan.verdict.value} {plan.plan_id}" for plan in groups)
    return Batch(
        batch_id=hashlib.sha256(text.encode()).hexdigest()[:12],
        direction=direction,
        scope=scope,
        groups=groups,
        left_out=tuple(left_out),
    )


def hold_back(
    plans: Iterable[Plan],
    completed: Mapping[str, datetime | None],
    min_age: timedelta,
    now: datetime,
) -> Iterator[Plan]:
    """Block groups that could go and may not have been imported yet.

    Args:
        completed: When each torrent completed, by its id; None where nobody knows.
        min_age: A group is as old as its newest torrent.  Zero holds nothing back.
    """
    for plan in plans:
        young = None
        if min_age and plan.verdict in EXECUTABLE:
            young = too_young(plan, completed, min_age, now)
        yield plan if young is None else blocked(plan, young)


def too_young(
    plan: Plan, completed: Mapping[str, datetime | None], min_age: timedelta, now: datetime
) -> Blocker | None:
    """Why a plan of many has to wait for this group; None when it need not.

    The moment is told and not how long ago it was: equal facts give an equal plan.
    """
    known: list[tuple[datetime, str, TorrentMove]] = []
    for move in plan.torrents:
        moment = completed.get(move.torrent_id)
        if moment is None:
            return Blocker(
                "too-young",
                f"nobody knows when torrent {move.torrent_id} ({move.name}) completed, and"
                f" rehome.min_age is {format_duration(min_age)}; by its hash it may go",
            )
        known.append((moment, move.torrent_id, move))
    newest, torrent_id, move = max(known, key=lambda item: item[:2])
    if now - newest >= min_age:
        return None
    why = f"less than rehome.min_age ({format_duration(min_age)}) ago"
    if newest > now:
        why = "which is in the future here: one of the clocks is or was wrong"
    return Blocker(
        "too-young",
        f"torrent {torrent_id} ({move.name}) completed at {clock.iso(newest)}, {why};"
        " by its hash it may go now",
    )


def batch_of_one(plan: Plan) -> Batch:
    """A single plan as what `apply` works on."""
    return Batch(
        batch_id=plan.plan_id,
        direction=plan.direction,
        scope=Scope(torrent_hash=plan.asked_for),
        groups=(plan,),
    )


def _order(plan: Plan) -> tuple[int, int, int, str]:
    return (_RANK[plan.verdict], -plan.bytes_freed, plan.bytes_to_copy, plan.asked_for)


def _within_limits(ordered: Sequence[Plan], scope: Scope) -> tuple[list[Plan], list[LeftOut]]:
    """Groups that go while they fit; a smaller one later may still fit where a large one did not.

    Groups that stay cost nothing and are always listed, with their reasons.
    """
    chosen: list[Plan] = []
    left_out: list[LeftOut] = []
    count = size = 0
    for plan in ordered:
        if plan.verdict not in EXECUTABLE:
            chosen.append(plan)
            continue
        full = scope.limit is not None and count >= scope.limit
        large = scope.max_bytes is not None and size + plan.total_bytes > scope.max_bytes
        if full or large:
            left_out.append(
                LeftOut(plan.asked_for, name_of(plan), plan.total_bytes, plan.bytes_freed)
            )
            continue
        count, size = count + 1, size + plan.total_bytes
        chosen.append(plan)
    return chosen, left_out


def _together(plans: Sequence[Plan], usable: int) -> Iterator[Plan]:
    """Each could go alone; block what would meet an earlier group's files, or a full disk."""
    taken: dict[str, str] = {}
    for plan in plans:
        if plan.verdict not in EXECUTABLE:
            yield plan
            continue
        targets = target_paths(plan)
        meets = sorted(path for path in targets if path in taken)
        if meets:
            yield blocked(
                plan,
                Blocker(
                    "target-conflict",
                    f"the group of {taken[meets[0]]}, earlier in this batch, goes to the same"
                    " places",
                    tuple(meets),
                ),
            )
            continue
        if plan.bytes_to_copy and plan.bytes_to_copy > usable:
            yield blocked(
                plan,
                Blocker(
                    "no-space",
                    f"the groups before it in this batch leave {format_size(max(usable, 0))};"
                    f" needed are {format_size(plan.bytes_to_copy)}",
                    (plan.staging,),
                ),
            )
            continue
        usable -= plan.bytes_to_copy
        taken.update(dict.fromkeys(targets, plan.asked_for))
        yield plan


def blocked(plan: Plan, blocker: Blocker) -> Plan:
    """The same group, staying where it is."""
    return replace(
        plan,
        verdict=Verdict.BLOCK,
        blockers=(*plan.blockers, blocker),
        steps=(),
        retire=(),
        keep_source=False,
        staging="",
    )


def target_paths(plan: Plan) -> frozenset[str]:
    """Files that a group places and folders of its own: what two groups must not share."""
    files = {f"{move.target_path}/{name}" for move in plan.torrents for name in move.file_names}
    roots = {f"{move.target_path}/{move.root_name}" for move in plan.torrents if move.root_name}
    return frozenset(files | roots)


def name_of(plan: Plan) -> str:
    """The name of the torrent that was asked for; its id when it is gone."""
    for move in plan.torrents:
        if move.torrent_id == plan.asked_for:
            return move.name
    return plan.asked_for


def is_still(approved: Plan, now: Plan) -> bool:
    """Whether a fresh plan does what a person approved, or less of it.

    What was applied since (an earlier group of the batch, usually) may have made a directory, or
    brought bytes that then need no copy.  Everything else has to be the same: which torrents go
    where, which files leave, and which copy lets them.
    """
    if approved == now:
        return True
    return (
        approved.verdict in EXECUTABLE
        and now.verdict in EXECUTABLE
        and _outcome(approved) == _outcome(now)
        and _copied(now) <= _copied(approved)
    )


# What the client is told has to be the same, to the last path for unfinished data.
_TOLD = (StopTorrents, SetManagement, SetCategory, Relocate)


def _outcome(plan: Plan) -> tuple[object, ...]:
    moves: tuple[TorrentMove, ...] = plan.torrents
    return (
        plan.direction,
        plan.asked_for,
        plan.payload_hash,
        plan.total_bytes,
        plan.bytes_freed,
        plan.source_devices,
        plan.target_devices,
        plan.staying,
        plan.keep_source,
        plan.warnings,
        moves,
        tuple(step for step in plan.steps if isinstance(step, _TOLD)),
        tuple(_nameless(plan, item) for item in plan.retire),
        _reused(plan) if plan.direction is Direction.PROMOTE else (),
    )


def _reused(plan: Plan) -> frozenset[tuple[str, int]]:
    """What a promotion links to; a batch brings nothing new there, only other names of it."""
    return frozenset(
        (file.sha256, file.seen.inode)
        for step in plan.steps
        if isinstance(step, VerifyReuse)
        for file in step.files
    )


def _nameless(plan: Plan, item: Retirement) -> Retirement:
    """Hidden roots bear the plan's id, which differs although the file is the same."""
    return replace(item, hidden_root=item.hidden_root.replace(plan.plan_id, "", 1))


def _copied(plan: Plan) -> frozenset[tuple[int, str]]:
    return frozenset(
        (copy.seen.size, copy.sha256)
        for step in plan.steps
        if isinstance(step, FillPayload)
        for copy in step.copies
    )
