"""`hashall db …`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from hashall.commands.common import PROGRAM, answer, catalog_options, json_option, opened


@click.group()
def db() -> None:
    """Look after the catalog's file."""


@contextmanager
def _catalog_path(flags: dict[str, Any]) -> Iterator[Path]:
    """Where the catalog is, without opening it: that would already migrate it."""
    from seedkeep import logs
    from seedkeep.settings import load
    from seedkeep.settings_table import CATALOG_PATH, LOG_LEVEL

    settings = load(PROGRAM, flags)
    logs.set_up(settings.get(LOG_LEVEL), secrets=settings.secrets())
    yield settings.get(CATALOG_PATH)


@db.command()
@catalog_options
@json_option
def status(as_json: bool, **flags: Any) -> None:
    """Tell its schema, size and journal mode, and who is writing.  Changes nothing.

    Example: hashall db status --json
    """
    from hashall import catalog_care, render_database

    with _catalog_path(flags) as path:
        answer("database", catalog_care.state(path), render_database.state, as_json)


@db.command()
@catalog_options
@json_option
def migrate(as_json: bool, **flags: Any) -> None:
    """Bring its schema up to date now; the other commands do it when they open it.

    The file is copied first, to catalog.db.before-NNNN beside it.

    Example: hashall db migrate
    """
    from hashall import catalog_care, render_database

    with _catalog_path(flags) as path:
        answer("migrated", catalog_care.bring_up_to_date(path), render_database.migrated, as_json)


@db.command()
@click.argument("file", type=click.Path(path_type=Path))
@catalog_options
@json_option
def backup(file: Path, as_json: bool, **flags: Any) -> None:
    """Copy it to a new FILE, also while other programs write to it.

    Example: hashall db backup ~/catalog-backup.db
    """
    from hashall import catalog_care, render_database

    with _catalog_path(flags) as path:
        answer("backup", catalog_care.save(path, file), render_database.saved, as_json)


@db.command()
@click.option("--tree", is_flag=True, default=False, help="Also compare every name with the disk.")
@catalog_options
@json_option
def check(tree: bool, as_json: bool, **flags: Any) -> int:
    """Prove that it does not contradict itself.

    Exit code 1: something is wrong with it or, with --tree, was changed since the last scan.

    Example: hashall db check --tree
    """
    from hashall import catalog_care, render_database

    with opened(flags) as app:
        report = catalog_care.check(app.places, tree=tree)
    answer("check", report, render_database.check, as_json)
    tree_differs = report.tree and (report.tree.differing or report.tree.unreadable)
    return 1 if report.problems or tree_differs else 0


@db.command(name="import")
@click.argument("old", type=click.Path(path_type=Path))
@catalog_options
@json_option
def import_old(old: Path, as_json: bool, **flags: Any) -> None:
    """Take hashes over from the catalog of an older hashall.

    Where size and mtime of a file still agree, and only for files that were scanned already:
    scan with --hash-mode fast first, which reads little.  OLD is not changed.

    Example: hashall db import ~/old/catalog.db
    """
    from hashall import catalog_import, render_database
    from hashall.lock import exclusive

    with opened(flags) as app, exclusive(app.catalog.db.path, f"hashall db import {old}"):
        result = catalog_import.import_hashes(app.places, old)
    answer("imported", result, render_database.imported, as_json)
