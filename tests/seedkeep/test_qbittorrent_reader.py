"""Thousands of file lists are read by a process of its own, which may end at any moment."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

import pytest
from tests.support.qbt import RealClient, row_of, versions_here, wait_for
from tests.support.simulated_library import Library, id_of, served

from seedkeep import qbittorrent_reader
from seedkeep.qbittorrent import QBittorrentClient, connect
from seedkeep.qbittorrent_bulk import IDS_AT_ONCE, Address, Read
from seedkeep.qbittorrent_reader import read_lists
from seedkeep.torrent_client import FileList, NoSuchTorrent

TORRENTS = 120  # more than the connections of a reader take at once
SOME = 75  # answers after which one of three connections has handed over what it took
IDS = [id_of(number) for number in range(TORRENTS)]
SECRET = "SID=0123456789abcdef"
STUCK_PROGRAM = """
import sys
from seedkeep import qbittorrent_reader as reader
from seedkeep.qbittorrent import connect
reader.WORTH_A_PROCESS = 1
start = reader._start
def told():
    process, answers = start()
    print(process.pid, flush=True)
    return process, answers
reader._start = told
for _ in connect(sys.argv[1]).file_lists(sys.argv[2:]):
    pass
"""


class Halting(Library):
    """Answers so many lists at once, and each other one when it is let go on."""

    most = 10**6
    client: QBittorrentClient

    def __post_init__(self) -> None:
        super().__post_init__()
        self.on = threading.Event()
        self.halted = threading.Event()

    def list_of(self, number: int) -> list[dict[str, Any]]:
        if self.counts["torrents/files"] > self.most:
            self.halted.set()
            self.on.wait(60)
        rows = super().list_of(number)
        return [*rows, rows[0] | {"name": "Ünïcode\ud83d\ude00/x", "progress": 0.25, "priority": 0}]


@pytest.fixture
def library() -> Iterator[Halting]:
    made = Halting("5.1", "/seeds", TORRENTS, 3)
    with served(made) as url:
        made.client = connect(url)
        yield made
        made.on.set()
        made.client.close()


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Every reader that was started, from the first list on; all have ended when the test has."""
    found: list[subprocess.Popen[bytes]] = []
    start = qbittorrent_reader._start

    def told() -> tuple[subprocess.Popen[bytes], IO[bytes]]:
        process, answers = start()
        found.append(process)
        return process, answers

    monkeypatch.setattr(qbittorrent_reader, "_start", told)
    monkeypatch.setattr(qbittorrent_reader, "WORTH_A_PROCESS", 1)
    yield found
    assert all(process.returncode is not None for process in found)


def by_id(lists: Iterator[FileList]) -> dict[str, FileList]:
    found = list(lists)
    assert len({item.torrent_id for item in found}) == len(found)
    return {item.torrent_id: item for item in found}


def test_another_process_reads_what_this_one_would(
    library: Halting,
    started: list[subprocess.Popen[bytes]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = [*IDS, "f" * 40]  # the last one is unknown to the client
    beside = by_id(library.client.file_lists(asked))
    assert [process.returncode for process in started] == [0]

    monkeypatch.setattr(qbittorrent_reader, "WORTH_A_PROCESS", len(asked) + 1)
    here = by_id(library.client.file_lists(asked))
    assert len(started) == 1

    gone = beside.pop("f" * 40)
    assert isinstance(gone.error, NoSuchTorrent)
    assert isinstance(here.pop("f" * 40).error, NoSuchTorrent)
    assert beside == here
    assert beside.keys() == set(IDS)
    assert beside[IDS[5]] == FileList(IDS[5], tuple(library.client.files(IDS[5])))
    assert beside[IDS[5]].files[-1].name == "Ünïcode😀/x"


@pytest.mark.real
@pytest.mark.parametrize(
    "version",
    [pytest.param(v, marks=pytest.mark.xdist_group(f"client-{v}")) for v in versions_here()],
)
def test_a_magnet_link_that_nobody_has_answered_lists_no_files(version: str) -> None:
    magnet = "ab" * 20
    with RealClient(version) as client:
        client.api.torrents_add(urls=f"magnet:?xt=urn:btih:{magnet}")
        wait_for(lambda: bool(client.api.torrents_info(torrent_hashes=magnet)), "the torrent")
        assert row_of(client.api, magnet)["state"] == "metaDL"
        product = connect(client.url, timeout_s=20)
        try:
            assert list(product.file_lists([magnet])) == [FileList(magnet)]
        finally:
            product.close()


def test_lists_are_asked_for_in_the_order_that_the_caller_wants(
    library: Halting, started: list[subprocess.Popen[bytes]]
) -> None:
    """But for the batches of three connections."""
    places = [IDS.index(found.torrent_id) for found in library.client.file_lists(IDS)]

    assert sorted(places) == [*range(TORRENTS)]
    batches = -(-TORRENTS // IDS_AT_ONCE)
    assert sum(after == before + 1 for before, after in pairwise(places)) >= TORRENTS - batches


def test_an_inventory_names_neighbours_on_the_disk_one_after_the_other(library: Halting) -> None:
    inventory = library.client.inventory()
    found = inventory.by_place({*IDS})

    paths = [inventory.torrent(torrent_id).content_path for torrent_id in found]
    assert paths == sorted(paths)
    assert sorted(found) == sorted(IDS)
    assert found != sorted(IDS)


def test_the_client_gets_the_cookie_and_nobody_else_can_see_it(
    started: list[subprocess.Popen[bytes]],
) -> None:
    cookies: set[str | None] = set()
    asked, on = threading.Event(), threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            cookies.add(self.headers["Cookie"])
            asked.set()
            on.wait(60)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"[]")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        address = Address(f"http://127.0.0.1:{server.server_port}", SECRET, 60, verify=True)
        reads: list[Read] = []
        taker = threading.Thread(target=lambda: reads.extend(read_lists(address, IDS[:5])))
        taker.start()
        assert asked.wait(60)
        own = Path(f"/proc/{started[0].pid}")
        seen = (own / "cmdline").read_bytes() + (own / "environ").read_bytes()
        on.set()
        taker.join()
        server.shutdown()

    assert cookies == {SECRET}
    assert reads == [Read(torrent_id, ()) for torrent_id in IDS[:5]]
    assert b"qbittorrent_reader" in seen
    assert SECRET.partition("=")[2].encode() not in seen


@pytest.mark.parametrize("how", ["killed", "never started", "cannot live"])
def test_what_a_lost_reader_did_not_read_is_read_without_it(
    library: Halting,
    started: list[subprocess.Popen[bytes]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    how: str,
) -> None:
    def refuse() -> tuple[subprocess.Popen[bytes], IO[bytes]]:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    lists = library.client.file_lists(IDS)
    first: dict[str, FileList] = {}
    if how == "killed":
        library.most = SOME
        found = next(lists)
        first[found.torrent_id] = found
        assert library.halted.wait(60)
        started[0].kill()
        library.on.set()
    elif how == "never started":
        monkeypatch.setattr(qbittorrent_reader, "_start", refuse)
    else:
        monkeypatch.setattr(qbittorrent_reader, "_PROGRAM", "raise SystemExit(3)")
    with caplog.at_level(logging.WARNING):
        rest = by_id(lists)

    assert first.keys().isdisjoint(rest)
    assert (first | rest).keys() == set(IDS)
    assert all(found.error is None for found in rest.values())
    (warning,) = caplog.messages
    words = {"killed": "ended with -9", "cannot live": "ended with 3"}
    assert words.get(how, "Resource temporarily unavailable") in warning


def test_what_others_print_when_python_starts_is_no_answer(
    library: Halting,
    started: list[subprocess.Popen[bytes]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    (tmp_path / "sitecustomize.py").write_text("print('hello from site')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert by_id(library.client.file_lists(IDS)).keys() == set(IDS)
    assert [process.returncode for process in started] == [0]


def test_ctrl_c_is_not_the_reader_s_business(
    library: Halting, started: list[subprocess.Popen[bytes]]
) -> None:
    library.most = SOME
    lists = library.client.file_lists(IDS)
    next(lists)
    assert library.halted.wait(60)
    started[0].send_signal(signal.SIGINT)  # as the terminal sends it to the whole group
    library.on.set()

    assert len(by_id(lists)) == TORRENTS - 1
    assert started[0].returncode == 0


def test_a_reader_ends_when_nobody_takes_the_rest(
    library: Halting, started: list[subprocess.Popen[bytes]]
) -> None:
    library.most = SOME
    lists = library.client.file_lists(IDS)
    next(lists)
    assert library.halted.wait(60)
    lists.close()  # type: ignore[attr-defined]

    # By SIGTERM or by the end of its input, whichever it met first; the client halts it still.
    assert started[0].returncode in (-signal.SIGTERM, 0)
    assert library.counts["torrents/files"] < TORRENTS


def test_a_reader_does_not_outlive_a_killed_program(library: Halting) -> None:
    """Not even while it waits for a client that does not answer."""
    library.most = 0
    command = [sys.executable, "-c", STUCK_PROGRAM, library.client._host, *IDS]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        reader = int(program.stdout.readline())
        assert library.halted.wait(60)
        program.kill()
    wait_for(lambda: not is_running(reader), "the end of the reader")


def is_running(pid: int) -> bool:
    with suppress(FileNotFoundError, ProcessLookupError):
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state not in ("Z", "X")
    return False
