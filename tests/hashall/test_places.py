from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.catalog_lab import CatalogLab, watched_writes
from tests.support.filesystems import bind, lab_folder, tmpfs

from hashall.model import Place
from hashall.pathing import Located, MountTable


def test_a_path_leads_to_its_place_and_back(lab: CatalogLab) -> None:
    """R-CAT-6"""
    path = lab.write("Film/film.mkv")
    places = lab.places()

    spot = places.find(path)

    assert spot.abspath == path
    assert spot.place == Place(spot.device.device_id, spot.located.relpath)
    assert places.abspath(spot.place) == path


def test_a_new_filesystem_enters_the_catalog_when_a_path_on_it_is_asked_for(
    lab: CatalogLab,
) -> None:
    places = lab.places()
    assert lab.catalog.devices.all() == []

    device = places.find(lab.root).device

    assert lab.catalog.devices.all() == [device]
    assert lab.catalog.devices.mount_points(device.device_id) == [
        places.find(lab.root).located.mount_point
    ]


def test_asking_again_writes_nothing(lab: CatalogLab) -> None:
    path = lab.write("film.mkv")
    places = lab.places()
    places.find(lab.root)

    with watched_writes() as written:
        places.find(path)
        places.find_missing(lab.root / "not/there/yet")

    assert written == []


def test_a_path_that_is_not_there_yet_has_a_place(lab: CatalogLab) -> None:
    places = lab.places()
    missing = places.find_missing(lab.root / "new/film.mkv")

    assert missing.place.relpath == f"{places.find(lab.root).place.relpath}/new/film.mkv"
    with pytest.raises(FileNotFoundError):
        places.find(lab.root / "new/film.mkv")


def test_a_place_in_words_is_its_path(lab: CatalogLab) -> None:
    path = lab.write("film.mkv")
    places = lab.places()
    spot = places.find(path)

    assert places.shown(spot.device.device_id, spot.place.relpath) == str(path)


def test_a_place_that_no_mount_shows_is_said_so_and_never_guessed(lab: CatalogLab) -> None:
    device = lab.catalog.devices.register("zfs:123", "zfs", stable=True)
    places = lab.places()

    assert places.abspath(Place(device.device_id, "films/a")) is None
    shown = places.shown(device.device_id, "films/a")
    assert shown == f"films/a on device {device.device_id} (not mounted)"
    assert places.mount_points_of("zfs:123") == ()


@pytest.mark.root
def test_mount_points_that_show_a_filesystem_are_listed() -> None:
    with lab_folder() as folder, tmpfs(folder / "disk"):
        lab = CatalogLab(folder)
        places = lab.places()
        device = places.find(folder / "disk").device

        assert places.mount_points_of(device.fs_key) == (str(folder / "disk"),)
        lab.close()


@pytest.mark.root
def test_a_mount_hidden_below_another_shows_nothing() -> None:
    with lab_folder() as folder, tmpfs(folder / "disk"):
        lab = CatalogLab(folder)
        hidden = lab.places().find(folder / "disk").device
        with tmpfs(folder / "disk", source="above"):
            assert lab.places().mount_points_of(hidden.fs_key) == ()
            assert lab.places().abspath(Place(hidden.device_id, "x")) is None
        lab.close()


@pytest.mark.root
def test_the_preferred_mount_point_wins() -> None:
    with (
        lab_folder() as folder,
        tmpfs(folder / "disk"),
        bind(folder / "disk", folder / "a-first"),
        bind(folder / "disk", folder / "z-wanted"),
    ):
        lab = CatalogLab(folder)
        device = lab.places().find(folder / "disk").device
        lab.db.execute("UPDATE devices SET preferred_mount_point = ?", (str(folder / "z-wanted"),))

        assert lab.places().abspath(Place(device.device_id, "x")) == Path(folder, "z-wanted/x")
        lab.close()


def test_a_mount_that_may_not_be_looked_at_is_left_out(
    lab: CatalogLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = lab.places()
    device = places.find(lab.root).device
    shown = places.mount_points_of(device.fs_key)
    real = MountTable.locate

    def locate(self: MountTable, path: str | Path) -> Located:
        if path == shown[0]:
            raise PermissionError(13, "Permission denied")
        return real(self, path)

    monkeypatch.setattr(MountTable, "locate", locate)
    assert places.mount_points_of(device.fs_key) == shown[1:]
