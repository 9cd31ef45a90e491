"""Names of files are bytes on a disk and UTF-8 in qBittorrent: no locale may come between."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.support.relocating import another_film, simulated_lab

BIN = Path(sys.executable).parent
RULES = "rules: [{name: ä, actions: [stop]}]"
LOCALES = [
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "latin-1"},
    {"LC_ALL": "C.UTF-8"},
]


def said(locale: dict[str, str], *command: str | bytes | Path, **more: str) -> Any:
    """The JSON document that a program started in this locale prints."""
    program, *arguments = command
    done = subprocess.run(
        [os.fsencode(BIN / str(program)), *map(os.fsencode, arguments), b"--json"],
        env={**os.environ, **more, **locale},
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return json.loads(done.stdout)


@pytest.mark.parametrize("locale", LOCALES, ids=["C", "latin-1 terminal", "UTF-8"])
def test_names_in_any_bytes_are_read_and_told_in_every_locale(locale: dict[str, str]) -> None:
    with simulated_lab() as lab:
        torrent = another_film(lab, "Fülm")
        (raw := lab.seeding / os.fsdecode(b"Stra\xdfe")).mkdir()
        (raw / os.fsdecode(b"\xe4.mkv")).write_bytes(b"a film")
        environ = {"HASHALL_CONFIG": str(lab.config)}
        said(locale, "hashall", "scan", raw, lab.stash, **environ)
        said(locale, "hashall", "scan", lab.pool, **environ)
        said(locale, "hashall", "payload", "sync", **environ)
        found = said(locale, "hashall", "links", raw / os.fsdecode(b"\xe4.mkv"), **environ)
        assert os.fsdecode(b"Stra\xdfe/\xe4.mkv") in json.dumps(found, ensure_ascii=False)
        told = said(locale, "rehome", "explain", torrent, **environ)["explanation"]
        assert [name["path"] for name in told["names"]] == [f"{lab.seeding}/Fülm/Fülm.mkv"]
        plan = lab.home / "plän.json"
        said(locale, "rehome", "plan", "--demote", "--torrent-hash", torrent, "-o", plan, **environ)
        said(locale, "rehome", "apply", plan, "--force", **environ)
        assert (lab.pool_seeding / "Fülm/Fülm.mkv").is_file()
        scanned = lab.run("hashall", "scan", lab.stash, lab.pool, "--json").stdout
        assert json.loads(scanned)["scan"]["added"] == 0  # the same names as in UTF-8


@pytest.mark.parametrize("locale", LOCALES, ids=["C", "latin-1 terminal", "UTF-8"])
def test_a_rule_file_below_a_folder_with_any_name_is_found_in_every_locale(
    tmp_path: Path, locale: dict[str, str]
) -> None:
    folder = tmp_path / os.fsdecode(b"\xff K\xc3\xb6nig")
    folder.mkdir()
    (folder / "rules.yml").write_text(RULES)
    rules = {"QBT_RULES_CONFIG_DIR": str(folder)}
    (rule,) = said(locale, "qbt-rules", "rules", "list", **rules)["rules"]
    assert rule["name"] == "ä"


def test_a_program_that_starts_anew_keeps_its_process_and_how_it_ends(tmp_path: Path) -> None:
    command = subprocess.Popen(
        [BIN / "hashall", "scan", tmp_path / "ä", "--db", tmp_path / "ö.db"],
        env={**os.environ, **LOCALES[0]},
        stderr=subprocess.PIPE,
    )
    _, err = command.communicate(timeout=60)
    assert command.returncode not in (0, 1)
    assert err.decode().startswith("error: ")
    assert "bug" not in err.decode()
