"""Bytes are read before they are relied on, and the whole is looked at before it is committed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.relocating import A_DAY, SimulatedLab, changes, killed_in, seed_family

from hashall.catalog.runs import RunStatus
from rehome import planner
from rehome.executor import RolledBack
from rehome.model import (
    CheckFiles,
    FillPayload,
    Hide,
    Place,
    Plan,
    Recheck,
    Step,
    StopTorrents,
    Verdict,
    VerifyReuse,
)
from rehome.outcome import Watch


def rot(path: Path) -> None:
    """Other bytes, with the same size and time: nothing but reading can find it."""
    stamp = path.stat()
    with path.open("r+b") as out:
        out.write(b"\0rotten\0")
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))


def run(lab: SimulatedLab, plan: Plan, when: type[Step], act: Callable[[], object]) -> RolledBack:
    """Apply, and let something happen when the first step of a kind is about to begin."""
    todo = [act]

    def told(step: Step, what: str) -> None:
        if what == "do" and type(step) is when and todo:
            todo.pop()()

    with lab.app() as app:
        with pytest.raises(RolledBack) as why:
            app.apply(plan, A_DAY, "a test", Watch(told))
        assert app.runs()[-1].status is RunStatus.ROLLED_BACK
    assert not todo
    return why.value


def test_a_source_that_rotted_is_found_while_it_is_copied(lab: SimulatedLab) -> None:
    family = seed_family(lab)
    plan = lab.plan(family.plain)
    rot(lab.seeding / "Film/film.mkv")
    before = lab.seen()
    assert "the source may be damaged" in run(lab, plan, FillPayload, lambda: None).detail
    assert changes(before, lab.seen()) == []


def test_a_copy_on_the_pool_that_rotted_is_found_before_it_is_used(lab: SimulatedLab) -> None:
    family = seed_family(lab)
    plan = lab.plan(family.plain)
    rot(lab.pool_seeding / "backup/cut of the film.mkv")
    before = lab.seen()
    failed = run(lab, plan, FillPayload, lambda: None)
    assert "does not have the bytes that the catalog says" in failed.detail
    assert changes(before, lab.seen()) == []


def seed_film_with_two_copies(lab: SimulatedLab) -> str:
    """One copy lies in its place on the pool; the other one comes first and is what is linked."""
    film = lab.seed("Film", {"film.mkv": 30_000})
    for folder in ("Another", "Film"):
        copy = lab.pool_seeding / folder / "film.mkv"
        copy.parent.mkdir()
        copy.write_bytes((lab.seeding / "Film/film.mkv").read_bytes())
    lab.look()
    return film


def test_promise_8_a_file_that_rotted_in_its_place_is_read_although_another_copy_is_used(
    lab: SimulatedLab,
) -> None:
    plan = lab.plan(seed_film_with_two_copies(lab))
    assert plan.verdict is Verdict.REUSE
    rot(lab.pool_seeding / "Film/film.mkv")
    before = lab.seen()
    failed = run(lab, plan, VerifyReuse, lambda: None)
    assert "Film/film.mkv does not have the bytes" in failed.detail
    assert changes(before, lab.seen()) == []


@pytest.mark.parametrize("rotten", [True, False])
def test_a_run_of_an_older_version_that_did_not_read_a_file_in_its_place_reads_it_at_its_end(
    lab: SimulatedLab, monkeypatch: pytest.MonkeyPatch, rotten: bool
) -> None:
    film = seed_film_with_two_copies(lab)
    monkeypatch.setattr(planner, "_adopted_unread", lambda *_: [])
    plan = lab.plan(film)
    hide = next(number for number, step in enumerate(plan.steps) if type(step) is Hide)
    before = lab.seen()
    with killed_in(hide, afterwards=True):
        lab.apply(plan, A_DAY)
    if rotten:
        rot(lab.pool_seeding / "Film/film.mkv")
    with lab.app() as app:
        if not rotten:
            assert app.resume(1, Watch()).status is RunStatus.COMMITTED
            return
        with pytest.raises(RolledBack, match="does not have the bytes"):
            app.resume(1, Watch())
    after = lab.seen()
    assert (before.stash, before.torrents) == (after.stash, after.torrents)


@pytest.mark.parametrize("name", ["backup/cut of the film.mkv", "Film/film.nfo"])
@pytest.mark.parametrize("when", [StopTorrents, CheckFiles])
def test_promise_3_what_is_written_into_after_it_was_read_is_found_before_the_commit(
    lab: SimulatedLab, when: type[Step], name: str
) -> None:
    """Whether it is linked to or lies in its place: no torrent stays on bytes that nobody read."""
    family = seed_family(lab)
    before = lab.seen()
    shared = lab.pool_seeding / name

    def write() -> None:
        with shared.open("r+b") as out:
            out.write(b"other")

    failed = run(lab, lab.plan(family.plain), when, write)
    assert "was changed or exchanged after its bytes were read" in failed.detail
    after = lab.seen()
    assert (before.stash, before.torrents) == (after.stash, after.torrents)
    assert shared.read_bytes().startswith(b"other")  # theirs, and left as it is


def test_a_source_that_vanishes_before_it_is_copied_moves_nothing(lab: SimulatedLab) -> None:
    family = seed_family(lab)
    plan = lab.plan(family.plain)
    (copies,) = [step for step in plan.steps if isinstance(step, FillPayload)]
    first = Path(copies.copies[0].source)
    failed = run(lab, plan, FillPayload, first.unlink)
    assert "is gone or is no regular file any more" in failed.detail
    assert {row["save_path"] for row in lab.rows().values()} == {
        move.save_path for move in plan.torrents
    }


def test_a_source_that_vanishes_before_it_is_hidden_is_put_down_to_nobody(
    lab: SimulatedLab,
) -> None:
    """What is left goes back, and the client is not told of any move."""
    family = seed_family(lab)
    plan = lab.plan(family.plain)
    before = lab.seen()
    aside = lab.stash / "aside"
    film = lab.seeding / "flat/film.nfo"
    run(lab, plan, Recheck, lambda: film.rename(aside))
    aside.rename(film)
    assert changes(before, lab.seen()) == []


def test_a_placed_file_that_is_exchanged_is_found_before_the_commit(lab: SimulatedLab) -> None:
    family = seed_family(lab)
    before = lab.seen()
    placed = lab.pool_seeding / "cross/Film/film.mkv"

    def exchange() -> None:
        copy = placed.with_name("copy")
        copy.write_bytes(placed.read_bytes())
        copy.replace(placed)

    failed = run(lab, lab.plan(family.plain), CheckFiles, exchange)
    assert "is no hardlink to" in failed.detail
    assert changes(before, lab.seen()) == []


def test_a_placed_file_that_is_cut_short_is_found_on_the_disk(lab: SimulatedLab) -> None:
    family = seed_family(lab)
    before = lab.seen()
    placed = lab.pool_seeding / "cross/Film/film.mkv"
    failed = run(lab, lab.plan(family.plain), CheckFiles, lambda: os.truncate(placed, 7))
    assert "7 bytes, not 300000 bytes" in str(failed.__cause__)
    assert changes(before, lab.seen()) == []


def test_what_the_catalog_knows_after_a_commit_is_what_lies_on_the_pool(lab: SimulatedLab) -> None:
    family = seed_family(lab)
    plan = lab.plan(family.plain)
    lab.apply(plan, A_DAY)
    with lab.app() as app:
        for item in plan.retire:
            place = app.places.find(Path(item.witness)).place
            known = app.catalog.files(place.device_id).file(place.relpath)
            assert known is not None
            assert (known.sha256, known.inode) == (item.sha256, Path(item.witness).stat().st_ino)
            source = Path(item.hidden_root).parent / item.name
            was = app.places.find_missing(source).place
            assert app.catalog.files(was.device_id).file(was.relpath) is None
        payloads = {app.catalog.payloads.instance(key) for key in family.all}
        assert {i.save_path for i in payloads if i} == {m.target_path for m in plan.torrents}
        assert {i.problem for i in payloads if i} == {None}


def test_after_a_move_the_torrents_are_at_home_and_nothing_is_left_to_plan(
    lab: SimulatedLab,
) -> None:
    family = seed_family(lab)
    lab.apply(lab.plan(family.plain))
    for torrent in family.all:
        assert lab.plan(torrent).verdict.value == "SKIP"


def test_promise_5_what_takes_a_place_at_the_last_moment_stays_and_the_run_is_taken_back(
    lab: SimulatedLab,
) -> None:
    """The inverse of `Place` is harmless where `Place` never ran."""
    family = seed_family(lab)
    before = lab.seen()
    intruder = lab.pool_seeding / "cross/Film/film.mkv"

    def told(step: Step, what: str) -> None:
        if what == "do" and isinstance(step, Place):
            intruder.parent.mkdir(parents=True, exist_ok=True)
            intruder.write_text("somebody was faster")

    with lab.app() as app, pytest.raises(RolledBack):
        app.apply(lab.plan(family.plain), A_DAY, "a test", Watch(told))
    assert intruder.read_text() == "somebody was faster"
    after = lab.seen()
    assert (before.stash, before.torrents) == (after.stash, after.torrents)
