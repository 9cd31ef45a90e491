"""What every command of qbt-rules shares: its options, the server to ask, giving an answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from seedkeep import console
from seedkeep.settings_cli import click_options
from seedkeep.settings_qbt_rules import (
    CLIENT_API_KEY,
    CLIENT_SERVER_URL,
    CLIENT_TIMEOUT,
    CONFIG_DIR,
    QBT_RULES,
    RULES_FILE,
)
from seedkeep.settings_table import LOG_LEVEL

if TYPE_CHECKING:
    from qbt_rules.client import ServerClient
    from seedkeep.settings import Settings

PROGRAM = QBT_RULES
all_options = click_options(PROGRAM)
server_options = click_options(
    PROGRAM, CONFIG_DIR, CLIENT_SERVER_URL, CLIENT_API_KEY, CLIENT_TIMEOUT, LOG_LEVEL
)
rules_options = click_options(PROGRAM, CONFIG_DIR, RULES_FILE, LOG_LEVEL)
json_option = click.option(
    "--json", "as_json", is_flag=True, default=False, help="One JSON document on stdout."
)


def settings_of(flags: dict[str, Any]) -> Settings:
    """The settings, with flags of the command before those in front of it; logging is set up."""
    from seedkeep import logs

    settings = settings_loader(flags)()
    logs.set_up(settings[LOG_LEVEL], secrets=settings.secrets())
    return settings


def settings_loader(flags: dict[str, Any]) -> Callable[[], Settings]:
    """Reads the settings of this command line, now and later."""
    from qbt_rules.config import load_settings

    before: dict[str, Any] = click.get_current_context().obj or {}
    given = {name: value for name, value in flags.items() if value not in (None, ())}
    return lambda: load_settings({**before, **given})


def server_of(flags: dict[str, Any]) -> ServerClient:
    from qbt_rules.client import ServerClient
    from qbt_rules.config import client_key

    settings = settings_of(flags)
    return ServerClient(
        settings[CLIENT_SERVER_URL],
        client_key(settings),
        timeout_s=settings[CLIENT_TIMEOUT].total_seconds(),
    )


def answer(kind: str, value: Any, text: Callable[[Any], str], as_json: bool) -> None:
    if as_json:
        console.emit_json(kind, value)
    else:
        console.emit(text(value))
