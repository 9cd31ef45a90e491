"""What `App` answers with: values of the catalog joined with what this machine shows now."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hashall.catalog.inventory import ClientState
from hashall.catalog.scans import Coverage
from hashall.model import Device, Payload, TorrentInstance


@dataclass(frozen=True)
class DeviceView:
    device: Device
    mount_points: tuple[str, ...]  # where it shows now
    names: int
    inodes: int
    bytes: int


@dataclass(frozen=True)
class RootView:
    path: str
    device_id: int
    coverage: Coverage


@dataclass(frozen=True)
class StatusView:
    catalog: Path
    devices: tuple[DeviceView, ...]
    roots: tuple[RootView, ...]
    torrents: int
    payloads: int
    incomplete_payloads: int
    torrents_with_problems: int
    clients: tuple[ClientState, ...]  # how old the knowledge of each is
    open_runs: tuple[int, ...]


@dataclass(frozen=True)
class PayloadView:
    payload: Payload
    root: str  # as it shows here
    torrents: tuple[TorrentInstance, ...]


@dataclass(frozen=True)
class TorrentView:
    instance: TorrentInstance
    payload: PayloadView | None
    group: tuple[TorrentInstance, ...]  # everything that moves together with it
    also_on: tuple[PayloadView, ...]  # the same payload on other devices
