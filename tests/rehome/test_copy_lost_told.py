"""What may be left on a lost disk is told everywhere; and whether it is lost at all."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from pathlib import Path

import pytest
from tests.rehome.test_copy_lost import (
    number_of,
    pool_dead,
    rollback,
    statuses,
    undo,
    without_pool,
)
from tests.support.filesystems import bind, run
from tests.support.qbt import VERSIONS, settle
from tests.support.relocating import (
    A_DAY,
    NO_WAIT,
    REFRESH_S,
    Family,
    Killed,
    SimulatedLab,
    changes,
    killed_in,
    seed_family,
    simulated_lab,
)

from hashall.catalog.runs import RunStatus
from rehome import recovery
from rehome.executor import NotAsBefore, RollbackFailed
from rehome.model import Adopt, AwaitPlaces, CheckFiles, Hide, Place, Plan, Relocate, Step
from rehome.outcome import Watch
from rehome.undo_facts import CannotUndo
from seedkeep.errors import Refused, SeedError

pytestmark = pytest.mark.root

ALL_HIDDEN = 8  # of the undo of the family: all of the copy is out of sight, and nothing is back


@pytest.fixture
def family(lab: SimulatedLab) -> Family:
    return seed_family(lab)


@pytest.fixture
def interrupted(lab: SimulatedLab, family: Family) -> Plan:
    """The plan of run 1, which was killed when it had files of the pool in its staging folder."""
    plan = lab.plan(family.plain)
    with killed_in(number_of(plan, Adopt), afterwards=True):
        lab.apply(plan, A_DAY)
    return plan


def told_of(lab: SimulatedLab, plan: Plan) -> list[str]:
    (adopt,) = (step for step in plan.steps if isinstance(step, Adopt))
    back = "if that disk comes back: "
    return [
        f"{back}1 file that lay in {lab.pool_seeding} before may be in {adopt.dst_root};"
        " move them back first",
        f"{back}copies may be in {plan.staging}, and in their places; nobody uses them",
    ]


def found_of(lab: SimulatedLab, plan: Plan) -> list[str]:
    """The same when the disk is back."""
    (adopt,) = (step for step in plan.steps if isinstance(step, Adopt))
    return [
        f"1 file that lay in {lab.pool_seeding} before is in {adopt.dst_root};"
        " move them back first",
        f"copies are in {plan.staging}; nobody uses them",
    ]


# -- what may be left


@pytest.mark.parametrize("which", ["1", "--all"])
def test_what_may_be_left_is_in_the_json_of_a_rollback(
    lab: SimulatedLab, interrupted: Plan, which: str
) -> None:
    with pool_dead(lab):
        said = lab.run("rehome", "rollback", which, "--copy-lost", "--json").stdout
    told = json.loads(said)
    item = told["run"] if which == "1" else told["outcome"]["groups"][0]
    assert item["left_behind"] == told_of(lab, interrupted)


def test_it_is_in_the_json_also_when_not_everything_is_as_before(
    lab: SimulatedLab, family: Family, interrupted: Plan
) -> None:
    lab.client.api.torrents_delete(delete_files=False, torrent_hashes=[family.flat])
    with pool_dead(lab):
        said = lab.run("rehome", "rollback", "1", "--copy-lost", "--json", expect=4).stdout
    error = json.loads(said)["error"]
    assert error["code"] == "not-as-before"
    assert error["detail"].splitlines()[-2:] == told_of(lab, interrupted)


def test_the_history_tells_months_later_what_may_be_left_and_what_is(
    lab: SimulatedLab, interrupted: Plan
) -> None:
    with pool_dead(lab):
        rollback(lab)
        assert left_by_runs_show(lab) == told_of(lab, interrupted)
    assert left_by_runs_show(lab) == found_of(lab, interrupted)
    shutil.rmtree(interrupted.staging)
    assert left_by_runs_show(lab) == []


def left_by_runs_show(lab: SimulatedLab) -> list[str]:
    shown = lab.run("rehome", "runs", "show", "1").stdout.splitlines()
    left = [line[9:] for line in shown if line.startswith("left ")]
    as_json = json.loads(lab.run("rehome", "runs", "show", "1", "--json").stdout)
    assert as_json["run"]["left_behind"] == left
    return left


def test_copies_that_were_in_their_places_are_told_with_their_number_when_the_disk_is_back(
    lab: SimulatedLab, family: Family
) -> None:
    plan = lab.plan(family.plain)
    with killed_in(number_of(plan, CheckFiles), afterwards=True):
        lab.apply(plan, A_DAY)
    with pool_dead(lab):
        rollback(lab)
    places = [line for line in left_by_runs_show(lab) if "in place below" in line]
    assert [line.partition(" below ")[2] for line in places] == [
        f"{root}; nobody uses them"
        for root in sorted(step.dst_root for step in plan.steps if isinstance(step, Place))
    ]
    assert "2 files of its copies are in place below" in places[0]


def test_what_lay_on_the_disk_before_is_told_also_when_an_undo_had_hidden_it(
    lab: SimulatedLab, family: Family
) -> None:
    plan = lab.plan(family.plain)
    (adopt,) = (step for step in plan.steps if isinstance(step, Adopt))
    lab.apply(plan, A_DAY)
    with killed_in(ALL_HIDDEN, afterwards=True):
        undo(lab, copy_lost=False)
    with pool_dead(lab), pytest.raises(NotAsBefore):
        rollback(lab, 2)
    with lab.app() as app:
        view = app.run(2)
    hidden = sorted(step.dst_root for _, step in view.steps if isinstance(step, Hide))
    assert (Path(hidden[0]) / adopt.names[0]).exists()
    assert view.left_behind == (
        f"1 file that lay in {lab.pool_seeding} before is in {hidden[0]}; move them back first",
        *(f"its copies are in {path}" for path in hidden),
    )


def test_nothing_may_be_left_by_a_rollback_that_had_its_disk(
    lab: SimulatedLab, interrupted: Plan
) -> None:
    assert interrupted.staging
    said = json.loads(lab.run("rehome", "rollback", "1", "--json").stdout)
    assert said["run"]["left_behind"] == []


# -- whether it is lost


def shown_elsewhere(lab: SimulatedLab) -> Path:
    return lab.home / "another mount of the pool"


@pytest.mark.parametrize("command", ["undo", "rollback"])
def test_promise_8_a_pool_that_is_mounted_elsewhere_is_not_lost(
    lab: SimulatedLab, family: Family, command: str
) -> None:
    plan = lab.plan(family.plain)
    if command == "undo":
        lab.apply(plan, A_DAY)
    else:
        with killed_in(number_of(plan, Relocate), afterwards=True):
            lab.apply(plan, A_DAY)
    before = lab.seen()
    end = undo if command == "undo" else rollback
    with bind(lab.pool, shown_elsewhere(lab)) as point:
        run("mount", "--make-private", point)
        with pool_dead(lab):
            with pytest.raises(Refused, match="is not lost") as why:
                end(lab)
            assert f"has it at {point}/torrents/seeding" in why.value.detail
            with pytest.raises(Refused, match="is not on the filesystem") as kept:
                end(lab, copy_lost=False)
            assert f"has it at {point}/torrents/seeding" in kept.value.detail
            assert "--copy-lost" not in kept.value.hint
    assert changes(before, lab.seen()) == []


def test_promise_8_a_disk_with_a_hidden_source_that_is_mounted_elsewhere_is_not_lost_either(
    lab: SimulatedLab, family: Family
) -> None:
    lab.apply(lab.plan(family.plain), A_DAY)
    undo_kept(lab)
    with bind(lab.pool, shown_elsewhere(lab)) as point:
        run("mount", "--make-private", point)
        with pool_dead(lab):
            said = lab.run("rehome", "retire", "2", "--source-lost", expect=3).stderr
    assert f"has it at {point}/torrents/seeding" in said
    assert statuses(lab) == [RunStatus.RETIRED, RunStatus.COMMITTED]


def undo_kept(lab: SimulatedLab) -> None:
    """Taken back, and what the run had placed is kept, hidden on the pool."""
    lab.run("rehome", "undo", "1", "--retain", "1d")


# -- downloads that were begun anew


def begin_download(lab: SimulatedLab) -> Path:
    """As a client does that looks for its files on the bare mount point, and is told to go on."""
    begun = lab.pool_seeding / "Film/film.mkv.!qB"
    begun.parent.mkdir(parents=True, exist_ok=True)
    begun.write_bytes(b"begun anew")
    return begun


def test_promise_3_a_download_that_was_begun_on_the_bare_mount_point_does_not_go_along(
    lab: SimulatedLab, family: Family
) -> None:
    lab.apply(lab.plan(family.plain), A_DAY)
    with pool_dead(lab):
        begun = begin_download(lab)
        with pytest.raises(CannotUndo, match="on another disk") as why:
            undo(lab)
        assert why.value.detail == str(begun)
        assert begun.read_bytes() == b"begun anew"
    assert statuses(lab) == [RunStatus.COMMITTED]


def test_promise_3_a_rollback_waits_until_such_a_download_is_out_of_the_way(
    lab: SimulatedLab, family: Family
) -> None:
    before, plan = lab.seen(), lab.plan(family.plain)
    with killed_in(number_of(plan, Relocate), afterwards=True):
        lab.apply(plan, A_DAY)
    with pool_dead(lab):
        middle = without_pool(lab.seen())
        begun = begin_download(lab)
        with pytest.raises(RollbackFailed, match="downloads were begun") as why:
            rollback(lab)
        assert str(begun) in why.value.detail
        assert changes(middle, without_pool(lab.seen())) == []
        begun.unlink()
        rollback(lab)
        assert changes(without_pool(before), without_pool(lab.seen())) == []
    assert statuses(lab) == [RunStatus.ROLLED_BACK]


def test_promise_3_one_that_was_begun_on_the_pool_itself_does_not_go_along_either(
    lab: SimulatedLab, family: Family
) -> None:
    lab.apply(lab.plan(family.plain), A_DAY)
    (lab.pool_seeding / "Film/film.mkv").unlink()
    begun = begin_download(lab)
    with pytest.raises(CannotUndo, match="has begun to download") as why:
        undo(lab, copy_lost=False)
    assert why.value.detail == str(begun)
    begun.unlink()
    undo(lab, copy_lost=False)


def undo_killed_before(lab: SimulatedLab, kind: type[Step]) -> None:
    """The process ends when it has written down that it begins a step of `kind`."""

    def told(step: Step, _what: str) -> None:
        if isinstance(step, kind):
            raise Killed

    with (
        pytest.MonkeyPatch.context() as patch,
        lab.app() as app,
        suppress(Killed),
    ):
        patch.setattr(recovery, "recover", lambda *_: None)
        app.undo(1, NO_WAIT, "a test", Watch(told), copy_lost=True)


def test_promise_3_a_resume_looks_for_downloads_that_were_begun_since_it_was_interrupted(
    lab: SimulatedLab, family: Family
) -> None:
    """They would be taken along to beside the whole source, which then seems not to be whole."""
    before = lab.seen()
    lab.apply(lab.plan(family.plain), A_DAY)
    with pool_dead(lab, restarted=True):
        undo_killed_before(lab, Relocate)
        begun = begin_download(lab)
        with lab.app() as app, pytest.raises(SeedError) as why:
            app.resume(2, Watch())
        assert f"has begun to download {begun} anew" in str(why.value)
        assert begun.read_bytes() == b"begun anew"
        begun.unlink()
        undo(lab)
        now = lab.seen()
    assert (now.stash, now.torrents) == (before.stash, before.torrents)


@pytest.mark.parametrize("version", VERSIONS)
def test_promise_3_so_does_a_way_back_for_those_in_the_place_of_a_copy_that_is_only_hidden(
    version: str,
) -> None:
    """The client was started again in the middle of a switch, and somebody told it to go on."""
    with simulated_lab(version) as lab:
        family = seed_family(lab)
        before, plan = lab.seen(), lab.plan(family.plain)
        with killed_in(number_of(plan, AwaitPlaces), afterwards=True):
            lab.apply(plan, A_DAY)
        lab.client.restart()
        settle(lab.client.api, lab.rows(), refresh_s=REFRESH_S)
        begun = begin_download(lab)
        with pytest.raises(RollbackFailed, match="downloads were begun") as why:
            rollback(lab, copy_lost=False)
        assert str(begun) in why.value.detail
        begun.unlink()
        rollback(lab, copy_lost=False)
        assert changes(before, lab.seen()) == []
