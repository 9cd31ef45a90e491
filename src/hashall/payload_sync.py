"""Bring a client's inventory and the catalog together: which torrents are the same payload.

A torrent costs a call when the client shows another place, size or progress for it.  When only
something on our side changed (a folder of it, a hash in the catalog), its file list is taken from
the last time.  Else it costs nothing.  docs/architecture/payload.md says what "changed" is.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from hashall import payload as identity
from hashall.catalog.inventory import NOT_READ, Known
from hashall.emptied import refuse_emptied
from hashall.folders import Folders, changed_since, elsewhere
from hashall.hash_missing import HashedMembers, hash_missing
from hashall.model import MAIN_CLIENT, key_of
from hashall.payload_build import (
    Found,
    Outcome,
    Sighted,
    by_place,
    find_members,
    record,
    record_all,
)
from hashall.places import Places
from hashall.qbittorrent import Mapped, PathMap, map_torrent
from seedkeep.errors import SeedError
from seedkeep.sqlite import transaction
from seedkeep.torrent_client import (
    FileList,
    Inventory,
    NoSuchTorrent,
    Torrent,
    TorrentClient,
    TorrentFile,
)

__all__ = [
    "Found",
    "Outcome",
    "SyncOptions",
    "SyncResult",
    "by_place",
    "find_members",
    "record",
    "sync",
]

AT_ONCE = 2000  # torrents in one transaction: what was read before an interruption is kept
TOGETHER = 100  # of these, written with the same few statements
# Nothing tells when these are over: no folder changes its mtime, or the path map is another one.
_LOOKED_AT_EACH_TIME = (
    *("wrong size", "unknown filesystem", "its files lie on more", "unreadable on disk"),
    *("missing on disk", "path map"),
)
_MAY_BE_RENAMED = ("missing on disk", "wrong size", "path map")


@dataclass(frozen=True)
class SyncOptions:
    client: str = MAIN_CLIENT  # as the configuration names it
    full: bool = False  # read every list and look at every file again
    upgrade_missing: bool = False  # hash members that lack a hash
    category: str | None = None
    tag: str | None = None
    limit: int | None = None  # at most so many torrents are looked at
    all_removed: bool = False  # a client that shows none of its torrents has none any more


@dataclass(frozen=True)
class Unread:
    """What could not be read from a client; what was known of it before is kept."""

    client: str
    torrent_id: str  # "" when it is not even known which torrent
    why: str


@dataclass(frozen=True)
class SyncResult:
    torrents: int  # in scope
    mapped: int  # of these, with a complete payload
    unchanged: int  # cost nothing
    outcomes: tuple[Outcome, ...]  # of torrents that were looked at, or have a problem
    forgotten: int  # torrents that the client no longer has
    left_over: int = 0  # changed, and beyond the limit: for the next sync
    unread: tuple[Unread, ...] = ()
    hashed: HashedMembers = field(default_factory=HashedMembers)

    @property
    def problems(self) -> tuple[Outcome, ...]:
        return tuple(outcome for outcome in self.outcomes if outcome.problem)


def sync(
    client: TorrentClient,
    places: Places,
    path_map: PathMap,
    options: SyncOptions | None = None,
    *,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> SyncResult:
    """Write payloads and instances of what changed.  Reads the client and changes nothing there.

    Raises:
        Unreachable: The inventory could not be read; nothing was written.
        NoTorrents: It shows none of many that are known; nothing was written.
    """
    options = options or SyncOptions()
    collects = gc.isenabled()
    gc.disable()  # no cycles are made here, and looking for some among so many rows takes long
    try:
        return _Sync(client, places, path_map, options, progress).run()
    finally:
        if collects:
            gc.enable()


@dataclass
class _Sync:
    client: TorrentClient
    places: Places
    path_map: PathMap
    options: SyncOptions
    progress: Callable[[int, int], None]
    known: dict[str, Known] = field(default_factory=dict)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    unread: list[Unread] = field(default_factory=list)
    _fresh: set[int] = field(default_factory=set)
    _gone: set[str] = field(default_factory=set)
    _total: int = 0
    _done: int = 0

    def run(self) -> SyncResult:
        catalog = self.places.catalog
        with ThreadPoolExecutor(1) as beside:  # SQLite works while the client is waited for
            overtaken = beside.submit(catalog.inventory.overtaken)
            self.inventory: Inventory = self.client.inventory()
            self._on_our_side = overtaken.result()
        self.unread += [Unread(self.options.client, "", row) for row in self.inventory.unread]
        self.known = catalog.inventory.known(self.options.client)
        if not (self.options.all_removed or self.unread):  # else nothing would be forgotten
            refuse_emptied(self.inventory.prints(), self.known, self.options.client)
        with transaction(catalog.db):
            catalog.inventory.meet(self.options.client)
        self._folders = Folders(self.places)
        scope = self._scope()
        ask, look = self._changed(scope)
        left_over = 0
        if self.options.limit is not None:
            chosen = [*look, *ask][: self.options.limit]
            left_over = len(look) + len(ask) - len(chosen)
            ask, look = ask & {*chosen}, look & {*chosen}
        self._total, self._done = len(scope), len(scope) - len(ask) - len(look) - left_over
        unchanged = self._done
        again = self._look(look)
        self._write(self._read(self.inventory.by_place(ask | again)))
        whole = not left_over and not self.unread and scope == set(self.inventory.prints())
        forgotten = self._forget(whole=whole)
        hashed = self._upgrade(scope) if self.options.upgrade_missing else HashedMembers()
        return self._result(scope, unchanged, forgotten, left_over, hashed)

    # -- what to look at

    def _scope(self) -> set[str]:
        options = self.options
        ids = set(self.inventory.prints())
        if options.category is None and options.tag is None:
            return ids
        chosen = set()
        for torrent_id in ids:
            try:
                torrent = self.inventory.torrent(torrent_id)
            except SeedError:
                continue
            if options.category in (None, torrent.category) and (
                options.tag is None or options.tag in torrent.tags
            ):
                chosen.add(torrent_id)
        return chosen

    def _changed(self, scope: set[str]) -> tuple[set[str], set[str]]:
        """(torrents whose list has to be asked for, torrents to look at with the list we have)."""
        if self.options.full:
            return set(scope), set()
        prints = self.inventory.prints()
        inventory, client = self.places.catalog.inventory, self.options.client
        folders = inventory.folders(client)
        on_our_side = self._on_our_side | changed_since(folders)
        on_our_side |= elsewhere(inventory.homes(client), folders, self._folders)
        ask, look, labels = set(), set(), []
        for torrent_id in scope:
            known, now = self.known.get(torrent_id), prints[torrent_id]
            if known is None or not now.place or known.place_print != now.place:
                ask.add(torrent_id)
            elif known.instance_id in on_our_side or (
                known.problem and _ends_unseen(known.problem)
            ):
                look.add(torrent_id)
            elif known.label_print != now.labels:
                labels.append(torrent_id)
        self._relabel(labels)
        return ask, look

    def _relabel(self, ids: list[str]) -> None:
        with transaction(self.places.catalog.db):
            for torrent_id in ids:
                torrent = self._torrent(torrent_id)
                if torrent is None:
                    continue
                self.places.catalog.inventory.put_labels(
                    self.known[torrent_id].instance_id,
                    torrent.name.encode("utf-8", "backslashreplace").decode(),
                    torrent.category,
                    torrent.tags,
                    self.inventory.prints()[torrent_id].labels,
                )

    # -- looking

    def _look(self, ids: Iterable[str]) -> set[str]:
        """Look at the disk with the lists we have; returns the torrents to ask for after all."""
        ask: set[str] = set()

        def mapped() -> Iterator[Mapped]:
            for torrent_id in self.inventory.by_place(ids):
                files = self.places.catalog.inventory.listed(self.known[torrent_id].instance_id)
                torrent = self._torrent(torrent_id)
                if torrent is None:
                    continue
                item = self._map(torrent, files)
                if not files or self._was_renamed(item):
                    ask.add(torrent_id)
                else:
                    yield item

        self._write(mapped())
        return ask

    def _was_renamed(self, item: Mapped) -> bool:
        """A file that is gone may have got another name in the client, which no inventory shows."""
        problem = item.problem
        if problem is None or not problem.startswith(_MAY_BE_RENAMED):
            return False
        return problem != self.known[item.torrent.torrent_id].problem and not item.unmapped

    def _read(self, ids: list[str]) -> Iterator[Mapped]:
        for found in self.client.file_lists(ids):
            if isinstance(found.error, NoSuchTorrent):
                self._gone.add(found.torrent_id)  # removed since the inventory was read
                self._step()
            elif found.error is not None:
                self._not_read(found, found.error)
            elif (torrent := self._torrent(found.torrent_id)) is not None:
                yield self._map(torrent, found.files)

    def _torrent(self, torrent_id: str) -> Torrent | None:
        try:
            return self.inventory.torrent(torrent_id)
        except SeedError as why:
            self._not_read(FileList(torrent_id), why)
            return None

    def _map(self, torrent: Torrent, files: Iterable[TorrentFile]) -> Mapped:
        listed = tuple(files)
        try:
            return map_torrent(torrent, listed, self.path_map)
        except identity.UnsafeName as why:
            save_path = self.path_map.to_ours(torrent.save_path)
            return Mapped(torrent, save_path, "", (), refused=why.brief)

    def _not_read(self, found: FileList, why: SeedError) -> None:
        words = f"{why.brief}: {why.detail}" if why.detail else why.brief
        self.unread.append(Unread(self.options.client, found.torrent_id, words))
        known = self.known.get(found.torrent_id)
        if known is not None:
            # It stays where it was known to be, which is the safe side for its group.
            self.places.catalog.inventory.doubt(known.instance_id, f"{NOT_READ} {why.brief}")
        self._step()

    # -- writing

    def _write(self, items: Iterator[Mapped]) -> None:
        some = AT_ONCE
        while some == AT_ONCE:
            some = 0
            with transaction(self.places.catalog.db):
                while some < AT_ONCE and (few := [*map(Sighted.of, islice(items, TOGETHER))]):
                    self._record(few)
                    some += len(few)

    def _record(self, few: Sequence[Sighted]) -> None:
        outcomes = record_all(
            few,
            self.places,
            self._fresh,
            client=self.options.client,
            prints=self.inventory.prints(),
            folders=self._folders,
        )
        for outcome in outcomes:
            self.outcomes[outcome.torrent_id] = outcome
            self._step()

    def _step(self) -> None:
        self._done += 1
        self.progress(self._done, self._total)

    def _forget(self, *, whole: bool) -> int:
        """Torrents that are gone from the client; none when some row named no torrent.

        Only a sync that took in all the others is noted as one: by it files are called orphans.
        """
        gone = set(self.known) - set(self.inventory.prints())
        if self.inventory.unread:
            gone = set()
        gone |= self._gone & self.known.keys()
        payloads = self.places.catalog.payloads
        with transaction(self.places.catalog.db):
            payloads.forget_instances([key_of(t, self.options.client) for t in gone])
            payloads.forget_unused()
            if whole:
                self.places.catalog.inventory.synced(self.options.client)
        return len(gone)

    def _upgrade(self, scope: set[str]) -> HashedMembers:
        inventory = self.places.catalog.inventory
        lacking = {
            Path(save_path) / name
            for torrent_id, (save_path, names) in inventory.without_hash(
                self.options.client
            ).items()
            if torrent_id in scope
            for name in names
        }
        hashed = hash_missing(self.places, sorted(lacking))
        self.known = inventory.known(self.options.client)
        overtaken = inventory.overtaken()
        now = {t for t, known in self.known.items() if known.instance_id in overtaken}
        self._total += len(now & scope)
        self._look(now & scope)
        with transaction(self.places.catalog.db):
            self.places.catalog.payloads.forget_unused()
        return hashed

    # -- telling

    def _result(
        self, scope: set[str], unchanged: int, forgotten: int, left_over: int, hashed: HashedMembers
    ) -> SyncResult:
        inventory, known = self.places.catalog.inventory, self.known
        written = {torrent_id: o.payload_hash for torrent_id, o in self.outcomes.items()}
        needs_scan = inventory.without_hash(self.options.client)
        with_problem = {torrent_id for torrent_id, one in known.items() if one.problem is not None}
        for torrent_id in sorted((scope & with_problem) - self.outcomes.keys() - self._gone):
            problem = known[torrent_id].problem
            save_path, names = needs_scan.get(torrent_id, ("", ()))
            instance = self.places.catalog.payloads.instance(
                key_of(torrent_id, self.options.client)
            )
            assert instance is not None
            self.outcomes[torrent_id] = Outcome(
                torrent_id,
                instance.name,
                instance.payload_id,
                None,
                problem,
                tuple(Path(save_path) / name for name in names),
                self.options.client,
            )
        return SyncResult(
            torrents=len(scope),
            mapped=sum(
                written[t] is not None if t in written else t in known and known[t].has_hash
                for t in scope - self._gone
            ),
            unchanged=unchanged,
            outcomes=tuple(self.outcomes[torrent_id] for torrent_id in sorted(self.outcomes)),
            forgotten=forgotten,
            left_over=left_over,
            unread=tuple(self.unread),
            hashed=hashed,
        )


def _ends_unseen(problem: str) -> bool:
    return problem.startswith(_LOOKED_AT_EACH_TIME)


def needing_scan(outcomes: Iterable[Outcome]) -> tuple[Path, ...]:
    """Directories whose scan would give the missing hashes, sorted."""
    return tuple(sorted({path.parent for outcome in outcomes for path in outcome.needs_scan}))
