"""Categories and automatic management: no rule makes the client carry data over the border."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

import pytest
from tests.qbt_rules.disk_stage import DiskStage, disk_stage
from tests.qbt_rules.rules_stage import one, outcomes, rules_stage
from tests.support.simulated import SimulatedClient
from tests.support.torrents import make_torrent, sibling

from seedkeep.qbittorrent_labels import folder_of

COLD, WARM = (f"{{type: set_category, params: {{category: {name}}}}}" for name in ("cold", "warm"))
MANAGE = "{type: set_auto_management, params: {enabled: true}}"


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[DiskStage]:
    """Category `warm` has its folder on stash, `cold` on the pool."""
    with (
        SimulatedClient("5.1", refresh_s=0.05) as client,
        disk_stage(client, tmp_path) as prepared,
    ):
        prepared.lab.look()  # so that there is a catalog
        api = client.api
        api.torrents_create_category("warm", save_path=str(prepared.lab.seeding / "warm"))
        api.torrents_create_category("cold", save_path=str(prepared.lab.pool_seeding / "cold"))
        yield prepared


def managed(stage: DiskStage, name: str = "Film") -> str:
    return stage.lab.seed(name, {"film.mkv": 50_000}, below="warm", category="warm", auto_tmm=True)


def save_path(stage: DiskStage, torrent_id: str) -> str:
    return str(stage.lab.rows()[torrent_id]["save_path"])


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_category_on_the_other_filesystem_is_refused_under_management(
    stage: DiskStage, dry_run: bool
) -> None:
    torrent_id = managed(stage)
    before = stage.lab.rows()[torrent_id]
    result = stage.run(one("{}", COLD), dry_run=dry_run)
    assert outcomes(result) == [("set_category", "Film", "refused")]
    reason = result["actions"][0]["reason"]
    assert f"the client would move it to {stage.lab.pool_seeding / 'cold'}" in reason
    assert "rehome moves between filesystems" in reason
    after = stage.lab.rows()[torrent_id]
    assert (after["save_path"], after["category"]) == (before["save_path"], "warm")
    assert (stage.lab.seeding / "warm/Film/film.mkv").exists()


def test_without_management_a_category_is_a_word_and_management_is_refused_then(
    stage: DiskStage,
) -> None:
    torrent_id = stage.lab.seed("Film", {"film.mkv": 50_000})
    result = stage.run(one("{}", COLD, MANAGE))
    assert [row["outcome"] for row in result["actions"]] == ["done", "refused"]
    row = stage.lab.rows()[torrent_id]
    assert (row["category"], row["auto_tmm"]) == ("cold", False)
    assert row["save_path"] == str(stage.lab.seeding)


def test_on_its_own_filesystem_the_client_may_move_it_and_later_rules_know_that(
    stage: DiskStage,
) -> None:
    torrent_id = stage.lab.seed("Film", {"film.mkv": 50_000})
    here = "{field: info.save_path, operator: contains, value: seeding}"
    later = f"  - {{name: later, conditions: {here}, actions: [stop]}}\n"
    result = stage.run(one("{}", WARM, MANAGE) + later)
    assert [row["outcome"] for row in result["actions"]] == ["done", "done"]
    assert "info.save_path" in result["unknown"][0]["reasons"][0]
    assert save_path(stage, torrent_id) == str(stage.lab.seeding / "warm")


def test_a_category_without_a_folder_lies_below_the_default_one(stage: DiskStage) -> None:
    """The simulated client's default folder is on the disk, as the pool is; stash is in memory."""
    managed(stage)
    new = "{type: set_category, params: {category: new}}"
    result = stage.run(one("{}", new))
    default = str(stage.lab.client.api.app_preferences()["save_path"])
    assert outcomes(result) == [("set_category", "Film", "refused")]
    assert f"would move it to {default}/new" in result["actions"][0]["reason"]


def test_a_torrent_that_is_not_complete_may_be_sent_anywhere(stage: DiskStage) -> None:
    made = make_torrent(stage.lab.home / "elsewhere", "New", {"new.mkv": 50_000})
    stage.lab.client.api.torrents_add(
        torrent_files=made.data, category="warm", use_auto_torrent_management=True, is_stopped=True
    )
    result = stage.run(one("{}", COLD))
    assert outcomes(result) == [("set_category", "New", "done")]
    assert save_path(stage, made.infohash) == str(stage.lab.pool_seeding / "cold")


def test_a_client_that_leaves_it_where_it_is_may_change_the_category(
    stage: DiskStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    managed(stage)
    monkeypatch.setattr(
        "seedkeep.qbittorrent.QBittorrentClient.preferences",
        lambda _: {"torrent_changed_tmm_enabled": False},
    )
    assert stage.run(one("{}", COLD), dry_run=True)["outcomes"] == {"would be done": 1}


def test_without_a_stash_and_a_pool_there_is_no_border(
    stage: DiskStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    torrent_id = managed(stage)
    only_catalog = stage.lab.home / "other.yml"
    only_catalog.write_text(f"catalog: {{path: {stage.lab.catalog}}}\n")
    monkeypatch.setenv("HASHALL_CONFIG", str(only_catalog))
    assert stage.run(one("{}", COLD))["outcomes"] == {"done": 1}
    assert save_path(stage, torrent_id) == str(stage.lab.pool_seeding / "cold")


def test_without_a_catalog_there_is_no_border(tmp_path: Path) -> None:
    with rules_stage(tmp_path) as plain:
        torrent_id = plain.add("Film")
        plain.client.api.torrents_set_auto_management(enable=True, torrent_hashes=[torrent_id])
        result = plain.run(one("{}", "{type: set_category, params: {category: films}}"))
        assert result["outcomes"] == {"done": 1}
        assert plain.torrents()["Film"].torrent_id == torrent_id


FOLDERS: Mapping[str, str] = {"films": "/data/films", "films/hd": "", "tv": "shows", "tv/4k": ""}


@pytest.mark.parametrize(
    ("category", "flat", "nested"),
    [
        ("", "/dl", "/dl"),
        ("films", "/data/films", "/data/films"),
        ("films/hd", "/dl/films/hd", "/data/films/hd"),
        ("tv", "/dl/shows", "/dl/shows"),
        ("tv/4k/new", "/dl/tv/4k/new", "/dl/shows/4k/new"),
        ("unheard of", "/dl/unheard of", "/dl/unheard of"),
    ],
)
def test_the_folder_of_a_category_is_told_as_the_client_would_choose_it(
    category: str, flat: str, nested: str
) -> None:
    assert folder_of(category, FOLDERS, "/dl/", nested=False).rstrip("/") == flat
    assert folder_of(category, FOLDERS, "/dl/", nested=True).rstrip("/") == nested


def unchecked_sibling(stage: DiskStage, of: str) -> str:
    """A cross-seed on the same files, as it is before its check: managed, 0 %."""
    made = sibling(stage.lab.made[of], "B")
    stage.lab.client.api.torrents_add(
        torrent_files=made.data, category="warm", use_auto_torrent_management=True, is_stopped=True
    )
    return made.infohash


@pytest.mark.parametrize("synced", [False, True])
def test_a_cross_seed_that_was_not_checked_yet_does_not_take_the_files_along(
    stage: DiskStage, synced: bool
) -> None:
    torrent_id = managed(stage)
    unchecked_sibling(stage, torrent_id)
    if synced:
        stage.lab.look()
    result = stage.run(one("{field: info.progress, operator: '<', value: 1}", COLD))
    assert result["outcomes"] == {"refused": 1}
    assert "needs them where they are" in result["actions"][0]["reason"]
    assert (stage.lab.seeding / "warm/Film/film.mkv").exists()
    assert save_path(stage, torrent_id) == str(stage.lab.seeding / "warm")


@pytest.mark.parametrize("finished", [False, True])
def test_files_that_another_torrent_needs_stay_also_on_their_own_filesystem(
    stage: DiskStage, finished: bool
) -> None:
    torrent_id = managed(stage)
    stage.lab.client.api.torrents_create_category(
        "warm2", save_path=str(stage.lab.seeding / "warm2")
    )
    if finished:
        stage.lab.add(sibling(stage.lab.made[torrent_id], "B"), stage.lab.seeding / "warm")
    else:
        unchecked_sibling(stage, torrent_id)
    stage.lab.look()
    stage.lab.client.api.torrents_add_tags(tags=["mine"], torrent_hashes=[torrent_id])
    own = "{field: info.tags, operator: contains, value: mine}"
    result = stage.run(one(own, "{type: set_category, params: {category: warm2}}"))
    assert result["outcomes"] == {"refused": 1}
    assert "needs them where they are" in result["actions"][0]["reason"]
    assert (stage.lab.seeding / "warm/Film/film.mkv").exists()


def test_a_folder_that_only_the_client_sees_is_on_no_filesystem_of_ours(stage: DiskStage) -> None:
    """Its nearest folder that exists here is /, which proves nothing."""
    managed(stage)
    stage.lab.client.api.torrents_create_category("away", save_path="/nowhere here/cold")
    result = stage.run(one("{}", "{type: set_category, params: {category: away}}"), dry_run=True)
    assert result["outcomes"] == {"refused": 1}
    with closing(stage.disk()) as disk:
        assert disk.same_filesystem("/", "/nowhere here/cold") is None
        assert disk.same_filesystem("/", "/etc") is True
