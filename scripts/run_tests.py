"""Every test, in parallel, with branch coverage of this process and of those it starts.

Fails when a test fails or when a package is covered less than `FLOOR`.  pytest's own last line is
repeated at the very end, under the coverage of the packages.

Many tests wait for real programs, and a loaded machine can make one of them late.  Up to
`MOST_UNSTEADY` tests that failed are therefore run once more, alone; one that passes then is named
as unsteady at the end, and one that fails again fails the run.

A process that a test left behind has our output open, and who reads that would wait for its end:
it is ended when pytest has, and named.
"""

from __future__ import annotations

import compileall
import ctypes
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections import defaultdict
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("seedkeep", "hashall", "rehome", "qbt_rules")
FLOOR = 90.0  # per cent of lines and branches, for each package
MOST_UNSTEADY = 3
# What xdist puts behind the name of a test that has to share its worker with others.
GROUP = re.compile(r"(?<=[\]\w])@[\w.-]+$")
_PR_SET_CHILD_SUBREAPER = 36


def main() -> int:
    compile_programs(ROOT)
    compile_tests(ROOT)
    status, summary = run_pytest(sys.argv[1:])
    unsteady: list[str] = []
    if status == 1 and 0 < len(failed := last_failed(ROOT)) <= MOST_UNSTEADY:
        print(f"\nonce more, alone: {', '.join(failed)}", flush=True)
        status = run_alone(failed)
        unsteady = [] if status else failed
    low = [] if status in (2, 3, 4) else report_coverage()
    for name in unsteady:
        print(f"unsteady: {name} failed among the others and passed alone", flush=True)
    print(summary or f"pytest ended with {status} and without a summary", flush=True)
    return status or (1 if low else 0)


def compile_programs(root: Path) -> None:
    """Compile what tests start, once: with PYTHONDONTWRITEBYTECODE each process would do it again.

    A mistake in a file is the business of the test that imports it.
    """
    for folder in ("src", "tests/support", "scripts"):
        compileall.compile_dir(root / folder, quiet=2, workers=0)


def compile_tests(root: Path, processes: int = 2) -> None:
    """Let pytest rewrite the tests' assertions once; else each worker would, and under coverage.

    It says nothing: a test that cannot be imported is told by the run itself.
    """
    environ = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    files = sorted((root / "tests").rglob("test_*.py"))
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
    started = [
        subprocess.Popen(
            [*command, *files[part::processes]],
            cwd=root,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for part in range(processes)
    ]
    for process in started:
        process.wait()


def last_failed(root: Path) -> list[str]:
    """Node ids that pytest has noted as failed, sorted."""
    noted = root / ".pytest_cache/v/cache/lastfailed"
    if not noted.exists():
        return []
    return sorted(GROUP.sub("", name) for name in json.loads(noted.read_text()))


def run_alone(names: list[str]) -> int:
    """Run these tests one after another; pytest's exit code."""
    command = [sys.executable, "-m", "pytest", "--cov", "--cov-branch", "--cov-report="]
    return run_to_the_end([*command, "--cov-append", *names])[0]


def run_pytest(arguments: list[str]) -> tuple[int, str]:
    """Run pytest with its output passed through; returns its exit code and its last line."""
    # Most tests wait for a client: three times as many as processors keep them busy.
    workers = os.environ.get("WORKERS") or str(3 * max(2, os.cpu_count() or 2))
    command = [sys.executable, "-m", "pytest", "-n", workers, "--dist", "loadgroup"]
    command += ["--cov", "--cov-branch", "--cov-report=", *arguments]
    if sys.stdout.isatty():
        command.append("--color=yes")
    return run_to_the_end(command)


def run_to_the_end(command: list[str]) -> tuple[int, str]:
    """Run it with its output passed through, then end what is left of it.

    Returns its exit code and the last line that looks like pytest's summary.
    """
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # orphans become our children
    with subprocess.Popen(
        command,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as program:
        assert program.stdout is not None
        summaries = [""]
        reader = threading.Thread(target=pass_through, args=(program.stdout, summaries))
        reader.start()
        program.returncode = wait_for(program.pid)
        left_overs = end_left_overs()
        reader.join()
    for left in left_overs:
        print(f"a test left a process behind, which was ended: {left}", flush=True)
    return program.returncode, summaries[-1]


def pass_through(output: IO[bytes], summaries: list[str]) -> None:
    with output:  # however this ends: else who writes would wait for a reader for ever
        for raw in output:
            line = raw.decode(errors="replace")
            sys.stdout.write(line)
            sys.stdout.flush()
            if "==" in line and " in " in line:
                summaries.append(line.rstrip("\n"))


def wait_for(program: int) -> int:
    """The exit code of this child; orphans that end meanwhile are buried, as init would do."""
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == program:
            return os.waitstatus_to_exitcode(status)


def end_left_overs() -> list[str]:
    """Kill every child of this process and what they leave; returns "id: command" of each."""
    ended = []
    while pids := Path("/proc/self/task", str(os.getpid()), "children").read_text().split():
        for pid in map(int, pids):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            if command := b" ".join(words).decode(errors="replace").strip():
                ended.append(f"{pid}: {command}")  # else it had ended before
    return ended


def report_coverage() -> list[str]:
    """Print the coverage of each package; returns those below the floor."""
    out = ROOT / "coverage.json"
    command = [sys.executable, "-m", "coverage", "json", "-q", "-o", str(out)]
    subprocess.run(command, cwd=ROOT, check=True)
    percents = by_package(json.loads(out.read_text())["files"])
    low = [name for name, percent in percents.items() if percent < FLOOR]
    print("\ncoverage, lines and branches")
    for name, percent in percents.items():
        print(f"  {name:<10} {percent:6.2f} %" + (f"  below {FLOOR:g} %" if name in low else ""))
    return low


def by_package(files: dict[str, Any]) -> dict[str, float]:
    """Per cent of statements and branches that ran, added up over each package's files.

    A package of which nothing was measured counts as 0: it was never imported.
    """
    ran: dict[str, int] = defaultdict(int)
    total: dict[str, int] = defaultdict(int)
    for path, measured in files.items():
        summary = measured["summary"]
        package = next((part for part in Path(path).parts if part in PACKAGES), "")
        ran[package] += summary["covered_lines"] + summary["covered_branches"]
        total[package] += summary["num_statements"] + summary["num_branches"]
    return {name: 100 * ran[name] / total[name] if total[name] else 0.0 for name in PACKAGES}


if __name__ == "__main__":
    sys.exit(main())
