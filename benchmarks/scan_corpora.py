"""Two corpora that are the same on every machine: many small files, and a few large ones.

They are made once and kept: a folder that has its `complete` mark is taken as it is.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MIB, GIB = 1 << 20, 1 << 30
FILES_PER_FOLDER = 100
HARDLINKS, DUPLICATES = 0.15, 0.25  # of all names; the duplicates are files of their own
LARGE_DUPLICATES = 0.4  # of the large files
BLOCK = 16 * MIB
SEED = 2026


@dataclass(frozen=True)
class Corpus:
    root: Path
    names: int
    bytes: int  # of the inodes, as far as the files are long


def small(folder: Path, names: int) -> Corpus:
    """Files of 1 to 64 KiB in folders of a hundred; a quarter duplicates, 15 % hardlinks."""
    dice = random.Random(SEED)
    root = folder / f"small-{names}"
    total = 0
    with _made_once(root) as fresh:
        seeds: list[tuple[int, int]] = []  # (seed, bytes) of files with bytes of their own
        paths: list[Path] = []
        for path in _paths(root, names) if fresh else ():
            chance = dice.random()
            if paths and chance < HARDLINKS:
                os.link(paths[dice.randrange(len(paths))], path)
                continue
            if not seeds or chance >= HARDLINKS + DUPLICATES:
                seeds.append((dice.getrandbits(32), dice.randint(1024, 64 * 1024)))
                seed, size = seeds[-1]
            else:
                seed, size = seeds[dice.randrange(len(seeds))]
            path.write_bytes(random.Random(seed).randbytes(size))
            paths.append(path)
            total += size
    return _described(root, names, total)


def large(folder: Path, size: int) -> Corpus:
    """Files of 50 to 500 MiB, `size` bytes together (roughly); two in five are copies."""
    dice = random.Random(SEED)
    root = folder / f"large-{size // MIB}M"
    total = names = 0
    with _made_once(root) as fresh:
        seeds: list[tuple[int, int]] = []
        while fresh and total < size:
            if not seeds or dice.random() >= LARGE_DUPLICATES:
                seeds.append((dice.getrandbits(32), dice.randint(50 * MIB, 500 * MIB)))
                seed, length = seeds[-1]
            else:
                seed, length = seeds[dice.randrange(len(seeds))]
            _write_large(root / f"film {names:03}.mkv", seed, length)
            total, names = total + length, names + 1
    return _described(root, names, total)


def tiny(folder: Path, names: int) -> Corpus:
    """Empty and tiny files in folders of a hundred: nothing but names and inodes."""
    dice = random.Random(SEED)
    root = folder / f"tiny-{names}"
    total = 0
    with _made_once(root) as fresh:
        for path in _paths(root, names) if fresh else ():
            size = dice.randrange(8)
            path.write_bytes(bytes(size))
            total += size
    return _described(root, names, total)


def free_space_needed(small_names: int, large_size: int) -> int:
    """Bytes, roughly, with some room for a catalog."""
    return small_names * 40 * 1024 + large_size + GIB


def _paths(root: Path, names: int) -> Iterator[Path]:
    for number in range(names):
        folder, name = divmod(number, FILES_PER_FOLDER)
        above = root / f"{folder // 100:03}" / f"folder {folder % 100:02}"
        if name == 0:
            above.mkdir(parents=True)
        yield above / f"file {name:02}.dat"


def _write_large(path: Path, seed: int, size: int) -> None:
    """Random bytes that no two blocks of a file share."""
    block = random.Random(seed).randbytes(BLOCK)
    with path.open("wb") as out:
        for start in range(0, size, BLOCK):
            out.write((seed + start).to_bytes(8, "little"))
            out.write(block[: min(BLOCK, size - start) - 8])


class _made_once:  # noqa: N801  (reads as a statement)
    """`with _made_once(root) as fresh`: an unfinished folder of before is removed and made anew."""

    def __init__(self, root: Path) -> None:
        self._root, self._mark = root, root.with_name(root.name + ".complete")

    def __enter__(self) -> bool:
        if self._mark.exists():
            return False
        shutil.rmtree(self._root, ignore_errors=True)
        self._root.mkdir(parents=True)
        return True

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None and not self._mark.exists():
            os.sync()  # what is measured later must not meet these writes
            self._mark.write_text("")


def _described(root: Path, names: int, total: int) -> Corpus:
    """Numbers are kept beside the folder, for the runs that find it made."""
    note = root.with_name(root.name + ".numbers")
    if total:
        note.write_text(f"{names} {total}")
    kept_names, kept_total = map(int, note.read_text().split())
    return Corpus(root, kept_names, kept_total)
