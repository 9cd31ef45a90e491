"""`qbt-rules rules validate`, `list`, `reload`."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

import click

from qbt_rules.commands.common import (
    answer,
    json_option,
    rules_options,
    server_of,
    server_options,
    settings_of,
)
from seedkeep import console
from seedkeep.errors import Misused
from seedkeep.settings_cli import click_options
from seedkeep.settings_qbt_rules import CONFIG_DIR, QBT_RULES, RULES_FILE
from seedkeep.settings_table import LOG_LEVEL, QBIT_HOST, QBIT_PASSWORD, QBIT_TIMEOUT, QBIT_USERNAME

explain_options = click_options(
    QBT_RULES,
    CONFIG_DIR,
    RULES_FILE,
    QBIT_HOST,
    QBIT_USERNAME,
    QBIT_PASSWORD,
    QBIT_TIMEOUT,
    LOG_LEVEL,
)


@click.group()
def rules() -> None:
    """The rules file."""


@rules.command()
@rules_options
@json_option
def validate(as_json: bool, **flags: Any) -> None:
    """Check the rules file; every mistake is told with its line.

    Exit code 2: there are mistakes.
    """
    validate_rules(as_json, flags)


@rules.command("list")
@rules_options
@json_option
def list_rules(as_json: bool, **flags: Any) -> None:
    """List the rules in the order in which they run."""
    show_rules(as_json, flags)


@rules.command()
@server_options
@json_option
def reload(as_json: bool, **flags: Any) -> None:
    """Have the server read its rules file again, and tell what it thinks of it.

    Exit code 3: there are mistakes; the rules in force stay in force.
    """
    from qbt_rules import render

    answer("reloaded", server_of(flags).reload(), render.reloaded, as_json)


@click.command()
@click.argument("torrent", metavar="HASH")
@click.option("--context", metavar="NAME", help="Say which rules a job of this context would run.")
@click.option("--rule", metavar="NAME", help="Explain this rule only.")
@explain_options
@json_option
def explain(
    torrent: str, context: str | None, rule: str | None, as_json: bool, **flags: Any
) -> None:
    """Why each rule would or would not act on a torrent: what was seen, and what decided.

    Asks qBittorrent and the catalog itself, not the server.
    """
    explain_rules(torrent, as_json, flags, context=context, rule=rule)


@click.command()
def schema() -> None:
    """Print the rule language as a JSON schema, for editors."""
    import json

    from qbt_rules.language.schema import rules_schema

    console.emit(json.dumps(rules_schema(), indent=2))


def explain_rules(
    torrent: str,
    as_json: bool,
    flags: dict[str, Any],
    *,
    context: str | None = None,
    rule: str | None = None,
) -> None:
    from qbt_rules import render_explain
    from qbt_rules.serve import make_engine

    engine = make_engine(settings_of(flags))
    found = engine.explain(torrent.strip().lower(), context, rule)
    if rule is not None and not found:
        raise _no_such_rule(rule, settings_of(flags)[RULES_FILE])
    answer("explained", found, render_explain.explained, as_json)


def _no_such_rule(name: str, file: Path) -> Misused:
    from qbt_rules.language.rulefile import load_rules

    names = [rule.name for rule in load_rules(file).rules]
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]!r}?" if near else "qbt-rules rules list names them"
    return Misused(f"there is no rule {name!r}", hint=hint)


def validate_rules(as_json: bool, flags: dict[str, Any]) -> None:
    from qbt_rules import render
    from qbt_rules.language.rulefile import load_rules

    book = load_rules(settings_of(flags)[RULES_FILE])
    found = {"file": book.name, "rules": len(book.rules), "warnings": list(book.warnings)}
    answer("validated", found, render.validated, as_json)


def show_rules(as_json: bool, flags: dict[str, Any]) -> None:
    from qbt_rules import render
    from qbt_rules.language.rulefile import load_rules

    book = load_rules(settings_of(flags)[RULES_FILE])
    listed = [
        {
            "name": rule.name,
            "enabled": rule.enabled,
            "contexts": None if rule.contexts is None else sorted(rule.contexts),
            "actions": [action.type for action in rule.actions],
            "place": rule.place,
        }
        for rule in book.rules
    ]
    answer("rules", listed, render.rules, as_json)
