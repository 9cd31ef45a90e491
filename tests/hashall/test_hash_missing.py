"""Hashing the members that payloads lack: beside other programs, and interrupted."""

from __future__ import annotations

import errno
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support.catalog_lab import CatalogLab

from hashall import hash_missing
from hashall.hashing import HashingStopped, hash_file
from seedkeep.sqlite import open_database, transaction


def test_other_programs_write_to_the_catalog_while_large_files_are_read(
    lab: CatalogLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def beside_another_writer(path: Path, **_: Any) -> Any:
        with open_database(lab.db_path, busy_timeout_s=0.05) as other, transaction(other):
            return hash_file(path)

    monkeypatch.setattr(hash_missing, "hash_file", beside_another_writer)
    monkeypatch.setattr(hash_missing, "WORKERS", 1)
    done = hash_missing.hash_missing(lab.places(), [lab.write("a"), lab.write("b")])
    assert (done.files, done.failed) == (2, ())
    assert all(file.sha256 for file in lab.known().values())


def test_what_was_read_before_an_interruption_is_kept(
    lab: CatalogLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [lab.write(name, b"x" * 100) for name in "abcd"]
    last = max(paths, key=lambda path: path.stat().st_ino)

    def until_ctrl_c(path: Path, **_: Any) -> Any:
        if path == last:
            raise KeyboardInterrupt
        return hash_file(path)

    monkeypatch.setattr(hash_missing, "hash_file", until_ctrl_c)
    monkeypatch.setattr(hash_missing, "MOST_BYTES", 200)
    with pytest.raises(KeyboardInterrupt):
        hash_missing.hash_missing(lab.places(), paths)
    assert sum(file.sha256 is not None for file in lab.known().values()) >= 2


def test_ctrl_c_does_not_wait_for_the_end_of_a_large_file(
    lab: CatalogLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two are read at once: the first is interrupted, the second would go on for ever."""
    paths = [lab.write(name) for name in "ab"]
    reading = threading.Event()

    def read(path: Path, stop: Callable[[], bool]) -> Any:
        if path == paths[0]:
            reading.wait(20)
            signal.raise_signal(signal.SIGINT)
            return hash_file(path)
        reading.set()
        end = time.monotonic() + 20
        while not stop():
            assert time.monotonic() < end
            time.sleep(0.01)
        raise HashingStopped

    monkeypatch.setattr(hash_missing, "hash_file", read)
    # Started in the background by a shell, a process ignores Ctrl-C.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            hash_missing.hash_missing(lab.places(), paths)
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_member_that_the_disk_does_not_show_is_told_with_the_words_of_the_system(
    lab: CatalogLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = lab.write("lost")
    real = os.lstat

    def lstat(path: Any, **rest: Any) -> os.stat_result:
        if os.fspath(path) == str(lost):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(path, **rest)

    monkeypatch.setattr(os, "lstat", lstat)
    done = hash_missing.hash_missing(lab.places(), [lost])
    assert done.failed == ((str(lost), "Input/output error"),)
