from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from tests.support.catalog_lab import CatalogLab, on_disk

from hashall.catalog import open_catalog
from hashall.catalog.files import join, parent_of
from hashall.catalog.health import Health
from hashall.catalog.scan_load import large_writes
from hashall.hashing import FileStamp
from seedkeep.errors import Misused
from seedkeep.migrations import NewerDatabase
from seedkeep.sqlite import DamagedDatabase, from_db, open_database

COLUMNS = [
    *("path", "inode", "size", "mtime_ns", "ctime_ns", "nlink", "mode", "uid", "gid"),
    *("quick_hash", "sha256", "hashed_at", "status", "first_seen_at", "last_seen_at"),
]
UTC = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


def rows(lab: CatalogLab) -> dict[str, dict[str, object]]:
    """The view as a reader sees it, by path below the root."""
    spot = lab.spot()
    found = lab.db.all(f"SELECT * FROM files_{spot.device.device_id}")
    top = len(spot.place.relpath) + 1
    return {from_db(row["path"])[top:]: dict(zip(row.keys(), row, strict=True)) for row in found}


# -- files_<device_id>


def test_the_view_shows_what_a_reader_expects(lab: CatalogLab) -> None:
    """R-CAT-2"""
    path = lab.write("Film/film.mkv", b"film")
    lab.scan()
    seen = path.stat()

    row = rows(lab)["Film/film.mkv"]

    assert list(row) == COLUMNS
    assert (row["inode"], row["size"], row["nlink"]) == (seen.st_ino, 4, 1)
    assert (row["mtime_ns"], row["ctime_ns"]) == (seen.st_mtime_ns, seen.st_ctime_ns)
    assert (row["mode"], row["uid"], row["gid"]) == (seen.st_mode, seen.st_uid, seen.st_gid)
    assert row["sha256"] == on_disk(lab.root)["Film/film.mkv"].sha256
    assert row["status"] == "active"
    for column in ("hashed_at", "first_seen_at", "last_seen_at"):
        assert UTC.fullmatch(str(row[column]))


def test_a_deleted_name_stays_as_history(lab: CatalogLab) -> None:
    path = lab.write("film.mkv")
    lab.scan()
    first = rows(lab)["film.mkv"]
    path.unlink()
    lab.scan()

    row = rows(lab)["film.mkv"]

    assert row["status"] == "deleted"
    assert (row["size"], row["sha256"]) == (None, None)
    assert row["first_seen_at"] == first["first_seen_at"]
    assert str(row["last_seen_at"]) >= str(first["last_seen_at"])


def test_a_name_that_comes_back_is_active_again_since_its_first_day(lab: CatalogLab) -> None:
    path = lab.write("film.mkv")
    lab.scan()
    first = rows(lab)["film.mkv"]
    path.unlink()
    lab.scan()
    lab.write("film.mkv", b"again")
    lab.scan()

    row = rows(lab)["film.mkv"]
    assert (row["status"], row["size"]) == ("active", 5)
    assert row["first_seen_at"] == first["first_seen_at"]


def test_only_a_scan_that_covers_a_name_counts_as_seeing_it(lab: CatalogLab) -> None:
    odd = os.fsdecode(b"caf\xe9")
    for folder in ("a", f"{odd}/b", "ab", odd):
        lab.write(f"{folder}/film.mkv")
    lab.scan()
    before = {name: row["last_seen_at"] for name, row in rows(lab).items()}

    lab.scan(lab.root / "a")
    lab.scan(lab.root / odd)

    after = {name: row["last_seen_at"] for name, row in rows(lab).items()}
    newer = {name for name in after if str(after[name]) > str(before[name])}
    assert newer == {"a/film.mkv", f"{odd}/film.mkv", f"{odd}/b/film.mkv"}


def test_names_are_text_where_they_can_be_and_bytes_where_not(lab: CatalogLab) -> None:
    lab.write("plain/ünï.mkv")
    lab.write(os.fsdecode(b"caf\xe9/film.mkv"))
    lab.write(os.fsdecode(b"plain/caf\xe9.mkv"))
    lab.scan()

    kinds = {
        from_db(row["path"]).rpartition("files/")[2]: type(row["path"])
        for row in lab.db.all("SELECT path FROM files_1")
    }

    assert kinds == {
        "plain/ünï.mkv": str,
        os.fsdecode(b"caf\xe9/film.mkv"): bytes,
        os.fsdecode(b"plain/caf\xe9.mkv"): bytes,
    }


# -- questions about files


def test_a_file_is_found_by_its_path_with_its_bytes(lab: CatalogLab) -> None:
    path = lab.write(os.fsdecode(b"caf\xe9/film.mkv"), b"film")
    lab.scan()
    files, spot = lab.files(), lab.spot(path)

    file = files.file(spot.place.relpath)

    assert file is not None
    assert (file.device_id, file.path) == (spot.device.device_id, spot.place.relpath)
    assert (file.inode, file.size, file.nlink) == (path.stat().st_ino, 4, 1)
    assert files.file(f"{spot.place.relpath}x") is None
    assert files.file("no/such/folder/film.mkv") is None


def test_all_names_of_an_inode_and_all_files_with_its_bytes(lab: CatalogLab) -> None:
    film = lab.write("b/film.mkv", b"film")
    os.link(film, lab.root / "a.mkv")
    lab.write("copy.mkv", b"film")
    lab.write("other.mkv", b"else")
    lab.scan()
    files, top = lab.files(), lab.spot().place.relpath
    sha256 = lab.known()["copy.mkv"].sha256

    assert files.names_of(film.stat().st_ino) == (f"{top}/a.mkv", f"{top}/b/film.mkv")
    assert sha256 is not None
    same = [file.path for file in files.with_bytes(sha256, 4)]
    assert same == [f"{top}/a.mkv", f"{top}/b/film.mkv", f"{top}/copy.mkv"]
    assert files.with_bytes(sha256, 5) == []
    assert files.names_of(1) == ()


def test_totals_count_an_inode_once(lab: CatalogLab) -> None:
    film = lab.write("film.mkv", b"film")
    os.link(film, lab.root / "link.mkv")
    gone = lab.write("gone.mkv", b"gone bytes")
    lab.scan()
    assert lab.files().totals() == (3, 2, 14)

    gone.unlink()
    lab.scan()
    assert lab.files().totals() == (2, 1, 4)


def test_a_path_that_was_moved_away_can_be_dropped_without_a_scan(lab: CatalogLab) -> None:
    path = lab.write("film.mkv")
    lab.write("other.mkv")
    lab.scan()

    lab.files().drop_path(lab.spot(path).place.relpath)
    lab.files().drop_path("no/such/folder/film.mkv")

    assert set(lab.known()) == {"other.mkv"}


def test_with_the_last_name_that_is_dropped_its_inode_is_forgotten(lab: CatalogLab) -> None:
    path = lab.write("film.mkv", b"film")
    linked = lab.root / "link.mkv"
    os.link(path, linked)
    inode = path.stat().st_ino
    lab.scan()

    lab.files().drop_path(lab.spot(path).place.relpath)
    assert lab.files().inode(inode) is not None
    lab.files().drop_path(lab.spot(linked).place.relpath)

    assert lab.files().inode(inode) is None
    assert list(Health(lab.db).contradictions()) == []


def test_a_hash_is_stored_only_while_the_inode_is_what_was_read(lab: CatalogLab) -> None:
    path = lab.write("film.mkv", b"film")
    lab.scan()
    before = lab.known()["film.mkv"].sha256
    path.write_bytes(b"longer film")

    lab.files().put_hash(FileStamp.of(path.stat()), "f" * 64, "", racy=False)

    assert lab.known()["film.mkv"].sha256 == before


def test_a_directory_of_any_depth_is_entered_with_all_above_it(lab: CatalogLab) -> None:
    files = lab.files()
    deepest = "/".join(["d"] * 1900)
    made = files.ensure_dir(deepest)
    assert files.ensure_dir(deepest) == made
    assert lab.db.all_tuples(
        f"SELECT count(*), count(parent_id), min(path) FROM dirs_{files.device_id}"
    ) == [(1901, 1900, "")]
    beside = files.ensure_dir("d/e", parent_id=files.dir_id("d"))
    assert files.child_dirs(files.ensure_dir("d"))["e"] == beside


@pytest.mark.parametrize(("parent", "name"), [("", "a"), ("a", "b"), ("a/b", "c d")])
def test_paths_are_joined_and_split_from_the_filesystems_root(parent: str, name: str) -> None:
    assert parent_of(join(parent, name)) == parent
    assert not join(parent, name).startswith("/")


# -- devices


def test_a_device_keeps_its_number_for_its_key(lab: CatalogLab) -> None:
    """R-STO-3"""
    table = lab.catalog.devices
    one = table.register("ext4:1", "ext4", stable=True)
    two = table.register("tmpfs:x:2", "tmpfs", stable=False)

    assert table.register("ext4:1", "ext4", stable=True) == one
    assert (one.device_id, two.device_id) == (1, 2)
    assert (one.stable, two.stable) == (True, False)
    assert table.all() == [one, two]
    assert table.by_key("ext4:3") is None
    with pytest.raises(KeyError):
        table.get(3)


def test_device_numbers_are_observations_with_a_history(lab: CatalogLab) -> None:
    table = lab.catalog.devices
    device = table.register("zfs:1", "zfs", stable=True)
    odd = os.fsdecode(b"/mnt/caf\xe9")

    table.sighted(device.device_id, 41, "/mnt/stash")
    table.sighted(device.device_id, 57, odd)
    table.sighted(device.device_id, 57, odd)

    assert set(table.mount_points(device.device_id)) == {"/mnt/stash", odd}
    rows = lab.db.all("SELECT st_dev FROM device_sightings ORDER BY st_dev")
    assert [row["st_dev"] for row in rows] == [41, 57]


def test_a_preferred_mount_point_may_have_any_name(lab: CatalogLab) -> None:
    lab.catalog.devices.register("ext4:1", "ext4", stable=True)
    lab.db.execute(
        "UPDATE devices SET preferred_mount_point = ?, alias = 'stash'", (b"/mnt/caf\xe9",)
    )

    device = lab.catalog.devices.get(1)

    assert device.preferred_mount_point == os.fsdecode(b"/mnt/caf\xe9")
    assert device.alias == "stash"


# -- opening


def test_a_catalog_is_made_only_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "new" / "catalog.db"

    with pytest.raises(Misused, match="there is no catalog at"):
        open_catalog(path, create=False)
    assert not path.parent.exists()

    with open_catalog(path, create=True) as catalog:
        assert catalog.devices.all() == []
    assert path.exists()


def test_a_catalog_of_a_newer_version_is_left_alone(lab: CatalogLab) -> None:
    lab.db.execute("UPDATE schema_version SET version = 99 WHERE version = 1")
    lab.close()
    before = lab.db_path.read_bytes()

    with pytest.raises(NewerDatabase):
        open_catalog(lab.db_path, create=True)

    assert lab.db_path.read_bytes() == before


def test_a_damaged_catalog_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "catalog.db"
    path.write_bytes(b"no database" * 500)

    with pytest.raises(DamagedDatabase):
        open_catalog(path, create=True)

    assert path.read_bytes() == b"no database" * 500


def test_a_catalog_survives_being_opened_again(lab: CatalogLab) -> None:
    lab.write("film.mkv")
    lab.scan()
    lab.close()
    lab.catalog = open_catalog(lab.db_path, create=False)

    assert lab.known() == on_disk(lab.root)
    with open_database(lab.db_path, create=False) as db:
        assert db.one("PRAGMA foreign_key_check") is None
        check = db.one("PRAGMA integrity_check")
        assert check is not None
        assert check[0] == "ok"


def test_a_scan_leaves_the_settings_of_the_connection_as_it_found_them(lab: CatalogLab) -> None:
    """Meanwhile no temporary table has a journal on disk, which a system may have no place for."""

    def settings() -> list[object]:
        names = ("synchronous", "wal_autocheckpoint", "foreign_keys", "temp.journal_mode")
        return [lab.db.one(f"PRAGMA {name}")[0] for name in names]  # type: ignore[index]

    before = settings()
    with large_writes(lab.db):
        meanwhile = settings()
    assert meanwhile[-1] == "memory"
    assert all(now != was for now, was in zip(meanwhile, before, strict=True))
    assert settings() == before
