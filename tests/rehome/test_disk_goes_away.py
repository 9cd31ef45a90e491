"""A disk goes away in the middle of a run: what cannot be looked at is not believed gone."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path

import pytest
from tests.support.filesystems import tmpfs
from tests.support.relocating import (
    A_DAY,
    FILM,
    SimulatedLab,
    another_film,
    changes,
    killed_in,
)

from hashall import fsops
from hashall.catalog.runs import RunStatus
from rehome.executor import RollbackFailed, RolledBack
from rehome.model import (
    CheckFiles,
    FillPayload,
    Hide,
    MoveFiles,
    Plan,
    Relocate,
    RemoveStaging,
    Step,
)
from rehome.outcome import Watch, Wishes
from rehome.undo_facts import CannotUndo
from rehome.world import World


@pytest.fixture
def film(lab: SimulatedLab) -> str:
    torrent = lab.seed("Film", FILM)
    lab.look()
    lab.client.forget_states()
    return torrent


def status(lab: SimulatedLab) -> RunStatus:
    with lab.app() as app:
        return app.runs()[0].status


def number_of(plan: Plan, kind: type[Step]) -> int:
    return next(number for number, step in enumerate(plan.steps) if type(step) is kind)


def apply_until_away(lab: SimulatedLab, plan: Plan, kind: type[Step], folder: Path) -> str:
    """Unmount the filesystem of a folder right after a step, so to speak; what the run says."""
    perform = World.perform_together

    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch, lab.app() as app:

        def performed(self: World, steps: Sequence[Step]) -> None:
            perform(self, steps)
            if type(steps[0]) is kind:
                patch.undo()
                stack.enter_context(tmpfs(folder))
                raise OSError(errno.EIO, "the disk failed")

        patch.setattr(World, "perform_together", performed)
        with pytest.raises(RollbackFailed) as why:
            app.apply(plan, A_DAY, "a test", Watch())
        assert list(folder.iterdir()) == []  # nothing was made on the bare folder
    return str(why.value)


@pytest.mark.root
@pytest.mark.parametrize("side", ["stash", "pool"])
@pytest.mark.parametrize("kind", [Hide, Relocate])
def test_promise_7_a_run_whose_disk_goes_away_stays_open_until_it_is_back(
    lab: SimulatedLab, film: str, kind: type[Step], side: str
) -> None:
    before = lab.seen()
    said = apply_until_away(lab, lab.plan(film), kind, getattr(lab, side))
    assert "is not on the filesystem that the plan was made for: it may not be mounted" in said
    assert "the disk failed" in said
    assert "rehome rollback 1" in said
    assert status(lab) is RunStatus.OPEN
    with lab.app() as app:
        app.rollback(1, Watch())
    assert status(lab) is RunStatus.ROLLED_BACK
    assert changes(before, lab.seen()) == []
    assert lab.own_debris() == []
    assert lab.bad_states() == set()


@pytest.mark.root
@pytest.mark.parametrize("side", ["stash", "pool"])
def test_promise_7_what_is_taken_back_from_a_disk_that_goes_away_meanwhile_is_taken_back_again(
    lab: SimulatedLab, film: str, side: str
) -> None:
    before, plan = lab.seen(), lab.plan(film)
    with killed_in(number_of(plan, Hide), afterwards=True):
        lab.apply(plan, A_DAY)
    kind = MoveFiles if side == "stash" else RemoveStaging
    take_back = World.undo_together
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch, lab.app() as app:

        def taken_back(self: World, steps: Sequence[Step]) -> None:
            if isinstance(steps[0], kind):
                patch.undo()
                stack.enter_context(tmpfs(getattr(lab, side)))
            take_back(self, steps)

        patch.setattr(World, "undo_together", taken_back)
        with pytest.raises(RollbackFailed, match="it stays open"):
            app.rollback(1, Watch())
    assert status(lab) is RunStatus.OPEN
    with lab.app() as app:
        app.rollback(1, Watch())
    assert changes(before, lab.seen()) == []
    assert lab.own_debris() == []


@contextmanager
def failing_below(folder: str) -> Iterator[None]:
    """A disk that cannot read its inodes for a while."""
    lstat = os.lstat

    def failing(path: str | Path, **options: int | None) -> os.stat_result:
        if str(path).startswith(f"{folder}/"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return lstat(path, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "lstat", failing)
        yield


@contextmanager
def failing_during(kind: type[Step], folder: Path) -> Iterator[None]:
    """The same, while steps of one kind are done."""
    perform = World.perform_together

    def performed(self: World, steps: Sequence[Step]) -> None:
        with failing_below(str(folder)) if type(steps[0]) is kind else nullcontext():
            perform(self, steps)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(World, "perform_together", performed)
        yield


@pytest.mark.parametrize("side", ["seeding", "pool_seeding"])
def test_promise_3_a_place_that_cannot_be_looked_at_is_not_called_empty(
    lab: SimulatedLab, film: str, side: str
) -> None:
    """A client that is told to go where files lie would have to check them all."""
    before, plan = lab.seen(), lab.plan(film)
    with (
        failing_during(Relocate, getattr(lab, side) / "Film"),
        pytest.raises(RolledBack, match="Input/output error"),
    ):
        lab.apply(plan, A_DAY)
    assert changes(before, lab.seen()) == []
    assert lab.own_debris() == []
    assert lab.bad_states() == set()


@pytest.mark.parametrize(("kind", "side"), [(FillPayload, "seeding"), (CheckFiles, "pool_seeding")])
def test_a_file_that_cannot_be_looked_at_is_not_called_gone_or_incomplete(
    lab: SimulatedLab, film: str, kind: type[Step], side: str
) -> None:
    before, plan = lab.seen(), lab.plan(film)
    with (
        failing_during(kind, getattr(lab, side) / "Film"),
        pytest.raises(RolledBack, match="Input/output error"),
    ):
        lab.apply(plan, A_DAY)
    assert changes(before, lab.seen()) == []


@pytest.mark.parametrize("side", ["seeding", "pool_seeding"])
def test_promise_5_what_cannot_be_looked_at_holds_up_the_way_back(
    lab: SimulatedLab, film: str, side: str
) -> None:
    """Files that somebody put there meanwhile would be taken along, or be in the way."""
    before, plan = lab.seen(), lab.plan(film)
    with killed_in(number_of(plan, Relocate), afterwards=True):
        lab.apply(plan, A_DAY)
    with (
        failing_below(str(getattr(lab, side) / "Film")),
        lab.app() as app,
        pytest.raises(RollbackFailed, match="Input/output error"),
    ):
        app.rollback(1, Watch())
    assert status(lab) is RunStatus.OPEN
    assert lab.seen().torrents[film]["save_path"] == str(lab.pool_seeding)  # it was not told to go
    with lab.app() as app:
        app.rollback(1, Watch())
    assert changes(before, lab.seen()) == []
    assert lab.own_debris() == []


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("hidden", "the hidden source cannot be looked at"),
        ("place", "the hidden source cannot be looked at"),
        ("copy", "the copy cannot be looked at"),
    ],
)
def test_promise_8_an_undo_calls_nothing_gone_or_free_that_it_cannot_look_at(
    lab: SimulatedLab, film: str, where: str, said: str
) -> None:
    plan = lab.plan(film)
    lab.apply(plan, A_DAY)
    before = lab.seen()
    folder = {
        "hidden": Path(plan.retire[0].hidden_root),
        "place": lab.seeding / "Film",
        "copy": lab.pool_seeding / "Film",
    }[where]
    with (
        failing_below(str(folder)),
        lab.app() as app,
        pytest.raises(CannotUndo, match=said) as why,
    ):
        app.undo(1, A_DAY, "a test", Watch())
    assert "Input/output error" in why.value.detail
    assert changes(before, lab.seen()) == []
    assert status(lab) is RunStatus.COMMITTED


@pytest.mark.parametrize("command", ["rollback", "resume"])
def test_promise_8_hidden_files_that_cannot_be_looked_at_are_not_called_gone(
    lab: SimulatedLab, film: str, command: str
) -> None:
    before, plan = lab.seen(), lab.plan(film)
    with killed_in(number_of(plan, Hide), afterwards=True):
        lab.apply(plan, A_DAY)
    with (
        failing_below(plan.retire[0].hidden_root),
        lab.app() as app,
        pytest.raises(RollbackFailed, match="Input/output error"),
    ):
        getattr(app, command)(1, Watch())
    assert status(lab) is RunStatus.OPEN
    with lab.app() as app:
        app.rollback(1, Watch())
    assert status(lab) is RunStatus.ROLLED_BACK
    assert changes(before, lab.seen()) == []


def test_a_disk_that_fails_after_a_commit_does_not_hold_up_the_other_groups(
    lab: SimulatedLab, film: str
) -> None:
    other = another_film(lab)
    lab.look()
    remove = fsops.remove_tree_of_ours
    with lab.app() as app:
        plans = [app.plan(film), app.plan(other)]

        def failing(path: Path) -> None:
            if str(path) == plans[0].staging:
                raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), str(path))
            remove(path)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(fsops, "remove_tree_of_ours", failing)
            first, second = app.apply_all(plans, Wishes(retain=A_DAY, reason=""), Watch()).ended
        assert first.error is not None
        assert "Stale file handle" in first.error.brief
        assert first.error.hint == "run 1 is committed; rehome resume 1 does what is left"
        assert first.applied is not None
        assert first.applied.status is RunStatus.COMMITTED
        assert second.error is None
        app.resume(1, Watch())
    assert {path.name[-7:] for path in lab.own_debris() if path.parent == lab.seeding} == {
        "-hidden"
    }
    assert [path for path in lab.own_debris() if lab.pool in path.parents] == []
