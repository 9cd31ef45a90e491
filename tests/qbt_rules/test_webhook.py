"""From a torrent that is added in qBittorrent to the tag that a rule puts on it, for real."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from tests.support.qbt import NEWEST, RealClient, row_of, versions_here, wait_for
from tests.support.rules_server import KEY, RulesServer, running
from tests.support.torrents import make_torrent

TOOLING = Path(__file__).resolve().parents[2] / "docs/tooling/qbt-rules.md"
RULES = """\
rules:
  - name: tag what is new
    conditions:
      context: on_added
      all:
        - {field: info.name, operator: contains, value: Film}
    actions:
      - {type: add_tag, params: {tag: seen-by-rules}}
"""


def documented_hook(server: RulesServer) -> str:
    """The line that the documentation tells people to put into qBittorrent."""
    (line,) = re.findall(r"^curl .*hash=%K.*$", TOOLING.read_text(), re.MULTILINE)
    return str(line).replace("http://qbt-rules:5000", server.url).replace("KEY", KEY)


@pytest.mark.real
@pytest.mark.parametrize(
    "version",
    [pytest.param(v, marks=pytest.mark.xdist_group(f"client-{v}")) for v in versions_here()],
)
def test_a_torrent_that_is_added_gets_its_tag(version: str, tmp_path: Path) -> None:
    (tmp_path / "server").mkdir()
    (tmp_path / "server/rules.yml").write_text(RULES)
    made = make_torrent(tmp_path, "Film", {"film.mkv": 100_000})
    with (
        RealClient(version, profile=tmp_path / "client") as client,
        running(tmp_path / "server", QBITTORRENT_HOST=client.url) as server,
    ):
        wait_for(lambda: server.ask("GET", "/api/health").ok, "a healthy server", 90)
        body = server.ask("GET", "/api/health").json()
        assert body["qbittorrent"]["version"].startswith(
            "v" if version == NEWEST else f"v{version}"
        )
        client.api.app_set_preferences(
            {
                "autorun_on_torrent_added_enabled": True,
                "autorun_on_torrent_added_program": documented_hook(server),
            }
        )
        torrent = client.add(made.data, tmp_path, stopped=True)
        wait_for(
            lambda: "seen-by-rules" in str(row_of(client.api, torrent)["tags"]),
            "the tag",
            60,
        )
        wait_for(
            lambda: server.ask("GET", "/api/jobs?status=completed").json()["total"] == 1,
            "the job to be completed",
        )
        (listed,) = server.ask("GET", "/api/jobs").json()["jobs"]
        assert (listed["context"], listed["hash"]) == ("on_added", torrent)

        # By hand, on the same torrent: nothing is left to do, and a dry run changes nothing.
        done = server.client(
            "--context", "on_added", "--hash", torrent, "--dry-run", "--wait", "--json"
        )
        job = json.loads(done.stdout)["job"]
        assert (done.returncode, job["status"], job["dry_run"]) == (0, "completed", True)
        assert job["result"]["torrents_processed"] == 1
        assert job["result"]["rules_matched"] == 1
        assert job["result"]["actions_skipped"] == 1
        assert job["result"]["actions_executed"] == 0
