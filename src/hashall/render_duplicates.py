"""Duplicates as text for people."""

from __future__ import annotations

from collections.abc import Iterator

from hashall.duplicate_list import DuplicateList
from seedkeep.text import printable
from seedkeep.units import format_size

_GROUPS_PER_PIECE = 200
_NEXT, _SAME = "\n  ", "\n    = "  # before another copy; before another name of the same


def duplicates(found: DuplicateList) -> Iterator[str]:
    """Pieces of the text, without the newline at their end: the whole can be large."""
    names = found.names
    lines: list[str] = []
    for group in found.groups:
        _, sha256, size, saves, start, end, members, unseen = group
        if unseen or not found.printable:
            copies = [_names(names[place], more) for place, more in found.copies(group)]
        elif members is None:
            copies = sorted(names[start:end])
        else:
            copies = [n if type(n) is str else _SAME.join(n) for _, _, n, _, _ in members]
        one = format_size(size)
        lines.append(
            f"{len(copies)} × {one}, hardlinks save {one if saves == size else format_size(saves)}"
            f"  {sha256[:16]}\n  {_NEXT.join(copies)}\n"
        )
        if len(lines) == _GROUPS_PER_PIECE:
            yield "\n".join(lines)
            lines.clear()
    yield "\n".join([*lines, *_sums(found)])


def _sums(found: DuplicateList) -> Iterator[str]:
    if found.groups:
        yield (
            f"{_count(len(found.groups), 'group')} with {format_size(found.redundant)} beyond one"
            f" copy; hardlinks would save {format_size(found.saves)}"
        )
    else:
        yield "no duplicates"
    if found.unhashed:
        yield (
            f"{_count(found.unhashed, 'file')} without a SHA-256 may have copies too: run"
            " `hashall scan` on their folders"
        )


def _names(names: str | list[str], unseen: int) -> str:
    """One copy."""
    if isinstance(names, str):
        names = [names]
    first, *others = map(printable, names)
    if unseen:
        first += f"  ({_count(unseen, 'more name')} unseen)"
    return _SAME.join([first, *others])


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
