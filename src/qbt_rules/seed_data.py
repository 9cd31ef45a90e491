"""The bridge from the rules to the catalog and to rehome: the only module that knows both.

`seed_data_guard.py`, `seed_data_links.py` and `seed_data_runs.py` are parts of it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from pathlib import Path

from hashall.catalog import Catalog, open_catalog
from hashall.catalog.verifications import VerificationTable
from hashall.domain import Domain
from hashall.lock import exclusive
from hashall.model import LinkVerdict, Payload, Place, TorrentFileOnDisk, TorrentInstance
from hashall.pathing import MountTable
from hashall.payload_sync import sync
from hashall.payload_verify import pieces_of_torrent, remember_pieces
from hashall.places import Places
from hashall.qbittorrent import PathMap
from hashall.scan import ScanOptions, scan
from qbt_rules.disk import Deed, Disk, NoDisk
from qbt_rules.language.values import Unknown, Value
from qbt_rules.seed_data_guard import has_files, is_seen, needed_by_other, why_not_delete
from qbt_rules.seed_data_links import LinksOfTorrent, links_of
from qbt_rules.seed_data_runs import REASON, finish_interrupted, interrupted
from rehome.batch import EXECUTABLE, Scope, make_batch
from rehome.config import Layout, layout_from
from rehome.gather import Gatherer
from rehome.model import Direction, Plan, Verdict
from rehome.outcome import Ended, Watch, Wishes
from rehome.planner import plan_group
from rehome.runner import Runner
from seedkeep import clock
from seedkeep import settings_table as table
from seedkeep.errors import Locked, SeedError
from seedkeep.settings import Settings, load
from seedkeep.torrent_client import TorrentClient
from seedkeep.units import format_size

_WOULD_RESUME = "that run is one of these rules': the worker resumes it before it moves anything"
STALE = "the torrent lies elsewhere since the last hashall payload sync"


def open_seed_data(connect: Callable[[], TorrentClient]) -> Disk:
    """The disk as rehome's own settings describe it; `NoDisk` where there is no catalog.

    `connect` is called when a deed or a guard needs the client.  It is not the rules' own, patient
    one: a run of rehome must hear of every silence, and decide by itself what may be repeated.
    """
    try:
        settings = load("rehome")
        catalog = open_catalog(settings.get(table.CATALOG_PATH), create=False)
    except SeedError as why:
        return NoDisk(why.brief)
    return SeedData(settings, catalog, connect)


@dataclass
class SeedData:
    """A `Disk` over one catalog; also the ground that rehome's runs stand on."""

    settings: Settings
    catalog: Catalog
    connect: Callable[[], TorrentClient]
    _links: dict[str, LinksOfTorrent] = field(default_factory=dict)

    @property
    def knows_places(self) -> bool:
        roots = (table.STASH_SEEDING_ROOT, table.POOL_SEEDING_ROOT)
        return all(self.settings.get(root) is not None for root in roots)

    def close(self) -> None:
        self.catalog.db.close()

    # -- what rehome's runner asks for

    @cached_property
    def client(self) -> TorrentClient:
        return self.connect()

    @cached_property
    def layout(self) -> Layout:
        return layout_from(self.settings)

    @cached_property
    def places(self) -> Places:
        return Places(self.catalog, MountTable.read())

    # -- fields

    def value(self, torrent_id: str, name: str, save_path: str) -> Value:
        family, _, what = name.partition(".")
        if family == "space":
            return self._space(what, save_path)
        instance = self._instances.get(torrent_id)
        if instance is None:
            return Unknown("the catalog does not know the torrent; run hashall payload sync")
        if instance.save_path != str(self._path_map.to_ours(save_path)):
            return Unknown(STALE)
        if family == "links":
            return self._link_value(instance, what)
        return self._payload_value(instance, what)

    def forget(self) -> None:
        for name in ("client", "places", "_instances", "_domains"):
            self.__dict__.pop(name, None)
        self._links.clear()

    @cached_property
    def _instances(self) -> dict[str, TorrentInstance]:
        return {found.key: found for found in self.catalog.payloads.instances()}

    @cached_property
    def _domains(self) -> dict[str, Domain]:
        roots = {"stash": self.layout.stash_seeding_root, "pool": self.layout.pool_seeding_root}
        return {name: Domain(self.places, root) for name, root in roots.items()}

    @property
    def _path_map(self) -> PathMap:
        return PathMap([*self.settings.get(table.PATH_MAP)])

    def _space(self, what: str, save_path: str) -> Value:
        if what == "stash_free":
            path = self.layout.stash_seeding_root
        elif what == "pool_free":
            path = self.layout.pool_seeding_root
        else:
            path = self._path_map.to_ours(save_path)
        try:
            found = os.statvfs(path)
        except OSError as why:
            return Unknown(f"{path}: {why.strerror}")
        return found.f_bavail * found.f_frsize

    def _payload_value(self, instance: TorrentInstance, what: str) -> Value:
        if instance.payload_id is None:
            return Unknown(instance.problem or "the torrent has no payload")
        payload = self.catalog.payloads.get(instance.payload_id)
        if what in ("payload_hash", "also_on") and payload.payload_hash is None:
            return Unknown(instance.problem or "some of its files have no hash")
        tell: dict[str, Callable[[], Value]] = {
            "status": lambda: payload.status.value,
            "total_bytes": lambda: payload.total_bytes,
            "file_count": lambda: payload.file_count,
            "siblings": lambda: len(self.catalog.payloads.group_of(instance.key)) - 1,
            "residency": lambda: self._residency(payload),
            "payload_hash": lambda: payload.payload_hash,
            "also_on": lambda: self._also_on(payload),
            "verified_at": lambda: self._verified_at(instance),
        }
        return tell[what]()

    def _verified_at(self, instance: TorrentInstance) -> Value:
        """The moment of the oldest of the last readings of its files."""
        found = VerificationTable(self.catalog.db).of_torrent(instance.key)
        if found.damaged:
            return Unknown(f"{found.damaged} of its files had other bytes when last read")
        if found.proved < found.files or found.oldest is None:
            return Unknown(
                f"{found.files - found.proved} of {found.files} files were not read since the scan;"
                " hashall verify and payload verify do that"
            )
        return clock.parse_iso(found.oldest)

    def _residency(self, payload: Payload) -> str:
        place = Place(payload.device_id, payload.root_path)
        return next((name for name, it in self._domains.items() if it.holds(place)), "other")

    def _also_on(self, payload: Payload) -> tuple[str, ...]:
        assert payload.payload_hash is not None
        others = self.catalog.payloads.with_hash(payload.payload_hash)
        return tuple(
            sorted({self._residency(o) for o in others if o.device_id != payload.device_id})
        )

    def _link_value(self, instance: TorrentInstance, what: str) -> Value:
        if instance.key not in self._links:
            files = self.catalog.payloads.files_of(instance.key)
            self._links[instance.key] = links_of(self.places, self._domain_of(files), files)
        found = self._links[instance.key]
        if what == "verdict":
            return found.verdict.value
        if found.verdict is not LinkVerdict.PROVED:
            # More names may exist than are known: "0 outside" would be a guess.
            return Unknown(f"the links are {found.verdict.value}: {found.why}")
        if what == "outside":
            return len(found.outside)
        return found.outside if what == "outside_paths" else found.siblings

    def _domain_of(self, files: Sequence[TorrentFileOnDisk]) -> Domain:
        """The seeding domain of its side; the one on stash for what lies on neither."""
        place = Place(files[0].device_id, files[0].path) if files else None
        on = next((it for it in self._domains.values() if place and it.holds(place)), None)
        return on or self._domains["stash"]

    # -- guards

    def why_not_delete(
        self, torrent_id: str, leaving: Collection[str], *, allow_last_copy: bool
    ) -> str:
        return why_not_delete(
            self.client,
            self.places,
            self._path_map,
            torrent_id,
            leaving,
            allow_last_copy=allow_last_copy,
        )

    def needed_by_other(self, torrent_id: str) -> str:
        return needed_by_other(self.client, self.places, self._path_map, torrent_id)

    def has_files(self, torrent_id: str) -> bool | None:
        return has_files(self.client, self._path_map, torrent_id, self._is_seen)

    def same_filesystem(self, one: str, other: str) -> bool | None:
        target = self._path_map.to_ours(other)
        if not self._is_seen(target):
            return None
        try:
            here = self.places.mounts.locate(self._path_map.to_ours(one))
            there = self.places.mounts.locate_missing(target)
        except (OSError, SeedError):
            return None
        return here.identity.fs_key == there.identity.fs_key

    def _is_seen(self, path: Path) -> bool:
        roots = (table.STASH_SEEDING_ROOT, table.POOL_SEEDING_ROOT)
        return is_seen(path, [root for name in roots if (root := self.settings.get(name))])

    # -- deeds

    def demote(
        self,
        ids: Collection[str],
        *,
        retain_s: float | None,
        dry_run: bool,
        cancelled: Callable[[], bool],
    ) -> list[Deed]:
        return self._move(Direction.DEMOTE, ids, retain_s, dry_run, cancelled)

    def promote(
        self, ids: Collection[str], *, dry_run: bool, cancelled: Callable[[], bool]
    ) -> list[Deed]:
        return self._move(Direction.PROMOTE, ids, None, dry_run, cancelled)

    def verify(
        self, ids: Collection[str], *, sample: float, cancelled: Callable[[], bool]
    ) -> list[Deed]:
        deeds = []
        for torrent_id in ids:
            if cancelled():
                break
            try:
                report = pieces_of_torrent(self.client, torrent_id, self._path_map, sample)
                remember_pieces(self.places, torrent_id, report)
            except (OSError, SeedError) as why:
                deeds.append(Deed((torrent_id,), False, str(why), failed=True))
                continue
            told = f"{report.checked} of {report.pieces} pieces read, {len(report.bad)} of them bad"
            lacks = [*report.files_in_bad, *report.missing][:5]
            text = "; ".join([told, *lacks])
            deeds.append(Deed((torrent_id,), report.is_proved, text, failed=not report.is_proved))
        return deeds

    def scan(self, paths: Collection[Path], *, cancelled: Callable[[], bool]) -> str:  # noqa: ARG002
        """Scan, and read the client's inventory: only both together let a group move."""
        with exclusive(self.catalog.db.path, f"{REASON}: hashall_scan"):
            found = scan(self.places, list(paths), ScanOptions())
            synced = sync(self.client, self.places, self._path_map)
        self.forget()
        gaps = f", {len(found.unreadable)} unreadable" if found.unreadable else ""
        told = f"{found.seen} files: {found.added} added, {found.deleted} deleted{gaps}"
        return f"{told}; {synced.torrents} torrents synced"

    def interrupted(self) -> tuple[int, ...]:
        return tuple(row.run_id for row in interrupted(self.catalog))

    def finish_interrupted(self, cancelled: Callable[[], bool]) -> list[Deed]:
        try:
            return finish_interrupted(self, cancelled)
        finally:
            self.forget()

    def _move(
        self,
        direction: Direction,
        ids: Collection[str],
        retain_s: float | None,
        dry_run: bool,
        cancelled: Callable[[], bool],
    ) -> list[Deed]:
        self.forget()
        open_runs, resumed = self._open_runs(dry_run, cancelled)
        plans, deeds = self._plans(direction, ids)
        deeds += [deed for deed in resumed if not set(ids).isdisjoint(deed.torrents)]
        going = [plan for plan in plans if plan.verdict in EXECUTABLE]
        deeds += [_stays(plan, open_runs) for plan in plans if plan.verdict not in EXECUTABLE]
        if dry_run or not going:
            return deeds + [Deed(_ids(plan), True, _would(plan)) for plan in going]
        with exclusive(self.catalog.db.path, f"{REASON}: {direction.value}"):
            retain = None if retain_s is None else timedelta(seconds=retain_s)
            runner = Runner(self, Watch())
            for plan in going:
                if cancelled():
                    break
                outcome = runner.apply([plan], Wishes(retain=retain, reason=REASON))
                deeds += [_ended(item) for item in outcome.ended]
        return deeds

    def _open_runs(
        self, dry_run: bool, cancelled: Callable[[], bool]
    ) -> tuple[dict[str, str], list[Deed]]:
        """Runs of ours that stand in the way of torrents, with what is to be said; resumed ones."""
        if dry_run:
            torrents = self.catalog.runs.torrents
            keys = (key for run_id in self.interrupted() for key in torrents(run_id))
            return dict.fromkeys(keys, _WOULD_RESUME), []
        try:
            deeds = self.finish_interrupted(cancelled)
        except Locked:
            return {}, []  # which is said when nothing else can be moved either
        open_runs = {key: deed.text for deed in deeds if deed.failed for key in deed.torrents}
        return open_runs, [deed for deed in deeds if deed.done]

    def _plans(
        self, direction: Direction, ids: Collection[str]
    ) -> tuple[Sequence[Plan], list[Deed]]:
        """A plan for each group, once however many of its torrents are named."""
        gatherer = Gatherer(self.client, self.places, self.layout)
        plans: list[Plan] = []
        refused: list[Deed] = []
        seen: set[str] = set()
        free = 0
        for torrent_id, facts in gatherer.facts_of(sorted(ids), direction).items():
            if torrent_id in seen:
                continue
            if isinstance(facts, SeedError):
                refused.append(Deed((torrent_id,), False, str(facts)))
                continue
            plan = plan_group(facts, self.layout)
            free = facts.free_bytes
            seen.update(_ids(plan))
            plans.append(plan)
        margin = self.layout.space_margin
        batch = make_batch(plans, Scope(), direction, free_bytes=free, margin=margin)
        return batch.groups, refused


def _ids(plan: Plan) -> tuple[str, ...]:
    return tuple(move.torrent_id for move in plan.torrents) or (plan.asked_for,)


def _stays(plan: Plan, open_runs: Mapping[str, str]) -> Deed:
    if plan.verdict is Verdict.SKIP:
        return Deed(_ids(plan), False, "it is there already", was_there=True)
    reasons = [
        " ".join([f"{b.code}: {b.sentence}", *(str(path) for path in b.paths[:3])])
        for b in plan.blockers
    ]
    told = (open_runs[key] for key in _ids(plan) if key in open_runs)
    return Deed(_ids(plan), False, "; ".join([*reasons, *dict.fromkeys(told)]))


def _would(plan: Plan) -> str:
    return f"{plan.verdict.value}: {format_size(plan.bytes_to_copy)} to copy"


def _ended(item: Ended) -> Deed:
    ids = _ids(item.plan)
    if item.error is not None:
        return Deed(ids, False, str(item.error), item.run_id, failed=item.run_id is not None)
    if item.applied is None:
        return Deed(ids, False, "it is there already", item.run_id, was_there=True)
    copied = format_size(item.plan.bytes_to_copy)
    return Deed(ids, True, f"{item.plan.verdict.value}: {copied} copied", item.run_id)
