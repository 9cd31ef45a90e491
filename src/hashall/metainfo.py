"""Reading a .torrent file: what a check of pieces needs, and nothing that could be executed.

Strict, because the bytes come from strangers: a length that does not fit, a hash list of another
size or a tree that does not lead to its root is an error, never a guess.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from seedkeep.errors import SeedError

MOST_DEPTH = 100  # of nested lists and dicts
LARGEST_PIECE = 1 << 28  # bytes
BLOCK = 16 * 1024  # bytes, a leaf of a v2 tree
_NO_LEAF = b"\0" * 32


class BadTorrentFile(SeedError):
    """A .torrent file is damaged, or of a kind that is not known."""

    code = "torrent-file"


@dataclass(frozen=True)
class MetaFile:
    number: int  # position in the torrent
    path: str  # as the torrent was made; the client may have renamed it since
    size: int  # bytes
    is_padding: bool = False  # BEP 47: zeros that are on no disk
    root: bytes = b""  # v2: root of the file's tree; b"" for v1 and empty files


@dataclass(frozen=True)
class Metainfo:
    name: str
    piece_length: int  # bytes
    files: tuple[MetaFile, ...]
    pieces: tuple[bytes, ...]  # v1: SHA-1 of each; () for a pure v2 torrent
    layers: Mapping[bytes, tuple[bytes, ...]]  # v2: root of a file → hash of each of its pieces
    infohash_v1: str  # 40 hex; "" for a pure v2 torrent
    infohash_v2: str  # 64 hex; "" for a v1 torrent

    @cached_property
    def content(self) -> tuple[MetaFile, ...]:
        """Files that exist: the order is that of the client's list."""
        return tuple(file for file in self.files if not file.is_padding)


def read_metainfo(data: bytes) -> Metainfo:
    """Raises `BadTorrentFile`."""
    try:
        top, spans = _Reader(data).document()
        return _metainfo(top, data[slice(*spans)])
    except (KeyError, TypeError, ValueError, IndexError) as why:
        raise BadTorrentFile("a .torrent file cannot be read", detail=str(why)) from why


def _metainfo(top: dict[bytes, Any], raw: bytes) -> Metainfo:
    info = top[b"info"]
    piece_length = info[b"piece length"]
    if not 0 < piece_length <= LARGEST_PIECE:
        raise ValueError(f"a piece length of {piece_length}")
    version = info.get(b"meta version", 1)
    if version not in (1, 2):
        raise ValueError(f"meta version {version}")
    joined = info.get(b"pieces", b"")
    has_v1 = b"pieces" in info
    if has_v1:
        files = tuple(_v1_files(info))
        pieces = tuple(joined[at : at + 20] for at in range(0, len(joined), 20))
        total = sum(file.size for file in files)
        if len(joined) != 20 * -(-total // piece_length):
            raise ValueError(f"{len(joined)} bytes of piece hashes for {total} bytes")
    else:
        files, pieces = tuple(_v2_files(info)), ()
    layers = {} if has_v1 else _layers(top, files, piece_length)
    return Metainfo(
        name=_text(info[b"name"]),
        piece_length=piece_length,
        files=files,
        pieces=pieces,
        layers=layers,
        infohash_v1=hashlib.sha1(raw, usedforsecurity=False).hexdigest() if has_v1 else "",
        infohash_v2=hashlib.sha256(raw).hexdigest() if version == 2 else "",
    )


def _v1_files(info: dict[bytes, Any]) -> Iterator[MetaFile]:
    if b"files" not in info:
        yield MetaFile(0, _text(info[b"name"]), _size(info[b"length"]))
        return
    for number, row in enumerate(info[b"files"]):
        attributes = row.get(b"attr", b"")
        path = "/".join(_text(part) for part in row[b"path"])
        yield MetaFile(number, path, _size(row[b"length"]), b"p" in attributes)


def _v2_files(info: dict[bytes, Any]) -> Iterator[MetaFile]:
    for number, (path, row) in enumerate(_leaves(info[b"file tree"], ())):
        size = _size(row[b"length"])
        root = row.get(b"pieces root", b"")
        if len(root) != (32 if size else 0):
            raise ValueError(f"{'/'.join(path)} has no root of its tree")
        yield MetaFile(number, "/".join(path), size, root=root)


def _leaves(
    tree: dict[bytes, Any], above: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], dict[bytes, Any]]]:
    for name, below in tree.items():
        if name == b"":
            yield above, below
        else:
            yield from _leaves(below, (*above, _text(name)))


def _layers(
    top: dict[bytes, Any], files: tuple[MetaFile, ...], piece_length: int
) -> dict[bytes, tuple[bytes, ...]]:
    """Hashes of the pieces of each larger file, proved to lead to the file's root."""
    per_piece = piece_length // BLOCK
    if piece_length % BLOCK or per_piece & (per_piece - 1):
        raise ValueError(f"a piece length of {piece_length}")
    filling = merkle_of([], per_piece, _NO_LEAF)
    found = {}
    for file in files:
        if file.size <= piece_length:
            continue
        joined = top.get(b"piece layers", {})[file.root]
        layer = tuple(joined[at : at + 32] for at in range(0, len(joined), 32))
        count = -(-file.size // piece_length)
        full = 1 << (count - 1).bit_length()
        if len(joined) != 32 * count or merkle_of(layer, full, filling) != file.root:
            raise ValueError(f"the hashes of {file.path} do not lead to its root")
        found[file.root] = layer
    return found


def merkle_root(data: bytes, leaves: int) -> bytes:
    """Of 16 KiB blocks, filled up with zero hashes to `leaves`, a power of two."""
    hashes = [
        hashlib.sha256(data[start : start + BLOCK]).digest() for start in range(0, len(data), BLOCK)
    ]
    return merkle_of(hashes, leaves, _NO_LEAF)


def merkle_of(hashes: Sequence[bytes], leaves: int, filling: bytes) -> bytes:
    """The root over `hashes`, filled up to `leaves` of them."""
    layer = [*hashes, *[filling] * (leaves - len(hashes))]
    while len(layer) > 1:
        layer = [
            hashlib.sha256(layer[at] + layer[at + 1]).digest() for at in range(0, len(layer), 2)
        ]
    return layer[0]


def _size(value: Any) -> int:
    if not isinstance(value, int) or value < 0:
        raise ValueError(f"a size of {value!r}")
    return value


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


class _Reader:
    """Bencode: ints, byte strings, lists and dicts, and where the info dict stands."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0
        self._info = (0, 0)

    def document(self) -> tuple[dict[bytes, Any], tuple[int, int]]:
        value = self._value(0)
        if not isinstance(value, dict) or self._at != len(self._data):
            raise ValueError("it is not one dictionary")
        return value, self._info

    def _value(self, depth: int) -> Any:
        if depth > MOST_DEPTH:
            raise ValueError("it is nested too deeply")
        kind = self._data[self._at : self._at + 1]
        if kind == b"i":
            return self._integer(b"e", self._at + 1)
        if kind == b"l":
            return self._list(depth)
        if kind == b"d":
            return self._dict(depth)
        return self._bytes()

    def _integer(self, end: bytes, start: int) -> int:
        stop = self._data.index(end, start, start + 24)
        text = self._data[start:stop]
        if not text.removeprefix(b"-").isdigit():
            raise ValueError(f"{text!r} is no number")
        self._at = stop + 1
        return int(text)

    def _bytes(self) -> bytes:
        length = self._integer(b":", self._at)
        start, self._at = self._at, self._at + length
        if length < 0 or self._at > len(self._data):
            raise ValueError("it is cut off")
        return self._data[start : self._at]

    def _list(self, depth: int) -> list[Any]:
        self._at += 1
        found = []
        while self._data[self._at : self._at + 1] != b"e":
            found.append(self._value(depth + 1))
        self._at += 1
        return found

    def _dict(self, depth: int) -> dict[bytes, Any]:
        self._at += 1
        found: dict[bytes, Any] = {}
        while self._data[self._at : self._at + 1] != b"e":
            key = self._bytes()
            start = self._at
            found[key] = self._value(depth + 1)
            if depth == 0 and key == b"info":
                self._info = (start, self._at)
        self._at += 1
        return found
