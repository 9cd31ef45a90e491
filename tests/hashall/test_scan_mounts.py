"""Scans that meet mounts: other filesystems, binds, and mounts that come and go meanwhile."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.support.catalog_lab import CatalogLab, on_disk, start_hashall
from tests.support.catalog_lab import ended as end_of
from tests.support.filesystems import (
    as_nobody,
    bind,
    file_in,
    image,
    lab_folder,
    mounted,
    run,
    tmpfs,
    unmount,
)

from hashall.pathing import MountTable, UnknownFilesystem
from hashall.render_scan import scan_summary
from hashall.scan import ScannedRoot, ScanState

pytestmark = pytest.mark.root


@pytest.fixture
def lab() -> Iterator[CatalogLab]:
    """Its mounts are taken down even when a test fails."""
    with lab_folder() as folder:
        made = CatalogLab(folder)
        yield made
        made.close()


def test_the_bare_folder_of_a_disk_that_is_not_mounted_is_not_taken_for_the_disk(
    lab: CatalogLab,
) -> None:
    pool = lab.root / "pool"
    with tmpfs(pool):
        file_in(pool)
        assert lab.scan(pool).unreadable == {}
        number = lab.spot(pool).device.device_id
    said = f"device {number} was mounted there and is not now: mount it and scan again"
    assert lab.scan(pool).unreadable == {str(pool): said}
    (pool / "torrents").mkdir()
    assert lab.scan(pool / "torrents").unreadable == {str(pool / "torrents"): said}
    assert lab.scan(lab.root).unreadable == {}

    with tmpfs(pool, source="new"):  # another disk in its place
        assert lab.scan(pool).unreadable == {}


def test_a_disk_that_is_mounted_elsewhere_by_now_is_not_missed(lab: CatalogLab) -> None:
    with tmpfs(lab.root / "old"), bind(lab.root / "old", lab.root / "new"):
        lab.scan(lab.root / "old")
        unmount(lab.root / "old")
        lab.scan(lab.root / "new")
        assert lab.scan(lab.root / "old").unreadable == {}


def test_a_disk_that_is_mounted_elsewhere_and_was_not_scanned_there_is_not_called_missing(
    lab: CatalogLab,
) -> None:
    old, new = lab.root / "old", lab.root / "new"
    with tmpfs(old), bind(old, new):
        file_in(old)
        lab.scan(old)
        number = lab.spot(old).device.device_id
        unmount(old)
        (old / "torrents").mkdir()
        for root in (old, old / "torrents"):
            summary = lab.scan(root)
            assert summary.unreadable == {}
            said = f"device {number} was mounted at {old} and is at {new} now: scan it there"
            assert summary.notes == {str(root): said}
            assert f"note: {root}: {said}" in scan_summary(summary)
        assert lab.scan(old, new).notes == {}
        assert lab.scan(old).notes == {}


def test_a_btrfs_with_subvolumes_that_is_mounted_elsewhere_by_now_is_not_called_missing(
    lab: CatalogLab,
) -> None:
    """A subvolume that no mount of its own shows was seen at the mount point, too."""
    disk, old, new = image(lab.folder, "btrfs", "128M"), lab.root / "old", lab.root / "new"
    with mounted(disk, old, options="loop"):
        run("btrfs", "subvolume", "create", old / "sub")
        file_in(old / "sub")
        lab.scan(old)
    with mounted(disk, new, options="loop"):
        summary = lab.scan(old)
    assert summary.unreadable == {}
    assert f"was mounted at {old} and is at {new}" in summary.notes[str(old)]


def test_a_disk_below_the_place_of_another_that_is_gone_is_scanned_without_an_alarm(
    lab: CatalogLab,
) -> None:
    with tmpfs(lab.root / "pool"):
        lab.scan(lab.root / "pool")
    with tmpfs(lab.root / "pool/new", source="new"):
        file_in(lab.root / "pool/new")
        assert lab.scan(lab.root / "pool/new").unreadable == {}


def test_the_disk_that_was_at_a_place_last_is_the_one_that_is_missed(lab: CatalogLab) -> None:
    pool = lab.root / "pool"
    with tmpfs(pool):
        lab.scan(pool)
    with tmpfs(pool, source="second"), bind(pool, lab.root / "moved"):
        lab.scan(pool)
        number = lab.spot(pool).device.device_id
        unmount(pool)
        notes = lab.scan(pool).notes
    assert notes[str(pool)].startswith(f"device {number} was mounted")


def test_a_disk_that_is_unmounted_before_its_files_were_read_is_told(lab: CatalogLab) -> None:
    with tmpfs(lab.root / "pool") as pool:
        for name in "abc":
            file_in(pool, name)

        def unmount_after_the_walk(state: ScanState) -> None:
            if state.summary.added and os.path.ismount(pool):
                run("umount", "-l", "--", pool)

        summary = lab.scan(pool, progress=unmount_after_the_walk)
    assert (summary.added, summary.hashes.files) == (3, 0)
    assert "is not now: mount it and scan again" in summary.unreadable[str(pool)]


def test_a_nested_filesystem_is_scanned_as_its_own_device(lab: CatalogLab) -> None:
    """R-STO-2"""
    lab.write("film.mkv")
    with tmpfs(lab.root / "nested"):
        film = file_in(lab.root / "nested")
        summary = lab.scan()

        (outer, inner) = (lab.spot().device, lab.spot(film.parent).device)
        assert outer.device_id != inner.device_id
        assert summary.roots == [
            ScannedRoot(str(lab.root), outer.device_id),
            ScannedRoot(str(film.parent), inner.device_id),
        ]
        assert set(lab.known()) == {"film.mkv"}
        assert lab.known(film.parent) == on_disk(film.parent)
        assert lab.catalog.scans.coverage(inner.device_id, "").completed_at is not None


def test_one_file_system_stops_at_the_border_and_says_so(lab: CatalogLab) -> None:
    lab.write("film.mkv")
    with tmpfs(lab.root / "nested"):
        file_in(lab.root / "nested")
        summary = lab.scan(one_file_system=True)

        assert len(summary.roots) == 1
        assert summary.skipped == {"mounted below (--one-file-system)": 1}
        assert [device.fs_type for device in lab.catalog.devices.all()] != []
        assert len(lab.catalog.devices.all()) == 1  # the other one was not even noted


def test_a_kernel_interface_below_the_root_is_counted_and_left_alone(lab: CatalogLab) -> None:
    (lab.root / "proc").mkdir()
    with bind(Path("/proc"), lab.root / "proc"):
        summary = lab.scan()

    assert summary.skipped == {"pseudo filesystem": 1}
    assert len(lab.catalog.devices.all()) == 1


def test_two_binds_of_one_directory_are_one_row(lab: CatalogLab, tmp_path: Path) -> None:
    """R-STO-4"""
    lab.write("Film/film.mkv")
    with bind(lab.root, lab.folder / "one"), bind(lab.root, lab.folder / "two"):
        first = lab.scan(lab.folder / "one")
        both = lab.scan(lab.folder / "one", lab.folder / "two", lab.root)

    assert first.added == 1
    assert (both.added, both.unchanged, both.deleted) == (0, 1, 0)
    assert len(both.roots) == 1
    assert lab.known() == on_disk(lab.root)
    assert len(lab.catalog.devices.all()) == 1


def test_every_mount_point_that_led_to_a_device_is_kept(lab: CatalogLab) -> None:
    with tmpfs(lab.folder / "disk"), bind(lab.folder / "disk", lab.folder / "shown"):
        lab.scan(lab.folder / "disk")
        lab.scan(lab.folder / "shown")
        device = lab.spot(lab.folder / "disk").device

        seen = lab.catalog.devices.mount_points(device.device_id)
        assert set(seen) == {str(lab.folder / "disk"), str(lab.folder / "shown")}


def test_a_bind_of_a_subdirectory_leads_to_the_same_rows(lab: CatalogLab) -> None:
    lab.write("a/b/film.mkv")
    lab.write("a/other.mkv")
    lab.scan()
    with bind(lab.root / "a/b", lab.folder / "shown"):
        again = lab.scan(lab.folder / "shown")
        assert (again.added, again.unchanged) == (0, 1)

        (lab.folder / "shown/film.mkv").unlink()
        lab.scan(lab.folder / "shown")

    assert set(lab.known()) == {"a/other.mkv"}


def test_a_bind_below_the_root_gives_no_second_row_and_hides_nothing(lab: CatalogLab) -> None:
    lab.write("real/film.mkv")
    lab.write("covered/old.mkv")
    lab.scan()
    with bind(lab.root / "real", lab.root / "covered"):
        summary = lab.scan()

    assert set(lab.known()) == {"real/film.mkv", "covered/old.mkv"}
    assert (summary.added, summary.deleted) == (0, 0)


def test_what_a_new_mount_covers_is_not_deleted(lab: CatalogLab) -> None:
    """R-CAT-7"""
    lab.write("covered/film.mkv")
    lab.scan()
    with tmpfs(lab.root / "covered"):
        assert lab.scan().deleted == 0
    assert set(lab.known()) == {"covered/film.mkv"}


def test_a_file_that_is_mounted_over_another_is_no_name_of_its_inode(lab: CatalogLab) -> None:
    lab.write("a.mkv", b"a")
    lab.write("b.mkv", b"b")
    lab.scan()
    inode = (lab.root / "b.mkv").stat().st_ino
    with bind(lab.root / "a.mkv", lab.root / "b.mkv"):
        summary = lab.scan()

    assert summary.skipped == {"mounted file": 1}
    assert lab.known()["b.mkv"].inode == inode


def test_an_unmount_during_the_scan_deletes_nothing(
    lab: CatalogLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R-CAT-7: an empty mount point is not an emptied filesystem."""
    with tmpfs(lab.folder / "disk", source="one"):
        for name in ("a", "b", "c"):
            file_in(lab.folder / "disk" / name)
        with bind(lab.folder / "disk", lab.folder / "shown"):
            lab.scan(lab.folder / "shown")
            real = os.open
            left = [True]

            def unmount_first(path: Any, *rest: Any, **named: Any) -> int:
                if path == "a" and left:
                    left.clear()
                    run("umount", "-l", "--", lab.folder / "shown")
                return real(path, *rest, **named)

            with monkeypatch.context() as patch:
                patch.setattr(os, "open", unmount_first)
                summary = lab.scan(lab.folder / "shown")

        assert left == []
        assert summary.deleted == 0
        assert len(lab.known(lab.folder / "disk")) == 3


def test_a_mount_that_comes_during_the_scan_is_a_gap(
    lab: CatalogLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.write("a/film.mkv")
    lab.scan()
    real = os.open
    mounts = ExitStack()

    def mount_first(path: Any, *rest: Any, **named: Any) -> int:
        if path == "a":
            mounts.enter_context(tmpfs(lab.root / "a"))
        return real(path, *rest, **named)

    with mounts, monkeypatch.context() as patch:
        patch.setattr(os, "open", mount_first)
        summary = lab.scan()

    assert summary.unreadable == {str(lab.root / "a"): "something was mounted here during the scan"}
    assert set(lab.known()) == {"a/film.mkv"}


def test_a_mount_that_cannot_be_identified_is_reported(
    lab: CatalogLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = MountTable.locate

    def locate(self: MountTable, path: str | Path) -> Any:
        if str(path).endswith("nested"):
            raise UnknownFilesystem("two filesystems claim to be the same one", detail="x\ny")
        return real(self, path)

    monkeypatch.setattr(MountTable, "locate", locate)
    with tmpfs(lab.root / "nested"):
        summary = lab.scan()

    assert summary.unreadable == {
        str(lab.root / "nested"): (
            "mounted here, and not to be read: two filesystems claim to be the same one"
        )
    }


def test_a_mount_that_goes_before_its_turn_is_no_trouble(
    lab: CatalogLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = MountTable.locate

    def locate(self: MountTable, path: str | Path) -> Any:
        if str(path).endswith("nested"):
            unmount(Path(path))
            Path(path).rmdir()
        return real(self, path)

    with tmpfs(lab.root / "nested"):
        monkeypatch.setattr(MountTable, "locate", locate)
        summary = lab.scan()
        (lab.root / "nested").mkdir()

    assert summary.unreadable == {}
    assert len(summary.roots) == 1


def test_the_real_permission_bits_of_another_user_stop_a_scan_where_they_should(
    lab: CatalogLab,
) -> None:
    """R-CAT-7"""
    lab.folder.chmod(0o755)
    for name in ("open/film.mkv", "closed/film.mkv", "listed/film.mkv"):
        lab.write(name)
    lab.scan()
    for name in ("open", "closed", "listed"):
        (lab.root / name / "film.mkv").rename(lab.root / name / "renamed.mkv")
    (lab.root / "closed").chmod(0o711)  # may be passed, not listed
    (lab.root / "listed").chmod(0o744)  # may be listed, not passed

    with as_nobody():
        summary = lab.scan()

    assert summary.unreadable == {
        str(lab.root / "closed"): "Permission denied",
        str(lab.root / "listed"): "Permission denied",
    }
    assert set(lab.known()) == {"open/renamed.mkv", "closed/film.mkv", "listed/film.mkv"}
    spot = lab.spot()
    gaps = lab.catalog.scans.coverage(spot.device.device_id, spot.place.relpath).gaps
    assert [path.rpartition("/")[2] for path, _ in gaps] == ["closed", "listed"]


def test_a_file_that_another_user_may_not_read_has_no_hash_and_is_named(lab: CatalogLab) -> None:
    lab.folder.chmod(0o755)
    secret = lab.write("secret.mkv")
    secret.chmod(0o600)
    with as_nobody():
        summary = lab.scan()

    assert summary.unreadable == {str(secret): "Permission denied"}
    assert lab.known()["secret.mkv"].sha256 is None


def test_the_program_scans_a_nested_filesystem_in_the_same_run(lab: CatalogLab) -> None:
    with tmpfs(lab.root / "nested"):
        file_in(lab.root / "nested")
        lab.write("film.mkv")
        code, out, _ = end_of(start_hashall("scan", "--db", lab.db_path, lab.root))

    assert code == 0
    assert f"scanned {lab.root} (device 1)\nscanned {lab.root}/nested (device 2)\n" in out
