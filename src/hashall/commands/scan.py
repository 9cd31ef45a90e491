"""`hashall scan`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from hashall.commands.common import answer, catalog_options, json_option, opened
from seedkeep import console


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="PATH…")
@click.option(
    "--hash-mode",
    type=click.Choice(["full", "fast", "upgrade"]),
    default="full",
    show_default=True,
    help="SHA-256 of every file; samples only; or samples, then SHA-256 of what may have a twin"
    " and of payloads.",
)
@click.option(
    "--drift-policy",
    type=click.Choice(["metadata", "quick", "full"]),
    default="quick",
    show_default=True,
    help="When only the ctime moved: trust, compare samples, or read again.",
)
@click.option("--one-file-system", is_flag=True, default=False, help="Stop at mount points.")
@click.option(
    "--exclude",
    multiple=True,
    metavar="GLOB",
    help="Leave out names that match, or with a slash paths below PATH (* matches slashes too)."
    " What the catalog knows of them stays, and does not count as covered.  May be repeated.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 32),
    default=2,
    show_default=True,
    help="Processes that read; from 2 on, one more for large files.  1 suits a single hard disk.",
)
@click.option(
    "--low-priority", is_flag=True, default=False, help="Let everybody else use CPU and disk first."
)
@click.option(
    "--wait", is_flag=True, default=False, help="Wait while another run holds the catalog."
)
@catalog_options
@json_option
def scan(paths: tuple[Path, ...], as_json: bool, **flags: Any) -> int:
    """Catalogue directories: names, links, SHA-256.

    Only what is new or changed is read.  May be interrupted at any moment; the next scan goes on
    where it ended.  A PATH that cannot be looked at keeps no other from being scanned, and a
    filesystem whose disk fails again and again is given up.  Exit code 4: something could not be
    read.
    """
    from hashall import render_scan
    from hashall.scan import DriftPolicy, HashMode, ScanOptions
    from seedkeep.errors import Partial

    options = ScanOptions(
        mode=HashMode(flags.pop("hash_mode")),
        drift=DriftPolicy(flags.pop("drift_policy")),
        one_file_system=flags.pop("one_file_system"),
        exclude=flags.pop("exclude"),
        workers=flags.pop("workers"),
    )
    if flags.pop("low_priority"):
        from hashall.priority import give_way

        give_way()
    wait = _say_who if flags.pop("wait") else None
    try:
        with opened(flags) as app, render_scan.scan_progress(as_json) as progress:
            summary = app.scan(paths, options, progress, wait)
    except KeyboardInterrupt:
        console.note("what was hashed is kept; the same command goes on from there")
        raise
    answer("scan", summary, render_scan.scan_summary, as_json)
    return Partial.exit_code if summary.unreadable or summary.given_up else 0


def _say_who(holder: str) -> None:
    console.note(f"waiting: {holder}")
