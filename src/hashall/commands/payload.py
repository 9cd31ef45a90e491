"""`hashall payload …`."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from hashall.commands.common import (
    PROGRAM,
    answer,
    catalog_options,
    client_options,
    json_option,
    opened,
)
from hashall.commands.types import DURATION
from seedkeep.errors import Partial, SeedError
from seedkeep.settings_cli import click_options
from seedkeep.settings_table import POOL_SEEDING_ROOT, STASH_SEEDING_ROOT

if TYPE_CHECKING:
    from hashall.app import App
    from hashall.payload_report import Report

root_options = click_options(PROGRAM, STASH_SEEDING_ROOT, POOL_SEEDING_ROOT)


@click.group()
def payload() -> None:
    """Which torrents are the same content, and where it lies."""


@payload.command()
@click.option(
    "--full", is_flag=True, default=False, help="Ask for every list and look at all files."
)
@click.option(
    "--upgrade-missing", is_flag=True, default=False, help="Hash members that lack a hash."
)
@click.option("--category", metavar="NAME", help="Only torrents of this category.")
@click.option("--tag", metavar="NAME", help="Only torrents with this tag.")
@click.option(
    "--limit", type=click.IntRange(min=1), metavar="N", help="Look at N torrents at most."
)
@click.option(
    "--instance", "names", multiple=True, metavar="NAME", help="Only this client; repeatable."
)
@click.option(
    "--all-removed",
    is_flag=True,
    default=False,
    help="Forget the torrents of a client that shows none of them; else that is taken for a wrong"
    " address or profile.",
)
@catalog_options
@client_options
@json_option
def sync(
    *,
    full: bool,
    upgrade_missing: bool,
    category: str | None,
    tag: str | None,
    limit: int | None,
    names: tuple[str, ...],
    all_removed: bool,
    as_json: bool,
    **flags: Any,
) -> int:
    """Map qBittorrent's torrents to their payloads.

    Reads qBittorrent and changes nothing there.  What did not change since the last time costs no
    call.  Exit code 4: something could not be read; the rest was written.
    """
    from hashall import render, render_payload
    from hashall.payload_clients import sync_clients
    from hashall.payload_sync import SyncOptions

    options = SyncOptions(
        full=full,
        upgrade_missing=upgrade_missing,
        category=category,
        tag=tag,
        limit=limit,
        all_removed=all_removed,
    )
    with opened(flags) as app, render.count_progress("torrents", as_json) as progress:
        result = sync_clients(app, options, names, progress)
    answer("sync", result, render_payload.synced, as_json)
    return 0 if result.is_whole else Partial.exit_code


@payload.command()
@click.argument("torrent", metavar="HASH")
@catalog_options
@json_option
def show(torrent: str, as_json: bool, **flags: Any) -> None:
    """Show a torrent's payload: hashes, place, members.

    HASH is a v1 or v2 infohash or the client's id, in any case, or the beginning of one; with
    @NAME at its end it is looked for in that client only.
    """
    from hashall import render_payload

    with opened(flags) as app:
        answer("torrent", app.torrent(torrent), render_payload.torrent, as_json)


@payload.command()
@click.argument("torrent", metavar="HASH")
@catalog_options
@json_option
def siblings(torrent: str, as_json: bool, **flags: Any) -> None:
    """List the torrents that move with a torrent.

    They share its bytes: the same payload, or some of its files.
    """
    from hashall import render_payload

    with opened(flags) as app:
        answer("siblings", app.torrent(torrent), render_payload.siblings, as_json)


@payload.command(name="list")
@click.option(
    "--residency",
    type=click.Choice(["stash", "pool", "both"]),
    help="Only what lies in this seeding root, or (both) the same payload in either.",
)
@click.option("--status", type=click.Choice(["complete", "incomplete"]), help="Only these.")
@catalog_options
@root_options
@json_option
def list_payloads(residency: str | None, status: str | None, as_json: bool, **flags: Any) -> None:
    """List all payloads with their torrents."""
    from hashall import render_payload
    from hashall.payload_report import Residency

    with opened(flags) as app:
        side = None if residency is None else Residency(residency)
        answer("payloads", _report(app).payloads(side, status), render_payload.payloads, as_json)


@payload.command()
@catalog_options
@json_option
def groups(as_json: bool, **flags: Any) -> None:
    """List torrents that share bytes, directly or through others: what moves together."""
    from hashall import render_payload

    with opened(flags) as app:
        answer("payload_groups", _report(app).groups(), render_payload.groups, as_json)


@payload.command()
@catalog_options
@root_options
@json_option
def duplicates(as_json: bool, **flags: Any) -> None:
    """List payloads that lie on several filesystems, and the bytes that could go."""
    from hashall import render_payload

    with opened(flags) as app:
        found = _report(app).duplicates()
        answer("payload_duplicates", found, render_payload.duplicates, as_json)


@payload.command()
@catalog_options
@root_options
@json_option
def candidates(as_json: bool, **flags: Any) -> None:
    """List payloads that resemble each other, for a person to look at.

    The same content in another layout; the same media with other extras; one whose files are all
    in another one.
    """
    from hashall import render_payload

    with opened(flags) as app:
        found = _report(app).candidates()
        answer("payload_candidates", found, render_payload.candidates, as_json)


@payload.command()
@click.option(
    "--grace",
    type=DURATION,
    default="7d",
    show_default=True,
    metavar="DURATION",
    help="How long the catalog must have known a name.",
)
@click.option(
    "--most",
    type=click.IntRange(min=1),
    default=1000,
    show_default=True,
    metavar="N",
    help="List N files at most, the largest.",
)
@catalog_options
@root_options
@json_option
def orphans(grace: timedelta, most: int, as_json: bool, **flags: Any) -> None:
    """List files in the seeding roots that no torrent wants.  Removes nothing."""
    from hashall import render_payload

    with opened(flags) as app:
        found = _report(app, needs_roots=True).orphans(grace, most)
        answer("orphans", found, render_payload.orphans, as_json)


@payload.command()
@catalog_options
@root_options
@json_option
def unmanaged(as_json: bool, **flags: Any) -> None:
    """List torrents that have no complete payload in a seeding root, and why."""
    from hashall import render_payload

    with opened(flags) as app:
        answer("unmanaged", _report(app).unmanaged(), render_payload.unmanaged, as_json)


@payload.command()
@click.argument("torrent", metavar="HASH")
@click.option(
    "--pieces",
    is_flag=True,
    default=False,
    help="Compare with the torrent's own piece hashes, exported from qBittorrent.",
)
@click.option(
    "--sample", metavar="PERCENT", help="Read this part of the pieces (5%), at least one of a file."
)
@catalog_options
@client_options
@json_option
def verify(torrent: str, pieces: bool, sample: str | None, as_json: bool, **flags: Any) -> int:
    """Read a torrent's files and tell whether they are what they should be.

    Compares with the catalog's SHA-256, or (--pieces) with the torrent itself, which needs no
    catalog hash.  Exit code 1: they are not, or nothing could be proved.
    """
    from hashall import payload_verify, render_payload
    from seedkeep.progress import Progress

    share = 1.0 if sample is None else _share(sample)
    with opened(flags) as app, Progress("reading", unit="B", as_json=as_json) as progress:
        if pieces or sample is not None:
            found = payload_verify.verify_pieces(
                app, torrent, share=share, progress=progress.advance
            )
        else:
            found = payload_verify.verify_hashes(app, torrent, progress=progress.advance)
    answer("verification", found, render_payload.verification, as_json)
    return 0 if found.is_proved else SeedError.exit_code


def _report(app: App, *, needs_roots: bool = False) -> Report:
    from hashall.payload_report import Report
    from seedkeep.errors import Misused

    stash = app.settings.get(STASH_SEEDING_ROOT)
    pool = app.settings.get(POOL_SEEDING_ROOT)
    if needs_roots and stash is None and pool is None:
        raise Misused(
            "no seeding root is set",
            hint=f"set {STASH_SEEDING_ROOT.key} or {POOL_SEEDING_ROOT.key}, or give"
            f" {STASH_SEEDING_ROOT.flags[0]}",
        )
    return Report(app.places, stash, pool)


def _share(text: str) -> float:
    """ "5%" or "5" → 0.05."""
    try:
        share = float(text.removesuffix("%")) / 100
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise click.BadParameter(f"{text!r} is no percentage from 0 to 100", param_hint="--sample")
    return share
