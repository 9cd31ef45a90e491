"""Duplicates as text for people."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from hashall.duplicates import Copy, DuplicateGroup, Duplicates
from seedkeep.text import printable
from seedkeep.units import format_size


def duplicates(found: Duplicates) -> str:
    lines: list[str] = []
    size = lru_cache(format_size)
    for group in found.groups:
        lines += _group(group, size)
    if found.groups:
        lines.append(
            f"{_count(len(found.groups), 'group')} with {format_size(found.redundant)} beyond one"
            f" copy; hardlinks would save {format_size(found.saves)}"
        )
    else:
        lines.append("no duplicates")
    if found.unhashed:
        lines.append(
            f"{_count(found.unhashed, 'file')} without a SHA-256 may have copies too: run"
            " `hashall scan` on their folders"
        )
    return "\n".join(lines)


def _group(group: DuplicateGroup, size: Callable[[int], str]) -> list[str]:
    lines = [
        f"{len(group.copies)} × {size(group.size)}, hardlinks save {size(group.saves)}"
        f"  {group.sha256[:16]}"
    ]
    for copy in group.copies:
        paths = copy.paths
        more = _unseen(copy) if copy.nlink > len(paths) else ""
        lines.append(f"  {printable(paths[0])}{more}")
        if len(paths) > 1:
            lines += [f"    = {printable(path)}" for path in paths[1:]]
    lines.append("")
    return lines


def _unseen(copy: Copy) -> str:
    return f"  ({_count(copy.nlink - len(copy.paths), 'more name')} unseen)"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
