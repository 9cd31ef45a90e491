"""A client that was killed has forgotten what it was told last: it shows the place of before."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import cast

import pytest
from tests.rehome.test_copy_lost import pool_dead, undo
from tests.rehome.test_left_alone import left_alone, never_closed
from tests.support.filesystems import two_sides
from tests.support.qbt import VERSIONS, LabClient, RealClient, settle, wait_for
from tests.support.relocating import (
    A_DAY,
    FILM,
    REFRESH_S,
    Killed,
    SimulatedLab,
    changes,
    killed_in,
    seed_family,
    simulated_lab,
)
from tests.support.simulated import SimulatedClient
from tests.support.torrents import sibling

from hashall import fsops
from hashall.catalog.runs import RunStatus
from rehome.executor import NotAsBefore, RollbackFailed
from rehome.model import Adopt, CheckFiles, Hide, Plan, Relocate, SetManagement, Step
from rehome.outcome import Watch


class Memory:
    """What a client has saved at one moment: all that it knows when it is killed after that."""

    def __init__(self, client: LabClient, folder: Path) -> None:
        self.client, self.folder = client, folder

    def keep(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(
            self.client.profile,
            self.folder,
            ignore=shutil.ignore_patterns("ipc-socket", "lockfile", "*.new"),
        )

    def is_all(self) -> None:
        """The client that was killed starts again."""
        shutil.rmtree(self.client.profile)
        shutil.copytree(self.folder, self.client.profile)
        self.client.start()
        api = self.client.api
        rows = api.torrents_info()
        settle(api, [str(row["hash"]) for row in rows], refresh_s=self.client.refresh_s)


def interrupted(lab: SimulatedLab, plan: Plan) -> None:
    """A run that ended when all files were placed, and nothing was started yet."""
    with killed_in([type(step) for step in plan.steps].index(CheckFiles), afterwards=True):
        lab.apply(plan, A_DAY)


def killed_on_the_way_back(
    lab: SimulatedLab, kind: type[Step], *, we_too: bool = False, run_id: int = 1, **how: bool
) -> None:
    """A way back that ends with the client, as soon as a step of `kind` is written down.

    All that the client has saved is as old as the beginning of that way.
    """
    memory = Memory(lab.client, lab.home / "memory")
    memory.keep()
    killed: list[Step] = []

    def told(step: Step, what: str) -> None:
        if type(step) is kind and what == "undone" and not killed:
            killed.append(step)
            lab.client.kill()
            if we_too:
                raise Killed

    with lab.app() as app:
        if we_too:
            with pytest.raises(Killed):
                app.rollback_all([run_id], Watch(told), **how)
        else:
            (ended,) = app.rollback_all([run_id], Watch(told), **how)
            assert isinstance(ended.error, RollbackFailed)
    assert killed
    memory.is_all()


def taken_back(lab: SimulatedLab, run_id: int = 1, **how: bool) -> None:
    with lab.app() as app:
        (ended,) = app.rollback_all([run_id], Watch(), **how)
        if ended.error is not None:
            raise ended.error
        assert app.run(run_id).row.status is RunStatus.ROLLED_BACK


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("we_too", [False, True])
@pytest.mark.parametrize("kind", [Relocate, Hide, Adopt, SetManagement])
def test_promise_7_a_rollback_brings_back_what_the_client_forgot_of_the_one_before(
    version: str, we_too: bool, kind: type[Step]
) -> None:
    with simulated_lab(version) as lab:
        family = seed_family(lab)
        before = lab.seen()
        interrupted(lab, lab.plan(family.plain))
        killed_on_the_way_back(lab, kind, we_too=we_too)
        lab.client.forget_states()
        taken_back(lab)
        assert changes(before, lab.seen()) == []
        assert lab.own_debris() == []
        shown = {state for torrent in family.all for state in lab.client.states_of(torrent)}
        assert not {state for state in shown if "downloading" in state or "stalledDL" in state}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", [Relocate, SetManagement])
def test_promise_7_so_does_a_resume_and_then_it_goes_forward(
    version: str, kind: type[Step]
) -> None:
    with simulated_lab(version) as lab:
        family = seed_family(lab)
        plan = lab.plan(family.plain)
        interrupted(lab, plan)
        killed_on_the_way_back(lab, kind)
        with lab.app() as app:
            assert app.resume(1, Watch()).status is RunStatus.COMMITTED
        rows = lab.rows()
        assert {rows[move.torrent_id]["save_path"] for move in plan.torrents} == {
            move.target_path for move in plan.torrents
        }
        assert {row["progress"] for row in rows.values()} == {1}


@pytest.mark.parametrize("kind", [Relocate, Hide])
def test_promise_7_so_does_the_way_back_of_an_undo(lab: SimulatedLab, kind: type[Step]) -> None:
    family = seed_family(lab)
    lab.apply(lab.plan(family.plain), A_DAY)
    moved = lab.seen()
    with killed_in(20, afterwards=True):
        undo(lab, copy_lost=False)
    killed_on_the_way_back(lab, kind, run_id=2)
    taken_back(lab, 2)
    assert changes(moved, lab.seen()) == []


@pytest.mark.root
@pytest.mark.parametrize("kind", [Relocate, Hide])
def test_promise_7_so_does_one_that_does_without_the_copy(
    lab: SimulatedLab, kind: type[Step]
) -> None:
    family = seed_family(lab)
    before = lab.seen()
    interrupted(lab, lab.plan(family.plain))
    with pool_dead(lab):
        killed_on_the_way_back(lab, kind, copy_lost=True)
        taken_back(lab, copy_lost=True)
        now = lab.seen()
    assert (now.stash, now.torrents) == (before.stash, before.torrents)


@pytest.mark.root
def test_an_undo_without_the_copy_can_be_begun_anew_after_the_client_forgot_the_way_back(
    lab: SimulatedLab,
) -> None:
    family = seed_family(lab)
    before = lab.seen()
    lab.apply(lab.plan(family.plain), A_DAY)
    with pool_dead(lab):
        with killed_in(20, afterwards=True):
            undo(lab)
        killed_on_the_way_back(lab, Relocate, we_too=True, run_id=2, copy_lost=True)
        with pytest.raises(NotAsBefore):  # at the lost disk no file is found
            taken_back(lab, 2, copy_lost=True)
        undo(lab)
        now = lab.seen()
    assert (now.stash, now.torrents) == (before.stash, before.torrents)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_torrent_that_was_not_shown_when_all_else_went_back_is_brought_back_when_it_is(
    version: str,
) -> None:
    """Staging is gone by then, so what the older client forgets it has to check once more."""
    with simulated_lab(version) as lab:
        family = seed_family(lab)
        before = lab.seen()
        interrupted(lab, lab.plan(family.plain))
        session = lab.client.session
        unseen = session.torrents.pop(family.flat)
        with never_closed(), pytest.raises(RollbackFailed):
            taken_back(lab)
        session.torrents[family.flat] = unseen
        lab.client.restart()
        settle(lab.client.api, lab.rows(), refresh_s=REFRESH_S)
        taken_back(lab)
        assert changes(before, lab.seen()) == []
        assert lab.own_debris() == []


def test_promise_3_a_sibling_that_runs_again_is_stopped_before_its_files_are_hidden_once_more(
    lab: SimulatedLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = lab.seed("Film", FILM)
    runs = lab.add(sibling(lab.made[film], "SAME"), lab.seeding)
    lab.look()
    before = lab.seen()
    interrupted(lab, lab.plan(film))
    session = lab.client.session
    unseen = session.torrents.pop(film)
    with never_closed(), pytest.raises(RollbackFailed):
        taken_back(lab)
    session.torrents[film] = unseen
    lab.client.restart()
    settle(lab.client.api, lab.rows(), refresh_s=REFRESH_S)
    states = [lab.rows()[runs]["state"]]
    move_files = fsops.move_files

    def moving(src: Path, dst: Path, names: Sequence[str]) -> None:
        if dst.name.endswith("-hidden"):
            states.append(lab.rows()[runs]["state"])
        move_files(src, dst, names)

    monkeypatch.setattr(fsops, "move_files", moving)
    taken_back(lab)
    assert states[0] == "stalledUP"
    assert set(states[1:]) == {"stoppedUP"}
    assert changes(before, lab.seen()) == []


def test_promise_3_one_whose_files_are_nowhere_is_left_alone_and_named(lab: SimulatedLab) -> None:
    """Who took them away knows what is to become of the torrent; we do not."""
    family = seed_family(lab)
    interrupted(lab, lab.plan(family.plain))
    killed_on_the_way_back(lab, Hide)
    (lab.seeding / "flat/film.nfo").unlink()
    with pytest.raises(NotAsBefore) as why:
        taken_back(lab)
    assert set(left_alone([family.flat])) <= set(why.value.detail.splitlines())
    rows = lab.rows()
    assert Path(rows[family.flat]["save_path"]).is_relative_to(lab.pool_seeding)
    assert {rows[key]["state"] for key in family.all if key != family.flat} == {
        "stalledUP",
        "forcedUP",
        "stoppedUP",
    }


def is_in(file: Path, text: bytes) -> bool:
    return text in file.read_bytes()


@pytest.mark.real
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("how", ["resume", "rollback"])
def test_promise_7_on_the_real_client(tmp_path: Path, version: str, how: str) -> None:
    with RealClient(version) as client, two_sides("shm") as sides:
        # What only a simulation can do is not asked for here.
        lab = SimulatedLab(
            tmp_path / "home", sides.stash, sides.pool, cast("SimulatedClient", client)
        )
        film = lab.seed("Film", FILM)
        cross = lab.cross_seed(film, "B", "cross", stopped=True)
        lab.look()
        before = lab.rows()
        plan = lab.plan(film)
        number = [type(step) for step in plan.steps].index(CheckFiles)
        with killed_in(number, afterwards=True):
            lab.apply(plan, A_DAY, REHOME_SWITCH_TIMEOUT="30s")
        for torrent in (film, cross):
            saved = client.profile / f"qBittorrent/data/BT_backup/{torrent}.fastresume"
            place = os.fsencode(lab.pool_seeding)
            wait_for(partial(is_in, saved, place), "the new place to be saved")
        killed_on_the_way_back(lab, Hide)
        with lab.app(REHOME_SWITCH_TIMEOUT="30s") as app:
            getattr(app, how)(1, Watch())
        rows = lab.rows()
        side = lab.seeding if how == "rollback" else lab.pool_seeding
        assert {Path(row["save_path"]).is_relative_to(side) for row in rows.values()} == {True}
        assert {row["progress"] for row in rows.values()} == {1}
        assert [rows[key]["state"] for key in (film, cross)] == [
            before[key]["state"] for key in (film, cross)
        ]
