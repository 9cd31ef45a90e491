from __future__ import annotations

import hashlib
import os
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hashall.model import Member
from hashall.payload import (
    UnsafeName,
    check_name,
    content_hash,
    hashes_of,
    is_extra,
    layout_of,
    media_hash,
    payload_hash,
)

PARTS = ("a", "B", "film.mkv", "t\tab", "new\nline", "back\\slash", "\\t", "\\n", "ü", "x y")
ODD = os.fsdecode(b"caf\xe9")


def sha256_of(content: object) -> str:
    return hashlib.sha256(repr(content).encode()).hexdigest()


def member(relpath: str, size: int = 5, content: object = "bytes", **changes: Any) -> Member:
    given: dict[str, Any] = {"sha256": sha256_of(content), "inode": 1, "path": f"x/{relpath}"}
    return Member(relpath=relpath, size=size, **(given | changes))


relpaths = st.lists(st.sampled_from([*PARTS, ODD]), min_size=1, max_size=3).map("/".join)
members = st.builds(member, relpaths, st.integers(0, 3), st.sampled_from("xyz"))
manifests = st.lists(members, min_size=1, max_size=6, unique_by=lambda m: m.relpath)


def identity(manifest: list[Member]) -> set[tuple[str, int, str | None]]:
    return {(m.relpath, m.size, m.sha256) for m in manifest}


# -- payload_hash


@given(manifest=manifests, data=st.data())
def test_the_payload_hash_ignores_order_place_and_inode(
    manifest: list[Member], data: st.DataObject
) -> None:
    """R-PAY-2"""
    shuffled = data.draw(st.permutations(manifest))
    elsewhere = [
        member(m.relpath, m.size, sha256=m.sha256, inode=99, path=f"pool/other root/{m.relpath}")
        for m in shuffled
    ]

    assert payload_hash(elsewhere) == payload_hash(manifest)


@given(one=manifests, two=manifests)
def test_and_it_ignores_nothing_else(one: list[Member], two: list[Member]) -> None:
    """R-PAY-2: no two manifests collide, tabs, newlines and backslashes in names included."""
    assert (payload_hash(one) == payload_hash(two)) == (identity(one) == identity(two))


@given(manifest=manifests, which=st.integers(0, 5), how=st.sampled_from(["path", "size", "bytes"]))
def test_one_changed_member_changes_it(manifest: list[Member], which: int, how: str) -> None:
    old = manifest[which % len(manifest)]
    new = {
        "path": lambda: member(old.relpath + "2", old.size, sha256=old.sha256),
        "size": lambda: member(old.relpath, old.size + 1, sha256=old.sha256),
        "bytes": lambda: member(old.relpath, old.size, "else"),
    }[how]()
    assume(how != "path" or new.relpath not in {m.relpath for m in manifest})
    changed = [new if m is old else m for m in manifest]

    assert payload_hash(changed) != payload_hash(manifest)


def test_the_manifest_is_the_documented_one() -> None:
    """R-PAY-2: `relpath TAB size TAB sha256 LF`, sorted by the bytes of relpath."""
    one, two, three = member("b", 1, "x"), member("Z/ü", 22, "y"), member(ODD, 0, "z")
    manifest = (
        b"Z/\xc3\xbc\t22\t%s\n" % sha256_of("y").encode()
        + b"b\t1\t%s\n" % sha256_of("x").encode()
        + b"caf\xe9\t0\t%s\n" % sha256_of("z").encode()
    )

    assert payload_hash([one, two, three]) == hashlib.sha256(manifest).hexdigest()


def test_tab_newline_and_backslash_are_escaped_in_the_manifest() -> None:
    line = b"a\\tb\\nc\\\\d\t5\t%s\n" % sha256_of("bytes").encode()

    assert payload_hash([member("a\tb\nc\\d")]) == hashlib.sha256(line).hexdigest()


def test_a_name_cannot_pass_for_two_lines() -> None:
    sha256 = sha256_of("x")
    two = [member("a", 1, "x"), member("b", 1, "x")]
    one = [member(f"a\t1\t{sha256}\nb", 1, "x")]

    assert payload_hash(one) != payload_hash(two)


@pytest.mark.parametrize(("raw", "escaped"), [("\t", "\\t"), ("\n", "\\n"), ("\\", "\\\\")])
def test_an_escaped_name_is_not_the_name_that_looks_like_its_escape(raw: str, escaped: str) -> None:
    assert payload_hash([member(raw)]) != payload_hash([member(escaped)])


@pytest.mark.parametrize("make", [payload_hash, content_hash, media_hash])
def test_a_member_without_a_hash_means_no_hash(make: Any) -> None:
    """R-PAY-6"""
    assert make([member("a"), member("b", sha256=None)]) is None
    assert make([member("a"), member("b")]) is not None


# -- content_hash


@given(manifest=manifests, data=st.data())
def test_the_content_hash_is_the_same_in_any_layout(
    manifest: list[Member], data: st.DataObject
) -> None:
    """R-PAY-5"""
    renamed = [
        member(f"other/{number}", m.size, sha256=m.sha256)
        for number, m in enumerate(data.draw(st.permutations(manifest)))
    ]

    assert content_hash(renamed) == content_hash(manifest)


@given(one=manifests, two=manifests)
def test_the_content_hash_counts_every_file(one: list[Member], two: list[Member]) -> None:
    same = sorted((m.size, m.sha256) for m in one) == sorted((m.size, m.sha256) for m in two)

    assert (content_hash(one) == content_hash(two)) == same


# -- media_hash


@pytest.mark.parametrize(
    "name",
    [
        *("film.nfo", "film.NFO", "film.sfv", "readme.txt", "film.srr", "film.srs"),
        *("Sample/film.mkv", "SAMPLE/deep/film.mkv", "a/sample/film.mkv"),
        *("sample.mkv", "film-sample.mkv", "film.sample.mkv", "Film-SAMPLE.mkv"),
    ],
)
def test_extras_do_not_count_for_the_media_hash(name: str) -> None:
    """R-PAY-11"""
    assert is_extra(name)
    film = member("film.mkv")
    assert media_hash([film, member(name, 9, "extra")]) == payload_hash([film])


@pytest.mark.parametrize(
    "name",
    [
        *("film.mkv", "film.srt", "nfo", "samples/film.mkv", "Sampler.mkv", "resample.mkv"),
        *("film.txt.mkv", "sample"[:-1] + ".mkv", "film sample edition.mkv"),
    ],
)
def test_what_only_resembles_an_extra_counts(name: str) -> None:
    assert not is_extra(name)
    assert media_hash([member(name)]) == payload_hash([member(name)])


@pytest.mark.parametrize(
    ("extras", "name", "counts"),
    [
        *(({".srt"}, "film.SRT", False), ({".srt"}, "film.nfo", True)),
        *(({".srt"}, "sample.mkv", True), ({"sample"}, "sample.mkv", False)),
        *(({"sample"}, "Sample/film.srt", False), (set(), "film.nfo", True)),
    ],
)
def test_which_files_are_extras_is_for_a_person_to_say(
    extras: set[str], name: str, counts: bool
) -> None:
    assert is_extra(name, frozenset(extras)) is not counts
    members = [member("film.mkv"), member(name, 9, "extra")]
    found = hashes_of(members, frozenset(extras))
    assert found is not None
    assert (found.media_hash == payload_hash(members[:1])) is not counts


def test_an_extra_without_a_hash_does_not_hinder_the_media_hash() -> None:
    film = member("film.mkv")
    assert media_hash([film, member("film.nfo", sha256=None)]) == payload_hash([film])


# -- layout


@pytest.mark.parametrize(
    ("names", "root", "below"),
    [
        (["film.mkv"], "", ["film.mkv"]),
        (["Film/film.mkv"], "Film", ["film.mkv"]),
        (["Film/b.mkv", "Film/Subs/a.srt"], "Film", ["b.mkv", "Subs/a.srt"]),
        (["Film/a", "Film2/b"], "", ["Film/a", "Film2/b"]),
        (["Film/a", "b"], "", ["Film/a", "b"]),
        (["Film", "Film/a"], "", ["Film", "Film/a"]),
        (["a", "b"], "", ["a", "b"]),
        ([f"{ODD}/a"], ODD, ["a"]),
    ],
)
def test_the_root_is_the_common_top_folder_of_the_list(
    names: list[str], root: str, below: list[str]
) -> None:
    """R-PAY-10"""
    layout = layout_of(names)

    assert (layout.root_name, list(layout.relpaths)) == (root, below)


@given(names=st.lists(relpaths, min_size=1, max_size=5, unique=True))
def test_root_and_rest_give_the_list_again(names: list[str]) -> None:
    layout = layout_of(names)
    top = layout.root_name + "/" if layout.root_name else ""

    assert [top + relpath for relpath in layout.relpaths] == names


@given(names=st.lists(relpaths, min_size=1, max_size=5, unique=True))
def test_a_renamed_top_folder_changes_nothing_below_it(names: list[str]) -> None:
    """R-PAY-10"""
    one = layout_of([f"Film/{name}" for name in names])
    two = layout_of([f"Another name/{name}" for name in names])

    assert one.relpaths == two.relpaths


# -- hostile names


@pytest.mark.parametrize(
    "name",
    [
        *("", "/etc/passwd", "..", "../x", "a/../../x", "a/..", ".", "a/./b", "a//b", "a/"),
        *("nul\0", "\ud800", "a/\udfff.mkv"),
    ],
)
def test_a_name_that_leaves_the_folder_or_cannot_exist_is_refused(name: str) -> None:
    with pytest.raises(UnsafeName) as error:
        check_name(name)
    assert error.value.brief == f"the torrent lists a file as {name!r}"
    assert error.value.hint.startswith("rename the file in the client")
    with pytest.raises(UnsafeName):
        layout_of(["fine.mkv", name])


@pytest.mark.parametrize(
    "name", ["...", "a..b", "..a/b", "-rf", "CON", "a\\..\\b", ODD, "a:b", " "]
)
def test_a_name_that_is_only_unusual_is_fine(name: str) -> None:
    check_name(name)
    assert layout_of([name]).relpaths[0] in name


# -- the whole way: from a client's list to an identity


@given(
    manifest=manifests,
    roots=st.tuples(*[st.sampled_from(["Film", "A b", ODD, "x"])] * 2),
    places=st.tuples(*[st.sampled_from(["stash/seeds", "", "pool"])] * 2),
    data=st.data(),
)
def test_a_manifest_is_the_same_under_any_root_at_any_place(
    manifest: list[Member],
    roots: tuple[str, str],
    places: tuple[str, str],
    data: st.DataObject,
) -> None:
    """R-PAY-2: order, root name and mount point do not count."""
    assume(len(manifest) > 1)
    hashes = set()
    for root, place in zip(roots, places, strict=True):
        files = data.draw(st.permutations(manifest))
        layout = layout_of([f"{root}/{m.relpath}" for m in files])
        assume(layout.root_name == root)
        hashes.add(
            payload_hash(
                member(relpath, m.size, sha256=m.sha256, path=f"{place}/{root}/{relpath}")
                for relpath, m in zip(layout.relpaths, files, strict=True)
            )
        )
    assert len(hashes) == 1
