"""The part of a first configuration that rehome knows: a part of the bridge, `seed_data.py`."""

from __future__ import annotations

from rehome.config_draft import (
    Choices,
    catalog_lines,
    qbittorrent_lines,
    rehome_lines,
    scalar,
    suggest,
)
from rehome.first_config import Around, beside, choices, look_around, remarks, take_suggested
from rehome.survey import Survey

__all__ = [
    "Around",
    "Choices",
    "Survey",
    "beside",
    "catalog_lines",
    "choices",
    "look_around",
    "qbittorrent_lines",
    "rehome_lines",
    "remarks",
    "scalar",
    "suggest",
    "take_suggested",
]
