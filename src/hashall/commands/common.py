"""What every command of hashall shares: its options, opening the catalog, giving an answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from seedkeep import console
from seedkeep.settings_cli import click_options
from seedkeep.settings_table import (
    CATALOG_PATH,
    CONFIG_FILE,
    LOG_LEVEL,
    PATH_MAP,
    QBIT_HOST,
    QBIT_USERNAME,
)

if TYPE_CHECKING:
    from hashall.app import App

PROGRAM = "hashall"
catalog_options = click_options(PROGRAM, CONFIG_FILE, CATALOG_PATH, LOG_LEVEL)
client_options = click_options(PROGRAM, QBIT_HOST, QBIT_USERNAME, PATH_MAP)
json_option = click.option(
    "--json", "as_json", is_flag=True, default=False, help="One JSON document on stdout."
)


@contextmanager
def opened(flags: dict[str, Any]) -> Iterator[App]:
    from hashall.app import App
    from seedkeep import logs
    from seedkeep.settings import load

    settings = load(PROGRAM, flags)
    logs.set_up(settings.get(LOG_LEVEL), secrets=settings.secrets())
    app = App(settings)
    try:
        yield app
    finally:
        app.close()


def answer(kind: str, value: Any, text: Callable[[Any], str], as_json: bool) -> None:
    if as_json:
        console.emit_json(kind, value)
    else:
        console.emit(text(value))
