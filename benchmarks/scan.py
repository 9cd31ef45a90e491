"""`make bench-scan`: scans beside other tools that find or hash files, on the same two corpora.

Medians of several runs, and ratios: seconds differ from machine to machine, ratios much less.  A
cold run drops the page cache first, where the kernel lets us (root, not in every container).
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import scan_corpora as corpora
from benchmarks import scan_groups as groups
from seedkeep.sqlite import open_database
from seedkeep.text import table

DROP_CACHES = Path("/proc/sys/vm/drop_caches")
FOLDER = Path("/var/tmp/seedkeep-bench")  # a disk, unlike many a /tmp
HASHALL = [str(Path(sys.executable).with_name("hashall"))]
SMALL_NAMES, LARGE_BYTES, TINY_NAMES = 200_000, 12 * corpora.GIB, 2_000_000
HEAD = ("WORK", "CACHE", "WHO", "MEDIAN", "SPREAD", "PEAK RSS", "RATIO", "BAR")


@dataclass(frozen=True)
class Run:
    """One competitor; several commands are one after the other, timed together."""

    who: str
    commands: tuple[Sequence[str], ...]
    before: Callable[[], None] = lambda: None
    bar: str = ""  # of our time against this one's


@dataclass
class Measured:
    times: list[float] = field(default_factory=list)  # seconds
    peak: int = 0  # bytes, of the largest process


@dataclass(frozen=True)
class Work:
    name: str
    cold: bool
    ours: Run
    peers: tuple[Run, ...]
    warms: Path | None = None  # read before each run: some machines empty the cache by themselves


class Bench:
    def __init__(self, folder: Path, scale: float, runs: int, without: Sequence[str] = ()) -> None:
        self.folder, self.scale, self.runs, self.without = folder, scale, runs, set(without)
        self.names, self.large_bytes = int(SMALL_NAMES * scale), int(LARGE_BYTES * scale)
        self.rows: list[tuple[str, ...]] = []

    def catalog(self, name: str) -> str:
        return str(self.folder / f"catalog-{name}.db")

    def forget(self, name: str) -> None:
        for path in self.folder.glob(f"catalog-{name}.db*"):
            path.unlink()

    def scan(self, name: str, root: Path, *options: str) -> list[str]:
        return [*HASHALL, "scan", "--json", "--db", self.catalog(name), *options, str(root)]

    def measure(self, work: Work) -> dict[str, Measured]:
        """All competitors in turn, so that what the machine does meanwhile meets them alike."""
        found: dict[str, Measured] = {}
        if work.cold and not may_drop_caches():
            self.rows.append((work.name, "cold", "-", "not allowed here", "", "", "", ""))
            return found
        programs = {peer.who: peer.commands[0][0] for peer in work.peers}
        missing = {who for who, program in programs.items() if not shutil.which(program)}
        left_out = missing | {who for who in programs if who.split()[0] in self.without}
        everybody = [work.ours, *(peer for peer in work.peers if peer.who not in left_out)]
        for number in range(self.runs if work.cold else self.runs + 1):
            for run in everybody:
                run.before()
                if work.cold:
                    drop_caches()
                elif work.warms is not None:
                    read_everything(work.warms)
                seconds, peak = timed(run.commands)
                into = found.setdefault(run.who, Measured())
                if work.cold or number:  # the first warm run only warms
                    into.times.append(seconds)
                    into.peak = max(into.peak, peak)
        self._report(work, everybody, found)
        return found

    def _report(self, work: Work, runs: Sequence[Run], found: dict[str, Measured]) -> None:
        ours = statistics.median(found[work.ours.who].times)
        for run in runs:
            times = found[run.who].times
            median = statistics.median(times)
            self.rows.append(
                (
                    work.name,
                    "cold" if work.cold else "warm",
                    run.who,
                    f"{median:.2f} s",
                    f"{min(times):.2f}–{max(times):.2f}",
                    f"{found[run.who].peak >> 20} MiB",
                    "" if run is work.ours else f"{ours / median:.2f}",
                    run.bar,
                )
            )
        print(table(HEAD, self.rows[-len(runs) :]), flush=True)

    # -- the works

    def rescan(self) -> None:
        corpus = corpora.small(self.folder, self.names)
        subprocess.run(self.scan("small", corpus.root), stdout=subprocess.DEVNULL, check=True)
        ours = Run("hashall", (self.scan("small", corpus.root),))
        find = Run("find -printf", (find_command(corpus.root),), bar="≤ 2.0")
        self.measure(Work(f"rescan of {corpus.names:,} names", False, ours, (find,)))

    def dupes(self) -> None:
        """From a catalog that is there; and the groups are those of jdupes to the last file."""
        root = corpora.small(self.folder, self.names).root
        subprocess.run(self.scan("small", root), stdout=subprocess.DEVNULL, check=True)
        command = [*HASHALL, "dupes", "--db", self.catalog("small")]
        ours = Run("hashall dupes", (command,), bar="≤ 0.4 s")
        python = Run("python -c pass", ([sys.executable, "-c", "pass"],))
        self.measure(Work(f"all duplicates of {self.names:,} names", False, ours, (python,)))
        if not shutil.which("jdupes"):
            return
        begun = time.perf_counter()
        theirs = groups.of_jdupes(root)
        print(f"jdupes -rq, once: {time.perf_counter() - begun:.1f} s")
        listed = groups.of_hashall([*command, "--json"])
        if listed != theirs:
            raise SystemExit(f"{len(listed ^ theirs)} groups are not the same as jdupes -rq finds")
        print(f"{len(listed):,} groups, the same as jdupes -rq finds")

    def small_cold(self) -> None:
        self._small(cold=True, bar="≤ 0.7")

    def small_warm(self) -> None:
        self._small(cold=False, bar="≤ 1.15")

    def _small(self, *, cold: bool, bar: str) -> None:
        root = corpora.small(self.folder, self.names).root
        ours = Run("hashall", (self.scan("first", root),), lambda: self.forget("first"))
        rdfind = ["rdfind", "-checksum", "sha256", "-dryrun", "true", "-makeresultsfile", "false"]
        peers = (
            Run("jdupes -rq", (["jdupes", "-rq", str(root)],), bar=bar),
            Run("rdfind sha256", ([*rdfind, str(root)],), bar="< 1"),
            Run("hardlink", (["hardlink", "--dry-run", "--quiet", str(root)],)),
            # A file that it is told to write it moves away before, and that would be /dev/null too.
            Run("rmlint", (["rmlint", "-o", "summary:stdout", str(root)],)),
            Run("xargs -P2 openssl", (openssl_command(root, per_call=500),)),
        )
        name = "first scan, small files, full hashes"
        self.measure(Work(name, cold, ours, peers, warms=None if cold else root))

    def large_cold(self) -> None:
        root = corpora.large(self.folder, self.large_bytes).root
        ours = Run("hashall", (self.scan("large", root),), lambda: self.forget("large"))
        reader = Path(__file__).with_name("plain_reader.py")
        peers = (
            Run("plain reader", ([sys.executable, str(reader), str(root)],), bar="≤ 1.05"),
            Run("xargs -P2 openssl", (openssl_command(root, per_call=1),), bar="< 1"),
        )
        self.measure(Work("first scan, large files, full hashes", True, ours, peers))

    def large_duplicates(self) -> None:
        root = corpora.large(self.folder, self.large_bytes).root
        steps = tuple(
            self.scan("staged", root, "--hash-mode", mode) for mode in ("fast", "upgrade")
        )
        ours = Run("hashall fast, upgrade", steps, lambda: self.forget("staged"))
        peers = (
            Run("jdupes -rqQ", (["jdupes", "-rqQ", str(root)],), bar="≤ 0.7"),
            Run("jdupes -rq", (["jdupes", "-rq", str(root)],)),
        )
        self.measure(Work("all duplicates, large files", True, ours, peers))

    def linear(self) -> None:
        """Ten times the files: ten times the time, and no more memory."""
        found = []
        for names in (int(TINY_NAMES * self.scale) // 10, int(TINY_NAMES * self.scale)):
            corpus = corpora.tiny(self.folder, names)
            scan = self.scan(f"tiny-{names}", corpus.root, "--hash-mode", "fast")
            first = timed((scan,))
            ours = Run("hashall", (scan,))
            find = Run("find -printf", (find_command(corpus.root),))
            measured = self.measure(Work(f"rescan of {names:,} tiny files", False, ours, (find,)))
            found.append(statistics.median(measured["hashall"].times) / names)
            print(f"first scan of them: {first[0]:.1f} s, peak {first[1] >> 20} MiB")
        row = ("time per file, ten times the files", "warm", "hashall", "", "", "", "")
        self.rows.append((*row[:6], f"{found[1] / found[0]:.2f}", "≤ 1.3"))

    def readers(self) -> None:
        """The longest time that a reader of the catalog had to wait during a rescan."""
        corpus = corpora.small(self.folder, self.names)
        scan = self.scan("readers", corpus.root, "--hash-mode", "fast")
        self.forget("readers")
        subprocess.run(scan, stdout=subprocess.DEVNULL, check=True)
        for path in sorted(corpus.root.rglob("*.dat"))[::20]:
            os.utime(path)  # something to write about
        waits: list[float] = []
        ended = threading.Event()

        def read() -> None:
            with open_database(
                Path(self.catalog("readers")), readonly=True, busy_timeout_s=0
            ) as db:
                while not ended.is_set():
                    begun = time.perf_counter()
                    db.all("SELECT path, sha256 FROM files_1 WHERE inode = 12345")
                    waits.append(time.perf_counter() - begun)

        reader = threading.Thread(target=read)
        reader.start()
        seconds, _ = timed((scan,))
        ended.set()
        reader.join()
        worst = f"{max(waits) * 1000:.0f} ms"
        print(f"rescan beside a reader: {seconds:.2f} s, {len(waits)} questions, worst {worst}")
        self.rows.append(
            (
                "questions during a rescan",
                "warm",
                "hashall",
                f"{len(waits)} answered",
                worst,
                "",
                "",
                "none refused",
            )
        )


WORKS = {
    "small-cold": Bench.small_cold,
    "small-warm": Bench.small_warm,
    "rescan": Bench.rescan,
    "dupes": Bench.dupes,
    "large-cold": Bench.large_cold,
    "large-duplicates": Bench.large_duplicates,
    "linear": Bench.linear,
    "readers": Bench.readers,
}


def timed(commands: Sequence[Sequence[str]]) -> tuple[float, int]:
    """Wall clock (seconds) and the peak memory (bytes) of the largest process."""
    begun, peak = time.perf_counter(), 0
    for command in commands:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
        peak = max(peak, usage.ru_maxrss * 1024)
    return time.perf_counter() - begun, peak


def find_command(root: Path) -> list[str]:
    return ["find", str(root), "-printf", r"%i %s %T@ %C@ %n %p\n"]


def openssl_command(root: Path, *, per_call: int) -> list[str]:
    hash_all = f"find '{root}' -type f -print0 | xargs -0 -P2 -n{per_call} openssl dgst -sha256"
    return ["sh", "-c", hash_all]


def read_everything(root: Path) -> None:
    """So that it lies in the page cache."""
    find = f"find '{root}' -type f -print0 | xargs -0 -P2 -n1000 cat"
    subprocess.run(["sh", "-c", find], stdout=subprocess.DEVNULL, check=True)


def may_drop_caches() -> bool:
    return os.access(DROP_CACHES, os.W_OK)


def drop_caches() -> None:
    os.sync()
    DROP_CACHES.write_text("3")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the corpora are kept")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="of the corpora; 1 needs 30 GB")
    parser.add_argument("--small", action="store_const", const=0.05, dest="scale")
    parser.add_argument("--only", action="append", choices=sorted(WORKS), help="may be repeated")
    parser.add_argument(
        "--without", action="append", default=[], metavar="TOOL", help="a slow peer"
    )
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    bench = Bench(args.folder, args.scale, args.runs, args.without)
    free = shutil.disk_usage(args.folder).free
    needed = corpora.free_space_needed(bench.names, bench.large_bytes)
    if free < needed and not any(args.folder.glob("*.complete")):
        raise SystemExit(f"{args.folder} has {free >> 30} GiB free; {needed >> 30} are needed")
    with tempfile.TemporaryDirectory() as home:
        os.environ["HOME"] = home  # no configuration of a person
        for name, work in WORKS.items():
            if args.only is None or name in args.only:
                work(bench)
    print(f"\n{table(HEAD, bench.rows)}")


if __name__ == "__main__":
    main()
