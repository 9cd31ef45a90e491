"""A committed run is taken back while its source is kept; also when its copy was removed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.support.filesystems import two_sides
from tests.support.lab import Lab
from tests.support.qbt import VERSIONS, RealClient, settle
from tests.support.relocating import (
    A_DAY,
    FILM,
    NO_WAIT,
    REFRESH_S,
    Family,
    SimulatedLab,
    breaking,
    changes,
    killed_in,
    seed_family,
)
from tests.support.torrents import sibling

from hashall.catalog.runs import RunStatus
from rehome.executor import RolledBack
from rehome.model import Plan
from rehome.outcome import Applied, Watch
from rehome.undo_facts import CannotUndo
from seedkeep.errors import Refused, SeedError

STEPS = range(26)


def undo(lab: SimulatedLab, run_id: int = 1) -> Applied:
    with lab.app() as app:
        return app.undo(run_id, NO_WAIT, "a test", Watch())


def statuses(lab: SimulatedLab) -> list[RunStatus]:
    with lab.app() as app:
        return [row.status for row in app.runs()]


@pytest.fixture
def family(lab: SimulatedLab) -> Family:
    return seed_family(lab)


def test_everything_is_as_it_was_before_the_run(lab: SimulatedLab, family: Family) -> None:
    before = lab.seen()
    lab.apply(lab.plan(family.plain), A_DAY)
    assert changes(before, lab.seen()) != []
    done = undo(lab)
    assert done.status is RunStatus.RETIRED
    assert changes(before, lab.seen()) == []
    assert lab.own_debris() == []
    assert lab.bad_states() == set()
    assert statuses(lab) == [RunStatus.RETIRED] * 2


def test_a_torrent_whose_save_path_is_a_symlink_comes_back_to_it(lab: SimulatedLab) -> None:
    (lab.seeding / "films").mkdir()
    (lab.seeding / "by another name").symlink_to("films")
    film = lab.seed("Film", FILM, below="by another name")
    lab.look()
    before = lab.seen()
    lab.apply(lab.plan(film), A_DAY)
    undo(lab)
    assert changes(before, lab.seen()) == []
    assert lab.own_debris() == []


def test_the_catalog_knows_that_it_is_back(lab: SimulatedLab, family: Family) -> None:
    plan = lab.plan(family.plain)
    lab.apply(plan, A_DAY)
    undo(lab)
    again = lab.plan(family.plain)
    assert (again.verdict, again.torrents) == (plan.verdict, plan.torrents)
    with lab.app() as app:
        assert app.run(1).undone_by == 2
        assert app.run(1).row.note == "taken back by run 2"
        assert app.run(2).row.undoes == 1


def test_a_state_that_was_changed_since_stays_changed(lab: SimulatedLab, family: Family) -> None:
    lab.apply(lab.plan(family.plain), A_DAY)
    lab.client.api.torrents_stop(torrent_hashes=[family.plain])
    lab.client.api.torrents_start(torrent_hashes=[family.stopped])
    lab.client.api.torrents_set_category(category="", torrent_hashes=[family.plain])
    settle(lab.client.api, family.all, refresh_s=REFRESH_S)
    undo(lab)
    rows = lab.rows()
    assert "UP" in rows[family.plain]["state"]
    assert rows[family.plain]["state"].startswith(("stopped", "paused"))
    assert rows[family.stopped]["state"] == "stalledUP"
    assert rows[family.plain]["category"] == ""


@pytest.mark.parametrize("what", ["all", "one file"])
def test_the_way_out_when_the_copy_was_removed(
    lab: SimulatedLab, family: Family, what: str
) -> None:
    before = lab.seen()
    lab.apply(lab.plan(family.plain), A_DAY)
    if what == "all":
        for folder in ("Film", "cross", "managed", "flat"):
            shutil.rmtree(lab.pool_seeding / folder)
    else:
        (lab.pool_seeding / "Film/film.mkv").unlink()
    undo(lab)
    after = lab.seen()
    assert after.torrents == before.torrents
    assert changes(before, after) == [] or what == "all"  # its own file on the pool went too
    assert after.stash == before.stash
    assert lab.own_debris() == []


def test_torrents_that_were_removed_from_the_client_do_not_hinder(
    lab: SimulatedLab, family: Family
) -> None:
    before = lab.seen()
    lab.apply(lab.plan(family.plain), A_DAY)
    lab.client.api.torrents_delete(delete_files=True, torrent_hashes=list(family.all))
    undo(lab)
    assert lab.seen().stash == before.stash
    assert lab.own_debris() == []


@pytest.mark.parametrize("how", ["resume", "rollback"])
@pytest.mark.parametrize("number", [1, 4, 5, 7, 9])
def test_promise_7_an_undo_without_torrents_that_was_killed_is_ended_by_one_command(
    lab: SimulatedLab, family: Family, number: int, how: str
) -> None:
    first = lab.seen()
    lab.apply(lab.plan(family.plain), A_DAY)
    lab.client.api.torrents_delete(delete_files=False, torrent_hashes=list(family.all))
    moved = lab.seen()
    with killed_in(number, afterwards=True):
        undo(lab)
    with lab.app() as app:
        if how == "resume":
            app.resume(2, Watch())
        else:
            app.rollback(2, Watch())
    if how == "rollback":
        assert lab.seen().stash == moved.stash  # no empty folders either
        undo(lab)
    assert lab.seen().stash == first.stash
    assert lab.own_debris() == []


@pytest.mark.repeated
@pytest.mark.parametrize("part", range(4))  # so that several processes share the work
def test_an_undo_that_fails_leaves_the_run_committed(
    lab: SimulatedLab, family: Family, part: int
) -> None:
    lab.apply(lab.plan(family.plain), A_DAY)
    before = lab.seen()
    for number in STEPS[part::4]:
        with pytest.raises(RolledBack), breaking(number, afterwards=number % 8 < 4):
            undo(lab)
        assert changes(before, lab.seen()) == [], number
    assert set(statuses(lab)) == {RunStatus.COMMITTED, RunStatus.ROLLED_BACK}
    assert lab.bad_states() == set()
    undo(lab)
    assert lab.own_debris() == []


@pytest.mark.repeated
@pytest.mark.parametrize("how", ["resume", "rollback"])
@pytest.mark.parametrize("number", STEPS[5::4])
def test_promise_7_an_undo_that_was_killed_is_ended_by_one_command(
    lab: SimulatedLab, family: Family, number: int, how: str
) -> None:
    first = lab.seen()
    lab.apply(lab.plan(family.plain), A_DAY)
    moved = lab.seen()
    with killed_in(number, afterwards=True):
        undo(lab)
    with lab.app() as app:
        with pytest.raises(Refused, match="bring run 1 back"):
            app.retire(1, due_only=False)
        if how == "resume":
            app.resume(2, Watch())
        else:
            app.rollback(2, Watch())
    assert changes(first if how == "resume" else moved, lab.seen()) == []
    assert lab.bad_states() == set()


def test_the_steps_of_an_undo_are_as_many_as_are_broken(lab: SimulatedLab, family: Family) -> None:
    lab.apply(lab.plan(family.plain), A_DAY)
    undo(lab)
    with lab.app() as app:
        assert len(app.run(2).steps) == len(STEPS)


def test_what_a_disk_that_failed_after_the_commit_left_behind_goes_too(
    lab: SimulatedLab, family: Family
) -> None:
    def fail(_plan: Plan) -> None:
        raise SeedError("the filesystem is read-only")

    before, plan = lab.seen(), lab.plan(family.plain)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rehome.runner.clean_up", fail)
        with pytest.raises(SeedError, match="read-only"):
            lab.apply(plan, A_DAY)
    assert Path(plan.staging).exists()
    undo(lab)
    assert changes(before, lab.seen()) == []
    assert lab.own_debris() == []


# -- what cannot be taken back


def refused(lab: SimulatedLab, match: str) -> CannotUndo:
    before = lab.seen()
    with pytest.raises(CannotUndo, match=match) as why:
        undo(lab)
    assert changes(before, lab.seen()) == []
    assert why.value.exit_code == 3
    return why.value


def hidden(plan: Plan) -> Path:
    return Path(plan.retire[0].hidden_root, plan.retire[0].name)


def test_a_run_whose_source_is_retired(lab: SimulatedLab, family: Family) -> None:
    lab.apply(lab.plan(family.plain))
    assert "no longer kept" in refused(lab, "cannot be taken back").detail


def test_a_run_that_was_rolled_back(lab: SimulatedLab, family: Family) -> None:
    with pytest.raises(RolledBack), breaking(3, afterwards=False):
        lab.apply(lab.plan(family.plain))
    refused(lab, "cannot be taken back")


def test_a_run_that_was_interrupted(lab: SimulatedLab, family: Family) -> None:
    with killed_in(3, afterwards=False):
        lab.apply(lab.plan(family.plain))
    assert "rehome rollback 1" in refused(lab, "was interrupted").hint


def test_a_run_whose_torrents_are_elsewhere_by_now(lab: SimulatedLab, family: Family) -> None:
    lab.apply(lab.plan(family.plain), A_DAY)
    (lab.pool / "mine").mkdir()
    lab.client.api.torrents_set_location(
        location=str(lab.pool / "mine"), torrent_hashes=[family.plain]
    )
    settle(lab.client.api, family.all, refresh_s=REFRESH_S)
    assert family.plain in refused(lab, "no longer where it brought them").detail


def test_promise_5_a_place_that_somebody_took_since(lab: SimulatedLab, family: Family) -> None:
    lab.apply(lab.plan(family.plain), A_DAY)
    (lab.seeding / "Film").mkdir()
    (lab.seeding / "Film/film.nfo").write_text("mine")
    assert "taken by something else" in refused(lab, "not as it was left").detail


def test_a_hidden_source_that_changed(lab: SimulatedLab, family: Family) -> None:
    plan = lab.plan(family.plain)
    lab.apply(plan, A_DAY)
    hidden(plan).write_bytes(b"other bytes")
    assert "has changed" in refused(lab, "not as it was left").detail


def test_a_hidden_source_that_is_gone(lab: SimulatedLab, family: Family) -> None:
    plan = lab.plan(family.plain)
    lab.apply(plan, A_DAY)
    hidden(plan).unlink()
    assert "is gone" in refused(lab, "not as it was left").detail


def test_an_undo_is_not_undone(lab: SimulatedLab, family: Family) -> None:
    lab.apply(lab.plan(family.plain), A_DAY)
    with lab.app() as app:
        app.undo(1, A_DAY, "a test", Watch())
        with pytest.raises(CannotUndo, match="took run 1 back"):
            app.undo(2, A_DAY, "a test", Watch())


# -- the real client


@pytest.mark.real
@pytest.mark.parametrize("version", VERSIONS)
def test_the_real_client_seeds_from_stash_again_after_the_copy_was_removed(
    tmp_path: Path, version: str
) -> None:
    with two_sides("shm") as (stash, pool), RealClient(version) as client:
        lab = Lab(tmp_path / "home", stash, pool, client)
        one = lab.seed("Film", {"film.mkv": 700_000, "film.nfo": b"words"}, below="films")
        two = lab.cross_seed(one, "B", "cross", stopped=True)
        lab.look()
        before = lab.rows()
        plan = lab.home / "plan.json"
        lab.run("rehome", "plan", "--demote", "--torrent-hash", one, "-o", plan)
        lab.run("rehome", "apply", plan, "--force", "--retain", "1d")
        shutil.rmtree(lab.pool_seeding)
        lab.pool_seeding.mkdir()
        client.restart()  # notices that its files are gone
        lab.run("rehome", "undo", "1", "--retain", "0")
        settle(client.api, [one, two], progress=1.0)
        after = lab.rows()
        for torrent in (one, two):
            for key in ("save_path", "category", "auto_tmm", "progress", "amount_left"):
                assert after[torrent][key] == before[torrent][key]
        assert "UP" in after[one]["state"]
        assert "stopped" not in after[one]["state"]
        assert "paused" not in after[one]["state"]
        assert before[two]["state"] == after[two]["state"]
        left = [path for root in (stash, pool) for path in root.rglob(".seedkeep-*")]
        assert left == []


# -- what came after the commit


def test_promise_1_bytes_that_a_placed_file_got_later_are_kept(lab: SimulatedLab) -> None:
    torrent_id = lab.seed("Film", FILM)
    lab.look()
    lab.apply(lab.plan(torrent_id), A_DAY)
    (lab.pool_seeding / "Film/film.nfo").write_bytes(b"my only notes")
    undo(lab)
    found = [
        path
        for path in lab.pool.rglob("*")
        if path.is_file() and path.read_bytes() == b"my only notes"
    ]
    assert len(found) == 1


@pytest.mark.parametrize("synced", [False, True])
def test_promise_3_a_torrent_that_came_to_the_copy_keeps_it(
    lab: SimulatedLab, synced: bool
) -> None:
    torrent_id = lab.seed("Film", FILM)
    lab.look()
    twin = sibling(lab.made[torrent_id], "NEW")
    lab.apply(lab.plan(torrent_id), A_DAY)
    lab.client.add(twin.data, lab.pool_seeding)
    if synced:
        lab.look()
    before = lab.seen()
    with pytest.raises(CannotUndo, match="other torrents seed"):
        undo(lab)
    assert changes(before, lab.seen()) == []


def test_promise_2_a_library_that_made_symlinks_to_the_copy_keeps_it(lab: SimulatedLab) -> None:
    torrent_id = lab.seed("Film", FILM)
    lab.look()
    lab.apply(lab.plan(torrent_id), A_DAY)
    link = lab.media / "film.mkv"
    link.symlink_to(lab.pool_seeding / "Film/film.mkv")
    with pytest.raises(CannotUndo, match="symlinks lead to what the run placed") as why:
        undo(lab)
    assert why.value.detail == str(link)
    link.unlink()
    undo(lab)


def test_a_symlink_to_what_lay_in_its_place_before_the_run_is_no_hindrance(
    lab: SimulatedLab, family: Family
) -> None:
    (lab.media / "about the film").symlink_to(lab.pool_seeding / "Film/film.nfo")
    before = lab.seen()
    lab.apply(lab.plan(family.plain), A_DAY)
    undo(lab)
    assert changes(before, lab.seen()) == []


def test_promise_3_a_torrent_that_reaches_the_copy_through_symlinks_keeps_it(
    lab: SimulatedLab,
) -> None:
    torrent_id = lab.seed("Film", FILM)
    lab.look()
    twin = sibling(lab.made[torrent_id], "NEW")
    lab.apply(lab.plan(torrent_id), A_DAY)
    linked = lab.pool_seeding / "linked"
    linked.mkdir()
    (linked / "Film").symlink_to(lab.pool_seeding / "Film")
    newcomer = lab.client.add(twin.data, linked, skip_checking=True)
    with pytest.raises(CannotUndo, match="symlinks lead to what the run placed") as why:
        undo(lab)
    assert newcomer in why.value.detail


def test_promise_3_a_category_that_leads_elsewhere_by_now_forbids_it(lab: SimulatedLab) -> None:
    api = lab.client.api
    (lab.seeding / "managed").mkdir()
    api.torrents_create_category("managed", save_path=str(lab.seeding / "managed"))
    torrent_id = lab.seed("Film", FILM, below="managed", category="managed", auto_tmm=True)
    lab.look()
    lab.apply(lab.plan(torrent_id), A_DAY)
    api.torrents_create_category("other", save_path=str(lab.pool_seeding / "other"))
    api.torrents_set_category(category="other", torrent_hashes=torrent_id)
    settle(api, [torrent_id], refresh_s=REFRESH_S)
    with pytest.raises(CannotUndo, match="changed in the client"):
        undo(lab)


def test_promise_3_files_that_were_renamed_in_the_client_forbid_it(lab: SimulatedLab) -> None:
    torrent_id = lab.seed("Film", FILM)
    lab.look()
    lab.apply(lab.plan(torrent_id), A_DAY)
    lab.client.api.torrents_rename_file(
        torrent_hash=torrent_id, old_path="Film/film.mkv", new_path="Film/another.mkv"
    )
    settle(lab.client.api, [torrent_id], refresh_s=REFRESH_S)
    with pytest.raises(CannotUndo, match="changed in the client"):
        undo(lab)
