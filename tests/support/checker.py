"""An independent judge of promises: knows files, hashes and the client's rows, no product code."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from tests.support.lab import Lab
from tests.support.qbt import wait_for
from tests.support.tree_snapshot import Entry, snapshot

# What no move may change, in the client's own spelling.
KEPT = (
    *("category", "tags", "added_on", "completion_on", "uploaded", "ratio", "progress"),
    *("up_limit", "dl_limit", "ratio_limit", "seeding_time_limit", "force_start", "amount_left"),
)
BAD_STATES = ("checking", "downloading", "stalledDL", "forcedDL", "queuedDL", "metaDL")
STOPPED = ("pausedUP", "stoppedUP")
SEEDING = ("uploading", "stalledUP", "forcedUP", "queuedUP")


@dataclass(frozen=True)
class Before:
    """The world before a run."""

    rows: dict[str, dict[str, Any]]
    files: dict[str, list[str]]  # torrent id → names below the save path
    digests: frozenset[str]  # of every file on both sides
    stash: dict[str, Entry]
    pool: dict[str, Entry]


def look(lab: Lab) -> Before:
    rows = lab.rows()
    api = lab.client.api
    return Before(
        rows=rows,
        files={key: [str(f["name"]) for f in api.torrents_files(key)] for key in rows},
        digests=digests(lab),
        stash=snapshot(lab.stash),
        pool=snapshot(lab.pool),
    )


def digests(lab: Lab) -> frozenset[str]:
    """SHA-256 of everything that can be read on either side, wherever it lies."""
    found = set()
    for root in (lab.stash, lab.pool):
        for folder, _, names in os.walk(root):
            for name in names:
                path = Path(folder, name)
                if not path.is_symlink():
                    found.add(hashlib.sha256(path.read_bytes()).hexdigest())
    return frozenset(found)


def wait_for_rest(lab: Lab) -> None:
    """A client that was just started looks at every torrent for a moment."""
    wait_for(
        lambda: not any(str(row["state"]).startswith("checking") for row in lab.rows().values()),
        "the client to have looked at its torrents",
    )


def leftovers(lab: Lab) -> list[str]:
    return [
        str(path)
        for root in (lab.stash, lab.pool)
        for path in sorted(root.rglob("*"))
        if path.name.startswith(".seedkeep-")
    ]


def no_byte_is_lost(lab: Lab, before: Before) -> None:
    missing = before.digests - digests(lab)
    assert not missing, f"{len(missing)} contents exist nowhere any more"


def torrents_are_whole(
    lab: Lab,
    before: Before,
    *,
    managed_may_end: frozenset[str],
    may_differ: frozenset[str] = frozenset(),
    unread: frozenset[str] = frozenset(),
) -> None:
    """Each torrent has its bytes where the client says, and all that the client says of it.

    The bytes of those that are `unread` are not compared.
    """
    rows = lab.rows()
    assert rows.keys() == before.rows.keys()
    for torrent, was in before.rows.items():
        now = rows[torrent]
        name = f"{now['name']} {torrent[:8]}"
        for key in set(KEPT) - may_differ:
            assert now[key] == was[key], f"{name}: {key} was {was[key]!r}, is {now[key]!r}"
        kinds = STOPPED if was["state"] in STOPPED else SEEDING
        assert now["state"] in kinds, f"{name} was {was['state']} and is {now['state']}"
        if torrent not in managed_may_end:
            assert now["auto_tmm"] == was["auto_tmm"], name
        if torrent not in unread:
            _reads_as_before(lab, torrent, str(now["save_path"]))


def _reads_as_before(lab: Lab, torrent: str, save_path: str) -> None:
    made = lab.made[torrent]
    names = [str(f["name"]) for f in lab.client.api.torrents_files(torrent)]
    for name, original in zip(names, made.paths, strict=True):
        content = (Path(save_path) / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == lab.digest(made, original), (
            f"{torrent} {name}"
        )


def side_of(lab: Lab, group: list[str]) -> str:
    """ "stash" or "pool"; a group that is split has broken the promise."""
    rows = lab.rows(group)
    sides = {
        "pool" if str(row["save_path"]).startswith(str(lab.pool)) else "stash"
        for row in rows.values()
    }
    assert len(sides) == 1, f"the group is split: {sides}"
    return sides.pop()


def as_it_was(lab: Lab, before: Before) -> None:
    """Nothing is different: files, modes, owners, links, and every torrent's place."""
    changed = _difference(before.stash, snapshot(lab.stash))
    assert not changed, changed
    changed = _difference(before.pool, snapshot(lab.pool))
    assert not changed, changed
    rows = lab.rows()
    for torrent, was in before.rows.items():
        for key in ("save_path", "download_path", "auto_tmm", "content_path"):
            assert rows[torrent][key] == was[key], f"{torrent[:8]}: {key}"


def _difference(old: dict[str, Entry], new: dict[str, Entry]) -> list[str]:
    found = [f"{name} is gone" for name in old.keys() - new.keys()]
    found += [f"{name} is new" for name in new.keys() - old.keys()]
    for name in old.keys() & new.keys():
        for field in fields(Entry):
            was, now = getattr(old[name], field.name), getattr(new[name], field.name)
            if was != now:
                shown = "" if field.name == "content" else f": {was} → {now}"
                found.append(f"{name}: {field.name} differs{shown}")
    return sorted(found)


def library_is_untouched(lab: Lab, before: Before) -> None:
    media = lab.media.relative_to(lab.stash)
    now = snapshot(lab.stash)
    for name, entry in before.stash.items():
        if Path(name).is_relative_to(media):
            assert now[name].content == entry.content, name


def only_one_copy_on_the_pool(lab: Lab, group: list[str]) -> None:
    """Equal contents of the group are one inode there."""
    inodes: dict[str, set[int]] = {}
    for torrent in group:
        row = lab.rows([torrent])[torrent]
        for file in lab.client.api.torrents_files(torrent):
            path = Path(str(row["save_path"])) / str(file["name"])
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            inodes.setdefault(digest, set()).add(path.stat().st_ino)
    assert all(len(found) == 1 for found in inodes.values()), inodes
