"""A library on two filesystems and a client that seeds it: the stage of the tests and the demo."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support import warm_programs
from tests.support.qbt import LabClient
from tests.support.torrents import MadeTorrent, make_torrent, sibling

PROGRAMS = {"hashall": "hashall.cli", "rehome": "rehome.cli"}


@dataclass
class Lab:
    """`stash/torrents/seeding`, `stash/media` and `pool/torrents/seeding`, with their programs."""

    home: Path  # catalog, config and plans
    stash: Path
    pool: Path
    client: LabClient
    made: dict[str, MadeTorrent] = field(default_factory=dict)  # by torrent id
    _digests: dict[tuple[str, str], str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for folder in (self.home, self.seeding, self.media, self.pool_seeding):
            folder.mkdir(parents=True, exist_ok=True)
        self.config.write_text(
            json.dumps(
                {
                    "catalog": {"path": str(self.catalog)},
                    "qbittorrent": {"host": self.client.url, "timeout": "20s"},
                    "rehome": {
                        "stash_seeding_root": str(self.seeding),
                        "pool_seeding_root": str(self.pool_seeding),
                        "library_roots": [str(self.media)],
                        "min_age": "0",  # what it seeds has just come
                        "space_margin": "1MiB",
                        "reuse_floor": "10KiB",
                        "switch_timeout": "30s",
                    },
                }
            )
        )

    @property
    def seeding(self) -> Path:
        return self.stash / "torrents" / "seeding"

    @property
    def media(self) -> Path:
        return self.stash / "media"

    @property
    def pool_seeding(self) -> Path:
        return self.pool / "torrents" / "seeding"

    @property
    def catalog(self) -> Path:
        return self.home / "catalog.db"

    @property
    def config(self) -> Path:
        return self.home / "config.yml"

    def environ(self) -> dict[str, str]:
        """The environment of a person who has set HASHALL_CONFIG."""
        return {**os.environ, "HASHALL_CONFIG": str(self.config), "PYTHONUNBUFFERED": "1"}

    def command(self, program: str, *arguments: str | Path) -> list[str]:
        return warm_programs.cold_command(PROGRAMS[program], [*map(str, arguments)])

    def run(
        self, program: str, *arguments: str | Path, expect: int | None = 0
    ) -> subprocess.CompletedProcess[str]:
        """Run a program as a person does; `expect` is its exit code, None for any."""
        module, words = PROGRAMS[program], [str(argument) for argument in arguments]
        done = warm_programs.run(module, words, self.environ(), timeout_s=300)
        if expect is not None and done.returncode != expect:
            raise AssertionError(
                f"{program} {' '.join(map(str, arguments))} ended with {done.returncode},"
                f" not {expect}\n{done.stdout}\n{done.stderr}"
            )
        return done

    def json(self, program: str, *arguments: str | Path, expect: int | None = 0) -> Any:
        return json.loads(self.run(program, *arguments, "--json", expect=expect).stdout)

    def look(self) -> None:
        """Scan both sides and read the client's inventory."""
        self.run("hashall", "scan", self.stash, self.pool)
        self.run("hashall", "payload", "sync")

    # -- torrents

    def seed(
        self,
        name: str,
        files: Mapping[str, bytes | int],
        *,
        below: str = "",
        on_pool: bool = False,
        **options: Any,
    ) -> str:
        """Write content into the seeding folder and let the client seed it; returns its id."""
        root = (self.pool_seeding if on_pool else self.seeding) / below
        root.mkdir(parents=True, exist_ok=True)
        made = make_torrent(root, name, files)
        return self.add(made, root, **options)

    def add(self, made: MadeTorrent, save_path: Path, **options: Any) -> str:
        for relpath in made.paths:
            content = (made.root / relpath).read_bytes()
            self._digests[made.infohash, relpath] = hashlib.sha256(content).hexdigest()
        torrent_id = self.client.add(made.data, save_path, **options)
        self.made[torrent_id] = made
        return torrent_id

    def cross_seed(self, torrent_id: str, source: str, below: str, **options: Any) -> str:
        """A sibling as cross-seed makes it: another infohash, a hardlinked tree of its own."""
        made = self.made[torrent_id]
        root = self.seeding / below
        hardlink_tree(made.root / made.name, root / made.name)
        return self.add(sibling(made, source), root, **options)

    def import_into_library(self, torrent_id: str, title: str) -> Path:
        """What an *arr app does: hardlink the content into the media library."""
        made = self.made[torrent_id]
        target = self.media / title
        hardlink_tree(made.root / made.name, target)
        return target

    def digest(self, made: MadeTorrent, relpath: str) -> str:
        """SHA-256 of a torrent's file as it was made; remembered, since the file may move."""
        return self._digests[made.infohash, relpath]

    def rows(self, ids: Sequence[str] | None = None) -> dict[str, dict[str, Any]]:
        """The client's own view of its torrents, by id."""
        rows = self.client.api.torrents_info(torrent_hashes=ids)
        return {str(row["hash"]): dict(row) for row in rows}


def hardlink_tree(source: Path, target: Path) -> None:
    if source.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        os.link(source, target)
        return
    for path in files_below(source):
        copy = target / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        os.link(path, copy)


def files_below(root: Path) -> Iterator[Path]:
    return (path for path in sorted(root.rglob("*")) if path.is_file() and not path.is_symlink())
