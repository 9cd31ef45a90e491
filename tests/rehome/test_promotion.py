"""From the pool back to stash: only by reuse, with the copy on the pool kept or cleaned up."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.support.facts_builder import (
    LAYOUT,
    codes,
    facts,
    file,
    layout,
    lying,
    paths,
    reusable,
    steps,
    torrent,
    with_targets,
)
from tests.support.gathering import Stage
from tests.support.relocating import NO_WAIT, SimulatedLab, another_film, changes

from hashall.catalog.runs import RunStatus
from rehome.facts import Facts
from rehome.model import (
    Direction,
    FillPayload,
    Hide,
    MakeStaging,
    Place,
    Plan,
    ProveFolder,
    Reveal,
    Verdict,
    VerifyReuse,
)
from rehome.outcome import Watch, Wishes
from rehome.planner import plan_group, with_cleanup

PROMOTE = Direction.PROMOTE
POOL, STASH = Path("/pool/seeding"), Path("/stash/seeding")


def on_pool(*files: str, **more: Any) -> Facts:
    """A group that seeds from the pool; its places are on stash."""
    one = torrent(1, [file(name, name) for name in files], save_path=STASH)
    there = torrent(
        1,
        one.files,
        save_path=POOL,
        target_path=STASH,
        client_target_path=str(STASH),
    )
    return facts(there, direction=PROMOTE, source_devices=(2,), target_devices=(1,), **more)


def test_bytes_that_stash_does_not_have_are_never_copied_there() -> None:
    known = on_pool("a", "b", reusable=(reusable("/stash/media/a", "a"),))
    made = plan_group(known, LAYOUT)
    assert codes(made) == ["no-blind-copy"]
    assert paths(made, "no-blind-copy") == [str(POOL / "b")]
    assert made.steps == ()


def test_a_promotion_reads_what_stash_has_and_shows_the_pools_copy_again() -> None:
    known = on_pool("a", reusable=(reusable("/stash/media/a", "a"),))
    made = plan_group(known, LAYOUT)
    assert (made.verdict, made.keep_source) == (Verdict.REUSE, True)
    assert not steps(made, FillPayload)
    assert [item.path for step in steps(made, VerifyReuse) for item in step.files] == [
        "/stash/media/a"
    ]
    (staging,) = steps(made, MakeStaging)
    assert Path(staging.path).parent == STASH
    probe = f"{STASH}/.seedkeep-{made.plan_id}-probe"
    assert ProveFolder(probe, probe) in made.steps
    (hide,), (reveal,) = steps(made, Hide), steps(made, Reveal)
    assert (reveal.src_root, reveal.dst_root) == (hide.dst_root, hide.src_root)
    assert reveal.names == hide.names
    kinds = [type(step) for step in made.steps]
    assert kinds.index(Place) < kinds.index(Reveal)


def test_cleaned_up_the_pools_copy_stays_hidden_and_is_retired() -> None:
    made = with_cleanup(plan_group(on_pool("a", reusable=(reusable("/stash/x", "a"),)), LAYOUT))
    assert not made.keep_source
    assert not steps(made, Reveal)
    assert [item.witness for item in made.retire] == [f"{STASH}/a"]


def test_cleaning_up_changes_nothing_about_a_demotion() -> None:
    made = plan_group(facts(), LAYOUT)
    assert with_cleanup(made) == made


def test_a_name_outside_the_pools_seeding_root_does_not_keep_a_torrent_there() -> None:
    known = on_pool("a", reusable=(reusable("/stash/media/a", "a"),))
    (link,) = known.links
    known = replace(known, links=(replace(link, outside=("/pool/backup/a",)),))
    assert plan_group(known, LAYOUT).verdict is Verdict.REUSE


def test_stash_needs_no_room_for_links() -> None:
    known = on_pool("a", reusable=(reusable("/stash/media/a", "a"),), free_bytes=0)
    assert plan_group(known, layout(space_margin=10**12)).verdict is Verdict.REUSE


def test_what_lies_in_its_place_on_stash_is_taken_as_it_is() -> None:
    known = with_targets(on_pool("a"), lying(f"{STASH}/a", "a"))
    assert plan_group(known, LAYOUT).verdict is Verdict.REUSE


# -- gathered from real trees


FILM = {"Film/film.mkv": "the film", "Film/film.nfo": "about it"}


def seeded_on_pool(scene: Stage, number: int = 1) -> str:
    return scene.seed(number, FILM, save_path=scene.pool_seeding / "cold")


def test_a_library_on_stash_is_reused(scene: Stage) -> None:
    film = seeded_on_pool(scene)
    for name, content in FILM.items():
        scene.write(scene.media / name, content)
    scene.look()
    made = scene.plan(film, PROMOTE)
    assert made.verdict is Verdict.REUSE, made.blockers
    used = {item.path for step in steps(made, VerifyReuse) for item in step.files}
    assert used == {str(scene.media / name) for name in FILM}
    (move,) = made.torrents
    assert move.target_path == str(scene.seeding / "cold")


def test_another_payload_on_stash_is_reused_in_another_layout(scene: Stage) -> None:
    film = seeded_on_pool(scene)
    scene.seed(2, {"Other/x.mkv": "the film", "Other/y": "about it"})
    scene.look()
    assert scene.plan(film, PROMOTE).verdict is Verdict.REUSE


def test_files_outside_the_seeding_root_and_libraries_are_not_reused(scene: Stage) -> None:
    film = seeded_on_pool(scene)
    for name, content in FILM.items():
        scene.write(scene.stash / "somewhere" / name, content)
    scene.look()
    assert codes(scene.plan(film, PROMOTE)) == ["no-blind-copy"]


def test_what_is_on_stash_already_is_skipped(scene: Stage) -> None:
    film = scene.seed(1, FILM)
    scene.look()
    assert scene.plan(film, PROMOTE).verdict is Verdict.SKIP


def test_a_stash_that_no_scan_covers_blocks_a_promotion(scene: Stage) -> None:
    film = seeded_on_pool(scene)
    scene.scan(scene.pool)
    scene.sync()
    assert codes(scene.plan(film, PROMOTE)) == ["root-not-covered", "no-blind-copy"]


# -- carried out


@pytest.fixture
def cold(lab: SimulatedLab) -> str:
    """A film that seeds from the pool, and lies in the library on stash as a file of its own."""
    torrent_id = lab.seed("Cold", {"cold.mkv": 50_000, "cold.nfo": b"about"}, on_pool=True)
    made = lab.made[torrent_id]
    for path in made.paths:
        target = lab.media / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((made.root / path).read_bytes())
    lab.look()
    return torrent_id


def promotion(lab: SimulatedLab, torrent_id: str) -> Plan:
    with lab.app() as app:
        return app.plan(torrent_id, PROMOTE)


def test_a_promoted_torrent_seeds_the_librarys_bytes_and_the_pool_keeps_its_copy(
    lab: SimulatedLab, cold: str
) -> None:
    pool_before = lab.seen().pool
    applied = lab.apply(promotion(lab, cold))
    assert applied is not None
    assert applied.status is RunStatus.RETIRED  # there is nothing left to do
    assert lab.rows()[cold]["save_path"] == str(lab.seeding)
    seeded, library = lab.seeding / "Cold/cold.mkv", lab.media / "Cold/cold.mkv"
    assert os.path.samestat(seeded.stat(), library.stat())
    assert lab.seen().pool == pool_before
    assert lab.own_debris() == []


def test_promoted_with_cleanup_the_pool_has_nothing_left(lab: SimulatedLab, cold: str) -> None:
    made = promotion(lab, cold)
    with lab.app() as app:
        wishes = Wishes(retain=NO_WAIT, reason="a test", cleanup_duplicate=True)
        app.apply_all([made], wishes, Watch())
    assert list(lab.pool_seeding.iterdir()) == []
    assert (lab.media / "Cold/cold.mkv").stat().st_nlink == 2
    assert lab.own_debris() == []


def test_what_was_promoted_stays_when_asked_again(lab: SimulatedLab, cold: str) -> None:
    lab.apply(promotion(lab, cold))
    assert promotion(lab, cold).verdict is Verdict.SKIP


def test_a_film_goes_to_the_pool_and_comes_back_when_the_library_wants_it(
    lab: SimulatedLab,
) -> None:
    film = another_film(lab, "Film")
    lab.look()
    before = lab.seen()
    lab.apply(lab.plan(film))
    lab.look()
    wanted = lab.media / "Film/Film.mkv"
    wanted.parent.mkdir(parents=True)
    wanted.write_bytes((lab.pool_seeding / "Film/Film.mkv").read_bytes())
    lab.look()
    lab.apply(promotion(lab, film))
    assert os.path.samestat((lab.seeding / "Film/Film.mkv").stat(), wanted.stat())
    told = [line for line in changes(before, lab.seen()) if line.startswith("torrents")]
    assert told == []
