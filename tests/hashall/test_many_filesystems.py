"""A catalog that has met hundreds of filesystems: snapshots, datasets, disks of many years."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.catalog_lab import CatalogLab
from tests.support.filesystems import lab_folder, tmpfs

from hashall.cli import cli
from hashall.duplicates import find_duplicates
from hashall.scan import HashMode
from seedkeep import console
from seedkeep.sqlite import transaction

FILESYSTEMS = 510  # SQLite takes 500 terms in one compound SELECT


@pytest.fixture
def pool(lab: CatalogLab) -> Iterator[Path]:
    """A second filesystem, after hundreds of others."""
    lab.scan()
    with transaction(lab.db):
        for number in range(FILESYSTEMS):
            lab.catalog.devices.register(f"uuid:{number}", "ext4", stable=True)
    with lab_folder() as folder, tmpfs(folder / "pool") as pool:
        yield pool


def test_copies_are_found_across_hundreds_of_filesystems(
    lab: CatalogLab, pool: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By every question that goes to all of them at once."""
    film, copy = lab.write("film", b"film" * 10), pool / "copy"
    copy.write_bytes(b"film" * 10)

    # Which of the sampled may have a twin anywhere?
    assert lab.scan(lab.root, pool, mode=HashMode.UPGRADE).hashes.files == 2
    (group,) = find_duplicates(lab.places(), across=True).groups
    assert [found.paths for found in group.copies] == [(str(film),), (str(copy),)]
    command = ["link", "analyze", "--cross-device", "--db", str(lab.db_path)]
    assert console.run(cli, command, "hashall") == 0
    assert str(copy) in capsys.readouterr().out
