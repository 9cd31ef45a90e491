"""The edge of the programs: one document, one error message, the right exit code."""

from __future__ import annotations

import enum
import errno
import io
import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedkeep.console import emit, emit_json, note, run, wants_colour
from seedkeep.errors import Locked, Misused, Partial, Refused, SeedError, Unreachable
from seedkeep.lazy_group import LazyGroup

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def no_colour_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "SEEDKEEP_DEBUG"):
        monkeypatch.delenv(name, raising=False)


def program(body: Callable[[], int | None]) -> click.Command:
    """`tool work [--json] [NAMES]...`, where work does `body`."""

    @click.group()
    def tool() -> None: ...

    @tool.command()
    @click.option("--json", "as_json", is_flag=True, default=False)
    @click.argument("names", nargs=-1)
    def work(as_json: bool, names: tuple[str, ...]) -> int | None:
        return body()

    return tool


def failing(why: BaseException) -> click.Command:
    def body() -> None:
        raise why

    return program(body)


# Text


def test_text_goes_to_stdout_and_remarks_to_stderr(capsys: Capture) -> None:
    emit("result")
    note("remark")
    assert capsys.readouterr() == ("result\n", "remark\n")


@pytest.mark.parametrize("errors", ["strict", "surrogateescape"])
@pytest.mark.parametrize(
    ("encoding", "shown"), [("utf-8", "ü \\udcff\n"), ("ascii", "\\xfc \\udcff\n")]
)
def test_no_character_makes_printing_fail(
    monkeypatch: pytest.MonkeyPatch, encoding: str, errors: str, shown: str
) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding, errors=errors))
    emit("ü \udcff")
    sys.stdout.flush()
    assert raw.getvalue().decode() == shown


def test_a_stream_without_an_encoding_is_taken_as_utf8(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    emit("ü")
    assert stream.getvalue() == "ü\n"


@pytest.mark.parametrize(
    ("environ", "terminal", "colour"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"TERM": "dumb"}, True, False),
        ({"NO_COLOR": "1"}, True, False),
        ({"NO_COLOR": ""}, True, True),
        ({"FORCE_COLOR": "1"}, False, True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, True, False),
    ],
)
def test_colour_is_for_terminals_and_those_who_ask(
    environ: dict[str, str], terminal: bool, colour: bool
) -> None:
    stream = io.StringIO()
    stream.isatty = lambda: terminal  # type: ignore[method-assign]
    assert wants_colour(stream, environ) is colour


# JSON


class Verdict(enum.Enum):
    MOVE = "move"


@dataclass(frozen=True)
class Plan:
    verdict: Verdict
    root: Path
    made: datetime
    size: int
    files: tuple[str, ...]


def test_every_value_of_ours_has_a_form_in_json(capsys: Capture) -> None:
    plan = Plan(Verdict.MOVE, Path("/stash/a"), datetime(2026, 1, 2, tzinfo=UTC), 2**60, ("b",))
    emit_json(
        "plan",
        {
            "plan": plan,
            "took": timedelta(seconds=90),
            "part": timedelta(milliseconds=1),
            "tags": {"b", "a"},
            "codes": frozenset({2, 1}),
            "limits": MappingProxyType({"x": None}),
        },
    )
    assert json.loads(capsys.readouterr().out) == {
        "schema_version": 1,
        "plan": {
            "plan": {
                "verdict": "move",
                "root": "/stash/a",
                "made": "2026-01-02T00:00:00Z",
                "size": 2**60,
                "files": ["b"],
            },
            "took": 90,
            "part": 0.001,
            "tags": ["a", "b"],
            "codes": [1, 2],
            "limits": {"x": None},
        },
    }


@given(st.binary())
def test_every_name_survives_json(name: bytes) -> None:
    stream = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        emit_json("name", os.fsdecode(name))
    assert stream.getvalue().isascii()
    assert os.fsencode(json.loads(stream.getvalue())["name"]) == name


@pytest.mark.parametrize("value", [b"bytes", object(), Plan, float("nan")])
def test_what_has_no_form_in_json_is_a_mistake_and_prints_nothing(
    capsys: Capture, value: object
) -> None:
    with pytest.raises((TypeError, ValueError)):
        emit_json("x", value)
    assert capsys.readouterr().out == ""


# Exit codes


@pytest.mark.parametrize(("answer", "code"), [(None, 0), (0, 0), (3, 3)])
def test_a_command_says_its_exit_code(answer: int | None, code: int) -> None:
    assert run(program(lambda: answer), ["work"], "tool") == code


@pytest.mark.parametrize(
    ("kind", "code", "word"),
    [
        (SeedError, 1, "failed"),
        (Misused, 2, "usage"),
        (Refused, 3, "refused"),
        (Partial, 4, "partial"),
        (Unreachable, 5, "unreachable"),
        (Locked, 75, "locked"),
        (KeyboardInterrupt, 130, "interrupted"),
    ],
)
def test_every_kind_of_error_has_its_exit_code(
    capsys: Capture, kind: type[BaseException], code: int, word: str
) -> None:
    assert run(failing(kind("it went wrong")), ["work", "--json"], "tool") == code
    out, err = capsys.readouterr()
    assert err.strip().startswith("error: ")
    assert json.loads(out)["error"]["code"] == word
    assert json.loads(out)["error"]["exit_code"] == code


def test_an_error_says_what_where_and_what_to_do(capsys: Capture) -> None:
    error = Refused("not moved\x1b[2J", detail="line 1\nline \udcff", hint="scan first")
    assert run(failing(error), ["work"], "tool") == 3
    assert capsys.readouterr() == (
        "",
        "error: not moved\\x1b[2J\nline 1\nline \\xff\nhint: scan first\n",
    )


def test_with_json_an_error_is_a_document_too(capsys: Capture) -> None:
    run(failing(Refused("no", detail="d", hint="h")), ["work", "--json"], "tool")
    assert json.loads(capsys.readouterr().out) == {
        "schema_version": 1,
        "error": {"code": "refused", "brief": "no", "detail": "d", "hint": "h", "exit_code": 3},
    }


def test_a_file_called_json_asks_for_nothing(capsys: Capture) -> None:
    run(failing(Refused("no")), ["work", "--", "--json"], "tool")
    assert capsys.readouterr().out == ""


def test_an_error_after_the_result_does_not_make_a_second_document(capsys: Capture) -> None:
    def body() -> None:
        emit_json("plan", [])
        raise Refused("too late")

    assert run(program(body), ["work", "--json"], "tool") == 3
    out, err = capsys.readouterr()
    assert json.loads(out) == {"schema_version": 1, "plan": []}
    assert err == "error: too late\n"


def test_colour_marks_the_word_error(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    run(failing(Refused("no")), ["work"], "tool")
    assert capsys.readouterr().err == "\x1b[31merror:\x1b[0m no\n"


# Usage


def test_a_wrong_flag_is_a_usage_error_with_a_way_to_help(capsys: Capture) -> None:
    assert run(program(lambda: 0), ["work", "--frce"], "tool") == 2
    assert capsys.readouterr().err == "error: No such option '--frce'.\nhint: tool work --help\n"


def test_an_option_without_its_value_leads_to_the_help_of_its_command(capsys: Capture) -> None:
    @click.group()
    def tool() -> None: ...

    @tool.group()
    @click.option("--level")
    def config(level: str) -> None: ...

    @config.command()
    @click.option("--max")
    def check(max: str) -> None: ...  # noqa: A002

    for words, where in [
        (["config", "check", "--max"], "tool config check"),
        (["config", "--level", "3", "check", "--max"], "tool config check"),
        (["config", "--level"], "tool config"),
        (["nothing", "--level"], "tool"),
    ]:
        assert run(tool, words, "tool") == 2
        assert capsys.readouterr().err.endswith(f"hint: {where} --help\n")


def test_an_option_before_its_command_is_told_where_it_belongs(capsys: Capture) -> None:
    assert run(program(lambda: 0), ["--db", "work"], "tool") == 2
    assert "hint: the options of a command stand behind it: tool COMMAND --db" in (
        capsys.readouterr().err
    )


def test_a_choice_that_is_missing_is_asked_for_in_one_line(capsys: Capture) -> None:
    @click.command()
    @click.argument("shell", type=click.Choice(["bash", "zsh"]))
    def work(shell: str) -> None: ...

    assert run(work, [], "tool") == 2
    said = capsys.readouterr().err.splitlines()[0]
    assert said == "error: Missing argument '{bash|zsh}'. Choose from: bash, zsh"


def test_a_mistyped_command_is_met_with_the_nearest(capsys: Capture) -> None:
    tool = LazyGroup("tool", lazy={"scan": "nowhere:scan"})
    tool.add_command(click.Command("verify"))
    assert run(tool, ["scn"], "tool") == 2
    assert "No such command 'scn'. Did you mean 'scan'?" in capsys.readouterr().err
    assert run(tool, ["verfy"], "tool") == 2
    assert "Did you mean 'verify'?" in capsys.readouterr().err


def test_a_wrong_flag_with_json_is_a_document(capsys: Capture) -> None:
    assert run(program(lambda: 0), ["work", "--json", "--frce"], "tool") == 2
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "usage"


def test_an_error_of_click_without_a_context_names_the_command(capsys: Capture) -> None:
    assert run(failing(click.ClickException("hm")), ["work"], "tool") == 1
    assert capsys.readouterr().err == "error: hm\nhint: tool work --help\n"


def test_help_and_no_arguments_show_help(capsys: Capture) -> None:
    assert run(program(lambda: 0), ["--help"], "tool") == 0
    assert "Usage: tool" in capsys.readouterr().out
    assert run(program(lambda: 0), [], "tool") == 2
    assert "Usage: tool" in capsys.readouterr().err


def test_a_shell_can_complete_commands(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_TOOL_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "tool wo")
    monkeypatch.setenv("COMP_CWORD", "1")
    with pytest.raises(SystemExit):
        run(program(lambda: 0), [], "tool")
    assert capsys.readouterr().out == "plain,work\n"


def test_the_arguments_are_the_processs_unless_others_are_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "argv", ["tool", "work"])
    assert run(program(lambda: 4), None, "tool") == 4


def test_a_question_without_an_answer_ends_as_interrupted(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    assert run(program(lambda: int(click.confirm("sure?"))), ["work"], "tool") == 130
    assert "error: interrupted" in capsys.readouterr().err


# Surprises


def test_a_bug_is_one_line_without_a_traceback(capsys: Capture) -> None:
    assert run(failing(KeyError("two\nlines")), ["work", "--json"], "tool") == 1
    out, err = capsys.readouterr()
    assert err.startswith("error: this is a bug: KeyError: 'two\\nlines'\nhint: ")
    assert "Traceback" not in err
    assert json.loads(out)["error"]["code"] == "bug"


def test_a_bug_shows_its_traceback_when_asked(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEEDKEEP_DEBUG", "1")
    run(failing(KeyError("x")), ["work"], "tool")
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_a_bug_shows_its_traceback_at_log_level_debug(capsys: Capture) -> None:
    logging.getLogger("seedkeep").setLevel("DEBUG")
    try:
        run(failing(KeyError("x")), ["work"], "tool")
    finally:
        logging.getLogger("seedkeep").setLevel(logging.NOTSET)
    assert "Traceback (most recent call last)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("why", "shown"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device", "/a\n"),
            "No space left on device: /a\\n",
        ),
        (OSError(errno.EACCES, "Permission denied", b"/\xff"), "Permission denied: /\\xff"),
        (OSError(errno.EIO, "Input/output error"), "Input/output error"),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), "Broken pipe"),
    ],
)
def test_what_the_system_refuses_is_no_bug(capsys: Capture, why: OSError, shown: str) -> None:
    assert run(failing(why), ["work"], "tool") == 1
    assert capsys.readouterr().err == f"error: {shown}\n"


def test_an_oserror_without_a_reason_is_a_bug(capsys: Capture) -> None:
    assert run(failing(OSError("odd")), ["work"], "tool") == 1
    assert "this is a bug: OSError: odd" in capsys.readouterr().err


def test_a_command_that_leaves_by_itself_is_let_go() -> None:
    with pytest.raises(SystemExit, match="7"):
        run(failing(SystemExit(7)), ["work"], "tool")


# Signals and pipes


def test_sigterm_unwinds_and_ends_with_143(capsys: Capture) -> None:
    cleaned = []

    def body() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGTERM)  # a second one does not break the clean-up
            cleaned.append(True)

    before = signal.getsignal(signal.SIGTERM)
    assert run(program(body), ["work"], "tool") == 143
    assert cleaned == [True]
    assert capsys.readouterr().err == "error: terminated\n"
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_terminal_that_is_closed_unwinds_and_ends_with_129(capsys: Capture) -> None:
    cleaned = []

    def body() -> None:
        try:
            signal.raise_signal(signal.SIGHUP)
        finally:
            signal.raise_signal(signal.SIGHUP)
            signal.raise_signal(signal.SIGTERM)
            cleaned.append(True)

    assert run(program(body), ["work"], "tool") == 129
    assert cleaned == [True]
    assert capsys.readouterr().err == "error: hung up\n"
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL


def test_under_nohup_a_terminal_that_is_closed_ends_nothing() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert run(program(lambda: signal.raise_signal(signal.SIGHUP)), ["work"], "tool") == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_command_may_run_in_another_thread() -> None:
    codes: list[int] = []
    thread = threading.Thread(
        target=lambda: codes.append(run(program(lambda: 4), ["work"], "tool"))
    )
    thread.start()
    thread.join()
    assert codes == [4]


PROGRAM = """if True:
    import click, sys
    from seedkeep.console import emit, emit_json, note, run
    from seedkeep.errors import Refused
    @click.command()
    @click.option("--json", "as_json", is_flag=True, default=False)
    def work(as_json):
        {body}
    sys.exit(run(work, None, "work"))
"""
# Buffered, as users run it: what is left in the buffer fails once more when Python exits.
BUFFERED = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}


def piped(body: str, close: str) -> tuple[int, str]:
    """Exit code and stderr of a program whose `close` (stdout or stderr) nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM.format(body=body), "--json"],
            env=BUFFERED,
            stdout=writer if close == "stdout" else subprocess.DEVNULL,
            stderr=writer if close == "stderr" else subprocess.PIPE,
            check=False,
        )
    finally:
        os.close(writer)
    return done.returncode, (done.stderr or b"").decode()


@pytest.mark.parametrize(
    "body", ["emit('x' * 100_000)", "emit('x')", "click.echo('x'); click.echo('y' * 100_000)"]
)
def test_a_reader_that_left_is_no_reason_to_complain(body: str) -> None:
    assert piped(body, "stdout") == (1, "")


def test_an_error_is_still_told_when_nobody_reads_stdout() -> None:
    assert piped("raise Refused('no')", "stdout") == (3, "error: no\n")


def test_an_exit_code_survives_a_closed_stderr() -> None:
    assert piped("raise Refused('no')", "stderr")[0] == 3


@pytest.mark.parametrize("stderr", ["full", "left"])
@pytest.mark.parametrize("remarks", [1, 1000])
def test_remarks_that_nobody_gets_stop_no_work(tmp_path: Path, stderr: str, remarks: int) -> None:
    """A log on a full disk, or `2>&1 | head`: the work goes on to its end, with its exit code."""
    done = tmp_path / "done"
    body = (
        f"[note('step') for _ in range({remarks})];"
        f" import pathlib; pathlib.Path({str(done)!r}).touch(); return 0"
    )
    code = piped(body, "stderr")[0] if stderr == "left" else on_a_full_disk(body, "stderr")[0]
    assert (code, done.exists()) == (0, True)


def on_a_full_disk(body: str, full: str) -> tuple[int, str]:
    """Exit code and stderr of a program whose `full` (stdout or stderr) has no room."""
    with Path("/dev/full").open("w") as stream:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM.format(body=body), "--json"],
            env=BUFFERED,
            stdout=stream if full == "stdout" else subprocess.DEVNULL,
            stderr=stream if full == "stderr" else subprocess.PIPE,
            check=False,
        )
    return done.returncode, (done.stderr or b"").decode()


@pytest.mark.parametrize("size", [1, 100_000])
def test_a_result_that_has_no_room_is_a_failure_in_one_line(size: int) -> None:
    code, told = on_a_full_disk(f"emit('x' * {size})", "stdout")
    assert code == 1
    assert "No space left on device" in told
    assert told.startswith("error: ")
    assert told.count("\n") == 1


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_as_if_nobody_read(closed: str) -> None:
    body = "note('step'); emit('x'); return 3"
    command = 'exec "$0" -c "$1" ' + closed
    done = subprocess.run(
        ["sh", "-c", command, sys.executable, PROGRAM.format(body=body)],
        env=BUFFERED,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 3
    assert b"Traceback" not in done.stderr


def test_a_reader_that_left_is_recognised_in_this_process_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        assert run(program(lambda: emit("x" * 100_000)), ["work"], "tool") == 1
        monkeypatch.undo()


def test_a_broken_pipe_elsewhere_is_told_while_stdout_is_read(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (tmp_path / "out").open("w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        why = BrokenPipeError(errno.EPIPE, "Broken pipe")
        assert run(failing(why), ["work"], "tool") == 1
        monkeypatch.undo()
    assert capsys.readouterr().err == "error: Broken pipe\n"


def test_the_console_loads_nothing_heavy() -> None:
    source = """if True:
        import sys
        import seedkeep.console
        heavy = {"rich", "requests", "pydantic", "yaml", "apsw", "qbittorrentapi", "flask"}
        print(sorted(heavy & set(sys.modules)))
    """
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, check=True)
    assert done.stdout == b"[]\n"
