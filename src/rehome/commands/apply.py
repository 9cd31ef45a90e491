"""`rehome apply`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from rehome.commands.common import catalog_options, json_option, opened, world_options
from seedkeep import console
from seedkeep.errors import Misused, Partial
from seedkeep.units import parse_duration, parse_rate

if TYPE_CHECKING:
    from rehome.app import App
    from rehome.batch import Batch
    from rehome.model import Plan
    from rehome.outcome import Outcome, Wishes

T = TypeVar("T")
plan_options = (
    click.option(
        "--dryrun", "--dry-run", is_flag=True, default=False, help="Only show every step."
    ),
    click.option("--force", is_flag=True, default=False, help="Do it."),
    click.option("--retain", metavar="DURATION", help="Keep the hidden source this long (0: not)."),
    click.option(
        "--cleanup-duplicate-payload",
        "cleanup",
        is_flag=True,
        default=False,
        help="After a promotion, retire the copy on the pool like any source; a demotion always"
        " does.",
    ),
)
check_options = (
    click.option(
        "--spot-check",
        type=click.IntRange(min=0),
        default=0,
        metavar="N",
        help="Before the commit, read N files of each group in full and compare their SHA-256.",
    ),
    click.option(
        "--verify-hash", is_flag=True, default=False, help="The same with every file of a group."
    ),
    click.option(
        "--pieces",
        is_flag=True,
        default=False,
        help="Before the commit, hold every torrent against its own piece hashes.",
    ),
    click.option(
        "--rescan",
        is_flag=True,
        default=False,
        help="Scan the folders that were left and reached afterwards.",
    ),
)
pace_options = (
    click.option(
        "--max-groups",
        type=click.IntRange(min=1),
        metavar="N",
        help="Begin no more than N groups; the plan can be applied again for the rest.",
    ),
    click.option(
        "--fail-fast", is_flag=True, default=False, help="Begin no group after one that failed."
    ),
    click.option("--bwlimit", metavar="RATE", help="Copy no faster than this, such as 200MB/s."),
    click.option(
        "--low-priority", is_flag=True, default=False, help="Let all other processes go first."
    ),
    click.option(
        "--window",
        metavar="HH:MM-HH:MM",
        help="Wait for this part of the day (local time), and begin no group after it.",
    ),
)


def _all(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed((*plan_options, *check_options, *pace_options)):
        command = option(command)
    return command


@click.command()
@click.argument("plan_file", metavar="PLAN", type=click.Path(path_type=Path))
@_all
@catalog_options
@world_options
@json_option
def apply(plan_file: Path, dryrun: bool, force: bool, as_json: bool, **more: Any) -> int:
    """Execute a plan, after checking that it still is the right one.

    Groups go one after another, each of them completely or not at all; one that fails is taken back
    and does not stop the others.
    """
    from rehome import planfile

    if dryrun == force:
        raise Misused("say either --dryrun or --force", hint="--dryrun shows what --force does")
    wishes, flags = _read(more)
    batch = planfile.read_batch(plan_file)
    with opened(flags) as app:
        if dryrun:
            return _show(app, batch, wishes.cleanup_duplicate, as_json)
        return _apply(app, batch, wishes, as_json)


def _read(more: dict[str, Any]) -> tuple[Wishes, dict[str, Any]]:
    """What was asked, and the flags that are settings."""
    from rehome.outcome import Wishes
    from rehome.pace import Window, be_humble
    from rehome.verify import Checks

    own = {
        *("retain", "cleanup", "spot_check", "verify_hash", "pieces", "rescan"),
        *("max_groups", "fail_fast", "bwlimit", "low_priority", "window"),
    }
    if more["low_priority"]:
        be_humble()
    wishes = Wishes(
        retain=_parsed("--retain", more["retain"], parse_duration),
        reason=" ".join(["rehome", *sys.argv[1:]]),
        checks=Checks(more["spot_check"], more["verify_hash"], more["pieces"]),
        cleanup_duplicate=more["cleanup"],
        max_groups=more["max_groups"],
        fail_fast=more["fail_fast"],
        window=_parsed("--window", more["window"], Window.parse),
        bytes_per_s=_parsed("--bwlimit", more["bwlimit"], _rate),
        rescan=more["rescan"],
    )
    return wishes, {key: value for key, value in more.items() if key not in own}


def _parsed(option: str, text: str | None, parse: Callable[[str], T]) -> T | None:
    try:
        return None if text is None else parse(text)
    except ValueError as why:
        raise Misused(f"{option}: {why}") from why


def _rate(text: str) -> int:
    rate = parse_rate(text)
    if not rate:
        raise ValueError("0 bytes a second would take for ever")
    return rate


def _show(app: App, batch: Batch, cleanup: bool, as_json: bool) -> int:
    """Every value that --force would execute."""
    from rehome.planner import with_cleanup
    from rehome.render_steps import dry_run

    plans = [app.check(plan) for plan in batch.executable or batch.groups[:1]]
    if cleanup:
        plans = [with_cleanup(plan) for plan in plans]
    if as_json:
        console.emit(_as_json(batch, plans))
    else:
        console.emit("\n\n".join([*map(dry_run, plans), "dry run: nothing was changed"]))
    return 0


def _as_json(batch: Batch, plans: list[Plan]) -> str:
    from dataclasses import replace

    from rehome import planfile

    shown = plans[0] if len(batch.groups) == 1 else replace(batch, groups=tuple(plans))
    return planfile.dumps(shown).rstrip("\n")


def _apply(app: App, batch: Batch, wishes: Wishes, as_json: bool) -> int:
    from rehome import render_runs

    if len(batch.groups) == 1 and batch.groups[0] not in batch.executable:
        app.check(batch.groups[0])
    plans = batch.executable
    with render_runs.watching(plans, as_json) as watch:
        outcome = app.apply_all(plans, wishes, watch)
    return finish(outcome, len(batch.groups) == 1, as_json)


def finish(outcome: Outcome, alone: bool, as_json: bool) -> int:
    """Say how it ended.  One group that failed fails the command in its own way."""
    from rehome import render_runs

    if alone:
        for item in outcome.failed:
            assert item.error is not None
            raise item.error
        applied = outcome.ended[0].applied if outcome.ended else None
        if as_json:
            console.emit_json("applied", render_runs.applied_json(applied) if applied else None)
        else:
            console.emit(
                render_runs.applied(applied) if applied else "nothing to do: it is there already"
            )
    elif as_json:
        console.emit_json("outcome", render_runs.outcome_json(outcome))
    else:
        console.emit(render_runs.outcome(outcome))
    return exit_code(outcome)


def exit_code(outcome: Outcome) -> int:
    kept = any(
        item.applied is not None and item.applied.retired is not None and item.applied.retired.kept
        for item in outcome.ended
    )
    return Partial.exit_code if kept or outcome.failed else 0
