"""Plans of one group and of many: gather, decide, choose.  Changes nothing."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from difflib import get_close_matches
from itertools import islice
from typing import TypeVar

from hashall.catalog import Catalog
from rehome.batch import EXECUTABLE, Batch, Scope, hold_back, is_still, make_batch, too_young
from rehome.config import Layout
from rehome.config_check import ConfigCheck, check_config
from rehome.explain import Explanation, explain
from rehome.gather import MOST_LOOKS, Gatherer, Gathering, unsteady
from rehome.look import Look
from rehome.model import Blocker, Direction, Plan, Verdict
from rehome.planner import decide, plan_group
from rehome.report import Report, make_report
from seedkeep import clock
from seedkeep.errors import Misused, Refused, SeedError
from seedkeep.torrent_client import Torrent, resolve
from seedkeep.units import format_size

T = TypeVar("T")


class StalePlan(Refused):
    """The world is no longer the one that the plan was made for."""

    code = "stale-plan"


def plan_one(gatherer: Gatherer, torrent_hash: str, direction: Direction) -> Plan:
    """The plan of one torrent's group."""
    return plan_group(gatherer.facts(torrent_hash, direction), gatherer.layout)


def survey(gatherer: Gatherer, direction: Direction) -> tuple[Plan, ...]:
    """A decision, without steps, about every group of the client."""
    return _steadily(
        gatherer, lambda look: tuple(_decided_once(gatherer.gathering(look, direction), None))
    )


def report(gatherer: Gatherer) -> Report:
    """Decide about every group in both directions, and put it together."""

    def make(look: Look) -> Report:
        both = {d: gatherer.gathering(look, d) for d in (Direction.DEMOTE, Direction.PROMOTE)}
        decided = {d: tuple(_ripe(look, _decided(both[d], None))) for d in both}
        return make_report(look, decided, both)

    return _steadily(gatherer, make)


def explain_one(gatherer: Gatherer, torrent_hash: str) -> Explanation:
    """Why a torrent is where it is: by what its move to the other side would meet."""
    facts = gatherer.facts(torrent_hash, Direction.DEMOTE)
    asked = next(t for t in facts.torrents if t.torrent_id == facts.asked_for)
    lives_on = "stash" if asked.target_path is not None else "elsewhere"
    if asked.arrived:
        lives_on = "pool"
        facts = gatherer.facts(torrent_hash, Direction.PROMOTE)
    plan = decide(facts, gatherer.layout)
    young = _too_young(gatherer, plan) if plan.verdict in EXECUTABLE else None
    return explain(facts, plan, lives_on, gatherer.places.catalog, young)


def _too_young(gatherer: Gatherer, plan: Plan) -> Blocker | None:
    if not gatherer.layout.min_age:
        return None
    torrents = gatherer.client.torrents([move.torrent_id for move in plan.torrents])
    return too_young(plan, completions(torrents), gatherer.layout.min_age, clock.now())


def check_configuration(gatherer: Gatherer) -> ConfigCheck:
    """Hold the configuration against the client's inventory."""
    return _steadily(
        gatherer,
        lambda look: check_config(
            gatherer.gathering(look, Direction.DEMOTE), gatherer.gathering(look, Direction.PROMOTE)
        ),
    )


def plan_batch(gatherer: Gatherer, scope: Scope, direction: Direction) -> Batch:
    """Decide about every group of a scope, then plan those that go.

    Raises:
        Misused: The scope is none, or nothing is in it.
    """
    check_scope(scope)
    return _steadily(
        gatherer, lambda look: _batch(gatherer.gathering(look, direction), scope, direction)
    )


def _steadily(gatherer: Gatherer, make: Callable[[Look], T]) -> T:
    with _without_collector():
        for _ in range(MOST_LOOKS):
            look = gatherer.look(whole=True)
            made = make(look)
            steady = look.places.is_steady()
            del look  # before the collector is back, which would go through all of it
            if steady:
                return made
    raise unsteady()


def _batch(gathering: Gathering, scope: Scope, direction: Direction) -> Batch:
    look, layout = gathering.look, gathering.layout
    asked = torrents_in(scope, look)
    if not asked:
        raise Misused(
            "no torrent is in this scope",
            detail=scope_in_words(scope),
            hint=_other_than(scope, look),
        )
    space = {"free_bytes": gathering.target.free_bytes, "margin": layout.space_margin}
    decided = _decided_once(gathering, asked)
    decided = decided if scope.is_named else _ripe(look, decided)
    first = make_batch(decided, scope, direction, **space)
    # What goes is planned from the client's own file lists, like a single group.
    going = [plan.asked_for for plan in first.executable]
    look.ask_client({key for torrent_id in going for key in look.group_of(torrent_id)})
    plans = [
        plan_group(gathering.facts(plan.asked_for), layout) if plan.verdict in EXECUTABLE else plan
        for plan in first.groups
    ]
    again = make_batch(plans, scope, direction, **space)
    return replace(again, left_out=(*first.left_out, *again.left_out))


def _decided(gathering: Gathering, torrents: Sequence[str] | None) -> Iterator[Plan]:
    """One decision a group, asked for by its first torrent in the scope."""
    look = gathering.look
    done: set[str] = set()
    gathering.look.catalog.read_common_bytes(*_devices(gathering))
    for torrent_id in sorted(look.instances) if torrents is None else torrents:
        if torrent_id in done or torrent_id not in look.inventory:
            continue
        done.update(look.group_of(torrent_id))
        yield decide(gathering.facts(torrent_id), gathering.layout)


def _decided_once(gathering: Gathering, torrents: Sequence[str] | None) -> Iterator[Plan]:
    """The same, where nobody asks about a group again: memory that is used again is faster."""
    for plan in _decided(gathering, torrents):
        gathering.look.forget([move.torrent_id for move in plan.torrents])
        yield plan


def _ripe(look: Look, plans: Iterable[Plan]) -> Iterator[Plan]:
    """Hold back what completed too lately to be chosen by anything but its hash."""
    completed = completions(look.inventory.values())
    return hold_back(plans, completed, look.layout.min_age, clock.now())


def completions(torrents: Iterable[Torrent]) -> dict[str, datetime | None]:
    """When each torrent completed; one that came complete has no other date than its adding."""
    return {t.torrent_id: t.completion_on or t.added_on for t in torrents}


def _devices(gathering: Gathering) -> tuple[tuple[int, ...], int]:
    source, target = gathering.roots.source, gathering.roots.target
    devices = {place.device_id for _, place in source.tops()}
    return tuple(sorted(devices)), target.tops()[0][1].device_id


def torrents_in(scope: Scope, look: Look) -> list[str]:
    """Torrents of a scope that the catalog knows, sorted."""
    known = sorted(look.instances.keys() & look.inventory.keys())
    if scope.torrent_hash:
        wanted = resolve(list(look.inventory.values()), scope.torrent_hash).torrent_id
        return [torrent_id for torrent_id in known if torrent_id == wanted]
    if scope.payload_hash:
        return _with_payload(scope.payload_hash, known, look)
    if scope.tag:
        return [key for key in known if scope.tag in look.inventory[key].tags]
    if scope.category:
        return [key for key in known if look.inventory[key].category == scope.category]
    return known


def _with_payload(text: str, known: Iterable[str], look: Look) -> list[str]:
    found = [
        (torrent_id, payload_hash)
        for torrent_id in known
        if (payload_hash := look.payload_hash(torrent_id)) is not None
        and payload_hash.startswith(text.lower())
    ]
    if len({payload_hash for _, payload_hash in found}) > 1:
        raise Misused(f"{text} fits several payloads", hint="give more digits")
    return [torrent_id for torrent_id, _ in found]


def check_scope(scope: Scope) -> None:
    """Raises `Misused` unless exactly one thing is asked for, and "all" has an end."""
    asked = (scope.torrent_hash, scope.payload_hash, scope.tag, scope.category, scope.all_eligible)
    if sum(map(bool, asked)) != 1:
        raise Misused(
            "a plan needs to know which torrents, by one scope and no more",
            hint="--torrent-hash, --payload-hash, --tag, --category, or --all-eligible with"
            " --max-bytes or --limit",
        )
    if scope.all_eligible and scope.max_bytes is None and scope.limit is None:
        raise Misused(
            "--all-eligible needs --max-bytes or --limit: no plan ever means everything",
            hint="rehome plan --demote --all-eligible --max-bytes 500GB",
        )


def _other_than(scope: Scope, look: Look) -> str:
    """What a person may have meant by a tag or category that no torrent has."""
    torrents = look.inventory.values()
    names = {t.category for t in torrents} if scope.category else set()
    names |= {tag for t in torrents for tag in t.tags} if scope.tag else set()
    by_word = {name.casefold(): name for name in sorted(names - {""})}
    near = get_close_matches((scope.category or scope.tag).casefold(), by_word, n=1)
    if near:
        return f"did you mean {by_word[near[0]]}?"
    return "run `hashall payload sync`, and look at `rehome report`"


def scope_in_words(scope: Scope) -> str:
    words = [
        f"{what} {value}"
        for what, value in (
            ("torrent", scope.torrent_hash),
            ("payload", scope.payload_hash),
            ("tag", scope.tag),
            ("category", scope.category),
        )
        if value
    ]
    words += ["all that may go"] if scope.all_eligible else []
    words += [f"at most {format_size(scope.max_bytes)}"] if scope.max_bytes is not None else []
    words += [f"at most {scope.limit} groups"] if scope.limit is not None else []
    return ", ".join(words)


@contextmanager
def _without_collector() -> Iterator[None]:
    """Millions of objects that all stay: looking through them again and again finds nothing."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


# -- what was approved, held against now


def plans_now(
    gatherer: Gatherer, approved: Sequence[Plan], layout: Layout
) -> dict[str, Plan | SeedError]:
    """Today's plan of each group, by the torrent that was asked for, all from one look."""
    made: dict[str, Plan | SeedError] = {}
    for direction in Direction:
        asked = [plan.asked_for for plan in approved if plan.direction is direction]
        if asked:
            for torrent_id, facts in gatherer.facts_of(asked, direction).items():
                made[torrent_id] = (
                    facts if isinstance(facts, SeedError) else plan_group(facts, layout)
                )
    return made


def to_do(gatherer: Gatherer, approved: Sequence[Plan], most: int | None) -> list[Plan]:
    """The first of these plans, at most so many, whose groups are not there already."""
    look = gatherer.look(whole=False)
    ways = {direction: gatherer.gathering(look, direction) for direction in Direction}
    left = (plan for plan in approved if not ways[plan.direction].has_arrived(plan.asked_for))
    return list(islice(left, most))


def still(catalog: Catalog, approved: Plan, now: Plan) -> Plan:
    """Today's plan, when it does what was approved or less of it.

    Raises:
        Refused: The plan forbids the move itself, or a run on the group was interrupted.
        StalePlan: Today's answer is another one.
    """
    if approved.verdict is Verdict.BLOCK:
        raise Refused(
            "this plan is blocked and cannot be applied",
            detail="\n".join(f"{b.code}: {b.sentence}" for b in approved.blockers),
            hint="remove the reasons, then make a new plan",
        )
    if is_still(approved, now):
        return now
    open_runs = [b.sentence for b in now.blockers if b.code == "run-open"]
    if open_runs:
        raise Refused("a run on this group was interrupted", detail="\n".join(open_runs))
    done = [row.run_id for row in catalog.runs.all() if row.plan_id == approved.plan_id]
    if now.verdict is Verdict.SKIP and done:
        raise StalePlan(
            f"this plan was applied before, as run {done[-1]}",
            hint=f"see what it did: rehome runs show {done[-1]}",
        )
    raise StalePlan(
        "the plan is stale: something it relies on has changed",
        detail="\n".join(differences(approved, now)),
        hint="make a new plan and read it",
    )


def differences(old: Plan, new: Plan) -> list[str]:
    """What is not as it was planned, in words."""
    if new.blockers:
        return [
            f"{b.code}: {b.sentence}{''.join(f'{chr(10)}  {path}' for path in b.paths[:5])}"
            for b in new.blockers
        ]
    found = []
    for what, was, now in (
        ("verdict", old.verdict.value, new.verdict.value),
        ("payload", old.payload_hash, new.payload_hash),
        ("bytes to copy", old.bytes_to_copy, new.bytes_to_copy),
        ("bytes freed", old.bytes_freed, new.bytes_freed),
        ("torrents", _ids(old), _ids(new)),
    ):
        if was != now:
            found.append(f"{what}: planned {was}, now {now}")
    side = "stash" if old.direction is Direction.PROMOTE else "the pool"
    return found or [f"a file, a torrent's state or a place on {side} is not as it was"]


def _ids(plan: Plan) -> str:
    return ", ".join(move.torrent_id[:12] for move in plan.torrents)
