"""Keys of filesystems from made-up mount tables and tools; the real ones are in integration."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.support.filesystems import two_sides

from hashall import devices
from hashall.devices import Identities, Identity, link_count_doubt, link_counts_are_true
from hashall.mounts import Mount, UnknownFilesystem


def mount(**fields: object) -> Mount:
    """A mount that shows the folder of the test, so that it can be opened."""
    given: dict[str, object] = {
        "mount_id": 1,
        "parent_id": 0,
        "dev": "8:1",
        "root": "/",
        "mount_point": "/m",
        "fs_type": "ext4",
        "source": "/dev/no-such-disk",
        "super_options": "rw",
    }
    return Mount(**(given | fields))  # type: ignore[arg-type]


def identity(path: Path, *mounts: Mount) -> Identity:
    """What a file at `path` would be on, if it were reached through the first of the mounts."""
    path = path / "file"
    path.write_bytes(b"")
    return Identities(mounts).of(mounts[0], str(path), path.stat())


def tool(folder: Path, name: str, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program = folder / name
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(devices, "TOOL_PATH", f"{folder}{os.pathsep}{os.defpath}")


@pytest.fixture
def bin_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    return folder


def zfs(source: str, dev: str = "0:50", fs_type: str = "zfs") -> Mount:
    return mount(fs_type=fs_type, source=source, dev=dev)


@pytest.mark.parametrize("fs_type", ["zfs", "fuse.zfs"])
def test_a_dataset_is_known_by_its_guid(
    tmp_path: Path, bin_folder: Path, monkeypatch: pytest.MonkeyPatch, fs_type: str
) -> None:
    tool(bin_folder, "zfs", r"printf 'stash/my films\t42\n'", monkeypatch)
    found = identity(tmp_path, zfs("stash/my films", fs_type=fs_type))
    assert found == Identity("zfs:42", fs_type, stable=True)


def test_a_dataset_that_the_tool_does_not_tell_is_known_by_name_only(
    tmp_path: Path, bin_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool(bin_folder, "zfs", r"printf 'other\t42\n'; exit 1", monkeypatch)
    assert identity(tmp_path, zfs("stash")) == Identity("zfs:stash", "zfs", stable=False)


def test_a_dataset_without_the_tool_is_known_by_name_only(
    tmp_path: Path, bin_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "TOOL_PATH", str(bin_folder))
    assert identity(tmp_path, zfs("stash")) == Identity("zfs:stash", "zfs", stable=False)


def test_one_unknown_dataset_does_not_hide_the_guids_of_the_others(
    tmp_path: Path, bin_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool(bin_folder, "zfs", r"printf 'stash\t42\n'; echo no such dataset >&2; exit 1", monkeypatch)
    assert identity(tmp_path, zfs("stash"), zfs("gone", "0:51")).fs_key == "zfs:42"


def test_two_live_datasets_with_one_guid_are_refused(
    tmp_path: Path, bin_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool(bin_folder, "zfs", r"printf 'stash\t42\nsplit\t42\n'", monkeypatch)
    with pytest.raises(UnknownFilesystem, match="two mounted filesystems") as refused:
        identity(tmp_path, zfs("stash"), zfs("split", "0:51"))
    assert "split" in refused.value.detail


def test_two_mounts_of_one_dataset_are_one_filesystem(
    tmp_path: Path, bin_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool(bin_folder, "zfs", r"printf 'stash\t42\n'", monkeypatch)
    assert identity(tmp_path, zfs("stash"), zfs("stash")).fs_key == "zfs:42"


def test_a_tool_that_does_not_answer_leaves_the_filesystem_unknown(
    tmp_path: Path, bin_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool(bin_folder, "zfs", "exec sleep 60", monkeypatch)
    monkeypatch.setattr(devices, "TOOL_TIMEOUT_S", 0.1)
    with pytest.raises(UnknownFilesystem, match="zfs did not answer"):
        identity(tmp_path, zfs("stash"))


def test_the_tool_is_asked_once_for_all_datasets(
    tmp_path: Path, bin_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = tmp_path / "calls"
    tool(bin_folder, "zfs", rf"echo x >> {calls}; printf 'a\t1\nb\t2\n'", monkeypatch)
    file = tmp_path / "file"
    file.write_bytes(b"")
    mounts = [zfs("a"), zfs("b", "0:51")]
    identities = Identities(mounts)
    found = [identities.of(one, str(file), file.stat()).fs_key for one in mounts * 2]
    assert found == ["zfs:1", "zfs:2", "zfs:1", "zfs:2"]
    assert calls.read_text() == "x\n"


def test_an_older_kernel_lets_findmnt_tell_the_uuid(
    tmp_path: Path, bin_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = (
        '{"filesystems": [{"maj:min": "8:1", "uuid": "AB-12"}, {"maj:min": "8:2", "uuid": null}]}'
    )
    tool(bin_folder, "findmnt", f"echo '{answer}'", monkeypatch)
    assert identity(tmp_path, mount()) == Identity("ext4:AB-12", "ext4", stable=True)


def test_without_findmnt_blkid_tells_the_uuid(
    tmp_path: Path, bin_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool(bin_folder, "blkid", "echo 12345678-ABCD", monkeypatch)
    monkeypatch.setattr(devices, "TOOL_PATH", str(bin_folder))
    assert identity(tmp_path, mount()).fs_key == "ext4:12345678-ABCD"


def test_a_blkid_that_answers_in_sentences_is_not_believed(
    tmp_path: Path, bin_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool(bin_folder, "blkid", "echo '/dev/sda1: UUID=\"12345678\"'", monkeypatch)
    monkeypatch.setattr(devices, "TOOL_PATH", str(bin_folder))
    assert not identity(tmp_path, mount()).stable


def test_a_source_that_names_another_device_now_is_not_asked(
    tmp_path: Path, bin_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool(bin_folder, "blkid", "echo 12345678-ABCD", monkeypatch)
    monkeypatch.setattr(devices, "TOOL_PATH", str(bin_folder))
    assert not identity(tmp_path, mount(source="/dev/null")).stable


@pytest.mark.parametrize("fs_type", ["overlay", "nfs4", "fuse.mergerfs", "cifs", "9p"])
def test_two_filesystems_without_a_disk_never_share_a_key(tmp_path: Path, fs_type: str) -> None:
    one = mount(fs_type=fs_type, source="same", dev="0:50")
    two = mount(fs_type=fs_type, source="same", dev="0:51")
    first, second = identity(tmp_path, one, two), identity(tmp_path, two, one)
    assert first.fs_key != second.fs_key
    assert not first.stable
    assert not second.stable


def test_the_key_of_a_filesystem_without_a_disk_says_type_source_and_fsid(tmp_path: Path) -> None:
    fsid = os.statvfs(tmp_path).f_fsid
    found = identity(tmp_path, mount(fs_type="tmpfs", source="lab", dev="0:50"))
    assert found == Identity(f"tmpfs:lab:{fsid:x}", "tmpfs", stable=False)


def test_a_source_that_is_no_text_still_gives_a_key_that_is(tmp_path: Path) -> None:
    source = os.fsdecode(b"my\xffdisk\n")
    key = identity(tmp_path, mount(fs_type="tmpfs", source=source, dev="0:50")).fs_key
    assert key.isprintable()
    assert key.encode("utf-8").startswith(rb"tmpfs:my\xffdisk\x0a:")


def test_a_directory_with_a_foreign_device_number_is_unknown(tmp_path: Path) -> None:
    one = mount(dev="0:65535")
    with pytest.raises(UnknownFilesystem, match="device number"):
        Identities([one]).of(one, str(tmp_path), tmp_path.stat())


def test_an_automount_that_did_not_happen_is_unknown(tmp_path: Path) -> None:
    with pytest.raises(UnknownFilesystem, match="waits for a filesystem"):
        identity(tmp_path, mount(fs_type="autofs"))


def test_a_uuid_of_zeros_is_none(
    tmp_path: Path, bin_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = '{"maj:min": "8:1", "uuid": "00000000-0000-0000-0000-000000000000"}'
    tool(bin_folder, "findmnt", f"""echo '{{"filesystems": [{answer}]}}'""", monkeypatch)
    assert not identity(tmp_path, mount()).stable


def test_another_filesystem_behind_an_equal_line_of_the_table_is_noticed(tmp_path: Path) -> None:
    one = mount(fs_type="tmpfs", source="lab", dev="0:50")
    identities = Identities([one])
    with two_sides("shm") as sides:
        keys = []
        for side in (sides.stash, sides.pool, sides.stash):
            (side / "file").write_bytes(b"")
            keys.append(identities.of(one, str(side / "file"), (side / "file").stat()).fs_key)
    assert keys[0] != keys[1]
    assert keys[0] == keys[2]


def test_two_tmpfs_of_an_older_kernel_without_an_fsid_differ(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "statvfs", lambda *_: SimpleNamespace(f_fsid=0))
    keys = {
        identity(tmp_path, mount(fs_type="tmpfs", source="lab", dev=dev)).fs_key
        for dev in ("0:50", "0:51")
    }
    assert keys == {"tmpfs:lab:0:0:50", "tmpfs:lab:0:0:51"}


def test_an_unreadable_answer_of_findmnt_is_no_answer(
    bin_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool(bin_folder, "findmnt", "echo oops", monkeypatch)
    assert devices.ask_findmnt() == {}


def test_a_kernel_without_the_question_says_so(tmp_path: Path) -> None:
    with Path("/proc/self/stat").open("rb") as file, pytest.raises(OSError) as refused:  # noqa: PT011
        devices.kernel_uuid(file.fileno())
    assert refused.value.errno == errno.ENOTTY


@pytest.mark.parametrize("fs_type", ["ext4", "xfs", "btrfs", "zfs", "fuse.zfs", "tmpfs", "f2fs"])
def test_link_counts_of_local_filesystems_are_true(fs_type: str) -> None:
    assert link_counts_are_true(fs_type)
    assert link_count_doubt(fs_type) is None


@pytest.mark.parametrize(
    "fs_type",
    ["overlay", "fuse", "fuse.mergerfs", "fuseblk", "nfs", "nfs4", "cifs", "9p", "vfat", "exfat"],
)
def test_link_counts_that_may_lie_are_doubted_with_a_reason(fs_type: str) -> None:
    assert not link_counts_are_true(fs_type)
    assert "not known" not in (link_count_doubt(fs_type) or "not known")


def test_link_counts_of_a_filesystem_nobody_knows_are_doubted() -> None:
    assert link_count_doubt("newfs") == "newfs is not known to count links truthfully"
