"""`rehome config …`."""

from __future__ import annotations

from typing import Any

import click

from rehome.commands.common import answer, catalog_options, json_option, opened, world_options
from rehome.commands.config_init import init
from seedkeep.errors import Refused


@click.group()
def config() -> None:
    """The configuration: what it is, and whether it fits."""


config.add_command(init)


@config.command()
@catalog_options
@world_options
@json_option
def show(as_json: bool, **flags: Any) -> None:
    """Show every setting with where it comes from; secrets are hidden."""
    from rehome import render_report

    with opened(flags) as app:
        answer("settings", app.settings.rows(), render_report.settings, as_json)


@config.command()
@catalog_options
@world_options
@json_option
def check(as_json: bool, **flags: Any) -> int:
    """Hold roots, save-path rules, categories and the path map against the real inventory.

    Says for each rule how many torrents it fits and where they would go.  Changes nothing.  Ends
    with 3 when torrents could not be moved like this.
    """
    from rehome import render_report

    with opened(flags) as app:
        made = app.check_config()
    answer("config_check", made, render_report.config_check, as_json)
    return 0 if made.is_sound else Refused.exit_code
