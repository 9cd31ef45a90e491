"""Groups of equal files: the same as jdupes finds, with savings that are true."""

from __future__ import annotations

import os
import random
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.catalog_lab import CatalogLab
from tests.support.filesystems import lab_folder, tmpfs

from hashall import render_duplicates
from hashall.duplicates import Duplicates, find_duplicates

RANDOM_TREES = int(os.environ.get("SEEDKEEP_RANDOM_TREES", "4"))
ODD = os.fsdecode(b"caf\xe9 \xff.mkv")


def found(lab: CatalogLab, *, across: bool = False, min_size: int = 1) -> Duplicates:
    return find_duplicates(lab.places(), across=across, min_size=min_size)


def names_of(lab: CatalogLab, duplicates: Duplicates) -> list[list[list[str]]]:
    """Groups → inodes → names below the root."""
    return [
        [[os.path.relpath(path, lab.root) for path in copy.paths] for copy in group.copies]
        for group in duplicates.groups
    ]


def test_equal_bytes_in_two_inodes_are_a_group_and_two_names_of_one_are_not(
    lab: CatalogLab,
) -> None:
    lab.write("a/film.mkv", b"film" * 100)
    lab.write("b/film.mkv", b"film" * 100)
    os.link(lab.write("c/other.mkv", b"other"), lab.root / "c/link.mkv")
    lab.scan()

    duplicates = found(lab)
    assert names_of(lab, duplicates) == [[["a/film.mkv"], ["b/film.mkv"]]]
    assert (duplicates.saves, duplicates.redundant, duplicates.unhashed) == (400, 400, 0)


def test_the_inode_with_the_most_names_stays_and_the_largest_waste_comes_first(
    lab: CatalogLab,
) -> None:
    lab.write("small 1", b"s" * 10)
    lab.write("small 2", b"s" * 10)
    lab.write("a", b"L" * 100)
    os.link(lab.write("b", b"L" * 100), lab.root / "c")
    lab.scan()

    assert names_of(lab, found(lab)) == [[["b", "c"], ["a"]], [["small 1"], ["small 2"]]]


def test_an_inode_with_a_name_that_nobody_knows_saves_nothing(lab: CatalogLab) -> None:
    lab.write("a", b"film" * 100)
    os.link(lab.write("b", b"film" * 100), lab.folder / "outside")
    os.link(lab.root / "a", lab.root / "a2")
    lab.scan()

    duplicates = found(lab)
    assert (duplicates.saves, duplicates.redundant) == (0, 400)
    assert "b  (1 more name unseen)" in render_duplicates.duplicates(duplicates)


def test_empty_files_are_left_out_unless_asked_for(lab: CatalogLab) -> None:
    lab.write("a", b"")
    lab.write("b", b"")
    lab.scan()

    assert names_of(lab, found(lab)) == []
    assert names_of(lab, found(lab, min_size=0)) == [[["a"], ["b"]]]


def test_small_files_are_left_out_by_size(lab: CatalogLab) -> None:
    for name in ("a", "b"):
        lab.write(name, b"12345")
    lab.scan()

    assert len(found(lab, min_size=5).groups) == 1
    assert found(lab, min_size=6).groups == ()


def test_a_deleted_copy_is_no_copy(lab: CatalogLab) -> None:
    lab.write("a", b"film")
    lab.write("b", b"film").unlink()
    lab.write("c", b"film")
    lab.scan()
    (lab.root / "c").unlink()
    lab.scan()

    assert found(lab).groups == ()


def test_names_that_are_not_utf_8_are_shown(lab: CatalogLab) -> None:
    lab.write(f"x/{ODD}", b"film")
    lab.write(ODD, b"film")
    lab.scan()

    duplicates = found(lab)
    assert names_of(lab, duplicates) == [[[ODD], [f"x/{ODD}"]]]
    assert "caf\\xe9 \\xff.mkv\n" in render_duplicates.duplicates(duplicates)


def test_copies_on_two_filesystems_are_a_group_only_when_asked_for(lab: CatalogLab) -> None:
    with lab_folder() as folder, tmpfs(folder / "pool") as pool:
        lab.write("film", b"film" * 10)
        (pool / "film").write_bytes(b"film" * 10)
        (pool / "again").write_bytes(b"film" * 10)
        lab.scan(lab.root, pool)

        inside = found(lab)
        across = found(lab, across=True)
    assert [len(group.copies) for group in inside.groups] == [2]
    assert (inside.saves, inside.redundant) == (40, 40)
    assert [len(group.copies) for group in across.groups] == [3]
    assert (across.saves, across.redundant) == (40, 80)


def test_a_filesystem_that_is_not_mounted_is_named(lab: CatalogLab) -> None:
    with lab_folder() as folder, tmpfs(folder / "pool") as pool:
        for name in ("a", "b"):
            (pool / name).write_bytes(b"film")
        lab.scan(pool)

    assert [copy.paths for copy in found(lab).groups[0].copies] == [
        ("(device 1, not mounted) a",),
        ("(device 1, not mounted) b",),
    ]


def test_files_without_a_hash_are_counted(lab: CatalogLab) -> None:
    lab.write("a", b"film")
    lab.scan()
    n = lab.spot().device.device_id
    lab.db.execute(f"UPDATE inodes_{n} SET sha256 = NULL")

    assert found(lab).unhashed == 1
    assert "1 file without a SHA-256" in render_duplicates.duplicates(found(lab))


@pytest.mark.parametrize("seed", range(RANDOM_TREES))
def test_random_trees_have_the_groups_that_jdupes_finds(lab: CatalogLab, seed: int) -> None:
    chance = random.Random(seed)
    contents = [chance.randbytes(chance.choice((0, 1, 3, 5000, 70_000))) for _ in range(12)]
    made: list[Path] = []
    for number in range(150):
        folder = "/".join(chance.choice("abc") for _ in range(chance.randrange(4)))
        path = lab.root / folder / f"{number} {chance.choice(('x', 'ü', ODD))}"
        path.parent.mkdir(parents=True, exist_ok=True)
        if made and chance.random() < 0.2:
            os.link(chance.choice(made), path)
        else:
            path.write_bytes(chance.choice(contents) + bytes([chance.randrange(2)]) * 3)
            made.append(path)
    lab.scan()

    ours = {
        frozenset(frozenset(copy.paths) for copy in group.copies) for group in found(lab).groups
    }
    assert ours == jdupes(lab.root)
    assert len(ours) > 10


def jdupes(root: Path) -> set[frozenset[frozenset[str]]]:
    """Groups as sets of inodes, each the set of its names; without groups of a single inode."""
    done = subprocess.run(["jdupes", "-rqH0", root], capture_output=True, check=True)
    groups = set()
    for block in done.stdout.split(b"\0\0"):
        inodes: dict[int, set[str]] = {}
        for name in filter(None, block.split(b"\0")):
            inodes.setdefault(os.lstat(name).st_ino, set()).add(os.fsdecode(name))
        if len(inodes) > 1:
            groups.add(frozenset(frozenset(names) for names in inodes.values()))
    return groups


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(st.tuples(st.integers(1, 3), st.integers(0, 3)), min_size=1, max_size=8),
    st.integers(0, 10**6),
)
def test_what_is_saved_is_what_linking_frees(
    tmp_path_factory: pytest.TempPathFactory, files: list[tuple[int, int]], salt: int
) -> None:
    """Law: bytes used before − bytes used after linking each group to its first = saves."""
    lab = CatalogLab(tmp_path_factory.mktemp("law"))
    try:
        for number, (content, outside) in enumerate(files):
            path = lab.write(f"{number}", b"%d" % salt * content)
            for link in range(outside):
                # Some names inside, some where no scan sees them.
                where = lab.root if link % 2 else lab.folder
                os.link(path, where / f"{number}-{link}")
        lab.scan()
        duplicates = found(lab)
        before = used(lab.folder)
        for group in duplicates.groups:
            for copy in group.copies[1:]:
                for name in copy.paths:
                    os.unlink(name)
                    os.link(group.copies[0].paths[0], name)
        assert before - used(lab.folder) == duplicates.saves
    finally:
        lab.close()


def used(folder: Path) -> int:
    """Bytes of all inodes below, the catalog's own left out."""
    inodes = {
        seen.st_ino: seen.st_size
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith("catalog.db")
        for seen in (path.lstat(),)
    }
    return sum(inodes.values())
