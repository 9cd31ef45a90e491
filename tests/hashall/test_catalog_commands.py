"""The commands that look into the catalog: text, JSON, exit codes, errors, names of any bytes."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import re
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest
from tests.support.catalog_lab import CatalogLab, document
from tests.support.filesystems import lab_folder, tmpfs
from tests.support.listed_client import ListedClient, a_torrent

from hashall.cli import COMMANDS, cli
from hashall.fsnew import new_file
from hashall.payload_sync import sync
from hashall.qbittorrent import PathMap
from seedkeep import console

ODD = os.fsdecode(b"caf\xe9\n.mkv")
MINE = ("db", "devices", "doctor", "dupes", "export", "find", "links", "roots", "stats")
MORE = ("status", "tree-hash", "verify")


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    err: str


@dataclass
class Terminal:
    lab: CatalogLab
    capture: pytest.CaptureFixture[str]

    def run(self, *arguments: str | Path) -> Answer:
        words = [*map(str, arguments), "--db", str(self.lab.db_path)]
        return Answer(console.run(cli, words, "hashall"), *self.capture.readouterr())

    def text(self, *arguments: str | Path, code: int = 0) -> str:
        answer = self.run(*arguments)
        assert (answer.code, answer.err) == (code, "")
        return answer.out

    def json(self, kind: str, *arguments: str | Path, code: int = 0) -> Any:
        answer = self.run(*arguments, "--json")
        assert answer.code == code
        return document(answer.out, kind)


@pytest.fixture
def terminal(lab: CatalogLab, capsys: pytest.CaptureFixture[str]) -> Terminal:
    """One film seeded, in a library, and copied under an odd name."""
    film = lab.write("seeds/Film/film.mkv", b"film" * 500)
    lab.write(ODD, b"film" * 500)
    (lab.root / "movies").mkdir()
    os.link(film, lab.root / "movies/Film.mkv")
    lab.scan()
    client = ListedClient()
    client.add(a_torrent("Film", lab.root / "seeds", category="tv"), {"Film/film.mkv": 2000})
    sync(client, lab.places(), PathMap())
    return Terminal(lab, capsys)


def commands() -> list[str]:
    found = []
    for name in (*MINE, *MORE):
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        children = command.commands if isinstance(command, click.Group) else {"": command}
        found += [f"{name} {child}".strip() for child in children]
    return found


@pytest.mark.parametrize("call", commands())
def test_every_command_has_help_and_those_that_are_new_an_example(
    call: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert console.run(cli, [*call.split(), "--help"], "hashall") == 0
    out = capsys.readouterr().out
    assert "Example: hashall " + call in out or call in ("devices list", "status")


def test_every_command_of_this_page_is_registered() -> None:
    assert {*MINE, *MORE} <= COMMANDS.keys()


# -- dupes and trees


def test_dupes_lists_copies_with_all_their_names(terminal: Terminal) -> None:
    root = terminal.lab.root
    assert terminal.text("dupes") == (
        "2 copies of 2.0 KiB, hardlinks save 2.0 KiB  " + sha()[:16] + "\n"
        f"  {root}/movies/Film.mkv\n    = {root}/seeds/Film/film.mkv\n"
        f"  {root}/caf\\xe9\\n.mkv\n"
        "\n"
        "1 group with 2.0 KiB beyond one copy; hardlinks would save 2.0 KiB\n"
    )
    assert terminal.text("dupes", "--min-size", "1MB") == "no duplicates\n"
    (group,) = terminal.json("duplicates", "dupes", "--cross-device")["groups"]
    assert [copy["paths"] for copy in group["copies"]] == [
        [f"{root}/movies/Film.mkv", f"{root}/seeds/Film/film.mkv"],
        [f"{root}/{ODD}"],
    ]
    answer = terminal.run("dupes", "--min-size", "1M")
    assert answer.code == 2
    assert "write MB (1000s) or MiB (1024s)" in answer.err


def sha() -> str:
    return hashlib.sha256(b"film" * 500).hexdigest()


def test_equal_directories_are_listed(terminal: Terminal) -> None:
    lab = terminal.lab
    for side in ("one", "two"):
        lab.write(f"{side}/a", b"a")
    lab.write("one b", b"b")
    lab.scan()
    assert terminal.text("dupes", "--trees").startswith(
        "2 copies of 1 B in 1 file, 1 B beyond one copy"
    )
    (group,) = terminal.json("equal_trees", "dupes", "--trees")["groups"]
    assert [copy["path"] for copy in group["copies"]] == [f"{lab.root}/one", f"{lab.root}/two"]


def test_a_tree_is_hashed_and_compared(terminal: Terminal) -> None:
    root = terminal.lab.root
    view = terminal.json("tree", "tree-hash", root)
    assert terminal.text("tree-hash", root).startswith(f"tree hash  {view['tree_hash']}\n")
    same = terminal.text("tree-hash", root / "movies", root / "movies")
    assert same.endswith("the trees are equal\n")
    differ = terminal.json("trees", "tree-hash", root / "movies", root / "seeds", code=1)
    assert differ["equal"] is False
    n = terminal.lab.spot().device.device_id
    terminal.lab.db.execute(f"UPDATE inodes_{n} SET sha256 = NULL")
    assert terminal.json("tree", "tree-hash", root, code=4)["tree_hash"] is None
    assert terminal.json("trees", "tree-hash", root, root, code=4)["equal"] is None


def test_a_tree_that_is_not_known_says_what_to_do(terminal: Terminal) -> None:
    answer = terminal.run("tree-hash", terminal.lab.folder)
    assert answer.code == 4  # known only as the way to what was scanned
    new = terminal.lab.root / "new"
    new.mkdir()
    answer = terminal.run("tree-hash", new)
    assert (answer.code, f"hint: hashall scan {new}\n" in answer.err) == (2, True)


# -- links and find


def test_links_lists_every_name_with_its_torrents(terminal: Terminal) -> None:
    root = terminal.lab.root
    text = terminal.text("links", root / "movies/Film.mkv")
    assert "  proved: 2 names known, 2 on the disk\n" in text
    assert f"  {root}/movies/Film.mkv  (no torrent)\n" in text
    assert "Film in tv)" in text

    os.link(root / "movies/Film.mkv", terminal.lab.folder / "outside")
    (found,) = terminal.json("links", "links", root / "seeds/Film/film.mkv", code=3)
    assert (found["verdict"], found["nlink"]) == ("unaccounted", 3)
    assert "no scan has seen the other names" in found["reason"]
    (root / "movies/Film.mkv").unlink()
    (terminal.lab.folder / "outside").unlink()
    (found,) = terminal.json("links", "links", root / "seeds/Film/film.mkv", code=3)
    assert "some of these names are gone" in found["reason"]


def test_links_of_a_directory_are_those_of_each_inode(terminal: Terminal) -> None:
    text = terminal.text("links", terminal.lab.root)
    assert text.endswith("2 files, all of them proved\n")
    (terminal.lab.root / ODD).unlink()
    found = terminal.json("links", "links", terminal.lab.root, code=3)
    gone = next(one for one in found if one["path"].endswith(ODD))
    assert (gone["verdict"], gone["nlink"]) == ("unknown", 0)
    (terminal.lab.root / "empty").mkdir()
    terminal.lab.scan()
    assert (
        terminal.text("links", terminal.lab.root / "empty") == "the catalog knows no file there\n"
    )


def test_links_of_a_file_that_was_replaced_are_unknown(terminal: Terminal) -> None:
    new = terminal.lab.folder / "new"
    new.write_bytes(b"new")
    new.rename(terminal.lab.root / ODD)
    (found,) = terminal.json("links", "links", terminal.lab.root / ODD, code=3)
    assert (found["verdict"], found["nlink"]) == ("unknown", 0)
    assert "another file now: scan again" in found["reason"]


def test_links_of_what_no_scan_has_seen(terminal: Terminal) -> None:
    new = terminal.lab.write("new")
    answer = terminal.run("links", new)
    assert (answer.code, "does not know the file" in answer.err) == (2, True)
    new.unlink()
    new.mkdir()
    answer = terminal.run("links", new)
    assert (answer.code, "does not know the directory" in answer.err) == (2, True)
    assert terminal.run("links", "/proc/self/status").code == 2


@pytest.mark.parametrize("command", ["links", "tree-hash", "verify"])
def test_a_mistyped_path_is_no_result(terminal: Terminal, command: str) -> None:
    """Codes of their own say that trees differ, that a file is damaged, that names are missing."""
    nowhere = terminal.lab.root / "nowhere"
    answer = terminal.run(command, nowhere)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err == (
        f"error: cannot look at {nowhere}\nNo such file or directory\nhint: check the path\n"
    )


def test_a_path_of_a_disk_that_is_not_mounted_names_the_disk(terminal: Terminal) -> None:
    with lab_folder() as folder:
        with tmpfs(folder / "pool") as pool:
            (pool / "film").write_bytes(b"film")
            terminal.lab.scan(pool)
        hint = f"hint: mount device 2, which was at {pool}\n"
        assert terminal.run("tree-hash", pool / "seeds").err.endswith(hint)


def test_a_file_is_no_tree(terminal: Terminal) -> None:
    film = terminal.lab.root / ODD
    answer = terminal.run("tree-hash", film)
    assert (answer.code, "is no directory\nhint: name its directory" in answer.err) == (2, True)


def test_files_are_found_by_hash_name_and_inode(terminal: Terminal) -> None:
    root = terminal.lab.root
    by_name = terminal.json("found", "find", "--name", "*.mkv")
    assert [file["path"] for file in by_name] == [
        f"{root}/{ODD}",
        f"{root}/movies/Film.mkv",
        f"{root}/seeds/Film/film.mkv",
    ]
    assert terminal.json("found", "find", "--hash", sha()[:10].upper()) == by_name
    inode = (root / ODD).stat().st_ino
    assert terminal.json("found", "find", "--inode", str(inode)) == by_name[:1]
    assert terminal.json("found", "find", "--name", "caf*") == by_name[:1]
    assert terminal.text("find", "--name", "[!a-z]ilm.mkv").count("\n") == 2
    assert terminal.text("find", "--name", "nothing") == "nothing found\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--hash", "xyz"), "xyz is no SHA-256"),
        (("--hash", "abc"), "is no SHA-256"),
        ((), "Give one of --hash, --name and --inode"),
        (("--hash", "a" * 64, "--name", "x"), "Give one of"),
        (("--inode", "x"), "not a valid integer"),
    ],
)
def test_find_says_what_is_wrong_with_a_question(
    terminal: Terminal, words: tuple[str, ...], said: str
) -> None:
    answer = terminal.run("find", *words)
    assert answer.code == 2
    assert said in answer.err


# -- devices, roots, stats


def test_a_device_is_shown_named_preferred_and_forgotten(terminal: Terminal) -> None:
    root = terminal.lab.root
    assert terminal.text("devices", "alias", "1", "stash") == (
        "device 1: alias stash, preferred mount point -\n"
    )
    assert "\n1 stash  " in terminal.text("devices", "list")
    shown = terminal.json("device", "devices", "show", "stash")
    assert shown["device"]["alias"] == "stash"
    assert "device     1\nalias      stash\n" in terminal.text("devices", "show", root)
    point = shown["mount_points"][0]
    assert terminal.json("device_set", "devices", "prefer", "1", point)[
        "preferred_mount_point"
    ] == (point)
    assert "stash, preferred mount point -" in terminal.text("devices", "prefer", "1", "--remove")
    assert terminal.json("device_set", "devices", "alias", "1", "--remove")["alias"] is None
    for words in (("alias", "1"), ("alias", "1", "x", "--remove"), ("prefer", "1")):
        assert terminal.run("devices", *words).code == 2
    assert terminal.json("forgotten", "devices", "forget", "1")["done"] is False
    assert "device 1 is forgotten: 3 names" in terminal.text("devices", "forget", "1", "--force")
    assert terminal.text("stats") == "nothing was scanned yet\n"
    assert terminal.text("roots") == "nothing was scanned yet\n"


def test_roots_and_figures(terminal: Terminal) -> None:
    lab = terminal.lab
    text = terminal.text("roots")
    assert re.search(rf"^     1  .* (ago|now) +0  {lab.root}$", text, re.MULTILINE)
    lab.db.execute("INSERT INTO scan_gaps SELECT 1, path || '/x', 'closed', '' FROM scan_roots")
    assert "(device 1): closed" in terminal.text("roots")
    assert len(terminal.json("roots", "roots")) == 1
    (of_device,) = terminal.json("figures", "stats")
    figures = of_device["figures"]
    assert (figures["names"], figures["inodes"], figures["bytes"]) == (3, 2, 4000)
    assert (figures["linked_inodes"], figures["hashed_inodes"]) == (1, 2)
    assert "1           3       2  3.9 KiB  2.0 KiB       1             0\n" in terminal.text(
        "stats"
    )


# -- verify


def test_verify_says_and_tells_by_its_code(terminal: Terminal) -> None:
    assert terminal.text("verify") == "2 files read (3.9 KiB), 2 as they were, 0 damaged\n"
    film = terminal.lab.root / ODD
    seen = film.stat()
    film.write_bytes(b"FILM" * 500)
    os.utime(film, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    result = terminal.json("verified", "verify", terminal.lab.root, "--budget", "10MB", code=1)
    assert [damage["path"] for damage in result["damaged"]] == [str(film)]
    assert terminal.run("verify", "--older-than", "90").code == 2
    assert terminal.json("verified", "verify", "--older-than", "90d")["read"] == 0


def test_verify_ends_with_4_when_something_cannot_be_read(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hashall import verify

    def broken(*_: Any, **__: Any) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(verify, "hash_descriptor", broken)
    assert len(terminal.json("verified", "verify", code=4)["unreadable"]) == 2


def test_verify_may_be_interrupted(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    from hashall import verify

    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(verify, "verify", interrupted)
    answer = terminal.run("verify")
    assert answer.code == 130
    assert "the same command goes on from there" in answer.err


# -- export


def test_export_has_every_file_in_json_and_csv(terminal: Terminal, tmp_path: Path) -> None:
    root = terminal.lab.root
    exported = json.loads(terminal.text("export"))
    assert [file["path"] for file in exported["files"]] == [
        f"{root}/{ODD}",
        f"{root}/movies/Film.mkv",
        f"{root}/seeds/Film/film.mkv",
    ]
    assert exported["files"][0]["sha256"] == sha()

    target = tmp_path / "files.csv"
    answer = terminal.run("export", "--format", "csv", "-o", target)
    assert (answer.code, answer.err) == (0, f"3 files written to {target}\n")
    rows = list(csv.DictReader(io.StringIO(os.fsdecode(target.read_bytes()), newline="")))
    assert [row["path"] for row in rows] == [file["path"] for file in exported["files"]]
    assert list(rows[0]) == list(exported["files"][0])

    answer = terminal.run("export", "-o", target)
    assert answer.code == 2
    assert "hint: name a file that does not exist yet" in answer.err


@pytest.mark.root
@pytest.mark.parametrize(
    "command", ["export --output", "link report 1 --format json --limit 5000 --out"]
)
def test_a_file_that_could_not_be_written_whole_is_not_there_at_all(
    terminal: Terminal, command: str
) -> None:
    for number in range(200):
        terminal.lab.write(f"many/{number}", b"%d" % (number // 2))
    terminal.lab.scan()
    terminal.run("link", "plan", "many")
    with lab_folder() as folder, tmpfs(folder / "disk", "16k") as disk:
        answer = terminal.run(*command.split(), disk / "new")
        assert answer.code == 1
        assert "the disk is full" in answer.err
        assert f"{disk}/new: No space left on device" in answer.err
        assert list(disk.iterdir()) == []


def test_what_another_put_in_the_place_of_an_unfinished_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "export"
    with suppress(KeyboardInterrupt), new_file(path, "write the export") as out:
        out.write("half")
        path.rename(tmp_path / "half")
        path.write_text("of somebody else")
        raise KeyboardInterrupt
    assert path.read_text() == "of somebody else"


def test_export_gives_the_bytes_of_a_name_as_they_are(terminal: Terminal) -> None:
    code = "import sys; from hashall.cli import main; sys.argv[0] = 'hashall'; main()"
    words = ["export", "--format", "csv", "--db", str(terminal.lab.db_path)]
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, check=True, timeout=60
    )
    assert b"/caf\xe9\n.mkv" in done.stdout


def test_what_is_not_mounted_is_exported_without_a_path(terminal: Terminal) -> None:
    with lab_folder() as folder, tmpfs(folder / "pool") as pool:
        (pool / "away").write_bytes(b"away")
        terminal.lab.scan(pool)
    files = json.loads(terminal.text("export"))["files"]
    assert [(f["path"], f["relpath"]) for f in files if f["device_id"] == 2] == [(None, "away")]


# -- db and doctor


def test_the_database_is_looked_after(terminal: Terminal, tmp_path: Path) -> None:
    assert terminal.json("database", "db", "status")["versions"]["pending"] == []
    assert "journal    wal\n" in terminal.text("db", "status")
    assert terminal.text("db", "migrate").endswith(": nothing to do\n")
    target = tmp_path / "copy.db"
    assert terminal.text("db", "backup", target).startswith(f"written {target} (")
    assert terminal.run("db", "backup", target).code == 1
    assert terminal.text("db", "check") == "the catalog agrees with itself\n"
    assert terminal.json("check", "db", "check", "--tree")["tree"]["same"] == 3
    (terminal.lab.root / ODD).unlink()
    tree = terminal.json("check", "db", "check", "--tree", code=1)["tree"]
    assert tree["missing"] == [f"{terminal.lab.root}/{ODD}"]


def test_an_empty_catalog_is_said_and_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    db = tmp_path / "catalog.db"
    db.touch()
    for words in (["status"], ["dupes"], ["db", "status"], ["db", "check"]):
        assert console.run(cli, [*words, "--db", str(db)], "hashall") == 2
        assert "is empty" in capsys.readouterr().err
    assert db.stat().st_size == 0


def test_the_doctor_looks_at_what_was_scanned(terminal: Terminal) -> None:
    report = terminal.json("doctor", "doctor")
    assert report["healthy"] is True
    assert str(terminal.lab.root) in [finding["subject"] for finding in report["findings"]]
    nowhere = terminal.lab.root / "none"
    text = terminal.text("doctor", nowhere, code=1)
    assert f"PROBLEM  {nowhere}: No such file or directory\n         fix: mount it" in text


def test_the_doctor_works_without_a_catalog(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["doctor", str(tmp_path), "--db", str(tmp_path / "none/catalog.db"), "--no-probe"]
    assert console.run(cli, words, "hashall") == 0
    assert "there is no catalog at" in capsys.readouterr().out
    assert not (tmp_path / "none").exists()
