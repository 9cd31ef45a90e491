"""Everything that forbids a demotion, each with its code and its paths."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.support.facts_builder import (
    LAYOUT,
    POOL,
    STASH,
    codes,
    facts,
    file,
    layout,
    link,
    lying,
    paths,
    reusable,
    sha,
    torrent,
    torrent_id,
    with_targets,
)

from hashall.model import LinkVerdict
from rehome.facts import Facts, TargetFact
from rehome.model import Plan, Running, Verdict
from rehome.planner import plan_group

FILM = str(STASH / "Film/film.mkv")
TARGET = str(POOL / "Film/film.mkv")
MOVIE = "/stash/media/Film (2021)/Film.mkv"


def plan(known: Facts) -> Plan:
    return plan_group(known, LAYOUT)


def to_pool(below: str) -> dict[str, Any]:
    """Another place on the pool than the one that belongs to the save path."""
    return {"target_path": POOL / below, "client_target_path": str(POOL / below)}


def blocked(known: Facts) -> Plan:
    """The plan, which forbids to move anything and has nothing that could be executed."""
    made = plan(known)
    assert made.verdict is Verdict.BLOCK
    assert (made.steps, made.retire, made.staging) == ((), (), "")
    return made


def test_a_whole_group_that_only_seeds_may_move() -> None:
    made = plan(facts())
    assert (made.verdict, made.blockers) == (Verdict.MOVE, ())


# -- what is not known for certain


def test_a_file_without_a_fresh_hash_needs_a_scan() -> None:
    made = blocked(facts(torrent(files=[file("F/a"), file("F/b", None)]), payload_hash=None))
    assert codes(made) == ["needs-scan"]
    assert paths(made, "needs-scan") == [str(STASH / "F/b")]


def test_a_group_without_a_payload_hash_needs_a_scan_even_if_each_file_has_one() -> None:
    assert codes(blocked(facts(payload_hash=None))) == ["needs-scan"]


def test_a_file_that_two_torrents_share_is_named_once() -> None:
    one, two = (torrent(number, [file("F/a", None)]) for number in (1, 2))
    assert paths(blocked(facts(one, two)), "needs-scan") == [str(STASH / "F/a")]


def test_more_names_on_disk_than_in_the_catalog_block() -> None:
    unseen = link(7, 100, FILM, verdict=LinkVerdict.UNACCOUNTED, nlink=3)
    made = blocked(facts(links=(unseen,)))
    assert codes(made) == ["unaccounted-links"]
    assert paths(made, "unaccounted-links") == [FILM]
    assert "3 names for inode 7" in made.blockers[0].sentence
    assert "knows 1" in made.blockers[0].sentence


def test_a_file_that_no_scan_has_seen_needs_a_scan_and_nothing_is_said_of_its_links() -> None:
    new = link(7, 100, verdict=LinkVerdict.UNACCOUNTED, nlink=1)
    assert codes(blocked(facts(torrent(1, [file("F/a", None)]), links=(new,)))) == ["needs-scan"]
    # Where the scan is no answer, it is still not known who has these bytes.
    assert codes(blocked(facts(links=(new,)))) == ["unaccounted-links"]


def test_a_link_count_that_nobody_can_know_blocks() -> None:
    unknown = link(7, 100, FILM, verdict=LinkVerdict.UNKNOWN, nlink=1)
    made = blocked(facts(links=(unknown,)))
    assert codes(made) == ["unaccounted-links"]
    assert paths(made, "unaccounted-links") == [FILM]
    assert "cannot be known" in made.blockers[0].sentence


@pytest.mark.parametrize(
    "why",
    [
        "this root was never scanned to its end",
        "the last scan of this root is older than 1d",
        "the last scan met: Permission denied",
    ],
)
def test_a_root_that_no_recent_scan_covers_blocks_with_the_reason(why: str) -> None:
    made = blocked(facts(uncovered=(("/stash/media", why),)))
    assert codes(made) == ["root-not-covered"]
    assert paths(made, "root-not-covered") == ["/stash/media"]
    assert why in made.blockers[0].sentence


def test_a_group_on_two_filesystems_blocks() -> None:
    assert codes(blocked(facts(source_devices=(1, 3)))) == ["unknown-device"]


def test_places_on_two_filesystems_of_the_pool_block() -> None:
    assert codes(blocked(facts(target_devices=(2, 3)))) == ["unknown-device"]


def test_stash_and_pool_on_one_filesystem_block_with_both_roots() -> None:
    made = blocked(facts(source_devices=(2,)))
    assert codes(made) == ["unknown-device"]
    assert paths(made, "unknown-device") == [str(STASH), str(POOL)]


# -- who needs the bytes


def test_a_payload_with_a_library_hardlink_stays_on_stash() -> None:
    used = link(7, 100, MOVIE, FILM, outside=(MOVIE,))
    made = blocked(facts(links=(used,)))
    assert codes(made) == ["outside-link"]
    assert paths(made, "outside-link") == [MOVIE]


def test_a_torrents_own_file_elsewhere_is_not_called_a_librarys() -> None:
    """Who reads "remove the library's names" must not be shown the torrent's only file."""
    own = "/stash/elsewhere/Film/film.mkv"
    away = torrent(2, save_path=Path("/stash/elsewhere"))
    assert codes(blocked(facts(away, links=(link(7, 100, own, outside=(own,)),)))) == [
        "outside-domain"
    ]
    both = blocked(facts(away, links=(link(7, 100, own, MOVIE, outside=(own, MOVIE)),)))
    assert codes(both) == ["outside-link", "outside-domain"]
    assert paths(both, "outside-link") == [MOVIE]


def test_every_outside_path_of_every_inode_is_listed_once_and_sorted() -> None:
    one = link(7, 100, "/stash/b", FILM, outside=("/stash/b", "/stash/a"))
    two = link(8, 100, "/stash/a", FILM, outside=("/stash/a",))
    assert paths(blocked(facts(links=(one, two))), "outside-link") == ["/stash/a", "/stash/b"]


def test_a_hardlink_in_the_seeding_domain_that_no_torrent_uses_does_not_block() -> None:
    spare = str(STASH / "cross-seed/left over.mkv")
    made = plan(facts(links=(link(7, 100, spare, FILM),)))
    assert made.verdict is Verdict.MOVE
    assert made.bytes_freed == 0  # in truth: the spare name keeps the bytes on stash


def test_bytes_are_freed_when_every_name_of_the_inode_goes() -> None:
    assert plan(facts()).bytes_freed == 100


# -- the group


def test_a_torrent_that_is_gone_from_the_client_blocks() -> None:
    made = blocked(facts(missing_torrents=(torrent_id(9),)))
    assert codes(made) == ["group-not-whole"]
    assert torrent_id(9) in made.blockers[0].sentence


def test_a_torrent_that_the_catalog_has_not_seen_and_that_shares_files_blocks() -> None:
    made = blocked(facts(strangers=("abc (A Film)",)))
    assert codes(made) == ["group-not-whole"]
    assert "abc (A Film)" in made.blockers[0].sentence


@pytest.mark.parametrize(
    "problem",
    [
        "incomplete: 40.0% in the client",
        "errored: missingFiles",
        "errored: error",
        "busy: checkingUP",
        "missing on disk: 'Film/film.mkv'",
    ],
)
def test_one_torrent_that_is_not_ready_blocks_the_whole_group(problem: str) -> None:
    bad = torrent(2, save_path=STASH / "cross", problem=problem)
    made = blocked(facts(torrent(1), bad))
    assert codes(made) == ["group-not-whole"]
    assert paths(made, "group-not-whole") == [str(STASH / "cross")]
    assert problem in made.blockers[0].sentence


def test_a_torrent_outside_the_seeding_root_blocks_with_its_save_path() -> None:
    away = torrent(2, save_path=Path("/stash/elsewhere"))
    made = blocked(facts(torrent(1), away))
    assert codes(made) == ["outside-domain"]
    assert paths(made, "outside-domain") == ["/stash/elsewhere"]


def test_an_open_run_blocks_and_names_the_commands_that_end_it() -> None:
    made = blocked(facts(open_runs=(7,)))
    assert codes(made) == ["run-open"]
    assert "rehome resume 7" in made.blockers[0].sentence
    assert "rehome rollback 7" in made.blockers[0].sentence


def test_a_hidden_source_that_is_still_kept_blocks_and_names_the_command_that_ends_it() -> None:
    made = blocked(facts(kept_runs=(7,)))
    assert codes(made) == ["run-open"]
    assert "rehome retire 7" in made.blockers[0].sentence


def test_an_open_run_is_the_only_reason_because_it_explains_all_the_others() -> None:
    made = blocked(facts(open_runs=(7,), missing_torrents=(torrent_id(8),), payload_hash=None))
    assert codes(made) == ["run-open"]


# -- what the client calls a place


def test_a_map_that_leads_the_client_elsewhere_on_the_pool_is_not_proved() -> None:
    odd = torrent(1, save_path=STASH / "x", client_target_path="/somewhere/else")
    made = blocked(facts(odd))
    assert codes(made) == ["path-map-unproved"]
    assert paths(made, "path-map-unproved") == [str(POOL / "x")]


# -- what lies in the way


def test_other_bytes_at_the_target_are_a_conflict() -> None:
    made = blocked(with_targets(facts(), lying(TARGET, "another film")))
    assert codes(made) == ["target-conflict"]
    assert paths(made, "target-conflict") == [TARGET]


def test_another_size_at_the_target_is_a_conflict() -> None:
    made = blocked(with_targets(facts(), lying(TARGET, "film", size=99)))
    assert paths(made, "target-conflict") == [TARGET]


def test_bytes_at_the_target_that_no_scan_has_hashed_are_a_conflict() -> None:
    made = blocked(with_targets(facts(), lying(TARGET, None)))
    assert paths(made, "target-conflict") == [TARGET]
    assert "hashall scan" in made.blockers[0].sentence


def test_the_same_bytes_at_the_target_are_no_conflict() -> None:
    made = plan(with_targets(facts(), lying(TARGET, "film")))
    assert (made.verdict, made.bytes_to_copy) == (Verdict.REUSE, 0)


def test_the_same_bytes_that_another_torrent_seeds_there_are_a_conflict() -> None:
    made = blocked(with_targets(facts(), lying(TARGET, "film", used_by=(torrent_id(9),))))
    assert codes(made) == ["target-conflict"]
    assert paths(made, "target-conflict") == [TARGET]
    assert "another torrent" in made.blockers[0].sentence


def test_a_symlink_at_the_target_is_a_conflict() -> None:
    made = blocked(with_targets(facts(), TargetFact(TARGET, True, None, None, ())))
    assert paths(made, "target-conflict") == [TARGET]


def test_a_foreign_file_in_the_root_folder_is_a_conflict() -> None:
    made = blocked(facts(foreign=("/pool/seeding/Film/notes.txt",)))
    assert codes(made) == ["target-conflict"]
    assert paths(made, "target-conflict") == ["/pool/seeding/Film/notes.txt"]


def test_two_torrents_that_want_other_bytes_at_one_path_are_a_conflict() -> None:
    one = torrent(1, [file("F/a", "one")], save_path=STASH / "x")
    two = torrent(2, [file("F/a", "two")], save_path=STASH / "y", **to_pool("x"))
    made = blocked(facts(one, two))
    assert codes(made) == ["target-conflict"]
    assert paths(made, "target-conflict") == [str(POOL / "x/F/a")]


# -- room


def test_a_copy_that_does_not_fit_with_the_margin_blocks() -> None:
    made = blocked(facts(free_bytes=1099))
    assert codes(made) == ["no-space"]
    assert paths(made, "no-space") == [str(POOL)]
    assert plan(facts(free_bytes=1100)).verdict is Verdict.MOVE


def test_bytes_that_many_files_share_need_room_once() -> None:
    twins = torrent(1, [file("F/a"), file("F/b")])
    sibling = torrent(2, [file("other name")], save_path=STASH / "cross")
    made = plan(facts(twins, sibling, free_bytes=1100))
    assert (made.verdict, made.bytes_to_copy) == (Verdict.MOVE, 100)


def test_reuse_needs_no_room_at_all() -> None:
    made = plan(facts(reusable=(reusable("/pool/seeding/old/film"),), free_bytes=0))
    assert (made.verdict, made.bytes_to_copy) == (Verdict.REUSE, 0)


def test_only_what_the_pool_lacks_needs_room() -> None:
    both = torrent(1, [file("F/a", "a", 5000), file("F/b", "b", 70)])
    there = reusable("/pool/seeding/old/a", "a", 5000)
    made = plan(facts(both, reusable=(there,), free_bytes=1070))
    assert (made.verdict, made.bytes_to_copy, made.total_bytes) == (Verdict.MOVE, 70, 5070)


# -- all of them


def test_all_reasons_that_apply_are_listed_at_once() -> None:
    away = torrent(3, save_path=Path("/elsewhere"))
    bad = torrent(2, [file("G/b", None)], save_path=STASH / "x", problem="errored: error")
    known = facts(
        *(torrent(1), bad, away),
        missing_torrents=(torrent_id(8),),
        strangers=("abc (A Film)",),
        links=(
            link(7, 100, MOVIE, FILM, outside=(MOVIE,)),
            link(8, 100, FILM, verdict=LinkVerdict.UNACCOUNTED, nlink=2),
            link(9, 100, FILM, verdict=LinkVerdict.UNKNOWN),
        ),
        uncovered=(("/stash/media", "never"),),
        source_devices=(1, 2),
        target_devices=(2, 3),
        foreign=("/pool/seeding/Film/notes.txt",),
        free_bytes=0,
    )
    made = blocked(with_targets(known, lying(TARGET, "x", used_by=(torrent_id(9),))))
    assert codes(made) == [
        *["group-not-whole"] * 3,
        "needs-scan",
        "outside-link",
        *["unaccounted-links"] * 2,
        "root-not-covered",
        *["unknown-device"] * 3,
        "outside-domain",
        *["target-conflict"] * 2,
        "no-space",
    ]


def test_a_conflict_within_the_group_is_listed_beside_the_other_reasons() -> None:
    one = torrent(1, [file("F/a", "one")], save_path=STASH / "x")
    two = torrent(2, [file("F/a", "two")], save_path=STASH / "y", **to_pool("x"))
    made = blocked(facts(one, two, strangers=("abc (A Film)",)))
    assert codes(made) == ["group-not-whole", "target-conflict"]


def test_what_is_on_the_pool_already_is_skipped_and_not_blocked() -> None:
    home = torrent(1, save_path=POOL, arrived=True)
    made = plan(facts(home, source_devices=(2,), kept_runs=(7,)))
    assert (made.verdict, made.steps, made.blockers) == (Verdict.SKIP, (), ())
    assert (made.bytes_to_copy, made.bytes_freed) == (0, 0)


def test_a_run_that_was_interrupted_after_the_client_was_told_is_no_arrival() -> None:
    home = torrent(1, save_path=POOL, arrived=True)
    assert codes(blocked(facts(home, source_devices=(2,), open_runs=(7,)))) == ["run-open"]


# -- safety.md, as far as a planner can keep its promises


def test_promise_1_nothing_is_retired_without_a_copy_of_its_own_bytes_on_the_pool() -> None:
    made = plan(facts(torrent(1, [file("F/a", "a"), file("F/b", "b")])))
    assert [(r.name, r.sha256, r.witness) for r in made.retire] == [
        ("F/a", sha("a"), str(POOL / "F/a")),
        ("F/b", sha("b"), str(POOL / "F/b")),
    ]


def test_promise_2_no_consumer_is_broken_because_an_outside_link_blocks() -> None:
    used = link(7, 100, MOVIE, FILM, outside=(MOVIE,))
    assert blocked(facts(links=(used,))).retire == ()


@pytest.mark.parametrize("running", Running)
def test_promise_3_each_torrent_is_brought_back_to_the_state_it_had(running: Running) -> None:
    made = plan(facts(torrent(1, running=running)))
    assert [(was.torrent_id, was.running) for was in made.steps[-1].torrents] == [  # type: ignore[union-attr]
        (torrent_id(1), running)
    ]


def test_promise_4_one_bad_torrent_keeps_all_the_others_on_stash() -> None:
    good = [torrent(number, save_path=STASH / f"{number}") for number in (1, 2, 3)]
    bad = torrent(4, save_path=STASH / "4", problem="errored: error")
    assert blocked(facts(*good, bad)).steps == ()


def test_promise_5_nothing_that_exists_is_written_over() -> None:
    known = with_targets(facts(), lying(TARGET, "something of somebody"))
    assert blocked(known).steps == ()


def test_promise_8_unknown_means_no() -> None:
    unknown = link(7, 100, FILM, verdict=LinkVerdict.UNKNOWN)
    for doubt in (
        {"payload_hash": None},
        {"links": (unknown,)},
        {"uncovered": (("/stash/media", "never scanned"),)},
        {"source_devices": (1, 5)},
        {"strangers": ("abc (A Film)",)},
    ):
        assert blocked(facts(**doubt)).verdict is Verdict.BLOCK


def test_promise_10_an_interrupted_run_comes_before_a_new_one() -> None:
    assert codes(blocked(facts(open_runs=(3, 4)))) == ["run-open", "run-open"]


def test_the_margin_is_the_one_that_is_configured() -> None:
    tight = layout(space_margin=0)
    assert plan_group(facts(free_bytes=100), tight).verdict is Verdict.MOVE
    assert codes(plan_group(facts(free_bytes=99), tight)) == ["no-space"]


def test_a_sibling_in_another_client_keeps_the_group_where_it_is() -> None:
    made = plan_group(facts(torrent(1), missing_torrents=(f"{torrent_id(2)}@seedbox",)), LAYOUT)
    assert codes(made) == ["group-not-whole"]
    assert "one of the client 'seedbox'" in made.blockers[0].sentence
