"""`hashall link …`, and `hashall conductor …`, its name in the past."""

from __future__ import annotations

from typing import Any

import click

from seedkeep import console
from seedkeep.lazy_group import LazyGroup

_PLANS = ("analyze", "plan", "show-plan", "list-plans", "status", "approve", "cancel", "report")
_RUNS = ("execute", "auto")
COMMANDS = {
    **{name: f"hashall.commands.link_plans:{name.replace('-', '_')}" for name in _PLANS},
    **{name: f"hashall.commands.link_run:{name}" for name in _RUNS},
}


@click.group(cls=LazyGroup, lazy=COMMANDS)
def link() -> None:
    """Turn duplicates into hardlinks: analyze, plan, review, execute."""


@click.command(
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="COMMAND…")
def conductor(words: tuple[str, ...]) -> Any:
    """The old name of `hashall link`: does the same, and says so."""
    console.note("note: `hashall conductor` is called `hashall link` now")
    with link.make_context("hashall link", list(words)) as context:
        return link.invoke(context)
