"""`hashall link cancel` while the plan is being executed: the run ends itself, in order."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.hashall.linking.test_commands import Shop
from tests.support.linking import LinkLab, same_file

from hashall.linking import execute
from hashall.linking.model import Plan, PlanStatus
from hashall.linking.running import Runner, RunOptions


@pytest.fixture
def shop(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Shop:
    monkeypatch.setenv("HOME", str(tmp_path))
    return Shop(tmp_path, capsys)


def test_a_run_stops_before_its_next_files_says_so_and_can_be_undone(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    third = shop.write("c/film")
    assert shop.say("scan", shop.folder / "files").code == 0
    shop.link("plan", "first")
    monkeypatch.setattr(execute, "BATCH_ACTIONS", 1)
    real = execute.Executor._settle

    def cancelled_by_somebody(self: execute.Executor, *batch: object) -> None:
        real(self, *batch)  # type: ignore[arg-type]
        assert shop.link("cancel", "1").code == 0

    monkeypatch.setattr(execute.Executor, "_settle", cancelled_by_somebody)
    done = shop.link("execute", "1", "--force")
    assert "somebody cancelled the plan meanwhile: 1 were not done and will not be" in done.out
    assert "1 done, saved 9.8 KiB; 0 skipped" in done.out
    assert done.code == 4
    assert [same_file(shop.film, other) for other in (shop.copy, third)] == [True, False]
    closed = shop.link("execute", "1", "--force")
    assert (closed.code, "cancelled" in closed.err) == (3, True)
    assert shop.link("execute", "1", "--undo", "--force").code == 0
    assert not same_file(shop.film, shop.copy)


def run_cancelled_at(linked: LinkLab, plan: Plan, moment: str) -> tuple[int, int, bool]:
    """(done, left, cancelled) of a run whose plan is cancelled at its begin or after one file."""
    links = linked.links()

    def cancel(_: object) -> None:
        if links.find(plan.plan_id).status is not PlanStatus.CANCELLED:
            links.cancel(plan.plan_id)

    runner = Runner(links, **{moment: cancel})
    done = runner.execute(plan.plan_id, RunOptions(dry_run=False, force=True))
    assert links.find(plan.plan_id).status is PlanStatus.CANCELLED
    return done.done, done.left, done.cancelled


@pytest.mark.parametrize(
    ("moment", "becomes"), [("begin", (0, 1, True)), ("progress", (1, 0, True))]
)
def test_a_plan_cancelled_at_the_first_or_the_last_moment_stays_cancelled(
    linked: LinkLab, moment: str, becomes: tuple[int, int, bool]
) -> None:
    pair = linked.pair()
    assert run_cancelled_at(linked, linked.plan(), moment) == becomes
    assert same_file(*pair) is (moment == "progress")
    assert linked.ours() == []
