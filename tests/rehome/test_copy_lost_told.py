"""What may be left on a lost disk is told everywhere; and whether it is lost at all."""

from __future__ import annotations

import json
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
from tests.support.relocating import (
    A_DAY,
    Family,
    SimulatedLab,
    changes,
    killed_in,
    seed_family,
)

from hashall.catalog.runs import RunStatus
from rehome.executor import NotAsBefore, RollbackFailed
from rehome.model import Adopt, Hide, Plan, Relocate
from rehome.undo_facts import CannotUndo
from seedkeep.errors import Refused

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


def test_the_history_tells_months_later_what_may_be_left(
    lab: SimulatedLab, interrupted: Plan
) -> None:
    with pool_dead(lab):
        rollback(lab)
    shown = lab.run("rehome", "runs", "show", "1").stdout.splitlines()
    assert [line[9:] for line in shown if line.startswith("left ")] == told_of(lab, interrupted)
    shown_json = json.loads(lab.run("rehome", "runs", "show", "1", "--json").stdout)
    assert shown_json["run"]["left_behind"] == told_of(lab, interrupted)


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
        f"if that disk comes back: 1 file that lay in {lab.pool_seeding} before may be in"
        f" {hidden[0]}; move them back first",
        *(f"if that disk comes back, its copies may be in {path}" for path in hidden),
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
