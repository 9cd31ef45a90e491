"""Execution: what becomes a link, what is skipped and why, what the catalog knows afterwards."""

from __future__ import annotations

import fcntl
import hashlib
import os
import signal
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.support.catalog_lab import settle
from tests.support.kill_points import failing
from tests.support.linking import (
    CONTENT,
    LinkLab,
    allocated,
    an_instance,
    append_to,
    contents,
    only,
    same_file,
    skipped_because,
    until_lease_breaks,
)

from hashall import fsreplace, verify
from hashall.linking import compare, execute, leases, running
from hashall.linking.model import ActionState, PlanStatus
from hashall.linking.running import NotApproved, PlanClosed, RunOptions
from hashall.model import TorrentFileOnDisk
from seedkeep.errors import Misused

LONG = "n" * 251 + ".mkv"
STRANGE = os.fsdecode(b"caf\xe9\n-\xf0\x9f\x8e\xac")


def test_duplicates_become_one_file_and_read_as_before(linked: LinkLab) -> None:
    film, copy = linked.pair()
    before, space = contents(linked.root), allocated(linked.root)
    plan = linked.plan()
    done = linked.execute(plan)
    assert same_file(film, copy)
    assert contents(linked.root) == before
    assert space - allocated(linked.root) == plan.bytes_to_save == done.bytes_saved == len(CONTENT)
    assert linked.links().find(plan.plan_id).status is PlanStatus.EXECUTED
    assert linked.ours() == []


def test_a_dry_run_changes_nothing_and_tells_what_would_happen(linked: LinkLab) -> None:
    film, copy = linked.pair()
    plan = linked.plan()
    done = linked.execute(plan, dry_run=True)
    assert not same_file(film, copy)
    assert (only(done).state, done.bytes_saved) == (ActionState.PLANNED, len(CONTENT))
    copy.write_bytes(b"other")
    assert skipped_because(linked.execute(plan, dry_run=True)) == ["changed"]
    assert linked.links().find(plan.plan_id).status is PlanStatus.PENDING


def test_a_dry_run_holds_few_folders_open_however_many_it_looks_into(
    linked: LinkLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shell gives a process 1,024 descriptors, and a library has more folders than that."""
    monkeypatch.setattr(running, "MOST_LOOKED_INTO", 4)
    linked.pair(*(f"{number:02}/film" for number in range(40)))
    plan, runner, seen = linked.plan(), linked.runner(), []
    runner.progress = lambda _: seen.append(len(os.listdir("/proc/self/fd")))
    assert len(runner.execute(plan.plan_id, RunOptions(dry_run=True)).results) == 39
    assert max(seen) - seen[0] <= 4


def test_a_file_that_was_found_damaged_replaces_no_good_one_even_unread(linked: LinkLab) -> None:
    damaged, *good = linked.pair("a/film", "b/film", "c/film")
    seen = damaged.stat()
    damaged.write_bytes(CONTENT.swapcase())
    os.utime(damaged, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    assert len(verify.verify(linked.lab.places(), (), verify.Options()).damaged) == 1

    done = linked.execute(verify="none")
    assert only(done).state is ActionState.DONE
    assert same_file(*good)
    assert [path.read_bytes() for path in good] == [CONTENT, CONTENT]
    assert damaged.read_bytes() == CONTENT.swapcase()
    assert linked.links().show(done.plan_id, 5).reasons == {"damaged": 1}


def test_the_catalog_is_afterwards_what_a_scan_would_make_of_it(linked: LinkLab) -> None:
    linked.pair("a/film", "b/film", "c/film", "d/film")
    os.link(linked.root / "d/film", linked.root / "d/second")
    linked.lab.scan()
    linked.execute()
    rows = list(linked.lab.files().everything())
    summary = linked.lab.scan()
    assert (summary.added, summary.changed, summary.deleted) == (0, 0, 0)
    assert list(linked.lab.files().everything()) == rows
    assert {row.nlink for row in rows} == {5}


def test_members_of_payloads_and_torrents_get_the_new_inode(linked: LinkLab) -> None:
    film, copy = linked.pair()
    db, old = linked.lab.db, copy.stat().st_ino
    where = linked.lab.spot(copy).place
    db.execute(
        "INSERT INTO payloads (device_id, root_path, file_count, total_bytes, status,"
        " last_built_at) VALUES (?, 'b', 1, 1, 'incomplete', '')",
        (where.device_id,),
    )
    db.execute(
        "INSERT INTO payload_members VALUES (1, 'film', 1, NULL, ?, ?)", (old, where.relpath)
    )
    on_disk = TorrentFileOnDisk("film", 1, where.device_id, where.relpath, old)
    an_instance(linked.lab.catalog, "t1", [on_disk])
    linked.execute()
    inodes = [
        db.one(f"SELECT inode FROM {table}")[0]  # type: ignore[index]
        for table in ("payload_members", "torrent_files")
    ]
    assert inodes == [film.stat().st_ino] * 2


@pytest.mark.parametrize("name", [LONG, STRANGE, "-rf", "x" * 255])
def test_names_of_every_kind_are_linked(linked: LinkLab, name: str) -> None:
    film, copy = linked.pair("plain", f"folder/{name}")
    linked.execute()
    assert same_file(film, copy)


@pytest.mark.parametrize("verify", ["bytes", "hash", "none"])
@pytest.mark.parametrize("size", [1, 5000, (1 << 20) - 1, 1 << 20, (2 << 20) + 17])
def test_every_way_to_verify_links_what_is_equal(linked: LinkLab, verify: str, size: int) -> None:
    pair = linked.pair(content=os.urandom(size))
    linked.execute(verify=verify)
    assert same_file(*pair)


def test_the_bytes_of_large_files_are_compared_to_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compare, "DROP_EVERY", 2 << 20)
    content = bytearray(os.urandom((5 << 20) + 3))
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_bytes(content)
    for position in (0, 1 << 20, (3 << 20) - 1, len(content) - 1, None):
        changed = bytearray(content)
        if position is not None:
            changed[position] ^= 1
        other.write_bytes(changed)
        with one.open("rb") as a, other.open("rb") as b:
            same = compare.same_bytes(a.fileno(), b.fileno(), len(content), keep_first=True)
            assert same is (position is None)
            longer = compare.same_bytes(a.fileno(), b.fileno(), len(content) - 1)
            assert longer is False


def test_empty_files_are_left_alone_unless_asked(linked: LinkLab) -> None:
    pair = linked.pair(content=b"")
    linked.execute()
    assert not same_file(*pair)
    linked.execute(linked.plan(min_size=0))
    assert same_file(*pair)


# -- plans and their states


def test_an_unknown_plan_is_told_with_the_catalog_that_was_asked(linked: LinkLab) -> None:
    with pytest.raises(Misused, match=r"no link plan 7 in .*catalog\.db"):
        linked.runner().execute(7, _options())


def _options() -> Any:
    from hashall.linking.running import RunOptions

    return RunOptions(dry_run=False)


def test_a_plan_that_nobody_approved_is_not_executed_without_force(linked: LinkLab) -> None:
    film, copy = linked.pair()
    plan = linked.plan()
    with pytest.raises(NotApproved, match="is not approved"):
        linked.execute(plan, force=False)
    assert not same_file(film, copy)
    approved = linked.links().approve(plan.plan_id)
    assert approved.status is PlanStatus.APPROVED
    assert approved.approved_by
    linked.execute(plan, force=False)
    assert same_file(film, copy)


@pytest.mark.parametrize("end", ["executed", "cancelled"])
def test_a_closed_plan_does_nothing_any_more(linked: LinkLab, end: str) -> None:
    film, copy = linked.pair()
    plan = linked.plan()
    if end == "executed":
        linked.execute(plan)
    else:
        linked.links().cancel(plan.plan_id)
    with pytest.raises(PlanClosed, match=end):
        linked.execute(plan)
    assert same_file(film, copy) is (end == "executed")


def test_a_limit_does_a_part_and_the_next_run_goes_on(linked: LinkLab) -> None:
    paths = linked.pair("a", "b", "c", "d")
    plan = linked.plan()
    first = linked.execute(plan, limit=2)
    assert (first.done, first.left) == (2, 1)
    assert linked.links().find(plan.plan_id).status is PlanStatus.RUNNING
    assert linked.execute(plan).done == 1
    assert same_file(*paths)


def test_many_actions_are_done_in_several_batches(
    linked: LinkLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execute, "BATCH_ACTIONS", 3)
    monkeypatch.setattr("hashall.linking.folders.MOST_OPEN", 2)
    paths = linked.pair(*(f"folder-{number}/film" for number in range(12)))
    assert linked.execute().done == 11
    assert same_file(*paths)


# -- what moved since the plan


def rewrite(path: Path) -> None:
    path.write_bytes(b"other bytes, other size")


def touch(path: Path) -> None:
    settle(path, seconds_ago=77)


def replace(path: Path) -> None:
    times = path.stat()
    path.rename(path.with_suffix(".old"))
    path.write_bytes(CONTENT)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def symlink(path: Path) -> None:
    path.rename(path.with_suffix(".old"))
    path.symlink_to(path.with_suffix(".old"))


def remove(path: Path) -> None:
    path.unlink()


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def swap_folder(path: Path) -> None:
    path.parent.rename(path.parent.with_name("elsewhere"))
    path.parent.symlink_to("elsewhere")


MOVED: list[tuple[Callable[[Path], None], str]] = [
    *((rewrite, "changed"), (touch, "changed"), (replace, "changed")),
    *((symlink, "not-a-file"), (remove, "missing"), (pipe, "not-a-file")),
    (swap_folder, "unsafe-path"),
]


@pytest.mark.parametrize(("move", "reason"), MOVED, ids=lambda v: getattr(v, "__name__", v))
@pytest.mark.parametrize("side", ["source", "target"])
def test_what_moved_since_the_plan_is_skipped_and_nothing_else(
    linked: LinkLab, move: Callable[[Path], None], reason: str, side: str
) -> None:
    film, copy = linked.pair("1/film", "2/film")
    other = linked.pair("3/show", "4/show", content=b"show")
    plan = linked.plan()
    move(film if side == "source" else copy)
    before = contents(linked.root)
    done = linked.execute(plan)
    assert skipped_because(done) == [reason]
    assert done.done == 1
    assert same_file(*other)
    assert contents(linked.root) == before
    assert linked.ours() == []


def test_a_name_that_is_the_link_by_now_needs_nothing(linked: LinkLab) -> None:
    film, copy = linked.pair()
    plan = linked.plan()
    copy.unlink()
    os.link(film, copy)
    assert skipped_because(linked.execute(plan)) == ["already-linked"]


def test_equal_hashes_with_different_bytes_are_found_and_forgotten(linked: LinkLab) -> None:
    film, copy = linked.pair()
    copy.write_bytes(b"X" + CONTENT[1:])
    settle(copy)
    linked.lab.scan()
    wrong = hashlib.sha256(CONTENT).hexdigest()
    files = linked.lab.files()
    linked.lab.db.execute(f"UPDATE inodes_{files.device_id} SET sha256 = ?", (wrong,))
    done = linked.execute()
    assert skipped_because(done) == ["bytes-differ"]
    assert not same_file(film, copy)
    assert {file.sha256 for file in files.everything()} == {None}
    linked.lab.scan()
    assert len({file.sha256 for file in files.everything()}) == 2
    assert linked.plan().actions["HARDLINK"].count == 0


def test_a_wrong_hash_is_found_by_hashing_too(linked: LinkLab) -> None:
    pair = linked.pair()
    files = linked.lab.files()
    linked.lab.db.execute(f"UPDATE inodes_{files.device_id} SET sha256 = ?", ("0" * 64,))
    assert skipped_because(linked.execute(verify="hash")) == ["bytes-differ"]
    assert not same_file(*pair)


# -- metadata


def chown(path: Path) -> None:
    os.chown(path, 1234, 1234)


def chmod(path: Path) -> None:
    path.chmod(0o600)


def attribute(path: Path) -> None:
    os.setxattr(path, "user.seedkeep", b"1")


def acl(path: Path) -> None:
    entries = [(0x01, 6, 0xFFFFFFFF), (0x02, 6, 1234), (0x04, 4, 0xFFFFFFFF)]
    entries += [(0x10, 6, 0xFFFFFFFF), (0x20, 4, 0xFFFFFFFF)]
    packed = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    path.chmod(0o664)
    os.setxattr(path, "system.posix_acl_access", packed)


def capability(path: Path) -> None:
    subprocess.run(["setcap", "cap_net_bind_service=ep", path], check=True)


@pytest.mark.root
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        *((chown, "owner-differs"), (chmod, "mode-differs"), (attribute, "attributes-differ")),
        *((acl, "mode-differs"), (capability, "attributes-differ")),
    ],
    ids=lambda v: getattr(v, "__name__", v),
)
def test_a_difference_in_metadata_stops_the_link_unless_asked(
    linked: LinkLab, change: Callable[[Path], None], reason: str
) -> None:
    film, copy = linked.pair()
    change(copy)
    linked.lab.scan()
    assert skipped_because(linked.execute()) == [reason]
    assert not same_file(film, copy)
    assert linked.execute(match_owner=True).done == 1
    assert same_file(film, copy)


def test_acls_alone_are_a_difference(linked: LinkLab) -> None:
    film, copy = linked.pair()
    acl(copy)
    film.chmod(copy.stat().st_mode & 0o777)
    linked.lab.scan()
    assert skipped_because(linked.execute()) == ["attributes-differ"]


def test_files_with_holes_are_left_alone(linked: LinkLab) -> None:
    for name in ("a", "b"):
        path = linked.lab.write(name, b"")
        with path.open("r+b") as out:
            out.truncate(3 << 20)
            out.seek(2 << 20)
            out.write(b"end")
        os.utime(path, (1_700_000_000, 1_700_000_000))
    linked.lab.scan()
    assert skipped_because(linked.execute()) == ["sparse"]


# -- torrents


def test_files_of_unfinished_torrents_are_never_linked(linked: LinkLab) -> None:
    film, copy = linked.pair()
    plan = linked.plan()
    an_instance(linked.lab.catalog, "t1")
    place = linked.lab.spot(copy).place
    linked.lab.catalog.link_groups.put_unfinished(
        "t1", [(place.device_id, place.relpath, copy.stat().st_ino)]
    )
    assert skipped_because(linked.execute(plan)) == ["unfinished"]
    later = linked.plan()
    assert (later.actions["SKIP"].count, later.actions["HARDLINK"].count) == (1, 0)
    assert not same_file(film, copy)


# -- other programs


@contextmanager
def writer(path: Path) -> Iterator[None]:
    with path.open("r+b"):
        yield


@pytest.mark.parametrize("side", [0, 1])
def test_a_file_that_a_program_has_open_for_writing_is_skipped(linked: LinkLab, side: int) -> None:
    pair = linked.pair()
    plan = linked.plan()
    with writer(pair[side]):
        assert skipped_because(linked.execute(plan)) == ["open-for-writing"]
    assert not same_file(*pair)


def test_readers_are_welcome(linked: LinkLab) -> None:
    film, copy = linked.pair()
    with film.open("rb"), copy.open("rb") as reader:
        assert linked.execute().done == 1
        assert reader.read() == CONTENT
    assert same_file(film, copy)


@pytest.mark.parametrize("moment", ["comparing", "swapped", "settling"])
def test_a_writer_that_comes_meanwhile_waits_and_keeps_its_file(
    linked: LinkLab, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """It opens the old file for writing while we hold a lease on it: nothing it writes is lost."""
    film, copy = linked.pair()
    old = os.open(copy, os.O_RDONLY)  # a way to the old file whatever its names are
    opener = threading.Thread(target=append_to, args=(Path(f"/proc/self/fd/{old}"),))
    point = {
        "comparing": (execute, "refuse_difference"),
        "swapped": (fsreplace, "swap_in_link"),
        "settling": (execute, "sync"),
    }[moment]
    real = getattr(*point)

    def and_then(*args: Any, **named: Any) -> Any:
        answer = real(*args, **named)
        if not opener.is_alive() and not opener.ident:
            opener.start()
            until_lease_breaks(old)
        return answer

    monkeypatch.setattr(*point, and_then)
    done = linked.execute()
    opener.join(20)
    os.close(old)
    assert skipped_because(done) == ["open-for-writing"]
    assert copy.read_bytes() == CONTENT + b"more"
    assert film.read_bytes() == CONTENT
    assert linked.ours() == []


def test_a_file_that_takes_the_name_between_look_and_swap_is_put_back(
    linked: LinkLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    film, copy = linked.pair()
    real = fsreplace.exchange

    def late(folder: int, one: str, other: str) -> bool:
        if not linked.root.joinpath("stranger").exists():
            linked.lab.write("stranger", b"a newer version")
            (linked.root / "stranger").rename(copy)
            (linked.root / "stranger").touch()
        return real(folder, one, other)

    monkeypatch.setattr(fsreplace, "exchange", late)
    assert skipped_because(linked.execute()) == ["changed"]
    assert copy.read_bytes() == b"a newer version"
    assert film.read_bytes() == CONTENT
    assert linked.ours() == []


def test_a_filesystem_without_exchange_gets_a_plain_rename(
    linked: LinkLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = linked.pair()
    monkeypatch.setattr(fsreplace, "exchange", lambda *_: False)
    assert linked.execute().done == 1
    assert same_file(*pair)
    assert linked.ours() == []


def test_without_leases_writers_are_looked_for_in_proc(
    linked: LinkLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = linked.pair()
    real = fcntl.fcntl

    def refuse(fd: int, command: int, argument: int = 0) -> int:
        if command == fcntl.F_SETLEASE:
            raise OSError(22, "Invalid argument")
        return real(fd, command, argument)

    monkeypatch.setattr(leases.fcntl, "fcntl", refuse)
    with writer(pair[0]):
        assert skipped_because(linked.execute()) == ["open-for-writing"]
    assert linked.execute().done == 1
    assert same_file(*pair)


def test_the_signal_of_a_broken_lease_is_harmless() -> None:
    assert signal.getsignal(signal.SIGURG) in (signal.SIG_DFL, signal.SIG_IGN)


# -- what the system says


@pytest.mark.parametrize(
    ("call", "errno", "reason"),
    [
        *(("link", 28, "no-space"), ("link", 122, "no-space"), ("link", 31, "too-many-links")),
        *(("link", 13, "no-permission"), ("link", 30, "read-only"), ("link", 17, "leftover")),
        *(
            ("renameat2", 28, "no-space"),
            ("renameat2", 1, "no-permission"),
            ("link", 5, "io-error"),
            ("link", 117, "io-error"),
            ("link", 107, "io-error"),
        ),
    ],
)
@pytest.mark.parametrize("at", [0, 1])
def test_a_refusal_of_the_system_skips_and_leaves_nothing_behind(
    linked: LinkLab, call: str, errno: int, reason: str, at: int
) -> None:
    """EDQUOT, ENOSPC and their like, at the first and at the second of two names."""
    linked.pair("1", "2", "3", "4")
    before = contents(linked.root)
    with failing(call, errno, at=at):
        done = linked.execute()
    assert skipped_because(done) == [reason]
    assert done.done == 2
    assert contents(linked.root) == before
    assert linked.ours() == []


def test_an_unknown_error_stops_and_the_next_run_puts_everything_in_order(
    linked: LinkLab,
) -> None:
    paths = linked.pair("1", "2", "3")
    plan = linked.plan()
    with failing("link", 99, at=2), pytest.raises(OSError, match="99"):
        linked.execute(plan)
    assert linked.ours() == []
    done = linked.execute(plan)
    assert done.left == 0
    assert same_file(*paths)
