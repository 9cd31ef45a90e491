"""`hashall dupes`."""

from __future__ import annotations

from typing import Any

import click

from hashall.commands.common import answer, catalog_options, json_option, opened
from hashall.commands.types import SIZE


@click.command()
@click.option(
    "--cross-device", is_flag=True, default=False, help="Also copies on different filesystems."
)
@click.option(
    "--min-size",
    type=SIZE,
    default="1",
    show_default=True,
    metavar="SIZE",
    help="Leave smaller files out; 0 takes empty ones in.",
)
@click.option(
    "--trees", is_flag=True, default=False, help="Whole directories instead, across filesystems."
)
@catalog_options
@json_option
def dupes(cross_device: bool, min_size: int, trees: bool, as_json: bool, **flags: Any) -> None:
    """List files with equal bytes, as of the last scan.

    What hardlinks would save counts an inode only when all of its names are known.

    Example: hashall dupes --min-size 10MB
    """
    from seedkeep.collector import without_collector

    with opened(flags) as app, without_collector():
        if trees:
            from hashall import render_trees
            from hashall.equal_trees import find_equal_trees

            same = find_equal_trees(app.places, min_size=min_size)
            answer("equal_trees", same, render_trees.equal_trees, as_json)
            return
        from hashall import render_duplicates
        from hashall.duplicates import find_duplicates

        found = find_duplicates(app.places, across=cross_device, min_size=min_size)
        answer("duplicates", found, render_duplicates.duplicates, as_json)
