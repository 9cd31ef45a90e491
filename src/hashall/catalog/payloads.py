"""Payloads and their members; the torrents that seed them come with `TorrentTable`."""

from __future__ import annotations

import itertools
import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from hashall.catalog.torrents import TorrentTable
from hashall.model import Member, Payload, PayloadStatus, RelPath
from seedkeep import clock
from seedkeep.sqlite import Row, from_db, to_db


@dataclass(frozen=True, kw_only=True)
class NewPayload:
    """A payload as it was just built; the catalog gives it its id."""

    payload_hash: str | None
    content_hash: str | None
    media_hash: str | None
    device_id: int
    root_path: RelPath
    members: tuple[Member, ...]

    @property
    def status(self) -> PayloadStatus:
        return PayloadStatus.COMPLETE if self.payload_hash else PayloadStatus.INCOMPLETE


@dataclass(frozen=True)
class PayloadTable(TorrentTable):
    # -- writing

    def put_all(self, news: Sequence[NewPayload], fresh: set[int]) -> list[int]:
        """Store payloads and return the id of each.

        On one device a payload hash stands once: the second torrent that builds it gets the id of
        the first.  An incomplete payload has no identity and is always its own row.

        Args:
            fresh: Ids that the caller wrote before in this transaction, and gets added.  A row
                that is older describes where the payload was, and is written again.
        """
        known = self._ids_of([new.payload_hash for new in news if new.payload_hash is not None])
        row = self.db.one("SELECT coalesce(max(payload_id), 0) + 1 FROM payloads")
        assert row is not None
        unused = itertools.count(int(row[0]))
        ids: list[int] = []
        added: list[tuple[int, NewPayload]] = []
        moved: list[tuple[int, NewPayload]] = []
        for new in news:
            key = (new.device_id, new.payload_hash)
            payload_id = known.get(key)
            if payload_id is None:
                payload_id = next(unused)
                added.append((payload_id, new))
                if new.payload_hash is not None:
                    known[key] = payload_id
            elif payload_id not in fresh:
                moved.append((payload_id, new))
            fresh.add(payload_id)
            ids.append(payload_id)
        self._write(added, moved)
        return ids

    def _ids_of(self, hashes: Sequence[str]) -> dict[tuple[int, str | None], int]:
        """(device, payload hash) → id, on every device."""
        rows = self.db.tuples(
            "SELECT device_id, payload_hash, payload_id FROM payloads"
            " WHERE payload_hash IN (SELECT value FROM json_each(?))",
            (json.dumps(hashes),),
        )
        return {(row[0], row[1]): row[2] for row in rows}

    def _write(
        self, added: Sequence[tuple[int, NewPayload]], moved: Sequence[tuple[int, NewPayload]]
    ) -> None:
        now = clock.iso(clock.now())
        self.db.executemany(
            """
            INSERT INTO payloads (payload_id, payload_hash, content_hash, media_hash, device_id,
                                  root_path, file_count, total_bytes, status, last_built_at)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
            """,
            [
                (
                    *(payload_id, new.payload_hash, new.content_hash, new.media_hash),
                    *(new.device_id, to_db(new.root_path), len(new.members)),
                    *(sum([member.size for member in new.members]), new.status.value, now),
                )
                for payload_id, new in added
            ],
        )
        self.db.executemany(
            "UPDATE payloads SET root_path = ?, last_built_at = ? WHERE payload_id = ?",
            [(to_db(new.root_path), now, payload_id) for payload_id, new in moved],
        )
        self.db.executemany(
            "DELETE FROM payload_members WHERE payload_id = ?",
            [(payload_id,) for payload_id, _ in moved],
        )
        self.db.executemany(
            "INSERT INTO payload_members VALUES (?, ?, ?, ?, ?, ?)",
            [
                (payload_id, to_db(m.relpath), m.size, m.sha256, m.inode, to_db(m.path))
                for payload_id, new in itertools.chain(added, moved)
                for m in new.members
            ],
        )

    def put_extras(
        self, words: Collection[str], media_hashes: Iterable[tuple[int, str | None]]
    ) -> None:
        """Other files are extras from now on: (payload, the hash without them) of all payloads."""
        self.db.execute("DELETE FROM payload_extras")
        self.db.executemany("INSERT INTO payload_extras VALUES (?)", [(word,) for word in words])
        self.db.executemany(
            "UPDATE payloads SET media_hash = ? WHERE payload_id = ?",
            [(media_hash, payload_id) for payload_id, media_hash in media_hashes],
        )
        self.__dict__.pop("extras", None)

    def forget_unused(self) -> None:
        """Payloads that no torrent seeds any more."""
        self.db.execute("""
            DELETE FROM payloads WHERE payload_id NOT IN (
                SELECT payload_id FROM torrent_instances WHERE payload_id IS NOT NULL)
        """)

    # -- reading

    @cached_property
    def extras(self) -> frozenset[str]:
        """What does not count for media hashes; see `payload.is_extra`."""
        return frozenset(row[0] for row in self.db.tuples("SELECT word FROM payload_extras"))

    def find(self, device_id: int, payload_hash: str) -> Payload | None:
        row = self.db.one(
            "SELECT * FROM payloads WHERE device_id = ? AND payload_hash = ?",
            (device_id, payload_hash),
        )
        return self._payload(row) if row else None

    def with_hash(self, payload_hash: str) -> list[Payload]:
        """The same payload on every device that has it."""
        rows = self.db.all(
            "SELECT * FROM payloads WHERE payload_hash = ? ORDER BY device_id", (payload_hash,)
        )
        return [self._payload(row) for row in rows]

    def manifests(self) -> Iterator[tuple[int, list[Member]]]:
        """Every payload with its members, by id."""
        rows = self.db.tuples(
            "SELECT payload_id, relpath, size, sha256, inode, path FROM payload_members"
        )
        payload_id, members = 0, list[Member]()
        for found, relpath, size, sha256, inode, path in rows:
            if found != payload_id and members:
                yield payload_id, members
                members = []
            payload_id = found
            members.append(Member(from_db(relpath), size, sha256, inode, from_db(path)))
        if members:
            yield payload_id, members

    def get(self, payload_id: int) -> Payload:
        row = self.db.one("SELECT * FROM payloads WHERE payload_id = ?", (payload_id,))
        if row is None:
            raise KeyError(payload_id)
        return self._payload(row)

    def all(self) -> list[Payload]:
        rows = self.db.all("SELECT * FROM payloads ORDER BY device_id, root_path, payload_id")
        return [self._payload(row, members=False) for row in rows]

    def _payload(self, row: Row, *, members: bool = True) -> Payload:
        return Payload(
            payload_id=row["payload_id"],
            device_id=row["device_id"],
            root_path=from_db(row["root_path"]),
            payload_hash=row["payload_hash"],
            content_hash=row["content_hash"],
            media_hash=row["media_hash"],
            status=PayloadStatus(row["status"]),
            file_count=row["file_count"],
            total_bytes=row["total_bytes"],
            members=self._members(row["payload_id"]) if members else (),
        )

    def _members(self, payload_id: int) -> tuple[Member, ...]:
        rows = self.db.all(
            "SELECT * FROM payload_members WHERE payload_id = ? ORDER BY CAST(relpath AS BLOB)",
            (payload_id,),
        )
        return tuple(
            Member(
                relpath=from_db(row["relpath"]),
                size=row["size"],
                sha256=row["sha256"],
                inode=row["inode"],
                path=from_db(row["path"]),
            )
            for row in rows
        )
