"""A group is not smaller because a part of it cannot be seen, from a sync to a plan."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.support.facts_builder import codes
from tests.support.gathering import Stage
from tests.support.listed_client import ListedClient, a_file
from tests.support.relocating import A_DAY, NO_WAIT, SimulatedLab
from tests.support.relocating import FILM as LARGER
from tests.support.torrents import sibling

from hashall.payload_sync import SyncOptions, sync
from hashall.qbittorrent import PathMap
from rehome.model import Plan, Verdict
from rehome.outcome import Watch
from rehome.undo_facts import CannotUndo
from seedkeep import clock
from seedkeep.torrent_client import TorrentState

FILM = {"Film/film.mkv": "the film", "Film/film.nfo": "about it"}
COPY = "copies/Film"


@contextmanager
def failing(folder: Path, number: int) -> Iterator[None]:
    """A disk that tells nothing of a folder and what is in it."""
    real = {"lstat": os.lstat, "stat": os.stat}

    def broken(name: str) -> Callable[..., os.stat_result]:
        def look(path: Any, **rest: Any) -> os.stat_result:
            if isinstance(path, str | Path) and f"{path}/".startswith(f"{folder}/"):
                raise OSError(number, os.strerror(number), str(path))
            return real[name](path, **rest)

        return look

    with pytest.MonkeyPatch.context() as patch:
        for name in real:
            patch.setattr(os, name, broken(name))
        yield


def two_copies(scene: Stage) -> tuple[str, str]:
    """A payload that two torrents seed, each from a copy of its own, so no inode joins them."""
    film = scene.seed(1, FILM)
    twin = scene.seed(2, FILM, save_path=scene.seeding / "copies")
    scene.look()
    assert scene.plan(film).verdict is Verdict.MOVE
    assert [move.torrent_id for move in scene.plan(film).torrents] == [film, twin]
    return film, twin


def sentence(plan: Plan, torrent_id: str) -> str:
    """The one reason that names a torrent."""
    (found,) = [b.sentence for b in plan.blockers if torrent_id in b.sentence]
    return found


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES])
def test_promise_4_a_copy_that_cannot_be_read_keeps_its_siblings_where_they_are(
    scene: Stage, number: int
) -> None:
    film, twin = two_copies(scene)
    with failing(scene.seeding / COPY, number):
        scene.sync()
        scene.sync()
        made = scene.plan(film)
    assert codes(made) == ["group-not-whole"]
    assert "unreadable on disk: 'Film/film.mkv', 'Film/film.nfo'" in sentence(made, twin)
    assert f"{os.strerror(number)}; see to the disk" in sentence(made, twin)


def lose_a_file(scene: Stage, _: str) -> None:
    (scene.seeding / COPY / "film.nfo").unlink()


def lose_the_folder(scene: Stage, _: str) -> None:
    (scene.seeding / "copies").rename(scene.stash / "away")


def cut_a_file(scene: Stage, _: str) -> None:
    scene.write(scene.seeding / COPY / "film.nfo", "ab")
    os.utime(scene.seeding / COPY)


def replace_a_file(scene: Stage, _: str) -> None:
    os.replace(
        scene.write(scene.seeding / "new", FILM["Film/film.nfo"]),
        scene.seeding / COPY / "film.nfo",
    )


def check(scene: Stage, twin: str) -> None:
    scene.client.change(twin, state=TorrentState.CHECKING_UP)


def fail_the_check(scene: Stage, twin: str) -> None:
    scene.client.change(twin, progress=0.5, amount_left=8, state=TorrentState.STOPPED_DL)


@pytest.mark.parametrize(
    ("happens", "problem"),
    [
        (lose_a_file, "missing on disk: 'Film/film.nfo'; bring them back, or remove"),
        (lose_the_folder, "path map not proved"),
        (cut_a_file, "wrong size on disk: 'Film/film.nfo'"),
        (check, "busy: checkingUP"),
        (fail_the_check, "incomplete: 50.0% in the client"),
    ],
)
def test_promise_4_a_sibling_that_is_not_as_it_was_counts_until_it_is_shown_to_be_another(
    scene: Stage, happens: Callable[[Stage, str], None], problem: str
) -> None:
    film, twin = two_copies(scene)
    happens(scene, twin)
    before = scene.plan(film)
    scene.sync()
    made = scene.plan(film)
    assert codes(made) == ["group-not-whole"]
    assert problem in sentence(made, twin)
    assert made == before


def test_promise_4_a_sibling_whose_file_was_replaced_waits_for_its_scan(scene: Stage) -> None:
    film, twin = two_copies(scene)
    replace_a_file(scene, twin)
    scene.sync()
    assert codes(scene.plan(film)) == ["needs-scan"]
    scene.look()
    made = scene.plan(film)
    assert made.verdict is Verdict.MOVE
    assert [move.torrent_id for move in made.torrents] == [film, twin]


# -- torrents of which the catalog never knew what they seed


def put_twin(scene: Stage, **changes: Any) -> str:
    """A torrent with the same list from a folder that is not read, unless the test makes it."""
    sizes = {name: len(content) for name, content in FILM.items()}
    folder = changes.pop("save_path", str(scene.seeding / "copies"))
    return scene.client.put(2, folder, sizes, **changes)


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES])
def test_promise_8_a_torrent_that_was_never_readable_may_be_a_sibling(
    scene: Stage, number: int
) -> None:
    film = scene.seed(1, FILM)
    twin = scene.seed(2, FILM, save_path=scene.seeding / "copies")
    scene.scan(scene.stash, scene.pool)
    with failing(scene.seeding / "copies", number):
        scene.sync()
        made = scene.plan(film)
    assert codes(made) == ["group-not-whole"]
    assert f"{os.strerror(number)}; see to the disk" in sentence(made, twin)
    scene.sync()
    assert [move.torrent_id for move in scene.plan(film).torrents] == [film, twin]


def test_promise_3_a_torrent_in_a_folder_that_no_path_map_shows_may_seed_these_very_files(
    scene: Stage,
) -> None:
    """A container may have one folder under two names, and we know of one."""
    film = scene.seed(1, FILM)
    twin = put_twin(scene, save_path="/other-name-in-the-container")
    scene.look()
    made = scene.plan(film)
    assert codes(made) == ["group-not-whole"]
    assert "path map not proved" in sentence(made, twin)
    assert "give the pair to rehome.path_map, or remove the torrent" in sentence(made, twin)
    scene.client.remove(twin)
    assert scene.plan(film).verdict is Verdict.MOVE


def test_promise_3_one_part_of_a_pack_may_be_seeded_from_such_a_folder(scene: Stage) -> None:
    pack = scene.seed(1, {"Pack/one.mkv": "the first one", "Pack/two.mkv": "the second one"})
    part = scene.client.put(2, "/other-name-in-the-container", {"one.mkv": 13})
    scene.look()
    assert "path map not proved" in sentence(scene.plan(pack), part)


def test_promise_8_a_torrent_that_the_client_calls_whole_and_that_is_not_here_may_be_a_sibling(
    scene: Stage,
) -> None:
    """The path map may show another folder of the same name."""
    film = scene.seed(1, FILM)
    (scene.seeding / "copies").mkdir()
    twin = put_twin(scene)
    scene.look()
    made = scene.plan(film)
    assert codes(made) == ["group-not-whole"]
    assert "missing on disk" in sentence(made, twin)
    assert "or remove the torrent" in sentence(made, twin)


def test_promise_4_a_copy_that_no_scan_has_read_may_be_a_sibling(scene: Stage) -> None:
    film = scene.seed(1, FILM)
    scene.look()
    twin = scene.seed(2, FILM, save_path=scene.seeding / "copies")
    before = scene.plan(film)
    scene.sync()
    made = scene.plan(film)
    for plan in (before, made):
        assert codes(plan) == ["group-not-whole"]
        assert "run `hashall scan` on it and then `hashall payload sync`" in sentence(plan, twin)
    scene.look()
    assert [move.torrent_id for move in scene.plan(film).torrents] == [film, twin]


def test_promise_4_a_copy_that_came_to_the_client_after_the_sync_is_a_sibling(
    scene: Stage,
) -> None:
    film = scene.seed(1, FILM)
    scene.seed(2, FILM, save_path=scene.seeding / "copies")
    scene.client.remove(f"{2:040x}")
    scene.look()
    twin = put_twin(scene)
    made = scene.plan(film)
    assert codes(made) == ["group-not-whole"]
    assert "the catalog does not know that yet; run `hashall payload sync`" in sentence(made, twin)


def test_promise_4_a_copy_that_is_being_checked_for_the_first_time_may_be_a_sibling(
    scene: Stage,
) -> None:
    film = scene.seed(1, FILM)
    twin = scene.seed(2, FILM, save_path=scene.seeding / "copies", state=TorrentState.CHECKING_UP)
    scene.look()
    made = scene.plan(film)
    assert codes(made) == ["group-not-whole"]
    assert "busy: checkingUP; wait until" in sentence(made, twin)


def test_a_batch_holds_such_groups_back_as_well(scene: Stage) -> None:
    film = scene.seed(1, FILM)
    other = scene.seed(3, {"Other/other.mkv": "another one"})
    scene.look()
    twin = scene.seed(2, FILM, save_path=scene.seeding / "copies")
    for _ in range(2):
        made = scene.batch(all_eligible=True, limit=5)
        assert [plan.asked_for for plan in made.executable] == [other]
        (held,) = [plan for plan in made.groups if plan.asked_for == film]
        assert twin in sentence(held, twin)
        scene.sync()


def downloads_it(scene: Stage) -> None:
    (scene.seeding / "copies").mkdir()
    put_twin(scene, progress=0.5, amount_left=8, state=TorrentState.DOWNLOADING)


def has_it_on_the_pool(scene: Stage) -> None:
    scene.seed(2, FILM, save_path=scene.pool_seeding / "copies")


def has_files_of_other_sizes(scene: Stage) -> None:
    scene.seed(2, FILM | {"Film/film.mkv": "a longer film"}, save_path=scene.seeding / "copies")


def has_other_names(scene: Stage) -> None:
    files = {"Film/better name.mkv": FILM["Film/film.mkv"], "Film/film.nfo": FILM["Film/film.nfo"]}
    scene.seed(2, files, save_path=scene.seeding / "copies")


def shares_a_small_file(scene: Stage) -> None:
    scene.client.put(2, "/nowhere", {"Film/film.nfo": 8, "Film/another.mkv": 900})


def links_to_another_copy(scene: Stage) -> None:
    for name, content in FILM.items():
        real = scene.write(scene.stash / "elsewhere" / name, content)
        link = scene.seeding / "copies" / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(real)
    put_twin(scene)


@pytest.mark.parametrize(
    "other",
    [
        links_to_another_copy,
        downloads_it,
        has_it_on_the_pool,
        has_files_of_other_sizes,
        has_other_names,
        shares_a_small_file,
    ],
)
def test_a_torrent_that_cannot_be_a_sibling_keeps_nobody(
    scene: Stage, other: Callable[[Stage], None]
) -> None:
    film = scene.seed(1, FILM)
    scene.look()
    other(scene)
    assert scene.plan(film).verdict is Verdict.MOVE
    scene.sync()
    assert scene.plan(film).verdict is Verdict.MOVE


def test_a_torrent_that_uses_our_files_and_lacks_others_is_named_with_what_helps(
    scene: Stage,
) -> None:
    """The catalog knows it, and no sync changes anything."""
    film = scene.seed(1, FILM)
    half = scene.seed(
        2, {"Film/film.mkv": FILM["Film/film.mkv"], "Film/more.mkv": "not here"}, progress=0.5
    )
    (scene.seeding / "Film/more.mkv").unlink()
    scene.look()
    made = scene.plan(film)
    assert "incomplete: 50.0% in the client; let it complete, or remove" in sentence(made, half)
    assert "payload sync" not in sentence(made, half)


# -- what changed since the sync


def test_promise_3_a_torrent_that_wants_our_file_since_the_sync_is_a_stranger(
    scene: Stage,
) -> None:
    """Nothing of its row tells that, but how many bytes it wants."""
    film = scene.seed(1, FILM)
    scene.write(scene.seeding / "Film/own.txt", "its own")
    twin = scene.client.put(2, str(scene.seeding), {"Film/own.txt": 7})
    scene.client.lists[twin].append(a_file("Film/film.mkv", 8, wanted=False))
    scene.look()
    assert [move.torrent_id for move in scene.plan(film).torrents] == [film]
    scene.client.lists[twin][1] = a_file("Film/film.mkv", 8)
    scene.client.change(twin, size=15)
    made = scene.plan(film)
    assert codes(made) == ["group-not-whole"]
    assert "uses files of this group and the catalog does not know that yet" in sentence(made, twin)
    scene.sync()
    assert twin in {move.torrent_id for move in scene.plan(film).torrents}


def known_by_another_key(scene: Stage) -> tuple[str, str]:
    """Two torrents on one path, and a filesystem that is another one for the catalog since then.

    As with a container that cannot ask for the identity that the host was told.
    """
    film = scene.seed(1, FILM, category="films")
    twin = put_twin(scene, save_path=str(scene.seeding))
    for folder, _, _ in os.walk(scene.seeding):
        os.utime(folder, ns=(1, 1))
    scene.look()
    device = scene.places().find(scene.stash).device
    scene.catalog.db.execute(
        "UPDATE devices SET fs_key = 'ext4:as-it-was' WHERE device_id = ?", (device.device_id,)
    )
    scene.scan(scene.stash, scene.pool)
    scene.client.change(film, content_path="")  # the next sync looks at this one
    return film, twin


def test_promise_3_siblings_stay_together_when_their_filesystem_gets_another_identity(
    scene: Stage,
) -> None:
    film, twin = known_by_another_key(scene)
    scene.sync()
    assert [move.torrent_id for move in scene.plan(film).torrents] == [film, twin]


def test_promise_3_so_they_do_when_only_some_were_synced_since(scene: Stage) -> None:
    film, twin = known_by_another_key(scene)
    sync(scene.client, scene.places(), scene.path_map, SyncOptions(category="films"))
    made = scene.plan(film)
    assert codes(made) == ["group-not-whole"]
    assert twin in sentence(made, twin)


# -- other clients


def test_promise_8_a_client_that_was_never_read_may_have_a_sibling(scene: Stage) -> None:
    scene.other_clients = ("seedbox",)
    film = scene.seed(1, FILM)
    scene.look()
    made = scene.plan(film)
    assert codes(made) == ["group-not-whole"]
    assert "client 'seedbox' were never all read" in made.blockers[0].sentence
    assert "run `hashall payload sync`" in made.blockers[0].sentence
    sync(ListedClient(), scene.places(), PathMap(), SyncOptions(client="seedbox"))
    assert scene.plan(film).verdict is Verdict.MOVE


@pytest.mark.parametrize(
    ("days", "words"), [(2, "last read longer than 1d ago"), (-2, "last read in the future")]
)
def test_promise_8_a_client_whose_torrents_were_read_at_a_doubtful_time_may_have_one(
    scene: Stage, days: int, words: str
) -> None:
    scene.other_clients = ("seedbox",)
    film = scene.seed(1, FILM)
    scene.look()
    moment = clock.now() - timedelta(days=days)
    with clock.using(now=lambda: moment):
        sync(ListedClient(), scene.places(), PathMap(), SyncOptions(client="seedbox"))
    made = scene.plan(film)
    assert codes(made) == ["group-not-whole"]
    assert f"client 'seedbox' were {words}" in made.blockers[0].sentence


# -- on the pool


def test_promise_4_a_run_is_not_taken_back_from_a_sibling_that_cannot_be_seen(
    lab: SimulatedLab,
) -> None:
    film = lab.seed("Film", LARGER)
    lab.look()
    twin = sibling(lab.made[film], "NEW")
    lab.apply(lab.plan(film), A_DAY)
    copies = lab.pool_seeding / "copies"
    shutil.copytree(lab.pool_seeding / "Film", copies / "Film")
    lab.client.add(twin.data, copies, skip_checking=True)
    lab.look()
    copies.rename(lab.pool / "away")
    lab.sync()
    with lab.app() as app, pytest.raises(CannotUndo, match="other torrents seed"):
        app.undo(1, NO_WAIT, "a test", Watch())
