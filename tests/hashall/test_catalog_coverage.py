"""Which places a scan has seen as a whole, and what it could not see there."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.catalog_lab import CatalogLab

from hashall.catalog.scans import ScanTable, is_at_or_below
from seedkeep import clock

MORNING = datetime(2026, 1, 2, 8, tzinfo=UTC)
ODD = os.fsdecode(b"caf\xe9")


@pytest.fixture
def scans(lab: CatalogLab) -> ScanTable:
    lab.catalog.devices.register("ext4:1", "ext4", stable=True)
    lab.catalog.devices.register("ext4:2", "ext4", stable=True)
    return lab.catalog.scans


def scanned(
    scans: ScanTable,
    path: str,
    *,
    at: int = 0,
    gaps: Mapping[str, str] | None = None,
    device: int = 1,
) -> datetime:
    """A scan of ten minutes that began `at` hours after the morning; returns its beginning."""
    begun = MORNING + timedelta(hours=at)
    with clock.using(now=lambda: begun):
        scans.begin(device, path)
    with clock.using(now=lambda: begun + timedelta(minutes=10)):
        scans.complete(device, path, dict(gaps or {}))
    return begun


def completed(scans: ScanTable, path: str, device: int = 1) -> datetime | None:
    return scans.coverage(device, path).completed_at


def test_a_place_never_scanned_is_not_covered(scans: ScanTable) -> None:
    assert completed(scans, "films") is None


def test_covered_is_what_was_there_when_the_scan_began(scans: ScanTable) -> None:
    """R-CAT-11"""
    begun = scanned(scans, "films")

    assert completed(scans, "films") == begun


def test_a_scan_covers_all_below_it_and_nothing_else(scans: ScanTable) -> None:
    begun = scanned(scans, "films")

    assert completed(scans, "films/new/a") == begun
    assert completed(scans, "films2") is None
    assert completed(scans, "") is None
    assert completed(scans, "films", device=2) is None


def test_a_scan_of_the_root_covers_every_path(scans: ScanTable) -> None:
    begun = scanned(scans, "")

    assert completed(scans, "") == begun
    assert completed(scans, f"{ODD}/x") == begun


def test_the_newest_scan_that_covers_a_place_counts(scans: ScanTable) -> None:
    scanned(scans, "films/new", at=0)
    later = scanned(scans, "films", at=2)
    scanned(scans, "films/old", at=3)

    assert completed(scans, "films/new") == later


def test_a_scan_under_way_leaves_the_last_complete_one_in_force(scans: ScanTable) -> None:
    begun = scanned(scans, "films")
    scans.begin(1, "films")

    assert completed(scans, "films") == begun


def test_a_gap_is_named_for_every_place_that_holds_it(scans: ScanTable) -> None:
    scanned(scans, "", gaps={f"films/{ODD}": "Permission denied"})

    assert scans.coverage(1, "").gaps == ((f"films/{ODD}", "Permission denied"),)
    assert scans.coverage(1, "films").gaps == ((f"films/{ODD}", "Permission denied"),)
    assert scans.coverage(1, "music").gaps == ()
    assert scans.coverage(2, "").gaps == ()


def test_what_lies_in_a_gap_was_not_seen(scans: ScanTable) -> None:
    """R-RES-5: unknown means no."""
    scanned(scans, "", gaps={"closed": "Permission denied"})

    inside = scans.coverage(1, "closed/films")

    assert inside.completed_at is None
    assert inside.gaps == (("closed", "Permission denied"),)
    assert completed(scans, "closed") is None
    assert completed(scans, "closed2") is not None


def test_a_scan_from_inside_a_gap_sees_what_the_outer_one_could_not(scans: ScanTable) -> None:
    scanned(scans, "", at=2, gaps={"closed": "Permission denied"})
    inner = scanned(scans, "closed/films", at=1)

    inside = scans.coverage(1, "closed/films/new")

    assert inside.completed_at == inner
    assert inside.gaps == ()


def test_a_root_that_could_not_be_read_is_not_covered(scans: ScanTable) -> None:
    scanned(scans, "films", gaps={"films": "Permission denied"})

    assert completed(scans, "films") is None


def test_a_gap_that_was_read_later_is_forgotten(scans: ScanTable) -> None:
    scanned(scans, "films", gaps={"films/a": "x", "films/b": "y"})
    scanned(scans, "films/a", at=1)
    assert scans.coverage(1, "films").gaps == (("films/b", "y"),)

    scanned(scans, "films", at=2)
    assert scans.coverage(1, "films").gaps == ()


def test_a_gap_is_kept_by_a_scan_beside_it(scans: ScanTable) -> None:
    scanned(scans, "films", gaps={"films/a": "x"})
    scanned(scans, "music", at=1)
    scanned(scans, "films", at=1, device=2)

    assert scans.coverage(1, "films").gaps == (("films/a", "x"),)


def test_all_places_ever_scanned_are_listed(scans: ScanTable) -> None:
    scanned(scans, ODD)
    scanned(scans, "films")
    scans.begin(2, "")

    listed = [(device, path, done is not None) for device, path, _, done in scans.roots()]

    assert sorted(listed) == [(1, ODD, True), (1, "films", True), (2, "", False)]


parts = st.lists(st.sampled_from(["a", "b", "ab", "."]), max_size=3)


@given(path=parts, root=parts)
def test_below_means_whole_parts(path: list[str], root: list[str]) -> None:
    assert is_at_or_below("/".join(path), "/".join(root)) == (path[: len(root)] == root)


def test_a_scan_that_a_wrong_clock_dated_in_the_future_hides_no_later_one(scans: ScanTable) -> None:
    ahead = scanned(scans, "", at=24 * 3650)
    part = scanned(scans, "films")
    assert completed(scans, "films/x") == part
    assert completed(scans, "books") == ahead  # who looks at ages sees that it cannot be
