from __future__ import annotations

import errno
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.filesystems import bind, lab_folder, tmpfs, two_sides
from tests.support.kill_points import changes_of, failing, killed_at, without_noreplace
from tests.support.tree_snapshot import files_in, snapshot

from hashall.fsops import (
    PREFIX,
    CannotChange,
    LostFile,
    NotRegular,
    OtherFilesystem,
    TargetOccupied,
    TooManyLinks,
    UnsafePath,
    move_files,
    remove_empty_dirs,
)

NAMES = ["Film/a.mkv", "Film/Subs/a.srt", "Film/Subs/b.srt", "single.mkv"]


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A root with the files of NAMES, each unlike the others."""
    root = tmp_path / "old"
    for number, name in enumerate(NAMES):
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(name.encode())
        file.chmod(0o600 + number)
        os.utime(file, ns=(number, 10**18 + number))
    return root


@pytest.fixture
def new(tmp_path: Path) -> Path:
    root = tmp_path / "new"
    root.mkdir()
    return root


@pytest.fixture(params=["renameat2", "link and unlink"])
def either_way(request: pytest.FixtureRequest) -> Iterator[None]:
    """With RENAME_NOREPLACE, and as on filesystems that do not know it."""
    with ExitStack() as stack:
        if request.param != "renameat2":
            stack.enter_context(without_noreplace())
        yield


@pytest.mark.usefixtures("either_way")
def test_files_keep_everything_but_their_place(old: Path, new: Path) -> None:
    before = files_in(old)

    move_files(old, new, NAMES)

    assert files_in(new) == before
    assert files_in(old) == {}


@pytest.mark.usefixtures("either_way")
def test_moving_twice_is_moving_once(old: Path, new: Path) -> None:
    move_files(old, new, NAMES)
    before = snapshot(new.parent)

    move_files(old, new, NAMES)

    assert snapshot(new.parent) == before


@pytest.mark.usefixtures("either_way")
def test_swapped_roots_take_everything_back(old: Path, new: Path) -> None:
    before = snapshot(old)

    move_files(old, new, NAMES)
    move_files(new, old, NAMES)

    assert snapshot(old) == before
    assert files_in(new) == {}


def test_new_directories_are_like_the_old_ones(old: Path, new: Path) -> None:
    (old / "Film").chmod(0o2750)
    os.chown(old / "Film", 1234, 2345)
    os.utime(old / "Film" / "Subs", ns=(5, 10**18))
    os.utime(old / "Film", ns=(5, 2 * 10**18))

    move_files(old, new, NAMES)

    film = (new / "Film").stat()
    assert stat.S_IMODE(film.st_mode) == 0o2750
    assert (film.st_uid, film.st_gid) == (1234, 2345)
    assert film.st_mtime_ns == 2 * 10**18
    assert (new / "Film" / "Subs").stat().st_mtime_ns == 10**18


def test_directories_that_were_there_keep_their_mode(old: Path, new: Path) -> None:
    (new / "Film").mkdir(mode=0o711)

    move_files(old, new, NAMES)

    assert stat.S_IMODE((new / "Film").stat().st_mode) == 0o711


def test_taking_back_makes_directories_that_were_removed_since(old: Path, new: Path) -> None:
    (old / "Film" / "Subs").chmod(0o750)
    before = snapshot(old)
    move_files(old, new, NAMES)
    remove_empty_dirs(old, NAMES)

    move_files(new, old, NAMES)

    assert snapshot(old) == before


def test_taking_back_a_move_that_never_began_changes_nothing(old: Path, new: Path) -> None:
    before = snapshot(old.parent)

    move_files(new, old, NAMES)
    move_files(new / "never made", old, NAMES)

    assert snapshot(old.parent) == before


@pytest.mark.usefixtures("either_way")
def test_a_name_on_both_sides_stops_the_move_before_it_begins(old: Path, new: Path) -> None:
    (new / "Film" / "Subs").mkdir(parents=True)
    (new / "Film" / "Subs" / "b.srt").write_bytes(b"somebody's")
    before = snapshot(old.parent)

    with pytest.raises(TargetOccupied, match=r"b\.srt"):
        move_files(old, new, NAMES)
    assert snapshot(old.parent) == before


@pytest.mark.usefixtures("either_way")
def test_two_names_that_the_user_gave_one_file_never_become_one(old: Path, new: Path) -> None:
    (new / "single.mkv").hardlink_to(old / "single.mkv")
    before = snapshot(old.parent)

    with pytest.raises(TargetOccupied):
        move_files(old, new, ["single.mkv"])
    assert snapshot(old.parent) == before


@pytest.mark.usefixtures("either_way")
def test_a_file_that_appears_at_the_last_moment_is_not_replaced(
    old: Path, new: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (new / "Film").mkdir()
    real = os.mkdir

    def newcomer(*args: object, **named: object) -> None:
        (new / "Film" / "a.mkv").write_bytes(b"newcomer")  # after the survey, before the rename
        real(*args, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "mkdir", newcomer)

    with pytest.raises(TargetOccupied):
        move_files(old, new, ["Film/Subs/a.srt", "Film/a.mkv"])
    assert (new / "Film" / "a.mkv").read_bytes() == b"newcomer"
    assert (old / "Film" / "a.mkv").read_bytes() == b"Film/a.mkv"
    assert not list(old.parent.rglob(f"{PREFIX}*"))


def test_a_file_on_neither_side_stops_the_move_before_it_begins(old: Path, new: Path) -> None:
    (old / "single.mkv").unlink()
    before = snapshot(old.parent)

    with pytest.raises(LostFile, match="neither"):
        move_files(old, new, NAMES)
    assert snapshot(old.parent) == before


@pytest.mark.parametrize("side", ["old", "new"])
@pytest.mark.parametrize("kind", ["symlink", "directory", "fifo"])
def test_only_regular_files_are_moved(old: Path, new: Path, side: str, kind: str) -> None:
    (old / "single.mkv").unlink()
    planted = (old if side == "old" else new) / "single.mkv"
    if kind == "symlink":
        planted.symlink_to(old / "Film" / "a.mkv")
    elif kind == "directory":
        planted.mkdir()
    else:
        os.mkfifo(planted)
    before = snapshot(old.parent)

    with pytest.raises(NotRegular, match=r"single\.mkv"):
        move_files(old, new, NAMES)
    assert snapshot(old.parent) == before


@pytest.mark.parametrize(
    "name",
    ["", "/etc/passwd", "../up", "a/../../up", "a//b", "a/", "./a", "nul\0", "/".join("d" * 257)],
)
def test_names_that_could_leave_the_root_are_refused(old: Path, new: Path, name: str) -> None:
    before = snapshot(old.parent)

    with pytest.raises(UnsafePath):
        move_files(old, new, ["single.mkv", name])
    assert snapshot(old.parent) == before


@pytest.mark.parametrize("side", ["old", "new"])
def test_a_planted_symlink_on_the_way_is_not_followed(old: Path, new: Path, side: str) -> None:
    outside = old.parent / "outside"
    (outside / "Subs").mkdir(parents=True)
    if side == "old":
        (old / "Film").rename(old.parent / "taken")
        (outside / "a.mkv").write_bytes(b"not the torrent's")
        (old / "Film").symlink_to(outside)
    else:
        (new / "Film").symlink_to(outside)
    before = snapshot(old.parent)

    with pytest.raises(UnsafePath, match="in the way"):
        move_files(old, new, ["Film/a.mkv"])
    assert snapshot(old.parent) == before


def test_a_symlink_planted_between_check_and_move_is_not_followed(
    old: Path, new: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = old.parent / "outside"
    outside.mkdir()
    real = os.mkdir

    def plant(name: str, mode: int, *, dir_fd: int) -> None:
        (new / "Film").symlink_to(outside)
        real(name, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "mkdir", plant)

    with pytest.raises(UnsafePath):
        move_files(old, new, ["Film/a.mkv"])
    assert list(outside.iterdir()) == []
    assert (old / "Film" / "a.mkv").exists()


def test_roots_may_be_symlinks_since_they_are_the_users_own(old: Path, new: Path) -> None:
    (old.parent / "way").symlink_to(new)

    move_files(old, old.parent / "way", NAMES)

    assert (new / "Film" / "a.mkv").exists()


def test_a_target_root_that_is_missing_is_told_in_words(old: Path, new: Path) -> None:
    with pytest.raises(CannotChange, match="missing"):
        move_files(old, new / "none", NAMES)


def test_another_filesystem_is_refused_before_anything_moves(old: Path) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        before = snapshot(old)

        with pytest.raises(OtherFilesystem, match="another filesystem"):
            move_files(old, Path(name), NAMES)
        assert snapshot(old) == before
        assert snapshot(Path(name)) == {}


@pytest.mark.root
@pytest.mark.parametrize("kind", ["a nested filesystem", "a bind mount of the same one"])
def test_a_mount_on_the_way_is_refused_before_anything_moves(kind: str) -> None:
    with lab_folder() as lab, ExitStack() as stack:
        old, new, other = lab / "old", lab / "new", lab / "other"
        for folder in (old / "Film", new / "Film", other):
            folder.mkdir(parents=True)
        for name in ("0.mkv", "Film/a.mkv"):
            (old / name).write_bytes(b"film")
        mount = tmpfs(new / "Film") if "nested" in kind else bind(other, new / "Film")
        stack.enter_context(mount)
        before = snapshot(lab)

        with pytest.raises(OtherFilesystem):
            move_files(old, new, ["0.mkv", "Film/a.mkv"])
        assert snapshot(lab) == before


def test_without_proc_the_device_number_alone_decides(
    old: Path, new: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", missing)

    move_files(old, new, NAMES)

    assert (new / "single.mkv").exists()


@pytest.mark.parametrize(
    "name",
    ["n" * 255, f"{'d' * 255}/{'n' * 255}", "line\nbreak", os.fsdecode(b"caf\xe9/\xff"), "-rf"],
)
@pytest.mark.usefixtures("either_way")
def test_every_name_that_linux_allows_can_be_moved(old: Path, new: Path, name: str) -> None:
    (old / name).parent.mkdir(exist_ok=True)
    (old / name).write_bytes(b"film")

    move_files(old, new, [name])
    assert (new / name).read_bytes() == b"film"

    move_files(new, old, [name])
    assert (old / name).read_bytes() == b"film"


def test_names_are_printable_in_errors(old: Path, new: Path) -> None:
    with pytest.raises(LostFile) as told:
        move_files(old, new, [os.fsdecode(b"caf\xe9\n\x1b[31m")])
    assert told.value.brief.isprintable()
    assert str(told.value).encode()


@pytest.mark.parametrize(
    ("code", "error", "words"),
    [
        (errno.EACCES, CannotChange, "permission denied"),
        (errno.EPERM, CannotChange, "immutable"),
        (errno.EROFS, CannotChange, "read-only"),
        (errno.EXDEV, OtherFilesystem, "one filesystem"),
    ],
)
def test_a_failed_rename_says_why_and_names_the_file(
    old: Path, new: Path, code: int, error: type[Exception], words: str
) -> None:
    with failing("renameat2", code, at=2), pytest.raises(error, match=words) as told:
        move_files(old, new, NAMES)
    assert "b.srt" in str(told.value)


def test_a_file_that_cannot_be_linked_keeps_its_one_name(old: Path, new: Path) -> None:
    before = files_in(old)

    with without_noreplace(), failing("link", errno.EMLINK, at=1), pytest.raises(TooManyLinks):
        move_files(old, new, NAMES)
    assert files_in(old) == before


def test_an_immutable_file_is_told_and_the_rest_can_be_taken_back(old: Path, new: Path) -> None:
    before = snapshot(old)
    with failing("renameat2", errno.EPERM, at=3), pytest.raises(CannotChange):
        move_files(old, new, NAMES)

    move_files(new, old, NAMES)

    assert snapshot(old) == before


@pytest.mark.usefixtures("either_way")
def test_killed_before_any_change_a_move_can_be_repeated_or_taken_back(
    old: Path, new: Path
) -> None:
    (old / "Film").chmod(0o750)
    before, wanted = snapshot(old), files_in(old)
    kills = 0
    while killed_at(kills, lambda: move_files(old, new, NAMES)):
        move_files(old, new, NAMES)
        assert files_in(new) == wanted
        assert files_in(old) == {}
        assert stat.S_IMODE((new / "Film").stat().st_mode) == 0o750
        move_files(new, old, NAMES)
        remove_empty_dirs(new, NAMES)

        assert killed_at(kills, lambda: move_files(old, new, NAMES))
        move_files(new, old, NAMES)
        remove_empty_dirs(new, NAMES)
        assert snapshot(old) == before
        assert snapshot(new) == {}
        kills += 1
    assert kills >= 20


@pytest.mark.usefixtures("either_way")
def test_a_rollback_that_is_killed_too_can_go_either_way(old: Path, new: Path) -> None:
    names = ["Film/a.mkv"]
    before, wanted = files_in(old), files_in(old / "Film")

    def rewind() -> None:
        move_files(new, old, NAMES)
        remove_empty_dirs(new, NAMES)

    for first in range(len(changes_of(lambda: move_files(old, new, names)))):
        rewind()
        second = 0
        while True:
            assert killed_at(first, lambda: move_files(old, new, names))
            if not killed_at(second, lambda: move_files(new, old, names)):
                break
            move_files(old, new, names)
            assert files_in(new / "Film")["a.mkv"] == wanted["a.mkv"]
            rewind()
            assert files_in(old) == before
            second += 1


def test_a_newcomer_during_an_interrupted_move_costs_no_file(old: Path, new: Path) -> None:
    with without_noreplace():
        # link, link, unlink: now only the temporary and the new name exist.
        calls = changes_of(lambda: move_files(old, new, ["single.mkv"]))
        assert calls[:5] == ["renameat2", "link", "link", "unlink", "unlink"]
        move_files(new, old, ["single.mkv"])
        assert killed_at(4, lambda: move_files(old, new, ["single.mkv"]))
        (old / "single.mkv").write_bytes(b"newcomer")

        with pytest.raises(TargetOccupied):
            move_files(old, new, ["single.mkv"])

    assert (old / "single.mkv").read_bytes() == b"newcomer"
    assert (new / "single.mkv").read_bytes() == b"single.mkv"


def test_the_last_name_of_a_file_is_never_removed_even_if_it_is_a_temporary_one(
    old: Path, new: Path
) -> None:
    with without_noreplace():
        assert killed_at(4, lambda: move_files(old, new, ["single.mkv"]))
        (new / "single.mkv").unlink()  # by somebody
        assert not (old / "single.mkv").exists()

        move_files(old, new, ["single.mkv"])

    assert (new / "single.mkv").read_bytes() == b"single.mkv"
    assert not list(old.parent.rglob(f"{PREFIX}*"))


def test_every_directory_is_saved_once_at_the_end_target_first(
    old: Path, new: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("Film", "Film/Subs"):
        (new / folder).mkdir()
    saved: list[str] = []
    real = os.fsync

    def fsync(fd: int) -> None:
        saved.append(os.readlink(f"/proc/self/fd/{fd}").removeprefix(f"{old.parent}/"))
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    moved = changes_of(lambda: move_files(old, new, NAMES))

    assert saved == ["new/Film/Subs", "new/Film", "new", "old/Film/Subs", "old/Film", "old"]
    assert moved[-6:] == ["fsync"] * 6
    assert moved.count("renameat2") == len(NAMES)

    saved.clear()
    move_files(old, new, NAMES)  # nothing to move; the killed run may not have saved
    assert len(saved) == 6


def test_a_filesystem_that_cannot_save_directories_is_accepted(old: Path, new: Path) -> None:
    with failing("fsync", errno.EINVAL, times=100):
        move_files(old, new, NAMES)
    with failing("fsync", errno.EIO), pytest.raises(CannotChange, match="disk failed"):
        move_files(new, old, NAMES)


def test_a_missing_renameat2_falls_back(
    old: Path, new: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hashall.dirfd._LIBC", object())
    before = files_in(old)

    move_files(old, new, NAMES)

    assert files_in(new) == before


def test_no_descriptor_stays_open_whatever_happens(old: Path, new: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))

    move_files(old, new, NAMES)
    move_files(new / "none", new, NAMES)
    with pytest.raises(LostFile):
        move_files(old, new, ["none"])
    (old / "single.mkv").symlink_to(new)
    with pytest.raises(UnsafePath):
        move_files(old, new, ["single.mkv/a"])

    assert len(os.listdir("/proc/self/fd")) == before


def _names() -> st.SearchStrategy[list[str]]:
    part = (
        st.binary(min_size=1, max_size=5)
        .filter(lambda raw: not set(raw) & {0, ord("/")} and raw not in (b".", b".."))
        .map(os.fsdecode)
    )
    # A few fixed directories make siblings and nesting likely.
    folder = st.sampled_from(["", "A/", "A/B/", "A/B/C/", "D\n/"])
    name = st.builds(lambda where, last: where + "f" + last, folder, part)
    return st.lists(name, min_size=1, max_size=6, unique=True)


@settings(max_examples=60, deadline=None)
@given(names=_names(), data=st.data(), noreplace=st.booleans())
def test_any_part_of_a_move_and_then_its_inverse_is_no_move(
    names: list[str], data: st.DataObject, noreplace: bool
) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as lab, ExitStack() as stack:
        old, new = Path(lab, "old"), Path(lab, "new")
        new.mkdir()
        for number, name in enumerate(names):
            (old / name).parent.mkdir(parents=True, exist_ok=True)
            (old / name).write_bytes(os.fsencode(name))
            (old / name).chmod(0o400 + number)
            os.utime(old / name, ns=(0, number))
        if not noreplace:
            stack.enter_context(without_noreplace())
        before = snapshot(old)
        number = data.draw(st.integers(0, 12 * len(names)))

        killed_at(number, lambda: move_files(old, new, names))
        move_files(new, old, names)

        assert snapshot(old) == before
        assert files_in(new) == {}


@pytest.mark.root
@pytest.mark.parametrize("kind", ["zfs", "btrfs"])
def test_a_move_on_a_real_filesystem_and_back(kind: str) -> None:
    with two_sides(kind) as sides:
        old, new = sides.stash / "old", sides.stash / "new"
        new.mkdir()
        (old / "Film").mkdir(parents=True)
        (old / "Film" / "a.mkv").write_bytes(b"film")
        before = snapshot(old)
        kills = 0
        while killed_at(kills, lambda: move_files(old, new, ["Film/a.mkv"])):
            move_files(new, old, ["Film/a.mkv"])
            assert snapshot(old) == before
            kills += 1
        assert (new / "Film" / "a.mkv").read_bytes() == b"film"
        with pytest.raises(OtherFilesystem):
            move_files(new, sides.pool, ["Film/a.mkv"])
