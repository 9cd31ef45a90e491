"""A group is not smaller for what another client has, and what a reason says does help."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import pytest
from tests.rehome.test_group_whole import COPY, FILM, put_twin, sentence, two_copies
from tests.support.facts_builder import codes
from tests.support.gathering import Stage
from tests.support.listed_client import ListedClient
from tests.support.relocating import A_DAY, NO_WAIT, SimulatedLab
from tests.support.relocating import FILM as LARGER
from tests.support.torrents import sibling

from hashall.payload_sync import SyncOptions, sync
from hashall.qbittorrent import PathMap
from rehome.model import Verdict
from rehome.outcome import Watch
from rehome.undo_facts import CannotUndo
from seedkeep.torrent_client import TorrentState

SIZES = {name: len(content) for name, content in FILM.items()}


def sync_other(scene: Stage, other: ListedClient) -> None:
    scene.other_clients = ("seedbox",)
    sync(other, scene.places(), PathMap(), SyncOptions(client="seedbox"))


# -- torrents of other clients that have no payload


def behind_another_name(scene: Stage, other: ListedClient) -> str:
    return other.put(2, "/other-name-in-the-container", SIZES)


def missing_here(scene: Stage, other: ListedClient) -> str:
    (scene.seeding / "copies").mkdir()
    return other.put(2, str(scene.seeding / "copies"), SIZES)


def unfinished_on_our_files(scene: Stage, other: ListedClient) -> str:
    sizes = SIZES | {"Film/more.txt": 9}
    return other.put(2, str(scene.seeding), sizes, progress=0.5, amount_left=9)


def checking_our_files(scene: Stage, other: ListedClient) -> str:
    return other.put(2, str(scene.seeding), SIZES, state=TorrentState.CHECKING_UP)


def symlinks_to_our_files(scene: Stage, other: ListedClient) -> str:
    for name in FILM:
        link = scene.seeding / "single" / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(scene.seeding / name)
    return other.put(2, str(scene.seeding / "single"), SIZES)


@pytest.mark.parametrize(
    "has",
    [
        behind_another_name,
        missing_here,
        unfinished_on_our_files,
        checking_our_files,
        symlinks_to_our_files,
    ],
)
def test_promise_3_a_torrent_of_another_client_that_may_use_these_files_keeps_them(
    scene: Stage, has: Callable[[Stage, ListedClient], str]
) -> None:
    film, other = scene.seed(1, FILM), ListedClient()
    twin = has(scene, other)
    scene.look()
    sync_other(scene, other)
    made = scene.plan(film)
    assert codes(made) == ["group-not-whole"]
    assert "client 'seedbox'" in sentence(made, twin)
    assert "then run `hashall payload sync`" in sentence(made, twin)
    other.remove(twin)
    sync_other(scene, other)
    assert scene.plan(film).verdict is Verdict.MOVE


def test_a_torrent_of_another_client_that_has_nothing_of_a_group_keeps_nobody(
    scene: Stage,
) -> None:
    film, other = scene.seed(1, FILM), ListedClient()
    other.put(2, "/nowhere", {"Film/film.nfo": 8, "Film/another.mkv": 900})
    (scene.seeding / "new").mkdir()
    other.put(3, str(scene.seeding / "new"), SIZES, progress=0.0, amount_left=16)
    scene.look()
    sync_other(scene, other)
    assert scene.plan(film).verdict is Verdict.MOVE


def test_the_path_map_of_another_client_is_named_as_its_own_section(scene: Stage) -> None:
    film, other = scene.seed(1, FILM), ListedClient()
    twin = behind_another_name(scene, other)
    scene.look()
    sync_other(scene, other)
    told = sentence(scene.plan(film), twin)
    assert "give the pair to qbittorrent.instances.seedbox.path_map" in told


def test_promise_4_a_copy_of_another_client_that_no_scan_has_read_may_be_a_sibling(
    scene: Stage,
) -> None:
    film, other = scene.seed(1, FILM), ListedClient()
    scene.look()
    scene.seed(2, FILM, save_path=scene.seeding / "copies")
    scene.client.remove(f"{2:040x}")
    twin = other.put(2, str(scene.seeding / "copies"), SIZES)
    sync_other(scene, other)
    assert "run `hashall scan` on it" in sentence(scene.plan(film), twin)


# -- main client


@pytest.mark.parametrize("state", [TorrentState.CHECKING_UP, TorrentState.MOVING])
def test_promise_8_a_torrent_that_is_not_here_counts_also_while_the_client_is_at_work_on_it(
    scene: Stage, state: TorrentState
) -> None:
    film = scene.seed(1, FILM)
    (scene.seeding / "copies").mkdir()
    twin = put_twin(scene, state=state)
    scene.look()
    assert "wait until that has ended" in sentence(scene.plan(film), twin)


# -- what helps


def test_a_pair_in_the_path_map_helps_as_the_reason_says(scene: Stage) -> None:
    film = scene.seed(1, FILM)
    scene.seed(9, FILM, save_path=scene.seeding / "copies")
    scene.client.remove(f"{9:040x}")
    twin = put_twin(scene, save_path="/in-container")
    scene.look()
    scene.sync()
    assert "give the pair to rehome.path_map" in sentence(scene.plan(film), twin)
    scene.path_map = PathMap([("/in-container", str(scene.seeding / "copies"))])
    scene.sync()
    assert [move.torrent_id for move in scene.plan(film).torrents] == [film, twin]
    assert scene.plan(film).verdict is Verdict.MOVE


def test_files_that_are_brought_back_help_as_the_reason_says(scene: Stage) -> None:
    film, twin = two_copies(scene)
    (scene.seeding / COPY / "film.nfo").rename(scene.stash / "away.nfo")
    scene.sync()
    assert "bring them back" in sentence(scene.plan(film), twin)
    (scene.stash / "away.nfo").rename(scene.seeding / COPY / "film.nfo")
    scene.sync()
    assert scene.plan(film).verdict is Verdict.MOVE


@pytest.mark.parametrize("changes", [{}, {"progress": 0.5, "amount_left": 8}])
def test_removing_the_torrent_helps_as_the_reason_says(
    scene: Stage, changes: dict[str, float]
) -> None:
    film, twin = two_copies(scene)
    shutil.rmtree(scene.seeding / "copies")
    scene.client.change(twin, **changes)
    scene.sync()
    assert "remove the torrent from qBittorrent" in sentence(scene.plan(film), twin)
    scene.client.remove(twin)
    scene.sync()
    assert scene.plan(film).verdict is Verdict.MOVE


# -- on the pool


def test_promise_3_a_run_is_not_taken_back_from_another_clients_torrent(
    lab: SimulatedLab,
) -> None:
    film = lab.seed("Film", LARGER)
    lab.look()
    lab.apply(lab.plan(film), A_DAY)
    other = ListedClient()
    names = {str(row["name"]): int(str(row["size"])) for row in lab.client.api.torrents_files(film)}
    other.put(2, str(lab.pool_seeding), names)
    with lab.app() as app:
        sync(other, app.places, PathMap(), SyncOptions(client="seedbox"))
    lab.look()
    with lab.app() as app, pytest.raises(CannotUndo, match="other torrents seed"):
        app.undo(1, NO_WAIT, "a test", Watch())


def test_promise_3_a_run_is_not_taken_back_from_a_torrent_behind_another_name(
    lab: SimulatedLab,
) -> None:
    film = lab.seed("Film", LARGER)
    lab.look()
    twin = sibling(lab.made[film], "NEW")
    lab.apply(lab.plan(film), A_DAY)
    hidden = lab.pool / "other-name"
    shutil.copytree(lab.pool_seeding / "Film", hidden / "Film")
    lab.client.add(twin.data, hidden, skip_checking=True)
    shutil.rmtree(hidden)
    lab.sync()
    with lab.app() as app, pytest.raises(CannotUndo, match="other torrents"):
        app.undo(1, NO_WAIT, "a test", Watch())


def test_a_torrent_behind_symlinks_is_named_when_a_run_is_not_taken_back(
    lab: SimulatedLab,
) -> None:
    film = lab.seed("Film", LARGER)
    lab.look()
    twin = sibling(lab.made[film], "NEW")
    lab.apply(lab.plan(film), A_DAY)
    shutil.copytree(lab.pool_seeding / "Film", lab.pool / "links/Film")
    lab.client.add(twin.data, lab.pool / "links", skip_checking=True)
    shutil.rmtree(lab.pool / "links/Film")
    (lab.pool / "links/Film").symlink_to(lab.pool_seeding / "Film")
    with lab.app() as app, pytest.raises(CannotUndo, match="symlinks lead to") as why:
        app.undo(1, NO_WAIT, "a test", Watch())
    assert why.value.detail.endswith(f"({twin.name})")
