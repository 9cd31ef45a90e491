"""Catalog paths as a person can use them, many at a time."""

from __future__ import annotations

from dataclasses import dataclass, field

from hashall.catalog.scans import is_at_or_below
from hashall.model import Device, RelPath
from hashall.places import Places
from hashall.relpath import join


@dataclass
class ShownPaths:
    """Asks the mounts once for each scanned root, where `Places.shown` asks for each path.

    Good for reading and for opening with a check of device and inode: a mount below a root may
    hide what this names.
    """

    places: Places
    _known: dict[int, tuple[Device, list[tuple[RelPath, str | None]]]] = field(default_factory=dict)

    def learn(self, device_id: int) -> None:
        """Read all that is needed from the catalog, which is not asked about this device again."""
        device = self.places.catalog.devices.get(device_id)
        self._known[device_id] = device, self._roots_of(device)

    def folder(self, device_id: int, path: RelPath) -> str:
        """What stands before a name in this directory; a place in words when no mount shows it."""
        found = self._abspath(device_id, path)
        if found is not None:
            return found
        return f"(device {device_id}, not mounted) {path}{'/' if path else ''}"

    def abspath(self, device_id: int, path: RelPath) -> str | None:
        """None when no mount shows it."""
        found = self._abspath(device_id, path)
        return None if found is None else found.rstrip("/") or "/"

    def in_words(self, device_id: int, path: RelPath) -> str:
        found = self.abspath(device_id, path)
        return f"(device {device_id}, not mounted) {path}" if found is None else found

    def _abspath(self, device_id: int, folder: RelPath) -> str | None:
        """With a slash at the end."""
        if device_id not in self._known:
            self.learn(device_id)
        device, roots = self._known[device_id]
        for root, shown in roots:
            if shown is not None and is_at_or_below(folder, root):
                rest = folder[len(root) :].strip("/")
                return join(shown.rstrip("/"), rest) + "/" if rest else shown.rstrip("/") + "/"
        found = self.places.abspath_on(device, folder)
        return None if found is None else f"{str(found).rstrip('/')}/"

    def _roots_of(self, device: Device) -> list[tuple[RelPath, str | None]]:
        """Scanned places of a device, the deepest first, as they show now."""
        found = []
        for device_id, root, _, _ in self.places.catalog.scans.roots():
            if device_id == device.device_id:
                path = self.places.abspath_on(device, root)
                found.append((root, None if path is None else str(path)))
        return sorted(found, key=lambda pair: (-len(pair[0]), pair[0]))
