"""Seeding roots, libraries with their symlinks, and whether scans cover them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath

from hashall.catalog.scans import MOST_AHEAD, is_at_or_below
from hashall.model import Place
from rehome.config import Layout
from rehome.domain import Domain, find_root
from rehome.look import Look
from rehome.model import Direction
from seedkeep import clock
from seedkeep.errors import SeedError
from seedkeep.units import format_duration

# Why a root counts as not scanned, with the paths for each reason: the root, or gaps in it.
Lacks = Mapping[str, Sequence[str]]


@dataclass
class Roots:
    look: Look
    direction: Direction
    _uncovered: dict[tuple[int, ...], tuple[tuple[str, str], ...]] = field(default_factory=dict)
    _outside: dict[tuple[int, str], bool] = field(default_factory=dict)  # of directories
    _ways: dict[Path, PurePosixPath | None] = field(default_factory=dict)  # of save paths
    _arrived: dict[Path, bool] = field(default_factory=dict)
    _spelled: dict[Path, Path] = field(default_factory=dict)
    _homes: dict[Path, Place | None] = field(default_factory=dict)

    @property
    def layout(self) -> Layout:
        return self.look.layout

    @cached_property
    def source(self) -> Domain:
        return Domain(self.look.places, self.layout.source_root(self.direction))

    @cached_property
    def target(self) -> Domain:
        return Domain(self.look.places, self.layout.target_root(self.direction))

    def way_from(self, save_path: Path) -> PurePosixPath | None:
        """A save path's way below the source's root; None outside of it."""
        if save_path not in self._ways:
            self._ways[save_path] = self.source.way_to(save_path)
        return self._ways[save_path]

    def is_at_target(self, save_path: Path) -> bool:
        if save_path not in self._arrived:
            self._arrived[save_path] = self.target.way_to(save_path) is not None
        return self._arrived[save_path]

    def home(self, save_path: Path) -> Place | None:
        """Where a save path is; None when it is not there, or on a filesystem of nobody's."""
        if save_path not in self._homes:
            try:
                self._homes[save_path] = self.look.places.find(save_path).place
            except (OSError, SeedError):
                self._homes[save_path] = None
        return self._homes[save_path]

    def spelled(self, path: Path) -> Path:
        """The same path for the same directory, through whichever symlink or bind it was named."""
        if path not in self._spelled:
            self._spelled[path] = self._spell(path)
        return self._spelled[path]

    def _spell(self, path: Path) -> Path:
        try:
            spot = self.look.places.find(path)
        except (OSError, SeedError):
            return path  # not there; the torrent has a problem that says so
        return self.look.places.abspath(spot.place) or spot.abspath

    def is_outside(self, device_id: int, relpath: str) -> bool:
        """Whether a file is not in the source's domain; or in a library, which a bind mount may
        show in there.
        """
        folder = (device_id, relpath.rpartition("/")[0])
        if folder not in self._outside:
            self._outside[folder] = self._is_outside(Place(*folder))
        return self._outside[folder]

    def _is_outside(self, place: Place) -> bool:
        return not self.source.holds(place) or any(
            library.device_id == place.device_id and is_at_or_below(place.relpath, library.relpath)
            for library in self._libraries
        )

    @cached_property
    def _libraries(self) -> tuple[Place, ...]:
        """Library roots, without one that holds the whole seeding domain."""
        home = find_root(self.look.places, self.layout.stash_seeding_root).place
        found = [find_root(self.look.places, root).place for root in self.layout.library_roots]
        return tuple(
            library
            for library in found
            if library.device_id != home.device_id
            or not is_at_or_below(home.relpath, library.relpath)
        )

    # -- scans

    def uncovered(self, devices: tuple[int, ...]) -> tuple[tuple[str, str], ...]:
        """Seeding and library roots on these filesystems that no recent scan covers, and why.

        Of what a scan could not read in a root the first place is named and the others counted:
        every group has this among its facts.
        """
        if devices not in self._uncovered:
            self._uncovered[devices] = tuple(map(_first_of, self.lacks(devices)))
        return self._uncovered[devices]

    def lacks(self, devices: tuple[int, ...]) -> Iterator[Lacks]:
        """The same, for each of these roots with all that is missing in it."""
        oldest = clock.now() - self.layout.max_scan_age
        places, scans = self.look.places, self.look.catalog.scans
        target_root = self.layout.target_root(self.direction)
        target = find_root(places, target_root).place
        for root, place in (*self._all_roots(), (str(target_root), target)):
            # Elsewhere no hardlink of ours can be; but a target that no scan has seen may be the
            # bare folder that it is mounted on.
            if place.device_id not in devices and place != target:
                continue
            coverage = scans.coverage(place.device_id, place.relpath)
            if coverage.completed_at is None:
                yield {"this root was never scanned to its end": [root]}
            elif coverage.completed_at < oldest:
                age = format_duration(self.layout.max_scan_age)
                yield {f"the last scan of this root is older than {age}": [root]}
            elif coverage.completed_at > clock.now() + MOST_AHEAD:
                yield {"the last scan of this root is dated in the future: set the clock": [root]}
            elif coverage.gaps:
                found: dict[str, list[str]] = {}
                for path, reason in coverage.gaps:
                    why = f"the last scan met: {reason}"
                    found.setdefault(why, []).append(places.shown(place.device_id, path))
                yield found

    def _all_roots(self) -> Iterator[tuple[str, Place]]:
        """The source's root and libraries, and what is mounted below each: all may hold our
        hardlinks.
        """
        layout = self.layout
        for root in (layout.source_root(self.direction), *layout.library_roots):
            for path, place in Domain(self.look.places, root).tops():
                yield str(path), place

    # -- symlinks in libraries

    def symlinks_to(self, files: Iterable[Place]) -> tuple[str, ...]:
        """Symlinks in libraries that lead to one of these files, or to a folder above it."""
        return tuple(sorted(self.leading_to(files)))

    def leading_to(self, files: Iterable[Place]) -> dict[str, Place]:
        """The same symlinks, each with the place that it leads to."""
        if not self._symlinks:
            return {}
        found: dict[str, Place] = {}
        for file in files:
            relpath = file.relpath
            while relpath:
                place = Place(file.device_id, relpath)
                found |= dict.fromkeys(self._symlinks.get(place, ()), place)
                relpath = relpath.rpartition("/")[0]
        return found

    @cached_property
    def _symlinks(self) -> Mapping[Place, list[str]]:
        """Where the symlinks of all libraries lead.  Scans pass over them, so this looks itself."""
        found: dict[Place, list[str]] = {}
        seeding = {str(self.layout.stash_seeding_root), str(self.layout.pool_seeding_root)}
        for root in self.layout.library_roots:
            for link in _symlinks_below(str(root), seeding):
                try:
                    place = self.look.places.find(link).place
                except (OSError, SeedError):
                    continue  # it leads to nothing that is there
                way = self.source.below(place)
                if way is not None and way.parts:  # one to all that seeds uses none of it
                    found.setdefault(place, []).append(link)
        return found


def _first_of(lacks: Lacks) -> tuple[str, str]:
    """The first path of a root's lacks, and why it counts as not scanned."""
    why, paths = next(iter(lacks.items()))
    more = sum(map(len, lacks.values())) - 1
    also = f" (`rehome config check` has {more} more in this root)" if more else ""
    return paths[0], f"{why}{also}"


def _symlinks_below(root: str, without: set[str]) -> Iterator[str]:
    """Reads directories only; what cannot be read is a gap of the scan, which blocks already."""
    waiting = [root]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if entry.is_symlink():
                        yield entry.path
                    elif entry.is_dir(follow_symlinks=False) and entry.path not in without:
                        waiting.append(entry.path)
        except OSError:
            continue
