"""Links, directories and removals."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.support.filesystems import bind, lab_folder, tmpfs
from tests.support.kill_points import changes_of, failing, killed_at
from tests.support.tree_snapshot import snapshot

from hashall import fsops
from hashall.fsops import (
    PREFIX,
    CannotChange,
    NotRegular,
    OtherFilesystem,
    SourceChanged,
    TargetOccupied,
    TooManyLinks,
    UnsafePath,
    fsync_dir,
    link_files,
    make_dirs,
    remove_empty_dirs,
    remove_tree_of_ours,
    retire_file,
)
from hashall.hashing import FileStamp
from seedkeep.errors import Refused


@contextmanager
def as_nobody() -> Iterator[None]:
    os.setegid(65534)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    """A directory that every user can reach; the runner's own folders are closed."""
    with tempfile.TemporaryDirectory(prefix="seedkeep-", dir="/dev/shm") as name:
        Path(name).chmod(0o755)
        yield Path(name)


# --- make_dirs ---------------------------------------------------------------------------------


def test_missing_directories_are_made_like_a_given_one(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    model.chmod(0o2770)
    os.chown(model, 1234, 2345)

    made = make_dirs(tmp_path / "a" / "b" / "c", like=model)

    assert made == [tmp_path / "a", tmp_path / "a" / "b", tmp_path / "a" / "b" / "c"]
    for folder in made:
        found = folder.stat()
        assert stat.S_IMODE(found.st_mode) == 0o2770
        assert (found.st_uid, found.st_gid) == (1234, 2345)


def test_without_a_model_directories_are_as_mkdir_makes_them(tmp_path: Path) -> None:
    (tmp_path / "by hand").mkdir()

    make_dirs(tmp_path / "a")

    assert (tmp_path / "a").stat().st_mode == (tmp_path / "by hand").stat().st_mode


def test_directories_that_exist_are_not_touched_nor_reported(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir(mode=0o711)
    before = snapshot(tmp_path)

    assert make_dirs(tmp_path / "a", like=tmp_path) == []
    assert snapshot(tmp_path) == before


def test_symlinks_are_followed_where_the_user_made_them_and_nowhere_else(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "root").symlink_to("real")
    (tmp_path / "dangling").symlink_to("nowhere")

    make_dirs(tmp_path / "root" / "a")

    assert (tmp_path / "real" / "a").is_dir()
    with pytest.raises(UnsafePath, match="in the way"):
        make_dirs(tmp_path / "dangling" / "a")
    assert not (tmp_path / "nowhere").exists()


def test_a_file_in_the_way_is_told(tmp_path: Path) -> None:
    (tmp_path / "a").touch()

    for path in (tmp_path / "a", tmp_path / "a" / "b"):
        with pytest.raises(UnsafePath, match="in the way"):
            make_dirs(path)


@pytest.mark.parametrize("path", [Path("relative"), Path("/tmp/../etc")])
def test_only_plain_absolute_directories_are_made(path: Path) -> None:
    with pytest.raises(UnsafePath, match="plain absolute"):
        make_dirs(path)


def test_killed_before_any_change_directories_are_finished_by_the_repeat(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    model.chmod(0o750)
    os.chown(model, 1234, 2345)
    kills = 0
    while True:
        root = tmp_path / f"root {kills}"
        root.mkdir()
        killed = killed_at(kills, lambda root=root: make_dirs(root / "a" / "b", like=model))  # type: ignore[misc]
        make_dirs(root / "a" / "b", like=model)
        for folder in (root / "a", root / "a" / "b"):
            found = folder.stat()
            assert stat.S_IMODE(found.st_mode) == 0o750
            assert (found.st_uid, found.st_gid) == (1234, 2345)
        if not killed:
            break
        kills += 1
    assert kills >= 10


def test_each_level_is_saved_before_the_next_begins(tmp_path: Path) -> None:
    calls = changes_of(lambda: make_dirs(tmp_path / "a" / "b"))

    assert calls == ["fsync", "mkdir", "fsync", "fsync", "mkdir", "fsync", "fsync"]
    assert changes_of(lambda: make_dirs(tmp_path / "a" / "b")) == ["fsync"]


@pytest.mark.root
def test_a_user_makes_directories_as_far_as_he_may(open_to_all: Path) -> None:
    home = open_to_all / "home"
    home.mkdir()
    os.chown(home, 65534, 65534)
    model = open_to_all / "model"
    model.mkdir(mode=0o705)
    before = stat.S_IMODE(model.stat().st_mode)

    with as_nobody():
        make_dirs(home / "a", like=model)
        with pytest.raises(CannotChange, match="permission denied"):
            make_dirs(open_to_all / "b")

    found = (home / "a").stat()
    assert (found.st_uid, found.st_gid) == (65534, 65534)
    assert stat.S_IMODE(found.st_mode) == before


# --- link_files --------------------------------------------------------------------------------


@pytest.fixture
def staged(tmp_path: Path) -> Path:
    folder = tmp_path / "staged"
    folder.mkdir()
    for name in ("1", "2"):
        (folder / name).write_bytes(name.encode())
    return folder


@pytest.fixture
def view(tmp_path: Path) -> Path:
    folder = tmp_path / "view"
    folder.mkdir(mode=0o750)
    return folder


def test_a_view_is_made_of_links_and_a_second_time_changes_nothing(
    staged: Path, view: Path
) -> None:
    os.chown(view, 1234, 2345)
    links = [(staged / "1", "Film/a.mkv"), (staged / "2", "Film/Subs/b"), (staged / "1", "c")]

    link_files(links, view)

    for source, name in links:
        assert (view / name).samefile(source)
    assert (staged / "1").stat().st_nlink == 3
    folder = (view / "Film" / "Subs").stat()
    assert (stat.S_IMODE(folder.st_mode), folder.st_uid, folder.st_gid) == (0o750, 1234, 2345)
    before = snapshot(view)
    link_files(links, view)
    assert snapshot(view) == before


def test_another_file_with_the_name_is_not_replaced(staged: Path, view: Path) -> None:
    (view / "a").write_bytes(b"1")  # equal bytes, yet another file
    before = snapshot(view)

    with pytest.raises(TargetOccupied, match="another file"):
        link_files([(staged / "1", "a")], view)
    assert snapshot(view) == before


def test_a_file_that_takes_the_name_meanwhile_is_not_replaced(staged: Path, view: Path) -> None:
    with failing("link", errno.EEXIST), pytest.raises(TargetOccupied, match="has that name"):
        link_files([(staged / "1", "a")], view)


@pytest.mark.parametrize("kind", ["symlink", "directory"])
def test_only_regular_files_are_linked(staged: Path, view: Path, kind: str) -> None:
    if kind == "symlink":
        (staged / "x").symlink_to("1")
    else:
        (staged / "x").mkdir()

    with pytest.raises(NotRegular):
        link_files([(staged / "x", "a")], view)
    assert snapshot(view) == {}


def test_a_file_that_is_exchanged_while_it_is_linked_gets_no_name(
    staged: Path, view: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.link

    def exchange(src: Path, dst: str, **named: object) -> None:
        (staged / "2").replace(src)
        real(src, dst, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "link", exchange)

    with pytest.raises(SourceChanged, match="exchanged"):
        link_files([(staged / "1", "a")], view)
    assert snapshot(view) == {}


@pytest.mark.parametrize(
    ("code", "error", "words"),
    [
        (errno.EMLINK, TooManyLinks, "too many names"),
        (errno.EPERM, CannotChange, "belong to somebody else"),
        (errno.ENOSPC, fsops.NoSpace, "disk is full"),
    ],
)
def test_a_link_that_fails_says_why(
    staged: Path, view: Path, code: int, error: type[Exception], words: str
) -> None:
    with failing("link", code), pytest.raises(error, match=words):
        link_files([(staged / "1", "a")], view)


def test_links_to_another_filesystem_are_refused(staged: Path, open_to_all: Path) -> None:
    with pytest.raises(OtherFilesystem, match="one filesystem"):
        link_files([(staged / "1", "a")], open_to_all)


def test_a_missing_file_to_link_is_told(staged: Path, view: Path) -> None:
    with pytest.raises(CannotChange, match="missing"):
        link_files([(staged / "none", "a")], view)


@pytest.mark.parametrize("name", ["../a", "/a", "", "a\0"])
def test_link_names_that_could_leave_the_root_are_refused(
    staged: Path, view: Path, name: str
) -> None:
    with pytest.raises(UnsafePath):
        link_files([(staged / "1", "first"), (staged / "1", name)], view)
    assert snapshot(view) == {}


def test_a_symlink_planted_in_a_view_is_not_followed(staged: Path, view: Path) -> None:
    (view.parent / "outside").mkdir()
    (view / "Film").symlink_to(view.parent / "outside")

    with pytest.raises(UnsafePath):
        link_files([(staged / "1", "Film/a")], view)
    assert list((view.parent / "outside").iterdir()) == []


def test_killed_before_any_change_links_are_completed_by_the_repeat(
    staged: Path, view: Path
) -> None:
    links = [(staged / "1", "Film/a"), (staged / "2", "Film/Subs/b"), (staged / "1", "n" * 255)]
    link_files(links, view)
    wanted = snapshot(view)
    kills = 0
    while True:
        for name in [name for _, name in links]:
            (view / name).unlink(missing_ok=True)
        remove_empty_dirs(view, [name for _, name in links])
        killed = killed_at(kills, lambda: link_files(links, view))
        link_files(links, view)
        assert snapshot(view) == wanted
        if not killed:
            break
        kills += 1
    assert kills >= 12


def test_directories_of_a_view_are_saved_even_when_all_links_were_there(
    staged: Path, view: Path
) -> None:
    links = [(staged / "1", "Film/a")]
    calls = changes_of(lambda: link_files(links, view))
    assert calls[-3:] == ["link", "fsync", "fsync"]
    assert changes_of(lambda: link_files(links, view)) == ["fsync", "fsync"]


# --- remove_empty_dirs -------------------------------------------------------------------------


def test_only_empty_directories_on_the_way_go_and_never_the_root(tmp_path: Path) -> None:
    for folder in ("a/b/c", "d/e", "other/empty"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "d" / "kept").touch()
    names = ["a/b/c/file", "a/b/file", "d/e/file", "gone/too/file", "file"]

    remove_empty_dirs(tmp_path, names)

    assert set(snapshot(tmp_path)) == {"d", "d/kept", "other", "other/empty"}
    before = snapshot(tmp_path)
    remove_empty_dirs(tmp_path, names)
    remove_empty_dirs(tmp_path / "gone", names)
    assert snapshot(tmp_path) == before


def test_symlinks_and_files_in_place_of_a_directory_stay(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (tmp_path / "outside" / "empty").mkdir(parents=True)
    root.mkdir()
    (root / "a").symlink_to(tmp_path / "outside")
    (root / "b").touch()
    before = snapshot(tmp_path)

    remove_empty_dirs(root, ["a/file", "a/empty/file", "b/file"])

    assert snapshot(tmp_path) == before


@pytest.mark.root
def test_an_empty_mount_point_stays(tmp_path: Path) -> None:
    with lab_folder() as lab, tmpfs(lab / "root" / "mounted"):
        remove_empty_dirs(lab / "root", ["mounted/file"])

        assert (lab / "root" / "mounted").is_mount()


def test_a_directory_that_may_not_be_removed_is_told(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()

    with failing("rmdir", errno.EACCES), pytest.raises(CannotChange, match="permission"):
        remove_empty_dirs(tmp_path, ["a/file"])
    with pytest.raises(UnsafePath):
        remove_empty_dirs(tmp_path, ["../file"])


def test_killed_before_any_change_the_removal_of_directories_can_be_repeated(
    tmp_path: Path,
) -> None:
    kills = 0
    while True:
        (tmp_path / "a" / "b").mkdir(parents=True)
        killed = killed_at(kills, lambda: remove_empty_dirs(tmp_path, ["a/b/file"]))
        assert not killed or (tmp_path / "a").exists() or kills == 3
        calls = changes_of(lambda: remove_empty_dirs(tmp_path, ["a/b/file"]))
        assert snapshot(tmp_path) == {}
        assert calls[-1] == "fsync"
        if not killed:
            break
        kills += 1
    assert kills == 4


# --- remove_tree_of_ours -----------------------------------------------------------------------


def fill(folder: Path) -> None:
    (folder / "Film" / "Subs").mkdir(parents=True)
    (folder / "Film" / "a.mkv").write_bytes(b"film")
    (folder / "Film" / "Subs" / os.fsdecode(b"\xff\n")).write_bytes(b"sub")
    (folder / "way out").symlink_to("../kept")
    (folder / "broken").symlink_to("nowhere")
    os.mkfifo(folder / "fifo")


def test_a_tree_of_ours_goes_with_all_that_is_in_it_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_bytes(b"kept")
    ours = tmp_path / f"{PREFIX}stage-1"
    fill(ours)
    (ours / "linked").hardlink_to(tmp_path / "kept" / "file")

    remove_tree_of_ours(ours)

    assert set(snapshot(tmp_path)) == {"kept", "kept/file"}
    assert (tmp_path / "kept" / "file").read_bytes() == b"kept"
    remove_tree_of_ours(ours)
    remove_tree_of_ours(tmp_path / "gone" / f"{PREFIX}stage-1")


@pytest.mark.parametrize("name", ["Film", PREFIX, f"{PREFIX}x/..", ".seedkeep", ""])
def test_a_tree_with_another_name_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / f"{PREFIX}x").mkdir()
    (tmp_path / "Film").mkdir()
    before = snapshot(tmp_path)

    with pytest.raises(Refused, match="not made by this program"):
        remove_tree_of_ours(tmp_path / name)
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("kind", ["symlink", "file"])
def test_what_has_our_name_but_is_no_directory_is_refused(tmp_path: Path, kind: str) -> None:
    ours = tmp_path / f"{PREFIX}stage-1"
    fill(tmp_path / "library")
    if kind == "symlink":
        ours.symlink_to("library")
    else:
        ours.touch()
    before = snapshot(tmp_path)

    with pytest.raises(UnsafePath):
        remove_tree_of_ours(ours)
    assert snapshot(tmp_path) == before


@pytest.mark.root
@pytest.mark.parametrize("where", ["Film/z", "."])
@pytest.mark.parametrize("kind", ["another filesystem", "a bind of the same one"])
def test_a_tree_with_a_mount_in_it_is_refused_whole(where: str, kind: str) -> None:
    with lab_folder() as lab:
        ours, library = lab / f"{PREFIX}stage-1", lab / "library"
        fill(ours)
        fill(library)
        (ours / where).mkdir(exist_ok=True)
        mount = tmpfs(ours / where) if kind == "another filesystem" else bind(library, ours / where)
        with mount:
            (ours / where / "precious").touch()
            before = snapshot(lab)

            with pytest.raises(Refused, match="mounted"):
                remove_tree_of_ours(ours)
            assert snapshot(lab) == before


def test_a_deep_tree_of_ours_goes(tmp_path: Path) -> None:
    ours = tmp_path / f"{PREFIX}stage-1"
    make_dirs(ours.joinpath(*["d"] * 250))

    remove_tree_of_ours(ours)

    assert snapshot(tmp_path) == {}


def test_a_tree_that_may_not_be_removed_is_told_and_the_repeat_completes(tmp_path: Path) -> None:
    ours = tmp_path / f"{PREFIX}stage-1"
    fill(ours)
    before = len(os.listdir("/proc/self/fd"))

    with failing("unlink", errno.EPERM, at=2), pytest.raises(CannotChange, match="immutable"):
        remove_tree_of_ours(ours)
    assert len(os.listdir("/proc/self/fd")) == before

    remove_tree_of_ours(ours)
    assert snapshot(tmp_path) == {}


def test_killed_before_any_change_the_removal_of_a_tree_can_be_repeated(tmp_path: Path) -> None:
    ours = tmp_path / f"{PREFIX}stage-1"
    kills = 0
    while True:
        fill(ours)
        killed = killed_at(kills, lambda: remove_tree_of_ours(ours))
        assert changes_of(lambda: remove_tree_of_ours(ours))[-1] == "fsync"
        assert snapshot(tmp_path) == {}
        if not killed:
            break
        kills += 1
    assert kills == 9


# --- retire_file -------------------------------------------------------------------------------


def stamp_of(path: Path) -> FileStamp:
    return FileStamp.of(path.lstat())


def test_the_last_name_of_a_file_frees_its_bytes_and_another_name_none(tmp_path: Path) -> None:
    (tmp_path / "Film").mkdir()
    (tmp_path / "Film" / "a").write_bytes(b"film")
    (tmp_path / "b").hardlink_to(tmp_path / "Film" / "a")
    stamp = stamp_of(tmp_path / "b")

    assert retire_file(tmp_path, "Film/a", stamp=stamp) == 0
    assert (tmp_path / "b").read_bytes() == b"film"
    assert retire_file(tmp_path, "b", stamp=stamp) == 4
    assert retire_file(tmp_path, "b", stamp=stamp) == 0
    assert retire_file(tmp_path, "gone/b", stamp=stamp) == 0
    assert retire_file(tmp_path / "gone", "b", stamp=stamp) == 0
    assert set(snapshot(tmp_path)) == {"Film"}


@pytest.mark.parametrize("change", ["content", "size", "time", "symlink", "directory"])
def test_a_file_that_is_not_the_one_that_was_verified_stays(tmp_path: Path, change: str) -> None:
    film = tmp_path / "film"
    film.write_bytes(b"film")
    stamp = stamp_of(film)
    if change == "content":
        film.unlink()
        (tmp_path / "keeps the inode number away").touch()
        film.write_bytes(b"mlif")
    elif change == "size":
        film.write_bytes(b"film and more")
        os.utime(film, ns=(0, stamp.mtime_ns))
    elif change == "time":
        os.utime(film, ns=(0, stamp.mtime_ns + 1))
    else:
        film.unlink()
        film.symlink_to("x") if change == "symlink" else film.mkdir()
        stamp = stamp_of(film)
    before = snapshot(tmp_path)

    with pytest.raises(SourceChanged, match="not the file that was to be removed"):
        retire_file(tmp_path, "film", stamp=stamp)
    assert snapshot(tmp_path) == before


def test_a_file_behind_a_planted_symlink_stays(tmp_path: Path) -> None:
    (tmp_path / "library").mkdir()
    (tmp_path / "library" / "film").write_bytes(b"film")
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "Film").symlink_to("../library")

    with pytest.raises(UnsafePath):
        retire_file(tmp_path / "hidden", "Film/film", stamp=stamp_of(tmp_path / "library" / "film"))
    with pytest.raises(UnsafePath):
        retire_file(tmp_path / "hidden", "../library/film", stamp=stamp_of(tmp_path / "hidden"))
    assert (tmp_path / "library" / "film").exists()


def test_a_removal_is_saved_also_when_a_killed_run_did_it(tmp_path: Path) -> None:
    (tmp_path / "film").write_bytes(b"film")
    stamp = stamp_of(tmp_path / "film")

    def retire() -> object:
        return retire_file(tmp_path, "film", stamp=stamp)

    assert killed_at(1, retire)
    assert not (tmp_path / "film").exists()
    assert changes_of(retire) == ["fsync"]

    (tmp_path / "film").write_bytes(b"film")
    stamp = stamp_of(tmp_path / "film")
    assert changes_of(retire) == ["unlink", "fsync"]


@pytest.mark.root
def test_a_file_in_a_closed_directory_is_told(open_to_all: Path) -> None:
    (open_to_all / "film").write_bytes(b"film")
    stamp = stamp_of(open_to_all / "film")

    with as_nobody(), pytest.raises(CannotChange, match="permission denied"):
        retire_file(open_to_all, "film", stamp=stamp)
    assert (open_to_all / "film").exists()


# --- fsync_dir ---------------------------------------------------------------------------------


def test_a_directory_can_be_saved(tmp_path: Path) -> None:
    assert changes_of(lambda: fsync_dir(tmp_path)) == ["fsync"]
    with pytest.raises(CannotChange, match="missing"):
        fsync_dir(tmp_path / "none")
