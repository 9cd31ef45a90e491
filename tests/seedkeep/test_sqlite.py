"""The database layer: rows, transactions, refusals, and names that are not UTF-8."""

from __future__ import annotations

import errno
import multiprocessing
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedkeep import clock, database_place
from seedkeep.errors import Locked, Misused, SeedError
from seedkeep.sqlite import (
    ConstraintFailed,
    DamagedDatabase,
    Database,
    DatabaseError,
    DiskFull,
    MissingDatabase,
    backup,
    from_db,
    open_database,
    to_db,
    transaction,
)


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    with open_database(tmp_path / "x.db") as db:
        db.script("CREATE TABLE t (id INTEGER PRIMARY KEY, name ANY NOT NULL UNIQUE) STRICT")
        yield db


def add(db: Database, *names: str) -> None:
    db.executemany("INSERT INTO t (name) VALUES (?)", [(name,) for name in names])


def names(db: Database) -> list[str]:
    return [row["name"] for row in db.all("SELECT name FROM t ORDER BY id")]


# Rows


def test_a_value_is_read_by_name_and_by_position(db: Database) -> None:
    add(db, "a")
    row = db.one("SELECT id, name FROM t")
    assert row is not None
    assert (row["name"], row[1], row["id"], row[0]) == ("a", "a", 1, 1)
    assert (list(row), len(row), dict(row), row.keys()) == (
        [1, "a"],
        2,
        {"id": 1, "name": "a"},
        ["id", "name"],
    )
    assert repr(row) == "Row(id=1, name='a')"


def test_a_row_compares_only_with_rows_that_have_its_columns(db: Database) -> None:
    row = db.one("SELECT 1 AS a")
    assert row != db.one("SELECT 1 AS b")
    assert row != (1,)


def test_equal_rows_are_equal_and_have_one_hash(db: Database) -> None:
    first, second = db.all("SELECT 1 AS a UNION ALL SELECT 1")
    assert first == second
    assert len({first, second}) == 1


def test_a_name_that_no_column_has_is_a_key_error(db: Database) -> None:
    row = db.one("SELECT 1 AS a")
    assert row is not None
    with pytest.raises(KeyError, match="b"):
        row["b"]


def test_a_name_that_two_columns_have_is_not_guessed(db: Database) -> None:
    row = db.one("SELECT 1 AS a, 2 AS a")
    assert row is not None
    assert row[1] == 2
    with pytest.raises(KeyError, match="two columns are called a"):
        row["a"]


def test_no_row_is_none_or_an_empty_list(db: Database) -> None:
    assert db.one("SELECT * FROM t") is None
    assert db.all("SELECT * FROM t") == []
    assert list(db.tuples("SELECT * FROM t")) == []
    assert db.execute("SELECT * FROM t").fetchall() == []


def test_parameters_are_a_sequence_or_a_mapping(db: Database) -> None:
    assert list(db.tuples("SELECT ?, ?", ("a", 1))) == [("a", 1)]
    assert list(db.tuples("SELECT :x", {"x": None})) == [(None,)]


def test_a_cursor_gives_each_row_once(db: Database) -> None:
    add(db, "a", "b", "c")
    cursor = db.execute("SELECT name FROM t ORDER BY id")
    first = cursor.fetchone()
    assert first is not None
    assert first["name"] == "a"
    assert [row["name"] for row in cursor] == ["b", "c"]
    assert cursor.fetchone() is None


def test_tuples_runs_the_statement_at_once(db: Database) -> None:
    db.tuples("INSERT INTO t (name) VALUES ('a')")
    assert names(db) == ["a"]


def test_a_half_read_returning_does_not_hinder_the_commit(db: Database) -> None:
    with transaction(db):
        cursor = db.execute("INSERT INTO t (name) VALUES ('a'), ('b') RETURNING name")
        first = cursor.fetchone()
    assert first is not None
    assert first["name"] == "a"
    assert names(db) == ["a", "b"]


def test_changes_and_rowid_tell_of_the_last_write(db: Database) -> None:
    add(db, "a", "b")
    db.execute("UPDATE t SET name = name || '!'")
    assert (db.changes(), db.last_insert_rowid()) == (2, 2)


def test_a_script_runs_every_statement_even_after_one_with_rows(db: Database) -> None:
    db.script("SELECT 1 UNION SELECT 2; INSERT INTO t (name) VALUES ('a;b');")
    assert names(db) == ["a;b"]


# Transactions


def add_and_fail(db: Database, name: str, why: BaseException) -> None:
    with transaction(db):
        with transaction(db):
            add(db, name)
        raise why


def test_a_transaction_keeps_all_or_nothing(db: Database) -> None:
    with pytest.raises(KeyboardInterrupt):
        add_and_fail(db, "a", KeyboardInterrupt())
    assert names(db) == []
    assert not db.in_transaction
    with transaction(db):
        add(db, "b")
    assert names(db) == ["b"]


def test_an_inner_transaction_can_fail_alone(db: Database) -> None:
    with transaction(db):
        add(db, "outer")
        with pytest.raises(RuntimeError):
            add_and_fail(db, "inner", RuntimeError())
        add(db, "after")
    assert names(db) == ["outer", "after"]


def test_a_commit_that_fails_leaves_no_open_transaction(db: Database) -> None:
    db.script("CREATE TABLE c (t INTEGER REFERENCES t DEFERRABLE INITIALLY DEFERRED) STRICT")
    with pytest.raises(ConstraintFailed), transaction(db):
        db.execute("INSERT INTO c VALUES (99)")
    assert not db.in_transaction


def test_a_failure_that_rolled_back_by_itself_is_reported_as_it_was(db: Database) -> None:
    with pytest.raises(ConstraintFailed), transaction(db):
        db.script("INSERT INTO t VALUES (1, 'a'); INSERT OR ROLLBACK INTO t VALUES (1, 'a')")
    assert names(db) == []


def test_a_transaction_locks_others_out_from_its_start(db: Database) -> None:
    with open_database(db.path, busy_timeout_s=0.05) as other:
        with (
            transaction(db),
            pytest.raises(Locked, match="locked by another run") as caught,
            transaction(other),
        ):
            pass
        assert caught.value.exit_code == 75
        with transaction(other):
            add(other, "mine")
    assert names(db) == ["mine"]


# Errors


def test_a_broken_rule_of_the_schema_says_which(db: Database) -> None:
    add(db, "a")
    with pytest.raises(ConstraintFailed, match=r"UNIQUE constraint failed: t\.name"):
        add(db, "a")


def test_foreign_keys_are_enforced(db: Database) -> None:
    db.script("CREATE TABLE c (t INTEGER REFERENCES t) STRICT")
    with pytest.raises(ConstraintFailed, match="FOREIGN KEY"):
        db.execute("INSERT INTO c VALUES (99)")


def test_text_in_double_quotes_is_not_taken_for_a_string(db: Database) -> None:
    with pytest.raises(DatabaseError, match="no such column"):
        db.one('SELECT "nmae" FROM t')


@pytest.mark.parametrize("ask", ["one", "script", "executemany", "changes", "tuples"])
def test_every_use_of_a_closed_database_is_our_error(db: Database, ask: str) -> None:
    db.close()
    db.close()
    arguments = {"changes": (), "executemany": ("SELECT ?", [(1,)])}.get(ask, ("SELECT 1",))
    with pytest.raises(DatabaseError, match="closed"):
        getattr(db, ask)(*arguments)


def test_an_error_in_the_middle_of_the_rows_is_our_error(db: Database) -> None:
    add(db, "1", "x")
    rows = db.tuples("SELECT CASE name WHEN 'x' THEN json('{') ELSE name END FROM t ORDER BY id")
    assert next(rows) == ("1",)
    with pytest.raises(DatabaseError, match="malformed JSON"):
        next(rows)


def test_a_close_that_fails_is_our_error() -> None:
    class Failing:
        def close(self) -> None:
            raise apsw.BusyError("unable to close due to unfinished work")

    with pytest.raises(Locked, match="unfinished work"):
        Database(Failing(), Path("x.db")).close()  # type: ignore[arg-type]


# Opening


def test_a_new_database_is_made_with_its_folder_and_is_durable(tmp_path: Path) -> None:
    path = tmp_path / "new" / "deep" / "x.db"
    with open_database(path) as db:
        assert db.path == path
        found = [db.one(f"PRAGMA {name}") for name in ("journal_mode", "synchronous")]
        assert [row[0] for row in found if row is not None] == ["wal", 2]
    assert path.exists()


def test_a_missing_database_is_a_usage_error_and_is_not_made(tmp_path: Path) -> None:
    path = tmp_path / "no" / "x.db"
    with pytest.raises(MissingDatabase, match=r"there is no database at .*x\.db") as caught:
        open_database(path, create=False)
    assert caught.value.exit_code == 2
    with pytest.raises(MissingDatabase):
        open_database(path, readonly=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"not a database " * 500, b"\xa5" * 9000, b"x", b"xy"])
def test_a_file_that_is_no_database_is_refused_unchanged(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.db"
    path.write_bytes(content)
    with pytest.raises(DamagedDatabase, match="restore the file from a backup") as caught:
        open_database(path)
    assert "was not changed" in caught.value.detail
    assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


def test_a_database_with_overwritten_pages_is_reported_as_damaged(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    with open_database(path) as db:
        db.script("CREATE TABLE t (name TEXT) STRICT")
        db.executemany("INSERT INTO t VALUES (?)", [("x" * 1000,) for _ in range(50)])
    content = bytearray(path.read_bytes())
    content[4096 * 1 :] = b"\xa5" * (len(content) - 4096)
    path.write_bytes(content)
    with open_database(path) as db, pytest.raises(DamagedDatabase, match="malformed"):
        db.all("SELECT * FROM t")


def test_a_read_only_database_reads_and_refuses_to_write(db: Database) -> None:
    add(db, "a")
    with open_database(db.path, readonly=True) as reader:
        assert names(reader) == ["a"]
        with pytest.raises(DatabaseError, match="permissions"):
            add(reader, "b")


def test_another_journal_mode_is_used_when_asked(tmp_path: Path) -> None:
    with open_database(tmp_path / "x.db", journal_mode="delete", synchronous="NORMAL") as db:
        row = db.one("PRAGMA journal_mode")
        assert row is not None
        assert row[0] == "delete"


def test_a_wrong_mode_is_a_mistake_of_the_caller(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="journal_mode='memory'"):
        open_database(tmp_path / "x.db", journal_mode="memory")
    with pytest.raises(ValueError, match="synchronous='YES'"):
        open_database(tmp_path / "x.db", synchronous="YES")


def test_a_filesystem_without_the_journal_mode_gets_a_hint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A database in memory is the nearest thing to a filesystem that cannot do WAL.
    real = apsw.Connection
    monkeypatch.setattr(apsw, "Connection", lambda _path, flags: real(":memory:", flags=flags))
    with pytest.raises(Misused, match="--journal-mode delete"):
        open_database(tmp_path / "x.db")


def test_a_folder_is_no_database(tmp_path: Path) -> None:
    with pytest.raises(Misused, match="is a folder"):
        open_database(tmp_path)


def test_a_path_that_sqlite_cannot_take_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Misused, match="not UTF-8"):
        open_database(tmp_path / os.fsdecode(b"\xff.db"))


def test_a_folder_that_cannot_be_made_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Misused, match="cannot create the folder"):
        open_database(tmp_path / "file" / "x.db")


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "9p"])
def test_a_network_filesystem_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(database_place, "filesystem_type", lambda _folder: kind)
    with pytest.raises(Misused, match=rf"network filesystem \({kind}\)"):
        open_database(tmp_path / "x.db")
    assert list(tmp_path.iterdir()) == []


def test_the_filesystem_type_is_the_one_the_kernel_names() -> None:
    assert database_place.filesystem_type(Path("/proc")) == "proc"
    assert database_place.filesystem_type(Path("/dev/shm")) == "tmpfs"
    assert database_place.filesystem_type(Path("/no/such/folder")) == ""


def test_a_mount_that_is_not_listed_has_no_known_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "read_bytes", lambda _self: b"1 0 0:1 / / rw - ext4 /dev/a rw\n")
    assert database_place.filesystem_type(tmp_path) == ""


def open_and_add(path: Path, start: object, number: int) -> None:
    start.wait()  # type: ignore[attr-defined]
    with open_database(path) as db, transaction(db):
        db.script("CREATE TABLE IF NOT EXISTS t (n INTEGER) STRICT")
        db.execute("INSERT INTO t VALUES (?)", (number,))


def test_many_processes_may_make_the_same_database_at_once(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    start = spawn.Barrier(6)
    path = tmp_path / "x.db"
    workers = [spawn.Process(target=open_and_add, args=(path, start, n)) for n in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 6
    with open_database(path) as db:
        assert sorted(db.tuples("SELECT n FROM t")) == [(n,) for n in range(6)]


def test_opening_waits_for_a_locked_database_and_then_says_so(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    slept: list[float] = []
    with open_database(path, journal_mode="delete") as holder:
        holder.script("CREATE TABLE t (n INTEGER) STRICT; BEGIN IMMEDIATE")
        with clock.using(sleep=slept.append), pytest.raises(Locked):
            open_database(path, busy_timeout_s=0.1)
        holder.script("ROLLBACK")
    assert len(slept) > 0


# Full disks


def test_a_full_database_is_a_clear_error_and_keeps_what_it_had(db: Database) -> None:
    add(db, "kept")
    db.execute("PRAGMA max_page_count = 5")
    with pytest.raises(DiskFull, match="free some space"), transaction(db):
        add(db, *("x" * 5000 + str(n) for n in range(50)))
    assert names(db) == ["kept"]
    assert not db.in_transaction


@pytest.mark.root
def test_a_full_disk_is_a_clear_error_and_keeps_what_it_had(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", disk], check=True)
    try:
        with open_database(disk / "x.db") as db:
            db.script("CREATE TABLE t (id INTEGER PRIMARY KEY, name ANY) STRICT")
            add(db, "kept")
            with pytest.raises(DiskFull, match="free some space"), transaction(db):
                add(db, *("x" * 5000 for _ in range(200)))
            assert names(db) == ["kept"]
            (disk / "filler").write_bytes(b"x" * os.statvfs(disk).f_bavail * 4096)
            with pytest.raises(DiskFull, match=r"no room to write .*copy\.db") as caught:
                backup(db, disk / "copy.db")
            assert caught.value.detail == ""  # SQLite says "not an error" of the copy
            assert sorted(path.name for path in disk.iterdir()) == [
                *("filler", "x.db", "x.db-shm", "x.db-wal")
            ]
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.parametrize(
    ("number", "error"), [(errno.ENOSPC, DiskFull), (errno.EIO, DatabaseError)]
)
def test_an_io_error_is_a_full_disk_only_when_the_system_says_so(
    db: Database, monkeypatch: pytest.MonkeyPatch, number: int, error: type[SeedError]
) -> None:
    class Failing:
        system_errno = number

        def changes(self) -> int:
            raise apsw.IOError("disk I/O error")

    with pytest.raises(SeedError) as caught:
        Database(Failing(), db.path).changes()  # type: ignore[arg-type]
    assert type(caught.value) is error


def test_a_number_that_does_not_fit_is_our_error(db: Database) -> None:
    for ask in (
        lambda: db.one("SELECT 1 FROM t WHERE id = ?", (2**63,)),
        lambda: db.all_tuples("SELECT 1 FROM t WHERE id = ?", (2**63,)),
        lambda: db.executemany("INSERT INTO t (id) VALUES (?)", [(-(2**63) - 1,)]),
    ):
        with pytest.raises(DatabaseError, match="a number does not fit"):
            ask()


# Backups


def test_a_backup_holds_what_the_database_holds(db: Database, tmp_path: Path) -> None:
    add(db, "a")
    backup(db, tmp_path / "copy.db")
    add(db, "b")
    with open_database(tmp_path / "copy.db", create=False) as copy:
        assert names(copy) == ["a"]


def test_a_backup_never_replaces_a_file(db: Database, tmp_path: Path) -> None:
    target = tmp_path / "copy.db"
    target.write_text("precious")
    with pytest.raises(DatabaseError) as caught:
        backup(db, target)
    assert caught.value.detail == "File exists"
    assert "free name" in caught.value.hint
    assert target.read_text() == "precious"


def test_a_backup_of_unfinished_work_is_a_mistake_of_the_caller(
    db: Database, tmp_path: Path
) -> None:
    with transaction(db), pytest.raises(ValueError, match="inside a transaction"):
        backup(db, tmp_path / "copy.db")


def test_a_failed_backup_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    with (
        open_database(path, journal_mode="delete") as holder,
        open_database(path, journal_mode="delete", busy_timeout_s=0.05) as db,
    ):
        holder.script("CREATE TABLE t (n INTEGER) STRICT; BEGIN EXCLUSIVE")
        with pytest.raises(Locked):
            backup(db, tmp_path / "copy.db")
        holder.script("ROLLBACK")
    assert list(tmp_path.iterdir()) == [path]


def test_a_backup_that_cannot_even_open_its_target_is_our_error(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_path: str) -> apsw.Connection:
        raise apsw.CantOpenError("unable to open database file")

    monkeypatch.setattr(apsw, "Connection", refuse)
    with pytest.raises(DatabaseError, match="unable to open"):
        backup(db, tmp_path / "copy.db")
    assert not (tmp_path / "copy.db").exists()


def test_a_file_that_cannot_be_opened_is_our_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_path: str, flags: int) -> apsw.Connection:
        raise apsw.CantOpenError(f"unable to open database file ({flags})")

    monkeypatch.setattr(apsw, "Connection", refuse)
    with pytest.raises(DatabaseError, match="check owner and permissions"):
        open_database(tmp_path / "x.db")


# Names


@given(st.binary().filter(lambda name: b"\0" not in name))
def test_every_name_from_the_disk_survives_the_database(name: bytes) -> None:
    connection = apsw.Connection(":memory:")
    db = Database(connection, Path(":memory:"))
    with db:
        db.script("CREATE TABLE t (name ANY NOT NULL) STRICT")
        text = os.fsdecode(name)
        db.execute("INSERT INTO t VALUES (?)", (to_db(text),))
        (stored,) = next(db.tuples("SELECT name FROM t"))
        assert from_db(stored) == text
        assert os.fsencode(from_db(stored)) == name
        assert next(db.tuples("SELECT count(*) FROM t WHERE name = ?", (to_db(text),))) == (1,)


def test_a_name_in_utf8_is_stored_as_text_that_people_can_query() -> None:
    assert to_db("Film ü.mkv") == "Film ü.mkv"
    assert to_db(os.fsdecode(b"\xfcber")) == b"\xfcber"


def test_a_surrogate_that_no_file_name_has_is_refused() -> None:
    with pytest.raises(UnicodeEncodeError):
        to_db("\ud800")
