"""Full disks, read-only disks, and power cuts, on mounted filesystems."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import stat
import struct
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from tests.support.filesystems import (
    btrfs,
    ext4,
    image,
    lab_folder,
    mounted,
    tmpfs,
    two_sides,
    xfs,
)
from tests.support.tree_snapshot import snapshot

from hashall.fsops import (
    PREFIX,
    CannotChange,
    NoSpace,
    TooManyLinks,
    copy_in,
    link_files,
    make_dirs,
    move_files,
    remove_tree_of_ours,
    retire_file,
)
from hashall.hashing import BLOCK, FileStamp

pytestmark = pytest.mark.root

ACL = "system.posix_acl_access"
EXT4_IOC_SHUTDOWN = 0x8004587D
NO_LOG_FLUSH = 2  # what is only in memory is gone, as when the power fails


@pytest.fixture
def lab() -> Iterator[Path]:
    with lab_folder() as folder:
        yield folder


def make_file(path: Path, size: int) -> tuple[str, FileStamp]:
    data = os.urandom(size)
    path.write_bytes(data)
    return hashlib.sha256(data).hexdigest(), FileStamp.of(path.stat())


def test_a_full_disk_stops_a_copy_and_gets_its_space_back(lab: Path) -> None:
    film = lab / "film"
    sha256, stamp = make_file(film, 3 * BLOCK)
    with tmpfs(lab / "pool", "2M") as pool:
        free = os.statvfs(pool).f_bfree

        with pytest.raises(NoSpace, match="disk is full"):
            copy_in(film, pool / "film", sha256=sha256, stamp=stamp)

        assert list(pool.iterdir()) == []
        assert os.statvfs(pool).f_bfree == free
    assert FileStamp.of(film.stat()) == stamp


def test_a_disk_without_inodes_is_full_too(lab: Path) -> None:
    sha256, stamp = make_file(lab / "film", 10)
    options = "size=2M,nr_inodes=2"
    with mounted("lab", lab / "pool", fs_type="tmpfs", options=options) as pool:
        (pool / "last").touch()

        with pytest.raises(NoSpace):
            copy_in(lab / "film", pool / "film", sha256=sha256, stamp=stamp)
        with pytest.raises(NoSpace):
            make_dirs(pool / "a")
        assert [entry.name for entry in pool.iterdir()] == ["last"]


def test_a_read_only_disk_is_told_in_words_and_nothing_changes(lab: Path) -> None:
    sha256, stamp = make_file(lab / "film", 10)
    (lab / "data").mkdir()
    (lab / "data" / "target").mkdir()
    _, inside = make_file(lab / "data" / "old", 10)
    with mounted(lab / "data", lab / "shown", options="bind,ro") as shown:
        before = snapshot(shown)
        attempts: list[Callable[[], object]] = [
            lambda: copy_in(lab / "film", shown / "film", sha256=sha256, stamp=stamp),
            lambda: make_dirs(shown / "a"),
            lambda: move_files(shown, shown / "target", ["old"]),
            lambda: link_files([(shown / "old", "new")], shown),
            lambda: retire_file(shown, "old", stamp=inside),
        ]
        for attempt in attempts:
            with pytest.raises(CannotChange, match="read-only"):
                attempt()
        assert snapshot(shown) == before


@pytest.mark.parametrize("operation", ["retire", "move"])
def test_an_immutable_file_stays_and_the_hint_says_where_to_look(lab: Path, operation: str) -> None:
    get_flags, set_flags, immutable = 0x80086601, 0x40086602, 0x10
    _, stamp = make_file(lab / "film", 10)
    (lab / "new").mkdir()
    attempts: dict[str, Callable[[], object]] = {
        "retire": lambda: retire_file(lab, "film", stamp=stamp),
        "move": lambda: move_files(lab, lab / "new", ["film"]),
    }
    with (lab / "film").open("rb") as film:
        (flags,) = struct.unpack("l", fcntl.ioctl(film, get_flags, bytes(8)))
        fcntl.ioctl(film, set_flags, struct.pack("l", flags | immutable))
        try:
            with pytest.raises(CannotChange, match="lsattr"):
                attempts[operation]()
        finally:
            fcntl.ioctl(film, set_flags, struct.pack("l", flags))
    assert (lab / "film").exists()


def cut_the_power(point: Path) -> None:
    fd = os.open(point, os.O_RDONLY)
    try:
        fcntl.ioctl(fd, EXT4_IOC_SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
    finally:
        os.close(fd)


def after_a_power_cut(lab: Path, act: Callable[[Path], None]) -> dict[str, bytes | None]:
    """Contents by name of an ext4 that lost its power right after `act(mount point)`."""
    disk = image(lab, "ext4", "32M")
    with mounted(disk, lab / "disk", options="loop") as point:
        act(point)
        cut_the_power(point)
    with mounted(disk, lab / "disk", options="loop") as point:
        return {name: entry.content for name, entry in snapshot(point).items()}


def test_a_power_cut_does_lose_what_nobody_saved(lab: Path) -> None:
    def write(disk: Path) -> None:
        (disk / "unsaved").write_bytes(b"unsaved")

    assert "unsaved" not in after_a_power_cut(lab, write)


def test_a_copy_that_returned_survives_a_power_cut(lab: Path) -> None:
    sha256, stamp = make_file(lab / "film", 2 * BLOCK + 5)

    def copy(disk: Path) -> None:
        make_dirs(disk / "pool" / "Film")
        copy_in(lab / "film", disk / "pool" / "Film" / "a.mkv", sha256=sha256, stamp=stamp)

    found = after_a_power_cut(lab, copy)

    assert found["pool/Film/a.mkv"] == (lab / "film").read_bytes()
    assert not [name for name in found if PREFIX in name]


def test_moves_links_and_removals_that_returned_survive_a_power_cut(lab: Path) -> None:
    def work(disk: Path) -> None:
        for folder in ("old/Film", "new", "view", f"{PREFIX}stage"):
            (disk / folder).mkdir(parents=True)
        for name in ("old/Film/a", "old/Film/b", f"{PREFIX}stage/c", "retired"):
            (disk / name).write_bytes(name.encode())
        os.sync()
        move_files(disk / "old", disk / "new", ["Film/a"])
        link_files([(disk / "old" / "Film" / "b", "Film/Subs/b")], disk / "view")
        remove_tree_of_ours(disk / f"{PREFIX}stage")
        stamp = FileStamp.of((disk / "retired").stat())
        assert retire_file(disk, "retired", stamp=stamp) == len("retired")

    found = after_a_power_cut(lab, work)

    files = {name: content for name, content in found.items() if content is not None}
    assert files == {
        "new/Film/a": b"old/Film/a",
        "old/Film/b": b"old/Film/b",
        "view/Film/Subs/b": b"old/Film/b",
    }
    assert f"{PREFIX}stage" not in found


@pytest.mark.parametrize("kind", ["shm", "ext4", "xfs", "btrfs", "zfs"])
def test_every_filesystem_of_the_lab_takes_a_copy_and_its_view(kind: str) -> None:
    with two_sides(kind) as sides:
        film = sides.stash / "film"
        sha256, stamp = make_file(film, BLOCK + 5)
        (stage,) = make_dirs(sides.pool / f"{PREFIX}stage", like=sides.stash)

        copied = copy_in(film, stage / "0", sha256=sha256, stamp=stamp)
        link_files([(stage / "0", "view/Film/a.mkv"), (stage / "0", "view/b.mkv")], stage)
        move_files(stage / "view", sides.pool, ["Film/a.mkv", "b.mkv"])
        remove_tree_of_ours(stage)

        assert copied.method == ("reflink" if kind == "btrfs" else "copy")
        assert (sides.pool / "Film" / "a.mkv").read_bytes() == film.read_bytes()
        assert (sides.pool / "b.mkv").stat().st_nlink == 2
        assert (sides.pool / "b.mkv").stat().st_mtime_ns // 10**9 == stamp.mtime_ns // 10**9
        assert not list(sides.pool.glob(f"{PREFIX}*"))


def acl_for(user: int, mode: int) -> bytes:
    """user::rw-, user:USER:MODE, group::r--, mask::rw-, other::---, as the kernel stores it."""
    nobody = 2**32 - 1
    entries = (1, 6, nobody), (2, mode, user), (4, 4, nobody), (16, 6, nobody), (32, 0, nobody)
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def test_an_acl_that_was_changed_after_xfs_had_it_is_not_set_back_by_a_copy_to_xfs(
    lab: Path,
) -> None:
    """XFS lists each ACL under a name of its own, too, which other filesystems keep as it is."""
    with xfs(lab) as first, ext4(lab) as second:
        film, there, back = first / "film", second / "film", first / "back"
        sha256, stamp = make_file(film, 100)
        os.setxattr(film, ACL, acl_for(33, 6))
        copy_in(film, there, sha256=sha256, stamp=stamp)
        assert os.listxattr(there) == [ACL]
        os.setxattr(there, ACL, acl_for(33, 4))
        copy_in(there, back, sha256=sha256, stamp=FileStamp.of(there.stat()))
        assert os.getxattr(back, ACL) == acl_for(33, 4)


@pytest.mark.parametrize("make", [ext4, xfs, btrfs])
def test_a_copy_does_not_take_over_the_acl_that_its_folder_gives_new_files(
    lab: Path, make: Callable[[Path], AbstractContextManager[Path]]
) -> None:
    with make(lab) as disk:
        sha256, stamp = make_file(disk / "film", 100)
        (disk / "film").chmod(0o640)
        (disk / "pool").mkdir()
        os.setxattr(disk / "pool", "system.posix_acl_default", acl_for(33, 6))
        copied = copy_in(disk / "film", disk / "pool/film", sha256=sha256, stamp=stamp)
        assert (os.listxattr(disk / "pool/film"), copied.not_kept) == ([], ())
        assert stat.S_IMODE((disk / "pool/film").stat().st_mode) == 0o640


def test_an_inode_takes_as_many_names_as_its_filesystem_says(lab: Path) -> None:
    with ext4(lab, "64M") as disk:
        (disk / "film").write_bytes(b"film")
        limit = os.pathconf(disk, "PC_LINK_MAX")
        for number in range(limit - 1):
            os.link(disk / "film", disk / str(number))

        with pytest.raises(TooManyLinks, match="too many names") as told:
            link_files([(disk / "film", "one more")], disk)

        cause = told.value.__cause__
        assert isinstance(cause, OSError)
        assert cause.errno == errno.EMLINK
