"""Sizes and durations as arguments of commands: "10GB", "90d"."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from seedkeep.units import parse_duration, parse_size


class _Written(click.ParamType[Any]):
    """A value that people write in their own units."""

    def __init__(self, name: str, parse: Callable[[str], Any]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except ValueError as why:
            self.fail(str(why), param, ctx)


SIZE = _Written("size", parse_size)  # bytes
DURATION = _Written("duration", parse_duration)  # timedelta
