"""Aliases, preferred mount points, and devices that are forgotten with all their rows."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.support.catalog_lab import CatalogLab
from tests.support.filesystems import bind, lab_folder, tmpfs
from tests.support.listed_client import ListedClient, a_torrent

from hashall import device_choice, render_devices
from hashall.catalog.device_edits import DeviceEdits
from hashall.model import Device
from hashall.payload_sync import sync
from hashall.qbittorrent import PathMap
from seedkeep.errors import Misused, Refused


@pytest.fixture
def device(lab: CatalogLab) -> Device:
    lab.write("a", b"a")
    lab.scan()
    return lab.spot().device


def test_a_device_is_named_by_number_alias_key_or_path(lab: CatalogLab, device: Device) -> None:
    places = lab.places()
    device_choice.give_alias(places, device, "stash")
    for text in ("1", "stash", device.fs_key, str(lab.root), str(lab.root / "a")):
        assert device_choice.choose(places, text).device_id == 1


@pytest.mark.parametrize("text", ["7", "pool", "/nowhere/at/all"])
def test_a_device_that_is_not_known_is_said(lab: CatalogLab, device: Device, text: str) -> None:
    with pytest.raises(Misused) as error:
        device_choice.choose(lab.places(), text)
    assert error.value.detail


@pytest.mark.parametrize("alias", ["", " ", "12", "a/b", "a\nb"])
def test_an_alias_cannot_be_taken_for_something_else(
    lab: CatalogLab, device: Device, alias: str
) -> None:
    with pytest.raises(Misused):
        device_choice.give_alias(lab.places(), device, alias)


def test_an_alias_belongs_to_one_device_and_can_be_taken_away(lab: CatalogLab) -> None:
    with lab_folder() as folder, tmpfs(folder / "pool") as pool:
        (pool / "b").write_bytes(b"b")
        lab.write("a", b"a")
        lab.scan(lab.root, pool)
        places = lab.places()
        first, second = lab.catalog.devices.all()

        named = device_choice.give_alias(places, first, "stash")
        assert render_devices.changed(named) == "device 1: alias stash, preferred mount point -"
        with pytest.raises(Misused, match="another device has the alias"):
            device_choice.give_alias(places, second, "stash")
        with pytest.raises(Misused, match="is the key"):
            device_choice.give_alias(places, first, second.fs_key)
        assert device_choice.give_alias(places, first, None).alias is None


def test_the_preferred_mount_point_is_the_one_that_paths_are_shown_through(
    lab: CatalogLab,
) -> None:
    with (
        lab_folder() as folder,
        tmpfs(folder / "pool") as pool,
        bind(pool, folder / "also") as also,
    ):
        (pool / "b").write_bytes(b"b")
        lab.scan(pool)
        places = lab.places()
        (device,) = lab.catalog.devices.all()
        for point in (also, pool):
            device_choice.prefer(places, device, str(point))
            assert lab.places().shown(1, "b") == str(point / "b")
        with pytest.raises(Misused, match="no mount point of") as error:
            device_choice.prefer(places, device, str(folder))
        assert str(also) in error.value.detail
        assert device_choice.prefer(places, device, None).preferred_mount_point is None

        details = device_choice.details(places, device)
        assert details.mount_points == (str(also), str(pool))
        text = render_devices.details(details)
        assert "links      their counts are true here" in text
        assert f"{pool}  " in text


def test_whatever_belongs_to_a_device_is_known_from_the_schema(lab: CatalogLab) -> None:
    owned = dict(DeviceEdits(lab.db).owned())
    assert {"payloads", "scan_roots", "scan_gaps", "verifications"} <= owned.keys()
    assert owned.keys() & {"torrent_instances", "link_actions", "devices"} == set()


def test_forgetting_only_tells_until_it_is_forced(lab: CatalogLab, device: Device) -> None:
    told = device_choice.forget(lab.places(), device, force=False)
    assert (told.remembered.files, told.done) == (1, False)
    assert "nothing was changed; --force does it" in render_devices.forgotten(told)
    assert lab.known()


def test_a_forgotten_device_leaves_nothing_and_the_others_alone(lab: CatalogLab) -> None:
    odd = os.fsdecode(b"\xff")
    with lab_folder() as folder, tmpfs(folder / "pool") as pool:
        (pool / "Film").mkdir()
        (pool / "Film/film.mkv").write_bytes(b"film")
        lab.write(odd, b"a")
        lab.scan(lab.root, pool)
        client = ListedClient()
        client.add(a_torrent("Film", pool), {"Film/film.mkv": 4})
        sync(client, lab.places(), PathMap())
        places = lab.places()
        device = device_choice.choose(places, str(pool))

        told = device_choice.forget(places, device, force=True)
        assert (told.remembered.payloads, told.remembered.torrents) == (1, 1)
        assert "is forgotten: 1 name, 1 payload, 1 torrent to" in render_devices.forgotten(told)
    assert [d.device_id for d in lab.catalog.devices.all()] == [1]
    assert list(lab.known()) == [odd]
    assert lab.db.one("PRAGMA foreign_key_check") is None
    tables = {name for (name,) in lab.db.tuples("SELECT name FROM sqlite_schema")}
    assert tables & {"dirs_2", "names_2", "inodes_2", "files_2"} == set()
    assert "files_1" in tables
    (instance,) = lab.catalog.payloads.instances()
    assert instance.problem == "its filesystem was forgotten: run `hashall payload sync`"


def test_a_device_that_something_under_way_needs_is_not_forgotten(
    lab: CatalogLab, device: Device
) -> None:
    lab.db.execute(
        "INSERT INTO runs (run_id, kind, plan_id, plan, status, actor, reason, started_at,"
        " retain_s) VALUES (5, 'demote', '', '', 'open', '', '', '', 0)"
    )
    assert "not now: run 5 is open" in render_devices.forgotten(
        device_choice.forget(lab.places(), device, force=False)
    )
    with pytest.raises(Refused) as error:
        device_choice.forget(lab.places(), device, force=True)
    assert error.value.detail == "run 5 is open"
    assert lab.known()


def test_a_path_that_is_gone_is_said(lab: CatalogLab, device: Device) -> None:
    with pytest.raises(Misused, match="cannot look at"):
        device_choice.choose(lab.places(), str(Path("/proc/nothing")))
