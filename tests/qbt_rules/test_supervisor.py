"""The parent of the server's processes starts, restarts and ends them."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support.qbt import wait_for

from qbt_rules.supervisor import Child, supervise

WAIT_S = 60.0


def supervised(children: list[Child], stop_within_s: float = 20.0, **more: Any) -> int:
    """Pid of a process that supervises `children` and exits with what `supervise` says."""
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            code = supervise(children, stop_within_s=stop_within_s, **more)
        finally:
            os._exit(code)
    return pid


def exit_code(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def writing(file: Path, text: str = "{pid}\n") -> None:
    with file.open("a") as out:
        out.write(text.format(pid=os.getpid()))


def lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []


def sleeper(file: Path) -> Callable[[str], int]:
    def run(_incarnation: str) -> int:
        writing(file)
        time.sleep(600)
        return 0

    return run


def is_gone(pid: int) -> bool:
    """True for a zombie too: an orphan's new parent may be slow to collect it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_a_signal_ends_all_children(tmp_path: Path, number: signal.Signals) -> None:
    web, worker = tmp_path / "web", tmp_path / "worker"
    pid = supervised(
        [
            Child(name="web", run=sleeper(web), essential=True),
            Child(name="worker", run=sleeper(worker)),
        ]
    )
    wait_for(lambda: bool(lines(web) and lines(worker)), "the children", timeout_s=WAIT_S)
    os.kill(pid, number)
    assert exit_code(pid) == 0
    assert is_gone(int(lines(web)[0]))
    assert is_gone(int(lines(worker)[0]))


def test_a_child_that_ignores_sigterm_is_killed_in_time(tmp_path: Path) -> None:
    file = tmp_path / "pids"

    def stubborn(_incarnation: str) -> int:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        writing(file)
        time.sleep(600)
        return 0

    pid = supervised([Child(name="worker", run=stubborn)], stop_within_s=0.3)
    wait_for(lambda: bool(lines(file)), "the child", timeout_s=WAIT_S)
    os.kill(pid, signal.SIGTERM)
    assert exit_code(pid) == 0
    assert is_gone(int(lines(file)[0]))


def test_a_worker_that_died_starts_again_and_is_cleaned_up_after(tmp_path: Path) -> None:
    pids, gone = tmp_path / "pids", tmp_path / "gone"

    def run(incarnation: str) -> int:
        writing(pids, f"{{pid}} {incarnation}\n")
        time.sleep(600)
        return 0

    pid = supervised([Child(name="worker", run=run, gone=lambda name: writing(gone, f"{name}\n"))])
    wait_for(lambda: len(lines(pids)) == 1, "the first", timeout_s=WAIT_S)
    first, name = lines(pids)[0].split()
    os.kill(int(first), signal.SIGKILL)
    wait_for(lambda: len(lines(pids)) == 2, "the second", timeout_s=WAIT_S)
    assert lines(gone) == [name]
    assert lines(pids)[1].split()[1] != name
    os.kill(pid, signal.SIGTERM)
    assert exit_code(pid) == 0
    assert len(lines(gone)) == 2


@pytest.mark.parametrize(("code", "expected"), [(7, 7), (0, 1)])
def test_everything_ends_with_the_essential_child(tmp_path: Path, code: int, expected: int) -> None:
    worker = tmp_path / "worker"

    def web(_incarnation: str) -> int:
        wait_for(lambda: bool(lines(worker)), "the worker", timeout_s=WAIT_S)
        return code

    pid = supervised(
        [
            Child(name="web", run=web, essential=True),
            Child(name="worker", run=sleeper(worker)),
        ]
    )
    assert exit_code(pid) == expected
    assert is_gone(int(lines(worker)[0]))


def test_an_error_in_a_child_is_an_exit_code(tmp_path: Path) -> None:
    def web(_incarnation: str) -> int:
        os.dup2(os.open(tmp_path / "err", os.O_WRONLY | os.O_CREAT), 2)
        sys.stderr = os.fdopen(2, "w", closefd=False)
        raise RuntimeError("no port")

    def leaves(_incarnation: str) -> int:
        raise SystemExit(5)

    assert exit_code(supervised([Child(name="web", run=web, essential=True)])) == 70
    assert "no port" in (tmp_path / "err").read_text()
    assert exit_code(supervised([Child(name="web", run=leaves, essential=True)])) == 5


def test_a_log_on_a_full_disk_ends_nothing() -> None:
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            with Path("/dev/full").open("w") as sys.stderr:
                sys.stderr.write("not on the disk yet")
                code = supervise([Child(name="web", run=lambda _: 7, essential=True)])
                os._exit(code)
        finally:
            os._exit(code)
    assert exit_code(pid) == 7


def test_children_end_when_the_parent_is_killed(tmp_path: Path) -> None:
    file = tmp_path / "pids"
    pid = supervised([Child(name="worker", run=sleeper(file))])
    wait_for(lambda: bool(lines(file)), "the child", timeout_s=WAIT_S)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    wait_for(lambda: is_gone(int(lines(file)[0])), "the end of the child", timeout_s=WAIT_S)


def handling_sighup(write: Callable[[], None]) -> None:
    signal.signal(signal.SIGHUP, lambda *_: write())
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})


def test_sighup_reaches_the_children_also_before_they_are_ready_for_it(tmp_path: Path) -> None:
    file, asked, heard = tmp_path / "pids", tmp_path / "asked", tmp_path / "heard"

    def reload() -> bool:
        writing(asked)
        return True

    def run(_incarnation: str) -> int:
        writing(file)
        wait_for(lambda: bool(lines(asked)), "the signal to be sent", timeout_s=WAIT_S)
        time.sleep(0.2)  # the parent passes it on right after it was asked
        handling_sighup(lambda: writing(heard))
        while True:
            time.sleep(600)

    pid = supervised([Child(name="web", run=run)], reload=reload)
    wait_for(lambda: bool(lines(file)), "the child", timeout_s=WAIT_S)
    os.kill(pid, signal.SIGHUP)
    wait_for(lambda: bool(lines(heard)), "the signal", timeout_s=WAIT_S)
    os.kill(pid, signal.SIGTERM)
    assert exit_code(pid) == 0


def test_sighup_that_brings_nothing_new_reaches_nobody(tmp_path: Path) -> None:
    file, asked, heard = tmp_path / "pids", tmp_path / "asked", tmp_path / "heard"

    def reload() -> bool:
        writing(asked)
        return len(lines(asked)) == 2

    def run(_incarnation: str) -> int:
        handling_sighup(lambda: writing(heard))
        writing(file)
        while True:
            time.sleep(600)

    pid = supervised([Child(name="web", run=run)], reload=reload)
    wait_for(lambda: bool(lines(file)), "the child", timeout_s=WAIT_S)
    for number in (1, 2):
        os.kill(pid, signal.SIGHUP)
        wait_for(lambda n=number: len(lines(asked)) == n, "the question", timeout_s=WAIT_S)  # type: ignore[misc]
    wait_for(lambda: bool(lines(heard)), "the second signal", timeout_s=WAIT_S)
    assert len(lines(heard)) == 1
    os.kill(pid, signal.SIGTERM)
    assert exit_code(pid) == 0


def test_a_child_that_ended_well_starts_again_at_once(tmp_path: Path) -> None:
    file = tmp_path / "pids"

    def run(_incarnation: str) -> int:
        writing(file)
        if len(lines(file)) < 6:  # pauses would add up to more than six seconds
            return 0
        time.sleep(600)
        return 0

    begun = time.monotonic()
    pid = supervised([Child(name="worker", run=run)])
    wait_for(lambda: len(lines(file)) == 6, "the sixth", timeout_s=WAIT_S)
    assert time.monotonic() - begun < 6
    os.kill(pid, signal.SIGTERM)
    assert exit_code(pid) == 0


def test_cleaning_up_that_fails_ends_nothing(tmp_path: Path) -> None:
    file = tmp_path / "pids"

    def gone(_incarnation: str) -> None:
        raise OSError("the disk is away")

    pid = supervised([Child(name="worker", run=sleeper(file), gone=gone)])
    wait_for(lambda: len(lines(file)) == 1, "the first", timeout_s=WAIT_S)
    os.kill(int(lines(file)[0]), signal.SIGKILL)
    wait_for(lambda: len(lines(file)) == 2, "the second", timeout_s=WAIT_S)
    os.kill(pid, signal.SIGTERM)
    assert exit_code(pid) == 0
