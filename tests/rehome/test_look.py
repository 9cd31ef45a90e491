"""One look at everything gives what a look at one group gives, and sees who else uses its files."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.facts_builder import codes, paths
from tests.support.gathering import Stage

from hashall import steady
from rehome.facts import Facts
from rehome.gather import MOST_LOOKS, Unsteady
from rehome.model import Direction, Verdict
from rehome.planner import decide, plan_group
from rehome.planning import plans_now, survey
from seedkeep.errors import SeedError
from seedkeep.torrent_client import NoSuchTorrent, TorrentFile, TorrentState

FILM = {"Film/film.mkv": "the film", "Film/film.nfo": "about it"}
BOTH = (Direction.DEMOTE, Direction.PROMOTE)


def mixed(scene: Stage) -> list[str]:
    """Groups of every kind that decisions know."""
    film = scene.seed(1, FILM)
    ids = [film, scene.sibling(2, film, "cross")]
    ids.append(scene.seed(3, {"Kept/k.mkv": "kept"}))
    (scene.media / "k.mkv").hardlink_to(scene.seeding / "Kept/k.mkv")
    ids.append(scene.seed(4, {"single.mkv": "single"}))
    ids.append(scene.seed(5, {"a": "flat a", "b": "flat b"}, save_path=scene.seeding / "flat"))
    ids.append(scene.seed(6, {"Gone/g": "gone"}))
    ids.append(scene.seed(7, {"Cold/c.mkv": "kept"}, save_path=scene.pool_seeding))
    ids.append(scene.seed(8, {"Warm/w.mkv": "the film"}, save_path=scene.pool_seeding))
    ids.append(scene.seed(9, {"Away/x": "away"}, save_path=scene.stash / "elsewhere"))
    ids.append(scene.seed(10, {"Half/h": "half"}, progress=0.5, amount_left=2))
    scene.write(scene.pool_seeding / "single.mkv", "single")  # in its place already
    scene.write(scene.pool_seeding / "Film/film.mkv", "other")  # in the way
    scene.look()
    (scene.seeding / "Gone/g").unlink()
    return ids


@pytest.mark.parametrize("direction", BOTH)
def test_a_survey_decides_about_each_group_as_a_plan_of_it_does(
    scene: Stage, direction: Direction
) -> None:
    mixed(scene)
    decided = survey(scene.gatherer(), direction)
    assert len(decided) == 9  # the siblings are one
    for plan in decided:
        assert plan == decide(scene.facts(plan.asked_for, direction), scene.layout)
    assert {plan.verdict for plan in decided} >= {Verdict.BLOCK, Verdict.SKIP, Verdict.REUSE}


def test_facts_of_many_groups_are_those_of_each(scene: Stage) -> None:
    ids = mixed(scene)
    for torrent_id, found in scene.gatherer().facts_of(ids).items():
        assert isinstance(found, Facts)
        assert replace(found, free_bytes=0) == replace(scene.facts(torrent_id), free_bytes=0)


def test_what_is_gone_or_unknown_does_not_keep_the_others_from_an_answer(scene: Stage) -> None:
    film, other = scene.seed(1, FILM), scene.seed(2, {"O/o": "o"})
    scene.look()
    approved = [scene.plan(film), scene.plan(other)]
    scene.client.remove(other)
    now = plans_now(scene.gatherer(), approved, scene.layout)
    assert now[film] == approved[0]
    assert isinstance(now[other], NoSuchTorrent)
    unknown = scene.seed(3, {"N/n": "n"})
    assert isinstance(scene.gatherer().facts_of([unknown])[unknown], SeedError)


def test_a_survey_asks_the_client_for_no_list_of_what_is_as_the_last_sync_saw_it(
    scene: Stage,
) -> None:
    film = scene.seed(1, FILM)
    scene.look()
    scene.client.asked_for_files.clear()
    survey(scene.gatherer(), Direction.DEMOTE)
    assert scene.client.asked_for_files == []
    scene.client.change(film, save_path=str(scene.seeding / "other"))
    survey(scene.gatherer(), Direction.DEMOTE)
    assert scene.client.asked_for_files == [film]


def test_a_survey_looks_at_each_path_once(scene: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """With tens of thousands of torrents it is these looks that take the time."""
    for number in range(12):
        name = f"Film{number}"
        scene.seed(number + 1, {f"{name}/film.mkv": name, f"{name}/extras/cut.mkv": f"c{number}"})
        if number % 3 == 0:
            scene.write(scene.pool_seeding / f"{name}/film.mkv", name)
    scene.look()
    looks: Counter[str] = Counter()
    lstat = os.lstat

    def counted(path: str | Path, **more: int) -> os.stat_result:
        looks[str(path)] += 1
        return lstat(path, **more)

    monkeypatch.setattr(os, "lstat", counted)
    survey(scene.gatherer(), Direction.DEMOTE)
    on_stash = {n for path, n in looks.items() if path.startswith(f"{scene.seeding}/Film")}
    on_pool = {n for path, n in looks.items() if path.startswith(f"{scene.pool_seeding}/Film")}
    assert on_stash == {1}
    assert on_pool == {1, 2, 3}  # only what is there already is looked at more closely


def test_a_file_that_the_client_renamed_is_found_under_its_new_name(scene: Stage) -> None:
    film = scene.seed(1, {"a": "flat a", "b": "flat b"})
    scene.look()
    os.rename(scene.seeding / "a", scene.seeding / "c")
    rows = scene.client.lists[film]
    scene.client.lists[film] = [TorrentFile("c", rows[0].size, 1.0, True), rows[1]]
    (plan,) = survey(scene.gatherer(), Direction.DEMOTE)
    assert codes(plan) == ["unaccounted-links"]  # no scan has seen the new name
    assert plan.torrents[0].file_names == ("b", "c")


def test_a_torrent_with_a_hostile_name_blocks_its_group_only(scene: Stage) -> None:
    film, bad = scene.seed(1, FILM), scene.seed(2, {"B/b": "b"})
    scene.look()
    scene.client.lists[bad] = [TorrentFile("../b", 1, 1.0, True)]
    scene.client.change(bad, size=1)
    made = scene.batch(all_eligible=True, limit=9)
    assert [plan.asked_for for plan in made.executable] == [film]


# -- others that use the files


def test_a_sibling_through_symlinks_is_told_what_would_help(scene: Stage) -> None:
    film = scene.seed(1, FILM)
    root = scene.seeding / "links"
    (root / "Film").mkdir(parents=True)
    for name in FILM:
        (root / name).symlink_to(scene.seeding / name)
    linked = scene.client.put(2, str(root), {name: len(text) for name, text in FILM.items()})
    scene.look()
    made = scene.plan(film)
    assert codes(made) == ["group-not-whole"]
    assert linked in made.blockers[0].sentence
    assert "hardlink" in made.blockers[0].sentence
    assert "payload sync" not in made.blockers[0].sentence


def test_a_folder_that_is_a_symlink_counts_as_one(scene: Stage) -> None:
    film = scene.seed(1, FILM)
    (scene.seeding / "links").mkdir()
    (scene.seeding / "links/Film").symlink_to(scene.seeding / "Film")
    scene.client.put(
        2, str(scene.seeding / "links"), {name: len(text) for name, text in FILM.items()}
    )
    scene.look()
    # Its files are regular ones behind that folder, so it is in the group and cannot move.
    assert codes(scene.plan(film)) == ["group-not-whole"]


def test_a_torrent_that_was_renamed_onto_our_files_is_found(scene: Stage) -> None:
    film = scene.seed(1, FILM)
    other = scene.seed(2, {"Other/film.mkv": "the film?", "Other/film.nfo": "about it"})
    scene.look()
    # Its files became ours; its save path is the same as before.
    scene.client.change(other, content_path=str(scene.seeding / "Film"))
    scene.client.lists[other] = [TorrentFile(name, 8, 1.0, True) for name in FILM]
    made = scene.plan(film)
    assert codes(made) == ["group-not-whole"]
    assert other in made.blockers[0].sentence


def test_a_torrent_without_a_root_folder_that_was_renamed_is_found_as_well(scene: Stage) -> None:
    film = scene.seed(1, {"a": "flat a", "b": "flat b"})
    other = scene.seed(2, {"x": "flat x", "y": "flat y"})
    scene.look()
    os.rename(scene.seeding / "x", scene.seeding / "away")
    scene.client.lists[other] = [TorrentFile(name, 6, 1.0, True) for name in ("a", "y")]
    made = scene.plan(film)
    assert codes(made) == ["group-not-whole"]
    assert other in made.blockers[0].sentence


@pytest.mark.parametrize("target", ["Film/film.mkv", "Film"])
def test_a_library_that_uses_symlinks_keeps_the_film(scene: Stage, target: str) -> None:
    film = scene.seed(1, FILM)
    other = scene.seed(2, {"Other/o.mkv": "other"})
    link = scene.media / "deep/er/it"
    link.parent.mkdir(parents=True)
    link.symlink_to(scene.seeding / target)
    scene.look()
    made = scene.plan(film)
    assert codes(made) == ["outside-link"]
    assert paths(made, "outside-link") == [str(link)]
    assert scene.plan(other).verdict is Verdict.MOVE


def test_a_symlink_to_the_whole_seeding_root_keeps_nothing(scene: Stage) -> None:
    film = scene.seed(1, FILM)
    (scene.media / "all").symlink_to(scene.seeding)
    (scene.media / "broken").symlink_to(scene.media / "nothing")
    scene.look()
    assert scene.plan(film).verdict is Verdict.MOVE


# -- a look holds only while the mounts stay


def test_when_mounts_change_meanwhile_everything_is_read_again(
    scene: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = scene.seed(1, FILM)
    scene.look()
    answers = iter([False, True])
    monkeypatch.setattr(steady.SteadyPlaces, "is_steady", lambda _: next(answers))
    assert scene.plan(film).verdict is Verdict.MOVE
    assert list(answers) == []


def test_when_mounts_change_all_the_time_nothing_is_decided(
    scene: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = scene.seed(1, FILM)
    scene.look()
    looks: list[int] = []
    monkeypatch.setattr(steady.SteadyPlaces, "is_steady", lambda _: looks.append(1))
    for ask in (
        lambda: scene.plan(film),
        lambda: survey(scene.gatherer(), Direction.DEMOTE),
        lambda: scene.gatherer().facts_of([film]),
    ):
        looks.clear()
        with pytest.raises(Unsteady):
            ask()
        assert len(looks) == MOST_LOOKS


def test_a_busy_torrent_blocks_in_a_survey_too(scene: Stage) -> None:
    film = scene.seed(1, FILM)
    scene.look()
    scene.client.change(film, state=TorrentState.MOVING)
    (plan,) = survey(scene.gatherer(), Direction.DEMOTE)
    assert codes(plan) == ["group-not-whole"]
    assert plan == decide(scene.facts(film), scene.layout)
    assert plan_group(scene.facts(film), scene.layout) == plan


def test_a_place_on_the_pool_that_another_torrent_seeds_is_seen_in_a_batch(scene: Stage) -> None:
    film = scene.seed(1, FILM)
    there = scene.seed(2, {"Film/film.mkv": "the film"}, save_path=scene.pool_seeding)
    scene.look()
    made = scene.batch(all_eligible=True, limit=5)
    (stays,) = [plan for plan in made.groups if plan.asked_for == film]
    assert codes(stays) == ["target-conflict"]
    assert Path(stays.blockers[0].paths[0]) == scene.pool_seeding / "Film/film.mkv"
    assert there in {plan.asked_for for plan in made.groups}
