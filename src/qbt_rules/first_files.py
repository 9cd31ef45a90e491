"""The first config file and the first rules.  Pure: opens nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from qbt_rules.seed_data_init import (
    Choices,
    Survey,
    beside,
    catalog_lines,
    qbittorrent_lines,
    rehome_lines,
    scalar,
    suggest,
)
from seedkeep.settings import Setting, Settings
from seedkeep.settings_qbt_rules import (
    CLIENT_SERVER_URL,
    QUEUE_CLEANUP_AFTER,
    SERVER_HOST,
    SERVER_PORT,
)
from seedkeep.text import printable

KEY_FILE = "api-key"
MOST_CATEGORIES = 20

_HEAD = """\
# Settings of qbt-rules, begun by `qbt-rules init` and yours from now on.  A flag wins over the
# environment, and the environment over this file.  Every setting is in docs/tooling/settings.md;
# what is commented out is a default or an example.  For hashall and rehome this file serves as
# well: HASHALL_CONFIG has to name it."""

_SCHEDULE = """\
# Jobs that start by themselves; rules with `context: scheduled` run in them.
#schedule:
#  - {name: night, cron: "0 4 * * *", context: scheduled}"""

_RULES = """\
# Rules of qbt-rules, begun by `qbt-rules init` and yours from now on.  docs/rules.md teaches the
# language by ten recipes.  After a change:
#   qbt-rules rules validate                             every mistake with its line
#   qbt-rules --context on_added --dry-run --wait        what would be done
# The server reads this file again before a job when it has changed.

rules:
  # Marks what qBittorrent adds: it shows that the hook works, and does nothing else.
  - name: tag what is new
    conditions: {{context: on_added}}
    actions:
      - {{type: add_tag, params: {{tag: new}}}}

  # The rest is off: change what you like in it, then set `enabled: true`.

  # Takes the mark away after a week.
  - name: not new any more
    enabled: false
    conditions:
      context: scheduled
      all:
        - {{field: info.tags, operator: "==", value: new}}
        - {{field: info.added_on, operator: older_than, value: 7 days}}
    actions:
      - {{type: remove_tag, params: {{tag: new}}}}

  # {categories_said}
  - name: shared long enough
    enabled: false
    conditions:
      context: scheduled
      all:
        - {{field: info.category, operator: in, value: {categories}}}
        - {{field: info.completion_on, operator: older_than, value: 30 days}}
        - {{field: info.ratio, operator: ">=", value: 2.0}}
    actions:
      - {{type: add_tag, params: {{tag: shared-enough}}}}

  # Moves from stash to pool what only seeds.  Needs a catalog (hashall scan, hashall payload sync)
  # and both seeding roots; `rehome report` tells beforehand what would go.
  - name: seed-only content goes to the pool
    enabled: false
    conditions:
      context: scheduled
      all:
        - {{field: links.outside, operator: "==", value: 0}}
        - {{field: links.verdict, operator: "==", value: proved}}
        - {{field: payload.residency, operator: "==", value: stash}}
        - {{field: info.completion_on, operator: older_than, value: 14 days}}
    actions:
      - {{type: rehome_demote, params: {{retain: 24h}}}}
"""


def config_text(found: Survey, chosen: Choices, settings: Settings, key_from: str) -> str:
    """The config file.

    Args:
        key_from: Where the API key comes from, when that is not the file beside this one.
    """
    guess = suggest(found)
    parts: Sequence[Iterator[str] | tuple[str, ...]] = (
        (_HEAD,),
        qbittorrent_lines(found, chosen),
        _server_lines(settings, key_from),
        _client_lines(settings),
        _queue_lines(),
        (_SCHEDULE,),
        catalog_lines(chosen),
        rehome_lines(found, chosen, beside(guess, chosen)),
    )
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def _server_lines(settings: Settings, key_from: str) -> Iterator[str]:
    yield "server:"
    address: tuple[Setting[Any], ...] = (SERVER_HOST, SERVER_PORT)
    for setting in address:
        yield from _line(setting, settings)
    yield "  # Who calls has to know this key; the file is read by its owner only."
    if key_from:
        yield f"  # It comes from {printable(key_from)}."
    else:
        yield f"  api_key_file: {KEY_FILE}"


def _client_lines(settings: Settings) -> Iterator[str]:
    yield "client:"
    yield f"  # {CLIENT_SERVER_URL.help}"
    port = settings[SERVER_PORT]
    url = CLIENT_SERVER_URL.default.replace(str(SERVER_PORT.default), str(port))
    yield f"  {'#' if url == CLIENT_SERVER_URL.default else ''}server_url: {url}"


def _line(setting: Setting[Any], settings: Settings) -> Iterator[str]:
    given = settings.origin(setting) != "default"
    yield f"  # {setting.help}"
    value = scalar(setting.shown(settings[setting]))
    yield f"  {'' if given else '#'}{setting.key.rpartition('.')[2]}: {value}"


def _queue_lines() -> Iterator[str]:
    yield "queue:"
    yield f"  # {QUEUE_CLEANUP_AFTER.help}"
    yield f"  #cleanup_after: {QUEUE_CLEANUP_AFTER.shown(QUEUE_CLEANUP_AFTER.default)}"


def rules_text(found: Survey) -> str:
    """The rules file: one rule that is on, and some to begin with."""
    names = found.categories[:MOST_CATEGORIES]
    said = (
        "Marks what was shared long enough, in the categories that qBittorrent has."
        if names
        else "Marks what was shared long enough; put your categories here."
    )
    listed = ", ".join(_quoted(name) for name in names or ("films", "series"))
    return _RULES.format(categories_said=said, categories=f"[{listed}]")


def _quoted(name: str) -> str:
    return json.dumps(name, ensure_ascii=False)
