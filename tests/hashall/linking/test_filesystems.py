"""Links on real filesystems: what each allows, and what it refuses."""

from __future__ import annotations

import contextlib
import os
import stat
import struct
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from tests.support.catalog_lab import CatalogLab, settle
from tests.support.filesystems import (
    as_nobody,
    bind,
    btrfs,
    btrfs_subvolume,
    ext4,
    lab_folder,
    run,
    tmpfs,
    xfs,
    zfs_pool,
)
from tests.support.linking import CONTENT, LinkLab, contents, same_file, skipped_because

from hashall.linking.snapshot import SnapshotFailed
from seedkeep.sqlite import DiskFull

pytestmark = pytest.mark.root

_NO_ID = 2**32 - 1
# user::rw- user:65534:r-- group::r-- mask::r-- other::---, as the kernel stores it
ACL_FOR_NOBODY = struct.pack("<I", 2) + b"".join(
    struct.pack("<HHI", *entry)
    for entry in ((1, 6, _NO_ID), (2, 4, 65534), (4, 4, _NO_ID), (16, 4, _NO_ID), (32, 0, _NO_ID))
)


class OnDisk(CatalogLab):
    """A catalog whose files are on a filesystem of their own."""

    @property
    def root(self) -> Path:
        return self.folder / "disk" / "files"


@contextmanager
def lab_on(kind: str) -> Iterator[LinkLab]:
    """`root` is a folder of a fresh filesystem; the catalog stays outside of it."""
    with ExitStack() as stack:
        folder = stack.enter_context(lab_folder())
        if kind == "zfs":
            pool = stack.enter_context(zfs_pool(folder, "192M"))
            stack.enter_context(bind(pool.create("data"), _made(folder / "disk")))
        elif kind == "tmpfs":
            stack.enter_context(tmpfs(folder / "disk", "32M"))
        else:
            make = {"ext4": ext4, "xfs": xfs, "btrfs": btrfs}[kind]
            stack.enter_context(make(folder, name="disk"))
        lab = OnDisk(folder)
        stack.callback(lab.close)
        yield LinkLab(lab)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _attributes(path: Path) -> dict[str, bytes]:
    return {name: os.getxattr(path, name) for name in os.listxattr(path)}


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "zfs", "tmpfs"])
def test_files_are_linked_and_separated_again(kind: str) -> None:
    with lab_on(kind) as linked:
        pair = linked.pair()
        with pair[0].open("r+b"):
            assert skipped_because(linked.execute()) == ["open-for-writing"]
        plan = linked.plan()
        done = linked.execute(plan)
        assert (done.done, done.bytes_saved) == (1, len(CONTENT))
        assert same_file(*pair)
        assert linked.undo(plan).done == 1
        assert not same_file(*pair)
        assert linked.ours() == []


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs"])
def test_capabilities_acls_and_attributes_come_back_with_the_file(kind: str) -> None:
    """A change of owner, even to the same one, takes a file's capabilities away."""
    with lab_on(kind) as linked:
        pair = linked.pair()
        given = {
            "security.capability": struct.pack("<5I", 0x0200_0001, 1 << 13, 0, 0, 0),
            "system.posix_acl_access": ACL_FOR_NOBODY,
            "user.note": b"kept",
        }
        for path in pair:
            path.chmod(0o2640)
            for name, value in given.items():
                os.setxattr(path, name, value)
        linked.lab.scan()
        plan, before = linked.plan(), [_attributes(path) for path in pair]
        assert given.keys() <= before[0].keys()
        assert linked.execute(plan).done == 1
        assert linked.undo(plan).done == 1
        assert not same_file(*pair)
        assert [_attributes(path) for path in pair] == before
        assert {stat.S_IMODE(path.stat().st_mode) for path in pair} == {0o2640}


def test_an_immutable_file_is_skipped_with_its_reason() -> None:
    with lab_on("ext4") as linked:
        pair = linked.pair()
        for path in pair:
            run("chattr", "+i", path)
            assert skipped_because(linked.execute()) == ["immutable"]
            run("chattr", "-i", path)
        assert linked.ours() == []
        assert linked.execute().done == 1


def test_a_read_only_mount_is_skipped_with_its_reason() -> None:
    with lab_on("ext4") as linked:
        linked.pair()
        plan = linked.plan()
        run("mount", "-o", "remount,ro", linked.root.parent)
        assert skipped_because(linked.execute(plan)) == ["read-only"]


def test_a_filesystem_that_is_gone_is_skipped_with_its_reason() -> None:
    with lab_on("ext4") as linked:
        linked.pair()
        plan = linked.plan()
        run("umount", linked.root.parent)
        assert skipped_because(linked.execute(plan)) == ["not-mounted"]
        assert "not mounted" in linked.links().show(plan.plan_id, 5).actions[0].target


def test_the_largest_number_of_links_is_met_with_a_sentence() -> None:
    with lab_on("ext4") as linked:
        film, copy = linked.pair()
        elsewhere = _made(linked.root.parent / "elsewhere")
        folder = os.open(elsewhere, os.O_RDONLY)
        for number in range(65_000 - film.stat().st_nlink):
            os.link(film, str(number), dst_dir_fd=folder)
        os.close(folder)
        linked.lab.scan()
        assert skipped_because(linked.execute()) == ["too-many-links"]
        assert not same_file(film, copy)
        assert linked.ours() == []


def test_another_users_files_are_not_touched_without_the_right() -> None:
    with lab_on("ext4") as linked:
        linked.pair()
        linked.lab.folder.chmod(0o755)
        plan = linked.plan()
        before = contents(linked.root)
        with linked_as_nobody(linked):
            assert skipped_because(linked.execute(plan)) == ["no-permission"]
        assert contents(linked.root) == before


@contextmanager
def linked_as_nobody(linked: LinkLab) -> Iterator[None]:
    """The catalog is theirs; the files are not."""
    for path in (linked.lab.folder, *linked.lab.folder.glob("catalog.db*")):
        os.chown(path, 65534, 65534)
    with as_nobody():
        yield


def test_two_bind_mounts_of_one_filesystem_are_one_place() -> None:
    with lab_on("ext4") as linked:
        film, copy = linked.pair()
        with bind(linked.root / "b", linked.lab.folder / "shown"):
            linked.lab.scan(linked.lab.folder / "shown", linked.root)
            assert linked.execute().done == 1
        assert same_file(film, copy)


def test_a_folder_that_became_a_mount_of_its_own_is_not_touched() -> None:
    with lab_on("ext4") as linked:
        linked.pair()
        plan = linked.plan()
        with tmpfs(linked.root / "b"):
            (linked.root / "b/film").write_bytes(CONTENT)
            assert skipped_because(linked.execute(plan)) == ["unsafe-path"]


def test_subvolumes_are_filesystems_of_their_own() -> None:
    with lab_on("btrfs") as linked:
        linked.root.rmdir()
        for name in ("one", "two"):
            btrfs_subvolume(linked.root.parent / name)
            (linked.root.parent / name / "film").write_bytes(CONTENT)
            settle(linked.root.parent / name / "film")
        linked.lab.scan(linked.root.parent)
        assert linked.plan().actions["HARDLINK"].count == 0
        (group,) = linked.links().analyze(None, cross_device=True, min_size=1, limit=9).cross
        assert len({copy.device_id for copy in group.copies}) == 2


def test_a_full_disk_below_the_catalog_stops_with_a_sentence_and_loses_nothing() -> None:
    with lab_folder() as folder, tmpfs(folder / "home", "2M") as home:
        lab = CatalogLab(home)
        linked = LinkLab(lab)
        film, copy = linked.pair()
        plan = linked.plan()
        filler = home / "filler"
        with filler.open("wb", buffering=0) as out, contextlib.suppress(OSError):
            while out.write(bytes(4096)):
                pass
        before = {path: path.read_bytes() for path in (film, copy)}
        with pytest.raises((DiskFull, OSError), match=r"catalog\.db|No space"):
            linked.execute(plan)
        assert {path: path.read_bytes() for path in (film, copy)} == before
        filler.unlink()
        lab.close()
        again = LinkLab(CatalogLab(home))
        again.execute(plan)
        assert same_file(film, copy)
        assert again.ours() == []
        again.lab.close()


# -- snapshots


def test_a_snapshot_keeps_what_was_there_before() -> None:
    with lab_on("btrfs") as linked:
        linked.pair()
        done = linked.execute(snapshot=True)
        (taken,) = linked.root.parent.glob(".seedkeep-seedkeep-link-*")
        old, new = taken / "files", linked.root
        assert not same_file(old / "a/film", old / "b/film")
        assert same_file(new / "a/film", new / "b/film")
        assert str(taken) in done.snapshots[0]
        linked.lab.scan(linked.root.parent)  # our own snapshots are in no catalog
        assert linked.plan(cross_device=True).actions["DELETE"].count == 0
        assert linked.links().analyze(None, cross_device=True, min_size=1, limit=9).cross == ()
        run("btrfs", "subvolume", "delete", taken)


def test_a_snapshot_of_a_btrfs_subvolume_is_no_copy_that_could_go() -> None:
    with lab_on("btrfs") as linked:
        data = btrfs_subvolume(linked.root.parent / "data")
        (data / "film").write_bytes(CONTENT)
        settle(data / "film")
        snapshot = linked.root.parent / "yesterday"
        run("btrfs", "subvolume", "snapshot", "-r", data, snapshot)
        linked.lab.scan(linked.root.parent)
        plan = linked.plan(cross_device=True)
        assert linked.links().show(plan.plan_id, 9).reasons == {"shared-blocks": 1}
        assert linked.execute(plan, allow_delete=True).results == ()
        assert (data / "film").read_bytes() == (snapshot / "film").read_bytes() == CONTENT
        run("btrfs", "subvolume", "delete", snapshot)


def test_a_zfs_snapshot_is_taken_by_its_tool() -> None:
    with lab_on("zfs") as linked:
        linked.pair()
        (said,) = linked.execute(snapshot=True).snapshots
        name = said.split()[0]
        assert name in run("zfs", "list", "-H", "-t", "snapshot", "-o", "name")


def test_a_filesystem_without_snapshots_says_so_and_goes_on() -> None:
    with lab_on("ext4") as linked:
        pair = linked.pair()
        done = linked.execute(snapshot=True)
        assert done.snapshots[0].endswith("ext4 has none")
        assert same_file(*pair)


def test_a_snapshot_that_fails_stops_everything() -> None:
    with lab_on("btrfs") as linked, pytest.MonkeyPatch.context() as monkeypatch:
        pair = linked.pair()
        plan = linked.plan()
        real = subprocess.run

        def refuse(command: list[str], **options: object) -> object:
            return real(["false"], **options)  # type: ignore[call-overload]

        monkeypatch.setattr("hashall.linking.snapshot.subprocess.run", refuse)
        with pytest.raises(SnapshotFailed, match="nothing was linked"):
            linked.execute(plan, snapshot=True)
        monkeypatch.setattr("hashall.linking.snapshot.TOOL_PATH", "/nowhere")
        with pytest.raises(SnapshotFailed, match="not installed"):
            linked.execute(plan, snapshot=True)
        monkeypatch.undo()
        assert not same_file(*pair)
