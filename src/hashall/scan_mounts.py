"""Where a scan goes, and what it says of roots and filesystems that it cannot look at."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hashall.mounts import UnknownFilesystem
from seedkeep.errors import Misused, SeedError
from seedkeep.sqlite import transaction

if TYPE_CHECKING:
    from hashall.places import Places, Spot
    from hashall.scan_model import ScanSummary

# Kernel interfaces, not content.
PSEUDO_FILESYSTEMS = frozenset(
    {
        *("proc", "sysfs", "devtmpfs", "devpts", "cgroup", "cgroup2", "securityfs", "debugfs"),
        *("tracefs", "bpf", "pstore", "mqueue", "hugetlbfs", "configfs", "fusectl", "binfmt_misc"),
        *("autofs", "efivarfs", "nsfs", "rpc_pipefs"),
    }
)


def check_roots(roots: Sequence[Path]) -> dict[Path, str]:
    """Which roots cannot be looked at (root → reason); the others can be scanned all the same.

    Raises:
        Misused: None can be scanned, or one is no directory.
    """
    lost: dict[Path, OSError] = {}
    for path in roots:
        try:
            is_directory = stat.S_ISDIR(path.stat().st_mode)
        except OSError as why:
            lost[path] = why
            continue
        if not is_directory:
            raise Misused(
                f"cannot scan {path}", detail="it is no directory", hint="name its directory"
            )
    if len(lost) < len({*roots}):
        return {path: why.strerror or str(why) for path, why in lost.items()}
    (path, first), *others = lost.items()
    also = "".join(f"\n{path}: {why.strerror}" for path, why in others)
    raise Misused(
        f"cannot scan {path}",
        detail=f"{first.strerror}{also}",
        hint="name a directory that exists" if isinstance(first, FileNotFoundError) else "",
    ) from first


@dataclass(frozen=True)
class ScanPlaces:
    """Where a scan goes, and what it has to tell of where it cannot."""

    places: Places
    summary: ScanSummary
    one_file_system: bool

    def of_roots(self, roots: Sequence[Path]) -> Iterator[Spot]:
        for path in roots:
            try:
                spot = self._content(path)
            except (OSError, UnknownFilesystem) as why:
                if len(roots) == 1:
                    raise
                self.summary.unreadable[str(path)] = _brief(why)
            else:
                if spot is not None:
                    yield spot

    def beyond(self, borders: Sequence[str]) -> Iterator[Spot]:
        """What is mounted at `borders`, where it is to be scanned too."""
        if self.one_file_system and borders:
            self.summary.skipped["mounted below (--one-file-system)"] += len(borders)
            return
        for path in sorted(borders):
            try:
                spot = self._content(Path(path))
            except FileNotFoundError:
                continue  # unmounted and removed meanwhile
            except (OSError, SeedError) as why:
                self.summary.unreadable[path] = f"mounted here, and not to be read: {_brief(why)}"
            else:
                if spot is not None:
                    yield spot

    def _content(self, path: Path) -> Spot | None:
        """The place of a path; None, and nothing in the catalog, for an interface of the kernel."""
        if self.places.mounts.locate(path).identity.fs_type in PSEUDO_FILESYSTEMS:
            self.summary.skipped["pseudo filesystem"] += 1
            return None
        with transaction(self.places.catalog.db):
            return self.places.find(path)


def _brief(why: OSError | SeedError) -> str:
    return why.brief if isinstance(why, SeedError) else why.strerror or str(why)


def tell_missed_mounts(places: Places, summary: ScanSummary, lost: Iterable[Path]) -> None:
    """Whoever names the bare folder of a disk means the disk, wherever it is by now.

    Also where it was unmounted during the scan, which then finds nothing left to read.

    Args:
        lost: Roots that could not be looked at.
    """
    places.mounts.refresh()
    for path in [*(Path(root.path) for root in summary.roots), *(path.absolute() for path in lost)]:
        missed = places.missed_at(path)
        if missed is None:
            continue
        device = missed.device.alias or missed.device.device_id
        if missed.is_at:  # what lies here now is no part of it, and was scanned for itself
            moved = (
                f"device {device} was mounted at {missed.was_at} and is at {missed.is_at[0]} now"
            )
            summary.notes[str(path)] = f"{moved}: scan it there"
        else:
            why = f"device {device} was mounted there and is not now"
            summary.unreadable[str(path)] = f"{why}: mount it and scan again"
