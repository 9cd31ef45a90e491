"""A filesystem that a person names, and what he wants the catalog to know about it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hashall.catalog.device_edits import DeviceEdits, Remembered, Sighting
from hashall.devices import link_count_doubt
from hashall.model import Device
from hashall.places import Places
from seedkeep.errors import Misused, Refused
from seedkeep.sqlite import ConstraintFailed


@dataclass(frozen=True)
class DeviceDetails:
    device: Device
    mount_points: tuple[str, ...]  # where it shows now
    sightings: tuple[Sighting, ...]  # the newest first
    link_count_doubt: str | None  # why link counts prove nothing there; None when they do


@dataclass(frozen=True)
class Forgotten:
    device: Device
    remembered: Remembered
    done: bool  # False: only told


def choose(places: Places, text: str) -> Device:
    """The device with this number, alias, key, or with this path on it.

    Raises:
        Misused: The catalog knows no such device.
    """
    devices = places.catalog.devices.all()
    for device in devices:
        if text in (str(device.device_id), device.alias, device.fs_key):
            return device
    if "/" in text:
        try:
            return places.known(Path(text)).device
        except OSError as why:
            raise Misused(f"cannot look at {text}", detail=str(why.strerror)) from why
    raise Misused(
        f"the catalog knows no device {text}",
        detail=f"known: {', '.join(d.alias or str(d.device_id) for d in devices) or 'none'}",
        hint="name its number or alias (`hashall devices list`), or a path on it",
    )


def details(places: Places, device: Device) -> DeviceDetails:
    return DeviceDetails(
        device=device,
        mount_points=places.mount_points_of(device.fs_key),
        sightings=DeviceEdits(places.catalog.db).sightings(device.device_id),
        link_count_doubt=link_count_doubt(device.fs_type),
    )


def give_alias(places: Places, device: Device, alias: str | None) -> Device:
    """Name a device; None takes the name away.

    Raises:
        Misused: Another device has the name, or it could be taken for a number or a path.
    """
    if alias is not None and (
        not alias.strip() or alias.isdecimal() or "/" in alias or not alias.isprintable()
    ):
        raise Misused(
            f"{alias!r} cannot be an alias",
            detail="it may not be empty, a number, or have a slash or control characters in it",
        )
    if alias is not None and any(alias == d.fs_key for d in places.catalog.devices.all()):
        raise Misused(f"{alias} is the key of a device", hint="choose another alias")
    try:
        DeviceEdits(places.catalog.db).set_alias(device.device_id, alias)
    except ConstraintFailed as why:
        raise Misused(
            f"another device has the alias {alias}", hint="see `hashall devices list`"
        ) from why
    return places.catalog.devices.get(device.device_id)


def prefer(places: Places, device: Device, mount_point: str | None) -> Device:
    """Show paths of a device through this mount point; None: through whichever fits.

    Raises:
        Misused: Nothing of the device is mounted there now.
    """
    if mount_point is not None:
        mount_point = mount_point.rstrip("/") or "/"
        mounted = places.mount_points_of(device.fs_key)
        if mount_point not in mounted:
            raise Misused(
                f"{mount_point} is no mount point of {device.fs_key}",
                detail=f"mounted now at: {', '.join(mounted) or 'nowhere'}",
                hint="name one of these, or mount it there first",
            )
    DeviceEdits(places.catalog.db).set_preferred(device.device_id, mount_point)
    return places.catalog.devices.get(device.device_id)


def forget(places: Places, device: Device, *, force: bool) -> Forgotten:
    """Remove what the catalog knows of a device; without `force`, only tell what that is.

    Raises:
        Refused: Something under way needs it.
    """
    edits = DeviceEdits(places.catalog.db)
    remembered = edits.remembered(device.device_id)
    if remembered.unsettled and force:
        raise Refused(
            f"device {device.device_id} cannot be forgotten now",
            detail="\n".join(remembered.unsettled),
            hint="finish or take back what is under way first",
        )
    if force:
        edits.forget(device.device_id)
    return Forgotten(device, remembered, done=force)
