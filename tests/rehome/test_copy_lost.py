"""The disk with the copy dies while the source is kept: the way back, once a person gives it up."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from tests.support.filesystems import run, tmpfs, two_sides, unmount
from tests.support.lab import Lab
from tests.support.qbt import VERSIONS, RealClient, settle
from tests.support.relocating import (
    A_DAY,
    NO_WAIT,
    REFRESH_S,
    Family,
    Seen,
    SimulatedLab,
    another_film,
    changes,
    killed_in,
    seed_family,
)
from tests.support.tree_snapshot import snapshot

from hashall.catalog.runs import RunStatus
from rehome import render_runs
from rehome.executor import NotAsBefore, RollbackFailed
from rehome.model import Adopt, Hide, Place, Plan, Relocate, Step
from rehome.outcome import Applied, Watch
from rehome.switch import Unproved
from rehome.undo_facts import CannotUndo
from seedkeep.errors import Refused
from seedkeep.qbittorrent import QBittorrentClient

pytestmark = pytest.mark.root


def undo(lab: SimulatedLab, run_id: int = 1, *, copy_lost: bool = True) -> Applied:
    with lab.app() as app:
        return app.undo(run_id, NO_WAIT, "a test", Watch(), copy_lost=copy_lost)


def rollback(lab: SimulatedLab, run_id: int = 1, *, copy_lost: bool = True) -> None:
    with lab.app() as app:
        (ended,) = app.rollback_all([run_id], Watch(), copy_lost=copy_lost)
    if ended.error is not None:
        raise ended.error


def statuses(lab: SimulatedLab) -> list[RunStatus]:
    with lab.app() as app:
        return [row.status for row in app.runs()]


@pytest.fixture
def family(lab: SimulatedLab) -> Family:
    return seed_family(lab)


@contextmanager
def pool_dead(lab: SimulatedLab, *, restarted: bool = False) -> Iterator[None]:
    """Only the bare mount point is left; `restarted`: the client has looked for its files."""
    with tmpfs(lab.pool):
        if restarted:
            lab.client.restart()
            settle(lab.client.api, lab.rows(), refresh_s=REFRESH_S)
        yield


def without_pool(seen: Seen) -> Seen:
    return Seen(seen.stash, {}, seen.torrents)


def number_of(plan: Plan, kind: type[Step]) -> int:
    return next(number for number, step in enumerate(plan.steps) if type(step) is kind)


# -- a run that is committed


@pytest.mark.parametrize("restarted", [False, True])
def test_promise_1_a_kept_source_comes_back_when_the_disk_with_its_copy_is_dead(
    lab: SimulatedLab, family: Family, restarted: bool
) -> None:
    before = lab.seen()
    lab.apply(lab.plan(family.plain), A_DAY)
    copies = snapshot(lab.pool)
    lab.client.forget_states()
    with pool_dead(lab, restarted=restarted):
        done = undo(lab)
        assert done.status is RunStatus.RETIRED
        assert changes(without_pool(before), lab.seen()) == []  # nothing is left below it either
        assert lab.own_debris() == []
    assert snapshot(lab.pool) == copies
    assert statuses(lab) == [RunStatus.RETIRED] * 2
    downloads = {s for t in family.all for s in lab.client.states_of(t) if "DL" in s}
    assert downloads <= {"stoppedDL", "pausedDL"}


def test_promise_3_a_torrent_that_was_stopped_since_stays_stopped(
    lab: SimulatedLab, family: Family
) -> None:
    lab.apply(lab.plan(family.plain), A_DAY)
    lab.client.api.torrents_stop(torrent_hashes=[family.plain])
    settle(lab.client.api, family.all, refresh_s=REFRESH_S)
    with pool_dead(lab):
        undo(lab)
        states = {key: row["state"] for key, row in lab.rows().items()}
    assert (states[family.plain], states[family.flat]) == ("stoppedUP", "stalledUP")


def test_torrents_that_were_removed_since_do_not_hinder(lab: SimulatedLab, family: Family) -> None:
    before = lab.seen()
    lab.apply(lab.plan(family.plain), A_DAY)
    lab.client.api.torrents_delete(delete_files=False, torrent_hashes=list(family.all))
    with pool_dead(lab):
        undo(lab)
    assert lab.seen().stash == before.stash
    assert lab.own_debris() == []


def test_it_says_what_stays_behind(lab: SimulatedLab, family: Family) -> None:
    lab.apply(lab.plan(family.plain), A_DAY)
    with pool_dead(lab):
        done = undo(lab)
    given_up, returns = done.warnings
    assert str(lab.pool_seeding) in given_up
    assert "nothing of them was looked at or changed" in given_up
    assert "if that disk comes back" in returns
    with lab.app() as app:
        assert app.run(2).plan.warnings == done.warnings
        assert f"warning  {given_up}" in render_runs.run(app.run(2)).splitlines()
        assert app.run(2).row.checks["copy_lost"] is True


def test_promise_6_a_pool_that_is_merely_not_mounted_is_not_given_up_by_itself(
    lab: SimulatedLab, family: Family
) -> None:
    lab.apply(lab.plan(family.plain), A_DAY)
    before = lab.seen()
    with pool_dead(lab):
        with pytest.raises(Refused, match="is not on the filesystem") as why:
            undo(lab, copy_lost=False)
        assert why.value.hint.endswith("rehome undo 1 --copy-lost")
    assert changes(before, lab.seen()) == []
    assert statuses(lab) == [RunStatus.COMMITTED]


def test_promise_6_a_pool_that_is_there_cannot_be_given_up(
    lab: SimulatedLab, family: Family
) -> None:
    lab.apply(lab.plan(family.plain), A_DAY)
    before = lab.seen()
    with pytest.raises(Refused, match="is not lost"):
        undo(lab)
    assert changes(before, lab.seen()) == []


def test_the_stash_has_to_be_there(lab: SimulatedLab, family: Family) -> None:
    lab.apply(lab.plan(family.plain), A_DAY)
    with pool_dead(lab), tmpfs(lab.stash), pytest.raises(Refused, match="is not on the filesystem"):
        undo(lab)
    assert statuses(lab) == [RunStatus.COMMITTED]


def test_promise_5_files_that_lie_there_on_another_disk_are_let_be(
    lab: SimulatedLab, family: Family
) -> None:
    lab.apply(lab.plan(family.plain), A_DAY)
    with pool_dead(lab):
        downloaded = lab.pool_seeding / "Film/film.mkv"
        downloaded.parent.mkdir(parents=True)
        downloaded.write_bytes(b"begun anew")
        with pytest.raises(CannotUndo, match="on another disk") as why:
            undo(lab)
        assert why.value.detail == str(downloaded)
        assert downloaded.read_bytes() == b"begun anew"
    assert statuses(lab) == [RunStatus.COMMITTED]


def test_promise_8_a_client_that_sees_another_folder_there_than_we_do_forbids_it(
    lab: SimulatedLab, family: Family, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as a container that still has the disk: it would carry the files across by itself."""
    lab.apply(lab.plan(family.plain), A_DAY)
    monkeypatch.setattr("rehome.switch.PROOF_S", 0.1)
    make_folder = QBittorrentClient.make_folder

    def made_elsewhere(client: QBittorrentClient, path: str) -> None:
        if not path.startswith(str(lab.pool)):
            make_folder(client, path)

    monkeypatch.setattr(QBittorrentClient, "make_folder", made_elsewhere)
    with pool_dead(lab):
        before = lab.seen()
        with pytest.raises(Unproved, match="is not our") as why:
            undo(lab)
        assert "restart its container" in why.value.hint
        assert changes(before, lab.seen()) == []
    assert statuses(lab) == [RunStatus.COMMITTED, RunStatus.ROLLED_BACK]


def test_promise_7_a_client_that_could_not_be_brought_back_there_forbids_it(
    lab: SimulatedLab, family: Family
) -> None:
    lab.apply(lab.plan(family.plain), A_DAY)
    with pool_dead(lab):
        run("mount", "-o", "remount,ro", lab.pool)
        before = lab.seen()
        with pytest.raises(Unproved, match="cannot make a folder") as why:
            undo(lab)
        assert f"make an empty folder {lab.pool_seeding}" in why.value.hint
        assert changes(before, lab.seen()) == []
    assert lab.own_debris() != []  # the source is still kept
    assert statuses(lab) == [RunStatus.COMMITTED, RunStatus.ROLLED_BACK]


STEPS = range(25)


@pytest.mark.repeated
@pytest.mark.parametrize("number", STEPS[1::4])
@pytest.mark.parametrize("how", ["resume", "rollback"])
def test_promise_7_one_that_was_killed_is_ended_by_one_command(
    lab: SimulatedLab, family: Family, number: int, how: str
) -> None:
    first = lab.seen()
    lab.apply(lab.plan(family.plain), A_DAY)
    with pool_dead(lab):
        moved = lab.seen()
        with killed_in(number, afterwards=True):
            undo(lab)
        with lab.app() as app:
            if how == "resume":
                app.resume(2, Watch())
            else:
                with suppress(NotAsBefore):  # they have no files there: they are not started
                    app.rollback(2, Watch())
        if how == "rollback":
            back = lab.seen()
            assert (moved.stash, moved.pool) == (back.stash, back.pool)
            undo(lab)
        assert changes(without_pool(first), lab.seen()) == []
        assert lab.own_debris() == []
    assert {s for s in lab.bad_states() if "ownloading" in s or s == "stalledDL"} == set()


def test_a_disk_that_comes_back_in_the_middle_has_to_wait_until_the_run_has_ended(
    lab: SimulatedLab, family: Family
) -> None:
    before = lab.seen()
    lab.apply(lab.plan(family.plain), A_DAY)
    with pool_dead(lab), killed_in(number_of_relocate(lab), afterwards=True):
        undo(lab)
    for command in ("resume", "rollback"):
        with lab.app() as app, pytest.raises(Refused, match="is not lost"):
            getattr(app, command)(2, Watch())
    with pool_dead(lab):
        with lab.app() as app:
            app.resume(2, Watch())
        assert changes(without_pool(before), lab.seen()) == []


def number_of_relocate(lab: SimulatedLab) -> int:
    """Of the undo of run 1, without its copy."""
    return 9


def test_a_pool_that_comes_back_is_used_again_by_the_next_demotion(
    lab: SimulatedLab, family: Family
) -> None:
    lab.apply(lab.plan(family.plain), A_DAY)
    with pool_dead(lab):
        undo(lab)
    lab.look()
    again = lab.plan(family.plain)
    assert (again.blockers, again.bytes_to_copy) == ((), 0)
    lab.apply(again)
    assert lab.own_debris() == []


@pytest.mark.real
@pytest.mark.parametrize("version", VERSIONS)
def test_the_real_client_seeds_from_stash_again_after_the_pool_died(
    tmp_path: Path, version: str
) -> None:
    with two_sides("ext4") as (stash, pool), RealClient(version) as client:
        lab = Lab(tmp_path / "home", stash, pool, client)
        one = lab.seed("Film", {"film.mkv": 700_000, "film.nfo": b"words"}, below="films")
        two = lab.cross_seed(one, "B", "cross", stopped=True)
        lab.look()
        before = lab.rows()
        files = snapshot(lab.seeding)
        plan = lab.home / "plan.json"
        lab.run("rehome", "plan", "--demote", "--torrent-hash", one, "-o", plan)
        lab.run("rehome", "apply", plan, "--force", "--retain", "1d")
        unmount(pool.parent)
        client.restart()  # notices that its files are gone
        refused = lab.run("rehome", "undo", "1", expect=3)
        assert "rehome undo 1 --copy-lost" in refused.stderr
        said = lab.run("rehome", "undo", "1", "--copy-lost").stdout
        assert "warning: given up: 4 files" in said
        settle(client.api, [one, two], progress=1.0)
        after = lab.rows()
        for torrent in (one, two):
            for key in ("save_path", "category", "auto_tmm", "progress", "amount_left"):
                assert after[torrent][key] == before[torrent][key]
        assert after[one]["state"] in ("stalledUP", "uploading")
        assert before[two]["state"] == after[two]["state"]
        assert snapshot(lab.seeding) == files
        assert [*stash.rglob(".seedkeep-*")] == []
        assert [*pool.parent.rglob("*")] == []  # nothing was left on the bare mount point


# -- a run that is open


@pytest.mark.parametrize("kind", [None, Hide, Adopt, Relocate, Place])
def test_promise_7_a_run_whose_pool_died_in_the_middle_is_taken_back_without_it(
    lab: SimulatedLab, family: Family, kind: type[Step] | None
) -> None:
    before, plan = lab.seen(), lab.plan(family.plain)
    number = number_of(plan, kind) if kind else 3
    with killed_in(number, afterwards=True):
        lab.apply(plan, A_DAY)
    left = snapshot(lab.pool)
    with pool_dead(lab, restarted=kind is Place):
        with pytest.raises(Refused, match="is not on the filesystem") as why:
            rollback(lab, copy_lost=False)
        assert why.value.hint.endswith("rehome rollback 1 --copy-lost")
        rollback(lab)
        assert changes(without_pool(before), lab.seen()) == []
        assert lab.own_debris() == []
        assert os.listdir(lab.pool) == []
    assert snapshot(lab.pool) == left
    assert statuses(lab) == [RunStatus.ROLLED_BACK]
    with lab.app() as app:
        assert "without its copy: that disk is lost" in app.run(1).row.note


@pytest.mark.parametrize("kind", [Relocate, Place])
def test_promise_8_going_back_waits_for_a_client_that_sees_another_folder_there(
    lab: SimulatedLab, family: Family, monkeypatch: pytest.MonkeyPatch, kind: type[Step]
) -> None:
    before, plan = lab.seen(), lab.plan(family.plain)
    with killed_in(number_of(plan, kind), afterwards=True):
        lab.apply(plan, A_DAY)
    monkeypatch.setattr("rehome.switch.PROOF_S", 0.1)
    with pool_dead(lab):
        middle = lab.seen()
        with monkeypatch.context() as patch:
            patch.setattr(QBittorrentClient, "make_folder", lambda *_: None)
            with pytest.raises(RollbackFailed, match="restart its container"):
                rollback(lab)
        assert changes(middle, lab.seen()) == []
        rollback(lab)
        assert changes(without_pool(before), lab.seen()) == []


def test_an_undo_whose_pool_died_in_the_middle_is_taken_back_and_begun_without_it(
    lab: SimulatedLab, family: Family
) -> None:
    before = lab.seen()
    lab.apply(lab.plan(family.plain), A_DAY)
    with killed_in(20, afterwards=True):
        undo(lab, copy_lost=False)
    with pool_dead(lab):
        with pytest.raises(NotAsBefore):  # they have no files there: they are not started
            rollback(lab, 2)
        undo(lab)
        assert changes(without_pool(before), without_pool(lab.seen())) == []
        assert lab.own_debris() == []
        # Going back, the client made the folders of the torrents; that is all.
        assert [path for path in lab.pool.rglob("*") if not path.is_dir()] == []
    assert statuses(lab) == [RunStatus.RETIRED, RunStatus.ROLLED_BACK, RunStatus.RETIRED]


def test_what_may_be_left_on_the_dead_disk_is_told(lab: SimulatedLab, family: Family) -> None:
    plan = lab.plan(family.plain)
    with killed_in(number_of(plan, Adopt), afterwards=True):
        lab.apply(plan, A_DAY)
    with pool_dead(lab):
        said = lab.run("rehome", "rollback", "1", "--copy-lost").stdout
        assert "run 1 is rolled back: everything is as it was before it\n" in said
        assert f"copies may be in {plan.staging}" in said
        assert (
            f"1 file that lay in {lab.pool_seeding} before may be in {plan.staging}/view-" in said
        )
        again = lab.run("rehome", "rollback", "--all", "--copy-lost").stdout
        assert again == "no run was interrupted\n"


def test_of_many_runs_it_names_the_one_whose_copy_is_there(
    lab: SimulatedLab, family: Family
) -> None:
    other = another_film(lab)
    lab.look()
    for torrent in (family.plain, other):
        with killed_in(3, afterwards=True):
            lab.apply(lab.plan(torrent), A_DAY)
    said = lab.run("rehome", "rollback", "--all", "--copy-lost", expect=3).stderr
    assert "is not lost" in said
    assert "the copy of run 1 is there" in said
    assert "rehome rollback RUN --copy-lost" in said
    assert "unmount" not in said
    assert statuses(lab) == [RunStatus.OPEN] * 2


# -- a run that waits for its retirement


def test_a_run_whose_hidden_source_is_on_a_dead_disk_can_be_closed(
    lab: SimulatedLab, family: Family
) -> None:
    """As after an undo that keeps what it took away for a while."""
    lab.apply(lab.plan(family.plain), A_DAY)
    with lab.app() as app:
        app.undo(1, A_DAY, "a test", Watch())
    before = lab.seen()
    kept = lab.run("rehome", "retire", "2", "--source-lost", expect=3)
    assert "is not lost" in kept.stderr
    assert "leave out --source-lost" in kept.stderr
    with pool_dead(lab):
        kept = lab.run("rehome", "retire", "2", expect=3)
        assert "if that disk is lost for good: rehome retire 2 --source-lost" in kept.stderr
        done = lab.run("rehome", "retire", "2", "--source-lost")
        assert done.stdout == (
            "run 2 is closed; its source was on a disk that is lost, and nothing was removed\n"
        )
    assert changes(before, lab.seen()) == []
    assert statuses(lab) == [RunStatus.RETIRED] * 2


def test_a_stash_that_died_with_kept_sources_does_not_hold_up_the_group(
    lab: SimulatedLab, family: Family
) -> None:
    lab.apply(lab.plan(family.plain), A_DAY)
    with tmpfs(lab.stash):
        kept = lab.run("rehome", "retire", "1", expect=3)
        assert "if that disk is lost for good: rehome retire 1 --source-lost" in kept.stderr
        lab.run("rehome", "retire", "1", "--source-lost")
    assert statuses(lab) == [RunStatus.RETIRED]
    with pytest.raises(CannotUndo, match="cannot be taken back"):
        undo(lab, copy_lost=False)


def test_a_source_that_is_about_to_come_back_is_not_closed(
    lab: SimulatedLab, family: Family
) -> None:
    lab.apply(lab.plan(family.plain), A_DAY)
    with killed_in(20, afterwards=True):
        undo(lab, copy_lost=False)
    with tmpfs(lab.stash):
        kept = lab.run("rehome", "retire", "1", "--source-lost", expect=3)
        assert "about to bring run 1 back" in kept.stderr


def test_a_run_has_to_be_named_for_that(lab: SimulatedLab, family: Family) -> None:
    lab.run("rehome", "retire", "--due", "--source-lost", expect=2)
