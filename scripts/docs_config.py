"""The settings as a page and as an example of a config file, from the declared table."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from seedkeep.settings import CONFIG_DIR_KEY, CONFIG_KEY, Setting, pointer_to_secret
from seedkeep.settings_cli import markdown_table
from seedkeep.settings_qbt_rules import QBT_RULES
from seedkeep.settings_table import HASHALL, REHOME, SETTINGS

# Values for settings that are empty by default, as YAML would have them.
EXAMPLES = {
    "rehome.stash_seeding_root": "/srv/stash/torrents/seeding",
    "rehome.pool_seeding_root": "/srv/pool/torrents/seeding",
    "rehome.library_roots": "[/srv/stash/media]",
    "rehome.path_map": "[{client: /data/torrents, ours: /srv/stash/torrents}]",
    "qbittorrent.instances": '{second: {host: "http://localhost:8081"}}',
    "server.base_url": "/qbt-rules",
    "server.trusted_proxies": "[172.16.0.0/12]",
    "queue.redis_url": "redis://localhost:6379/0",
    "schedule": '[{cron: "0 4 * * *", context: scheduled}, {every: 6h, context: cleanup}]',
}
# These say where the file is, and so stand outside it.
NOT_IN_THE_FILE = (CONFIG_KEY, CONFIG_DIR_KEY)
HEAD = """\
# Settings of hashall and rehome (put this file at ~/.hashall/config.yml) and of qbt-rules (at
# /config/config.yml, or in the folder that --config-dir names).  One file may serve all three.
#
# Generated from the table of settings by scripts/docs.py.  Each line that is commented out shows
# the default; remove the # to set another value.
# A flag wins over the environment, and the environment over this file: docs/tooling/settings.md.
# For each variable NAME, NAME_FILE may hold the path of a file with the value.
"""


def settings_table() -> str:
    only = [s.key for s in SETTINGS if REHOME in s.programs and HASHALL not in s.programs]
    names = ", ".join(f"`{key}`" for key in only)
    return f"{markdown_table(REHOME)}\nOnly `rehome` uses {names}."


def qbt_rules_table() -> str:
    return markdown_table(QBT_RULES)


def example() -> str:
    """A config file in which everything is commented out; as it is, it changes nothing."""
    sections: dict[str, list[Setting[Any]]] = {}
    for row in SETTINGS:
        if row.key not in NOT_IN_THE_FILE:
            sections.setdefault(row.key.partition(".")[0], []).append(row)
    lines = [HEAD]
    for section, settings in sections.items():
        if section == settings[0].key:
            lines += [*_lines(settings[0]), ""]
            continue
        lines.append(f"{section}:")
        for setting in settings:
            lines += [f"  {line}" for line in _lines(setting)]
            lines.append("")
    return "\n".join(lines).rstrip("\n") + "\n"


def _lines(setting: Setting[Any]) -> Iterator[str]:
    yield f"# {setting.help}"
    if setting.env:
        yield f"# Also: {', '.join([*setting.env, *setting.flags[:1]])}"
    if setting.secret:
        pointer = pointer_to_secret(setting)[-1]
        yield (
            "# Better in a file of its own that only you can read:"
            f" {setting.env[-1]}_FILE=FILE, or here `{pointer}: FILE`"
        )
    if setting.key in EXAMPLES:
        yield "# There is no default; for example:"
    name = setting.key.rpartition(".")[2]
    yield f"#{name}: {EXAMPLES.get(setting.key) or _scalar(setting)}"


def _scalar(setting: Setting[Any]) -> str:
    shown = setting.shown(setting.default)
    return shown or json.dumps("")
