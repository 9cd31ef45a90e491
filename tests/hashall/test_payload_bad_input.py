"""A client that answers half, late, wrong or nonsense: what was read is kept, the rest is told."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.support.catalog_lab import CatalogLab
from tests.support.simulated_library import Library, id_of, names_of, served

from hashall.payload_sync import SyncResult, sync
from hashall.qbittorrent import PathMap
from seedkeep.errors import Unreachable
from seedkeep.qbittorrent import connect
from seedkeep.qbittorrent_bulk import PATIENCE
from seedkeep.torrent_client import FileList

TORRENTS, FILES, SIZE = 40, 3, 4
Spoil = Callable[[str, dict[str, str], tuple[int, bytes]], tuple[int, bytes] | None]


class Faulty(Library):
    """A library whose answers a test may spoil; None drops the connection."""

    spoil: Spoil | None = None

    def answer(self, endpoint: str, form: dict[str, str]) -> tuple[int, bytes]:
        right = super().answer(endpoint, form)
        if self.spoil is None:
            return right
        spoiled = self.spoil(endpoint, form, right)
        if spoiled is None:
            raise ConnectionAbortedError
        return spoiled


@pytest.fixture
def root(lab: CatalogLab) -> Path:
    """The library's files, with a scan of them."""
    for number in range(TORRENTS):
        for name in names_of(number, FILES):
            lab.write(f"seeds/{number // 100:04}/{name}", b"%04d" % number)
    lab.scan()
    return lab.root / "seeds"


@pytest.fixture(params=["4.5", "5.2"])
def faulty(request: pytest.FixtureRequest, root: Path) -> Iterator[Faulty]:
    with a_faulty(request.param, root) as library:
        yield library


@pytest.fixture
def one_by_one(root: Path) -> Iterator[Faulty]:
    """A version that is asked for each list by itself."""
    with a_faulty("5.1", root) as library:
        yield library


@contextmanager
def a_faulty(version: str, root: Path) -> Iterator[Faulty]:
    library = Faulty(version, str(root), TORRENTS, FILES, SIZE)
    with served(library) as url:
        library.url = url  # type: ignore[attr-defined]
        yield library


def run(lab: CatalogLab, library: Faulty) -> SyncResult:
    client = connect(library.url, timeout_s=20)  # type: ignore[attr-defined]
    try:
        return sync(client, lab.places(), PathMap())
    finally:
        client.close()


def lists_of(endpoint: str, form: dict[str, str]) -> bool:
    return endpoint == "torrents/files" or "includeFiles" in form


def complete(lab: CatalogLab) -> int:
    return sum(p.payload_hash is not None for p in lab.catalog.payloads.all())


def test_a_healthy_library_is_mapped_whole(lab: CatalogLab, faulty: Faulty) -> None:
    result = run(lab, faulty)

    assert (result.mapped, result.unread, result.problems) == (TORRENTS, (), ())
    assert complete(lab) == TORRENTS


@pytest.mark.parametrize("how", ["500", "drop", "half", "garble"])
def test_an_error_now_and_then_costs_nothing_but_time(
    lab: CatalogLab, faulty: Faulty, how: str
) -> None:
    seen: set[str] = set()

    def now_and_then(
        endpoint: str, form: dict[str, str], right: tuple[int, bytes]
    ) -> tuple[int, bytes] | None:
        """Every tenth torrent, or the whole hundred, the first time that it is asked about."""
        which = form.get("hash") or form.get("hashes", "")
        first = which not in seen
        if not lists_of(endpoint, form) or not first or which in others:
            return right
        seen.add(which)
        spoiled = {"500": (500, b"no"), "drop": None, "half": (200, right[1][:50])}
        return spoiled.get(how, (200, b"<html>502</html>"))

    others = {id_of(number) for number in range(TORRENTS) if number % 10 != 3}
    faulty.spoil = now_and_then
    result = run(lab, faulty)
    if faulty.version == "5.2" and result.unread:
        assert complete(lab) == 0
        result = run(lab, faulty)

    assert result.unread == ()
    assert complete(lab) == TORRENTS


def test_one_torrent_that_cannot_be_read_hinders_no_other(
    lab: CatalogLab, one_by_one: Faulty
) -> None:
    bad = id_of(7)
    one_by_one.spoil = lambda endpoint, form, right: (
        (500, b"") if endpoint == "torrents/files" and form.get("hash") == bad else right
    )
    result = run(lab, one_by_one)

    assert [(item.torrent_id, item.client) for item in result.unread] == [(bad, "main")]
    assert complete(lab) == TORRENTS - 1
    one_by_one.spoil = None
    assert run(lab, one_by_one).unread == ()
    assert complete(lab) == TORRENTS


@pytest.mark.parametrize(
    "damage",
    [
        {"name": None},
        {"size": "large"},
        {"priority": True},
        {"name": 5},
        None,
    ],
)
def test_a_list_that_is_not_understood_makes_no_payload(
    lab: CatalogLab, faulty: Faulty, damage: dict[str, Any] | None
) -> None:
    def damaged(endpoint: str, form: dict[str, str], right: tuple[int, bytes]) -> tuple[int, bytes]:
        if not lists_of(endpoint, form):
            return right
        rows = json.loads(right[1])
        for row in rows[:1] if endpoint == "torrents/files" else [r["files"][0] for r in rows[:1]]:
            row.clear() if damage is None else row.update(damage)
        return 200, json.dumps(rows).encode()

    faulty.spoil = damaged
    result = run(lab, faulty)

    assert len(result.unread) == (1 if faulty.version == "5.2" else TORRENTS)
    assert all("not understood" in item.why for item in result.unread)
    assert complete(lab) == TORRENTS - len(result.unread)


def test_a_lost_connection_keeps_what_was_read(lab: CatalogLab, one_by_one: Faulty) -> None:
    served_lists = 0

    def lost(
        endpoint: str, form: dict[str, str], right: tuple[int, bytes]
    ) -> tuple[int, bytes] | None:
        nonlocal served_lists
        if lists_of(endpoint, form):
            served_lists += 1
            return right if served_lists <= 15 else None
        return right

    one_by_one.spoil = lost
    result = run(lab, one_by_one)

    assert complete(lab) == 15
    assert len(result.unread) == TORRENTS - 15
    asked = one_by_one.counts["torrents/files"]
    assert asked < 15 + 12 * (PATIENCE + 3)  # it gave up, and did not try each of the rest
    one_by_one.spoil = None
    assert run(lab, one_by_one).mapped == TORRENTS


def test_a_client_that_falls_silent_is_not_waited_for_forty_times(
    lab: CatalogLab, faulty: Faulty
) -> None:
    over = threading.Event()

    def silent(endpoint: str, form: dict[str, str], right: tuple[int, bytes]) -> tuple[int, bytes]:
        if lists_of(endpoint, form):
            over.wait(30)
        return right

    faulty.spoil = silent
    faulty.counts.clear()
    client = connect(faulty.url, timeout_s=20)  # type: ignore[attr-defined]
    lists = client.file_lists

    def impatient(ids: Collection[str]) -> Iterator[FileList]:
        # Only here, or a busy machine would fail in what has to work.
        client._api._REQUESTS_ARGS["timeout"] = 0.3
        return lists(ids)

    client.file_lists = impatient  # type: ignore[method-assign]
    try:
        result = sync(client, lab.places(), PathMap())
    finally:
        over.set()
        client.close()

    assert len(result.unread) == TORRENTS
    assert complete(lab) == 0
    asked = faulty.counts["torrents/files"] or faulty.counts["torrents/info"]
    assert asked < TORRENTS / 2


@pytest.mark.parametrize("answer", [b"", b"[", b"{}", b"<html>", b'[{"hash": "x"},', b"[1 2]"])
def test_an_inventory_that_is_not_whole_changes_nothing(
    lab: CatalogLab, faulty: Faulty, answer: bytes
) -> None:
    run(lab, faulty)
    before = lab.catalog.payloads.instances()

    def cut(endpoint: str, _: dict[str, str], right: tuple[int, bytes]) -> tuple[int, bytes]:
        return (200, answer) if endpoint == "torrents/info" else right

    faulty.spoil = cut

    with pytest.raises(Unreachable):
        run(lab, faulty)
    assert lab.catalog.payloads.instances() == before


def test_a_row_without_a_hash_is_told_and_nothing_is_forgotten(
    lab: CatalogLab, faulty: Faulty
) -> None:
    run(lab, faulty)

    def nameless(
        endpoint: str, form: dict[str, str], right: tuple[int, bytes]
    ) -> tuple[int, bytes]:
        if endpoint != "torrents/info" or "includeFiles" in form:
            return right
        rows = json.loads(right[1])
        del rows[3]["hash"]
        del rows[4]["save_path"]
        return 200, json.dumps(rows, indent=1).encode()

    faulty.spoil = nameless
    result = run(lab, faulty)

    assert result.forgotten == 0
    assert [item.torrent_id for item in result.unread] == ["", id_of(4)]
    assert "'save_path' is missing" in result.unread[1].why
    doubted = lab.catalog.payloads.instance(id_of(4))
    assert doubted is not None
    assert str(doubted.problem).startswith("not read: ")
    assert doubted.payload_id is not None  # it stays where it was, for its group's sake
    assert complete(lab) == TORRENTS


def test_a_torrent_that_has_no_metadata_yet_is_read_and_lists_nothing(
    lab: CatalogLab, faulty: Faulty
) -> None:
    """A magnet link that finds nobody may stay for years: each sync is one of the whole client."""

    def magnet(endpoint: str, form: dict[str, str], right: tuple[int, bytes]) -> tuple[int, bytes]:
        if endpoint == "torrents/files" and form["hash"] == id_of(3):
            return 200, b"[]"
        if "includeFiles" not in form:
            return right
        rows = json.loads(right[1])
        for row in rows:
            if row["hash"] == id_of(3):  # from 5.2 on (measured on 5.3.0)
                row["has_metadata"] = False
                del row["files"]
        return 200, json.dumps(rows).encode()

    faulty.spoil = magnet
    result = run(lab, faulty)

    assert result.unread == ()
    assert complete(lab) == TORRENTS - 1
    assert lab.catalog.inventory.oldest_sync() is not None


def test_a_list_that_is_left_out_of_an_answer_is_not_taken_for_an_empty_one(
    lab: CatalogLab, root: Path
) -> None:
    def short(endpoint: str, form: dict[str, str], right: tuple[int, bytes]) -> tuple[int, bytes]:
        if "includeFiles" not in form:
            return right
        rows = json.loads(right[1])
        del rows[0]["files"]
        return 200, json.dumps(rows).encode()

    with a_faulty("5.2", root) as faulty:
        faulty.spoil = short
        result = run(lab, faulty)

    assert len(result.unread) == 1
    assert lab.catalog.inventory.oldest_sync() is None


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a/../../b", "", "a//b"])
def test_names_that_leave_the_folder_make_no_payload(
    lab: CatalogLab, faulty: Faulty, name: str
) -> None:
    def hostile(endpoint: str, form: dict[str, str], right: tuple[int, bytes]) -> tuple[int, bytes]:
        text = right[1].replace(names_of(1, FILES)[0].encode(), name.encode())
        return right[0], text if lists_of(endpoint, form) else right[1]

    faulty.spoil = hostile
    result = run(lab, faulty)

    (problem,) = result.problems
    assert problem.torrent_id == id_of(1)
    assert str(problem.problem).startswith("the torrent lists a file as ")
    assert complete(lab) == TORRENTS - 1


def test_a_list_that_does_not_match_the_disk_makes_no_payload(
    lab: CatalogLab, faulty: Faulty
) -> None:
    def longer(endpoint: str, form: dict[str, str], right: tuple[int, bytes]) -> tuple[int, bytes]:
        if not lists_of(endpoint, form):
            return right
        return right[0], right[1].replace(b'"size":4}', b'"size":5}')

    faulty.spoil = longer
    result = run(lab, faulty)

    assert len(result.problems) == TORRENTS
    assert all(str(o.problem).startswith("wrong size on disk") for o in result.problems)
    assert complete(lab) == 0


def test_nobody_at_the_address_is_told_at_once() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        with pytest.raises(Unreachable):
            connect(f"http://127.0.0.1:{probe.getsockname()[1]}", timeout_s=2)
