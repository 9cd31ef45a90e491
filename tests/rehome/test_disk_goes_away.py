"""A disk goes away in the middle of a run: what cannot be looked at is not believed gone."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
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
from rehome.executor import RollbackFailed
from rehome.model import Hide, MoveFiles, Plan, Relocate, RemoveStaging, Step
from rehome.outcome import Watch, Wishes
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
