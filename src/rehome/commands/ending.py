"""What ends a run or follows it: `rehome resume`, `rollback`, `retire` and `undo`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from rehome.commands.apply import exit_code, finish
from rehome.commands.common import catalog_options, json_option, opened, world_options
from seedkeep import console
from seedkeep.errors import Misused, Partial
from seedkeep.units import parse_duration

if TYPE_CHECKING:
    from rehome.app import App

_EITHER = "rehome {0} RUN (see: rehome runs list), or rehome {0}"
run_argument = click.argument("run_id", metavar="RUN", type=int, required=False)
all_option = click.option(
    "--all", "every", is_flag=True, default=False, help="All runs that were interrupted."
)
lost_option = click.option(
    "--copy-lost",
    is_flag=True,
    default=False,
    help="The disk with the copy is lost for good: do without it.",
)


@click.command()
@run_argument
@all_option
@catalog_options
@world_options
@json_option
def resume(run_id: int | None, every: bool, as_json: bool, **flags: Any) -> int:
    """Bring an interrupted run to its end."""
    from rehome import render_runs
    from rehome.outcome import Outcome

    with opened(flags) as app:
        runs = _chosen(app, run_id, every, "resume")
        views = [app.run(run) for run in runs]
        to_copy = {view.plan.asked_for: view.bytes_to_copy for view in views}
        plans = [view.plan for view in views]
        with render_runs.watching(plans, as_json, to_copy) as watch:
            ended = app.resume_all(runs, watch)
    if not runs and not as_json:
        console.emit("no run was interrupted")
        return 0
    return finish(Outcome(ended), run_id is not None, as_json)


@click.command()
@run_argument
@all_option
@lost_option
@catalog_options
@world_options
@json_option
def rollback(run_id: int | None, every: bool, copy_lost: bool, as_json: bool, **flags: Any) -> int:
    """Take an interrupted run back."""
    from rehome import render_runs
    from rehome.outcome import Outcome
    from seedkeep.text import printable

    with opened(flags) as app:
        runs = _chosen(app, run_id, every, "rollback")
        before = [app.run(run).row.status for run in runs]
        with render_runs.watching([app.run(run).plan for run in runs], as_json, {}) as watch:
            outcome = Outcome(app.rollback_all(runs, watch, copy_lost=copy_lost))
        views = [app.run(run) for run in runs]
    left = [line for view in views for line in view.left_behind]
    told = [f"  {printable(line)}" for line in left]
    if run_id is not None and outcome.failed and outcome.failed[0].error is not None:
        error = outcome.failed[0].error
        if left and as_json:
            error.detail = "\n".join([error.detail, *left])
        elif left:
            console.emit("\n".join(told))
        raise error
    if as_json and run_id is not None:
        console.emit_json("run", render_runs.run_json(views[0]))
    elif as_json:
        console.emit_json("outcome", render_runs.outcome_json(outcome))
    else:
        lines = [
            f"run {view.row.run_id} was rolled back before; see: rehome runs show {view.row.run_id}"
            if was is view.row.status
            else f"run {view.row.run_id} is rolled back: everything is as it was before it"
            for was, view, item in zip(before, views, outcome.ended, strict=True)
            if item.error is None
        ]
        lines += told
        lines += [render_runs.group_line(item) for item in outcome.failed]
        console.emit("\n".join(lines) or "no run was interrupted")
    return exit_code(outcome)


def _chosen(app: App, run_id: int | None, every: bool, command: str) -> list[int]:
    if (run_id is None) != every:
        raise Misused("say which run, or --all", hint=f"{_EITHER.format(command)} --all")
    return app.open_runs() if run_id is None else [run_id]


@click.command()
@run_argument
@click.option("--due", is_flag=True, default=False, help="All runs whose time has come.")
@click.option(
    "--source-lost",
    is_flag=True,
    default=False,
    help="The disk with the source is lost for good: close RUN, remove nothing.",
)
@catalog_options
@world_options
@json_option
def retire(run_id: int | None, due: bool, source_lost: bool, as_json: bool, **flags: Any) -> int:
    """Remove the hidden source of committed runs, after reading the copies that replace it."""
    from rehome import render_runs

    if (run_id is None) != due:
        raise Misused("say which run, or --due", hint=f"{_EITHER.format('retire')} --due")
    if source_lost and run_id is None:
        raise Misused("say of which run the source is lost", hint="rehome retire RUN --source-lost")
    with opened(flags) as app:
        done = app.retire(run_id, due_only=due, source_lost=source_lost)
    if as_json:
        console.emit_json("retired", [render_runs.applied_json(item) for item in done])
    elif source_lost and done:
        console.emit(
            f"run {run_id} is closed; its source was on a disk that is lost,"
            " and nothing was removed"
        )
    else:
        console.emit("\n".join(map(render_runs.retired, done)) or "nothing to retire")
    kept = any(item.retired is not None and item.retired.kept for item in done)
    return Partial.exit_code if kept else 0


@click.command()
@click.argument("run_id", metavar="RUN", type=int)
@click.option("--retain", metavar="DURATION", help="Keep what it had placed this long (0: not).")
@lost_option
@catalog_options
@world_options
@json_option
def undo(run_id: int, retain: str | None, copy_lost: bool, as_json: bool, **flags: Any) -> int:
    """Bring a committed run back, while its source is kept.

    Also the way out when the copy that it made was removed or damaged.
    """
    from rehome import render_runs

    try:
        keep = None if retain is None else parse_duration(retain)
    except ValueError as why:
        raise Misused(f"--retain: {why}") from why
    reason = " ".join(["rehome", *sys.argv[1:]])
    with opened(flags) as app, render_runs.watching([], as_json) as watch:
        applied = app.undo(run_id, keep, reason, watch, copy_lost=copy_lost)
    if as_json:
        console.emit_json("applied", render_runs.applied_json(applied))
    else:
        console.emit(render_runs.applied(applied))
    kept = applied.retired is not None and applied.retired.kept
    return Partial.exit_code if kept else 0
