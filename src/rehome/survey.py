"""What a first configuration can be made from: the client's folders and the filesystems here.

Reads the client and the mount table; changes nothing, and needs no catalog.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from hashall.mounts import UnknownFilesystem
from hashall.pathing import MountTable
from hashall.qbittorrent import PathMap
from seedkeep.setting_types import PathPair
from seedkeep.torrent_client import ClientVersion, Torrent, TorrentFile

MOST_TRIED = 200  # torrents that a pair of the path map is tried on
MOST_PROVED, MOST_FILES = 3, 100  # torrents, and files of each, whose sizes have to agree
MOST_NEIGHBOURS = 12  # folders
MOST_TOPS = 1000  # folders that a folder of the client is looked for in
# Filesystems on which nobody keeps torrents; also what a container is made of.
_NO_STORAGE = frozenset(
    {
        *("autofs", "bpf", "binfmt_misc", "cgroup", "cgroup2", "configfs", "debugfs", "devpts"),
        *("devtmpfs", "efivarfs", "fusectl", "hugetlbfs", "mqueue", "nsfs", "overlay", "proc"),
        *("pstore", "ramfs", "rpc_pipefs", "securityfs", "squashfs", "sysfs", "tracefs"),
    }
)


class Surveyed(Protocol):
    """The part of a torrent client that is asked."""

    def version(self) -> ClientVersion: ...
    def torrents(self, ids: Collection[str] | None = None) -> list[Torrent]: ...
    def categories(self) -> Mapping[str, str]: ...
    def files(self, torrent_id: str) -> Sequence[TorrentFile]: ...


@dataclass(frozen=True)
class Filesystem:
    fs_key: str
    fs_type: str
    mount_point: str
    total_bytes: int


@dataclass(frozen=True)
class SavePath:
    """One folder that the client keeps torrents in, or would for a category."""

    client: str  # as the client writes it
    ours: Path | None  # None: there is no such folder here, also not by the path map
    torrents: int
    categories: tuple[str, ...]
    filesystem: Filesystem | None = None


@dataclass(frozen=True)
class Survey:
    version: str = ""  # "" when the client was not asked, or did not answer
    problem: str = ""  # why it was not
    torrents: int = 0
    categories: tuple[str, ...] = ()
    save_paths: tuple[SavePath, ...] = ()
    path_map: tuple[PathPair, ...] = ()  # as given, and what was guessed
    guessed: tuple[PathPair, ...] = ()  # the part of it that was
    others: tuple[Filesystem, ...] = ()  # that could hold a pool, the largest first


def survey(client: Surveyed, given: Sequence[PathPair] = ()) -> Survey:
    """Ask the client, and look where its folders are here.

    Args:
        given: Pairs of the path map that are known.  Where they do not fit, others are guessed.

    Raises what the client raises.
    """
    torrents, categories = client.torrents(), client.categories()
    mounts = MountTable.read()
    counts = Counter(torrent.save_path.rstrip("/") or "/" for torrent in torrents)
    users = _categories_by_path(torrents, categories)
    paths = sorted({*counts, *users})
    pairs = [*given]
    guessed = _guess(paths, PathMap(pairs), client, torrents, mounts)
    pairs += guessed
    path_map = PathMap(pairs)
    return Survey(
        version=client.version().app,
        torrents=len(torrents),
        categories=tuple(sorted(categories)),
        save_paths=tuple(
            _save_path(path, path_map, mounts, counts[path], tuple(sorted(users[path])))
            for path in paths
        ),
        path_map=tuple(pairs),
        guessed=tuple(guessed),
        others=storage(mounts),
    )


def _categories_by_path(
    torrents: Iterable[Torrent], categories: Mapping[str, str]
) -> dict[str, set[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for name, path in categories.items():
        if path:
            found[path.rstrip("/") or "/"].add(name)
    for torrent in torrents:
        path = torrent.save_path.rstrip("/") or "/"
        found[path] |= {torrent.category} - {""}
    return found


def _save_path(
    path: str, path_map: PathMap, mounts: MountTable, torrents: int, categories: tuple[str, ...]
) -> SavePath:
    ours = path_map.to_ours(path)
    if not ours.is_dir():
        return SavePath(path, None, torrents, categories)
    return SavePath(path, ours, torrents, categories, _filesystem(mounts, ours))


def _filesystem(mounts: MountTable, path: Path) -> Filesystem | None:
    try:
        found, space = mounts.locate(path), os.statvfs(path)
    except (OSError, UnknownFilesystem):
        return None
    total = space.f_blocks * space.f_frsize
    return Filesystem(found.identity.fs_key, found.identity.fs_type, found.mount_point, total)


def storage(mounts: MountTable) -> tuple[Filesystem, ...]:
    """Mounted filesystems that could hold torrents, each once, the largest first."""
    found: dict[str, Filesystem] = {}
    for mount in mounts.mounts:
        if mount.fs_type in _NO_STORAGE or not Path(mount.mount_point).is_dir():
            continue
        here = _filesystem(mounts, Path(mount.mount_point))
        if here is not None and here.total_bytes:
            found.setdefault(here.fs_key, here)
    return tuple(sorted(found.values(), key=lambda item: (-item.total_bytes, item.mount_point)))


def neighbours(folder: Path, mount_point: Path) -> tuple[Path, ...]:
    """Folders beside `folder` and beside those above it, up to the root of its filesystem."""
    found: list[Path] = []
    here = folder
    while here not in (mount_point, here.parent):
        found += [path for path in _folders_in(here.parent) if path != here]
        here = here.parent
    return tuple(found[:MOST_NEIGHBOURS])


def _folders_in(folder: Path) -> list[Path]:
    try:
        inside = sorted(path for path in folder.iterdir() if path.is_dir())
    except OSError:
        return []
    return [path for path in inside if not path.name.startswith(".") and path.name != "lost+found"]


# -- the path map


def _guess(
    paths: Iterable[str],
    known: PathMap,
    client: Surveyed,
    torrents: Sequence[Torrent],
    mounts: MountTable,
) -> list[PathPair]:
    """Pairs that show folders of the client here, each proved by content that really lies there."""
    lost = [path for path in paths if not known.to_ours(path).is_dir()]
    seeding = [t for t in torrents if t.progress == 1 and not t.amount_left][:MOST_TRIED]
    tops = _tops(mounts) if lost and seeding else ()
    found: list[PathPair] = []
    refused: set[PathPair] = set()
    while lost:
        pairs = {pair for path in lost for pair in _candidates(path, tops)} - {*found} - refused
        # Of pairs that show the same content the most general one: it shows new folders as well.
        scored = [(len(_shown_by(pair, seeding)), -len(pair.client), pair) for pair in pairs]
        number, _, best = max(scored, default=(0, 0, PathPair("", "")))
        if not number:
            break
        if not _is_proved(best, client, _shown_by(best, seeding)):
            refused.add(best)
            continue
        found.append(best)
        mapped = PathMap(found)
        lost = [path for path in lost if not mapped.to_ours(path).is_dir()]
    return found


def _tops(mounts: MountTable) -> tuple[Path, ...]:
    """Mount points and the folders in them: what a container's folders are made from."""
    points = {Path(m.mount_point) for m in mounts.mounts if m.fs_type not in _NO_STORAGE}
    points = {Path("/"), *points}
    first = [folder for point in sorted(points) for folder in _folders_in(point)]
    second = [folder for point in first for folder in _folders_in(point)]
    return tuple(dict.fromkeys([*sorted(points), *first, *second]))[:MOST_TOPS]


def _candidates(path: str, tops: Iterable[Path]) -> Iterator[PathPair]:
    """Where there is a folder with the client's path, or its end, below one of `tops`.

    With /srv/torrents/tv here, /data/torrents/tv may be reached by /data = /srv.
    """
    parts = PurePosixPath(path).parts[1:]
    for top in tops:
        for cut in range(1, len(parts) + 1):
            if top.joinpath(*parts[cut:]).is_dir():
                yield PathPair("/" + "/".join(parts[:cut]), str(top))
                break


def _shown_by(pair: PathPair, torrents: Iterable[Torrent]) -> list[Torrent]:
    """Those whose content has its name where the pair says that it is."""
    mapped, inside = PathMap([pair]), f"{pair.client.rstrip('/')}/"
    return [
        torrent
        for torrent in torrents
        if torrent.content_path.startswith(inside)
        and os.path.lexists(mapped.to_ours(torrent.content_path))
    ]


def _is_proved(pair: PathPair, client: Surveyed, torrents: Iterable[Torrent]) -> bool:
    """A name may be there by chance; every file with its size is not."""
    mapped = PathMap([pair])
    for torrent in list(torrents)[:MOST_PROVED]:
        folder = mapped.to_ours(torrent.save_path)
        for file in client.files(torrent.torrent_id)[:MOST_FILES]:
            if file.wanted and _size(folder / file.name) != file.size:
                return False
    return True


def _size(path: Path) -> int | None:
    try:
        return path.lstat().st_size
    except (OSError, ValueError):
        return None
