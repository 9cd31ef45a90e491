"""Settings of a connection end with the work that they are for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.filesystems import lab_folder, tmpfs

from seedkeep.pragmas import pragmas, quick_sorting
from seedkeep.sqlite import Database, DatabaseError, open_database

NAMES = ("cache_size", "threads", "synchronous")
ROWS = 200_000  # of 70 bytes: more than is sorted at once


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    with open_database(tmp_path / "some.db") as db:
        yield db


def values_of(db: Database) -> list[int]:
    rows = [db.one(f"PRAGMA {name}") for name in NAMES]
    return [int(row[0]) for row in rows if row is not None]


def test_settings_hold_inside_and_are_as_before_after_it_however_it_ends(db: Database) -> None:
    before = values_of(db)
    with pragmas(db, {"cache_size": -123, "synchronous": 1}):
        assert values_of(db) == [-123, before[1], 1]
    assert values_of(db) == before

    with pytest.raises(RuntimeError, match="enough"), pragmas(db, {"cache_size": -123}):
        raise RuntimeError("enough")
    assert values_of(db) == before

    with pytest.raises(DatabaseError), pragmas(db, {"cache_size": -123, "threads": "("}):
        pass
    assert values_of(db) == before


def test_an_index_that_is_sorted_in_pieces_is_whole(db: Database) -> None:
    db.script(
        f"""
        CREATE TABLE hashes (sha256 TEXT);
        WITH RECURSIVE n(x) AS (VALUES (1) UNION ALL SELECT x + 1 FROM n WHERE x < {ROWS})
        INSERT INTO hashes SELECT hex(randomblob(32)) FROM n
        """
    )
    usual = values_of(db)
    with quick_sorting(db):
        assert values_of(db) != usual
        db.execute("CREATE INDEX by_sha256 ON hashes (sha256)")

    counted = db.one("SELECT count(*) FROM hashes INDEXED BY by_sha256 WHERE sha256 > ''")
    checked = db.one("PRAGMA integrity_check")
    assert [*map(tuple, filter(None, (counted, checked)))] == [(ROWS,), ("ok",)]


@pytest.mark.root
def test_without_room_for_temporary_files_nothing_is_sorted_in_pieces(
    db: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A container whose own filesystem is read-only has none, or a tmpfs of some MiB."""

    def in_pieces() -> bool:
        with quick_sorting(db):
            return values_of(db) != usual

    usual = values_of(db)
    monkeypatch.setattr("seedkeep.pragmas._ROOM", 100 << 20)
    for name in ("SQLITE_TMPDIR", "TMPDIR"):
        monkeypatch.delenv(name, raising=False)
    with lab_folder() as folder, tmpfs(folder / "small", size="64M") as small:
        for first, room in ((tmp_path, True), (tmp_path / "missing", True), (small, False)):
            monkeypatch.setattr("seedkeep.pragmas._USUAL", (str(first), str(tmp_path)))
            assert in_pieces() == room
        for name in ("TMPDIR", "SQLITE_TMPDIR"):  # the later goes before the earlier
            monkeypatch.setattr("seedkeep.pragmas._USUAL", (str(small),))
            monkeypatch.setenv(name, str(tmp_path))
            assert in_pieces()
            monkeypatch.setattr("seedkeep.pragmas._USUAL", (str(tmp_path),))
            monkeypatch.setenv(name, str(small))
            assert not in_pieces()
    monkeypatch.setattr("seedkeep.pragmas._USUAL", (str(tmp_path / "missing"), str(db.path)))
    assert not in_pieces()
