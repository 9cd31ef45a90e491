"""What people and scripts see: text, JSON, and errors as exit codes.

Results go to stdout, everything else to stderr.  With `--json`, stdout has exactly one document.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, TextIO

from seedkeep import clock
from seedkeep.errors import SeedError
from seedkeep.progress import Progress
from seedkeep.settings import environment
from seedkeep.text import printable, table

if TYPE_CHECKING:
    from types import FrameType

    import click

__all__ = [
    "Progress",
    "document_text",
    "emit",
    "emit_json",
    "interruption_tells",
    "note",
    "printable",
    "run",
    "table",
    "wants_colour",
]

SCHEMA_VERSION = 1
_RED, _PLAIN = "\x1b[31m", "\x1b[0m"


class _Ended(BaseException):
    """A signal arrived.  Not an Exception, so that only clean-up code runs on the way out."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


class Interrupted(SeedError):
    """Ctrl-C."""

    exit_code = 130
    code = "interrupted"


class HungUp(SeedError):
    """SIGHUP: the terminal or the connection to it was closed."""

    exit_code = 129
    code = "hung-up"


class Terminated(SeedError):
    """SIGTERM."""

    exit_code = 143
    code = "terminated"


class Bug(SeedError):
    """Something that this program did not expect."""

    code = "bug"


class SystemFailure(SeedError):
    """The operating system said no, where nobody had better words for it."""

    code = "system"


@dataclasses.dataclass
class _Written:
    documents: int = 0  # JSON documents on stdout since `run` began


_written = _Written()


def emit(text: str) -> None:
    """One piece of a result to stdout, with a newline; no character can make this fail."""
    _write(sys.stdout, text)


def note(text: str) -> None:
    """A remark for people, to stderr; work goes on where nobody can be told.

    Its reader may have left, its file be on a full disk, its terminal be closed: none of these may
    break off a run that has begun, or keep it from being taken back.
    """
    with suppress(OSError):
        _write(sys.stderr, text)


def _write(stream: TextIO, text: str) -> None:
    if stream.errors == "strict":  # all of a text is encoded before any of it is written
        with suppress(UnicodeEncodeError):
            stream.write(f"{text}\n")
            return
    encoding = stream.encoding or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")


def emit_json(kind: str, data: Any) -> None:
    """The one document of `--json`: `{"schema_version": 1, kind: data}`.

    Times become ISO-8601 with Z, durations seconds, paths and enum members text, dataclasses
    objects.  Names that are not UTF-8 survive a round trip as lone surrogates.
    """
    text = document_text(kind, data)
    _written.documents += 1
    emit(text)


def document_text(kind: str, data: Any) -> str:
    """What `emit_json` prints, for a file."""
    document = {"schema_version": SCHEMA_VERSION, kind: data}
    return json.dumps(document, indent=2, default=_as_json, allow_nan=False)


def plain(data: Any) -> Any:
    """The same data as lists, objects, text and numbers, for a JSON document of another kind."""
    return json.loads(json.dumps(data, default=_as_json, allow_nan=False))


_JSON_FORMS: tuple[tuple[type, Callable[[Any], Any]], ...] = (
    (datetime, clock.iso),
    (timedelta, lambda value: _whole(value.total_seconds())),
    (PurePath, str),
    (enum.Enum, lambda value: value.value),
    (frozenset, sorted),
    (set, sorted),
    (Mapping, dict),
)


def _as_json(value: Any) -> Any:
    for kind, form in _JSON_FORMS:
        if isinstance(value, kind):
            return form(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def _whole(number: float) -> int | float:
    return int(number) if number.is_integer() else number


def wants_colour(stream: TextIO, environ: Mapping[str, str] | None = None) -> bool:
    """NO_COLOR wins over FORCE_COLOR wins over whether `stream` is a terminal."""
    environ = environment() if environ is None else environ
    if environ.get("NO_COLOR"):
        return False
    if environ.get("FORCE_COLOR"):
        return True
    return stream.isatty() and environ.get("TERM") != "dumb"


def run(command: click.Command, argv: Sequence[str] | None, program: str) -> int:
    """Run a click command and turn whatever happens into an exit code.

    The only place that prints an error.  A command returns its exit code, or None for 0.
    `argv` is without the program's name; None for the process's own.
    """
    _open_closed_streams()
    arguments = list(sys.argv[1:] if argv is None else argv)
    as_json = "--json" in arguments[: arguments.index("--") if "--" in arguments else None]
    _written.documents = 0
    try:
        with _signals_raise():
            code = _invoke(command, arguments, program)
        _flush_result()
    except SeedError as error:
        return _report(error, as_json)
    except (KeyboardInterrupt, _Ended) as why:
        return _report(_interruption(why), as_json)
    except Exception as why:
        if isinstance(why, BrokenPipeError) and _reader_left(sys.stdout):
            return 1  # `| head` has what it wanted; a message would only disturb
        _traceback(why)
        return _report(_unexpected(why), as_json)
    with _unread_is_fine(sys.stderr):
        return code


@contextmanager
def interruption_tells(say: Callable[[], tuple[str, str]]) -> Iterator[None]:
    """Let Ctrl-C or a signal leave the block as an error with the detail and hint of `say`."""
    try:
        yield
    except (KeyboardInterrupt, _Ended) as why:
        detail, hint = say()
        raise _interruption(why, detail, hint) from why


def _interruption(why: KeyboardInterrupt | _Ended, detail: str = "", hint: str = "") -> SeedError:
    if isinstance(why, KeyboardInterrupt):
        return Interrupted("interrupted", detail=detail, hint=hint)
    if why.number == signal.SIGHUP:
        return HungUp("hung up", detail=detail, hint=hint)
    return Terminated("terminated", detail=detail, hint=hint)


def _open_closed_streams() -> None:
    """Started with `>&-`, Python has None there, and the next file opened would be descriptor 1."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115


def _flush_result() -> None:
    """Raises `SystemFailure` when stdout is a file on a full disk, for example."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as why:
        raise SystemFailure(f"the output cannot be written: {why.strerror}") from why


def _unexpected(why: Exception) -> SeedError:
    if isinstance(why, OSError) and why.strerror:
        known = isinstance(why.filename, (str, bytes))
        name = f": {printable(os.fsdecode(why.filename))}" if known else ""
        return SystemFailure(f"{why.strerror}{name}")
    return Bug(
        f"this is a bug: {type(why).__name__}: {' '.join(str(why).split())}",
        hint="run it again with SEEDKEEP_DEBUG=1 and report the output",
    )


def _invoke(command: click.Command, arguments: list[str], program: str) -> int:
    """What `Command.main` does, without its own handling of Ctrl-C and closed pipes."""
    import click

    from seedkeep.click_errors import as_seed_error

    if environment().get(f"_{program.replace('-', '_').upper()}_COMPLETE"):
        command.main(arguments, prog_name=program)  # shell completion; leaves by SystemExit
    try:
        with command.make_context(program, arguments, color=wants_colour(sys.stdout)) as context:
            result = command.invoke(context)
        return result if isinstance(result, int) else 0
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.exceptions.NoArgsIsHelpError as help_wanted:
        help_wanted.show()
        return help_wanted.exit_code
    except click.ClickException as why:
        raise as_seed_error(why, command, arguments, program) from why
    except click.Abort as why:  # Ctrl-C, or the end of the input at a question
        raise KeyboardInterrupt from why


def _report(error: SeedError, as_json: bool) -> int:
    """Tell about `error` on stderr and, if stdout has no document yet, in JSON; its exit code."""
    lines = [f"error: {_safe_lines(error.brief)}"]
    lines += [_safe_lines(error.detail)] if error.detail else []
    lines += [f"hint: {_safe_lines(error.hint)}"] if error.hint else []
    if wants_colour(sys.stderr):
        lines[0] = lines[0].replace("error:", f"{_RED}error:{_PLAIN}", 1)
    with _unread_is_fine(sys.stderr):
        note("\n".join(lines))
    with _unread_is_fine(sys.stdout):
        if as_json and not _written.documents:
            emit_json("error", _error_object(error))
    return error.exit_code


@contextmanager
def _unread_is_fine(stream: TextIO) -> Iterator[None]:
    """What cannot be written is dropped, or it would fail once more when Python ends."""
    try:
        yield
        stream.flush()
    except OSError:
        if not _reader_left(stream):
            _drop(stream)


def _safe_lines(text: str) -> str:
    return "\n".join(printable(line) for line in text.split("\n"))


def _error_object(error: SeedError) -> dict[str, Any]:
    return {
        "code": error.code,
        "brief": error.brief,
        "detail": error.detail,
        "hint": error.hint,
        "exit_code": error.exit_code,
    }


def _reader_left(stream: TextIO) -> bool:
    """Is nobody reading `stream` any more?  Then what is still buffered is dropped."""
    try:
        descriptor = stream.fileno()
    except (OSError, ValueError):  # replaced by something that is no file
        return False
    poll = select.poll()
    poll.register(descriptor, 0)
    if not any(event & select.POLLERR for _, event in poll.poll(0)):
        return False
    _drop(stream)
    return True


def _drop(stream: TextIO) -> None:
    """What is still buffered, and what follows, goes nowhere."""
    with suppress(OSError, ValueError):  # replaced by something that is no file
        descriptor = stream.fileno()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, descriptor)
        os.close(nowhere)


def _traceback(why: BaseException) -> None:
    if environment().get("SEEDKEEP_DEBUG") or _logs_debug():
        import traceback

        note("".join(traceback.format_exception(why)).rstrip("\n"))


def _logs_debug() -> bool:
    import logging

    return logging.getLogger("seedkeep").isEnabledFor(logging.DEBUG)


@contextmanager
def _signals_raise() -> Iterator[None]:
    """SIGTERM and SIGHUP unwind the stack: journals are closed, runs that have begun taken back.

    SIGHUP stays ignored where it is: under nohup, work goes on when the terminal is closed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:
        numbers.append(signal.SIGHUP)

    def stop(number: int, _frame: FrameType | None) -> None:
        for each in numbers:
            signal.signal(each, signal.SIG_IGN)  # a second one must not break the clean-up
        raise _Ended(number)

    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
