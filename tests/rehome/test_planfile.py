"""A plan as a file: what a person approved is what is applied, or nothing is."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.support.facts_builder import LAYOUT, STASH, facts, file, torrent

from rehome import planfile
from rehome.codec import from_json, to_json
from rehome.model import MakeStaging, MoveFiles, Plan, Running, StopTorrents, Verdict, Was
from rehome.planfile import BadPlanFile
from rehome.planner import plan_group
from seedkeep.errors import Misused

Edit = Callable[[dict[str, Any]], object]


def plan(name: str = "Film/film.mkv") -> Plan:
    return plan_group(facts(torrent(1, [file(name)])), LAYOUT)


def edited(change: Edit, *, checksum: bool = True) -> str:
    """The file of a plan after a change; with `checksum` somebody took pains to make it fit."""
    document = json.loads(planfile.dumps(plan()))
    change(document)
    if checksum:
        document.pop("checksum")
        document["checksum"] = planfile._checksum(document)
    return json.dumps(document)


def refused(text: str) -> BadPlanFile:
    with pytest.raises(BadPlanFile) as why:
        planfile.loads(text, "plan.json")
    assert why.value.exit_code == 2
    assert why.value.brief == "plan.json cannot be applied"
    assert "rehome plan --demote" in why.value.hint
    return why.value


def test_a_plan_is_the_same_after_its_file(tmp_path: Path) -> None:
    planfile.write(plan(), tmp_path / "plan.json")
    assert planfile.read(tmp_path / "plan.json") == plan()


@pytest.mark.parametrize("name", ["Fílm/ü.mkv", "F/a\udcff\udc80.mkv", "F/two\nlines.mkv", "F/𝄞"])
def test_every_name_that_linux_allows_survives_a_plan_file(tmp_path: Path, name: str) -> None:
    made = plan(name)
    planfile.write(made, tmp_path / "plan.json")
    assert planfile.read(tmp_path / "plan.json") == made
    assert made.torrents[0].file_names == (name,)


def test_equal_plans_give_equal_files() -> None:
    assert planfile.dumps(plan()) == planfile.dumps(plan())


EDITS: dict[str, Edit] = {
    "another target": lambda d: d["plan"]["steps"][0].update(path="/etc/.seedkeep-0"),
    "another direction": lambda d: d["plan"].update(direction="promote"),
    "a step less": lambda d: d["plan"]["steps"].pop(),
    "a blocker less": lambda d: d["plan"].update(blockers=[]) or d["plan"].update(plan_id="0"),
    "another checksum": lambda d: d.update(checksum="0" * 64),
    "no checksum": lambda d: d.pop("checksum"),
    "one more key": lambda d: d.update(note="mine"),
}


@pytest.mark.parametrize("edit", EDITS)
def test_a_plan_that_was_edited_by_hand_is_refused(edit: str) -> None:
    assert "edited or cut off" in refused(edited(EDITS[edit], checksum=False)).detail


@pytest.mark.parametrize("length", [0, 1, 100, -2])
def test_a_plan_that_was_cut_off_is_refused(length: int) -> None:
    assert "not JSON" in refused(planfile.dumps(plan())[:length]).detail


@pytest.mark.parametrize("version", [0, 2, "1", None, True, 1.5])
def test_a_plan_of_another_version_is_refused_and_says_which(version: object) -> None:
    detail = refused(edited(lambda d: d.update(schema_version=version))).detail
    assert f"format {version!r}" in detail


@pytest.mark.parametrize("text", ["null", "[]", "7", '"plan"', "{}", '{"kind": "backup"}'])
def test_json_that_is_no_plan_is_refused(text: str) -> None:
    assert "not a plan of rehome" in refused(text).detail


@pytest.mark.parametrize("text", ["rehome", "{", "\0", "{'plan': 1}", '{"a": 1} {"b": 2}'])
def test_what_is_no_json_is_refused(text: str) -> None:
    assert "not JSON" in refused(text).detail


def test_json_that_is_nested_without_end_is_refused() -> None:
    assert "nested" in refused("[" * 200_000 + "]" * 200_000).detail


WRONG: dict[str, tuple[Edit, str]] = {
    "true for a number": (lambda d: d["plan"].update(total_bytes=True), "total_bytes"),
    "a number for true": (lambda d: d["plan"]["torrents"][0].update(auto_tmm=1), "auto_tmm"),
    "text for a number": (lambda d: d["plan"].update(bytes_to_copy="100"), "bytes_to_copy"),
    "a broken number": (lambda d: d["plan"].update(bytes_to_copy=1.5), "bytes_to_copy"),
    "a number for text": (lambda d: d["plan"].update(plan_id=7), "plan_id"),
    "null for text": (lambda d: d["plan"].update(staging=None), "staging"),
    "text for a list": (lambda d: d["plan"].update(steps="none"), "steps"),
    "an object for a list": (lambda d: d["plan"].update(retire={}), "retire"),
    "a list for an object": (lambda d: d["plan"]["steps"].append([]), "unknown step None"),
    "null for a step": (lambda d: d["plan"]["steps"].append(None), "must not be null"),
    "an unknown step": (
        lambda d: d["plan"]["steps"].append({"step": "Delete", "path": "/"}),
        "unknown step 'Delete'",
    ),
    "a step without its kind": (lambda d: d["plan"]["steps"][0].pop("step"), "unknown step None"),
    "a list as the kind": (lambda d: d["plan"]["steps"][0].update(step=[]), "unhashable"),
    "a step with one field more": (lambda d: d["plan"]["steps"][0].update(force=True), "force"),
    "a step with one field less": (lambda d: d["plan"]["steps"][0].pop("path"), "path"),
    "an unknown verdict": (lambda d: d["plan"].update(verdict="MAYBE"), "MAYBE"),
    "an unknown state": (lambda d: d["plan"]["torrents"][0].update(running="fast"), "fast"),
    "no plan": (lambda d: d.update(plan=None), "expected an object"),
    "a triple for a pair": (
        lambda d: next(s for s in d["plan"]["steps"] if s["step"] == "CheckFiles").update(
            sizes=[["a", 1, 2]]
        ),
        "expected 2 values",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_plan_with_values_of_a_wrong_kind_is_refused_with_the_place(what: str) -> None:
    edit, place = WRONG[what]
    assert place in refused(edited(edit)).detail


def test_a_plan_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_bytes(planfile.dumps(plan()).encode().replace(b"Film", b"Fi\xffm"))
    with pytest.raises(BadPlanFile, match="not UTF-8") as why:
        planfile.read(path)
    assert why.value.exit_code == 2


def test_a_file_that_is_far_too_large_is_refused_without_being_read(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    with path.open("wb") as out:
        out.truncate(planfile.MOST_BYTES + 1)
    with pytest.raises(BadPlanFile, match="too large"):
        planfile.read(path)


@pytest.mark.parametrize("kind", ["missing", "a folder", "a pipe"])
def test_what_cannot_be_read_is_a_usage_error(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "plan.json"
    if kind == "a folder":
        path.mkdir()
    elif kind == "a pipe":
        os.mkfifo(path)
    with pytest.raises(Misused) as why:
        planfile.read(path)
    assert why.value.exit_code == 2
    assert str(path) in str(why.value)


def test_a_place_that_cannot_be_written_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(Misused, match="cannot write the plan"):
        planfile.write(plan(), tmp_path / "no such folder" / "plan.json")


# -- the codec below it


@dataclass(frozen=True)
class Place:
    path: Path
    size: int | None


def test_paths_become_text_and_missing_values_null() -> None:
    assert to_json(Place(STASH, None)) == {"path": str(STASH), "size": None}


def test_a_step_says_its_kind_and_is_read_back_as_that_kind() -> None:
    step = StopTorrents((Was("a" * 40, Running.FORCED),))
    data = to_json(step)
    assert data["step"] == "StopTorrents"
    assert from_json(StopTorrents, data) == step


def test_steps_of_one_shape_are_told_apart() -> None:
    plain = MoveFiles("/a", "/b", ("x",), ())
    assert to_json(plain)["step"] == "MoveFiles"
    assert from_json(MoveFiles, to_json(plain)) == plain
    assert type(plan().steps[0]) is MakeStaging


def test_a_plan_without_a_payload_hash_can_be_kept_too() -> None:
    blocked = plan_group(facts(payload_hash=None), LAYOUT)
    assert blocked.verdict is Verdict.BLOCK
    assert planfile.loads(planfile.dumps(blocked)) == blocked
