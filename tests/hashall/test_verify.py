"""Reading again: bit rot is found, changes of people are not called that."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from datetime import UTC, datetime, timedelta
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
from tests.support.catalog_lab import CatalogLab, settle
from tests.support.filesystems import (
    bind,
    ext4,
    file_in,
    lab_folder,
    mounted,
    run,
    shut_down,
    tmpfs,
    xfs,
)
from tests.support.linking import an_instance

from hashall import failing_disks, render_verify, verify
from hashall.catalog.lookups import Lookups
from hashall.catalog.verifications import VerificationTable
from hashall.cli import cli
from hashall.hashing import ChangedWhileReading
from hashall.model import TorrentFileOnDisk
from hashall.verify import Damage, Options, Outcome, Verified
from seedkeep import clock, console
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


def test_a_path_that_cannot_be_looked_at_keeps_no_other_from_being_read(lab: CatalogLab) -> None:
    """A timer names several disks, and one of them is not mounted tonight."""
    lab.write("folder/film", b"12345")
    lab.scan()
    missing, loop = lab.folder / "missing", lab.root / "loop"
    loop.symlink_to("loop")
    result = again(lab, missing, lab.root / "folder", loop)
    assert (result.read, result.unreadable) == (
        1,
        {
            str(missing): "No such file or directory",
            str(loop): "Too many levels of symbolic links",
        },
    )
    assert again(lab, loop).unreadable.keys() == {str(loop)}
    with pytest.raises(Misused, match=f"cannot look at {missing}"):
        again(lab, missing, lab.folder / "also missing")


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


def aged(lab: CatalogLab, *names: str) -> None:
    """Have the files been hashed one day after the other, in this order."""
    n = lab.spot().device.device_id
    for day, name in enumerate(names, 1):
        lab.db.execute(
            f"UPDATE inodes_{n} SET hashed_at = ? WHERE inode = ?",
            (f"2026-01-{day:02}T00:00:00Z", (lab.root / name).stat().st_ino),
        )


def lose(
    monkeypatch: pytest.MonkeyPatch,
    lost: Callable[[Path], bool],
    code: int = errno.EIO,
    before: Callable[[], None] = lambda: None,
) -> None:
    """Have the opening of these files fail, after something else happened."""
    usual = verify.open_regular

    def broken(path: str) -> int:
        if lost(Path(path)):
            before()
            raise OSError(code, os.strerror(code))
        return usual(path)

    monkeypatch.setattr(verify, "open_regular", broken)


def test_what_a_disk_does_not_give_uses_up_the_budget_and_waits_for_its_turn_then(
    lab: CatalogLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a dying disk would be asked all night, or the rest of it never."""
    lost = lab.write("lost", b"lost" * 10)
    lab.write("film", b"film")
    lab.scan()
    aged(lab, "lost", "film")
    lose(monkeypatch, lambda path: path == lost)
    reason = {str(lost): "Input/output error"}

    first = again(lab, budget=40, workers=1)
    assert (first.unreadable, first.read, first.left) == (reason, 0, 1)
    second = again(lab, budget=4, workers=1)
    assert (second.unreadable, second.read, second.left) == ({}, 1, 1)
    third = again(lab, budget=40, workers=1)
    assert (third.unreadable, third.read, third.left) == (reason, 0, 1)


@pytest.mark.parametrize("code", [errno.EACCES, errno.EMFILE, errno.ENOMEM, errno.EAGAIN])
def test_what_this_process_may_not_read_costs_no_budget_and_says_nothing_of_the_disk(
    lab: CatalogLab, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    closed = lab.write("closed", b"closed" * 10)
    lab.write("film", b"film")
    lab.scan()
    aged(lab, "closed", "film")
    assert again(lab).read == 2
    lose(monkeypatch, lambda path: path == closed, code)
    monkeypatch.setattr(failing_disks, "FAILURES_IN_A_ROW", 1)

    result = again(lab, budget=60, workers=1)
    assert result.unreadable == {str(closed): os.strerror(code)}
    assert (result.read, result.given_up) == (1, [])
    assert verified_names(lab) == {"closed", "film"}


def test_a_disk_that_fails_again_and_again_is_left_alone(
    lab: CatalogLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failing_disks, "FAILURES_IN_A_ROW", 3)
    with lab_folder() as folder, tmpfs(folder / "pool") as pool:
        for number in range(20):
            file_in(pool, f"{number}")
            os.utime(pool / f"{number}", (1_000_000_000, 1_000_000_000))
        lab.write("film", b"film")
        lab.scan(pool, lab.root)
        device = lab.spot(pool).device.device_id
        lose(monkeypatch, lambda path: path.is_relative_to(pool))
        result = again(lab, workers=1)

    (lost,) = result.given_up
    assert (lost.device, lost.why) == (str(device), "Input/output error")
    assert 3 <= lost.failed <= 5  # what was begun when the third failed is waited for
    assert (lost.failed + lost.left, lost.left_bytes) == (20, 5 * lost.left)
    assert (result.read, result.left, len(result.unreadable)) == (1, 0, lost.failed)
    text = render_verify.verified(result)
    assert f"GAVE UP  device {device}: {lost.failed} files could not be read" in text
    assert f"{lost.left} files ({5 * lost.left} B) not tried" in text


def test_a_disk_that_takes_long_to_fail_is_left_alone_sooner(
    lab: CatalogLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(20):
        lab.write(f"{number}", b"%d" % number)
    lab.scan()
    passed = [0.0]

    def wait() -> None:
        passed[0] += 400

    lose(monkeypatch, lambda _: True, before=wait)
    with clock.using(monotonic=lambda: passed[0]):
        result = again(lab, workers=1)
    (lost,) = result.given_up
    assert 2 <= lost.failed <= 4
    assert lost.seconds >= failing_disks.SECONDS_LOST
    assert "which took" in render_verify.verified(result)


def test_one_bad_place_at_the_end_of_a_file_that_took_long_to_read_gives_no_disk_up(
    lab: CatalogLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was read until then was no time lost."""
    large = lab.write("large", b"large" * 10)
    lab.write("film", b"film")
    lab.scan()
    aged(lab, "large", "film")
    passed, usual = [0.0], verify.hash_descriptor

    def read(fd: int, path: str, *, progress: Callable[[int], None], **rest: Any) -> Any:
        if path != str(large):
            return usual(fd, path, progress=progress, **rest)
        passed[0] += 2 * failing_disks.SECONDS_LOST
        progress(40)
        passed[0] += 5
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(verify, "hash_descriptor", read)
    with clock.using(monotonic=lambda: passed[0]):
        result = again(lab, workers=1)
    assert result.unreadable == {str(large): "Input/output error"}
    assert (result.read, result.given_up) == (1, [])


def test_a_disk_with_bad_places_is_read_to_its_end(
    lab: CatalogLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"{number:02}" for number in range(12)]
    for name in names:
        lab.write(name, name.encode())
    lab.scan()
    aged(lab, *names)
    monkeypatch.setattr(failing_disks, "FAILURES_IN_A_ROW", 3)
    every_other = cycle([True, False])  # in whichever order: that of inodes is not that of names
    lose(monkeypatch, lambda _: next(every_other))
    result = again(lab, workers=1)
    assert (result.read, len(result.unreadable), result.given_up) == (6, 6, [])


@pytest.mark.root
@pytest.mark.parametrize("make", [ext4, xfs])
def test_a_real_filesystem_whose_disk_is_gone_is_given_up_and_not_called_unmounted(
    lab: CatalogLab, monkeypatch: pytest.MonkeyPatch, make: Callable[..., Any]
) -> None:
    monkeypatch.setattr(failing_disks, "FAILURES_IN_A_ROW", 2)
    with lab_folder() as folder, make(folder, name="disk") as disk:
        for number in range(8):
            file_in(disk, f"{number}")
            os.utime(disk / f"{number}", (1_000_000_000, 1_000_000_000))
        lab.scan(disk)
        shut_down(disk)
        result = again(lab, workers=1)
        (lost,) = result.given_up
        assert (lost.failed + lost.left, lost.why) == (8, "Input/output error")
        assert (result.read, result.gone, result.not_mounted) == (0, [], 0)
        assert "GAVE UP" in render_verify.verified(result)
        assert console.run(cli, ["verify", "--db", str(lab.db_path)], "hashall") == 4


def test_what_a_disk_does_not_give_is_no_longer_proved_and_no_good_copy(
    lab: CatalogLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    film, copy = lab.write("film", b"film as it was"), lab.write("copy", b"film as it was")
    lab.scan()
    assert again(lab).same == 2
    rot(film, b"FILM")
    lose(monkeypatch, lambda path: path == copy)
    (damage,) = again(lab).damaged
    assert damage.good_copies == ()
    n = lab.spot().device.device_id
    figures = Lookups(lab.db, n).figures()
    assert (figures.verified_inodes, figures.damaged_inodes) == (0, 1)

    lose(monkeypatch, lambda path: path == film)
    monkeypatch.setattr(verify, "is_in_use", lambda path: path != str(film))
    assert again(lab).unreadable == {str(film): "Input/output error"}
    assert Lookups(lab.db, n).figures().damaged_inodes == 1  # that was seen, and holds


def test_bad_pieces_of_a_file_do_not_make_it_one_that_its_disk_gave(
    lab: CatalogLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    film, copy = lab.write("film", b"film as it was"), lab.write("copy", b"film as it was")
    lab.scan()
    lose(monkeypatch, lambda path: path == copy)
    again(lab, copy)
    device = lab.spot(copy).device.device_id
    VerificationTable(lab.db).withdraw([(device, copy.stat().st_ino)])  # as `payload verify` does
    rot(film, b"FILM")
    (damage,) = again(lab, film).damaged
    assert damage.good_copies == ()


@pytest.mark.root
@pytest.mark.parametrize("elsewhere_too", [False, True])
def test_an_unmount_meanwhile_makes_no_file_gone(
    lab: CatalogLab, monkeypatch: pytest.MonkeyPatch, elsewhere_too: bool
) -> None:
    with ExitStack() as stack:
        folder = stack.enter_context(lab_folder())
        pool = stack.enter_context(tmpfs(folder / "pool"))
        if elsewhere_too:
            stack.enter_context(bind(pool, folder / "second"))
        for number in range(5):
            file_in(pool, f"{number}")
            os.utime(pool / f"{number}", (1_000_000_000, 1_000_000_000))
        lab.scan(pool)
        usual = verify.open_regular

        def unmounted(path: str) -> int:
            run("umount", "-l", pool)
            monkeypatch.setattr(verify, "open_regular", usual)
            return usual(path)

        monkeypatch.setattr(verify, "open_regular", unmounted)
        result = again(lab, workers=1)
    assert (result.gone, result.not_mounted) == ([], 5)


# -- clocks


def test_damage_that_is_found_while_the_clock_is_back_is_not_taken_for_repaired(
    lab: CatalogLab,
) -> None:
    """After a start without a battery it is 1970 until the network is there."""
    film = lab.write("film", b"film as it was")
    lab.write("copy", b"film as it was")
    lab.scan()
    rot(film, b"FILM")
    with clock.using(now=lambda: datetime(1970, 1, 1, tzinfo=UTC)):
        assert len(again(lab).damaged) == 1
    spot = lab.spot(film)
    n = spot.device.device_id
    assert Lookups(lab.db, n).figures().damaged_inodes == 1
    (group,) = lab.catalog.link_groups.groups(n, min_size=1)
    assert sorted(inode.damaged for inode in group.inodes) == [False, True]
    rot(lab.root / "copy", b"COPY")
    (damage,) = again(lab, lab.root / "copy").damaged
    assert damage.good_copies == ()


def test_a_file_that_was_restored_stays_so_when_its_disk_does_not_give_it(
    lab: CatalogLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = lab.write("film", b"film")
    lab.scan()
    rot(film, b"FILM")
    assert again(lab).damaged
    film.write_bytes(b"film")
    settle(film, seconds_ago=50)
    lab.scan()
    n = lab.spot(film).device.device_id
    assert Lookups(lab.db, n).figures().damaged_inodes == 0
    lose(monkeypatch, lambda path: path == film)
    assert again(lab).unreadable
    assert Lookups(lab.db, n).figures().damaged_inodes == 0


def test_what_was_hashed_under_a_clock_ahead_is_due_all_the_same(lab: CatalogLab) -> None:
    lab.write("film", b"film")
    with clock.using(now=lambda: LATER):
        lab.scan()
    assert again(lab, older_than=timedelta(days=90)).read == 1
    assert again(lab, older_than=timedelta(days=90)).read == 0


@pytest.mark.parametrize("hashed_ahead", [False, True])
def test_what_a_disk_did_not_give_under_a_clock_ahead_is_not_last_for_ever(
    lab: CatalogLab, monkeypatch: pytest.MonkeyPatch, hashed_ahead: bool
) -> None:
    lost = lab.write("lost", b"lost")
    lab.write("film", b"film")
    ahead = clock.using(now=lambda: LATER)
    with ahead if hashed_ahead else nullcontext():
        lab.scan()
    with monkeypatch.context() as patch, clock.using(now=lambda: LATER):
        lose(patch, lambda path: path == lost)
        again(lab, workers=1)

    lose(monkeypatch, lambda path: path == lost)
    nights = [again(lab, budget=4, workers=1) for _ in range(4)]
    assert [len(night.unreadable) for night in nights].count(1) == 2
    assert [night.read for night in nights].count(1) == 2  # and the others have their turn, too


@pytest.mark.parametrize("damaged", [False, True])
def test_a_hash_of_the_future_puts_no_file_first_for_ever(
    lab: CatalogLab, monkeypatch: pytest.MonkeyPatch, damaged: bool
) -> None:
    """One that is damaged, or that its disk does not give, would use up the budget each night."""
    odd, film = lab.write("odd", b"odd!"), lab.write("film", b"film")
    with clock.using(now=lambda: LATER):
        lab.scan()
    if damaged:
        rot(odd, b"ODD!")
    else:
        lose(monkeypatch, lambda path: path == odd)
    nights = [again(lab, budget=4, workers=1) for _ in range(4)]
    of_odd = [bool(night.damaged or night.unreadable) for night in nights]
    assert of_odd in ([True, False, True, False], [False, True, False, True])
    assert film.stat().st_ino in {
        row[0] for row in lab.db.tuples("SELECT inode FROM verifications")
    }
    n = lab.spot(odd).device.device_id
    assert Lookups(lab.db, n).figures().damaged_inodes == damaged


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


def slow(monkeypatch: pytest.MonkeyPatch, seconds: float) -> list[float]:
    """Have each file take so long; returns the clock."""
    passed, usual = [0.0], verify.hash_descriptor

    def read(*arguments: Any, **options: Any) -> Any:
        passed[0] += seconds
        return usual(*arguments, **options)

    monkeypatch.setattr(verify, "hash_descriptor", read)
    return passed


@pytest.mark.parametrize("workers", [1, 3])
def test_a_time_budget_ends_it_between_two_files_and_the_next_run_goes_on(
    lab: CatalogLab, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    names = [f"{number:02}" for number in range(20)]
    for name in names:
        lab.write(name, name.encode())
    lab.scan()
    aged(lab, *names)
    passed = slow(monkeypatch, 60)
    with clock.using(monotonic=lambda: passed[0]):
        first = again(lab, time_budget=timedelta(minutes=5), workers=workers)
        # What had been begun is read to its end; what only waited for a thread is left.
        assert 5 <= first.read < 5 + workers
        assert (first.read + first.left, first.left_bytes) == (20, 2 * first.left)
        assert verified_names(lab) == {*names[: first.read]}
        assert f"{first.left} files" in render_verify.verified(first)
        second = again(lab, time_budget=timedelta(minutes=5), workers=workers)
    assert verified_names(lab) == {*names[: first.read + second.read]}


def test_a_time_budget_that_is_over_at_once_reads_a_file_all_the_same(
    lab: CatalogLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or it would never get around."""
    for name in "abc":
        lab.write(name, name.encode())
    lab.scan()
    passed = slow(monkeypatch, 60)
    with clock.using(monotonic=lambda: passed[0]):
        result = again(lab, time_budget=timedelta(0))
    assert (result.read, result.left) == (1, 2)


def test_files_that_people_changed_do_not_make_a_time_budget_longer(
    lab: CatalogLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(9):
        lab.write(f"{number}", b"%d" % number)
    lab.scan()
    usual, passed = verify.open_regular, [0.0]

    def changed(path: str) -> int:
        passed[0] += 60
        Path(path).write_bytes(b"longer")
        return usual(path)

    monkeypatch.setattr(verify, "open_regular", changed)
    with clock.using(monotonic=lambda: passed[0]):
        result = again(lab, time_budget=timedelta(0), workers=1)
    assert (len(result.changed), result.left) == (1, 8)


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
