from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.support.filesystems import lab_folder, tmpfs
from tests.support.lab import hardlink_tree
from tests.support.library import Library
from tests.support.listed_client import a_file, a_torrent

from hashall import payload_sync
from hashall.model import PayloadStatus
from hashall.pathing import MountTable, UnknownFilesystem
from hashall.payload import content_hash, payload_hash
from hashall.payload_sync import Outcome, SyncResult, needing_scan, sync
from hashall.qbittorrent import PathMap
from seedkeep.errors import Unreachable
from seedkeep.torrent_client import TorrentState

FILM = {"Film/film.mkv": b"film", "Film/Subs/de.srt": b"subs"}


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Library]:
    made = Library(tmp_path)
    yield made
    made.close()


def only(result: SyncResult) -> Outcome:
    (outcome,) = result.outcomes
    return outcome


# -- one torrent


def test_a_scanned_torrent_becomes_a_payload(library: Library) -> None:
    """R-PAY-7, R-PAY-12"""
    film = library.seed("Film", FILM, category="movies", tags=("a", "b,c"))
    result = library.look()

    payload = library.payload_of(film)
    assert payload.status is PayloadStatus.COMPLETE
    assert payload.payload_hash == payload_hash(payload.members)
    assert payload.content_hash == content_hash(payload.members)
    assert payload.root_path == library.relpath(library.root / "seeds/Film")
    assert (payload.file_count, payload.total_bytes) == (2, 8)
    assert [(m.relpath, m.size) for m in payload.members] == [("Subs/de.srt", 4), ("film.mkv", 4)]
    assert payload.members[1].path == library.relpath(library.root / "seeds/Film/film.mkv")
    assert payload.members[1].inode == (library.root / "seeds/Film/film.mkv").stat().st_ino
    assert only(result) == Outcome(film, "Film", payload.payload_id, payload.payload_hash, None)
    assert (result.mapped, result.problems, result.forgotten) == (1, (), 0)

    instance = library.catalog.payloads.instance(film)
    assert instance is not None
    assert (instance.category, instance.tags) == ("movies", ("a", "b,c"))
    assert (instance.save_path, instance.root_name) == (str(library.root / "seeds"), "Film")
    assert (instance.device_id, instance.problem) == (payload.device_id, None)
    assert [f.name for f in library.catalog.payloads.files_of(film)] == sorted(FILM)


def test_a_torrent_without_a_root_folder_does_not_swallow_its_neighbours(library: Library) -> None:
    """R-PAY-10"""
    flat = library.seed("Two files", {"a.mkv": b"a", "b.mkv": b"bb"})
    single = library.seed("One file", {"c.mkv": b"ccc"})
    library.look()

    assert [m.relpath for m in library.payload_of(flat).members] == ["a.mkv", "b.mkv"]
    assert [m.relpath for m in library.payload_of(single).members] == ["c.mkv"]
    for torrent in (flat, single):
        assert library.payload_of(torrent).root_path == library.relpath(library.root / "seeds")
    assert library.group_of(flat) == {flat}


def test_names_that_only_linux_allows_become_members(library: Library) -> None:
    odd = os.fsdecode(b"caf\xe9")
    film = library.seed("Film", {f"{odd}/new\nline": b"x", f"{odd}/-rf\t\\": b"yy"})
    library.look()

    assert {m.relpath for m in library.payload_of(film).members} == {"new\nline", "-rf\t\\"}
    assert library.payload_of(film).root_path.endswith(f"seeds/{odd}")
    assert library.problem_of(film) is None


def test_unwanted_files_are_no_members(library: Library) -> None:
    film = library.seed("Film", {"Film/film.mkv": b"film"})
    library.client.lists[film] += [a_file("Film/extra.mkv", 99, wanted=False)]
    library.look()

    assert [m.relpath for m in library.payload_of(film).members] == ["film.mkv"]


def test_syncing_again_changes_nothing_but_the_time(library: Library) -> None:
    """R-OPS-3"""
    film = library.seed("Film", FILM)
    before = library.look()
    payload = library.payload_of(film)

    assert library.sync() == before
    assert library.payload_of(film) == payload


# -- siblings


def test_siblings_in_different_roots_share_one_payload(library: Library) -> None:
    """R-PAY-3, R-PUR-3"""
    film = library.seed("Film", FILM)
    other = library.cross_seed("Film [tracker]", "Film", FILM, "cross/tracker")
    library.look()

    assert library.payload_of(film) == library.payload_of(other)
    assert len(library.catalog.payloads.all()) == 1
    assert library.group_of(film) == library.group_of(other) == {film, other}


def test_copies_of_one_payload_on_a_device_share_its_row_too(library: Library) -> None:
    film = library.seed("Film", FILM)
    copy = library.seed("Film", FILM, "copies")
    library.look()

    assert library.payload_of(film).payload_id == library.payload_of(copy).payload_id
    assert library.group_of(film) == {film, copy}


@pytest.mark.parametrize(("together", "at_once"), [(1, 2), (2, 4), (100, 2000)])
def test_how_many_torrents_are_written_together_changes_nothing(
    library: Library, monkeypatch: pytest.MonkeyPatch, together: int, at_once: int
) -> None:
    monkeypatch.setattr(payload_sync, "TOGETHER", together)
    monkeypatch.setattr(payload_sync, "AT_ONCE", at_once)
    film = library.seed("Film", FILM)
    others = [library.seed(f"Other {n}", {f"O{n}/o": b"%d" % n}) for n in range(4)]
    sibling = library.cross_seed("Film again", "Film", FILM, "cross")
    copy = library.seed("Film", FILM, "copies")
    missing = library.seed("Missing", {"M/m": b"m"})
    (library.root / "seeds/M/m").unlink()
    library.scan()
    library.seed("Late", {"L/l": b"l"})
    unscanned = library.seed("Later", {"L2/l": b"l2"})
    seen: list[tuple[int, int]] = []
    result = sync(library.client, library.places(), PathMap(), progress=lambda *at: seen.append(at))

    assert (result.mapped, len(result.outcomes)) == (7, 10)
    assert seen == [(done, 10) for done in range(1, 11)]
    same = {library.payload_of(torrent).payload_id for torrent in (film, sibling, copy)}
    payloads = [library.payload_of(torrent) for torrent in [film, *others, unscanned]]
    assert {payloads[0].payload_id} == same
    assert [payload.file_count for payload in payloads] == [2, 1, 1, 1, 1, 1]
    assert library.problem_of(missing) == "missing on disk: 'M/m'"
    assert str(library.problem_of(unscanned)).startswith("needs-scan")
    assert len(library.catalog.payloads.all()) == 1 + 4 + 2

    for name in ("seeds/Film", "copies/Film", "cross/Film"):
        (library.root / name).rename(library.root / f"{name} (2020)")
    for torrent in (film, sibling, copy):
        renamed = [a_file(n.replace("Film/", "Film (2020)/"), len(c)) for n, c in FILM.items()]
        library.client.lists[torrent] = renamed
    library.look()
    moved = library.payload_of(film)
    assert {library.payload_of(torrent).payload_id for torrent in (film, sibling, copy)} == same
    assert moved.root_path.endswith("/Film (2020)")
    assert ["/Film (2020)/" in member.path for member in moved.members] == [True, True]
    assert len(library.catalog.payloads.all()) == 1 + 4 + 2


def test_neighbours_on_the_disk_are_read_one_after_the_other(library: Library) -> None:
    """Their rows lie beside each other then: a first sync of thousands writes each page once."""
    ids = {
        name: library.seed(name, {f"{name}/f": b"x"}, content_path=f"/seeds/{name}")
        for name in ("c", "a", "d", "b")
    }
    library.sync()

    assert library.client.asked_for_files == [ids[name] for name in "abcd"]


def test_a_renamed_root_is_the_same_payload(library: Library) -> None:
    """R-PAY-10"""
    film = library.seed("Film", {"Film/film.mkv": b"film"})
    renamed = library.seed("Film", {"My favourite/film.mkv": b"film"}, "other")
    library.look()

    assert library.payload_of(film).payload_id == library.payload_of(renamed).payload_id


def test_two_torrents_on_the_very_same_path_are_one_group(library: Library) -> None:
    film = library.seed("Film", FILM)
    same = library.client.add(
        replace(a_torrent("Film again", library.root / "seeds"), category="x"),
        {key: len(value) for key, value in FILM.items()},
    )
    library.look()

    assert library.group_of(film) == {film, same}
    assert len(library.catalog.payloads.all()) == 1


def test_an_equal_path_joins_a_group_even_where_no_inode_is_known(library: Library) -> None:
    film = library.seed("Film", FILM)
    library.look()
    payloads = library.catalog.payloads
    known = payloads.instance(film)
    assert known is not None
    files = [replace(file, inode=None) for file in payloads.files_of(film)]
    payloads.put_instance(replace(known, torrent_id="f" * 40, payload_id=None), files)

    assert library.group_of("f" * 40) == {film, "f" * 40}


def test_a_partial_overlap_is_one_group_of_two_payloads(library: Library) -> None:
    film = library.seed("Film", FILM)
    extended = {**FILM, "Film/extra.nfo": b"nfo"}
    library.write("cross/Film/extra.nfo", b"nfo")
    hardlink_tree(library.root / "seeds/Film", library.root / "cross/Film")
    other = library.client.add(
        a_torrent("Film", library.root / "cross"), {k: len(v) for k, v in extended.items()}
    )
    library.look()

    assert library.payload_of(film).payload_id != library.payload_of(other).payload_id
    assert library.payload_of(film).media_hash == library.payload_of(other).media_hash
    assert library.group_of(film) == {film, other}


def test_a_group_reaches_over_a_torrent_in_the_middle(library: Library) -> None:
    one, two = {"P/1": b"one"}, {"Q/2": b"two"}
    first = library.seed("P", one)
    last = library.seed("Q", two)
    os.makedirs(library.root / "mix/M")
    os.link(library.root / "seeds/P/1", library.root / "mix/M/1")
    os.link(library.root / "seeds/Q/2", library.root / "mix/M/2")
    middle = library.client.add(a_torrent("M", library.root / "mix"), {"M/1": 3, "M/2": 3})
    alone = library.seed("R", {"R/1": b"else"})
    library.look()

    assert library.group_of(first) == library.group_of(last) == {first, middle, last}
    assert library.group_of(alone) == {alone}


def test_the_same_content_in_another_layout_is_another_payload_of_the_same_content(
    library: Library,
) -> None:
    """R-PAY-5"""
    film = library.seed("Film", {"Film/film.mkv": b"film"})
    flat = library.seed("Flat", {"Flat/deep/other name.mkv": b"film"}, "flat")
    library.look()

    one, two = library.payload_of(film), library.payload_of(flat)
    assert one.payload_hash != two.payload_hash
    assert one.content_hash == two.content_hash
    assert library.group_of(film) == {film}


# -- what cannot be mapped


def test_a_member_without_a_fresh_hash_means_needs_scan_with_the_paths(library: Library) -> None:
    """R-PAY-6"""
    film = library.seed("Film", FILM)
    library.scan()
    path = library.write("seeds/Film/film.mkv", b"mlif", settled=False)
    result = library.sync()

    outcome = only(result)
    assert outcome.problem == "needs-scan: 1 of 2 files"
    assert outcome.needs_scan == (path,)
    assert needing_scan(result.outcomes) == (path.parent,)
    payload = library.payload_of(film)
    assert payload.status is PayloadStatus.INCOMPLETE
    assert (payload.payload_hash, payload.content_hash, payload.media_hash) == (None, None, None)
    assert [m.sha256 is None for m in payload.members] == [False, True]
    assert result.mapped == 0

    library.look()
    assert library.payload_of(film).status is PayloadStatus.COMPLETE
    assert library.problem_of(film) is None
    assert len(library.catalog.payloads.all()) == 1


def test_a_torrent_never_scanned_needs_a_scan_of_all(library: Library) -> None:
    library.seed("Film", FILM)
    outcome = only(library.sync())

    assert outcome.problem == "needs-scan: 2 of 2 files"
    assert len(outcome.needs_scan) == 2


@pytest.mark.parametrize("how", ["replaced", "touched", "grown"])
def test_a_stale_hash_is_not_used(library: Library, how: str) -> None:
    film = library.seed("Film", {"film.mkv": b"film"})
    library.scan()
    path = library.root / "seeds/film.mkv"
    if how == "replaced":
        seen = path.stat()
        library.write("fresh", b"mlif").replace(path)
        os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    elif how == "touched":
        os.utime(path, (1, 1))
    else:
        path.write_bytes(b"film!")
        library.client.lists[film] = [a_file("film.mkv", 5)]

    assert only(library.sync()).payload_hash is None


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"state": TorrentState.CHECKING_UP}, "busy: checkingUP"),
        ({"progress": 0.999}, "incomplete: 99.9% in the client"),
        ({"state": TorrentState.DOWNLOADING, "progress": 0.1}, "incomplete: 10.0% in the client"),
        ({"name": "half \ud800"}, None),
    ],
)
def test_the_clients_word_decides_first(
    library: Library, changes: dict[str, Any], problem: str | None
) -> None:
    film = library.seed("Film", FILM)
    library.client.change(film, **changes)
    library.look()

    assert library.problem_of(film) == problem


def test_problems_of_the_disk_are_said_with_the_files(library: Library) -> None:
    missing = library.seed("Missing", {"M/a": b"a", "M/b": b"b"})
    wrong = library.seed("Wrong", {"W/a": b"a"})
    linked = library.seed("Linked", {"L/a": b"a"})
    (library.root / "seeds/M/b").unlink()
    (library.root / "seeds/W/a").write_bytes(b"longer")
    (library.root / "seeds/L/a").rename(library.root / "real")
    (library.root / "seeds/L/a").symlink_to(library.root / "real")
    result = library.look()

    assert library.problem_of(missing) == "missing on disk: 'M/b'"
    assert library.problem_of(wrong) == "wrong size on disk: 'W/a'"
    assert library.problem_of(linked) == "missing on disk: 'L/a'"
    assert len(result.problems) == 3
    assert library.catalog.payloads.all() == []
    assert library.group_of(missing) == {missing}


def test_a_torrent_with_hostile_names_is_listed_with_the_reason(library: Library) -> None:
    bad = library.client.add(a_torrent("Bad", library.root), {"../../etc/passwd": 5})
    half = library.client.add(a_torrent("Half", library.root), {"\ud800/x": 5})
    good = library.seed("Good", FILM)
    library.look()

    assert library.problem_of(bad) == "the torrent lists a file as '../../etc/passwd'"
    assert library.problem_of(half) == r"the torrent lists a file as '\ud800/x'"
    assert library.catalog.payloads.files_of(bad) == []
    assert library.problem_of(good) is None


def test_a_filesystem_that_cannot_be_identified_is_a_problem_of_its_torrents(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = library.seed("Film", FILM)

    def refuse(*_: object) -> None:
        raise UnknownFilesystem("two filesystems claim to be one", detail="more", hint="unmount")

    monkeypatch.setattr(MountTable, "locate", refuse)
    library.sync()

    assert library.problem_of(film) == "unknown filesystem: two filesystems claim to be one"


@pytest.mark.root
def test_a_torrent_on_two_filesystems_is_no_payload() -> None:
    with lab_folder() as folder:
        library = Library(folder)
        (library.root / "seeds/Film").mkdir(parents=True)
        with tmpfs(library.root / "seeds/Film/Subs"):
            film = library.seed("Film", FILM)
            library.look()

            assert library.problem_of(film) == "its files lie on more than one filesystem"
            assert library.catalog.payloads.all() == []
        library.close()


@pytest.mark.root
def test_the_same_payload_on_two_filesystems_is_two_rows_with_one_hash() -> None:
    """R-PAY-4"""
    with lab_folder() as folder, tmpfs(folder / "files/pool"):
        library = Library(folder)
        film = library.seed("Film", FILM)
        copy = library.seed("Film", FILM, "pool")
        library.look()

        one, two = library.payload_of(film), library.payload_of(copy)
        assert one.device_id != two.device_id
        assert one.payload_hash == two.payload_hash
        assert one.payload_hash is not None
        assert library.catalog.payloads.with_hash(one.payload_hash) == [one, two]
        assert library.group_of(film) == {film}
        library.close()


# -- over time


def test_torrents_gone_from_the_client_are_forgotten_with_their_payload(library: Library) -> None:
    film = library.seed("Film", FILM)
    other = library.seed("Other", {"o": b"o"})
    library.look()
    library.client.remove(film)
    result = library.sync()

    assert result.forgotten == 1
    assert library.catalog.payloads.instance(film) is None
    assert [p.payload_id for p in library.catalog.payloads.all()] == [
        library.payload_of(other).payload_id
    ]
    left = library.db.one("SELECT count(*) FROM torrent_files WHERE torrent_hash = ?", (film,))
    assert left is not None
    assert left[0] == 0
    assert library.sync().forgotten == 0


def test_a_torrent_removed_while_the_client_is_read_is_gone_and_no_failure(
    library: Library,
) -> None:
    film = library.seed("Film", FILM)
    other = library.seed("Other", {"o": b"o"})
    library.look()
    del library.client.lists[film]

    result = library.sync(full=True)

    assert [outcome.torrent_id for outcome in result.outcomes] == [other]
    assert result.forgotten == 1


def test_a_moved_torrents_payload_keeps_its_id_and_follows(library: Library) -> None:
    film = library.seed("Film", FILM)
    library.look()
    before = library.payload_of(film)
    (library.root / "new place").mkdir()
    (library.root / "seeds/Film").rename(library.root / "new place/Film")
    library.client.change(film, save_path=str(library.root / "new place"))
    library.look()

    after = library.payload_of(film)
    assert (after.payload_id, after.payload_hash) == (before.payload_id, before.payload_hash)
    assert after.root_path == library.relpath(library.root / "new place/Film")
    assert {m.path for m in after.members} == {
        library.relpath(library.root / "new place" / name) for name in FILM
    }


def test_changed_content_is_another_payload_and_the_old_one_goes(library: Library) -> None:
    film = library.seed("Film", FILM)
    library.look()
    before = library.payload_of(film)
    library.write("seeds/Film/film.mkv", b"cut!")
    library.look()

    assert library.payload_of(film).payload_hash != before.payload_hash
    assert len(library.catalog.payloads.all()) == 1


def test_a_torrent_that_lost_its_files_loses_its_payload(library: Library) -> None:
    film = library.seed("Film", FILM)
    library.look()
    library.client.change(film, state=TorrentState.MISSING_FILES, progress=0.0)
    library.sync()

    instance = library.catalog.payloads.instance(film)
    assert instance is not None
    assert (instance.payload_id, instance.device_id) == (None, None)
    assert library.catalog.payloads.all() == []


def test_the_path_map_leads_from_a_container_to_our_disk(library: Library) -> None:
    """R-STO-3"""
    for name, content in FILM.items():
        library.write(f"seeds/{name}", content)
    film = library.client.add(
        a_torrent("Film", "/downloads"), {key: len(value) for key, value in FILM.items()}
    )
    library.scan()
    library.sync(PathMap([("/downloads", str(library.root / "seeds"))]))

    instance = library.catalog.payloads.instance(film)
    assert instance is not None
    assert instance.save_path == str(library.root / "seeds")
    assert library.payload_of(film).status is PayloadStatus.COMPLETE


def test_what_was_read_before_the_client_failed_is_kept_and_the_rest_is_told(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = library.seed("Film", FILM)
    library.look()
    other = library.seed("Other", {"o": b"o"})
    third = library.seed("Third", {"t": b"t"})
    files = library.client.files

    def fail(torrent_id: str) -> list[Any]:
        if torrent_id == other:
            raise Unreachable("qBittorrent does not answer", detail="timed out")
        return files(torrent_id)

    monkeypatch.setattr(library.client, "files", fail)
    result = library.look()

    assert [(u.torrent_id, u.why) for u in result.unread] == [
        (other, "qBittorrent does not answer: timed out")
    ]
    assert library.catalog.payloads.instance(other) is None
    assert library.payload_of(third).status is PayloadStatus.COMPLETE
    assert library.payload_of(film).status is PayloadStatus.COMPLETE

    monkeypatch.undo()
    assert library.sync().unread == ()
    assert library.payload_of(other).status is PayloadStatus.COMPLETE


def test_progress_counts_torrents(library: Library) -> None:
    library.seed("Film", FILM)
    library.seed("Other", {"o": b"o"})
    seen: list[tuple[int, int]] = []

    sync(library.client, library.places(), PathMap(), progress=lambda *now: seen.append(now))

    assert seen == [(1, 2), (2, 2)]


def test_an_unknown_payload_is_no_payload(library: Library) -> None:
    with pytest.raises(KeyError):
        library.catalog.payloads.get(1)
    assert library.catalog.payloads.find(1, "x") is None
    assert library.catalog.payloads.instance("x") is None
