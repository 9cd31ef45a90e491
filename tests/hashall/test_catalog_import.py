"""Hashes of an older hashall's catalog are taken where size and mtime agree, and nowhere else."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from tests.support.catalog_lab import CatalogLab

from hashall import render_database
from hashall.catalog_care import check
from hashall.catalog_import import Imported, import_hashes
from hashall.cli import cli
from hashall.verify import Options, verify
from seedkeep import console
from seedkeep.errors import Misused
from seedkeep.sqlite import DamagedDatabase, open_database, to_db


class OldCatalog:
    """As releases before this product wrote it."""

    def __init__(self, lab: CatalogLab, columns: str = "sha256 TEXT, status TEXT") -> None:
        self.path, self._lab = lab.folder / "old.db", lab
        with open_database(self.path, journal_mode="delete") as db:
            db.script(
                "CREATE TABLE devices (device_id INTEGER, mount_point TEXT);"
                f"CREATE TABLE files_49 (path TEXT PRIMARY KEY, size INTEGER, mtime REAL,"
                f" sha1 TEXT, {columns});"
            )
            db.execute("INSERT INTO devices VALUES (49, ?)", (str(lab.root),))

    def put(self, name: str, *, status: str = "active", **changes: object) -> None:
        """A row for a file of the lab, as it is now; the hash is a true one."""
        path = self._lab.root / name
        seen = path.stat()
        row = {
            "size": seen.st_size,
            "mtime": seen.st_mtime,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            **changes,
        }
        with open_database(self.path, journal_mode="delete") as db:
            db.execute(
                "INSERT INTO files_49 (path, size, mtime, sha256, status) VALUES (?, ?, ?, ?, ?)",
                (to_db(name), row["size"], row["mtime"], row["sha256"], status),
            )


def unhash(lab: CatalogLab) -> None:
    """As a scan with --hash-mode fast leaves them."""
    n = lab.spot().device.device_id
    lab.db.execute(f"UPDATE inodes_{n} SET sha256 = NULL, hashed_at = NULL")


def test_hashes_are_taken_where_size_and_mtime_agree(lab: CatalogLab) -> None:
    odd = os.fsdecode(b"\xff")
    for name in ("a/same", odd, "whole second", "touched", "longer", "gone", "link"):
        lab.write(name, name.encode("utf-8", "surrogateescape"))
    lab.scan()
    before = lab.known()
    unhash(lab)
    old = OldCatalog(lab)
    for name in ("a/same", odd):
        old.put(name)
    old.put("whole second", mtime=float(int((lab.root / "whole second").stat().st_mtime)))
    old.put("touched", mtime=1_000_000_000.5)
    old.put("longer", size=99)
    old.put("gone")
    old.put("link")
    (lab.root / "gone").unlink()
    (lab.root / "link").unlink()
    (lab.root / "link").symlink_to("a/same")

    result = import_hashes(lab.places(), old.path)
    assert result == Imported(taken=3, changed=3, gone=1)
    hashed = {name: file.sha256 for name, file in lab.known().items() if file.sha256}
    assert hashed == {name: before[name].sha256 for name in ("a/same", odd, "whole second")}
    assert import_hashes(lab.places(), old.path).had_one == 3


def test_what_was_taken_over_is_verified_first(lab: CatalogLab) -> None:
    lab.write("ours", b"ours")
    lab.write("theirs", b"theirs")
    lab.scan()
    n = lab.spot().device.device_id
    inode = (lab.root / "theirs").stat().st_ino
    lab.db.execute(f"UPDATE inodes_{n} SET sha256 = NULL WHERE inode = ?", (inode,))
    old = OldCatalog(lab)
    old.put("theirs", sha256="0" * 64)  # a wrong one
    assert import_hashes(lab.places(), old.path).taken == 1

    result = verify(lab.places(), [], Options(budget=1, workers=1))
    assert [damage.path for damage in result.damaged] == [str(lab.root / "theirs")]


def test_files_that_were_not_scanned_yet_are_counted(lab: CatalogLab) -> None:
    lab.write("a", b"a")
    old = OldCatalog(lab)
    old.put("a")
    result = import_hashes(lab.places(), old.path)
    assert result == Imported(unscanned=1)
    assert "not in this catalog yet" in render_database.imported(result)
    lab.write("b", b"b")
    lab.scan()
    lab.write("a", b"another", settled=False)  # the catalog is behind the disk
    with open_database(old.path, journal_mode="delete") as db:
        db.execute("DELETE FROM files_49")
    old.put("a")
    assert import_hashes(lab.places(), old.path) == Imported(unscanned=1)


@pytest.mark.parametrize(
    "wrong",
    [{"sha256": "z" * 64}, {"size": None}, {"size": "x"}, {"mtime": None}, {"mtime": "2020-01-01"}],
    ids=str,
)
def test_a_row_that_makes_no_sense_serves_nothing_and_stops_nothing(
    lab: CatalogLab, wrong: dict[str, object]
) -> None:
    lab.write("a", b"a")
    lab.write("b", b"b")
    lab.scan()
    unhash(lab)
    old = OldCatalog(lab)
    old.put("a", **wrong)
    old.put("b")
    assert import_hashes(lab.places(), old.path) == Imported(taken=1, without_sha256=1)
    assert check(lab.places(), tree=False).problems == ()


def test_deleted_rows_and_rows_without_sha256_serve_nothing(lab: CatalogLab) -> None:
    lab.write("a", b"a")
    lab.write("b", b"b")
    lab.scan()
    unhash(lab)
    old = OldCatalog(lab)
    old.put("a", status="deleted")
    old.put("b", sha256=None)
    result = import_hashes(lab.places(), old.path)
    assert result == Imported(without_sha256=1)
    assert "1 files had no SHA-256 there" in render_database.imported(result)


def test_a_catalog_with_sha1_only_is_read_and_gives_nothing(lab: CatalogLab) -> None:
    lab.write("a", b"a")
    lab.scan()
    old = OldCatalog(lab, columns="status TEXT")
    with open_database(old.path, journal_mode="delete") as db:
        db.execute("INSERT INTO files_49 (path, size, mtime, sha1) VALUES ('a', 1, 0, 'x')")
        db.script("CREATE TABLE files_notes (path TEXT); DROP TABLE devices")
    assert import_hashes(lab.places(), old.path) == Imported(without_sha256=1)


def test_absolute_paths_need_no_mount_point(lab: CatalogLab) -> None:
    lab.write("a", b"a")
    lab.scan()
    unhash(lab)
    old = OldCatalog(lab)
    old.put("a")
    with open_database(old.path, journal_mode="delete") as db:
        db.execute("UPDATE files_49 SET path = ?", (str(lab.root / "a"),))
        db.execute("DELETE FROM devices")
    assert import_hashes(lab.places(), old.path).taken == 1


def test_what_is_no_old_catalog_is_said(lab: CatalogLab, tmp_path: Path) -> None:
    strange = tmp_path / "strange.db"
    with open_database(strange, journal_mode="delete") as db:
        db.script("CREATE TABLE bookmarks (url TEXT)")
    with pytest.raises(Misused, match="is no catalog of an older hashall"):
        import_hashes(lab.places(), strange)
    strange.write_bytes(b"words " * 1000)
    with pytest.raises(DamagedDatabase):
        import_hashes(lab.places(), strange)


def test_the_command_tells_what_it_took(
    lab: CatalogLab, capsys: pytest.CaptureFixture[str]
) -> None:
    lab.write("a", b"a")
    lab.scan()
    unhash(lab)
    old = OldCatalog(lab)
    old.put("a")
    before = old.path.read_bytes()
    assert (
        console.run(cli, ["db", "import", str(old.path), "--db", str(lab.db_path)], "hashall") == 0
    )
    assert capsys.readouterr().out == (
        "1 hashes taken over, 0 files had one already\n0 files were changed since, 0 are gone\n"
    )
    assert old.path.read_bytes() == before
