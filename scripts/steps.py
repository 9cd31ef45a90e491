"""Short lines about what the set-up does; a command's output is shown only when it fails."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

TAIL = 25  # lines of a failed command's output that are repeated to the person


class SetupError(Exception):
    """The machine cannot be prepared; the text says what is missing and what to do."""


def say(text: str) -> None:
    print(f"setup: {text}", file=sys.stderr, flush=True)


@contextmanager
def step(name: str) -> Iterator[None]:
    """Announce `name`, then how long it took."""
    say(f"{name} ...")
    began = time.monotonic()
    yield
    say(f"{name}: done in {time.monotonic() - began:.1f} s")


def run(command: Sequence[str | Path], *, log: Path, env: Mapping[str, str] | None = None) -> None:
    """Run `command` with its output going to `log`.

    Raises:
        SetupError: It failed; the end of its output is in the message.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as out:
        try:
            done = subprocess.run(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=None if env is None else dict(env),
                check=False,
            )
        except FileNotFoundError as why:
            raise SetupError(f"{command[0]} cannot be started: {why}") from why
    if done.returncode != 0:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-TAIL:])
        raise SetupError(
            f"{' '.join(map(str, command))}\nended with {done.returncode}; see {log}:\n{tail}"
        )
