"""`hashall link`: looking, planning, reviewing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from hashall.commands.common import answer, catalog_options, json_option
from hashall.commands.link_options import (
    device_option,
    filter_options,
    library_options,
    opened_links,
    plan_options,
)
from hashall.commands.types import SIZE
from seedkeep import console


@click.command()
@device_option
@click.option(
    "--cross-device", is_flag=True, default=False, help="Also copies on other filesystems."
)
@click.option(
    "--min-size", type=SIZE, default="1", show_default=True, metavar="SIZE", help="Leave out less."
)
@click.option(
    "--limit",
    type=click.IntRange(0),
    default=20,
    show_default=True,
    metavar="N",
    help="Groups to show.",
)
@click.option(
    "--format", "form", type=click.Choice(["text", "json"]), default="text", help="How to answer."
)
@library_options
@catalog_options
@json_option
def analyze(
    *,
    device: str | None,
    cross_device: bool,
    min_size: int,
    limit: int,
    form: str,
    as_json: bool,
    **flags: Any,
) -> None:
    """Show what is there twice and what links would save.

    Reads the catalog only.
    """
    from hashall import render_link

    with opened_links(flags) as links:
        found = links.analyze(device, cross_device=cross_device, min_size=min_size, limit=limit)
        answer("link_analysis", found, render_link.analysis, as_json or form == "json")


@click.command()
@click.argument("name")
@device_option
@click.option(
    "--same-device/--no-same-device", default=True, help="Links on one filesystem (the default)."
)
@click.option(
    "--cross-device",
    is_flag=True,
    default=False,
    help="Also propose which copies on other filesystems could go.",
)
@filter_options
@click.option("--dry-run", "--dryrun", is_flag=True, default=False, help="Show it, keep nothing.")
@library_options
@catalog_options
@json_option
def plan(
    *,
    name: str,
    device: str | None,
    same_device: bool,
    cross_device: bool,
    dry_run: bool,
    as_json: bool,
    **flags: Any,
) -> None:
    """Decide what to link, and keep that as a plan.

    Changes no file.  The plan stays in the catalog until it is executed or cancelled.
    """
    from hashall import render_link

    options = plan_options(flags, same_device=same_device, cross_device=cross_device)
    with opened_links(flags) as links:
        if dry_run:
            view = links.preview(name, device, options)
            answer("link_plan", view, render_link.previewed, as_json)
        else:
            made = links.plan(name, device, options)
            answer("link_plan", links.show(made.plan_id, 20), render_link.planned, as_json)


@click.command(name="show-plan")
@click.argument("plan_id", type=int, metavar="PLAN")
@click.option(
    "--limit",
    type=click.IntRange(0),
    default=20,
    show_default=True,
    metavar="N",
    help="Actions to show.",
)
@catalog_options
@json_option
def show_plan(plan_id: int, limit: int, as_json: bool, **flags: Any) -> None:
    """Show a plan: totals and what saves most."""
    from hashall import render_link

    with opened_links(flags) as links:
        answer("link_plan", links.show(plan_id, limit), render_link.plan, as_json)


@click.command(name="list-plans")
@catalog_options
@json_option
def list_plans(as_json: bool, **flags: Any) -> None:
    """List all plans."""
    from hashall import render_link

    with opened_links(flags) as links:
        answer("link_plans", links.catalog.links.all(), render_link.plans, as_json)


@click.command()
@device_option
@catalog_options
@json_option
def status(device: str | None, as_json: bool, **flags: Any) -> None:
    """Tell how far everything is linked, and what plans wait."""
    from hashall import render_link

    with opened_links(flags) as links:
        answer("link_status", links.status(device), render_link.status, as_json)


@click.command()
@click.argument("plan_id", type=int, metavar="PLAN")
@catalog_options
@json_option
def approve(plan_id: int, as_json: bool, **flags: Any) -> None:
    """Note that you have looked at a plan and want it."""
    from hashall import render_link

    with opened_links(flags) as links:
        answer("link_plans", [links.approve(plan_id)], render_link.plans, as_json)


@click.command()
@click.argument("plan_id", type=int, metavar="PLAN")
@catalog_options
@json_option
def cancel(plan_id: int, as_json: bool, **flags: Any) -> None:
    """Close a plan: it will never be executed (any further).

    A run of it that is under way stops before its next files.
    """
    from hashall import render_link

    with opened_links(flags) as links:
        answer("link_plans", [links.cancel(plan_id)], render_link.plans, as_json)


@click.command()
@click.argument("plan_id", type=int, metavar="PLAN")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "html"]),
    default="text",
    show_default=True,
    help="html is one page that needs nothing else.",
)
@click.option(
    "--out",
    "-o",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A new file in place of stdout.",
)
@click.option(
    "--limit",
    type=click.IntRange(1),
    default=50,
    show_default=True,
    metavar="N",
    help="Rows of each list.",
)
@catalog_options
@json_option
def report(
    plan_id: int, form: str, out: Path | None, limit: int, as_json: bool, **flags: Any
) -> None:
    """Tell everything about a plan on one page."""
    from hashall import render_link, render_link_html
    from hashall.fsnew import new_file
    from seedkeep import clock

    with opened_links(flags) as links:
        value = links.report(plan_id, limit=limit, made_at=clock.iso(clock.now()))
        if as_json or form == "json":
            text = console.document_text("link_report", value)
        else:
            text = (render_link_html.page if form == "html" else render_link.report)(value)
    if out is None:
        if as_json or form == "json":
            console.emit_json("link_report", value)
        else:
            console.emit(text)
        return
    with new_file(out, "write the report") as file:
        file.write(text + "\n")
    console.note(f"written to {console.printable(str(out))}")
