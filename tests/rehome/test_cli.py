"""The commands of rehome: what they demand, what they say, how they end."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.facts_builder import LAYOUT, facts
from tests.support.qbt import free_port
from tests.support.rehome_program import Program
from tests.support.relocating import (
    Killed,
    SimulatedLab,
    another_film,
    breaking,
    killed_in,
)

from hashall.catalog import open_catalog
from hashall.lock import exclusive
from rehome import planfile
from rehome.planner import plan_group

HASH = "0" * 39 + "1"


@pytest.fixture
def rehome(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Program:
    """Without any setting."""
    monkeypatch.setenv("HOME", str(tmp_path))
    return Program(capsys)


@pytest.fixture
def settled(lab: SimulatedLab, rehome: Program, monkeypatch: pytest.MonkeyPatch) -> Program:
    """With the settings of the lab."""
    monkeypatch.setenv("HASHALL_CONFIG", str(lab.config))
    return rehome


@pytest.fixture
def film(lab: SimulatedLab) -> str:
    torrent = another_film(lab, "Film")
    lab.look()
    return torrent


@pytest.fixture
def plan_file(settled: Program, film: str, tmp_path: Path) -> Path:
    path = tmp_path / "plan.json"
    assert settled("plan", "--demote", "--torrent-hash", film, "-o", path) == 0
    return path


def a_plan(folder: Path) -> Path:
    """A plan of nobody's torrents."""
    path = folder / "plan.json"
    planfile.write(plan_group(facts(), LAYOUT), path)
    return path


# -- what has to be said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["plan"], "say what to plan"),
        (["plan", "--torrent-hash", HASH], "say what to plan"),
        (["plan", "--demote"], "a plan needs to know which torrent"),
        (["plan", "--demote", "--torrent-hash", ""], "a plan needs to know which torrent"),
        (["retire"], "say which run, or --due"),
        (["retire", "7", "--due"], "say which run, or --due"),
        (["apply"], "Missing argument 'PLAN'"),
        (["resume"], "say which run, or --all"),
        (["rollback", "seven"], "'seven' is not a valid integer"),
        (["apply", "plan.json"], "say either --dryrun or --force"),
        (["apply", "plan.json", "--dryrun", "--force"], "say either --dryrun or --force"),
        (["apply", "plan.json", "--force", "--retain", "soon"], "'soon' is not a duration"),
        (["apply", "plan.json", "--force", "--retain", "-1h"], "'-1h' is not a duration"),
        (["apply", "plan.json", "--force", "--retain", "24"], "did you mean 24d or 24s?"),
        (["apply", "no such plan.json", "--force"], "cannot read the plan no such plan.json"),
        (["demote"], "No such command 'demote'"),
    ],
)
def test_what_is_missing_or_wrong_is_said_and_ends_with_2(
    rehome: Program, arguments: list[str], words: str
) -> None:
    assert rehome(*arguments) == 2
    assert words in rehome.err
    assert rehome.out == ""


def test_nothing_ever_means_everything(rehome: Program) -> None:
    assert rehome("retire") == 2
    assert rehome("plan", "--demote") == 2


def test_an_edited_plan_ends_with_2_and_says_what_to_do(rehome: Program, tmp_path: Path) -> None:
    path = a_plan(tmp_path)
    path.write_text(path.read_text().replace("/pool/seeding", "/etc"))
    assert rehome("apply", path, "--force") == 2
    assert "edited or cut off" in rehome.err
    assert "rehome plan --demote" in rehome.err


def test_missing_roots_are_said_before_anything_else_is_looked_for(rehome: Program) -> None:
    assert rehome("plan", "--demote", "--torrent-hash", HASH) == 2
    assert "rehome.stash_seeding_root and rehome.pool_seeding_root" in rehome.err


ROOTS = ("--stash-seeding-root", "/stash", "--pool-seeding-root", "/pool")


def test_a_missing_catalog_is_said_with_the_command_that_makes_one(
    rehome: Program, tmp_path: Path
) -> None:
    place = tmp_path / "none.db"
    assert rehome("plan", "--demote", "--torrent-hash", HASH, "--db", place, *ROOTS) == 2
    assert f"there is no catalog at {place}" in rehome.err
    assert "hashall scan" in rehome.err
    assert not place.exists()


def test_qbittorrent_that_does_not_answer_ends_with_5(rehome: Program, tmp_path: Path) -> None:
    place = tmp_path / "catalog.db"
    open_catalog(place, create=True).db.close()
    nobody = f"http://127.0.0.1:{free_port()}"
    command = ("plan", "--demote", "--torrent-hash", HASH, "--db", place, *ROOTS)
    assert rehome(*command, "--qbittorrent-host", nobody) == 5
    assert f"qBittorrent at {nobody} does not answer" in rehome.err


@pytest.mark.parametrize("command", ["resume", "rollback", "retire"])
def test_an_unknown_run_ends_with_2_and_says_how_to_list_them(
    settled: Program, lab: SimulatedLab, command: str
) -> None:
    lab.scan(lab.stash)
    assert settled(command, "7") == 2
    assert "there is no run 7" in settled.err
    assert "rehome runs list" in settled.err


def test_showing_an_unknown_run_ends_with_2(settled: Program, lab: SimulatedLab) -> None:
    lab.scan(lab.stash)
    assert settled("runs", "show", "7") == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [("zz", "is not a torrent hash"), ("f" * 40, "no torrent with the hash"), ("all", "not a tor")],
)
def test_what_names_no_torrent_ends_with_2(
    settled: Program, film: str, text: str, words: str
) -> None:
    assert settled("plan", "--demote", "--torrent-hash", text) == 2
    assert words in settled.err


def test_errors_come_as_one_json_document_too(rehome: Program) -> None:
    assert rehome("plan", "--json") == 2
    assert rehome.json["error"]["exit_code"] == 2
    assert rehome.json["error"]["code"] == "usage"


# -- plan


def test_a_plan_is_shown_and_written(settled: Program, film: str, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    assert settled("plan", "--demote", "--torrent-hash", film[:8].upper(), "-o", path) == 0
    assert settled.out.startswith("MOVE: 1 torrent to the pool")
    assert f"written to {path}" in settled.out
    assert planfile.read(path).asked_for == film


def test_a_plan_in_json_is_the_plan_file(settled: Program, film: str, plan_file: Path) -> None:
    assert settled("plan", "--demote", "--torrent-hash", film, "--json") == 0
    assert settled.out == plan_file.read_text()


def test_a_blocked_plan_ends_with_3_and_can_be_kept_but_not_applied(
    settled: Program, lab: SimulatedLab, film: str, tmp_path: Path
) -> None:
    lab.import_into_library(film, "Film (2021)")
    lab.look()
    path = tmp_path / "plan.json"
    assert settled("plan", "--demote", "--torrent-hash", film, "-o", path) == 3
    assert str(lab.media / "Film (2021)/Film.mkv") in settled.out
    for how in ("--dryrun", "--force"):
        assert settled("apply", path, how) == 3
        assert "outside-link" in settled.err


def test_a_plan_that_cannot_be_written_ends_with_2(settled: Program, film: str) -> None:
    assert settled("plan", "--demote", "--torrent-hash", film, "-o", "/no/such/folder/p") == 2


# -- apply, and what follows


def test_promise_6_a_dry_run_changes_nothing_and_shows_every_step(
    settled: Program, lab: SimulatedLab, plan_file: Path
) -> None:
    before = lab.seen()
    assert settled("apply", plan_file, "--dryrun") == 0
    assert settled.out.splitlines()[-1] == "dry run: nothing was changed"
    assert lab.seen() == before
    assert settled("runs", "list") == 0
    assert settled.out == "no runs yet\n"


def test_a_dry_run_in_json_is_the_plan(settled: Program, plan_file: Path) -> None:
    assert settled("apply", plan_file, "--dry-run", "--json") == 0
    assert settled.out == plan_file.read_text()


def test_a_run_is_told_as_it_goes_and_kept_for_a_day_by_default(
    settled: Program, lab: SimulatedLab, film: str, plan_file: Path
) -> None:
    assert settled("apply", plan_file, "--force") == 0
    assert "the source is hidden and kept until" in settled.out
    assert "stop " in settled.err
    assert lab.rows()[film]["save_path"] == str(lab.pool_seeding)
    assert settled("runs", "show", "1") == 0
    assert "run      1: demote, committed" in settled.out
    assert settled("retire", "--due") == 0
    assert settled.out == "nothing to retire\n"
    assert settled("retire", "1") == 0
    assert "the source is retired" in settled.out
    assert settled("retire", "1") == 0
    assert settled.out == "nothing to retire\n"


def test_with_retain_0_the_source_is_gone_at_once(
    settled: Program, lab: SimulatedLab, film: str, plan_file: Path
) -> None:
    assert settled("apply", plan_file, "--force", "--retain", "0", "--json") == 0
    assert settled.json["applied"]["status"] == "retired"
    assert settled.json["applied"]["retired"]["kept"] == []
    assert not any(path.is_file() for path in lab.stash.rglob("*"))
    assert settled("runs", "list", "--json") == 0
    assert [row["status"] for row in settled.json["runs"]] == ["retired"]
    assert settled("runs", "show", "1", "--json") == 0
    assert {step["state"] for step in settled.json["run"]["steps"]} == {"done"}


def test_what_is_on_the_pool_is_nothing_to_do(
    settled: Program, lab: SimulatedLab, tmp_path: Path
) -> None:
    home = lab.seed("Home", {"home.mkv": 1000}, on_pool=True)
    lab.look()
    path = tmp_path / "plan.json"
    assert settled("plan", "--demote", "--torrent-hash", home, "-o", path) == 0
    assert settled.out.startswith("SKIP: Home is on the pool already")
    assert settled("apply", path, "--force") == 0
    assert settled.out == "nothing to do: it is there already\n"
    assert settled("apply", path, "--force", "--json") == 0
    assert settled.json["applied"] is None


def test_a_failed_run_ends_with_4_and_says_that_nothing_was_moved(
    settled: Program, lab: SimulatedLab, plan_file: Path
) -> None:
    with breaking(6, afterwards=True):
        assert settled("apply", plan_file, "--force") == 4
    assert "run 1 failed and was rolled back: nothing was moved" in settled.err
    assert "undo: " in settled.err
    assert settled("runs", "list") == 0
    assert "rolled" in settled.out
    assert settled("resume", "1") == 0
    assert settled.out == "run 1 was rolled back before: nothing to do\n"


def test_a_stale_plan_ends_with_3_and_says_what_changed(
    settled: Program, lab: SimulatedLab, film: str, plan_file: Path
) -> None:
    lab.client.api.torrents_stop(torrent_hashes=[film])
    assert lab.seen().torrents[film]["kind"] == "stoppedUP"
    assert settled("apply", plan_file, "--force") == 3
    assert "the plan is stale" in settled.err
    assert "make a new plan" in settled.err


def test_an_interrupted_run_is_named_and_can_be_taken_back(
    settled: Program, lab: SimulatedLab, film: str, plan_file: Path
) -> None:
    with killed_in(7, afterwards=True):
        settled("apply", plan_file, "--force")
    assert settled("plan", "--demote", "--torrent-hash", film) == 3
    assert "rehome resume 1" in settled.out
    assert "rehome rollback 1" in settled.out
    assert settled("apply", plan_file, "--force") == 3
    assert settled("rollback", "1", "--json") == 0
    assert settled.json["run"]["run"]["status"] == "rolled-back"
    assert settled("rollback", "1") == 0
    assert settled.out == "run 1 was rolled back before; see: rehome runs show 1\n"


def test_a_run_that_cannot_be_resumed_just_now_says_why_and_stays_open(
    settled: Program, lab: SimulatedLab, plan_file: Path
) -> None:
    with killed_in(9, afterwards=True):
        settled("apply", plan_file, "--force")
    lab.client.stop()
    assert settled("resume", "1") == 4
    assert "it failed because: it was interrupted" in settled.err
    assert "does not answer" in settled.err
    lab.client.start()
    assert settled("resume", "1") == 0


def test_an_interrupted_run_can_be_resumed_and_then_not_taken_back(
    settled: Program, lab: SimulatedLab, plan_file: Path
) -> None:
    with killed_in(7, afterwards=True):
        settled("apply", plan_file, "--force")
    assert settled("resume", "1") == 0
    assert "run 1: 1 torrent seeds from the pool" in settled.out
    assert settled("rollback", "1") == 3
    assert "cannot be rolled back any more" in settled.err


def test_promise_1_a_source_without_its_witness_is_kept_and_ends_with_4(
    settled: Program, lab: SimulatedLab, plan_file: Path
) -> None:
    assert settled("apply", plan_file, "--force") == 0
    (lab.pool_seeding / "Other" / "x").parent.mkdir()
    placed = next(path for path in lab.pool_seeding.rglob("*.mkv"))
    placed.unlink()
    assert settled("retire", "1") == 4
    assert "1 source file was kept:" in settled.out
    assert "there is no copy of it at " in settled.out
    assert "what is not needed any more you may delete, and then: rehome retire 1" in settled.out
    assert settled("retire", "1", "--json") == 4
    assert len(settled.json["retired"][0]["retired"]["kept"]) == 1


def test_promise_10_a_second_writer_is_told_who_holds_the_catalog(
    settled: Program, lab: SimulatedLab, plan_file: Path
) -> None:
    with exclusive(lab.catalog, "hashall scan /stash"):
        assert settled("apply", plan_file, "--force") == 75
    assert "hashall scan /stash" in settled.err


def test_a_killed_program_is_no_failure_of_the_test(lab: SimulatedLab) -> None:
    """`killed_in` must not hide that nothing was killed."""
    with pytest.raises(AssertionError, match="there is no step 0"), killed_in(0, afterwards=True):
        assert issubclass(Killed, BaseException)
