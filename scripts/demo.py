"""`make demo`: a private client, two real filesystems, a small library, and the real commands.

Everything lies in one temporary folder and is gone afterwards, whatever happens.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from tests.support.filesystems import ext4, lab_folder, xfs
from tests.support.lab import Lab, files_below
from tests.support.qbt import RealClient
from tests.support.torrents import NO_TRACKER, make_torrent
from tests.support.watch import Observer

MIB = 2**20


def say(text: str = "") -> None:
    print(text, flush=True)


def title(text: str) -> None:
    say(f"\n=== {text}")


class Demo:
    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.failures: list[str] = []

    def show(self, program: str, *arguments: str | Path, expect: int = 0) -> str:
        """Print a command as a person would type it, run it, print what it says."""
        say(f"\n$ {program} {' '.join(map(str, arguments))}")
        done = subprocess.run(
            self.lab.command(program, *arguments),
            env=self.lab.environ(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        say(done.stdout.rstrip("\n"))
        if done.returncode != expect:
            self.failures.append(f"{program} ended with {done.returncode}, not {expect}")
        return done.stdout

    def check(self, what: str, good: bool) -> None:
        say(f"  {'ok ' if good else 'NOT'} {what}")
        if not good:
            self.failures.append(what)

    def build_library(self) -> dict[str, str]:
        lab = self.lab
        kept = lab.seed("Kept.Film.2019", {"film.mkv": 24 * MIB, "film.nfo": 900}, below="movies")
        lab.import_into_library(kept, "Kept Film (2019)")
        film = lab.seed("Moving.Film.2021", {"film.mkv": 64 * MIB, "extras/cut.mkv": 8 * MIB})
        other = lab.cross_seed(film, "TRACKER-B", "cross-seed", category="cross-seed")
        flat = make_torrent(lab.home, "flat", {"one.flac": 5 * MIB, "two.flac": 6 * MIB})
        music = lab.seeding / "music"
        music.mkdir()
        for path in files_below(lab.home / "flat"):
            (music / path.name).write_bytes(path.read_bytes())
        (music / "somebody-else.txt").write_text("a neighbour in the same folder\n")
        no_root = lab.add(flat, music, no_root_folder=True)
        renamed = lab.seed("Ugly.Name-GRP", {"show.mkv": 12 * MIB}, rename="A Nice Name")
        there = lab.seed("Already.There", {"book.m4b": 16 * MIB}, below="books")
        backup = lab.pool_seeding / "backup" / "book (copy).m4b"
        backup.parent.mkdir()
        backup.write_bytes((lab.seeding / "books/Already.There/book.m4b").read_bytes())
        return {
            "kept": kept,
            "film": film,
            "other": other,
            "no_root": no_root,
            "renamed": renamed,
            "there": there,
        }

    def demote(self, name: str, torrent: str, *, dry_run: bool = False) -> None:
        plan = self.lab.home / f"{name}.json"
        self.show("rehome", "plan", "--demote", "--torrent-hash", torrent, "-o", plan)
        if dry_run:
            self.show("rehome", "apply", plan, "--dryrun")
        self.show("rehome", "apply", plan, "--force", "--retain", "0")

    def verify(self, ids: dict[str, str], before: dict[str, dict[str, object]]) -> None:
        lab = self.lab
        rows = lab.rows()
        movers = [ids[name] for name in ("film", "other", "no_root", "renamed", "there")]
        for torrent in movers:
            row = rows[torrent]
            on_pool = str(row["save_path"]).startswith(str(lab.pool_seeding))
            seeds = row["state"] in ("stalledUP", "uploading") and row["progress"] == 1
            self.check(f"{row['name']} ({torrent[:8]}) seeds from the pool at 100 %", on_pool)
            self.check(f"  state {row['state']}, progress {row['progress']:.0%}", seeds)
            same = all(
                row[key] == before[torrent][key]
                for key in ("category", "tags", "added_on", "completion_on", "uploaded", "ratio")
            )
            self.check("  category, tags, dates and statistics are as before", same)
        one = lab.pool_seeding / "Moving.Film.2021/film.mkv"
        two = lab.pool_seeding / "cross-seed/Moving.Film.2021/film.mkv"
        linked = one.stat().st_ino == two.stat().st_ino and one.stat().st_nlink == 2
        self.check("both siblings are one inode with two names on the pool", linked)
        book = lab.pool_seeding / "books/Already.There/book.m4b"
        reused = book.stat().st_ino == (lab.pool_seeding / "backup/book (copy).m4b").stat().st_ino
        self.check("the book was not copied: it is a hardlink to what the pool had", reused)
        left = [path.name for path in files_below(lab.seeding)]
        expected = ["film.mkv", "film.nfo", "somebody-else.txt"]
        self.check(
            "stash keeps the library's film and the neighbour, nothing else",
            sorted(left) == expected,
        )
        kept = rows[ids["kept"]]["save_path"]
        self.check("the film that the library uses stayed", str(kept).startswith(str(lab.stash)))


def main() -> int:
    if os.geteuid() != 0:
        say("the demo mounts two filesystems and needs root: run it as root, or with sudo")
        return 2
    began = time.monotonic()
    with ExitStack() as stack:
        folder = stack.enter_context(lab_folder(Path(tempfile.gettempdir())))
        stash = stack.enter_context(ext4(folder, "400M", name="stash"))
        pool = stack.enter_context(xfs(folder, "500M", name="pool"))
        client = stack.enter_context(RealClient("4.5", profile=folder / "client"))
        lab = Lab(folder / "home", stash, pool, client)
        demo = Demo(lab)
        title(f"stash is {stash} (ext4), pool is {pool} (xfs); they cannot share hardlinks")
        ids = demo.build_library()
        before = lab.rows()
        say(f"a library of {len(ids)} torrents seeds from stash ({NO_TRACKER} is nobody)")

        title("the truth: what lies where, and which torrents are the same bytes")
        demo.show("hashall", "scan", stash, pool)
        demo.show("hashall", "payload", "sync")
        demo.show("hashall", "payload", "siblings", ids["film"])

        title("a film that the library hardlinks must stay")
        demo.show("rehome", "plan", "--demote", "--torrent-hash", ids["kept"], expect=3)

        with Observer(client.url) as watch:
            title("a film with two sibling torrents moves once")
            demo.demote("film", ids["film"], dry_run=True)
            title("a torrent without a root folder, between neighbours")
            demo.demote("no-root", ids["no_root"])
            title("a torrent whose folder was renamed")
            demo.demote("renamed", ids["renamed"])
            title("a torrent whose bytes the pool has already: nothing is copied")
            demo.demote("there", ids["there"])

        title("what is true now")
        demo.verify(ids, before)
        say(f"  states seen during all moves: {', '.join(sorted(watch.seen.states))}")
        say(f"  longest time that a torrent did not seed: {watch.seen.worst_s:.1f} s")
        demo.check("nothing was ever checked or downloaded", not watch.seen.dreaded)
        demo.show("rehome", "runs", "list")
    say(f"\nthe demo took {time.monotonic() - began:.0f} s and has cleaned up after itself")
    for failure in demo.failures:
        say(f"FAILED: {failure}")
    return 1 if demo.failures else 0


if __name__ == "__main__":
    sys.exit(main())
