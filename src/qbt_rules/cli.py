"""The program `qbt-rules`: the flags that its users know, and the same as commands."""

from __future__ import annotations

import sys
from typing import Any

import click

from qbt_rules.commands.common import PROGRAM, all_options, json_option
from qbt_rules.commands.run import JOB_OPTIONS, run_job, run_options
from seedkeep import console
from seedkeep.lazy_group import LazyGroup
from seedkeep.program_options import version_option
from seedkeep.utf8_names import require_utf8_names

COMMANDS = {
    "completion": "qbt_rules.commands.completion:completion",
    "config": "qbt_rules.commands.server:config",
    "doctor": "qbt_rules.commands.doctor:doctor",
    "explain": "qbt_rules.commands.rules:explain",
    "health": "qbt_rules.commands.server:health",
    "init": "qbt_rules.commands.init:init",
    "jobs": "qbt_rules.commands.jobs:jobs",
    "rules": "qbt_rules.commands.rules:rules",
    "run": "qbt_rules.commands.run:run",
    "schema": "qbt_rules.commands.rules:schema",
    "serve": "qbt_rules.commands.server:serve",
    "stats": "qbt_rules.commands.server:stats",
}
MODES = (
    "serve",
    "list_jobs",
    "job_status",
    "cancel_job",
    "stats",
    "validate",
    "list_rules",
    "explain",
    "show_config",
)


@click.group(
    cls=LazyGroup,
    lazy=COMMANDS,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@version_option(PROGRAM)
@click.option("--serve", is_flag=True, default=False, help="Run the server.")
@run_options
@click.option("--list-jobs", is_flag=True, default=False, help="List jobs, the newest first.")
@click.option("--job-status", metavar="JOB", help="Show one job with its result.")
@click.option("--cancel-job", metavar="JOB", help="Cancel a job that still waits.")
@click.option("--stats", is_flag=True, default=False, help="Show numbers of the server.")
@click.option("--validate", is_flag=True, default=False, help="Check the rules file.")
@click.option("--list-rules", is_flag=True, default=False, help="List the rules.")
@click.option(
    "--explain", metavar="HASH", help="Why each rule would or would not act on a torrent."
)
@click.option(
    "--show-config", is_flag=True, default=False, help="Show every setting and its origin."
)
@click.option("--trace", is_flag=True, default=False, help="The same as --log-level DEBUG.")
@json_option
@all_options
@click.pass_context
def cli(context: click.Context, /, **given: Any) -> int | None:
    """Rules that react to what qBittorrent does.

    With --serve it is the server.  Else it asks a server: --context runs the rules of a context,
    --hash for one torrent only, and the other flags are short forms of the commands.  Flags for
    settings may stand here or behind a command.
    """
    if given.pop("trace"):
        given["logging_level"] = given["logging_level"] or "DEBUG"
    chosen = [mode for mode in MODES if given[mode]]
    running = [name for name in JOB_OPTIONS if given[name]]
    if running and not set(chosen) & {"list_jobs", "explain"}:
        chosen.append("run")
    flags = {name: given[name] for name in given if name not in (*MODES, *JOB_OPTIONS, "as_json")}
    if context.invoked_subcommand is not None:
        if chosen or given["as_json"]:
            raise click.UsageError(f"write these behind {context.invoked_subcommand}")
        context.obj = flags
        return None
    if not chosen:
        raise click.exceptions.NoArgsIsHelpError(context)
    if len(chosen) > 1:
        named = " and ".join(f"--{mode.replace('_', '-')}" for mode in chosen)
        raise click.UsageError(f"{named} cannot be done at once")
    return _perform(chosen[0], given, flags)


def _perform(mode: str, given: dict[str, Any], flags: dict[str, Any]) -> int | None:
    from qbt_rules.commands import jobs, rules, server

    as_json = given["as_json"]
    if mode == "serve":
        return server.run_server(flags)
    if mode == "list_jobs":
        jobs.show_jobs(as_json, flags, context=given["context"])
    elif mode == "job_status":
        jobs.show_job(given["job_status"], as_json, flags)
    elif mode == "cancel_job":
        jobs.cancel_job(given["cancel_job"], as_json, flags)
    elif mode == "stats":
        server.show_stats(as_json, flags)
    elif mode == "validate":
        rules.validate_rules(as_json, flags)
    elif mode == "list_rules":
        rules.show_rules(as_json, flags)
    elif mode == "explain":
        rules.explain_rules(given["explain"], as_json, flags, context=given["context"])
    elif mode == "show_config":
        server.show_settings(as_json, flags)
    else:
        run_job({**flags, **{name: given[name] for name in JOB_OPTIONS}}, as_json)
    return None


def main() -> None:
    require_utf8_names()
    sys.exit(console.run(cli, None, PROGRAM))
