"""One filesystem shown in many places, and many filesystems below one root."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.support.facts_builder import codes, paths
from tests.support.filesystems import bind, lab_folder, tmpfs
from tests.support.gathering import Stage, stage

from hashall.qbittorrent import PathMap
from rehome.model import Verdict

FILM = {"Film/film.mkv": "the film"}
pytestmark = pytest.mark.root


@pytest.fixture
def folder() -> Iterator[Path]:
    with lab_folder() as made:
        yield made


def test_a_torrent_on_a_filesystem_mounted_in_the_domain_may_move(
    scene: Stage, folder: Path
) -> None:
    nested = scene.seeding / "films"
    with tmpfs(nested):
        film = scene.seed(1, FILM, save_path=nested)
        scene.sibling(2, film, "films/cross")
        scene.look()
        made = scene.plan(film)
        assert made.verdict is Verdict.MOVE
        assert made.torrents[0].target_path == str(scene.pool_seeding / "films")


def test_a_name_on_a_nested_filesystem_outside_the_domain_is_an_outside_link(
    scene: Stage, folder: Path
) -> None:
    """The mount shows one folder of its filesystem; the library has its link in another one."""
    with tmpfs(folder / "disk") as disk:
        (disk / "films").mkdir()
        (scene.seeding / "films").mkdir()
        with bind(disk / "films", scene.seeding / "films"):
            film = scene.seed(1, FILM, save_path=scene.seeding / "films")
            os.link(disk / "films/Film/film.mkv", disk / "library.mkv")
            scene.scan(scene.stash, scene.pool, disk)
            scene.sync()
            assert paths(scene.plan(film), "outside-link") == [str(disk / "library.mkv")]


def test_a_nested_filesystem_that_was_never_scanned_blocks_with_its_path(scene: Stage) -> None:
    nested = scene.seeding / "films"
    with tmpfs(nested):
        film = scene.seed(1, FILM, save_path=nested)
        scene.scan(scene.media, scene.pool, nested / "Film")
        scene.sync()
        made = scene.plan(film)
        assert "root-not-covered" in codes(made)
        assert paths(made, "root-not-covered") == [str(nested)]


def test_a_filesystem_nested_in_the_library_counts_when_it_is_the_groups_own(
    scene: Stage, folder: Path
) -> None:
    with tmpfs(folder / "disk") as disk, ExitStack() as stack:
        for name, point in (("tv", scene.media / "tv"), ("seed", scene.seeding / "tv")):
            (disk / name).mkdir()
            point.mkdir()
            stack.enter_context(bind(disk / name, point))
        film = scene.seed(1, FILM, save_path=scene.seeding / "tv")
        scene.scan(scene.seeding, scene.pool)
        scene.sync()
        assert paths(scene.plan(film), "root-not-covered") == [str(scene.media / "tv")]
        os.link(disk / "seed/Film/film.mkv", disk / "tv/Film.mkv")
        scene.scan(scene.media)
        assert paths(scene.plan(film), "outside-link") == [str(disk / "tv/Film.mkv")]


def test_a_group_on_two_filesystems_of_the_domain_blocks(scene: Stage) -> None:
    nested = scene.seeding / "films"
    with tmpfs(nested):
        (scene.seeding / "mixed").mkdir()
        (scene.seeding / "mixed/films").symlink_to(nested)
        mixed = scene.seed(1, {"films/a": "a", "here/b": "b"}, save_path=scene.seeding / "mixed")
        scene.look()
        assert "group-not-whole" in codes(scene.plan(mixed))


def test_a_place_on_another_filesystem_of_the_pool_blocks(scene: Stage) -> None:
    with tmpfs(scene.pool_seeding / "films"):
        film = scene.seed(1, FILM, save_path=scene.seeding / "films")
        scene.look()
        assert codes(scene.plan(film)) == ["unknown-device"]


def test_pool_and_stash_on_one_filesystem_block(folder: Path) -> None:
    with tmpfs(folder / "disk") as disk, stage(disk / "stash", disk / "pool") as scene:
        film = scene.seed(1, FILM)
        scene.look()
        made = scene.plan(film)
        assert codes(made) == ["unknown-device"]
        assert paths(made, "unknown-device") == [str(scene.seeding), str(scene.pool_seeding)]


def test_two_binds_of_one_folder_are_one_place(scene: Stage, folder: Path) -> None:
    """The path of a container and ours: one torrent each, one file, and no outside link."""
    with bind(scene.stash, folder / "container"):
        scene.path_map = PathMap([("/data", str(folder / "container/seeding"))])
        film = scene.seed(1, FILM)
        scene.client.change(film, save_path="/data", content_path="/data/Film")
        scene.look()
        made = scene.plan(film)
        assert (made.verdict, made.blockers) == (Verdict.MOVE, ())
        assert made.torrents[0].target_path == str(scene.pool_seeding)


def test_promise_2_a_library_shown_in_the_domain_by_a_bind_mount_is_still_a_library(
    scene: Stage,
) -> None:
    film = scene.seed(1, FILM)
    os.link(scene.seeding / "Film/film.mkv", scene.media / "Film.mkv")
    with bind(scene.media, scene.seeding / "library"):
        scene.look()
        assert codes(scene.plan(film)) == ["outside-link"]


def test_equal_inner_paths_on_two_filesystems_are_two_files(folder: Path) -> None:
    with (
        tmpfs(folder / "one") as one,
        tmpfs(folder / "two") as two,
        stage(one / "x", two / "x") as scene,
    ):
        film = scene.seed(1, FILM)
        scene.look()
        scene.seed(2, {"Film/film.mkv": "other"}, save_path=scene.pool_seeding, progress=0.5)
        assert scene.facts(film).strangers == ()


def test_a_catalog_can_be_read_without_any_mount_of_its_disk(scene: Stage, folder: Path) -> None:
    """A name that no mount shows cannot be looked at: it blocks, and is told by its device."""
    with tmpfs(folder / "disk") as disk:
        (disk / "seed").mkdir()
        (scene.seeding / "films").mkdir()
        with bind(disk / "seed", scene.seeding / "films"):
            film = scene.seed(1, FILM, save_path=scene.seeding / "films")
            os.link(disk / "seed/Film/film.mkv", disk / "library.mkv")
            scene.scan(scene.stash, scene.pool, disk)
            scene.sync()
            with tmpfs(disk):  # covers the only mount that shows the library
                made = scene.plan(film)
    assert set(codes(made)) == {"outside-link", "unaccounted-links"}
    assert "library.mkv on device" in paths(made, "outside-link")[0]
