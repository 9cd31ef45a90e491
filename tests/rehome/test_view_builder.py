"""Views are built file by file and by content, never by folder."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.support.facts_builder import POOL, STASH, file, sha, torrent

from rehome.model import Link
from rehome.view_builder import Ambiguous, View, content_of, links_for, views_of

NOTHING: frozenset[str] = frozenset()


def view(*files: tuple[str, str]) -> View:
    (made,) = views_of([torrent(1, [file(name, word) for name, word in files])])
    return made


def test_a_renamed_root_gets_its_files_from_where_the_bytes_are() -> None:
    made = view(("A Nice Name/show.mkv", "show"))
    sources = {(100, sha("show")): "/pool/seeding/Ugly.Name-GRP/show.mkv"}
    assert links_for(made, sources, present=NOTHING) == (
        Link("/pool/seeding/Ugly.Name-GRP/show.mkv", "A Nice Name/show.mkv"),
    )


def test_another_layout_with_other_names_gets_the_same_bytes() -> None:
    made = view(("disc 1/one.flac", "one"), ("two.flac", "two"))
    sources = {(100, sha("one")): "/p/01 - one.flac", (100, sha("two")): "/p/CD/02.flac"}
    assert links_for(made, sources, present=NOTHING) == (
        Link("/p/01 - one.flac", "disc 1/one.flac"),
        Link("/p/CD/02.flac", "two.flac"),
    )


def test_files_with_equal_bytes_become_names_of_one_file() -> None:
    made = view(("F/a", "same"), ("F/b", "same"))
    links = links_for(made, {(100, sha("same")): "/p/x"}, present=NOTHING)
    assert [(link.source, link.name) for link in links] == [("/p/x", "F/a"), ("/p/x", "F/b")]


def test_equal_hashes_of_another_size_are_other_bytes() -> None:
    assert content_of(file("a", "word", 1)) != content_of(file("a", "word", 2))


def test_a_file_without_a_hash_has_no_content_to_look_for() -> None:
    assert content_of(file("a", None)) is None


def test_what_lies_in_its_place_needs_no_link() -> None:
    made = view(("F/a", "a"), ("F/b", "b"))
    sources = {(100, sha("b")): "/p/b"}
    assert links_for(made, sources, present=frozenset({"F/a"})) == (Link("/p/b", "F/b"),)


def test_bytes_that_are_nowhere_are_an_error_and_never_left_out() -> None:
    with pytest.raises(KeyError):
        links_for(view(("F/a", "a")), {}, present=NOTHING)


def test_torrents_on_one_save_path_share_a_view_and_its_files_once() -> None:
    one = torrent(1, [file("F/a", "a"), file("F/b", "b")])
    two = torrent(2, [file("F/a", "a"), file("F/c", "c")])
    (made,) = views_of([one, two])
    assert made.names == ("F/a", "F/b", "F/c")


def test_each_save_path_gets_a_view_of_its_own() -> None:
    views = views_of([torrent(1), torrent(2, save_path=STASH / "cross")])
    assert [made.root for made in views] == [POOL, POOL / "cross"]


def test_a_path_that_two_save_paths_reach_is_placed_by_one_of_them() -> None:
    one = torrent(1, [file("cross/F/a", "a")])
    two = torrent(2, [file("F/a", "a"), file("F/b", "b")], save_path=STASH / "cross")
    views = views_of([one, two])
    assert [(made.root, made.names) for made in views] == [
        (POOL, ("cross/F/a",)),
        (POOL / "cross", ("F/b",)),
    ]


def test_two_contents_for_one_path_are_refused_with_the_path() -> None:
    one, two = torrent(1, [file("F/a", "a")]), torrent(2, [file("F/a", "b")])
    with pytest.raises(Ambiguous, match="different bytes at /pool/seeding/F/a") as refused:
        views_of([one, two])
    assert refused.value.path == POOL / "F/a"


def test_a_file_below_a_file_is_refused_with_the_path() -> None:
    one = torrent(1, [file("F", "a")])
    two = replace(torrent(2, [file("F/deep/b", "b")], save_path=STASH / "x"), target_path=POOL)
    with pytest.raises(Ambiguous, match="/pool/seeding/F/deep/b would have to lie below a file"):
        views_of([two, one])
