"""`hashall doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from hashall.commands.common import answer, catalog_options, json_option, opened


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path), metavar="[PATH]…")
@click.option(
    "--no-probe", is_flag=True, default=False, help="Make no files; tell only what can be seen."
)
@catalog_options
@json_option
def doctor(paths: tuple[Path, ...], no_probe: bool, as_json: bool, **flags: Any) -> int:
    """Find out whether hardlinks work in and between folders, and whether the catalog is safe.

    Makes a small file in each folder (without any PATH: in each that was scanned), links it, looks,
    and removes it again.  Exit code 1: something has to be changed.

    Example: hashall doctor /srv/stash /srv/pool /srv/library
    """
    from hashall.doctor import catalog_facts, gather, roots_to_probe
    from hashall.doctor_rules import judge
    from seedkeep import diagnosis
    from seedkeep.errors import SeedError

    with opened(flags) as app:
        catalog, error = None, None
        try:
            catalog = app.catalog
        except SeedError as why:
            error = why
        facts = catalog_facts(app.catalog_path, catalog, error)
        roots = roots_to_probe(app.places if catalog else None, paths)
        report = judge(gather(facts, roots, probe=not no_probe))
    answer("doctor", report, diagnosis.report, as_json)
    return 0 if report.healthy else 1
