"""What rules do on the disk and beyond the client, and what happens on a bad day."""

from __future__ import annotations

import contextlib
import http.server
import json
import math
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.qbt_rules.rules_stage import RulesStage, job, one, outcomes, rules_stage
from tests.qbt_rules.told_disk import ToldDisk
from tests.support.simulated import SimulatedClient

from qbt_rules.disk import Deed
from qbt_rules.engine import JobStopped, RuleEngine
from qbt_rules.language.values import Value
from qbt_rules.record import MOST_ROWS
from qbt_rules.rule_run import ONE_BY_ONE
from seedkeep.errors import Misused, Unreachable
from seedkeep.qbittorrent import connect
from seedkeep.torrent_client import LoginRefused, NoSuchTorrent


@pytest.fixture
def newer(tmp_path: Path) -> Iterator[RulesStage]:
    with rules_stage(tmp_path) as prepared:
        yield prepared


# -- odd answers


@pytest.mark.parametrize("odd", [math.nan, math.inf, True, False])
def test_a_number_that_is_none_is_unknown_and_no_rule_acts_on_it(
    newer: RulesStage, odd: float | bool
) -> None:
    for name in ("odd", "plain"):
        newer.add(name)
    rows: list[dict[str, Any]] = [dict(row) for row in newer.client.api.torrents_info()]
    rows[0]["ratio"] = odd
    newer.client.break_endpoint("torrents/info", json.dumps(rows))
    rules = "".join(
        f"  - {{name: '{how}', conditions: {{field: info.ratio, operator: '{how}', value: 1}},"
        " actions: [stop]}\n"
        for how in ("==", "!=", "<", ">=")
    )
    result = newer.run(f"rules:\n{rules}", dry_run=True)
    assert {row["hash"] for row in result["actions"]} == {rows[1]["hash"]}
    assert [entry["hash"] for entry in result["unknown"]] == [rows[0]["hash"]] * 4
    assert f"qBittorrent says {odd!r} for ratio" in result["unknown"][0]["reasons"][0]


# -- the disk


def test_a_group_is_demoted_once_and_the_run_is_named(newer: RulesStage) -> None:
    first, second = newer.add("a"), newer.add("b")
    disk = newer.disk = ToldDisk(deeds=[Deed((first, second), True, "moved", 7)])
    rules = one(
        "{}",
        "{type: rehome_demote, params: {retain: 24h}}",
        "{type: add_tag, params: {tag: on-pool}}",
    )
    result = newer.run(rules)
    assert disk.asked[0] == ("demote", (sorted([first, second]), 86_400.0, False))
    assert result["runs"] == [7]
    assert [row["run"] for row in result["actions"] if row["action"] == "rehome_demote"] == [7, 7]
    assert {torrent.tags for torrent in newer.torrents().values()} == {("on-pool",)}


def test_a_dry_run_asks_for_the_plan_only(newer: RulesStage) -> None:
    torrent_id = newer.add("a")
    disk = newer.disk = ToldDisk(deeds=[Deed((torrent_id,), True, "would move")])
    result = newer.run(one("{}", "rehome_demote", "rehome_promote"), dry_run=True)
    assert disk.asked == [
        ("demote", ([torrent_id], None, True)),
        ("promote", ([torrent_id], True)),
    ]
    assert [row["outcome"] for row in result["actions"]] == ["would be done"] * 2


def test_a_block_is_a_result_with_its_reasons(newer: RulesStage) -> None:
    torrent_id = newer.add("a")
    newer.disk = ToldDisk(deeds=[Deed((torrent_id,), False, "used by /stash/library/a.mkv")])
    result = newer.run(one("{}", "rehome_demote"))
    assert outcomes(result) == [("rehome_demote", "a", "blocked")]
    assert result["actions"][0]["reason"] == "used by /stash/library/a.mkv"
    assert result["runs"] == []


def test_a_deed_that_fails_does_not_stop_the_job(newer: RulesStage) -> None:
    newer.disk = ToldDisk(error=Misused("the catalog is locked", detail="by a scan"))
    newer.add("a")
    result = newer.run("""
        rules:
          - name: first
            actions: [rehome_demote]
          - name: second
            actions:
              - {type: hashall_scan, params: {paths: [/stash]}}
              - {type: add_tag, params: {tag: t}}
    """)
    assert [row["outcome"] for row in result["actions"]] == ["failed", "failed", "done"]
    assert result["actions"][0]["reason"] == "the catalog is locked: by a scan"


@pytest.mark.parametrize("dry_run", [False, True])
def test_what_follows_in_a_rule_is_not_done_to_a_torrent_that_was_held_back(
    newer: RulesStage, *, dry_run: bool
) -> None:
    """A tag that says "on the pool" belongs to what went there, and to nothing else."""
    goes, stays = newer.add("goes"), newer.add("stays")
    newer.disk = ToldDisk(
        deeds=[Deed((goes,), True, "moved", 7), Deed((stays,), False, "the library has it")]
    )
    rules = """
        rules:
          - name: to the pool
            actions: [rehome_demote, {type: add_tag, params: {tag: on-pool}}, recheck]
          - name: after it
            actions: [{type: add_tag, params: {tag: seen}}]
    """
    result = newer.run(rules, dry_run=dry_run)
    assert [row for row in outcomes(result) if row[1] == "stays"] == [
        ("rehome_demote", "stays", "blocked"),
        ("add_tag", "stays", "would be done" if dry_run else "done"),
    ]
    if not dry_run:
        tags = {name: set(torrent.tags) for name, torrent in newer.torrents().items()}
        assert tags == {"goes": {"on-pool", "seen"}, "stays": {"seen"}}


def test_files_are_verified_and_folders_scanned(newer: RulesStage) -> None:
    torrent_id = newer.add("a")
    newer.add("b")
    disk = newer.disk = ToldDisk()
    rules = one(
        "{field: info.name, operator: '==', value: a}",
        "{type: payload_verify, params: {sample: 5%}}",
        "{type: hashall_scan, params: {paths: [/stash]}}",
    )
    dry = newer.run(rules, dry_run=True)
    assert disk.asked == []
    assert [row["outcome"] for row in dry["actions"]] == ["would be done"] * 2
    result = newer.run(rules)
    assert [asked for asked in disk.asked if asked[0] != "forget"] == [
        ("verify", ([torrent_id], 0.05)),
        ("scan", ["/stash"]),
    ]
    assert [row["reason"] for row in result["actions"]] == ["all pieces fit", "3 files"]


def test_fields_of_the_disk_decide_and_an_error_is_unknown(newer: RulesStage) -> None:
    newer.add("a")
    disk = newer.disk = ToldDisk(values={"links.outside": 0, "space.stash_free": 10**9})
    rules = one(
        """
      all:
        - {field: links.outside, operator: "==", value: 0}
        - {field: space.stash_free, operator: smaller_than, value: 500GB}
""",
        "{type: add_tag, params: {tag: t}}",
    )
    assert newer.run(rules, dry_run=True)["actions_executed"] == 1
    disk.error = Misused("the catalog is damaged")
    result = newer.run(rules)
    assert result["actions_executed"] == 0
    assert "the catalog is damaged" in result["unknown"][0]["reasons"][0]


# -- faults


def test_a_torrent_that_went_away_between_match_and_action_is_passed_over(
    newer: RulesStage,
) -> None:
    first = newer.add("a")
    newer.add("b")

    class Removing(ToldDisk):
        def why_not_delete(self, *args: Any, **kwargs: Any) -> str:
            return ""

        def same_filesystem(self, one: str, other: str) -> bool | None:
            if first in {torrent.torrent_id for torrent in newer.torrents().values()}:
                newer.connect().delete([first], with_files=False)
            return True

    newer.disk = Removing()
    target = newer.folder / "other"
    result = newer.run(one("{}", f"{{type: set_location, params: {{location: {target}}}}}", "stop"))
    assert outcomes(result) == [
        ("set_location", "a", "gone"),
        ("set_location", "b", "done"),
        ("stop", "b", "done"),
    ]


def test_an_action_that_the_client_refuses_fails_and_the_others_go_on(newer: RulesStage) -> None:
    newer.add("a")
    newer.add("b")
    result = newer.run(one("{}", "queue_top", "{type: add_tag, params: {tag: t}}"))
    assert [row["outcome"] for row in result["actions"]] == ["failed"] * 2 + ["done"] * 2
    assert "queueing must be enabled" in result["actions"][0]["reason"]


def test_of_many_only_the_one_that_is_refused_fails(newer: RulesStage) -> None:
    newer.disk = ToldDisk()
    newer.add("a")
    managed = newer.add("b")
    newer.client.api.torrents_set_auto_management(enable=True, torrent_hashes=managed)
    target = newer.folder / "other"
    result = newer.run(one("{}", f"{{type: set_location, params: {{location: {target}}}}}"))
    assert sorted(outcomes(result)) == [
        ("set_location", "a", "done"),
        ("set_location", "b", "refused"),
    ]


def test_a_category_that_is_not_to_be_made_has_to_be_there(newer: RulesStage) -> None:
    newer.add("a")
    action = "{type: set_category, params: {category: new, create: false}}"
    assert newer.run(one("{}", action))["outcomes"] == {"failed": 1}


def test_more_torrents_than_are_tried_singly_fail_together(
    newer: RulesStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ONE_BY_ONE > 2
    monkeypatch.setattr("qbt_rules.rule_run.ONE_BY_ONE", 1)
    newer.add("a")
    newer.add("b")
    before = newer.client.requests("torrents/topPrio")
    result = newer.run(one("{}", "queue_top"))
    assert result["outcomes"] == {"failed": 2}
    assert newer.client.requests("torrents/topPrio") - before == 1


def test_a_client_that_restarts_during_the_job_is_waited_for(newer: RulesStage) -> None:
    newer.add("a")

    class Restarting(ToldDisk):
        def value(self, torrent_id: str, name: str, save_path: str) -> Value:
            newer.client.kill()
            threading.Timer(0.3, newer.client.start).start()
            return 0

    newer.disk = Restarting()
    result = newer.run(one(
        "{field: links.outside, operator: '==', value: 0}", "{type: add_tag, params: {tag: t}}"
    ))  # fmt: skip
    assert outcomes(result) == [("add_tag", "a", "done")]


def test_a_client_that_stays_away_fails_the_job(newer: RulesStage) -> None:
    newer.add("a")
    newer.rules(one("{}", "stop"))
    newer.client.kill()
    with pytest.raises(Unreachable):
        newer.engine(patience_s=0.6).run(job(), lambda: False)
    newer.client.start()


def test_jobs_behind_one_that_waited_in_vain_fail_at_once_until_the_client_is_back(
    newer: RulesStage,
) -> None:
    newer.rules(one("{}", "{type: add_tag, params: {tag: t}}"))
    newer.add("a")
    engine = newer.engine(patience_s=1.5)
    newer.client.kill()
    waits = []
    for _ in range(2):
        began = time.monotonic()
        with pytest.raises(Unreachable):
            engine.run(job(), lambda: False)
        waits.append(time.monotonic() - began)
    newer.client.start()
    assert waits[0] >= 1.5 > waits[1]
    assert engine.run(job(), lambda: False).actions_executed == 1


def test_a_refused_login_is_tried_once_and_fails_the_job(tmp_path: Path) -> None:
    # Five wrong tries, and qBittorrent bans the address for an hour.
    (tmp_path / "rules.yml").write_text(one("{}", "stop"))
    with SimulatedClient("5.1", password="right horse") as client:
        engine = RuleEngine(
            tmp_path / "rules.yml", lambda: connect(client.url, "admin", "wrong horse")
        )
        for _ in range(6):
            with pytest.raises(LoginRefused):
                engine.run(job(), lambda: False)
        assert client.requests("auth/login") == 1


def test_a_job_that_is_told_to_end_ends_before_the_next_change(newer: RulesStage) -> None:
    newer.add("a")
    newer.rules(one("{}", "stop", "{type: add_tag, params: {tag: t}}"))
    answers = iter([False, False, True])
    with pytest.raises(JobStopped):
        newer.engine().run(job(), lambda: next(answers))
    (torrent,) = newer.torrents().values()
    assert torrent.state.is_stopped
    assert torrent.tags == ()


def test_a_job_that_is_told_to_end_asks_about_no_further_torrent(newer: RulesStage) -> None:
    for name in "abc":
        newer.add(name)
    newer.rules(one("{field: trackers.msg, operator: contains, value: x}", "stop"))
    asked = newer.client.requests
    with pytest.raises(JobStopped):
        newer.engine().run(job(), lambda: asked("torrents/trackers") > 0)
    assert asked("torrents/trackers") == 1


@pytest.mark.parametrize("action", ["rehome_demote", "rehome_promote", "payload_verify"])
def test_a_job_that_was_told_to_end_between_two_groups_is_not_done(
    newer: RulesStage, action: str
) -> None:
    """Else it would count as completed, and the groups that were left would stay where they are."""
    first, second = newer.add("a"), newer.add("b")
    newer.rules(one("{}", action))
    told: list[str] = []

    class Half(ToldDisk):
        def demote(self, ids: Collection[str], **how: Any) -> list[Deed]:
            told.append(action)
            return [Deed((first,), True, "moved", 7)]

        promote = verify = demote

    newer.disk = Half()
    with pytest.raises(JobStopped):
        newer.engine().run(job(), lambda: bool(told))
    told.clear()
    newer.disk = ToldDisk(deeds=[Deed((first,), True, ""), Deed((second,), True, "")])
    result = newer.engine().run(job(), lambda: False).as_json()
    assert {row["outcome"] for row in result["actions"]} == {"done"}


def test_a_job_that_is_told_to_end_does_not_wait_for_the_client(newer: RulesStage) -> None:
    newer.rules(one("{}", "stop"))
    newer.client.kill()
    with pytest.raises(JobStopped):
        newer.engine(patience_s=60).run(job(), lambda: True)
    newer.client.start()


def test_a_result_is_bounded_and_counts_the_rest(newer: RulesStage) -> None:
    newer.add("a")
    actions = ", ".join(f"{{type: add_tag, params: {{tag: t{n}}}}}" for n in range(MOST_ROWS + 5))
    result = newer.run(f"rules: [{{name: many, actions: [{actions}]}}]", dry_run=True)
    assert len(result["actions"]) == MOST_ROWS
    assert result["actions_not_listed"] == 5
    assert result["actions_executed"] == MOST_ROWS + 5


# -- the rule file


def test_a_rule_file_that_went_wrong_leaves_the_last_good_one_in_force(newer: RulesStage) -> None:
    newer.add("a")
    newer.rules(one("{}", "{type: add_tag, params: {tag: good}}"))
    engine = newer.engine()
    engine.run(job(), lambda: False)
    newer.rules("rules: [")
    result = engine.run(job(dry_run=True), lambda: False).as_json()
    assert result["actions_skipped"] == 1
    assert "the rules of before stay in force" in result["warnings"][0]
    newer.rules(one("{}", "{type: add_tag, params: {tag: better}}"))
    result = engine.run(job(), lambda: False).as_json()
    assert result["actions_executed"] == 1
    assert result["warnings"] == []
    newer.rules_file.unlink()
    assert engine.run(job(), lambda: False).as_json()["warnings"] != []


def test_a_rule_file_that_was_never_right_fails_the_job(newer: RulesStage) -> None:
    newer.rules("rules: [")
    with pytest.raises(Misused):
        newer.engine().run(job(), lambda: False)


def test_warnings_about_old_words_are_part_of_the_result(newer: RulesStage) -> None:
    result = newer.run("rules: [{name: a, actions: [pause]}]")
    assert "pause is the old word" in result["warnings"][0]


# -- explain


def test_an_explanation_tells_for_each_rule_what_was_seen(newer: RulesStage) -> None:
    torrent_id = newer.add("a")
    newer.rules("""
        rules:
          - name: films
            conditions:
              context: on_added
              all: [{field: info.name, operator: contains, value: film}]
            actions: [stop]
          - name: other
            actions: [stop]
    """)
    films, other = newer.engine().explain(torrent_id.upper()[:40].lower())
    assert (films.rule, films.runs, films.condition.verdict) == ("films", False, False)
    assert films.condition.parts[0].seen == "a"
    assert (other.runs, other.condition.verdict) == (True, True)
    assert newer.engine().explain(torrent_id, "on_added", "films")[0].runs
    with pytest.raises(NoSuchTorrent):
        newer.engine().explain("f" * 40)


# -- notify


@contextmanager
def listener(status: int = 204) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    got: list[dict[str, Any]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/secret", got
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_one_message_goes_out_for_all_torrents_of_a_rule(newer: RulesStage) -> None:
    newer.add("a")
    newer.add("b")
    with listener() as (url, got):
        rules = one("{}", f"{{type: notify, params: {{url: '{url}', message: hello}}}}")
        newer.run(rules, dry_run=True)
        assert got == []
        result = newer.run(rules)
    assert result["outcomes"] == {"done": 2}
    assert [(body["message"], body["rule"], body["count"]) for body in got] == [("hello", "one", 2)]
    assert {torrent["name"] for torrent in got[0]["torrents"]} == {"a", "b"}


def test_an_answer_to_a_message_that_never_ends_is_not_waited_for(newer: RulesStage) -> None:
    newer.add("a")
    over = threading.Event()

    class Dripping(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(200)
            self.end_headers()
            with contextlib.suppress(OSError):
                while not over.wait(0.05):
                    self.wfile.write(b"x")

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Dripping) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        given_up = threading.Timer(30, over.set)
        given_up.start()
        url = f"http://127.0.0.1:{server.server_port}"
        result = newer.run(one("{}", f"{{type: notify, params: {{url: '{url}', message: x}}}}"))
        assert not over.is_set()
        over.set()
        given_up.cancel()
        server.shutdown()
    assert result["outcomes"] == {"done": 1}


def test_an_address_that_cannot_be_one_fails_the_message_only(newer: RulesStage) -> None:
    newer.add("a")
    url = f"http://{'a' * 70}.example/secret"
    result = newer.run(one("{}", f"{{type: notify, params: {{url: '{url}', message: x}}}}", "stop"))
    assert [row["outcome"] for row in result["actions"]] == ["failed", "done"]
    assert "secret" not in json.dumps(result["actions"])


@pytest.mark.parametrize("status", [500, 301])
def test_a_message_that_is_not_taken_fails_and_its_address_is_not_told(
    newer: RulesStage, status: int
) -> None:
    newer.add("a")
    with listener(status) as (url, _):
        result = newer.run(
            one("{}", f"{{type: notify, params: {{url: '{url}', message: x}}}}", "stop")
        )
    assert [row["outcome"] for row in result["actions"]] == ["failed", "done"]
    assert "secret" not in json.dumps(result)
