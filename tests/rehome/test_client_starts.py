"""A client that has just been started: what it does not show (yet) was not removed by anybody."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.rehome.test_left_alone import left_alone, move_to
from tests.support.relocating import (
    A_DAY,
    REFRESH_S,
    Family,
    SimulatedLab,
    another_film,
    changes,
    killed_in,
    seed_family,
    simulated_lab,
)

from hashall.catalog.runs import RunStatus
from hashall.emptied import NoTorrents
from rehome.executor import NotAsBefore
from rehome.model import AwaitPlaces
from rehome.outcome import Watch
from rehome.recovery import RollbackFailed
from seedkeep import qbittorrent_loading as loading


@pytest.fixture
def family(lab: SimulatedLab) -> Family:
    """And a torrent of the same client that is not in question."""
    another_film(lab, "Stays")
    return seed_family(lab)


@contextmanager
def another_profile(lab: SimulatedLab, *, others: bool = False) -> Iterator[None]:
    """The client was started without its configuration folder, and then with it again.

    `others`: it shows other torrents then, as another client would.
    """
    profile, kept = lab.client.profile, lab.home / "profile"
    lab.client.stop()
    shutil.move(profile, kept)
    profile.mkdir()
    lab.client.start()
    if others:
        another_film(lab, "Nobody's")
    yield
    lab.client.stop()
    shutil.rmtree(profile)
    shutil.move(kept, profile)
    lab.client.start()


@pytest.mark.parametrize("how", ["resume", "rollback"])
def test_a_torrent_that_is_still_being_loaded_is_not_taken_for_removed(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "STEADY_S", 10 * REFRESH_S)
    monkeypatch.setattr(loading, "POLL_S", REFRESH_S)
    with simulated_lab("4.4") as lab:
        family = seed_family(lab)
        before, plan = lab.seen(), lab.plan(family.plain)
        with killed_in([type(s) for s in plan.steps].index(AwaitPlaces), afterwards=True):
            lab.apply(plan, A_DAY)
        lab.client.restart()
        with lab.app() as app:
            getattr(app, how)(1, Watch())
        after = lab.seen()
        if how == "rollback":
            assert changes(before, after) == []
        assert {row["progress"] for row in lab.rows().values()} == {1}
        side = lab.seeding if how == "rollback" else lab.pool_seeding
        assert all(Path(row["save_path"]).is_relative_to(side) for row in lab.rows().values())


@pytest.mark.parametrize("how", ["resume", "rollback"])
def test_a_client_that_shows_none_of_its_torrents_ends_no_run(
    lab: SimulatedLab, family: Family, how: str
) -> None:
    before, plan = lab.seen(), lab.plan(family.plain)
    with killed_in([type(s) for s in plan.steps].index(AwaitPlaces), afterwards=True):
        lab.apply(plan, A_DAY)
    with another_profile(lab):
        with lab.app() as app, pytest.raises(RollbackFailed, match="shows none of the torrents"):
            getattr(app, how)(1, Watch())
        with lab.app() as app:
            assert app.runs()[0].status is RunStatus.OPEN
    with lab.app() as app:
        app.rollback(1, Watch())
    assert changes(before, lab.seen()) == []


@pytest.mark.parametrize("others", [False, True])
def test_such_a_client_takes_no_run_back(lab: SimulatedLab, family: Family, others: bool) -> None:
    """An undo would take the files away from torrents that come back with the profile."""
    lab.apply(lab.plan(family.plain), A_DAY)
    moved = lab.seen()
    with another_profile(lab, others=others), lab.app() as app:
        with pytest.raises(NoTorrents, match="shows none of the torrents") as why:
            app.undo(1, A_DAY, "a test", Watch())
        assert (
            why.value.detail == f"it shows {int(others)}, and none of the 1 that the catalog knows"
        )
    now = lab.seen()  # another film was added
    assert (now.pool, now.torrents) == (moved.pool, moved.torrents)


def test_a_client_that_has_no_torrent_any_more_is_believed_after_a_sync(
    lab: SimulatedLab, family: Family
) -> None:
    lab.apply(lab.plan(family.plain), A_DAY)
    lab.client.api.torrents_delete(delete_files=False, torrent_hashes=list(lab.rows()))
    lab.sync()
    with lab.app() as app:
        assert app.undo(1, A_DAY, "a test", Watch()).status is RunStatus.COMMITTED


def test_an_open_run_can_be_closed_when_all_torrents_really_were_removed(
    lab: SimulatedLab, family: Family
) -> None:
    before, plan = lab.seen(), lab.plan(family.plain)
    with killed_in([type(s) for s in plan.steps].index(AwaitPlaces), afterwards=True):
        lab.apply(plan, A_DAY)
    lab.client.api.torrents_delete(delete_files=False, torrent_hashes=list(lab.rows()))
    said = lab.run("rehome", "rollback", "1", expect=4).stderr
    assert "hashall payload sync --all-removed" in said
    lab.run("hashall", "payload", "sync", "--all-removed")
    with lab.app() as app:
        with pytest.raises(NotAsBefore) as why:
            app.rollback(1, Watch())
        assert why.value.detail.splitlines() == left_alone(family.all)
        assert app.runs()[0].status is RunStatus.ROLLED_BACK
    after = lab.seen()
    assert (after.stash, after.pool) == (before.stash, before.pool)


def test_a_client_that_shows_a_torrent_of_the_run_elsewhere_is_believed(
    lab: SimulatedLab, family: Family
) -> None:
    plan = lab.plan(family.plain)
    with killed_in([type(s) for s in plan.steps].index(AwaitPlaces), afterwards=True):
        lab.apply(plan, A_DAY)
    others = [torrent for torrent in lab.rows() if torrent != family.flat]
    lab.client.api.torrents_delete(delete_files=False, torrent_hashes=others)
    move_to(lab, family.flat, str(lab.home))
    with lab.app() as app, pytest.raises(NotAsBefore) as why:
        app.rollback(1, Watch())
    assert why.value.detail.splitlines() == left_alone(family.all)
