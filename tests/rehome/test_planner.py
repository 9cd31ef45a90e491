"""What a plan contains, by example; what holds for all plans is in test_planner_properties."""

from __future__ import annotations

from tests.support.facts_builder import (
    LAYOUT,
    POOL,
    STASH,
    facts,
    file,
    inode_of,
    layout,
    link,
    lying,
    reusable,
    sha,
    steps,
    torrent,
    with_targets,
)

from hashall.model import LinkVerdict
from rehome.facts import Facts
from rehome.model import (
    Adopt,
    BuildView,
    FillPayload,
    Hide,
    MakeStaging,
    Place,
    Plan,
    SetManagement,
    Verdict,
    VerifyReuse,
)
from rehome.planner import plan_group

FILM = str(STASH / "Film/film.mkv")


def plan(known: Facts) -> Plan:
    return plan_group(known, LAYOUT)


def test_of_equal_files_the_first_torrents_is_copied() -> None:
    one, two = torrent(1, save_path=STASH / "b"), torrent(2, save_path=STASH / "a")
    (fill,) = steps(plan(facts(one, two)), FillPayload)
    assert [copy.source for copy in fill.copies] == [str(STASH / "b/Film/film.mkv")]


def test_of_several_copies_on_the_pool_the_first_is_reused() -> None:
    known = facts(reusable=(reusable("/pool/seeding/a"), reusable("/pool/seeding/b")))
    (reuse,) = steps(plan(known), VerifyReuse)
    assert [witness.path for witness in reuse.files] == ["/pool/seeding/a"]


def floor_of(size: int, known: Facts) -> tuple[list[str], list[str]]:
    """(sources copied, paths on the pool reused) under this floor."""
    made = plan_group(known, layout(reuse_floor=size))
    copied = [copy.source for step in steps(made, FillPayload) for copy in step.copies]
    assert made.bytes_to_copy == sum(
        c.seen.size for s in steps(made, FillPayload) for c in s.copies
    )
    return copied, [file.path for step in steps(made, VerifyReuse) for file in step.files]


def test_a_small_file_of_another_payload_is_copied_so_that_the_groups_stay_two() -> None:
    release = torrent(
        1, [file("F/film", "f", 9000), file("F/nfo", "n", 9), file("F/track", "t", 500)]
    )
    known = facts(release, reusable=(reusable("/pool/a", "n", 9), reusable("/pool/b", "t", 500)))
    film, nfo, track = (str(STASH / "F" / name) for name in ("film", "nfo", "track"))
    assert floor_of(0, known) == ([film], ["/pool/a", "/pool/b"])
    assert floor_of(9, known) == ([film], ["/pool/a", "/pool/b"])
    assert floor_of(10, known) == ([film, nfo], ["/pool/b"])
    assert floor_of(501, known) == ([film, nfo, track], [])


def test_a_payload_that_is_on_the_pool_as_a_whole_is_reused_to_its_smallest_file() -> None:
    release = torrent(1, [file("F/film", "f", 9000), file("F/nfo", "n", 9)])
    known = facts(release, reusable=(reusable("/pool/a", "f", 9000), reusable("/pool/b", "n", 9)))
    assert floor_of(10**6, known) == ([], ["/pool/a", "/pool/b"])


def test_a_small_file_that_lies_in_its_own_place_is_taken() -> None:
    release = torrent(1, [file("F/film", "f", 9000), file("F/nfo", "n", 9)])
    known = facts(release, reusable=(reusable("/pool/elsewhere", "n", 9),))
    there = with_targets(known, lying(f"{POOL}/F/nfo", "n", 9))
    assert floor_of(10**6, there) == ([str(STASH / "F/film")], [f"{POOL}/F/nfo"])


def test_names_that_nobody_knows_keep_the_bytes_on_stash() -> None:
    unseen = link(7, 100, FILM, verdict=LinkVerdict.UNACCOUNTED, nlink=2)
    assert plan(facts(links=(unseen,))).bytes_freed == 0


def test_names_that_stay_in_the_domain_are_told() -> None:
    spare = str(STASH / "left over.mkv")
    made = plan(facts(links=(link(7, 100, spare, FILM),)))
    assert made.staying == (spare,)
    assert plan(facts()).staying == ()


def test_copies_are_numbered_so_that_no_name_can_be_too_long_or_odd() -> None:
    odd = torrent(1, [file(f"F/{'x' * 250}", "a"), file("F/\udcff\n", "b")])
    made = plan(facts(odd))
    (fill,) = steps(made, FillPayload)
    assert [copy.target for copy in fill.copies] == [
        f"{made.staging}/payload/000000",
        f"{made.staging}/payload/000001",
    ]


def test_siblings_in_other_roots_become_names_of_one_copy() -> None:
    one = torrent(1, [file("Film/film.mkv")])
    two = torrent(2, [file("A Nice Name/film.mkv")], save_path=STASH / "cross")
    made = plan(facts(one, two))
    (fill,) = steps(made, FillPayload)
    (copy,) = fill.copies
    links = [link for step in steps(made, BuildView) for link in step.links]
    assert {link.source for link in links} == {copy.target}
    assert [link.name for link in links] == ["Film/film.mkv", "A Nice Name/film.mkv"]


def test_sources_are_hidden_below_their_own_save_path_under_the_runs_name() -> None:
    made = plan(facts(torrent(1, save_path=STASH / "films")))
    (hide,) = steps(made, Hide)
    assert hide.dst_root == f"{STASH}/films/.seedkeep-{made.plan_id}-hidden"
    assert hide.undo_remove == (f"{hide.dst_root}/Film", hide.dst_root)


def test_what_lies_in_its_place_is_taken_into_the_view_and_placed_with_it() -> None:
    both = torrent(1, [file("F/a", "a"), file("F/b", "b")])
    made = plan(with_targets(facts(both), lying(f"{POOL}/F/a", "a")))
    (adopt,), (view,), (place,) = steps(made, Adopt), steps(made, BuildView), steps(made, Place)
    assert (adopt.src_root, adopt.dst_root, adopt.names) == (str(POOL), view.root, ("F/a",))
    assert [link.name for link in view.links] == ["F/b"]
    assert place.names == ("F/a", "F/b")


def test_a_view_that_lies_there_completely_is_not_built() -> None:
    made = plan(with_targets(facts(), lying(f"{POOL}/Film/film.mkv", "film")))
    assert made.verdict is Verdict.REUSE
    assert steps(made, BuildView) == steps(made, FillPayload) == []


def test_empty_files_are_copied_like_others_and_marked_where_they_move() -> None:
    made = plan(facts(torrent(1, [file("F/a", "a"), file("F/empty", "nothing", 0)])))
    assert made.verdict is Verdict.MOVE
    assert [step.empty for step in (*steps(made, Hide), *steps(made, Place))] == [
        ("F/empty",),
        ("F/empty",),
    ]


def test_a_group_of_empty_files_needs_no_room() -> None:
    nothing = facts(torrent(1, [file("F/empty", "nothing", 0)]), free_bytes=0)
    assert (plan(nothing).verdict, plan(nothing).bytes_to_copy) == (Verdict.MOVE, 0)


def test_folders_that_have_to_be_made_are_removed_when_the_run_is_taken_back() -> None:
    made = plan(facts(new_dirs=("/pool/seeding/Film",)))
    (staging,) = steps(made, MakeStaging)
    assert staging.undo_remove == ("/pool/seeding/Film",)


def test_a_torrent_without_management_and_download_path_is_left_as_it_is() -> None:
    assert steps(plan(facts()), SetManagement) == []


def test_a_left_over_download_path_is_cleared_and_remembered() -> None:
    made = plan(facts(torrent(1, client_download_path="/tmp/incomplete")))
    (step,) = steps(made, SetManagement)
    assert step.client_download_path == ""
    assert step.inverse().client_download_path == "/tmp/incomplete"


def test_the_plan_bears_the_name_of_its_facts() -> None:
    one, two = plan(facts()), plan(facts(torrent(1, category="other")))
    assert one.plan_id != two.plan_id
    assert len(one.plan_id) == 12
    assert inode_of("film") == one.retire[0].seen.inode
    assert sha("film") == one.retire[0].sha256
