"""The catalog's file: what is none stays untouched, what is wrong is found, backups are whole."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support.catalog_lab import CatalogLab
from tests.support.filesystems import lab_folder, tmpfs
from tests.support.listed_client import ListedClient, a_torrent

from hashall import catalog_care, render_database
from hashall.catalog import open_catalog
from hashall.catalog.health import Health
from hashall.catalog.store import EmptyCatalog
from hashall.lock import exclusive
from hashall.payload_sync import sync
from hashall.qbittorrent import PathMap
from seedkeep.errors import Misused, SeedError
from seedkeep.migrations import NewerDatabase, WrongSchema
from seedkeep.sqlite import DamagedDatabase, DatabaseError, open_database


def codes(lab: CatalogLab) -> list[str]:
    return [problem.code for problem in catalog_care.check(lab.places(), tree=False).problems]


# -- what is no catalog


@pytest.fixture
def strange(tmp_path: Path) -> Path:
    return tmp_path / "strange.db"


def nothing(path: Path) -> type[SeedError]:
    path.touch()
    return EmptyCatalog


def header_only(path: Path) -> type[SeedError]:
    open_database(path).close()
    return EmptyCatalog


def of_another_program(path: Path) -> type[SeedError]:
    with open_database(path, journal_mode="delete") as db:
        db.script("CREATE TABLE bookmarks (url TEXT)")
    return WrongSchema


def newer(path: Path) -> type[SeedError]:
    open_catalog(path, create=True).db.close()
    with open_database(path, journal_mode="delete") as db:
        db.execute("INSERT INTO schema_version VALUES (999, 'later', '', '')")
    return NewerDatabase


def words(path: Path) -> type[SeedError]:
    path.write_bytes(b"these are words, and no database\n" * 100)
    return DamagedDatabase


def cut_off(path: Path) -> type[SeedError]:
    open_catalog(path, create=True).db.close()
    path.write_bytes(path.read_bytes()[:5000])
    return DamagedDatabase


@pytest.mark.parametrize("make", [nothing, header_only, of_another_program, newer, words, cut_off])
@pytest.mark.parametrize(
    "use",
    [
        lambda path: open_catalog(path, create=False),
        catalog_care.state,
        catalog_care.bring_up_to_date,
        lambda path: catalog_care.save(path, path.with_name("copy.db")),
    ],
    ids=["open", "status", "migrate", "backup"],
)
def test_what_is_no_catalog_is_refused_and_not_touched(
    strange: Path, make: Callable[[Path], type[SeedError]], use: Callable[[Path], object]
) -> None:
    wanted = make(strange)
    before = hashlib.sha256(strange.read_bytes()).hexdigest()
    with pytest.raises(wanted) as error:
        use(strange)
    assert error.value.hint
    assert hashlib.sha256(strange.read_bytes()).hexdigest() == before
    assert not strange.with_name("copy.db").exists()


@pytest.mark.parametrize("make", [of_another_program, newer, words, cut_off])
def test_not_even_a_scan_begins_a_catalog_in_it(
    strange: Path, make: Callable[[Path], type[SeedError]]
) -> None:
    wanted = make(strange)
    before = strange.read_bytes()
    with pytest.raises(wanted):
        open_catalog(strange, create=True)
    assert strange.read_bytes() == before


@pytest.mark.parametrize("make", [nothing, header_only])
def test_a_scan_begins_anew_in_an_empty_file_and_says_so(
    strange: Path, make: Callable[[Path], object], caplog: pytest.LogCaptureFixture
) -> None:
    """A first scan that was killed at once leaves such a file behind."""
    make(strange)
    with caplog.at_level(logging.WARNING):
        open_catalog(strange, create=True).db.close()
    assert f"{strange} was empty: a new catalog begins" in caplog.text


def test_a_catalog_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(Misused, match="there is no"):
        catalog_care.state(tmp_path / "none.db")


# -- status, migrate, backup


def test_the_state_tells_schema_size_and_journal(lab: CatalogLab) -> None:
    lab.write("a", b"a")
    lab.scan()
    state = catalog_care.state(lab.db_path)

    assert state.versions.schema == state.versions.known >= 4
    assert (state.versions.pending, state.pages.journal_mode, state.holder) == ((), "wal", None)
    assert state.bytes == state.pages.pages * state.pages.page_size or state.wal_bytes
    text = render_database.state(state)
    assert f"catalog    {lab.db_path}\n" in text
    assert f"schema     {state.versions.known} of {state.versions.known}\n" in text


def test_the_state_names_who_is_writing(lab: CatalogLab) -> None:
    with exclusive(lab.db_path, "hashall scan /srv"):
        held = render_database.state(catalog_care.state(lab.db_path))
    assert ": hashall scan /srv" in held
    assert "held by    nobody" in render_database.state(catalog_care.state(lab.db_path))


def test_an_older_catalog_is_shown_as_it_is_and_migrated_when_asked(lab: CatalogLab) -> None:
    lab.close()
    newest = older_by_one(lab.db_path)

    state = catalog_care.state(lab.db_path)
    assert (state.versions.schema, len(state.versions.pending)) == (newest - 1, 1)
    assert f"schema     {newest - 1} of {newest}; waiting: " in render_database.state(state)
    done = catalog_care.bring_up_to_date(lab.db_path)
    assert (done.applied, done.schema) == (state.versions.pending, newest)
    assert render_database.migrated(done) == f"applied {done.applied[0]}\nschema {newest}"
    assert [copy.path.name for copy in catalog_care.state(lab.db_path).backups] == [
        f"catalog.db.before-{newest:04d}"
    ]
    assert "nothing to do" in render_database.migrated(catalog_care.bring_up_to_date(lab.db_path))


def older_by_one(path: Path) -> int:
    """Take the newest migration back, whatever it is, by building a file without it."""
    from importlib import resources

    from seedkeep.migrations import read_migrations

    every = read_migrations("hashall.catalog.sql")
    assert resources.files("hashall.catalog.sql")
    path.unlink()
    for side in ("-wal", "-shm"):
        path.with_name(path.name + side).unlink(missing_ok=True)
    with open_database(path) as db:
        db.script(
            "CREATE TABLE schema_version (version INTEGER PRIMARY KEY, name TEXT NOT NULL,"
            " checksum TEXT NOT NULL, applied_at TEXT NOT NULL) STRICT"
        )
        for migration in every[:-1]:
            db.script(migration.sql)
            db.execute(
                "INSERT INTO schema_version VALUES (?, ?, ?, '')",
                (migration.version, migration.name, migration.checksum),
            )
    return len(every)


def test_a_backup_has_everything_and_never_overwrites(lab: CatalogLab) -> None:
    lab.write("film", b"film")
    lab.scan()
    target = lab.folder / "copy.db"
    copy = catalog_care.save(lab.db_path, target)
    assert (copy.path, copy.bytes) == (target, target.stat().st_size)
    with open_catalog(target, create=False) as saved:
        n = lab.spot().device.device_id
        assert list(saved.files(n).everything()) == list(lab.files().everything())

    with pytest.raises(DatabaseError, match="cannot write the backup"):
        catalog_care.save(lab.db_path, target)


# -- check


@pytest.fixture
def full(lab: CatalogLab) -> CatalogLab:
    """With files, links, names that are not UTF-8, something deleted, and a payload."""
    lab.write("seeds/Film/film.mkv", b"film")
    lab.write("seeds/Film/more.mkv", b"more")
    os.link(lab.root / "seeds/Film/film.mkv", lab.root / os.fsdecode(b"link \xff"))
    lab.write("gone/away", b"gone")
    lab.scan()
    (lab.root / "gone/away").unlink()
    lab.scan()
    client = ListedClient()
    client.add(a_torrent("Film", lab.root / "seeds"), {"Film/film.mkv": 4, "Film/more.mkv": 4})
    sync(client, lab.places(), PathMap())
    return lab


def test_a_catalog_as_the_program_makes_it_agrees_with_itself(full: CatalogLab) -> None:
    report = catalog_care.check(full.places(), tree=True)
    assert report.problems == ()
    assert report.tree is not None
    assert (report.tree.names, report.tree.same) == (3, 3)
    assert render_database.check(report) == (
        "the catalog agrees with itself\n3 names looked at, 3 as the catalog has them"
    )


BROKEN = {
    "name-without-inode": "UPDATE names_{n} SET inode = inode + 999 WHERE name = 'more.mkv'",
    "inode-without-name": "UPDATE names_{n} SET gone_at = '2026-01-01T00:00:00Z'"
    " WHERE name = 'more.mkv'",
    "impossible-name": "UPDATE names_{n} SET name = 'a/b' WHERE name = 'more.mkv'",
    "impossible-inode": "UPDATE inodes_{n} SET nlink = 0",
    "wrong-hash": "UPDATE inodes_{n} SET sha256 = 'X' || substr(sha256, 2)",
    "wrong-quick-hash": "UPDATE inodes_{n} SET quick_hash = 'short'",
    "misplaced-directory": "UPDATE dirs_{n} SET parent_id = dir_id WHERE path LIKE '%Film'",
    "missing-tables": "DROP VIEW files_{n}",
    "stray-tables": "CREATE TABLE names_77 (x)",
    "payload-figures": "UPDATE payloads SET total_bytes = total_bytes + 1",
    "payload-status": "UPDATE payloads SET status = 'incomplete'",
    "payload-hash": "UPDATE payloads SET payload_hash = 'other'",
}


@pytest.mark.parametrize("code", BROKEN)
def test_every_kind_of_contradiction_is_found(full: CatalogLab, code: str) -> None:
    n = full.spot().device.device_id
    full.db.execute(BROKEN[code].format(n=n))
    assert code in codes(full)


@pytest.mark.parametrize(
    ("code", "sql"),
    [
        ("dangling", "DELETE FROM devices"),
        ("name-without-directory", "DELETE FROM dirs_{n} WHERE path LIKE '%Film'"),
    ],
)
def test_rows_that_point_to_nothing_are_found(full: CatalogLab, code: str, sql: str) -> None:
    n = full.spot().device.device_id
    full.db.execute("PRAGMA foreign_keys = OFF")
    full.db.execute(sql.format(n=n))
    assert code in [problem.code for problem in Health(full.db).contradictions()]


def test_inodes_without_names_are_fine_while_a_scan_is_unfinished(full: CatalogLab) -> None:
    n = full.spot().device.device_id
    full.db.execute(BROKEN["inode-without-name"].format(n=n))
    full.db.execute("UPDATE scan_roots SET completed_at = NULL")
    assert codes(full) == []


@pytest.mark.parametrize("rest", [b"\0", b"\xff"], ids=["zeros", "ones"])
def test_damaged_pages_are_found_and_nothing_else_is_believed(
    full: CatalogLab, rest: bytes
) -> None:
    """Of some damage SQLite has a list, at other damage it gives up."""
    places = full.places()
    n = full.spot().device.device_id
    row = full.db.one("SELECT rootpage FROM sqlite_schema WHERE name = ?", (f"names_{n}",))
    assert row is not None
    full.close()
    raw = bytearray(full.db_path.read_bytes())
    page = (row[0] - 1) * 4096
    raw[page + 8 : page + 4096] = rest * 4088
    full.db_path.write_bytes(raw)
    with open_catalog(full.db_path, create=False) as catalog:
        places.catalog = catalog
        report = catalog_care.check(places, tree=True)
    assert [problem.code for problem in report.problems] == ["damaged"]
    assert report.tree is None
    assert "1 kinds of contradictions" in render_database.check(report)


def test_what_changed_on_the_disk_since_the_scan_is_listed(full: CatalogLab) -> None:
    film = full.root / "seeds/Film"
    full.write("other", b"other")
    full.write("moved", b"moved")
    with lab_folder() as folder, tmpfs(folder / "pool") as pool:
        (pool / "away").write_bytes(b"x")
        full.scan(full.root, pool)
    os.link(film / "film.mkv", full.folder / "one more")
    (film / "more.mkv").write_bytes(b"changed")
    (full.root / "other").unlink()
    (full.root / "new").write_bytes(b"other")
    (full.root / "new").rename(full.root / "moved")

    tree = catalog_care.check_tree(full.places())
    assert tree.changed == [str(film / "more.mkv")]
    assert tree.missing == [str(full.root / "other")]
    assert tree.replaced == [str(full.root / "moved")]
    assert len(tree.linked) == 2
    assert (tree.names, tree.same, tree.differing, tree.not_mounted) == (6, 0, 5, 1)
    text = render_database.check(catalog_care.DatabaseCheck(full.db_path, (), tree))
    assert "1 other size or mtime:\n" in text
    assert text.endswith("run `hashall scan` on the folders that changed")


def test_a_name_that_the_disk_does_not_show_is_not_called_missing(
    full: CatalogLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = str(full.root / "seeds/Film/film.mkv")
    real = os.lstat

    def lstat(path: Any, **rest: Any) -> os.stat_result:
        if path == lost:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(path, **rest)

    monkeypatch.setattr(os, "lstat", lstat)
    tree = catalog_care.check_tree(full.places())
    assert (tree.missing, tree.unreadable) == ([], {lost: "Input/output error"})
    assert tree.differing == 0
    text = render_database.check(catalog_care.DatabaseCheck(full.db_path, (), tree))
    assert f"1 cannot be looked at:\n  {lost}: Input/output error\n" in text
