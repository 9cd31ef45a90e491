"""`hashall dupes`."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import click

from hashall.commands.common import answer, catalog_options, json_option, opened
from hashall.commands.types import SIZE
from seedkeep import console

if TYPE_CHECKING:
    from hashall.app import App


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

    with without_collector(), opened(flags) as app:
        if trees:
            _list_trees(app, min_size, as_json)
        else:
            _list_files(app, cross_device, min_size, as_json)


def _list_trees(app: App, min_size: int, as_json: bool) -> None:
    from hashall import render_trees
    from hashall.equal_trees import find_equal_trees

    same = find_equal_trees(app.places, min_size=min_size)
    answer("equal_trees", same, render_trees.equal_trees, as_json)


def _list_files(app: App, across: bool, min_size: int, as_json: bool) -> None:
    import faulthandler

    if not faulthandler.is_enabled():
        # The catalog is read by mmap: a disk that fails below it would end us without a word.
        faulthandler.enable(file=2)
    if as_json:
        from hashall.duplicates import find_duplicates

        found = find_duplicates(app.places, across=across, min_size=min_size)
        console.emit_json("duplicates", found)
        return
    from hashall.duplicate_list import DuplicateSearch
    from hashall.render_duplicates import DuplicatesText
    from seedkeep.collector import keep_to_the_end

    search, text = DuplicateSearch(app.places, across=across, min_size=min_size), DuplicatesText()
    with closing(search.parts()) as parts:
        for files in parts:
            text.add(files)
    for piece in text.pieces(search.unhashed):
        console.emit(piece)
    keep_to_the_end(text)
