"""A torrent that cross-seed injects is a sibling: it follows, and keeps what cross-seed gave it.

What it does with `linkType: hardlink`: the content hardlinked below a folder of the tracker in that
link directory that is on the filesystem of the content, then torrents/add with that folder as save
path, a category of its own, the tag `cross-seed`, automatic management off, and no check.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.filesystems import two_sides
from tests.support.lab import Lab, hardlink_tree
from tests.support.qbt import RealClient, settle
from tests.support.torrents import sibling

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]
FILES = {"film.mkv": 300_000, "film.nfo": b"about the film"}
LINK_DIR = "cross-seed/Tracker B"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with two_sides("shm") as sides, RealClient("5.1", profile=tmp_path / "client") as client:
        yield Lab(tmp_path / "home", *sides, client)


def inject(lab: Lab, original: str, root: Path) -> str:
    """Add a torrent of another tracker with the same content, as cross-seed does."""
    made = lab.made[original]
    other = sibling(made, "TRACKER B")
    save_path = root / LINK_DIR
    hardlink_tree(made.root / made.name, save_path / made.name)
    lab.client.api.torrents_add(
        torrent_files=other.data,
        save_path=str(save_path),
        category="cross-seed",
        tags=["cross-seed"],
        use_auto_torrent_management=False,
        is_skip_checking=True,
        is_stopped=False,
    )
    settle(lab.client.api, [other.infohash], progress=1.0, refreshes=0)
    return other.infohash


def test_what_cross_seed_injects_follows_its_group_to_the_pool_and_needs_no_second_copy(
    lab: Lab, tmp_path: Path
) -> None:
    api = lab.client.api
    films = lab.seeding / "films"
    films.mkdir()
    api.torrents_create_category("films", save_path=str(films))
    film = lab.seed("Film", FILES, below="films", category="films", auto_tmm=True)
    cross = inject(lab, film, lab.seeding)
    cold = lab.seed("Cold", {"cold.mkv": 80_000}, on_pool=True)
    cold_cross = inject(lab, cold, lab.pool_seeding)
    lab.look()

    siblings = lab.run("hashall", "payload", "siblings", cross, "--json").stdout
    assert film in siblings
    plan = tmp_path / "plan.json"
    made = lab.json("rehome", "plan", "--demote", "--category", "cross-seed", "-o", plan)["batch"]
    decided = {item["asked_for"]: item for item in made["groups"]}
    assert {key: item["verdict"] for key, item in decided.items()} == {
        cross: "MOVE",
        cold_cross: "SKIP",
    }
    assert {move["torrent_id"] for move in decided[cross]["torrents"]} == {film, cross}
    before = lab.rows()
    lab.run("rehome", "apply", plan, "--force", "--retain", "0")

    rows = lab.rows()
    assert rows[film]["save_path"] == str(lab.pool_seeding / "films")
    assert rows[cross]["save_path"] == str(lab.pool_seeding / LINK_DIR)
    for torrent_id in (film, cross, cold, cold_cross):
        assert rows[torrent_id]["progress"] == 1
        for kept in ("category", "tags"):
            assert rows[torrent_id][kept] == before[torrent_id][kept]
    assert (rows[cross]["category"], rows[cross]["tags"]) == ("cross-seed", "cross-seed")
    one = lab.pool_seeding / "films/Film/film.mkv"
    two = lab.pool_seeding / LINK_DIR / "Film/film.mkv"
    assert os.path.samestat(one.stat(), two.stat())
    assert not any(path.is_file() for path in lab.stash.rglob("*"))
