"""Finding files with equal bytes, and what hardlinks in their place would save.

There are many: what is known of a group or of a copy stands in lists, at its number or its place,
and no value is made for it.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable, Generator, Iterator, Sequence
from functools import cached_property, partial
from itertools import accumulate, compress, count, groupby, islice, pairwise, repeat
from operator import eq, mul, ne
from typing import Any, NamedTuple

from hashall.catalog.duplicates import EqualBytes, EqualBytesTable, NamesOfCopies, numbers
from hashall.devices import link_counts_are_true
from hashall.places import Places
from hashall.shown import ShownPaths
from seedkeep.ahead import asked_ahead

_PLAIN = bytes(range(32, 127))
# Before the names of a copy that has more than one; sorted, most names come first, and all of them
# before a copy with one name.
_RANKS = "".join(map(chr, range(31, 13, -1)))


class Member(NamedTuple):
    """A copy.  Sorted, what hardlinks would keep comes first on each device."""

    device_id: int
    minus_names: int  # how many, negative: the inode with most stays, for fewest changes
    names: Any  # absolute: a text, or a sorted list of more
    inode: int
    nlink: int  # as of the last scan

    @property
    def unseen(self) -> int:
        """Links whose names no scan has seen; negative when there are names too many."""
        return self.nlink + self.minus_names


class DuplicateSearch:
    """Groups of inodes with the same SHA-256, as of the last scan.

    Args:
        across: Groups may span filesystems, where no hardlink can join them.
        min_size: Bytes; 0 takes empty files in.
    """

    def __init__(self, places: Places, *, across: bool = False, min_size: int = 1) -> None:
        self._places = places
        self._across = across
        self._min_size = min_size
        self.unhashed = 0  # files without a SHA-256, which may have copies too; known at the end

    def parts(self) -> Generator[EqualFiles, None, None]:
        """All groups; more are looked for while these are worked on.

        Each part is in the order of SHA-256, and parts of one device follow each other in it.
        Who may leave early closes it: until then a thread asks the catalog, and nobody else may.
        """
        table = EqualBytesTable(self._places.catalog.db)
        with table.one_look():
            devices = self._places.catalog.devices.all()
            countable = frozenset(d.device_id for d in devices if link_counts_are_true(d.fs_type))
            ids = [device.device_id for device in devices]
            self.unhashed = sum(table.unhashed(n, min_size=self._min_size) for n in ids)
            shown = ShownPaths(self._places)
            for device_id in ids:
                shown.learn(device_id)  # now: while answers are looked for, nobody else may ask
            for among in [ids] if self._across and ids else [[n] for n in ids]:
                parts = table.parts(among)
                questions = [*self._questions(table, among, parts)]
                with asked_ahead(questions) as answers:
                    folders = {n: Folders(next(answers), partial(shown.folder, n)) for n in among}
                    for _ in parts:
                        groups, *names = islice(answers, 1 + len(among))
                        if groups is not None:
                            copies = [
                                Copies(device_id, rows, folders[device_id])
                                for device_id, rows in zip(among, names, strict=True)
                                if rows is not None
                            ]
                            yield EqualFiles(groups, copies, countable)

    def _questions(
        self, table: EqualBytesTable, among: Sequence[int], parts: Sequence[tuple[str, str]]
    ) -> Iterator[Callable[[], Any]]:
        yield from (partial(table.dirs, device_id) for device_id in among)
        for part in parts:
            yield partial(table.groups, among, part, min_size=self._min_size)
            yield from (partial(table.names, n, numbered=len(among) > 1) for n in among)


class Folders(dict[int, str]):
    """What stands before a name in each directory of a device, by `dir_id`; 0 is none.

    Args:
        dirs: All of them.
        shown: Makes such a text from the path of one.
    """

    def __init__(self, dirs: Sequence[tuple[str, bytes]], shown: Callable[[str], str]) -> None:
        super().__init__({0: ""})
        self.odd: set[int] = set()  # those with a character that must be escaped
        self._shown = shown
        self._paths: dict[int, str] = {}
        for ids, paths in dirs:
            decoded = paths.decode("utf-8", "surrogateescape").split("//")
            self._paths.update(zip(numbers(ids), decoded, strict=True))

    def __missing__(self, dir_id: int) -> str:
        if dir_id in self._paths:
            text = self._shown(self._paths[dir_id])
        else:
            text = f"(directory {dir_id}, not in the catalog)/"
        self[dir_id] = text
        if not text.isprintable():
            self.odd.add(dir_id)
        return text


class Copies:
    """Inodes of one device, in the order of their groups."""

    def __init__(self, device_id: int, rows: NamesOfCopies, folders: Folders) -> None:
        self.device_id = device_id
        packed = rows.names.decode("utf-8", "surrogateescape")
        dirs = numbers(rows.dirs)
        # Absolute: a text ("": it has none), or a sorted list of more.
        self.names: list[Any] = [
            folders[dir_id] + name for dir_id, name in zip(dirs, packed.split("/"), strict=True)
        ]
        # Whether no name has a character that must be escaped.
        self.printable = (not folders.odd or folders.odd.isdisjoint(dirs)) and (
            not rows.names.translate(None, _PLAIN) or packed.isprintable()
        )
        self._groups = rows.groups
        self._inodes = rows.inodes.split(",")
        self._links = numbers(rows.links)
        # Whether it has no name, not as many as links, or more than there are ranks.
        self.odd = bytearray(map(ne, self._links, repeat(1)))
        self._firsts = bytearray(b"\1") * len(dirs)  # whether a row has the first name of a copy
        self._linked: list[int] = []  # copies that have more names than one
        self._join_names()

    def groups(self) -> list[int]:
        """Of each copy; not where there is one device."""
        assert self._groups is not None
        return [*compress(numbers(self._groups), self._firsts)]

    @cached_property
    def inodes(self) -> list[int]:
        return [*map(int, compress(self._inodes, self._firsts))]

    @cached_property
    def links(self) -> list[int]:
        """st_nlink of the last scan."""
        return [*compress(self._links, self._firsts)]

    def members(self, start: int, end: int) -> list[Member]:
        """Those that have a name, what hardlinks would keep first."""
        places = slice(start, end)
        return sorted(
            Member(self.device_id, -len(names) if type(names) is list else -1, names, inode, nlink)
            for names, inode, nlink in zip(
                self.names[places], self.inodes[places], self.links[places], strict=True
            )
            if names
        )

    def texts(self, before_name: str) -> list[str]:
        """Names of each, with a rank before them where there are several; not of those in `odd`."""
        texts = self.names.copy()
        for place in self._linked:
            names = texts[place]
            if len(names) < len(_RANKS):
                texts[place] = _RANKS[len(names)] + before_name.join(names)
            else:
                texts[place] = ""
        return texts

    def _join_names(self) -> None:
        """A row with the inode of the row before it has another of its names."""
        names, links, odd, firsts = self.names, self._links, self.odd, self._firsts
        others = [*compress(count(1), map(eq, self._inodes, islice(self._inodes, 1, None)))]
        heads = []
        for before, row in enumerate(others):
            firsts[row] = 0
            if firsts[row - 1]:
                head = row - 1
                heads.append(head)
                self._linked.append(head - before)
                names[head] = [names[head]]
            names[head].append(names[row])
        for head in heads:
            names[head].sort()
            odd[head] = not links[head] == len(names[head]) < len(_RANKS)
        if others:
            self.names = [*compress(names, firsts)]
            self.odd = bytearray(compress(odd, firsts))
        if not all(self.names):
            for place in compress(count(), map(eq, self.names, repeat(""))):
                self.odd[place] = 1


class EqualFiles:
    """The groups of one part of all SHA-256s; what is known of one stands at its number.

    Args:
        copies: On each device that they may be on.
        countable: Devices whose link counts are true.
    """

    def __init__(
        self, groups: EqualBytes, copies: Sequence[Copies], countable: frozenset[int]
    ) -> None:
        self.sha256s = groups.sha256s.split(",")
        self.sizes = numbers(groups.sizes)  # bytes of one
        self.counts = numbers(groups.counts)  # of copies
        self.redundant = [*map(mul, self.sizes, map((-1).__add__, self.counts))]  # bytes
        # Bytes that hardlinks inside each filesystem would free.
        self.saves = self.redundant.copy()
        self.printable = all(some.printable for some in copies)
        # Groups that have such a copy, or may be on more devices than one.
        self.odd: dict[int, list[Member]] = {}
        self._copies = copies[0]
        self._starts: list[int] = []
        if len(copies) == 1:
            self._starts += accumulate(self.counts, initial=0)
            self._find_odd_copies()
        else:
            self._put_together(copies)
        if not {some.device_id for some in copies} <= countable:
            self.saves = [0] * len(self.sizes)
        for number, members in self.odd.items():
            self.redundant[number] = self.sizes[number] * max(0, len(members) - 1)
            self.saves[number] = self.sizes[number] * _freed(members, countable)

    @property
    def devices(self) -> list[int]:
        """Of each group; that of the first copy where there are more."""
        devices = [self._copies.device_id] * len(self.sizes)
        for number, members in self.odd.items():
            if members:
                devices[number] = members[0].device_id
        return devices

    def members(self, number: int) -> list[Member]:
        """The copies, what hardlinks would keep first; fewer than two are no group."""
        if number in self.odd:
            return self.odd[number]
        return self._copies.members(*self._starts[number : number + 2])

    def texts(self, before_copy: str, before_name: str) -> list[str]:
        """Names of the copies of each group in the same order.

        Of no use for groups in `odd`, and where not all names are printable.

        Args:
            before_copy: What stands before each copy but the first.
            before_name: What stands before each name of a copy but the first.
        """
        if not self._starts:
            return ["" for _ in self.sizes]
        found = []
        names = self._copies.texts(before_name)
        for start, end in pairwise(self._starts):
            copies = names[start:end]
            copies.sort()
            if copies[0] < " ":
                copies = [text.lstrip(_RANKS) for text in copies]
            found.append(before_copy.join(copies))
        return found

    def _find_odd_copies(self) -> None:
        end = 0
        while (place := self._copies.odd.find(1, end)) >= 0:
            number = bisect(self._starts, place) - 1
            start, end = self._starts[number : number + 2]
            self.odd[number] = self._copies.members(start, end)

    def _put_together(self, copies: Sequence[Copies]) -> None:
        self.odd = {number: [] for number in range(len(self.sizes))}
        for some in copies:
            start = 0
            for number, same in groupby(some.groups()):
                end = start + sum(1 for _ in same)
                self.odd[number - 1] += some.members(start, end)
                start = end


def in_order(redundant: Sequence[int], sha256s: Sequence[str], devices: Sequence[int]) -> list[int]:
    """Places of groups in these lists: the most redundant first."""
    order = [*range(len(redundant))]
    if len({*devices}) > 1:  # on one they are by SHA-256 already
        order.sort(key=lambda place: (sha256s[place], devices[place]))
    order.sort(key=redundant.__getitem__, reverse=True)  # equal ones keep their order
    return order


def _freed(members: list[Member], countable: frozenset[int]) -> int:
    """Copies that are gone when each is a link to the first on its device."""
    freed, kept = 0, 0
    for member in members:
        # A name that nobody knows would keep the inode, and its bytes, alive.
        if not member.unseen and member.device_id == kept and kept in countable:
            freed += 1
        kept = member.device_id
    return freed
