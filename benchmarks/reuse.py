"""`make bench-rehome`, second part: many groups of which the pool has the bytes already.

What costs time here is waiting for the client, so groups switch together.  Beside it the same is
done for some groups in the client itself: setLocation onto files that exist, and the check that is
owed then.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.support.filesystems import lab_folder
from tests.support.lab import Lab
from tests.support.qbt import VERSIONS, RealClient, settle, wait_for
from tests.support.torrents import make_torrent
from tests.support.traffic import ReadMeter

from seedkeep.sqlite import open_database
from seedkeep.text import table
from seedkeep.units import format_size

SIZE = 40_000  # bytes of a group
IN_THE_CLIENT = 10  # groups that are moved there by hand, for comparison
ADDED_AT_ONCE = 100
HEAD = ("QBITTORRENT", "BY", "GROUPS", "WALL", "A GROUP", "SWITCH A GROUP", "NOT SEEDING", "READ")
LEGEND = """\
WALL            rehome: planning and applying, two processes; setLocation: until all seed again
SWITCH A GROUP  from the first torrent's stop to the last one's start, summed over all groups that
                switched together, divided by the groups
NOT SEEDING     a torrent's time between its stop and its start, worst of all
READ            bytes that rehome read in all, of files and answers, divided by the groups (what the
                client reads for its check is not visible from outside and shows as -)"""


@dataclass(frozen=True)
class Measured:
    by: str
    groups: int
    wall_s: float
    switch_s: float  # of all groups
    worst_s: float
    read: int | None  # bytes, per group

    def row(self, version: str) -> tuple[str, ...]:
        return (
            version,
            self.by,
            str(self.groups),
            f"{self.wall_s:.1f} s",
            f"{self.wall_s / self.groups:.2f} s",
            f"{self.switch_s / self.groups:.2f} s",
            f"{self.worst_s:.1f} s",
            "-" if self.read is None else format_size(self.read),
        )


def fill(lab: Lab, groups: int) -> list[str]:
    """Torrents that seed from stash, whose bytes lie on the pool under other names."""
    rng = random.Random(groups)
    files, ids = [], []
    for number in range(groups):
        content = rng.randbytes(SIZE)
        made = make_torrent(
            lab.seeding / f"{number % 10}", f"Group {number}", {"film.mkv": content}
        )
        copy = lab.pool_seeding / "backup" / f"{number}.mkv"
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes(content)
        files.append((made.root, made.data))
        ids.append(made.infohash)
    for root in sorted({root for root, _ in files}):
        mine = [data for place, data in files if place == root]
        for start in range(0, len(mine), ADDED_AT_ONCE):
            lab.client.api.torrents_add(
                torrent_files=mine[start : start + ADDED_AT_ONCE],
                save_path=str(root),
                is_skip_checking=True,
                content_layout="Original",
            )
    settle(lab.client.api, ids, progress=1.0, timeout_s=300)
    return ids


def by_set_location(lab: Lab, ids: Sequence[str]) -> Measured:
    """What a person does: a copy in its place, the new location, and waiting for the check."""
    began = time.monotonic()
    api, worst = lab.client.api, 0.0
    for torrent in ids:
        source = Path(lab.rows([torrent])[torrent]["save_path"])
        name = str(api.torrents_files(torrent)[0]["name"])
        target = lab.pool_seeding / source.relative_to(lab.seeding)
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_bytes((source / name).read_bytes())
        stopped = time.monotonic()
        api.torrents_set_location(location=str(target), torrent_hashes=[torrent])
        wait_for(partial(_is_at, lab, torrent, target), "the new place", timeout_s=120)
        settle(api, [torrent], progress=1.0)  # a state counts when it lasts: the check comes late
        worst = max(worst, time.monotonic() - stopped)
    wall_s = time.monotonic() - began
    return Measured("setLocation", len(ids), wall_s, wall_s, worst, None)


def _is_at(lab: Lab, torrent: str, place: Path) -> bool:
    return bool(lab.rows([torrent])[torrent]["save_path"] == str(place))


def by_rehome(lab: Lab, groups: int) -> Measured:
    plan = lab.home / "plan.json"
    began = time.monotonic()
    lab.run("rehome", "plan", "--demote", "--all-eligible", "--limit", str(groups), "-o", plan)
    planned = time.monotonic()
    apply = lab.command("rehome", "apply", plan, "--force", "--retain", "1d", "--json")
    with (
        subprocess.Popen(
            apply, env=lab.environ(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as process,
        ReadMeter(process.pid) as meter,
    ):
        said, _ = process.communicate()
    wall_s = time.monotonic() - began
    if process.returncode:
        raise SystemExit(f"rehome apply ended with {process.returncode}\n{said}")
    moved = json.loads(said)["outcome"]["groups"]
    print(f"  planned in {planned - began:.1f} s, {len(moved)} groups", file=sys.stderr)
    switch_s, worst_s = _switches(lab.catalog)
    read = meter.bytes_read // len(moved)
    return Measured("rehome", len(moved), wall_s, switch_s, worst_s, read)


def _switches(catalog: Path) -> tuple[float, float]:
    """Seconds of all switches (those that overlap once), and the longest of one group."""
    with open_database(catalog, readonly=True) as db:
        rows = db.tuples(
            """
            SELECT min(unixepoch(intended_at, 'subsec')), max(unixepoch(done_at, 'subsec'))
              FROM run_steps
             WHERE json_extract(step, '$.step') IN ('StopTorrents', 'StartTorrents')
             GROUP BY run_id ORDER BY 1
            """
        )
        spans = [(float(start), float(end)) for start, end in rows]
    total = reached = 0.0
    for start, end in spans:
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total, max(end - start for start, end in spans)


def measure(version: str, groups: int) -> list[Measured]:
    with ExitStack() as stack:
        folder = stack.enter_context(lab_folder(Path(tempfile.gettempdir())))
        stash = stack.enter_context(lab_folder(Path("/dev/shm")))
        client = stack.enter_context(RealClient(version, profile=folder / "client"))
        lab = Lab(folder / "home", stash, folder / "pool", client)
        ids = fill(lab, groups + IN_THE_CLIENT)
        by_hand = by_set_location(lab, ids[groups:])
        lab.look()
        return [by_rehome(lab, groups), by_hand]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reuse", description=__doc__)
    parser.add_argument("--groups", type=int, default=1000)
    parser.add_argument("--version", choices=VERSIONS, action="append", help="default all")
    chosen = parser.parse_args(argv)
    rows = [
        item.row(version)
        for version in chosen.version or VERSIONS
        for item in measure(version, chosen.groups)
    ]
    print(table(HEAD, rows))
    print(f"\n{LEGEND}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
