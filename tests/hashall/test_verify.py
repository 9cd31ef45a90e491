"""Reading again: bit rot is found, changes of people are not called that."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.support.catalog_lab import CatalogLab, settle
from tests.support.filesystems import ext4, lab_folder, mounted, run, tmpfs
from tests.support.linking import an_instance

from hashall import render_verify, verify
from hashall.catalog.lookups import Lookups
from hashall.catalog.verifications import VerificationTable
from hashall.hashing import ChangedWhileReading
from hashall.model import TorrentFileOnDisk
from hashall.verify import Damage, Options, Outcome, Verified
from seedkeep import clock
from seedkeep.errors import Misused

LATER = datetime(2031, 5, 1, tzinfo=UTC)


def again(
    lab: CatalogLab,
    *paths: Path,
    progress: Callable[[Verified], None] = lambda _: None,
    **options: Any,
) -> Verified:
    return verify.verify(lab.places(), paths, Options(**options), progress)


def rot(path: Path, content: bytes) -> None:
    """Write into a file and put its mtime back: all but the ctime looks as before."""
    seen = path.stat()
    with path.open("r+b") as file:
        file.write(content)
    os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns))


def test_files_that_are_as_they_were_are_counted_and_remembered(lab: CatalogLab) -> None:
    lab.write("a", b"12345")
    os.link(lab.write("b/c", b"123"), lab.root / "d")
    lab.write("empty", b"")
    lab.scan()

    result = again(lab)
    assert (result.read, result.bytes, result.same, result.damaged) == (2, 8, 2, [])
    n = lab.spot().device.device_id
    assert Lookups(lab.db, n).figures().verified_inodes == 2


def test_content_that_changed_under_the_same_size_and_mtime_is_damage(lab: CatalogLab) -> None:
    film = lab.write("film", b"film as it was")
    lab.write("copy", b"film as it was")
    lab.scan()
    rot(film, b"FILM")

    result = again(lab)
    (damage,) = result.damaged
    assert (damage.path, damage.outcome) == (str(film), Outcome.DAMAGED)
    assert damage.ctime_moved
    assert damage.good_copies == (str(lab.root / "copy"),)
    assert damage.found != damage.expected
    text = render_verify.verified(result)
    assert f"DAMAGED  {film}\n  its ctime moved" in text
    assert f"had the same content: {lab.root / 'copy'}" in text
    n = lab.spot().device.device_id
    assert Lookups(lab.db, n).figures().damaged_inodes == 1


def test_a_copy_that_is_damaged_too_is_no_good_copy(lab: CatalogLab) -> None:
    """Who restores one from the other has lost the content."""
    one, two = lab.write("one", b"film as it was"), lab.write("two", b"film as it was")
    good = lab.write("good", b"film as it was")
    lab.scan()
    rot(one, b"FILM")
    rot(two, b"FLIM")
    first, second = again(lab).damaged  # found in one run, before either was recorded
    assert {first.path, second.path} == {str(one), str(two)}
    assert first.good_copies == second.good_copies == (str(good),)
    (only,) = again(lab, one).damaged  # recorded by the run before
    assert only.good_copies == (str(good),)


def test_a_damaged_file_that_was_restored_and_scanned_is_as_good_as_any(lab: CatalogLab) -> None:
    """It has the hash again that it had, and the same inode."""
    film, copy = lab.write("film", b"film as it was"), lab.write("copy", b"film as it was")
    lab.scan()
    rot(film, b"FILM")
    assert len(again(lab).damaged) == 1
    film.write_bytes(b"film as it was")
    settle(film)
    lab.scan()
    spot = lab.spot(film)
    at, inode = spot.place, film.stat().st_ino
    seeded = TorrentFileOnDisk("film", 14, at.device_id, at.relpath, inode, sha256=hashed(copy))
    an_instance(lab.catalog, "a" * 40, [seeded])

    figures = Lookups(lab.db, spot.device.device_id).figures()
    assert (figures.damaged_inodes, figures.verified_inodes) == (0, 1)
    (group,) = lab.catalog.link_groups.groups(spot.device.device_id, min_size=1)
    assert [inode.damaged for inode in group.inodes] == [False, False]
    proofs = VerificationTable(lab.db).of_torrent("a" * 40)
    assert (proofs.files, proofs.proved, proofs.damaged) == (1, 0, 0)
    rot(copy, b"COPY")
    (damage,) = again(lab, copy).damaged
    assert damage.good_copies == (str(film),)


def hashed(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_rot_on_the_disk_below_the_filesystem_is_found_although_nothing_else_moved(
    lab: CatalogLab,
) -> None:
    """One byte is changed in the image file itself, behind the back of ext4."""
    content = b"seedkeep looks for these bytes in the image" * 100
    with lab_folder() as folder:
        with ext4(folder, name="first") as disk:
            image = next(folder.glob("*.img"))
            (disk / "film").write_bytes(content)
            os.utime(disk / "film", (1_000_000_000, 1_000_000_000))
            lab.scan(disk)
            run("umount", disk)
            raw = image.read_bytes()
            run("mount", "-o", "loop", image, disk)
        position = raw.index(content[:500])
        kept = folder / "kept.img"
        kept.write_bytes(raw[:position] + b"S" + raw[position + 1 :])
        with mounted(kept, folder / "first", options="loop") as disk:
            result = again(lab)
            (damage,) = result.damaged
            assert (damage.path, damage.ctime_moved) == (str(disk / "film"), False)
    text = render_verify.verified(result)
    assert "nobody wrote it: the disk gives other bytes than before" in text
    assert "no other file in the catalog had the same content" in text


def test_a_place_that_no_scan_has_seen_is_not_called_sound(lab: CatalogLab) -> None:
    """A timer with a wrong path would tell of no damage for ever."""
    lab.write("folder/file", b"12345")
    (lab.root / "empty").mkdir()
    lab.scan()
    new = lab.write("new/file", b"12345")
    for unknown in (new, new.parent):
        with pytest.raises(Misused, match=f"does not know {unknown}") as caught:
            again(lab, lab.root / "folder", unknown)
        assert caught.value.hint == f"hashall scan {new.parent}"
    assert again(lab, lab.root / "folder/file", lab.root / "empty").same == 1


def test_what_people_changed_is_left_to_the_next_scan(lab: CatalogLab) -> None:
    changed = lab.write("changed", b"before")
    gone = lab.write("gone", b"before")
    link = lab.write("link", b"before!")
    folder = lab.write("folder/file", b"more")
    lab.scan()
    changed.write_bytes(b"longer than before")
    gone.unlink()
    link.unlink()
    link.symlink_to(changed)
    folder.unlink()
    folder.parent.rmdir()
    folder.parent.write_bytes(b"a file now")

    result = again(lab)
    assert result.damaged == []
    assert sorted(result.changed) == [str(changed), str(link)]
    assert sorted(result.gone) == [str(folder), str(gone)]
    assert result.read == 0
    assert "changed since the scan; run `hashall scan`:" in render_verify.verified(result)


def test_a_file_that_is_written_to_meanwhile_is_not_called_damaged(
    lab: CatalogLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = lab.write("film", b"film")
    lab.scan()

    def written(*_: Any, **__: Any) -> None:
        raise ChangedWhileReading("written to")

    monkeypatch.setattr(verify, "hash_descriptor", written)
    assert again(lab).changed == [str(film)]


def test_a_file_that_the_disk_does_not_give_is_told(
    lab: CatalogLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = lab.write("film", b"film")
    lab.scan()

    def broken(*_: Any, **__: Any) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(verify, "hash_descriptor", broken)
    result = again(lab)
    assert result.unreadable == {str(film): "Input/output error"}
    monkeypatch.setattr(verify, "open_regular", broken)
    assert again(lab).unreadable == {str(film): "Input/output error"}
    assert "could not be read:" in render_verify.verified(result)


def test_a_budget_gets_around_although_a_disk_does_not_give_the_longest_unread(
    lab: CatalogLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = lab.write("lost", b"lost" * 10)
    lab.write("film", b"film")
    lab.scan()
    n = lab.spot().device.device_id
    lab.db.execute(
        f"UPDATE inodes_{n} SET hashed_at = '2026-01-01T00:00:00Z' WHERE inode = ?",
        (lost.stat().st_ino,),
    )
    usual = verify.open_regular

    def broken(path: str) -> int:
        if path == str(lost):
            raise OSError(5, "Input/output error")
        return usual(path)

    monkeypatch.setattr(verify, "open_regular", broken)
    for _ in range(2):  # every night
        result = again(lab, budget=40, workers=1)
        assert result.unreadable == {str(lost): "Input/output error"}
        assert (result.read, result.left) == (1, 0)


def test_two_readings_that_differ_point_at_the_machine(
    lab: CatalogLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.write("film", b"film")
    lab.scan()
    answers = iter(["1" * 64, "2" * 64])
    monkeypatch.setattr(verify, "_read", lambda *_: next(answers))

    result = again(lab)
    assert [damage.outcome for damage in result.damaged] == [Outcome.UNSTABLE]
    assert "suspect memory, cable or disk" in render_verify.verified(result)


def test_what_was_hashed_in_the_moment_of_its_change_is_not_judged(lab: CatalogLab) -> None:
    lab.write("young", b"young", settled=False)
    lab.scan()
    n = lab.spot().device.device_id
    lab.db.execute(f"UPDATE inodes_{n} SET racy = 1")
    assert again(lab).read == 0


def test_the_longest_unread_is_read_first_and_a_budget_ends_it(lab: CatalogLab) -> None:
    for name in "abcd":
        lab.write(name, name.encode() * 10)
    lab.scan()
    n = lab.spot().device.device_id
    for day, name in enumerate("cadb", 1):
        inode = (lab.root / name).stat().st_ino
        lab.db.execute(
            f"UPDATE inodes_{n} SET hashed_at = ? WHERE inode = ?",
            (f"2026-01-0{day}T00:00:00Z", inode),
        )

    result = again(lab, budget=11, workers=1)
    assert (result.read, result.left, result.left_bytes) == (2, 2, 20)
    assert "2 files (20 B) left for another time" in render_verify.verified(result)
    assert verified_names(lab) == {"c", "a"}
    # The same command goes on; then it begins from the start.
    assert again(lab, budget=1, workers=1).read == 1
    assert verified_names(lab) == {"c", "a", "d"}
    assert again(lab, budget=100, workers=1).read == 4


def verified_names(lab: CatalogLab) -> set[str]:
    inodes = {inode for (inode,) in lab.db.tuples("SELECT inode FROM verifications")}
    return {path.name for path in lab.root.iterdir() if path.stat().st_ino in inodes}


def test_only_what_is_old_enough_is_read(lab: CatalogLab) -> None:
    lab.write("a", b"a")
    lab.scan()
    assert again(lab, older_than=timedelta(days=90)).read == 0
    with clock.using(now=lambda: LATER):
        assert again(lab, older_than=timedelta(days=90)).read == 1
        assert again(lab, older_than=timedelta(days=90)).read == 0


def test_only_what_is_below_the_named_paths_is_read(lab: CatalogLab) -> None:
    odd = os.fsdecode(b"\xff")
    for name in ("a/1", "a/b/2", "ab/3", f"{odd}/4", f"5{odd}"):
        lab.write(name, name.encode("utf-8", "surrogateescape"))
    lab.scan()

    assert again(lab, lab.root / "a").read == 2
    assert again(lab, lab.root / odd, lab.root / f"5{odd}").read == 2
    assert again(lab, lab.root / "ab/3").read == 1
    assert again(lab, lab.root).read == 5


def test_filesystems_that_are_not_mounted_wait(lab: CatalogLab) -> None:
    with lab_folder() as folder, tmpfs(folder / "pool") as pool:
        (pool / "film").write_bytes(b"film")
        os.utime(pool / "film", (1_000_000_000, 1_000_000_000))
        lab.scan(pool)
    result = again(lab)
    assert (result.read, result.not_mounted) == (0, 1)
    assert "1 file on filesystems that are not mounted" in render_verify.verified(result)


def test_ctrl_c_keeps_what_was_read(lab: CatalogLab) -> None:
    for number in range(20):
        lab.write(f"{number}", b"%d" % number)
    lab.scan()

    def stop(result: Verified) -> None:
        if result.read >= 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        again(lab, progress=stop)
    assert 5 <= len(verified_names(lab)) < 20
    assert again(lab, budget=1).read == 1


def test_a_new_hash_makes_an_old_reading_history(lab: CatalogLab) -> None:
    film = lab.write("film", b"film")
    lab.scan()
    rot(film, b"FILM")
    assert again(lab).damaged != []
    lab.write("film", b"another film")
    lab.scan()
    n = lab.spot().device.device_id
    assert Lookups(lab.db, n).figures().damaged_inodes == 0


def test_long_lists_are_cut() -> None:
    text = render_verify.verified(Verified(changed=[f"/{n:02}" for n in range(30)]))
    assert "  /19\n  … and 10 more (--json lists all)" in text
    damage = Damage("/x\n", Outcome.DAMAGED, "a", "b", ctime_moved=False, good_copies=())
    assert "DAMAGED  /x\\n\n" in render_verify.verified(Verified(damaged=[damage]))


def test_results_are_written_while_it_runs(
    lab: CatalogLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "SECONDS_PER_COMMIT", 0.0)
    lab.write("a", b"a")
    lab.write("b", b"b")
    lab.scan()
    seen: list[int] = []
    again(lab, workers=1, progress=lambda _: seen.append(len(verified_names(lab))))
    assert seen[0] > 0
