"""Why a torrent is where it is, and what would change that.  Values only."""

from __future__ import annotations

from dataclasses import dataclass

from hashall.catalog import Catalog
from hashall.catalog.runs import RunRow
from rehome.batch import EXECUTABLE
from rehome.facts import Facts
from rehome.model import Blocker, Direction, Plan
from rehome.report import Entry, entry_of

# What a person can do about each blocker.
REMEDIES = {
    "outside-link": "remove the library's names, when the library no longer needs the film",
    "unaccounted-links": "scan every folder of this filesystem that may hold hardlinks",
    "needs-scan": "hashall scan these folders, then hashall payload sync",
    "root-not-covered": "hashall scan this root",
    "group-not-whole": "bring every torrent of the group to 100 %, then hashall payload sync",
    "target-conflict": "look at these files; rename or remove what does not belong there",
    "no-space": "free room on the target, or lower rehome.space_margin",
    "no-blind-copy": "bring the bytes to stash first, for instance by importing them again",
    "path-map-unproved": "give rehome.path_map a pair for this folder",
    "outside-domain": "move the torrent below one of the seeding roots",
    "unknown-device": "let stash and pool each be one filesystem",
    "category-missing": "make the category in qBittorrent",
    "run-open": "end the run that is named",
    "too-young": "wait, or plan it by its hash; rehome.min_age says how long to wait",
}


@dataclass(frozen=True)
class Name:
    """One name of one file of the group."""

    path: str
    size: int
    seeded: bool  # by a torrent of the group
    outside: bool  # of the seeding domain: a library's


@dataclass(frozen=True)
class Member:
    torrent: str
    name: str
    category: str
    state: str
    save_path: str
    target_path: str  # where a move would bring it; "" when nowhere


@dataclass(frozen=True)
class PastRun:
    run_id: int
    kind: str
    status: str
    started_at: str
    actor: str
    reason: str


@dataclass(frozen=True)
class Explanation:
    torrent: str
    name: str
    lives_on: str  # stash, pool or elsewhere
    could_go_to: str  # pool or stash
    decision: Entry  # about going there
    payload_hash: str | None
    members: tuple[Member, ...]  # what moves together
    names: tuple[Name, ...]  # every name of every file, those of libraries first
    runs: tuple[PastRun, ...]  # on torrents of the group, oldest first
    remedies: tuple[tuple[str, str], ...]  # code of a blocker, what would remove it
    too_young: Blocker | None = None  # why a plan of many leaves it alone for now

    @property
    def may_go(self) -> bool:
        return self.decision.decision in EXECUTABLE


def explain(
    facts: Facts, plan: Plan, lives_on: str, catalog: Catalog, young: Blocker | None = None
) -> Explanation:
    """Put together what is known about the group of one torrent."""
    asked = next(t for t in facts.torrents if t.torrent_id == facts.asked_for)
    ids = {torrent.torrent_id for torrent in facts.torrents}
    codes = dict.fromkeys(blocker.code for blocker in plan.blockers)
    return Explanation(
        torrent=facts.asked_for,
        name=asked.name,
        lives_on=lives_on,
        could_go_to="stash" if facts.direction is Direction.PROMOTE else "pool",
        decision=entry_of(plan),
        payload_hash=facts.payload_hash,
        members=tuple(
            Member(
                move.torrent_id,
                move.name,
                move.category,
                move.running.value,
                move.save_path,
                move.target_path,
            )
            for move in plan.torrents
        ),
        names=_names(facts),
        runs=tuple(_past(row) for row in catalog.runs.all() if ids & _torrents_of(row)),
        remedies=tuple((code, REMEDIES[code]) for code in codes if code in REMEDIES),
        too_young=young,
    )


def _names(facts: Facts) -> tuple[Name, ...]:
    seeded = {f"{t.save_path}/{file.name}" for t in facts.torrents for file in t.files}
    found = [
        Name(path, link.size, path in seeded, path in link.outside)
        for link in facts.links
        for path in link.names
    ]
    return tuple(sorted(found, key=lambda name: (not name.outside, name.path)))


def _torrents_of(row: RunRow) -> set[str]:
    moves = row.plan.get("torrents", [])
    return {str(move.get("torrent_id")) for move in moves if isinstance(move, dict)}


def _past(row: RunRow) -> PastRun:
    return PastRun(row.run_id, row.kind, row.status.value, row.started_at, row.actor, row.reason)
