"""`execute --undo`: links become files of their own again, as they were."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from tests.support.kill_points import failing
from tests.support.linking import (
    CONTENT,
    LinkLab,
    append_to,
    contents,
    only,
    same_file,
    skipped_because,
    until_lease_breaks,
)

from hashall import fsreplace, render_link
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


@pytest.mark.root
def test_an_owner_or_attribute_that_could_not_be_given_back_is_told(linked: LinkLab) -> None:
    film, copy = linked.pair()
    os.chown(copy, 1234, 1235)
    os.setxattr(film, "user.note", b"of the film")
    linked.lab.scan()
    plan = linked.plan()
    linked.execute(plan, match_owner=True)
    with failing("fchown", errno.EPERM), failing("setxattr", errno.EPERM):
        done = linked.undo(plan)
    assert (only(done).state, only(done).detail) == (
        ActionState.UNDONE,
        "could not be kept: owner, user.note",
    )
    said = f"separated: {copy} (could not be kept: owner, user.note)"
    assert said in render_link.execution(done)
    assert copy.stat().st_uid != 1234


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


def test_a_link_that_a_program_has_open_for_writing_stays_a_link(linked: LinkLab) -> None:
    film, copy = linked.pair()
    plan = linked.plan()
    linked.execute(plan)
    with film.open("r+b"):  # what it writes must not end up in one of two files
        assert skipped_because(linked.undo(plan)) == ["open-for-writing"]
    assert same_file(film, copy)
    assert linked.ours() == []


def test_a_writer_that_comes_while_the_copy_is_made_writes_to_both_names(
    linked: LinkLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    film, copy = linked.pair()
    plan = linked.plan()
    linked.execute(plan)
    writer = threading.Thread(target=append_to, args=(film,))
    real, held = fsreplace.dress, os.open(film, os.O_RDONLY)

    def and_somebody_writes(*args: Any, **named: Any) -> list[str]:
        lost = real(*args, **named)
        writer.start()
        until_lease_breaks(held)
        return lost

    monkeypatch.setattr(fsreplace, "dress", and_somebody_writes)
    done = linked.undo(plan)
    writer.join(20)
    os.close(held)
    assert skipped_because(done) == ["open-for-writing"]
    assert same_file(film, copy)
    assert copy.read_bytes() == CONTENT + b"more"
    assert linked.ours() == []


def test_damaged_bytes_are_not_copied_and_the_link_stays(linked: LinkLab) -> None:
    film, copy = linked.pair()
    plan = linked.plan()
    linked.execute(plan)
    times = film.stat()
    with film.open("r+b") as out:
        out.write(b"X")
    os.utime(film, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert len(skipped_because(linked.undo(plan))) == 1
    assert same_file(film, copy)
    assert linked.ours() == []


def test_a_strangers_file_under_our_temporary_name_is_left_alone(linked: LinkLab) -> None:
    film, copy = linked.pair()
    plan = linked.plan()
    linked.execute(plan)
    stranger = copy.with_name(fsreplace.new_name(copy.name))
    stranger.write_bytes(b"somebody's")
    assert len(skipped_because(linked.undo(plan))) == 1
    assert same_file(film, copy)
    assert stranger.read_bytes() == b"somebody's"


def test_a_file_that_takes_the_name_right_before_the_exchange_is_put_back(
    linked: LinkLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    film, copy = linked.pair()
    plan = linked.plan()
    linked.execute(plan)
    real, newer = fsreplace.exchange, [linked.lab.write("newer", b"a newer version")]

    def late(folder: int, one: str, other: str) -> bool:
        while newer:
            newer.pop().rename(copy)
        return real(folder, one, other)

    monkeypatch.setattr(fsreplace, "exchange", late)
    assert skipped_because(linked.undo(plan)) == ["changed"]
    assert copy.read_bytes() == b"a newer version"
    assert film.read_bytes() == CONTENT
    assert linked.ours() == []


def test_a_second_name_joins_its_copy_only_while_that_is_the_copy(
    linked: LinkLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    film, copy = linked.pair()
    again = copy.with_name("copy again")
    for number in range(2):
        os.link(film, film.with_name(str(number)))
    os.link(copy, again)
    linked.lab.scan()
    plan = linked.plan()
    assert linked.execute(plan).done == 2
    real = fsreplace.link_new

    def late(*args: Any) -> None:
        first = next(path for path in (copy, again) if not same_file(film, path))
        first.unlink()
        first.write_bytes(b"a newer version")
        real(*args)

    monkeypatch.setattr(fsreplace, "link_new", late)
    done = linked.undo(plan)
    assert (done.done, skipped_because(done)) == (1, ["changed"])
    assert {copy.read_bytes(), again.read_bytes()} == {CONTENT, b"a newer version"}
    assert linked.ours() == []


def test_a_limit_undoes_the_last_ones(linked: LinkLab) -> None:
    linked.pair("1", "2", "3")
    plan = linked.plan()
    linked.execute(plan)
    assert (linked.undo(plan, limit=1).left, linked.undo(plan).left) == (1, 0)


def test_nothing_is_left_to_undo(linked: LinkLab, tmp_path: Path) -> None:
    linked.pair()
    assert linked.undo(linked.plan()).results == ()
