"""Places for one look at thousands of paths give the answers of `Places`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.filesystems import bind, tmpfs

from hashall.catalog import Catalog, open_catalog
from hashall.model import Place
from hashall.pathing import MountTable
from hashall.places import Places
from hashall.steady import SteadyPlaces
from seedkeep.errors import SeedError


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with open_catalog(tmp_path / "catalog.db", create=True) as made:
        yield made


def both(catalog: Catalog) -> tuple[Places, SteadyPlaces]:
    return Places(catalog, MountTable.read()), SteadyPlaces(catalog, MountTable.read())


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    top = tmp_path / "top"
    for name in ("a/b/c/file", "a/file", "plain", "odd\udcff\n/x"):
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name.encode("utf-8", "replace").decode())
    (top / "to a").symlink_to(top / "a")
    (top / "a/to file").symlink_to(top / "plain")
    (top / "dangling").symlink_to(top / "nothing/here")
    (top / "a/up").symlink_to("..")
    return top


def paths_below(top: Path) -> list[Path]:
    found = [top, *top.rglob("*")]
    more = ("to a/b/c/file", "a/up/plain", "a/../plain", "to a/up/a/file", "a/./file")
    missing = ("a/nothing", "nothing/at/all", "dangling", "dangling/x", "to a/new/er", "plain/x")
    return found + [top / name for name in (*more, *missing)]


def answer(ask: object, path: Path) -> object:
    assert callable(ask)
    try:
        spot = ask(path)
    except (OSError, SeedError) as why:
        return type(why)
    return spot.place, spot.located.abspath, spot.located.mount_point, spot.device


def check(catalog: Catalog, paths: list[Path]) -> None:
    plain, steady = both(catalog)
    for path in paths * 2:  # the second time from memory
        assert answer(steady.find, path) == answer(plain.find, path), path
        assert answer(steady.find_missing, path) == answer(plain.find_missing, path), path
        found = answer(plain.find_missing, path)
        if isinstance(found, tuple):
            place = found[0]
            assert isinstance(place, Place)
            assert steady.abspath(place) == plain.abspath(place), path
            assert steady.shown(place.device_id, place.relpath) == plain.shown(
                place.device_id, place.relpath
            )
            shown = plain.abspath(place)
            texts = steady.texts_of(place.device_id, [place.relpath])
            assert texts == [None if shown is None else str(shown)], path
            if not os.path.lexists(path):
                assert steady.device_where_absent(str(path)) == place.device_id, path


def test_files_folders_symlinks_and_what_is_missing(catalog: Catalog, tree: Path) -> None:
    check(catalog, paths_below(tree))


@pytest.mark.root
def test_mounts_binds_and_a_file_that_is_mounted_on(catalog: Catalog, tree: Path) -> None:
    (tree / "other").mkdir()
    (tree / "bind").mkdir()
    (tree / "deep").mkdir()
    with tmpfs(tree / "other") as other:
        (other / "in it/deeper").mkdir(parents=True)
        with bind(tree / "a", tree / "bind"), bind(other / "in it", tree / "deep"):
            check(catalog, [*paths_below(tree), tree / "bind/b/c/file", tree / "deep/deeper/new"])


@pytest.mark.root
@pytest.mark.parametrize("point", ["a", "a/b", "a/b/c", "a/b/c/file", "."])
def test_a_mount_that_comes_near_is_noticed(catalog: Catalog, tree: Path, point: str) -> None:
    _, steady = both(catalog)
    steady.find(tree / "a/b/c/file")
    assert steady.is_steady()
    place = tree / point
    source = tree / "plain" if place.is_file() else tree.parent / "empty"
    if not source.exists():
        source.mkdir()
    with bind(source, place):
        assert not steady.is_steady()
    assert steady.is_steady()


@pytest.mark.root
def test_a_mount_at_a_folder_that_was_not_there_is_noticed(catalog: Catalog, tree: Path) -> None:
    _, steady = both(catalog)
    steady.find(tree / "a/b")
    steady.device_where_absent(str(tree / "a/b/new"))
    (tree / "a/b/new").mkdir()
    assert steady.is_steady()
    with tmpfs(tree / "a/b/new"):
        assert not steady.is_steady()


@pytest.mark.root
def test_a_mount_that_shows_our_folder_a_second_time_is_noticed(
    catalog: Catalog, tree: Path
) -> None:
    _, steady = both(catalog)
    steady.find(tree / "a/b/c/file")
    elsewhere = tree.parent / "elsewhere"
    elsewhere.mkdir()
    with bind(tree / "a", elsewhere):
        assert not steady.is_steady()


@pytest.mark.root
def test_a_mount_somewhere_else_changes_nothing(catalog: Catalog, tree: Path) -> None:
    _, steady = both(catalog)
    steady.find(tree / "a/b/c/file")
    (tree.parent / "one").mkdir()
    (tree.parent / "two").mkdir()
    with tmpfs(tree.parent / "one"), bind(tree / "odd\udcff\n", tree.parent / "two"):
        assert steady.is_steady()


def test_a_folder_is_asked_about_once(
    catalog: Catalog, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, steady = both(catalog)
    asked: list[object] = []
    locate = MountTable.locate
    monkeypatch.setattr(
        MountTable, "locate", lambda self, path: asked.append(path) or locate(self, path)
    )
    for _ in range(3):
        for path in (tree / "a/b/c/file", tree / "a/file", tree / "plain"):
            steady.find(path)
    assert len(asked) <= 1  # the root of all, at most


def test_a_device_that_no_mount_shows_is_said(catalog: Catalog, tree: Path) -> None:
    plain, steady = both(catalog)
    gone = catalog.devices.register("ext4:gone", "ext4", stable=True).device_id
    assert steady.abspath(Place(gone, "a/b")) is None
    assert steady.shown(gone, "a/b") == plain.shown(gone, "a/b")
