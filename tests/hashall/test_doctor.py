"""The doctor says what the kernel does, on real filesystems, and leaves nothing behind."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.support.catalog_lab import CatalogLab
from tests.support.filesystems import (
    as_nobody,
    bind,
    btrfs,
    btrfs_subvolume,
    ext4,
    lab_folder,
    mounted,
    run,
    shut_down,
    tmpfs,
    xfs,
    zfs_pool,
)

from hashall import doctor, fsops_probe
from hashall.catalog.inventory import ClientState
from hashall.doctor import CatalogFacts, Facts, PairFacts, RootFacts
from hashall.doctor_rules import judge
from hashall.fsops_probe import LinkResult, ProbeFile
from hashall.lock import exclusive
from seedkeep import diagnosis
from seedkeep.diagnosis import Diagnosis, Level
from seedkeep.errors import Misused

NOW = datetime(2026, 11, 21, tzinfo=UTC)
CATALOG = CatalogFacts(
    path=Path("/home/catalog.db"),
    exists=True,
    error="",
    hint="",
    filesystem="ext4",
    bytes=1000,
    free_bytes=10**12,
    sqlite="3.54.1",
    held_by=None,
    newest_scan="2026-11-20T00:00:00Z",
)
GOOD_LINK = LinkResult(0, same_inode=True, nlink=2)
REFUSED = LinkResult(errno.EXDEV, same_inode=False, nlink=0)


@pytest.fixture
def folder() -> Iterator[Path]:
    with lab_folder() as made:
        yield made


def examined(*roots: Path, probe: bool = True) -> Diagnosis:
    facts = doctor.gather(CATALOG, roots, probe=probe)
    for root in roots:
        if root.is_dir():
            assert [name for name in os.listdir(root) if name.startswith(".seedkeep-")] == []
    return judge(facts)


def problems(report: Diagnosis) -> list[str]:
    return [f.subject for f in report.findings if f.level is Level.PROBLEM]


def said(report: Diagnosis, level: Level) -> str:
    return "\n".join(
        f"{f.subject}: {f.what} | {f.fix}" for f in report.findings if f.level is level
    )


# -- real filesystems


def test_folders_of_one_mount_are_fine(folder: Path) -> None:
    with ext4(folder) as disk:
        for name in ("stash", "library"):
            (disk / name).mkdir()
        report = examined(disk / "stash", disk / "library")
    assert report.healthy
    assert "ext4, hardlinks work" in said(report, Level.OK)
    assert "1 probed: links work inside each filesystem, and only there" in said(report, Level.OK)


def test_two_filesystems_are_fine_too(folder: Path) -> None:
    with ext4(folder) as stash, xfs(folder) as pool:
        assert examined(stash, pool).healthy


def test_two_binds_of_one_filesystem_refuse_links_although_their_numbers_are_equal(
    folder: Path,
) -> None:
    with ext4(folder) as disk, ExitStack() as stack:
        shown = []
        for name in ("seeds", "movies"):
            (disk / name).mkdir()
            shown.append(stack.enter_context(bind(disk / name, folder / name)))
        assert shown[0].stat().st_dev == shown[1].stat().st_dev
        report = examined(*shown)
    assert problems(report) == [f"{shown[0]} → {shown[1]}"]
    text = said(report, Level.PROBLEM)
    assert "through two mounts" in text
    assert "mount the folder above both once" in text


def test_subvolumes_of_one_btrfs_are_filesystems_of_their_own(folder: Path) -> None:
    with btrfs(folder) as top:
        sides = [btrfs_subvolume(top / name) for name in ("stash", "pool")]
        assert examined(*sides).healthy


def test_datasets_of_one_zfs_pool_are_filesystems_of_their_own(folder: Path) -> None:
    with zfs_pool(folder) as pool:
        sides = [pool.create("stash"), pool.create("pool")]
        report = examined(*sides)
    assert report.healthy
    assert "fuse.zfs, hardlinks work" in said(report, Level.OK)


def test_tmpfs_works_and_has_no_lasting_id(folder: Path) -> None:
    with tmpfs(folder / "memory") as memory:
        report = examined(memory)
    assert report.healthy
    assert "tmpfs has no lasting id" in said(report, Level.WARNING)


def test_an_overlay_is_recognised(folder: Path) -> None:
    with tmpfs(folder / "layers") as layers:
        for name in ("lower", "upper", "work"):
            (layers / name).mkdir()
        (layers / "lower/film").write_bytes(b"film")
        options = ",".join(f"{kind}dir={layers / kind}" for kind in ("lower", "upper", "work"))
        with mounted("overlay", folder / "merged", fs_type="overlay", options=options) as merged:
            report = examined(merged)
    text = said(report, Level.WARNING)
    assert "link counts prove nothing on overlay" in text
    assert "outside of the container's layers" in text


def test_a_read_only_filesystem_can_be_scanned(folder: Path) -> None:
    with tmpfs(folder / "ro") as point, bind(point, folder / "shown") as shown:
        run("mount", "-o", "remount,ro,bind", shown)
        report = examined(shown)
    assert report.healthy
    assert "nothing can be linked | mount it writable" in said(report, Level.WARNING)


def test_a_folder_of_somebody_else_cannot_be_probed(folder: Path) -> None:
    folder.chmod(0o755)
    closed = folder / "closed"
    closed.mkdir(mode=0o755)
    with as_nobody():
        report = examined(closed)
    assert report.healthy
    assert "give this user write access" in said(report, Level.WARNING)


def test_a_folder_that_is_not_there_is_a_problem(folder: Path) -> None:
    report = examined(folder / "none")
    assert problems(report) == [str(folder / "none")]


def test_nothing_is_made_where_probing_is_not_wanted(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fsops_probe, "_make", lambda *_: pytest.fail("a file was made"))
    report = examined(folder, probe=False)
    assert "not probed" in said(report, Level.OK)


def test_what_a_killed_doctor_left_is_removed_and_what_is_at_work_is_not(folder: Path) -> None:
    old, young = (folder / f".seedkeep-probe-{name}" for name in ("old", "young"))
    for left in (old, young):
        left.mkdir()
        (left / "probe").touch()
    os.utime(old, (1_000_000_000, 1_000_000_000))
    (folder / ".seedkeep-probe-file").touch()
    doctor.gather(CATALOG, [folder], probe=True)
    assert sorted(os.listdir(folder)) == [".seedkeep-probe-file", ".seedkeep-probe-young"]


def test_a_link_is_taken_away_before_the_next_is_tried(folder: Path) -> None:
    with fsops_probe.probe_files([folder]) as (made,):
        assert made.path is not None
        for _ in range(2):
            assert fsops_probe.try_link(made.path, made.path) == GOOD_LINK
        assert os.listdir(made.path.parent) == ["probe"]


def test_probe_files_go_also_when_something_fails(folder: Path) -> None:
    def interrupted() -> None:
        with fsops_probe.probe_files([folder]) as (made,):
            assert made.path is not None
            assert made.path.exists()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert os.listdir(folder) == []


# -- what facts mean


def root(path: str, **changes: object) -> RootFacts:
    made = RootFacts(
        path=Path(path),
        error="",
        fs_type="ext4",
        fs_key="ext4:1",
        stable=True,
        st_dev=5,
        mount_point="/srv",
        free_bytes=10**9,
        probe=ProbeFile(Path(path), Path(path, "probe"), 0, 0.0),
        inside=GOOD_LINK,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def judged(
    *roots: RootFacts,
    pairs: tuple[PairFacts, ...] = (),
    now: datetime = NOW,
    catalog: CatalogFacts = CATALOG,
) -> Diagnosis:
    return judge(Facts(now, catalog, roots, pairs))


def test_a_machine_in_order_has_nothing_to_change() -> None:
    stash = root("/srv/stash")
    report = judged(stash, root("/srv/pool"), pairs=(PairFacts(stash, stash, GOOD_LINK),))
    assert (report.healthy, said(report, Level.WARNING)) == (True, "")
    text = diagnosis.report(report)
    assert text.endswith("nothing has to be changed")
    assert len(text.splitlines()) < 24


@pytest.mark.parametrize("number", [errno.EIO, errno.ENODATA, errno.ETIMEDOUT, errno.ENOTCONN])
def test_a_disk_that_fails_when_a_file_is_made_is_a_problem(number: int) -> None:
    probe = ProbeFile(Path("/srv/stash"), None, number, 0.0)
    report = judged(root("/srv/stash", probe=probe, inside=None))
    assert not report.healthy
    assert "its disk fails" in said(report, Level.PROBLEM)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"inside": LinkResult(errno.EPERM, same_inode=False, nlink=0)}, "hardlinks do not work"),
        ({"inside": LinkResult(0, same_inode=True, nlink=1)}, "shows 1 links"),
        ({"inside": LinkResult(0, same_inode=False, nlink=2)}, "another inode number"),
        ({"error": "two mounted filesystems claim to be the same one"}, "two mounted filesystems"),
    ],
)
def test_a_folder_where_links_cannot_be_told_is_a_problem(
    changes: dict[str, object], words: str
) -> None:
    report = judged(root("/srv/stash", **changes))
    assert not report.healthy
    assert words in said(report, Level.PROBLEM)
    assert all(f.fix for f in report.findings if f.level is Level.PROBLEM)


@pytest.mark.parametrize(
    ("fs_type", "words"),
    [
        ("fuse.mergerfs", "scan the disks below it"),
        ("nfs4", "run hashall on the server"),
        ("fuse.sshfs", "keep the files on a local filesystem"),
        ("exfat", "exFAT has no hardlinks"),
    ],
)
def test_filesystems_whose_link_counts_mean_nothing_are_known(fs_type: str, words: str) -> None:
    report = judged(root("/srv/x", fs_type=fs_type))
    assert report.healthy
    assert words in said(report, Level.WARNING)


def test_a_server_with_another_clock_is_told() -> None:
    late = ProbeFile(Path("/srv/x"), Path("/srv/x/probe"), 0, -7.4)
    report = judged(root("/srv/x", probe=late))
    assert "its clock is -7 s from ours" in said(report, Level.WARNING)


@pytest.mark.parametrize(
    ("second", "link", "words"),
    [
        ({"mount_point": "/other"}, REFUSED, "reached through two mounts, /srv and /other"),
        ({}, REFUSED, "look for project quotas"),
        ({"fs_key": "ext4:2"}, GOOD_LINK, "a link between them works, although they count as"),
        ({}, LinkResult(0, same_inode=False, nlink=1), "shows as another inode"),
    ],
)
def test_pairs_that_do_not_do_what_their_identities_say_are_problems(
    second: dict[str, object], link: LinkResult, words: str
) -> None:
    one, two = root("/srv/a"), root("/srv/b", **second)
    pairs = (PairFacts(one, two, link), PairFacts(two, one, link))
    report = judged(one, two, pairs=pairs)
    assert problems(report) == ["/srv/a → /srv/b"]
    assert words in said(report, Level.PROBLEM)


@pytest.mark.parametrize(
    ("changes", "level", "words"),
    [
        ({"filesystem": "nfs4"}, Level.PROBLEM, "locks fail"),
        ({"filesystem": "tmpfs"}, Level.WARNING, "goes with a reboot"),
        ({"filesystem": "overlay"}, Level.WARNING, "goes with its container"),
        ({"filesystem": "fuse.x"}, Level.WARNING, "may lack shared memory"),
        ({"sqlite": "3.40.1"}, Level.PROBLEM, "SQLite 3.40.1 can damage it"),
        ({"free_bytes": 50 * 2**20}, Level.WARNING, "50.0 MiB free"),
        ({"free_bytes": 1}, Level.PROBLEM, "1 B free"),
        ({"error": "it is empty", "hint": "restore"}, Level.PROBLEM, "it is empty | restore"),
        ({"error": "none", "hint": "scan", "exists": False}, Level.WARNING, "none | scan"),
        ({"newest_scan": "2027-01-01T00:00:00Z"}, Level.PROBLEM, "set the clock"),
        ({"held_by": "process 7 holds it"}, Level.OK, "process 7 holds it"),
    ],
)
def test_the_catalog_and_the_clock_are_looked_at(
    changes: dict[str, object], level: Level, words: str
) -> None:
    report = judged(catalog=replace(CATALOG, **changes))  # type: ignore[arg-type]
    assert words in said(report, level)


def test_a_clock_from_before_this_product_is_a_problem() -> None:
    report = judged(
        now=datetime(1970, 1, 1, tzinfo=UTC), catalog=replace(CATALOG, newest_scan=None)
    )
    assert problems(report) == ["clock"]


# -- which folders, and the catalog's facts


def test_without_paths_the_scanned_folders_are_looked_at(lab: CatalogLab) -> None:
    with lab_folder() as folder:
        with tmpfs(folder / "pool") as pool:
            (pool / "a").write_bytes(b"a")
            lab.scan(lab.root, pool)
            assert doctor.roots_to_probe(lab.places(), []) == [lab.root, pool]
        roots = doctor.roots_to_probe(lab.places(), [])
        report = judge(doctor.gather(CATALOG, roots, probe=True))
    assert report.healthy
    assert "no mount shows it now | mount it, or forget it" in said(report, Level.WARNING)


def test_without_a_catalog_only_the_named_folders_are(tmp_path: Path) -> None:
    assert doctor.roots_to_probe(None, []) == []
    assert doctor.roots_to_probe(None, [tmp_path, tmp_path]) == [tmp_path]
    assert "nothing was scanned yet" in said(judged(), Level.WARNING)


def test_the_facts_of_a_catalog(lab: CatalogLab) -> None:
    lab.write("a")
    lab.scan()
    with exclusive(lab.db_path, "hashall scan"):
        facts = doctor.catalog_facts(lab.db_path, lab.catalog, None)
    assert facts.held_by is not None
    assert (facts.exists, facts.error) == (True, "")
    assert facts.newest_scan is not None
    missing = doctor.catalog_facts(
        lab.folder / "deep/none.db", None, Misused("there is none", hint="scan")
    )
    assert (missing.exists, missing.error, missing.hint) == (False, "there is none", "scan")


# -- disks and clients that fail


@pytest.mark.parametrize("make", [ext4, xfs])
def test_a_disk_that_is_gone_is_a_problem_and_not_a_filesystem_without_links(
    lab: CatalogLab, make: Callable[..., Any]
) -> None:
    with lab_folder() as folder, make(folder, name="disk") as disk:
        (disk / "a").write_bytes(b"a")
        lab.scan(disk)
        shut_down(disk)
        report = judge(doctor.gather(CATALOG, doctor.roots_to_probe(lab.places(), []), probe=True))
        named = judge(doctor.gather(CATALOG, [disk], probe=True))
    for found in (report, named):
        assert not found.healthy
        assert "Input/output error" in said(found, Level.PROBLEM)
    assert "save what matters from it first" in said(report, Level.PROBLEM)
    assert said(report, Level.WARNING) == ""


READ = ClientState("main", "2026-11-20T23:00:00Z", 40, 0, "")


@pytest.mark.parametrize(
    ("changes", "level", "words"),
    [
        ({}, Level.OK, "all of its torrents were read last at 2026-11-20T23:00:00Z"),
        ({"synced_at": "2026-11-01T00:00:00Z"}, Level.WARNING, "at 2026-11-01T00:00:00Z | run"),
        ({"synced_at": "2037-01-01T00:00:00Z"}, Level.WARNING, "at 2037-01-01T00:00:00Z | set"),
        ({"synced_at": None}, Level.WARNING, "never all read | run `hashall payload sync`"),
        (
            {"unread": 2, "why": "no list"},
            Level.WARNING,
            "at 2026-11-20T23:00:00Z; 2 of 40 cannot be read: no list | `hashall payload sync`",
        ),
    ],
)
def test_how_old_the_knowledge_of_a_client_is(
    changes: dict[str, object], level: Level, words: str
) -> None:
    client = replace(READ, **changes)  # type: ignore[arg-type]
    report = judged(root("/srv/stash"), catalog=replace(CATALOG, clients=(client,)))
    assert words in said(report, level)
    assert report.healthy
