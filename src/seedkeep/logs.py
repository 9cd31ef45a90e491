"""Logging to stderr, with the run or job that a record belongs to, and without secrets."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TextIO

from seedkeep import clock
from seedkeep.settings import HIDDEN
from seedkeep.text import printable

_OURS = ("seedkeep", "hashall", "rehome", "qbt_rules")
_SHORTEST_SECRET = 4  # replacing shorter ones would make any text unreadable
_FILE = "seedkeep-file"
# Addresses are shown without their query: it may hold a key, also one that is none of ours.
_QUERY = re.compile(r"\?[^\s'\"<>]*=[^\s'\"<>]*")

_run_id: ContextVar[str | None] = ContextVar("run_id", default=None)
_job_id: ContextVar[str | None] = ContextVar("job_id", default=None)


@contextmanager
def bound(*, run: object = None, job: object = None) -> Iterator[None]:
    """Records made inside the block, by this thread or task, carry these ids."""
    run_token = _run_id.set(str(run) if run is not None else _run_id.get())
    job_token = _job_id.set(str(job) if job is not None else _job_id.get())
    try:
        yield
    finally:
        _job_id.reset(job_token)
        _run_id.reset(run_token)


def set_up(
    level: str = "INFO",
    *,
    secrets: Iterable[str] = (),
    stream: TextIO | None = None,
    file: Path | None = None,
) -> None:
    """Send our records of `level` and others' warnings to stderr; safe to repeat.

    Args:
        secrets: Values replaced wherever a record or a traceback contains them.
        file: A copy goes there, from any number of processes; opened again when it was moved away.

    Raises:
        OSError: The file cannot be written; stderr is set up.
    """
    root = logging.getLogger()
    for old in [old for old in root.handlers if isinstance(old, _Handler) or old.name == _FILE]:
        root.removeHandler(old)
        if old.name == _FILE:
            old.close()
    _add(_Handler(stream), secrets)
    for name in _OURS:
        logging.getLogger(name).setLevel(level)
    # It warns of each retry; our own error says it once, with what to do.
    logging.getLogger("urllib3").setLevel("NOTSET" if level == "DEBUG" else "ERROR")
    if file is not None:
        from logging.handlers import WatchedFileHandler  # slow to import, and rarely needed

        copy = WatchedFileHandler(file, encoding="utf-8")
        copy.name = _FILE
        _add(copy, secrets)


def _add(handler: logging.Handler, secrets: Iterable[str]) -> None:
    handler.setFormatter(_Formatter(secrets))
    handler.addFilter(_add_ids)
    logging.getLogger().addHandler(handler)


class _Handler(logging.StreamHandler[TextIO]):
    """Ours; found again by its type.  Follows `sys.stderr` unless a stream was given."""

    def __init__(self, stream: TextIO | None) -> None:
        super().__init__(stream or sys.stderr)
        self._fixed = stream is not None

    def emit(self, record: logging.LogRecord) -> None:
        if not self._fixed:
            self.stream = sys.stderr
        super().emit(record)


def _add_ids(record: logging.LogRecord) -> bool:
    record.run_id = _run_id.get()
    record.job_id = _job_id.get()
    return True


class _Formatter(logging.Formatter):
    """One line per record; a traceback follows on lines of its own."""

    def __init__(self, secrets: Iterable[str]) -> None:
        super().__init__()
        # Longest first: one secret may contain another.
        self._secrets = sorted((s for s in secrets if len(s) >= _SHORTEST_SECRET), key=len)[::-1]

    def format(self, record: logging.LogRecord) -> str:
        ids = [
            f"{kind}={value}"
            for kind, value in (("run", record.run_id), ("job", record.job_id))  # type: ignore[attr-defined]
            if value is not None
        ]
        time = clock.iso(clock.now().replace(microsecond=0))
        head = " ".join((time, record.levelname, record.name, *ids))
        text = f"{head}: {printable(record.getMessage())}"
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        text = _QUERY.sub(f"?{HIDDEN}", text)
        return text.encode("utf-8", "backslashreplace").decode()
