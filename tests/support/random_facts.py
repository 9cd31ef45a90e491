"""Random groups for hypothesis, consistent with a disk that could really look like that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from tests.support.facts_builder import (
    POOL,
    STASH,
    facts,
    file,
    link,
    lying,
    reusable,
    sha,
    torrent,
    torrent_id,
    with_targets,
)

from hashall.model import LinkVerdict
from rehome.facts import Facts, FileFact, TorrentFact
from rehome.model import Direction, Running

# Bytes by a word for them; one is empty, as some files are.
SIZES = {"film": 5000, "cut": 700, "about": 30, "sample": 700, "empty": 0}
# Two names for each content, so that renamed roots, other layouts and duplicates occur.
NAMES = (
    *("Film/film.mkv", "Film/film.nfo", "Film/extras/cut.mkv", "Film/a\udcff\n.mkv"),
    *("Other/film.mkv", "Other/copy of it.mkv", "film.mkv", "cut.mkv"),
)
SAVE_PATHS = (STASH, STASH / "cross", STASH / "cross" / "Film", STASH / "Film")


@st.composite
def torrents(draw: st.DrawFn) -> tuple[TorrentFact, ...]:
    """One to four torrents; a path that two of them share is one file, also in its bytes."""
    disk: dict[Path, str] = {}
    found = []
    for number in range(1, draw(st.integers(1, 4)) + 1):
        save_path = draw(st.sampled_from(SAVE_PATHS))
        names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True))
        files = tuple(_file(draw, disk, save_path, name) for name in names)
        managed = draw(st.booleans())
        found.append(
            torrent(
                number,
                files,
                save_path=save_path,
                running=draw(st.sampled_from(Running)),
                auto_tmm=managed,
                client_download_path=draw(st.sampled_from(["", "", "/stash/incomplete"])),
            )
        )
    return tuple(found)


def _file(draw: st.DrawFn, disk: dict[Path, str], save_path: Path, name: str) -> FileFact:
    word = disk.setdefault(save_path / name, draw(st.sampled_from(sorted(SIZES))))
    return file(name, word, SIZES[word])


@st.composite
def groups(draw: st.DrawFn, *, may_block: bool = True) -> Facts:
    """A group with some of its bytes on the pool already; a third of them with some trouble."""
    group = draw(torrents())
    words = {word: size for word, size in SIZES.items() if draw(st.booleans())}
    known = facts(
        *group,
        reusable=tuple(reusable(f"/pool/seeding/old/{w}", w, words[w]) for w in sorted(words)),
    )
    contents = _contents(group)
    there = [
        lying(target.path, contents[target.path], SIZES[contents[target.path]])
        for target in known.target_files
        if draw(st.integers(0, 4)) == 0
    ]
    known = with_targets(known, *there)
    known = replace(known, new_dirs=_new_dirs(group, {target.path for target in there}))
    if may_block and draw(st.integers(0, 2)) == 0:
        known = _with_trouble(known, draw(st.integers(0, 8)))
    return known


@st.composite
def promotions(draw: st.DrawFn, *, may_block: bool = True) -> Facts:
    """A group on the pool whose bytes lie on stash, for the most part; some change category."""
    known = draw(groups(may_block=may_block))
    known = replace(
        known,
        direction=Direction.PROMOTE,
        source_devices=known.target_devices,
        target_devices=known.source_devices,
        torrents=tuple(_swapped(draw, t) for t in known.torrents),
        links=tuple(replace(link, names=_onto(link.names, POOL)) for link in known.links),
        target_files=tuple(replace(t, path=_on(t.path, STASH)) for t in known.target_files),
        reusable=tuple(replace(r, path=_on(r.path, STASH)) for r in known.reusable),
        new_dirs=_onto(known.new_dirs, STASH),
    )
    if may_block and draw(st.integers(0, 3)) == 0:
        return known
    have = {(r.size, r.sha256) for r in known.reusable}
    have |= {(t.seen.size, t.sha256) for t in known.target_files if t.seen and t.sha256}
    wanted = {(f.size, f.sha256) for t in known.torrents for f in t.files if f.sha256}
    lacking = wanted - have
    words = {(size, sha(word)): word for word, size in SIZES.items()}
    more = (
        reusable(f"/stash/media/{words[content]}", words[content], content[0])
        for content in lacking
    )
    found = sorted((*known.reusable, *more), key=lambda r: (r.sha256, r.size))
    return replace(known, reusable=tuple(found))


def _swapped(draw: st.DrawFn, fact: TorrentFact) -> TorrentFact:
    assert fact.target_path is not None
    return replace(
        fact,
        save_path=fact.target_path,
        client_save_path=str(fact.target_path),
        target_path=fact.save_path,
        client_target_path=str(fact.save_path),
        target_category=draw(st.sampled_from([fact.category, "other"])),
        target_auto_tmm=fact.auto_tmm and draw(st.booleans()),
    )


def _on(path: str, root: Path) -> str:
    """The path below another root."""
    old = STASH if root == POOL else POOL
    return str(root) + path.removeprefix(str(old)) if path.startswith(str(old)) else path


def _onto(paths: tuple[str, ...], root: Path) -> tuple[str, ...]:
    return tuple(_on(path, root) for path in paths)


def _contents(group: tuple[TorrentFact, ...]) -> Mapping[str, str]:
    by_inode = {file("", word).seen: word for word in SIZES}
    words = {seen.inode: word for seen, word in by_inode.items() if seen is not None}
    return {
        str(t.target_path / f.name): words[f.seen.inode]
        for t in group
        for f in t.files
        if t.target_path is not None and f.seen is not None
    }


def _new_dirs(group: tuple[TorrentFact, ...], there: set[str]) -> tuple[str, ...]:
    wanted = [t.target_path / f.name for t in group if t.target_path for f in t.files]
    needed = {parent for path in wanted for parent in path.parents}
    existing = {parent for path in there for parent in Path(path).parents} | {POOL, *POOL.parents}
    return tuple(sorted(map(str, needed - existing), key=lambda p: (-p.count("/"), p)))


def _with_trouble(known: Facts, kind: int) -> Facts:
    first = known.torrents[0]
    path = str(first.save_path / first.files[0].name)
    troubles: tuple[dict[str, Any], ...] = (
        {"payload_hash": None},
        {"links": (link(1, 9, path, outside=("/stash/media/x",)),)},
        {"links": (link(1, 9, path, verdict=LinkVerdict.UNACCOUNTED, nlink=4),)},
        {"uncovered": (("/stash/media", "never scanned"),)},
        {"missing_torrents": (torrent_id(99),)},
        {"source_devices": (1, 2)},
        {"open_runs": (3,)},
        {"foreign": ("/pool/seeding/Film/notes.txt",)},
        {"torrents": (replace(first, problem="busy: moving"), *known.torrents[1:])},
    )
    return replace(known, **troubles[kind])
