"""A disk that says what a test wants."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qbt_rules.disk import Deed, NoDisk
from qbt_rules.language.values import Unknown, Value
from seedkeep.errors import SeedError


@dataclass
class ToldDisk(NoDisk):
    """A disk that says what a test wants, and remembers what it was told to do."""

    same: bool | None = True
    why_not: str = ""
    deeds: list[Deed] = field(default_factory=list)
    values: dict[str, Value] = field(default_factory=dict)
    asked: list[tuple[str, Any]] = field(default_factory=list)
    error: SeedError | None = None

    @property
    def knows_places(self) -> bool:
        return True

    def value(self, torrent_id: str, name: str, save_path: str) -> Value:
        if self.error:
            raise self.error
        return self.values.get(name, Unknown("not told"))

    def forget(self) -> None:
        self.asked.append(("forget", None))

    def why_not_delete(
        self, torrent_id: str, leaving: Collection[str], *, allow_last_copy: bool
    ) -> str:
        self.asked.append(("delete", (tuple(leaving), allow_last_copy)))
        return self.why_not

    def has_files(self, torrent_id: str) -> bool | None:
        return True

    def same_filesystem(self, one: str, other: str) -> bool | None:
        return self.same

    def demote(
        self,
        ids: Collection[str],
        *,
        retain_s: float | None,
        dry_run: bool,
        cancelled: Callable[[], bool],
    ) -> list[Deed]:
        self.asked.append(("demote", (sorted(ids), retain_s, dry_run)))
        if self.error:
            raise self.error
        return self.deeds

    def promote(
        self, ids: Collection[str], *, dry_run: bool, cancelled: Callable[[], bool]
    ) -> list[Deed]:
        self.asked.append(("promote", (sorted(ids), dry_run)))
        return self.deeds

    def verify(
        self, ids: Collection[str], *, sample: float, cancelled: Callable[[], bool]
    ) -> list[Deed]:
        self.asked.append(("verify", (sorted(ids), sample)))
        return [Deed((torrent_id,), True, "all pieces fit") for torrent_id in ids]

    def scan(self, paths: Collection[Path], *, cancelled: Callable[[], bool]) -> str:
        if self.error:
            raise self.error
        self.asked.append(("scan", [str(path) for path in paths]))
        return "3 files"
