"""What the simulated client does to the real disk: libtorrent's storage, as it was measured."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass
class StoredFile:
    """One file of a torrent: its path below the save path, as renamed, and its size in bytes."""

    name: str
    size: int


def top_folder(files: Sequence[StoredFile]) -> str:
    """The folder that all files share; "" for a single file and for a torrent without one."""
    tops = {file.name.partition("/")[0] for file in files}
    nested = all("/" in file.name for file in files)
    return tops.pop() if len(tops) == 1 and nested else ""


def content_path(save_path: str, files: Sequence[StoredFile]) -> str:
    inside = files[0].name if len(files) == 1 else top_folder(files)
    return f"{save_path}/{inside}" if inside else save_path


def all_in_place(save_path: str, files: Sequence[StoredFile]) -> bool:
    """What the client looks at when it loads a torrent: existence and size, never content."""
    return all(_size(Path(save_path, file.name)) == file.size for file in files)


def any_in_place(save_path: str, files: Sequence[StoredFile]) -> bool:
    return any(Path(save_path, file.name).exists() for file in files)


def move(old: str, new: str, files: Sequence[StoredFile]) -> bool:
    """Move the files that exist from `old` to `new`; True when a full check is owed.

    A file that exists at the target stays as it is there, its source stays too, and the check is
    owed.  A missing source is no error.  Folders that become empty below `old` are removed, `old`
    itself stays.  No folder of the torrent is made for a file that is not moved.
    """
    owed = False
    for file in files:
        source, target = Path(old, file.name), Path(new, file.name)
        if target.exists():
            owed = True
        elif source.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            # Across filesystems a copy: other names of the inode keep the old one.
            shutil.move(source, target)
    remove_empty_folders(old, files)
    return owed


def remove_files(save_path: str, files: Sequence[StoredFile]) -> None:
    for file in files:
        Path(save_path, file.name).unlink(missing_ok=True)
    remove_empty_folders(save_path, files)


def rename(save_path: str, old: str, new: str) -> None:
    """Rename below the save path; what is not there needs no renaming."""
    source, target = Path(save_path, old), Path(save_path, new)
    if source.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        source.rename(target)


def remove_empty_folders(save_path: str, files: Sequence[StoredFile]) -> None:
    folders = {parent for file in files for parent in Path(file.name).parents} - {Path()}
    for folder in sorted(folders, key=lambda path: len(path.parts), reverse=True):
        with contextlib.suppress(OSError):
            Path(save_path, folder).rmdir()


def check_pieces(
    save_path: str, files: Sequence[StoredFile], piece_length: int, hashes: Sequence[bytes]
) -> list[bool]:
    """Which pieces of the torrent are on the disk, by SHA-1, as a recheck finds out."""
    found: list[bool] = []
    for data, wanted in zip(_pieces(save_path, files, piece_length), hashes, strict=True):
        found.append(hashlib.sha1(data, usedforsecurity=False).digest() == wanted)
    return found


def _pieces(save_path: str, files: Sequence[StoredFile], piece_length: int) -> Iterator[bytes]:
    piece = b""
    for file in files:
        left = file.size
        path = Path(save_path, file.name)
        with path.open("rb") if path.is_file() else Path(os.devnull).open("rb") as stream:
            while left:
                want = min(left, piece_length - len(piece))
                # What is not there counts as zeros, so that the pieces after it still line up.
                piece += stream.read(want).ljust(want, b"\0")
                left -= want
                if len(piece) == piece_length:
                    yield piece
                    piece = b""
    if piece:
        yield piece


def _size(path: Path) -> int:
    """Size in bytes, -1 when there is no such file."""
    try:
        return path.stat().st_size
    except OSError:
        return -1
