"""`hashall find`."""

from __future__ import annotations

from typing import Any

import click

from hashall.commands.common import answer, catalog_options, json_option, opened


@click.command()
@click.option("--hash", "sha256", metavar="HEX", help="SHA-256, or its first digits.")
@click.option("--name", metavar="GLOB", help="The last part of the path, as a shell matches it.")
@click.option("--inode", type=click.IntRange(1, 2**64 - 1), metavar="N", help="Inode number.")
@catalog_options
@json_option
def find(
    sha256: str | None, name: str | None, inode: int | None, as_json: bool, **flags: Any
) -> None:
    """Find files by hash, name or inode, on every filesystem, mounted or not.

    Example: hashall find --name '*.mkv'
    """
    from hashall import lookup, render_lookup

    if sum(given is not None for given in (sha256, name, inode)) != 1:
        raise click.UsageError("Give one of --hash, --name and --inode.")
    with opened(flags) as app:
        if sha256 is not None:
            found = lookup.by_hash(app.places, sha256)
        elif name is not None:
            found = lookup.by_name(app.places, name)
        else:
            assert inode is not None
            found = lookup.by_inode(app.places, inode)
        answer("found", found, render_lookup.found_files, as_json)
