"""Whatever happens on a disk between scans, the catalog then says what is there."""

from __future__ import annotations

import contextlib
import itertools
import os
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.catalog_lab import CatalogLab, on_disk, settle

from hashall import scan_crew
from hashall.scan import DriftPolicy, HashMode, ScanSummary
from hashall.scan_at_once import Share
from hashall.scan_work import Worker
from seedkeep.sqlite import from_db

LONGEST = "n" * 251 + ".mkv"
NAMES = ("film.mkv", "-rf", "new\nline", os.fsdecode(b"caf\xe9"), LONGEST, "a b\\c\t'\"", "ünï")
FOLDERS = ("", "Season 1/", os.fsdecode(b"caf\xe9 dir/"), "-d/new\nline/")
CONTENT = (b"", b"a", b"b", b"0123456789" * 20)

paths = st.builds(str.__add__, st.sampled_from(FOLDERS), st.sampled_from(NAMES))
steps = st.one_of(
    st.tuples(st.just("write"), paths, st.sampled_from(CONTENT)),
    st.tuples(st.just("replace"), paths, st.sampled_from(CONTENT)),
    st.tuples(st.just("truncate"), paths, st.integers(0, 4)),
    st.tuples(st.just("rename"), paths, paths),
    st.tuples(st.just("rename folder"), st.sampled_from(FOLDERS[1:3]), st.just("moved")),
    st.tuples(st.just("link"), paths, paths),
    st.tuples(st.just("unlink"), paths, st.none()),
    st.tuples(st.just("symlink"), paths, paths),
    st.tuples(st.just("touch back"), paths, st.integers(1, 5)),
    st.tuples(st.just("chmod"), paths, st.sampled_from((0o600, 0o644))),
)
histories = st.lists(st.lists(steps, min_size=1, max_size=8), min_size=1, max_size=4)
policies = st.sampled_from([DriftPolicy.QUICK, DriftPolicy.FULL])
modes = st.sampled_from(list(HashMode))
HISTORIES = int(os.environ.get("SEEDKEEP_SCAN_HISTORIES", "60"))  # 500 for the long run
_counter = itertools.count()


def perform(root: Path, what: str, name: str, value: Any) -> None:
    """One step; what the disk refuses (no such file, a folder in the way) does not happen."""
    path = root / name
    acts: dict[str, Callable[[], object]] = {
        "write": lambda: path.write_bytes(value),
        "replace": lambda: _replace(root, path, value),
        "truncate": lambda: os.truncate(path, value),
        "rename": lambda: path.rename(root / value),
        "rename folder": lambda: path.rename(root / f"{value}-{next(_counter)}"),
        "link": lambda: os.link(path, root / value, follow_symlinks=False),
        "unlink": path.unlink,
        "symlink": lambda: path.symlink_to(root / value),
        "touch back": lambda: settle(path, seconds_ago=value),
        "chmod": lambda: path.chmod(value),
    }
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        acts[what]()


def _replace(root: Path, path: Path, content: bytes) -> None:
    fresh = root / f"fresh-{next(_counter)}"
    fresh.write_bytes(content)
    fresh.replace(path)


@settings(max_examples=HISTORIES, suppress_health_check=[HealthCheck.too_slow])
@given(history=histories, drift=policies, mode=modes, at_once=st.booleans())
def test_after_each_scan_the_catalog_is_what_a_naive_reader_finds(
    history: list[list[tuple[str, str, Any]]], drift: DriftPolicy, mode: HashMode, at_once: bool
) -> None:
    """R-CAT-2, R-CAT-3, R-CAT-7: names, inodes, sizes, SHA-256 and links of every file."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        # As a helper does, which small trees never need.
        patch.setattr(scan_crew, "Worker", partial(Worker, share=Share(0) if at_once else None))
        lab = CatalogLab(Path(folder))
        before: set[str] = set()
        for between in history:
            for step in between:
                perform(lab.root, *step)
            now = on_disk(lab.root)
            check_counts(lab.scan(drift=drift, mode=mode), before, set(now))
            check_hashes(lab, now)
            before = set(now)

            again = lab.scan(drift=drift)  # whole, and nothing moves when nothing happened
            assert (again.unchanged, again.seen, again.deleted) == (len(now), len(now), 0)
            assert lab.known() == now
            assert known_links(lab) == links_on_disk(lab.root)
            assert lab.scan(drift=drift, mode=HashMode.FAST).unchanged == len(now)
            assert lab.known() == now
        lab.close()


def check_counts(summary: ScanSummary, before: set[str], now: set[str]) -> None:
    """A name is counted once, and moves are pairs of a name that went and one that came."""
    assert summary.added + summary.moved == len(now - before)
    assert summary.deleted + summary.moved == len(before - now)
    assert summary.changed + summary.unchanged == len(before & now)
    assert min(summary.added, summary.moved, summary.deleted) >= 0


def check_hashes(lab: CatalogLab, now: dict[str, Any]) -> None:
    """After any mode: every name with its inode and size; a SHA-256 is right or missing."""
    known = lab.known()
    assert {n: f[:2] for n, f in known.items()} == {n: f[:2] for n, f in now.items()}
    assert all(file.sha256 in (None, now[name].sha256) for name, file in known.items())


def known_links(lab: CatalogLab) -> dict[str, tuple[int, int]]:
    """As the view shows them: nlink and mode by name below the root."""
    spot = lab.spot()
    rows = lab.db.all(
        f"SELECT path, nlink, mode FROM files_{spot.device.device_id} WHERE status = 'active'"
    )
    top = len(spot.place.relpath) + 1
    return {from_db(row["path"])[top:]: (row["nlink"], row["mode"]) for row in rows}


def links_on_disk(root: Path) -> dict[str, tuple[int, int]]:
    found = {}
    for name in on_disk(root):
        seen = (root / name).lstat()
        found[name] = (seen.st_nlink, seen.st_mode)
    return found
