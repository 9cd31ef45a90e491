"""Rows as a database hands them out: values by name and by position."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

Description = tuple[tuple[str, ...], ...]  # (name, declared type) per column


class Row:
    """One result row: `row["name"]`, `row[0]`, iteration over the values, `dict(row)`."""

    __slots__ = ("_positions", "_values")

    def __init__(self, values: tuple[Any, ...], positions: Mapping[str, int]) -> None:
        self._values = values
        self._positions = positions

    def __getitem__(self, key: str | int) -> Any:
        if isinstance(key, str):
            position = self._positions[key]
            if position < 0:
                raise KeyError(f"two columns are called {key}")
            return self._values[position]
        return self._values[key]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Row):
            return NotImplemented
        return self._values == other._values and self._positions == other._positions

    def __hash__(self) -> int:
        return hash(self._values)

    def __repr__(self) -> str:
        return f"Row({', '.join(f'{k}={self._values[i]!r}' for k, i in self._positions.items())})"

    def keys(self) -> list[str]:
        return list(self._positions)


class Cursor:
    """Rows of one statement, each read once.

    A statement that writes (`... RETURNING`) has run to its end when `execute` returns, because
    SQLite refuses to commit while a writing statement is half read.
    """

    __slots__ = ("_positions", "_rows")

    def __init__(self, rows: Iterator[tuple[Any, ...]], positions: Mapping[str, int]) -> None:
        self._rows = rows
        self._positions = positions

    def fetchone(self) -> Row | None:
        values = next(self._rows, None)
        return None if values is None else Row(values, self._positions)

    def fetchall(self) -> list[Row]:
        return list(self)

    def __iter__(self) -> Iterator[Row]:
        positions = self._positions
        return (Row(values, positions) for values in self._rows)


@lru_cache(maxsize=1024)
def positions_of(description: Description) -> Mapping[str, int]:
    """Column name -> index; -1 for a name that occurs twice, which must not be guessed."""
    positions: dict[str, int] = {}
    for index, (name, *_) in enumerate(description):
        positions[name] = -1 if name in positions else index
    return positions
