"""What a power cut may find: each removal comes after what replaces it was made durable.

Nothing here cuts the power.  The calls that count are recorded, in their order.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.hashall.linking.test_recover import interrupted
from tests.support.filesystems import lab_folder
from tests.support.linking import CONTENT, LinkLab

from hashall import dirfd, fsreplace
from hashall.catalog.links import LinkTable
from hashall.linking.model import PlanStatus

NEW, KEPT = f"b/{fsreplace.new_name('film')}", f"b/{fsreplace.kept_name('film')}"
SYNC = "fsync"


@contextmanager
def recorded(root: Path) -> Iterator[list[str]]:
    """`fsync a/film`, `exchange b/film`, `unlink b/film`, `journal done`, … as they happen."""
    calls: list[str] = []

    def at(folder: int | None, name: str | bytes = "") -> str:
        top = os.readlink(f"/proc/self/fd/{folder}") if folder is not None else ""
        return os.path.relpath(os.path.join(top, os.fsdecode(name)).rstrip("/"), root)

    def fsync(fd: int) -> None:
        real_fsync(fd)
        calls.append(f"{SYNC} {at(fd)}")

    def unlink(name: Any, *, dir_fd: int | None = None) -> None:
        real_unlink(name, dir_fd=dir_fd)
        calls.append(f"unlink {at(dir_fd, name)}")

    def exchange(old: int, name: bytes, new: int, other: bytes, *flags: int) -> None:
        real_exchange(old, name, new, other, *flags)
        calls.append(f"exchange {at(new, other)}")

    def settle(table: LinkTable, plan_id: int, settled: Any) -> None:
        ends = list(settled)
        real_settle(table, plan_id, ends)
        calls.extend(f"journal {end.state.value}" for end in ends)

    real_fsync, real_unlink, real_exchange = os.fsync, os.unlink, dirfd.renameat2
    real_settle = LinkTable.settle
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        patch.setattr(os, "unlink", unlink)
        patch.setattr(dirfd, "renameat2", exchange)
        patch.setattr(LinkTable, "settle", settle)
        yield calls


def in_order(calls: list[str], *wanted: str) -> list[str]:
    """Those of `wanted` that were called one after the other: all of them, where it is right."""
    found: list[str] = []
    for call in calls:
        if len(found) < len(wanted) and call == wanted[len(found)]:
            found.append(call)
    return found


def test_a_link_is_durable_before_the_old_file_goes_and_that_before_the_journal_says_done(
    linked: LinkLab,
) -> None:
    linked.pair()
    with recorded(linked.root) as calls:
        linked.execute()
    wanted = [f"{SYNC} a/film", "exchange b/film", f"{SYNC} b", f"unlink {KEPT}", f"{SYNC} b"]
    assert in_order(calls, *wanted, "journal done") == [*wanted, "journal done"]
    assert calls.index(f"{SYNC} a/film") < calls.index("exchange b/film")
    assert calls.index("exchange b/film") < calls.index(f"unlink {KEPT}")


def test_the_copy_that_stays_is_durable_with_its_name_before_the_other_goes(
    linked: LinkLab,
) -> None:
    with lab_folder(Path("/dev/shm")) as memory:
        stays, _ = linked.pair("a/film", "a/second")
        (memory / "film").write_bytes(CONTENT)
        os.link(stays, stays.with_name("third"))
        os.utime(memory / "film", ns=(stays.stat().st_mtime_ns, stays.stat().st_mtime_ns))
        linked.lab.scan(linked.root, memory)
        plan = linked.plan(same_device=False, cross_device=True)
        gone = f"unlink {os.path.relpath(memory / 'film', linked.root)}"
        with recorded(linked.root) as calls:
            linked.execute(plan, allow_delete=True)
        wanted = [f"{SYNC} a/film", f"{SYNC} a", gone, "journal done"]
        assert in_order(calls, *wanted) == wanted
        assert linked.links().find(plan.plan_id).status is PlanStatus.EXECUTED


def test_recovery_makes_the_link_durable_before_it_removes_the_old_file(
    linked: LinkLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    linked.pair()
    plan = interrupted(linked, monkeypatch, after_swap=True)
    with recorded(linked.root) as calls:
        linked.execute(plan)
    wanted = [f"{SYNC} b", f"{SYNC} b/film", f"unlink {KEPT}", f"{SYNC} b", "journal done"]
    assert in_order(calls, *wanted) == wanted


def test_a_separated_copy_is_durable_before_it_takes_the_name_of_the_link(linked: LinkLab) -> None:
    linked.pair()
    plan = linked.plan()
    linked.execute(plan)
    with recorded(linked.root) as calls:
        linked.undo(plan)
    wanted = [f"{SYNC} {NEW}", "exchange b/film", f"{SYNC} b", "journal undone"]
    assert in_order(calls, *wanted) == wanted
