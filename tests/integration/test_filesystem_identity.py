"""One place, one answer: on real mounts of every kind, seen in every way."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.support.filesystems import (
    SIDES,
    as_nobody,
    bind,
    destroy_pool,
    ext4,
    file_in,
    image,
    lab_folder,
    mounted,
    run,
    tmpfs,
    two_sides,
    unmount,
    xfs,
    zfs_pool,
)

import hashall
from hashall import devices
from hashall.devices import link_counts_are_true
from hashall.pathing import Located, MountTable, UnknownFilesystem

pytestmark = pytest.mark.root

PRINT_PLACE = """
import sys
from hashall.pathing import MountTable
there = MountTable.read().locate(sys.argv[1])
import json
print(json.dumps([there.identity.fs_key, there.relpath]))
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    with lab_folder() as path:
        yield path


def locate(path: Path) -> Located:
    return MountTable.read().locate(path)


def place(path: Path) -> tuple[str, str]:
    """What the catalog keeps of a path."""
    there = locate(path)
    return there.identity.fs_key, there.relpath


@pytest.mark.parametrize("kind", SIDES)
def test_two_sides_are_two_filesystems_and_each_path_comes_back(kind: str) -> None:
    with two_sides(kind) as sides:
        files = [file_in(side / "seeds") for side in sides]
        with pytest.raises(OSError, match="cross-device") as refused:
            os.link(files[0], files[1].with_name("second name"))
        assert refused.value.errno == errno.EXDEV
        table = MountTable.read()
        there = [table.locate(file) for file in files]
        assert there[0].identity.fs_key != there[1].identity.fs_key
        assert all(link_counts_are_true(one.identity.fs_type) for one in there)
        for one, side in zip(there, sides, strict=True):
            path = table.to_abspath(one.identity.fs_key, one.relpath, preferred=one.mount_point)
            assert path == str(side / "seeds" / "film.mkv")


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "zfs", "bind"])
def test_a_filesystem_that_carries_an_id_is_stable(kind: str) -> None:
    with two_sides(kind) as sides:
        assert [locate(side).identity.stable for side in sides] == [True, True]


# --- binds -------------------------------------------------------------------------------------


def test_a_mount_and_its_binds_are_one_place(folder: Path) -> None:
    with ext4(folder) as disk:
        file = file_in(disk / "data" / "seeds")
        with (
            bind(disk, folder / "whole"),
            bind(disk / "data", folder / "first"),
            bind(disk / "data", folder / "second"),
            bind(disk / "data" / "seeds", folder / "deep"),
            bind(file, folder / "alone.mkv"),
        ):
            ways = [
                file,
                folder / "whole/data/seeds/film.mkv",
                folder / "first/seeds/film.mkv",
                folder / "second/seeds/film.mkv",
                folder / "deep/film.mkv",
                folder / "alone.mkv",
            ]
            assert {place(way) for way in ways} == {place(file)}
            assert place(file)[1] == "data/seeds/film.mkv"
            assert [locate(way).abspath for way in ways] == [str(way) for way in ways]


def test_a_bind_of_the_same_filesystem_shows_only_as_a_mount_point(folder: Path) -> None:
    with ext4(folder) as disk:
        (disk / "a").mkdir()
        (disk / "b").mkdir()
        with bind(disk / "a", disk / "b"):
            assert (disk / "b").stat().st_dev == disk.stat().st_dev
            assert MountTable.read().is_mount_point(str(disk / "b"))
            assert place(disk / "b")[1] == "a"


def test_a_bind_of_a_bind_with_a_renamed_source_is_followed(folder: Path) -> None:
    with ext4(folder) as disk:
        file = file_in(disk / "old")
        with bind(disk / "old", folder / "shown"):
            table = MountTable.read()
            assert table.locate(folder / "shown/film.mkv").relpath == "old/film.mkv"
            (disk / "old").rename(disk / "new")  # no mount event tells of this
            there = table.locate(folder / "shown/film.mkv")
            assert there.relpath == "new/film.mkv"
            moved = disk / "new" / file.name
            assert table.to_abspath(there.identity.fs_key, there.relpath) == str(moved)


def test_a_bind_whose_source_was_removed_is_unknown(folder: Path) -> None:
    with ext4(folder) as disk:
        (disk / "gone").mkdir()
        with bind(disk / "gone", folder / "shown"):
            key = locate(disk).identity.fs_key
            (disk / "gone").rmdir()
            with pytest.raises(UnknownFilesystem, match="has been removed"):
                locate(folder / "shown")
            assert MountTable.read().to_abspath(key, "gone") == str(disk / "gone")


def test_what_lies_on_top_is_what_is_located(folder: Path) -> None:
    with ext4(folder) as disk:
        file = file_in(disk / "data")
        below = place(file)
        with tmpfs(disk / "data"):
            file_in(disk / "data")
            table = MountTable.read()
            assert table.locate(file).identity.fs_type == "tmpfs"
            assert table.locate(file).relpath == "film.mkv"
            assert table.to_abspath(*below) is None  # that file is hidden now
        assert place(file) == below


def test_two_mounts_on_one_point_are_told_apart(folder: Path) -> None:
    with tmpfs(folder / "x"), ext4(folder, name="x"):
        assert locate(folder / "x").identity.fs_type == "ext4"
        key = locate(folder / "x").identity.fs_key
        with tmpfs(folder / "x"):
            assert locate(folder / "x").identity.fs_type == "tmpfs"
            assert MountTable.read().to_abspath(key, "") is None


def test_a_hidden_file_is_found_through_another_mount(folder: Path) -> None:
    with ext4(folder) as disk:
        below = place(file_in(disk / "data"))
        with bind(disk, folder / "z-other"), tmpfs(disk / "data"):
            shown = MountTable.read().to_abspath(*below)
            assert shown == str(folder / "z-other/data/film.mkv")


def test_the_preferred_mount_point_wins(folder: Path) -> None:
    with ext4(folder) as disk:
        key, relpath = place(file_in(disk / "data"))
        with bind(disk / "data", folder / "shown"):
            table = MountTable.read()
            ask = table.to_abspath
            assert ask(key, relpath) == str(disk / "data/film.mkv")
            assert ask(key, relpath, preferred=f"{folder}/shown") == f"{folder}/shown/film.mkv"
            assert ask(key, relpath, preferred=f"{folder}/shown/") == f"{folder}/shown/film.mkv"
            assert ask(key, "other", preferred=f"{folder}/shown") == str(disk / "other")


def test_a_place_outside_the_shown_directory_is_unreachable(folder: Path) -> None:
    with ext4(folder) as disk:
        (disk / "data").mkdir()
        (disk / "data2").mkdir()
        key = locate(disk).identity.fs_key
        with bind(disk / "data", folder / "shown"):
            unmount(disk)
            table = MountTable.read()
            assert table.to_abspath(key, "data/film") == f"{folder}/shown/film"
            assert table.to_abspath(key, "data") == f"{folder}/shown"
            assert table.to_abspath(key, "data2/film") is None


def test_an_unmounted_filesystem_has_no_path(folder: Path) -> None:
    table = MountTable.read()
    with ext4(folder) as disk:
        there = table.locate(file_in(disk))
    assert table.to_abspath(there.identity.fs_key, there.relpath) is None


def test_mounts_that_come_and_go_are_noticed_without_a_refresh(folder: Path) -> None:
    table = MountTable.read()
    point = folder / "disk"
    first, second = (image(folder, "ext4", "32M") for _ in range(2))
    with mounted(first, point, options="loop"):
        one = table.locate(point)
    with mounted(second, point, options="loop"):
        two = table.locate(point)
    assert table.locate(point).identity.fs_key not in {one.identity.fs_key, two.identity.fs_key}
    assert one.identity.fs_key != two.identity.fs_key


def test_a_symlink_onto_another_filesystem_is_resolved_first(folder: Path) -> None:
    with ext4(folder) as disk, tmpfs(folder / "memory") as memory:
        file = file_in(disk / "data")
        (memory / "seeds").symlink_to(disk / "data")
        assert place(memory / "seeds" / "film.mkv") == place(file)


@pytest.mark.parametrize("name", [b"not \xff utf-8", b"two\nlines", b"a, b \\040", b"n" * 255])
def test_every_mount_point_and_bound_directory_works_whatever_its_name(
    folder: Path, name: bytes
) -> None:
    odd = os.fsdecode(name)
    with ext4(folder, name="disk") as disk:
        file = file_in(disk / odd)
        with bind(disk / odd, folder / odd) as shown:
            assert place(shown / "film.mkv") == place(file) == (place(disk)[0], f"{odd}/film.mkv")
            path = MountTable.read().to_abspath(*place(file), preferred=str(shown))
            assert path == str(shown / "film.mkv")
            assert MountTable.read().is_mount_point(str(shown))


def test_a_private_mount_namespace_sees_the_same_place(folder: Path) -> None:
    with ext4(folder) as disk:
        file = file_in(disk / "data" / "seeds")
        (folder / "container").mkdir()
        script = 'mount --bind "$1" "$2" && exec "$3" -c "$4" "$2/seeds/film.mkv"'
        command = ["unshare", "--mount", "sh", "-c", script, "sh"]
        arguments = [str(disk / "data"), f"{folder}/container", sys.executable, PRINT_PLACE]
        env = {**os.environ, "PYTHONPATH": ":".join(str(p.parent) for p in _packages())}
        done = subprocess.run([*command, *arguments], env=env, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        assert json.loads(done.stdout) == list(place(file))
        assert not (folder / "container" / "seeds").exists()


def _packages() -> list[Path]:
    return [Path(path) for path in hashall.__path__]


# --- lasting ids -------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "size"), [("ext4", "32M"), ("xfs", "300M"), ("btrfs", "128M")])
def test_a_disk_keeps_its_key_when_its_device_number_changes(
    folder: Path, kind: str, size: str
) -> None:
    disk, point = image(folder, kind, size), folder / "disk"
    with mounted(disk, point, options="loop"):
        before = after = locate(file_in(point))
    with ExitStack() as occupied:
        for number in range(20):
            occupied.enter_context(tmpfs(folder / f"memory{number}"))
            occupied.enter_context(ext4(folder, "8M", name=f"other{number}"))
            with mounted(disk, folder / "elsewhere", options="loop") as point:
                after = locate(point / "film.mkv")
            if after.st_dev != before.st_dev:  # the others hold the number that it had
                break
    assert after.st_dev != before.st_dev
    assert (after.identity, after.relpath) == (before.identity, before.relpath)


def test_a_pool_keeps_its_keys_through_export_and_import(folder: Path) -> None:
    with zfs_pool(folder) as pool:
        file = file_in(pool.create("media"))
        table = MountTable.read()
        before = table.locate(file)
        with ExitStack() as occupied:
            for number in range(20):
                pool.export()
                assert table.to_abspath(before.identity.fs_key, before.relpath) is None
                occupied.enter_context(tmpfs(folder / f"memory{number}"))
                pool.import_again()
                after = table.locate(file)
                if after.st_dev != before.st_dev:  # the tmpfs holds the number that it had
                    break
            assert after.st_dev != before.st_dev
            assert (after.identity, after.relpath) == (before.identity, before.relpath)
            assert table.to_abspath(after.identity.fs_key, after.relpath) == str(file)


def test_a_nested_dataset_is_a_filesystem_of_its_own(folder: Path) -> None:
    with zfs_pool(folder) as pool:
        media = pool.create("media")
        nested = pool.create("media/my films")
        (media / "plain").mkdir()
        assert place(media / "plain")[0] == place(media)[0]
        assert place(nested)[0] != place(media)[0]
        assert locate(nested).relpath == ""
        assert nested.stat().st_dev != media.stat().st_dev


def test_the_halves_of_a_split_pool_are_refused(folder: Path) -> None:
    with zfs_pool(folder, disks=2) as pool:
        media = pool.create("media")
        key = locate(media).identity.fs_key
        half = f"{pool.name}half"
        run("zpool", "split", "-R", folder / "half", pool.name, half)
        try:
            with pytest.raises(UnknownFilesystem, match="claim to be the same one"):
                locate(media)
            assert MountTable.read().to_abspath(key, "") is None
        finally:
            destroy_pool(half)
        assert locate(media).identity.fs_key == key


@pytest.mark.parametrize(
    ("kind", "size", "options"), [("ext4", "32M", "loop"), ("xfs", "300M", "loop,nouuid")]
)
def test_a_disk_and_its_copy_are_refused_while_both_are_mounted(
    folder: Path, kind: str, size: str, options: str
) -> None:
    disk = image(folder, kind, size)
    copy = folder / "copy.img"
    run("cp", "--sparse=always", disk, copy)
    with mounted(disk, folder / "disk", options="loop") as point:
        key = locate(point).identity.fs_key
        with mounted(copy, folder / "copy", options=options) as twin:
            for path in (point, twin):
                with pytest.raises(UnknownFilesystem, match="claim to be the same one"):
                    locate(path)
        assert locate(point).identity.fs_key == key


@pytest.mark.parametrize("make", [ext4, xfs])
def test_kernel_findmnt_and_blkid_tell_the_same_uuid(
    folder: Path, make: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    def older_kernel(fd: int) -> str:
        raise OSError(errno.ENOTTY, "Inappropriate ioctl for device")

    with make(folder) as disk:
        new = locate(disk).identity
        monkeypatch.setattr(devices, "kernel_uuid", older_kernel)
        assert locate(disk).identity == new
        monkeypatch.setattr(devices, "ask_findmnt", dict)
        assert locate(disk).identity == new


def test_two_tmpfs_of_one_source_differ_and_are_not_stable(folder: Path) -> None:
    with tmpfs(folder / "a") as a, tmpfs(folder / "b") as b:
        first, second = locate(a).identity, locate(b).identity
        assert first.fs_key != second.fs_key
        assert first.fs_key.startswith("tmpfs:lab:")
        assert (first.stable, second.stable) == (False, False)


def test_two_overlays_differ_and_their_link_counts_are_not_trusted(folder: Path) -> None:
    with ext4(folder) as disk:
        for name in ("lower", "upper1", "work1", "upper2", "work2"):
            (disk / name).mkdir()
        file_in(disk / "lower")
        layers = [
            f"lowerdir={disk}/lower,upperdir={disk}/upper{n},workdir={disk}/work{n}" for n in (1, 2)
        ]
        with (
            mounted("lab", folder / "one", fs_type="overlay", options=layers[0]) as one,
            mounted("lab", folder / "two", fs_type="overlay", options=layers[1]) as two,
        ):
            found = [locate(path / "film.mkv").identity for path in (one, two)]
            assert found[0].fs_key != found[1].fs_key
            assert [identity.stable for identity in found] == [False, False]
            assert not link_counts_are_true(found[0].fs_type)


# --- without root ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "bind"])
def test_any_user_gets_the_same_answer_as_root(kind: str) -> None:
    with two_sides(kind) as sides:
        sides.stash.parents[0 if kind == "bind" else 1].chmod(0o755)
        secret = file_in(sides.stash / "seeds")
        secret.chmod(0o600)
        secret.parent.chmod(0o711)
        for_root = locate(secret)
        with as_nobody():
            assert locate(secret) == for_root
            ask = (for_root.identity.fs_key, for_root.relpath)
            path = MountTable.read().to_abspath(*ask, preferred=for_root.mount_point)
            assert path == str(secret)


def test_a_user_whom_zfs_does_not_answer_gets_a_key_that_is_not_stable() -> None:
    with two_sides("zfs") as sides:
        sides.stash.parents[1].chmod(0o755)
        with as_nobody():
            first, second = (locate(side).identity for side in sides)
        assert first.fs_key != second.fs_key
        assert (first.stable, second.stable) == (False, False)


def test_looking_at_a_file_does_not_break_a_lease_on_it(folder: Path) -> None:
    with ext4(folder) as disk:
        before = signal.signal(signal.SIGIO, signal.SIG_IGN)
        try:
            with file_in(disk).open("r+b") as held:
                fcntl.fcntl(held, fcntl.F_SETLEASE, fcntl.F_WRLCK)
                assert locate(disk / "film.mkv").relpath == "film.mkv"
                assert fcntl.fcntl(held, fcntl.F_GETLEASE) == fcntl.F_WRLCK
        finally:
            signal.signal(signal.SIGIO, before)


def test_what_this_user_may_not_search_is_a_permission_error(folder: Path) -> None:
    with ext4(folder) as disk:
        folder.chmod(0o755)
        file = file_in(disk / "secret")
        file.parent.chmod(0o700)
        with as_nobody():
            for ask in (MountTable.read().locate, MountTable.read().locate_missing):
                with pytest.raises(PermissionError):
                    ask(file)
