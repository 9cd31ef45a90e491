from __future__ import annotations

import hashlib
import os
import socket
from pathlib import Path

import pytest
import xxhash

from hashall import hashing
from hashall.hashing import (
    BLOCK,
    DROP_EVERY,
    QUICK_SAMPLE,
    ChangedWhileReading,
    FileStamp,
    HashingStopped,
    NotRegular,
    hash_cached,
    hash_file,
    hash_small,
    quick_hash_file,
)

SIZES = (
    *(0, 1, QUICK_SAMPLE, 3 * QUICK_SAMPLE, 3 * QUICK_SAMPLE + 1),
    *(BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 3 * BLOCK + 17),
)


def quick_hash_by_hand(data: bytes) -> str:
    size = len(data)
    text = size.to_bytes(8, "little")
    if size <= 3 * QUICK_SAMPLE:
        return xxhash.xxh3_128(text + data).hexdigest()
    middle = (size - QUICK_SAMPLE) // 2
    text += data[:QUICK_SAMPLE] + data[middle : middle + QUICK_SAMPLE] + data[-QUICK_SAMPLE:]
    return xxhash.xxh3_128(text).hexdigest()


@pytest.mark.parametrize("size", SIZES)
def test_both_hashes_are_those_of_the_bytes_at_every_size(tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    file = tmp_path / "film.mkv"
    file.write_bytes(data)

    hashed = hash_file(file)

    assert hashed.sha256 == hashlib.sha256(data).hexdigest()
    assert hashed.quick_hash == quick_hash_by_hand(data)
    assert hashed.stamp == FileStamp.of(file.stat())


@pytest.mark.parametrize("size", SIZES)
def test_samples_alone_give_the_same_quick_hash_and_no_identity(tmp_path: Path, size: int) -> None:
    file = tmp_path / "film.mkv"
    file.write_bytes(os.urandom(size))

    sampled = quick_hash_file(file)

    assert sampled.quick_hash == hash_file(file).quick_hash
    assert sampled.sha256 is None
    assert sampled.stamp.size == size


def test_the_quick_hash_of_known_bytes_never_changes_between_releases(tmp_path: Path) -> None:
    file = tmp_path / "known"
    file.write_bytes(bytes(range(256)) * 1024)

    assert quick_hash_file(file).quick_hash == "6ebd6cd5bd3ae8e070d6c8ab75eb39ac"


def test_a_quick_hash_that_nobody_wants_is_empty(tmp_path: Path) -> None:
    file = tmp_path / "film.mkv"
    file.write_bytes(b"film")

    assert hash_file(file, want_quick=False).quick_hash == ""


def test_a_name_is_found_in_an_open_directory(tmp_path: Path) -> None:
    (tmp_path / "film.mkv").write_bytes(b"film")
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        whole = hash_file("film.mkv", dir_fd=folder)
        sampled = quick_hash_file("film.mkv", folder)
    finally:
        os.close(folder)

    assert whole.sha256 == hashlib.sha256(b"film").hexdigest()
    assert sampled.quick_hash == whole.quick_hash


@pytest.mark.parametrize("size", [100, 3 * BLOCK])
def test_progress_counts_every_byte_once(tmp_path: Path, size: int) -> None:
    file = tmp_path / "film.mkv"
    file.write_bytes(bytes(size))
    steps: list[int] = []

    hash_file(file, progress=steps.append)

    assert sum(steps) == size


@pytest.mark.parametrize("size", [100, 3 * BLOCK])
def test_hashing_stops_when_asked(tmp_path: Path, size: int) -> None:
    file = tmp_path / "film.mkv"
    file.write_bytes(bytes(size))

    with pytest.raises(HashingStopped):
        hash_file(file, stop=lambda: True)


def test_a_large_file_is_left_in_the_middle_when_asked(tmp_path: Path) -> None:
    file = tmp_path / "film.mkv"
    file.write_bytes(bytes(4 * BLOCK))
    steps: list[int] = []

    with pytest.raises(HashingStopped):
        hash_file(file, progress=steps.append, stop=lambda: len(steps) == 2)

    assert sum(steps) == 2 * BLOCK


@pytest.mark.parametrize("size", [100, 3 * BLOCK])
@pytest.mark.parametrize("change", ["grows", "shrinks", "is rewritten"])
def test_a_file_that_changes_under_the_reader_gets_no_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, change: str
) -> None:
    file = tmp_path / "film.mkv"
    file.write_bytes(bytes(size))
    os.utime(file, ns=(1, 1))

    def change_it(fd: int, old_size: int, **named: object) -> object:
        # Between the first fstat and the first read.
        if change == "grows":
            with file.open("ab") as more:
                more.write(b"x" * 5)
        elif change == "shrinks":
            os.truncate(file, size - 7)
        else:
            file.write_bytes(b"y" * size)
        return real(fd, old_size)

    real = hashing.blocks
    monkeypatch.setattr(hashing, "blocks", change_it)

    with pytest.raises(ChangedWhileReading, match="changed while it was read"):
        hash_file(file)


def test_a_file_that_grows_for_ever_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "log"
    file.write_bytes(bytes(2 * BLOCK))
    read: list[int] = []

    def grow(count: int) -> None:
        read.append(count)
        with file.open("ab") as more:
            more.write(bytes(2 * BLOCK))

    with pytest.raises(ChangedWhileReading):
        hash_file(file, progress=grow)
    assert sum(read) == 3 * BLOCK


def test_samples_of_a_file_that_changes_meanwhile_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "film.mkv"
    file.write_bytes(bytes(100))
    os.utime(file, ns=(1, 1))
    real = os.pread

    def change_it(fd: int, count: int, offset: int) -> bytes:
        file.write_bytes(b"y" * 100)
        return real(fd, count, offset)

    monkeypatch.setattr(os, "pread", change_it)

    with pytest.raises(ChangedWhileReading):
        quick_hash_file(file)


def test_reads_that_come_in_pieces_are_one_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = os.urandom(1000)
    file = tmp_path / "film.mkv"
    file.write_bytes(data)
    real = os.read
    monkeypatch.setattr(os, "read", lambda fd, count: real(fd, min(count, 300)))

    assert hash_file(file).sha256 == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("size", [1000, 3 * BLOCK])
def test_fewer_bytes_than_the_size_are_no_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    # Cut, read, and put back with its old size and mtime: stat alone does not tell.
    file = tmp_path / "film.mkv"
    file.write_bytes(os.urandom(size))
    monkeypatch.setattr(os, "read", lambda _fd, _count: b"")
    monkeypatch.setattr(os, "readv", lambda _fd, _buffers: 0)

    with pytest.raises(ChangedWhileReading):
        hash_file(file)


def test_nothing_but_a_regular_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"film")
    (tmp_path / "symlink").symlink_to("real")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        folder = os.open(tmp_path, os.O_RDONLY)
        try:  # by descriptor: a socket's path may have 107 bytes only
            listener.bind(f"/proc/self/fd/{folder}/socket")
        finally:
            os.close(folder)

    for name in ("symlink", "folder", "fifo", "socket"):
        with pytest.raises(NotRegular, match=name):
            hash_file(tmp_path / name)
        with pytest.raises(NotRegular, match=name):
            quick_hash_file(tmp_path / name)


def test_a_missing_file_is_an_oserror(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        hash_file(tmp_path / "gone")


def test_no_descriptor_stays_open(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    file = tmp_path / "film.mkv"
    file.write_bytes(bytes(2 * BLOCK))
    before = len(os.listdir("/proc/self/fd"))

    hash_file(file)
    quick_hash_file(file)
    with pytest.raises(HashingStopped):
        hash_file(file, stop=lambda: True)
    with pytest.raises(NotRegular):
        hash_file(tmp_path / "folder")

    assert len(os.listdir("/proc/self/fd")) == before


def test_what_was_read_of_a_large_file_leaves_the_cache_behind_the_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = DROP_EVERY + 3 * BLOCK
    file = tmp_path / "film.mkv"
    file.touch()
    os.truncate(file, size)
    advice: list[tuple[int, int, int]] = []
    monkeypatch.setattr(os, "posix_fadvise", lambda _fd, *rest: advice.append(rest))

    hash_file(file)

    assert advice == [
        (0, 0, os.POSIX_FADV_SEQUENTIAL),
        (0, DROP_EVERY, os.POSIX_FADV_DONTNEED),
        (DROP_EVERY, 0, os.POSIX_FADV_DONTNEED),
    ]


def test_links_made_meanwhile_do_not_make_a_file_look_changed(tmp_path: Path) -> None:
    file = tmp_path / "film.mkv"
    file.write_bytes(b"film")
    before = FileStamp.of(file.stat())
    (tmp_path / "sibling.mkv").hardlink_to(file)

    after = FileStamp.of(file.stat())

    assert after.nlink == 2
    assert after.same_bytes_expected(before)


@pytest.mark.parametrize("changed", ["inode", "size", "mtime_ns"])
def test_another_inode_size_or_mtime_means_other_bytes(tmp_path: Path, changed: str) -> None:
    file = tmp_path / "film.mkv"
    file.write_bytes(b"film")
    stamp = FileStamp.of(file.stat())
    other = stamp._replace(**{changed: getattr(stamp, changed) + 1})

    assert not stamp.same_bytes_expected(other)


@pytest.fixture
def in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not every filesystem that tests run on can tell what memory has."""
    real = os.preadv
    monkeypatch.setattr(os, "preadv", lambda fd, buffers, offset, _: real(fd, buffers, offset))


@pytest.mark.usefixtures("in_memory")
@pytest.mark.parametrize("size", [size for size in SIZES if size < BLOCK])
def test_small_files_have_the_same_hashes_from_memory_and_from_disk(
    tmp_path: Path, size: int
) -> None:
    path = tmp_path / "film.nfo"
    path.write_bytes(os.urandom(size))
    buffer = memoryview(bytearray(BLOCK))
    with path.open("rb", buffering=0) as file:
        found = hash_cached(file.fileno(), size, buffer)
        assert found == (
            hashlib.sha256(path.read_bytes()).hexdigest(),
            quick_hash_by_hand(path.read_bytes()),
        )
        assert hash_small(file.fileno(), size) == found


@pytest.mark.usefixtures("in_memory")
@pytest.mark.parametrize("off", [-1, 1])
def test_a_small_file_of_another_size_has_no_hashes_and_is_read_from_its_start_again(
    tmp_path: Path, off: int
) -> None:
    path = tmp_path / "film.nfo"
    path.write_bytes(b"four")
    with path.open("rb", buffering=0) as file:
        assert hash_cached(file.fileno(), 4 + off, memoryview(bytearray(9))) is None
        assert hash_small(file.fileno(), 4 + off) is None
        assert file.read() == b"four"
