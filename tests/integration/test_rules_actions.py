"""Every action of the rule language on a real client: done by a rule, read back from the client.

One job does all of it, on one torrent for each case; a second job finds it done.
"""

from __future__ import annotations

import http.server
import json
import os
import shutil
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

import pytest
from tests.qbt_rules.disk_stage import DiskStage, disk_stage
from tests.support.qbt import RealClient, settle, versions_here, wait_for
from tests.support.torrents import NO_TRACKER, MadeTorrent, make_torrent

from qbt_rules.language.action_table import ACTIONS
from seedkeep import clock

Where = Literal["stash", "pool", "nowhere"]
SIZE = 20_000
DAY_MIN = 24 * 60


@dataclass(frozen=True)
class Case:
    """One torrent, and what a rule does to it."""

    action: str  # as it stands in a rule file
    shows: dict[str, Any] = field(default_factory=dict)  # of torrents/info, afterwards
    where: Where = "stash"
    stopped: bool = False
    tags: str = ""
    category: str = ""
    managed: bool = False
    done_once: bool = True  # a second job finds nothing to do
    outcome: str = "done"


def with_params(action: str, **params: Any) -> str:
    return json.dumps({"type": action, "params": params})


CASES: dict[str, Case] = {
    # Whatever is to be known of the disk is read here, so this one is the first.
    "scan": Case(with_params("hashall_scan", paths=["STASH", "MEDIA", "POOL"]), done_once=False),
    "stop": Case("stop", {"state": {"pausedUP", "stoppedUP"}}),
    "start": Case("start", {"state": {"uploading", "stalledUP"}}, stopped=True),
    "force": Case("force_start", {"force_start": {True}, "state": {"forcedUP"}}),
    "category": Case(with_params("set_category", category="new"), {"category": {"new"}}),
    "tag": Case(with_params("add_tag", tags=["b", "c"]), {"tags": {"a, b, c"}}, tags="a"),
    "untag": Case(with_params("remove_tag", tag="a"), {"tags": {"b"}}, tags="a,b"),
    "tags": Case(with_params("set_tags", tags=["b", "c"]), {"tags": {"b, c"}}, tags="a,b"),
    "upload": Case(with_params("set_upload_limit", limit="50 KB/s"), {"up_limit": {50_000}}),
    "download": Case(with_params("set_download_limit", limit=60_000), {"dl_limit": {60_000}}),
    "share": Case(
        with_params("set_share_limits", ratio=2.5, seeding_time="14d"),
        {"ratio_limit": {2.5}, "seeding_time_limit": {14 * DAY_MIN}},
    ),
    "managed": Case(
        with_params("set_auto_management", enabled=True),
        {"auto_tmm": {True}, "save_path": {"STASH/warm"}},
        category="warm",
    ),
    "border": Case(
        with_params("set_category", category="cold"),
        {"auto_tmm": {True}, "category": {"warm"}, "save_path": {"STASH/warm"}},
        category="warm",
        managed=True,
        outcome="refused",
    ),
    "location": Case(
        with_params("set_location", location="STASH/new"), {"save_path": {"STASH/new"}}
    ),
    "rename": Case(with_params("rename", name="Another name"), {"name": {"Another name"}}),
    **{
        # Only torrents that are not complete have a place in the queue.
        f"queue {number}": Case(action, where="nowhere", done_once=False)
        for number, action in enumerate(
            ["queue_bottom", "reannounce", "queue_top", "queue_down", "queue_up", "reannounce"]
        )
    },
    "announce": Case("reannounce", done_once=False),
    "message": Case(with_params("notify", url="WEB/message", message="ready"), done_once=False),
    "verify": Case("payload_verify", {"progress": {1}}, done_once=False),
    "demote": Case(
        with_params("rehome_demote", retain="0s"), {"save_path": {"POOL"}, "progress": {1}}
    ),
    "promote": Case("rehome_promote", {"save_path": {"STASH"}, "progress": {1}}, where="pool"),
    "delete": Case("delete_torrent", done_once=False),
    "delete all": Case(
        with_params("delete_torrent", delete_files=True, allow_last_copy=True), done_once=False
    ),
    "recheck": Case("recheck", {"progress": {0}}, done_once=False),
}
GONE = {"delete", "delete all"}
UNCHANGED = {"border", "verify"}
QUEUE = [name for name in CASES if name.startswith("queue ")]


class Web:
    """A tracker that counts announces, and an address that takes messages."""

    def __init__(self) -> None:
        self.announces: Counter[str] = Counter()  # by infohash
        self.messages: list[Any] = []
        web = self

        class Answers(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                query = parse_qs(urlsplit(self.path).query, encoding="latin-1")
                web.announces[query["info_hash"][0].encode("latin-1").hex()] += 1
                self._say(b"d8:intervali1800e5:peers0:e")

            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                web.messages.append(json.loads(self.rfile.read(length)))
                self._say(b"")

            def _say(self, body: bytes) -> None:
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                return

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@dataclass
class Done:
    """All cases after the first job, which did them, and the second one, which found them done."""

    stage: DiskStage
    version: str
    web: Web
    made: dict[str, MadeTorrent]
    rows_before: dict[str, dict[str, Any]]  # by case
    announced_before: int
    first: dict[str, Any] = field(default_factory=dict)
    second: dict[str, Any] = field(default_factory=dict)

    def filled(self, text: str) -> str:
        """Our places for the words in capitals."""
        lab = self.stage.lab
        for word, place in (
            ("STASH", lab.seeding),
            ("MEDIA", lab.media),
            ("POOL", lab.pool_seeding),
            ("WEB", self.web.url),
        ):
            text = text.replace(word, str(place))
        return text

    def run(self, actions: Mapping[str, str]) -> dict[str, Any]:
        """One job with a rule for each case: its action, for its torrent alone."""
        rules = [
            {
                "name": name,
                "conditions": {"field": "info.hash", "operator": "==", "value": self.id_of(name)},
                "actions": [_parsed(self.filled(action))],
            }
            for name, action in actions.items()
        ]
        return self.stage.run(json.dumps({"rules": rules}))  # JSON is YAML

    def id_of(self, name: str) -> str:
        return self.made[name].infohash

    def is_shown(self, row: dict[str, Any], name: str, key: str) -> bool:
        """Whether torrents/info says what the case wants of this key."""
        now = row[key].rstrip("/") if key == "save_path" else row[key]
        wanted = CASES[name].shows[key]
        return now in {self.filled(one) if isinstance(one, str) else one for one in wanted}

    def rows(self) -> dict[str, dict[str, Any]]:
        """What the client lists, by case."""
        found = self.stage.lab.rows()
        return {name: found[t.infohash] for name, t in self.made.items() if t.infohash in found}

    def file(self, name: str, below: Path) -> Path:
        return below / name / f"{name}.mkv"


def _parsed(action: str) -> Any:
    return json.loads(action) if action.startswith("{") else action


@contextmanager
def staged(version: str, folder: Path) -> Iterator[Done]:
    with ExitStack() as stack:
        client = stack.enter_context(RealClient(version))
        stage = stack.enter_context(disk_stage(client, folder))
        web = Web()
        stack.callback(web.close)
        lab, api = stage.lab, client.api
        lab.look()  # there has to be a catalog
        api.app_set_preferences(
            {"queueing_enabled": True}
            | {f"max_active_{what}": -1 for what in ("downloads", "uploads", "torrents")}
        )
        for category, root in (("warm", lab.seeding), ("cold", lab.pool_seeding)):
            api.torrents_create_category(category, save_path=str(root / category))
        roots = {"stash": lab.seeding, "pool": lab.pool_seeding, "nowhere": folder / "nowhere"}
        made = {}
        for name, case in CASES.items():
            root = roots[case.where] / "warm" if case.managed else roots[case.where]
            tracker = f"{web.url}/announce" if name == "announce" else NO_TRACKER
            made[name] = make_torrent(root, name, {f"{name}.mkv": SIZE}, trackers=[tracker])
            if case.where == "nowhere":
                shutil.rmtree(root / name)
            api.torrents_add(
                torrent_files=made[name].data,
                save_path=None if case.managed else str(root),
                category=case.category or None,
                tags=case.tags or None,
                is_skip_checking=case.where != "nowhere",
                is_stopped=case.stopped or case.where == "nowhere",
                use_auto_torrent_management=case.managed,
            )
        # What the promotion shows on stash again; what the border would cut in two.
        shutil.copytree(lab.pool_seeding / "promote", lab.media / "promote")
        os.link(lab.seeding / "warm/border/border.mkv", lab.media / "border.mkv")
        settle(api, [torrent.infohash for torrent in made.values()])
        wait_for(lambda: web.announces[made["announce"].infohash] > 0, "the first announce")
        done = Done(stage, version, web, made, {}, web.announces[made["announce"].infohash])
        done.rows_before = done.rows()
        yield done


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(version, marks=pytest.mark.xdist_group(f"client-{version}"))
        for version in versions_here()
    ],
)
def version(request: pytest.FixtureRequest) -> str:
    """Debian testing's client, too, where the set-up got one."""
    return str(request.param)


@pytest.fixture(scope="module")
def done(version: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Done]:
    with staged(version, tmp_path_factory.mktemp("actions")) as prepared:
        damaged = prepared.file("recheck", prepared.stage.lab.seeding)
        damaged.write_bytes(bytes(SIZE))  # so that reading it again is seen
        prepared.first = prepared.run({name: case.action for name, case in CASES.items()})
        left = [t.infohash for name, t in prepared.made.items() if name not in GONE]
        settle(prepared.stage.lab.client.api, left, refreshes=1)
        again = {name: case.action for name, case in CASES.items() if case.done_once}
        prepared.second = prepared.run(again)
        yield prepared


pytestmark = pytest.mark.real


def test_no_action_of_the_language_is_left_out() -> None:
    actions = [_parsed(case.action) for case in CASES.values()]
    types = {action["type"] if isinstance(action, dict) else action for action in actions}
    assert types == ACTIONS.keys()


def test_before_the_job_nothing_of_it_is_there(done: Done) -> None:
    before = done.rows_before
    assert before.keys() == CASES.keys()
    for name, case in CASES.items():
        assert before[name]["progress"] == (case.where != "nowhere"), name
        there = [done.is_shown(before[name], name, key) for key in case.shows]
        assert not there or all(there) is (name in UNCHANGED), name


@pytest.mark.parametrize("name", CASES)
def test_the_job_says_what_it_did(done: Done, name: str) -> None:
    (row,) = [row for row in done.first["actions"] if row["rule"] == name]
    assert (row["outcome"], row["hash"]) == (CASES[name].outcome, done.id_of(name)), row


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.shows])
def test_the_client_shows_what_the_action_did(done: Done, name: str) -> None:
    def all_is_shown() -> bool:
        row = done.rows()[name]
        return all(done.is_shown(row, name, key) for key in CASES[name].shows)

    wait_for(all_is_shown, f"{CASES[name].shows} of {name}")


def test_a_second_job_finds_everything_done(done: Done) -> None:
    again = Counter(case.outcome for case in CASES.values() if case.done_once)
    assert done.second["outcomes"] == {"skipped": again["done"], "refused": again["refused"]}


# -- what torrents/info does not tell


def test_the_queue_is_in_the_order_that_the_actions_made(done: Done) -> None:
    rows = done.rows()
    order = sorted(QUEUE, key=lambda name: rows[name]["priority"])
    assert [int(name[-1]) for name in order] == [2, 4, 1, 3, 5, 0]


def test_a_new_category_is_known_to_the_client(done: Done) -> None:
    assert "new" in done.stage.lab.client.api.torrents_categories()


def test_the_tracker_was_asked_again(done: Done) -> None:
    announces = done.web.announces
    wait_for(lambda: announces[done.id_of("announce")] > done.announced_before, "another announce")


def test_the_message_names_rule_and_torrent(done: Done) -> None:
    (message,) = done.web.messages
    assert (message["message"], message["rule"], message["count"]) == ("ready", "message", 1)
    assert message["torrents"] == [{"hash": done.id_of("message"), "name": "message"}]


def test_deleted_torrents_are_gone_and_files_only_where_that_was_said(done: Done) -> None:
    assert not GONE & done.rows().keys()
    seeding = done.stage.lab.seeding
    there = {name: done.file(name, seeding).exists() for name in GONE}
    assert there == {"delete": True, "delete all": False}


def test_files_lie_where_the_client_says_they_do(done: Done) -> None:
    lab = done.stage.lab
    for name, below in (
        ("managed", lab.seeding / "warm"),
        ("location", lab.seeding / "new"),
        ("demote", lab.pool_seeding),
        ("promote", lab.seeding),
    ):
        assert done.file(name, below).stat().st_size == SIZE, name
    for name in ("managed", "location", "demote"):
        assert not done.file(name, lab.seeding).exists(), name
    promoted = done.file("promote", lab.seeding)
    assert promoted.samefile(done.file("promote", lab.media))


def test_a_share_limit_that_only_newer_clients_have_is_set_or_refused(done: Done) -> None:
    (row,) = done.run({"share": with_params("set_share_limits", inactive_seeding_time=60)})[
        "actions"
    ]
    if done.version == "4.5":
        assert row["outcome"] == "failed"
        assert "has no limit for inactive seeding" in row["reason"]
        return
    assert row["outcome"] == "done"
    now = done.rows()["share"]
    assert (now["inactive_seeding_time_limit"], now["ratio_limit"]) == (60, 2.5)


def test_the_catalog_knows_what_was_read(done: Done) -> None:
    verified = done.stage.value(done.id_of("verify"), "payload.verified_at")
    assert (clock.now() - verified).total_seconds() < 600
    assert done.stage.value(done.id_of("demote"), "payload.residency") == "pool"


def test_the_client_would_have_carried_the_data_over_the_border_by_itself(done: Done) -> None:
    """What the refusal of `border` is for: a copy, and a hardlink less."""
    lab = done.stage.lab
    reason = next(row["reason"] for row in done.first["actions"] if row["rule"] == "border")
    assert f"the client would move it to {lab.pool_seeding / 'cold'}" in reason
    here = done.file("border", lab.seeding / "warm")
    assert here.samefile(lab.media / "border.mkv")
    lab.client.api.torrents_set_category("cold", torrent_hashes=[done.id_of("border")])
    there = done.file("border", lab.pool_seeding / "cold")
    wait_for(lambda: there.exists() and not here.exists(), "the client to move it")
    assert there.stat().st_nlink == 1
