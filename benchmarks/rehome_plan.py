"""`rehome plan --all-eligible` and `rehome report` over tens of thousands of torrents.

Real files on a real filesystem, a real catalog; the client is one in memory, so that what is
measured is rehome.  The last row is what qBittorrent's own answer of that size costs to read.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.support.filesystems import lab_folder
from tests.support.gathering import Stage

from hashall.catalog import open_catalog
from rehome.batch import Scope
from rehome.model import Direction
from rehome.planning import plan_batch, survey
from seedkeep.qbittorrent_rows import Row, read_torrent
from seedkeep.text import table

BAR_S = 10.0
FOLDERS = 200  # save paths that the torrents are spread over


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--torrents", type=int, default=30_000)
    parser.add_argument("--files", type=int, default=4, help="files of each torrent")
    parser.add_argument("--limit", type=int, default=500, help="groups of the batch")
    given = parser.parse_args(arguments)
    with library(given.torrents, given.files) as stage:
        rows = [
            timed(
                "plan --demote --all-eligible", lambda: plan(stage, Direction.DEMOTE, given.limit)
            ),
            timed(
                "plan --promote --all-eligible", lambda: plan(stage, Direction.PROMOTE, given.limit)
            ),
            timed("report (demotions)", lambda: decide(stage, Direction.DEMOTE)),
            timed("reading torrents/info", lambda: read(stage)),
        ]
    print(f"{given.torrents} torrents, {given.files} files each; bar {BAR_S:g} s")
    print(table(("WHAT", "SECONDS", "RESULT"), rows, "lrl"))
    return 0 if all(float(row[1]) <= BAR_S for row in rows) else 1


def timed(what: str, do: Callable[[], str]) -> tuple[str, str, str]:
    gc.collect()
    began = time.perf_counter()
    result = do()
    return what, f"{time.perf_counter() - began:.2f}", result


def plan(stage: Stage, direction: Direction, limit: int) -> str:
    scope = Scope(all_eligible=True, limit=limit)
    made = plan_batch(stage.gatherer(), scope, direction)
    return f"{len(made.executable)} go of {len(made.groups) + len(made.left_out)} groups"


def decide(stage: Stage, direction: Direction) -> str:
    return f"{len(survey(stage.gatherer(), direction))} groups"


def read(stage: Stage) -> str:
    text = json.dumps([as_row(torrent) for torrent in stage.client.rows.values()])
    found = [read_torrent(Row("torrents/info", row)) for row in json.loads(text)]
    return f"{len(found)} torrents, {len(text) / 2**20:.0f} MiB"


def as_row(torrent: object) -> dict[str, object]:
    own = vars(torrent)
    return {
        **{key: value for key, value in own.items() if isinstance(value, (str, int, float))},
        "hash": own["torrent_id"],
        "state": own["state"].value,
        "tags": ", ".join(own["tags"]),
        "added_on": -1,
        "completion_on": -1,
        "up_limit": 0,
        "dl_limit": 0,
    }


@contextmanager
def library(torrents: int, files: int) -> Iterator[Stage]:
    """Of ten torrents six only seed, two are in a library, one is a sibling, one is on the pool."""
    with lab_folder() as disk, lab_folder(Path("/dev/shm")) as memory:
        catalog = open_catalog(disk / "catalog.db", create=True)
        try:
            stage = Stage(disk / "stash", memory / "pool", catalog)
            began = time.perf_counter()
            for number in range(torrents):
                add(stage, number, files)
            made = time.perf_counter()
            stage.look()
            looked = time.perf_counter()
            print(
                f"made in {made - began:.1f} s, scanned and synced in {looked - made:.1f} s",
                flush=True,
            )
            stage.client.asked_for_files.clear()
            yield stage
        finally:
            catalog.db.close()


def add(stage: Stage, number: int, files: int) -> None:
    kind = number % 10
    names = {f"T{number}/{part}.mkv": f"{number} {part}" for part in range(files)}
    if kind == 8:  # cross-seeded: the files of its predecessor, hardlinked below another folder
        names = {f"T{number - 1}/{part}.mkv": f"{number - 1} {part}" for part in range(files)}
    root = stage.seeding / f"d{number // 10 % FOLDERS}"
    if kind == 9:
        root = stage.pool_seeding / f"d{number // 10 % FOLDERS}"
    if kind == 8:
        for name in names:
            link(root / name, root / "cross" / name)
        root = root / "cross"
    stage.seed(number + 1, names, save_path=root)
    if kind in (0, 1):
        for name in names:
            link(root / name, stage.media / name)


def link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    os.link(source, target)


if __name__ == "__main__":
    sys.exit(main())
