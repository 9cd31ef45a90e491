"""What is read about a group, from real trees, a real catalog and what the client lists."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

import pytest
from tests.support.facts_builder import codes, paths
from tests.support.filesystems import as_nobody
from tests.support.gathering import Stage

from hashall.model import LinkVerdict
from hashall.qbittorrent import PathMap
from rehome.model import Running, Verdict
from seedkeep import clock
from seedkeep.errors import Misused, Refused, Unreachable
from seedkeep.torrent_client import NoSuchTorrent, TorrentFile, TorrentState

FILM = {"Film/film.mkv": "the film", "Film/film.nfo": "about it"}


def test_a_group_that_only_seeds_may_move(scene: Stage) -> None:
    film = scene.seed(1, FILM)
    twin = scene.sibling(2, film, "cross")
    scene.look()
    made = scene.plan(film)
    assert (made.verdict, made.blockers) == (Verdict.MOVE, ())
    assert [move.torrent_id for move in made.torrents] == [film, twin]
    assert made.total_bytes == made.bytes_to_copy == made.bytes_freed == 16


def test_facts_are_the_same_whichever_torrent_of_the_group_is_named(scene: Stage) -> None:
    film = scene.seed(1, FILM)
    twin = scene.sibling(2, film, "cross")
    scene.look()
    one, two = scene.facts(film), scene.facts(twin)
    assert one.torrents == two.torrents
    assert one.links == two.links


def test_facts_are_equal_as_long_as_nothing_changes(scene: Stage) -> None:
    film = scene.seed(1, FILM)
    scene.look()
    assert scene.plan(film) == scene.plan(film)


# -- hardlinks


def test_a_hardlink_in_the_library_blocks_with_its_absolute_path(scene: Stage) -> None:
    film = scene.seed(1, FILM)
    movie = scene.media / "Film (2021)/Film.mkv"
    movie.parent.mkdir()
    os.link(scene.seeding / "Film/film.mkv", movie)
    scene.look()
    made = scene.plan(film)
    assert codes(made) == ["outside-link"]
    assert paths(made, "outside-link") == [str(movie)]


def test_a_hardlink_of_a_sibling_in_the_library_keeps_the_group_too(scene: Stage) -> None:
    film = scene.seed(1, FILM)
    scene.sibling(2, film, "cross")
    movie = scene.media / "Film.nfo"
    os.link(scene.seeding / "cross/Film/film.nfo", movie)
    scene.look()
    assert paths(scene.plan(film), "outside-link") == [str(movie)]


def test_a_hardlink_in_the_domain_that_no_torrent_uses_does_not_block(scene: Stage) -> None:
    film = scene.seed(1, FILM)
    os.link(scene.seeding / "Film/film.mkv", scene.seeding / "left over.mkv")
    scene.look()
    made = scene.plan(film)
    assert made.verdict is Verdict.MOVE
    assert made.bytes_freed == len(FILM["Film/film.nfo"])


def test_a_name_that_no_scan_has_seen_blocks(scene: Stage) -> None:
    film = scene.seed(1, FILM)
    scene.look()
    os.link(scene.seeding / "Film/film.mkv", scene.stash / "somewhere.mkv")
    made = scene.plan(film)
    assert codes(made) == ["unaccounted-links"]
    assert paths(made, "unaccounted-links") == [str(scene.seeding / "Film/film.mkv")]


def test_a_name_that_went_away_since_the_scan_blocks(scene: Stage) -> None:
    film = scene.seed(1, FILM)
    spare = scene.seeding / "spare.mkv"
    os.link(scene.seeding / "Film/film.mkv", spare)
    scene.look()
    spare.unlink()
    assert codes(scene.plan(film)) == ["unaccounted-links"]


def test_promise_2_a_link_that_replaced_another_one_since_the_scan_blocks(scene: Stage) -> None:
    """The number of names is the same, but one of them is not where the catalog says."""
    film = scene.seed(1, FILM)
    spare = scene.seeding / "spare.mkv"
    os.link(scene.seeding / "Film/film.mkv", spare)
    scene.look()
    spare.rename(scene.media / "Film.mkv")
    made = scene.plan(film)
    assert codes(made) == ["unaccounted-links"]
    verdicts = {link.verdict for link in scene.facts(film).links if link.nlink == 2}
    assert verdicts == {LinkVerdict.UNACCOUNTED}


def test_promise_2_a_name_that_is_another_file_now_does_not_count(scene: Stage) -> None:
    film = scene.seed(1, FILM)
    spare = scene.seeding / "spare.mkv"
    os.link(scene.seeding / "Film/film.mkv", spare)
    scene.look()
    spare.rename(scene.media / "Film.mkv")
    scene.write(spare, "something else")
    assert codes(scene.plan(film)) == ["unaccounted-links"]


def test_a_name_outside_of_every_named_root_counts_as_well(scene: Stage) -> None:
    film = scene.seed(1, FILM)
    os.link(scene.seeding / "Film/film.mkv", scene.stash / "kept by hand.mkv")
    scene.look()
    assert paths(scene.plan(film), "outside-link") == [str(scene.stash / "kept by hand.mkv")]


def test_folders_whose_name_begins_like_the_domain_are_outside(scene: Stage) -> None:
    film = scene.seed(1, FILM)
    other = scene.stash / "seeding2/Film.mkv"
    other.parent.mkdir()
    os.link(scene.seeding / "Film/film.mkv", other)
    scene.look()
    assert paths(scene.plan(film), "outside-link") == [str(other)]


# -- freshness


def test_a_file_that_changed_since_the_scan_needs_a_scan(scene: Stage) -> None:
    film = scene.seed(1, FILM)
    scene.look()
    os.utime(scene.seeding / "Film/film.nfo", ns=(1, 1))
    made = scene.plan(film)
    assert codes(made) == ["needs-scan"]
    assert paths(made, "needs-scan") == [str(scene.seeding / "Film/film.nfo")]


def test_a_torrent_that_came_after_the_scan_needs_one(scene: Stage) -> None:
    scene.scan(scene.stash, scene.pool)
    film = scene.seed(1, FILM)
    scene.sync()
    assert codes(scene.plan(film)) == ["needs-scan"]  # and nothing of links that nobody knows
    scene.look()
    assert codes(scene.plan(film)) == []


def test_a_library_that_was_never_scanned_blocks_with_its_path(scene: Stage) -> None:
    film = scene.seed(1, FILM)
    scene.scan(scene.seeding, scene.pool)
    scene.sync()
    made = scene.plan(film)
    assert codes(made) == ["root-not-covered"]
    assert paths(made, "root-not-covered") == [str(scene.media)]
    assert "never scanned" in made.blockers[0].sentence


def test_scans_that_are_too_old_block_with_each_root(scene: Stage) -> None:
    film = scene.seed(1, FILM)
    scene.look()
    later = clock.now() + timedelta(hours=25)
    with clock.using(now=lambda: later):
        made = scene.plan(film)
    assert codes(made) == ["root-not-covered"] * 3
    roots = [scene.seeding, scene.media, scene.pool_seeding]
    assert paths(made, "root-not-covered") == [str(root) for root in roots]
    assert "older than 1d" in made.blockers[0].sentence


def test_scans_that_a_wrong_clock_dated_in_the_future_block(scene: Stage) -> None:
    """They would count as fresh for years."""
    film = scene.seed(1, FILM)
    ahead = clock.now() + timedelta(days=3650)
    with clock.using(now=lambda: ahead):
        scene.look()
    made = scene.plan(film)
    assert codes(made) == ["root-not-covered"] * 3
    assert "dated in the future" in made.blockers[0].sentence
    scene.look()
    assert codes(scene.plan(film)) == []


def test_a_directory_that_the_scan_could_not_read_blocks_with_its_path(scene: Stage) -> None:
    film = scene.seed(1, FILM)
    closed = scene.media / "closed"
    closed.mkdir(mode=0)
    for folder in (scene.stash.parent, scene.pool.parent):
        folder.chmod(0o755)
    with as_nobody():
        scene.scan(scene.stash, scene.pool)
    scene.sync()
    made = scene.plan(film)
    assert codes(made) == ["root-not-covered"]
    assert paths(made, "root-not-covered") == [str(closed)]
    assert "Permission denied" in made.blockers[0].sentence


def test_a_library_on_another_filesystem_cannot_hold_our_inodes(scene: Stage) -> None:
    elsewhere = scene.pool / "media"
    elsewhere.mkdir()
    scene.libraries = (scene.media, elsewhere)
    film = scene.seed(1, FILM)
    scene.scan(scene.stash, scene.pool_seeding)
    scene.sync()
    assert scene.plan(film).verdict is Verdict.MOVE


@pytest.mark.parametrize("root", ["seeding", "media", "pool"])
def test_a_named_root_that_is_not_there_is_an_error_in_the_settings(
    scene: Stage, root: str
) -> None:
    film = scene.seed(1, FILM)
    scene.look()
    gone = {"seeding": scene.seeding, "media": scene.media, "pool": scene.pool_seeding}[root]
    gone.rename(gone.with_name("gone"))
    with pytest.raises(Misused, match="is named as a root") as why:
        scene.facts(film)
    assert str(gone) in why.value.brief


# -- the group


def test_a_torrent_that_nobody_knows_is_refused(scene: Stage) -> None:
    with pytest.raises(NoSuchTorrent):
        scene.facts("f" * 40)


def test_a_torrent_that_the_catalog_has_not_seen_is_refused_with_the_command(scene: Stage) -> None:
    film = scene.seed(1, FILM)
    scene.scan(scene.stash, scene.pool)
    with pytest.raises(Refused, match="does not know torrent") as why:
        scene.facts(film)
    assert "hashall payload sync" in why.value.hint


def test_a_sibling_that_left_the_client_makes_the_group_not_whole(scene: Stage) -> None:
    film = scene.seed(1, FILM)
    twin = scene.sibling(2, film, "cross")
    scene.look()
    scene.client.remove(twin)
    made = scene.plan(film)
    assert codes(made) == ["group-not-whole"]
    assert twin in made.blockers[0].sentence


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"progress": 0.5, "amount_left": 8}, "incomplete"),
        ({"state": TorrentState.CHECKING_UP}, "busy"),
        ({"state": TorrentState.MOVING}, "busy"),
        ({"state": TorrentState.ERROR}, "errored: error"),
        ({"state": TorrentState.MISSING_FILES}, "errored: missingFiles"),
    ],
)
def test_a_sibling_that_is_not_ready_makes_the_group_not_whole(
    scene: Stage, changes: dict[str, object], word: str
) -> None:
    film = scene.seed(1, FILM)
    twin = scene.sibling(2, film, "cross")
    scene.look()
    scene.client.change(twin, **changes)
    made = scene.plan(film)
    assert set(codes(made)) <= {"group-not-whole", "needs-scan"}
    assert paths(made, "group-not-whole") == [str(scene.seeding / "cross")]
    assert word in made.blockers[0].sentence


def test_a_file_that_is_missing_on_disk_is_named_whatever_the_client_says(scene: Stage) -> None:
    film = scene.seed(1, FILM)
    scene.look()
    (scene.seeding / "Film/film.nfo").unlink()
    made = scene.plan(film)
    assert "group-not-whole" in codes(made)
    assert "missing on disk: 'Film/film.nfo'" in made.blockers[0].sentence


def test_a_torrent_added_since_the_sync_on_our_inodes_is_a_stranger(scene: Stage) -> None:
    film = scene.seed(1, FILM)
    hardlink = scene.seeding / "new/Film/film.mkv"
    hardlink.parent.mkdir(parents=True)
    os.link(scene.seeding / "Film/film.mkv", hardlink)
    scene.look()
    new = scene.seed(2, {"Film/film.mkv": FILM["Film/film.mkv"]}, save_path=scene.seeding / "new")
    made = scene.plan(film)
    assert codes(made) == ["group-not-whole"]
    assert new in made.blockers[0].sentence


def test_an_incomplete_torrent_that_shares_an_inode_is_a_stranger(scene: Stage) -> None:
    film = scene.seed(1, FILM)
    os.link(scene.seeding / "Film/film.mkv", scene.seeding / "half.mkv")
    files = {"half.mkv": FILM["Film/film.mkv"], "not there yet.mkv": ""}
    half = scene.seed(2, files, progress=0.5, amount_left=100)
    (scene.seeding / "not there yet.mkv").unlink()
    scene.look()
    made = scene.plan(film)
    assert codes(made) == ["group-not-whole"]
    assert half in made.blockers[0].sentence


def test_a_stranger_is_found_too_when_its_files_lie_on_two_filesystems(scene: Stage) -> None:
    film = scene.seed(1, FILM)
    scene.look()
    (scene.seeding / "mixed").symlink_to(scene.pool_seeding)
    scene.write(scene.pool_seeding / "part", "part")
    new = scene.seed(2, {"Film/film.mkv": FILM["Film/film.mkv"], "mixed/part": "part"})
    made = scene.plan(film)
    assert codes(made) == ["group-not-whole"]
    assert new in made.blockers[0].sentence


def test_other_torrents_that_did_not_change_cost_no_call(scene: Stage) -> None:
    film = scene.seed(1, FILM)
    for number in range(2, 12):
        scene.seed(number, {f"Other {number}/x": f"bytes {number}"})
    scene.look()
    scene.client.asked_for_files.clear()
    scene.facts(film)
    assert scene.client.asked_for_files == [film]


def test_promise_8_a_stranger_that_cannot_be_asked_about_is_no_reason_to_go_on(
    scene: Stage,
) -> None:
    film = scene.seed(1, FILM)
    scene.look()
    new = scene.seed(2, {"Film/film.mkv": FILM["Film/film.mkv"]})
    scene.client.unreachable_for.add(new)
    with pytest.raises(Unreachable):
        scene.facts(film)


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a/../b", "a\0b"])
def test_a_stranger_with_names_that_leave_its_folder_maps_to_nothing(
    scene: Stage, name: str
) -> None:
    film = scene.seed(1, FILM)
    scene.look()
    scene.client.put(2, str(scene.seeding), {name: 3})
    assert scene.plan(film).verdict is Verdict.MOVE


# -- torrents


@pytest.mark.parametrize(
    ("changes", "running"),
    [
        ({}, Running.RUNNING),
        ({"state": TorrentState.QUEUED_UP}, Running.RUNNING),
        ({"state": TorrentState.STOPPED_UP}, Running.STOPPED),
        ({"state": TorrentState.FORCED_UP, "force_start": True}, Running.FORCED),
    ],
)
def test_the_kind_of_state_is_remembered(
    scene: Stage, changes: dict[str, Any], running: Running
) -> None:
    film = scene.seed(1, FILM, **changes)
    scene.look()
    assert scene.facts(film).torrents[0].running is running


def test_a_torrent_outside_the_seeding_root_has_no_place_on_the_pool(scene: Stage) -> None:
    away = scene.seed(1, FILM, save_path=scene.stash / "private")
    scene.look()
    made = scene.plan(away)
    assert codes(made) == ["outside-domain"]  # its own file is no library's
    assert paths(made, "outside-domain") == [str(scene.stash / "private")]


def test_a_torrent_that_seeds_from_the_pool_is_skipped(scene: Stage) -> None:
    home = scene.seed(1, FILM, save_path=scene.pool_seeding / "deep/er")
    scene.look()
    assert scene.plan(home).verdict is Verdict.SKIP


def test_the_clients_paths_are_mapped_both_ways(scene: Stage) -> None:
    scene.path_map = PathMap([("/data", str(scene.seeding)), ("/big", str(scene.pool_seeding))])
    film = scene.seed(1, FILM, save_path=scene.seeding / "films")
    scene.look()
    (fact,) = scene.facts(film).torrents
    assert (fact.client_save_path, fact.client_target_path) == ("/data/films", "/big/films")
    assert (fact.save_path, fact.target_path) == (
        scene.seeding / "films",
        scene.pool_seeding / "films",
    )


def test_a_save_path_through_a_symlink_is_the_same_place(scene: Stage) -> None:
    shortcut = scene.stash.parent / "shortcut"
    shortcut.symlink_to(scene.seeding)
    film = scene.seed(1, FILM, save_path=shortcut / "films")
    scene.look()
    (fact,) = scene.facts(film).torrents
    assert fact.save_path == scene.seeding / "films"
    assert fact.target_path == scene.pool_seeding / "films"
    assert scene.plan(film).verdict is Verdict.MOVE


def test_names_that_are_not_utf_8_are_found(scene: Stage) -> None:
    film = scene.seed(1, {"F/\udcff\n.mkv": "bytes"})
    scene.look()
    assert scene.plan(film).verdict is Verdict.MOVE


def test_files_that_the_torrent_does_not_want_and_that_are_not_there_are_no_matter(
    scene: Stage,
) -> None:
    film = scene.seed(1, {"Film/film.mkv": "the film"})
    scene.client.lists[film].append(TorrentFile("Film/film.nfo", 8, 0.0, False))
    scene.look()
    assert [file.name for file in scene.facts(film).torrents[0].files] == ["Film/film.mkv"]
    assert scene.plan(film).verdict is Verdict.MOVE


def test_a_file_on_disk_that_the_torrent_does_not_want_keeps_the_group(scene: Stage) -> None:
    """The client would move such a file by itself, across the border."""
    film = scene.seed(1, FILM)
    scene.client.lists[film][1] = TorrentFile("Film/film.nfo", 8, 0.0, False)
    scene.look()
    made = scene.plan(film)
    assert codes(made) == ["group-not-whole"]
    assert "does not want, such as 'Film/film.nfo'" in made.blockers[0].sentence


def test_a_folder_of_the_torrent_that_is_a_symlink_keeps_the_group(scene: Stage) -> None:
    real = scene.seeding / "real"
    scene.write(real / "film.mkv", "the film")
    (scene.seeding / "Film").symlink_to(real)
    film = scene.seed(1, {"Film/film.mkv": "the film"})
    scene.look()
    made = scene.plan(film)
    assert "group-not-whole" in codes(made)
    assert "'Film' is a symlink or a mount of its own" in made.blockers[0].sentence


def test_a_torrent_that_reaches_our_files_through_a_symlink_is_a_stranger(scene: Stage) -> None:
    film = scene.seed(1, FILM)
    scene.look()
    link = scene.seeding / "linked/Film/film.mkv"
    link.parent.mkdir(parents=True)
    link.symlink_to(scene.seeding / "Film/film.mkv")
    new = scene.client.put(2, str(scene.seeding / "linked"), {"Film/film.mkv": 8})
    made = scene.plan(film)
    assert codes(made) == ["group-not-whole"]
    assert new in made.blockers[0].sentence


def test_a_pool_that_no_scan_has_seen_may_be_a_bare_mount_point_and_blocks(scene: Stage) -> None:
    film = scene.seed(1, FILM)
    scene.scan(scene.stash)
    scene.sync()
    assert paths(scene.plan(film), "root-not-covered") == [str(scene.pool_seeding)]
