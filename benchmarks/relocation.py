"""`make bench`: a group of torrents moved by rehome, and by plain setLocation, on the same data.

Stash lies in memory, the pool on an XFS image of its own, so that the pool's block device counts
what is written to it.  What the columns mean stands under the table.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.support.filesystems import lab_folder, xfs
from tests.support.lab import Lab
from tests.support.qbt import VERSIONS, RealClient, wait_for
from tests.support.shapes import Shape, group_of, one_film
from tests.support.torrents import MadeTorrent
from tests.support.traffic import ReadMeter, written_to
from tests.support.watch import Observation, Observer

from seedkeep.text import table
from seedkeep.units import format_size, parse_size

SMALLEST_POOL = 320 * 2**20  # bytes; mkfs.xfs takes no less than 300 MB
HEAD = (
    "QBITTORRENT",
    "SIZE",
    "TORRENTS",
    "BY",
    "WRITTEN",
    "× SIZE",
    "READ BACK",
    "NOT SEEDING",
    "WALL",
    "POOL INODES",
    "CHECKED",
)
LEGEND = """\
WRITTEN      bytes that reached the pool's block device, and how many times the payload that is
READ BACK    bytes that the mover read to copy and to verify (rehome's read calls; the client's
             own copying is not visible from outside and shows as -)
NOT SEEDING  wall clock, worst torrent, as the client reports it every 1.5 s
WALL         from the first command until all torrents seed from the pool and its disk has the bytes
POOL INODES  files on the pool that hold the payload: 1 means that hardlinks were kept
CHECKED      whether a check or a download was seen"""


@dataclass(frozen=True)
class Case:
    version: str
    size: int  # bytes
    torrents: int


@dataclass(frozen=True)
class Measured:
    case: Case
    by: str
    written: int  # bytes
    read: int | None  # bytes
    wall_s: float
    seen: Observation
    inodes: int

    def row(self) -> tuple[str, ...]:
        return (
            self.case.version,
            format_size(self.case.size),
            str(self.case.torrents),
            self.by,
            format_size(self.written),
            f"{self.written / self.case.size:.2f}",
            "-" if self.read is None else format_size(self.read),
            f"{self.seen.worst_s:.1f} s",
            f"{self.wall_s:.1f} s",
            f"{self.inodes} ({'kept' if self.inodes == 1 else 'broken'})",
            "yes" if self.seen.dreaded else "no",
        )


def by_rehome(lab: Lab, shape: Shape) -> int:
    """Plan and apply, the source retired at once.  Returns bytes that the programs read."""
    plan = lab.home / "plan.json"
    lab.run("rehome", "plan", "--demote", "--torrent-hash", shape.asked, "-o", plan)
    command = lab.command("rehome", "apply", plan, "--force", "--retain", "0")
    with (
        subprocess.Popen(
            command, env=lab.environ(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        ) as apply,
        ReadMeter(apply.pid) as meter,
    ):
        _, said = apply.communicate()
    if apply.returncode:
        raise SystemExit(f"rehome apply ended with {apply.returncode}\n{said}")
    return meter.bytes_read


def by_set_location(lab: Lab, shape: Shape) -> None:
    """What a person does in the client: each torrent, one after the other."""
    api = lab.client.api
    for torrent in shape.group:
        source = Path(lab.rows([torrent])[torrent]["save_path"])
        target = lab.pool_seeding / source.relative_to(lab.seeding)
        api.torrents_set_location(location=str(target), torrent_hashes=[torrent])
        wait_for(partial(seeds_at, lab, torrent, target), "the move", timeout_s=600)


def seeds_at(lab: Lab, torrent: str, place: Path) -> bool:
    row = lab.rows([torrent])[torrent]
    return row["save_path"] == str(place) and row["state"] in ("stalledUP", "uploading")


MOVERS: dict[str, Callable[[Lab, Shape], int | None]] = {
    "rehome": by_rehome,
    "setLocation": by_set_location,
}


@contextmanager
def lab_for(case: Case, copies: int) -> Iterator[Lab]:
    """A pool with room for `copies` of the payload."""
    with ExitStack() as stack:
        folder = stack.enter_context(lab_folder(Path(tempfile.gettempdir())))
        stash = stack.enter_context(lab_folder(Path("/dev/shm")))
        room = max(SMALLEST_POOL, copies * case.size + case.size // 4 + 128 * 2**20)
        pool = stack.enter_context(xfs(folder, str(room), name="pool"))
        client = RealClient(case.version, profile=folder / "client")
        yield Lab(folder / "home", stash, pool, stack.enter_context(client))


def measure(case: Case, by: str, ready: MadeTorrent) -> Measured:
    with lab_for(case, 1 if by == "rehome" else case.torrents) as lab:
        shape = group_of(lab, "bench", case.size, case.torrents, ready=ready)
        lab.look()
        written = written_to(lab.pool)
        with Observer(lab.client.url) as watch:
            began = time.monotonic()
            read = MOVERS[by](lab, shape)
            written = written_to(lab.pool) - written  # and on the disk, which rehome waits for
            wall_s = time.monotonic() - began
        rows = lab.rows(shape.group)
        # 5.1 shows another state for a moment after its own moves.
        for torrent, row in rows.items():
            still = partial(seeds_at, lab, torrent, Path(row["save_path"]))
            wait_for(still, f"{torrent} to seed, seen as {row['state']}", timeout_s=60)
        names = {Path(row["save_path"], "Film.2024", "film.mkv") for row in rows.values()}
        inodes = len({name.stat().st_ino for name in names})
        return Measured(case, by, written, read, wall_s, watch.seen, inodes)


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.relocation", description=__doc__)
    parser.add_argument("--size", type=parse_size, action="append", help="default 10MiB and 1GiB")
    parser.add_argument("--torrents", type=int, action="append", help="default 1 and 3")
    parser.add_argument("--version", choices=VERSIONS, action="append", help="default all")
    parser.add_argument("--by", choices=list(MOVERS), action="append", help="default both")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    chosen = arguments(argv)
    if os.geteuid() != 0:
        print("the benchmark mounts a filesystem and needs root: run it as root, or with sudo")
        return 2
    began = time.monotonic()
    found = []
    with lab_folder(Path("/dev/shm")) as folder:
        for size in chosen.size or (10 * 2**20, 2**30):
            ready = one_film(folder / str(size), size)
            for version in chosen.version or VERSIONS:
                for torrents in chosen.torrents or (1, 3):
                    for by in chosen.by or MOVERS:
                        found.append(measure(Case(version, size, torrents), by, ready))
                        print(".", end="", flush=True, file=sys.stderr)
    print(f" {time.monotonic() - began:.0f} s", file=sys.stderr)
    print(table(HEAD, [measured.row() for measured in found]))
    print(f"\n{LEGEND}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
