"""The manual pages, one for each program, from the commands and the table of settings."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import click

import seedkeep
from scripts import docs_cli
from scripts.docs_cli import Documented
from seedkeep.settings import Setting
from seedkeep.settings_table import SETTINGS

HEAD = '.\\" Generated from the commands by scripts/docs.py; do not edit.'
# Characters that troff would change, and the way to write them.
_ESCAPES = {"\\": "\\e", "-": "\\-", "'": "\\(aq", "`": "\\(ga", "^": "\\(ha", "~": "\\(ti"}
_ESCAPED = re.compile(r"[\\\-'`^~]|[^\x00-\x7f]")
_FILES = {
    "~/.hashall/config.yml": "The config file of hashall and rehome (HASHALL_CONFIG).",
    "~/.hashall/catalog.db": "The catalog (HASHALL_DB).",
    "/config": "The folder of qbt-rules (QBT_RULES_CONFIG_DIR): config.yml, rules.yml, the queue.",
}


def page(program: str) -> str:
    """The page of section 1 for one program, as man(7) macros."""
    command = docs_cli.PROGRAMS[program]
    about = docs_cli.help_of(command).split("\n\n")
    source = quoted(f"seedkeep {seedkeep.__version__}")
    lines = [
        HEAD,
        f'.TH {quoted(program.upper())} 1 "" {source} "seedkeep"',
        ".SH NAME",
        f"{text(program)} \\- {text(about[0].rstrip('.'))}",
        ".SH SYNOPSIS",
        f".B {text(program)}",
        "[OPTION].\\|.\\|. COMMAND [ARGUMENT].\\|.\\|.",
        ".SH DESCRIPTION",
        *paragraphs(about),
        ".SH COMMANDS",
    ]
    for item in docs_cli.all_commands():
        if item.call.partition(" ")[0] == program:
            lines += command_lines(item)
    lines += [".SH FLAGS FOR SETTINGS", *flag_lines(program)]
    lines += [".SH ENVIRONMENT", *environment_lines(program)]
    lines += [".SH FILES", *tagged(_FILES.items())]
    lines += [".SH EXIT STATUS"]
    lines += tagged((str(code), f"{meaning}.") for code, meaning in docs_cli.MEANINGS.items())
    others = [name for name in docs_cli.PROGRAMS if name != program]
    lines += [".SH SEE ALSO", ", ".join(f"\\fB{text(name)}\\fR(1)" for name in others)]
    return "\n".join(lines) + "\n"


def command_lines(item: Documented) -> Iterator[str]:
    arguments = [p for p in item.command.params if isinstance(p, click.Argument)]
    yield f".SS {quoted(' '.join([item.call, *map(docs_cli.argument_of, arguments)]))}"
    if item.call in docs_cli.PROGRAMS:  # its help is the description of the page
        yield "Without a command:"
    else:
        yield from paragraphs(docs_cli.help_of(item.command).split("\n\n"))
    own, shared = docs_cli.own_and_shared(item.command)
    yield from tagged((spelled(option), option_help(option)) for option in own)
    if shared:
        yield ".PP"
        yield text(f"Settings as flags: {', '.join(option.opts[0] for option in shared)}.")


def spelled(option: click.Option) -> str:
    value = docs_cli.value_of(option).replace("\\|", "|")
    return ", ".join(option.opts) + (f" {value}" if value else "")


def option_help(option: click.Option) -> str:
    default = option.show_default and option.default is not None
    return " ".join([option.help or "", *([f"Default: {option.default}."] if default else [])])


def flag_lines(program: str) -> list[str]:
    return tagged(
        (f"{', '.join(row.flags_of(program))} {row.metavar}", row.help)
        for row in rows(program)
        if row.flags_of(program)
    )


def environment_lines(program: str) -> list[str]:
    first = (
        "Flags win over these, and these over the config file. For each NAME below, NAME_FILE may"
        " hold the path of a file with the value."
    )
    return [
        text(first),
        *tagged((", ".join(row.env), row.help) for row in rows(program) if row.env),
    ]


def rows(program: str) -> list[Setting[object]]:
    return [row for row in SETTINGS if program in row.programs]


def tagged(pairs: Iterable[tuple[str, str]]) -> list[str]:
    """A list of terms, each with what it means."""
    lines: list[str] = []
    for term, meaning in pairs:
        lines += [".TP", f"\\fB{text(term)}\\fR", text(meaning) or "\\&"]
    return lines


def paragraphs(said: list[str]) -> list[str]:
    return [line for paragraph in said for line in (".PP", text(paragraph))][1:]


def text(plain: str) -> str:
    """Prose on one input line; nothing in it is taken for a request or changed by troff."""
    escaped = _ESCAPED.sub(lambda found: _escape(found[0]), " ".join(plain.split()))
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped


def _escape(char: str) -> str:
    return _ESCAPES.get(char) or f"\\[u{ord(char):04X}]"


def quoted(plain: str) -> str:
    """An argument of a macro."""
    return '"' + text(plain).replace('"', "\\(dq") + '"'
