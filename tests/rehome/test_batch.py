"""Many groups in one plan: scopes, order, limits, and what cannot go together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.support.facts_builder import (
    LAYOUT,
    POOL,
    STASH,
    codes,
    facts,
    file,
    link,
    reusable,
    torrent,
    torrent_id,
)
from tests.support.gathering import Stage

from rehome import planfile
from rehome.batch import Batch, Scope, batch_of_one, is_still, make_batch
from rehome.model import Direction, Plan, Verdict
from rehome.planner import plan_group
from rehome.planning import check_scope
from seedkeep.errors import Misused
from seedkeep.setting_types import SaveRule

DEMOTE = Direction.DEMOTE
ALL = Scope(all_eligible=True, limit=1000)


def group(number: int, size: int, *, below: str = "", **changes: Any) -> Plan:
    """One torrent with one file of its own."""
    name = f"F{number}/film.mkv"
    one = torrent(number, [file(name, f"film {number}", size)], save_path=STASH / below)
    return plan_group(facts(one, **changes), LAYOUT)


def blocked(number: int, size: int = 10) -> Plan:
    return group(number, size, uncovered=(("/stash/media", "never scanned"),))


def batch(*plans: Plan, scope: Scope = ALL, free: int = 10**12) -> Batch:
    return make_batch(plans, scope, DEMOTE, free_bytes=free, margin=0)


def asked(plans: Sequence[Plan]) -> list[int]:
    return [int(plan.asked_for, 16) for plan in plans]


# -- choosing


def test_what_frees_most_goes_first_and_what_stays_comes_last() -> None:
    home = replace(group(4, 1000), verdict=Verdict.SKIP, bytes_freed=0, steps=(), retire=())
    made = batch(blocked(1), group(2, 10), group(3, 300), home)
    assert asked(made.groups) == [3, 2, 4, 1]
    assert asked(made.executable) == [3, 2]
    assert (made.bytes_freed, made.bytes_to_copy) == (310, 310)


def test_the_order_does_not_depend_on_the_order_of_the_groups() -> None:
    plans = [group(number, 10 * (number % 3)) for number in range(1, 9)]
    assert batch(*plans) == batch(*reversed(plans))


def test_a_limit_counts_groups_that_go_and_not_those_that_stay() -> None:
    made = batch(blocked(1), *(group(n, n) for n in (2, 3, 4)), scope=replace(ALL, limit=2))
    assert asked(made.executable) == [4, 3]
    assert [item.asked_for for item in made.left_out] == [torrent_id(2)]
    assert len(made.groups) == 3


def test_a_group_too_large_for_the_rest_makes_room_for_a_smaller_one() -> None:
    plans = (group(1, 60), group(2, 50), group(3, 30))
    made = batch(*plans, scope=Scope(all_eligible=True, max_bytes=100))
    assert asked(made.executable) == [1, 3]
    assert [(item.total_bytes, item.bytes_freed) for item in made.left_out] == [(50, 50)]


def test_room_on_the_target_is_shared_by_the_groups() -> None:
    made = batch(group(1, 60), group(2, 50), group(3, 30), free=100)
    assert asked(made.executable) == [1, 3]
    (stays,) = [plan for plan in made.groups if plan.verdict is Verdict.BLOCK]
    assert (asked([stays]), codes(stays), stays.steps) == ([2], ["no-space"], ())


def test_what_is_reused_needs_no_room() -> None:
    known = {"reusable": (reusable("/pool/seeding/x", "film 2", 50),)}
    made = batch(group(1, 100), group(2, 50, **known), free=100)
    assert asked(made.executable) == [1, 2]


def test_two_groups_never_go_to_the_same_place() -> None:
    one = group(1, 60)
    two = group(2, 50)
    two = replace(
        two, torrents=tuple(replace(m, file_names=("F1/film.mkv",)) for m in two.torrents)
    )
    made = batch(one, two)
    (stays,) = [plan for plan in made.groups if plan.verdict is Verdict.BLOCK]
    assert codes(stays) == ["target-conflict"]
    assert stays.blockers[0].paths == (f"{POOL}/F1/film.mkv",)
    assert torrent_id(1) in stays.blockers[0].sentence


def test_two_groups_never_share_a_folder_of_their_own() -> None:
    """What both would place in it differs; each would find the other's files there, as foreign."""
    one, two = group(1, 60), group(2, 50)
    moves = tuple(
        replace(move, root_name="F1", file_names=("F1/bonus.mkv",)) for move in two.torrents
    )
    made = batch(one, replace(two, torrents=moves))
    (stays,) = [plan for plan in made.groups if plan.verdict is Verdict.BLOCK]
    assert (asked([stays]), codes(stays)) == ([2], ["target-conflict"])
    assert stays.blockers[0].paths == (f"{POOL}/F1",)


def test_two_folders_of_one_name_that_a_rule_brings_together_do_not_go_in_one_batch(
    scene: Stage,
) -> None:
    films = scene.pool_seeding / "films"
    scene.save_paths = tuple(SaveRule(stash=scene.seeding / name, pool=films) for name in "ab")
    ids = [
        scene.seed(1, {"Film/1.mkv": "one " * 9}, save_path=scene.seeding / "a"),
        scene.seed(2, {"Film/2.mkv": "two"}, save_path=scene.seeding / "b"),
    ]
    scene.look()
    assert {scene.plan(torrent).verdict for torrent in ids} == {Verdict.MOVE}
    made = scene.batch(all_eligible=True, limit=9)
    assert decisions(made) == {1: "MOVE", 2: "BLOCK"}
    assert codes(made.groups[1]) == ["target-conflict"]
    assert made.groups[1].blockers[0].paths == (str(films / "Film"),)


def test_no_group_that_stays_has_a_step() -> None:
    made = batch(blocked(1), group(2, 60), group(3, 50), free=70)
    for plan in made.groups:
        assert bool(plan.steps) == (plan.verdict in (Verdict.MOVE, Verdict.REUSE))


# -- scopes


@pytest.mark.parametrize(
    "scope",
    [
        Scope(),
        Scope(limit=5),
        Scope(tag="a", category="b"),
        Scope(all_eligible=True),
        Scope(all_eligible=True, tag="a", limit=3),
    ],
)
def test_a_scope_is_one_thing_and_never_everything(scope: Scope) -> None:
    with pytest.raises(Misused):
        check_scope(scope)


@pytest.mark.parametrize(
    "scope",
    [
        Scope(tag="a"),
        Scope(category="b", limit=1),
        Scope(payload_hash="c" * 64, max_bytes=1),
        Scope(all_eligible=True, limit=1),
        Scope(all_eligible=True, max_bytes=1),
    ],
)
def test_a_scope_may_have_limits(scope: Scope) -> None:
    check_scope(scope)


def library(scene: Stage) -> list[str]:
    """Two films with siblings, one in the media library, one on the pool."""
    ids = [
        scene.seed(1, {"One/1.mkv": "one " * 9}, category="films", tags=("seed",)),
        scene.seed(2, {"Two/2.mkv": "two"}, category="films"),
        scene.seed(3, {"Three/3.mkv": "three"}, tags=("seed",)),
        scene.seed(4, {"Four/4.mkv": "four"}, save_path=scene.pool_seeding, category="films"),
    ]
    ids.append(scene.sibling(5, ids[0], "cross", category="cross-seed"))
    movie = scene.media / "3.mkv"
    movie.hardlink_to(scene.seeding / "Three/3.mkv")
    scene.look()
    return ids


def decisions(made: Batch) -> dict[int, str]:
    return {int(plan.asked_for, 16): plan.verdict.value for plan in made.groups}


def test_a_category_brings_whole_groups_and_skips_what_is_there(scene: Stage) -> None:
    library(scene)
    made = scene.batch(category="films")
    assert decisions(made) == {1: "MOVE", 2: "MOVE", 4: "SKIP"}
    assert [len(plan.torrents) for plan in made.executable] == [2, 1]


def test_a_tag_shows_what_stays_with_every_reason(scene: Stage) -> None:
    library(scene)
    made = scene.batch(tag="seed")
    assert decisions(made) == {1: "MOVE", 3: "BLOCK"}
    (stays,) = [plan for plan in made.groups if plan.verdict is Verdict.BLOCK]
    assert codes(stays) == ["outside-link"]
    assert stays.blockers[0].paths == (str(scene.media / "3.mkv"),)


def test_a_payload_is_named_by_the_beginning_of_its_hash(scene: Stage) -> None:
    ids = library(scene)
    payload_hash = scene.facts(ids[1]).payload_hash
    assert payload_hash is not None
    assert decisions(scene.batch(payload_hash=payload_hash[:12].upper())) == {2: "MOVE"}


def test_all_that_may_go_is_every_group_up_to_the_limit(scene: Stage) -> None:
    library(scene)
    made = scene.batch(all_eligible=True, limit=1)
    assert decisions(made) == {1: "MOVE", 3: "BLOCK", 4: "SKIP"}
    assert [int(item.asked_for, 16) for item in made.left_out] == [2]


def test_an_empty_scope_is_said(scene: Stage) -> None:
    library(scene)
    with pytest.raises(Misused, match="no torrent is in this scope"):
        scene.batch(tag="nobody has it")


@pytest.mark.parametrize(("scope", "mistyped"), [("category", "film"), ("tag", "nohl")])
def test_a_mistyped_scope_is_met_with_the_nearest(scene: Stage, scope: str, mistyped: str) -> None:
    scene.seed(1, {"F/f": "f"}, category="films", tags=("~noHL",))
    scene.look()
    with pytest.raises(Misused) as why:
        scene.batch(**{scope: mistyped})
    assert why.value.hint == f"did you mean {'films' if scope == 'category' else '~noHL'}?"


def test_a_group_has_the_same_plan_alone_and_in_a_batch(scene: Stage) -> None:
    ids = library(scene)
    alone = {plan.asked_for: plan for plan in map(scene.plan, (ids[0], ids[1], ids[2], ids[3]))}
    for plan in scene.batch(all_eligible=True, limit=9).groups:
        assert plan == alone[plan.asked_for]


def test_equal_facts_give_an_equal_batch(scene: Stage) -> None:
    library(scene)
    one, two = scene.batch(category="films"), scene.batch(category="films")
    assert planfile.dumps(one) == planfile.dumps(two)


def test_what_goes_is_read_from_the_client_and_what_stays_is_not(scene: Stage) -> None:
    ids = library(scene)
    scene.client.asked_for_files.clear()
    scene.batch(all_eligible=True, limit=1)
    assert sorted(set(scene.client.asked_for_files)) == sorted([ids[0], ids[4]])


# -- files


def test_a_batch_survives_its_file(tmp_path: Path) -> None:
    made = batch(group(1, 60), group(2, 50), blocked(3), scope=replace(ALL, limit=1))
    planfile.write(made, tmp_path / "plan.json")
    assert planfile.read_batch(tmp_path / "plan.json") == made


def test_a_plan_of_one_group_is_read_as_a_batch_of_one(tmp_path: Path) -> None:
    planfile.write(group(1, 60), tmp_path / "plan.json")
    assert planfile.read_batch(tmp_path / "plan.json") == batch_of_one(group(1, 60))


def test_a_batch_is_no_plan_of_one_group(tmp_path: Path) -> None:
    planfile.write(batch(group(1, 60)), tmp_path / "plan.json")
    with pytest.raises(Misused, match="cannot be applied"):
        planfile.read(tmp_path / "plan.json")


# -- what was approved is still what would be done


def one_file(**changes: Any) -> Plan:
    return plan_group(facts(torrent(1, [file("F/a", "a"), file("F/b", "b")]), **changes), LAYOUT)


def test_bytes_that_came_meanwhile_need_no_copy_and_no_new_plan() -> None:
    now = one_file(reusable=(reusable("/pool/seeding/x", "a"),))
    assert now.plan_id != one_file().plan_id
    assert is_still(one_file(), now)


def test_a_folder_that_was_made_meanwhile_needs_no_new_plan() -> None:
    assert is_still(one_file(new_dirs=("/pool/seeding/F",)), one_file())


def test_bytes_that_went_away_meanwhile_need_a_new_plan() -> None:
    assert not is_still(one_file(reusable=(reusable("/pool/seeding/x", "a"),)), one_file())


@pytest.mark.parametrize(
    "changes",
    [
        {"links": (link(1, 100, "/stash/seeding/F/a", outside=("/stash/media/a",)),)},
        {"payload_hash": "f" * 64},
        {"source_devices": (7,)},
        {"links": ()},
    ],
)
def test_anything_else_needs_a_new_plan(changes: dict[str, Any]) -> None:
    assert not is_still(one_file(), one_file(**changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"client_download_path": "/stash/incomplete"},
        {"auto_tmm": True},
        {"target_category": "films-pool"},
        {"client_target_path": "/pool/elsewhere"},
        {"save_path": STASH / "deeper"},
    ],
)
def test_what_the_client_is_told_needs_a_new_plan(changes: dict[str, Any]) -> None:
    one = facts(torrent(1))
    two = replace(one, torrents=(replace(one.torrents[0], **changes),))
    assert not is_still(plan_group(one, LAYOUT), plan_group(two, LAYOUT))
