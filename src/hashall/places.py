"""From a path that a person or the client says to a place in the catalog, and back."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from hashall.catalog import Catalog
from hashall.model import Device, Place, RelPath
from hashall.pathing import Located, MountTable
from seedkeep.errors import Misused, Partial


@dataclass(frozen=True)
class Spot:
    """A path together with the device and the place that it means."""

    device: Device
    located: Located

    @property
    def place(self) -> Place:
        return Place(self.device.device_id, self.located.relpath)

    @property
    def abspath(self) -> Path:
        return Path(self.located.abspath)


@dataclass(frozen=True)
class Missed:
    """A filesystem that is not mounted where it was."""

    device: Device
    was_at: str
    is_at: tuple[str, ...]  # mount points; empty: it is not mounted at all


@dataclass
class Places:
    """Catalog and mounts, read together; holds one look at the mounts."""

    catalog: Catalog
    mounts: MountTable
    _devices: dict[str, Device] = field(default_factory=dict)
    _sighted: set[tuple[str, int, str]] = field(default_factory=set)

    def find(self, path: Path) -> Spot:
        """Locate an existing path; its filesystem enters the catalog when it is new there.

        Raises:
            OSError: The path is not there or may not be read.
            UnknownFilesystem: Its mount cannot be made sense of.
        """
        return self._spot(self.mounts.locate(path))

    def known(self, path: Path) -> Spot:
        """Locate an existing path on a filesystem that was scanned; writes nothing.

        Raises:
            OSError: The path is not there or may not be read.
            Misused: The catalog does not know its filesystem.
            UnknownFilesystem: Its mount cannot be made sense of.
        """
        located = self.mounts.locate(path)
        device = self.catalog.devices.by_key(located.identity.fs_key)
        if device is None:
            raise Misused(
                f"the catalog does not know the filesystem of {path}",
                detail=located.identity.fs_key,
                hint=f"hashall scan {path if path.is_dir() else path.parent}",
            )
        return Spot(device, located)

    def named(self, path: Path) -> Spot:
        """`known` for what a person named, who may be mistaken.

        Raises:
            Misused: It is not there, or the catalog does not know its filesystem.
            Partial: It cannot be looked at.
        """
        try:
            return self.known(path)
        except (FileNotFoundError, NotADirectoryError) as why:
            missed = self.missed_at(path.absolute())
            hint = "check the path"
            if missed is not None:
                device = missed.device.alias or missed.device.device_id
                hint = f"mount device {device}, which was at {missed.was_at}"
            raise Misused(f"cannot look at {path}", detail=str(why.strerror), hint=hint) from why
        except OSError as why:
            raise Partial(f"cannot look at {path}", detail=why.strerror or str(why)) from why

    def find_missing(self, path: Path) -> Spot:
        """The same for a path that need not exist yet."""
        return self._spot(self.mounts.locate_missing(path))

    def abspath(self, place: Place) -> Path | None:
        """A path that shows this place here and now; None when no mount does."""
        return self.abspath_on(self.catalog.devices.get(place.device_id), place.relpath)

    def abspath_on(self, device: Device, path: RelPath) -> Path | None:
        """The same, without a look at the catalog."""
        found = self.mounts.to_abspath(device.fs_key, path, preferred=device.preferred_mount_point)
        return None if found is None else Path(found)

    def mount_points_of(self, fs_key: str) -> tuple[str, ...]:
        """Mount points that show this filesystem here and now, sorted."""
        return self.mounts.mount_points_of(fs_key)

    def missed_at(self, path: Path) -> Missed | None:
        """What was last seen mounted at `path` or above it, where nothing is mounted now."""
        devices = self.catalog.devices
        now = {mount.mount_point for mount in self.mounts.mounts}
        for folder in map(str, (path, *path.parents)):
            if folder in now:
                return None
            device = devices.last_mounted_at(folder)
            if device is not None and folder in devices.mount_points(device.device_id)[:1]:
                return Missed(device, folder, self._shown_at(device))
        return None

    def _shown_at(self, device: Device) -> tuple[str, ...]:
        points = self.mount_points_of(device.fs_key)
        if points:
            return points
        top = self.abspath_on(device, "")  # a subvolume below the mount point of another
        return () if top is None else (str(top),)

    def silence_of(self, device: Device) -> str:
        """Why a filesystem cannot be told that is mounted all the same; "" where that is not so.

        Some answer every question with an error when their disk is gone, also the one for an id.
        """
        for point in self.catalog.devices.mount_points(device.device_id)[:1]:
            here = [mount for mount in self.mounts.mounts if mount.mount_point == point]
            if not here or here[-1].fs_type != device.fs_type:
                continue
            try:
                os.stat(point)
            except PermissionError:
                continue
            except OSError as why:
                return why.strerror or str(why)
        return ""

    def shown(self, device_id: int, path: RelPath) -> str:
        """A place in words: its absolute path, or device and path when no mount shows it."""
        found = self.abspath(Place(device_id, path))
        return str(found) if found else not_mounted(device_id, path)

    def _spot(self, located: Located) -> Spot:
        identity = located.identity
        device = self._devices.get(identity.fs_key)
        if device is None:
            device = self.catalog.devices.register(
                identity.fs_key, identity.fs_type, stable=identity.stable
            )
            self._devices[identity.fs_key] = device
        sighting = (identity.fs_key, located.st_dev, located.mount_point)
        if sighting not in self._sighted:
            self.catalog.devices.sighted(device.device_id, *sighting[1:])
            self._sighted.add(sighting)
        return Spot(device, located)


def not_mounted(device_id: int, path: RelPath) -> str:
    """A place that no mount shows, in words."""
    return f"{path} on device {device_id} (not mounted)"
