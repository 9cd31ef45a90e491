"""`hashall export`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from hashall.commands.common import catalog_options, opened
from seedkeep import console


@click.command()
@click.option(
    "--format",
    "form",
    type=click.Choice(["json", "csv"]),
    default="json",
    show_default=True,
    help="One JSON document, or CSV with a header.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A new file in place of stdout.",
)
@catalog_options
def export(form: str, output: Path | None, **flags: Any) -> None:
    """Write every file of the catalog for other programs, as of the last scan.

    Example: hashall export --format csv -o files.csv
    """
    from hashall import lookup
    from hashall.fsnew import new_file

    write = lookup.write_json if form == "json" else lookup.write_csv
    with opened(flags) as app:
        files = lookup.exported(app.places)
        if output is None:
            reconfigure = getattr(sys.stdout, "reconfigure", None)
            if reconfigure is not None:  # names that are not UTF-8 go out as they are
                reconfigure(encoding="utf-8", errors="surrogateescape")
            write(files, sys.stdout)
            return
        with new_file(output, "write the export") as out:
            count = write(files, out)
    console.note(f"{count} files written to {console.printable(str(output))}")
