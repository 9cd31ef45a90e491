"""What rules may ask of the disk and have done there; `seed_data.py` answers, from the catalog.

Rules work without a catalog, too: then every question is unknown and every deed refused.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from qbt_rules.language.values import Unknown, Value

NO_CATALOG = "there is no catalog; make one with hashall scan and hashall payload sync"


@dataclass(frozen=True)
class Deed:
    """What came of an action on the disk, for a group of torrents or for one."""

    torrents: tuple[str, ...]  # ids that it is about
    done: bool  # False: blocked, and nothing was changed
    text: str  # for people: what happened, or every reason against it
    run_id: int | None = None  # of rehome, to look it up
    was_there: bool = False  # there was nothing to do
    failed: bool = False  # it was begun and did not end well; the run is there to be looked at


class Disk(Protocol):
    """Every method may raise `SeedError`; a question that cannot be answered is `Unknown`."""

    @property
    def knows_places(self) -> bool:
        """False: nobody has said what stash and pool are, so there is no border to guard."""
        ...

    def close(self) -> None: ...

    def value(self, torrent_id: str, name: str, save_path: str) -> Value:
        """A field of the families payload, links and space."""
        ...

    def forget(self) -> None:
        """Something changed: what was read is not to be used again."""
        ...

    def why_not_delete(
        self, torrent_id: str, leaving: Collection[str], *, allow_last_copy: bool
    ) -> str:
        """Why the files of a torrent must not go; "" when they may.

        `leaving` are the torrents whose files go in the same run.
        """
        ...

    def needed_by_other(self, torrent_id: str) -> str:
        """Another torrent that has a file at the same path; "" when none is known."""
        ...

    def has_files(self, torrent_id: str) -> bool | None:
        """Whether anything of it lies on the disk; None when we may not see where that would be."""
        ...

    def same_filesystem(self, one: str, other: str) -> bool | None:
        """Of two paths as the client names them; None when that is not known."""
        ...

    def demote(
        self,
        ids: Collection[str],
        *,
        retain_s: float | None,
        dry_run: bool,
        cancelled: Callable[[], bool],
    ) -> list[Deed]:
        """Move the groups of these torrents to the pool, each group once."""
        ...

    def promote(
        self, ids: Collection[str], *, dry_run: bool, cancelled: Callable[[], bool]
    ) -> list[Deed]: ...

    def verify(
        self, ids: Collection[str], *, sample: float, cancelled: Callable[[], bool]
    ) -> list[Deed]:
        """Check the files of each torrent against its own hashes."""
        ...

    def scan(self, paths: Collection[Path], *, cancelled: Callable[[], bool]) -> str:
        """Scan folders into the catalog; what came of it, for people."""
        ...

    def interrupted(self) -> tuple[int, ...]:
        """Relocations that rules began and that are not at their end: runs of rehome."""
        ...

    def finish_interrupted(self, cancelled: Callable[[], bool]) -> list[Deed]:
        """Bring them to their end, those that are not alive; `failed` is what stays open."""
        ...


@dataclass
class NoDisk:
    """A `Disk` where nothing is known."""

    why: str = field(default=NO_CATALOG)

    @property
    def knows_places(self) -> bool:
        return False

    def close(self) -> None:
        return

    def value(self, torrent_id: str, name: str, save_path: str) -> Value:  # noqa: ARG002
        return Unknown(self.why)

    def forget(self) -> None:
        return

    def why_not_delete(
        self,
        torrent_id: str,  # noqa: ARG002
        leaving: Collection[str],  # noqa: ARG002
        *,
        allow_last_copy: bool,  # noqa: ARG002
    ) -> str:
        # Even where the last copy may go: which other torrent needs these files is not known.
        return f"no file may go: {self.why}"

    def needed_by_other(self, torrent_id: str) -> str:  # noqa: ARG002
        return ""

    def has_files(self, torrent_id: str) -> bool | None:  # noqa: ARG002
        return None

    def same_filesystem(self, one: str, other: str) -> bool | None:  # noqa: ARG002
        return None

    def demote(
        self,
        ids: Collection[str],
        *,
        retain_s: float | None,  # noqa: ARG002
        dry_run: bool,  # noqa: ARG002
        cancelled: Callable[[], bool],  # noqa: ARG002
    ) -> list[Deed]:
        return self._refused(ids)

    def promote(
        self,
        ids: Collection[str],
        *,
        dry_run: bool,  # noqa: ARG002
        cancelled: Callable[[], bool],  # noqa: ARG002
    ) -> list[Deed]:
        return self._refused(ids)

    def verify(
        self,
        ids: Collection[str],
        *,
        sample: float,  # noqa: ARG002
        cancelled: Callable[[], bool],  # noqa: ARG002
    ) -> list[Deed]:
        return self._refused(ids)

    def scan(self, paths: Collection[Path], *, cancelled: Callable[[], bool]) -> str:  # noqa: ARG002
        return f"not scanned: {self.why}"

    def interrupted(self) -> tuple[int, ...]:
        return ()

    def finish_interrupted(self, cancelled: Callable[[], bool]) -> list[Deed]:  # noqa: ARG002
        return []

    def _refused(self, ids: Collection[str]) -> list[Deed]:
        return [Deed((torrent_id,), False, self.why) for torrent_id in ids]
