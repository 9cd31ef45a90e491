"""What an interrupted run left, when the world went on meanwhile."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support.linking import CONTENT, LinkLab, allocated, contents, same_file

from hashall import fsreplace
from hashall.linking.execute import Executor
from hashall.linking.model import ActionState, Execution, Plan


def interrupted(linked: LinkLab, monkeypatch: pytest.MonkeyPatch, *, after_swap: bool) -> Plan:
    """A plan whose one action was cut off by a power failure: nobody tidied up."""
    plan = linked.plan()

    class PowerFailure(BaseException):
        pass

    def fail(*_: object) -> None:
        raise PowerFailure

    with monkeypatch.context() as patch:
        patch.setattr("hashall.linking.running.Recovery.run", lambda _: None)
        if after_swap:
            patch.setattr(Executor, "_settle", fail)
        else:
            patch.setattr(fsreplace, "exchange", fail)
            patch.setattr(fsreplace, "_unlink_if", lambda *_: False)
        with pytest.raises(PowerFailure):
            linked.execute(plan)
    assert len(linked.ours()) == (1 if after_swap else 2)
    return plan


def state(linked: LinkLab, plan: Plan) -> ActionState:
    (action,) = linked.lab.catalog.links.actions(plan.plan_id)
    return action.state


@pytest.mark.parametrize("after_swap", [False, True])
def test_a_run_of_another_plan_puts_it_in_order_too(
    linked: LinkLab, monkeypatch: pytest.MonkeyPatch, after_swap: bool
) -> None:
    pair = linked.pair()
    plan = interrupted(linked, monkeypatch, after_swap=after_swap)
    assert linked.links().status(None).unsettled == 1
    other = linked.plan()
    done = linked.execute(other)
    assert [result.target for result in done.recovered] == [str(pair[1])]
    assert linked.ours() == []
    assert state(linked, plan) is (ActionState.DONE if after_swap else ActionState.PLANNED)
    assert same_file(*pair)


def test_the_undo_of_an_interrupted_plan_ends_it_first(
    linked: LinkLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = linked.pair()
    plan = interrupted(linked, monkeypatch, after_swap=True)
    assert linked.undo(plan).done == 1
    assert not same_file(*pair)
    assert linked.ours() == []


def nothing(kept: Path) -> None:
    """The crash came before the old file was removed."""


def link_elsewhere(kept: Path) -> None:
    os.link(kept, kept.with_name("somebody's other name"))


def removed_already(kept: Path) -> None:
    """The crash came after the old file was removed, which had another name by then."""
    kept.rename(kept.with_name("somebody's other name"))


@pytest.mark.parametrize(
    ("meanwhile", "claimed"), [(nothing, len(CONTENT)), (link_elsewhere, 0), (removed_already, 0)]
)
def test_after_a_crash_only_bytes_that_were_seen_to_go_count_as_saved(
    linked: LinkLab,
    monkeypatch: pytest.MonkeyPatch,
    meanwhile: Callable[[Path], None],
    claimed: int,
) -> None:
    linked.pair()
    plan = interrupted(linked, monkeypatch, after_swap=True)
    (kept,) = linked.root.rglob(".seedkeep-*")
    space = allocated(linked.root)
    meanwhile(kept)
    (recovered,) = linked.execute(plan).recovered
    assert recovered.state is ActionState.DONE
    assert space - allocated(linked.root) == recovered.bytes_saved == claimed
    assert linked.links().find(plan.plan_id).bytes_saved == claimed


def test_an_old_file_that_was_written_to_meanwhile_comes_back(
    linked: LinkLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    film, copy = linked.pair()
    plan = interrupted(linked, monkeypatch, after_swap=True)
    (kept,) = linked.root.rglob(".seedkeep-*")
    kept.write_bytes(b"written through a descriptor")
    done = linked.execute(plan)
    assert done.recovered[0].state is ActionState.SKIPPED
    assert copy.read_bytes() == b"written through a descriptor"
    assert film.read_bytes() == CONTENT
    assert linked.ours() == []


def test_an_old_file_that_is_open_for_writing_comes_back(
    linked: LinkLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, copy = linked.pair()
    plan = interrupted(linked, monkeypatch, after_swap=True)
    (kept,) = linked.root.rglob(".seedkeep-*")
    with kept.open("r+b"):
        done = linked.execute(plan)
    assert done.recovered[0].reason == "open-for-writing"
    assert copy.stat().st_nlink == 1


def remove(path: Path) -> None:
    path.unlink()


def replace(path: Path) -> None:
    path.unlink()
    path.write_bytes(b"another")


@pytest.mark.parametrize("change", [remove, replace])
def test_what_only_a_person_can_judge_is_kept_and_told(
    linked: LinkLab, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None]
) -> None:
    _, copy = linked.pair()
    plan = interrupted(linked, monkeypatch, after_swap=True)
    change(copy)
    before = contents(linked.root)
    for _ in range(2):
        done: Execution = linked.execute(plan)
        (note,) = done.notes
        assert ".seedkeep-kept-" in note
        assert contents(linked.root) == before
    for name in linked.ours():  # as the note says
        copy.with_name(name).unlink()
    assert linked.execute(plan).notes == ()


def test_a_stranger_under_our_new_name_is_not_removed(
    linked: LinkLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, copy = linked.pair()
    plan = interrupted(linked, monkeypatch, after_swap=False)
    new = copy.with_name(fsreplace.new_name(copy.name))
    new.unlink()
    new.write_bytes(b"somebody's")
    (note,) = linked.execute(plan).notes
    assert new.name in note
    assert new.read_bytes() == b"somebody's"


def test_a_stranger_that_was_displaced_unseen_comes_back(
    linked: LinkLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The crash came right after the exchange, before anybody looked at what it put aside."""
    film, copy = linked.pair()
    plan = interrupted(linked, monkeypatch, after_swap=False)
    new = copy.with_name(fsreplace.new_name(copy.name))
    new.unlink()
    copy.rename(new)
    new.write_bytes(b"")  # the planned inode, so make it a stranger's
    new.unlink()
    new.write_bytes(b"a newer version")
    os.link(film, copy)
    linked.execute(plan)
    assert copy.read_bytes() == b"a newer version"
    assert film.read_bytes() == CONTENT


@pytest.mark.parametrize("undoing", [False, True])
def test_without_an_exchange_nothing_can_have_been_displaced_so_a_stranger_stays(
    linked: LinkLab, monkeypatch: pytest.MonkeyPatch, undoing: bool
) -> None:
    """Some filesystems cannot exchange two names: what lies under ours there nobody put aside."""
    _, copy = linked.pair()
    plan = interrupted(linked, monkeypatch, after_swap=True)
    if undoing:
        linked.execute(linked.plan())
        linked.lab.db.execute("UPDATE link_actions SET state = 'undoing' WHERE state = 'done'")
        (action,) = linked.lab.catalog.links.actions(plan.plan_id)
        copy.unlink()
        copy.write_bytes(CONTENT)
        os.utime(copy, ns=(0, action.target.mtime_ns))
    new = copy.with_name(fsreplace.new_name(copy.name))
    new.write_bytes(b"somebody's")
    monkeypatch.setattr(fsreplace, "exchange", lambda *_: False)
    done = linked.execute(linked.plan())
    assert done.notes == (f"{copy}: {new.name} beside it is no file of the plan",)
    assert new.read_bytes() == b"somebody's"
    assert copy.read_bytes() == CONTENT


def test_an_old_file_displaced_without_a_kept_name_gets_one_first(
    linked: LinkLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    film, copy = linked.pair()
    plan = interrupted(linked, monkeypatch, after_swap=False)
    kept = copy.with_name(fsreplace.kept_name(copy.name))
    folder = os.open(copy.parent, os.O_RDONLY)
    fsreplace.exchange(folder, fsreplace.new_name(copy.name), copy.name)
    os.close(folder)
    kept.unlink()
    done = linked.execute(plan)
    assert done.recovered[0].state is ActionState.DONE
    assert same_file(film, copy)
    assert linked.ours() == []


@pytest.mark.parametrize("after_swap", [False, True])
def test_ctrl_c_in_an_undo_leaves_either_the_link_or_the_copy(
    linked: LinkLab, monkeypatch: pytest.MonkeyPatch, after_swap: bool
) -> None:
    film, copy = linked.pair()
    plan = linked.plan()
    linked.execute(plan)
    real = fsreplace.swap_in_file

    def interrupt(*args: Any, **named: Any) -> None:
        if after_swap:
            real(*args, **named)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(fsreplace, "swap_in_file", interrupt)
        with pytest.raises(KeyboardInterrupt):
            linked.undo(plan)
    assert linked.ours() == []
    assert same_file(film, copy) is not after_swap
    assert state(linked, plan) is (ActionState.UNDONE if after_swap else ActionState.DONE)
    assert linked.lab.scan().changed == 0
    linked.undo(plan)
    assert not same_file(film, copy)
    assert contents(linked.root) == {"a/film": CONTENT, "b/film": CONTENT}


def test_an_undo_whose_source_went_meanwhile_is_put_in_order(
    linked: LinkLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    film, copy = linked.pair()
    plan = linked.plan()
    linked.execute(plan)
    real = fsreplace.swap_in_file

    def interrupt(*args: Any, **named: Any) -> None:
        real(*args, **named)
        film.unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(fsreplace, "swap_in_file", interrupt)
        with pytest.raises(KeyboardInterrupt):
            linked.undo(plan)
    assert state(linked, plan) is ActionState.UNDONE
    assert copy.read_bytes() == CONTENT
    assert linked.lab.scan().deleted == 1


def test_a_folder_that_is_gone_waits_for_a_person(
    linked: LinkLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, copy = linked.pair()
    plan = interrupted(linked, monkeypatch, after_swap=True)
    copy.parent.rename(linked.root / "moved")
    (note,) = linked.execute(plan).notes
    assert note.startswith(f"{copy}: ")
    (linked.root / "moved").rename(copy.parent)
    assert linked.execute(plan).notes == ()
    assert state(linked, plan) is ActionState.DONE
