"""After the commit the hidden source goes, file by file, and never the last copy of anything."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from tests.support.facts_builder import LAYOUT, facts, sha
from tests.support.relocating import A_DAY, SimulatedLab, another_film, killed_in, seed_family
from tests.support.tree_snapshot import files_in

from hashall.catalog.runs import RunStatus
from rehome.model import Fingerprint, Plan, Retirement
from rehome.outcome import Applied
from rehome.planner import plan_group
from rehome.retire import retire as retire_plan
from seedkeep import clock
from seedkeep.errors import Refused


def moved(lab: SimulatedLab, torrent: str | None = None) -> Plan:
    """A run that is committed and whose source is still hidden."""
    if torrent is None:
        torrent = lab.seed("Film", {"film.mkv": 50_000, "film.nfo": b"about"}, below="films")
        lab.look()
    plan = lab.plan(torrent)
    applied = lab.apply(plan, A_DAY)
    assert applied is not None
    assert applied.status is RunStatus.COMMITTED
    return plan


def retire(lab: SimulatedLab) -> Applied:
    with lab.app() as app:
        (applied,) = app.retire(1, due_only=False)
    return applied


def hidden(plan: Plan, number: int = 0) -> Path:
    return Path(plan.retire[number].hidden_root, plan.retire[number].name)


def witness(plan: Plan, number: int = 0) -> Path:
    return Path(plan.retire[number].witness)


def kept(applied: Applied) -> dict[str, str]:
    """Reasons by path."""
    assert applied.retired is not None
    return {item.path: item.reason for item in applied.retired.kept}


def test_the_hidden_source_is_kept_whole_until_it_is_retired(lab: SimulatedLab) -> None:
    torrent = another_film(lab)
    lab.look()
    before = {Path(name).name: entry for name, entry in files_in(lab.stash).items()}
    moved(lab, torrent)
    assert {Path(name).name: e for name, e in files_in(lab.stash).items()} == before


def test_when_it_is_retired_nothing_of_it_is_left(lab: SimulatedLab) -> None:
    plan = moved(lab)
    applied = retire(lab)
    assert applied.status is RunStatus.RETIRED
    assert applied.bytes_freed == plan.bytes_freed == 50_005
    assert files_in(lab.stash) == {}
    assert lab.own_debris() == []
    assert not (lab.seeding / "films").exists()  # nobody needs the folder that it left empty
    assert lab.seeding.is_dir()


def test_an_empty_folder_that_another_torrent_has_as_its_place_stays(lab: SimulatedLab) -> None:
    torrent = lab.seed("Film", {"film.mkv": 50_000}, below="films")
    lab.seed("Other", {"other.mkv": 60_000}, below="films/below")
    lab.look()
    moved(lab, torrent)
    lab.sync()
    for path in (lab.seeding / "films/below").rglob("*"):
        if path.is_file():
            path.unlink()  # somebody's disaster is no reason to take the folder away
    retire(lab)
    assert (lab.seeding / "films/below/Other").is_dir()


def test_directories_that_hold_something_else_stay(lab: SimulatedLab) -> None:
    family = seed_family(lab)
    plan = moved(lab, family.plain)
    retire(lab)
    assert (lab.seeding / "flat/neighbour.txt").read_text() == "nobody of the family"
    assert not (lab.seeding / "flat/extras").exists()
    assert not (lab.seeding / "cross/Film").exists()
    assert {Path(item.hidden_root).exists() for item in plan.retire} == {False}


def test_bytes_that_keep_a_name_on_stash_are_not_counted_as_freed(lab: SimulatedLab) -> None:
    torrent = lab.seed("Film", {"film.mkv": 50_000})
    os.link(lab.seeding / "Film/film.mkv", lab.seeding / "left over.mkv")
    lab.look()
    moved(lab, torrent)
    assert retire(lab).bytes_freed == 0
    assert (lab.seeding / "left over.mkv").stat().st_size == 50_000


# -- promise 1


def spoil_missing(path: Path) -> None:
    path.unlink()


def spoil_content(path: Path) -> None:
    stamp = path.stat()
    path.write_bytes(b"x" * stamp.st_size)
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))


def spoil_symlink(path: Path) -> None:
    aside = path.with_name("aside")
    path.rename(aside)
    path.symlink_to(aside)


def spoil_length(path: Path) -> None:
    os.truncate(path, 1)


SPOILERS = (spoil_missing, spoil_content, spoil_symlink, spoil_length)


@pytest.mark.parametrize("spoil", SPOILERS)
def test_promise_1_a_source_whose_witness_is_spoiled_is_kept_and_reported(
    lab: SimulatedLab, spoil: type
) -> None:
    plan = moved(lab)
    spoil(witness(plan))
    content = hidden(plan).read_bytes()
    applied = retire(lab)
    assert list(kept(applied)) == [str(hidden(plan))]
    assert applied.status is RunStatus.COMMITTED
    assert hidden(plan).read_bytes() == content
    assert not hidden(plan, 1).exists()


def test_a_sibling_that_was_removed_with_its_files_does_not_keep_the_source(
    lab: SimulatedLab,
) -> None:
    """Its bytes are on the pool under the names of the others, and are read there."""
    film = lab.seed("Film", {"film.mkv": 50_000, "film.nfo": b"about"})
    twin = lab.cross_seed(film, "B", "cross")
    lab.look()
    moved(lab, film)
    lab.client.api.torrents_delete(delete_files=True, torrent_hashes=[twin])
    assert not (lab.pool_seeding / "cross/Film/film.mkv").exists()
    applied = retire(lab)
    assert kept(applied) == {}
    assert applied.status is RunStatus.RETIRED
    assert files_in(lab.stash) == {}


def test_promise_1_a_siblings_copy_that_is_spoiled_too_replaces_nothing(lab: SimulatedLab) -> None:
    film = lab.seed("Film", {"film.mkv": 50_000})
    twin = lab.cross_seed(film, "B", "cross")
    lab.look()
    plan = moved(lab, film)
    lab.client.api.torrents_delete(delete_files=True, torrent_hashes=[twin])
    spoil_content(lab.pool_seeding / "Film/film.mkv")
    applied = retire(lab)
    assert set(kept(applied)) == {str(hidden(plan, n)) for n in range(len(plan.retire))}
    assert applied.status is RunStatus.COMMITTED


def test_a_run_that_was_interrupted_has_nothing_to_retire_and_says_so(lab: SimulatedLab) -> None:
    torrent = lab.seed("Film", {"film.mkv": 50_000})
    lab.look()
    with killed_in(3, afterwards=True):
        lab.apply(lab.plan(torrent), A_DAY)
    with pytest.raises(Refused, match="run 1 was interrupted") as why:
        retire(lab)
    assert "rehome rollback 1" in why.value.hint


def test_promise_1_another_name_of_the_source_is_no_copy_of_it(tmp_path: Path) -> None:
    source = tmp_path / ".seedkeep-0-hidden/film"
    source.parent.mkdir()
    source.write_text("the film")
    os.link(source, tmp_path / "film")
    stamp = source.stat()
    item = Retirement(
        str(source.parent),
        "film",
        Fingerprint(stamp.st_ino, stamp.st_size, stamp.st_mtime_ns),
        sha("the film"),
        str(tmp_path / "film"),
    )
    done = retire_plan(replace(plan_group(facts(), LAYOUT), retire=(item,)))
    assert (done.files, done.bytes_freed) == (0, 0)
    assert "not a copy of it" in done.kept[0].reason
    assert source.read_text() == "the film"


def test_promise_1_the_source_itself_is_no_copy_of_itself(lab: SimulatedLab) -> None:
    plan = moved(lab)
    witness(plan).unlink()
    witness(plan).symlink_to(hidden(plan))
    assert str(hidden(plan)) in kept(retire(lab))
    assert hidden(plan).exists()


@pytest.mark.parametrize("spoil", SPOILERS[1:])
def test_a_hidden_file_that_is_not_what_was_hidden_is_kept_and_reported(
    lab: SimulatedLab, spoil: type
) -> None:
    plan = moved(lab)
    if spoil is spoil_content:  # the same size and time: but another file
        copy = hidden(plan).with_name("copy")
        copy.write_bytes(hidden(plan).read_bytes())
        copy.replace(hidden(plan))
    else:
        spoil(hidden(plan))
    assert str(hidden(plan)) in kept(retire(lab))
    assert os.path.lexists(hidden(plan))


def test_what_somebody_put_among_the_hidden_files_stays(lab: SimulatedLab) -> None:
    plan = moved(lab)
    foreign = hidden(plan).with_name("foreign.txt")
    foreign.write_text("mine")
    assert retire(lab).status is RunStatus.RETIRED
    assert foreign.read_text() == "mine"


def test_the_reason_is_kept_with_the_run(lab: SimulatedLab) -> None:
    plan = moved(lab)
    witness(plan).unlink()
    retire(lab)
    with lab.app() as app:
        assert app.run(1).row.note.startswith("kept 1: ")


def test_what_was_kept_goes_once_its_witness_is_whole_again(lab: SimulatedLab) -> None:
    plan = moved(lab)
    aside = witness(plan).with_name("aside")
    witness(plan).rename(aside)
    assert retire(lab).status is RunStatus.COMMITTED
    aside.rename(witness(plan))
    assert retire(lab).status is RunStatus.RETIRED
    assert files_in(lab.stash) == {}


def test_promise_9_a_second_time_changes_nothing(lab: SimulatedLab) -> None:
    moved(lab)
    retire(lab)
    before = lab.seen()
    with lab.app() as app:
        assert app.retire(1, due_only=False) == []
        assert app.retire(None, due_only=True) == []
    assert lab.seen() == before


def test_promise_9_an_interrupted_retirement_goes_on_where_it_ended(lab: SimulatedLab) -> None:
    plan = moved(lab)
    hidden(plan, 1).unlink()  # the one it had done before it was killed
    applied = retire(lab)
    assert applied.status is RunStatus.RETIRED
    assert applied.retired is not None
    assert applied.retired.files == len(plan.retire) - 1


# -- time


def test_only_runs_whose_time_has_come_are_due(lab: SimulatedLab) -> None:
    plan = moved(lab)
    with lab.app() as app:
        assert app.retire(None, due_only=True) == []
        assert hidden(plan).exists()
        later = clock.now() + timedelta(hours=25)
        with clock.using(now=lambda: later):
            (applied,) = app.retire(None, due_only=True)
    assert applied.status is RunStatus.RETIRED
    assert not hidden(plan).exists()


def test_a_run_that_was_rolled_back_is_never_retired(lab: SimulatedLab) -> None:
    plan = moved(lab)
    with lab.app() as app:
        app.catalog.db.execute("UPDATE runs SET status = 'rolled-back'")
        assert app.retire(1, due_only=False) == []
    assert hidden(plan).exists()


def test_bytes_of_both_tries_count_as_freed_by_the_run(lab: SimulatedLab) -> None:
    plan = moved(lab)
    aside = witness(plan).with_name("aside")
    witness(plan).rename(aside)
    retire(lab)
    aside.rename(witness(plan))
    assert retire(lab).bytes_freed == plan.bytes_freed
