"""The arrows and the "one way to do each thing" of docs/architecture/architecture.md hold."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support import architecture as rules
from tests.support.architecture import Module, Rule

SRC = Path(__file__).resolve().parent.parent / "src"
PROGRAMS = {"hashall": "hashall.cli", "rehome": "rehome.cli", "qbt-rules": "qbt_rules.cli"}
HEAVY = ("requests", "pydantic", "flask", "rich", "qbittorrentapi", "yaml")
ASK_FOR_HELP = """
import importlib, json, sys
main = importlib.import_module(sys.argv[1]).main
sys.argv = [sys.argv[2], "--help"]
try:
    main()
except SystemExit as end:
    print()
    print(json.dumps({"code": end.code, "modules": sorted(sys.modules)}))
"""

# (rule, where the code stands, code that breaks it, where the same code would be right or None)
PLANTED: list[tuple[Rule, str, str, str | None]] = [
    (rules.imports_go_only_to_the_right, "hashall/scan.py", "import rehome.model", "rehome/x.py"),
    (rules.imports_go_only_to_the_right, "seedkeep/logs.py", "from hashall import scan", None),
    (rules.imports_go_only_to_the_right, "rehome/x.py", "def f():\n import qbt_rules", None),
    (
        rules.nobody_imports_the_face_of_another_package,
        "rehome/planner.py",
        "from hashall.render import table",
        "hashall/cli.py",
    ),
    (
        rules.nobody_imports_the_face_of_another_package,
        "rehome/planner.py",
        "from hashall import app",
        "hashall/cli.py",
    ),
    (
        rules.one_bridge_from_the_rules_to_the_catalog,
        "qbt_rules/engine.py",
        "from rehome import facts",
        "qbt_rules/seed_data.py",
    ),
    (
        rules.one_module_talks_to_qbittorrent,
        "hashall/payload_sync.py",
        "from qbittorrentapi import Client",
        "seedkeep/torrent_client.py",
    ),
    (rules.one_module_opens_databases, "hashall/scan.py", "import apsw", "seedkeep/sqlite.py"),
    (rules.one_module_opens_databases, "seedkeep/sqlite.py", "import sqlite3", None),
    (rules.one_module_changes_files, "rehome/x.py", "import os\nos.link(a, b)", "hashall/fsops.py"),
    (rules.one_module_changes_files, "rehome/x.py", "import os as o\no.rmdir(a)", None),
    (rules.one_module_changes_files, "rehome/x.py", "from os import rename\nrename(a, b)", None),
    (
        rules.one_module_changes_files,
        "rehome/x.py",
        "from shutil import copy2 as c\nc(a, b)",
        "hashall/fscopy.py",
    ),
    (rules.one_module_changes_files, "rehome/x.py", "here.unlink()", "hashall/dirfd.py"),
    (rules.one_module_changes_files, "rehome/x.py", "(a / 'b').replace(c)", "hashall/fsops.py"),
    (
        rules.one_module_changes_files,
        "rehome/x.py",
        "from pathlib import Path\nPath(a).rename(b)",
        "hashall/fsops.py",
    ),
    (
        rules.one_place_knows_real_paths_and_mounts,
        "hashall/scan.py",
        "import os\nos.path.realpath(a)",
        "hashall/pathing.py",
    ),
    (
        rules.one_place_knows_real_paths_and_mounts,
        "rehome/x.py",
        "root.resolve(strict=True)",
        "hashall/pathing.py",
    ),
    (
        rules.one_place_knows_real_paths_and_mounts,
        "rehome/x.py",
        "run(['findmnt', '--json'])",
        "hashall/devices.py",
    ),
    (
        rules.one_place_reads_the_environment,
        "rehome/config.py",
        "import os\nos.environ['HOME']",
        "seedkeep/settings.py",
    ),
    (
        rules.one_place_reads_the_environment,
        "rehome/config.py",
        "from os import getenv\ngetenv('HOME')",
        "seedkeep/settings_table.py",
    ),
    (
        rules.sql_stands_in_few_places,
        "hashall/scan.py",
        "db.execute(f'SELECT path\\n FROM files_{n}')",
        "hashall/catalog/files.py",
    ),
    (
        rules.sql_stands_in_few_places,
        "rehome/executor.py",
        "STATEMENT = 'UPDATE runs SET state = 1'",
        "rehome/runs.py",
    ),
    (rules.modules_stay_short, "rehome/x.py", "x = 1\n" * 401, None),
    (rules.functions_fit_on_a_screen, "rehome/x.py", "def f():\n" + " x = 1\n" * 61, None),
]
INNOCENT = """
'''Prose may say SELECT a FROM b, findmnt and /proc/self/mountinfo.'''
from dataclasses import replace
import os
import shutil
program = shutil.which("zfs")
name = text.replace("a", "b")
when = moment.replace(tzinfo=None)
plan = replace(old, steps=())
value = settings.resolve(setting, sources)
size = os.stat(path).st_size
"""


@pytest.fixture(scope="module")
def broken() -> dict[Rule, list[str]]:
    """Where each rule is broken; every module is parsed once and forgotten."""
    found: dict[Rule, list[str]] = {rule: [] for rule in rules.RULES}
    for module in rules.modules(SRC):
        for rule in rules.RULES:
            found[rule] += [f"{module.path}: {text}" for text in rule(module)]
    return found


@pytest.mark.xdist_group("architecture")
@pytest.mark.parametrize("rule", rules.RULES, ids=lambda rule: rule.__name__)
def test_every_module_keeps_the_rule(rule: Rule, broken: dict[Rule, list[str]]) -> None:
    assert broken[rule] == []


@pytest.mark.parametrize(
    ("rule", "path", "source"), [(rule, path, source) for rule, path, source, _ in PLANTED]
)
def test_a_planted_violation_is_found(rule: Rule, path: str, source: str) -> None:
    assert list(rule(Module(path, source))) != []


@pytest.mark.parametrize(
    ("rule", "path", "source"),
    [(rule, right, source) for rule, _, source, right in PLANTED if right is not None],
)
def test_the_same_code_is_fine_in_its_own_place(rule: Rule, path: str, source: str) -> None:
    assert list(rule(Module(path, source))) == []


@pytest.mark.parametrize("rule", rules.RULES, ids=lambda rule: rule.__name__)
def test_innocent_code_that_looks_alike_is_left_alone(rule: Rule) -> None:
    assert list(rule(Module("rehome/x.py", INNOCENT))) == []


def test_every_rule_has_a_planted_violation() -> None:
    assert {rule for rule, *_ in PLANTED} == set(rules.RULES)


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_loads_nothing_heavy(program: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ASK_FOR_HELP, PROGRAMS[program], program],
        capture_output=True,
        text=True,
        check=True,
    )
    answer = json.loads(done.stdout.splitlines()[-1])
    assert answer["code"] == 0
    assert "click" in answer["modules"]
    assert [name for name in HEAVY if name in answer["modules"]] == []
