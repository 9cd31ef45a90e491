from __future__ import annotations

import errno
import hashlib
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.filesystems import two_sides
from tests.support.kill_points import changes_of, failing, killed_at, without_noreplace
from tests.support.tree_snapshot import snapshot

from hashall import fscopy
from hashall.fsops import (
    PREFIX,
    CannotChange,
    CopyMismatch,
    NoSpace,
    SourceChanged,
    TargetOccupied,
    UnsafePath,
    copy_in,
)
from hashall.hashing import BLOCK, ChangedWhileReading, FileStamp

DATA = os.urandom(2 * BLOCK + 12345)
SHA = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def stash(tmp_path: Path) -> Path:
    folder = tmp_path / "stash"
    folder.mkdir()
    return folder


@pytest.fixture
def pool() -> Iterator[Path]:
    """On another filesystem than the stash."""
    with tempfile.TemporaryDirectory(prefix="seedkeep-pool-", dir="/dev/shm") as name:
        yield Path(name)


@pytest.fixture
def film(stash: Path) -> Path:
    film = stash / "film.mkv"
    film.write_bytes(DATA)
    film.chmod(0o640)
    os.chown(film, 1234, 2345)
    os.setxattr(film, "user.seen", b"yes")
    os.utime(film, ns=(1_600_000_000_123_456_789, 1_500_000_000_987_654_321))
    return film


def stamp_of(path: Path) -> FileStamp:
    return FileStamp.of(path.stat())


def test_a_copy_has_the_bytes_times_mode_owner_and_attributes_of_its_source(
    film: Path, pool: Path
) -> None:
    steps: list[int] = []

    copied = copy_in(
        film, pool / "film.mkv", sha256=SHA, stamp=stamp_of(film), progress=steps.append
    )

    copy = pool / "film.mkv"
    assert copy.read_bytes() == DATA
    assert copy.stat().st_mtime_ns == film.stat().st_mtime_ns
    assert stat.S_IMODE(copy.stat().st_mode) == 0o640
    assert (copy.stat().st_uid, copy.stat().st_gid) == (1234, 2345)
    assert os.getxattr(copy, "user.seen") == b"yes"
    assert (copied.method, copied.bytes_written, copied.not_kept) == ("copy", len(DATA), ())
    assert sum(steps) == len(DATA)
    assert [entry.name for entry in pool.iterdir()] == ["film.mkv"]


def test_an_access_control_list_is_kept(film: Path, pool: Path) -> None:
    # posix_acl_access, version 2: user::rw- user:33:r-- group::r-- mask::r-- other::---
    entries = [(1, 6, -1), (2, 4, 33), (4, 4, -1), (16, 4, -1), (32, 0, -1)]
    acl = (2).to_bytes(4, "little") + b"".join(
        tag.to_bytes(2, "little")
        + rights.to_bytes(2, "little")
        + who.to_bytes(4, "little", signed=True)
        for tag, rights, who in entries
    )
    os.setxattr(film, "system.posix_acl_access", acl)

    copied = copy_in(film, pool / "film.mkv", sha256=SHA, stamp=stamp_of(film))

    assert copied.not_kept == ()
    assert os.getxattr(pool / "film.mkv", "system.posix_acl_access") == acl


def test_what_the_target_cannot_keep_is_reported_and_no_failure(film: Path, pool: Path) -> None:
    with failing("setxattr", errno.ENOTSUP), failing("fchmod", errno.EPERM):
        copied = copy_in(film, pool / "film.mkv", sha256=SHA, stamp=stamp_of(film))

    assert copied.not_kept == ("mode", "user.seen")
    assert (pool / "film.mkv").read_bytes() == DATA


def test_what_an_earlier_copy_could_not_keep_is_reported_again(film: Path, pool: Path) -> None:
    with failing("setxattr", errno.ENOTSUP), failing("fchmod", errno.EPERM):
        first = copy_in(film, pool / "film.mkv", sha256=SHA, stamp=stamp_of(film))

    again = copy_in(film, pool / "film.mkv", sha256=SHA, stamp=stamp_of(film))

    assert (again.method, again.not_kept) == ("already there", first.not_kept)


def test_a_user_who_may_not_give_files_away_gets_a_copy_without_set_user_id(
    film: Path, pool: Path
) -> None:
    film.chmod(0o4755)

    with failing("fchown", errno.EPERM, times=2):
        copied = copy_in(film, pool / "film.mkv", sha256=SHA, stamp=stamp_of(film))

    assert copied.not_kept == ("owner",)
    assert stat.S_IMODE((pool / "film.mkv").stat().st_mode) == 0o755


def test_a_source_without_attribute_support_is_copied(
    film: Path, pool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_fd: int) -> list[str]:
        raise OSError(errno.ENOTSUP, "not supported")

    monkeypatch.setattr(os, "listxattr", refuse)

    assert copy_in(film, pool / "film.mkv", sha256=SHA, stamp=stamp_of(film)).not_kept == ()


@pytest.mark.parametrize("call", ["listxattr", "getxattr"])
def test_a_disk_that_fails_on_attributes_fails_the_copy(
    film: Path, pool: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "input/output error")

    monkeypatch.setattr(os, call, fail)

    with pytest.raises(CannotChange, match="the disk failed"):
        copy_in(film, pool / "film.mkv", sha256=SHA, stamp=stamp_of(film))
    assert list(pool.iterdir()) == []


def test_a_second_copy_finds_the_first_and_writes_nothing(film: Path, pool: Path) -> None:
    copy_in(film, pool / "film.mkv", sha256=SHA, stamp=stamp_of(film))
    before = (pool / "film.mkv").stat()

    again = copy_in(film, pool / "film.mkv", sha256=SHA, stamp=stamp_of(film))

    assert (again.method, again.bytes_written) == ("already there", 0)
    assert (pool / "film.mkv").stat().st_ino == before.st_ino


@pytest.mark.parametrize(
    "other", [b"short", os.urandom(len(DATA))], ids=["another size", "the same size"]
)
def test_a_target_with_other_content_is_left_alone(film: Path, pool: Path, other: bytes) -> None:
    (pool / "film.mkv").write_bytes(other)
    before = snapshot(pool)

    with pytest.raises(TargetOccupied, match="already exists"):
        copy_in(film, pool / "film.mkv", sha256=SHA, stamp=stamp_of(film))
    assert snapshot(pool) == before


def test_a_symlink_at_the_target_is_neither_followed_nor_replaced(film: Path, pool: Path) -> None:
    # Its own length equals the size of the source, so that size alone does not tell.
    film.write_bytes(b"1234")
    (pool / "1234").write_bytes(b"1234")
    (pool / "film.mkv").symlink_to("1234")
    before = snapshot(pool)

    with pytest.raises(TargetOccupied):
        copy_in(
            film,
            pool / "film.mkv",
            sha256=hashlib.sha256(b"1234").hexdigest(),
            stamp=stamp_of(film),
        )
    assert snapshot(pool) == before


def test_another_name_of_the_source_is_no_copy_of_it(film: Path, stash: Path) -> None:
    (stash / "link.mkv").hardlink_to(film)

    with pytest.raises(TargetOccupied, match="another name of the source"):
        copy_in(film, stash / "link.mkv", sha256=SHA, stamp=stamp_of(film))


def test_a_target_that_appears_meanwhile_is_not_replaced(film: Path, pool: Path) -> None:
    target = pool / "film.mkv"

    def newcomer(_: int) -> None:
        target.write_bytes(b"newcomer")

    with pytest.raises(TargetOccupied):
        copy_in(film, target, sha256=SHA, stamp=stamp_of(film), progress=newcomer)
    assert target.read_bytes() == b"newcomer"
    assert [entry.name for entry in pool.iterdir()] == ["film.mkv"]


def test_two_writers_of_one_target_do_not_mix(film: Path, pool: Path) -> None:
    def other_run(_: int) -> None:
        (temp,) = pool.glob(f"{PREFIX}part-*")
        temp.unlink()
        temp.write_bytes(b"half of the other run's copy")

    with pytest.raises(TargetOccupied, match="another process"):
        copy_in(film, pool / "film.mkv", sha256=SHA, stamp=stamp_of(film), progress=other_run)


def test_bytes_that_are_not_those_of_the_catalog_never_appear(film: Path, pool: Path) -> None:
    with pytest.raises(CopyMismatch, match="not those in the catalog"):
        copy_in(film, pool / "film.mkv", sha256="0" * 64, stamp=stamp_of(film))
    assert list(pool.iterdir()) == []


@pytest.mark.parametrize("change", ["content", "gone", "symlink", "fifo"])
def test_a_source_that_is_not_the_planned_file_is_refused(
    film: Path, pool: Path, change: str
) -> None:
    stamp = stamp_of(film)
    film.rename(film.with_name("aside"))
    if change == "content":
        film.write_bytes(DATA)
    elif change == "symlink":
        film.symlink_to("aside")
    elif change == "fifo":
        os.mkfifo(film)

    with pytest.raises(SourceChanged, match="not the file that was planned"):
        copy_in(film, pool / "film.mkv", sha256=SHA, stamp=stamp)
    assert list(pool.iterdir()) == []


@pytest.mark.parametrize("change", ["grows", "is touched"])
def test_a_source_that_changes_while_it_is_copied_is_refused(
    film: Path, pool: Path, change: str
) -> None:
    def change_it(_: int) -> None:
        if change == "grows":
            with film.open("ab") as more:
                more.write(b"x")
        else:
            os.utime(film)

    with pytest.raises(SourceChanged, match="changed while it was copied"):
        copy_in(film, pool / "film.mkv", sha256=SHA, stamp=stamp_of(film), progress=change_it)
    assert list(pool.iterdir()) == []


def test_a_leftover_of_a_killed_copy_is_replaced(film: Path, pool: Path) -> None:
    def copy() -> object:
        return copy_in(film, pool / "film.mkv", sha256=SHA, stamp=stamp_of(film))

    assert killed_at(3, copy)
    assert [entry.name.startswith(f"{PREFIX}part-") for entry in pool.iterdir()] == [True]

    copy()

    assert [entry.name for entry in pool.iterdir()] == ["film.mkv"]
    assert (pool / "film.mkv").read_bytes() == DATA


@pytest.mark.parametrize("noreplace", [True, False], ids=["renameat2", "link and unlink"])
def test_killed_before_any_change_a_copy_is_whole_or_absent_and_the_repeat_completes_it(
    film: Path, pool: Path, noreplace: bool
) -> None:
    target = pool / "film.mkv"

    def copy() -> object:
        if noreplace:
            return copy_in(film, target, sha256=SHA, stamp=stamp_of(film))
        with without_noreplace():
            return copy_in(film, target, sha256=SHA, stamp=stamp_of(film))

    source = snapshot(film.parent)
    kills = 0
    while killed_at(kills, copy):
        if target.exists():
            assert target.read_bytes() == DATA
            assert target.stat().st_mtime_ns == film.stat().st_mtime_ns
        copy()
        assert snapshot(pool) == source
        target.unlink()
        kills += 1
    assert kills >= 12


def test_everything_is_on_disk_before_the_name_appears_and_the_name_before_the_return(
    film: Path, pool: Path
) -> None:
    target = pool / "film.mkv"
    calls = changes_of(lambda: copy_in(film, target, sha256=SHA, stamp=stamp_of(film)))

    assert calls[-3:] == ["fsync", "renameat2", "fsync"]
    assert not set(calls[:-3]) & {"fsync", "renameat2", "link"}

    repeated = changes_of(lambda: copy_in(film, target, sha256=SHA, stamp=stamp_of(film)))
    assert repeated.count("fsync") == 2  # the killed run may not have come that far


@pytest.mark.parametrize(
    ("call", "at", "code", "error", "words"),
    [
        ("write", 1, errno.ENOSPC, NoSpace, "disk is full"),
        ("write", 0, errno.EDQUOT, NoSpace, "quota"),
        ("write", 0, errno.EFBIG, NoSpace, "too large"),
        ("ioctl", 0, errno.ENOSPC, NoSpace, "disk is full"),
        ("fsync", 0, errno.ENOSPC, NoSpace, "disk is full"),
        ("fsync", 0, errno.EIO, CannotChange, "disk failed"),
        ("open", 0, errno.EROFS, CannotChange, "read-only"),
        ("open", 0, errno.EACCES, CannotChange, "permission denied"),
        ("setxattr", 0, errno.ENOSPC, NoSpace, "disk is full"),
        ("renameat2", 0, errno.EPERM, CannotChange, "does not allow"),
    ],
)
def test_an_error_is_told_in_words_and_leaves_nothing_behind(
    film: Path, pool: Path, *, call: str, at: int, code: int, error: type[Exception], words: str
) -> None:
    with failing(call, code, at=at), pytest.raises(error, match=words) as told:
        copy_in(film, pool / "film.mkv", sha256=SHA, stamp=stamp_of(film))
    assert list(pool.iterdir()) == []
    assert "hint: " in str(told.value)


def test_an_error_nobody_can_act_on_is_passed_through(film: Path, pool: Path) -> None:
    with failing("write", errno.EBADF), pytest.raises(OSError, match="Bad file descriptor"):
        copy_in(film, pool / "film.mkv", sha256=SHA, stamp=stamp_of(film))
    assert list(pool.iterdir()) == []


def test_ctrl_c_removes_the_unfinished_copy(film: Path, pool: Path) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        copy_in(film, pool / "film.mkv", sha256=SHA, stamp=stamp_of(film), progress=interrupt)
    assert list(pool.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["n" * 255, "line\nbreak", os.fsdecode(b"caf\xe9"), "-rf", "ü" * 127]
)
def test_every_name_that_linux_allows_can_be_copied(film: Path, pool: Path, name: str) -> None:
    copy_in(film, pool / name, sha256=SHA, stamp=stamp_of(film))

    assert (pool / name).read_bytes() == DATA


def test_a_name_that_is_too_long_is_told_in_words(film: Path, pool: Path) -> None:
    with pytest.raises(CannotChange, match="too long"):
        copy_in(film, pool / ("n" * 256), sha256=SHA, stamp=stamp_of(film))
    assert list(pool.iterdir()) == []


def test_a_target_that_names_no_file_is_refused(film: Path, pool: Path) -> None:
    with pytest.raises(UnsafePath):
        copy_in(film, pool / "..", sha256=SHA, stamp=stamp_of(film))


def test_a_planted_symlink_in_place_of_the_directory_is_not_followed(
    film: Path, pool: Path
) -> None:
    (pool / "elsewhere").mkdir()
    (pool / "staging").symlink_to("elsewhere")

    with pytest.raises(UnsafePath):
        copy_in(film, pool / "staging" / "film.mkv", sha256=SHA, stamp=stamp_of(film))
    assert list((pool / "elsewhere").iterdir()) == []


def test_a_missing_directory_is_told_in_words(film: Path, pool: Path) -> None:
    with pytest.raises(CannotChange, match="missing"):
        copy_in(film, pool / "none" / "film.mkv", sha256=SHA, stamp=stamp_of(film))


def test_an_empty_file_is_copied(stash: Path, pool: Path) -> None:
    (stash / "empty").touch()

    copied = copy_in(
        stash / "empty",
        pool / "empty",
        sha256=hashlib.sha256(b"").hexdigest(),
        stamp=stamp_of(stash / "empty"),
    )

    assert copied.bytes_written == 0
    assert (pool / "empty").read_bytes() == b""


def test_holes_stay_holes(stash: Path, pool: Path) -> None:
    sparse = stash / "sparse"
    sparse.write_bytes(b"start")
    os.truncate(sparse, 8 * BLOCK)
    data = sparse.read_bytes()

    copied = copy_in(
        sparse,
        pool / "sparse",
        sha256=hashlib.sha256(data).hexdigest(),
        stamp=stamp_of(sparse),
    )

    assert (pool / "sparse").read_bytes() == data
    assert copied.bytes_written == BLOCK
    assert (pool / "sparse").stat().st_blocks * 512 <= BLOCK


def test_writes_that_come_in_pieces_are_one_file(
    film: Path, pool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, block: real(fd, bytes(block[:300_001])))

    copy_in(film, pool / "film.mkv", sha256=SHA, stamp=stamp_of(film))

    assert (pool / "film.mkv").read_bytes() == DATA


def test_no_descriptor_stays_open_whatever_happens(film: Path, pool: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))

    copy_in(film, pool / "film.mkv", sha256=SHA, stamp=stamp_of(film))
    copy_in(film, pool / "film.mkv", sha256=SHA, stamp=stamp_of(film))
    with pytest.raises(SourceChanged):
        copy_in(film, pool / "2", sha256=SHA, stamp=stamp_of(pool / "film.mkv"))
    with pytest.raises(CopyMismatch):
        copy_in(film, pool / "2", sha256="0" * 64, stamp=stamp_of(film))

    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.root
@pytest.mark.parametrize("kind", ["btrfs", "xfs"])
def test_a_filesystem_that_shares_blocks_writes_nothing_and_is_still_read_to_the_end(
    kind: str,
) -> None:
    with two_sides(kind) as sides:
        # Two xfs images share nothing, so there the copy stays inside the stash.
        target = (sides.pool if kind == "btrfs" else sides.stash) / "copy.mkv"
        film = sides.stash / "film.mkv"
        film.write_bytes(DATA)
        steps: list[int] = []

        copied = copy_in(film, target, sha256=SHA, stamp=stamp_of(film), progress=steps.append)

        assert (copied.method, copied.bytes_written) == ("reflink", 0)
        assert sum(steps) == len(DATA)
        assert target.read_bytes() == DATA
        target.unlink()
        with pytest.raises(CopyMismatch):
            copy_in(film, target, sha256="0" * 64, stamp=stamp_of(film))
        assert not target.exists()


def test_a_clone_that_changes_while_it_is_read_is_removed(
    film: Path, pool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fscopy, "_clone", lambda _src, out: os.write(out, DATA) > 0)

    def damage(_: int) -> None:
        (temp,) = pool.glob(f"{PREFIX}part-*")
        os.truncate(temp, 3)

    with pytest.raises((ChangedWhileReading, CopyMismatch)):
        copy_in(film, pool / "film.mkv", sha256=SHA, stamp=stamp_of(film), progress=damage)
    assert list(pool.iterdir()) == []
