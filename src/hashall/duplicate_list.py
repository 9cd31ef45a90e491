"""Finding files with equal bytes, and what hardlinks in their place would save.

There are many: what is known of a group or of a copy stands in lists, at its number or its place,
and no value is made for it.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable, Iterator
from functools import partial
from itertools import accumulate, repeat
from operator import mul
from typing import Any

from hashall.catalog.duplicates import PARTS, EqualBytes, EqualInodes, NamesOfDirs, lists, numbers
from hashall.devices import link_counts_are_true
from hashall.model import RelPath
from hashall.places import Places
from hashall.shown import ShownPaths
from seedkeep.ahead import asked_ahead

_PLAIN = bytes(range(32, 127))
_ONE_NAME, _MORE_NAMES, _ODD = 0, 1, 2  # odd: no name, or not as many as links


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
        for device_id in ids:
            shown.learn(device_id)
        countable = frozenset(d.device_id for d in devices if link_counts_are_true(d.fs_type))
        for among in [ids] if across and ids else [[device_id] for device_id in ids]:
            _add_groups(found, table, shown, among, min_size)
            found.close_groups(among, countable)
        found.unhashed = sum(table.unhashed(device_id, min_size=min_size) for device_id in ids)
    found.sort(devices=len(ids))
    return found


def _add_groups(
    found: DuplicateList, table: EqualBytes, shown: ShownPaths, among: list[int], min_size: int
) -> None:
    """All that is known of the groups on these devices together."""
    parts = {device_id: table.parts_of_names(device_id) for device_id in among}
    questions: list[Callable[[], Any]] = [
        partial(table.groups, among, part, min_size=min_size) for part in PARTS
    ]
    for device_id in among:
        questions.append(partial(table.link_counts, device_id))
        questions += [partial(table.names, device_id, part) for part in parts[device_id]]
    place_of: dict[int, dict[int, int]] = {device_id: {} for device_id in among}
    with asked_ahead(questions) as answers:
        for _ in PARTS:
            found.add_inodes(next(answers), place_of)
        for device_id in among:
            found.add_links(next(answers), place_of[device_id])
            folder = partial(shown.folder, device_id)
            for _ in parts[device_id]:
                found.add_names(next(answers), place_of[device_id], folder)


# (device, -number of names, the name or all of them sorted, place, links whose names no scan has
# seen): in this order, what hardlinks would keep comes first on each device
_Member = tuple[int, int, Any, int, int]


class DuplicateList:
    """The groups by number, and their copies by place."""

    def __init__(self) -> None:
        self.order: list[int] = []  # numbers of the groups, the most redundant first
        self.unhashed = 0  # files without a SHA-256, which may have copies too
        self.printable = True  # no name has a character that must be escaped
        # By number.
        self.sha256s: list[str] = []
        self.sizes: list[int] = []  # bytes of one
        self.redundant: list[int] = []  # bytes beyond one copy
        self.saves: list[int] = []  # bytes that hardlinks inside each filesystem would free
        self.starts: list[int] = [0]  # the place of the first; the next start is behind the last
        # In order, and whether there are names unseen; of those that are on more devices than one,
        # or of which anything is not as it should be.
        self.members: dict[int, tuple[list[_Member], bool]] = {}
        # By place; the copies of a group are beside each other.
        self.inodes: list[int] = []
        self.devices: list[int] = []
        self.names: list[Any] = []  # absolute: a text ("": it has none), or a sorted list of more
        self.links: dict[int, int] = {}  # st_nlink of the last scan, where it is not 1
        self._kinds = bytearray()
        self._counts: list[int] = []  # of the copies of groups that are not closed yet
        self._more_names: list[tuple[int, str]] = []  # (place, name)

    # -- what comes out

    @property
    def all_saves(self) -> int:
        """Bytes."""
        return sum(self.saves)

    @property
    def all_redundant(self) -> int:
        """Bytes."""
        return sum(self.redundant)

    def texts_in_order(self, start: int, end: int, join: Callable[[list[str]], str]) -> list[str]:
        """Copies of a group without `members`, what hardlinks would keep first.

        Args:
            join: Makes a text of the names of a copy that has more than one.
        """
        find = self._kinds.find
        copies: list[Any] = self.names[start:end]
        linked = find(_MORE_NAMES, start, end)
        if linked < 0:
            copies.sort()
            return copies
        if find(_MORE_NAMES, linked + 1, end) < 0:
            names = copies.pop(linked - start)
            copies.sort()
            return [join(names), *copies]
        copies.sort(key=_most_names_first)
        return [join(names) if type(names) is list else names for names in copies]

    def copies(self, number: int) -> list[tuple[int, int]]:
        """(place, number of names unseen) of each copy, what hardlinks would keep first."""
        if number in self.members:
            return [(place, max(0, unseen)) for *_, place, unseen in self.members[number][0]]
        start, end = self.starts[number : number + 2]
        return [(place, 0) for *_, place, _ in self._members(start, end)]

    # -- what goes in

    def add_inodes(self, groups: EqualInodes | None, place_of: dict[int, dict[int, int]]) -> None:
        """A place for each inode of these groups, which goes into device → inode → place."""
        if groups is None:
            return
        start, inodes = len(self.inodes), numbers(groups.inodes)
        self.sha256s += groups.sha256s.split(",")
        self.sizes += numbers(groups.sizes)
        self._counts += numbers(groups.counts)
        self.inodes += inodes
        self.names += repeat("", len(inodes))
        self._kinds += bytes([_ONE_NAME]) * len(inodes)
        if groups.devices is None:
            ((device_id, places),) = place_of.items()
            self.devices += repeat(device_id, len(inodes))
            places.update(zip(inodes, range(start, len(self.inodes)), strict=True))
            return
        self.devices += numbers(groups.devices)
        for place in range(start, len(self.inodes)):
            place_of[self.devices[place]][self.inodes[place]] = place

    def add_links(self, counts: tuple[str, str] | None, place_of: dict[int, int]) -> None:
        """Take the link counts of our inodes, where they are not 1."""
        if counts is None:
            return
        for place, links in zip(
            map(place_of.get, numbers(counts[0])), numbers(counts[1]), strict=True
        ):
            if place is not None:
                self.links[place] = links

    def add_names(
        self, dirs: NamesOfDirs | None, place_of: dict[int, int], shown: Callable[[RelPath], str]
    ) -> None:
        """Take the names of our inodes; `shown` makes the text before the names of a directory."""
        if dirs is None:
            return
        paths, packed = (text.decode("utf-8", "surrogateescape") for text in dirs[:2])
        names, more, find = self.names, self._more_names, place_of.get
        if self.printable:  # the first look is faster, and nearly always enough
            self.printable = not dirs.names.translate(None, _PLAIN) or packed.isprintable()
        each = zip(paths.split("//"), packed.split("//"), lists(dirs.inodes), strict=True)
        for path, known, inodes in each:
            before = shown(path)
            if self.printable:
                self.printable = before.isprintable()
            for place, name in zip(map(find, inodes), known.split("/"), strict=True):
                if place is None:
                    continue
                if names[place]:
                    more.append((place, before + name))
                else:
                    names[place] = before + name

    def close_groups(self, among: list[int], countable: frozenset[int]) -> None:
        """Finish the groups that were added since the last time; all of their names are known.

        Args:
            among: Devices that they are on.
            countable: Devices whose link counts are true.
        """
        self._put_names_together()
        new = range(len(self.starts) - 1, len(self.sizes))
        self.starts += accumulate(self._counts, initial=self.starts.pop())
        beyond_one = map((-1).__add__, self._counts)
        self.redundant += map(mul, self.sizes[new.start :], beyond_one)
        self.saves += self.redundant[new.start :] if {*among} <= countable else repeat(0, len(new))
        for number in new if len(among) > 1 else self._with_odd_copies(new):
            members = self._members(*self.starts[number : number + 2])
            freed, unseen = _freed(members, countable)
            self.redundant[number] = self.sizes[number] * max(0, len(members) - 1)
            self.saves[number] = self.sizes[number] * freed
            self.members[number] = members, unseen
        self._counts.clear()

    def _put_names_together(self) -> None:
        names, kinds = self.names, self._kinds
        for place, name in self._more_names:
            if type(names[place]) is str:
                names[place] = [names[place]]
                kinds[place] = _ODD  # with one link, as far as was looked
            names[place].append(name)
        self._more_names.clear()
        if not all(names):
            for place in (place for place, name in enumerate(names) if not name):
                kinds[place] = _ODD
        for place, links in self.links.items():
            of_place = names[place]
            if type(of_place) is list:
                of_place.sort()
                kinds[place] = _MORE_NAMES if len(of_place) == links else _ODD
            else:
                kinds[place] = _ODD

    def _with_odd_copies(self, among: range) -> Iterator[int]:
        """Numbers of groups."""
        end = self.starts[among.start]
        while (place := self._kinds.find(_ODD, end)) >= 0:
            number = bisect(self.starts, place) - 1
            yield number
            end = self.starts[number + 1]

    def _members(self, start: int, end: int) -> list[_Member]:
        members: list[_Member] = []
        devices, links = self.devices, self.links.get
        for place, names in enumerate(self.names[start:end], start):
            if type(names) is list:
                names.sort()
                count = len(names)
                members.append((devices[place], -count, names, place, links(place, 1) - count))
            elif names:
                members.append((devices[place], -1, names, place, links(place, 1) - 1))
        # The inode with the most names stays when the others become links to it: fewest changes.
        members.sort()
        return members

    def sort(self, *, devices: int) -> None:
        """The most redundant first; a single copy, of which others are gone, is no group."""
        order: list[int] = [*range(len(self.sizes))]
        if self.members:
            order = [n for n in order if n not in self.members or len(self.members[n][0]) > 1]
        if devices > 1:  # on one they are by SHA-256 already
            order.sort(key=self._sha256_and_device)
        order.sort(key=self.redundant.__getitem__, reverse=True)  # equal ones keep their order
        self.order = order

    def _sha256_and_device(self, number: int) -> tuple[str, int]:
        place = self.members[number][0][0][3] if number in self.members else self.starts[number]
        return self.sha256s[number], self.devices[place]


def _most_names_first(names: Any) -> tuple[int, Any]:
    return (-len(names), names) if type(names) is list else (-1, names)


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
