"""A program that is forked behaves as one that is started."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest
from tests.support import warm_programs
from tests.support.sealed import sealed


def environ(**more: str) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if name not in warm_programs.MEASURED}
    return {**own, "PYTHONUNBUFFERED": "1", **more}


def both(*arguments: str, **more: str) -> list[tuple[int, str, str]]:
    """Exit code, output and errors of `rehome`, forked and started."""
    warm = warm_programs.run("rehome.cli", arguments, environ(**more), 60)
    cold = subprocess.run(
        warm_programs.cold_command("rehome.cli", arguments),
        env=environ(**more),
        capture_output=True,
        text=True,
        check=False,
    )
    return [(done.returncode, done.stdout, done.stderr) for done in (warm, cold)]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["--version"], 0), (["--help"], 0), (["runs", "list"], 2), (["plan", "--demote", "x"], 2)],
)
def test_it_says_the_same_and_ends_the_same_way(
    tmp_path: Path, arguments: list[str], code: int
) -> None:
    warm, cold = both(*arguments, HASHALL_DB=str(tmp_path / "missing.db"))
    assert warm == cold
    assert warm[0] == code


def test_it_has_the_folder_and_the_environment_of_its_caller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "plan.json").write_text("no plan")
    monkeypatch.chdir(tmp_path)
    warm, cold = both("apply", "plan.json", "--dryrun")
    assert warm == cold
    assert "plan.json" in warm[2]


def python(code: str, timeout_s: float = 60) -> int:
    """The exit code of a program that runs `code`."""
    return warm_programs.run("timeit", ["-n1", "-r1", code], environ(), timeout_s).returncode


def test_it_is_a_process_of_its_own_that_can_be_killed() -> None:
    assert python("import os, signal; os.kill(os.getpid(), signal.SIGKILL)") == -signal.SIGKILL
    with pytest.raises(subprocess.TimeoutExpired):
        python("import time; time.sleep(60)", 0.3)
    assert python("pass") == 0


def test_when_what_waits_has_died_another_one_does() -> None:
    first = warm_programs._waiting().process
    first.kill()
    first.wait()
    assert python("pass") == 0
    assert warm_programs._waiting().process.pid != first.pid


@pytest.mark.root
def test_in_namespaces_of_its_own_a_test_has_its_programs_there() -> None:
    assert warm_programs._fits(environ())
    assert not sealed(lambda: warm_programs._fits(environ()))


@pytest.mark.parametrize("name", ["LANG", "LC_ALL", "PYTHONUTF8", "COVERAGE_PROCESS_CONFIG"])
def test_what_only_a_new_interpreter_reads_starts_one(name: str) -> None:
    assert warm_programs._fits(environ())
    assert not warm_programs._fits(environ(**{name: "another"}))
