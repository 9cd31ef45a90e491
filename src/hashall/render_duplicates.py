"""Duplicates as text for people."""

from __future__ import annotations

from collections.abc import Container, Iterator

from hashall.duplicate_list import DuplicateList
from seedkeep.text import printable
from seedkeep.units import format_size

_GROUPS_PER_PIECE = 200
_NEXT, _SAME = "\n  ", "\n    = "  # before another copy; before another name of the same


def duplicates(found: DuplicateList) -> Iterator[str]:
    """Pieces of the text, without the newline at their end: the whole can be large."""
    starts, heads, in_order = found.starts, _heads(found), found.texts_in_order
    in_words: Container[int] = found.members if found.printable else range(len(heads))
    lines: list[str] = []
    for number in found.order:
        if number in in_words:
            copies = _in_words(found, number)
        else:
            copies = in_order(starts[number], starts[number + 1], _SAME.join)
        lines.append(f"{len(copies)} copies of {heads[number]}{_NEXT.join(copies)}\n")
        if len(lines) == _GROUPS_PER_PIECE:
            yield "\n".join(lines)
            lines.clear()
    yield "\n".join([*lines, *_sums(found)])


def _heads(found: DuplicateList) -> list[str]:
    """What is said of each group but how many there are.

    By number: in the order in which they are shown, each would be far away in memory.
    """
    return [
        f"{(one := format_size(size))}, hardlinks save"
        f" {one if saves == size else format_size(saves)}  {sha256[:16]}\n  "
        for size, saves, sha256 in zip(found.sizes, found.saves, found.sha256s, strict=True)
    ]


def _in_words(found: DuplicateList, number: int) -> list[str]:
    names = found.names
    members, unseen = found.members.get(number, ([], False))
    if unseen or not found.printable:
        return [_names(names[place], more) for place, more in found.copies(number)]
    return [n if type(n) is str else _SAME.join(n) for _, _, n, _, _ in members]


def _sums(found: DuplicateList) -> Iterator[str]:
    if found.order:
        yield (
            f"{_count(len(found.order), 'group')} with {format_size(found.all_redundant)} beyond"
            f" one copy; hardlinks would save {format_size(found.all_saves)}"
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
