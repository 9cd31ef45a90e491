"""`rehome apply` with many groups, and what ends or undoes their runs, as a person types it."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from tests.support.rehome_program import Program
from tests.support.relocating import Killed, SimulatedLab, killed_in

from hashall import fsops
from rehome import recovery, render_runs
from rehome.model import BuildView, FillPayload, Step
from rehome.world import World
from seedkeep.progress import Progress


@pytest.fixture
def rehome(
    lab: SimulatedLab, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Program:
    monkeypatch.setenv("HASHALL_CONFIG", str(lab.config))
    return Program(capsys)


@pytest.fixture
def plan(lab: SimulatedLab, rehome: Program) -> Path:
    """Three groups that may go."""
    for name in ("one", "two", "three"):
        lab.seed(name, {f"{name}.mkv": 30_000}, below="films", category="films")
    lab.look()
    path = lab.home / "plan.json"
    assert rehome("plan", "--demote", "--category", "films", "-o", path) == 0
    return path


def test_a_dry_run_shows_every_group_and_changes_nothing(
    lab: SimulatedLab, rehome: Program, plan: Path
) -> None:
    before = lab.seen()
    assert rehome("apply", plan, "--dryrun") == 0
    assert rehome.out.count("MOVE: 1 torrent to the pool") == 3
    assert rehome.out.endswith("dry run: nothing was changed\n")
    assert rehome("apply", plan, "--dryrun", "--json") == 0
    assert len(rehome.json["batch"]["groups"]) == 3
    assert lab.seen() == before


def test_each_group_has_its_line_and_then_come_the_sums(
    lab: SimulatedLab, rehome: Program, plan: Path
) -> None:
    assert rehome("apply", plan, "--force", "--retain", "0", "--rescan", "--pieces") == 0
    *groups, sums = rehome.out.splitlines()
    assert sorted(line.partition(":")[0] for line in groups) == ["one", "three", "two"]
    assert sums == "3 of 3 groups moved, 87.9 KiB copied, 87.9 KiB freed so far"
    assert "1 of 3: " in rehome.err
    assert lab.own_debris() == []


def test_in_json_every_group_says_how_it_ended(
    lab: SimulatedLab, rehome: Program, plan: Path
) -> None:
    (lab.seeding / "films/two/two.mkv").write_bytes(b"other bytes")
    assert rehome("apply", plan, "--force", "--json") == 4
    outcome = rehome.json["outcome"]
    assert [item["error"] and item["error"]["code"] for item in outcome["groups"]].count(None) == 2
    (failed,) = (item for item in outcome["groups"] if item["error"])
    assert failed["error"]["code"] == "stale-plan"
    assert failed["applied"] is None
    assert (outcome["left"], outcome["left_because"]) == ([], "")


def test_a_group_that_failed_is_named_with_its_reason(
    lab: SimulatedLab, rehome: Program, plan: Path
) -> None:
    (lab.seeding / "films/two/two.mkv").write_bytes(b"other bytes")
    assert rehome("apply", plan, "--force") == 4
    assert "two: stale-plan: the plan is stale" in rehome.out
    assert "2 of 3 groups moved" in rehome.out
    assert "1 did not end well; see above" in rehome.out


def test_what_is_left_over_is_said_and_done_by_the_same_command_again(
    lab: SimulatedLab, rehome: Program, plan: Path
) -> None:
    assert rehome("apply", plan, "--force", "--max-groups", "2") == 0
    assert "1 not begun: --max-groups 2" in rehome.out
    assert rehome("apply", plan, "--force", "--max-groups", "2") == 0
    assert rehome.out.count("nothing to do") == 2
    told = [line for line in rehome.err.splitlines() if " of 3: " in line]
    assert sorted(line.partition(": ")[0] for line in told) == ["1 of 3", "2 of 3", "3 of 3"]
    assert sum(line.endswith(": nothing to do") for line in told) == 2
    assert sum(line.endswith(", 29.3 KiB to copy") for line in told) == 1
    assert {row["save_path"] for row in lab.rows().values()} == {str(lab.pool_seeding / "films")}


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--window", "1-2", "--window: '1-2' is no window"),
        ("--bwlimit", "fast", "--bwlimit: 'fast' is not a size"),
        ("--bwlimit", "0B/s", "--bwlimit: 0 bytes a second"),
        ("--bwlimit", "5", "--bwlimit: 5 B/s is less than 1.0 KiB/s; a unit is missing, as in 5 M"),
        ("--retain", "soon", "--retain: 'soon'"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused_before_anything_is_read(
    rehome: Program, option: str, value: str, message: str
) -> None:
    assert rehome("apply", "missing.json", "--force", option, value) == 2
    assert message in rehome.err


def test_a_batch_whose_sources_are_kept_ends_with_what_removes_them(
    lab: SimulatedLab, rehome: Program, plan: Path
) -> None:
    assert rehome("apply", plan, "--force", "--max-groups", "2", "--retain", "1d") == 0
    last = rehome.out.splitlines()[-1]
    assert last.startswith("2 sources are hidden and kept until 20")
    assert last.endswith("Z; then: rehome retire --due")
    assert rehome("apply", plan, "--force", "--retain", "1d") == 0
    assert rehome.out.splitlines()[-1].startswith("1 source is hidden and kept until 20")
    assert rehome("apply", plan, "--force", "--retain", "1d") == 0
    assert rehome.out.splitlines()[-1] == "0 of 3 groups moved, 0 B copied, 0 B freed so far"


def test_promise_1_of_many_groups_each_that_keeps_a_source_says_which_file_and_why(
    lab: SimulatedLab, rehome: Program, plan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = fsops.retire_file

    def retire_file(root: Path, name: str, **more: Any) -> int:
        if name.startswith("two/"):
            raise PermissionError(errno.EPERM, "Operation not permitted")
        return real(root, name, **more)

    monkeypatch.setattr(fsops, "retire_file", retire_file)
    assert rehome("apply", plan, "--force", "--retain", "0") == 4
    lines = rehome.out.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("two: run "))
    run = lines[at].removeprefix("two: run ").partition(":")[0]
    assert lines[at + 1] == "  1 source file was kept:"
    assert lines[at + 2].startswith(f"    {lab.seeding}/films/.seedkeep-")
    assert lines[at + 2].endswith("-hidden/two/two.mkv: Operation not permitted")
    assert lines[at + 3].endswith(f"and then: rehome retire {run}")
    assert rehome.out.count("kept:") == 1
    assert lines[-1] == "1 source was not removed as a whole; see above"


def test_a_group_that_failed_is_told_with_all_of_its_reasons(
    lab: SimulatedLab, rehome: Program, plan: Path
) -> None:
    extra = [lab.media / f"{number}.mkv" for number in range(3)]
    for path in extra:
        path.hardlink_to(lab.seeding / "films/two/two.mkv")
    lab.scan(lab.stash)
    assert rehome("apply", plan, "--force") == 4
    lines = rehome.out.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("two: stale-plan: "))
    assert "(outside-link: a library uses these bytes" in lines[at]
    assert lines[at + 1 : at + 4] == [f"    {path}" for path in extra]


@pytest.fixture
def totals(monkeypatch: pytest.MonkeyPatch) -> list[int | None]:
    """Bytes that the progress is measured against, whenever they are said."""
    said: list[int | None] = []

    class Told(Progress):
        def set_total(self, total: int | None) -> None:
            said.append(total)
            super().set_total(total)

    monkeypatch.setattr(render_runs, "Progress", Told)
    return said


def test_progress_is_measured_against_what_is_to_be_done(
    lab: SimulatedLab, rehome: Program, plan: Path, totals: list[int | None]
) -> None:
    for left in (60_000, 30_000, None):  # of the three groups two, then one, then none
        assert rehome("apply", plan, "--force", "--max-groups", "2") == 0
        assert set(totals) == {left}
        totals.clear()


def test_progress_does_not_wait_for_a_group_that_was_refused(
    lab: SimulatedLab, rehome: Program, plan: Path, totals: list[int | None]
) -> None:
    (lab.seeding / "films/two/two.mkv").write_bytes(b"other bytes")
    assert rehome("apply", plan, "--force") == 4
    assert (totals[0], totals[-1]) == (90_000, 60_000)


# -- ending runs


@pytest.fixture
def begun_with(monkeypatch: pytest.MonkeyPatch) -> list[int | None]:
    """Bytes that the progress is measured against at its beginning."""
    said: list[int | None] = []

    class Told(Progress):
        def __enter__(self) -> Progress:
            said.append(self.total)
            return super().__enter__()

    monkeypatch.setattr(render_runs, "Progress", Told)
    return said


@pytest.mark.parametrize(
    "ending",
    [("resume", FillPayload, 90_000), ("resume", BuildView, None), ("rollback", BuildView, None)],
)
def test_progress_of_an_ending_is_measured_against_what_is_left_to_copy(
    rehome: Program,
    plan: Path,
    begun_with: list[int | None],
    ending: tuple[str, type[Step], int | None],
) -> None:
    how, kind, left = ending
    with killed_at(kind):
        rehome("apply", plan, "--force")
    begun_with.clear()
    assert rehome(how, "--all") == 0
    assert begun_with == [left]


@contextmanager
def killed_at(kind: type[Step]) -> Iterator[None]:
    """The process ends when it is about to do the first step of `kind`."""

    def perform(self: World, steps: Sequence[Step]) -> None:
        if isinstance(steps[0], kind):
            raise Killed
        true(self, steps)

    true = World.perform_together
    with pytest.MonkeyPatch.context() as patch, suppress(Killed):
        patch.setattr(World, "perform_together", perform)
        patch.setattr(recovery, "recover", lambda *_: None)
        yield


def interrupted(rehome: Program, plan: Path) -> None:
    with killed_in(33, afterwards=True):
        rehome("apply", plan, "--force")


@pytest.mark.parametrize(("how", "side"), [("resume", "pool"), ("rollback", "stash")])
def test_one_command_ends_all_that_was_interrupted(
    lab: SimulatedLab, rehome: Program, plan: Path, how: str, side: str
) -> None:
    interrupted(rehome, plan)
    assert rehome(how, "--all") == 0
    root = lab.pool if side == "pool" else lab.stash
    assert all(str(row["save_path"]).startswith(str(root)) for row in lab.rows().values())
    assert rehome(how, "--all") == 0  # and again, when there is nothing to end
    assert rehome.out == "no run was interrupted\n"
    assert rehome(how, "--all", "--json") == 0
    assert rehome.json["outcome"]["groups"] == []


@pytest.mark.parametrize("how", ["resume", "rollback"])
@pytest.mark.parametrize("arguments", [[], ["1", "--all"]])
def test_a_run_or_all_of_them_has_to_be_named(
    rehome: Program, plan: Path, how: str, arguments: list[str]
) -> None:
    assert rehome(how, *arguments) == 2
    assert "say which run, or --all" in rehome.err


# -- undo, and the history


def test_a_run_is_undone_and_the_history_joins_the_two(
    lab: SimulatedLab, rehome: Program, plan: Path
) -> None:
    assert rehome("apply", plan, "--force", "--max-groups", "1") == 0
    assert rehome("undo", "1", "--retain", "0") == 0
    assert "run 2: 1 torrent seeds from where it was before" in rehome.out
    assert rehome("runs", "show", "1") == 0
    assert "undone   by run 2" in rehome.out
    assert "note     taken back by run 2" in rehome.out
    assert rehome("runs", "show", "2") == 0
    assert "undoes   run 1" in rehome.out
    assert rehome("runs", "show", "1", "--json") == 0
    assert rehome.json["run"]["undone_by"] == 2
    assert rehome("runs", "list") == 0
    assert "undo 1" in rehome.out
    assert rehome("undo", "1", "--retain", "soon") == 2
    assert rehome("undo", "1", "--json") == 3
    assert rehome.json["error"]["code"] == "cannot-undo"


def test_the_undo_of_a_run_without_torrents_says_so_and_stops_nothing(
    lab: SimulatedLab, rehome: Program, plan: Path
) -> None:
    assert rehome("apply", plan, "--force", "--max-groups", "1", "--json") == 0
    (torrent,) = rehome.json["outcome"]["groups"][0]["applied"]["torrents"]
    lab.client.api.torrents_delete(delete_files=False, torrent_hashes=[torrent])
    assert rehome("undo", "1", "--retain", "0") == 0
    first, *_ = rehome.out.splitlines()
    assert first == (
        "run 2: the files are where they were before; its torrents are not in qBittorrent any more"
    )
    assert not [line for line in rehome.err.splitlines() if line.startswith(("stop", "wait", "br"))]
    assert lab.own_debris() == []


def test_a_retired_run_does_not_speak_of_its_torrents(
    lab: SimulatedLab, rehome: Program, plan: Path
) -> None:
    assert rehome("apply", plan, "--force", "--max-groups", "1", "--json") == 0
    (torrent,) = rehome.json["outcome"]["groups"][0]["applied"]["torrents"]
    lab.client.api.torrents_delete(delete_files=False, torrent_hashes=[torrent])
    assert rehome("retire", "1") == 0
    assert rehome.out == "run 1: the source is retired, 29.3 KiB freed on stash\n"


def test_a_run_that_was_rolled_back_has_nothing_to_undo(
    lab: SimulatedLab, rehome: Program, plan: Path
) -> None:
    interrupted(rehome, plan)
    assert rehome("rollback", "1") == 0
    assert rehome("undo", "1") == 3
    assert rehome.err == (
        "error: run 1 cannot be taken back\n"
        "it was rolled back already: everything is as it was before it\n"
        "hint: rehome runs show 1\n"
    )


@pytest.mark.parametrize("command", ["retire", "resume", "rollback"])
def test_which_runs_there_are_is_left_to_the_list(rehome: Program, command: str) -> None:
    assert rehome(command) == 2
    assert f"hint: rehome {command} RUN (see: rehome runs list), or" in rehome.err


def test_a_run_tells_who_when_why_and_what_was_before_and_after(
    lab: SimulatedLab, rehome: Program, plan: Path
) -> None:
    rehome("apply", plan, "--force", "--max-groups", "1")
    rehome("runs", "show", "1")
    for line in ("by       ", "started  ", "ended    ", "payload  ", "copied   ", "kept     "):
        assert f"\n{line}" in rehome.out
    assert f"{lab.seeding}/films → {lab.pool_seeding}/films" in rehome.out
    assert "CATEGORY" in rehome.out
    assert rehome.out.splitlines()[-1] == "next: rehome retire 1, or rehome undo 1"
