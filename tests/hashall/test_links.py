from __future__ import annotations

import os

import pytest
from tests.support.catalog_lab import CatalogLab

from hashall import links
from hashall.model import LinkProof, LinkVerdict


def proof(lab: CatalogLab, name: str = "film.mkv", *, counts_are_true: bool = True) -> LinkProof:
    """About a file, as it is on disk at this moment."""
    seen = (lab.root / name).stat()
    return links.prove(lab.files(), seen.st_ino, seen.st_nlink, counts_are_true=counts_are_true)


def names(lab: CatalogLab, found: LinkProof) -> list[str]:
    return [path.removeprefix(lab.spot().place.relpath + "/") for path in found.known]


def test_an_inode_all_of_whose_names_were_scanned_is_proved(lab: CatalogLab) -> None:
    """R-RES-1"""
    film = lab.write("film.mkv")
    os.link(film, lab.root / "a link.mkv")
    lab.scan()

    found = proof(lab)

    assert (found.verdict, found.nlink) == (LinkVerdict.PROVED, 2)
    assert names(lab, found) == ["a link.mkv", "film.mkv"]


def test_a_name_outside_every_scan_makes_it_unaccounted(lab: CatalogLab) -> None:
    film = lab.write("film.mkv")
    lab.scan()
    os.link(film, lab.folder / "outside.mkv")

    found = proof(lab)

    assert (found.verdict, found.nlink) == (LinkVerdict.UNACCOUNTED, 2)
    assert names(lab, found) == ["film.mkv"]


def test_fewer_names_on_disk_than_known_is_no_proof_either(lab: CatalogLab) -> None:
    """The catalog is behind: what was unlinked there may have been linked elsewhere."""
    film = lab.write("film.mkv")
    os.link(film, lab.root / "link.mkv")
    lab.scan()
    (lab.root / "link.mkv").unlink()

    assert proof(lab).verdict is LinkVerdict.UNACCOUNTED
    lab.scan()
    assert proof(lab).verdict is LinkVerdict.PROVED


def test_an_equal_count_with_a_swapped_name_is_seen_through_the_scan(lab: CatalogLab) -> None:
    film = lab.write("film.mkv")
    os.link(film, lab.root / "link.mkv")
    lab.scan()
    os.link(film, lab.folder / "outside.mkv")
    (lab.root / "link.mkv").unlink()
    lab.scan()

    assert proof(lab).verdict is LinkVerdict.UNACCOUNTED


def test_a_file_that_cannot_be_seen_is_unknown(lab: CatalogLab) -> None:
    film = lab.write("film.mkv")
    lab.scan()

    found = links.prove(lab.files(), film.stat().st_ino, None, counts_are_true=True)

    assert (found.verdict, found.nlink) == (LinkVerdict.UNKNOWN, 0)
    assert names(lab, found) == ["film.mkv"]


def test_a_filesystem_whose_counts_mean_nothing_proves_nothing(lab: CatalogLab) -> None:
    lab.write("film.mkv")
    lab.scan()

    found = proof(lab, counts_are_true=False)

    assert (found.verdict, found.nlink) == (LinkVerdict.UNKNOWN, 1)


def test_an_inode_that_no_scan_has_met_is_unaccounted(lab: CatalogLab) -> None:
    lab.write("film.mkv")
    lab.scan()
    lab.write("new.mkv")

    found = proof(lab, "new.mkv")

    assert (found.verdict, found.known) == (LinkVerdict.UNACCOUNTED, ())


@pytest.mark.parametrize("reading", ["names in the catalog", "names on disk"])
def test_deleted_names_do_not_count(lab: CatalogLab, reading: str) -> None:
    """R-CAT-7"""
    film = lab.write("film.mkv")
    os.link(film, lab.root / "link.mkv")
    lab.scan()
    (lab.root / "link.mkv").unlink()
    lab.scan()

    found = proof(lab)
    assert found.verdict is LinkVerdict.PROVED
    assert (len(found.known) if reading == "names in the catalog" else found.nlink) == 1
