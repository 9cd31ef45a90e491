"""`execute --undo`: links become files of their own again, as they were."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.support.kill_points import failing
from tests.support.linking import (
    CONTENT,
    LinkLab,
    contents,
    only,
    same_file,
    skipped_because,
)

from hashall.linking.model import ActionState


def test_names_are_separated_and_the_catalog_knows_it(linked: LinkLab) -> None:
    film, copy = linked.pair()
    before = contents(linked.root)
    plan = linked.plan()
    linked.execute(plan)
    done = linked.undo(plan)
    assert not same_file(film, copy)
    assert contents(linked.root) == before
    assert (done.done, done.bytes_saved) == (1, -len(CONTENT))
    rows = list(linked.lab.files().everything())
    summary = linked.lab.scan()
    assert (summary.added, summary.changed, summary.deleted) == (0, 0, 0)
    assert list(linked.lab.files().everything()) == rows
    assert all(row.sha256 for row in rows)
    assert linked.ours() == []


@pytest.mark.root
def test_owner_mode_and_times_come_back(linked: LinkLab) -> None:
    film, copy = linked.pair()
    os.chown(copy, 1234, 1235)
    copy.chmod(0o640)
    os.utime(copy, ns=(1, 10**18))
    linked.lab.scan()
    plan = linked.plan()
    linked.execute(plan, match_owner=True)
    assert same_file(film, copy)
    linked.undo(plan)
    seen = copy.stat()
    assert (seen.st_uid, seen.st_gid, seen.st_mode & 0o777) == (1234, 1235, 0o640)
    assert seen.st_mtime_ns == 10**18


def test_names_that_were_one_file_are_one_file_again(linked: LinkLab) -> None:
    film, copy = linked.pair()
    os.link(film, film.with_name("film again"))
    os.link(film, film.with_name("and again"))
    os.link(copy, copy.with_name("copy again"))
    linked.lab.scan()
    plan = linked.plan()
    assert linked.execute(plan).done == 2
    linked.undo(plan)
    assert same_file(copy, copy.with_name("copy again"))
    assert same_file(film, film.with_name("and again"))
    assert not same_file(film, copy)
    assert linked.lab.scan().changed == 0


def test_a_dry_run_of_undo_changes_nothing(linked: LinkLab) -> None:
    pair = linked.pair()
    plan = linked.plan()
    linked.execute(plan)
    assert only(linked.undo(plan, dry_run=True)).state is ActionState.PLANNED
    assert same_file(*pair)


def test_what_changed_since_is_left_alone(linked: LinkLab) -> None:
    _, second, third = linked.pair("1", "2", "3")
    plan = linked.plan()
    linked.execute(plan)
    second.unlink()
    third.unlink()
    third.write_bytes(b"a new one")
    assert skipped_because(linked.undo(plan)) == ["changed", "missing"]
    assert skipped_because(linked.undo(plan, dry_run=True)) == ["changed", "missing"]
    assert third.read_bytes() == b"a new one"


def test_without_space_it_stops_before_it_begins(
    linked: LinkLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = linked.pair()
    plan = linked.plan()
    linked.execute(plan)
    full = os.statvfs_result((4096, 4096, 100, 1, 1, 9, 9, 9, 0, 255))
    monkeypatch.setattr(os, "fstatvfs", lambda _: full)
    assert skipped_because(linked.undo(plan)) == ["no-space"]
    assert same_file(*pair)


@pytest.mark.parametrize(("call", "errno"), [("write", 28), ("renameat2", 13)])
def test_a_failed_copy_leaves_the_link(linked: LinkLab, call: str, errno: int) -> None:
    pair = linked.pair()
    plan = linked.plan()
    linked.execute(plan)
    with failing(call, errno):
        assert len(skipped_because(linked.undo(plan))) == 1
    assert same_file(*pair)
    assert linked.undo(plan).done == 1
    assert not same_file(*pair)


def test_a_limit_undoes_the_last_ones(linked: LinkLab) -> None:
    linked.pair("1", "2", "3")
    plan = linked.plan()
    linked.execute(plan)
    assert (linked.undo(plan, limit=1).left, linked.undo(plan).left) == (1, 0)


def test_nothing_is_left_to_undo(linked: LinkLab, tmp_path: Path) -> None:
    linked.pair()
    assert linked.undo(linked.plan()).results == ()
