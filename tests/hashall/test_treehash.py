"""Tree hashes: equal exactly when the files below are, from the catalog alone."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.catalog_lab import CatalogLab
from tests.support.filesystems import lab_folder, run, tmpfs

from hashall import render_trees
from hashall.equal_trees import EqualTrees, find_equal_trees
from hashall.tree_compare import Comparison, Difference, compare_trees
from hashall.treehash import TreeView, known_tree
from seedkeep.errors import Misused

ODD = os.fsdecode(b"\xff\n")


def tree(lab: CatalogLab, name: str = "") -> TreeView:
    return known_tree(lab.places(), lab.root / name).view()


def compared(lab: CatalogLab, first: str, second: str, *, most: int = 20) -> Comparison:
    places = lab.places()
    trees = [known_tree(places, lab.root / name) for name in (first, second)]
    return compare_trees(trees[0], trees[1], most=most)


def equal_trees(lab: CatalogLab) -> list[list[str]]:
    """Paths of each group below the root."""
    return [
        [os.path.relpath(copy.path, lab.root) for copy in group.copies]
        for group in find_equal_trees(lab.places()).groups
    ]


def naive(folder: Path) -> str:
    """The definition in the module, followed on the disk."""
    lines = []
    for name in os.listdir(os.fsencode(folder)):
        path = folder / os.fsdecode(name)
        if path.is_dir():
            if any(p.is_file() for p in path.rglob("*")):
                lines.append((name, b"d", naive(path)))
        else:
            lines.append((name, b"f", hashlib.sha256(path.read_bytes()).hexdigest()))
    return hashlib.sha256(
        b"".join(b"%s %s %s\0" % (kind, of.encode(), name) for name, kind, of in sorted(lines))
    ).hexdigest()


def test_the_hash_is_what_the_definition_says(lab: CatalogLab) -> None:
    for name in ("b", "a/x", "a/y/z", f"a/{ODD}", "a-", "a.b/c", "ä"):
        lab.write(name, name.encode("utf-8", "surrogateescape"))
    (lab.root / "empty/below").mkdir(parents=True)
    lab.scan()

    view = tree(lab)
    assert view.tree_hash == naive(lab.root)
    assert (view.files, view.holes) == (7, ())
    assert tree(lab, "a").tree_hash == naive(lab.root / "a")


def test_a_directory_without_files_is_the_empty_tree(lab: CatalogLab) -> None:
    (lab.root / "empty").mkdir()
    lab.scan()
    assert tree(lab, "empty").tree_hash == hashlib.sha256(b"").hexdigest()


def test_what_was_deleted_does_not_count(lab: CatalogLab) -> None:
    lab.write("a/film", b"film")
    lab.write("b/film", b"film")
    lab.write("b/old/more", b"more")
    lab.scan()
    assert tree(lab, "a").tree_hash != tree(lab, "b").tree_hash
    shutil.rmtree(lab.root / "b/old")
    lab.scan()
    assert tree(lab, "a").tree_hash == tree(lab, "b").tree_hash


def test_a_file_without_a_hash_leaves_every_directory_above_without_one(lab: CatalogLab) -> None:
    lab.write("a/b/film", b"film")
    lab.write("a/other", b"other")
    lab.write("c/film", b"cc")
    lab.scan()
    n = lab.spot().device.device_id
    lab.db.execute(f"UPDATE inodes_{n} SET sha256 = NULL WHERE size = 4")

    view = tree(lab, "a")
    assert (view.tree_hash, view.holes, view.files) == (None, ("b/film",), 2)
    assert tree(lab, "c").tree_hash is not None
    assert "run `hashall scan` on it:\n  b/film" in render_trees.tree(view)


def test_a_directory_that_could_not_be_read_leaves_a_hole(lab: CatalogLab) -> None:
    lab.write("a/film", b"film")
    lab.write("b/film", b"film")
    lab.scan()
    gap(lab, "a/closed")

    assert (tree(lab, "a").tree_hash, tree(lab, "a").holes) == (None, ("closed",))
    assert tree(lab).holes == ("a/closed",)
    assert tree(lab, "b").tree_hash is not None


def gap(lab: CatalogLab, name: str) -> None:
    """As a scan leaves it that could not read a directory."""
    spot = lab.spot()
    lab.db.execute(
        "INSERT INTO scan_gaps VALUES (?, ?, 'closed', '2026-01-01T00:00:00Z')",
        (spot.device.device_id, f"{spot.place.relpath}/{name}"),
    )


def test_a_directory_that_was_not_scanned_as_a_whole_has_no_hash(lab: CatalogLab) -> None:
    lab.write("a/b/film", b"film")
    lab.scan(lab.root / "a/b")

    assert tree(lab, "a/b").tree_hash is not None
    assert (tree(lab, "a").tree_hash, tree(lab, "a").holes) == (None, (".",))


def test_a_place_that_no_scan_has_seen_is_said(lab: CatalogLab) -> None:
    lab.write("a/film", b"film")
    with pytest.raises(Misused, match="does not know the filesystem"):
        tree(lab)
    lab.scan()
    (lab.root / "new").mkdir()
    with pytest.raises(Misused, match="does not know the directory"):
        tree(lab, "new")


NAMES = st.sampled_from(["a", "b", "a-", ODD, "ä"])
TREES = st.dictionaries(
    st.lists(NAMES, min_size=1, max_size=3).map(tuple), st.sampled_from([b"1", b"22"]), max_size=5
)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(first=TREES, second=TREES)
def test_two_trees_have_the_same_hash_exactly_when_their_files_are_the_same(
    tmp_path_factory: pytest.TempPathFactory,
    first: dict[tuple[str, ...], bytes],
    second: dict[tuple[str, ...], bytes],
) -> None:
    lab = CatalogLab(tmp_path_factory.mktemp("law"))
    try:
        there = []
        for side, files in (("first", first), ("second", second)):
            written = {}
            (lab.root / side).mkdir()
            for parts, content in files.items():
                name = f"{side}/{'/'.join(parts)}"
                try:
                    lab.write(name, content)
                except (NotADirectoryError, IsADirectoryError, FileExistsError):
                    continue  # a file is where a directory should be
                written[parts] = content
            there.append(written)
        lab.scan()
        comparison = compared(lab, "first", "second")
        assert comparison.equal is (there[0] == there[1])
        assert (comparison.differences == ()) is comparison.equal
        assert tree(lab, "first").tree_hash == naive(lab.root / "first")
    finally:
        lab.close()


def test_differences_are_told_in_order_and_only_as_many_as_wanted(lab: CatalogLab) -> None:
    for side in ("one", "two"):
        lab.write(f"{side}/same/film", b"film")
        lab.write(f"{side}/sub/changed", side.encode())
    lab.write("one/a", b"a")
    lab.write("two/z/deep", b"z")
    lab.write("one/kind", b"file")
    lab.write("two/kind/file", b"file")
    lab.scan()

    comparison = compared(lab, "one", "two")
    assert [(d.path, d.how) for d in comparison.differences] == [
        ("a", Difference.ONLY_FIRST),
        ("kind", Difference.KIND),
        ("sub/changed", Difference.CONTENT),
        ("z", Difference.ONLY_SECOND),
    ]
    assert (comparison.equal, comparison.complete) == (False, True)
    few = compared(lab, "one", "two", most=2)
    assert (len(few.differences), few.complete) == (2, False)
    assert "… and more" in render_trees.comparison(few)
    assert compared(lab, "one/same", "two/same").equal is True


def test_trees_of_any_depth_are_compared(lab: CatalogLab) -> None:
    try:
        for tree, content in ((lab.root / "one", b"1"), (lab.root / "two", b"2")):
            deepest = tree.joinpath(*["d"] * 1200)
            run("mkdir", "-p", deepest)
            (deepest / "file").write_bytes(content)
        lab.scan()
        result = compared(lab, "one", "two")
    finally:
        run("rm", "-rf", lab.root / "one", lab.root / "two")  # shutil.rmtree cannot
    assert [(d.path, d.how) for d in result.differences] == [
        ("d/" * 1200 + "file", Difference.CONTENT)
    ]


def test_what_has_no_hash_is_neither_equal_nor_different(lab: CatalogLab) -> None:
    for side in ("one", "two"):
        lab.write(f"{side}/sub/film", b"film")
    lab.write("three/sub/film", b"a longer film")
    lab.scan()
    n = lab.spot().device.device_id
    lab.db.execute(f"UPDATE inodes_{n} SET sha256 = NULL")

    comparison = compared(lab, "one", "two")
    assert comparison.equal is None
    assert [(d.path, d.how) for d in comparison.differences] == [("sub/film", Difference.UNKNOWN)]
    assert "not everything has a hash" in render_trees.comparison(comparison)
    assert compared(lab, "one", "three").equal is False  # another size is proof enough


def test_what_nobody_read_is_no_difference(lab: CatalogLab) -> None:
    for side in ("one", "two"):
        lab.write(f"{side}/film", b"film")
    lab.write("two/closed/secret", b"secret")
    lab.scan()
    gap(lab, "one/closed")

    comparison = compared(lab, "one", "two")
    assert [(d.path, d.how) for d in comparison.differences] == [("closed", Difference.UNKNOWN)]
    assert comparison.equal is None
    # Nor is what an earlier scan saw there.
    lab.write("one/closed/other", b"other")
    lab.scan()
    gap(lab, "one/closed")
    again = compared(lab, "one", "two")
    assert again.differences == comparison.differences


# -- equal trees


def test_only_the_topmost_equal_directories_are_told(lab: CatalogLab) -> None:
    for side in ("one", "two"):
        lab.write(f"{side}/Film/film", b"film")
        lab.write(f"{side}/Film/Subs/de", b"de")
    lab.write("one/more", b"more")
    lab.scan()

    assert equal_trees(lab) == [["one/Film", "two/Film"]]


def test_a_third_copy_of_a_part_is_told_beside_the_whole(lab: CatalogLab) -> None:
    for side in ("one", "two"):
        lab.write(f"{side}/Film/film", b"film")
        lab.write(f"{side}/Film/Subs/de", b"de")
    lab.write("elsewhere/Subs/de", b"de")
    lab.write("elsewhere/x", b"x")
    lab.scan()

    assert equal_trees(lab) == [
        ["one", "two"],
        ["elsewhere/Subs", "one/Film/Subs", "two/Film/Subs"],
    ]


def test_two_equal_parts_of_each_of_two_equal_directories_are_told_too(lab: CatalogLab) -> None:
    for side in ("one", "two"):
        for part in ("a", "b"):
            lab.write(f"{side}/{part}/film", b"film")
    lab.scan()

    assert equal_trees(lab) == [
        ["one/a", "one/b", "two/a", "two/b"],
        ["one", "two"],
    ]


def test_directories_of_hardlinks_to_the_same_files_waste_nothing(lab: CatalogLab) -> None:
    film = lab.write("one/film", b"film" * 10)
    (lab.root / "two").mkdir()
    os.link(film, lab.root / "two/film")
    lab.scan()
    assert equal_trees(lab) == []

    lab.write("three/film", b"film" * 10)
    lab.scan()
    assert equal_trees(lab) == [["one", "three", "two"]]
    assert find_equal_trees(lab.places()).redundant == 40


def test_equal_directories_are_found_across_filesystems(lab: CatalogLab) -> None:
    with lab_folder() as folder, tmpfs(folder / "pool") as pool:
        lab.write("Film/film", b"film")
        (pool / "seeds").mkdir()
        shutil.copytree(lab.root / "Film", pool / "seeds/Film")
        (pool / "seeds/other").write_bytes(b"other")
        lab.scan(lab.root, pool)
        trees = find_equal_trees(lab.places())

        assert [[copy.path for copy in group.copies] for group in trees.groups] == [
            [str(lab.root / "Film"), str(pool / "seeds/Film")]
        ]
    assert trees.groups[0].redundant == 4
    assert "1 group of equal directories with 4 B beyond one copy" in render_trees.equal_trees(
        trees
    )


def test_directories_without_all_hashes_are_counted_and_left_out(lab: CatalogLab) -> None:
    for side in ("one", "two"):
        lab.write(f"{side}/film", b"film")
    lab.scan()
    n = lab.spot().device.device_id
    lab.db.execute(f"UPDATE inodes_{n} SET sha256 = NULL")

    trees = find_equal_trees(lab.places())
    assert trees == EqualTrees((), 0, 3)
    assert "not compared: 3" in render_trees.equal_trees(trees)


def test_a_directory_above_the_scanned_ones_is_no_tree(lab: CatalogLab) -> None:
    """`one` and `two` are known as ways to what was scanned; what else is in them is not."""
    for side in ("one", "two"):
        lab.write(f"{side}/Film/film", b"film")
        lab.write(f"{side}/{side}", b"unlike")
        lab.scan(lab.root / side / "Film")

    assert equal_trees(lab) == [["one/Film", "two/Film"]]
