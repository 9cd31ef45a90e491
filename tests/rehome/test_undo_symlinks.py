"""Symlinks in libraries: an undo is refused for those that it would break, and for no others."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from tests.support.relocating import A_DAY, FILM, NO_WAIT, SimulatedLab, changes

from rehome import undo_links
from rehome.outcome import Watch
from rehome.undo_facts import CannotUndo


@pytest.fixture
def film(lab: SimulatedLab, monkeypatch: pytest.MonkeyPatch) -> str:
    """On stash; beside its place on the pool there is something else."""
    monkeypatch.setattr(undo_links, "CLOCKS_DIFFER_S", 0.05)
    other = lab.pool_seeding / "films/Other/other.mkv"
    other.parent.mkdir(parents=True)
    other.write_bytes(b"another film")
    torrent = lab.seed("Film", FILM, below="films")
    lab.look()
    return torrent


def demote(lab: SimulatedLab, film: str) -> None:
    time.sleep(0.1)  # what was made before is old enough
    lab.apply(lab.plan(film), A_DAY)
    time.sleep(0.1)


def undo(lab: SimulatedLab) -> None:
    with lab.app() as app:
        app.undo(1, NO_WAIT, "a test", Watch())


def refused(lab: SimulatedLab, link: Path) -> None:
    before = lab.seen()
    with pytest.raises(CannotUndo, match="symlinks lead to what the run placed") as why:
        undo(lab)
    assert why.value.detail == str(link)
    assert changes(before, lab.seen()) == []


def test_a_symlink_of_before_to_a_folder_of_before_is_no_hindrance(
    lab: SimulatedLab, film: str
) -> None:
    link = lab.media / "on the pool"
    link.symlink_to(lab.pool_seeding / "films")
    before = lab.seen()
    demote(lab, film)
    undo(lab)
    assert changes(before, lab.seen()) == []
    assert (link / "Other/other.mkv").read_bytes() == b"another film"


def test_promise_2_a_symlink_to_a_folder_of_before_that_came_since_keeps_the_copy(
    lab: SimulatedLab, film: str
) -> None:
    demote(lab, film)
    link = lab.media / "on the pool"
    link.symlink_to(lab.pool_seeding / "films")
    refused(lab, link)


@pytest.mark.parametrize("to", ["films/Film", "films/Film/film.mkv"])
def test_promise_2_a_symlink_of_before_that_leads_somewhere_only_since_keeps_the_copy(
    lab: SimulatedLab, film: str, to: str
) -> None:
    link = lab.media / "on the pool"
    link.symlink_to(lab.pool_seeding / to)
    demote(lab, film)
    refused(lab, link)


def test_promise_8_a_symlink_of_before_that_leads_there_by_a_newer_one_keeps_the_copy(
    lab: SimulatedLab, film: str
) -> None:
    link, current = lab.media / "on the pool", lab.stash / "current"
    current.symlink_to(lab.pool_seeding / "films/Other")
    link.symlink_to(current)
    demote(lab, film)
    os.unlink(current)
    current.symlink_to(lab.pool_seeding / "films")
    refused(lab, link)
