"""Facts about a group, built in memory; a builder defaults what a test does not talk about."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from hashall.model import LinkVerdict
from hashall.qbittorrent import PathMap
from rehome.config import Layout
from rehome.facts import Facts, FileFact, LinkFact, ReuseFact, TargetFact, TorrentFact
from rehome.model import Fingerprint, Plan, Running, Step

STASH, POOL = Path("/stash/seeding"), Path("/pool/seeding")
LAYOUT = Layout(
    stash_seeding_root=STASH,
    pool_seeding_root=POOL,
    library_roots=(Path("/stash/media"),),
    path_map=PathMap(),
    max_scan_age=timedelta(hours=24),
    space_margin=1000,
)
MTIME_NS = 1_700_000_000_000_000_000


def layout(**changes: Any) -> Layout:
    return replace(LAYOUT, **changes)


def sha(word: str) -> str:
    return hashlib.sha256(word.encode("utf-8", "surrogateescape")).hexdigest()


def inode_of(word: str) -> int:
    return int(sha(word)[:6], 16)


def seen(word: str, size: int) -> Fingerprint:
    return Fingerprint(inode_of(word), size, MTIME_NS)


def file(name: str, word: str | None = "film", size: int = 100) -> FileFact:
    """`word` stands for the bytes, and for the inode that has them; None: not hashed."""
    return FileFact(
        name, size, None if word is None else sha(word), seen(word or f"unhashed {name}", size)
    )


def torrent(
    number: int = 1,
    files: Iterable[FileFact] = (),
    *,
    save_path: Path = STASH,
    arrived: bool = False,
    **changes: Any,
) -> TorrentFact:
    """Torrent `number` with one film by default."""
    listed = tuple(sorted(files, key=lambda f: f.name)) or (file("Film/film.mkv"),)
    tops = {f.name.partition("/")[0] for f in listed}
    has_root = len(tops) == 1 and all("/" in f.name for f in listed)
    inside = save_path == STASH or STASH in save_path.parents
    target = POOL / save_path.relative_to(STASH) if inside else None
    fact = TorrentFact(
        torrent_id=torrent_id(number),
        name=f"Torrent {number}",
        running=Running.RUNNING,
        category="films",
        target_category="films",
        auto_tmm=False,
        target_auto_tmm=False,
        save_path=save_path,
        client_save_path=str(save_path),
        client_download_path="",
        root_name=tops.pop() if has_root else "",
        files=listed,
        problem=None,
        arrived=arrived,
        target_path=target,
        client_target_path=str(target or ""),
    )
    return replace(fact, **changes)


def torrent_id(number: int) -> str:
    return f"{number:040x}"


def links_of(torrents: Iterable[TorrentFact]) -> Iterable[LinkFact]:
    """One proved inode for each content, with every name that the torrents give it."""
    names: dict[int, set[str]] = {}
    sizes: dict[int, int] = {}
    for fact in torrents:
        for item in fact.files:
            if item.seen is not None:
                names.setdefault(item.seen.inode, set()).add(str(fact.save_path / item.name))
                sizes[item.seen.inode] = item.seen.size
    for inode in sorted(names):
        yield link(inode, sizes[inode], *sorted(names[inode]))


def link(
    inode: int,
    size: int,
    *names: str,
    verdict: LinkVerdict = LinkVerdict.PROVED,
    nlink: int | None = None,
    outside: tuple[str, ...] = (),
) -> LinkFact:
    return LinkFact(inode, size, verdict, len(names) if nlink is None else nlink, names, outside)


def facts(*torrents: TorrentFact, **changes: Any) -> Facts:
    """A group that may move: hashed, proved, covered, with room for it on an empty pool."""
    group = tuple(sorted(torrents or (torrent(),), key=lambda t: t.torrent_id))
    targets = sorted({str(t.target_path / f.name) for t in group if t.target_path for f in t.files})
    found = Facts(
        asked_for=group[0].torrent_id,
        payload_hash=sha("payload"),
        torrents=group,
        links=tuple(links_of(group)),
        source_devices=(1,),
        target_devices=(2,),
        target_files=tuple(TargetFact(path, False, None, None, ()) for path in targets),
        free_bytes=10**12,
    )
    return replace(found, **changes)


def lying(
    path: str, word: str | None, size: int = 100, used_by: tuple[str, ...] = ()
) -> TargetFact:
    """A file that is on the pool already, at a place that the group wants."""
    known = None if word is None else sha(word)
    return TargetFact(path, True, known, seen(f"pool {path}", size), used_by)


def with_targets(known: Facts, *there: TargetFact) -> Facts:
    """The same facts, with these files lying in their places."""
    by_path = {target.path: target for target in there}
    targets = tuple(by_path.pop(t.path, t) for t in known.target_files)
    assert not by_path, f"no file of the group goes to {sorted(by_path)}"
    return replace(known, target_files=targets)


def reusable(path: str, word: str = "film", size: int = 100) -> ReuseFact:
    """Somewhere on the pool lies a file with these bytes."""
    return ReuseFact(size, sha(word), path, seen(f"pool {path}", size))


def codes(plan: Plan) -> list[str]:
    return [blocker.code for blocker in plan.blockers]


def paths(plan: Plan, code: str) -> list[str]:
    """The paths that all blockers of this code name."""
    return [path for blocker in plan.blockers if blocker.code == code for path in blocker.paths]


def steps(plan: Plan, kind: type[Step] | None = None) -> list[Any]:
    return [step for step in plan.steps if kind is None or type(step) is kind]
