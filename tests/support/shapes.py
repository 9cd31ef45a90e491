"""What torrents on stash can look like: each shape puts one group into a lab and describes it.

A name in `SHAPES` is a part of a sentence: "a demotion of …".
"""

from __future__ import annotations

import io
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torf
from tests.support.lab import Lab, hardlink_tree
from tests.support.qbt import LabClient, row_of, settle, wait_for
from tests.support.torrents import PIECE_SIZE, MadeTorrent, make_torrent, sibling

KIB, MIB = 2**10, 2**20
CATEGORY = "managed films"


@dataclass(frozen=True)
class Shape:
    """One group, as it was put in."""

    asked: str  # the torrent that a person names
    group: tuple[str, ...]
    to_copy: int  # bytes that the pool does not have
    stays: tuple[Path, ...] = ()  # files beside it on stash that are none of its business
    reused: tuple[Path, ...] = ()  # files on the pool whose bytes it takes

    @property
    def verdict(self) -> str:
        return "MOVE" if self.to_copy else "REUSE"


def single_file(lab: Lab) -> Shape:
    torrent = lab.seed("Lone Film (2020).mkv", {"": 700 * KIB + 1}, below="movies")
    return Shape(torrent, (torrent,), 700 * KIB + 1)


def folder(lab: Lab) -> Shape:
    """Sizes that no piece ends with: nothing is padded, pieces reach over the files' ends."""
    sizes = {"disc.mkv": 500 * KIB + 13, "cover.jpg": 7, "sub/de.srt": 30_001, "sub/en.srt": 1}
    torrent = lab.seed("Folder.Film.2021", sizes, below="folders")
    return Shape(torrent, (torrent,), sum(sizes.values()))


def no_root_among_neighbours(lab: Lab) -> Shape:
    sizes = {"01 one.flac": 200 * KIB, "02 two.flac": 90 * KIB + 5, "art/front.jpg": 4000}
    flat = make_torrent(lab.home, "flat", sizes)
    shared = lab.seeding / "music"
    (shared / "art").mkdir(parents=True)
    for relpath in flat.paths:
        below = Path(relpath).relative_to("flat")
        (shared / below).write_bytes((lab.home / relpath).read_bytes())
    neighbours = (shared / "somebody else.txt", shared / "art" / "back.jpg")
    for path in neighbours:
        path.write_bytes(b"a neighbour")
    torrent = lab.add(flat, shared, no_root_folder=True)
    return Shape(torrent, (torrent,), sum(sizes.values()), stays=neighbours)


def renamed_root(lab: Lab) -> Shape:
    torrent = lab.seed("Ugly.Name-GRP", {"show.mkv": 300 * KIB, "info.nfo": 99}, rename="A Name")
    return Shape(torrent, (torrent,), 300 * KIB + 99)


def nested(lab: Lab) -> Shape:
    """Deep below the seeding root, deep in itself, and with a brother in the parent's place."""
    sizes = {"Season 1/Extras/cut/a.mkv": 100 * KIB, "Season 1/e01.mkv": 150 * KIB}
    torrent = lab.seed("Nested.Show", sizes, below="tv/by tracker/one")
    stays = lab.seeding / "tv" / "by tracker" / "stays.txt"
    stays.write_bytes(b"stays")
    return Shape(torrent, (torrent,), sum(sizes.values()), stays=(stays,))


def three_siblings(lab: Lab) -> Shape:
    """One in a hardlinked root of its own, one on the very same path."""
    sizes = {"film.mkv": MIB + 77, "extras/cut.mkv": 60 * KIB}
    torrent = lab.seed("Cross.Film.2022", sizes, below="siblings", category="films")
    own_root = lab.cross_seed(torrent, "TRACKER-B", "cross-seed", tags=["cross-seed"])
    made = sibling(lab.made[torrent], "TRACKER-C")
    same_path = lab.add(made, made.root, category="other")
    return Shape(own_root, (torrent, own_root, same_path), sum(sizes.values()))


def bytes_elsewhere_on_the_pool(lab: Lab) -> Shape:
    torrent = lab.seed("Old.Book", {"book.m4b": 400 * KIB, "book.cue": 120}, below="books")
    root = lab.made[torrent].root / "Old.Book"
    backup = lab.pool_seeding / "backup"
    backup.mkdir(exist_ok=True)
    copies = (backup / "a book.m4b", backup / "a cue.cue")
    for name, path in zip(("book.m4b", "book.cue"), copies, strict=True):
        path.write_bytes((root / name).read_bytes())
    return Shape(torrent, (torrent,), 0, reused=copies)


def bytes_at_the_target_path(lab: Lab) -> Shape:
    torrent = lab.seed("Half.There", {"a.mkv": 350 * KIB, "b/c.mkv": 50 * KIB}, below="there")
    root = lab.made[torrent].root / "Half.There"
    there = []
    for name in ("a.mkv", "b/c.mkv"):
        path = lab.pool_seeding / "there" / "Half.There" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((root / name).read_bytes())
        there.append(path)
    return Shape(torrent, (torrent,), 0, reused=tuple(there))


def some_bytes_on_the_pool(lab: Lab) -> Shape:
    """One file at its target path, one elsewhere, one missing: copied is only the last."""
    sizes = {"at home.mkv": 120 * KIB, "elsewhere.mkv": 130 * KIB, "missing.mkv": 140 * KIB}
    torrent = lab.seed("Partly.There", sizes, below="partly")
    root = lab.made[torrent].root / "Partly.There"
    home = lab.pool_seeding / "partly" / "Partly.There" / "at home.mkv"
    other = lab.pool_seeding / "partly" / "copy of elsewhere.bin"
    home.parent.mkdir(parents=True)
    home.write_bytes((root / "at home.mkv").read_bytes())
    other.write_bytes((root / "elsewhere.mkv").read_bytes())
    return Shape(torrent, (torrent,), 140 * KIB, reused=(home, other))


def unwanted_files(lab: Lab) -> Shape:
    """One file was never wanted, and is not there: priority 0, its pieces missing."""
    sizes = {"film.mkv": 4 * PIECE_SIZE, "unwanted.mkv": 3 * PIECE_SIZE}
    root = lab.seeding / "unwanted"
    made = make_torrent(root, "Partly.Wanted", sizes)
    (root / "Partly.Wanted" / "unwanted.mkv").unlink()
    api, torrent = lab.client.api, made.infohash
    api.torrents_add(
        torrent_files=made.data, save_path=str(root), is_stopped=True, content_layout="Original"
    )
    settle(api, [torrent], refreshes=0)
    api.torrents_file_priority(torrent, file_ids=[1], priority=0)
    wait_for(lambda: api.torrents_files(torrent)[1]["priority"] == 0, "the file to be unwanted")
    api.torrents_start([torrent])  # looks at what is there, and wants nothing more
    settle(api, [torrent], progress=1.0, refreshes=1)
    lab.made[torrent] = made
    return Shape(torrent, (torrent,), 4 * PIECE_SIZE)


def stopped(lab: Lab) -> Shape:
    torrent = lab.seed("Stopped.Film", {"film.mkv": 200 * KIB}, below="stopped", stopped=True)
    return Shape(torrent, (torrent,), 200 * KIB)


def siblings_of_every_kind(lab: Lab) -> Shape:
    """Force-started, stopped, managed by its category, limited, with a path for unfinished data.

    The managed one has a path for unfinished data from its category as well.
    """
    sizes = {"film.mkv": 210 * KIB, "film.nfo": 300}
    unfinished = str(lab.seeding / "unfinished")
    api = lab.client.api
    api.torrents_create_category(
        CATEGORY,
        save_path=str(lab.seeding / "managed"),
        download_path=unfinished,
        enable_download_path=True,
    )
    forced = lab.seed("Every.Kind", sizes, below="kinds", tags=["one tag", "zwei"])
    api.torrents_set_force_start(enable=True, torrent_hashes=[forced])
    paused = lab.cross_seed(forced, "TRACKER-B", "kinds/b", stopped=True)
    managed = lab.cross_seed(forced, "TRACKER-C", "managed", category=CATEGORY, auto_tmm=True)
    with_path = lab.cross_seed(forced, "TRACKER-D", "kinds/d", download_path=unfinished)
    limited = lab.cross_seed(forced, "TRACKER-E", "kinds/e", category="kept", tags=["kept"])
    api.torrents_set_share_limits(
        ratio_limit=3.25,
        seeding_time_limit=99_999,
        inactive_seeding_time_limit=-1,
        torrent_hashes=[limited],
    )
    api.torrents_set_upload_limit(limit=512 * KIB, torrent_hashes=[limited])
    api.torrents_set_download_limit(limit=256 * KIB, torrent_hashes=[limited])
    wait_for(lambda: lab.rows()[limited]["dl_limit"] == 256 * KIB, "the limits")
    wait_for(lambda: lab.rows()[forced]["state"] == "forcedUP", "the forced start")
    assert lab.rows()[managed]["auto_tmm"] is True
    assert lab.rows()[with_path]["download_path"] == unfinished
    return Shape(forced, (forced, paused, managed, with_path, limited), sum(sizes.values()))


def with_an_empty_file(lab: Lab) -> Shape:
    sizes = {"film.mkv": 150 * KIB}
    root = lab.seeding / "with empty"
    made = make_torrent(root, "Empty.Inside", sizes)
    torrent = torf.Torrent.read_stream(io.BytesIO(made.data))
    torrent.metainfo["info"]["files"].append({"length": 0, "path": ["sub", "empty.txt"]})
    (root / "Empty.Inside" / "sub").mkdir()
    (root / "Empty.Inside" / "sub" / "empty.txt").touch()
    made = replace(
        made,
        data=torrent.dump(),
        infohash=torrent.infohash,
        paths=(*made.paths, "Empty.Inside/sub/empty.txt"),
    )
    torrent_id = lab.add(made, root)
    return Shape(torrent_id, (torrent_id,), 150 * KIB)


def odd_names(lab: Lab) -> Shape:
    """Spaces, other scripts, both Unicode forms of one letter, quotes, a newline, a dash."""
    sizes = {
        " lead and trail .mkv": 40 * KIB,
        "映画 – Ünïcödé 🎬.mkv": 41 * KIB,
        "e\u0301 decomposed.mkv": 42 * KIB,
        "\u00e9 composed.mkv": 43 * KIB,
        "-rf 'quoted' \"twice\" $HOME `x` %s.mkv": 44 * KIB,
        "nel\u0085 line\u2028 par\u2029.mkv": 45 * KIB,
        "a b/two lines.mkv": 46 * KIB,
    }
    name = "Ödd  Nàmes [2024] #1 &?"
    torrent = lab.seed(name, sizes, below="odd\nplace/b")
    old, new = f"{name}/a b/two lines.mkv", f"{name}/a b/two\nlines.mkv"
    lab.client.api.torrents_rename_file(torrent, old_path=old, new_path=new)
    listed = lab.client.api.torrents_files
    wait_for(lambda: new in [row["name"] for row in listed(torrent)], "a name of two lines")
    wait_for((lab.seeding / "odd\nplace/b" / new).exists, "the same on the disk")
    return Shape(torrent, (torrent,), sum(sizes.values()))


SHAPES: dict[str, Callable[[Lab], Shape]] = {
    shape.__name__: shape
    for shape in (
        single_file,
        folder,
        no_root_among_neighbours,
        renamed_root,
        nested,
        three_siblings,
        bytes_elsewhere_on_the_pool,
        bytes_at_the_target_path,
        some_bytes_on_the_pool,
        unwanted_files,
        stopped,
        siblings_of_every_kind,
        with_an_empty_file,
        odd_names,
    )
}


def one_film(root: Path, size: int) -> MadeTorrent:
    """One file of `size` bytes in a folder, with pieces that suit a large one."""
    return make_torrent(root, "Film.2024", {"film.mkv": size}, piece_size=16 * PIECE_SIZE)


def group_of(
    lab: Lab, name: str, size: int, siblings: int, *, ready: MadeTorrent | None = None
) -> Shape:
    """`one_film` with so many torrents; cheap for content of any size, more so with a `ready` one.

    The second has a hardlinked root of its own, the third lies on the first one's path, and so on.
    """
    root = lab.seeding / name
    if ready is None:
        first = one_film(root, size)
    else:
        shutil.copytree(ready.root / ready.name, root / ready.name)
        first = replace(ready, root=root)
    ids = []
    for number in range(siblings):
        made = with_source(first, f"TRACKER-{number}")
        place = root if number % 2 == 0 else lab.seeding / f"{name}-{number}"
        if place != root:
            hardlink_tree(root / "Film.2024", place / "Film.2024")
        ids.append(lab.client.add(made.data, place, category=f"category {number}", tags=["big"]))
    return Shape(ids[0], tuple(ids), size)


def with_source(made: MadeTorrent, source: str) -> MadeTorrent:
    """A sibling without reading the content again."""
    torrent = torf.Torrent.read_stream(io.BytesIO(made.data))
    torrent.source = source
    return replace(made, data=torrent.dump(), infohash=str(torrent.infohash))


def download(
    leech: LabClient, made: MadeTorrent, target: Path, seeder: LabClient, *, limit: int = 0
) -> bytes:
    """Let another client fetch a single-file torrent, with at most `limit` bytes/s (0: any)."""
    port = seeder.api.app_preferences()["listen_port"]
    target.mkdir()
    api, ids = leech.api, [made.infohash]
    api.torrents_add(torrent_files=made.data, save_path=str(target), download_limit=limit)
    wait_for(lambda: bool(api.torrents_info(torrent_hashes=ids)), "the torrent")
    deadline = time.monotonic() + 40
    while row_of(api, made.infohash)["progress"] < 1:
        api.torrents_add_peers(peers=[f"127.0.0.1:{port}"], torrent_hashes=ids)
        assert time.monotonic() < deadline, "nobody sent the bytes"
        time.sleep(0.2)
    api.torrents_delete(delete_files=False, torrent_hashes=ids)
    return (target / made.name).read_bytes()
