"""The lab on a simulated client, with the programs' applications in this process."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.support.filesystems import lab_folder
from tests.support.lab import Lab, files_below
from tests.support.qbt import settle
from tests.support.simulated import SimulatedClient
from tests.support.torrents import MadeTorrent, make_torrent, sibling
from tests.support.tree_snapshot import Entry, snapshot

from hashall.app import App as CatalogApp
from hashall.payload_clients import sync_clients
from hashall.payload_sync import SyncOptions
from hashall.scan import ScanOptions
from rehome import recovery, switch
from rehome.app import App
from rehome.lanes import Lane
from rehome.model import Plan, Step
from rehome.outcome import Applied, Watch
from rehome.world import World
from seedkeep.errors import SeedError
from seedkeep.settings import load

REFRESH_S = 0.02
BAD = re.compile("DL$|downloading|checking(UP|DL)|allocating|error|missing")
FILM: Mapping[str, bytes | int] = {
    "film.mkv": 300_000,
    "film.nfo": b"about the film",
    "extras/cut.mkv": 70_000,
}
NO_WAIT = timedelta(0)
A_DAY = timedelta(days=1)


class Failed(SeedError):
    """What a test lets a step fail with."""


class Killed(BaseException):
    """The end of the process, in place of SIGKILL: nothing is cleaned up."""


@dataclass(frozen=True)
class Seen:
    """All that a person could compare: both trees, and what the client says of each torrent."""

    stash: dict[str, Entry]
    pool: dict[str, Entry]
    torrents: dict[str, dict[str, Any]]


def changes(before: Seen, after: Seen) -> list[str]:
    """What differs, in words."""
    found = []
    for side in ("stash", "pool", "torrents"):
        old, new = getattr(before, side), getattr(after, side)
        for name in sorted(old.keys() | new.keys()):
            if old.get(name) != new.get(name):
                found.append(f"{side} {name}: {_brief(old.get(name))} -> {_brief(new.get(name))}")
    return found


def _brief(what: object) -> str:
    return repr(replace(what, content=None) if isinstance(what, Entry) else what)


# What a torrent keeps, whatever happens to it.  Progress and states are added as kinds.
KEPT = (
    *("save_path", "download_path", "category", "tags", "auto_tmm", "force_start", "progress"),
    *("up_limit", "dl_limit", "ratio_limit", "seeding_time_limit", "uploaded", "completion_on"),
)


class SimulatedLab(Lab):
    """`Lab`, where the applications can be called and a step can be broken."""

    client: SimulatedClient

    def environment(self, **more: str) -> dict[str, str]:
        return {"HASHALL_CONFIG": str(self.config), "HOME": str(self.home), **more}

    def look(self) -> None:
        """Scan both sides and read the client's inventory."""
        self.scan(self.stash, self.pool)
        self.sync()

    def scan(self, *roots: Path) -> None:
        app = CatalogApp(load("hashall", {}, self.environment()))
        try:
            app.scan(roots, ScanOptions(), lambda _: None)
        finally:
            app.close()

    def sync(self) -> None:
        app = CatalogApp(load("hashall", {}, self.environment()))
        try:
            sync_clients(app, SyncOptions(), (), lambda _done, _total: None)
        finally:
            app.close()

    @contextmanager
    def app(self, **environment: str) -> Iterator[App]:
        """A fresh process, so to speak: nothing is remembered but the catalog."""
        settings = {"REHOME_SWITCH_TIMEOUT": "5s", **environment}
        app = App(load("rehome", {}, self.environment(**settings)))
        try:
            yield app
        finally:
            app.close()

    def plan(self, torrent_id: str) -> Plan:
        with self.app() as app:
            return app.plan(torrent_id)

    def apply(self, plan: Plan, retain: timedelta = NO_WAIT, **environment: str) -> Applied | None:
        with self.app(**environment) as app:
            return app.apply(plan, retain, "a test", Watch())

    def seen(self) -> Seen:
        """Once the client shows what it was told last."""
        settle(self.client.api, self.rows(), refresh_s=REFRESH_S)
        rows = self.rows()
        torrents = {
            torrent_id: {key: row[key] for key in KEPT} | {"kind": kind_of_state(str(row["state"]))}
            for torrent_id, row in rows.items()
        }
        return Seen(snapshot(self.stash), snapshot(self.pool), torrents)

    def bad_states(self) -> set[str]:
        """States that no torrent may show because of us, of all since `client.forget_states()`."""
        states = {state for torrent_id in self.made for state in self.client.states_of(torrent_id)}
        return {state for state in states if BAD.search(state)}

    def own_debris(self) -> list[Path]:
        """What lies about under a name of ours."""
        found = [*self.stash.rglob("*"), *self.pool.rglob("*")]
        return [path for path in found if path.name.startswith(".seedkeep-")]


def kind_of_state(state: str) -> str:
    """Both spellings, and whether a peer is served just now, make no difference."""
    name = state.replace("paused", "stopped")
    return "seeding" if name in ("uploading", "stalledUP") else name


@contextmanager
def simulated_lab(version: str = "5.1") -> Iterator[SimulatedLab]:
    with (
        lab_folder() as disk,
        lab_folder(Path("/dev/shm")) as memory,
        SimulatedClient(version, refresh_s=REFRESH_S) as client,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(switch, "POLL_S", REFRESH_S / 2)
        yield SimulatedLab(disk / "home", disk / "stash", memory / "pool", client)


@dataclass(frozen=True)
class Family:
    """Four torrents of the same bytes, as different as torrents get, and what lies around them."""

    plain: str  # runs, with a category and tags
    stopped: str  # has a left-over download path
    managed: str  # forced, under automatic management
    flat: str  # no root folder, beside a file of somebody else

    @property
    def all(self) -> tuple[str, ...]:
        return (self.plain, self.stopped, self.managed, self.flat)


def seed_family(lab: SimulatedLab) -> Family:
    """The family on stash; the pool has one file in its place and one elsewhere."""
    (lab.stash / "incomplete").mkdir()  # or the client makes it when it is told the path
    plain = lab.seed("Film", FILM, category="films", tags=("kept", "seen"))
    made = lab.made[plain]
    stopped = lab.cross_seed(
        plain, "B", "cross", stopped=True, download_path=str(lab.stash / "incomplete")
    )
    api = lab.client.api
    api.torrents_create_category("managed", save_path=str(lab.seeding / "managed"))
    managed = lab.cross_seed(plain, "C", "managed", auto_tmm=True, category="managed")
    api.torrents_set_force_start(enable=True, torrent_hashes=[managed])
    flat = add_flat(lab, made)
    there = lab.pool_seeding / "Film/film.nfo"
    there.parent.mkdir(parents=True)
    there.write_bytes(b"about the film")
    elsewhere = lab.pool_seeding / "backup/cut of the film.mkv"
    elsewhere.parent.mkdir()
    elsewhere.write_bytes((lab.seeding / "Film/extras/cut.mkv").read_bytes())
    lab.look()
    lab.client.forget_states()
    return Family(plain, stopped, managed, flat)


def add_flat(lab: SimulatedLab, made: MadeTorrent, below: str = "flat") -> str:
    """A sibling without a root folder: its files lie right in a shared save path."""
    root = lab.seeding / below
    for path in files_below(made.root / made.name):
        name = root / path.relative_to(made.root / made.name)
        name.parent.mkdir(parents=True, exist_ok=True)
        os.link(path, name)
    (root / "neighbour.txt").write_text("nobody of the family")
    return lab.add(sibling(made, "FLAT"), root, no_root_folder=True)


def another_film(lab: SimulatedLab, name: str = "Other", **options: Any) -> str:
    """A torrent that has nothing to do with the family."""
    made = make_torrent(lab.seeding, name, {f"{name}.mkv": 40_000})
    return lab.add(made, lab.seeding, **options)


@contextmanager
def breaking(
    number: int, *, afterwards: bool, error: BaseException | None = None
) -> Iterator[None]:
    """Let step `number` (from 0) of a run fail, before it did anything or after it did it all.

    Of steps that are done together, those before it are done and those after it are not.
    """
    perform = World.perform_together
    left = number
    broken: list[Step] = []

    def performed(self: World, steps: Sequence[Step]) -> None:
        nonlocal left
        if broken or left >= len(steps):
            left -= 0 if broken else len(steps)
            perform(self, steps)
            return
        broken.append(steps[left])
        before = steps[: left + 1] if afterwards else steps[:left]
        if before:
            perform(self, before)
        raise error or Failed(f"step {number} was told to fail")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(World, "perform_together", performed)
        try:
            yield
        finally:
            assert broken, f"there is no step {number}"


@contextmanager
def killed_in(number: int, *, afterwards: bool) -> Iterator[None]:
    """The same, as if the process had ended there."""

    def nothing(lanes: Sequence[Lane], _world: object, _told: object) -> None:
        assert {lane.reason for lane in lanes} == {"interrupted: Killed"}

    with pytest.MonkeyPatch.context() as patch, suppress(Killed):
        patch.setattr(recovery, "recover", nothing)
        with breaking(number, afterwards=afterwards, error=Killed()):
            yield
