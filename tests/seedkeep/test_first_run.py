"""Files of a first run are written with the right mode, and nothing that is there is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from seedkeep import first_run
from seedkeep.errors import Misused
from seedkeep.first_run import ConfigExists, NewFile
from seedkeep.small_file import write_small_file


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_what_is_missing_is_written_and_what_is_there_is_kept(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    config, key = NewFile(folder / "config.yml", "a"), NewFile(folder / "key", "k", secret=True)
    assert first_run.write_files([config, key], force=False) == ((config.path, key.path), ())
    assert (mode(config.path), mode(key.path)) == (0o644, 0o600)
    again = [NewFile(config.path, "b"), NewFile(key.path, "l", secret=True, keep=True)]
    assert first_run.write_files(again, force=False) == ((), (config.path, key.path))
    assert first_run.write_files(again, force=True) == ((config.path,), (key.path,))
    assert (config.path.read_text(), key.path.read_text()) == ("b", "k")
    right = first_run.secret_file(key.path, "right now")
    assert first_run.write_files([right], force=False) == ((key.path,), ())
    assert (key.path.read_text(), mode(key.path)) == ("right now\n", 0o600)
    old = folder / "config.yml.old"
    assert (old.read_text(), mode(old)) == ("a", 0o600)


def test_a_secret_that_replaces_an_open_file_is_open_to_nobody_else(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("old")
    path.chmod(0o666)
    write_small_file(path, "new", mode=0o600, replace=True)
    assert (path.read_text(), mode(path)) == ("new", 0o600)


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for path, said in (
        (tmp_path / "file", "is there already"),
        (tmp_path / "link", "is there already"),
        (tmp_path / "file" / "below", "cannot write"),
    ):
        with pytest.raises(Misused, match=said):
            write_small_file(path, "x", mode=0o644)
    with pytest.raises(Misused, match="not UTF-8"):
        write_small_file(tmp_path / "name", "\udcff", mode=0o644)
    assert not (tmp_path / "nowhere").exists()
    with pytest.raises(ConfigExists):
        first_run.refuse_existing(tmp_path / "file", force=False)
    first_run.refuse_existing(tmp_path / "file", force=True)
