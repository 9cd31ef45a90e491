"""`hashall verify`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from hashall.commands.common import answer, catalog_options, json_option, opened
from hashall.commands.types import DURATION, SIZE
from seedkeep import console


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path), metavar="[PATH]…")
@click.option(
    "--older-than",
    type=DURATION,
    metavar="DURATION",
    help="Only what was not read for so long.",
)
@click.option(
    "--budget",
    type=SIZE,
    metavar="SIZE",
    help="Stop after so many bytes; what a disk fails to give counts too.",
)
@click.option(
    "--time-budget",
    type=DURATION,
    metavar="DURATION",
    help="Begin no file after so much time; what is being read then is read to its end.",
)
@click.option(
    "--workers", type=click.IntRange(1, 32), default=2, show_default=True, help="Reading threads."
)
@catalog_options
@json_option
def verify(paths: tuple[Path, ...], as_json: bool, **flags: Any) -> int:
    """Read files again and report bit rot.

    That is content that changed while size and mtime did not.  Begins with what was not read for
    the longest time, so a budget of bytes or time each night gets around.  A filesystem that fails
    again and again is given up.  Exit code 1: damage was found; 4: something could not be read.

    Example: hashall verify --older-than 90d --time-budget 2h
    """
    from hashall import render_verify
    from hashall.verify import Options
    from hashall.verify import verify as read_again
    from seedkeep.errors import Partial

    names = ("older_than", "budget", "time_budget", "workers")
    options = Options(**{name: flags.pop(name) for name in names})
    try:
        with opened(flags) as app, render_verify.progress(as_json) as progress:
            result = read_again(app.places, paths, options, progress)
    except KeyboardInterrupt:
        console.note("what was read is recorded; the same command goes on from there")
        raise
    answer("verified", result, render_verify.verified, as_json)
    if result.damaged:
        return 1
    return Partial.exit_code if result.unreadable or result.given_up else 0
