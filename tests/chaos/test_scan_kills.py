"""SIGKILL at any moment of a scan, helpers and all: the catalog is never wrong."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.support.catalog_lab import Bytes, CatalogLab, on_disk, settle

from hashall.catalog import open_catalog

KILLS = int(os.environ.get("SEEDKEEP_SCAN_KILLS", "12"))
SEED = int(os.environ.get("SEEDKEEP_SCAN_SEED", "20261121"))
FOLDERS, FILES = 12, 10

# Helpers from the first file on, small commits, and every index dropped as for a large load.
_PROGRAM = """
import sys
from hashall import scan, scan_hash
from hashall.catalog import scan_load
from hashall.cli import main
scan.HELPERS_FROM_ENTRIES = scan.HELPERS_FROM_FILES = 1
scan.ENTRIES_PER_TASK = scan.READ_PER_TASK = 15
scan.FOLDERS_PER_TASK, scan.CHANGES_PER_COMMIT = 2, 20
scan_hash.SECONDS_PER_COMMIT, scan.BATCH_FILES = 0.0, 4
scan_load.LARGE_LOAD = 10
sys.argv[0] = "hashall"
main()
"""


@pytest.fixture
def lab(tmp_path: Path) -> CatalogLab:
    return CatalogLab(tmp_path)


def start(lab: CatalogLab, mode: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [
            sys.executable,
            "-c",
            _PROGRAM,
            "scan",
            "--db",
            lab.db_path,
            lab.root,
            "--hash-mode",
            mode,
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def change(lab: CatalogLab, dice: random.Random) -> None:
    """What goes on on a disk between two scans."""
    for _ in range(dice.randrange(12)):
        name = f"{dice.randrange(FOLDERS)}/{dice.randrange(FILES)}.mkv"
        other = f"{dice.randrange(FOLDERS)}/{dice.randrange(FILES)}.mkv"
        path, target = lab.root / name, lab.root / other
        what = dice.randrange(5)
        if what == 0 or not path.exists():
            fresh = lab.write("fresh", dice.randbytes(dice.randrange(300)))
            settle(fresh, seconds_ago=dice.randrange(100, 10_000))
            fresh.replace(path)
        elif what == 1:
            path.rename(target)
        elif what == 2:
            path.unlink()
        elif what == 3 and not target.exists():
            os.link(path, target)
        else:
            path.chmod(dice.choice((0o600, 0o644)))


def wrong(lab: CatalogLab, ever: dict[int, set[tuple[int, str]]]) -> list[str]:
    """Hashes that no file of this inode, of this size, has ever had."""
    lab.catalog = open_catalog(lab.db_path, create=True)
    try:
        assert lab.db.one("PRAGMA integrity_check")[0] == "ok"  # type: ignore[index]
        assert lab.db.all("PRAGMA foreign_key_check") == []
        if not lab.catalog.devices.all():
            return []
        known = lab.known()
    finally:
        lab.close()
    return [
        f"{name}: {file}"
        for name, file in known.items()
        if file.sha256 is not None and (file.size, file.sha256) not in ever.get(file.inode, set())
    ]


def remember(ever: dict[int, set[tuple[int, str]]], found: dict[str, Bytes]) -> None:
    for file in found.values():
        assert file.sha256 is not None
        ever.setdefault(file.inode, set()).add((file.size, file.sha256))


@pytest.mark.chaos
def test_a_scan_that_is_killed_at_any_moment_leaves_a_true_catalog(lab: CatalogLab) -> None:
    """R-OPS-5: `SEEDKEEP_SCAN_KILLS=100` for the long run."""
    dice = random.Random(SEED)
    lab.close()
    lab.db_path.unlink()
    for folder in range(FOLDERS):
        for number in range(FILES):
            lab.write(f"{folder}/{number}.mkv", dice.randbytes(dice.randrange(300)))
    ever: dict[int, set[tuple[int, str]]] = {}
    whole = whole_scan(lab)  # so that kills fall within a scan
    lab.db_path.unlink()
    for _ in range(KILLS):
        remember(ever, on_disk(lab.root))
        process = start(lab, dice.choice(("full", "full", "fast", "upgrade")))
        time.sleep(dice.uniform(0.1, 1.1) * whole)  # any moment will do; this one is random
        group = dice.random() < 0.5  # else its helpers have to notice by themselves
        if process.poll() is not None:
            whole *= 0.8  # the machine has become quicker
        elif group:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
        process.communicate()
        assert wrong(lab, ever) == []
        if dice.random() < 0.2:  # now and then one gets to its end
            whole_scan(lab)
            lab.catalog = open_catalog(lab.db_path, create=False)
            assert lab.known() == on_disk(lab.root)
            lab.close()
        change(lab, dice)

    whole_scan(lab)
    lab.catalog = open_catalog(lab.db_path, create=False)
    assert lab.known() == on_disk(lab.root)


def whole_scan(lab: CatalogLab) -> float:
    """Seconds that it takes here and now."""
    begun = time.monotonic()
    process = start(lab, "full")
    _, err = process.communicate()
    # One that was killed before it made the indexes leaves that to the next, which says so.
    other = [line for line in err.splitlines() if not line.startswith(b"making the indexes of ")]
    assert (process.returncode, other) == (0, [])
    return time.monotonic() - begun
