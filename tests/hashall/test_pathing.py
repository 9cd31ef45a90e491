"""The mount table, and paths on the disk and on /dev/shm; nothing here needs root."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.filesystems import Sides, two_sides

from hashall.pathing import Mount, MountTable, UnknownFilesystem, read_mounts

PLAIN = b"36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue\n"
AWKWARD_NAMES = [
    b"not \xff\xfe utf-8",
    b"two\nlines",
    b"carriage\rreturn",
    b"-leading dash",
    b"x (deleted)",
    b"back\\slash \\040",
    b"n" * 255,
]


@pytest.fixture
def sides() -> Iterator[Sides]:
    with two_sides("shm") as both:
        yield both


@pytest.fixture
def table() -> MountTable:
    return MountTable.read()


def line(**fields: bytes) -> bytes:
    given = {"root": b"/", "point": b"/m", "optional": b"", "type": b"ext4", "source": b"/dev/a"}
    given |= fields
    return b"7 1 8:1 %(root)b %(point)b rw %(optional)b- %(type)b %(source)b rw\n" % {
        name.encode(): value for name, value in given.items()
    }


def test_a_line_of_the_mount_table_becomes_a_mount() -> None:
    assert read_mounts(PLAIN) == (
        Mount(36, 35, "98:0", "/mnt1", "/mnt2", "ext3", "/dev/root", "rw,errors=continue"),
    )


def test_this_process_has_a_root_mount() -> None:
    assert "/" in {mount.mount_point for mount in read_mounts()}


@pytest.mark.parametrize("optional", [b"", b"shared:1 ", b"shared:1 master:2 propagate_from:3 "])
def test_any_number_of_optional_fields_is_skipped(optional: bytes) -> None:
    (mount,) = read_mounts(line(optional=optional))
    assert (mount.fs_type, mount.source, mount.super_options) == ("ext4", "/dev/a", "rw")


@pytest.mark.parametrize(
    ("escaped", "real"),
    [
        (rb"/a\040b", b"/a b"),
        (rb"/a\011b", b"/a\tb"),
        (rb"/a\012b", b"/a\nb"),
        (rb"/a\134b", b"/a\\b"),
        (rb"/a\134040b", b"/a\\040b"),
        (b"/a\xff\xfe", b"/a\xff\xfe"),
        (b"/a\rb", b"/a\rb"),
    ],
)
def test_escapes_are_undone_and_no_byte_is_lost(escaped: bytes, real: bytes) -> None:
    (mount,) = read_mounts(line(root=escaped, point=escaped, source=escaped))
    assert {os.fsencode(text) for text in (mount.root, mount.mount_point, mount.source)} == {real}


def test_a_removed_bind_source_keeps_its_mark() -> None:
    (mount,) = read_mounts(line(root=b"/gone//deleted"))
    assert mount.root == "/gone//deleted"


def test_a_mount_without_a_source_is_read() -> None:
    (mount,) = read_mounts(line(source=b""))
    assert (mount.source, mount.super_options) == ("", "rw")


@pytest.mark.parametrize("bad", [b"7 1 8:1 / /m rw ext4", b"x 1 8:1 / /m rw - a b c", b"7 -"])
def test_a_line_that_makes_no_sense_is_refused(bad: bytes) -> None:
    with pytest.raises(UnknownFilesystem, match="could not be read"):
        read_mounts(PLAIN + bad + b"\n")


names = st.binary(min_size=1).filter(lambda text: b"\0" not in text)


def as_kernel(text: bytes) -> bytes:
    return re.sub(rb"[ \t\n\\#]", lambda found: b"\\%03o" % found[0][0], text)


@given(root=names, point=names, source=names)
def test_what_the_kernel_writes_is_read_back(root: bytes, point: bytes, source: bytes) -> None:
    text = line(root=as_kernel(root), point=as_kernel(point), source=as_kernel(source))
    (mount,) = read_mounts(text + PLAIN)[:-1]
    assert [os.fsencode(t) for t in (mount.root, mount.mount_point, mount.source)] == [
        root,
        point,
        source,
    ]


def test_disk_and_memory_are_two_filesystems(sides: Sides, table: MountTable) -> None:
    stash, pool = table.locate(sides.stash), table.locate(sides.pool)
    assert stash.identity.fs_key != pool.identity.fs_key
    assert stash.st_dev == sides.stash.stat().st_dev


def test_a_path_is_relative_to_the_root_of_its_filesystem(sides: Sides, table: MountTable) -> None:
    there = table.locate(sides.pool)
    assert there.mount_point == "/dev/shm"
    assert there.relpath == sides.pool.name
    assert table.locate("/dev/shm").relpath == ""


def test_a_symlinked_root_is_the_place_it_leads_to(sides: Sides, table: MountTable) -> None:
    (sides.pool / "film").mkdir()
    shortcut = sides.stash / "shortcut"
    shortcut.symlink_to(sides.pool)
    assert table.locate(shortcut / "film") == table.locate(sides.pool / "film")


def test_a_relative_path_is_located(
    sides: Sides, table: MountTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(sides.pool)
    assert table.locate(".") == table.locate(sides.pool)


@pytest.mark.parametrize("name", AWKWARD_NAMES)
def test_every_name_that_linux_allows_is_found_and_found_again(
    sides: Sides, table: MountTable, name: bytes
) -> None:
    path = sides.pool / os.fsdecode(name)
    path.write_bytes(b"")
    there = table.locate(path)
    assert os.fsencode(there.relpath) == os.fsencode(sides.pool.name) + b"/" + name
    assert table.to_abspath(there.identity.fs_key, there.relpath) == str(path)


def test_a_missing_path_and_a_dangling_symlink_are_not_found(
    sides: Sides, table: MountTable
) -> None:
    dangling = sides.stash / "dangling"
    dangling.symlink_to(sides.pool / "missing")
    for path in (sides.stash / "missing", dangling, ""):
        with pytest.raises(FileNotFoundError):
            table.locate(path)


def test_a_file_in_the_place_of_a_directory_is_an_error(sides: Sides, table: MountTable) -> None:
    (sides.stash / "file").write_bytes(b"")
    for ask in (table.locate, table.locate_missing):
        with pytest.raises(NotADirectoryError):
            ask(sides.stash / "file" / "below")


def test_a_removed_file_that_is_still_open_has_no_place(sides: Sides, table: MountTable) -> None:
    path = sides.stash / "file"
    with path.open("wb") as open_file:
        path.unlink()
        with pytest.raises(FileNotFoundError):
            table.locate(f"/proc/self/fd/{open_file.fileno()}")
        Path(f"{path} (deleted)").write_bytes(b"looks like the kernel's mark")
        with pytest.raises(FileNotFoundError):
            table.locate(f"/proc/self/fd/{open_file.fileno()}")


def test_what_is_on_no_mount_of_the_table_is_unknown(table: MountTable) -> None:
    reader, writer = os.pipe()
    try:
        with pytest.raises(UnknownFilesystem, match="mount table"):
            table.locate(f"/proc/self/fd/{reader}")
    finally:
        os.close(reader)
        os.close(writer)


def test_looking_at_a_named_pipe_does_not_wait_for_its_writer(
    sides: Sides, table: MountTable
) -> None:
    os.mkfifo(sides.pool / "pipe")
    assert table.locate(sides.pool / "pipe").relpath == f"{sides.pool.name}/pipe"


def test_looking_leaves_no_descriptor_open(sides: Sides, table: MountTable) -> None:
    before = os.listdir("/proc/self/fd")
    table.locate(sides.stash)
    with pytest.raises(FileNotFoundError):
        table.locate(sides.stash / "missing")
    assert os.listdir("/proc/self/fd") == before


def test_a_target_that_does_not_exist_yet_has_a_place(sides: Sides, table: MountTable) -> None:
    here, target = table.locate(sides.pool), sides.pool / "a" / "b"
    there = table.locate_missing(target)
    assert there.relpath == f"{here.relpath}/a/b"
    assert there.abspath == str(target)
    assert (there.identity, there.st_dev) == (here.identity, here.st_dev)


def test_a_target_that_exists_is_located_as_ever(sides: Sides, table: MountTable) -> None:
    assert table.locate_missing(sides.pool) == table.locate(sides.pool)


def test_a_target_below_a_dangling_symlink_is_where_it_leads(
    sides: Sides, table: MountTable
) -> None:
    dangling = sides.stash / "dangling"
    dangling.symlink_to(sides.pool / "later")
    there = table.locate_missing(dangling / "film")
    assert there == table.locate_missing(sides.pool / "later" / "film")
    assert there.abspath == str(sides.pool / "later" / "film")


def test_a_place_becomes_a_path_again(sides: Sides, table: MountTable) -> None:
    for path in (sides.stash, sides.pool, Path("/dev/shm"), Path("/")):
        there = table.locate(path)
        assert table.to_abspath(there.identity.fs_key, there.relpath) == str(path)


def test_a_place_that_does_not_exist_yet_has_a_path(sides: Sides, table: MountTable) -> None:
    there = table.locate_missing(sides.pool / "new" / "film")
    path = table.to_abspath(there.identity.fs_key, there.relpath)
    assert path == str(sides.pool / "new" / "film")


def test_a_filesystem_that_is_not_mounted_has_no_path(table: MountTable) -> None:
    for key in ("ext4:00000000-0000-4000-8000-000000000000", "btrfs:x:256", "zfs:1", "nonsense"):
        assert table.to_abspath(key, "film") is None


def test_a_place_behind_a_symlink_is_not_that_place(sides: Sides, table: MountTable) -> None:
    there = table.locate_missing(sides.pool / "real" / "film")
    (sides.pool / "elsewhere").mkdir()
    (sides.pool / "real").symlink_to("elsewhere")
    assert table.to_abspath(there.identity.fs_key, there.relpath) is None


@pytest.mark.parametrize("hostile", ["../film", "a/../b", "a/./b", "/film", "a//b", "a/"])
def test_a_path_that_is_not_in_its_plain_form_leads_nowhere(
    sides: Sides, table: MountTable, hostile: str
) -> None:
    there = table.locate(sides.pool)
    assert table.to_abspath(there.identity.fs_key, f"{there.relpath}/{hostile}") is None


def test_mount_points_are_known_as_such(sides: Sides, table: MountTable) -> None:
    assert table.is_mount_point("/dev/shm")
    assert table.is_mount_point("/")
    assert not table.is_mount_point(str(sides.pool))
