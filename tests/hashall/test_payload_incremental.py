"""What a second sync costs, and what it must not miss."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.filesystems import lab_folder
from tests.support.library import Library
from tests.support.listed_client import a_file

from hashall import payload_sync
from hashall.emptied import FEW, NoTorrents
from hashall.model import PayloadStatus
from hashall.payload_report import Report
from hashall.payload_sync import SyncOptions, SyncResult, sync
from hashall.qbittorrent import PathMap
from seedkeep.migrations import read_migrations
from seedkeep.torrent_client import FileList

FILM = {"Film/film.mkv": b"film", "Film/Subs/de.srt": b"subs"}
OTHER = {"Other/o.mkv": b"other"}


class Watched(Library):
    """Remembers whose file list was asked for."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.asked: list[str] = []
        lists = self.client.file_lists

        def file_lists(ids: Collection[str]) -> Iterator[FileList]:
            self.asked += ids
            return lists(ids)

        self.client.file_lists = file_lists  # type: ignore[method-assign]

    def again(self, **options: Any) -> SyncResult:
        """Another sync; `asked` has what it asked for."""
        self.asked.clear()
        return self.sync(**options)


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Watched]:
    made = Watched(tmp_path)
    yield made
    made.close()


@pytest.fixture
def film(library: Watched) -> str:
    """A torrent in a library that was looked at, beside another one."""
    torrent = library.seed("Film", FILM)
    library.seed("Other", OTHER)
    library.age_folders()
    library.look()
    return torrent


def test_what_did_not_change_costs_no_call_and_no_work(
    library: Watched, film: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(payload_sync, "map_torrent", lambda *_: pytest.fail("it was looked at"))
    result = library.again()

    assert library.asked == []
    assert (result.torrents, result.mapped, result.unchanged, result.outcomes) == (2, 2, 2, ())


def test_full_looks_at_everything(library: Watched, film: str) -> None:
    result = library.again(full=True)

    assert len(library.asked) == 2
    assert (result.unchanged, len(result.outcomes)) == (0, 2)


def test_another_place_in_the_client_is_asked_about(library: Watched, film: str) -> None:
    library.client.change(film, save_path="/elsewhere")
    result = library.again()

    assert library.asked == [film]
    assert str(library.problem_of(film)).startswith("path map not proved: ")
    assert result.unchanged == 1


def test_another_category_is_written_without_a_call(library: Watched, film: str) -> None:
    library.client.change(film, category="new", tags=("a",), name="Renamed")
    library.again()

    instance = library.catalog.payloads.instance(film)
    assert instance is not None
    assert (instance.category, instance.tags, instance.name) == ("new", ("a",), "Renamed")
    assert instance.payload_id is not None
    assert library.asked == []
    assert library.again().unchanged == 2


def test_a_scan_that_brings_hashes_completes_payloads_without_a_call(library: Watched) -> None:
    film = library.seed("Film", FILM)
    library.age_folders()
    library.sync()
    assert str(library.problem_of(film)).startswith("needs-scan: 2 of 2")
    assert len(library.again().problems[0].needs_scan) == 2
    assert library.asked == []

    library.scan()
    library.again()

    assert library.payload_of(film).status is PayloadStatus.COMPLETE
    assert library.asked == []


def test_a_change_that_a_scan_found_is_seen_without_a_call(library: Watched, film: str) -> None:
    before = library.payload_of(film).payload_hash
    library.write("seeds/Film/film.mkv", b"cut!")
    library.age_folders()
    library.scan()
    library.again()

    assert library.payload_of(film).payload_hash not in (None, before)
    assert library.asked == []


@pytest.mark.parametrize("how", ["removed", "renamed", "replaced", "folder"])
def test_a_name_that_changed_on_disk_is_noticed_without_a_scan(
    library: Watched, film: str, how: str
) -> None:
    path = library.root / "seeds/Film/film.mkv"
    if how == "removed":
        path.unlink()
    elif how == "renamed":
        path.rename(path.with_name("other.mkv"))
    elif how == "replaced":
        fresh = library.write("seeds/fresh", b"FILM")
        os.replace(fresh, path)
    else:
        (library.root / "seeds/Film").rename(library.root / "seeds/Gone")
    library.again()

    assert str(library.problem_of(film)).startswith(
        "needs-scan: 1" if how == "replaced" else "missing on disk"
    )
    assert library.catalog.payloads.find(1, "") is None


def test_a_folder_that_changes_while_other_lists_are_read_is_looked_at_again(
    library: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = library.seed("Film", FILM)
    library.seed("Other", OTHER)
    library.age_folders()
    library.scan()
    lists = library.client.file_lists

    def slowly(ids: Collection[str]) -> Iterator[FileList]:
        for found in lists(ids):
            yield found
            if found.torrent_id == film:
                (library.root / "seeds/Film/film.mkv").unlink()
                library.age_folders()

    with monkeypatch.context() as patch:
        patch.setattr(library.client, "file_lists", slowly)
        library.sync()
    assert library.problem_of(film) is None

    library.again()
    assert library.problem_of(film) == "missing on disk: 'Film/film.mkv'"


def test_a_file_renamed_in_the_client_is_asked_about_and_followed(
    library: Watched, film: str
) -> None:
    """No inventory tells of it; the folder does."""
    path = library.root / "seeds/Film/film.mkv"
    path.rename(path.with_name("better.mkv"))
    library.client.lists[film][0] = a_file("Film/better.mkv", 4)
    library.again()

    assert library.asked == [film]
    assert library.payload_of(film).status is PayloadStatus.COMPLETE
    assert {member.relpath for member in library.payload_of(film).members} == {
        *("better.mkv", "Subs/de.srt")
    }


def test_a_torrent_whose_files_stay_missing_is_not_asked_about_again(
    library: Watched, film: str
) -> None:
    (library.root / "seeds/Film/film.mkv").unlink()
    library.age_folders()
    library.again()
    result = library.again()

    assert library.asked == []
    assert [outcome.torrent_id for outcome in result.problems] == [film]

    library.write("seeds/Film/film.mkv", b"film")
    library.scan()
    library.again()
    assert library.payload_of(film).status is PayloadStatus.COMPLETE


def test_a_neighbour_in_a_shared_folder_costs_no_call(library: Watched) -> None:
    flat = library.seed("Flat", {"a.mkv": b"a", "b.mkv": b"b"})
    library.age_folders()
    library.look()
    library.write("seeds/neighbour.txt")
    library.again()

    assert library.asked == []
    assert library.payload_of(flat).status is PayloadStatus.COMPLETE


def test_a_wrong_size_is_looked_at_each_time(library: Watched, film: str) -> None:
    path = library.root / "seeds/Film/film.mkv"
    path.write_bytes(b"short or long")
    library.again(full=True)
    assert str(library.problem_of(film)).startswith("wrong size on disk")

    path.write_bytes(b"film")
    library.age_folders()
    library.scan()
    library.again()
    assert library.payload_of(film).status is PayloadStatus.COMPLETE


# -- scope


def test_category_and_tag_choose_what_is_looked_at_and_nothing_else_is_forgotten(
    library: Watched,
) -> None:
    film = library.seed("Film", FILM, category="movies", tags=("x",))
    other = library.seed("Other", OTHER, category="tv")
    library.scan()
    assert library.sync(category="none").torrents == 0
    assert library.sync(category="movies", tag="x").torrents == 1
    assert library.sync(category="movies", tag="y").torrents == 0
    assert library.catalog.payloads.instance(other) is None

    assert library.sync(category="tv").forgotten == 0
    assert library.payload_of(film).status is PayloadStatus.COMPLETE
    assert library.payload_of(other).status is PayloadStatus.COMPLETE


def test_a_limit_leaves_the_rest_for_the_next_time(library: Watched) -> None:
    for number in range(5):
        library.seed(f"Film {number}", {f"{number}/x": b"%d" % number})
    library.age_folders()
    library.scan()
    left = [library.again(limit=2).left_over for _ in range(3)]

    assert left == [3, 1, 0]
    assert library.again().unchanged == 5


# -- members without a hash


def test_upgrade_missing_hashes_just_the_members_that_lack_a_hash(library: Watched) -> None:
    film = library.seed("Film", FILM)
    library.write("seeds/not a member", b"unread")
    os.link(library.root / "seeds/Film/film.mkv", library.root / "seeds/Film/link.mkv")
    result = library.sync(upgrade_missing=True)

    assert (result.hashed.files, result.hashed.bytes, result.hashed.failed) == (2, 8, ())
    assert library.payload_of(film).status is PayloadStatus.COMPLETE
    assert result.problems == ()
    assert {path.rpartition("/")[2] for path in library.known()} == {"film.mkv", "de.srt"}
    assert library.sync(upgrade_missing=True).hashed.files == 0


def test_what_cannot_be_hashed_is_told(library: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    film = library.seed("Film", FILM)

    def refuse(path: Path, **_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("hashall.hash_missing.hash_file", refuse)
    result = library.sync(upgrade_missing=True)

    assert len(result.hashed.failed) == 2
    assert str(library.problem_of(film)).startswith("needs-scan: 2")


# -- a client that shows nothing of what it had


def removed(library: Watched, count: int) -> set[str]:
    """A library of so many torrents that was looked at, and whose client has none of them now."""
    ids = {
        library.seed(f"{number}", {f"{number}/a.mkv": b"%d" % number}) for number in range(count)
    }
    library.look()
    for torrent_id in ids:
        library.client.remove(torrent_id)
    return ids


@pytest.mark.parametrize("others", [0, 1])
def test_a_client_that_shows_none_of_its_torrents_is_not_believed(
    library: Watched, others: int
) -> None:
    """Promise 4: of another profile's client every file would be listed as nobody's."""
    ids = removed(library, FEW)
    if others:
        library.seed("Other", OTHER)
    with pytest.raises(NoTorrents) as why:
        library.sync()

    assert f"it shows {others}, and none of the {FEW}" in why.value.detail
    assert {instance.key for instance in library.catalog.payloads.instances()} == ids
    assert library.sync(all_removed=True).forgotten == FEW
    assert {i.torrent_id for i in library.catalog.payloads.instances()}.isdisjoint(ids)


def test_a_few_torrents_may_all_go_and_of_many_one_that_stays_tells_that_the_rest_went(
    library: Watched,
) -> None:
    removed(library, FEW - 1)
    assert library.sync().forgotten == FEW - 1
    removed(library, FEW)
    library.seed("1", {"1/a.mkv": b"1"})
    assert library.sync().forgotten == FEW - 1


# -- several clients


def test_two_clients_share_one_catalog_and_groups_span_them(library: Watched) -> None:
    film = library.seed("Film", FILM)
    library.look()
    sync(library.client, library.places(), PathMap(), SyncOptions(client="second"))

    assert library.group_of(film) == {film, f"{film}@second"}
    second = library.catalog.payloads.instance(f"{film}@second")
    assert second is not None
    assert (second.torrent_id, second.client, second.key) == (film, "second", f"{film}@second")
    assert second.payload_id == library.payload_of(film).payload_id

    library.client.remove(film)
    assert library.sync().forgotten == 1  # from the main client only
    assert library.catalog.payloads.instance(film) is None
    assert library.catalog.payloads.instance(f"{film}@second") is not None


def test_a_disk_that_failed_during_a_sync_and_is_well_again_is_looked_at_without_a_word(
    library: Watched, film: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No folder changes by that, and the folders above were not even to be seen."""
    real = {"lstat": os.lstat, "stat": os.stat}

    def broken(name: str) -> Callable[..., os.stat_result]:
        def look(path: Any, **rest: Any) -> os.stat_result:
            if isinstance(path, str | Path) and str(library.root / "seeds") in str(path):
                raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
            return real[name](path, **rest)

        return look

    with monkeypatch.context() as patch:
        for name in real:
            patch.setattr(os, name, broken(name))
        library.again()
    assert str(library.problem_of(film)).startswith("unreadable on disk: 'Film/film.mkv'")

    library.again()
    assert library.problem_of(film) is None
    assert library.payload_of(film).payload_hash is not None


# -- what was proved before


@pytest.mark.parametrize("how", ["missing", "unscanned"])
def test_promise_4_a_torrent_that_cannot_be_proved_now_stays_in_its_group(
    library: Watched, film: str, how: str
) -> None:
    copy = library.seed("Film", FILM, "copies")
    library.look()
    assert library.group_of(film) == {film, copy}
    path = library.root / "copies/Film/film.mkv"
    if how == "missing":
        path.unlink()
    else:
        library.write("copies/Film/film.mkv", b"film", settled=False)
    library.again()
    library.again(full=True)

    assert library.problem_of(copy) is not None
    assert library.group_of(film) == library.group_of(copy) == {film, copy}
    assert {frozenset(group) for group in components_of(library)} == {frozenset({film, copy})}

    library.write("copies/Film/film.mkv", b"FILM")
    library.look()
    assert library.group_of(film) == {film}
    library.client.remove(copy)
    library.again()
    assert components_of(library) == []


def components_of(library: Watched) -> list[set[str]]:
    """Groups as `payload groups` lists them."""
    return [
        {torrent.key for torrent in group.torrents}
        for group in Report(library.places(), None, None).groups()
    ]


def test_a_torrent_that_went_to_another_filesystem_has_left_its_group(library: Watched) -> None:
    film = library.seed("Film", FILM)
    copy = library.seed("Film", FILM, "copies")
    library.look()
    with lab_folder(Path("/dev/shm")) as memory:
        shutil.move(library.root / "copies/Film", memory / "Film")
        library.client.change(copy, save_path=str(memory))
        library.again()

        assert str(library.problem_of(copy)).startswith("needs-scan")
        assert library.group_of(film) == {film}


def test_a_catalog_of_an_older_release_knows_what_was_proved(library: Watched, film: str) -> None:
    copy = library.seed("Film", FILM, "copies")
    library.look()
    db = library.catalog.db
    db.execute("DROP INDEX torrent_instances_by_proof")
    for column in ("proved_device", "proved_hash"):
        db.execute(f"ALTER TABLE torrent_instances DROP COLUMN {column}")
    (migration,) = [m for m in read_migrations("hashall.catalog.sql") if m.version == 8]
    db.script(migration.sql)
    shutil.rmtree(library.root / "copies/Film")
    library.again()

    assert library.group_of(film) == {film, copy}
