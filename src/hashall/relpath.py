"""Paths inside a filesystem as text: no leading slash, "" is the root."""

from __future__ import annotations


def parent_of(path: str) -> str:
    return path.rpartition("/")[0]


def join(parent: str, name: str) -> str:
    return f"{parent}/{name}" if parent else name
