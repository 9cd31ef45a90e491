"""On random trees: our groups are those of jdupes and rmlint, and links save what was promised."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.catalog_lab import CatalogLab
from tests.support.filesystems import lab_folder
from tests.support.linking import LinkLab, contents

Groups = set[frozenset[int]]  # of inodes

SIZES = (1, 2, 4096, 5000, 70_000)  # equal sizes, and the borders of what the tools read at once
# A file: which bytes it has, where it lies, and which earlier file it is a hardlink to.
files = st.lists(
    st.tuples(
        st.sampled_from(SIZES),
        st.integers(0, 2),
        st.integers(0, 3),
        st.sampled_from(["first", "middle", "last"]),
        st.one_of(st.none(), st.none(), st.integers(0, 30)),
    ),
    min_size=2,
    max_size=30,
)


def make(root: Path, tree: list[tuple[int, int, int, str, int | None]]) -> None:
    made: list[Path] = []
    for number, (size, variant, folder, where, link_to) in enumerate(tree):
        path = root / f"folder {folder}" / f"{number}.mkv"
        path.parent.mkdir(parents=True, exist_ok=True)
        if link_to is not None and made:
            os.link(made[link_to % len(made)], path)
        else:
            content = bytearray(size)  # equal sizes that differ in one byte only
            content[{"first": 0, "middle": size // 2, "last": -1}[where]] = variant
            path.write_bytes(content)
            os.utime(path, (1_600_000_000, 1_600_000_000))
        made.append(path)


def by_inode(groups: Iterable[Iterable[str]]) -> Groups:
    found = (frozenset(os.stat(path).st_ino for path in group) for group in groups)
    return {group for group in found if len(group) > 1}


def of_jdupes(root: Path) -> Groups:
    said = subprocess.run(
        ["jdupes", "-r", "-H", "-q", "-j", root], capture_output=True, check=True, text=True
    )
    sets = json.loads(said.stdout)["matchSets"]
    return by_inode([file["filePath"] for file in found["fileList"]] for found in sets)


def of_rmlint(root: Path) -> Groups:
    said = subprocess.run(
        ["rmlint", "-T", "df", "-o", "json:stdout", "--hidden", "-l", "--size", "1", root],
        capture_output=True,
        check=True,
        text=True,
    )
    groups: list[list[str]] = []
    for row in json.loads(said.stdout):
        if row.get("type") == "duplicate_file":
            if row["is_original"]:  # the first of each group
                groups.append([])
            groups[-1].append(row["path"])
    return by_inode(groups)


def of_hashall(linked: LinkLab) -> Groups:
    found = linked.links().analyze(None, cross_device=False, min_size=1, limit=10_000)
    return {frozenset(inode.inode for inode in group.inodes) for group in found.groups}


def used(root: Path) -> int:
    """What du says of the files: bytes by length, an inode once."""
    names = b"\0".join(os.fsencode(path) for path in root.rglob("*") if path.is_file())
    said = subprocess.run(
        ["du", "--bytes", "--total", "--files0-from=-"],
        input=names,
        capture_output=True,
        check=True,
    )
    return int(said.stdout.splitlines()[-1].split()[0])


@pytest.mark.slow
@settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow])
@given(files)
def test_groups_equal_and_savings_are_as_promised(
    tree: list[tuple[int, int, int, str, int | None]],
) -> None:
    with lab_folder(Path("/dev/shm")) as folder:
        linked = LinkLab(CatalogLab(folder))
        try:
            make(linked.root, tree)
            linked.lab.scan()
            ours = of_hashall(linked)
            assert ours == of_jdupes(linked.root)
            assert ours == of_rmlint(linked.root)
            before, space = contents(linked.root), used(linked.root)
            plan = linked.plan()
            done = linked.execute(plan)
            assert contents(linked.root) == before
            assert space - used(linked.root) == plan.bytes_to_save == done.bytes_saved
            assert done.skipped == 0
            assert of_hashall(linked) == of_jdupes(linked.root) == set()
        finally:
            linked.lab.close()
