"""Plans of links for tests: made, executed and judged as the commands do it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.catalog_lab import CatalogLab

from hashall.catalog import Catalog
from hashall.linking.execute import ExecuteOptions
from hashall.linking.model import ActionState, Execution, Plan, PlanOptions, Result, Verify
from hashall.linking.running import Runner, RunOptions
from hashall.linking.service import Links
from hashall.model import TorrentFileOnDisk, TorrentInstance

CONTENT = b"the bytes of a film " * 500


@dataclass
class LinkLab:
    """A `CatalogLab` whose duplicates are to be linked."""

    lab: CatalogLab

    @property
    def root(self) -> Path:
        return self.lab.root

    def links(self, **options: Any) -> Links:
        return Links(self.lab.catalog, self.lab.places(), **options)

    def pair(self, *names: str, content: bytes = CONTENT) -> tuple[Path, ...]:
        """Files of their own with equal bytes, scanned; two of them without names."""
        paths = tuple(self.lab.write(name, content) for name in names or ("a/film", "b/film"))
        stamp = paths[0].stat()
        for path in paths:
            os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
        self.lab.scan()
        return paths

    def plan(self, **options: Any) -> Plan:
        return self.links().plan("test", None, PlanOptions(**options))

    def runner(self, **options: Any) -> Runner:
        return Runner(self.links(**options))

    def execute(
        self,
        plan: Plan | None = None,
        *,
        dry_run: bool = False,
        snapshot: bool = False,
        force: bool = True,
        **act: Any,
    ) -> Execution:
        made = plan or self.plan()
        act["verify"] = Verify(act.get("verify", "bytes"))
        options = RunOptions(
            act=ExecuteOptions(**act), dry_run=dry_run, force=force, snapshot=snapshot
        )
        return self.runner().execute(made.plan_id, options)

    def undo(self, plan: Plan, *, dry_run: bool = False, limit: int | None = None) -> Execution:
        return self.runner().undo(plan.plan_id, dry_run=dry_run, limit=limit)

    def ours(self) -> list[str]:
        """Names that we made and left somewhere below the root."""
        return sorted(p.name for p in self.root.rglob(".seedkeep-*"))


def same_file(*paths: Path) -> bool:
    return len({(p.stat().st_dev, p.stat().st_ino) for p in paths}) == 1


def only(done: Execution) -> Result:
    (result,) = done.results
    return result


def skipped_because(done: Execution) -> list[str]:
    return [r.reason for r in done.results if r.state is ActionState.SKIPPED]


def contents(root: Path) -> dict[str, bytes]:
    return {
        os.fspath(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


def allocated(root: Path) -> int:
    """Bytes by file length of every inode below a folder, each once."""
    found = [p.lstat() for p in root.rglob("*") if p.is_file() and not p.is_symlink()]
    return sum({(s.st_dev, s.st_ino): s.st_size for s in found}.values())


def append_to(path: Path) -> None:
    """Write to a file as another program would: its open() waits while we hold a lease."""
    with path.open("r+b") as out:
        out.seek(0, os.SEEK_END)
        out.write(b"more")


def until_lease_breaks(fd: int) -> None:
    """Wait until the kernel says that somebody waits for the lease (read from /proc/locks)."""
    inode = os.fstat(fd).st_ino
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        lines = Path("/proc/locks").read_text().splitlines()
        if any("BREAKING" in line and f":{inode} " in line for line in lines):
            return
        time.sleep(0.005)
    raise AssertionError("nobody broke the lease")


def an_instance(
    catalog: Catalog, torrent_id: str, on_disk: Iterable[TorrentFileOnDisk] = ()
) -> None:
    """A torrent in the catalog, as a sync would have left it."""
    catalog.payloads.put_instance(
        TorrentInstance(
            torrent_id=torrent_id,
            infohash_v1=torrent_id,
            infohash_v2="",
            name=torrent_id,
            payload_id=None,
            device_id=None,
            save_path="/srv",
            root_name="",
            category="",
            tags=(),
            problem=None,
            last_seen_at="2026-01-01T00:00:00Z",
        ),
        list(on_disk),
    )
