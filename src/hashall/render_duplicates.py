"""Duplicates as text for people."""

from __future__ import annotations

from collections.abc import Iterator

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
        plain = files.texts(_NEXT, _SAME) if files.printable else ["" for _ in files.sizes]
        shown = [*map(format_size, files.sizes)]
        texts = [
            f"{copies} copies of {one}, hardlinks save"
            f" {one if saves == size else format_size(saves)}  {sha256[:16]}\n  {names}\n"
            for one, size, saves, copies, sha256, names in zip(
                shown, files.sizes, files.saves, files.counts, files.sha256s, plain, strict=True
            )
        ]
        for number in files.odd if files.printable else range(len(texts)):
            members = files.members(number)
            copies = _NEXT.join(_copy(member, files.printable) for member in members)
            texts[number] = (
                f"{len(members)} copies of {shown[number]}, hardlinks save"
                f" {format_size(files.saves[number])}  {files.sha256s[number][:16]}\n  {copies}\n"
                if len(members) > 1
                else ""
            )
        self._texts += texts
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
