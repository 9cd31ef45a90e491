"""Torrents and clients that are not as usual: hybrid torrents, and numbers that are none."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import libtorrent
import pytest
from tests.qbt_rules.rules_stage import RulesStage, job, one, outcomes, rules_stage
from tests.support.qbt import VERSIONS, RealClient, settle
from tests.support.torrents import PIECE_SIZE, make_torrent, write_files

from qbt_rules.engine import RuleEngine
from seedkeep.errors import Unreachable
from seedkeep.qbittorrent import connect

V1, V2 = "a1" * 20, "b2" * 32


@pytest.fixture
def newer(tmp_path: Path) -> Iterator[RulesStage]:
    with rules_stage(tmp_path) as prepared:
        yield prepared


# -- torrents with two hashes


@pytest.mark.parametrize("asked", [V1, V2, V2[:40]])
def test_a_hybrid_torrent_is_found_by_each_of_its_hashes(newer: RulesStage, asked: str) -> None:
    newer.add("other")
    hybrid = newer.client.session.torrents.pop(newer.add("hybrid"))
    hybrid.hash, hybrid.infohash_v1, hybrid.infohash_v2 = V2[:40], V1, V2
    newer.client.session.torrents[hybrid.hash] = hybrid
    result = newer.run(one("{}", "{type: add_tag, params: {tag: t}}"), hash=asked)
    assert outcomes(result) == [("add_tag", "hybrid", "done")]
    assert result["warnings"] == []
    (told,) = newer.engine().explain(asked)
    assert told.condition.verdict is True


@pytest.mark.real
@pytest.mark.parametrize("version", VERSIONS)
def test_a_real_client_knows_a_hybrid_torrent_by_one_hash_and_we_by_all(
    tmp_path: Path, version: str
) -> None:
    write_files(tmp_path / "Hybrid", {"a": 70_004, "b/c": 6})
    files = libtorrent.list_files(str(tmp_path / "Hybrid"))
    made = libtorrent.create_torrent(files, PIECE_SIZE, 0)
    libtorrent.set_piece_hashes(made, str(tmp_path))
    data = libtorrent.bencode(made.generate())
    hashes = libtorrent.torrent_info(libtorrent.bdecode(data)).info_hashes()
    v1, v2 = str(hashes.v1), str(hashes.v2)
    rules = tmp_path / "rules.yml"
    with RealClient(version) as client:
        client.api.torrents_add(
            torrent_files=data,
            save_path=str(tmp_path),
            is_skip_checking=True,
            content_layout="Original",
        )
        settle(client.api, [v2[:40]], progress=1.0, refreshes=0)
        assert client.api.torrents_info(torrent_hashes=v1) == []
        engine = RuleEngine(rules, lambda: connect(client.url, timeout_s=20))
        for asked in (v1, v2, v2[:40]):
            rules.write_text(one("{}", f"{{type: add_tag, params: {{tag: '{asked[:8]}'}}}}"))
            engine.run(job(hash=asked), lambda: False)
        (row,) = client.api.torrents_info()
    assert str(row["tags"]).split(", ") == sorted({v1[:8], v2[:8]})


# -- numbers that stand for "not known"


@pytest.mark.real
@pytest.mark.parametrize("version", VERSIONS)
def test_what_a_tracker_has_not_told_and_a_seed_cannot_know_is_unknown(
    tmp_path: Path, version: str
) -> None:
    made = make_torrent(tmp_path, "Film", {"a.mkv": 50_000})
    rules = tmp_path / "rules.yml"
    fields = [f"trackers.num_{what}" for what in ("seeds", "peers", "leeches", "downloaded")]
    rules.write_text("rules:\n" + "".join(
        f"  - {{name: '{field}', conditions: {{field: {field}, operator: '<', value: 1}},"
        " actions: [delete_torrent]}\n"
        for field in [*fields, "files.availability", "info.availability"]
    ))  # fmt: skip
    with RealClient(version) as client:
        client.add(made.data, tmp_path)
        engine = RuleEngine(rules, lambda: connect(client.url, timeout_s=20))
        result = engine.run(job(dry_run=True), lambda: False).as_json()
    assert result["actions"] == []
    assert result["unknown_count"] == 6


TRACKERS = [
    {"url": "http://127.0.0.1:9/a", "status": 2, "tier": 0, "msg": "", "num_seeds": 5},
    {"url": "http://127.0.0.1:9/b", "status": 4, "tier": 1, "msg": "gone", "num_seeds": -1},
]


@pytest.mark.parametrize(
    ("operator", "value", "verdict"),
    [
        (">=", 5, True),  # one of them has told enough
        (">=", 6, None),  # the other might have
        ("in", [5, 7], True),
        ("!=", 5, False),
        ("!=", 6, None),
        ("not_in", [6], None),
        ("not_in", [5], False),
    ],
)
def test_of_a_list_that_is_known_in_part_the_known_part_may_decide(
    newer: RulesStage, operator: str, value: object, verdict: bool | None
) -> None:
    torrent_id = newer.add("a")
    newer.client.break_endpoint("torrents/trackers", json.dumps(TRACKERS))
    condition = {"field": "trackers.num_seeds", "operator": operator, "value": value}
    result = newer.run(one(json.dumps(condition), "stop"), dry_run=True)
    assert [row["hash"] for row in result["actions"]] == [torrent_id] * (verdict is True)
    reasons: list[Any] = [entry["reasons"] for entry in result["unknown"]]
    told = f"trackers.num_seeds {operator} {value!r}: qBittorrent does not tell num_seeds"
    assert reasons == [[told]] * (verdict is None)
    (explained,) = newer.engine().explain(torrent_id)
    (leaf,) = explained.condition.parts
    assert (leaf.verdict, leaf.seen) == (verdict, [5, None])


# -- clients that tell too much


def test_preferences_that_let_somebody_in_are_not_read(newer: RulesStage) -> None:
    said = {"web_ui_api_key": "qbt_secret", "proxy_password": "geheim", "web_ui_port": 8080}
    connected = newer.connect()
    newer.client.break_endpoint("app/preferences", json.dumps(said))
    assert connected.preferences() == {"web_ui_port": 8080}


# -- clients that go away


def test_a_client_that_goes_away_while_a_field_is_asked_for_is_told_as_such(
    newer: RulesStage,
) -> None:
    newer.add("a")
    newer.rules(one("{field: trackers.msg, operator: contains, value: x}", "stop"))
    newer.client.break_endpoint("torrents/trackers", "drop")
    with pytest.raises(Unreachable) as away:
        newer.engine(patience_s=0).run(job(), lambda: False)
    assert "trackers.msg" not in away.value.detail
    assert "closed connection" in away.value.detail


@pytest.mark.parametrize("status", ["403", "404"])
def test_a_proxy_that_answers_for_the_client_is_waited_out(newer: RulesStage, status: str) -> None:
    newer.add("a")
    newer.client.break_endpoint("torrents/info", status, times=1)
    result = newer.run(one("{}", "{type: add_tag, params: {tag: t}}"))
    assert outcomes(result) == [("add_tag", "a", "done")]
