from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from hashall.lock import exclusive
from seedkeep.errors import Locked


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    return tmp_path / "catalog.db"


def refused(catalog: Path) -> Locked:
    with pytest.raises(Locked) as error, exclusive(catalog, "second"):
        pass
    return error.value


def test_the_second_hears_who_the_first_is_and_what_it_does(catalog: Path) -> None:
    with exclusive(catalog, "hashall scan /stash"):
        error = refused(catalog)

    assert error.exit_code == 75
    assert error.brief == f"the catalog {catalog} is in use"
    assert error.detail.startswith(f"process {os.getpid()} holds it since 2")
    assert error.detail.endswith("Z: hashall scan /stash")


def test_the_catalog_is_free_again_afterwards_even_after_an_error(catalog: Path) -> None:
    with pytest.raises(ValueError, match="broken"), exclusive(catalog, "first"):
        raise ValueError("broken")

    with exclusive(catalog, "second"):
        assert refused(catalog).detail.endswith(": second")


def test_two_catalogs_do_not_wait_for_each_other(tmp_path: Path) -> None:
    with exclusive(tmp_path / "one.db", "first"), exclusive(tmp_path / "two.db", "second"):
        assert {path.name for path in tmp_path.iterdir()} == {"one.db.lock", "two.db.lock"}


def test_a_process_that_dies_holding_it_leaves_it_free(catalog: Path) -> None:
    child = os.fork()
    if child == 0:
        with exclusive(catalog, "doomed"):
            os._exit(9)
    os.waitpid(child, 0)

    with exclusive(catalog, "second"):
        assert json.loads(catalog.with_name("catalog.db.lock").read_text())["doing"] == "second"


@pytest.mark.parametrize("note", [b"", b"{", b"[]", b'{"pid": 1}', b"\xff"])
def test_a_note_that_cannot_be_read_is_no_trouble(catalog: Path, note: bytes) -> None:
    with exclusive(catalog, "first"):
        catalog.with_name("catalog.db.lock").write_bytes(note)
        error = refused(catalog)

    assert error.detail == "another process holds it"


@pytest.mark.parametrize("letter", ["x", "é", "😀", os.fsdecode(b"\xff")])
def test_a_long_command_line_is_cut_and_still_told(catalog: Path, letter: str) -> None:
    with exclusive(catalog, f"hashall scan {letter * 10_000}"):
        error = refused(catalog)

    assert f": hashall scan {letter}" in error.detail
    assert len(error.detail) < 600


def test_a_shorter_note_leaves_nothing_of_a_longer_one(catalog: Path) -> None:
    with exclusive(catalog, "long " * 20):
        pass
    with exclusive(catalog, "x"):
        assert refused(catalog).detail.endswith("Z: x")
