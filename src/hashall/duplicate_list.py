"""Finding files with equal bytes, and what hardlinks in their place would save.

There are many: what is known of a copy stands in lists, at its place, and no value is made for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from itertools import repeat
from operator import itemgetter
from typing import Any

from hashall.catalog.duplicates import EqualBytes, EqualInodes, numbers
from hashall.devices import link_counts_are_true
from hashall.model import RelPath
from hashall.places import Places
from hashall.shown import ShownPaths

_PLAIN = bytes(range(32, 127))


def list_duplicates(places: Places, *, across: bool = False, min_size: int = 1) -> DuplicateList:
    """Groups of inodes with the same SHA-256, as of the last scan.

    Args:
        across: Groups may span filesystems, where no hardlink can join them.
        min_size: Bytes; 0 takes empty files in.
    """
    table, shown, found = EqualBytes(places.catalog.db), ShownPaths(places), DuplicateList()
    with table.one_look():
        devices = places.catalog.devices.all()
        ids = [device.device_id for device in devices]  # from 1
        countable = frozenset(d.device_id for d in devices if link_counts_are_true(d.fs_type))
        for among in [ids] if across and ids else [[device_id] for device_id in ids]:
            groups = list(table.groups(among, min_size=min_size))
            start = len(found.inodes)
            for device_id, place_of in found.add_inodes(groups, among).items():
                found.add_names(place_of, table.names(device_id), partial(shown.folder, device_id))
                found.add_links(place_of, table.link_counts(device_id))
            found.add_groups(groups, start, countable)
        found.unhashed = sum(table.unhashed(device_id, min_size=min_size) for device_id in ids)
    found.sort(devices=len(ids))
    return found


# (device, -number of names, the name or all of them sorted, place, links whose names no scan has
# seen): in this order, what hardlinks would keep comes first on each device
_Member = tuple[int, int, Any, int, int]

# (bytes beyond one copy, SHA-256, bytes of one, bytes that hardlinks inside each filesystem would
# free, first place, place behind the last, members in order, whether any has names unseen); no
# members where all copies are on one device and have one name and one link each
Group = tuple[int, str, int, int, int, int, list[_Member] | None, bool]


class DuplicateList:
    """The groups, the most redundant first, and their copies by place."""

    def __init__(self) -> None:
        self.groups: list[Group] = []
        self.unhashed = 0  # files without a SHA-256, which may have copies too
        self.printable = True  # no name has a character that must be escaped
        # By place; the copies of a group are beside each other.
        self.inodes: list[int] = []
        self.devices: list[int] = []
        self.names: list[Any] = []  # absolute: a text, a sorted list if there are more, or None
        self.links: dict[int, int] = {}  # st_nlink of the last scan, where it is not 1
        self._unusual = bytearray()  # 0: exactly one name and one link

    # -- what comes out

    @property
    def saves(self) -> int:
        """Bytes."""
        return sum(group[3] for group in self.groups)

    @property
    def redundant(self) -> int:
        """Bytes."""
        return sum(group[0] for group in self.groups)

    def copies(self, group: Group) -> list[tuple[int, int]]:
        """(place, number of names unseen) of each copy, what hardlinks would keep first."""
        _, _, _, _, start, end, members, _ = group
        if members is None:
            return [(place, 0) for place in sorted(range(start, end), key=self.names.__getitem__)]
        return [(place, max(0, missing)) for _, _, _, place, missing in members]

    # -- what goes in

    def add_inodes(self, groups: list[EqualInodes], among: list[int]) -> dict[int, dict[int, int]]:
        """A place for each inode of groups that are on these devices.

        Returns:
            Device → inode → place.
        """
        start, inodes = len(self.inodes), numbers(",".join([group[3] for group in groups]))
        self.inodes += inodes
        self.names += repeat(None, len(inodes))
        self._unusual += b"\1" * len(inodes)
        if len(among) == 1:
            self.devices += repeat(among[0], len(inodes))
            return {among[0]: dict(zip(inodes, range(start, len(self.inodes)), strict=True))}
        self.devices += numbers(",".join([group[4] or "" for group in groups]))
        place_of: dict[int, dict[int, int]] = {device_id: {} for device_id in among}
        for place in range(start, len(self.inodes)):
            place_of[self.devices[place]][self.inodes[place]] = place
        return place_of

    def add_names(
        self,
        place_of: dict[int, int],
        rows: Iterable[tuple[RelPath, bytes, str]],
        shown: Callable[[RelPath], str],
    ) -> None:
        """Take the names of our inodes; `shown` makes the text before the names of a directory."""
        names, unusual, more = self.names, self._unusual, []
        find, nothing_of_ours = place_of.get, place_of.keys().isdisjoint
        for folder, packed, packed_inodes in rows:
            inodes = numbers(packed_inodes)
            if nothing_of_ours(inodes):
                continue
            before, known = shown(folder), packed.decode("utf-8", "surrogateescape")
            if self.printable:  # the first look is faster, and nearly always enough
                plain = not packed.translate(None, _PLAIN) or known.isprintable()
                self.printable = plain and before.isprintable()
            for place, name in zip(map(find, inodes), known.split("/"), strict=True):
                if place is None:
                    continue
                if unusual[place]:
                    names[place] = before + name
                    unusual[place] = 0
                else:
                    more.append((place, before + name))
        for place, name in more:
            if isinstance(names[place], str):
                names[place] = [names[place]]
                self._unusual[place] = 1
            names[place].append(name)

    def add_links(self, place_of: dict[int, int], rows: Iterable[tuple[int, int]]) -> None:
        """Take the link counts of our inodes, where they are not 1."""
        for inode, nlink in rows:
            place = place_of.get(inode)
            if place is not None:
                self.links[place] = nlink
                self._unusual[place] = 1

    def add_groups(self, groups: list[EqualInodes], end: int, countable: frozenset[int]) -> None:
        """Make the groups from the place `end` on, when all their names are known.

        Args:
            countable: Devices whose link counts are true.
        """
        look, add = self._unusual.find, self.groups.append
        for sha256, size, count, _, devices in groups:
            start, end = end, end + count
            if devices is None and look(1, start, end) < 0:
                redundant = size * (count - 1)
                saves = redundant if self.devices[start] in countable else 0
                add((redundant, sha256, size, saves, start, end, None, False))
                continue
            members = self._members(start, end)
            if len(members) > 1:
                redundant = size * (len(members) - 1)
                freed, unseen = _freed(members, countable)
                add((redundant, sha256, size, size * freed, start, end, members, unseen))

    def _members(self, start: int, end: int) -> list[_Member]:
        members: list[_Member] = []
        devices, links = self.devices, self.links.get
        for place, names in enumerate(self.names[start:end], start):
            if type(names) is str:
                members.append((devices[place], -1, names, place, links(place, 1) - 1))
            elif names is not None:
                names.sort()
                count = len(names)
                members.append((devices[place], -count, names, place, links(place, 1) - count))
        # The inode with the most names stays when the others become links to it: fewest changes.
        members.sort()
        return members

    def sort(self, *, devices: int) -> None:
        """The most redundant first."""
        if devices > 1:  # on one they are by SHA-256 already
            self.groups.sort(key=self._sha256_and_device)
        self.groups.sort(key=itemgetter(0), reverse=True)  # equal ones keep their order

    def _sha256_and_device(self, group: Group) -> tuple[str, int]:
        return group[1], self.devices[group[4] if group[6] is None else group[6][0][3]]


def _freed(members: list[_Member], countable: frozenset[int]) -> tuple[int, bool]:
    """Copies that are gone when each is a link to the first on its device; is a name unseen?"""
    freed, kept, unseen = 0, 0, False
    for device, _, _, _, missing in members:
        # A name that nobody knows would keep the inode, and its bytes, alive.
        if missing:
            unseen = unseen or missing > 0
        elif device == kept and device in countable:
            freed += 1
        kept = device
    return freed, unseen
