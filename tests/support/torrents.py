"""Torrents for tests and the demo: content that is the same every time, and siblings of it."""

from __future__ import annotations

import hashlib
import io
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torf

# A port on which nothing listens: the client's announces fail at once and stay on this machine.
NO_TRACKER = "http://127.0.0.1:9/announce"
PIECE_SIZE = 64 * 1024  # bytes
BLOCK_SIZE = 2**20  # bytes


@dataclass(frozen=True, kw_only=True)
class MadeTorrent:
    """A torrent file and where its content lies."""

    name: str  # top folder, or the file of a single-file torrent
    data: bytes  # the .torrent file
    infohash: str  # 40 lower-case hex
    root: Path  # the folder that holds `name`: the save path of a torrent with a root folder
    paths: tuple[str, ...]  # files relative to `root`, in the torrent's order
    size: int  # bytes

    @property
    def is_single_file(self) -> bool:
        return self.paths == (self.name,)


def content(seed: str | int, size: int) -> bytes:
    """`size` bytes that look random and are the same for the same `seed` in every process."""
    return b"".join(content_blocks(seed, size))


def content_blocks(seed: str | int, size: int) -> Iterator[bytes]:
    """The same in blocks, for content that is larger than what one wants in memory."""
    number = int.from_bytes(hashlib.sha256(str(seed).encode()).digest(), "big")
    stream = random.Random(number)
    for start in range(0, size, BLOCK_SIZE):
        yield stream.randbytes(min(BLOCK_SIZE, size - start))


def write_files(folder: Path, files: Mapping[str, bytes | int]) -> None:
    """Write each relpath below `folder`; a number is that many bytes of `content(relpath)`."""
    for relpath, wanted in files.items():
        path = folder / relpath
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as out:
            blocks = [wanted] if isinstance(wanted, bytes) else content_blocks(relpath, wanted)
            out.writelines(blocks)


def make_torrent(
    root: Path,
    name: str,
    files: Mapping[str, bytes | int] | None = None,
    *,
    source: str = "",
    trackers: Sequence[str] = (NO_TRACKER,),
    piece_size: int = PIECE_SIZE,
) -> MadeTorrent:
    """Make a private v1 torrent of `root/name`.

    `files` maps paths below `root/name` to bytes or sizes; they are written first.  The key ""
    alone means that `name` itself is the (single) file.  None: the content is there already,
    which is how a sibling is made: the same content with another `source`.
    """
    target = root / name
    if files is not None:
        if set(files) == {""}:
            write_files(root, {name: files[""]})
        else:
            write_files(target, files)
    torrent = torf.Torrent(
        path=str(target),
        trackers=list(trackers),
        private=True,
        source=source or None,
        piece_size=piece_size,
        created_by="seedkeep tests",
    )
    torrent.creation_date = None
    torrent.generate(threads=1)
    # torf looks at the disk again for some attributes: read them before anybody renames a folder.
    return MadeTorrent(
        name=name,
        data=torrent.dump(),
        infohash=torrent.infohash,
        root=root,
        paths=tuple(str(file) for file in torrent.files),
        size=torrent.size,
    )


def sibling(made: MadeTorrent, source: str, *, piece_size: int = PIECE_SIZE) -> MadeTorrent:
    """The same content as another tracker has it: same files, other infohash."""
    return make_torrent(made.root, made.name, None, source=source, piece_size=piece_size)


def infohash_of(data: bytes) -> str:
    """The v1 infohash of a .torrent file, 40 lower-case hex."""
    return str(torf.Torrent.read_stream(io.BytesIO(data)).infohash).lower()
