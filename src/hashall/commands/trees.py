"""`hashall tree-hash`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from hashall.commands.common import answer, catalog_options, json_option, opened


@click.command(name="tree-hash")
@click.argument("path", type=click.Path(path_type=Path))
@click.argument("other", required=False, type=click.Path(path_type=Path))
@click.option(
    "--differences",
    "most",
    type=click.IntRange(1),
    default=20,
    show_default=True,
    metavar="N",
    help="How many differences to list.",
)
@catalog_options
@json_option
def tree_hash(path: Path, other: Path | None, most: int, as_json: bool, **flags: Any) -> int:
    """Hash a directory with all below it, or compare two.

    From the catalog alone, as of the last scan.  Symlinks, empty directories and what is mounted
    below are no part of it.  Exit code 1: the trees differ; 4: something has no hash.

    Example: hashall tree-hash /srv/stash/Film /srv/pool/Film
    """
    from hashall import render_trees
    from hashall.tree_compare import compare_trees
    from hashall.treehash import known_tree
    from seedkeep.errors import Partial

    with opened(flags) as app:
        first = known_tree(app.places, path)
        if other is None:
            view = first.view()
            answer("tree", view, render_trees.tree, as_json)
            return 0 if view.tree_hash else Partial.exit_code
        compared = compare_trees(first, known_tree(app.places, other), most=most)
        answer("trees", compared, render_trees.comparison, as_json)
    if compared.equal is None:
        return Partial.exit_code
    return 0 if compared.equal else 1
