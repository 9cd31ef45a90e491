"""Errors of click, in our words: what was wrong with the arguments, and whose help tells more."""

from __future__ import annotations

from collections.abc import Sequence

import click

from seedkeep.errors import SeedError


def as_seed_error(
    why: click.ClickException, command: click.Command, arguments: Sequence[str], program: str
) -> SeedError:
    """What click found wrong with the arguments, with the help to look at."""
    context = getattr(why, "ctx", None)
    where = context.command_path if context is not None else _asked_for(command, arguments, program)
    message = why.format_message().replace("\n\t", " ")  # click lists choices on lines of their own
    hint = f"{where} --help"
    if isinstance(why, click.exceptions.NoSuchOption) and isinstance(
        getattr(context, "command", None), click.Group
    ):
        hint = f"the options of a command stand behind it: {where} COMMAND {why.option_name}"
    error = SeedError(message, hint=hint)
    error.exit_code, error.code = why.exit_code, "usage" if why.exit_code == 2 else "failed"
    return error


def _asked_for(command: click.Command, arguments: Sequence[str], program: str) -> str:
    """The command that the arguments name, for an error of click that does not know its own."""
    path = [program]
    for word in arguments:
        if isinstance(command, click.Group) and not word.startswith("-"):
            found = command.get_command(click.Context(command), word)
            if found is not None:
                command = found
                path.append(word)
    return " ".join(path)
