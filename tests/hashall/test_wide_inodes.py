"""Inode numbers of 2**63 and above, as mergerfs, overlay (xino) and CIFS give them.

SQLite's integers are signed: half of the numbers that stat(2) knows do not fit.  A real overlay
gives them here.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.support.catalog_lab import CatalogLab
from tests.support.linking import CONTENT, LinkLab, an_instance, same_file, skipped_because
from tests.support.listed_client import ListedClient, a_torrent
from tests.support.wide_inodes import wide_overlay

from hashall import dirfd, fsreplace, verify
from hashall.catalog.scan_load import CatalogLoad
from hashall.catalog_care import check
from hashall.catalog_import import import_hashes
from hashall.cli import cli
from hashall.file_links import find_links
from hashall.folders import changed_since, stamps_of
from hashall.fsops import retire_file
from hashall.hashing import FileStamp
from hashall.linking.execute import Executor
from hashall.linking.model import ActionState, Kind, Plan
from hashall.payload_sync import sync
from hashall.qbittorrent import PathMap
from hashall.scan_model import Difference, DriftPolicy, FolderChange, HashMode
from seedkeep import console
from seedkeep.errors import Misused
from seedkeep.sqlite import open_database, transaction

pytestmark = pytest.mark.root


@pytest.fixture
def wide() -> Iterator[Path]:
    with wide_overlay() as folder:
        yield folder


@pytest.fixture
def film(wide: Path) -> Path:
    return wide / "files3/film"


def test_files_with_the_largest_inode_numbers_are_catalogued(lab: CatalogLab, wide: Path) -> None:
    assert lab.scan(wide).added == 6
    assert lab.scan(wide).unchanged == 6


def said(lab: CatalogLab, capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """What the program prints; it has to succeed."""
    words = [*map(str, arguments), "--db", str(lab.db_path)]
    capsys.readouterr()
    code = console.run(cli, words, "hashall")
    answer = capsys.readouterr()
    assert (code, answer.err) == (0, "")
    return answer.out


def test_a_file_is_found_by_the_number_that_stat_shows(
    lab: CatalogLab, film: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lab.scan(film.parent.parent)
    number = film.stat().st_ino
    text = said(lab, capsys, "find", "--inode", str(number))
    assert str(film) in text
    assert f" {number} " in text
    assert "nothing found" in said(lab, capsys, "find", "--inode", str(number - 2**63))
    assert console.run(cli, ["find", "--inode", str(2**64)], "hashall") == Misused.exit_code


@pytest.mark.parametrize(
    "arguments",
    [
        ["find", "--name", "film", "--json"],
        ["export", "--format", "csv"],
        ["export", "--format", "json"],
        ["payload", "show", "{torrent}", "--json"],
    ],
    ids=" ".join,
)
def test_what_is_shown_of_an_inode_is_the_number_that_stat_shows(
    lab: CatalogLab, film: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    torrent = seeded(lab, film)
    words = [word.format(film=film, torrent=torrent) for word in arguments]
    text = said(lab, capsys, *words)
    assert str(film.stat().st_ino) in text
    assert str(film.stat().st_ino - 2**64) not in text


def test_groups_of_equal_files_have_the_numbers_that_stat_shows(
    lab: CatalogLab, film: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lab.scan(film.parent.parent)
    for command in (["dupes"], ["link", "analyze"]):
        text = said(lab, capsys, *command, "--json")
        for name in ("one", "two"):
            assert f'"inode": {film.with_name(name).stat().st_ino},' in text


def seeded(lab: CatalogLab, film: Path) -> str:
    """The file in the catalog, and a torrent that has it."""
    lab.scan(film.parent.parent)
    client = ListedClient()
    torrent = client.add(a_torrent("film", film.parent), {"film": film.stat().st_size})
    result = sync(client, lab.places(), PathMap())
    assert (result.mapped, result.problems) == (1, ())
    return torrent


def test_the_file_behind_a_name_is_the_one_that_was_catalogued(lab: CatalogLab, film: Path) -> None:
    """Whether these are all its names, nobody can say on an overlay."""
    lab.scan(film.parent.parent)
    (links,) = find_links(lab.places(), film)
    assert (links.inode, links.nlink) == (film.stat().st_ino, 1)
    assert "lower layer makes a copy" in links.reason


def test_files_are_read_again_and_compared(lab: CatalogLab, wide: Path) -> None:
    lab.scan(wide)
    found = verify.verify(lab.places(), [wide], verify.Options())
    assert (found.read, found.same, found.changed) == (6, 6, [])


def test_the_catalog_agrees_with_the_disk(lab: CatalogLab, wide: Path) -> None:
    lab.scan(wide)
    found = check(lab.places(), tree=True)
    assert found.problems == ()
    assert found.tree is not None
    assert (found.tree.names, found.tree.same) == (6, 6)


@pytest.mark.parametrize(
    "broken",
    [
        "UPDATE inodes_{n} SET nlink = 0",
        "UPDATE inodes_{n} SET sha256 = 'short'",
        "UPDATE inodes_{n} SET quick_hash = 'short'",
        "UPDATE names_{n} SET gone_at = '2026-01-01T00:00:00Z'",
    ],
)
def test_a_contradiction_is_told_with_the_number_that_stat_shows(
    lab: CatalogLab, film: Path, broken: str
) -> None:
    lab.scan(film.parent.parent)
    lab.db.execute(broken.format(n=lab.spot(film).device.device_id))
    (problem,) = check(lab.places(), tree=False).problems
    assert str(film.stat().st_ino) in problem.examples


def test_folders_that_nobody_changed_are_not_looked_at_again(film: Path) -> None:
    (stamp,) = stamps_of([str(film.parent)])
    assert -(2**63) <= stamp.inode < 2**63
    before = [(1, stamp.path, stamp.inode, stamp.mtime_ns)]
    assert changed_since(before) == set()
    (film.parent / "new").touch()
    assert changed_since(before) == {1}


def test_hashes_of_an_older_catalog_are_taken_for_them(lab: CatalogLab, film: Path) -> None:
    lab.scan(film.parent.parent, mode=HashMode.FAST)
    old = lab.folder / "old.db"
    sha256, seen = hashlib.sha256(film.read_bytes()).hexdigest(), film.stat()
    with open_database(old, journal_mode="delete") as db:
        db.script(
            "CREATE TABLE devices (device_id INTEGER, mount_point TEXT);"
            "CREATE TABLE files_49 (path TEXT PRIMARY KEY, size INTEGER, mtime REAL, sha1 TEXT,"
            " sha256 TEXT, status TEXT);"
        )
        db.execute("INSERT INTO devices VALUES (49, ?)", (str(film.parent),))
        row = ("film", seen.st_size, seen.st_mtime, sha256)
        db.execute("INSERT INTO files_49 VALUES (?, ?, ?, NULL, ?, 'active')", row)
    assert import_hashes(lab.places(), old).taken == 1


# -- links


def test_nothing_is_linked_on_an_overlay_and_the_reason_is_its_link_counts(
    lab: CatalogLab, wide: Path
) -> None:
    lab.scan(wide)
    linked = LinkLab(lab)
    plan = linked.plan()
    (action,) = lab.catalog.links.actions(plan.plan_id)
    assert (action.kind, action.reason) == (Kind.SKIP, "unknown-links")
    assert "lower layer makes a copy" in action.detail
    assert linked.execute(plan).done == 0
    assert not same_file(*pair(wide))


@pytest.fixture
def linked(lab: CatalogLab, wide: Path, monkeypatch: pytest.MonkeyPatch) -> LinkLab:
    """As on a filesystem that has such numbers and counts links truly."""
    monkeypatch.setattr("hashall.linking.service.link_count_doubt", lambda _: None)
    lab.scan(wide)
    return LinkLab(lab)


def pair(wide: Path) -> tuple[Path, Path]:
    return wide / "files3/one", wide / "files3/two"


def states(linked: LinkLab, plan: Plan) -> list[ActionState]:
    return [action.state for action in linked.lab.catalog.links.actions(plan.plan_id)]


def test_equal_files_are_linked_and_separated_again(linked: LinkLab, wide: Path) -> None:
    plan = linked.plan()
    assert states(linked, plan) == [ActionState.PLANNED]
    assert linked.execute(plan, dry_run=True).skipped == 0
    assert linked.execute(plan).done == 1
    assert same_file(*pair(wide))
    assert linked.lab.scan(wide).unchanged == 6
    assert linked.undo(plan).done == 1
    assert not same_file(*pair(wide))
    tree = check(linked.lab.places(), tree=True).tree
    assert tree is not None
    assert (tree.names, tree.same) == (6, 6)
    assert [path.read_bytes() for path in pair(wide)] == [CONTENT, CONTENT]


def test_a_file_that_is_linked_already_is_left_alone(linked: LinkLab, wide: Path) -> None:
    plan = linked.plan()
    one, two = pair(wide)
    two.unlink()
    two.hardlink_to(one)
    assert skipped_because(linked.execute(plan)) == ["already-linked"]


def test_a_file_that_a_torrent_writes_to_is_left_alone(linked: LinkLab, wide: Path) -> None:
    plan = linked.plan()
    catalog, place = linked.lab.catalog, linked.lab.spot(pair(wide)[1]).place
    inode = FileStamp.of(pair(wide)[1].stat()).inode
    an_instance(catalog, "t1")
    catalog.link_groups.put_unfinished("t1", [(place.device_id, place.relpath, inode)])
    assert skipped_because(linked.execute(plan)) == ["unfinished"]


def test_a_file_that_is_written_to_meanwhile_comes_back(
    linked: LinkLab, wide: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def written(fd: int) -> None:
        for kept in wide.rglob(".seedkeep-kept-*"):
            os.utime(kept)
        dirfd.sync(fd)

    monkeypatch.setattr("hashall.linking.execute.sync", written)
    assert skipped_because(linked.execute()) == ["open-for-writing"]
    assert not same_file(*pair(wide))
    assert debris(wide) == []


class PowerFailure(BaseException):
    """Nobody tidied up."""


def fail(*_: object, **__: object) -> None:
    raise PowerFailure


@contextmanager
def cut_off(monkeypatch: pytest.MonkeyPatch, where: object, name: str) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setattr("hashall.linking.running.Recovery.run", lambda _: None)
        patch.setattr(fsreplace, "_unlink_if", lambda *_: False)
        patch.setattr(where, name, fail)
        with pytest.raises(PowerFailure):
            yield


def debris(wide: Path) -> list[Path]:
    return list(wide.rglob(".seedkeep-*"))


@pytest.mark.parametrize("after_swap", [False, True])
def test_an_interrupted_run_is_put_in_order(
    linked: LinkLab, wide: Path, monkeypatch: pytest.MonkeyPatch, after_swap: bool
) -> None:
    plan = linked.plan()
    moment = (Executor, "_settle") if after_swap else (fsreplace, "exchange")
    with cut_off(monkeypatch, *moment):
        linked.execute(plan)
    assert len(debris(wide)) == (1 if after_swap else 2)
    done = linked.execute(linked.plan())
    assert (len(done.recovered), done.notes) == (1, ())
    assert states(linked, plan) == [ActionState.DONE if after_swap else ActionState.PLANNED]
    assert same_file(*pair(wide))
    assert debris(wide) == []


def test_an_interrupted_undo_is_put_in_order(
    linked: LinkLab, wide: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = linked.plan()
    linked.execute(plan)
    with cut_off(monkeypatch, fsreplace, "swap_in_file"):
        linked.undo(plan)
    linked.execute(linked.plan())
    assert states(linked, plan) == [ActionState.DONE]
    assert same_file(*pair(wide))
    assert debris(wide) == []


def test_a_file_that_is_not_removed_is_named_by_the_number_that_stat_shows(film: Path) -> None:
    stamp = FileStamp.of(film.stat())
    with pytest.raises(dirfd.SourceChanged) as why:
        retire_file(film.parent, "film", stamp=stamp._replace(size=99))
    inode = film.stat().st_ino
    assert f"inode {inode} with 6 bytes, expected {inode} with 99" in why.value.detail


@pytest.mark.parametrize("inode", [-(2**63), 2**63 - 1])
def test_the_smallest_and_the_largest_number_in_the_catalog_wait_for_a_hash(
    lab: CatalogLab, inode: int
) -> None:
    load = CatalogLoad(lab.db, lab.spot().device.device_id, DriftPolicy.QUICK)
    row = ("film.mkv", Difference.NEW, inode, 5, 1, 1, 1, 0o100644, 0, 0)
    with transaction(lab.db):
        load.begin()
        load.write([FolderChange("", None, [row], [], [], [], [])])

    assert [item[0] for item in load.waiting(HashMode.FULL)] == [inode]
