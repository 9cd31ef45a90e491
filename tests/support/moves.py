"""Demote a group with the real programs and keep what a test may want to ask about it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.lab import Lab
from tests.support.shapes import Shape
from tests.support.tree_snapshot import Entry, files_in
from tests.support.watch import Observation, Observer

OWN = ".seedkeep-"
STEADY = (  # what a relocation may not change, as torrents/info spells it
    "name",
    "category",
    "tags",
    "added_on",
    "completion_on",
    "uploaded",
    "downloaded",
    "ratio",
    "progress",
    "amount_left",
    "size",
    "total_size",
    "ratio_limit",
    "seeding_time_limit",
    "inactive_seeding_time_limit",
    "up_limit",
    "dl_limit",
    "force_start",
    "super_seeding",
    "seq_dl",
    "f_l_piece_prio",
    "magnet_uri",
)
KIND = {  # of running, over the spellings of both versions
    "uploading": "running",
    "stalledUP": "running",
    "forcedUP": "forced",
    "pausedUP": "stopped",
    "stoppedUP": "stopped",
}
Rows = Mapping[str, Mapping[str, Any]]  # torrents/info by torrent id


@dataclass(frozen=True)
class Side:
    """All files below stash or pool, by name below it."""

    root: Path
    files: Mapping[str, Entry]

    @property
    def own(self) -> list[str]:
        """What a run made for itself."""
        return [name for name in self.files if OWN in name]


@dataclass(frozen=True)
class Look:
    """Disk and client at one moment."""

    stash: Side
    pool: Side
    rows: Rows
    names: Mapping[str, tuple[str, ...]]  # files that each torrent wants, below its save path


def look(lab: Lab) -> Look:
    rows = lab.rows()
    api = lab.client.api
    return Look(
        Side(lab.stash, files_in(lab.stash)),
        Side(lab.pool, files_in(lab.pool)),
        rows,
        {
            torrent: tuple(str(f["name"]) for f in api.torrents_files(torrent) if f["priority"])
            for torrent in rows
        },
    )


@dataclass(frozen=True)
class Moved:
    """One group that was planned, applied with the source kept, and retired."""

    shape: Shape
    lab: Lab
    plan: Mapping[str, Any]
    before: Look
    kept: Look  # after apply, with the source hidden
    after: Look  # after retire
    seen: Observation  # of the whole client, during apply
    shown: Any  # `payload show` of each torrent, after retire
    again: Any  # the plan that is made afterwards
    empty_dirs: tuple[str, ...]  # on both sides, after retire, that were not there before

    def wanted(self, torrent: str) -> dict[str, str]:
        """The content that each file of a torrent had at first, by name below the save path."""
        root = Path(self.before.rows[torrent]["save_path"])
        files = self.before.stash.files
        return {
            name: digest(files[os.fspath((root / name).relative_to(self.lab.stash))])
            for name in self.before.names[torrent]
        }

    def target(self, torrent: str) -> Path:
        """The save path that the torrent has to have on the pool."""
        root = Path(self.before.rows[torrent]["save_path"])
        return self.lab.pool_seeding / root.relative_to(self.lab.seeding)

    def placed(self, torrent: str) -> dict[str, str]:
        """The content of the same files on the pool, after retire."""
        base = self.target(torrent).relative_to(self.lab.pool)
        files = self.after.pool.files
        found = {name: files.get(os.fspath(base / name)) for name in self.wanted(torrent)}
        return {name: digest(entry) for name, entry in found.items() if entry is not None}

    def names_of_each_content(self) -> list[set[str]]:
        """Every path on the pool that has to be one inode, content by content."""
        names: dict[str, set[str]] = {}
        for torrent in self.shape.group:
            for name, content in self.wanted(torrent).items():
                names.setdefault(content, set()).add(os.fspath(self.target(torrent) / name))
        for path in self.shape.reused:
            relpath = os.fspath(path.relative_to(self.lab.pool))
            names[digest(self.before.pool.files[relpath])].add(os.fspath(path))
        return list(names.values())

    def sources(self) -> dict[str, Entry]:
        """The group's files as they lay on stash, by name below it."""
        found = {}
        for torrent in self.shape.group:
            root = Path(self.before.rows[torrent]["save_path"])
            for name in self.before.names[torrent]:
                path = os.fspath((root / name).relative_to(self.lab.stash))
                found[path] = self.before.stash.files[path]
        return found


@dataclass
class Moves:
    """Groups that were demoted, by the name of their shape."""

    moved: dict[str, Moved] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def move(self, name: str, lab: Lab, shape: Shape) -> None:
        """Demote; a failure is kept for the tests of this shape alone."""
        try:
            self.moved[name] = demote(lab, shape)
        except AssertionError as why:
            self.failed[name] = str(why)

    def __getitem__(self, name: str) -> Moved:
        assert name not in self.failed, f"the move failed: {self.failed[name]}"
        return self.moved[name]


def demote(lab: Lab, shape: Shape) -> Moved:
    """Plan, apply with the source kept for an hour, retire, and plan again."""
    before, dirs = look(lab), _dirs(lab)
    plan = lab.home / f"{shape.asked}.json"
    lab.run("rehome", "plan", "--demote", "--torrent-hash", shape.asked, "-o", plan)
    with Observer(lab.client.url) as watch:
        done = lab.json("rehome", "apply", plan, "--force", "--retain", "1h")
    kept = look(lab)
    lab.run("rehome", "retire", str(done["applied"]["run_id"]))
    again = lab.json("rehome", "plan", "--demote", "--torrent-hash", shape.asked)
    return Moved(
        shape=shape,
        lab=lab,
        plan=json.loads(plan.read_text())["plan"],
        before=before,
        kept=kept,
        after=look(lab),
        seen=watch.seen,
        shown=[_payload_of(lab, torrent) for torrent in shape.group],
        again=again["plan"],
        empty_dirs=tuple(sorted(path for path in _dirs(lab) - dirs if not os.listdir(path))),
    )


def digest(entry: Entry) -> str:
    assert entry.content is not None
    return hashlib.sha256(entry.content).hexdigest()


def steady(row: Mapping[str, Any]) -> dict[str, Any]:
    """What has to be as before."""
    return {key: row[key] for key in STEADY if key in row}


def _payload_of(lab: Lab, torrent: str) -> Any:
    shown = lab.json("hashall", "payload", "show", torrent)["torrent"]
    return without_times(shown)


def without_times(value: Any) -> Any:
    """A JSON document without the moments at which things were seen."""
    if isinstance(value, dict):
        kept = {k: v for k, v in value.items() if not k.endswith("_at") and k != "payload_id"}
        return {key: without_times(item) for key, item in kept.items()}
    if isinstance(value, list):
        return [without_times(item) for item in value]
    return value


def _dirs(lab: Lab) -> set[str]:
    return {folder for side in (lab.stash, lab.pool) for folder, _, _ in os.walk(os.fspath(side))}
