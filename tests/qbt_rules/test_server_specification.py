"""The server does what its OpenAPI document says, whatever is sent: schemathesis finds nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.qbt import wait_for
from tests.support.rules_server import KEY, environment, running
from tests.support.simulated import SimulatedClient

# Both required: a job that ran cannot be cancelled (400), a cancelled one can still be read.
CONFIG = """\
[checks]
use_after_free.enabled = false

[[operations]]
include-name = "DELETE /api/jobs/{job_id}"
checks.positive_data_acceptance.expected-statuses = [200, 400, 404]
"""
EXAMPLES = 8  # for each operation and phase
SEED = "20261121"


def test_schemathesis_finds_nothing(tmp_path: Path) -> None:
    (tmp_path / "schemathesis.toml").write_text(CONFIG)
    folder = tmp_path / "server"
    folder.mkdir()
    (folder / "rules.yml").write_text("rules: []\n")
    with (
        SimulatedClient("5.1", refresh_s=0.1) as client,
        running(
            folder, SERVER_WRONG_KEYS="1000000", QBITTORRENT_HOST=client.url, LOG_LEVEL="WARNING"
        ) as server,
    ):
        wait_for(lambda: server.ask("GET", "/api/health").ok, "a healthy server", 90)
        words = f"run {server.url}/api/openapi.json --header X-API-Key:{KEY} --checks all"
        words += f" --max-examples {EXAMPLES} --seed {SEED} --continue-on-failure"
        done = subprocess.run(
            [Path(sys.executable).with_name("schemathesis"), "--no-color", *words.split()],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
            cwd=tmp_path,
            env=environment(),
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "11 selected / 11 total" in done.stdout
    assert "Traceback" not in server.log
