"""The command line: flags and commands, what they print, and how they end."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.support.rules_app import KEY, Api
from werkzeug.serving import make_server

import seedkeep
from qbt_rules.cli import cli
from qbt_rules.client import ServerClient, ServerUnreachable
from qbt_rules.model import JobStatus
from seedkeep import clock, console


@dataclass
class Terminal:
    """Runs `qbt-rules` in this process."""

    capture: pytest.CaptureFixture[str]
    out: str = ""
    err: str = ""

    def run(self, *words: str) -> int:
        self.capture.readouterr()
        code = console.run(cli, words, "qbt-rules")
        self.out, self.err = self.capture.readouterr()
        return code

    def json(self, kind: str, *words: str) -> Any:
        assert self.run(*words, "--json") == 0, self.err
        return json.loads(self.out)[kind]


@pytest.fixture
def terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Terminal:
    monkeypatch.setenv("QBT_RULES_CONFIG_DIR", str(tmp_path))
    monkeypatch.setenv("QBT_RULES_CLIENT_API_KEY", KEY)
    monkeypatch.setenv("QBT_RULES_CLIENT_SERVER_URL", "http://127.0.0.1:9")
    # Where a test has the server in this process, stderr is its log too.
    monkeypatch.setenv("QBT_RULES_LOG_LEVEL", "ERROR")
    monkeypatch.setattr(logging.getLogger("werkzeug"), "disabled", True)
    return Terminal(capsys)


@pytest.fixture
def served(
    api: Api,
    terminal: Terminal,  # its address comes first
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Api]:
    """The API over HTTP, from a thread of this process."""
    server = make_server("127.0.0.1", 0, api.app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    monkeypatch.setenv("QBT_RULES_CLIENT_SERVER_URL", f"http://127.0.0.1:{server.port}")
    try:
        yield api
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


# A job


@pytest.mark.parametrize("spelling", [[], ["run"]])
def test_a_job_is_asked_for(served: Api, terminal: Terminal, spelling: list[str]) -> None:
    hexes = "ab" * 20
    assert terminal.run(*spelling, "--context", "on_added", "--hash", hexes, "--dry-run") == 0
    job = served.take()
    assert (job.context, job.torrent_hash, job.dry_run) == ("on_added", hexes, True)
    assert terminal.out == f"job {job.job_id} is pending\n"


def test_a_job_without_a_context_needs_the_command(served: Api, terminal: Terminal) -> None:
    assert terminal.run() == 2
    assert terminal.err.startswith("Usage: qbt-rules")
    assert served.queue.stats().total == 0
    assert terminal.json("queued", "run")["context"] is None


def worked_off(api: Api, end: Callable[[Any], Any]) -> threading.Thread:
    """A worker that takes one job as soon as it is there."""

    def work() -> None:
        bell = api.queue.bell()
        from tests.support.rules_app import WORKER

        while (job := api.queue.dequeue(WORKER, bell)) is None:
            bell.wait(0.05)
        bell.close()
        end(job)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_waiting_ends_with_the_result(served: Api, terminal: Terminal) -> None:
    result = {
        "torrents_processed": 15,
        "rules_matched": 1,
        "outcomes": {"done": 1},
        "actions": [
            {
                "rule": "a",
                "action": "rehome_demote",
                "hash": "abc",
                "name": "Film",
                "outcome": "done",
                "run": 7,
                "reason": "MOVE: 3 GiB copied",
            }
        ],
        "actions_not_listed": 2,
        "unknown": [{"rule": "b", "hash": "def", "reasons": ["no catalog"]}],
        "unknown_count": 1,
        "warnings": ["an old word"],
        "skipped": {},
        "by_rule": {"a": 1},
    }
    worker = worked_off(served, lambda job: served.queue.complete(job, result))
    assert terminal.run("--context", "x", "--wait") == 0
    worker.join()
    assert "status:   completed" in terminal.out
    told = terminal.out[terminal.out.index("looked at") :].splitlines()
    assert told == [
        "looked at 15 torrents; rules fit 1 time",
        "done: 1",
        "  done           rehome_demote  Film",
        "                 rule a; abc; run 7; MOVE: 3 GiB copied",
        "  and 2 more actions",
        "could not be decided:",
        "  rule b, torrent def",
        "    no catalog",
        "warning: an old word",
        "skipped: ",
        "by rule: a 1",
    ]
    assert "is pending" in terminal.err


def test_waiting_for_a_job_that_fails_is_a_failure(served: Api, terminal: Terminal) -> None:
    worker = worked_off(served, lambda job: served.queue.fail(job, "the moon is full"))
    assert terminal.run("run", "--wait", "--json") == 1
    worker.join()
    assert json.loads(terminal.out)["job"]["error"] == "the moon is full"
    assert terminal.err.endswith("failed\nthe moon is full\n")


def test_waiting_for_a_job_that_is_cancelled_is_a_failure(served: Api, terminal: Terminal) -> None:
    first = served.execute("context=x")["job_id"]
    served.queue.cancel_job(first)
    client = ServerClient(terminal_url(), KEY)
    assert client.wait(first)["status"] == JobStatus.CANCELLED.value
    from qbt_rules.client import failed

    assert "was cancelled" in str(failed(client.job(first)))


def terminal_url() -> str:
    from qbt_rules.config import load_settings
    from seedkeep.settings_qbt_rules import CLIENT_SERVER_URL

    return load_settings()[CLIENT_SERVER_URL]


def test_waiting_ends_when_the_time_is_over(served: Api, terminal: Terminal) -> None:
    assert terminal.run("run", "--wait", "--wait-timeout", "0.1s") == 4
    assert "is not over yet" in terminal.err
    assert "hint: qbt-rules jobs show" in terminal.err
    assert terminal.run("run", "--wait-timeout", "1m") == 2
    assert terminal.run("run", "--wait", "--wait-timeout", "1") == 2


def test_waiting_bears_a_server_that_is_away_for_a_while(
    served: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = served.execute()["job_id"]
    client = ServerClient(terminal_url(), KEY)
    ask, answers = client.job, iter([ServerUnreachable("away"), ServerUnreachable("away"), None])

    def sometimes(asked: str) -> Any:
        if (problem := next(answers, None)) is not None:
            raise problem
        served.queue.cancel_job(job_id)
        return ask(asked)

    monkeypatch.setattr(client, "job", sometimes)
    with clock.using(sleep=lambda _: None):
        assert client.wait(job_id)["status"] == "cancelled"


def test_waiting_gives_up_when_the_server_stays_away() -> None:
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    client = ServerClient("http://127.0.0.1:9", KEY)
    with (
        clock.using(monotonic=lambda: now[0], sleep=sleep),
        pytest.raises(ServerUnreachable, match="does not answer"),
    ):
        client.wait("x")
    assert 60 < now[0] < 70


def test_ctrl_c_while_waiting_leaves_the_job(
    served: Api, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ServerClient, "wait", interrupt)
    assert terminal.run("run", "--wait") == 130
    assert "the job goes on; qbt-rules jobs show" in terminal.err
    assert served.queue.stats().counts[JobStatus.PENDING] == 1


# Jobs


@pytest.mark.parametrize("words", [["--list-jobs"], ["jobs", "list"]])
def test_jobs_are_listed(served: Api, terminal: Terminal, words: list[str]) -> None:
    assert terminal.run(*words) == 0
    assert terminal.out == "no jobs\n"
    job = served.execute(f"context=on_added&hash={'ab' * 20}&dry_run=true")
    served.execute()
    assert terminal.run(*words) == 0
    head, plain, dry = terminal.out.splitlines()
    assert head.split() == ["JOB", "STATUS", "CONTEXT", "HASH", "CREATED"]
    assert plain.split()[1:4] == ["pending", "-", "-"]
    assert dry.split()[:4] == [job["job_id"], "pending", "on_added", "abababababab"]
    assert dry.endswith("dry run")
    assert terminal.json("jobs", *words)["total"] == 2


def test_the_list_can_be_narrowed_and_turned_over(served: Api, terminal: Terminal) -> None:
    for number in range(3):
        served.execute(f"context=c{number}")
    assert terminal.run("--list-jobs", "--context", "c1") == 0
    assert len(terminal.out.splitlines()) == 2
    assert terminal.run("jobs", "list", "--limit", "1", "--offset", "1") == 0
    assert terminal.out.endswith("\n2 to 2 of 3\n")
    assert terminal.run("jobs", "list", "--offset", "7") == 0
    assert terminal.out == "no more jobs (3 in all)\n"
    assert terminal.run("jobs", "list", "--status", "failed") == 0
    assert terminal.out == "no jobs\n"


@pytest.mark.parametrize("words", [["--job-status"], ["jobs", "show"]])
def test_one_job_is_shown(served: Api, terminal: Terminal, words: list[str]) -> None:
    job_id = served.execute("dry_run=true")["job_id"]
    for _ in range(2):
        served.queue.dequeue(worker())
        served.queue.leave(worker().worker_id)
    served.queue.fail(served.take(), "two\nlines")
    assert terminal.run(*words, job_id) == 0
    assert terminal.out.splitlines()[1:4] == [
        "status:   failed",
        "context:  none",
        "torrent:  all",
    ]
    assert "dry run:  nothing is changed" in terminal.out
    assert "attempts: 3" in terminal.out
    assert r"error:    two\nlines" in terminal.out


def worker() -> Any:
    from tests.support.rules_app import WORKER

    return WORKER


@pytest.mark.parametrize("words", [["--cancel-job"], ["jobs", "cancel"]])
def test_a_job_is_cancelled_once(served: Api, terminal: Terminal, words: list[str]) -> None:
    job_id = served.execute()["job_id"]
    assert terminal.run(*words, job_id) == 0
    assert terminal.out == f"job {job_id} is cancelled\n"
    assert terminal.run(*words, job_id) == 3
    assert terminal.err.startswith("error: Cannot cancel job in status: cancelled\ntrace id ")


def test_a_job_that_is_not_there_is_a_mistake(served: Api, terminal: Terminal) -> None:
    assert terminal.run("jobs", "show", "a/../b?c") == 2
    assert terminal.err.startswith("error: ")
    assert terminal.run("jobs", "show", "nothing") == 2
    assert terminal.err.startswith("error: Job not found: nothing\ntrace id ")
    assert terminal.err.endswith("hint: qbt-rules jobs list\n")


# The server's state


@pytest.mark.parametrize("words", [["--stats"], ["stats"]])
def test_stats_are_shown(served: Api, terminal: Terminal, words: list[str]) -> None:
    served.execute()
    assert terminal.run(*words) == 0
    assert "jobs:          1\n  pending:     1\n" in terminal.out
    assert "average time:  -\n" in terminal.out
    assert terminal.json("stats", *words)["queue"]["depth"] == 1


def test_health_is_shown_and_is_the_exit_code(served: Api, terminal: Terminal) -> None:
    assert terminal.run("health") == 5
    assert "worker:      not running" in terminal.out
    assert "error: Worker thread not responding" in terminal.out
    served.queue.dequeue(worker())
    assert terminal.run("health") == 0
    assert "qbittorrent: v5.1.0\nrules:       1 in force\n" in terminal.out
    served.rules_file.unlink()
    assert terminal.run("health") == 0
    assert terminal.out.endswith("warning: There is no rules file\n")


def test_the_server_reads_its_rules_again(served: Api, terminal: Terminal) -> None:
    assert terminal.run("rules", "reload") == 0
    assert terminal.out == "1 rules are in force\n"
    served.rules_file.write_text("rules: wrong\n")
    assert terminal.run("rules", "reload") == 3
    assert "rules must be a list" in terminal.err


# Errors


def test_a_wrong_key_is_said(served: Api, terminal: Terminal) -> None:
    assert terminal.run("--stats", "--client-api-key", "wrong") == 5
    assert "does not accept the API key" in terminal.err
    for _ in range(10):
        terminal.run("--stats", "--client-api-key", "wrong")
    assert terminal.run("--stats") == 5
    assert "too many wrong API keys from 127.0.0.1" in terminal.err


def test_no_server_is_said(terminal: Terminal) -> None:
    assert terminal.run("--stats") == 5
    assert terminal.err == (
        "error: the server at http://127.0.0.1:9 does not answer\n"
        "Connection refused\n"
        "hint: is it running (qbt-rules --serve), and is client.server_url right?\n"
    )


def test_another_server_at_that_address_is_said(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other(environ: Any, start: Any) -> list[bytes]:
        start("404 Not Found", [("Content-Type", "text/html")])
        return [b"<h1>Not here</h1>"]

    server = make_server("127.0.0.1", 0, other)
    threading.Thread(target=server.handle_request, daemon=True).start()
    monkeypatch.setenv("QBT_RULES_CLIENT_SERVER_URL", f"http://127.0.0.1:{server.port}")
    assert terminal.run("--stats") == 5
    assert "is not a qbt-rules server" in terminal.err
    server.server_close()


def test_a_bad_request_is_the_callers_mistake(served: Api, terminal: Terminal) -> None:
    assert terminal.run("--hash", "abc") == 2
    assert terminal.err.startswith("error: hash must be 40 or 64 hex digits, not 'abc'\n")


def test_a_failure_of_the_server_names_its_trace_id(
    served: Api, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served.queue, "stats", lambda: 1 / 0)
    assert terminal.run("--stats") == 1
    assert "error: An unexpected error occurred\ntrace id " in terminal.err


def test_without_a_key_nobody_is_asked(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QBT_RULES_CLIENT_API_KEY")
    assert terminal.run("--stats") == 2
    assert "an API key, and none is set" in terminal.err
    monkeypatch.setenv("QBT_RULES_SERVER_API_KEY", "the server's own")
    assert terminal.run("--stats") == 5


@pytest.mark.parametrize("content", [f"{KEY}\nnext-key-for-later\n", f"  {KEY} \r\n", f"\n{KEY}"])
def test_the_client_reads_the_key_from_the_servers_file(
    served: Api, terminal: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    file = tmp_path / "keys"
    file.write_text(content)
    monkeypatch.delenv("QBT_RULES_CLIENT_API_KEY")
    monkeypatch.setenv("QBT_RULES_CLIENT_API_KEY_FILE", str(file))
    assert terminal.run("--stats") == 0


def test_a_key_that_is_no_text_is_refused_without_showing_it(terminal: Terminal) -> None:
    assert terminal.run("--stats", "--client-api-key", "secret\x07key") == 2
    assert "client.api_key: unusable value" in terminal.err
    assert "secret" not in terminal.err


def test_only_one_thing_at_a_time(terminal: Terminal) -> None:
    assert terminal.run("--stats", "--list-jobs") == 2
    assert "error: --list-jobs and --stats cannot be done at once" in terminal.err
    assert terminal.run("--stats", "--hash", "x") == 2
    assert terminal.run("--stats", "jobs", "list") == 2
    assert "error: write these behind jobs" in terminal.err
    assert terminal.run("--serv") == 2


def test_the_server_does_not_start_without_a_key(terminal: Terminal) -> None:
    for words in (["--serve"], ["serve"]):
        assert terminal.run(*words) == 2
        assert "error: the server needs an API key" in terminal.err


# Rules and settings


@pytest.mark.parametrize("words", [["--validate"], ["rules", "validate"]])
def test_the_rules_file_is_checked(api: Api, terminal: Terminal, words: list[str]) -> None:
    assert terminal.run(*words) == 0
    assert terminal.out == f"{api.rules_file}: 1 rule, no mistake\n"
    assert terminal.json("validated", *words)["rules"] == 1
    api.rules_file.write_text("rules:\n  - nam: x\n    actions: [stop]\n")
    assert terminal.run(*words) == 2
    assert f"{api.rules_file}:2:5" in terminal.err
    api.rules_file.write_text("rules: []\n")
    assert terminal.run(*words, "--rules-file", str(api.rules_file)) == 0
    assert terminal.out.endswith(": 0 rules, no mistake\n")


@pytest.mark.parametrize("words", [["--list-rules"], ["rules", "list"]])
def test_the_rules_are_listed(api: Api, terminal: Terminal, words: list[str]) -> None:
    assert terminal.run(*words) == 0
    assert terminal.out.splitlines()[1].split() == [
        *("1", "tag", "what", "is", "new"),
        *("yes", "on_added", "add_tag"),
    ]
    assert terminal.json("rules", *words)[0]["place"] == f"{api.rules_file}:2:5"
    api.rules_file.write_text("rules: []\n")
    assert terminal.run(*words) == 0
    assert terminal.out == "there is no rule\n"


@pytest.mark.parametrize("words", [["--show-config"], ["config", "show"]])
def test_the_settings_are_shown_with_their_origins(terminal: Terminal, words: list[str]) -> None:
    assert terminal.run(*words, "--server-port", "6000") == 0
    lines = dict(line.split(None, 1) for line in terminal.out.splitlines())
    assert lines["server.port"].split(None, 1) == ["6000", "flag --server-port"]
    assert lines["client.api_key"].split() == ["********", "QBT_RULES_CLIENT_API_KEY"]
    assert KEY not in terminal.out
    rows = terminal.json("settings", *words)
    assert {row["key"]: row["origin"] for row in rows}["server.workers"] == "default"


def test_flags_for_settings_may_stand_before_a_command(terminal: Terminal) -> None:
    assert terminal.run("--server-port", "6000", "config", "show") == 0
    assert "6000" in terminal.out
    assert terminal.run("--server-port", "6000", "config", "show", "--server-port", "7000") == 0
    assert "7000" in terminal.out
    assert "6000" not in terminal.out


def test_trace_is_the_most_talkative_level(terminal: Terminal) -> None:
    assert terminal.run("--trace", "--show-config") == 0
    assert "DEBUG" in terminal.out
    assert terminal.run("--trace", "--log-level", "ERROR", "--show-config") == 0
    assert "DEBUG" not in terminal.out


def test_the_version_is_that_of_the_distribution(terminal: Terminal) -> None:
    assert terminal.run("--version") == 0
    assert terminal.out.startswith(f"qbt-rules, version {seedkeep.__version__} (commit ")
