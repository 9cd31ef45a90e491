"""Duplicates as text for people."""

from __future__ import annotations

from collections.abc import Container, Iterator

from hashall.duplicate_list import EqualFiles, Member, in_order
from seedkeep.text import printable
from seedkeep.units import format_size

_GROUPS_PER_PIECE = 200
_NEXT, _SAME = "\n  ", "\n    = "  # before another copy; before another name of the same


class DuplicatesText:
    """All groups, and what they come to."""

    def __init__(self) -> None:
        self._texts: list[str] = []  # "" for what is no group any more
        self._redundant: list[int] = []  # bytes
        self._sha256s: list[str] = []
        self._devices: list[int] = []
        self._saves = 0  # bytes

    def add(self, files: EqualFiles) -> None:
        in_words: Container[int] = files.odd if files.printable else range(len(files.sizes))
        add, names_in_order = self._texts.append, files.names_in_order
        rows = zip(files.sizes, files.saves, files.sha256s, strict=True)
        for number, (size, saves, sha256) in enumerate(rows):
            if number in in_words:
                copies = [_copy(member, files.printable) for member in files.members(number)]
            else:
                copies = names_in_order(number, _SAME.join)
            one = format_size(size)
            add(
                f"{len(copies)} copies of {one}, hardlinks save"
                f" {one if saves == size else format_size(saves)}  {sha256[:16]}"
                f"\n  {_NEXT.join(copies)}\n"
                if len(copies) > 1
                else ""
            )
        self._redundant += files.redundant
        self._sha256s += files.sha256s
        self._devices += files.devices
        self._saves += sum(files.saves)

    def pieces(self, unhashed: int) -> Iterator[str]:
        """Without the newline at their end: the whole can be large.

        Args:
            unhashed: Files of which it is not known whether they have copies.
        """
        order = in_order(self._redundant, self._sha256s, self._devices)
        texts = [*filter(None, map(self._texts.__getitem__, order))]
        for start in range(0, len(texts), _GROUPS_PER_PIECE):
            yield "\n".join(texts[start : start + _GROUPS_PER_PIECE])
        yield "\n".join(self._sums(len(texts), unhashed))

    def _sums(self, groups: int, unhashed: int) -> Iterator[str]:
        if groups:
            yield (
                f"{_count(groups, 'group')} with {format_size(sum(self._redundant))} beyond"
                f" one copy; hardlinks would save {format_size(self._saves)}"
            )
        else:
            yield "no duplicates"
        if unhashed:
            yield (
                f"{_count(unhashed, 'file')} without a SHA-256 may have copies too: run"
                " `hashall scan` on their folders"
            )


def _copy(member: Member, all_printable: bool) -> str:
    names = [member.names] if type(member.names) is str else member.names
    first, *others = names if all_printable else map(printable, names)
    if member.unseen > 0:
        first += f"  ({_count(member.unseen, 'more name')} unseen)"
    return _SAME.join([first, *others])


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
