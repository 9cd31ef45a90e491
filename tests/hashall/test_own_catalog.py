"""A scan does not read the database that it writes to."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from tests.support.catalog_lab import CatalogLab
from tests.support.filesystems import bind

from hashall.catalog.verifications import Due
from hashall.hashing import hash_file
from hashall.verify import Outcome, read_again
from seedkeep.sqlite import transaction

_WRITER = """
import sys
from pathlib import Path
from seedkeep.errors import Locked
from seedkeep.sqlite import open_database, transaction
with open_database(Path(sys.argv[1]), busy_timeout_s=0.1) as db:
    try:
        with transaction(db):
            db.execute("CREATE TABLE IF NOT EXISTS theirs (number INTEGER)")
    except Locked:
        print("kept out", end="")
    else:
        print("wrote", end="")
"""


def _another_writes(lab: CatalogLab) -> str:
    program = [sys.executable, "-c", _WRITER, str(lab.db.path)]
    return subprocess.run(program, capture_output=True, check=True, text=True).stdout


def test_a_scan_leaves_its_own_catalog_out(lab: CatalogLab) -> None:
    """Closing any descriptor of its files would drop the locks that SQLite has on them."""
    lab.write("film")
    summary = lab.scan(lab.folder)

    assert {os.path.basename(path) for path in lab.known(lab.folder)} == {"film"}
    assert summary.skipped["database in use by this scan"] >= 1


def test_reading_a_database_in_use_would_let_another_write_in_the_middle(lab: CatalogLab) -> None:
    """Why it is left out: a fact about POSIX locks."""
    with transaction(lab.db):
        lab.db.execute("CREATE TABLE ours (number INTEGER)")
        assert _another_writes(lab) == "kept out"
        hash_file(lab.db.path)
        hash_file(f"{lab.db.path}-shm")
        assert _another_writes(lab) == "wrote"


def test_verify_leaves_the_catalog_out_as_well(lab: CatalogLab) -> None:
    """Where an older release has catalogued it."""
    path = lab.db.path
    with transaction(lab.db):
        lab.db.execute("CREATE TABLE ours (number INTEGER)")
        seen = path.stat()
        stamp = (seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns)
        due = Due(1, *stamp, "ab" * 32, "", "", "", path.name)
        assert read_again(due, str(path), lambda: False).outcome is Outcome.CHANGED
        assert _another_writes(lab) == "kept out"


def test_rows_of_an_older_scan_about_the_catalog_are_let_go(lab: CatalogLab) -> None:
    lab.write("film")
    twin = lab.write("was-the-catalog.db", b"as an older release has it")
    lab.scan(lab.folder)
    twin.unlink()
    os.link(lab.db.path, twin)  # another name of the open database

    assert lab.scan(lab.folder).deleted == 1
    assert {os.path.basename(path) for path in lab.known(lab.folder)} == {"film"}


@pytest.mark.root
def test_nothing_is_concluded_about_a_file_that_the_catalog_is_mounted_over(
    lab: CatalogLab,
) -> None:
    """As containers do it: one file of the host, at a place of its own."""
    covered = lab.write("covered.mkv")
    lab.scan()
    with bind(lab.db.path, covered):
        summary = lab.scan()

    assert (summary.deleted, summary.skipped["mounted file"]) == (0, 1)
    assert set(lab.known()) == {"covered.mkv"}
