"""`qbt-rules serve`, `stats`, `health` and `config show`."""

from __future__ import annotations

from typing import Any

import click

from qbt_rules.commands.common import (
    all_options,
    answer,
    json_option,
    server_of,
    server_options,
    settings_loader,
    settings_of,
)


@click.command()
@all_options
def serve(**flags: Any) -> int:
    """Run the server: the HTTP API, the queue, and the worker that runs the rules."""
    return run_server(flags)


@click.command()
@server_options
@json_option
def stats(as_json: bool, **flags: Any) -> None:
    """Show how many jobs there are and how long they take."""
    show_stats(as_json, flags)


@click.command()
@server_options
@json_option
def health(as_json: bool, **flags: Any) -> int:
    """Show whether the server has what a job needs.

    Exit code 5: something is missing.
    """
    from qbt_rules import render
    from seedkeep.errors import Unreachable

    found = server_of(flags).health()
    answer("health", found, render.health, as_json)
    return Unreachable.exit_code if found["status"] != "healthy" else 0


@click.group()
def config() -> None:
    """The settings of this program."""


@config.command("show")
@all_options
@json_option
def show_config(as_json: bool, **flags: Any) -> None:
    """Show every setting, its value, and where it was read; secrets are hidden."""
    show_settings(as_json, flags)


def run_server(flags: dict[str, Any]) -> int:
    from qbt_rules.serve import serve as serve_until_stopped

    return serve_until_stopped(settings_of(flags), settings_loader(flags))


def show_stats(as_json: bool, flags: dict[str, Any]) -> None:
    from qbt_rules import render

    answer("stats", server_of(flags).stats(), render.stats, as_json)


def show_settings(as_json: bool, flags: dict[str, Any]) -> None:
    from qbt_rules import render

    answer("settings", settings_of(flags).rows(), render.settings, as_json)
