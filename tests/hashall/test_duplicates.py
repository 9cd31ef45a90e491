"""Groups of equal files: the same as jdupes finds, with savings that are true."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from benchmarks.scan_groups import of_jdupes
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.support.catalog_lab import CatalogLab
from tests.support.filesystems import lab_folder, tmpfs

from hashall.catalog.duplicates import EqualBytesTable, NamesOfCopies
from hashall.duplicate_list import DuplicateSearch
from hashall.duplicates import Copy, DuplicateGroup, Duplicates, find_duplicates
from hashall.relpath import join
from hashall.render_duplicates import DuplicatesText
from seedkeep.sqlite import DiskFull, open_database, to_db, transaction
from seedkeep.text import printable
from seedkeep.units import format_size

RANDOM_TREES = int(os.environ.get("SEEDKEEP_RANDOM_TREES", "4"))
UNNEEDED = (
    "fractions",
    "hashall.duplicates",
    "hashall.hashing",
    "hashall.views",
    "importlib.resources",
    "seedkeep.torrent_client",
    "subprocess",
    "xxhash",
)
ODD = os.fsdecode(b"caf\xe9 \xff.mkv")


def found(lab: CatalogLab, *, across: bool = False, min_size: int = 1) -> Duplicates:
    return find_duplicates(lab.places(), across=across, min_size=min_size)


def text_of(lab: CatalogLab, *, across: bool = False, min_size: int = 1) -> str:
    """What a person reads of the same."""
    search = DuplicateSearch(lab.places(), across=across, min_size=min_size)
    text = DuplicatesText()
    for files in search.parts():
        text.add(files)
    return "\n".join(text.pieces(search.unhashed))


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


@pytest.mark.parametrize("links", [2, 16, 17, 18, 40])
def test_many_names_of_one_inode_stand_first_however_many(lab: CatalogLab, links: int) -> None:
    lab.write("0", b"film" * 100)
    lab.write("1/0", b"film" * 100)
    for number in range(1, links):
        os.link(lab.root / "1/0", lab.root / f"1/{number}")
    os.link(lab.write("2", b"film" * 100), lab.root / "3")
    lab.scan()

    names = [[f"1/{number}" for number in sorted(map(str, range(links)))], ["2", "3"], ["0"]]
    assert names_of(lab, found(lab)) == [names]
    (head, *lines, last), _ = (block.split("\n") for block in text_of(lab).split("\n\n"))
    assert head.startswith("3 copies of 400 B, hardlinks save 800 B  ")
    assert [*lines, last] == [
        f"{'    = ' if number else '  '}{lab.root}/{name}"
        for copy in names
        for number, name in enumerate(copy)
    ]


def test_an_inode_with_a_name_that_nobody_knows_saves_nothing(lab: CatalogLab) -> None:
    lab.write("a", b"film" * 100)
    os.link(lab.write("b", b"film" * 100), lab.folder / "outside")
    os.link(lab.root / "a", lab.root / "a2")
    lab.scan()

    duplicates = found(lab)
    assert (duplicates.saves, duplicates.redundant) == (0, 400)
    assert "b  (1 more name unseen)\n" in text_of(lab)


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
    assert "caf\\xe9 \\xff.mkv\n" in text_of(lab)


@pytest.mark.root
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


@pytest.mark.root
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
    assert "1 file without a SHA-256" in text_of(lab)


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
    assert ours == of_jdupes(lab.root)
    assert len(ours) > 10


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


def test_copies_are_found_in_many_directories(lab: CatalogLab) -> None:
    """More than one question asks for; the first and the last, and one without files between."""
    expected = []
    for number in range(300):
        (lab.root / f"{number:03}").mkdir(parents=True)
        if number != 150:
            lab.write(f"{number:03}/a", str(number % 100).encode())
    for rest in range(100):
        numbers = [n for n in range(rest, 300, 100) if n != 150]
        expected.append([[f"{number:03}/a"] for number in numbers])
    lab.scan()

    assert sorted(names_of(lab, found(lab))) == sorted(expected)


def test_a_list_is_of_one_moment_whatever_is_written_meanwhile(
    lab: CatalogLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        lab.write(name, b"film")
    lab.scan()
    names = EqualBytesTable.names

    def a_moment_later(
        table: EqualBytesTable, device_id: int, *, numbered: bool
    ) -> NamesOfCopies | None:
        with open_database(lab.db_path) as other:
            other.execute(f"UPDATE names_{device_id} SET gone_at = 'now'")
            other.script("PRAGMA wal_checkpoint(PASSIVE)")
        return names(table, device_id, numbered=numbered)

    monkeypatch.setattr(EqualBytesTable, "names", a_moment_later)
    assert names_of(lab, found(lab)) == [[["a"], ["b"]]]
    assert found(lab).groups == ()


def test_a_list_that_breaks_off_leaves_the_catalog_to_others_at_once(
    lab: CatalogLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Ctrl-C does in `hashall dupes --json`: what is raised still holds all that was at work."""
    for name in ("a", "b"):
        lab.write(name, b"film")
    lab.scan()

    def enough(_: object) -> Copy:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("hashall.duplicates._copy", enough)
        with pytest.raises(KeyboardInterrupt) as raised:
            found(lab)
    assert not lab.db.in_transaction
    assert names_of(lab, found(lab)) == [[["a"], ["b"]]]
    assert raised.traceback


def test_a_list_needs_no_index(lab: CatalogLab) -> None:
    """A first scan makes them at its end, which may be hours after its first hash."""
    for name in ("a", "b", "c"):
        lab.write(name, b"film" if name < "c" else b"other")
    lab.scan()
    n = lab.spot().device.device_id
    asked = len(EqualBytesTable(lab.db).parts([n]))
    lab.db.execute(f"DROP INDEX inodes_{n}_by_bytes_nlink")
    alone = len(EqualBytesTable(lab.db).parts([n]))

    assert names_of(lab, found(lab)) == [[["a"], ["b"]]]
    assert (asked > 1, alone) == (True, 1)  # not once more for each part through all inodes


def test_a_name_in_a_directory_that_a_damaged_catalog_lacks_is_shown_as_that(
    lab: CatalogLab,
) -> None:
    for name in ("x/a", "y/b"):
        lab.write(name, b"film")
    lab.scan()
    n = lab.spot().device.device_id
    lab.db.script("PRAGMA foreign_keys=OFF")
    lab.db.execute(f"DELETE FROM dirs_{n} WHERE path LIKE '%y'")

    (group,) = found(lab).groups
    assert [copy.paths[0].rpartition("/")[2] for copy in group.copies] == ["b", "a"]
    assert "not in the catalog)/b" in group.copies[0].paths[0]


def test_more_directories_than_are_asked_for_at_once_are_known(
    lab: CatalogLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hashall.catalog.duplicates._DIRS_AT_ONCE", 2)
    for number in range(7):
        lab.write(f"{number}/a", b"film")
    lab.scan()

    assert names_of(lab, found(lab)) == [[[f"{number}/a"] for number in range(7)]]


def test_a_list_loads_nothing_that_it_does_not_need(lab: CatalogLab) -> None:
    """Each of these takes milliseconds to import, of the tenth of a second that the start takes."""
    code = (
        "import sys\nfrom hashall.cli import main\n"
        f"sys.argv = ['hashall', 'dupes', '--db', {str(lab.db_path)!r}]\n"
        "try:\n    main()\nexcept SystemExit:\n    print(sorted(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    said, modules = done.stdout.splitlines()

    assert said == "no duplicates"
    assert "'hashall.duplicate_list'" in modules
    assert [name for name in UNNEEDED if f"'{name}'" in modules] == []


def test_a_catalog_that_is_cut_off_while_it_is_read_ends_the_list_with_a_word(
    lab: CatalogLab,
) -> None:
    """As a disk does that fails below it: pages that SQLite has no copy of are gone."""
    for name in ("a", "b"):
        lab.write(name, b"film")
    lab.scan()
    lab.db.script("PRAGMA wal_checkpoint(TRUNCATE)")
    code = (
        "import os, sys\nfrom hashall.catalog.duplicates import EqualBytesTable\n"
        "from hashall.cli import main\nparts = EqualBytesTable.parts\n"
        "def cut_off(*asked):\n"
        f"    os.truncate({str(lab.db_path)!r}, 4096)\n    return parts(*asked)\n"
        "EqualBytesTable.parts = cut_off\n"
        f"sys.argv = ['hashall', 'dupes', '--db', {str(lab.db_path)!r}]\nmain()"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (-signal.SIGBUS, "")
    assert "Bus error" in done.stderr


FOLDERS = ("", "a", "a/b", "a b", os.fsdecode(b"\xff"))
NAMES = ("x", "y.mkv", "\u0085", "\U0001f3ac", ODD, os.fsdecode(b"\x80"), "\ue000", "line\nbreak")
DEVICES = (1, 2)


@dataclass(frozen=True)
class Known:
    """An inode as a catalog may have it, be it of yesterday."""

    device_id: int
    content: tuple[str | None, int]  # (what it has, bytes); None: it was not hashed
    nlink: int
    paths: tuple[tuple[str, str, bool], ...]  # (folder, name, whether it is gone)


KNOWN = st.builds(
    Known,
    st.sampled_from(DEVICES),
    st.sampled_from((("a", 7), ("a", 7), ("b", 7), ("c", 14), ("c", 0), (None, 7))),
    st.integers(1, 3),
    st.lists(
        st.tuples(
            st.sampled_from(FOLDERS), st.sampled_from(NAMES), st.sampled_from((False, False, True))
        ),
        min_size=1,
        max_size=3,
    ).map(tuple),
)

# The same two groups on both devices, and one device has a third: equal waste, so the hash decides.
EQUAL_WASTE = [
    Known(device_id, content, 1, ((FOLDERS[number], content[0], False),))
    for number in range(2)
    for device_id, content in ((1, ("a", 7)), (2, ("a", 7)), (1, ("b", 7)))
]

# Names that moved from one root to another, and only that one was scanned again.
MORE_NAMES_THAN_LINKS = [
    Known(1, ("a", 7), 1, ((folder, "x", False), (folder, "y.mkv", False))) for folder in ("a", "b")
]


@settings(max_examples=150, deadline=None)
@example(EQUAL_WASTE, False, 1)
@example(EQUAL_WASTE, True, 1)
@example(MORE_NAMES_THAN_LINKS, False, 1)
@given(st.lists(KNOWN, min_size=2, max_size=16), st.booleans(), st.sampled_from((0, 1, 7, 8)))
def test_any_catalog_is_listed_as_a_naive_look_at_its_rows_says(
    two_devices: CatalogLab, inodes: list[Known], across: bool, min_size: int
) -> None:
    """Stale names, wrong link counts, odd names, a filesystem that is gone: values and text."""
    fill(two_devices, inodes)
    expected = naive(two_devices, inodes, across, min_size)
    assert found(two_devices, across=across, min_size=min_size) == expected
    assert text_of(two_devices, across=across, min_size=min_size) == naive_text(expected)


@pytest.fixture(scope="module")
def two_devices(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CatalogLab]:
    """Device 1 is where `root` lies, device 2 is not mounted."""
    lab = CatalogLab(tmp_path_factory.mktemp("two"))
    lab.scan()
    assert lab.spot().device.device_id == DEVICES[0]
    lab.catalog.devices.register("ext4:gone", "ext4", stable=True)
    yield lab
    lab.close()


def top_of(lab: CatalogLab, device_id: int) -> str:
    return lab.spot().place.relpath if device_id == DEVICES[0] else "top"


def fill(lab: CatalogLab, inodes: list[Known]) -> None:
    """The catalog knows these and nothing else; a name that two want is the later one's."""
    with transaction(lab.db):
        for n in DEVICES:
            for table in ("names", "inodes"):
                lab.db.execute(f"DELETE FROM {table}_{n}")
        for number, known in enumerate(inodes, 1):
            n, files = known.device_id, lab.catalog.files(known.device_id)
            content, size = known.content
            sha256 = None if content is None else content * 64
            lab.db.execute(
                f"""
                INSERT INTO inodes_{n}
                    (inode, size, mtime_ns, ctime_ns, nlink, mode, uid, gid, sha256)
                VALUES (?, ?, 0, 0, ?, 0, 0, 0, ?)
                """,
                (number, size, known.nlink, sha256),
            )
            for folder, name, gone in known.paths:
                dir_id = files.ensure_dir(
                    join(top_of(lab, n), folder) if folder else top_of(lab, n)
                )
                lab.db.execute(
                    f"INSERT OR REPLACE INTO names_{n} VALUES (?, ?, ?, '', ?)",
                    (dir_id, to_db(name), number, "gone" if gone else None),
                )


def naive(lab: CatalogLab, inodes: list[Known], across: bool, min_size: int) -> Duplicates:
    owner = {
        (known.device_id, folder, name): (number, gone)
        for number, known in enumerate(inodes, 1)
        for folder, name, gone in known.paths
    }
    shown = {
        DEVICES[0]: f"{lab.root}/",
        DEVICES[1]: f"(device {DEVICES[1]}, not mounted) {top_of(lab, DEVICES[1])}/",
    }
    groups: dict[tuple[int, str, int], list[Copy]] = {}
    for number, known in enumerate(inodes, 1):
        paths = tuple(
            sorted(
                shown[device_id] + join(folder, name)
                for (device_id, folder, name), (holder, gone) in owner.items()
                if device_id == known.device_id and holder == number and not gone
            )
        )
        content, size = known.content
        if paths and content is not None and size >= min_size:
            where = 0 if across else known.device_id
            copies = groups.setdefault((where, content * 64, size), [])
            copies.append(Copy(known.device_id, number, known.nlink, paths))
    made = [naive_group(sha, size, same) for (_, sha, size), same in groups.items() if same[1:]]
    made.sort(key=lambda group: (-group.redundant, group.sha256, group.copies[0].device_id))
    return Duplicates(
        groups=tuple(made),
        saves=sum(group.saves for group in made),
        redundant=sum(group.redundant for group in made),
        unhashed=sum(
            content is None and size >= min_size for content, size in (k.content for k in inodes)
        ),
    )


def naive_group(sha256: str, size: int, copies: list[Copy]) -> DuplicateGroup:
    copies.sort(key=lambda copy: (copy.device_id, -len(copy.paths), copy.paths))
    kept = {copy.device_id: copy for copy in reversed(copies)}
    freed = [
        copy
        for copy in copies
        if copy is not kept[copy.device_id] and copy.nlink == len(copy.paths)
    ]
    return DuplicateGroup(sha256, size, size * len(freed), size * (len(copies) - 1), tuple(copies))


def naive_text(duplicates: Duplicates) -> str:
    lines = []
    for group in duplicates.groups:
        lines.append(
            f"{len(group.copies)} copies of {format_size(group.size)}, hardlinks save"
            f" {format_size(group.saves)}  {group.sha256[:16]}"
        )
        for copy in group.copies:
            first, *others = map(printable, copy.paths)
            unseen = copy.nlink - len(copy.paths)
            names = "name" if unseen == 1 else "names"
            lines.append(f"  {first}" + (f"  ({unseen} more {names} unseen)" if unseen > 0 else ""))
            lines += [f"    = {name}" for name in others]
        lines.append("")
    count = len(duplicates.groups)
    lines.append(
        f"{count} {'group' if count == 1 else 'groups'} with {format_size(duplicates.redundant)}"
        f" beyond one copy; hardlinks would save {format_size(duplicates.saves)}"
        if count
        else "no duplicates"
    )
    if duplicates.unhashed:
        files = "file" if duplicates.unhashed == 1 else "files"
        lines.append(
            f"{duplicates.unhashed} {files} without a SHA-256 may have copies too: run"
            " `hashall scan` on their folders"
        )
    return "\n".join(lines)


def test_a_disk_that_is_full_while_duplicates_are_sorted_is_told_as_that(
    lab: CatalogLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite ends the transaction by itself then, also one that only reads."""
    lab.write("a.mkv")
    lab.scan()
    groups = EqualBytesTable.groups

    def full(self: EqualBytesTable, *_: object, **__: object) -> None:
        self.db.script("ROLLBACK")
        raise DiskFull("no room to write")

    monkeypatch.setattr(EqualBytesTable, "groups", full)
    with pytest.raises(DiskFull, match="no room to write"):
        found(lab)

    monkeypatch.setattr(EqualBytesTable, "groups", groups)
    assert found(lab).groups == ()
