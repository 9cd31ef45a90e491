"""What rules see of the client during one job: every torrent as listed once, and more on demand.

What the job does is put into what it sees, so that the next rule, and a dry run, sees the effect.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable
from datetime import datetime
from typing import Any

from qbt_rules.disk import Disk
from qbt_rules.language.fields import FIELDS, WEEKDAYS, Kind
from qbt_rules.language.values import Unknown, Value
from seedkeep.errors import SeedError, Unreachable
from seedkeep.torrent_client import NoSuchTorrent
from seedkeep.torrent_details import DetailedClient, Details

_TIMES: dict[str, Callable[[datetime], Value]] = {
    "hour": lambda now: now.hour,
    "minute": lambda now: now.minute,
    "day": lambda now: now.day,
    "month": lambda now: now.month,
    "year": lambda now: now.year,
    "weekday": lambda now: WEEKDAYS[now.weekday()],
    "weekday_number": lambda now: now.isoweekday(),
    "date": lambda now: now.date().isoformat(),
}
# One request answers for all fields of such a family.
_LISTS: dict[str, Callable[[DetailedClient, str], list[Details]]] = {
    "files": lambda client, torrent_id: client.file_details(torrent_id),
    "trackers": lambda client, torrent_id: client.tracker_details(torrent_id),
    "peers": lambda client, torrent_id: client.peer_details(torrent_id),
    "webseeds": lambda client, torrent_id: [{"url": url} for url in client.webseeds(torrent_id)],
}
_DISK = frozenset({"payload", "links", "space"})
_NUMERIC = {Kind.NUMBER, Kind.BYTES, Kind.SPEED, Kind.SECONDS}
_NUMBERS = frozenset(name for name, row in FIELDS.items() if row.kind in _NUMERIC)


class Torrent:
    """One torrent as rules see it (a `language.conditions.Subject`)."""

    __slots__ = ("_known", "_lists", "_row", "_world", "torrent_id")

    def __init__(self, row: Details, world: World) -> None:
        self.torrent_id: str = row["hash"]
        self._row = row
        self._world = world
        self._known: dict[str, Value] = {}
        self._lists: dict[str, list[Details] | Details | Unknown] = {}

    @property
    def name(self) -> str:
        return str(self.value("info.name"))

    def value(self, field: str) -> Value:
        """Of a field with many values a list, in which some may be `Unknown`."""
        found = self._known.get(field)
        if found is None:
            family, _, name = field.partition(".")
            found = self._ask(family, name)
            if field in _NUMBERS and not _may_be_compared(found):
                found = Unknown(f"qBittorrent says {found!r} for {name}, which is no number")
            self._known[field] = found
        return found

    def put(self, field: str, value: Value) -> None:
        """Something was done, or would have been: from now on the field has this value."""
        self._known[field] = value

    def forget(self, *families: str) -> None:
        """Something was done whose effect nobody can foresee: ask again when asked."""
        for field in [field for field in self._known if field.partition(".")[0] in families]:
            del self._known[field]
        for family in families:
            self._lists.pop(family, None)

    def _ask(self, family: str, name: str) -> Value:
        if family == "info":
            return _said(self._row, name)
        if family in _LISTS or family == "properties":
            return self._of_family(family, name)
        return self._world.value(self, family, name)

    def _of_family(self, family: str, name: str) -> Value:
        if family not in self._lists:
            self._lists[family] = self._world.ask(family, self.torrent_id)
        found = self._lists[family]
        if isinstance(found, Unknown):
            return found
        if not isinstance(found, list):
            return _said(found, name)
        if name == "count":
            return len(found)
        return [_said(row, name) for row in found]


ID_DIGITS = 40  # a v2 hash is known to the client by its first 40 digits


class World:
    """All torrents of one job."""

    @classmethod
    def about(
        cls, client: DetailedClient, disk: Disk, now: datetime, torrent_hash: str | None
    ) -> World:
        """All torrents, or the one that has this id, v1 or v2 hash (in lower case), if any has.

        Raises `Unreachable`.
        """
        if not torrent_hash:
            return cls(client, disk, now)
        world = cls(client, disk, now, [torrent_hash[:ID_DIGITS]])
        if world.torrents:
            return world
        # The id of a hybrid torrent is its v2 hash; by its v1 hash the client does not find it.
        found = [row["hash"] for row in client.listed() if row.get("infohash_v1") == torrent_hash]
        return cls(client, disk, now, found) if found else world

    def __init__(
        self, client: DetailedClient, disk: Disk, now: datetime, ids: Collection[str] | None = None
    ) -> None:
        """Raises `Unreachable`."""
        self.client, self.disk, self.now = client, disk, now
        self.torrents = {row["hash"]: Torrent(row, self) for row in client.listed(ids)}
        self._once: dict[str, Details | Unknown] = {}
        self._folders: dict[str, tuple[str, ...]] = {}

    def managed_folders(self, category: str) -> tuple[str, ...]:
        """See `DetailedClient.managed_folders`; asked once for each category."""
        if category not in self._folders:
            self._folders[category] = self.client.managed_folders(category)
        return self._folders[category]

    def drop(self, ids: Iterable[str]) -> None:
        """These are gone."""
        for torrent_id in ids:
            self.torrents.pop(torrent_id, None)

    def value(self, torrent: Torrent, family: str, name: str) -> Value:
        if family == "time":
            return _TIMES[name](self.now.astimezone())
        if family in _DISK:
            try:
                save_path = str(torrent.value("info.save_path"))
                return self.disk.value(torrent.torrent_id, f"{family}.{name}", save_path)
            except SeedError as why:
                return Unknown(why.brief)
        said = self._of_client(family)
        return said if isinstance(said, Unknown) else _said(said, name)

    def ask(self, family: str, torrent_id: str) -> list[Details] | Details | Unknown:
        try:
            if family == "properties":
                return self.client.properties(torrent_id)
            found = _LISTS[family](self.client, torrent_id)
            if family == "files" and not found:
                return Unknown("the file list is not known yet")
            return found
        except NoSuchTorrent:
            return Unknown("the torrent is gone")

    def _of_client(self, family: str) -> Details | Unknown:
        """Of the client itself: asked once for all torrents."""
        if family not in self._once:
            if family == "transfer":
                self._once[family] = self.client.transfer()
            else:
                version = self.client.version()
                api = ".".join(map(str, version.api))
                said = {"version": version.app, "api_version": api}
                self._once[family] = {**self.client.preferences(), **said}
        return self._once[family]


def _may_be_compared(found: Value) -> bool:
    """Not with true, which would count as 1, nor NaN, which is unlike everything, itself too."""
    if isinstance(found, list | tuple):
        return all(map(_may_be_compared, found))
    return not isinstance(found, bool) and (not isinstance(found, float) or math.isfinite(found))


def _said(row: Details, name: str) -> Value:
    value: Any = row.get(name, Unknown)
    if value is Unknown:
        return Unknown(f"qBittorrent does not tell {name}")
    return Unknown(f"{name} has never been") if value is None else value


__all__ = ["Torrent", "Unreachable", "World"]
