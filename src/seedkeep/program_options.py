"""What every program has besides its own work: `--version`, and `completion`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])
SHELLS = ("bash", "zsh", "fish")


def version_option(program: str) -> Callable[[F], F]:
    """Decorator: `--version` with commit and build date, which are looked up when it is asked."""

    def show(context: click.Context, _option: click.Parameter, wanted: bool) -> None:
        if not wanted or context.resilient_parsing:
            return
        from seedkeep.build import this_build

        click.echo(f"{program}, version {this_build()}")
        context.exit()

    return click.option(
        "--version",
        is_flag=True,
        default=False,
        expose_value=False,
        is_eager=True,
        callback=show,
        help="Show version, commit and build date, and exit.",
    )


def completion_command(program: str) -> click.Command:
    """The command `completion` of a program."""

    @click.command("completion")
    @click.argument("shell", type=click.Choice(SHELLS), metavar="|".join(SHELLS))
    @click.pass_context
    def completion(context: click.Context, shell: str) -> None:
        """Print the script that lets a shell complete commands and options."""
        click.echo(completion_script(context.find_root().command, program, shell))

    return completion


def completion_script(command: click.Command, program: str, shell: str) -> str:
    from click.shell_completion import ShellComplete, get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None, f"click does not know {shell}"
    variable = f"_{program.replace('-', '_').upper()}_COMPLETE"  # `console.run` looks for it
    # Not the class's own `source`: for bash that starts a bash, to ask for its version.
    return ShellComplete.source(kind(command, {}, program, variable)).strip("\n")
