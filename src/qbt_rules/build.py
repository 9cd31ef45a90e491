"""Which build this is, for `/api/version`."""

from __future__ import annotations

import json
from functools import cache
from importlib import metadata, resources


@cache
def build_info() -> dict[str, str | None]:
    """`build.json` is put into the package when an image is made; elsewhere there is none."""
    found: dict[str, str] = {}
    note = resources.files("qbt_rules") / "build.json"
    if note.is_file():
        found = json.loads(note.read_text())
    return {
        "qbittorrent_api_version": metadata.version("qbittorrent-api"),
        "build_date": found.get("build_date"),
        "git_commit": found.get("git_commit"),
    }
