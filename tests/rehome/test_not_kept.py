"""What the pool cannot keep of owner, mode and attributes is told, and the move is made."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from tests.support.relocating import A_DAY, FILM, Failed, SimulatedLab, another_film, killed_in

from hashall import fsops
from rehome import render_runs
from rehome.executor import RollbackFailed
from rehome.model import FillPayload, Hide
from rehome.outcome import Applied, Watch, Wishes

SAID = "the copy could not keep: user.origin of 2 files (first: {})"


@pytest.fixture
def film(lab: SimulatedLab) -> str:
    torrent = lab.seed("Film", FILM)
    for name in ("film.mkv", "extras/cut.mkv"):
        os.setxattr(lab.seeding / "Film" / name, "user.origin", b"a tracker")
    lab.look()
    return torrent


@contextmanager
def without_attributes() -> Iterator[None]:
    def refused(*_: object) -> None:
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "setxattr", refused)
        yield


def demoted(lab: SimulatedLab, torrent: str) -> Applied:
    done = lab.apply(lab.plan(torrent), A_DAY)
    assert done is not None
    return done


def said(lab: SimulatedLab) -> str:
    return SAID.format(lab.seeding / "Film/extras/cut.mkv")


def test_a_copy_that_lost_attributes_is_told_in_text_json_and_journal(
    lab: SimulatedLab, film: str
) -> None:
    with without_attributes():
        done = demoted(lab, film)
    assert done.warnings == (said(lab),)
    assert f"warning: {said(lab)}" in render_runs.applied(done).splitlines()
    assert render_runs.applied_json(done)["warnings"] == [said(lab)]
    with lab.app() as app:
        view = app.run(1)
    (filled,) = [row for row, step in view.steps if isinstance(step, FillPayload)]
    assert filled.error == said(lab)
    assert said(lab) in render_runs.run(view)


def test_a_copy_that_kept_all_has_no_warning(lab: SimulatedLab, film: str) -> None:
    assert demoted(lab, film).warnings == ()


@pytest.mark.parametrize("afterwards", [False, True])
def test_it_is_told_also_by_whoever_resumes_the_run(
    lab: SimulatedLab, film: str, afterwards: bool
) -> None:
    plan = lab.plan(film)
    number = next(n for n, step in enumerate(plan.steps) if isinstance(step, FillPayload))
    with without_attributes(), killed_in(number, afterwards=afterwards):
        lab.apply(plan, A_DAY)
    with without_attributes(), lab.app() as app:
        assert app.resume(1, Watch()).warnings == (said(lab),)


def test_why_it_could_not_be_taken_back_at_first_is_no_warning_once_it_is_there(
    lab: SimulatedLab, film: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise Failed("not now")

    plan = lab.plan(film)
    number = next(n for n, step in enumerate(plan.steps) if isinstance(step, Hide))
    with killed_in(number, afterwards=True):
        lab.apply(plan, A_DAY)
    with monkeypatch.context() as patched, lab.app() as app:
        patched.setattr(fsops, "remove_tree_of_ours", refused)
        with pytest.raises(RollbackFailed):
            app.rollback(1, Watch())
    with lab.app() as app:
        assert app.resume(1, Watch()).warnings == ()


def test_of_many_groups_each_is_told(lab: SimulatedLab, film: str) -> None:
    other = another_film(lab)
    lab.look()
    with lab.app() as app, without_attributes():
        plans = [app.plan(film), app.plan(other)]
        outcome = app.apply_all(plans, Wishes(retain=A_DAY, reason=""), Watch())
    text = render_runs.outcome(outcome)
    assert text.count("warning: ") == 1
    assert f"  warning: {said(lab)}" in text.splitlines()
