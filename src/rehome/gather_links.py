"""All names of a group's inodes: proved, or not, and which of them hold bytes elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from hashall import links
from hashall.catalog import FileTable
from hashall.devices import link_counts_are_true
from hashall.hashing import FileStamp
from hashall.model import LinkProof, LinkVerdict, TorrentFileOnDisk
from hashall.places import not_mounted
from hashall.qbittorrent import stamp_at
from rehome.facts import LinkFact
from rehome.gather_roots import Roots
from rehome.look import Look

Stamps = Mapping[tuple[int, str], FileStamp | None]  # of the group's files, by device and path


@dataclass
class Links:
    look: Look
    roots: Roots
    _devices: dict[int, tuple[FileTable, bool]] = field(default_factory=dict)

    def of(self, files: Iterable[TorrentFileOnDisk], stamps: Stamps) -> tuple[LinkFact, ...]:
        """One fact for each inode of a group, sorted by device and inode."""
        inodes: dict[tuple[int, int], TorrentFileOnDisk] = {}
        for file in files:
            if file.inode is not None:
                inodes.setdefault((file.device_id, file.inode), file)
        return tuple([self._link(*key, inodes[key], stamps) for key in sorted(inodes)])

    def _link(
        self, device_id: int, inode: int, file: TorrentFileOnDisk, stamps: Stamps
    ) -> LinkFact:
        seen = stamps[device_id, file.path]
        table, counts_are_true = self._device(device_id)
        nlink = seen.nlink if seen and seen.inode == inode else None
        proof = links.prove(table, inode, nlink, counts_are_true=counts_are_true)
        known = proof.known
        paths = self.look.places.texts_of(device_id, known)
        shown = zip(paths, known, strict=True)
        names = tuple([path or not_mounted(device_id, relpath) for path, relpath in shown])
        outside = [
            name
            for name, relpath in zip(names, known, strict=True)
            if self.roots.is_outside(device_id, relpath)
        ]
        return LinkFact(
            inode,
            file.size,
            self._seen_again(device_id, proof, paths, stamps),
            proof.nlink,
            names,
            tuple(outside),
        )

    def _device(self, device_id: int) -> tuple[FileTable, bool]:
        """Its files, and whether its link counts are true."""
        if device_id not in self._devices:
            catalog = self.look.catalog
            true = link_counts_are_true(catalog.devices.get(device_id).fs_type)
            self._devices[device_id] = (catalog.files(device_id), true)
        return self._devices[device_id]

    def _seen_again(
        self, device_id: int, proof: LinkProof, paths: Sequence[str | None], stamps: Stamps
    ) -> LinkVerdict:
        """Equal numbers prove nothing when a name went away and another one came."""
        if proof.verdict is not LinkVerdict.PROVED:
            return proof.verdict
        for relpath, path in zip(proof.known, paths, strict=True):
            key = (device_id, relpath)
            stamp = stamps[key] if key in stamps else path and stamp_at(path)
            if not stamp or stamp.inode != proof.inode:
                return LinkVerdict.UNACCOUNTED
        return LinkVerdict.PROVED
