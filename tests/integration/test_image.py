"""The container image: built from the checkout, and run as an engine would run it.

For this machine's processor in every run; for the others, emulated, in `make test-platforms`.
"""

from __future__ import annotations

import json
import os
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from scripts.platforms import PLATFORMS, Platform, foreign
from tests.support.filesystems import run, xfs
from tests.support.image import LABELS, ROOT, Container, Image, built, running
from tests.support.qbt import free_port, wait_for
from tests.support.rules_server import KEY, NOBODY
from tests.support.simulated import SimulatedClient

import seedkeep

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.xdist_group("image")]

MOST_BYTES = 300_000_000
USER, GROUP = 4321, 8765
RULES = "rules:\n  - name: nothing\n    conditions: {context: never}\n    actions: [{type: stop}]\n"
LABEL = "org.opencontainers.image."
PROGRAMS = ("hashall", "rehome", "qbt-rules")
BUILDING_S = 5400  # emulated: pip, a compiler, and the test that comes first


def emulated(platform: Platform) -> Any:
    """A parameter for `image` that takes its time and has a worker of its own."""
    marks = [
        pytest.mark.platforms,
        pytest.mark.timeout(BUILDING_S),
        pytest.mark.xdist_group(platform.name),
    ]
    return pytest.param(platform, marks=marks, id=platform.name)


EMULATED = [emulated(platform) for platform in foreign()]


@pytest.fixture(scope="session", params=[pytest.param(None, id="here"), *EMULATED])
def image(request: pytest.FixtureRequest) -> Iterator[Image]:
    with built(request.param) as made:
        yield made


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A folder for /config that belongs to nobody whom the image knows."""
    tmp_path.chmod(0o755)
    folder = tmp_path / "config"
    folder.mkdir()
    (folder / "rules.yml").write_text(RULES)
    own(folder)
    return folder


def own(folder: Path) -> None:
    for path in [folder, *folder.rglob("*")]:
        os.chown(path, USER, GROUP, follow_symlinks=False)


def owners(folder: Path) -> set[tuple[int, int]]:
    return {(s.st_uid, s.st_gid) for s in (p.lstat() for p in [folder, *folder.rglob("*")])}


def test_the_image_says_what_it_is_and_is_small(image: Image) -> None:
    labels = image.config["Labels"]
    assert {name: labels[f"{LABEL}{name.lower()}"] for name in LABELS} == LABELS
    assert labels[f"{LABEL}title"] == "seedkeep"
    assert image.config["Volumes"] == {"/config": {}}
    assert image.config["ExposedPorts"] == {"5000/tcp": {}}
    assert not image.config.get("User"), "root hands over; it cannot when it never was"
    assert "qbt_rules.ping" in image.config["Healthcheck"]["Test"]
    assert image.size <= MOST_BYTES


def test_only_what_runs_is_in_the_image_and_it_is_compiled(image: Image) -> None:
    programs = image.files / "opt/seedkeep/bin"
    assert not (programs / "pip").exists()
    packages = next((image.files / "opt/seedkeep/lib").glob("python3*/site-packages"))
    assert not list(packages.glob("hatchling*"))
    assert (packages / "redis").is_dir()
    sources = [path for path in packages.rglob("*.py") if "seedkeep" in path.parts]
    assert len(sources) > 20
    for source in sources:
        compiled = list((source.parent / "__pycache__").glob(f"{source.stem}.*.pyc"))
        assert compiled, source
        # The flags behind the magic number: by hash, and never compared.
        assert compiled[0].read_bytes()[4:8] == b"\1\0\0\0"
    for left_out in ("src", "build", "wheels", "wheelhouse/seedkeep", "root/.cache/pip"):
        assert not (image.files / left_out).exists()


@pytest.mark.parametrize("program", PROGRAMS)
def test_each_program_answers_any_user_on_a_read_only_root(
    image: Image, config: Path, program: str
) -> None:
    container = Container(image, {"/config": config}, user=f"{USER}:{GROUP}")
    done = container.run(program, "--version")
    assert done.returncode == 0, done.stderr
    assert seedkeep.__version__ in done.stdout
    assert done.stderr == ""


def settings(client: str, port: int) -> dict[str, str]:
    return {
        "QBT_RULES_QBITTORRENT_HOST": client,
        "QBT_RULES_SERVER_API_KEY_FILE": "/run/secrets/api_key",
        "QBT_RULES_SERVER_HOST": "127.0.0.1",  # nobody else on this machine's network
        "QBT_RULES_SERVER_PORT": str(port),
        "QBT_RULES_CLIENT_SERVER_URL": f"http://127.0.0.1:{port}",
    }


def test_a_server_writes_only_config_stops_in_time_and_keeps_its_jobs(
    image: Image, config: Path, tmp_path: Path
) -> None:
    secrets, data, log = tmp_path / "secrets", tmp_path / "data", tmp_path / "log"
    for folder in (secrets, data):
        folder.mkdir()
    (secrets / "api_key").write_text(f"{KEY}\n")
    (data / "film.mkv").write_bytes(b"film")
    port = free_port()
    volumes = {"/config": config, "/run/secrets": secrets, "/data": data}

    def ask(method: str, path: str) -> Any:
        url, patience_s = f"http://127.0.0.1:{port}{path}", 20 * image.patience
        return requests.request(method, url, headers={"X-API-Key": KEY}, timeout=patience_s)

    def answers() -> bool:
        try:
            return bool(ask("GET", "/ping").ok)
        except requests.ConnectionError:
            return False

    # As `docker run --user 4321:8765 --read-only`: not even /tmp can be written.
    with SimulatedClient("5.1", refresh_s=0.1) as client:
        as_user = Container(
            image, volumes, settings(client.url, port), user=f"{USER}:{GROUP}", read_only=True
        )
        with running(as_user, log):
            wait_for(answers, "the server to answer", 60 * image.patience)
            assert as_user.is_healthy()
            version = ask("GET", "/api/version").json()
            assert version["git_commit"] == LABELS["REVISION"]
            assert version["build_date"] == LABELS["CREATED"]
            done = as_user.execute("qbt-rules", "--context", "manual", "--wait")
            assert done.returncode == 0, done.stderr
            waiting = ask("POST", "/api/execute?context=x").json()["job_id"]
            code, took_s = as_user.stop()
            assert (code, took_s < 30) == (0, True), log.read_text()
    assert (config / "qbt-rules.db").exists()
    assert owners(config) == {(USER, GROUP)}
    assert "Traceback" not in log.read_text()

    # As `docker run -e PUID=4321 -e PGID=8765`, and this time everything could be written.
    begun = time.time()
    given = {"PUID": str(USER), "PGID": str(GROUP), "UMASK": "077", "TZ": "Europe/Vienna"}
    (config / "left-by-root").touch()
    (config / "leads-out").symlink_to("/data/film.mkv")
    as_root = Container(image, volumes, settings(NOBODY, port) | given, read_only=False)
    with running(as_root, log):
        wait_for(answers, "the server to answer again", 60 * image.patience)
        assert ask("GET", f"/api/jobs/{waiting}").status_code == 200
        assert ask("GET", "/api/stats").json()["jobs"]["total"] == 2
        assert ask("GET", "/api/health").status_code == 503
        assert as_root.is_healthy(), "no qBittorrent is no reason to be restarted"
        # `docker exec` begins as root: the program hands over as well.
        done = as_root.execute("hashall", "scan", "/data")
        assert done.returncode == 0, done.stderr
        code, took_s = as_root.stop()
        assert (code, took_s < 30) == (0, True), log.read_text()
    catalog = (config / "catalog.db").stat()
    assert catalog.st_mode & 0o777 == 0o600
    assert owners(config) == {(USER, GROUP)}
    assert (data / "film.mkv").stat().st_uid == os.getuid(), "only /config is chowned"
    assert set(image.changed_since(begun)) <= {"/tmp"}, "where gunicorn had a file that is gone"
    assert list((image.files / "tmp").iterdir()) == []
    assert as_root.run(*image.config["Healthcheck"]["Test"][1:]).returncode == 1


def test_root_hands_over_with_the_groups_that_were_added_and_nothing_else(
    image: Image, config: Path
) -> None:
    def status(**names: str) -> dict[str, str]:
        container = Container(image, {"/config": config}, names, groups="0,44,107")
        done = container.run("cat", "/proc/self/status")
        assert done.returncode == 0, done.stderr
        rows = (line.split(":", 1) for line in done.stdout.splitlines())
        return {name: " ".join(value.split()) for name, value in rows}

    usual = status()
    assert usual["Uid"] == "1000 1000 1000 1000"
    assert usual["Gid"] == "1000 1000 1000 1000"
    assert usual["Groups"] == "44 107"
    assert int(usual["CapEff"], 16) == int(usual["CapPrm"], 16) == 0
    assert usual["NoNewPrivs"] == "1"
    assert usual["Umask"] == "0022"
    assert status(PUID="0", PGID="0")["Uid"] == "0 0 0 0"
    assert owners(config) == {(0, 0)}


@pytest.mark.parametrize(
    ("names", "code", "said"),
    [
        ({"PUID": "media"}, 2, "seedkeep: PUID must be a number, not 'media'"),
        ({"PGID": "-1"}, 2, "seedkeep: PGID must be a number, not '-1'"),
        ({"UMASK": "9"}, 2, "seedkeep: UMASK must have three octal digits, not '9'"),
        ({"TZ": "Mars/Olympus"}, 0, "seedkeep: there is no time zone Mars/Olympus; times are UTC"),
    ],
)
def test_a_mistake_in_the_environment_is_told(
    image: Image, config: Path, names: dict[str, str], code: int, said: str
) -> None:
    done = Container(image, {"/config": config}, names).run("hashall", "--version")
    assert done.returncode == code
    first, hint = done.stderr.splitlines()
    assert first == said
    assert hint.startswith("hint: ")


def test_a_config_folder_of_somebody_else_is_told_before_the_program_fails(
    image: Image, config: Path
) -> None:
    done = Container(image, {"/config": config}, user="77:77").run("qbt-rules", "--validate")
    assert done.stderr.splitlines()[:2] == [
        "seedkeep: user 77 may not write to /config",
        "hint: chown its folder on the host, or leave out `user:` and set PUID and PGID",
    ]


@pytest.mark.parametrize("command", [("--show-config",), ("rehome", "config", "show")])
def test_flags_alone_are_flags_of_qbt_rules_and_one_config_file_serves_all(
    image: Image, config: Path, command: tuple[str, ...]
) -> None:
    (config / "config.yml").write_text("qbittorrent: {host: http://from-the-file:1}\n")
    done = Container(image, {"/config": config}).run(*command)
    assert done.returncode == 0, done.stderr
    assert "http://from-the-file:1" in done.stdout


def machine_of(program: Path) -> int | None:
    """e_machine of an ELF file; None for other files."""
    with program.open("rb") as file:
        head = file.read(20)
    return struct.unpack("<H", head[18:])[0] if head[:4] == b"\x7fELF" else None


def test_everything_that_is_compiled_in_the_image_is_for_its_platform(image: Image) -> None:
    (platform,) = (known for known in PLATFORMS if known.image == image.platform)
    compiled = list((image.files / "opt/seedkeep/lib").rglob("*.so*"))
    names = {path.name.split(".")[0] for path in compiled}
    assert {"__init__", "_pydantic_core", "_regex", "_xxhash"} <= names
    programs = [image.files / "usr/bin/tini", (image.files / "usr/bin/python3").resolve()]
    assert {machine_of(path) for path in [*compiled, *programs]} == {platform.elf}


@pytest.mark.parametrize("image", EMULATED, indirect=True)
def test_large_numbers_are_right_and_duplicates_become_links_on_every_platform(
    image: Image, config: Path, tmp_path: Path
) -> None:
    """What a 32-bit program cuts off: inodes and sizes beyond 2^32, times after 2038."""

    def do(*words: str) -> Any:
        done = Container(image, {"/config": config, "/data": data}, as_root).run(*words, "--json")
        assert done.returncode in (0, 4), done.stderr
        return json.loads(done.stdout)

    as_root = {"PUID": "0", "PGID": "0"}
    with xfs(tmp_path, "4T") as data:
        folders = [data / str(number) for number in range(4)]
        for folder in folders:
            folder.mkdir()  # XFS gives each its own quarter of the disk
            for name in ("one.mkv", "two.mkv"):
                (folder / name).write_bytes(folder.name.encode() * 70_000)
        large = folders[3] / "large.mkv"
        large.touch()
        os.truncate(large, 5 * 2**30)
        os.utime(large, (5_000_000_000, 5_000_000_000))
        run("chattr", "+i", folders[1] / "two.mkv")
        assert large.stat().st_ino > 2**32

        do("hashall", "scan", "--hash-mode", "upgrade", "/data")
        checked = do("hashall", "db", "check", "--tree")["check"]
        assert (checked["problems"], checked["tree"]["same"]) == ([], 9)
        (found,) = do("hashall", "find", "--name", "large.mkv")["found"]
        assert (found["inode"], found["size"]) == (large.stat().st_ino, 5 * 2**30)

        number = do("hashall", "link", "plan", "duplicates")["link_plan"]["plan"]["plan_id"]
        done = do("hashall", "link", "execute", str(number), "--force", "--low-priority")
        results = [(one["state"], one["reason"]) for one in done["link_execution"]["results"]]
        assert sorted(results) == [*[("done", "")] * 3, ("skipped", "immutable")]
        for folder in folders:
            same = os.path.samefile(folder / "one.mkv", folder / "two.mkv")
            assert same is (folder.name != "1")
        run("chattr", "-i", folders[1] / "two.mkv")


def test_the_entry_point_is_plain_shell() -> None:
    done = subprocess.run(
        ["shellcheck", "--norc", ROOT / "docker/entrypoint.sh"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
