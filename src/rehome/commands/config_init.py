"""`rehome config init`."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import click

from rehome.commands.common import PROGRAM, answer, catalog_options, json_option
from seedkeep import first_run
from seedkeep.settings_cli import click_options
from seedkeep.settings_table import (
    CATALOG_PATH,
    CONFIG_FILE,
    LIBRARY_ROOTS,
    PATH_MAP,
    POOL_SEEDING_ROOT,
    QBIT_HOST,
    QBIT_USERNAME,
    STASH_SEEDING_ROOT,
)

if TYPE_CHECKING:
    from rehome.config_draft import Choices
    from seedkeep.settings import Settings

init_options = click_options(
    PROGRAM,
    QBIT_HOST,
    QBIT_USERNAME,
    STASH_SEEDING_ROOT,
    POOL_SEEDING_ROOT,
    LIBRARY_ROOTS,
    PATH_MAP,
)


@click.command()
@catalog_options
@init_options
@click.option(
    "--yes", is_flag=True, default=False, help="Take what was found without doubt; ask nothing."
)
@click.option("--offline", is_flag=True, default=False, help="Do not ask qBittorrent.")
@click.option(
    "--force", is_flag=True, default=False, help="Replace a config file; the old one stays as .old."
)
@json_option
def init(as_json: bool, yes: bool, offline: bool, force: bool, **flags: Any) -> None:
    """Write a first config file from what qBittorrent and the mounts show.

    Takes flags, and asks for what they leave open when there is a terminal; without one it asks
    nothing, and what it found stands in the file as comments.  Exit code 3: there is a config file.
    """
    from rehome import first_config

    settings = _read(flags)
    first_run.refuse_existing(settings.get(CONFIG_FILE), force)
    asking = first_run.can_ask() and not yes
    around = first_config.look_around(
        settings, settings.get(PATH_MAP), offline=offline, asking=asking
    )
    chosen = _with_flags(first_config.choices(settings, around), settings)
    if asking:
        for remark in first_config.remarks(around.found, chosen):
            click.echo(remark, err=True)
        chosen = first_config.ask_roots(chosen, around.found)
    elif yes:
        chosen = first_config.take_suggested(chosen, around.found)
    answer("initialised", _write(settings, around, chosen, force), first_run.text, as_json)


def _read(flags: dict[str, Any]) -> Settings:
    from seedkeep import logs
    from seedkeep.settings import load

    settings = load(PROGRAM, flags, files=False)
    logs.set_up("WARNING", secrets=settings.secrets())
    return settings


def _with_flags(chosen: Choices, settings: Settings) -> Choices:
    from dataclasses import replace

    default = settings.origin(CATALOG_PATH) == "default"
    return replace(
        chosen,
        catalog=None if default else settings.get(CATALOG_PATH),
        stash=settings.get(STASH_SEEDING_ROOT),
        pool=settings.get(POOL_SEEDING_ROOT),
        libraries=settings.get(LIBRARY_ROOTS),
        path_map=settings.get(PATH_MAP),
    )


def _write(settings: Settings, around: Any, chosen: Choices, force: bool) -> first_run.Initialised:
    from rehome import config_draft, first_config
    from rehome.config import layout_from
    from seedkeep.settings import load

    target = settings.get(CONFIG_FILE)
    roots = {
        STASH_SEEDING_ROOT.key: chosen.stash and str(chosen.stash),
        POOL_SEEDING_ROOT.key: chosen.pool and str(chosen.pool),
        LIBRARY_ROOTS.key: tuple(map(str, chosen.libraries)),
    }
    if chosen.stash and chosen.pool:
        layout_from(load(PROGRAM, roots, files=False))  # overlaps are refused before writing
    beside = first_config.beside(config_draft.suggest(around.found), chosen)
    files = [
        first_run.NewFile(target, config_draft.config_text(around.found, chosen, beside)),
    ]
    if chosen.password_file:
        password = target.with_name(chosen.password_file)
        files.append(first_run.secret_file(password, around.login.password))
    written, kept = first_run.write_files(files, force)
    load(PROGRAM, {CONFIG_FILE.key: str(target)})
    remarks = (*first_config.remarks(around.found, chosen), *first_config.not_there(chosen))
    return first_run.Initialised(written, kept, remarks, _next(settings, chosen))


def _next(settings: Settings, chosen: Choices) -> tuple[str, ...]:
    target = settings.get(CONFIG_FILE)
    paths = [str(path) for path in (chosen.stash, chosen.pool, *chosen.libraries) if path]
    roots = shlex.join(paths) or "PATH…"
    default = settings.origin(CONFIG_FILE) == "default"
    steps = [] if default else [f"export HASHALL_CONFIG={shlex.quote(str(target))}"]
    if not (chosen.stash and chosen.pool):
        steps.append(f"edit {target}: stash_seeding_root, pool_seeding_root, library_roots")
    return (
        *steps,
        f"hashall doctor {roots}",
        f"hashall scan {roots}",
        "hashall payload sync",
        "rehome config check",
    )
