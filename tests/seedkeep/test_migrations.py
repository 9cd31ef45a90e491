"""Migrations: one transaction each, a backup first, and never a step on foreign ground."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest

from seedkeep import clock, migrations
from seedkeep.migrations import (
    MigrationFailed,
    NewerDatabase,
    WrongSchema,
    current_version,
    migrate,
    pending,
    read_migrations,
)
from seedkeep.sqlite import Database, DatabaseError, open_database

ONE = "CREATE TABLE a (x INTEGER PRIMARY KEY) STRICT;"
TWO = """
CREATE TABLE b (a INTEGER REFERENCES a ON DELETE CASCADE) STRICT;
CREATE TRIGGER follow AFTER INSERT ON a BEGIN
    INSERT INTO b VALUES (new.x);
    UPDATE b SET a = a;
END;
SELECT 'a row that nobody reads';
INSERT INTO a VALUES (7);
"""

Release = Callable[..., str]  # SQL of 0001, 0002, ... -> name of a package with these files


@pytest.fixture
def release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Release:
    monkeypatch.syspath_prepend(str(tmp_path / "packages"))

    def build(*scripts: str) -> str:
        package = f"release_{uuid4().hex}"
        folder = tmp_path / "packages" / package
        folder.mkdir(parents=True)
        (folder / "__init__.py").touch()
        for number, script in enumerate(scripts, 1):
            (folder / f"{number:04d}_step.sql").write_text(script)
        return package

    return build


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    with open_database(tmp_path / "x.db") as db:
        yield db


def folder_of(package: str, tmp_path: Path) -> Path:
    return tmp_path / "packages" / package


def schema(db: Database) -> list[tuple[str]]:
    return list(db.tuples("SELECT sql FROM sqlite_schema ORDER BY name"))


def test_a_new_database_gets_every_migration_in_order(db: Database, release: Release) -> None:
    moment = datetime(2026, 11, 21, 7, 35, 6, tzinfo=UTC)
    package = release(ONE, TWO)
    with clock.using(now=lambda: moment):
        assert migrate(db, package) == ["0001_step", "0002_step"]
    assert list(db.tuples("SELECT version, name, applied_at FROM schema_version")) == [
        (1, "step", "2026-11-21T07:35:06Z"),
        (2, "step", "2026-11-21T07:35:06Z"),
    ]
    assert list(db.tuples("SELECT * FROM b")) == [(7,)]
    assert current_version(db) == 2


def test_an_empty_database_has_version_0_and_all_is_pending(db: Database, release: Release) -> None:
    assert current_version(db) == 0
    assert [todo.label for todo in pending(db, release(ONE, TWO))] == ["0001_step", "0002_step"]


def test_migrating_twice_changes_nothing(db: Database, release: Release) -> None:
    package = release(ONE, TWO)
    migrate(db, package)
    assert migrate(db, package) == []
    assert pending(db, package) == []


def test_a_new_database_needs_no_backup(db: Database, release: Release, tmp_path: Path) -> None:
    migrate(db, release(ONE, TWO))
    assert list(tmp_path.glob("*.before-*")) == []


def test_an_existing_database_is_copied_before_it_changes(
    db: Database, release: Release, tmp_path: Path
) -> None:
    migrate(db, release(ONE))
    db.execute("INSERT INTO a VALUES (42)")
    assert migrate(db, release(ONE, TWO)) == ["0002_step"]
    with open_database(tmp_path / "x.db.before-0002", readonly=True) as saved:
        assert current_version(saved) == 1
        assert list(saved.tuples("SELECT x FROM a")) == [(42,)]


def test_a_backup_of_an_earlier_attempt_is_kept(
    db: Database, release: Release, tmp_path: Path
) -> None:
    (tmp_path / "x.db.before-0002").write_text("precious")
    migrate(db, release(ONE))
    migrate(db, release(ONE, TWO))
    assert (tmp_path / "x.db.before-0002").read_text() == "precious"
    assert (tmp_path / "x.db.before-0002.2").exists()


def test_backups_do_not_fill_the_disk_without_end(
    db: Database, release: Release, tmp_path: Path
) -> None:
    migrate(db, release(ONE))
    for name in ("", *(f".{number}" for number in range(2, 10))):
        (tmp_path / f"x.db.before-0002{name}").touch()
    with pytest.raises(DatabaseError, match="remove backups that you do not need"):
        migrate(db, release(ONE, TWO))
    assert current_version(db) == 1


def test_a_failed_migration_leaves_the_version_before_it(
    db: Database, release: Release, tmp_path: Path
) -> None:
    migrate(db, release(ONE))
    before = schema(db)
    with pytest.raises(MigrationFailed, match=r"0002_step failed(.|\n)*no such table: nowhere"):
        migrate(db, release(ONE, "CREATE TABLE c (x); INSERT INTO nowhere VALUES (1);", TWO))
    assert schema(db) == before
    assert current_version(db) == 1
    assert list(tmp_path.glob("*.before-*")) == []  # the copy would equal the database


def test_the_backup_stays_when_one_step_worked_and_the_next_failed(
    db: Database, release: Release, tmp_path: Path
) -> None:
    migrate(db, release(ONE))
    with pytest.raises(MigrationFailed):
        migrate(db, release(ONE, TWO, "nonsense"))
    assert current_version(db) == 2
    assert (tmp_path / "x.db.before-0002").exists()


def test_a_failed_first_migration_leaves_an_empty_database(db: Database, release: Release) -> None:
    with pytest.raises(MigrationFailed):
        migrate(db, release("CREATE TABLE c (x); nonsense"))
    assert schema(db) == []


def test_rebuilding_a_table_does_not_delete_what_points_to_it(
    db: Database, release: Release
) -> None:
    rebuild = """
        CREATE TABLE a2 (x INTEGER PRIMARY KEY, y INTEGER) STRICT;
        INSERT INTO a2 (x) SELECT x FROM a;
        DROP TABLE a;
        ALTER TABLE a2 RENAME TO a;
    """
    migrate(db, release(ONE, TWO, rebuild))
    assert list(db.tuples("SELECT a FROM b")) == [(7,)]
    assert db.all("PRAGMA foreign_keys")[0][0] == 1


def test_a_migration_that_leaves_rows_pointing_to_nothing_fails(
    db: Database, release: Release
) -> None:
    with pytest.raises(MigrationFailed, match="a row of b points to nothing in a"):
        migrate(db, release(ONE, TWO, "DELETE FROM a"))
    assert list(db.tuples("SELECT x FROM a")) == [(7,)]
    assert db.all("PRAGMA foreign_keys")[0][0] == 1


def test_a_migration_that_ends_its_transaction_fails(db: Database, release: Release) -> None:
    with pytest.raises(MigrationFailed, match="ended the transaction"):
        migrate(db, release("CREATE TABLE c (x); COMMIT"))


def test_a_newer_database_is_refused_unchanged(
    db: Database, release: Release, tmp_path: Path
) -> None:
    migrate(db, release(ONE, TWO))
    before = schema(db)
    with pytest.raises(NewerDatabase) as caught:
        migrate(db, release(ONE))
    assert "schema 2, this program knows 1" in caught.value.detail
    assert "upgrade the program" in caught.value.hint
    assert schema(db) == before
    assert list(tmp_path.glob("*.before-*")) == []


def test_a_file_that_changed_after_it_was_applied_is_refused(
    db: Database, release: Release
) -> None:
    migrate(db, release(ONE))
    with pytest.raises(WrongSchema, match="0001_step is not the file that was applied"):
        migrate(db, release(ONE + "-- edited", TWO))
    assert current_version(db) == 1


def test_a_gap_in_the_history_is_refused(db: Database, release: Release) -> None:
    package = release(ONE, TWO)
    migrate(db, package)
    db.execute("DELETE FROM schema_version WHERE version = 1")
    with pytest.raises(WrongSchema, match="version 0001 is missing"):
        migrate(db, package)


def test_the_database_of_another_program_is_refused_unchanged(
    db: Database, release: Release
) -> None:
    db.script("CREATE TABLE moz_places (id INTEGER)")
    with pytest.raises(WrongSchema, match="another program"):
        migrate(db, release(ONE))
    assert schema(db) == [("CREATE TABLE moz_places (id INTEGER)",)]


@pytest.mark.parametrize("name", ["0003_gap.sql", "two.sql", "0002_Upper.sql"])
def test_a_badly_numbered_file_is_a_mistake_of_the_program(
    release: Release, tmp_path: Path, name: str
) -> None:
    package = release(ONE)
    (folder_of(package, tmp_path) / name).touch()
    with pytest.raises(ValueError, match="is not migration 0002"):
        read_migrations(package)


def test_other_files_in_the_package_are_ignored(release: Release, tmp_path: Path) -> None:
    package = release(ONE)
    (folder_of(package, tmp_path) / "README.md").touch()
    assert [found.label for found in read_migrations(package)] == ["0001_step"]


def migrate_elsewhere(path: Path, packages: str, package: str, start: object) -> None:
    sys.path.insert(0, packages)
    start.wait()  # type: ignore[attr-defined]
    with open_database(path) as db:
        migrate(db, package)


def test_two_processes_that_migrate_at_once_apply_each_file_once(
    release: Release, tmp_path: Path
) -> None:
    package = release(ONE, TWO, *(f"CREATE TABLE t{n} (x INTEGER) STRICT" for n in range(20)))
    spawn = multiprocessing.get_context("spawn")
    start = spawn.Barrier(3)
    arguments = (tmp_path / "x.db", str(tmp_path / "packages"), package, start)
    workers = [spawn.Process(target=migrate_elsewhere, args=arguments) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    with open_database(tmp_path / "x.db") as db:
        assert current_version(db) == 22
        assert list(db.tuples("SELECT x FROM a")) == [(7,)]


def test_a_step_that_another_process_has_done_is_not_done_again(
    db: Database, release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = release(ONE)
    todo = pending(db, package)
    migrate(db, package)
    answers = [todo]
    monkeypatch.setattr("seedkeep.migrations.pending", lambda *_: answers.pop() if answers else [])
    assert migrate(db, package) == []


def test_a_database_that_another_thread_fills_between_two_looks_is_ours(
    release: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = release(ONE)
    applied = migrations._applied

    def and_then_another_migrates(db: Database) -> dict[int, str]:
        monkeypatch.setattr(migrations, "_applied", applied)
        seen = applied(db)
        with open_database(tmp_path / "x.db") as other:
            migrate(other, package)
        return seen

    with open_database(tmp_path / "x.db") as db:
        monkeypatch.setattr(migrations, "_applied", and_then_another_migrates)
        assert migrate(db, package) == []
        assert current_version(db) == 1
