"""The commands, exit codes and error codes of the programs as Markdown, read from the code."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass

import click

import hashall.cli
import qbt_rules.cli
import rehome.cli
from seedkeep.errors import SeedError
from seedkeep.settings_table import SETTINGS

PACKAGES = ("seedkeep", "hashall", "rehome", "qbt_rules")
PROGRAMS: dict[str, click.Command] = {
    "hashall": hashall.cli.cli,
    "rehome": rehome.cli.cli,
    "qbt-rules": qbt_rules.cli.cli,
}
BY_FLAG = {setting.param: setting for setting in SETTINGS if setting.flags}
# What a script has to know about each code; the classes say which errors end with it.
MEANINGS = {
    0: "done, or there was nothing to do",
    1: "failure: the detail says of what; for `doctor`: something has to be changed",
    2: "a flag, a setting, a path or a file that was given is wrong; nothing was changed",
    3: "policy or proof said no (a plan is blocked or stale, a promise would be broken);"
    " nothing was changed",
    4: "a part was done, or all of it was taken back; the message says which",
    5: "qBittorrent or the qbt-rules server did not answer or did not let us in; for `health`:"
    " something is missing",
    75: "another run holds the catalog; the same command works later",
    129: "the terminal was closed (SIGHUP)",
    130: "Ctrl-C",
    143: "SIGTERM",
}


@dataclass(frozen=True)
class Documented:
    """One command with the words that call it: "hashall payload sync"."""

    call: str
    command: click.Command


def all_commands() -> Iterator[Documented]:
    for program, command in PROGRAMS.items():
        yield from _below(program, command)


def _below(call: str, command: click.Command) -> Iterator[Documented]:
    if not isinstance(command, click.Group):
        yield Documented(call, command)
        return
    if command.invoke_without_command:
        yield Documented(call, command)
    context = click.Context(command)
    for name in sorted(command.list_commands(context)):
        child = command.get_command(context, name)
        assert child is not None, f"{call} lists {name} and does not have it"
        yield from _below(f"{call} {name}", child)


def commands() -> str:
    """A section for every command."""
    return "\n".join(_section(item) for item in all_commands())


def _section(item: Documented) -> str:
    arguments = [p for p in item.command.params if isinstance(p, click.Argument)]
    own, shared = own_and_shared(item.command)
    usage = " ".join([item.call, *(argument_of(a) for a in arguments)])
    lines = [f"### {item.call}", "", help_of(item.command), "", f"Usage: `{usage}`", ""]
    if own:
        lines += ["| option | meaning |", "|---|---|", *map(_row, own), ""]
    if shared:
        flags = ", ".join(f"`{option.opts[0]}`" for option in shared)
        lines += [f"[Settings](#flags-for-settings) as flags: {flags}", ""]
    return "\n".join(lines)


def own_and_shared(command: click.Command) -> tuple[list[click.Option], list[click.Option]]:
    """Options of this command only, and those that stand for a setting."""
    options = [param for param in command.params if isinstance(param, click.Option)]
    return (
        [option for option in options if option.name not in BY_FLAG],
        [option for option in options if option.name in BY_FLAG],
    )


def help_of(command: click.Command) -> str:
    paragraphs = inspect.cleandoc(command.help or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def argument_of(argument: click.Argument) -> str:
    name = argument.metavar or (argument.name or "").upper()
    return name if argument.required or name.startswith("[") else f"[{name}]"


def _row(option: click.Option) -> str:
    spelled = ", ".join(f"`{name}`" for name in option.opts)
    value = value_of(option)
    notes = [option.help or ""]
    if option.show_default and option.default is not None:
        notes.append(f"Default: `{option.default}`.")
    return f"| {spelled}{f' `{value}`' if value else ''} | {' '.join(notes)} |"


def value_of(option: click.Option) -> str:
    """What follows the option; nothing for a flag."""
    if option.is_flag:
        return ""
    if option.metavar:
        return option.metavar
    if isinstance(option.type, click.Choice):
        return "\\|".join(map(str, option.type.choices))
    if isinstance(option.type, click.IntRange):
        return "N" if option.type.max is None else f"{option.type.min}..{option.type.max}"
    return option.type.name.upper()


def flags_for_settings() -> str:
    lines = ["| flag | value | setting | meaning |", "|---|---|---|---|"]
    used = {p.name for item in all_commands() for p in item.command.params}
    for param, setting in BY_FLAG.items():
        if param in used:
            spelled = ", ".join(f"`{flag}`" for flag in setting.flags)
            again = " May be given several times." if setting.multiple else ""
            lines.append(
                f"| {spelled} | `{setting.metavar}` | `{setting.key}` | {setting.help}{again} |"
            )
    return "\n".join(lines)


# -- errors


def error_classes() -> list[type[SeedError]]:
    """Every error of the four packages that a person can meet, by exit code and name."""
    for package in PACKAGES:
        for module in pkgutil.walk_packages(
            importlib.import_module(package).__path__, package + "."
        ):
            importlib.import_module(module.name)
    found: set[type[SeedError]] = {SeedError, *_subclasses(SeedError)}
    ours = [kind for kind in found if kind.__module__.partition(".")[0] in PACKAGES]
    return sorted(ours, key=lambda kind: (kind.exit_code, kind.code))


def _subclasses(kind: type[SeedError]) -> Iterator[type[SeedError]]:
    for child in kind.__subclasses__():
        yield child
        yield from _subclasses(child)


def exit_codes() -> str:
    lines = ["| exit code | meaning |", "|---|---|"]
    used = {0, *(kind.exit_code for kind in error_classes())}
    for code in sorted(used):
        lines.append(f"| {code} | {MEANINGS[code]} |")
    return "\n".join(lines)


def error_codes() -> str:
    lines = ["| code | exit code | meaning |", "|---|---|---|"]
    for kind in error_classes():
        meaning = (inspect.getdoc(kind) or "").split("\n\n")[0]
        meaning = "Any other failure." if kind is SeedError else " ".join(meaning.split())
        lines.append(f"| `{kind.code}` | {kind.exit_code} | {meaning} |")
    return "\n".join(lines)
