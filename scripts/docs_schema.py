"""The tables of the catalog as Markdown: read from a catalog that the migrations have just made."""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from hashall.catalog import open_catalog
from hashall.catalog.store import MIGRATIONS
from scripts.docs_columns import COLUMNS, TABLES
from seedkeep.sqlite import Database

COMMENT = re.compile(r"^\s*(\w+)\s[^\n]*?--\s*(.*)$", re.MULTILINE)
ABOVE = re.compile(r"((?:^--[^\n]*\n)+)CREATE TABLE (\w+)", re.MULTILINE)
EXAMPLE_DEVICE = 1  # the first number that a catalog hands out


@dataclass(frozen=True)
class Column:
    name: str
    kind: str  # SQLite's type; "" in a view
    notes: tuple[str, ...]  # key, may be NULL
    meaning: str


@dataclass(frozen=True)
class Table:
    name: str
    meaning: str
    columns: tuple[Column, ...]
    indexes: tuple[str, ...]  # "(inode), (sha256, size)"


def tables() -> list[Table]:
    """Every table and view of a catalog that knows one device, as SQLite describes them."""
    with tempfile.TemporaryDirectory() as folder:
        catalog = open_catalog(Path(folder) / "catalog.db", create=True)
        try:
            catalog.devices.register("ext4:example", "ext4", stable=True)
            named = catalog.db.tuples(
                "SELECT name, type, sql FROM sqlite_schema WHERE type IN ('table', 'view')"
                " AND name NOT LIKE 'sqlite_%' ORDER BY rowid"
            )
            return [_table(catalog.db, *row) for row in list(named)]
        finally:
            catalog.db.close()


def _table(db: Database, name: str, kind: str, sql: str) -> Table:
    shown = name.removesuffix(f"_{EXAMPLE_DEVICE}") + (
        "_<device_id>" if name.endswith(f"_{EXAMPLE_DEVICE}") else ""
    )
    comments = dict(COMMENT.findall(sql)) if kind == "table" else {}
    foreign = {
        row[3]: row[2] for row in db.tuples(f"SELECT * FROM pragma_foreign_key_list('{name}')")
    }
    columns = []
    for _, column, declared, required, _, key in db.tuples(
        f"SELECT * FROM pragma_table_info('{name}')"
    ):
        notes = ["key"] if key else []
        notes += [f"of `{_shown(foreign[column])}`"] if column in foreign else []
        notes += ["may be NULL"] if kind == "table" and not required and not key else []
        meaning = comments.get(column) or COLUMNS.get((shown, column), "")
        columns.append(Column(column, declared if kind == "table" else "", tuple(notes), meaning))
    return Table(shown, _meaning(shown), tuple(columns), _indexes(db, name))


def _shown(table: str) -> str:
    base = table.removesuffix(f"_{EXAMPLE_DEVICE}")
    return table if base == table else f"{base}_<device_id>"


def _indexes(db: Database, table: str) -> tuple[str, ...]:
    """Columns of the indexes that were asked for, beside the key's."""
    names = db.tuples(f"SELECT name FROM pragma_index_list('{table}') WHERE origin <> 'pk'")
    found = []
    for (name,) in list(names):
        columns = db.tuples(f"SELECT name FROM pragma_index_info('{name}') ORDER BY seqno")
        found.append(f"({', '.join(column for (column,) in columns)})")
    return tuple(sorted(found))


def _meaning(table: str) -> str:
    """What the migrations say above a table, and what docs_columns adds."""
    said = {
        name: " ".join(re.sub(r"^--\s*", "", text, flags=re.MULTILINE).split())
        for text, name in ABOVE.findall(_migrations())
    }
    return " ".join(part for part in (TABLES.get(table, ""), said.get(table, "")) if part)


def _migrations() -> str:
    files = sorted(resources.files(MIGRATIONS).iterdir(), key=lambda entry: entry.name)
    return "\n\n".join(entry.read_text() for entry in files if entry.name.endswith(".sql"))


def catalog_tables() -> str:
    return _page([table for table in tables() if "<" not in table.name])


def device_tables() -> str:
    return _page([table for table in tables() if "<" in table.name])


def _page(shown: list[Table]) -> str:
    return "\n".join(_section(table) for table in shown)


def _section(table: Table) -> str:
    lines = [f"### {table.name}", "", table.meaning, ""]
    typed = any(column.kind for column in table.columns)
    lines += (
        ["| column | type | meaning |", "|---|---|---|"]
        if typed
        else ["| column | meaning |", "|---|---|"]
    )
    for column in table.columns:
        notes = f" ({', '.join(column.notes)})" if column.notes else ""
        kind = f" {column.kind}{notes} |" if typed else ""
        lines.append(f"| `{column.name}` |{kind} {column.meaning} |")
    if table.indexes:
        lines += ["", f"Indexed by {', '.join(table.indexes)}."]
    return "\n".join([*lines, ""])
