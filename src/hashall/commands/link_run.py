"""`hashall link execute` and `hashall link auto`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from hashall.commands.common import answer, catalog_options, client_options, json_option
from hashall.commands.link_options import (
    act_options,
    filter_options,
    opened_links,
    plan_options,
)
from hashall.commands.types import SIZE

if TYPE_CHECKING:
    from hashall.linking.model import Execution
    from hashall.linking.running import Runner, RunOptions
    from hashall.linking.service import Links


@click.command()
@click.argument("plan_id", type=int, metavar="PLAN")
@click.option(
    "--dry-run/--no-dry-run",
    "--dryrun",
    "dry_run",
    default=True,
    help="Only look at each file (the default); --no-dry-run acts on an approved plan.",
)
@click.option(
    "--force", is_flag=True, default=False, help="Act, also on a plan that nobody approved."
)
@act_options
@click.option(
    "--allow-delete",
    is_flag=True,
    default=False,
    help="Also delete the copies that the plan proposes to, each proved to be elsewhere.",
)
@click.option("--undo", is_flag=True, default=False, help="Separate what the plan has linked.")
@client_options
@catalog_options
@json_option
def execute(
    *,
    plan_id: int,
    dry_run: bool,
    force: bool,
    allow_delete: bool,
    undo: bool,
    offline: bool,
    low_priority: bool,
    as_json: bool,
    **flags: Any,
) -> int:
    """Carry a plan out, or (without --force) show what that would do.

    May be interrupted at any moment: the same command goes on.  Exit code 4: something was skipped,
    or somebody cancelled the plan meanwhile.
    """
    from hashall import render_link

    limit = flags["limit"]
    options = _run_options(flags, dry_run=dry_run and not force, force=force, delete=allow_delete)
    with (
        opened_links(flags, ask_client=not offline and not undo) as links,
        _runner(links, as_json, low_priority) as runner,
    ):
        if undo:
            done = runner.undo(plan_id, dry_run=options.dry_run, limit=limit)
        else:
            done = runner.execute(plan_id, options)
    answer("link_execution", done, render_link.execution, as_json)
    return _code(done)


@click.command()
@click.option("--device", required=True, metavar="DEVICE", help="Number, alias, or a path on it.")
@click.option(
    "--min-savings", type=SIZE, required=True, metavar="SIZE", help="Do nothing for less."
)
@filter_options
@act_options
@click.option("--dry-run", "--dryrun", is_flag=True, default=False, help="Only look.")
@client_options
@catalog_options
@json_option
def auto(
    *,
    device: str,
    min_savings: int,
    dry_run: bool,
    offline: bool,
    low_priority: bool,
    as_json: bool,
    **flags: Any,
) -> int:
    """Plan and execute in one go, when it is worth it.  For timers.

    Links on one filesystem only; never deletes.
    """
    from hashall import render_link

    wanted = plan_options(flags, same_device=True, cross_device=False)
    options = _run_options(flags, dry_run=dry_run, force=True, delete=False)
    with (
        opened_links(flags, ask_client=not offline) as links,
        _runner(links, as_json, low_priority) as runner,
    ):
        done = runner.auto(device, wanted, options, min_savings)
    answer("link_auto", done, render_link.auto, as_json)
    return _code(done) if done is not None else 0


def _run_options(flags: dict[str, Any], *, dry_run: bool, force: bool, delete: bool) -> RunOptions:
    from hashall.linking.execute import ExecuteOptions
    from hashall.linking.model import Verify
    from hashall.linking.running import RunOptions

    act = ExecuteOptions(
        verify=Verify(flags.pop("verify")),
        match_owner=flags.pop("match_owner"),
        allow_delete=delete,
        limit=flags.pop("limit"),
    )
    return RunOptions(act=act, dry_run=dry_run, force=force, snapshot=flags.pop("snapshot"))


@contextmanager
def _runner(links: Links, as_json: bool, low_priority: bool) -> Iterator[Runner]:
    from hashall import priority
    from hashall.linking.running import Runner
    from seedkeep.progress import Progress

    if low_priority:
        priority.give_way()
    with Progress("linking", unit="files", as_json=as_json) as progress:
        yield Runner(links, progress.set_total, lambda _: progress.advance())


def _code(done: Execution) -> int:
    from seedkeep.errors import Partial

    return Partial.exit_code if done.skipped or done.notes or done.cancelled else 0
