"""What the `link` commands do, as values; no text for people in here."""

from __future__ import annotations

import dataclasses
import enum
import getpass
import heapq
import os
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

from hashall.catalog import Catalog
from hashall.catalog.links_groups import Tally
from hashall.device_choice import choose
from hashall.devices import link_count_doubt
from hashall.linking import analyze as analysis
from hashall.linking import plan as deciding
from hashall.linking import unfinished
from hashall.linking.folders import Folders
from hashall.linking.model import (
    Action,
    ActionView,
    CrossGroup,
    Group,
    Kind,
    Plan,
    PlanOptions,
    PlanStatus,
)
from hashall.model import Device
from hashall.places import Places
from hashall.qbittorrent import PathMap
from seedkeep.errors import Misused, SeedError
from seedkeep.sqlite import transaction
from seedkeep.torrent_client import TorrentClient


@dataclass(frozen=True)
class PlanView:
    """A plan with its biggest actions, and why others are passed over."""

    plan: Plan
    actions: tuple[ActionView, ...]  # what saves most first
    more: int  # beyond the limit
    reasons: dict[str, int]  # of what is or was skipped → how many


@dataclass(frozen=True)
class LinkStatus:
    devices: tuple[analysis.DeviceLinks, ...]
    plans: tuple[Plan, ...]  # that can still be executed
    unsettled: int  # actions that an interrupted run left in the middle


@dataclass(frozen=True)
class GroupReport:
    sha256: str
    size: int  # bytes of one file
    links: int
    bytes_to_save: int
    path: str  # the name that stays


@dataclass(frozen=True)
class ReasonReport:
    reason: str
    count: int
    bytes: int


@dataclass(frozen=True)
class LinkReport:
    """A whole plan for a person: totals, the biggest groups, what was skipped and why."""

    plan: Plan
    made_at: str  # UTC
    groups: tuple[GroupReport, ...]
    skipped: tuple[ReasonReport, ...]
    examples: tuple[ActionView, ...]  # of skipped actions
    deletions: tuple[ActionView, ...]  # proposed, of copies on other filesystems


@dataclass
class Links:
    catalog: Catalog
    places: Places
    libraries: Sequence[Path] = ()
    # Clients to ask which torrents are unfinished, with their path maps; None: ask nobody.
    clients: Callable[[], Iterable[tuple[TorrentClient, PathMap]]] | None = None

    # -- looking

    def analyze(
        self, device: str | None, *, cross_device: bool, min_size: int, limit: int
    ) -> analysis.LinkAnalysis:
        devices = self.devices(device)
        with Folders(self.places) as folders:
            tallies = [Tally() for _ in devices]
            groups = self._duplicates(devices, min_size, tallies)
            best = heapq.nsmallest(limit, groups, key=lambda g: (-g.savings, -g.size, g.sha256))
            _count_rest(groups)
            cross = self._cross(min_size, device) if cross_device else []
            return analysis.LinkAnalysis(
                devices=tuple(map(self._device, devices, tallies)),
                groups=tuple(analysis.group_view(group, folders) for group in best),
                cross=tuple(analysis.cross_view(group, folders) for group in cross[:limit]),
                more_groups=sum(tally.groups for tally in tallies) - len(best),
                more_cross=max(len(cross) - limit, 0),
            )

    def status(self, device: str | None) -> LinkStatus:
        open_states = (PlanStatus.PENDING, PlanStatus.APPROVED, PlanStatus.RUNNING)
        return LinkStatus(
            tuple(self._device(found, self._tally(found)) for found in self.devices(device)),
            tuple(self.catalog.links.all(*open_states)),
            len(self.catalog.links.unsettled()),
        )

    def _tally(self, device: Device) -> Tally:
        tally = self.catalog.link_groups.tally(device.device_id, min_size=1)
        return tally if link_count_doubt(device.fs_type) is None else replace(tally, savings=0)

    def _duplicates(
        self, devices: Iterable[Device], min_size: int, tallies: Iterable[Tally]
    ) -> Iterator[Group]:
        """Groups that could be linked, one at a time, counted in the tally of their device."""
        for device, tally in zip(devices, tallies, strict=True):
            for group in self._groups(device, min_size):
                if len(group.inodes) > 1:
                    tally.add(group)
                    yield group

    def _groups(self, device: Device, min_size: int) -> Iterator[Group]:
        doubt = link_count_doubt(device.fs_type)
        for group in self.catalog.link_groups.groups(device.device_id, min_size=min_size):
            yield group if doubt is None else replace(group, doubt=doubt)

    def _device(self, device: Device, tally: Tally) -> analysis.DeviceLinks:
        mounted = self.places.mount_points_of(device.fs_key)
        return analysis.device_links(self.catalog, device, tally, mounted)

    def _cross(self, min_size: int, device: str | None) -> list[CrossGroup]:
        """Of one device: what it has that others have too."""
        wanted = {found.device_id for found in self.devices(device)}
        groups = analysis.cross_groups(
            self.catalog, self.catalog.devices.all(), min_size, list(self._library_places())
        )
        return [g for g in groups if wanted & {copy.device_id for copy in g.copies}]

    def _library_places(self) -> Iterator[tuple[int, str, Path]]:
        for library in self.libraries:
            try:
                place = self.places.find(library).place
            except (OSError, SeedError):
                continue  # not there now: it can hold nothing that is in the way
            yield place.device_id, place.relpath, library

    def devices(self, text: str | None) -> list[Device]:
        """The device that a person names by number, alias, or a path on it; all without a name."""
        return [choose(self.places, text)] if text is not None else self.catalog.devices.all()

    # -- plans

    def plan(self, name: str, device: str | None, options: PlanOptions) -> Plan:
        """Make a plan and keep it."""
        actions, options = self.decide(device, options)
        with transaction(self.catalog.db):
            plan_id = self.catalog.links.create(name, plain(options), who())
            self.catalog.links.add(plan_id, actions)
        return self.find(plan_id)

    def preview(self, name: str, device: str | None, options: PlanOptions) -> PlanView:
        """The plan that `plan` would make, of which nothing is kept."""
        db = self.catalog.db
        try:
            with transaction(db):
                raise _Preview(self.show(self.plan(name, device, options).plan_id, 20))
        except _Preview as made:
            return made.view

    def decide(self, device: str | None, options: PlanOptions) -> tuple[list[Action], PlanOptions]:
        devices = self.devices(device)
        options = replace(options, devices=tuple(d.device_id for d in devices))
        found: list[Action] = []
        with Folders(self.places) as folders:
            if options.same_device:
                groups = (g for d in devices for g in self._groups(d, options.min_size))
                found += deciding.plan_links(groups, options, folders.shown)
            if options.cross_device:
                cross = self._cross(options.min_size, device)
                proposed = deciding.plan_cross(cross, options, folders.shown)
                found += deciding.renumbered(proposed, len(found) + 1)
        return found, options

    def find(self, plan_id: int) -> Plan:
        plan = self.catalog.links.get(plan_id)
        if plan is None:
            raise Misused(
                f"there is no link plan {plan_id} in {self.catalog.db.path}",
                hint="list them with: hashall link list-plans"
                "  (--db names another catalog; a plan belongs to the one it was made in)",
            )
        return plan

    def show(self, plan_id: int, limit: int) -> PlanView:
        plan = self.find(plan_id)
        with Folders(self.places) as folders:
            actions = tuple(
                view_of(action, folders) for action in self.catalog.links.biggest(plan_id, limit)
            )
        total = sum(kind.count for kind in plan.actions.values())
        reasons = {
            reason: found.count for reason, found in self.catalog.links.reasons(plan_id).items()
        }
        return PlanView(plan, actions, total - len(actions), reasons)

    def approve(self, plan_id: int) -> Plan:
        self.find(plan_id)
        self.catalog.links.move(plan_id, PlanStatus.APPROVED, actor=who())
        return self.find(plan_id)

    def cancel(self, plan_id: int) -> Plan:
        self.find(plan_id)
        self.catalog.links.move(plan_id, PlanStatus.CANCELLED)
        return self.find(plan_id)

    def report(self, plan_id: int, *, limit: int, made_at: str) -> LinkReport:
        plan, links = self.find(plan_id), self.catalog.links
        with Folders(self.places) as folders:
            return LinkReport(
                plan=plan,
                made_at=made_at,
                groups=tuple(
                    GroupReport(sha256, size, count, saved, folders.shown(device, path))
                    for sha256, size, count, saved, device, path in links.groups(plan_id, limit)
                ),
                skipped=tuple(
                    ReasonReport(reason, total.count, total.bytes)
                    for reason, total in links.reasons(plan_id).items()
                ),
                examples=tuple(view_of(a, folders) for a in links.passed_over(plan_id, limit)),
                deletions=tuple(
                    view_of(action, folders)
                    for action in links.actions(plan_id, kinds=[Kind.DELETE], limit=limit)
                ),
            )

    def unfinished(self, *, finished_too: bool = False) -> frozenset[tuple[int, int]]:
        """(device, inode) of files that torrents still write to: of the last sync, and of now.

        `finished_too`: all files of torrents, for a deletion; of the finished ones only of now.
        """
        found = self.catalog.link_groups.unfinished()
        if self.clients is not None and self.catalog.link_groups.knows_torrents():
            for client, path_map in self.clients():
                found |= unfinished.ask(client, path_map, self.places, finished_too=finished_too)
        return frozenset(found)


def _count_rest(groups: Iterator[Group]) -> None:
    for _ in groups:
        pass


class _Preview(Exception):
    """Carries a view out of a transaction that is to be rolled back."""

    def __init__(self, view: PlanView) -> None:
        super().__init__()
        self.view = view


def view_of(action: Action, folders: Folders) -> ActionView:
    return ActionView(
        seq=action.seq,
        kind=action.kind.value,
        state=action.state.value,
        size=action.size,
        bytes_to_save=action.bytes_to_save,
        bytes_saved=action.bytes_saved,
        sha256=action.sha256,
        source=folders.shown(action.source.device_id, action.source.path),
        target=folders.shown(action.target.device_id, action.target.path),
        reason=action.reason,
        detail=action.detail,
    )


def plain(options: PlanOptions) -> dict[str, Any]:
    """Options as JSON keeps them."""
    return {
        field.name: _plain(getattr(options, field.name)) for field in dataclasses.fields(options)
    }


def _plain(value: Any) -> Any:
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, date):
        return value.isoformat()
    return list(value) if isinstance(value, tuple) else value


def who() -> str:
    try:
        name = getpass.getuser()
    except (OSError, KeyError):
        name = str(os.getuid())
    return f"{name}@{socket.gethostname()}"
