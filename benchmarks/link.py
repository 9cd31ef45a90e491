"""`make bench-link`: replace duplicates by hardlinks, beside `jdupes -L` and util-linux `hardlink`.

The same tree for each, its page cache dropped before each run.  The other two look for the
duplicates in the same call; hashall has them in its catalog, so its scan and plan stand in columns
of their own.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from seedkeep.text import table
from seedkeep.units import format_size, parse_size

HASHALL = Path(sys.executable).with_name("hashall")
HEAD = ("CORPUS", "BY", "LINKED", "FREED", "LINKING", "× JDUPES", "SCAN", "PLAN", "ALL")
LEGEND = """\
LINKED    names that became links
LINKING   jdupes -L and hardlink: the whole call; hashall: `link execute --force`, with its journal
          and backups on
ALL       with hashall's first scan and plan
Bars      large: not slower than jdupes -L with --verify bytes; small: at most 3 × jdupes -L"""
WARM: list[bool] = []  # not empty: the page cache stays
OLD = 1_700_000_000  # an mtime that no scan finds too young


@dataclass(frozen=True)
class Corpus:
    """`groups` files, each with `copies` more of the same bytes."""

    name: str
    groups: int
    copies: int
    smallest: int  # bytes
    largest: int
    folders: int = 100

    @property
    def replacements(self) -> int:
        return self.groups * self.copies

    def make(self, root: Path) -> None:
        rng = random.Random(20261121)
        folders = [root / f"{number:03}" for number in range(self.folders)]
        for folder in folders:
            folder.mkdir(parents=True)
        for group in range(self.groups):
            size = rng.randint(self.smallest, self.largest)
            first = folders[group % len(folders)] / f"{group:06}-0"
            _write(first, size, rng)
            for copy in range(1, self.copies + 1):
                folder = folders[(group + 37 * copy) % len(folders)]
                shutil.copy2(first, folder / f"{group:06}-{copy}")


def _write(path: Path, size: int, rng: random.Random) -> None:
    with path.open("wb") as out:
        while size > 0:
            part = min(size, 4 << 20)
            out.write(rng.randbytes(part))
            size -= part
    os.utime(path, (OLD, OLD))


def separate(root: Path) -> None:
    """Every name a file of its own again."""
    seen: set[int] = set()
    for path in sorted(p for p in root.rglob("*") if p.is_file()):
        inode = path.stat().st_ino
        if inode in seen:
            spare = path.with_name(path.name + ".copy")
            shutil.copy2(path, spare)
            spare.replace(path)
        seen.add(inode)


def surplus(root: Path) -> tuple[int, int]:
    """(names that are links to another name, bytes of all inodes)."""
    stats = [path.stat() for path in root.rglob("*") if path.is_file()]
    inodes = {found.st_ino: found.st_size for found in stats}
    return len(stats) - len(inodes), sum(inodes.values())


def drop_caches() -> None:
    subprocess.run(["sync"], check=True)
    if WARM:
        return
    caches = Path("/proc/sys/vm/drop_caches")
    if os.access(caches, os.W_OK):
        caches.write_text("3\n")


def timed(*command: str | Path, environ: dict[str, str] | None = None) -> float:
    began = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environ)
    return time.monotonic() - began


@dataclass(frozen=True)
class Measured:
    corpus: str
    by: str
    linked: int
    freed: int  # bytes
    linking_s: float
    scan_s: float = 0.0
    plan_s: float = 0.0

    @property
    def all_s(self) -> float:
        return self.scan_s + self.plan_s + self.linking_s


def by_other(*command: str) -> Callable[[Path, Path], tuple[float, float, float]]:
    def run(root: Path, _home: Path) -> tuple[float, float, float]:
        drop_caches()
        return timed(*command, root), 0.0, 0.0

    return run


def by_hashall(verify: str) -> Callable[[Path, Path], tuple[float, float, float]]:
    def run(root: Path, home: Path) -> tuple[float, float, float]:
        environ = {**os.environ, "HASHALL_DB": str(home / "catalog.db"), "HOME": str(home)}
        drop_caches()
        scan = timed(HASHALL, "scan", root, environ=environ)
        plan = timed(HASHALL, "link", "plan", "bench", environ=environ)
        made = subprocess.run(
            [HASHALL, "link", "list-plans", "--json"], env=environ, check=True, capture_output=True
        )
        number = json.loads(made.stdout)["link_plans"][-1]["plan_id"]
        drop_caches()
        how = ("--force", "--verify", verify)
        execute = timed(HASHALL, "link", "execute", str(number), *how, environ=environ)
        return execute, scan, plan

    return run


RUNS: dict[str, Callable[[Path, Path], tuple[float, float, float]]] = {
    "jdupes -L": by_other("jdupes", "-r", "-q", "-L"),
    "hardlink": by_other("hardlink", "-q", "-t"),
    "hashall, bytes": by_hashall("bytes"),
    "hashall, hash": by_hashall("hash"),
    "hashall, none": by_hashall("none"),
}


@contextmanager
def folder(parent: Path | None) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="seedkeep-bench-", dir=parent) as name:
        yield Path(name).resolve()


def measure(corpus: Corpus, place: Path | None, names: list[str]) -> Iterator[Measured]:
    with folder(place) as top:
        root = top / "files"
        corpus.make(root)
        _, whole = surplus(root)
        for number, name in enumerate(names):
            if number:
                separate(root)
            home = top / f"home-{number}"
            home.mkdir()
            linking, scan, plan = RUNS[name](root, home)
            linked, left = surplus(root)
            yield Measured(corpus.name, name, linked, whole - left, linking, scan, plan)


def rows(found: list[Measured]) -> Iterator[tuple[str, ...]]:
    for one in found:
        base = next(m.linking_s for m in found if m.corpus == one.corpus and m.by == "jdupes -L")
        own = one.by.startswith("hashall")
        yield (
            one.corpus,
            one.by,
            str(one.linked),
            format_size(one.freed),
            f"{one.linking_s:.2f} s",
            f"{one.linking_s / base:.2f}",
            f"{one.scan_s:.2f} s" if own else "-",
            f"{one.plan_s:.2f} s" if own else "-",
            f"{one.all_s:.2f} s",
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--small", type=int, default=20_000, help="replacements of small files")
    parser.add_argument("--large", type=int, default=40, help="replacements of large files")
    parser.add_argument("--size", type=parse_size, default="200MiB", help="of a large file")
    parser.add_argument("--place", type=Path, help="a folder on the disk to measure")
    parser.add_argument("--by", nargs="*", default=list(RUNS), choices=list(RUNS))
    parser.add_argument("--warm", action="store_true", help="leave the page cache as it is")
    given = parser.parse_args()
    WARM.extend([True] * given.warm)
    names = [name for name in RUNS if name == "jdupes -L" or name in given.by]
    corpora = [
        Corpus("small", given.small, 1, 1 << 10, 16 << 10),
        Corpus("large", max(given.large // 4, 1), 4, given.size, given.size, folders=5),
    ]
    found: list[Measured] = []
    for corpus in corpora:
        if corpus.replacements and (corpus.name != "large" or given.large):
            found += measure(corpus, given.place, names)
    print(table(HEAD, rows(found), "llrrrrrrr"))
    print(LEGEND)


if __name__ == "__main__":
    main()
