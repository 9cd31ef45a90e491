"""The library that the documents speak of, and the states in which their examples begin.

Built inside `sealed`: /srv/stash and /srv/pool are two small filesystems, localhost:8080 is a
simulated qBittorrent, and localhost:5000 a real qbt-rules server where an example asks one.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.support import forked, torrents
from tests.support.doc_blocks import ROOT
from tests.support.lab import Lab
from tests.support.qbt import wait_for
from tests.support.rules_server import KEY, RulesServer
from tests.support.sealed import bind, mount
from tests.support.simulated import SimulatedClient

from seedkeep.sqlite import open_database

MIB = 2**20
CLIENT_PORT, SERVER_PORT = 8080, 5000
REFRESH_S = 0.05
RENAMES = "fsops.move_files"  # what `rehome apply` is killed in: hiding, then placing
# First digits of hashes in the documents: a film, its sibling, a kept film, a book, a cold film.
SHOWN = ("b8b320", "6a1889", "ab258a", "67b820", "31f00d")
RULES = """
rules:
  - name: tag what is new
    conditions: {context: on_added}
    actions: [{type: add_tag, params: {tag: new}}]
"""
OLD_RULES = """
rules:
  - name: old and well shared
    enabled: true
    conditions:
      trigger: scheduled
      all:
        - {field: info.ratio, operator: ">=", value: 2.0}
    actions:
      - {type: delete_torrent, params: {keep_files: true}}
"""


@dataclass
class Stage:
    """A person's machine; `words` are what the documents leave for the reader to fill in."""

    home: Path
    lab: Lab
    client: SimulatedClient
    words: dict[str, str] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)  # as a document prints it: as it is here
    server: RulesServer | None = None

    @property
    def work(self) -> Path:
        """Where the commands are typed: a checkout, as far as they need one."""
        return self.home / "work"

    def run(self, program: str, *arguments: str | Path, kill_at: int | None = None) -> None:
        """Prepare something with one of our programs: to a good end, or killed in a rename."""
        log = self.home / "prepared.log"
        ended = forked.run(
            program,
            *arguments,
            environ=self.lab.environ(),
            log=log,
            kill_at=kill_at,
            of=RENAMES if kill_at is not None else "",
        )
        assert ended.code == (0 if kill_at is None else None), ended.output

    def demote(self, torrent: str, *, kill_at: int | None = None) -> None:
        """`kill_at`: the number of the rename, from 0, before which the process is killed."""
        plan = self.home / "prepared.json"
        plan.unlink(missing_ok=True)
        self.run("rehome", "plan", "--demote", "--torrent-hash", torrent, "-o", plan)
        self.run("rehome", "apply", plan, "--force", kill_at=kill_at)

    def environ(self) -> dict[str, str]:
        """What the shell of the examples starts with; their programs are not measured."""
        key = {"KEY": KEY, "QBT_RULES_SERVER_API_KEY": KEY} if self.server is not None else {}
        return {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            "EDITOR": "true",
            "HASH": self.words["HASH"],
            "QBT_RULES_CONFIG_DIR": str(self.home / "qbt-rules"),
            # Examples may replace the config file by one that says less.
            "REHOME_STASH_SEEDING_ROOT": str(self.lab.seeding),
            "REHOME_POOL_SEEDING_ROOT": str(self.lab.pool_seeding),
            "REHOME_LIBRARY_ROOTS": str(self.lab.media),
            "REHOME_MIN_AGE": "0",
            "REHOME_SPACE_MARGIN": "1MiB",
            **key,
        }


@contextmanager
def staged(folder: Path, scene: str, *, with_server: bool) -> Iterator[Stage]:
    mount("tmpfs", "srv", Path("/srv"), "size=1m")
    for side in ("stash", "pool"):
        Path("/srv", side).mkdir()
        mount("tmpfs", side, Path("/srv", side), "size=400m")
    for name in ("library", "home", "stash/lost+found"):
        Path("/srv", name).mkdir()
    for name in ("client", "home"):
        (folder / name).mkdir()
    home = Path("/srv/home")
    bind(folder / "home", home)
    client = SimulatedClient("5.1", profile=folder / "client", refresh_s=REFRESH_S)
    client._port = CLIENT_PORT
    with client:
        lab = Lab(home / ".hashall", Path("/srv/stash"), Path("/srv/pool"), client)
        stage = Stage(home, lab, client)
        _fill(stage)
        SCENES[scene](stage)
        if not with_server:
            yield stage
            return
        stage.server = _server(stage)
        try:
            yield stage
        finally:
            stage.server.stop()


# -- the library


def _fill(stage: Stage) -> None:
    lab = stage.lab
    film = lab.seed(
        "Old.Film.2012",
        {"film.mkv": 24 * MIB, "extras/cut.mkv": 4 * MIB},
        category="movies",
        tags=("~noHL",),
    )
    other = lab.cross_seed(film, "TRACKER-B", "cross-seed", category="cross-seed")
    kept = lab.seed("Kept.Film.2019", {"film.mkv": 9 * MIB}, tags=("~noHL",))
    lab.import_into_library(kept, "movies/Kept Film (2019)")
    book = lab.seed("Book", {"book.m4b": 6 * MIB}, below="books", tags=("~noHL",))
    lab.seed("Second.Film.2014", {"film.mkv": 2 * MIB}, category="movies")
    cold = lab.seed(
        "Cold.Film.2001",
        {"cold.mkv": 5 * MIB},
        below="movies",
        on_pool=True,
        category="movies-pool",
    )
    on_pool = (lab.pool_seeding / "movies/Cold.Film.2001/cold.mkv").read_bytes()
    _write(lab.media / "movies/Cold Film (2001)/film.mkv", on_pool)
    _write(lab.stash / "Film/film.mkv", b"one name\n")
    for side in ("backup/movies", "media/movies", "torrents"):
        _write(lab.pool / side / "short.mkv", torrents.content("short", 3 * MIB))
    for side in ("backup/movies", "media/movies"):
        _write(lab.pool / side / "film.mkv", torrents.content("film", 5 * MIB))
    os.link(lab.pool / "media/movies/film.mkv", lab.pool / "torrents/film.mkv")
    stage.hashes = dict(zip(SHOWN, (film, other, kept, book, cold), strict=True))
    numbers = {"RUN": "1", "PLAN": "1", "DEVICE": "2"}  # the pool is scanned behind the stash
    stage.words = {"HASH": film, "PATH": str(lab.stash / "Film/film.mkv"), **numbers}
    stage.work.mkdir(parents=True)
    (stage.work / "config").symlink_to(ROOT / "config")
    _write(stage.home / "qbt-rules/rules.yml", RULES.encode())
    _write(stage.home / ".config/qbt-rules/rules.yml", OLD_RULES.encode())
    _old_catalog(stage.home / "old/catalog.db", lab.pool / "media/movies/film.mkv")


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _old_catalog(path: Path, file: Path) -> None:
    """One file in a catalog as hashall wrote it before this product."""
    path.parent.mkdir(parents=True)
    seen = file.stat()
    with open_database(path, journal_mode="delete") as db:
        db.script(
            "CREATE TABLE files_49 (path TEXT PRIMARY KEY, size INTEGER, mtime REAL, sha256 TEXT)"
        )
        db.execute(
            "INSERT INTO files_49 VALUES (?, ?, ?, ?)",
            (str(file), seen.st_size, seen.st_mtime, "ab" * 32),
        )


def _server(stage: Stage) -> RulesServer:
    server = RulesServer(
        stage.home / "qbt-rules", SERVER_PORT=str(SERVER_PORT), QBITTORRENT_HOST=stage.client.url
    )
    server.port = SERVER_PORT
    server._environ["HASHALL_CONFIG"] = str(stage.lab.config)
    server.start()
    job = server.ask("POST", "/api/execute?context=on_added").json()["job_id"]
    wait_for(
        lambda: server.ask("GET", f"/api/jobs/{job}").json()["status"] == "completed",
        f"the first job; the server said: {server.log}",
        60,
    )
    stage.words["JOB"] = job
    return server


# -- the states


def _scanned(stage: Stage) -> None:
    stage.run("hashall", "scan", stage.lab.stash, stage.lab.pool)
    stage.run("hashall", "payload", "sync")


def _committed(stage: Stage) -> None:
    _scanned(stage)
    stage.demote(stage.words["HASH"])


def _interrupted(stage: Stage) -> None:
    _scanned(stage)
    stage.demote(stage.words["HASH"], kill_at=2)  # both sources are hidden, nothing is placed


def _second_interrupted(stage: Stage) -> None:
    _committed(stage)
    stage.demote(stage.hashes["67b820"], kill_at=1)
    stage.words["RUN"] = "2"


def _with_another_owner(stage: Stage) -> None:
    os.chown(stage.lab.pool / "torrents/short.mkv", 1000, 1000)


def _with_save_paths(stage: Stage) -> None:
    """Two rules, of which one fits."""
    config = json.loads(stage.lab.config.read_text())
    pool = stage.lab.pool_seeding
    config["rehome"]["save_paths"] = [
        {
            "category": "movies",
            "stash": str(stage.lab.seeding),
            "pool": str(pool / "movies"),
            "pool_category": "movies-pool",
        },
        {"tracker": "example.org", "pool": str(pool / "example")},
    ]
    stage.lab.config.write_text(json.dumps(config))
    _scanned(stage)


SCENES: dict[str, Callable[[Stage], None]] = {
    "nothing was scanned": lambda _: None,
    "nothing was scanned, and a copy has another owner": _with_another_owner,
    "scanned and synced": _scanned,
    "save_paths has two rules": _with_save_paths,
    "run 1 is committed": _committed,
    "run 1 was interrupted": _interrupted,
    "run 2 was interrupted": _second_interrupted,
}
