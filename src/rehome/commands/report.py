"""`rehome report` and `rehome explain`."""

from __future__ import annotations

from typing import Any

import click

from rehome.commands.common import (
    age_option,
    answer,
    catalog_options,
    json_option,
    opened,
    world_options,
)
from seedkeep import console


@click.command()
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "html"]),
    default="text",
    show_default=True,
    help="html is one page that needs nothing else.",
)
@catalog_options
@world_options
@age_option
@json_option
def report(form: str, as_json: bool, **flags: Any) -> None:
    """Show what may go to the pool or come back, what may not and why, and what lies on both.

    Changes nothing.
    """
    from rehome import render_html, render_report

    with opened(flags) as app:
        made = app.report()
    if form == "html" and not as_json:
        console.emit(render_html.page(made))
    else:
        answer("report", made, render_report.report, as_json or form == "json")


@click.command()
@click.argument("torrent", metavar="HASH")
@catalog_options
@world_options
@age_option
@json_option
def explain(torrent: str, as_json: bool, **flags: Any) -> None:
    """Say why a torrent is where it is, and what would change that.  Changes nothing."""
    from rehome import render_report

    with opened(flags) as app:
        answer("explanation", app.explain(torrent), render_report.explanation, as_json)
