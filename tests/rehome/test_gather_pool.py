"""What lies on the pool: in the way, in its place already, or good to be used again."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from tests.support.facts_builder import codes, paths, steps
from tests.support.filesystems import as_nobody
from tests.support.gathering import Stage

from rehome.model import Adopt, FillPayload, MakeStaging, Verdict, VerifyReuse

FILM = {"Film/film.mkv": "the film"}
TWO = {"Film/film.mkv": "the film", "Film/extras/cut.mkv": "a cut"}


def test_an_empty_pool_has_nothing_and_needs_every_folder(scene: Stage) -> None:
    film = scene.seed(1, TWO, save_path=scene.seeding / "films")
    scene.look()
    made = scene.facts(film)
    assert (made.reusable, made.foreign) == ((), ())
    assert made.target_files == ()
    films = scene.pool_seeding / "films"
    assert made.new_dirs == (str(films / "Film/extras"), str(films / "Film"), str(films))
    (staging,) = steps(scene.plan(film), MakeStaging)
    assert staging.undo_remove == made.new_dirs


def test_room_is_asked_of_the_pool(scene: Stage) -> None:
    film = scene.seed(1, FILM)
    scene.look()
    space = os.statvfs(scene.pool_seeding)
    assert abs(scene.facts(film).free_bytes - space.f_bavail * space.f_frsize) < 2**30


# -- what cannot be looked at


def failing(monkeypatch: pytest.MonkeyPatch, name: str, bad: Path) -> None:
    """`os.lstat` or `os.scandir` of one path ends as on a disk that cannot read it."""
    real = getattr(os, name)

    def call(path: str | Path, **options: int | None) -> object:
        if str(path) == str(bad):
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        return real(path, **options)

    monkeypatch.setattr(os, name, call)


@pytest.mark.parametrize("place", ["Film/film.mkv", "Film", "."])
def test_promise_8_a_place_that_cannot_be_looked_at_is_not_free(
    scene: Stage, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    film = scene.seed(1, FILM, save_path=scene.seeding / "films")
    (scene.pool_seeding / "films/Film").mkdir(parents=True)
    scene.look()
    assert scene.plan(film).blockers == ()
    bad = scene.pool_seeding / "films" / place
    failing(monkeypatch, "lstat", bad)
    assert str(bad) in paths(scene.plan(film), "target-conflict")


def test_promise_8_a_folder_that_can_be_neither_listed_nor_looked_at_may_hold_anything(
    scene: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = scene.seed(1, FILM)
    bad = scene.pool_seeding / "Film/of somebody"
    bad.mkdir(parents=True)
    scene.look()
    assert scene.plan(film).blockers == ()
    failing(monkeypatch, "scandir", bad)
    failing(monkeypatch, "lstat", bad)
    assert str(bad) in paths(scene.plan(film), "target-conflict")


# -- the same bytes


def test_the_same_bytes_anywhere_in_the_pools_domain_are_reused(scene: Stage) -> None:
    copy = scene.write(scene.pool_seeding / "backup/copy.mkv", "the film")
    film = scene.seed(1, FILM)
    scene.look()
    made = scene.plan(film)
    assert (made.verdict, made.bytes_to_copy) == (Verdict.REUSE, 0)
    (reuse,) = steps(made, VerifyReuse)
    assert [file.path for file in reuse.files] == [str(copy)]


def test_of_several_copies_the_first_by_path_is_reused(scene: Stage) -> None:
    for name in ("c", "a", "b"):
        scene.write(scene.pool_seeding / name, "the film")
    film = scene.seed(1, FILM)
    scene.look()
    assert [reuse.path for reuse in scene.facts(film).reusable] == [str(scene.pool_seeding / "a")]


def test_the_same_bytes_outside_the_pools_seeding_root_are_not_touched(scene: Stage) -> None:
    scene.write(scene.pool / "private/copy.mkv", "the film")
    film = scene.seed(1, FILM)
    scene.look()
    assert scene.facts(film).reusable == ()


def test_a_copy_that_changed_since_the_scan_is_not_reused(scene: Stage) -> None:
    copy = scene.write(scene.pool_seeding / "copy.mkv", "the film")
    film = scene.seed(1, FILM)
    scene.look()
    os.utime(copy, ns=(5, 5))
    assert scene.facts(film).reusable == ()


@pytest.mark.parametrize("what", ["gone", "a symlink", "a folder"])
def test_a_copy_that_is_no_file_any_more_is_not_reused(scene: Stage, what: str) -> None:
    copy = scene.write(scene.pool_seeding / "copy.mkv", "the film")
    film = scene.seed(1, FILM)
    scene.look()
    copy.unlink()
    if what == "a symlink":
        copy.symlink_to(scene.write(scene.pool / "elsewhere", "the film"))
    elif what == "a folder":
        copy.mkdir()
    assert scene.plan(film).verdict is Verdict.MOVE


def test_after_a_copy_that_went_away_the_next_one_is_reused(scene: Stage) -> None:
    gone = scene.write(scene.pool_seeding / "a", "the film")
    scene.write(scene.pool_seeding / "b", "the film")
    film = scene.seed(1, FILM)
    scene.look()
    gone.unlink()
    assert [reuse.path for reuse in scene.facts(film).reusable] == [str(scene.pool_seeding / "b")]


def test_a_file_of_an_unfinished_torrent_is_not_reused(scene: Stage) -> None:
    half = {"Half/film.mkv": "the film"}
    scene.seed(2, half, save_path=scene.pool_seeding, progress=0.9, amount_left=3)
    film = scene.seed(1, FILM)
    scene.look()
    assert scene.facts(film).reusable == ()


def test_a_file_that_an_unfinished_torrent_has_under_another_name_is_not_reused(
    scene: Stage,
) -> None:
    """The client would write into the same inode."""
    half = {"Half/film.mkv": "the film"}
    scene.seed(2, half, save_path=scene.pool_seeding, progress=0.9, amount_left=3)
    os.link(scene.pool_seeding / "Half/film.mkv", scene.pool_seeding / "a copy.mkv")
    film = scene.seed(1, FILM)
    scene.look()
    assert scene.facts(film).reusable == ()


def test_an_unfinished_torrent_without_a_content_path_guards_its_whole_save_path(
    scene: Stage,
) -> None:
    """So 4.5 shows it while it loads: relative, or not at all."""
    scene.write(scene.pool_seeding / "x/copy.mkv", "the film")
    half = scene.seed(2, {"Half": "other"}, save_path=scene.pool_seeding / "x", progress=0.5)
    scene.client.change(half, content_path="Half")
    film = scene.seed(1, FILM)
    scene.look()
    assert scene.facts(film).reusable == ()


def test_a_file_of_a_complete_torrent_on_the_pool_is_reused(scene: Stage) -> None:
    scene.seed(2, {"Done/film.mkv": "the film"}, save_path=scene.pool_seeding)
    film = scene.seed(1, FILM)
    scene.look()
    assert scene.plan(film).verdict is Verdict.REUSE


def test_what_the_pool_lacks_is_copied_and_the_rest_reused(scene: Stage) -> None:
    scene.write(scene.pool_seeding / "copy.mkv", "a cut")
    film = scene.seed(1, TWO)
    scene.look()
    made = scene.plan(film)
    assert (made.verdict, made.bytes_to_copy) == (Verdict.MOVE, len("the film"))
    (copies,) = steps(made, FillPayload)
    assert [copy.source for copy in copies.copies] == [str(scene.seeding / "Film/film.mkv")]


# -- in its place already


def test_the_same_bytes_in_their_place_are_adopted(scene: Stage) -> None:
    scene.write(scene.pool_seeding / "Film/film.mkv", "the film")
    film = scene.seed(1, FILM)
    scene.look()
    made = scene.plan(film)
    assert (made.verdict, made.bytes_to_copy) == (Verdict.REUSE, 0)
    (adopt,) = steps(made, Adopt)
    assert (adopt.src_root, adopt.names) == (str(scene.pool_seeding), ("Film/film.mkv",))


def test_bytes_in_place_that_the_catalog_does_not_know_are_a_conflict(scene: Stage) -> None:
    film = scene.seed(1, FILM)
    scene.look()
    there = scene.write(scene.pool_seeding / "Film/film.mkv", "the film")
    assert paths(scene.plan(film), "target-conflict") == [str(there)]


def test_other_bytes_in_their_place_are_a_conflict(scene: Stage) -> None:
    there = scene.write(scene.pool_seeding / "Film/film.mkv", "THE FILM")
    film = scene.seed(1, FILM)
    scene.look()
    assert paths(scene.plan(film), "target-conflict") == [str(there)]


def test_bytes_in_place_that_changed_since_the_scan_are_a_conflict(scene: Stage) -> None:
    there = scene.write(scene.pool_seeding / "Film/film.mkv", "the film")
    film = scene.seed(1, FILM)
    scene.look()
    os.utime(there, ns=(5, 5))
    assert paths(scene.plan(film), "target-conflict") == [str(there)]


@pytest.mark.parametrize("kind", ["symlink", "broken symlink", "folder", "pipe"])
def test_what_is_no_file_in_a_files_place_is_a_conflict(scene: Stage, kind: str) -> None:
    film = scene.seed(1, FILM)
    there = scene.pool_seeding / "Film/film.mkv"
    there.parent.mkdir()
    if kind == "folder":
        there.mkdir()
    elif kind == "pipe":
        os.mkfifo(there)
    else:
        source = scene.pool / "film"
        there.symlink_to(scene.write(source, "the film") if kind == "symlink" else source)
    scene.look()
    assert paths(scene.plan(film), "target-conflict") == [str(there)]


def test_bytes_in_place_that_another_torrent_seeds_are_a_conflict(scene: Stage) -> None:
    there = scene.seed(2, FILM, save_path=scene.pool_seeding)
    film = scene.seed(1, FILM)
    scene.look()
    assert scene.facts(film).target_files[0].used_by == (there,)
    assert "another torrent" in scene.plan(film).blockers[0].sentence


@pytest.mark.parametrize(
    "changes",
    [{"content_path": ""}, {"content_path": "Film"}, {"download_path": "/incomplete"}],
)
def test_a_user_of_the_place_is_found_whatever_the_client_shows_as_content_path(
    scene: Stage, changes: dict[str, str]
) -> None:
    there = scene.seed(2, FILM, save_path=scene.pool_seeding)
    if "download_path" in changes:
        changes = {**changes, "content_path": "/incomplete/Film"}
    scene.client.change(there, **changes)
    film = scene.seed(1, FILM)
    scene.look()
    assert scene.facts(film).target_files[0].used_by == (there,)


def test_bytes_in_place_that_an_unfinished_torrent_may_write_are_a_conflict(scene: Stage) -> None:
    there = scene.write(scene.pool_seeding / "Film/film.mkv", "the film")
    scene.client.put(2, str(scene.pool_seeding), {"half.mkv": 8}, progress=0.5, amount_left=4)
    os.link(there, scene.pool_seeding / "half.mkv")
    film = scene.seed(1, FILM)
    scene.look()
    assert paths(scene.plan(film), "target-conflict") == [str(there)]


def test_only_torrents_that_may_hold_a_place_are_asked_for_their_files(scene: Stage) -> None:
    scene.write(scene.pool_seeding / "Film/film.mkv", "the film")
    for number in range(3, 9):
        scene.seed(number, {f"Other {number}/x": f"{number}"}, save_path=scene.pool_seeding)
    film = scene.seed(1, FILM)
    scene.look()
    scene.client.asked_for_files.clear()
    scene.facts(film)
    assert scene.client.asked_for_files == [film]


# -- what is in the way


def test_a_foreign_file_in_the_root_folder_is_a_conflict(scene: Stage) -> None:
    notes = scene.write(scene.pool_seeding / "Film/deep/notes.txt", "mine")
    film = scene.seed(1, FILM)
    scene.look()
    assert paths(scene.plan(film), "target-conflict") == [str(notes)]


def test_a_symlink_to_a_folder_in_the_root_folder_is_a_conflict(scene: Stage) -> None:
    (scene.pool_seeding / "Film").mkdir()
    (scene.pool_seeding / "Film/extras").symlink_to(scene.pool)
    film = scene.seed(1, FILM)
    scene.look()
    link = str(scene.pool_seeding / "Film/extras")
    assert paths(scene.plan(film), "target-conflict") == [link]


@pytest.mark.parametrize("kind", ["file", "symlink"])
def test_what_stands_in_place_of_the_root_folder_is_a_conflict(scene: Stage, kind: str) -> None:
    there = scene.pool_seeding / "Film"
    if kind == "file":
        scene.write(there, "a file")
    else:
        there.symlink_to(scene.pool)
    film = scene.seed(1, FILM)
    scene.look()
    assert paths(scene.plan(film), "target-conflict") == [str(there)]


def test_a_file_in_place_of_a_save_path_is_a_conflict(scene: Stage) -> None:
    there = scene.write(scene.pool_seeding / "music", "a file")
    flat = scene.seed(1, {"one.flac": "1", "two.flac": "2"}, save_path=scene.seeding / "music/x")
    scene.look()
    made = scene.plan(flat)
    assert codes(made) == ["target-conflict"]
    assert paths(made, "target-conflict") == [str(there)]


@pytest.mark.parametrize("kind", ["file", "symlink"])
def test_what_stands_in_place_of_a_folder_of_a_torrent_without_root_is_a_conflict(
    scene: Stage, kind: str
) -> None:
    there = scene.pool_seeding / "disc 1"
    if kind == "file":
        scene.write(there, "a file")
    else:
        there.symlink_to(scene.pool)
    flat = scene.seed(1, {"disc 1/one.flac": "1", "two.flac": "2"})
    scene.look()
    assert paths(scene.plan(flat), "target-conflict") == [str(there)]


def test_neighbours_of_a_torrent_without_root_folder_are_left_alone(scene: Stage) -> None:
    scene.write(scene.pool_seeding / "music/of somebody else.flac", "other")
    flat = scene.seed(1, {"one.flac": "1", "two.flac": "2"}, save_path=scene.seeding / "music")
    scene.look()
    assert scene.plan(flat).verdict is Verdict.MOVE


def test_empty_folders_are_in_nobodys_way(scene: Stage) -> None:
    (scene.pool_seeding / "Film/extras").mkdir(parents=True)
    film = scene.seed(1, TWO)
    scene.look()
    made = scene.plan(film)
    assert made.verdict is Verdict.MOVE
    assert scene.facts(film).new_dirs == ()


def test_promise_8_a_folder_that_cannot_be_listed_is_a_conflict(scene: Stage) -> None:
    film = scene.seed(1, FILM)
    scene.look()
    closed = scene.pool_seeding / "Film"
    closed.mkdir(mode=0)
    for folder in (scene.stash.parent, scene.pool.parent):
        folder.chmod(0o755)
    with as_nobody():
        made = scene.facts(film)
    assert made.foreign == (str(closed),)


def test_the_pools_own_folders_may_be_symlinks_of_the_user(scene: Stage) -> None:
    real = scene.pool / "real films"
    real.mkdir()
    (scene.pool_seeding / "films").symlink_to(real)
    film = scene.seed(1, FILM, save_path=scene.seeding / "films")
    scene.look()
    assert scene.facts(film).new_dirs == (str(scene.pool_seeding / "films/Film"),)
    assert scene.plan(film).verdict is Verdict.MOVE
