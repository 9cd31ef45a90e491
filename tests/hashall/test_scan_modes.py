"""Hash modes, exclusions, moves: what a person asks of a scan."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.support.catalog_lab import (
    CatalogLab,
    counted_reads,
    document,
    ended,
    on_disk,
    settle,
    start_hashall,
)
from tests.support.filesystems import lab_folder, tmpfs

from hashall.scan import DriftPolicy, HashMode
from hashall.scan_walk import EXCLUDED
from seedkeep.sqlite import transaction

BIG = bytes(200_000)  # more than the samples read


def hashes(lab: CatalogLab) -> dict[str, tuple[str | None, str | None]]:
    """(quick hash, SHA-256) by name below the root."""
    spot = lab.spot()
    rows = lab.db.tuples(
        f"SELECT path, quick_hash, sha256 FROM files_{spot.device.device_id}"
        " WHERE status = 'active'"
    )
    top = len(spot.place.relpath) + 1
    return {path[top:]: (quick, sha256) for path, quick, sha256 in rows}


# -- fast and upgrade


def test_a_fast_scan_reads_samples_only(lab: CatalogLab) -> None:
    lab.write("film.mkv", BIG)

    with counted_reads() as reads:
        summary = lab.scan(mode=HashMode.FAST)

    assert (reads.whole, reads.samples) == ([], ["film.mkv"])
    assert (summary.hashes.files, summary.hashes.bytes, summary.hashes.sampled) == (0, 0, 1)
    quick, sha256 = hashes(lab)["film.mkv"]
    assert quick is not None
    assert sha256 is None


def test_a_second_fast_scan_reads_nothing(lab: CatalogLab) -> None:
    lab.write("film.mkv", BIG)
    lab.scan(mode=HashMode.FAST)

    with counted_reads() as reads:
        lab.scan(mode=HashMode.FAST)

    assert (reads.whole, reads.samples) == ([], [])


def test_a_fast_scan_leaves_a_sha256_that_is_known(lab: CatalogLab) -> None:
    path = lab.write("film.mkv", BIG)
    lab.scan()
    path.chmod(0o600)

    with counted_reads() as reads:
        lab.scan(mode=HashMode.FAST)
        lab.scan(mode=HashMode.FAST)

    assert (reads.whole, reads.samples) == ([], ["film.mkv"])
    assert lab.known() == on_disk(lab.root)


def test_a_fast_scan_that_sees_other_samples_forgets_the_sha256(lab: CatalogLab) -> None:
    path = lab.write("film.mkv", BIG)
    lab.scan()
    seen = path.stat()
    path.write_bytes(b"X" + BIG[1:])
    os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns))

    summary = lab.scan(mode=HashMode.FAST)

    assert (summary.changed, summary.unchanged) == (1, 0)
    assert lab.known()["film.mkv"].sha256 is None
    lab.scan()
    assert lab.known() == on_disk(lab.root)


def test_a_full_scan_completes_what_a_fast_one_left(lab: CatalogLab) -> None:
    lab.write("film.mkv", BIG)
    lab.scan(mode=HashMode.FAST)

    summary = lab.scan()

    assert summary.hashes.files == 1
    assert lab.known() == on_disk(lab.root)


def test_an_upgrade_reads_whole_only_what_may_have_a_twin(lab: CatalogLab) -> None:
    lab.write("one.mkv", BIG)
    lab.write("two.mkv", BIG)
    lab.write("other.mkv", b"X" + BIG[1:])
    lab.write("longer.mkv", BIG + b"X")

    with counted_reads() as reads:
        summary = lab.scan(mode=HashMode.UPGRADE)

    assert sorted(reads.whole) == ["one.mkv", "two.mkv"]
    assert (summary.hashes.files, summary.hashes.sampled) == (2, 4)
    known = lab.known()
    assert known["one.mkv"].sha256 == known["two.mkv"].sha256 is not None
    assert known["other.mkv"].sha256 is known["longer.mkv"].sha256 is None
    with counted_reads() as reads:
        lab.scan(mode=HashMode.UPGRADE)
    assert (reads.whole, reads.samples) == ([], [])


def test_two_names_of_one_inode_are_no_twins(lab: CatalogLab) -> None:
    film = lab.write("film.mkv", BIG)
    os.link(film, lab.root / "link.mkv")

    with counted_reads() as reads:
        lab.scan(mode=HashMode.UPGRADE)

    assert reads.whole == []


def test_an_upgrade_of_a_folder_leaves_what_lies_outside(lab: CatalogLab) -> None:
    lab.write("here/one.mkv", BIG)
    lab.write("there/two.mkv", BIG)
    lab.scan(mode=HashMode.FAST)

    with counted_reads() as reads:
        lab.scan(lab.root / "here", mode=HashMode.UPGRADE)

    assert reads.whole == ["one.mkv"]


@pytest.mark.parametrize("odd", ["private", os.fsdecode(b"priv\xe9"), "a/b/private"])
def test_an_upgrade_reads_nothing_that_it_was_told_to_leave_out(lab: CatalogLab, odd: str) -> None:
    for name in ("one.mkv", f"{odd}/deep/two.mkv", f"{odd}/three.mkv", "four.nfo", "a/five.nfo"):
        lab.write(name, BIG)
    lab.scan(mode=HashMode.FAST)

    with counted_reads() as reads:
        summary = lab.scan(mode=HashMode.UPGRADE, exclude=("priv*", "*.nfo"))

    assert reads.whole == ["one.mkv"]
    assert summary.unreadable == {}
    with counted_reads() as reads:
        lab.scan(mode=HashMode.UPGRADE)
    assert sorted(reads.whole) == ["five.nfo", "four.nfo", "three.mkv", "two.mkv"]


def test_an_upgrade_reads_what_has_another_name_that_was_not_left_out(lab: CatalogLab) -> None:
    film = lab.write("a-private/film.mkv", BIG)
    (lab.root / "public").mkdir()
    os.link(film, lab.root / "public/same.mkv")
    lab.write("public/twin.mkv", BIG)
    lab.scan(mode=HashMode.FAST)

    with counted_reads() as reads:
        lab.scan(mode=HashMode.UPGRADE, exclude=("a-private",))

    assert sorted(reads.whole) == ["same.mkv", "twin.mkv"]


@pytest.mark.root
def test_an_upgrade_reads_nothing_through_what_was_mounted_since(lab: CatalogLab) -> None:
    for name in ("one.mkv", "folder/two.mkv", "elsewhere/two.mkv"):
        lab.write(name, BIG)
    lab.scan(mode=HashMode.FAST)

    with tmpfs(lab.root / "folder") as memory, counted_reads() as reads:
        (memory / "two.mkv").write_bytes(BIG)
        summary = lab.scan(mode=HashMode.UPGRADE, one_file_system=True)

    assert sorted(reads.whole) == ["one.mkv", "two.mkv"]  # that of `elsewhere`
    assert summary.unreadable == {}


@pytest.mark.root
def test_a_twin_on_another_filesystem_counts(tmp_path: Path) -> None:
    with lab_folder() as folder, tmpfs(folder / "memory") as memory:
        lab = CatalogLab(folder)
        lab.write("one.mkv", BIG)
        (memory / "two.mkv").write_bytes(BIG)
        settle(memory / "two.mkv")

        summary = lab.scan(lab.root, memory, mode=HashMode.UPGRADE)

        assert summary.hashes.files == 2
        assert len(summary.roots) == 2
        assert lab.known() == on_disk(lab.root)
        assert lab.known(memory) == on_disk(memory)
        lab.close()


def test_an_upgrade_hashes_the_files_of_torrents(lab: CatalogLab) -> None:
    film = lab.write("film.mkv", BIG)
    lab.write("other.mkv", b"X" + BIG[1:])
    lab.scan(mode=HashMode.FAST)
    with transaction(lab.db):
        lab.db.execute(
            "INSERT INTO torrent_instances (torrent_hash, infohash_v1, infohash_v2, name,"
            " save_path, root_name, category, tags, last_seen_at, instance_id)"
            " VALUES ('a', 'a', '', 'a', '/', '', '', '[]', '', 1)"
        )
        lab.db.execute(
            "INSERT INTO torrent_file_rows (instance_id, position, name, size, device_id, path,"
            " inode) VALUES (1, 0, 'film.mkv', 1, 1, 'film.mkv', ?)",
            (film.stat().st_ino,),
        )

    with counted_reads() as reads:
        lab.scan(mode=HashMode.UPGRADE)

    assert reads.whole == ["film.mkv"]


@pytest.mark.parametrize("mode", [HashMode.FAST, HashMode.UPGRADE])
def test_samples_that_cannot_be_read_are_reported(
    lab: CatalogLab, monkeypatch: pytest.MonkeyPatch, mode: HashMode
) -> None:
    path = lab.write("film.mkv", BIG)

    def refuse(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("hashall.scan_read.sample_descriptor", refuse)
    assert lab.scan(mode=mode).unreadable == {str(path): "Input/output error"}


# -- only the ctime moved, by full policy


def test_with_the_full_policy_a_touched_file_counts_as_changed(lab: CatalogLab) -> None:
    path = lab.write("film.mkv", BIG)
    lab.scan()
    path.chmod(0o600)

    summary = lab.scan(drift=DriftPolicy.FULL)

    assert (summary.changed, summary.unchanged) == (1, 0)


def test_a_scan_that_ends_before_the_samples_were_compared_compares_them_next_time(
    lab: CatalogLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = lab.write("film.mkv", b"old" + BIG)
    lab.scan()
    seen = path.stat()
    path.write_bytes(b"new" + BIG)
    os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns))

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("hashall.scan_read.read_item", stop)
        with pytest.raises(KeyboardInterrupt):
            lab.scan()

    lab.scan()
    assert lab.known() == on_disk(lab.root)


# -- exclusions


def test_excluded_names_and_paths_are_not_catalogued(lab: CatalogLab) -> None:
    for name in ("a/film.mkv", "a/film.nfo", "tmp/x.mkv", "b/tmp/y.mkv", "b/keep/z.nfo2"):
        lab.write(name)

    summary = lab.scan(exclude=("*.nfo", "b/tmp"))

    assert set(lab.known()) == {"a/film.mkv", "tmp/x.mkv", "b/keep/z.nfo2"}
    assert summary.skipped == {EXCLUDED: 2}


def test_what_is_excluded_later_stays_known_and_is_no_deletion(lab: CatalogLab) -> None:
    """R-CAT-7"""
    for name in ("a/film.mkv", "a/film.nfo", "folder/film.mkv"):
        lab.write(name)
    lab.scan()

    summary = lab.scan(exclude=("*.nfo", "folder"))

    assert summary.deleted == 0
    assert set(lab.known()) == {"a/film.mkv", "a/film.nfo", "folder/film.mkv"}


def test_what_was_excluded_does_not_count_as_covered(lab: CatalogLab) -> None:
    """R-CAT-11"""
    for name in ("a/film.mkv", "a/film.nfo", "folder/film.mkv"):
        lab.write(name)
    lab.scan()
    lab.write("a/new.nfo")
    lab.scan(exclude=("*.nfo", "folder"))

    spot = lab.spot()
    coverage = lab.catalog.scans.coverage(spot.device.device_id, spot.place.relpath)
    top = len(spot.place.relpath) + 1
    assert [(path[top:], why) for path, why in coverage.gaps] == [
        ("a/film.nfo", EXCLUDED),
        ("folder", EXCLUDED),
    ]
    lab.scan()
    coverage = lab.catalog.scans.coverage(spot.device.device_id, spot.place.relpath)
    assert coverage.gaps == ()


def test_excluded_names_may_be_any_bytes(lab: CatalogLab) -> None:
    lab.write(os.fsdecode(b"caf\xe9\n.tmp"))
    lab.write("film.mkv")
    lab.scan(exclude=("caf*.tmp",))
    assert set(lab.known()) == {"film.mkv"}


# -- moves


def test_files_that_moved_with_their_folder_are_moves_and_are_not_read(lab: CatalogLab) -> None:
    for number in range(5):
        lab.write(f"old/deep/{number}.mkv", BIG + b"%d" % number)
    lab.write("old/gone.mkv")
    lab.scan()
    (lab.root / "old/gone.mkv").unlink()
    (lab.root / "old").rename(lab.root / "new")
    lab.write("new/fresh.mkv")

    with counted_reads() as reads:
        summary = lab.scan()

    assert reads.whole == ["fresh.mkv"]
    assert (summary.added, summary.moved, summary.deleted, summary.seen) == (1, 5, 1, 6)
    assert lab.known() == on_disk(lab.root)


def test_a_new_link_is_an_addition_and_no_move(lab: CatalogLab) -> None:
    film = lab.write("film.mkv", BIG)
    lab.scan()
    os.link(film, lab.root / "link.mkv")
    summary = lab.scan()
    assert (summary.added, summary.moved, summary.deleted) == (1, 0, 0)


# -- the command


def test_the_command_takes_modes_and_exclusions(lab: CatalogLab, tmp_path: Path) -> None:
    lab.write("one.mkv", BIG)
    lab.write("two.mkv", BIG)
    lab.write("x.nfo", b"x")
    db = tmp_path / "modes.db"

    code, out, _ = ended(
        start_hashall(
            *("scan", "--db", db, lab.root, "--hash-mode", "upgrade", "--low-priority"),
            *("--exclude", "*.nfo", "--exclude", "*.txt", "--workers", "1"),
        )
    )

    assert code == 0
    assert (
        "2 added, 0 changed, 0 unchanged, 0 moved, 0 deleted\n2 files hashed (390.6 KiB)\n" in out
    )
    assert "samples of 2 files read\n" in out
    assert f"skipped 1: {EXCLUDED}\n" in out


def test_a_second_scan_waits_when_it_is_told_to(lab: CatalogLab, tmp_path: Path) -> None:
    for number in range(30):
        lab.write(f"{number}.mkv", b"%d" % number)
    db = tmp_path / "shared.db"
    first = start_hashall("scan", "--db", db, lab.root, pause=0.1)
    while not db.exists():
        assert first.poll() is None

    second = start_hashall("scan", "--db", db, lab.root, "--wait", "--json")
    code, out, err = ended(second)

    assert code == 0
    assert first.poll() is not None  # it had ended before
    assert ended(first)[0] == 0
    assert err.startswith(f"waiting: process {first.pid} holds it since ")
    assert document(out, "scan")["unchanged"] == 30
