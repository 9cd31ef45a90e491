"""On btrfs every subvolume is a filesystem of its own, with or without a mount of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.filesystems import (
    as_nobody,
    bind,
    btrfs,
    btrfs_subvolume,
    file_in,
    image,
    lab_folder,
    mounted,
    run,
    unmount,
)

from hashall.pathing import Located, MountTable, UnknownFilesystem

pytestmark = pytest.mark.root


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


def test_a_nested_subvolume_is_a_filesystem_of_its_own(folder: Path) -> None:
    with btrfs(folder) as top:
        outer = btrfs_subvolume(top / "outer")
        (outer / "dir").mkdir()
        inner = btrfs_subvolume(outer / "dir" / "inner")
        file = file_in(inner / "seeds")
        keys = [place(path)[0] for path in (top, outer, inner)]
        assert len(set(keys)) == 3
        assert keys[0].endswith(":5")
        assert place(outer / "dir") == (keys[1], "dir")
        assert place(file) == (keys[2], "seeds/film.mkv")
        assert not MountTable.read().is_mount_point(str(inner))
        with pytest.raises(OSError, match="cross-device"):
            os.link(file, outer / "film.mkv")


def test_a_subvolume_without_a_mount_is_reached_through_its_parent(folder: Path) -> None:
    with btrfs(folder) as top:
        outer = btrfs_subvolume(top / "outer")
        (outer / "dir").mkdir()
        file = file_in(btrfs_subvolume(outer / "dir" / "inner") / "seeds")
        there = place(file)
        with bind(outer / "dir", folder / "shown"):
            table = MountTable.read()
            assert table.to_abspath(*there) == str(file)
            through = table.to_abspath(*there, preferred=f"{folder}/shown")
            assert through == f"{folder}/shown/inner/seeds/film.mkv"
            unmount(top)
            assert table.to_abspath(*there) == f"{folder}/shown/inner/seeds/film.mkv"
            outer_key = there[0].rpartition(":")[0] + ":256"
            assert table.to_abspath(outer_key, "dir/new") == f"{folder}/shown/new"
            assert table.to_abspath(outer_key, "new") is None


def test_a_renamed_subvolume_is_found_again(folder: Path) -> None:
    with btrfs(folder) as top:
        table = MountTable.read()
        old = btrfs_subvolume(top / "old")
        there = table.locate(file_in(old))
        ask = (there.identity.fs_key, there.relpath)
        assert table.to_abspath(*ask) == str(old / "film.mkv")
        old.rename(top / "new")
        btrfs_subvolume(top / "old")
        assert table.to_abspath(*ask) == str(top / "new" / "film.mkv")
        run("btrfs", "subvolume", "delete", top / "new")
        assert table.to_abspath(*ask) is None


def test_a_new_subvolume_never_takes_the_key_of_a_deleted_one(folder: Path) -> None:
    with btrfs(folder) as top:
        table = MountTable.read()
        seen = set()
        for _ in range(4):
            seen.add(table.locate(btrfs_subvolume(top / "again")).identity.fs_key)
            run("btrfs", "subvolume", "delete", "--commit-after", top / "again")
        assert len(seen) == 4


@pytest.mark.parametrize(
    "name", [b"plain", b"a,b subvol=x,subvolid=7", b"not \xff utf-8", b"two\nlines"]
)
def test_a_directory_bound_out_of_a_subvolume_is_relative_to_the_subvolume(
    folder: Path, name: bytes
) -> None:
    with btrfs(folder) as top:
        subvolume = btrfs_subvolume(top / os.fsdecode(name))
        file = file_in(subvolume / "data" / "seeds")
        there = place(file)
        assert there[1] == "data/seeds/film.mkv"
        with (
            bind(subvolume / "data", folder / "shown"),
            bind(file, folder / "alone.mkv"),
        ):
            assert place(folder / "shown/seeds/film.mkv") == there
            assert place(folder / "alone.mkv") == there
            unmount(top)
            assert place(folder / "shown/seeds/film.mkv") == there
            path = MountTable.read().to_abspath(*there)
            assert path in {f"{folder}/shown/seeds/film.mkv", f"{folder}/alone.mkv"}


def test_a_subvolume_mounted_by_itself_is_the_one_inside_its_parent(folder: Path) -> None:
    disk = image(folder, "btrfs", "128M")
    with mounted(disk, folder / "top", options="loop") as top:
        subvolume = btrfs_subvolume(top / "media")
        file = file_in(subvolume / "seeds")
        source = run("findmnt", "-n", "-o", "SOURCE", "-M", top).strip()
        with mounted(source, folder / "media", options="subvol=media") as media:
            assert place(media / "seeds/film.mkv") == place(file)
            assert MountTable.read().to_abspath(*place(file)) in {
                str(file),
                str(media / "seeds/film.mkv"),
            }


def test_many_subvolumes_are_all_found(folder: Path) -> None:
    with btrfs(folder) as top:
        for number in range(300):  # the kernel tells 255 at a time
            btrfs_subvolume(top / f"s{number}")
        table = MountTable.read()
        last = table.locate(top / "s299")
        assert table.to_abspath(last.identity.fs_key, "film") == str(top / "s299/film")


def test_a_subvolume_that_may_not_be_read_is_unknown_and_not_its_parent(folder: Path) -> None:
    with btrfs(folder) as top:
        folder.chmod(0o755)
        inner = btrfs_subvolume(btrfs_subvolume(top / "outer") / "inner")
        file = file_in(inner)
        inner.chmod(0o711)
        with as_nobody():
            with pytest.raises(UnknownFilesystem, match="which btrfs subvolume") as refused:
                locate(file)
            assert "readable" in refused.value.hint
