"""Frozen values to JSON and back, by their type hints.  Strict: what does not fit is an error."""

from __future__ import annotations

import enum
import types
import typing
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from hashall.model import shown_inode, stored_inode
from rehome.parts import Fingerprint

T = TypeVar("T")

_AS_THEY_ARE = frozenset({str, int, bool, float, type(None)})


def to_json(value: object) -> Any:
    """Dataclasses become objects, tuples lists, enums their value, paths text.

    A step says its own kind under "step", since a list holds many kinds.
    """
    kind: Any = type(value)
    if kind in _AS_THEY_ARE:
        return value
    names = _names_of(kind)
    if names is not None:
        data = {name: to_json(getattr(value, name)) for name in names}
        if kind is Fingerprint:
            data["inode"] = shown_inode(data["inode"])  # as stat(1) prints it
        return {"step": kind.__name__, **data} if hasattr(kind, "phase") else data
    if isinstance(value, tuple | list):
        return [to_json(item) for item in value]
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, Path):
        return str(value)
    return value


@cache
def _names_of(kind: Any) -> tuple[str, ...] | None:
    """The fields of a dataclass; None for other types.  A fingerprint asks for hundreds."""
    return tuple(field.name for field in fields(kind)) if is_dataclass(kind) else None


def from_json(kind: type[T], data: Any) -> T:
    """Inverse of `to_json` for a dataclass type.  Raises ValueError that names the bad place."""
    value: T = _read_object(kind, data)
    return value


def _read_object(kind: Any, data: Any) -> Any:
    if not isinstance(data, dict):
        raise ValueError(f"{kind.__name__}: expected an object")
    hints = _hints_of(kind)
    data = {key: value for key, value in data.items() if key != "step"}
    if data.keys() != hints.keys():
        odd = ", ".join(sorted(data.keys() ^ hints.keys()))
        raise ValueError(f"{kind.__name__}: missing or unknown: {odd}")
    values = {name: _read(hint, data[name], name) for name, hint in hints.items()}
    if kind is Fingerprint:
        values["inode"] = _read_inode(values["inode"])
    return kind(**values)


def _read_inode(number: int) -> int:
    """Plans of older versions have it as the catalog does."""
    if not -(1 << 63) <= number < 1 << 64:
        raise ValueError(f"inode: no filesystem has a number like {number}")
    return stored_inode(number)


@cache
def _hints_of(kind: Any) -> dict[str, Any]:
    """The types of a dataclass's fields.  Finding them out is slow, and a plan has thousands."""
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in fields(kind)}


def _read(hint: Any, data: Any, where: str) -> Any:
    origin = typing.get_origin(hint)
    if origin is tuple:
        return _read_tuple(typing.get_args(hint), data, where)
    if origin in (typing.Union, types.UnionType):
        return _read_union(typing.get_args(hint), data, where)
    if is_dataclass(hint):
        return _read_object(hint, data)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return hint(data)
    if type(data) is not hint:  # bool is an int to isinstance
        raise ValueError(f"{where}: expected {hint.__name__}")
    return data


def _read_tuple(args: tuple[Any, ...], data: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(data, list):
        raise ValueError(f"{where}: expected a list")
    if len(args) == 2 and args[1] is ...:
        return tuple(_read(args[0], item, where) for item in data)
    if len(args) != len(data):
        raise ValueError(f"{where}: expected {len(args)} values")
    return tuple(_read(arg, item, where) for arg, item in zip(args, data, strict=True))


def _read_union(args: tuple[Any, ...], data: Any, where: str) -> Any:
    if data is None:
        if type(None) in args:
            return None
        raise ValueError(f"{where}: must not be null")
    kinds = {str(arg.__name__): arg for arg in args if hasattr(arg, "__dataclass_fields__")}
    if kinds:
        name = data.get("step") if isinstance(data, dict) else None
        if name not in kinds:
            raise ValueError(f"{where}: unknown step {name!r}")
        return _read_object(kinds[name], data)
    (only,) = (arg for arg in args if arg is not type(None))
    return _read(only, data, where)
