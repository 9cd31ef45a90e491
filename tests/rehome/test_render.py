"""What a person reads is what is executed, and no name can forge a line of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from tests.support.facts_builder import (
    LAYOUT,
    STASH,
    facts,
    file,
    layout,
    lying,
    reusable,
    torrent,
    with_targets,
)
from tests.support.random_facts import groups

from hashall.catalog.runs import RunRow, RunStatus, StepRow, StepState
from rehome import render, render_runs, render_steps
from rehome.app import RunView
from rehome.codec import to_json
from rehome.facts import Facts
from rehome.model import (
    STEP_KINDS,
    Blocker,
    KeepManaged,
    MoveFiles,
    Nothing,
    Plan,
    ProveAway,
    RemoveFolder,
    RemoveStaging,
    Reveal,
    Running,
    SetCategory,
    Step,
    Verdict,
)
from rehome.outcome import Applied
from rehome.planner import plan_group
from rehome.retire import Kept, Retired
from seedkeep.text import printable

FORGED = "x\n  1. remove /\x1b[2K\r\u202e"
GIVEN_BACK = ("then_remove", "undo_remove")  # of a move: empty directories, when it is undone


def plan(known: Facts | None = None) -> Plan:
    return plan_group(facts() if known is None else known, LAYOUT)


def family() -> Plan:
    """A plan with every kind of step that a demotion has."""
    one = torrent(1, [file("F/a", "a"), file("F/b", "b"), file("F/c", "c")], auto_tmm=True)
    two = torrent(2, [file("G/a", "a")], save_path=STASH / "x", running=Running.FORCED)
    known = facts(one, two, reusable=(reusable("/pool/seeding/old/b", "b"),))
    known = replace(known, new_dirs=("/pool/seeding/x/G", "/pool/seeding/x"))
    made = plan(with_targets(known, lying("/pool/seeding/F/c", "c")))
    undoing = {Nothing, MoveFiles, RemoveStaging, RemoveFolder, Reveal, SetCategory, KeepManaged}
    assert {type(step) for step in made.steps} == set(STEP_KINDS.values()) - undoing - {ProveAway}
    return made


def values_of(value: Any, name: str = "") -> Iterator[str]:
    """Every text in a step: paths, names, hashes, torrent ids."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from values_of(item)
    elif is_dataclass(value):
        for field in fields(value):
            if not (isinstance(value, MoveFiles) and field.name in GIVEN_BACK):
                yield from values_of(getattr(value, field.name))


def said_of_all(made: Plan) -> None:
    text = render_steps.dry_run(made)
    for part in (made.steps, made.retire):
        for value in values_of(part):
            assert printable(value) in text


def test_promise_6_a_dry_run_shows_every_value_that_apply_executes() -> None:
    said_of_all(family())


@given(groups(may_block=False))
def test_promise_6_a_dry_run_of_any_plan_shows_every_value(known: Facts) -> None:
    made = plan(known)
    assume(made.steps)
    said_of_all(made)


def test_a_dry_run_numbers_every_step_in_order() -> None:
    made = family()
    numbered = re.findall(r"^ *(\d+)\. ", render_steps.dry_run(made), re.MULTILINE)
    assert numbered == [str(number) for number in range(1, len(made.steps) + 1)]


def test_a_dry_run_shows_what_comes_after_the_commit() -> None:
    lines = render_steps.dry_run(family()).splitlines()
    assert "then, committed:" in lines
    assert "     retire the hidden source, after reading what replaces it:" in lines


def test_a_dry_run_shows_the_folders_that_may_have_to_be_made() -> None:
    lines = [line.strip() for line in render_steps.dry_run(family()).splitlines()]
    assert "and, when it is needed, /pool/seeding/x/G" in lines


def test_a_dry_run_of_what_is_on_the_pool_has_no_steps() -> None:
    made = plan(facts(torrent(1, arrived=True)))
    assert render_steps.dry_run(made) == "SKIP: Torrent 1 is on the pool already"


@pytest.mark.parametrize("kind", STEP_KINDS.values(), ids=lambda kind: kind.__name__)
def test_every_kind_of_step_has_words(kind: type) -> None:
    others: tuple[Step, ...] = (
        Reveal("/a/.hidden", "/a", ("F",), ()),
        SetCategory("1", "films-pool", "films"),
        KeepManaged("1", True, "", False, ""),
        ProveAway("/b/.probe", "/data/b/.probe", ("/b",)),
    )
    steps = {type(step): step for step in (*family().steps, *others)}
    steps |= {type(step.inverse()): step.inverse() for step in family().steps}
    assert all(render_steps.step_lines(steps[kind]))


# -- plans


def test_a_move_says_what_is_copied_and_what_is_freed() -> None:
    text = render.plan(plan(), None)
    assert text.splitlines()[0] == "MOVE: 1 torrent to the pool, 100 B to copy"
    assert "/stash/seeding → /pool/seeding" in text
    assert "freed    100 B on stash, once the source is retired" in text
    assert "written to" not in text


def test_a_reuse_says_that_nothing_is_copied() -> None:
    made = plan(facts(torrent(1), torrent(2), reusable=(reusable("/pool/seeding/x"),)))
    assert render.plan(made, None).startswith(
        "REUSE: 2 torrents to the pool, which has the bytes; nothing to copy\n"
    )


def test_a_written_plan_names_its_file_and_the_next_command() -> None:
    lines = render.plan(plan(), Path("/tmp/plan.json")).splitlines()
    assert lines[-2:] == [
        "written to /tmp/plan.json",
        "next: rehome apply /tmp/plan.json --dryrun",
    ]


def test_a_blocked_plan_names_each_reason_with_its_paths_and_no_next_command() -> None:
    text = render.plan(plan(facts(uncovered=(("/stash/media", "never scanned"),))), Path("/p"))
    assert text.splitlines() == [
        "BLOCK: 1 torrent stays where it is",
        "  root-not-covered: never scanned; run `hashall scan` on it",
        "    /stash/media",
        "written to /p",
    ]


def test_of_very_many_paths_the_first_ten_are_shown_and_the_others_counted() -> None:
    blocker = Blocker("outside-link", "used", tuple(f"/stash/{n:03}" for n in range(23)))
    text = render.plan(replace(plan(), verdict=Verdict.BLOCK, blockers=(blocker,)), None)
    assert text.splitlines()[-2:] == ["    /stash/009", "    … and 13 more"]


def test_a_torrent_under_automatic_management_is_said_to_lose_it() -> None:
    text = render.plan(plan(facts(torrent(1, auto_tmm=True))), None)
    assert "automatic management is switched off for 000000000000" in text


# -- hostile names


def evil_plan() -> Plan:
    fact = torrent(1, [file(f"{FORGED}/{FORGED}"), file(f"{FORGED}/b", "b")], name=FORGED)
    fact = replace(
        *(fact,),
        save_path=STASH / FORGED,
        client_save_path=f"/data/{FORGED}",
        target_path=LAYOUT.pool_seeding_root / FORGED,
        client_target_path=str(LAYOUT.pool_seeding_root / FORGED),
        client_download_path=f"/tmp/{FORGED}",
    )
    reuse = reusable(f"/pool/seeding/{FORGED}", "b")
    made = plan(facts(fact, reusable=(reuse,), new_dirs=(f"/pool/seeding/{FORGED}",)))
    assert made.steps
    return made


def harmless(text: str) -> None:
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\u202e]", text)
    assert not any(line.startswith("  1. remove /") for line in text.splitlines())


def test_names_with_newlines_and_escapes_cannot_forge_a_line_of_a_dry_run() -> None:
    made = evil_plan()
    text = render_steps.dry_run(made)
    harmless(text)
    assert printable(FORGED) in text


def test_a_pool_with_an_odd_name_cannot_forge_a_line_of_a_dry_run() -> None:
    odd = layout(pool_seeding_root=Path(f"/pool/{FORGED}"))
    place = odd.pool_seeding_root
    made = plan_group(facts(torrent(1, target_path=place, client_target_path=str(place))), odd)
    assert FORGED in made.staging
    harmless(render_steps.dry_run(made))


def test_names_with_newlines_and_escapes_cannot_forge_a_line_of_a_plan() -> None:
    harmless(render.plan(evil_plan(), Path(f"/tmp/{FORGED}")))
    block = plan(facts(torrent(1, name=FORGED, problem=FORGED), foreign=(f"/pool/{FORGED}",)))
    harmless(render.plan(block, None))
    harmless(render.plan(plan(facts(torrent(1, name=FORGED, arrived=True))), None))


def test_names_with_newlines_and_escapes_cannot_forge_a_line_of_a_run() -> None:
    harmless(
        render_runs.run(view(evil_plan(), actor=FORGED, reason=FORGED, note=FORGED, error=FORGED))
    )
    harmless(render_runs.runs([row(evil_plan(), actor=FORGED)]))
    kept = Retired(0, 0, (Kept(f"/stash/{FORGED}", FORGED),))
    harmless(render_runs.applied(Applied(1, evil_plan(), RunStatus.COMMITTED, None, kept, 0)))


def test_what_is_said_while_it_happens_cannot_be_forged(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with render_runs.watching([], as_json=False) as watch:
        for step in evil_plan().steps:
            watch.told(step, "do")
            watch.told(step, "done")
            watch.told(step, "undo")
    said = capsys.readouterr().err
    harmless(said)
    assert len(said.splitlines()) == 2 * len(evil_plan().steps)
    assert said.count("undo: ") == len(evil_plan().steps)


def test_with_json_nothing_is_said_while_it_happens(capsys: pytest.CaptureFixture[str]) -> None:
    with render_runs.watching([], as_json=True) as watch:
        watch.told(family().steps[0], "do")
    assert capsys.readouterr() == ("", "")


# -- runs

BEGAN = "2026-11-21T07:35:06.123456Z"


def row(made: Plan, **changes: Any) -> RunRow:
    known = RunRow(
        run_id=7,
        kind="demote",
        plan_id=made.plan_id,
        plan=to_json(made),
        status=RunStatus.OPEN,
        actor="me@here",
        reason="rehome apply plan.json --force",
        started_at=BEGAN,
        ended_at=None,
        retain_s=0,
        retire_at=None,
        retired_at=None,
        bytes_freed=None,
        note="",
    )
    return replace(known, **changes)


def view(made: Plan, *, error: str = "", **changes: Any) -> RunView:
    states = (StepState.UNDONE, StepState.DONE, StepState.INTENDED, StepState.PLANNED)
    steps = tuple(
        (
            StepRow(
                seq=number,
                step=to_json(step),
                state=states[min(number, 3)],
                intended_at="2026-11-21T08:00:00Z",
                done_at="2026-11-21T09:00:00Z",
                undone_at="2026-11-21T10:00:00Z",
                error=error if number == 2 else "",
            ),
            step,
        )
        for number, step in enumerate(made.steps)
    )
    return RunView(row(made, **changes), made, steps)


def test_a_run_shows_when_each_step_came_to_its_state() -> None:
    lines = render_runs.run(view(family())).splitlines()
    steps = lines[lines.index("steps:") + 1 :]
    words = [step.split(maxsplit=4) for step in steps]
    assert words[0][:4] == ["1.", "undone", "2026-11-21T10:00:00Z", "make"]
    assert words[1][:5] == ["2.", "done", "2026-11-21T09:00:00Z", "1h", words[1][4]]
    assert words[1][4].startswith("prove ")
    assert words[2][:3] == ["3.", "intended", "2026-11-21T08:00:00Z"]
    assert words[3][:3] == ["4.", "planned", "-"]


def test_an_open_run_names_the_two_commands_that_end_it_and_what_went_wrong() -> None:
    text = render_runs.run(view(family(), error="it broke"))
    assert text.splitlines()[-1] == "next: rehome resume 7, or rehome rollback 7"
    assert "\n       it broke\n" in text
    assert "started  2026-11-21T07:35:06Z" in text


def test_an_undo_that_is_committed_is_retired_and_not_undone_again() -> None:
    text = render_runs.run(view(family(), status=RunStatus.COMMITTED, undoes=3))
    assert text.splitlines()[-1] == "next: rehome retire 7"


def test_a_retired_run_says_when_and_how_much_it_freed() -> None:
    done = view(
        *(family(),),
        status=RunStatus.RETIRED,
        retired_at="2026-11-22T00:00:00Z",
        bytes_freed=2048,
        note="all is well",
    )
    text = render_runs.run(done)
    assert "retired  2026-11-22T00:00:00Z, 2.0 KiB freed" in text
    assert "note     all is well" in text
    assert "next:" not in text


def test_no_runs_are_said_in_words() -> None:
    assert render_runs.runs([]) == "no runs yet"


def test_the_list_of_runs_shows_until_when_a_source_is_kept() -> None:
    kept = row(family(), status=RunStatus.COMMITTED, retire_at="2026-11-22T07:35:06Z")
    text = render_runs.runs([kept, row(family(), run_id=12, status=RunStatus.ROLLED_BACK)])
    lines = [line.split() for line in text.splitlines()]
    assert lines[1] == [
        "7",
        "demote",
        "committed",
        f"{BEGAN[:19]}Z",
        "2026-11-22T07:35:06Z",
        "me@here",
    ]
    assert lines[2][:5] == ["12", "demote", "rolled-back", f"{BEGAN[:19]}Z", "-"]


# -- outcomes


def outcome(status: RunStatus, retired: Retired | None, made: Plan | None = None) -> list[str]:
    until = "2026-11-22T07:35:06Z"
    freed = retired.bytes_freed if retired else 0
    return render_runs.applied(
        Applied(7, made or plan(), status, until, retired, freed)
    ).splitlines()


def test_a_committed_run_says_until_when_the_source_is_kept_and_how_to_end_that() -> None:
    assert outcome(RunStatus.COMMITTED, None) == [
        "run 7: 1 torrent seeds from the pool, 100 B copied",
        "the source is hidden and kept until 2026-11-22T07:35:06Z; then: rehome retire 7",
    ]


def test_a_retired_run_says_what_was_freed_in_truth() -> None:
    made = plan(facts(torrent(1), torrent(2), reusable=(reusable("/pool/seeding/x"),)))
    assert outcome(RunStatus.RETIRED, Retired(100, 2, ()), made) == [
        "run 7: 2 torrents seed from the pool, nothing copied",
        "the source is retired, 100 B freed on stash",
    ]


def test_files_that_were_kept_are_named_with_the_reason() -> None:
    kept = tuple(Kept(f"/stash/{n}", "the witness is gone") for n in range(12))
    lines = outcome(RunStatus.COMMITTED, Retired(0, 0, kept))
    assert "12 source files were kept:" in lines
    assert "  /stash/0: the witness is gone" in lines
    assert lines[-1] == "… and 2 more"


def test_a_run_that_was_rolled_back_is_nothing_to_resume() -> None:
    assert outcome(RunStatus.ROLLED_BACK, None) == ["run 7 was rolled back before: nothing to do"]


def test_an_outcome_in_json_has_the_numbers() -> None:
    data = render_runs.applied_json(
        Applied(7, plan(), RunStatus.RETIRED, None, Retired(100, 2, ()), 100)
    )
    assert (data["run_id"], data["status"], data["bytes_copied"]) == (7, RunStatus.RETIRED, 100)
    assert data["retired"].bytes_freed == 100
