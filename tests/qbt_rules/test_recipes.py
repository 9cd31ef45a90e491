"""The ten recipes of docs/rules.md do what their text says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from tests.qbt_rules.disk_stage import DiskStage, disk_stage
from tests.qbt_rules.rules_stage import RulesStage, outcomes, rules_stage
from tests.qbt_rules.test_rule_faults import listener
from tests.support.simulated import SimulatedClient
from tests.support.simulated_torrent import SimTorrent

from qbt_rules.language.rulefile import parse_rules
from seedkeep import clock

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "rules.md").read_text()
HEADING = re.compile(r"^### (\d+)\. .*?$", re.MULTILINE)
FENCE = re.compile(r"^```yaml\n(.*?)^```$", re.MULTILINE | re.DOTALL)
RECIPES = {
    int(heading[1]): FENCE.findall(PAGE[heading.end() :])[0] for heading in HEADING.finditer(PAGE)
}


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[RulesStage]:
    with rules_stage(tmp_path) as prepared:
        yield prepared


@pytest.fixture
def two_sides(tmp_path: Path) -> Iterator[DiskStage]:
    with (
        SimulatedClient("5.1", refresh_s=0.05) as client,
        disk_stage(client, tmp_path) as prepared,
    ):
        yield prepared


def simulated(stage: RulesStage | DiskStage, torrent_id: str) -> SimTorrent:
    client = stage.client if isinstance(stage, RulesStage) else stage.lab.client
    torrents: dict[str, SimTorrent] = client.session.torrents  # type: ignore[attr-defined]
    return torrents[torrent_id]


def at(monkeypatch: pytest.MonkeyPatch, moment: datetime) -> None:
    monkeypatch.setattr(clock, "now", lambda: moment)


def test_there_are_ten_and_every_example_is_valid() -> None:
    assert sorted(RECIPES) == list(range(1, 11))
    for example in FENCE.findall(PAGE):
        assert parse_rules(example).rules


def test_1_films_in_hd_are_sorted_when_added(stage: RulesStage) -> None:
    stage.add("A.Film.2160p")
    stage.add("A.Book")
    stage.run(RECIPES[1], context="on_added")
    torrents = stage.torrents()
    assert (torrents["A.Film.2160p"].category, torrents["A.Film.2160p"].tags) == (
        "films-hd",
        ("hd",),
    )
    assert torrents["A.Book"].category == ""


def test_2_what_is_old_and_well_shared_goes_and_its_files_stay(
    stage: RulesStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared, poor = stage.add("shared"), stage.add("poor")
    stage.add("stopped", stopped=True)
    for torrent_id, times in ((shared, 2), (poor, 1)):
        simulated(stage, torrent_id).uploaded = times * simulated(stage, torrent_id).size
    assert stage.run(RECIPES[2], context="scheduled")["actions_executed"] == 0
    at(monkeypatch, clock.now() + timedelta(days=31))
    result = stage.run(RECIPES[2], context="scheduled")
    assert outcomes(result) == [("delete_torrent", "shared", "done")]
    assert (stage.folder / "data/shared").exists()


def test_3_what_few_have_is_kept_running(stage: RulesStage) -> None:
    stage.add("rare", stopped=True)
    simulated(stage, stage.add("common", stopped=True)).num_complete = 30
    stage.run(RECIPES[3], context="scheduled")
    torrents = stage.torrents()
    assert torrents["rare"].force_start
    assert torrents["common"].state.is_stopped


def test_4_limits_follow_the_tracker(stage: RulesStage) -> None:
    private = simulated(stage, stage.add("private"))
    stage.add("public")
    private.tracker = "https://tracker.private.example/announce"
    stage.run(RECIPES[4])
    limits = {
        name: (torrent.ratio_limit, torrent.seeding_time_limit)
        for name, torrent in stage.torrents().items()
    }
    assert limits == {"private": (-1, 14 * 24 * 60), "public": (1.5, -2)}


@pytest.mark.parametrize(("hour", "limit"), [(20, 2_000_000), (3, 0)])
def test_5_big_ones_are_slow_in_the_evening(
    stage: RulesStage, monkeypatch: pytest.MonkeyPatch, hour: int, limit: int
) -> None:
    torrent_id = stage.add("big")
    stage.add("small")
    stage.connect().set_upload_limit([torrent_id], 5_000)
    moment = clock.now().astimezone().replace(hour=hour)
    at(monkeypatch, moment)
    monkeypatch.setattr("qbt_rules.api.Torrent.value", _sized("big", 30 * 2**30))
    stage.run(RECIPES[5], context="scheduled")
    by_name = stage.torrents()
    assert max(by_name["big"].upload_limit, 0) == limit
    assert max(by_name["small"].upload_limit, 0) == 0


def _sized(name: str, size: int) -> object:
    """`Torrent.value` for a torrent that is said to be larger than a test would like to write."""
    from qbt_rules.api import Torrent

    true = Torrent.value

    def value(torrent: Torrent, field: str) -> object:
        if field == "info.size" and true(torrent, "info.name") == name:
            return size
        return true(torrent, field)

    return value


def test_6_programs_among_films_are_stopped(stage: RulesStage) -> None:
    stage.connect().create_category("films")
    stage.add("Film.exe", category="films")
    stage.add("Film.mkv", category="films")
    stage.add("Setup.exe")
    before = stage.client.requests("torrents/files")
    stage.run(RECIPES[6], context="on_added")
    asked = stage.client.requests("torrents/files") - before
    torrents = stage.torrents()
    assert torrents["Film.exe"].state.is_stopped
    assert torrents["Film.exe"].tags == ("suspicious",)
    assert torrents["Film.mkv"].tags == torrents["Setup.exe"].tags == ()
    assert asked == 2  # not for the one outside of the category


def test_7_somebody_is_told(stage: RulesStage) -> None:
    torrent_id = stage.add("done")
    with listener() as (url, got):
        rules = RECIPES[7].replace("http://127.0.0.1:8090/message", url)
        stage.run(rules, context="on_completed", hash=torrent_id)
    assert [body["message"] for body in got] == ["a download has ended"]


def test_8_cross_seeds_are_welcomed_once(stage: RulesStage) -> None:
    torrent_id = stage.add("cross", stopped=True)
    stage.run(RECIPES[8], context="cross_seed", hash=torrent_id)
    (torrent,) = stage.torrents().values()
    assert torrent.tags == ("cross-seed",)
    assert not torrent.state.is_stopped
    assert stage.run(context="cross_seed")["actions_executed"] == 0


def test_9_seed_only_content_goes_to_the_pool(two_sides: DiskStage) -> None:
    lab = two_sides.lab
    goes = lab.seed("Goes", {"goes.mkv": 100_000})
    fresh = lab.seed("Fresh", {"fresh.mkv": 100_000})
    stays = lab.seed("Stays", {"stays.mkv": 100_000})
    lab.import_into_library(stays, "Stays (2020)")
    lab.look()
    for torrent_id in (goes, stays):
        simulated(two_sides, torrent_id).completion_on -= 20 * 86_400
    two_sides.run(RECIPES[9], context="scheduled")
    rows = lab.rows()
    assert rows[goes]["save_path"] == str(lab.pool_seeding)
    assert rows[goes]["tags"] == "on-pool"
    assert rows[fresh]["save_path"] == rows[stays]["save_path"] == str(lab.seeding)


def test_10_files_go_when_the_library_has_them(two_sides: DiskStage) -> None:
    lab = two_sides.lab
    used = lab.seed("Used", {"used.mkv": 100_000})
    library = lab.import_into_library(used, "Used (2020)")
    alone = lab.seed("Alone", {"alone.mkv": 100_000})
    lab.look()
    for torrent_id in (used, alone):
        simulated(two_sides, torrent_id).tracker_message = "unregistered torrent"
    two_sides.run(RECIPES[10], context="scheduled")
    assert list(lab.rows()) == [alone]
    assert (library / "used.mkv").exists()
    assert not (lab.seeding / "Used/used.mkv").exists()
    assert (lab.seeding / "Alone/alone.mkv").exists()
