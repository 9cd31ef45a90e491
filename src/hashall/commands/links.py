"""`hashall links`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from hashall.commands.common import answer, catalog_options, json_option, opened


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@catalog_options
@json_option
def links(path: Path, as_json: bool, **flags: Any) -> int:
    """List every name of a file, or of each file below a directory.

    Says which torrents use each name, and whether the disk has more names than the catalog knows.
    Exit code 3: that all names are known is not proved.

    Example: hashall links /srv/stash/Film/film.mkv
    """
    from hashall import render_lookup
    from hashall.file_links import find_links
    from hashall.model import LinkVerdict
    from seedkeep.errors import Refused

    with opened(flags) as app:
        found = find_links(app.places, path)
        answer("links", found, render_lookup.links, as_json)
    proved = all(one.verdict is LinkVerdict.PROVED for one in found)
    return 0 if proved else Refused.exit_code
