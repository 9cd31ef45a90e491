"""The only opening of a database, and the only import of apsw.

apsw carries its own SQLite, which has the fix for the WAL-reset bug that older system libraries
lack.  Opening the same file with the standard library's module in the same process would undo that
and drop POSIX locks, so nobody else opens a database.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, TypeVar

import apsw

from seedkeep import clock
from seedkeep.database_place import MissingDatabase, check_place
from seedkeep.errors import Locked, Misused, SeedError
from seedkeep.open_databases import open_databases
from seedkeep.rows import Cursor, Description, Row, positions_of

__all__ = [
    "ConstraintFailed",
    "Cursor",
    "DamagedDatabase",
    "Database",
    "DatabaseError",
    "DiskFull",
    "MissingDatabase",
    "Row",
    "backup",
    "from_db",
    "open_database",
    "to_db",
    "transaction",
]

T = TypeVar("T")
Params = Sequence[Any] | Mapping[str, Any]

_SYNCHRONOUS = frozenset({"OFF", "NORMAL", "FULL", "EXTRA"})
_JOURNAL_MODES = frozenset({"wal", "delete", "truncate", "persist"})
_RETRY_PAUSE_S = 0.02
_SMALLEST = 512  # bytes of a database with anything in it


class DatabaseError(SeedError):
    """SQLite could not do what was asked; the open transaction is rolled back by its owner."""

    code = "database"


class DamagedDatabase(DatabaseError):
    """Not a database, or one whose pages contradict each other."""

    code = "database-damaged"


class DiskFull(DatabaseError):
    """No room for the write; what was committed before is safe."""

    code = "disk-full"


class ConstraintFailed(DatabaseError):
    """A row would break a rule of the schema: unique, foreign key, not null, check, type."""

    code = "constraint"


class Database:
    """One connection.  Belongs to one thread at a time: a transaction is a property of it."""

    def __init__(self, connection: apsw.Connection, path: Path) -> None:
        self._connection = connection
        self.path = path
        open_databases.add(self)

    def execute(self, sql: str, params: Params = ()) -> Cursor:
        """Run one statement; use `script` for several."""
        description, rows = self._start(sql, params)
        return Cursor(rows, positions_of(description))

    def one(self, sql: str, params: Params = ()) -> Row | None:
        """First row, or None when there is none."""
        return self.execute(sql, params).fetchone()

    def all(self, sql: str, params: Params = ()) -> list[Row]:
        return self.execute(sql, params).fetchall()

    def tuples(self, sql: str, params: Params = ()) -> Iterator[tuple[Any, ...]]:
        """Plain tuples, for reading many rows.  The statement runs now, the rows come lazily."""
        return self._start(sql, params)[1]

    def all_tuples(self, sql: str, params: Params = ()) -> list[tuple[Any, ...]]:
        """The same at once, which takes half the time where each row is looked at anyway."""
        try:
            return self._connection.execute(sql, params).fetchall()
        except (apsw.Error, OverflowError) as why:
            self._fail(why)

    def executemany(self, sql: str, rows: Iterable[Params]) -> None:
        """Run `sql` once for each of `rows`; makes no transaction of its own."""
        try:
            self._connection.executemany(sql, rows).fetchall()
        except (apsw.Error, OverflowError) as why:
            self._fail(why)

    def script(self, sql: str) -> None:
        """Run every statement of `sql` to its end and drop the rows."""
        try:
            self._connection.execute(sql).fetchall()
        except apsw.Error as why:
            self._fail(why)

    def changes(self) -> int:
        """Rows changed by the last INSERT, UPDATE or DELETE."""
        return self._ask(self._connection.changes)

    def last_insert_rowid(self) -> int:
        return self._ask(self._connection.last_insert_rowid)

    @property
    def in_transaction(self) -> bool:
        return self._ask(lambda: self._connection.in_transaction)

    def close(self) -> None:
        """Close; safe to repeat.  The last connection to close folds the WAL into the file."""
        try:
            self._connection.close()
        except apsw.Error as why:
            self._fail(why)
        open_databases.discard(self)

    def __enter__(self) -> Database:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _start(self, sql: str, params: Params) -> tuple[Description, Iterator[tuple[Any, ...]]]:
        try:
            cursor = self._connection.execute(sql, params)
            description = cursor.get_description()
            if not cursor.is_readonly:
                return description, iter(cursor.fetchall())
        except apsw.ExecutionCompleteError:  # ran to its end already: there are no rows
            return (), iter(())
        except (apsw.Error, OverflowError) as why:
            self._fail(why)
        return description, self._translated(cursor)

    def _translated(self, cursor: apsw.Cursor) -> Iterator[tuple[Any, ...]]:
        try:
            yield from cursor
        except apsw.Error as why:
            self._fail(why)

    def _ask(self, question: Callable[[], T]) -> T:
        try:
            return question()
        except apsw.Error as why:
            self._fail(why)

    def _fail(self, why: apsw.Error | OverflowError) -> NoReturn:
        if isinstance(why, OverflowError):
            raise DatabaseError(
                f"{self.path}: a number does not fit",
                detail="SQLite's integers end at 9223372036854775807",
                hint="check the number that you gave",
            ) from why
        raise _seed_error(why, self.path, self._connection) from why


def open_database(
    path: Path,
    *,
    create: bool = True,
    readonly: bool = False,
    synchronous: str = "FULL",
    journal_mode: str = "wal",
    busy_timeout_s: float = 30.0,
) -> Database:
    """Open `path`; with `create`, make the file and its folder when they are missing.

    Args:
        synchronous: FULL for what must survive a power cut; NORMAL may lose the last commits.
        journal_mode: "delete" for filesystems without shared memory (some FUSE ones).
        busy_timeout_s: How long every statement waits for another process before `Locked`.

    Raises:
        MissingDatabase: No such file, and `create` is off (or `readonly` is on).
        DamagedDatabase: The file is something else, or damaged; its bytes were not touched.
        Misused: A network filesystem, a folder, a name that SQLite cannot take.
        Locked: Another process kept it locked for longer than `busy_timeout_s`.
    """
    if synchronous not in _SYNCHRONOUS or journal_mode not in _JOURNAL_MODES:
        raise ValueError(f"synchronous={synchronous!r}, journal_mode={journal_mode!r}")
    path = path.expanduser().absolute()
    check_place(path, create=create and not readonly)
    # By stat, because closing a descriptor of ours would drop SQLite's locks on the file.
    if path.exists() and 0 < path.stat().st_size < _SMALLEST:
        raise _damaged(
            path, "the file is too short; it was not changed"
        )  # SQLite overwrites a file of one byte
    flags = apsw.SQLITE_OPEN_READONLY if readonly else apsw.SQLITE_OPEN_READWRITE
    if create and not readonly:
        flags |= apsw.SQLITE_OPEN_CREATE
    try:
        connection = apsw.Connection(str(path), flags=flags)
    except apsw.Error as why:
        raise _seed_error(why, path, None) from why
    try:
        connection.set_busy_timeout(int(busy_timeout_s * 1000))
        _configure(connection, synchronous)
        if not readonly:
            _set_journal_mode(connection, path, journal_mode, busy_timeout_s)
    except BaseException as why:
        error = _seed_error(why, path, connection) if isinstance(why, apsw.Error) else None
        connection.close()
        if error is None:
            raise
        if isinstance(error, DamagedDatabase):
            error.detail += "; the file was not changed"
        raise error from why
    return Database(connection, path)


def _configure(connection: apsw.Connection, synchronous: str) -> None:
    # "text" in double quotes would silently be a string where a column was misspelt.
    connection.config(apsw.SQLITE_DBCONFIG_DQS_DML, 0)
    connection.config(apsw.SQLITE_DBCONFIG_DQS_DDL, 0)
    # A file from elsewhere cannot make its views and triggers run unsafe functions.
    connection.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
    connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
    connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()  # reads the header
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute(f"PRAGMA synchronous={synchronous}")
    connection.execute("PRAGMA cache_size=-65536")


def _set_journal_mode(
    connection: apsw.Connection, path: Path, wanted: str, busy_timeout_s: float
) -> None:
    """SQLite answers "busy" at once, without its timeout, when two switch the mode together."""
    deadline = clock.monotonic() + busy_timeout_s
    while True:
        try:
            (got,) = connection.execute(f"PRAGMA journal_mode={wanted}").fetchall()[0]
            break
        except apsw.BusyError:
            if clock.monotonic() >= deadline:
                raise
            clock.sleep(_RETRY_PAUSE_S)
    if got != wanted:
        raise Misused(
            f"{path}: the journal mode is {got}, not {wanted}",
            detail="the filesystem may lack shared memory (FUSE)",
            hint="try --journal-mode delete, or keep the database on a local disk",
        )


def _seed_error(why: apsw.Error, path: Path, connection: apsw.Connection | None) -> SeedError:
    """The error a person reads for what SQLite said."""
    detail = "" if str(why) == "not an error" else str(why)  # so of a copy that failed
    if isinstance(why, (apsw.BusyError, apsw.LockedError)):
        return Locked(
            f"{path} is locked by another run",
            detail=detail,
            hint="wait until the other program has finished, then try again",
        )
    if isinstance(why, (apsw.NotADBError, apsw.CorruptError)):
        return _damaged(path, detail)
    if isinstance(why, apsw.FullError) or _no_space(why, connection):
        return DiskFull(
            f"no room to write {path}",
            detail=detail,
            hint="free some space on that filesystem, then run again",
        )
    if isinstance(why, apsw.ConstraintError):
        return ConstraintFailed(f"{path}: a row breaks a rule of the schema", detail=detail)
    if isinstance(why, (apsw.ReadOnlyError, apsw.CantOpenError, apsw.PermissionsError)):
        return DatabaseError(
            f"cannot open or write {path}",
            detail=detail,
            hint="check owner and permissions of file and folder; is the disk read-only now?",
        )
    return DatabaseError(f"{path}: the database failed", detail=detail)


def _damaged(path: Path, detail: str) -> DamagedDatabase:
    return DamagedDatabase(
        f"{path} is damaged or is not a database",
        detail=detail,
        hint="check the path; restore the file from a backup (keep a copy of this one)",
    )


def _no_space(why: apsw.Error, connection: apsw.Connection | None) -> bool:
    if connection is None or not isinstance(why, apsw.IOError):
        return False
    return connection.system_errno in (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def transaction(db: Database) -> Iterator[None]:
    """Everything in the block happens, or nothing; inside another transaction, a savepoint.

    Takes the write lock at once, so that no statement in the block can fail with a stale snapshot.
    """
    if db.in_transaction:
        begin, commit = "SAVEPOINT nested", "RELEASE nested"
        rollback = "ROLLBACK TO nested; RELEASE nested"
    else:
        begin, commit, rollback = "BEGIN IMMEDIATE", "COMMIT", "ROLLBACK"
    db.script(begin)
    try:
        yield
        db.script(commit)
    except BaseException:
        # A full disk or an I/O error makes SQLite roll back by itself.
        if db.in_transaction:
            db.script(rollback)
        raise


def backup(db: Database, target: Path) -> None:
    """Copy the whole database to `target`, which must not exist; durable when it returns.

    A failed copy is removed again.  Not inside a transaction: the copy would hold its work.
    """
    if db.in_transaction:
        raise ValueError("a backup inside a transaction")
    target = target.absolute()
    try:
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    except OSError as why:
        brief, said = f"cannot write the backup {target}", why.strerror or str(why)
        hint = "a backup replaces no file: give it a free name, in a folder that can be written"
        raise DatabaseError(brief, detail=said, hint=hint) from why
    beside = [target.with_name(target.name + end) for end in ("-journal", "-wal", "-shm")]
    made = [target, *(path for path in beside if not path.exists())]
    try:
        _copy(db, target)
        _sync_folder(target.parent)
    except BaseException:
        for path in made:
            path.unlink(missing_ok=True)
        raise


def _copy(db: Database, target: Path) -> None:
    copy = None
    try:
        copy = apsw.Connection(str(target))
        with copy.backup("main", db._connection, "main") as job:
            while not job.done:
                job.step(-1)
    except apsw.Error as why:
        raise _seed_error(why, target, copy) from why
    finally:
        if copy is not None:
            copy.close()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def to_db(text: str) -> str | bytes:
    """What to store for a name from the disk: text, or its raw bytes when it is not UTF-8.

    Columns that hold names are of type ANY.  Raises `UnicodeEncodeError` for a lone surrogate that
    `os.fsdecode` cannot have made.
    """
    if text.isascii():  # nearly always, and ten times as quick to see
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogateescape")
    return text


def from_db(value: str | bytes) -> str:
    """Inverse of `to_db`."""
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value
