"""`rehome config init` on fresh folders: what it finds, asks, writes, and never overwrites."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.support.filesystems import lab_folder, tmpfs
from tests.support.lab import Lab
from tests.support.listed_client import ListedClient, a_torrent
from tests.support.simulated import SimulatedClient

from rehome.config_draft import Choices, config_text, scalar, suggest
from rehome.first_config import ask_roots, remarks
from rehome.survey import Filesystem, SavePath, Survey, survey
from seedkeep.setting_types import PathPair
from seedkeep.settings import Settings, load
from seedkeep.settings_table import (
    LIBRARY_ROOTS,
    PATH_MAP,
    POOL_SEEDING_ROOT,
    QBIT_HOST,
    QBIT_PASSWORD,
    QBIT_USERNAME,
    STASH_SEEDING_ROOT,
)
from seedkeep.yaml_file import parse_yaml

CHOSEN = Choices(host="http://localhost:8080", username="admin")


@pytest.fixture
def sides() -> Iterator[tuple[Path, Path]]:
    """A small filesystem and a larger one."""
    with ExitStack() as stack:
        folder = stack.enter_context(lab_folder())
        stash = stack.enter_context(tmpfs(folder / "stash", "16M"))
        yield stash, stack.enter_context(tmpfs(folder / "pool", "32M"))


def written(config: Path) -> Settings:
    return load("rehome", {"config.file": str(config)}, {"HOME": "/home/ann"})


@pytest.mark.root
def test_a_first_file_from_two_filesystems_is_right_for_the_next_commands(
    sides: tuple[Path, Path], tmp_path: Path
) -> None:
    stash, pool = sides
    with SimulatedClient("5.1", refresh_s=0.05) as client:
        lab = Lab(tmp_path / "home", stash, pool, client)
        lab.config.unlink()
        lab.seed("Film", {"film.mkv": 1000}, below="films")
        lab.seed("Series", {"1.mkv": 1000}, below="series")
        lab.seed("Old", {"old.mkv": 1000}, below="films", on_pool=True)
        client.api.torrents_create_category("films", save_path=str(lab.seeding / "films"))
        flags = ("--db", lab.catalog, "--qbit-url", client.url)
        guessed = lab.run("rehome", "config", "init", *flags)
        assert "is read" not in guessed.stdout
        assert written(lab.config)[STASH_SEEDING_ROOT] is None, "nobody said yes to it"
        assert f"#stash_seeding_root: {lab.seeding}\n" in lab.config.read_text()
        before = lab.config.read_text()
        again = lab.run("rehome", "config", "init", *flags, "--yes", expect=3)
        assert "--force replaces it" in again.stderr
        assert lab.config.read_text() == before

        done = lab.run("rehome", "config", "init", *flags, "--yes", "--force")
        settings = written(lab.config)
        assert settings[STASH_SEEDING_ROOT] == lab.seeding
        assert settings[POOL_SEEDING_ROOT] == lab.pool_seeding / "films"
        assert settings[QBIT_HOST] == client.url
        text = lab.config.read_text()
        assert f"{lab.seeding}/films  (1 torrent, category films)" in text
        assert f"Beside the seeding folder lie: {lab.media}" in text
        assert f"wrote {lab.config}" in done.stdout
        assert "has 3 torrents in 3 folders" in done.stdout
        assert lab.config.with_name("config.yml.old").read_text() == before

        lab.run("hashall", "scan", stash, pool)
        lab.run("hashall", "payload", "sync")
        check = lab.json("rehome", "config", "check")["config_check"]
        assert (check["on_stash"], check["on_pool"]) == (2, 1)


def test_flags_stand_in_the_file_and_roots_that_overlap_do_not(tmp_path: Path) -> None:
    config = tmp_path / "new" / "config.yml"
    base = ("config", "init", "--config", str(config), "--offline")
    roots = ("--stash-seeding-root", "/s/t: #1", "--library-root", "/s/ümlaut")
    wrong = call(*base, *roots, "--pool-seeding-root", "/s/t: #1/pool")
    assert wrong.returncode == 2
    assert "overlap" in wrong.stderr
    assert not config.exists()
    pair = ("--path-map", "/data=/s")
    right = call(*base, *roots, "--pool-seeding-root", "/p", *pair, "--json")
    assert right.returncode == 0, right.stderr
    settings = written(config)
    assert settings[STASH_SEEDING_ROOT] == Path("/s/t: #1")
    assert settings[POOL_SEEDING_ROOT] == Path("/p")
    assert settings[LIBRARY_ROOTS] == (Path("/s/ümlaut"),)
    assert settings[PATH_MAP] == (PathPair("/data", "/s"),)


def test_folders_that_are_not_there_are_named(tmp_path: Path) -> None:
    config, pool = tmp_path / "config.yml", tmp_path / "pool"
    pool.mkdir()
    roots = ("--stash-seeding-root", f"{tmp_path}/stahs", "--pool-seeding-root", str(pool))
    done = call("config", "init", "--config", str(config), "--offline", *roots)
    assert done.returncode == 0, done.stderr
    assert f"{tmp_path}/stahs is no folder here now" in done.stdout
    assert f"{pool} is no folder" not in done.stdout


def test_who_takes_the_suggested_pool_for_the_stash_is_offered_the_other_side(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    small, large = Filesystem("1", "ext4", "/a", 10), Filesystem("2", "ext4", "/b", 20)
    found = Survey(
        version="v5.1.0",
        torrents=2,
        save_paths=(
            SavePath("/a/seeds", Path("/a/seeds"), 1, (), small),
            SavePath("/b/torrents", Path("/b/torrents"), 1, (), large),
        ),
    )
    answers = iter(["/b/torrents/seeding", "", ""])
    monkeypatch.setattr("seedkeep.first_run.ask", lambda _, given="": next(answers) or given)
    assert "the smaller one is taken for the stash" in " ".join(remarks(found))
    chosen = ask_roots(CHOSEN, found)
    assert (chosen.stash, chosen.pool) == (Path("/b/torrents/seeding"), Path("/a/seeds"))
    assert "taken for the stash" not in " ".join(remarks(found, chosen))


def test_a_password_in_the_address_gets_a_file_that_only_its_owner_can_read(
    tmp_path: Path,
) -> None:
    config = tmp_path / "new" / "config.yml"
    address = "http://admin:s3cret%20pw@127.0.0.1:1"
    done = call("config", "init", "--config", str(config), "--yes", "--qbit-url", address)
    assert done.returncode == 0, done.stderr
    assert "s3cret" not in config.read_text() + done.stdout + done.stderr
    settings = written(config)
    assert settings[QBIT_HOST] == "http://127.0.0.1:1"
    assert settings[QBIT_USERNAME] == "admin"
    assert settings[QBIT_PASSWORD] == "s3cret pw"
    (kept,) = [path for path in config.parent.iterdir() if "s3cret pw" in path.read_text()]
    assert kept.stat().st_mode & 0o777 == 0o600


def call(*words: str) -> subprocess.CompletedProcess[str]:
    """Without a terminal."""
    return subprocess.run(
        [sys.executable, "-c", "from rehome.cli import main; main()", *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_person_at_a_terminal_is_asked_and_the_password_gets_a_file_of_its_own(
    tmp_path: Path,
) -> None:
    config = tmp_path / "config.yml"
    with SimulatedClient("5.1", password="s3cret-pass", refresh_s=0.05) as client:
        # address, user, password, stash, pool, libraries
        answers = [client.url, "", "s3cret-pass", "/srv/s", "/srv/p", "/srv/films:/srv/tv"]
        code, shown = at_a_terminal(["--config", str(config)], answers)
        assert code == 0, shown
        settings = written(config)
        assert settings[QBIT_HOST] == client.url
        assert settings[QBIT_USERNAME] == "admin"
        assert settings[QBIT_PASSWORD] == "s3cret-pass"
        assert settings[STASH_SEEDING_ROOT] == Path("/srv/s")
        assert settings[POOL_SEEDING_ROOT] == Path("/srv/p")
        assert settings[LIBRARY_ROOTS] == (Path("/srv/films"), Path("/srv/tv"))
    secret = tmp_path / "qbittorrent-password"
    assert secret.read_text() == "s3cret-pass\n"
    assert secret.stat().st_mode & 0o777 == 0o600
    assert "s3cret-pass" not in shown
    assert "s3cret-pass" not in config.read_text()
    assert "has 0 torrents" in shown


def at_a_terminal(words: Sequence[str], answers: Sequence[str]) -> tuple[int, str]:
    """Exit code and everything that the terminal showed; one answer for each question."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", "from rehome.cli import main; main()", "config", "init", *words],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    shown, waiting = bytearray(), list(answers)
    ending = threading.Timer(60, process.kill)
    ending.start()
    try:
        told = 0
        while True:
            try:
                some = os.read(ours, 4096)
            except OSError:  # the other side is closed
                break
            shown += some
            if waiting and shown[told:].endswith(b": "):
                told = len(shown)
                os.write(ours, waiting.pop(0).encode() + b"\n")
        return process.wait(), shown.decode()
    finally:
        ending.cancel()
        process.kill()
        process.wait()
        os.close(ours)


# -- the path map


@pytest.mark.root
def test_folders_of_a_container_are_found_by_their_content(sides: tuple[Path, Path]) -> None:
    stash, pool = sides
    client = ListedClient()
    for mount, name, path in (
        (stash, "Film", "/data/torrents/films"),
        (stash, "Serie", "/data/torrents/series"),
        (pool, "Old", "/archive/films"),
    ):
        content = mount / path.split("/", 2)[2] / name
        content.mkdir(parents=True)
        (content / "file").write_bytes(b"12345")
        client.add(a_torrent(name, path, content_path=f"{path}/{name}"), {f"{name}/file": 5})
    # The same name with other content, which must not be taken for it.
    (pool / "torrents" / "films" / "Film").mkdir(parents=True)
    found = survey(client)
    assert set(found.guessed) == {PathPair("/data", str(stash)), PathPair("/archive", str(pool))}
    guess = suggest(found)
    assert (guess.stash, guess.pool) == (stash / "torrents", pool / "films")
    assert guess.certain
    settings = from_text(config_text(found, CHOSEN))
    assert settings["rehome"] is None, "a guess is a comment until somebody takes it"


@pytest.mark.root
def test_a_name_with_other_content_proves_nothing(sides: tuple[Path, Path]) -> None:
    (sides[0] / "torrents" / "Film").mkdir(parents=True)
    (sides[0] / "torrents" / "Film" / "file").write_bytes(b"123")
    client = ListedClient()
    torrent = a_torrent("Film", "/data/torrents", content_path="/data/torrents/Film")
    client.add(torrent, {"Film/file": 5})
    found = survey(client)
    assert found.guessed == ()
    assert [path.ours for path in found.save_paths] == [None]
    assert "These folders of qBittorrent are not here" in config_text(found, CHOSEN)


def from_text(text: str) -> dict[str, object]:
    data = parse_yaml(text, "config.yml").data
    assert isinstance(data, dict)
    return data


@pytest.mark.parametrize(
    "value",
    ["plain", "true", "a: b", "#x", "ü", "\u2028", '"', "\\", " x", "-", "0x1", "http://a:1"],
)
def test_any_text_survives_the_file(value: str) -> None:
    assert parse_yaml(f"key: {scalar(value)}\n", "x", typed=False).data == {"key": value}


def test_an_empty_survey_gives_a_file_that_loads(tmp_path: Path) -> None:
    (tmp_path / "config.yml").write_text(config_text(Survey(problem="it is away"), CHOSEN))
    assert written(tmp_path / "config.yml")[STASH_SEEDING_ROOT] is None
