"""What a stranger tries first: --version, completion in the shell, the manual pages."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from scripts import docs_cli, docs_man

import seedkeep
from seedkeep.settings_table import HASHALL, QBT_RULES, REHOME

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = (HASHALL, REHOME, QBT_RULES)
BIN = Path(sys.executable).parent


def said(*command: str, **variables: str) -> str:
    done = subprocess.run(
        command,
        env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_says_version_commit_and_build_date(program: str) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    built = said(program, "--version", SEEDKEEP_COMMIT=commit, SEEDKEEP_BUILD_DATE="2026-11-21")
    assert built == (
        f"{program}, version {seedkeep.__version__} (commit 0123456789ab, built 2026-11-21)\n"
    )


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("hashall sc", "scan"),
        ("hashall payload sib", "siblings"),
        ("hashall scan --hash-m", "--hash-mode"),
        ("hashall scan --hash-mode f", "full fast"),
        ("rehome config ch", "check"),
        ("qbt-rules doc", "doctor"),
        ("qbt-rules jobs list --status pend", "pending"),
    ],
)
def test_a_real_bash_completes_with_the_printed_script(line: str, expected: str) -> None:
    words = shlex.split(line)
    function = f"_{words[0].replace('-', '_')}_completion"
    script = f"""
        set -e
        source <({words[0]} completion bash)
        complete -p {words[0]} | grep -q {function}
        COMP_WORDS=({line}) COMP_CWORD={len(words) - 1}
        {function} {words[0]}
        echo "${{COMPREPLY[*]}}"
    """
    assert said("bash", "--norc", "-c", script).split() == expected.split()


@pytest.mark.parametrize("program", PROGRAMS)
def test_zsh_and_fish_get_a_script_that_asks_the_program(program: str) -> None:
    variable = f"_{program.replace('-', '_').upper()}_COMPLETE"
    for shell in ("zsh", "fish"):
        assert f"{variable}={shell}_complete" in said(program, "completion", shell)
    words = {"COMP_WORDS": f"{program} compl", "COMP_CWORD": "1"}
    assert said(program, **words, **{variable: "zsh_complete"}).splitlines()[:2] == [
        "plain",
        "completion",
    ]
    fish = {"COMP_WORDS": f"{program} compl", "COMP_CWORD": "compl"}
    assert "plain,completion" in said(program, **fish, **{variable: "fish_complete"})


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_manual_page_is_right_for_troff_and_has_every_command(program: str) -> None:
    page = ROOT / "man" / f"{program}.1"
    done = subprocess.run(
        ["groff", "-man", "-ww", "-Tutf8", "-P-cbou", page],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stderr == ""
    shown = " ".join(done.stdout.split())
    calls = [item.call for item in docs_cli.all_commands() if item.call.startswith(f"{program} ")]
    assert len(calls) > 5
    assert [call for call in calls if call not in shown] == []
    for part in ("NAME", "SYNOPSIS", "EXIT STATUS", "FILES", "SEE ALSO", "ENVIRONMENT"):
        assert f" {part} " in shown
    assert "--help" not in page.read_text(), "a hyphen would be shown where - is to be typed"


def test_troff_changes_nothing_that_stands_in_a_text() -> None:
    odd = ".start 'quoted' `code` --flag \\back ~/home ^up “curly” … end"
    page = f".TH X 1\n.SH NAME\n{docs_man.text(odd)}\n"
    done = subprocess.run(
        ["groff", "-man", "-ww", "-Tutf8", "-P-cbou"],
        input=page,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stderr == ""
    assert " ".join(odd.split()) in " ".join(done.stdout.split())
