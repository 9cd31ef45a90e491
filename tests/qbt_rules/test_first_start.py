"""The first start of a stranger: init on a fresh folder, the server, the doctor, the hook."""

from __future__ import annotations

import json
import socket
import stat
import subprocess
from pathlib import Path

import pytest
from tests.support.qbt import RealClient, free_port, wait_for
from tests.support.rules_server import PROGRAM, RulesServer, environment
from tests.support.torrents import make_torrent

from qbt_rules.hooks import hook_line

WAIT_S = 60.0
PASSWORD = "s3cret-pass-of-qbittorrent"


class FirstDay(RulesServer):
    """Knows nothing but the folder that was initialised."""

    def __init__(self, folder: Path, port: int) -> None:
        super().__init__(folder)
        self.port = port
        home = {"HOME": str(folder), "HASHALL_CONFIG": str(folder / "config.yml")}
        self._environ = environment(QBT_RULES_CONFIG_DIR=str(folder)) | home

    def call(self, *words: str, expect: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*PROGRAM, *words],
            env=self._environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == expect, f"{done.stdout}\n{done.stderr}"
        return done

    def doctor(self, expect: int) -> dict[str, tuple[str, str, str]]:
        """Level, what and fix, by subject; the address of the server is left out."""
        said = json.loads(self.call("doctor", "--json", expect=expect).stdout)["doctor"]
        return {
            finding["subject"].removesuffix(f" http://localhost:{self.port}"): (
                finding["level"],
                finding["what"],
                finding["fix"],
            )
            for finding in said["findings"]
        }


@pytest.mark.real
def test_init_doctor_server_and_hook_on_a_fresh_folder(tmp_path: Path) -> None:
    folder = tmp_path / "config"
    with RealClient("5.1", password=PASSWORD, profile=tmp_path / "client") as client:
        client.api.torrents_create_category("films of mine", save_path=str(tmp_path / "films"))
        day = FirstDay(folder, free_port())
        flags = ("--qbittorrent-host", client.url, "--qbittorrent-password", PASSWORD)
        place = ("--server-host", "127.0.0.1", "--server-port", str(day.port))
        made = day.call("init", *flags, *place).stdout
        files = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
        assert files == {
            "config.yml": 0o644,
            "rules.yml": 0o644,
            "api-key": 0o600,
            "qbittorrent-password": 0o600,
        }
        key = (folder / "api-key").read_text().strip()
        assert len(key) == 64
        assert key not in made
        assert PASSWORD not in made + (folder / "config.yml").read_text()
        assert '["films of mine"]' in (folder / "rules.yml").read_text()
        assert "4 rules, no mistake" in day.call("rules", "validate").stdout

        before = {path: path.read_bytes() for path in folder.iterdir()}
        assert "is there already" in day.call("init", *flags, expect=3).stderr
        assert {path: path.read_bytes() for path in folder.iterdir()} == before

        found = day.doctor(expect=0)
        assert found["server"][0] == "warning"
        assert "it does not run" in found["server"][1]
        assert found["hook on_added"][0] == "warning"
        assert "http://" in found["hook on_added"][2]
        assert found[f"qBittorrent {client.url}"][0] == "ok"

        api = client.api
        line = hook_line(day.url, "on_added")
        hook = {"autorun_on_torrent_added_enabled": True}
        api.app_set_preferences({**hook, "autorun_on_torrent_added_program": line})
        day.start()
        try:
            wait_for(lambda: "worker" in day.log, "the worker", WAIT_S)
            wait_for(lambda: healthy(day), "the server to be well", WAIT_S)
            found = day.doctor(expect=1)
            assert found["hook on_added"][:2] == (
                "problem",
                "its API key is none of the server's",
            ), "KEY was not replaced"
            line = line.replace("KEY", key)
            api.app_set_preferences({"autorun_on_torrent_added_program": line})
            found = day.doctor(expect=0)
            assert {level for level, _, _ in found.values()} == {"ok"}
            torrent = make_torrent(tmp_path / "films", "Film", {"film.mkv": 1000})
            added = client.add(torrent.data, tmp_path / "films")
            wait_for(
                lambda: api.torrents_info(torrent_hashes=[added])[0]["tags"] == "new",
                "the hook to have tagged the torrent",
                WAIT_S,
            )
            assert key not in day.log
        finally:
            day.stop()


def healthy(day: FirstDay) -> bool:
    return bool(day.ask("GET", "/api/health", key=None).status_code == 200)


def test_force_keeps_the_key_and_the_old_files(tmp_path: Path) -> None:
    day = FirstDay(tmp_path / "config", 1)
    day.folder.mkdir()
    (day.folder / "rules.yml").write_text("rules: []\n")
    first = day.call("init", "--offline").stdout
    assert f"kept {day.folder}/rules.yml" in first
    key = (day.folder / "api-key").read_text()
    again = json.loads(day.call("init", "--offline", "--force", "--json").stdout)["initialised"]
    assert again["kept"] == [str(day.folder / "api-key")]
    assert (day.folder / "api-key").read_text() == key
    assert (day.folder / "rules.yml.old").read_text() == "rules: []\n"
    assert "tag what is new" in (day.folder / "rules.yml").read_text()


def test_a_doctor_says_everything_that_is_wrong_on_one_screen(tmp_path: Path) -> None:
    day = FirstDay(tmp_path / "config", free_port())
    day.call("init", "--offline", "--server-port", str(day.port), "--server-host", "127.0.0.1")
    (day.folder / "rules.yml").write_text("rules:\n  - name: x\n    actions: [{type: fly}]\n")
    (day.folder / "api-key").write_text("short")
    (day.folder / "api-key").chmod(0o644)
    with socket.create_server(("127.0.0.1", day.port)):
        wrong = day.call("doctor", "--qbittorrent-host", "http://127.0.0.1:9", expect=1)
    for said in (
        "everybody on this machine can read it",
        "fix: chmod 600",
        "5 characters may be guessed",
        "PROBLEM  rules",
        "rules.yml:3:",
        "fix: qbt-rules rules validate names every mistake",
        "PROBLEM  qBittorrent http://127.0.0.1:9: does not answer",
        f"PROBLEM  server {day.url.replace('127.0.0.1', 'localhost')}",
    ):
        assert said in wrong.stdout
    assert len(wrong.stdout.splitlines()) <= 24
    assert not (day.folder / "qbt-rules.db").exists(), "a doctor makes nothing"
    (day.folder / "config.yml").write_text("server: {prot: 1}\n")
    broken = day.call("doctor", expect=1).stdout
    assert "PROBLEM  settings: " in broken
    assert "server.prot is not a setting" in broken
