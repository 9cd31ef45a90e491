"""`rehome plan`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rehome.commands.common import age_option, catalog_options, json_option, opened, world_options
from seedkeep import console
from seedkeep.errors import Misused, Refused
from seedkeep.units import parse_size

if TYPE_CHECKING:
    from rehome.batch import Batch, Scope
    from rehome.model import Plan


@click.command()
@click.option("--demote", is_flag=True, default=False, help="From stash to pool.")
@click.option("--promote", is_flag=True, default=False, help="From pool to stash, by reuse only.")
@click.option("--torrent-hash", metavar="HASH", help="A torrent; its whole group moves.")
@click.option("--payload-hash", metavar="HASH", help="All torrents of a payload.")
@click.option("--tag", metavar="TAG", help="All torrents with this tag.")
@click.option("--category", metavar="NAME", help="All torrents of this category.")
@click.option(
    "--all-eligible",
    is_flag=True,
    default=False,
    help="Whatever may go and is older than --min-age, up to --max-bytes or --limit.",
)
@click.option("--max-bytes", metavar="SIZE", help="Groups of at most this size in total.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most this many groups.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Write the plan here."
)
@catalog_options
@world_options
@age_option
@json_option
def plan(output: Path | None, as_json: bool, **given: Any) -> int:
    """Decide what a move would do, and write it down.  Changes nothing.

    One scope has to be named; a group of torrents that share bytes is always planned as a whole.
    Of many groups those come first that free most.  Those of a tag, of a category and of
    --all-eligible have to be complete for --min-age; what a hash names goes at once.

    Ends with 3 when nothing may move; the plan says why.
    """
    from rehome import planfile, planning, render
    from rehome.batch import EXECUTABLE
    from rehome.model import Direction, Verdict

    if given.pop("demote") == given["promote"]:
        raise Misused(
            "say what to plan: --demote or --promote",
            hint="rehome plan --demote --torrent-hash HASH",
        )
    direction = Direction.PROMOTE if given.pop("promote") else Direction.DEMOTE
    scope = _scope(given)
    planning.check_scope(scope)
    made: Plan | Batch
    with opened(given) as app:
        if scope.torrent_hash:
            made = app.plan(scope.torrent_hash, direction)
            text, verdicts = render.plan(made, output), {made.verdict}
        else:
            made = app.plan_batch(scope, direction)
            text, verdicts = render.batch(made, output), {p.verdict for p in made.groups}
    if output is not None:
        planfile.write(made, output)
    console.emit(planfile.dumps(made).rstrip("\n") if as_json else text)
    stays = Verdict.BLOCK in verdicts and not verdicts.intersection(EXECUTABLE)
    return Refused.exit_code if stays else 0


def _scope(given: dict[str, Any]) -> Scope:
    """Takes what belongs to the scope out of the options; the settings stay."""
    from rehome.batch import Scope

    size = given.pop("max_bytes")
    try:
        most = parse_size(size) if size is not None else None
    except ValueError as why:
        raise Misused(f"--max-bytes: {why}") from why
    words = {
        key: given.pop(key) or "" for key in ("torrent_hash", "payload_hash", "tag", "category")
    }
    return Scope(
        **words, all_eligible=given.pop("all_eligible"), max_bytes=most, limit=given.pop("limit")
    )
