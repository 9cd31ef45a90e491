"""The commands as a person and as a script see them: text, JSON, exit codes, refusals."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from tests.support.catalog_lab import CatalogLab, document, settle
from tests.support.filesystems import tmpfs
from tests.support.lab import hardlink_tree
from tests.support.listed_client import ListedClient, a_file, a_torrent
from tests.support.simulated import SimulatedClient
from tests.support.torrents import make_torrent

from hashall import journal
from hashall.app import App
from hashall.catalog import open_catalog
from hashall.cli import cli
from hashall.hashing import ChangedWhileReading
from seedkeep import clock, console

FILM = {"Film/film.mkv": b"film", "Film/Subs/de.srt": b"subs"}


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    err: str


@dataclass
class Terminal:
    """A person with a folder, a catalog beside it, and a client in memory."""

    folder: Path
    client: ListedClient
    capture: pytest.CaptureFixture[str]

    @property
    def files(self) -> Path:
        return self.folder / "files"

    @property
    def db(self) -> Path:
        return self.folder / "catalog.db"

    def run(self, *arguments: str | Path) -> Answer:
        code = console.run(cli, [*map(str, arguments), "--db", str(self.db)], "hashall")
        return Answer(code, *self.capture.readouterr())

    def text(self, *arguments: str | Path) -> str:
        """The output of a command that succeeds without a remark."""
        answer = self.run(*arguments)
        assert (answer.code, answer.err) == (0, "")
        return answer.out

    def write(self, name: str, content: bytes) -> Path:
        path = self.files / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        settle(path)
        return path

    def seed(self, name: str = "Film", below: str = "seeds") -> str:
        for relpath, content in FILM.items():
            self.write(f"{below}/{relpath}", content)
        torrent = a_torrent(name, self.files / below, category="movies")
        return self.client.add(torrent, {key: len(value) for key, value in FILM.items()})

    def cross_seed(self, name: str, below: str) -> str:
        hardlink_tree(self.files / "seeds/Film", self.files / below / "Film")
        torrent = a_torrent(name, self.files / below)
        return self.client.add(torrent, {key: len(value) for key, value in FILM.items()})

    def look(self) -> None:
        self.text("scan", self.files)
        self.text("payload", "sync")


@pytest.fixture
def terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Terminal:
    client = ListedClient()
    monkeypatch.setattr(App, "client", lambda _: client)
    (tmp_path / "files").mkdir()
    return Terminal(tmp_path, client, capsys)


# -- scan


def test_scan_tells_what_it_found(terminal: Terminal) -> None:
    film = terminal.write("Film/film.mkv", bytes(2048))
    os.link(film, terminal.files / "link.mkv")
    (terminal.files / "short cut").symlink_to(film)

    assert terminal.text("scan", terminal.files) == (
        f"scanned {terminal.files} (device 1)\n"
        "2 added, 0 changed, 0 unchanged, 0 moved, 0 deleted\n"
        "1 file hashed (2.0 KiB)\n"
        "skipped 1: symlink\n"
    )
    assert terminal.text("scan", terminal.files) == (
        f"scanned {terminal.files} (device 1)\n"
        "0 added, 0 changed, 2 unchanged, 0 moved, 0 deleted\n"
        "0 files hashed (0 B)\n"
        "skipped 1: symlink\n"
    )


def test_scan_in_json_has_every_number(terminal: Terminal) -> None:
    terminal.write("film.mkv", b"film")

    found = document(terminal.text("scan", terminal.files, "--json"), "scan")

    assert found == {
        "added": 1,
        "changed": 0,
        "unchanged": 0,
        "deleted": 0,
        "moved": 0,
        "hashes": {"files": 1, "bytes": 4, "sampled": 0, "changing": []},
        "skipped": {},
        "unreadable": {},
        "given_up": [],
        "notes": {},
        "roots": [{"path": str(terminal.files), "device_id": 1}],
    }


def test_scan_says_what_could_not_be_read_and_ends_with_4(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = terminal.write("closed\n/film.mkv", b"film").parent
    real = os.scandir
    inode = closed.stat().st_ino

    def refuse(fd: int) -> object:
        if os.fstat(fd).st_ino == inode:
            raise PermissionError(13, "Permission denied")
        return real(fd)

    monkeypatch.setattr(os, "scandir", refuse)
    answer = terminal.run("scan", terminal.files)

    assert answer.code == 4
    assert answer.out.endswith(
        "1 could not be read; what lies below is not covered:\n"
        f"  {terminal.files}/closed\\n: Permission denied\n"
    )
    assert terminal.text("status").endswith(
        "not covered, because the last scan could not read it:\n"
        f"  {terminal.files}/closed\\n: Permission denied\n"
    )


def test_long_lists_are_cut_in_text_and_whole_in_json(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(25):
        terminal.write(f"{number:02}/x", b"x")

    def refuse(fd: int) -> object:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("hashall.scan_read.open_item", lambda *_: refuse(0))
    assert terminal.run("scan", terminal.files).out.endswith(
        f"  {terminal.files}/19/x: Permission denied\n  … and 5 more (--json lists all)\n"
    )
    found = document(terminal.run("scan", terminal.files, "--json").out, "scan")
    assert len(found["unreadable"]) == 25


def test_scan_tells_of_files_that_changed_meanwhile(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = terminal.write("film.mkv", b"film")

    def changing(*_: object, **__: object) -> None:
        raise ChangedWhileReading("changed")

    monkeypatch.setattr("hashall.scan_read.read_item", changing)

    assert terminal.text("scan", terminal.files).endswith(
        f"1 changed while they were read and have no hash; scan again later:\n  {path}\n"
    )


@pytest.mark.parametrize("policy", ["metadata", "quick", "full"])
def test_every_drift_policy_is_taken(terminal: Terminal, policy: str) -> None:
    terminal.write("film.mkv", b"film")
    assert "1 added" in terminal.text("scan", terminal.files, "--drift-policy", policy)


def test_a_mistyped_root_leaves_no_catalog_behind(terminal: Terminal) -> None:
    answer = terminal.run("scan", terminal.folder / "nowhere")

    assert (answer.code, answer.out) == (2, "")
    assert answer.err == (
        f"error: cannot scan {terminal.folder}/nowhere\n"
        "No such file or directory\n"
        "hint: name a directory that exists\n"
    )
    assert os.listdir(terminal.folder) == ["files"]


# -- payload sync


def test_sync_counts_what_it_mapped(terminal: Terminal) -> None:
    """R-PAY-7"""
    terminal.seed()
    gone = terminal.seed("Gone", "gone")
    terminal.text("scan", terminal.files)
    assert terminal.text("payload", "sync") == "2 torrents, 2 mapped to payloads\n"

    terminal.client.remove(gone)
    assert terminal.text("payload", "sync") == (
        "1 torrent, 1 mapped to payloads\n1 gone from qBittorrent and forgotten\n"
    )


def test_sync_says_what_is_wrong_and_what_to_scan(terminal: Terminal) -> None:
    """R-PAY-6"""
    terminal.text("scan", terminal.files)
    film = terminal.seed("Film\x1b[31m")
    bad = terminal.client.add(a_torrent("Bad", "/"), [a_file("../x")])
    lines = terminal.text("payload", "sync").splitlines()

    assert lines[:2] == ["2 torrents, 0 mapped to payloads", "2 could not be mapped completely:"]
    assert sorted(lines[2:4]) == sorted(
        [
            f"  {film[:12]} Film\\x1b[31m: needs-scan: 2 of 2 files",
            f"  {bad[:12]} Bad: the torrent lists a file as '../x'",
        ]
    )
    assert lines[4:] == [
        "run `hashall scan` on:",
        f"  {terminal.files}/seeds/Film",
        f"  {terminal.files}/seeds/Film/Subs",
    ]
    (client,) = document(terminal.text("payload", "sync", "--json"), "sync")["clients"]
    assert (client["client"], client["error"]) == ("main", None)
    found = client["result"]
    assert found["forgotten"] == 0
    outcome = next(o for o in found["outcomes"] if o["torrent_id"] == film)
    assert outcome["needs_scan"] == [f"{terminal.files}/seeds/{name}" for name in FILM]


# -- payload show, siblings, list


def test_show_tells_identity_place_and_members(terminal: Terminal) -> None:
    """R-PAY-8"""
    film = terminal.seed()
    terminal.cross_seed("Film [x]", "cross")
    terminal.look()
    found = document(terminal.text("payload", "show", film, "--json"), "torrent")
    payload = found["payload"]["payload"]

    assert terminal.text("payload", "show", film) == (
        f"torrent      {film}\n"
        "name         Film\n"
        f"save path    {terminal.files}/seeds\n"
        "category     movies\n"
        f"payload      {payload['payload_id']} (complete)\n"
        f"payload hash {payload['payload_hash']}\n"
        f"content hash {payload['content_hash']}\n"
        f"media hash   {payload['media_hash']}\n"
        "device       1\n"
        f"root         {found['payload']['root']}\n"
        "size         8 B in 2 files\n"
        "siblings     1\n"
        "\n"
        "SIZE  SHA-256           FILE\n"
        f" 4 B  {payload['members'][0]['sha256'][:16]}  Subs/de.srt\n"
        f" 4 B  {payload['members'][1]['sha256'][:16]}  film.mkv\n"
    )
    assert re.fullmatch("[0-9a-f]{64}", payload["payload_hash"])
    assert len(found["group"]) == 2


def test_show_tells_why_there_is_no_payload(terminal: Terminal) -> None:
    film = terminal.seed()
    terminal.look()
    terminal.client.change(film, progress=0.25)
    terminal.run("payload", "sync")

    text = terminal.text("payload", "show", film)

    assert "problem      incomplete: 25.0% in the client\npayload      none\n" in text


def test_show_marks_members_that_need_a_scan(terminal: Terminal) -> None:
    terminal.text("scan", terminal.files)
    film = terminal.seed()
    terminal.run("payload", "sync")

    text = terminal.text("payload", "show", film)

    assert "problem      needs-scan: 2 of 2 files\n" in text
    assert "(incomplete)\npayload hash - (needs a scan)\ncontent hash -\nmedia hash   -\n" in text
    assert " 4 B  needs scan  film.mkv\n" in text


def test_siblings_lists_what_moves_together_and_why(terminal: Terminal) -> None:
    """R-PAY-9"""
    film = terminal.seed()
    cross = terminal.cross_seed("Film [x]", "cross")
    part = terminal.client.add(
        a_torrent("Part", terminal.files / "seeds"), [a_file("Film/film.mkv", 4)]
    )
    terminal.look()
    lines = terminal.text("payload", "siblings", film).splitlines()

    assert lines[0].split() == ["TORRENT", "SHARES", "CATEGORY", "SAVE", "PATH", "NAME"]
    assert {(line.split()[0], re.split(r"\s{2,}", line)[1]) for line in lines[1:4]} == {
        (film, "(itself)"),
        (cross, "payload"),
        (part, "some files"),
    }
    assert lines[4] == "3 torrents share these bytes and move together"
    found = document(terminal.text("payload", "siblings", film, "--json"), "siblings")
    assert {row["torrent_id"] for row in found["group"]} == {film, cross, part}

    (terminal.files / "cross").rename(terminal.files / "away")
    terminal.run("payload", "sync")
    text = terminal.text("payload", "siblings", film)
    assert re.search(f"{cross} +payload, when last seen ", text)
    assert "3 torrents share these bytes" in text


def test_a_torrent_without_siblings_is_said_to_have_none(terminal: Terminal) -> None:
    film = terminal.seed()
    terminal.look()
    assert terminal.text("payload", "siblings", film).endswith(
        "no other torrent shares its bytes\n"
    )


@pytest.mark.root
def test_the_same_payload_on_another_device_is_pointed_out(terminal: Terminal) -> None:
    """R-PAY-4"""
    with tmpfs(terminal.files / "pool"):
        film = terminal.seed()
        copy = terminal.seed("Film copy", "pool")
        terminal.look()
        shown = terminal.text("payload", "show", film)
        siblings = terminal.text("payload", "siblings", film)

    assert f"also on      device 2: {terminal.files}/pool/Film\n" in shown
    assert siblings.endswith(
        f"the same payload is also on device 2 at {terminal.files}/pool/Film: {copy[:12]}\n"
    )


def test_list_has_a_line_for_each_payload(terminal: Terminal) -> None:
    terminal.seed()
    terminal.cross_seed("Film [x]", "cross")
    terminal.look()
    head, line = terminal.text("payload", "list").splitlines()

    assert head.split() == [
        *("ID", "PAYLOAD", "DEVICE", "SIDE", "SIZE", "FILES", "TORRENTS", "ROOT")
    ]
    assert re.fullmatch(
        r"1  [0-9a-f]{12} +1  other   8 B +2 +2  .*/(seeds|cross)/Film", line.strip()
    )
    (found,) = document(terminal.text("payload", "list", "--json"), "payloads")
    assert len(found["torrents"]) == 2


def test_list_of_nothing_says_what_to_do(terminal: Terminal) -> None:
    terminal.text("scan", terminal.files)
    assert terminal.text("payload", "list") == "no payloads; run `hashall payload sync`\n"


# -- which torrent


@pytest.mark.parametrize("case", [str.upper, str.lower])
def test_a_torrent_is_found_by_id_v1_v2_and_their_beginnings(
    terminal: Terminal, case: Callable[[str], str]
) -> None:
    film = terminal.seed()
    v1, v2 = "abcdef01" * 5, "12345678" * 8
    terminal.client.change(film, infohash_v1=v1, infohash_v2=v2)
    terminal.look()

    for text in (film, v1, v2, film[:6], v1[:10], v2[:50]):
        found = document(terminal.text("payload", "show", case(text), "--json"), "torrent")
        assert found["instance"]["torrent_id"] == film


@pytest.mark.parametrize(
    ("text", "brief"),
    [
        ("nothex", "'nothex' is not a torrent hash"),
        ("abc", "'abc' is not a torrent hash"),
        ("f" * 40, f"the catalog knows no torrent with the hash {'f' * 40}"),
    ],
)
@pytest.mark.parametrize("command", ["show", "siblings"])
def test_an_unknown_hash_is_a_clear_sentence(
    terminal: Terminal, command: str, text: str, brief: str
) -> None:
    terminal.seed()
    terminal.look()

    answer = terminal.run("payload", command, text)

    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith(f"error: {brief}\n")
    assert "hint: " in answer.err


def test_an_ambiguous_beginning_lists_what_it_fits(terminal: Terminal) -> None:
    one, two = terminal.seed(), terminal.seed("Two", "two")
    for film, digit in ((one, "1"), (two, "2")):
        terminal.client.change(film, infohash_v2="abcdef" + digit * 58)
    terminal.look()

    answer = terminal.run("payload", "show", "abcdef")

    assert answer.code == 2
    assert answer.err.startswith("error: abcdef fits 2 torrents\n")
    assert f"{one}  Film\n" in answer.err
    assert f"{two}  Two\n" in answer.err


def test_before_the_first_sync_no_torrent_is_known(terminal: Terminal) -> None:
    terminal.text("scan", terminal.files)

    answer = terminal.run("payload", "show", "abcdef")

    assert answer.code == 2
    assert answer.err == (
        "error: the catalog knows no torrents\nhint: run `hashall payload sync` first\n"
    )


# -- devices and status


def test_devices_are_listed_with_what_was_catalogued(terminal: Terminal) -> None:
    film = terminal.write("film.mkv", b"film")
    os.link(film, terminal.files / "link.mkv")
    terminal.text("scan", terminal.files)
    (found,) = document(terminal.text("devices", "list", "--json"), "devices")
    device = found["device"]
    head, line, *rest = terminal.text("devices", "list").splitlines()

    assert (found["names"], found["inodes"], found["bytes"]) == (2, 1, 4)
    assert found["mount_points"] != []
    assert head.split()[:3] == ["ID", "FILESYSTEM", "STABLE"]
    assert line.split()[:3] == ["1", device["fs_key"], "yes" if device["stable"] else "no"]
    assert bool(rest) == (not device["stable"])


@pytest.mark.parametrize("stable", [True, False])
def test_a_filesystem_without_a_lasting_id_is_marked(terminal: Terminal, stable: bool) -> None:
    with open_catalog(terminal.db, create=True) as catalog:
        catalog.devices.register("ext4:1", "ext4", stable=stable)

    text = terminal.text("devices", "list")

    assert "(not mounted)" in text
    assert ("STABLE no: this filesystem has no lasting id" in text) == (not stable)


def test_status_tells_what_is_known_and_how_fresh(terminal: Terminal) -> None:
    """R-CAT-11"""
    terminal.seed()
    terminal.seed("Other", "other")
    half = terminal.client.add(a_torrent("Half", "/nowhere"), [a_file("x")])
    now = clock.now()
    terminal.look()
    with clock.using(now=lambda: now):  # a machine under load takes more than a second
        text = terminal.text("status")

    assert text == (
        f"catalog   {terminal.db}\n"
        "devices   1\n"
        "files     4 (16 B)\n"
        "torrents  3, 1 with problems\n"
        "synced    main, all torrents: just now\n"
        "payloads  1, 0 need a scan\n"
        "\n"
        "DEVICE  SCANNED   GAPS  ROOT\n"
        f"     1  just now     0  {terminal.files}\n"
    )
    found = document(terminal.text("status", "--json"), "status")
    assert (found["torrents"], found["torrents_with_problems"]) == (3, 1)
    assert found["roots"][0]["path"] == str(terminal.files)
    assert half not in text


@pytest.mark.parametrize(
    ("age", "shown"),
    [
        (timedelta(milliseconds=300), "just now"),
        (timedelta(seconds=-5), "just now"),
        (timedelta(days=-3650), "in the future (a wrong clock)"),
        (timedelta(seconds=59.9), "59s ago"),
        (timedelta(minutes=5, seconds=30), "5m ago"),
        (timedelta(hours=5, minutes=30, seconds=3), "5h30m ago"),
        (timedelta(days=3, hours=2, minutes=30), "3d2h ago"),
    ],
)
def test_an_age_is_as_exact_as_one_wants_to_read(
    terminal: Terminal, age: timedelta, shown: str
) -> None:
    now = clock.now()
    with clock.using(now=lambda: now - age):
        terminal.text("scan", terminal.files)
    with clock.using(now=lambda: now):
        assert f"  {shown} " in terminal.text("status")


def test_status_names_a_root_that_was_never_scanned_to_its_end(terminal: Terminal) -> None:
    with open_catalog(terminal.db, create=True) as catalog:
        catalog.devices.register("ext4:1", "ext4", stable=True)
        catalog.scans.begin(1, "films")

    assert terminal.text("status").endswith(
        "     1  never to its end     0  films on device 1 (not mounted)\n"
    )


def test_status_names_open_runs_and_the_commands_that_end_them(terminal: Terminal) -> None:
    """R-REH-13"""
    with open_catalog(terminal.db, create=True) as catalog:
        journal.begin(
            catalog,
            kind="demote",
            plan_id="p",
            plan={},
            steps=[],
            torrents=[],
            actor="a",
            reason="r",
            retain=timedelta(0),
        )

    assert terminal.text("status").endswith(
        "run 1 was interrupted: `rehome resume 1` or `rehome rollback 1`\n"
    )


# -- a catalog that cannot be used

READERS = (
    ("status",),
    ("devices", "list"),
    ("payload", "list"),
    ("payload", "sync"),
    ("payload", "show", "abcdef"),
    ("payload", "siblings", "abcdef"),
)


@pytest.mark.parametrize("command", READERS, ids=" ".join)
def test_a_missing_catalog_is_said_and_not_made(
    terminal: Terminal, command: tuple[str, ...]
) -> None:
    answer = terminal.run(*command)

    assert (answer.code, answer.out) == (2, "")
    assert answer.err == (
        f"error: there is no catalog at {terminal.db}\n"
        "hint: make one with: hashall scan PATH…  (or name another with --db)\n"
    )
    assert not terminal.db.exists()


@pytest.mark.parametrize("command", [*READERS, ("scan", "/dev/shm")], ids=" ".join)
def test_a_damaged_catalog_is_said_and_left_as_it_is(
    terminal: Terminal, command: tuple[str, ...]
) -> None:
    terminal.db.write_bytes(b"this is no database" * 1000)
    answer = terminal.run(*command)

    assert (answer.code, answer.out) == (1, "")
    assert answer.err.startswith(f"error: {terminal.db} is damaged or is not a database\n")
    assert "hint: check the path; restore the file from a backup" in answer.err
    assert terminal.db.read_bytes() == b"this is no database" * 1000


@pytest.mark.parametrize("command", [*READERS, ("scan", "/dev/shm")], ids=" ".join)
def test_a_catalog_of_a_newer_version_is_said_and_left_as_it_is(
    terminal: Terminal, command: tuple[str, ...]
) -> None:
    with open_catalog(terminal.db, create=True) as catalog:
        catalog.db.execute(
            "UPDATE schema_version SET version = 99"
            " WHERE version = (SELECT max(version) FROM schema_version)"
        )
    before = terminal.db.read_bytes()
    answer = terminal.run(*command, "--json")

    assert answer.code == 1
    error = document(answer.out, "error")
    assert error["code"] == "database-newer"
    assert error["brief"] == f"{terminal.db} was written by a newer version of this program"
    assert error["hint"] == "upgrade the program; nothing was changed"
    assert terminal.db.read_bytes() == before


# -- with a client over HTTP


@pytest.fixture
def simulated() -> Iterator[SimulatedClient]:
    with SimulatedClient("5.1", password="right horse") as client:
        yield client


def over_http(lab: CatalogLab, client: SimulatedClient, password: str) -> Answer:
    code = "from hashall.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "payload", "sync", "--db", lab.db_path],
        env={**os.environ, "HASHALL_QBIT_URL": client.url, "HASHALL_QBIT_PASSWORD": password},
        capture_output=True,
        text=True,
        check=False,
    )
    return Answer(done.returncode, done.stdout, done.stderr)


def test_the_program_reads_a_client_over_http_and_changes_nothing_there(
    lab: CatalogLab, simulated: SimulatedClient
) -> None:
    """R-PAY-7"""
    made = make_torrent(lab.root, "Film", {"film.mkv": 100_000, "a.srt": b"subs"})
    simulated.add(made.data, lab.root)
    lab.scan()
    before = simulated.api.torrents_info()

    answer = over_http(lab, simulated, "right horse")

    assert (answer.code, answer.out) == (0, "1 torrent, 1 mapped to payloads\n")
    assert simulated.api.torrents_info() == before


def test_a_wrong_password_is_tried_once_and_said(
    lab: CatalogLab, simulated: SimulatedClient
) -> None:
    before = simulated.requests("auth/login")
    answer = over_http(lab, simulated, "wrong")

    assert (answer.code, answer.out) == (5, "")
    assert answer.err.startswith("error: ")
    assert "Traceback" not in answer.err
    assert simulated.requests("auth/login") == before + 1
    assert lab.catalog.payloads.instances() == []


def test_a_client_that_is_down_is_said(lab: CatalogLab, simulated: SimulatedClient) -> None:
    simulated.stop()
    answer = over_http(lab, simulated, "right horse")

    assert (answer.code, answer.out) == (5, "")
    assert f"error: qBittorrent at {simulated.url} does not answer\n" in answer.err
    simulated.start()


def test_which_files_are_extras_is_a_setting_that_the_next_sync_takes_over(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R-PAY-11"""
    for below, subtitles in (("seeds", b"subs"), ("other", b"other subs")):
        terminal.write(f"{below}/Film/film.mkv", b"film")
        terminal.write(f"{below}/Film/Subs/de.srt", subtitles)
        sizes = {"Film/film.mkv": 4, "Film/Subs/de.srt": len(subtitles)}
        terminal.client.add(a_torrent(f"Film {below}", terminal.files / below), sizes)
    terminal.look()
    assert terminal.text("payload", "candidates") == "no payload resembles another\n"
    monkeypatch.setenv("HASHALL_PAYLOAD_EXTRAS", "nfo srt")
    asked = len(terminal.client.asked_for_files)
    terminal.text("payload", "sync")
    assert "same media, other extras" in terminal.text("payload", "candidates")
    assert len(terminal.client.asked_for_files) == asked  # the catalog has all that it takes
    third = terminal.write("third/Film/film.mkv", b"film").parent.parent
    terminal.write("third/Film/Subs/de.srt", b"others again")
    sizes = {"Film/film.mkv": 4, "Film/Subs/de.srt": 12}
    terminal.client.add(a_torrent("Film third", third), sizes)
    terminal.look()
    assert f"{third}/Film" in terminal.text("payload", "candidates")
    monkeypatch.delenv("HASHALL_PAYLOAD_EXTRAS")
    terminal.text("payload", "sync")
    assert terminal.text("payload", "candidates") == "no payload resembles another\n"
