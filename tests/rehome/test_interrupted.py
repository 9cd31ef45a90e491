"""Ctrl-C, SIGTERM and SIGHUP during a run: what the command says of how it ended."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.support.rehome_program import Program
from tests.support.relocating import SimulatedLab, breaking

from rehome import recovery
from rehome.model import FillPayload, StartTorrents, Step
from rehome.world import World
from seedkeep import clock


@pytest.fixture
def rehome(
    lab: SimulatedLab, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Program:
    monkeypatch.setenv("HASHALL_CONFIG", str(lab.config))
    return Program(capsys)


def a_plan(lab: SimulatedLab, rehome: Program, *names: str) -> Path:
    for name in names:
        lab.seed(name, {f"{name}.mkv": 30_000}, below="films", category="films")
    lab.look()
    path = lab.home / "plan.json"
    assert rehome("plan", "--demote", "--category", "films", "-o", path) == 0
    return path


@contextmanager
def signalled(number: signal.Signals, kind: type[Step], *, after: int = 0) -> Iterator[None]:
    """Send this process a signal when it comes to a step of `kind`, the `after`th + 1."""
    perform = World.perform_together
    left = after

    def performed(self: World, steps: Sequence[Step]) -> None:
        nonlocal left
        if any(isinstance(step, kind) for step in steps):
            left -= 1
            if left == -1:
                signal.raise_signal(number)
        perform(self, steps)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(World, "perform_together", performed)
        yield


@pytest.mark.parametrize(
    ("number", "code", "word"),
    [
        (signal.SIGINT, 130, "interrupted"),
        (signal.SIGTERM, 143, "terminated"),
        (signal.SIGHUP, 129, "hung up"),
    ],
)
def test_what_ends_a_run_in_the_middle_is_told_with_how_the_run_ended(
    lab: SimulatedLab, rehome: Program, number: signal.Signals, code: int, word: str
) -> None:
    plan = a_plan(lab, rehome, "one")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with signalled(number, FillPayload):
            assert rehome("apply", plan, "--force") == code
    finally:
        signal.signal(signal.SIGINT, before)
    assert rehome.told == [
        f"error: {word}",
        "run 1 was rolled back: nothing of it was moved",
        "hint: apply the same plan again for the rest",
    ]
    assert rehome("apply", plan, "--force") == 0


def test_in_a_batch_the_groups_that_had_moved_are_told_from_those_that_went_back(
    lab: SimulatedLab, rehome: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rehome.lanes.MOST_TOGETHER", 1)
    plan = a_plan(lab, rehome, "one", "two", "three")
    with signalled(signal.SIGTERM, FillPayload, after=2):
        assert rehome("apply", plan, "--force", "--json") == 143
    assert rehome.error == {
        "code": "terminated",
        "brief": "terminated",
        "detail": (
            "runs 1, 2 are committed: they were moved\n"
            "run 3 was rolled back: nothing of it was moved"
        ),
        "hint": "apply the same plan again for the rest",
        "exit_code": 143,
    }


def test_a_run_whose_way_back_is_broken_off_too_is_named_with_what_ends_it(
    lab: SimulatedLab, rehome: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pressed_again(*_: object) -> None:
        raise KeyboardInterrupt

    plan = a_plan(lab, rehome, "one", "two")
    with monkeypatch.context() as patch:
        patch.setattr(recovery, "recover", pressed_again)
        with breaking(3, afterwards=True, error=KeyboardInterrupt()):
            assert rehome("apply", plan, "--force") == 130
    assert rehome.told == [
        "error: interrupted",
        "runs 1, 2 stay open, in the middle",
        "hint: go forward: rehome resume --all, or back: rehome rollback --all",
    ]
    with signalled(signal.SIGTERM, StartTorrents):
        assert rehome("resume", "1") == 143
    assert rehome.told[1:] == [
        "run 1 was rolled back: nothing of it was moved",
        "hint: for what was rolled back, make a new plan",
    ]
    assert rehome("rollback", "--all") == 0


def test_a_run_that_cannot_go_back_on_an_interruption_says_why(
    lab: SimulatedLab, rehome: Program
) -> None:
    plan = a_plan(lab, rehome, "one")

    def pressed(self: World, steps: Sequence[Step]) -> None:
        if any(isinstance(step, StartTorrents) for step in steps):
            lab.client.stop()
            raise KeyboardInterrupt
        perform(self, steps)

    perform = World.perform_together
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(World, "perform_together", pressed)
        assert rehome("apply", plan, "--force") == 130
    assert rehome.told[1] == "run 1 stays open, in the middle"
    assert "does not answer" in "\n".join(rehome.told)
    assert rehome.told[-1] == "hint: go forward: rehome resume 1, or back: rehome rollback 1"
    lab.client.start()
    assert rehome("rollback", "1") == 0


def test_an_interruption_before_the_window_opens_says_that_nothing_was_begun(
    lab: SimulatedLab, rehome: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pressed(_seconds: float) -> None:
        raise KeyboardInterrupt

    plan = a_plan(lab, rehome, "one")
    monkeypatch.setattr(clock, "sleep", pressed)
    assert rehome("apply", plan, "--force", "--window", "01:00-02:00") == 130
    assert rehome.told[1] == "no run was begun: nothing was changed"


def test_an_undo_that_is_interrupted_leaves_the_torrents_where_they_are(
    lab: SimulatedLab, rehome: Program
) -> None:
    plan = a_plan(lab, rehome, "one")
    assert rehome("apply", plan, "--force") == 0
    with signalled(signal.SIGTERM, StartTorrents):
        assert rehome("undo", "1") == 143
    assert rehome.told[1:] == [
        "run 2 was rolled back: nothing of it was moved",
        "hint: the same command does the rest",
    ]
    assert rehome("undo", "1") == 0
