"""Bring a database to the schema that this program knows.

Numbered files `0001_name.sql` lie in a package.  Each is applied in one transaction together with
its record in `schema_version`, so a database is always at exactly one version.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from seedkeep import clock
from seedkeep.errors import SeedError
from seedkeep.sqlite import Database, DatabaseError, backup, transaction

_FILE_NAME = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")
_MOST_BACKUPS = 9
_TABLE = """
    CREATE TABLE IF NOT EXISTS schema_version (
        version INTEGER PRIMARY KEY,
        name TEXT NOT NULL,
        checksum TEXT NOT NULL,  -- SHA-256 of the file that was applied
        applied_at TEXT NOT NULL
    ) STRICT
"""


class NewerDatabase(SeedError):
    """A later release of this program has written the database.  Nothing was changed."""

    code = "database-newer"


class MigrationFailed(DatabaseError):
    """A migration did not run to its end; the database is at the version before it."""

    code = "migration-failed"


class WrongSchema(DatabaseError):
    """The database's history is not a beginning of ours.  Nothing was changed."""

    code = "database-schema"


@dataclass(frozen=True)
class Migration:
    version: int  # from 1, without gaps
    name: str
    sql: str
    checksum: str

    @property
    def label(self) -> str:
        return f"{self.version:04d}_{self.name}"


def migrate(db: Database, package: str) -> list[str]:
    """Apply what is missing and return the labels ("0002_links") of what was applied.

    A database that has a version already is copied first, to `<path>.before-0002` beside it.

    Raises:
        NewerDatabase, WrongSchema: Nothing was changed.
        MigrationFailed: The database is at the version that the last good file left.
    """
    todo = pending(db, package)
    if not todo:
        return []
    saved = _save(db, todo[0]) if current_version(db) >= 1 else None
    applied: list[str] = []
    db.script("PRAGMA foreign_keys=OFF")  # else rebuilding a table would cascade into others
    try:
        for migration in todo:
            if _apply(db, migration, package):
                applied.append(migration.label)
    except BaseException:
        if saved is not None and not applied:
            saved.unlink(missing_ok=True)  # equals the database, which is as it was
        raise
    finally:
        db.script("PRAGMA foreign_keys=ON")
    return applied


def pending(db: Database, package: str) -> list[Migration]:
    """What `migrate` would apply, in order.  Raises `NewerDatabase` and `WrongSchema`."""
    known = read_migrations(package)
    applied = _applied(db)
    if not applied and db.one("SELECT 1 FROM sqlite_schema") is not None:
        # Tables and their record come in one transaction, maybe another's between the two looks.
        applied = _applied(db)
        if not applied:
            raise WrongSchema(
                f"{db.path} is the database of another program",
                detail="it has tables, but no schema_version",
                hint="check the path",
            )
    if max(applied, default=0) > len(known):
        raise NewerDatabase(
            f"{db.path} was written by a newer version of this program",
            detail=f"the database has schema {max(applied)}, this program knows {len(known)}",
            hint="upgrade the program; nothing was changed",
        )
    for migration, (version, checksum) in zip(known, applied.items(), strict=False):
        _check_history(db.path, migration, version, checksum)
    return known[len(applied) :]


def current_version(db: Database) -> int:
    """Version of the schema in the file; 0 for an empty database."""
    return max(_applied(db), default=0)


def read_migrations(package: str) -> list[Migration]:
    """The numbered files of `package`.  A gap or a wrong name is a mistake in the program."""
    found: list[Migration] = []
    (folder,) = import_module(package).__path__  # `importlib.resources` is slow to import
    for entry in sorted(Path(folder).iterdir()):
        if not entry.name.endswith(".sql"):
            continue
        match = _FILE_NAME.fullmatch(entry.name)
        if match is None or int(match[1]) != len(found) + 1:
            raise ValueError(f"{package}: {entry.name} is not migration {len(found) + 1:04d}")
        content = entry.read_bytes()
        checksum = hashlib.sha256(content).hexdigest()
        found.append(Migration(int(match[1]), match[2], content.decode(), checksum))
    return found


def _applied(db: Database) -> dict[int, str]:
    """Version -> checksum, ascending."""
    if db.one("SELECT 1 FROM sqlite_schema WHERE name = 'schema_version'") is None:
        return {}
    rows = db.tuples("SELECT version, checksum FROM schema_version ORDER BY version")
    return dict(rows)


def _check_history(path: Path, migration: Migration, version: int, checksum: str) -> None:
    if version != migration.version:
        problem = f"version {migration.version:04d} is missing in schema_version"
    elif checksum != migration.checksum:
        problem = f"{migration.label} is not the file that was applied (its checksum differs)"
    else:
        return
    raise WrongSchema(
        f"{path} has another history than this program",
        detail=problem,
        hint="use the release that created it, or restore a backup; nothing was changed",
    )


def _apply(db: Database, migration: Migration, package: str) -> bool:
    """False when another process was faster."""
    with transaction(db):
        if migration.version not in {todo.version for todo in pending(db, package)}:
            return False
        try:
            db.script(migration.sql)
            _check_result(db)
        except SeedError as why:
            raise MigrationFailed(
                f"{db.path}: migration {migration.label} failed",
                detail=str(why),
                hint="the database is unchanged; report this with the message above",
            ) from why
        db.script(_TABLE)
        db.execute(
            "INSERT INTO schema_version (version, name, checksum, applied_at) VALUES (?, ?, ?, ?)",
            (migration.version, migration.name, migration.checksum, clock.iso(clock.now())),
        )
    return True


def _check_result(db: Database) -> None:
    if not db.in_transaction:
        raise DatabaseError("the file ended the transaction it runs in")
    broken = db.one("PRAGMA foreign_key_check")
    if broken is not None:
        raise DatabaseError(f"a row of {broken['table']} points to nothing in {broken['parent']}")


def _save(db: Database, migration: Migration) -> Path:
    """Copy the database to the first free name; killed migrations leave their copies behind."""
    first = db.path.with_name(f"{db.path.name}.before-{migration.version:04d}")
    names = [first, *(first.with_name(f"{first.name}.{n}") for n in range(2, _MOST_BACKUPS + 1))]
    target = next((name for name in names if not name.exists()), None)
    if target is None:
        raise DatabaseError(
            f"{first} and {_MOST_BACKUPS - 1} more backups exist already",
            detail="earlier migrations were interrupted",
            hint="remove backups that you do not need, then run again",
        )
    backup(db, target)
    return target
