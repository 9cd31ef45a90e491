"""`rehome runs …`."""

from __future__ import annotations

from typing import Any

import click

from rehome.commands.common import catalog_options, json_option, opened
from seedkeep import console


@click.group()
def runs() -> None:
    """What was moved, when, why and by whom."""


@runs.command(name="list")
@catalog_options
@json_option
def list_runs(as_json: bool, **flags: Any) -> None:
    """List all runs."""
    from rehome import render_runs

    with opened(flags) as app:
        rows = app.runs()
    if as_json:
        console.emit_json("runs", rows)
    else:
        console.emit(render_runs.runs(rows))


@runs.command()
@click.argument("run_id", metavar="RUN", type=int)
@catalog_options
@json_option
def show(run_id: int, as_json: bool, **flags: Any) -> None:
    """Show one run with every step and its times."""
    from rehome import render_runs

    with opened(flags) as app:
        view = app.run(run_id)
    if as_json:
        console.emit_json("run", render_runs.run_json(view))
    else:
        console.emit(render_runs.run(view))
