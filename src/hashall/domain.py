"""A seeding root with all that is mounted below it.

The one on stash is the seeding domain: hardlinks in it are siblings and hold nothing there.
Compared by filesystem and inner path, so that a bind mount, a symlink or the path of a container
cannot make an inside path look like an outside one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from hashall.catalog.scans import is_at_or_below
from hashall.model import Place
from hashall.places import Places, Spot
from seedkeep.errors import Misused, SeedError


@dataclass
class Domain:
    places: Places
    root: Path

    @cached_property
    def _parts(self) -> tuple[tuple[Place, PurePosixPath], ...]:
        """The root, and what is mounted below it: each with its path below the root."""
        root = find_root(self.places, self.root)
        parts = [(root.place, PurePosixPath())]
        for mount in self.places.mounts.mounts:
            point = Path(mount.mount_point)
            if root.abspath in point.parents:
                place = self.places.find(point).place
                parts.append((place, PurePosixPath(point.relative_to(root.abspath))))
        return tuple(parts)

    def tops(self) -> tuple[tuple[Path, Place], ...]:
        """The root itself, then the mount points below it, with the places that they show."""
        return tuple((self.root / way, place) for place, way in self._parts)

    def below(self, place: Place) -> PurePosixPath | None:
        """The path below the domain's root; None for a place outside."""
        for top, way in self._parts:
            if top.device_id == place.device_id and is_at_or_below(place.relpath, top.relpath):
                return way / PurePosixPath(place.relpath).relative_to(top.relpath or ".")
        return None

    def holds(self, place: Place) -> bool:
        """Whether `below` has a path for it."""
        return any(
            top.device_id == place.device_id and is_at_or_below(place.relpath, top.relpath)
            for top, _ in self._parts
        )

    def way_to(self, path: Path) -> PurePosixPath | None:
        """The path below the root of something that need not exist; None when it is outside."""
        try:
            return self.below(self.places.find_missing(path).place)
        except (OSError, SeedError):
            return None


def find_root(places: Places, path: Path) -> Spot:
    """Raises `Misused` for a configured root that is not there."""
    try:
        return places.find(path)
    except OSError as why:
        raise Misused(
            f"{path} is named as a root and cannot be read",
            detail=str(why.strerror),
            hint="is its disk mounted? else correct the roots in rehome's configuration",
        ) from why
