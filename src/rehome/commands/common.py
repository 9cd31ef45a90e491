"""What every command of rehome shares: its options, opening the catalog, giving an answer."""

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
    LIBRARY_ROOTS,
    LOG_LEVEL,
    MAX_SCAN_AGE,
    MIN_AGE,
    PATH_MAP,
    POOL_SEEDING_ROOT,
    QBIT_HOST,
    QBIT_USERNAME,
    SPACE_MARGIN,
    STASH_SEEDING_ROOT,
)

if TYPE_CHECKING:
    from rehome.app import App

PROGRAM = "rehome"
catalog_options = click_options(PROGRAM, CONFIG_FILE, CATALOG_PATH, LOG_LEVEL)
world_options = click_options(
    PROGRAM,
    QBIT_HOST,
    QBIT_USERNAME,
    STASH_SEEDING_ROOT,
    POOL_SEEDING_ROOT,
    LIBRARY_ROOTS,
    PATH_MAP,
    MAX_SCAN_AGE,
    SPACE_MARGIN,
)
age_option = click_options(PROGRAM, MIN_AGE)
json_option = click.option(
    "--json", "as_json", is_flag=True, default=False, help="One JSON document on stdout."
)


@contextmanager
def opened(flags: dict[str, Any]) -> Iterator[App]:
    from rehome.app import App
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
