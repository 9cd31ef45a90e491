"""`qbt-rules init`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from qbt_rules.commands.common import answer, json_option
from seedkeep import first_run
from seedkeep.settings import CONFIG_NAME
from seedkeep.settings_cli import click_options
from seedkeep.settings_qbt_rules import (
    CONFIG_DIR,
    QBT_RULES,
    RULES_FILE,
    SERVER_API_KEY,
    SERVER_HOST,
    SERVER_PORT,
)
from seedkeep.settings_table import QBIT_HOST, QBIT_PASSWORD, QBIT_USERNAME

if TYPE_CHECKING:
    from qbt_rules.seed_data_init import Around, Choices
    from seedkeep.settings import Settings

KEY_BYTES = 32
init_options = click_options(
    QBT_RULES, CONFIG_DIR, QBIT_HOST, QBIT_USERNAME, QBIT_PASSWORD, SERVER_HOST, SERVER_PORT
)


@click.command()
@init_options
@click.option(
    "--yes", is_flag=True, default=False, help="Take what was found without doubt; ask nothing."
)
@click.option("--offline", is_flag=True, default=False, help="Do not ask qBittorrent.")
@click.option(
    "--force",
    is_flag=True,
    default=False,
    help="Replace config file and rules; the old ones stay as .old, and the API key stays.",
)
@json_option
def init(as_json: bool, yes: bool, offline: bool, force: bool, **flags: Any) -> None:
    """Write a first config file, rules and an API key from what qBittorrent and the mounts show.

    Takes flags, and asks for what they leave open when there is a terminal; without one it asks
    nothing.  Rules and a key that are there are kept.  Exit code 3: there is a config file.
    """
    from qbt_rules import seed_data_init

    settings = _read(flags)
    first_run.refuse_existing(settings[CONFIG_DIR] / CONFIG_NAME, force)
    asking = first_run.can_ask() and not yes
    around = seed_data_init.look_around(settings, offline=offline, asking=asking)
    chosen = seed_data_init.choices(settings, around)
    if yes:
        chosen = seed_data_init.take_suggested(chosen, around.found)
    answer("initialised", _write(settings, around, chosen, force), first_run.text, as_json)


def _read(flags: dict[str, Any]) -> Settings:
    from seedkeep import logs
    from seedkeep.settings import load

    before: dict[str, Any] = click.get_current_context().obj or {}
    given = {name: value for name, value in flags.items() if value not in (None, ())}
    settings = load(QBT_RULES, {**before, **given}, files=False)
    logs.set_up("WARNING", secrets=settings.secrets())
    return settings


def _write(
    settings: Settings, around: Around, chosen: Choices, force: bool
) -> first_run.Initialised:
    import secrets

    from qbt_rules import first_files, seed_data_init
    from qbt_rules.language.rulefile import load_rules
    from seedkeep.settings import load

    folder, found = settings[CONFIG_DIR], around.found
    key_from = settings.origin(SERVER_API_KEY) if settings[SERVER_API_KEY] else ""
    config = first_files.config_text(found, chosen, settings, key_from)
    files = [first_run.NewFile(folder / CONFIG_NAME, config)]
    rules = settings[RULES_FILE]
    files.append(first_run.NewFile(rules, first_files.rules_text(found)))
    if not key_from:
        key = secrets.token_hex(KEY_BYTES)
        path = folder / first_files.KEY_FILE
        files.append(first_run.NewFile(path, f"{key}\n", secret=True, keep=True))
    if chosen.password_file:
        path = folder / chosen.password_file
        files.append(first_run.secret_file(path, around.login.password))
    written, kept = first_run.write_files(files, force)
    written_settings = load(QBT_RULES, {CONFIG_DIR.key: str(folder)})
    if rules in written:
        load_rules(rules)
    remarks = (*seed_data_init.remarks(found), *_hook_remarks(written_settings))
    return first_run.Initialised(written, kept, remarks, _next(settings))


def _hook_remarks(settings: Settings) -> tuple[str, ...]:
    from qbt_rules.hooks import hook_line
    from seedkeep.settings_qbt_rules import CLIENT_SERVER_URL

    origin = settings.origin(SERVER_API_KEY)
    line = hook_line(settings[CLIENT_SERVER_URL], "on_added")
    return (
        f"qBittorrent, Downloads, run on torrent added: {line}",
        f"KEY is in {origin.partition(' (')[2].rstrip(')') or origin}",
    )


def _next(settings: Settings) -> tuple[str, ...]:
    import shlex

    folder = shlex.quote(str(settings[CONFIG_DIR]))
    default = settings.origin(CONFIG_DIR) == "default"
    first = () if default else (f"export QBT_RULES_CONFIG_DIR={folder}",)
    return (*first, "qbt-rules doctor", "qbt-rules --serve")
