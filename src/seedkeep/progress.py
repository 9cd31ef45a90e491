"""Progress of long work: a bar on a terminal, else a log line now and then."""

from __future__ import annotations

import sys
import threading
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO, cast

from seedkeep import clock
from seedkeep.units import format_duration, format_size

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

LOG_EVERY_S = 30.0


class Progress:
    """`with Progress("hashing", total=n, unit="bytes") as progress: progress.advance(4096)`.

    Any thread may advance it.  Writes to stderr only, and nothing at all with `quiet` or `as_json`.
    """

    def __init__(
        self,
        what: str,
        *,
        total: int | None = None,
        unit: str = "items",
        rate: bool = False,
        quiet: bool = False,
        as_json: bool = False,
    ) -> None:
        """`rate`: show how fast it goes, and how long it will take."""
        self.what, self.total, self.unit = what, total, unit
        self.done = 0
        self._rate, self._began_s = rate, 0.0
        self._silent = quiet or as_json
        self._lock = threading.Lock()
        self._next_line_s = 0.0  # on the monotonic clock
        self._bar: RichProgress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Progress:
        self._began_s = clock.monotonic()
        self._next_line_s = self._began_s + LOG_EVERY_S
        if not self._silent and sys.stderr.isatty():
            self._start_bar()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, amount: int = 1) -> None:
        """Count `amount` more of the unit."""
        with self._lock:
            self.done += amount
            due = not self._silent and self._bar is None and clock.monotonic() >= self._next_line_s
            if due:
                self._next_line_s = clock.monotonic() + LOG_EVERY_S
        if self._bar is not None and self._task is not None:
            self._bar.advance(self._task, amount)
        elif due:
            self._log()

    def set_total(self, total: int | None) -> None:
        """The amount became known, or changed."""
        self.total = total
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, total=total)

    def describe(self, what: str) -> None:
        """Say what is being done now."""
        self.what = what
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, description=what)

    def _log(self) -> None:
        import logging

        of = f" of {self._amount(self.total)}" if self.total is not None else ""
        logging.getLogger(__name__).info(
            "%s: %s%s%s", self.what, self._amount(self.done), of, self._speed()
        )

    def _speed(self) -> str:
        took_s = clock.monotonic() - self._began_s
        if not self._rate or not self.done or took_s <= 0:
            return ""
        text = f", {self._amount(round(self.done / took_s))}/s"
        if self.total is not None and self.total > self.done:
            left = timedelta(seconds=round((self.total - self.done) * took_s / self.done))
            text += f", {format_duration(left)} left"
        return text

    def _amount(self, amount: int) -> str:
        return format_size(amount) if self.unit == "bytes" else f"{amount} {self.unit}"

    def _start_bar(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            MofNCompleteColumn,
            ProgressColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )
        from rich.progress import Progress as RichProgress

        speed: list[ProgressColumn] = (
            [TransferSpeedColumn(), TimeRemainingColumn()] if self._rate else []
        )
        amount = DownloadColumn(binary_units=True) if self.unit == "bytes" else MofNCompleteColumn()
        self._bar = RichProgress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            amount,
            *speed,
            TimeElapsedColumn(),
            console=Console(file=cast(TextIO, _Leaving(sys.stderr))),
            transient=True,
        )
        self._task = self._bar.add_task(self.what, total=self.total)
        self._bar.start()


class _Leaving:
    """A terminal that may be closed while something is shown on it; the work goes on."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._is_gone = False

    def write(self, text: str) -> int:
        if not self._is_gone:
            try:
                return self._stream.write(text)
            except OSError:
                self._is_gone = True
        return len(text)

    def flush(self) -> None:
        if not self._is_gone:
            try:
                self._stream.flush()
            except OSError:
                self._is_gone = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
