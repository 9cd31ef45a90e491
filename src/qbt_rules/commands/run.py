"""`qbt-rules run`: ask the server for a job, and wait for it if wanted."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from qbt_rules.commands.common import answer, json_option, server_of, server_options
from seedkeep import console

if TYPE_CHECKING:
    from qbt_rules.client import ServerClient

F = TypeVar("F", bound=Callable[..., Any])
JOB_OPTIONS = ("context", "torrent_hash", "dry_run", "wait", "wait_timeout")


def run_options(function: F) -> F:
    """The options of a job, which stand at `qbt-rules` itself too."""
    for option in reversed(
        [
            click.option("--context", metavar="NAME", help="Rules of this context run too."),
            click.option(
                "--hash", "torrent_hash", metavar="HASH", help="Only this torrent (40 or 64 hex)."
            ),
            click.option(
                "--dry-run", "--dryrun", is_flag=True, default=False, help="Change nothing."
            ),
            click.option("--wait", is_flag=True, default=False, help="Until the job is over."),
            click.option(
                "--wait-timeout", metavar="DURATION", help="With --wait: not longer than this."
            ),
        ]
    ):
        function = option(function)
    return function


@click.command()
@run_options
@server_options
@json_option
def run(as_json: bool, **given: Any) -> None:
    """Run the rules: queue a job on the server.

    Without --context only the rules that name no context run.  With --wait the exit code is 1 when
    the job fails, and 4 when it is not over in time.
    """
    run_job(given, as_json)


def run_job(given: dict[str, Any], as_json: bool) -> None:
    """`given`: the options of `run_options`, and flags for settings."""
    from qbt_rules import render
    from qbt_rules.client import failed

    timeout_s = _timeout(given["wait"], given["wait_timeout"])
    server = server_of({name: value for name, value in given.items() if name not in JOB_OPTIONS})
    job = server.execute(given["context"], given["torrent_hash"], given["dry_run"])
    if not given["wait"]:
        answer("queued", job, render.queued, as_json)
        return
    console.note(render.queued(job))
    job = _wait(server, job["job_id"], timeout_s)
    answer("job", job, render.job, as_json)
    if error := failed(job):
        raise error


def _timeout(wait: bool, text: str | None) -> float | None:
    from seedkeep.units import parse_duration

    if text is None:
        return None
    if not wait:
        raise click.UsageError("--wait-timeout needs --wait")
    try:
        return parse_duration(text).total_seconds()
    except ValueError as why:
        raise click.BadParameter(str(why), param_hint="--wait-timeout") from why


def _wait(server: ServerClient, job_id: str, timeout_s: float | None) -> dict[str, Any]:
    last = "pending"

    def tell(job: dict[str, Any]) -> None:
        nonlocal last
        if job["status"] != last:
            last = job["status"]
            console.note(f"job {job_id} is {last}")

    try:
        return server.wait(job_id, timeout_s=timeout_s, seen=tell)
    except KeyboardInterrupt:
        console.note(f"the job goes on; qbt-rules jobs show {job_id}")
        raise
