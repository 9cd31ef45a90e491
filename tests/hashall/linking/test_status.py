"""What `link status` counts in one question is what the groups themselves come to."""

from __future__ import annotations

import os
import random

import pytest
from tests.support.catalog_lab import CatalogLab
from tests.support.linking import LinkLab

from hashall import render_link
from hashall.catalog.links import WrongPlanState
from hashall.catalog.links_groups import Tally
from hashall.linking import service
from hashall.linking.model import PlanStatus


def counted(lab: CatalogLab, device_id: int, min_size: int) -> Tally:
    tally = Tally()
    for group in lab.catalog.link_groups.groups(device_id, min_size=min_size):
        if len(group.inodes) > 1:
            tally.add(group)
    return tally


@pytest.mark.parametrize("seed", range(4))
def test_the_tally_is_that_of_the_groups(lab: CatalogLab, seed: int) -> None:
    """With names that no scan saw, names that went, files without a hash, and empty ones."""
    rng = random.Random(seed)
    (lab.folder / "outside").mkdir()
    for number in range(60):
        file = lab.write(f"{number}", rng.choice([b"", b"1", b"22", b"22", b"4444"]))
        for more in range(rng.choice([0, 0, 1, 2])):
            os.link(file, rng.choice([lab.root, lab.folder / "outside"]) / f"{number}-{more}")
    lab.scan()
    n = lab.spot().device.device_id
    for number in rng.sample(range(60), 15):
        inode = (lab.root / f"{number}").stat().st_ino
        lab.db.execute(f"UPDATE names_{n} SET gone_at = '2026' WHERE inode = ?", (inode,))
    for number in rng.sample(range(60), 5):
        inode = (lab.root / f"{number}").stat().st_ino
        lab.db.execute(f"UPDATE inodes_{n} SET sha256 = NULL WHERE inode = ?", (inode,))
    for min_size in (0, 1, 2, 5):
        found = lab.catalog.link_groups.tally(n, min_size=min_size)
        assert found == counted(lab, n, min_size)
    assert lab.catalog.link_groups.tally(n, min_size=1).savings > 0


def test_where_link_counts_prove_nothing_no_savings_are_told(
    linked: LinkLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    linked.pair()
    monkeypatch.setattr(service, "link_count_doubt", lambda _: "they may be made up")
    (device,) = linked.links().status(None).devices
    assert (device.groups, device.surplus_inodes, device.savings) == (1, 1, 0)


def test_plans_that_are_over_are_not_asked_about(linked: LinkLab) -> None:
    linked.pair()
    over, waiting = linked.plan(), linked.plan()
    links = linked.lab.catalog.links
    links.move(over.plan_id, PlanStatus.CANCELLED)
    assert [plan.plan_id for plan in linked.links().status(None).plans] == [waiting.plan_id]
    assert [plan.plan_id for plan in links.all()] == [over.plan_id, waiting.plan_id]
    with pytest.raises(WrongPlanState, match=f"plan {over.plan_id} is cancelled already"):
        links.move(over.plan_id, PlanStatus.CANCELLED)


def test_times_are_told_to_the_second(linked: LinkLab) -> None:
    linked.pair()
    plan = linked.plan()
    assert "." in plan.created_at
    text = render_link.plans([plan])
    assert plan.created_at not in text
    assert plan.created_at.partition(".")[0] + "Z" in text
