"""A scan can be stopped at any moment: what was hashed is kept, the next one goes on."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest
from tests.support.catalog_lab import (
    CatalogLab,
    counted_reads,
    document,
    ended,
    on_disk,
    start_hashall,
)

from hashall import scan_hash
from hashall.catalog import open_catalog
from hashall.scan import ScanState
from seedkeep.sqlite import open_database


def many_files(lab: CatalogLab, count: int) -> None:
    for number in range(count):
        lab.write(f"folder {number % 5}/film {number}.mkv", b"%d" % number * 50)


def hashed(db: Path) -> int:
    """Inodes with a hash; 0 while there is no catalog with a device yet."""
    if not db.exists():
        return 0
    with open_database(db, create=False, readonly=True) as opened:
        if opened.one("SELECT 1 FROM sqlite_schema WHERE name = 'inodes_1'") is None:
            return 0
        row = opened.one("SELECT count(*) FROM inodes_1 WHERE sha256 IS NOT NULL")
        assert row is not None
        return int(row[0])


def wait_for(db: Path, count: int) -> None:
    deadline = time.monotonic() + 30
    while hashed(db) < count:
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.chaos
def test_after_sigkill_at_any_moment_the_next_scan_makes_the_catalog_right(
    lab: CatalogLab, tmp_path: Path
) -> None:
    """R-OPS-5"""
    dice = random.Random(20)
    many_files(lab, 60)
    db = tmp_path / "killed.db"
    kept = []
    for _ in range(8):
        process = start_hashall("scan", "--db", db, lab.root, pause=0.02)
        wait_for(db, dice.randrange(1, 55))  # at once, when so much was hashed before
        process.kill()
        process.communicate()
        kept.append(hashed(db))
        # The disk goes on meanwhile.
        victim = lab.root / f"folder {dice.randrange(5)}" / f"new {dice.randrange(20)}.mkv"
        victim.write_bytes(dice.randbytes(30))
        if dice.random() < 0.3:
            victim.unlink()
        for path in sorted(lab.root.glob("*/film*"))[:8]:
            path.write_bytes(dice.randbytes(40))  # so that there is always something to hash

    code, _, err = ended(start_hashall("scan", "--db", db, lab.root))

    assert (code, err) == (0, "")
    assert max(kept) > 0
    lab.close()
    lab.catalog = open_catalog(db, create=False)
    assert lab.known() == on_disk(lab.root)


@pytest.mark.parametrize(
    ("sign", "code", "word"), [("SIGINT", 130, "interrupted"), ("SIGTERM", 143, "terminated")]
)
def test_a_signal_ends_the_program_and_keeps_what_was_hashed(
    lab: CatalogLab, tmp_path: Path, sign: str, code: int, word: str
) -> None:
    many_files(lab, 100)
    db = tmp_path / "stopped.db"
    process = start_hashall("scan", "--db", db, "--json", lab.root, pause=0.05)
    wait_for(db, 5)
    process.send_signal(signal.Signals[sign])

    got, out, err = ended(process)

    assert got == code
    assert f"error: {word}" in err
    assert "Traceback" not in err
    assert document(out, "error")["exit_code"] == code
    kept = hashed(db)
    assert 5 <= kept < 100

    _, out, _ = ended(start_hashall("scan", "--db", db, "--json", lab.root))
    summary = document(out, "scan")
    assert summary["hashes"]["files"] == 100 - kept
    assert summary["unchanged"] == 100


def test_ctrl_c_says_that_nothing_is_lost(lab: CatalogLab, tmp_path: Path) -> None:
    many_files(lab, 100)
    db = tmp_path / "stopped.db"
    process = start_hashall("scan", "--db", db, lab.root, pause=0.05)
    wait_for(db, 5)
    process.send_signal(signal.SIGINT)

    _, out, err = ended(process)

    assert out == ""
    assert err == (
        "what was hashed is kept; the same command goes on from there\nerror: interrupted\n"
    )


def test_an_exception_between_two_hashes_keeps_those_that_were_made(
    lab: CatalogLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    many_files(lab, 50)
    monkeypatch.setattr(scan_hash, "SECONDS_PER_COMMIT", -1.0)

    def stop_at(state: ScanState) -> None:
        if state.summary.hashes.files >= 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lab.scan(progress=stop_at)

    kept = sum(file.sha256 is not None for file in lab.known().values())
    assert 10 <= kept < 50
    with counted_reads() as reads:
        lab.scan()
    assert len(reads.whole) == 50 - kept
    assert lab.known() == on_disk(lab.root)


def test_an_interrupted_scan_covers_nothing(
    lab: CatalogLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R-CAT-11"""
    many_files(lab, 5)
    monkeypatch.setattr(scan_hash, "SECONDS_PER_COMMIT", -1.0)

    def stop(state: ScanState) -> None:
        if state.summary.hashes.files:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lab.scan(progress=stop)

    spot = lab.spot()
    scans = lab.catalog.scans
    assert scans.coverage(spot.device.device_id, spot.place.relpath).completed_at is None
    assert [completed for *_, completed in scans.roots()] == [None]
    assert lab.catalog.devices.get(spot.device.device_id).last_scan_completed is None


def test_a_second_scan_says_who_holds_the_catalog(lab: CatalogLab, tmp_path: Path) -> None:
    many_files(lab, 40)
    db = tmp_path / "shared.db"
    first = start_hashall("scan", "--db", db, lab.root, pause=0.1)
    wait_for(db, 1)
    files = sorted(os.listdir(tmp_path))

    code, out, err = ended(start_hashall("scan", "--db", db, lab.root))

    assert (code, out) == (75, "")
    assert err.startswith(f"error: the catalog {db} is in use\nprocess {first.pid} holds it since ")
    assert err.endswith(
        f": hashall scan {lab.root}\nhint: wait for it to end, then run the same command again\n"
    )
    assert sorted(os.listdir(tmp_path)) == files
    assert ended(start_hashall("status", "--db", db))[0] == 0  # reading needs no turn
    assert ended(first)[0] == 0


def test_a_killed_scan_leaves_no_lock_behind(lab: CatalogLab, tmp_path: Path) -> None:
    many_files(lab, 40)
    db = tmp_path / "shared.db"
    first = start_hashall("scan", "--db", db, lab.root, pause=0.1)
    wait_for(db, 1)
    first.kill()
    first.communicate()

    assert ended(start_hashall("scan", "--db", db, lab.root))[0] == 0
