"""Files by hash, name or inode; figures; and the whole catalog for other programs."""

from __future__ import annotations

import csv
import fnmatch
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import IO

from hashall.catalog.lookups import Figures, FileRow, Lookups
from hashall.model import Device, shown_inode, stored_inode
from hashall.places import Places
from hashall.shown import ShownPaths
from seedkeep.errors import Misused

SHORTEST_HASH = 6  # hex digits
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class FoundFile:
    """One name of a file."""

    path: str  # absolute
    device_id: int
    inode: int  # as stat(1) shows it
    nlink: int  # as of the last scan
    size: int  # bytes
    sha256: str | None


@dataclass(frozen=True)
class ExportedFile:
    """One name of a file with all that the catalog has of it."""

    path: str | None  # absolute; None when no mount shows it now
    device_id: int
    fs_key: str
    relpath: str  # inside the filesystem
    inode: int  # as stat(1) shows it
    size: int  # bytes
    mtime_ns: int
    ctime_ns: int
    nlink: int
    mode: int
    uid: int
    gid: int
    quick_hash: str | None
    sha256: str | None
    hashed_at: str | None  # UTC, ISO-8601


@dataclass(frozen=True)
class DeviceFigures:
    device: Device
    figures: Figures


def by_hash(places: Places, text: str) -> list[FoundFile]:
    prefix = text.lower()
    if not re.fullmatch(rf"[0-9a-f]{{{SHORTEST_HASH},64}}", prefix):
        raise Misused(
            f"{text} is no SHA-256",
            detail=f"it has 64 hexadecimal digits; the first {SHORTEST_HASH} or more will do",
        )
    return _found(places, lambda lookups: lookups.by_hash(prefix))


def by_name(places: Places, glob: str) -> list[FoundFile]:
    """By the last part of the path, as a shell matches it: `*`, `?`, `[…]`."""
    pattern = re.compile(fnmatch.translate(glob))
    return _found(places, lambda lookups: lookups.by_name(pattern))


def by_inode(places: Places, inode: int) -> list[FoundFile]:
    """By the number that stat(1) shows."""
    return _found(places, lambda lookups: lookups.by_inode(stored_inode(inode)))


def _found(places: Places, ask: Callable[[Lookups], Iterator[FileRow]]) -> list[FoundFile]:
    shown = ShownPaths(places)
    found = [
        FoundFile(
            shown.folder(device.device_id, row.folder) + row.name,
            device.device_id,
            shown_inode(row.inode),
            row.nlink,
            row.size,
            row.sha256,
        )
        for device in places.catalog.devices.all()
        for row in ask(Lookups(places.catalog.db, device.device_id))
    ]
    return sorted(found, key=lambda file: (file.device_id, file.path))


def figures(places: Places) -> list[DeviceFigures]:
    return [
        DeviceFigures(device, Lookups(places.catalog.db, device.device_id).figures())
        for device in places.catalog.devices.all()
    ]


def exported(places: Places) -> Iterator[ExportedFile]:
    """Every active name, device by device."""
    shown = ShownPaths(places)
    for device in places.catalog.devices.all():
        for row in Lookups(places.catalog.db, device.device_id).everything():
            yield ExportedFile(
                shown.abspath(device.device_id, row.path),
                device.device_id,
                device.fs_key,
                row.path,
                shown_inode(row.inode),
                *row[3:],
            )


def write_json(files: Iterator[ExportedFile], out: IO[str]) -> int:
    """One document, written as the rows come.  Returns how many."""
    out.write(f'{{"schema_version": {SCHEMA_VERSION}, "files": [')
    count = 0
    for file in files:
        out.write(",\n" if count else "\n")
        out.write(json.dumps(vars(file)))  # plain values: `asdict` would copy each, for seconds
        count += 1
    out.write("\n]}\n")
    return count


def write_csv(files: Iterator[ExportedFile], out: IO[str]) -> int:
    """A header and one line a name; names that are not UTF-8 as the bytes that they are."""
    names = [field.name for field in fields(ExportedFile)]
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(names)
    count = 0
    for file in files:
        writer.writerow(["" if (v := getattr(file, name)) is None else v for name in names])
        count += 1
    return count
