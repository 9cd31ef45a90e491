"""A client that does what it is asked, and whose answer is lost: nothing is done twice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.qbt_rules.rules_stage import RulesStage, job, one, outcomes, rules_stage
from tests.qbt_rules.told_disk import ToldDisk
from tests.support.qbt import VERSIONS, RealClient, settle, wait_for
from tests.support.recording_proxy import RecordingProxy
from tests.support.torrents import make_torrent

from qbt_rules import patience
from qbt_rules.effects import EFFECTS
from qbt_rules.engine import RuleEngine
from seedkeep import qbittorrent_managing
from seedkeep.errors import Unreachable
from seedkeep.qbittorrent import QBittorrentClient, connect
from seedkeep.torrent_details import QueueMove

LONG_ENOUGH = 3  # of one change, so many answers are lost: the library alone repeats once
PARAMS = {
    "set_category": "{category: films}",
    "add_tag": "{tag: new}",
    "remove_tag": "{tag: old}",
    "set_tags": "{tags: [only]}",
    "set_upload_limit": "{limit: 5000}",
    "set_download_limit": "{limit: 6000}",
    "set_share_limits": "{ratio: 3, seeding_time: 90}",
    "set_auto_management": "{enabled: false}",
    "rename": "{name: other}",
}
ENDPOINTS = (
    *(
        "addTags",
        "bottomPrio",
        "createCategory",
        "decreasePrio",
        "delete",
        "increasePrio",
        "recheck",
    ),
    *("reannounce", "removeTags", "rename", "setAutoManagement", "setCategory", "setDownloadLimit"),
    *(
        "setForceStart",
        "setLocation",
        "setShareLimits",
        "setUploadLimit",
        "start",
        "stop",
        "topPrio",
    ),
)


@pytest.fixture
def newer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RulesStage]:
    monkeypatch.setattr(patience, "_FIRST_PAUSE_S", 0.01)
    with rules_stage(tmp_path) as prepared:
        yield prepared


def queued(stage: RulesStage, names: str = "abcde") -> dict[str, str]:
    """Torrents in the client's queue, first to last.  Returns their ids by name."""
    ids = {name: stage.add(name) for name in names}
    stage.client.session.queue = list(ids.values())
    stage.client.session.shown_queue = list(ids.values())
    return ids


def order(stage: RulesStage, ids: dict[str, str]) -> str:
    names = {torrent_id: name for name, torrent_id in ids.items()}
    return "".join(names[torrent_id] for torrent_id in stage.client.session.queue or ())


def named(name: str, action: str) -> str:
    return one(f"{{field: info.name, operator: '==', value: {name}}}", action)


@pytest.mark.parametrize(
    ("action", "endpoint", "then"),
    [("queue_up", "increasePrio", "acbde"), ("queue_down", "decreasePrio", "abdce")],
)
def test_a_torrent_moves_by_one_although_the_answer_was_lost(
    newer: RulesStage, action: str, endpoint: str, then: str
) -> None:
    ids = queued(newer)
    newer.client.break_endpoint(f"torrents/{endpoint}", "after", times=LONG_ENOUGH)
    result = newer.run(named("c", action))
    assert order(newer, ids) == then
    assert outcomes(result) == [(action, "c", "done")]
    assert newer.client.requests(f"torrents/{endpoint}") == 1


@pytest.mark.parametrize("how", ["drop", "500"])
def test_a_move_that_did_not_happen_is_asked_for_again(newer: RulesStage, how: str) -> None:
    ids = queued(newer)
    newer.client.break_endpoint("torrents/increasePrio", how, times=2)
    result = newer.run(named("c", "queue_up"))
    assert order(newer, ids) == "acbde"
    assert outcomes(result) == [("queue_up", "c", "done")]


def test_several_that_move_together_move_once(newer: RulesStage) -> None:
    ids = queued(newer)
    newer.client.break_endpoint("torrents/increasePrio", "after", times=LONG_ENOUGH)
    result = newer.run(one("{field: info.name, operator: in, value: [a, c, e]}", "queue_up"))
    assert order(newer, ids) == "acbed"
    assert result["outcomes"] == {"done": 3}


def test_of_more_than_one_request_each_is_made_once(
    newer: RulesStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (patience, qbittorrent_managing):
        monkeypatch.setattr(module, "MOVED_AT_ONCE", 1)
    ids = queued(newer)
    newer.client.break_endpoint("torrents/increasePrio", "after", times=1)
    result = newer.run(one("{field: info.name, operator: in, value: [c, e]}", "queue_up"))
    assert order(newer, ids) == "acbed"
    assert result["outcomes"] == {"done": 2}
    assert newer.client.requests("torrents/increasePrio") == 2


def test_that_others_leave_the_queue_is_no_move(newer: RulesStage) -> None:
    ids = queued(newer)
    session = newer.client.session
    newer.client.break_endpoint("torrents/increasePrio", "drop", times=1)
    serve = newer.client.server.answer

    def answer(endpoint: str, form: Any) -> Any:
        # The first is complete, and leaves, after the request that was dropped.
        if newer.client.requests("torrents/increasePrio") and ids["a"] in (session.queue or ()):
            assert session.queue is not None
            session.queue.remove(ids["a"])
            session.shown_queue = list(session.queue)
        return serve(endpoint, form)

    newer.client.server.answer = answer
    newer.run(named("d", "queue_up"))
    assert order(newer, ids) == "bdce"


def test_a_move_is_asked_for_once_by_whoever_does_not_look_at_the_queue(newer: RulesStage) -> None:
    ids = queued(newer)
    newer.client.break_endpoint("torrents/decreasePrio", "after", times=LONG_ENOUGH)
    with pytest.raises(Unreachable):
        newer.connect().move_in_queue([ids["a"]], QueueMove.DOWN)
    assert newer.client.requests("torrents/decreasePrio") == 1
    assert order(newer, ids) == "bacde"


@pytest.mark.real
@pytest.mark.parametrize("version", VERSIONS)
def test_a_real_client_moves_a_torrent_by_one_although_the_answer_was_lost(
    tmp_path: Path, version: str
) -> None:
    made = [make_torrent(tmp_path / "made", name, {"": 20_000}) for name in "abcd"]
    (tmp_path / "rules.yml").write_text(named("c", "queue_up"))
    with RealClient(version) as client, RecordingProxy(client.url) as proxy, ExitStack() as ended:
        client.api.app_set_preferences({"queueing_enabled": True})
        for torrent in made:  # nothing of it is there: what is complete has no place in the queue
            client.api.torrents_add(torrent_files=torrent.data, save_path=str(tmp_path / "empty"))
            settle(client.api, [torrent.infohash], progress=0, refreshes=0)

        def names() -> str:
            every: Any = client.api.torrents_info()
            rows = [row for row in every if row["priority"] > 0]
            return "".join(str(row["name"]) for row in sorted(rows, key=lambda r: r["priority"]))

        wait_for(lambda: names() == "abcd", "all to be queued in the order of their adding")
        proxy.loses = "increasePrio"

        def connected() -> QBittorrentClient:
            product = connect(proxy.url, timeout_s=20)
            ended.callback(product.close)
            return product

        engine = RuleEngine(tmp_path / "rules.yml", connected)
        result = engine.run(job(), lambda: False).as_json()
        wait_for(lambda: names() == "acbd", "the third to be the second")
    assert result["outcomes"] == {"done": 1}
    assert proxy.requests.count("POST /api/v2/torrents/increasePrio") == 1


def test_torrents_deleted_without_an_answer_are_told_as_deleted(newer: RulesStage) -> None:
    for name in "ab":
        newer.add(name)
    newer.client.break_endpoint("torrents/delete", "after", times=LONG_ENOUGH)
    result = newer.run(one("{}", "delete_torrent"))
    assert sorted(outcomes(result)) == [("delete_torrent", name, "done") for name in "ab"]
    assert newer.torrents() == {}


@pytest.mark.parametrize("action", sorted(EFFECTS))
def test_an_action_whose_answers_are_lost_ends_as_one_whose_answers_came(
    newer: RulesStage, tmp_path: Path, action: str
) -> None:
    params = PARAMS.get(action, f"{{location: {newer.folder / 'there'}}}")
    rules = named("c", f"{{type: {action}, params: {params}}}")
    if action not in (*PARAMS, "set_location"):
        rules = named("c", action)
    if action == "start":
        rules = rules.replace("actions:", "actions:\n      - stop")
    ended = []
    for lost in (False, True):
        folder = tmp_path / str(lost)
        with rules_stage(folder) as stage:
            stage.disk = ToldDisk()
            ids = queued(stage)
            stage.client.api.torrents_add_tags(tags="old", torrent_hashes=list(ids.values()))
            for endpoint in ENDPOINTS if lost else ():
                stage.client.break_endpoint(f"torrents/{endpoint}", "after", times=LONG_ENOUGH)
            result = stage.run(rules.replace(str(newer.folder), str(folder)))
            stage.client.mend()
            rows = [
                (
                    row.name,
                    row.state.is_stopped,
                    row.force_start,
                    row.category,
                    row.tags,
                    row.upload_limit,
                    row.ratio_limit,
                )
                for row in stage.torrents().values()
            ]
            ended.append((outcomes(result), order(stage, ids), rows))
    assert ended[0] == ended[1]
