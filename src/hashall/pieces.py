"""Check files against the piece hashes of their own .torrent file.

This proof needs no catalog: it is what a full recheck of the client would find, made by reading.
v1 pieces are SHA-1 over the files one after another; v2 pieces are SHA-256 trees over 16 KiB blocks
of each file by itself (BEP 3, 47 and 52).
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from hashall.hashing import forget_cached
from hashall.metainfo import BLOCK, Metainfo, merkle_root

ZERO = b"\0"
_KEPT_OPEN = 64  # files

Progress = Callable[[int], None]  # bytes read since the last call


@dataclass(frozen=True)
class Span:
    """A part of one file that belongs to a piece."""

    file: int  # position in `Metainfo.files`
    start: int  # bytes
    length: int  # bytes


@dataclass(frozen=True)
class Piece:
    """One thing to hash: what it is made of, and what must come out."""

    number: int  # of all pieces of the torrent, from 0
    spans: tuple[Span, ...]
    sha1: bytes | None  # v1
    sha256: bytes | None = None  # v2: the root over its blocks
    leaves: int = 0  # v2: how many leaves the tree is filled up to


@dataclass(frozen=True)
class PieceReport:
    """What the reading came to.  `bad` and `unchecked` are numbers of pieces."""

    pieces: int  # of the whole torrent
    checked: int
    bytes_read: int
    files: int  # on disk that have a part in a checked piece
    bad: tuple[int, ...] = ()
    unchecked: tuple[int, ...] = ()  # chosen, but a part of them is not on disk
    files_in_bad: tuple[str, ...] = ()  # paths that have a part in a bad piece
    missing: tuple[str, ...] = ()  # wanted, and not there, of another size, or not to be read
    version: str = "v1"  # whose hashes were used

    @property
    def is_proved(self) -> bool:
        """Every chosen piece is what the torrent says, and nothing wanted is missing."""
        return bool(self.checked) and not self.bad and not self.missing


def check_pieces(
    metainfo: Metainfo,
    paths: Sequence[Path | None],
    *,
    share: float = 1.0,
    seed: int | None = None,
    progress: Progress = lambda _bytes: None,
) -> PieceReport:
    """Read files and compare them with the torrent's hashes.

    Args:
        paths: Where each of `metainfo.content` (its files without padding) lies, in that order;
            None for a file that is not wanted: pieces with a part of it are left unchecked.
        share: Which part of the pieces to read, chosen at random, at least one of each file.
        seed: For choosing the same pieces again.
    """
    return _Check(metainfo, paths, progress).run(share, random.Random(seed))


@dataclass
class _Check:
    metainfo: Metainfo
    paths: Sequence[Path | None]
    progress: Progress
    _open: dict[int, IO[bytes]] = field(default_factory=dict)
    _lost: set[int] = field(default_factory=set)  # wanted files that cannot be opened, or used
    _unread: set[int] = field(default_factory=set)  # those that did not give what they should
    _read: int = 0

    def run(self, share: float, chance: random.Random) -> PieceReport:
        if len(self.paths) != len(self.metainfo.content):
            raise ValueError(f"{len(self.paths)} paths, {len(self.metainfo.content)} files")
        self._at = dict(zip(self.metainfo.content, self.paths, strict=True))
        pieces = list(pieces_of(self.metainfo))
        self._look()
        bad: list[int] = []
        unchecked: list[int] = []
        checked = 0
        seen: set[int] = set()
        try:
            for piece in _chosen(pieces, share, chance):
                right = self._is_right(piece)
                if right is None:
                    unchecked.append(piece.number)
                    continue
                checked += 1
                seen |= {span.file for span in piece.spans}
                if not right:
                    bad.append(piece.number)
        finally:
            for stream in self._open.values():
                stream.close()
        touched = {span.file for number in bad for span in pieces[number].spans}
        return PieceReport(
            pieces=len(pieces),
            checked=checked,
            bytes_read=self._read,
            files=sum(not self.metainfo.files[number].is_padding for number in seen),
            bad=tuple(bad),
            unchecked=tuple(unchecked),
            files_in_bad=tuple(
                str(self._at[self.metainfo.files[number]])
                for number in sorted(touched)
                if not self.metainfo.files[number].is_padding
            ),
            missing=tuple(
                str(self._at[self.metainfo.files[number]])
                for number in sorted(self._lost | self._unread)
            ),
            version="v1" if self.metainfo.pieces else "v2",
        )

    def _look(self) -> None:
        """Before anything is read: is every wanted file there, and of its size?"""
        for number, file in enumerate(self.metainfo.files):
            path = self._at.get(file)
            if file.is_padding or path is None:
                continue
            try:
                is_whole = path.is_file() and path.stat().st_size == file.size
            except OSError:
                is_whole = False
            if not is_whole:
                self._lost.add(number)

    def _is_right(self, piece: Piece) -> bool | None:
        """None when a part of it cannot be read."""
        blocks = [self._bytes_of(span) for span in piece.spans]
        data = b"".join(block for block in blocks if block is not None)
        if any(block is None for block in blocks):
            return None
        if piece.sha1 is not None:
            return hashlib.sha1(data, usedforsecurity=False).digest() == piece.sha1
        return merkle_root(data, piece.leaves) == piece.sha256

    def _bytes_of(self, span: Span) -> bytes | None:
        file = self.metainfo.files[span.file]
        if file.is_padding:
            return ZERO * span.length
        stream = self._stream(span.file)
        if stream is None:
            return None
        try:
            stream.seek(span.start)
            data = stream.read(span.length)
        except OSError:
            self._unread.add(span.file)
            return None
        self._read += len(data)
        self.progress(len(data))
        if len(data) != span.length:
            self._unread.add(span.file)
            return None
        return data

    def _stream(self, number: int) -> IO[bytes] | None:
        if number in self._lost:
            return None
        if number not in self._open:
            path = self._at[self.metainfo.files[number]]
            if path is None:
                return None
            try:
                stream = path.open("rb")
            except OSError:
                self._lost.add(number)
                return None
            # Torrents with thousands of files: keep only what the next piece may need.
            for other in [n for n in self._open if n < number - _KEPT_OPEN]:
                self._open.pop(other).close()
            self._open[number] = stream
            forget_cached(stream.fileno())
        return self._open[number]


def pieces_of(metainfo: Metainfo) -> Iterator[Piece]:
    """All pieces: v1 where the torrent has them, because they also prove what lies between."""
    if metainfo.pieces:
        yield from _v1_pieces(metainfo)
    else:
        yield from _v2_pieces(metainfo)


def _v1_pieces(metainfo: Metainfo) -> Iterator[Piece]:
    number, spans, room = 0, list[Span](), metainfo.piece_length
    for index, file in enumerate(metainfo.files):
        at = 0
        while at < file.size:
            length = min(file.size - at, room)
            spans.append(Span(index, at, length))
            at, room = at + length, room - length
            if room == 0:
                yield Piece(number, tuple(spans), metainfo.pieces[number])
                number, spans, room = number + 1, [], metainfo.piece_length
    if spans:
        yield Piece(number, tuple(spans), metainfo.pieces[number])


def _v2_pieces(metainfo: Metainfo) -> Iterator[Piece]:
    number = 0
    per_piece = metainfo.piece_length // BLOCK
    for index, file in enumerate(metainfo.files):
        if file.is_padding or not file.size:
            continue
        layer = metainfo.layers.get(file.root)
        if file.size <= metainfo.piece_length:
            leaves = _power_of_two(-(-file.size // BLOCK))
            yield Piece(number, (Span(index, 0, file.size),), None, file.root, leaves)
            number += 1
            continue
        assert layer is not None  # reading the metainfo has proved it
        for start, wanted in zip(range(0, file.size, metainfo.piece_length), layer, strict=True):
            length = min(metainfo.piece_length, file.size - start)
            yield Piece(number, (Span(index, start, length),), None, wanted, per_piece)
            number += 1


def _chosen(pieces: list[Piece], share: float, chance: random.Random) -> list[Piece]:
    """In order of the disk; with a share, at least one piece of each file."""
    if share >= 1:
        return pieces
    count = max(1, round(len(pieces) * share))
    chosen = set(chance.sample(range(len(pieces)), min(count, len(pieces))))
    of_file: dict[int, list[int]] = {}
    for piece in pieces:
        for span in piece.spans:
            of_file.setdefault(span.file, []).append(piece.number)
    for numbers in of_file.values():
        if chosen.isdisjoint(numbers):
            chosen.add(chance.choice(numbers))
    return [pieces[number] for number in sorted(chosen)]


def _power_of_two(least: int) -> int:
    return 1 << max(0, least - 1).bit_length()
