"""What a plan decides: which file stays, what is linked, what is passed over and why."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashall.linking.model import (
    Action,
    Canonical,
    Copy,
    CrossGroup,
    Group,
    InodeFacts,
    Kind,
    PlanOptions,
)
from hashall.linking.plan import plan_cross, plan_links, renumbered

SIZE = 1000


def inode(number: int, *paths: str, **facts: object) -> InodeFacts:
    known: dict[str, object] = {
        **{"nlink": len(paths), "mtime_ns": 10**18, "mode": 0o100644, "uid": 1, "gid": 1},
        **{"racy": False, "unfinished": False},
    }
    return InodeFacts(inode=number, paths=tuple(sorted(paths)), **{**known, **facts})  # type: ignore[arg-type]


def group(*inodes: InodeFacts, doubt: str | None = None) -> Group:
    ordered = tuple(sorted(inodes, key=lambda facts: facts.paths[0]))
    return Group(1, "5" * 64, SIZE, ordered, doubt)


def plan(found: Group, **options: object) -> list[Action]:
    wanted = PlanOptions(**options)  # type: ignore[arg-type]
    return list(plan_links([found], wanted, lambda _, path: f"/mnt/{path}"))


def of(kind: Kind, actions: list[Action]) -> list[Action]:
    return [action for action in actions if action.kind is kind]


def reasons(actions: list[Action]) -> list[str]:
    return [action.reason for action in of(Kind.SKIP, actions)]


def test_the_inode_with_the_most_names_stays() -> None:
    actions = plan(group(inode(1, "a"), inode(2, "b", "c")))
    (link,) = of(Kind.HARDLINK, actions)
    assert (link.target.path, link.source.path, link.bytes_to_save) == ("a", "b", SIZE)
    (noop,) = of(Kind.NOOP, actions)
    assert noop.target.path == "c"


def test_between_equals_the_first_path_stays() -> None:
    (link,) = of(Kind.HARDLINK, plan(group(inode(9, "a"), inode(1, "b"))))
    assert link.source.path == "a"


@pytest.mark.parametrize(
    ("canonical", "kept"), [("most-links", "c"), ("lexical", "a"), ("oldest", "b")]
)
def test_a_person_may_choose_which_file_stays(canonical: str, kept: str) -> None:
    found = group(inode(1, "a"), inode(2, "b", mtime_ns=5), inode(3, "c", "d"))
    actions = plan(found, canonical=Canonical(canonical))
    assert {action.source.path for action in of(Kind.HARDLINK, actions)} == {kept}


def test_the_bytes_of_an_inode_count_once_at_its_last_name() -> None:
    actions = of(Kind.HARDLINK, plan(group(inode(1, "a", "b", "c"), inode(2, "d", "e"))))
    assert [(a.target.path, a.bytes_to_save) for a in actions] == [("d", 0), ("e", SIZE)]


def test_an_inode_with_a_name_that_no_scan_has_seen_is_the_one_to_keep() -> None:
    actions = plan(group(inode(1, "a", "b"), inode(2, "c", nlink=2)))
    assert {a.source.path for a in of(Kind.HARDLINK, actions)} == {"c"}


def test_a_second_one_is_passed_over_because_it_frees_nothing() -> None:
    actions = plan(group(inode(1, "a", nlink=3), inode(2, "b", nlink=2), inode(3, "c")))
    assert reasons(actions) == ["unseen-names"]
    assert [a.target.path for a in of(Kind.HARDLINK, actions)] == ["c"]


def test_an_inode_of_which_a_name_is_filtered_out_is_not_replaced() -> None:
    found = group(inode(1, "a", "keep/b"), inode(2, "c"), inode(3, "d"))
    actions = plan(found, exclude=("*/keep/*",), canonical=Canonical.OLDEST)
    assert reasons(actions) == []  # it is the one that stays
    found = group(inode(1, "x", "keep/b", mtime_ns=9), inode(2, "c", mtime_ns=1))
    assert reasons(plan(found, exclude=("*/keep/*",), canonical=Canonical.OLDEST)) == [
        "filtered-names"
    ]


def test_include_looks_at_absolute_paths() -> None:
    found = group(inode(1, "media/a"), inode(2, "media/b"), inode(3, "other/c"))
    actions = plan(found, include=("/mnt/media/*",))
    assert [(a.source.path, a.target.path) for a in actions] == [("media/a", "media/b")]


def test_old_files_are_left_alone_on_request() -> None:
    found = group(inode(1, "a", mtime_ns=1), inode(2, "b"), inode(3, "c"))
    actions = plan(found, mtime_since=date(2001, 9, 9))
    assert [(a.source.path, a.target.path) for a in actions] == [("b", "c")]


def test_a_file_of_an_unfinished_torrent_is_neither_linked_nor_linked_to() -> None:
    actions = plan(group(inode(1, "a", "b", unfinished=True), inode(2, "c"), inode(3, "d")))
    assert reasons(actions) == ["unfinished"]
    assert [(a.source.path, a.target.path) for a in of(Kind.HARDLINK, actions)] == [("c", "d")]


def test_without_any_finished_file_nothing_is_linked() -> None:
    actions = plan(group(inode(1, "a", unfinished=True), inode(2, "b", racy=True)))
    assert of(Kind.HARDLINK, actions) == []
    assert reasons(actions) == ["just-written"]


def test_a_file_that_was_hashed_while_it_was_young_is_passed_over() -> None:
    assert reasons(plan(group(inode(1, "a", racy=True), inode(2, "b")))) == ["just-written"]


def test_a_file_that_was_found_damaged_is_neither_linked_nor_linked_to() -> None:
    found = group(inode(1, "a", "b", "c", damaged=True), inode(2, "d"), inode(3, "e"))
    actions = plan(found)
    assert [(a.source.path, a.target.path) for a in of(Kind.HARDLINK, actions)] == [("d", "e")]
    assert reasons(actions) == ["damaged"]
    alone = group(inode(1, "a", damaged=True), inode(2, "b", damaged=True))
    assert of(Kind.HARDLINK, plan(alone)) == []


def test_ten_times_the_equal_files_are_ten_times_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small files with the same bytes come in thousands: each is not compared with each."""
    compared = []
    equal = InodeFacts.__eq__

    def counted(one: InodeFacts, other: object) -> bool:
        compared.append(1)
        return equal(one, other)

    found = group(*(inode(number, f"{number:04}") for number in range(500)))
    monkeypatch.setattr(InodeFacts, "__eq__", counted)
    assert len(of(Kind.HARDLINK, plan(found))) == 499
    assert len(compared) <= 1000


def test_link_counts_that_prove_nothing_stop_the_whole_group() -> None:
    actions = plan(group(inode(1, "a"), inode(2, "b"), doubt="FUSE tells what it likes"))
    assert reasons(actions) == ["unknown-links"]
    assert group(inode(1, "a"), inode(2, "b"), doubt="x").savings == 0


def test_one_inode_with_several_names_is_already_as_it_should_be() -> None:
    (noop,) = plan(group(inode(1, "a", "b", "c")))
    assert (noop.kind, noop.detail) == (Kind.NOOP, "3 names are one file already")


@pytest.mark.parametrize(
    ("facts", "word"), [({"uid": 2}, "owner-differs"), ({"mode": 0o100600}, "mode-differs")]
)
def test_a_link_that_would_change_the_owner_or_mode_says_so(
    facts: dict[str, int], word: str
) -> None:
    (link,) = plan(group(inode(1, "a"), inode(2, "b", **facts)))
    assert (link.kind, link.reason) == (Kind.HARDLINK, word)


facts_of_inodes = st.lists(
    st.tuples(
        st.integers(1, 3), st.integers(0, 2), st.booleans(), st.booleans(), st.integers(1, 5)
    ),
    min_size=1,
    max_size=6,
)


@given(facts_of_inodes, st.sampled_from(list(Canonical)))
def test_every_plan_keeps_the_laws(
    facts: list[tuple[int, int, bool, bool, int]], canonical: Canonical
) -> None:
    inodes = [
        inode(
            number,
            *(f"{number}-{name}" for name in range(names)),
            nlink=names + unseen,
            racy=racy,
            unfinished=unfinished,
            mtime_ns=age,
        )
        for number, (names, unseen, racy, unfinished, age) in enumerate(facts, 1)
    ]
    found = group(*inodes)
    actions = plan(found, canonical=canonical)
    assert actions == plan(found, canonical=canonical)
    assert [action.seq for action in actions] == list(range(1, len(actions) + 1))
    links = of(Kind.HARDLINK, actions)
    by_number = {facts.inode: facts for facts in inodes}
    assert len({link.source.inode for link in links}) <= 1
    for number in {link.target.inode for link in links}:
        replaced = by_number[number]
        assert not (replaced.unseen)
        assert not (replaced.unfinished)
        assert not (replaced.racy)
        names = [link for link in links if link.target.inode == number]
        assert [link.target.path for link in names] == list(replaced.paths)
        assert sum(link.bytes_to_save for link in names) == SIZE
    for link in links:
        source = by_number[link.source.inode]
        assert not (source.unfinished)
        assert not (source.racy)
        assert source.inode != link.target.inode


# -- across filesystems


def copy(
    device: int, facts: InodeFacts, torrents: int = 0, *libraries: str, pool: str = ""
) -> Copy:
    return Copy(device, facts, tuple(f"t{n}" for n in range(torrents)), libraries, pool=pool)


def cross(*copies: Copy, **options: object) -> list[Action]:
    found = CrossGroup("5" * 64, SIZE, copies)
    return plan_cross([found], PlanOptions(**options), lambda d, path: f"/{d}/{path}")  # type: ignore[arg-type]


def test_a_copy_that_nobody_uses_is_proposed_for_deletion() -> None:
    actions = cross(copy(1, inode(1, "a", "b")), copy(2, inode(7, "c"), 1))
    assert [(a.kind, a.target.path, a.bytes_to_save) for a in actions] == [
        (Kind.DELETE, "a", 0),
        (Kind.DELETE, "b", SIZE),
    ]
    assert {a.source.path for a in actions} == {"c"}


@pytest.mark.parametrize(
    ("needed", "word"),
    [
        (copy(2, inode(7, "c"), 1), "seeded"),
        (copy(2, inode(7, "c"), 0, "/lib"), "in-library"),
        (copy(2, inode(7, "c", nlink=2)), "unseen-names"),
        (copy(2, inode(7, "c", unfinished=True)), "unfinished"),
    ],
)
def test_a_copy_that_somebody_needs_stays(needed: Copy, word: str) -> None:
    (action,) = cross(copy(1, inode(1, "a"), 2, "/lib"), needed)
    assert (action.kind, action.reason) == (Kind.SKIP, word)


def test_subvolumes_of_one_btrfs_may_share_their_blocks_so_neither_copy_goes() -> None:
    (action,) = cross(copy(1, inode(1, "a"), pool="u"), copy(2, inode(2, "b"), pool="u"))
    assert (action.kind, action.reason) == (Kind.SKIP, "shared-blocks")
    (action,) = cross(copy(1, inode(1, "a"), pool="u"), copy(2, inode(2, "b"), pool="v"))
    assert action.kind is Kind.DELETE


def test_copies_on_one_filesystem_are_no_business_of_deletion() -> None:
    assert cross(copy(1, inode(1, "a")), copy(1, inode(2, "b"))) == []
    assert cross(copy(1, inode(1, "a")), copy(2, inode(2, "b")), exclude=("/2/*",)) == []


def test_actions_are_numbered_through() -> None:
    (action,) = cross(copy(1, inode(1, "a")), copy(2, inode(2, "b")))
    assert [a.seq for a in renumbered([action], 8)] == [8]
