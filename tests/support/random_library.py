"""A random library in a lab: groups of every kind, and what the pool happens to have already."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.lab import Lab, files_below, hardlink_tree
from tests.support.qbt import settle
from tests.support.torrents import MadeTorrent, make_torrent, sibling

KIB = 1024
CATEGORY = "scope"  # of everything that a random plan is about


@dataclass(frozen=True)
class Group:
    """Torrents that share bytes."""

    kind: str
    torrents: tuple[str, ...]
    paths: tuple[Path, ...]  # every file, where its torrents had it before
    must_stay: bool  # a library has hardlinks to it


@dataclass(frozen=True)
class Library:
    groups: tuple[Group, ...]
    managed: frozenset[str]  # torrents under automatic management

    @property
    def torrents(self) -> tuple[str, ...]:
        return tuple(torrent for group in self.groups for torrent in group.torrents)


Builder = Callable[["Draw"], list[str]]


@dataclass
class Draw:
    """One group while it is made."""

    lab: Lab
    rng: random.Random
    number: int
    managed: set[str]

    @property
    def name(self) -> str:
        return f"Group {self.number}"

    @property
    def below(self) -> str:
        return f"g{self.number}"

    def sizes(self, count: int) -> dict[str, bytes | int]:
        folders = ("", "sub/", "sub/deep/")
        files: dict[str, bytes | int] = {
            f"{self.rng.choice(folders)}file {number}.bin": self.content()
            for number in range(count)
        }
        return files

    def content(self) -> bytes:
        """Unlike anything that another group has."""
        return self.rng.randbytes(self.rng.choice((1, 700, 40 * KIB, 200 * KIB, 900 * KIB)))

    def options(self) -> dict[str, Any]:
        stopped = self.rng.random() < 0.25
        return {"category": CATEGORY, "tags": [f"tag {self.number}"], "stopped": stopped}


def folder(draw: Draw) -> list[str]:
    options = draw.options()
    return [draw.lab.seed(draw.name, draw.sizes(3), below=draw.below, **options)]


def single_file(draw: Draw) -> list[str]:
    name = f"{draw.name}.bin"
    return [draw.lab.seed(name, {"": draw.content()}, below=draw.below, **draw.options())]


def without_root(draw: Draw) -> list[str]:
    made = make_torrent(draw.lab.home / "made", draw.name, draw.sizes(3))
    root = draw.lab.seeding / draw.below
    for path in files_below(made.root / made.name):
        target = root / path.relative_to(made.root / made.name)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    (root / "neighbour.txt").write_text("nobody's")
    return [draw.lab.add(made, root, no_root_folder=True, **draw.options())]


def siblings(draw: Draw) -> list[str]:
    """One with hardlinks in a root of its own, one on the very same path, one without a root."""
    lab = draw.lab
    first = lab.seed(draw.name, draw.sizes(3), below=draw.below, **draw.options())
    found = [first]
    if draw.rng.random() < 0.8:
        found.append(lab.cross_seed(first, "B", f"{draw.below}/cross", **draw.options()))
    if draw.rng.random() < 0.5:
        made = sibling(lab.made[first], "C")
        found.append(lab.add(made, made.root, **draw.options()))
    if draw.rng.random() < 0.5:
        found.append(_flat(draw, lab.made[first]))
    return found


def _flat(draw: Draw, made: MadeTorrent) -> str:
    root = draw.lab.seeding / f"{draw.below} flat"
    for path in files_below(made.root / made.name):
        target = root / path.relative_to(made.root / made.name)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.link(path, target)
    return draw.lab.add(sibling(made, "FLAT"), root, no_root_folder=True, **draw.options())


def overlapping(draw: Draw) -> list[str]:
    """A season, and one of its episodes as a torrent of its own, on the same file."""
    lab, root = draw.lab, draw.lab.seeding / draw.below
    season = lab.seed(draw.name, draw.sizes(3), below=draw.below, **draw.options())
    made = lab.made[season]
    inner = draw.rng.choice(made.paths)
    episode = make_torrent((root / inner).parent, Path(inner).name, None, source="EPISODE")
    return [season, lab.add(episode, (root / inner).parent, **draw.options())]


def managed(draw: Draw) -> list[str]:
    """Under automatic management, with a cross-seed that has a path for unfinished data."""
    lab, api = draw.lab, draw.lab.client.api
    category, home = f"managed {draw.number}", lab.seeding / f"managed {draw.number}"
    home.mkdir()
    (lab.stash / "unfinished").mkdir(exist_ok=True)
    api.torrents_create_category(category, save_path=str(home))
    made = make_torrent(home, draw.name, draw.sizes(2))
    first = lab.add(made, home, category=category, auto_tmm=True)
    draw.managed.add(first)
    other = lab.cross_seed(
        first, "D", draw.below, download_path=str(lab.stash / "unfinished"), **draw.options()
    )
    return [first, other]


KINDS: tuple[Builder, ...] = (folder, single_file, without_root, siblings, overlapping, managed)


def fill(lab: Lab, rng: random.Random, most: int = 4) -> Library:
    """One to `most` groups on stash; some of them forced, in a library, or on the pool as well."""
    groups, all_managed = [], set[str]()
    for number in range(rng.randint(1, most)):
        draw = Draw(lab, rng, number, all_managed)
        build = rng.choice(KINDS)
        torrents = build(draw)
        if rng.random() < 0.2:
            running = [t for t in torrents if "UP" in _state(lab, t) and "ed" not in _state(lab, t)]
            lab.client.api.torrents_set_force_start(enable=True, torrent_hashes=running or "none")
        must_stay = rng.random() < 0.15
        if must_stay:
            _import(lab, torrents[0], f"Title {number}")
        elif rng.random() < 0.4:
            _put_on_pool(lab, rng, torrents[0], number)
        groups.append(
            Group(build.__name__, tuple(torrents), tuple(_files(lab, torrents)), must_stay)
        )
    bystander = lab.seed("Stays", {"other.bin": rng.randbytes(30 * KIB)}, below="other")
    other = Group("bystander", (bystander,), tuple(_files(lab, [bystander])), False)
    library = Library((*groups, other), frozenset(all_managed))
    settle(lab.client.api, library.torrents, refreshes=1)
    return library


def _state(lab: Lab, torrent: str) -> str:
    return str(lab.rows([torrent])[torrent]["state"])


def _files(lab: Lab, torrents: list[str]) -> set[Path]:
    rows = lab.rows(torrents)
    return {
        Path(str(rows[torrent]["save_path"])) / str(file["name"])
        for torrent in torrents
        for file in lab.client.api.torrents_files(torrent)
    }


def _import(lab: Lab, torrent: str, title: str) -> None:
    """Hardlinks in the library, as an *arr app makes them."""
    for path in _files(lab, [torrent]):
        hardlink_tree(path, lab.media / title / path.name)


def _put_on_pool(lab: Lab, rng: random.Random, torrent: str, number: int) -> None:
    """Some or all of the bytes, somewhere or in their very place."""
    row = lab.rows([torrent])[torrent]
    root = Path(str(row["save_path"]))
    names = [str(file["name"]) for file in lab.client.api.torrents_files(torrent)]
    for name in names if rng.random() < 0.5 else names[:1]:
        in_place = rng.random() < 0.5
        target = (
            lab.pool_seeding / root.relative_to(lab.seeding) / name
            if in_place
            else lab.pool_seeding / "backup" / str(number) / name
        )
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((root / name).read_bytes())
