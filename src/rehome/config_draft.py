"""A first config file from what a survey found and a person chose.  Pure: opens nothing."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rehome.survey import Filesystem, SavePath, Survey
from seedkeep import settings_table as table
from seedkeep.setting_types import PathPair
from seedkeep.settings import Setting
from seedkeep.text import printable
from seedkeep.units import format_size

MOST_SHOWN = 20  # save paths in a comment
_PLAIN = re.compile(r"[A-Za-z0-9/][A-Za-z0-9/._+@-]*")
_WORDS = frozenset({"null", "true", "false", "~"})


@dataclass(frozen=True)
class Side:
    """A filesystem that torrents seed from."""

    filesystem: Filesystem
    root: Path  # the folder that holds all its save paths
    save_paths: tuple[SavePath, ...]


@dataclass(frozen=True)
class Suggestion:
    """What the facts speak for; None and () where they leave it open."""

    stash: Path | None
    pool: Path | None
    why: str
    sides: tuple[Side, ...]
    certain: bool = False  # torrents seed from both already


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What stands in the file as a value; everything else is a comment."""

    host: str
    username: str
    password_file: str = ""  # beside the config file; "" when there is none
    password_from: str = ""  # the variable that it was read from
    catalog: Path | None = None  # None: the default
    stash: Path | None = None
    pool: Path | None = None
    libraries: tuple[Path, ...] = ()
    path_map: tuple[PathPair, ...] = ()


def suggest(found: Survey) -> Suggestion:
    """Which side is stash and which is pool: the smaller filesystem is taken for the stash."""
    sides = _sides(found)
    if len(sides) == 2:
        small, large = sorted(sides, key=lambda side: side.filesystem.total_bytes)
        if small.filesystem.total_bytes < large.filesystem.total_bytes:
            why = "torrents seed from two filesystems; the smaller one is taken for the stash"
            return Suggestion(small.root, large.root, why, sides, certain=True)
    if len(sides) == 1:
        return _one_side(sides, found.others)
    return Suggestion(None, None, f"torrents seed from {len(sides)} filesystems", sides)


def _one_side(sides: tuple[Side, ...], others: Iterable[Filesystem]) -> Suggestion:
    (side,) = sides
    why = f"torrents seed from {side.filesystem.mount_point} only"
    larger = [
        other
        for other in others
        if other.fs_key != side.filesystem.fs_key
        and other.total_bytes > side.filesystem.total_bytes
        and other.fs_type != "tmpfs"
    ]
    if not larger:
        return Suggestion(side.root, None, f"{why}, and no other filesystem is larger", sides)
    inside = os.path.relpath(side.root, side.filesystem.mount_point)
    pool = Path(os.path.normpath(Path(larger[0].mount_point) / inside))
    why += f"; the largest other filesystem is at {larger[0].mount_point}"
    return Suggestion(side.root, pool, why, sides)


def _sides(found: Survey) -> tuple[Side, ...]:
    by_key: dict[str, list[SavePath]] = {}
    for path in found.save_paths:
        if path.filesystem is not None:
            by_key.setdefault(path.filesystem.fs_key, []).append(path)
    return tuple(
        Side(
            next(path.filesystem for path in paths if path.filesystem is not None),
            Path(os.path.commonpath([path.ours for path in paths if path.ours is not None])),
            tuple(paths),
        )
        for paths in by_key.values()
    )


# -- the file


def qbittorrent_lines(found: Survey, chosen: Choices) -> Iterator[str]:
    yield "qbittorrent:"
    if found.version:
        yield f"  # qBittorrent {printable(found.version)} answered at this address."
    elif found.problem:
        yield f"  # qBittorrent did not answer here yet: {printable(found.problem)}."
    yield f"  host: {scalar(chosen.host)}"
    yield f"  username: {scalar(chosen.username)}"
    if chosen.password_file:
        yield "  # The password stands in a file beside this one, which only its owner can read."
        yield f"  password_file: {scalar(chosen.password_file)}"
    elif chosen.password_from:
        yield f"  # The password comes from {printable(chosen.password_from)}."
    else:
        yield "  # The path of a file with the password, when qBittorrent wants one."
        yield "  #password_file: qbittorrent-password"


def rehome_lines(found: Survey, chosen: Choices, beside: Sequence[Path] = ()) -> Iterator[str]:
    """`beside`: folders that may be libraries."""
    guess = suggest(found)
    yield "rehome:"
    for side in guess.sides:
        yield from _side_lines(side)
    yield from _lost_lines(found)
    if guess.sides and not (chosen.stash and chosen.pool):
        yield f"  # {printable(guess.why)}."
    yield from _root_lines(table.STASH_SEEDING_ROOT, chosen.stash, guess.stash)
    yield from _root_lines(table.POOL_SEEDING_ROOT, chosen.pool, guess.pool)
    yield ""
    yield f"  # {table.LIBRARY_ROOTS.help}"
    if beside:
        yield f"  # Beside the seeding folder lie: {', '.join(map(scalar, map(str, beside)))}"
    if chosen.libraries:
        yield f"  library_roots: {_listed(map(str, chosen.libraries))}"
    else:
        yield f"  #library_roots: {_listed(map(str, beside[:1] or [Path('/srv/stash/media')]))}"
    yield ""
    yield from _path_map_lines(found, chosen)
    rest: tuple[Setting[Any], ...] = (
        table.MAX_SCAN_AGE,
        table.MIN_AGE,
        table.RETAIN,
        table.SPACE_MARGIN,
    )
    for setting in rest:
        yield ""
        yield f"  # {setting.help}"
        yield f"  #{_name(setting)}: {setting.shown(setting.default)}"


def catalog_lines(chosen: Choices) -> Iterator[str]:
    yield "catalog:"
    yield f"  # {table.CATALOG_PATH.help}"
    if chosen.catalog is not None:
        yield f"  path: {scalar(str(chosen.catalog))}"
    else:
        yield f"  #path: {table.CATALOG_PATH.default}"


def config_text(found: Survey, chosen: Choices, beside: Sequence[Path] = ()) -> str:
    """The config file of hashall and rehome."""
    head = (
        "# Settings of hashall and rehome, begun by `rehome config init` and yours from now on.",
        "# A flag wins over the environment, and the environment over this file.  Every setting is",
        "# in docs/tooling/settings.md; what is commented out is a default or an example.",
    )
    parts = (
        head,
        qbittorrent_lines(found, chosen),
        catalog_lines(chosen),
        rehome_lines(found, chosen, beside),
    )
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def _side_lines(side: Side) -> Iterator[str]:
    place = side.filesystem
    size = format_size(place.total_bytes)
    yield f"  # On {printable(place.mount_point)} ({place.fs_type}, {size}) torrents seed from:"
    for path in side.save_paths[:MOST_SHOWN]:
        yield f"  #   {_shown(path)}"
    if len(side.save_paths) > MOST_SHOWN:
        yield f"  #   and {len(side.save_paths) - MOST_SHOWN} more folders"


def _lost_lines(found: Survey) -> Iterator[str]:
    lost = [path for path in found.save_paths if path.ours is None]
    if lost:
        yield "  # These folders of qBittorrent are not here; path_map below may lack a pair:"
        for path in lost[:MOST_SHOWN]:
            yield f"  #   {_shown(path)}"


def _shown(path: SavePath) -> str:
    ours = path.client if path.ours is None else str(path.ours)
    count = f"{path.torrents} torrent{'' if path.torrents == 1 else 's'}"
    names = f", category {', '.join(path.categories)}" if path.categories else ""
    return printable(f"{ours}  ({count}{names})")


def _root_lines(
    setting: Setting[Path | None], chosen: Path | None, guess: Path | None
) -> Iterator[str]:
    yield f"  # {setting.help}"
    if chosen is not None:
        yield f"  {_name(setting)}: {scalar(str(chosen))}"
    else:
        example = f"/srv/{setting.key.partition('.')[2].partition('_')[0]}/torrents/seeding"
        yield f"  #{_name(setting)}: {scalar(str(guess or example))}"


def _path_map_lines(found: Survey, chosen: Choices) -> Iterator[str]:
    yield f"  # {table.PATH_MAP.help}"
    if chosen.path_map:
        yield "  path_map:"
        for pair in chosen.path_map:
            yield f"    {_pair(pair)}"
    elif found.guessed:
        yield "  # With these, content of qBittorrent is found here:"
        yield "  #path_map:"
        for pair in found.guessed:
            yield f"  #  {_pair(pair)}"
    else:
        yield "  #path_map: [{client: /data/torrents, ours: /srv/stash/torrents}]"


def _pair(pair: PathPair) -> str:
    return f"- {{client: {_quoted(pair.client)}, ours: {_quoted(pair.ours)}}}"


def _name(setting: Setting[Any]) -> str:
    return setting.key.rpartition(".")[2]


def _listed(values: Iterable[str]) -> str:
    return f"[{', '.join(map(_quoted, values))}]"


def scalar(value: str) -> str:
    """A YAML scalar that is read as this text."""
    if (_PLAIN.fullmatch(value) and value.lower() not in _WORDS) or _is_address(value):
        return value
    return _quoted(value)


def _is_address(value: str) -> bool:
    return bool(
        re.fullmatch(r"https?://[A-Za-z0-9.\[\]:-]*[A-Za-z0-9\]](/[A-Za-z0-9/._-]*)?", value)
    )


def _quoted(value: str) -> str:
    """In double quotes; JSON's are a part of YAML's, which also wants odd characters escaped."""
    text = json.dumps(value, ensure_ascii=False)
    return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in text)
