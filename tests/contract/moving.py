"""The sequence of docs/architecture/relocation.md, step by step and by hand."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.qbt import LabClient
from tests.support.torrents import MadeTorrent, make_torrent, sibling

from seedkeep.torrent_client import Torrent, TorrentClient, TorrentState

HIDDEN = ".hidden-"
FILM = {"film.mkv": 300_000, "subs/film.srt": 2_000}


@dataclass(frozen=True)
class View:
    """One torrent's place on a side: its save path there, and what to rename in it."""

    torrent_id: str
    folder: str  # the save path, relative to the root of a side
    units: tuple[str, ...]  # paths below it that are hidden and placed as a whole


@dataclass(frozen=True)
class Side:
    """One of the two filesystems."""

    root: Path
    views: tuple[View, ...]

    def save_path(self, view: View) -> str:
        return str(self.root / view.folder)

    def hide(self) -> None:
        for path in self.paths():
            path.rename(path.with_name(HIDDEN + path.name))

    def place(self) -> None:
        for path in self.paths():
            assert not path.exists()
            path.with_name(HIDDEN + path.name).rename(path)

    def paths(self) -> list[Path]:
        """Each once: siblings share theirs."""
        return sorted(
            {self.root / view.folder / unit for view in self.views for unit in view.units}
        )


def seed_library(client: LabClient, root: Path) -> tuple[View, ...]:
    """Torrents of every shape, seeding from below `root`."""
    lib, flat = root / "lib", root / "flat"
    single = make_torrent(lib, "single.mkv", {"": 150_000})
    folder = make_torrent(lib, "Film", FILM, source="A")
    renamed = make_torrent(lib, "Show", {"e1.mkv": 90_000, "e2.mkv": 80_000})
    bare = make_torrent(root, "flat", {"one.bin": 70_000, "more/two.bin": 1_000})

    def add(
        made: MadeTorrent, at: Path, units: Sequence[str], *, rename: str | None = None
    ) -> View:
        torrent_id = client.add(
            made.data,
            at,
            category="kept",
            tags=("one", "two"),
            rename=rename,
            no_root_folder=at == flat,
        )
        return View(torrent_id, at.name, tuple(units))

    return (
        add(single, lib, ["single.mkv"]),
        add(folder, lib, ["Film"]),
        add(sibling(folder, "B"), lib, ["Film"]),
        add(renamed, lib, ["Show (2020)"], rename="Show (2020)"),
        add(bare, flat, ["one.bin", "more/two.bin"]),
    )


def stage(source: Side, target: Side) -> None:
    """Put copies of all units on the target, hidden."""
    for path in source.paths():
        goal = target.root / path.relative_to(source.root)
        goal = goal.with_name(HIDDEN + goal.name)
        goal.parent.mkdir(parents=True, exist_ok=True)
        for file in [path] if path.is_file() else sorted(path.rglob("*")):
            if file.is_file():
                copy = goal / file.relative_to(path) if path.is_dir() else goal
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_bytes(file.read_bytes())


def relocate(
    product: TorrentClient,
    here: Side,
    there: Side,
    checkpoint: Callable[[str], None] = lambda _step: None,
) -> None:
    """Move all views from `here` to `there`; `checkpoint` is called after each step.

    The client may be killed and started in a checkpoint; then it may miss files, and may have
    forgotten a location that it had confirmed (it saves a few milliseconds later).
    """
    ids = [view.torrent_id for view in here.views]
    product.stop(ids)
    checkpoint("stop")
    here.hide()
    checkpoint("hide")
    set_locations(product, here, there)
    checkpoint("set_location")
    set_locations(product, here, there)
    there.place()
    checkpoint("place")
    if not all_at(product, there):
        there.hide()
        set_locations(product, here, there)
        there.place()
    product.look_again(ids)
    product.start(ids)
    wait_until(product, ids, lambda torrent: torrent.state.is_seeding and torrent.progress == 1)


def set_locations(product: TorrentClient, here: Side, there: Side) -> None:
    """Point all torrents to `there`; both sides are hidden, before and after.

    A torrent that misses its files gets them back first, wherever it expects them: changing its
    location costs a full check on 4.x.
    """
    ids = [view.torrent_id for view in here.views]
    if any(torrent.state is TorrentState.MISSING_FILES for torrent in product.torrents(ids)):
        here.place()
        there.place()
        product.look_again(ids)
        here.hide()
        there.hide()
    for view in here.views:
        product.set_location(view.torrent_id, there.save_path(view))
    wait_until(product, ids, lambda torrent: not torrent.state.is_busy)


def all_at(product: TorrentClient, side: Side) -> bool:
    places = {t.torrent_id: t.save_path for t in product.torrents()}
    return all(places[view.torrent_id] == side.save_path(view) for view in side.views)


def wait_until(
    product: TorrentClient,
    ids: Iterable[str],
    good: Callable[[Torrent], bool],
    *,
    refreshes: float = 0,
) -> None:
    """Wait until all are good, and stay so for some refreshes."""
    wanted = list(ids)
    calm_s = refreshes * product.refresh_interval()
    deadline, since = time.monotonic() + 20, time.monotonic()
    while True:
        torrents = product.torrents(wanted)
        if len(torrents) < len(wanted) or not all(map(good, torrents)):
            since = time.monotonic()
        elif time.monotonic() - since >= calm_s:
            return
        assert time.monotonic() < deadline, [(t.name, t.state, t.progress) for t in torrents]
        time.sleep(0.03)


def after_restart(client: LabClient, product: TorrentClient, ids: Iterable[str]) -> None:
    """Kill and start the client, and wait until it has looked at all its torrents."""
    client.kill()
    client.start()
    wait_until(product, ids, lambda torrent: not torrent.state.is_busy, refreshes=2)
