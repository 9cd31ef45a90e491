"""What has just finished may not be imported yet: only its hash brings it into a plan."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.support.facts_builder import LAYOUT, codes, facts, torrent, torrent_id
from tests.support.gathering import Stage
from tests.support.rehome_program import Program
from tests.support.relocating import SimulatedLab, another_film

from rehome import planfile, planning, render, render_report
from rehome.batch import Batch, hold_back
from rehome.model import Direction, Plan, Verdict
from rehome.planner import plan_group
from seedkeep import clock

A_DAY = timedelta(days=1)
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
HOUR, WEEK = timedelta(hours=1), timedelta(days=7)


def siblings() -> Plan:
    return plan_group(facts(torrent(1), torrent(2)), LAYOUT)


def held_back(*ages: timedelta | None, min_age: timedelta = A_DAY) -> Plan:
    """Siblings that completed so long ago; None: nobody knows."""
    moments = {
        torrent_id(number): None if age is None else NOW - age for number, age in enumerate(ages, 1)
    }
    (plan,) = hold_back([siblings()], moments, min_age, NOW)
    return plan


# -- the decision


def test_a_group_is_as_old_as_its_newest_torrent() -> None:
    assert held_back(WEEK, WEEK) == siblings()
    assert held_back(WEEK, A_DAY) == siblings()
    made = held_back(WEEK, HOUR)
    assert (made.verdict, codes(made), made.steps) == (Verdict.BLOCK, ["too-young"], ())
    assert made.blockers[0].sentence == (
        f"torrent {torrent_id(2)} (Torrent 2) completed at 2026-11-21T11:00:00Z, less than"
        " rehome.min_age (1d) ago; by its hash it may go now"
    )


def test_a_client_whose_clock_is_ahead_makes_no_group_old_enough() -> None:
    made = held_back(WEEK, -HOUR)
    assert codes(made) == ["too-young"]
    assert "completed at 2026-11-21T13:00:00Z, which is in the future" in made.blockers[0].sentence


def test_promise_8_a_group_of_which_nobody_knows_the_age_is_not_chosen() -> None:
    made = held_back(WEEK, None)
    assert codes(made) == ["too-young"]
    assert f"nobody knows when torrent {torrent_id(2)}" in made.blockers[0].sentence


def test_without_a_least_age_nothing_is_held_back() -> None:
    assert held_back(None, HOUR, min_age=timedelta(0)) == siblings()


def test_what_stays_anyway_keeps_its_own_reasons() -> None:
    stays = plan_group(facts(uncovered=(("/stash/media", "never scanned"),)), LAYOUT)
    assert list(hold_back([stays], {}, A_DAY, NOW)) == [stays]


# -- whole plans


def films(scene: Stage) -> tuple[str, str]:
    """One that finished a week ago, and one that did so a minute ago."""
    scene.min_age = A_DAY
    labels: dict[str, Any] = {"category": "films", "tags": ("~noHL",)}
    now = clock.now()
    old = scene.seed(1, {"Old/1.mkv": "old"}, completion_on=now - WEEK, **labels)
    minute = timedelta(minutes=1)
    new = scene.seed(2, {"New/2.mkv": "new"}, completion_on=now - minute, **labels)
    scene.look()
    return old, new


def stays(made: Batch) -> dict[str, list[str]]:
    return {plan.asked_for: codes(plan) for plan in made.groups if plan.verdict is Verdict.BLOCK}


@pytest.mark.parametrize(
    "scope", [{"all_eligible": True, "limit": 9}, {"tag": "~noHL"}, {"category": "films"}]
)
def test_what_has_just_finished_is_not_chosen_by_room_or_label(
    scene: Stage, scope: dict[str, Any]
) -> None:
    old, new = films(scene)
    made = scene.batch(**scope)
    assert [plan.asked_for for plan in made.executable] == [old]
    assert stays(made) == {new: ["too-young"]}
    assert f"  too-young: torrent {new} (Torrent 2) completed at " in render.batch(made, None)


def test_what_is_held_back_takes_no_room_from_the_others(scene: Stage) -> None:
    old, _ = films(scene)
    made = scene.batch(all_eligible=True, limit=1)
    assert ([plan.asked_for for plan in made.executable], made.left_out) == ([old], ())


def test_a_hash_brings_it_into_a_plan_at_once(scene: Stage) -> None:
    _, new = films(scene)
    assert scene.plan(new).verdict is Verdict.MOVE
    payload_hash = scene.facts(new).payload_hash
    assert [plan.asked_for for plan in scene.batch(payload_hash=payload_hash).executable] == [new]


def test_a_new_sibling_makes_its_group_young_again(scene: Stage) -> None:
    old, new = films(scene)
    scene.sibling(3, old, "cross", completion_on=clock.now())
    scene.look()
    assert stays(scene.batch(category="films")) == {old: ["too-young"], new: ["too-young"]}


def test_one_that_came_complete_is_as_old_as_its_adding(scene: Stage) -> None:
    old, new = films(scene)
    scene.client.change(old, completion_on=None, added_on=clock.now() - WEEK)
    scene.client.change(new, completion_on=None, added_on=None)
    made = scene.batch(category="films")
    assert [plan.asked_for for plan in made.executable] == [old]
    assert stays(made) == {new: ["too-young"]}


def test_a_promotion_waits_as_well(scene: Stage) -> None:
    """For a moment its files are not in their places, where an importer may be reading them."""
    scene.min_age = A_DAY
    scene.seed(1, {"There/1.mkv": "same"}, completion_on=clock.now() - WEEK)
    cold = scene.seed(
        2, {"Cold/1.mkv": "same"}, save_path=scene.pool_seeding, completion_on=clock.now()
    )
    scene.look()
    made = scene.batch(Direction.PROMOTE, all_eligible=True, limit=9)
    assert stays(made) == {cold: ["too-young"]}
    assert scene.plan(cold, Direction.PROMOTE).verdict is Verdict.REUSE


def test_promise_6_a_moment_later_the_plan_is_the_same_byte_for_byte(scene: Stage) -> None:
    films(scene)
    first, later = planfile.dumps(scene.batch(category="films")), clock.now() + HOUR
    with clock.using(now=lambda: later):
        assert planfile.dumps(scene.batch(category="films")) == first


def test_a_report_counts_it_among_what_stays(scene: Stage) -> None:
    old, new = films(scene)
    made = planning.report(scene.gatherer())
    assert [entry.torrent for entry in made.demotions.eligible] == [old]
    assert [entry.torrent for entry in made.demotions.blocked] == [new]
    assert made.demotions.reasons == (("too-young", 1),)
    assert "    1 by too-young" in render_report.report(made)


def test_an_explanation_says_that_it_may_go_and_what_passes_over_it(scene: Stage) -> None:
    old, new = films(scene)
    made = planning.explain_one(scene.gatherer(), new)
    assert made.may_go
    assert made.too_young is not None
    lines = render_report.explanation(made).splitlines()
    assert lines[0].endswith(f"rehome plan --demote --torrent-hash {new}")
    assert lines[1] == "a plan by --tag, --category or --all-eligible leaves it alone for now:"
    assert lines[2].startswith(f"  too-young: torrent {new}")
    assert planning.explain_one(scene.gatherer(), old).too_young is None


# -- as a person types it


@pytest.fixture
def rehome(
    lab: SimulatedLab, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Program:
    monkeypatch.setenv("HASHALL_CONFIG", str(lab.config))
    return Program(capsys)


def test_a_day_has_to_pass_unless_somebody_says_otherwise(
    lab: SimulatedLab, rehome: Program
) -> None:
    film = another_film(lab)
    lab.look()
    config = json.loads(lab.config.read_text())
    del config["rehome"]["min_age"]
    lab.config.write_text(json.dumps(config))
    plan = ("plan", "--demote", "--all-eligible", "--limit", "9")
    assert rehome(*plan) == 3
    assert f"\n  too-young: torrent {film} (Other) completed at " in rehome.out
    assert "less than rehome.min_age (1d) ago; by its hash it may go now\n" in rehome.out
    assert rehome(*plan, "--json") == 3
    (group,) = rehome.json["batch"]["groups"]
    assert [blocker["code"] for blocker in group["blockers"]] == ["too-young"]
    assert rehome("report") == 0
    assert "1 by too-young" in rehome.out
    assert rehome("explain", film) == 0
    assert "leaves it alone for now" in rehome.out
    assert rehome(*plan, "--min-age", "0") == 0
    assert rehome("plan", "--demote", "--torrent-hash", film) == 0
