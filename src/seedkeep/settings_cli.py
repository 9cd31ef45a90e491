"""The table of settings as click options and as a page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from seedkeep.settings import Setting
from seedkeep.settings_qbt_rules import QBT_RULES
from seedkeep.settings_table import SETTINGS

F = TypeVar("F", bound=Callable[..., Any])


def click_options(program: str, *settings: Setting[Any]) -> Callable[[F], F]:
    """Decorator: one option for each of `settings` that has a flag; all of `program` without any.

    The parameter is named `Setting.param` and is None (or ()) when the flag was not given; pass
    them all to `seedkeep.settings.load`.
    """
    chosen = settings or tuple(row for row in SETTINGS if program in row.programs)
    strangers = [row.key for row in chosen if program not in row.programs]
    if strangers:
        raise ValueError(f"{program} has no setting {', '.join(strangers)}")

    def decorate(function: F) -> F:
        for setting in reversed([row for row in chosen if row.flags_of(program)]):
            option = click.option(
                *setting.flags_of(program),
                setting.param,
                default=None,
                multiple=setting.multiple,
                metavar=setting.metavar,
                help=option_help(setting, program),
            )
            function = option(function)
        return function

    return decorate


def option_help(setting: Setting[Any], program: str) -> str:
    """Meaning, environment variable and default in one line."""
    default = setting.shown(setting.default)
    # Some rows are shared and have a name for either family; show the one that fits the program.
    family = "QBT_RULES_" if program == QBT_RULES else ("HASHALL_", "REHOME_")
    names = sorted(setting.env, key=lambda name: not name.startswith(family))
    notes = [f"env: {names[0]}"] if names else []
    notes += [f"default: {default}"] if default else []
    if setting.secret and names:
        notes.append(f"better in a file: {names[0]}_FILE, because others can read a command line")
    return f"{setting.help}  [{'; '.join(notes)}]" if notes else setting.help


def markdown_table(program: str) -> str:
    """The settings of `program` as a Markdown table, for the page that is generated from it."""
    lines = [
        "| setting | environment | flag | default | meaning |",
        "|---|---|---|---|---|",
    ]
    for setting in SETTINGS:
        if program not in setting.programs:
            continue
        cells = (
            f"`{setting.key}`",
            ", ".join(f"`{name}`" for name in setting.env),
            ", ".join(f"`{flag}`" for flag in setting.flags_of(program)),
            f"`{shown}`" if (shown := setting.shown(setting.default)) else "",
            setting.help.replace("|", "\\|"),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
