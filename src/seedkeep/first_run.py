"""The first run of a program: ask a person what flags leave open, write what is not there yet."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from seedkeep.errors import Refused
from seedkeep.small_file import write_small_file
from seedkeep.text import printable

SECRET_MODE, OPEN_MODE = 0o600, 0o644


class ConfigExists(Refused):
    """A config file is there already; nothing was changed."""

    code = "config-exists"


@dataclass(frozen=True)
class NewFile:
    path: Path
    text: str
    secret: bool = False  # only its owner may read it
    keep: bool = False  # one that is there stays, even when others are replaced
    renew: bool = False  # one that is there is out of date: it is always replaced


def secret_file(path: Path, secret: str) -> NewFile:
    """A secret that was found right just now."""
    return NewFile(path, f"{secret}\n", secret=True, renew=True)


@dataclass(frozen=True)
class Initialised:
    written: tuple[Path, ...]
    kept: tuple[Path, ...]  # that were there and stay as they are
    remarks: tuple[str, ...]
    next: tuple[str, ...]  # what to type now


def refuse_existing(path: Path, force: bool) -> None:
    """Raises `ConfigExists`."""
    if path.exists() and not force:
        raise ConfigExists(
            f"{path} is there already",
            hint="change it with an editor; --force replaces it and keeps the old one as .old",
        )


def write_files(files: Sequence[NewFile], force: bool) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """Write what is not there, or with `force` everything but what is to be kept.

    Returns (written, kept).  Raises `Misused`; then what was written before stays.
    """
    written, kept = [], []
    for file in files:
        replace = file.renew or (force and not file.keep)
        if file.path.exists() and not replace:
            kept.append(file.path)
            continue
        mode = SECRET_MODE if file.secret else OPEN_MODE
        write_small_file(file.path, file.text, mode=mode, replace=replace)
        written.append(file.path)
    return tuple(written), tuple(kept)


def text(done: Initialised) -> str:
    lines = [f"wrote {printable(str(path))}" for path in done.written]
    lines += [f"kept {printable(str(path))}, which was there" for path in done.kept]
    lines += [printable(remark) for remark in done.remarks]
    lines += ["next:", *(f"  {printable(command)}" for command in done.next)]
    return "\n".join(lines)


def can_ask() -> bool:
    """Whether somebody sits at a terminal who can be asked."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def ask(question: str, default: str = "") -> str:
    """The answer, or `default` for an empty one.  On stderr: stdout is for results."""
    import click

    answer = click.prompt(question, default=default, show_default=bool(default), err=True)
    return str(answer).strip()


def ask_secret(question: str) -> str:
    import click

    return str(click.prompt(question, default="", show_default=False, hide_input=True, err=True))


def confirm(question: str) -> bool:
    import click

    return bool(click.confirm(question, default=True, err=True))
