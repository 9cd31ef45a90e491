"""`qbt-rules jobs list`, `show`, `cancel`."""

from __future__ import annotations

from typing import Any

import click

from qbt_rules.commands.common import answer, json_option, server_of, server_options
from qbt_rules.model import MOST_LISTED, JobStatus


@click.group()
def jobs() -> None:
    """What was asked of the server, and what became of it."""


@jobs.command("list")
@click.option("--status", type=click.Choice([str(status) for status in JobStatus]))
@click.option("--context", metavar="NAME", help="Only jobs of this context.")
@click.option("--limit", type=click.IntRange(1, MOST_LISTED), default=50, show_default=True)
@click.option("--offset", type=click.IntRange(0), default=0, show_default=True)
@server_options
@json_option
def list_jobs(
    status: str | None, context: str | None, limit: int, offset: int, as_json: bool, **flags: Any
) -> None:
    """List jobs, the newest first."""
    show_jobs(as_json, flags, status=status, context=context, limit=limit, offset=offset)


@jobs.command("show")
@click.argument("job_id", metavar="JOB")
@server_options
@json_option
def show(job_id: str, as_json: bool, **flags: Any) -> None:
    """Show one job with its result."""
    show_job(job_id, as_json, flags)


@jobs.command("cancel")
@click.argument("job_id", metavar="JOB")
@server_options
@json_option
def cancel(job_id: str, as_json: bool, **flags: Any) -> None:
    """Cancel a job that still waits."""
    cancel_job(job_id, as_json, flags)


def show_jobs(as_json: bool, flags: dict[str, Any], **filters: Any) -> None:
    from qbt_rules import render

    answer("jobs", server_of(flags).jobs(**filters), render.jobs, as_json)


def show_job(job_id: str, as_json: bool, flags: dict[str, Any]) -> None:
    from qbt_rules import render

    answer("job", server_of(flags).job(job_id), render.job, as_json)


def cancel_job(job_id: str, as_json: bool, flags: dict[str, Any]) -> None:
    from qbt_rules import render

    answer("cancelled", server_of(flags).cancel(job_id), render.cancelled, as_json)
