"""The program `hashall`: its commands by name, each imported when it is asked for."""

from __future__ import annotations

import sys

import click

from hashall.commands.common import PROGRAM
from seedkeep import console
from seedkeep.collector import end_quickly
from seedkeep.lazy_group import LazyGroup
from seedkeep.program_options import version_option
from seedkeep.utf8_names import require_utf8_names

COMMANDS = {
    "completion": "hashall.commands.completion:completion",
    "conductor": "hashall.commands.link:conductor",
    "db": "hashall.commands.db:db",
    "devices": "hashall.commands.devices:devices",
    "doctor": "hashall.commands.doctor:doctor",
    "dupes": "hashall.commands.dupes:dupes",
    "export": "hashall.commands.export:export",
    "find": "hashall.commands.find:find",
    "link": "hashall.commands.link:link",
    "links": "hashall.commands.links:links",
    "payload": "hashall.commands.payload:payload",
    "roots": "hashall.commands.devices:roots",
    "scan": "hashall.commands.scan:scan",
    "stats": "hashall.commands.devices:stats",
    "status": "hashall.commands.devices:status",
    "tree-hash": "hashall.commands.trees:tree_hash",
    "verify": "hashall.commands.verify:verify",
}


@click.group(cls=LazyGroup, lazy=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@version_option(PROGRAM)
def cli() -> None:
    """The truth about your files: a catalog of every file on every filesystem.

    Start with: hashall scan PATH…, then hashall payload sync.
    """


def main() -> None:
    require_utf8_names()
    code = console.run(cli, None, PROGRAM)
    end_quickly()
    sys.exit(code)
