"""What all payloads say together."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.filesystems import bind, lab_folder
from tests.support.library import Library
from tests.support.listed_client import a_file, a_torrent
from tests.support.simulated import SimulatedClient
from tests.support.torrents import make_torrent

from hashall import payload_report, render_payload
from hashall.app import App
from hashall.catalog.verifications import Reading, VerificationTable
from hashall.cli import cli
from hashall.payload_compare import components, subsets
from hashall.payload_report import Likeness, Report, Residency
from hashall.payload_verify import remember_pieces
from hashall.pieces import PieceReport
from seedkeep import clock, console
from seedkeep.errors import Misused, Unreachable
from seedkeep.torrent_client import FileList

FILM = {"Film/film.mkv": b"film", "Film/Subs/de.srt": b"subs"}


class Sides(Library):
    """`seeds` is the stash; the pool lies on another filesystem."""

    pool: Path

    @property
    def stash(self) -> Path:
        return self.root / "seeds"

    def copy_to_pool(self, files: dict[str, bytes]) -> str:
        for relpath, content in files.items():
            path = self.pool / relpath
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        sizes = {key: len(value) for key, value in files.items()}
        return self.client.add(a_torrent("Copy", self.pool), sizes)

    def look(self) -> Any:
        self.stash.mkdir(exist_ok=True)
        self.scan(self.root, self.pool)
        return self.sync()

    def report(self) -> Report:
        return Report(self.places(), self.stash, self.pool)

    def roots(self, report: Any) -> list[str]:
        return [Path(line.root).name for line in report]


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Sides]:
    with lab_folder(Path("/dev/shm")) as pool:
        made = Sides(tmp_path)
        made.pool = pool
        yield made
        made.close()


def test_lists_are_by_side_and_status(library: Sides) -> None:
    library.seed("Film", FILM)
    library.seed("Else", {"Else/x": b"else"}, below="not a root")
    library.copy_to_pool({"Pooled/y": b"pooled"})
    library.look()
    library.seed("New", {"New/z": b"unscanned"})
    library.sync()
    report = library.report()

    assert {*library.roots(report.payloads())} == {"Film", "Else", "Pooled", "New"}
    assert {*library.roots(report.payloads(Residency.STASH))} == {"Film", "New"}
    assert library.roots(report.payloads(Residency.POOL)) == ["Pooled"]
    assert library.roots(report.payloads(Residency.OTHER)) == ["Else"]
    assert library.roots(report.payloads(Residency.BOTH)) == []
    assert library.roots(report.payloads(None, "incomplete")) == ["New"]


def test_a_payload_on_both_sides_is_a_duplicate_with_true_savings(library: Sides) -> None:
    library.seed("Film", FILM)
    library.copy_to_pool(FILM)
    os.link(library.stash / "Film/film.mkv", library.root / "in a library.mkv")
    library.look()
    report = library.report()

    (found,) = report.duplicates()
    assert {copy.residency for copy in found.copies} == {Residency.STASH, Residency.POOL}
    free = {copy.residency: size for copy, size in zip(found.copies, found.freeable, strict=True)}
    assert free == {Residency.STASH: 4, Residency.POOL: 8}  # the film has a name elsewhere
    assert len(report.payloads(Residency.BOTH)) == 2


def test_groups_are_what_moves_together(library: Sides) -> None:
    film = library.seed("Film", FILM)
    other = library.cross_seed("Cross", "Film", FILM, "cross")
    library.seed("Alone", {"Alone/a": b"alone"})
    library.look()

    (group,) = library.report().groups()
    assert [torrent.key for torrent in group.torrents] == sorted([film, other])
    assert (len(group.payloads), group.bytes) == (1, 8)
    assert {torrent.key for torrent in group.torrents} == library.group_of(film)


def test_candidates_are_of_three_kinds(library: Sides) -> None:
    library.seed("Film", FILM)
    library.seed("Other layout", {"Flat/film.mkv": b"film", "Flat/de.srt": b"subs"})
    library.seed("More extras", {**{f"Nfo/{k[5:]}": v for k, v in FILM.items()}, "Nfo/x.nfo": b"i"})
    library.seed("Larger", {"Larger/a": b"film", "Larger/b": b"subs", "Larger/c": b"more"})
    library.seed("Only text", {"T1/a.nfo": b"1"})
    library.seed("Other text", {"T2/b.nfo": b"2"})
    library.look()
    found: dict[Likeness, list[list[str]]] = {}
    for item in library.report().candidates():
        found.setdefault(item.likeness, []).append(library.roots(item.payloads))

    assert [sorted(roots) for roots in found[Likeness.CONTENT]] == [["Film", "Flat"]]
    assert [sorted(roots) for roots in found[Likeness.MEDIA]] == [["Film", "Nfo"]]
    assert sorted(found[Likeness.SUBSET]) == [
        *(["Film", "Larger"], ["Flat", "Larger"], ["Flat", "Nfo"])
    ]


# -- files without a torrent


def test_orphans_are_files_that_no_torrent_wants(
    library: Sides, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = library.seed("Film", FILM)
    library.write("seeds/forgotten.mkv", b"larger than the others")
    library.write("seeds/Film/extra.txt", b"extra")
    os.link(library.stash / "Film/film.mkv", library.stash / "old link.mkv")
    library.write("elsewhere/not seeding.mkv")
    library.look()
    report = library.report()

    found = report.orphans(timedelta(0), 10)
    assert [(Path(o.path).name, o.linked) for o in found.files] == [
        *(("forgotten.mkv", False), ("extra.txt", False), ("old link.mkv", True))
    ]
    assert (found.found, found.bytes, found.younger) == (3, 27, 0)
    assert (found.unlisted, found.elsewhere) == ((), ())
    capped = report.orphans(timedelta(0), 1)
    assert (len(capped.files), capped.found) == (1, 3)

    # The grace counts from when the catalog saw the name; the mtimes are an hour old.
    young = report.orphans(timedelta(minutes=1), 10)
    assert (young.files, young.younger) == ((), 3)
    later = clock.now() + timedelta(minutes=2)
    monkeypatch.setattr(payload_report.clock, "now", lambda: later)
    assert report.orphans(timedelta(minutes=1), 10).found == 3
    library.client.remove(film)
    library.sync()
    assert library.report().orphans(timedelta(0), 10).found == 5


def test_a_file_that_came_after_the_last_sync_is_not_called_an_orphan(library: Sides) -> None:
    """Whoever removes what is listed would remove a torrent that was added since."""
    library.seed("Film", FILM)
    library.look()
    library.seed("Newer", {"Newer/film.mkv": b"newer"})
    library.scan(library.root, library.pool)
    found = library.report().orphans(timedelta(0), 10)
    assert (found.files, found.younger) == ((), 1)
    text = render_payload.orphans(found)
    assert "1 more file within the grace, or newer than the last sync" in text
    assert f"torrents as of the sync of {found.synced_at}" in text
    library.sync()
    later = library.report().orphans(timedelta(0), 10)
    assert (later.files, later.younger) == ((), 0)
    assert later.synced_at > found.synced_at


@pytest.mark.parametrize("part", [{"limit": 1}, {"category": "films"}, {"tag": "x"}])
def test_a_sync_of_a_part_calls_nothing_an_orphan_that_it_did_not_read(
    library: Sides, part: dict[str, Any]
) -> None:
    """Whoever removes what is listed would remove a torrent that the catalog has not met."""
    library.seed("Film", FILM, category="films", tags=("x",))
    library.look()
    before = library.report().orphans(timedelta(0), 10).synced_at
    library.seed("Newer", {"Newer/film.mkv": b"newer"})
    library.seed("Newest", {"Newest/film.mkv": b"newest"})
    library.scan(library.root, library.pool)
    library.sync(**part)
    found = library.report().orphans(timedelta(0), 10)
    assert (found.files, found.synced_at) == ((), before)
    library.sync()
    assert library.report().orphans(timedelta(0), 10).synced_at > before


def test_a_torrent_that_could_not_be_read_leaves_no_orphans_behind(library: Sides) -> None:
    library.seed("Film", FILM)
    library.look()
    newer = library.seed("Newer", {"Newer/film.mkv": b"newer"})
    library.scan(library.root, library.pool)
    usual = library.client.file_lists

    def failing(ids: Collection[str]) -> Iterator[FileList]:
        for one in usual(ids):
            failed = one.torrent_id == newer
            yield FileList(newer, error=Unreachable("it does not answer")) if failed else one

    library.client.file_lists = failing  # type: ignore[method-assign]
    assert library.sync().unread
    assert library.report().orphans(timedelta(0), 10).files == ()


def test_before_the_first_sync_nothing_is_called_an_orphan(library: Sides) -> None:
    library.seed("Film", FILM)
    library.scan(library.root, library.pool)
    with pytest.raises(Misused, match="no torrents were read yet") as caught:
        library.report().orphans(timedelta(0), 10)
    assert "payload sync" in caught.value.hint


def test_what_a_torrent_lists_is_no_orphan_whatever_its_state(library: Sides) -> None:
    torrent = library.seed("Film", FILM, progress=0.5, download_path=str(library.root / "seeds/dl"))
    library.client.lists[torrent] += [a_file("Film/unwanted.mkv", wanted=False)]
    for name in ("Film/unwanted.mkv", "Film/film.mkv.!qB", "dl/Film/film.mkv", "dl/Film/x.!qB"):
        library.write(f"seeds/{name}")
    library.write("seeds/.abc.parts")
    library.write("seeds/Film/.unwanted/x")
    metadata = library.client.add(a_torrent("No metadata yet", library.root / "seeds"), [])
    library.look()
    found = library.report().orphans(timedelta(0), 10)

    assert [Path(orphan.path).name for orphan in found.files] == ["x.!qB"]
    assert found.unlisted == (metadata,)


def test_torrents_that_are_not_where_the_client_has_them_are_told_with_the_orphans(
    library: Sides,
) -> None:
    """Without its pair of the path map all files of a client would look unwanted."""
    library.seed("Film", FILM)
    library.write("seeds/Other/x", b"other")
    unmapped = library.client.add(a_torrent("Other", "/elsewhere/seeds"), {"Other/x": 5})
    begun = library.client.add(
        a_torrent("Begun", "/elsewhere", progress=0.5, amount_left=3), {"Begun/y": 5}
    )
    missing = library.seed("Gone", {"Gone/y": b"gone"})
    (library.stash / "Gone/y").rename(library.stash / "Gone/renamed")
    library.look()

    found = library.report().orphans(timedelta(0), 10)

    assert {Path(orphan.path).name for orphan in found.files} == {"x", "renamed"}
    assert found.unlisted == ()
    assert found.elsewhere == tuple(sorted([unmapped, begun, missing]))
    assert "is the path map complete?" in render_payload.orphans(found)


@pytest.mark.parametrize("code", [errno.EIO, errno.EACCES])
def test_what_a_torrent_has_in_a_folder_that_cannot_be_looked_at_is_no_orphan(
    library: Sides, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    film = library.seed("Film", FILM)
    library.look()
    closed, real = str(library.stash / "Film"), {"lstat": os.lstat, "stat": os.stat}

    def broken(name: str) -> Callable[..., os.stat_result]:
        def look(path: Any, **rest: Any) -> os.stat_result:
            if isinstance(path, str | Path) and str(path).startswith(closed):
                raise OSError(code, os.strerror(code), str(path))
            return real[name](path, **rest)

        return look

    for name in real:
        monkeypatch.setattr(os, name, broken(name))
    library.sync(full=True)
    found = library.report().orphans(timedelta(0), 10)
    assert (found.files, found.elsewhere) == ((), (film,))


def test_the_unmanaged_are_told_with_reasons(library: Sides) -> None:
    library.seed("Film", FILM)
    library.seed("Else", {"Else/x": b"else"}, below="not a root")
    library.seed("Gone", {"Gone/y": b"gone"})
    (library.stash / "Gone/y").unlink()
    library.look()

    found = {item.torrent.name: item.reason for item in library.report().unmanaged()}
    assert found.keys() == {"Else", "Gone"}
    assert found["Else"].startswith("its files lie outside the seeding roots, in ")
    assert found["Gone"].startswith("missing on disk")


# -- comparing, as properties


@given(
    st.dictionaries(st.integers(0, 6), st.lists(st.sampled_from("abcd"), min_size=1), min_size=1)
)
def test_subsets_are_those_of_multisets(contents: dict[int, list[str]]) -> None:
    rows = [(number, letter, 1) for number, letters in contents.items() for letter in letters]

    def within(small: list[str], large: list[str]) -> bool:
        return len(small) < len(large) and all(
            small.count(letter) <= large.count(letter) for letter in small
        )

    assert subsets(rows) == sorted(
        (a, b) for a in contents for b in contents if within(contents[a], contents[b])
    )


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from("abcdef"))))
def test_components_are_what_can_be_reached(links: list[tuple[str, str]]) -> None:
    found = components("abcdef", links)

    assert sorted(node for nodes in found for node in nodes) == list("abcdef")
    of = {node: nodes for nodes in found for node in nodes}
    assert all(of[a] == of[b] for a, b in links)
    for nodes in found:
        reached = {nodes[0]}
        for _ in nodes:
            reached |= {b for a, b in links if a in reached} | {a for a, b in links if b in reached}
        assert reached == set(nodes)


# -- the commands


def test_every_command_answers_in_text_and_json(
    library: Sides, capsys: pytest.CaptureFixture[str]
) -> None:
    film = library.seed("Film", FILM)
    library.cross_seed("Cross", "Film", FILM, "cross")
    library.seed("Other layout", {"Flat/film.mkv": b"film", "Flat/de.srt": b"subs"})
    library.copy_to_pool(FILM)
    library.write("seeds/orphan")
    library.look()
    roots = (
        *("--stash-seeding-root", str(library.stash)),
        *("--pool-seeding-root", str(library.pool)),
    )
    commands: dict[str, tuple[tuple[str, ...], str]] = {
        "payload_groups": (("groups",), "group 1: 2 torrents, 1 payload"),
        "payload_duplicates": (("duplicates", *roots), "1 payload twice; at least 8 B can go"),
        "payload_candidates": (("candidates", *roots), "same content, other layout:"),
        "orphans": (("orphans", "--grace", "0s", *roots), "1 file that no torrent wants"),
        "unmanaged": (("unmanaged", *roots), "every torrent has a payload"),
        "payloads": (("list", "--residency", "both", *roots), "stash"),
        "verification": (("verify", film), "result   as it should be"),
    }
    for kind, (command, says) in commands.items():
        words = ["payload", *command, "--db", str(library.db_path)]
        assert console.run(cli, words, "hashall") == 0
        assert says in capsys.readouterr().out
        assert console.run(cli, [*words, "--json"], "hashall") == 0
        assert kind in json.loads(capsys.readouterr().out)


def test_empty_answers_are_sentences(library: Sides, capsys: pytest.CaptureFixture[str]) -> None:
    library.look()
    roots = ("--stash-seeding-root", str(library.stash))
    says = {
        "groups": "no two torrents share bytes",
        "duplicates": "no payload lies on more than one device",
        "candidates": "no payload resembles another",
        "unmanaged": "every torrent has a payload in the seeding roots",
        "orphans": "0 files that no torrent wants",
    }
    for command, sentence in says.items():
        chosen = roots if command != "groups" else ()
        words = ["payload", command, *chosen, "--db", str(library.db_path)]
        assert console.run(cli, words, "hashall") == 0
        assert sentence in capsys.readouterr().out
    words = ["payload", "orphans", "--db", str(library.db_path)]
    assert console.run(cli, words, "hashall") == 2
    assert "no seeding root is set" in capsys.readouterr().err


def test_verify_without_pieces_tells_what_changed_since_the_scan(
    library: Sides, capsys: pytest.CaptureFixture[str]
) -> None:
    film = library.seed("Film", FILM)
    library.look()
    library.write("seeds/Film/film.mkv", b"FILM")
    (library.stash / "Film/Subs/de.srt").unlink()
    words = ["payload", "verify", film, "--db", str(library.db_path)]

    assert console.run(cli, words, "hashall") == 1
    out = capsys.readouterr().out
    assert "its bytes are not those that were scanned" in out
    assert "No such file" in out
    assert "result   NOT proved" in out
    assert console.run(cli, [*words, "--sample", "0"], "hashall") == 2


@pytest.mark.parametrize("shown_by", ["itself", "symlink", "linked file", "bind"])
@pytest.mark.root
def test_a_bad_piece_takes_back_what_was_said_of_its_file_however_the_client_sees_it(
    library: Sides, shown_by: str
) -> None:
    key = library.seed("Film", FILM)
    library.look()
    places = library.places()
    remember_pieces(places, key, PieceReport(pieces=9, checked=9, bytes_read=9, files=2))
    known = VerificationTable(places.catalog.db)
    assert known.of_torrent(key).proved == len(FILM)

    seen = library.root / "shown" if shown_by != "itself" else library.stash
    with ExitStack() as mounts:
        if shown_by == "symlink":
            seen.symlink_to("seeds")
        elif shown_by == "linked file":
            (seen / "Film").mkdir(parents=True)
            (seen / "Film/film.mkv").symlink_to(library.stash / "Film/film.mkv")
        elif shown_by == "bind":
            seen.mkdir()
            mounts.enter_context(bind(library.stash, seen))
        path = str(seen / "Film/film.mkv")
        bad = PieceReport(9, 9, 9, 2, bad=(0,), files_in_bad=(path,))
        remember_pieces(library.places(), key, bad)

    assert known.of_torrent(key).proved == len(FILM) - 1


def test_a_file_known_to_be_damaged_stays_so_when_its_pieces_are_bad_too(library: Sides) -> None:
    key = library.seed("Film", FILM)
    library.look()
    places = library.places()
    known = VerificationTable(places.catalog.db)
    (film,) = [file for file in places.catalog.payloads.files_of(key) if "film" in file.path]
    assert film.inode is not None
    assert film.sha256 is not None
    known.put([Reading(film.device_id, film.inode, film.sha256, "f" * 64)])

    path = str(library.stash / "Film/film.mkv")
    remember_pieces(places, key, PieceReport(9, 9, 9, 2, bad=(0,), files_in_bad=(path,)))

    assert known.of_torrent(key).damaged == 1


def test_verify_does_not_take_what_memory_holds_for_the_disk(
    library: Sides, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    film = library.seed("Film", FILM)
    library.look()
    forgotten: set[str] = set()

    def advise(fd: int, *advice: int) -> None:
        if advice == (0, 0, os.POSIX_FADV_DONTNEED) and os.lseek(fd, 0, os.SEEK_CUR) == 0:
            forgotten.add(os.readlink(f"/proc/self/fd/{fd}"))

    monkeypatch.setattr(os, "posix_fadvise", advise)
    words = ["payload", "verify", film, "--db", str(library.db_path)]
    assert console.run(cli, words, "hashall") == 0
    assert "as it should be" in capsys.readouterr().out
    assert forgotten == {str(library.stash / name) for name in FILM}


# -- several clients, as configured


def test_all_configured_clients_are_synced_and_one_that_is_down_or_another_is_told(
    library: Sides,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = make_torrent(library.root, "Film", {"film.mkv": 100_000})
    library.scan()
    secret = tmp_path / "secret"
    secret.write_text("right horse\n")
    config = tmp_path / "config.yml"
    with SimulatedClient("4.5") as main, SimulatedClient("5.1", password="right horse") as other:
        main.add(made.data, library.root)
        other.add(made.data, library.root)
        instances = {"second": {"host": other.url, "password_file": str(secret)}}
        config.write_text(json.dumps({"qbittorrent": {"host": main.url, "instances": instances}}))
        base = ["--db", str(library.db_path), "--config", str(config)]
        assert console.run(cli, ["payload", "sync", *base], "hashall") == 0
        assert capsys.readouterr().out.splitlines() == [
            *("main:", "1 torrent, 1 mapped to payloads"),
            *("second:", "1 torrent, 1 mapped to payloads"),
        ]
        assert library.group_of(made.infohash) == {made.infohash, f"{made.infohash}@second"}
        for torrent in (made.infohash, f"{made.infohash[:8]}@second"):
            words = ["payload", "verify", torrent, "--pieces", *base]
            assert console.run(cli, words, "hashall") == 0
            assert "(v1)" in capsys.readouterr().out
        other.stop()
        assert console.run(cli, ["payload", "sync", *base], "hashall") == 4
        assert "not read: qBittorrent at" in capsys.readouterr().out
        assert library.group_of(made.infohash) == {made.infohash, f"{made.infohash}@second"}
        monkeypatch.setattr("hashall.emptied.FEW", 1)
        main.stop()
        shutil.rmtree(main.profile)
        main.profile.mkdir()
        main.start()
        other.start()
        assert console.run(cli, ["payload", "sync", *base], "hashall") == 4
        told = capsys.readouterr().out
        assert "not read: client main shows none of the torrents that the catalog knows" in told
        assert "it shows 0, and none of the 1 that the catalog knows" in told
        assert "second:\n1 torrent, " in told
        assert library.group_of(made.infohash) == {made.infohash, f"{made.infohash}@second"}
        words = ["payload", "sync", "--instance", "main", *base]
        assert console.run(cli, words, "hashall") == 3
        assert "--all-removed" in capsys.readouterr().err
        assert console.run(cli, [*words, "--all-removed"], "hashall") == 0
        assert library.group_of(f"{made.infohash}@second") == {f"{made.infohash}@second"}
        other.stop()
        words = ["payload", "sync", "--instance", "third", *base]
        assert console.run(cli, words, "hashall") == 2
        assert "qbittorrent.instances has: main, second" in capsys.readouterr().err
        words = ["payload", "sync", "--instance", "second", *base]
        assert console.run(cli, words, "hashall") == 5


# -- a client that cannot be read to its end, for good


def unreadable(library: Sides, *torrents: str) -> None:
    """Have the lists of these torrents not come from now on."""
    usual = library.client.file_lists

    def failing(ids: Collection[str]) -> Iterator[FileList]:
        for one in usual(ids):
            lost = one.torrent_id in torrents
            yield FileList(one.torrent_id, error=Unreachable("no list")) if lost else one

    library.client.file_lists = failing  # type: ignore[method-assign]


def test_a_client_with_an_unreadable_list_tells_since_when_the_knowledge_is_old_and_why(
    library: Sides, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    film = library.seed("Film", FILM)
    library.seed("Other", {"Other/o.mkv": b"o"})
    library.look()
    unreadable(library, film)
    monkeypatch.setattr(App, "client", lambda _: library.client)
    later = clock.now() + timedelta(days=3)

    def said(*words: str) -> tuple[int, str]:
        with clock.using(now=lambda: later):
            code = console.run(cli, [*words, "--db", str(library.db_path)], "hashall")
        return code, capsys.readouterr().out

    (client,) = library.catalog.inventory.clients()
    assert said("status")[1].count("main, all torrents: 3d ago\n") == 1
    code, text = said("payload", "sync", "--full")
    assert code == 4
    assert f"all of its torrents were read last 3d ago ({client.synced_at})" in text
    (after,) = library.catalog.inventory.clients()
    assert after == replace(client, unread=1, why="no list")
    why = "main, all torrents: 3d ago; since then 1 torrent could not be read (no list)\n"
    assert why in said("status")[1]
    _, text = said("doctor", "--no-probe")
    assert f"all of its torrents were read last at {client.synced_at}; 1 of 2 cannot" in text


def test_a_sync_that_a_wrong_clock_dated_in_the_future_calls_nothing_an_orphan(
    library: Sides,
) -> None:
    """What came since would look as old as it, and no torrent of it is known."""
    library.seed("Film", FILM)
    with clock.using(now=lambda: datetime(2037, 1, 1, tzinfo=UTC)):
        library.look()
    library.seed("Other", {"Other/o.mkv": b"o"})
    library.scan(library.root, library.pool)
    with (
        clock.using(now=lambda: datetime(2036, 1, 1, tzinfo=UTC)),
        pytest.raises(Misused, match="dated in the future") as caught,
    ):
        library.report().orphans(timedelta(0), 10)
    assert "set the clock" in caught.value.hint
    library.sync(full=True)
    later = clock.now() + timedelta(days=1)
    with clock.using(now=lambda: later):
        assert library.report().orphans(timedelta(0), 10).files == ()


def test_a_client_that_was_never_read_to_its_end_is_named_where_orphans_are_asked_for(
    library: Sides,
) -> None:
    """The hint alone, to sync, would send a person round in circles."""
    library.seed("Film", FILM)
    library.seed("Other", {"Other/o.mkv": b"o"})
    library.scan(library.root, library.pool)
    library.sync(limit=1)
    (known,) = library.catalog.payloads.instances()
    unreadable(library, known.torrent_id)
    assert library.sync(full=True).unread
    with pytest.raises(Misused) as caught:
        library.report().orphans(timedelta(0), 10)
    expected = "the torrents of main were never all read: 1 could not be read (no list)"
    assert caught.value.detail == expected
