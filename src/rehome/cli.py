"""The program `rehome`: its commands by name, each imported when it is asked for."""

from __future__ import annotations

import sys

import click

from rehome.commands.common import PROGRAM
from seedkeep import console
from seedkeep.lazy_group import LazyGroup
from seedkeep.program_options import version_option
from seedkeep.utf8_names import require_utf8_names

COMMANDS = {
    "apply": "rehome.commands.apply:apply",
    "completion": "rehome.commands.completion:completion",
    "config": "rehome.commands.config:config",
    "explain": "rehome.commands.report:explain",
    "plan": "rehome.commands.plan:plan",
    "report": "rehome.commands.report:report",
    "resume": "rehome.commands.ending:resume",
    "retire": "rehome.commands.ending:retire",
    "rollback": "rehome.commands.ending:rollback",
    "runs": "rehome.commands.runs:runs",
    "undo": "rehome.commands.ending:undo",
}


@click.group(cls=LazyGroup, lazy=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@version_option(PROGRAM)
def cli() -> None:
    """Placement: move what only seeds from stash to pool, without a recheck.

    Start with: rehome plan --demote --torrent-hash HASH -o plan.json
    """


def main() -> None:
    require_utf8_names()
    sys.exit(console.run(cli, None, PROGRAM))
