"""Text for people: names that cannot break a terminal, and aligned tables."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence

_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_JOINERS = "\u200c\u200d"  # part of emoji and of Persian and Indic words


def printable(text: str) -> str:
    """`text` on one line: control characters, bytes that are not UTF-8 and direction marks escaped.

    A byte 0xFF of a file name shows as `\\xff`, a newline as `\\n`.
    """
    if text.isprintable():
        return text
    return "".join(char if _is_harmless(char) else _escape(char) for char in text)


def _is_harmless(char: str) -> bool:
    return char.isprintable() or unicodedata.category(char) == "Zs" or char in _JOINERS


def _escape(char: str) -> str:
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:  # os.fsdecode's stand-in for one byte
        code -= 0xDC00
    if char in _SHORT:
        return _SHORT[char]
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def width(text: str) -> int:
    """Columns that `text` takes in a terminal."""
    if text.isascii():
        return len(text)
    return sum(_char_width(char) for char in text)


def _char_width(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def table(headers: Sequence[str], rows: Iterable[Sequence[object]], align: str = "") -> str:
    """Plain aligned text, without a newline at the end.

    Args:
        align: One letter per column, "l" or "r"; columns without a letter are left-aligned.
    """
    lines = [[printable(str(cell)) for cell in row] for row in (headers, *rows)]
    widths = [max(map(width, column)) for column in zip(*lines, strict=True)]
    sides = align.ljust(len(widths), "l")
    return "\n".join(
        "  ".join(_padded(*cell) for cell in zip(line, widths, sides, strict=False)).rstrip()
        for line in lines
    )


def _padded(cell: str, columns: int, side: str) -> str:
    space = " " * (columns - width(cell))
    return space + cell if side == "r" else cell + space
