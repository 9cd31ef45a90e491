"""What the commands of hashall do, as values; no text for people in here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from hashall.catalog import Catalog, open_catalog
from hashall.model import MAIN_CLIENT, Device, Member, Payload, TorrentInstance, shown_inode
from hashall.pathing import MountTable
from hashall.places import Places
from seedkeep import settings_table as table
from seedkeep.errors import Misused
from seedkeep.settings import Settings

if TYPE_CHECKING:
    from hashall.scan import Progress, ScanOptions, ScanSummary
    from hashall.views import DeviceView, PayloadView, StatusView, TorrentView
    from seedkeep.torrent_client import TorrentClient


@dataclass
class App:
    settings: Settings

    @property
    def catalog_path(self) -> Path:
        return self.settings.get(table.CATALOG_PATH)

    @cached_property
    def catalog(self) -> Catalog:
        return open_catalog(self.catalog_path, create=False)

    @cached_property
    def places(self) -> Places:
        return Places(self.catalog, MountTable.read())

    def client(self) -> TorrentClient:
        from seedkeep.qbittorrent import connect

        return connect(
            self.settings.get(table.QBIT_HOST),
            self.settings.get(table.QBIT_USERNAME),
            self.settings.get(table.QBIT_PASSWORD),
            timeout_s=self.settings.get(table.QBIT_TIMEOUT).total_seconds(),
        )

    def close(self) -> None:
        if "catalog" in self.__dict__:
            self.catalog.db.close()

    def scan(
        self,
        roots: Sequence[Path],
        options: ScanOptions,
        progress: Progress,
        wait: Callable[[str], None] | None = None,
    ) -> ScanSummary:
        """`wait`: another holder of the catalog is waited for; it is told who that is."""
        from hashall.lock import exclusive
        from hashall.scan import check_roots, scan

        check_roots(roots)  # or a mistyped path would leave an empty catalog behind
        self.catalog_path.parent.mkdir(parents=True, exist_ok=True)
        doing = f"hashall scan {' '.join(map(str, roots))}"
        with exclusive(self.catalog_path, doing, wait=wait):
            self.__dict__["catalog"] = open_catalog(self.catalog_path, create=True)
            return scan(self.places, roots, options, progress)

    def torrent(self, text: str) -> TorrentView:
        """Everything known of one torrent.  Raises `Misused`, `NoSuchTorrent`."""
        from hashall.views import TorrentView
        from seedkeep.torrent_client import NoSuchTorrent

        payloads = self.catalog.payloads
        by_key = {instance.key: instance for instance in payloads.instances()}
        if not by_key:
            raise Misused("the catalog knows no torrents", hint="run `hashall payload sync` first")
        try:
            instance = _resolve(by_key.values(), text)
        except NoSuchTorrent as why:
            raise NoSuchTorrent(
                f"the catalog knows no torrent with the hash {text}",
                hint="run `hashall payload sync` if it is new in qBittorrent, else check the hash",
            ) from why
        payload = None if instance.payload_id is None else payloads.get(instance.payload_id)
        others = (
            payloads.with_hash(payload.payload_hash) if payload and payload.payload_hash else []
        )
        return TorrentView(
            instance=instance,
            payload=self._payload_view(payload) if payload else None,
            group=tuple(by_key[key] for key in payloads.group_of(instance.key)),
            also_on=tuple(
                self._payload_view(other)
                for other in others
                if payload and other.device_id != payload.device_id
            ),
        )

    def payloads(self) -> list[PayloadView]:
        return [self._payload_view(payload) for payload in self.catalog.payloads.all()]

    def devices(self) -> tuple[DeviceView, ...]:
        return tuple(self._device_view(device) for device in self.catalog.devices.all())

    def status(self) -> StatusView:
        from hashall.views import RootView, StatusView

        catalog = self.catalog
        payloads, instances = catalog.payloads.all(), catalog.payloads.instances()
        return StatusView(
            catalog=self.catalog_path,
            devices=self.devices(),
            roots=tuple(
                RootView(
                    self.places.shown(device_id, path),
                    device_id,
                    catalog.scans.coverage(device_id, path),
                )
                for device_id, path, _, _ in catalog.scans.roots()
            ),
            torrents=len(instances),
            payloads=len(payloads),
            incomplete_payloads=sum(payload.payload_hash is None for payload in payloads),
            torrents_with_problems=sum(instance.problem is not None for instance in instances),
            clients=catalog.inventory.clients(),
            open_runs=tuple(r.run_id for r in catalog.runs.all() if r.status.value == "open"),
        )

    def _payload_view(self, payload: Payload) -> PayloadView:
        from hashall.views import PayloadView

        return PayloadView(
            replace(payload, members=tuple(map(_shown, payload.members))),
            self.places.shown(payload.device_id, payload.root_path),
            tuple(self.catalog.payloads.instances_of(payload.payload_id)),
        )

    def _device_view(self, device: Device) -> DeviceView:
        from hashall.views import DeviceView

        names, inodes, size = self.catalog.files(device.device_id).totals()
        mounted = self.places.mount_points_of(device.fs_key)
        return DeviceView(device, mounted, names, inodes, size)


def _shown(member: Member) -> Member:
    """With the inode's number as stat(1) shows it."""
    return member if member.inode is None else replace(member, inode=shown_inode(member.inode))


def _resolve(instances: Iterable[TorrentInstance], text: str) -> TorrentInstance:
    """`hash` or `hash@client`; without a client the main one's, if it has it too."""
    from seedkeep.torrent_client import resolve

    wanted, _, client = text.partition("@")
    chosen = [instance for instance in instances if client in ("", instance.client)]
    fits = {instance.torrent_id for instance in chosen}
    of_main = {i.torrent_id for i in chosen if i.client == MAIN_CLIENT}
    return resolve(
        [i for i in chosen if i.client == MAIN_CLIENT or i.torrent_id in fits - of_main], wanted
    )
