"""Progress: a bar for people who watch, a line now and then for a log, silence for scripts."""

from __future__ import annotations

import io
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from seedkeep import clock
from seedkeep.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "seedkeep.progress")
    return caplog


@contextmanager
def watched() -> Iterator[Terminal]:
    """stderr is a terminal inside the block (a fixture would be undone by pytest's capturing)."""
    terminal = Terminal()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stderr", terminal)
        patch.setenv("TERM", "xterm")
        patch.delenv("NO_COLOR", raising=False)
        yield terminal


def test_without_a_terminal_a_line_is_logged_every_30_seconds(
    logged: pytest.LogCaptureFixture,
) -> None:
    time = [0.0]
    with clock.using(monotonic=lambda: time[0]), Progress("hashing", total=100) as progress:
        for _ in range(7):
            time[0] += 10
            progress.advance(5)
    assert logged.messages == ["hashing: 15 items of 100 items", "hashing: 30 items of 100 items"]


def test_a_rate_comes_with_the_time_that_is_left(logged: pytest.LogCaptureFixture) -> None:
    time = [0.0]
    with (
        clock.using(monotonic=lambda: time[0]),
        Progress("copying", total=8 * 2**20, unit="bytes", rate=True) as progress,
    ):
        time[0] = 32
        progress.advance(2**20)
        time[0] = 64
        progress.advance(7 * 2**20)
    assert logged.messages == [
        "copying: 1.0 MiB of 8.0 MiB, 32.0 KiB/s, 3m44s left",
        "copying: 8.0 MiB of 8.0 MiB, 128.0 KiB/s",
    ]


def test_bytes_are_logged_as_sizes_and_a_missing_total_is_left_out(
    logged: pytest.LogCaptureFixture,
) -> None:
    time = [0.0]
    with clock.using(monotonic=lambda: time[0]), Progress("hashing", unit="bytes") as progress:
        progress.describe("reading")
        time[0] = 31
        progress.advance(2**20)
        progress.set_total(2**21)
        time[0] = 62
        progress.advance(2**19)
    assert logged.messages == ["reading: 1.0 MiB", "reading: 1.5 MiB of 2.0 MiB"]


@pytest.mark.parametrize(("quiet", "as_json"), [(True, False), (False, True)])
def test_scripts_hear_nothing(logged: pytest.LogCaptureFixture, quiet: bool, as_json: bool) -> None:
    time = [0.0]
    progress = Progress("hashing", total=3, quiet=quiet, as_json=as_json)
    with watched() as terminal, clock.using(monotonic=lambda: time[0]), progress:
        time[0] = 100
        progress.advance()
    assert (progress.done, logged.messages, terminal.getvalue()) == (1, [], "")


@pytest.mark.parametrize(("unit", "shown"), [("items", "7/10"), ("bytes", "7/10 bytes")])
def test_a_terminal_gets_a_bar(logged: pytest.LogCaptureFixture, unit: str, shown: str) -> None:
    with watched() as terminal, Progress("[hashing]", unit=unit) as progress:
        progress.set_total(10)
        progress.advance(7)
        progress.describe("[linking]")
        assert progress._bar is not None
        progress._bar.refresh()
    assert "[linking]" in terminal.getvalue()
    assert shown in terminal.getvalue()
    assert logged.messages == []


def test_threads_do_not_lose_counts() -> None:
    def count() -> None:
        for _ in range(2000):
            progress.advance()

    with Progress("hashing", quiet=True) as progress:
        threads = [threading.Thread(target=count) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert progress.done == 8000


def test_rich_is_not_loaded_without_a_terminal() -> None:
    program = """if True:
        import sys
        from seedkeep.console import Progress
        with Progress("x") as progress:
            progress.advance()
        sys.exit("rich" in sys.modules)
    """
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


WATCHED = """if True:
    import signal, sys, click
    from seedkeep.console import emit, run
    from seedkeep.progress import Progress
    @click.command()
    def work():
        with Progress("copying", total=2) as progress:
            print("begun", file=sys.__stdout__, flush=True)
            sys.stdin.readline()
            progress.advance()
            progress._bar.refresh()
            {then}
        emit("done")
    sys.exit(run(work, [], "work"))
"""


@pytest.mark.parametrize(
    ("then", "code", "said"),
    [("pass", 0, b"done\n"), ("signal.raise_signal(signal.SIGHUP)", 129, b"")],
)
def test_a_bar_whose_terminal_is_closed_neither_stops_the_work_nor_hides_why_it_ends(
    then: str, code: int, said: bytes
) -> None:
    ours, theirs = os.openpty()
    command = [sys.executable, "-c", WATCHED.format(then=then)]
    environ = os.environ | {"TERM": "xterm"}
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=theirs,
        env=environ,
        start_new_session=True,
    ) as process:
        os.close(theirs)
        assert process.stdout is not None
        assert process.stdout.readline() == b"begun\n"
        os.close(ours)
        out, _ = process.communicate(b"\n", timeout=60)
    assert (process.returncode, out) == (code, said)
