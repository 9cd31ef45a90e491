"""A file of the copy cannot be read, on a disk that is there: the torrents come back anyhow."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.rehome.test_copy_lost import pool_dead, statuses, undo, without_pool
from tests.support.relocating import A_DAY, FILM, SimulatedLab, changes

from hashall.catalog.runs import RunStatus
from hashall.hashing import FileStamp
from rehome import retire
from rehome.outcome import Applied
from rehome.undo_facts import CannotUndo
from rehome.world import verify_bytes


@pytest.fixture
def film(lab: SimulatedLab) -> str:
    torrent = lab.seed("Film", FILM)
    lab.look()
    lab.client.forget_states()
    return torrent


@contextmanager
def not_answering(*paths: Path, number: int = errno.EIO) -> Iterator[None]:
    """A disk that cannot tell anything of some files; the folders around them are fine."""
    lstat, bad = os.lstat, {str(path) for path in paths}

    def failing(path: str | Path, **options: int | None) -> os.stat_result:
        if str(path) in bad:
            raise OSError(number, os.strerror(number))
        return lstat(path, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "lstat", failing)
        yield


def refused(lab: SimulatedLab) -> CannotUndo:
    before = lab.seen()
    with pytest.raises(CannotUndo, match="the copy cannot be looked at") as why:
        undo(lab, copy_lost=False)
    assert changes(before, lab.seen()) == []
    assert statuses(lab) == [RunStatus.COMMITTED]
    return why.value


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES])
def test_a_folder_with_such_a_file_may_be_renamed_and_is_then_left_alone(
    lab: SimulatedLab, film: str, number: int
) -> None:
    before = lab.seen()
    lab.apply(lab.plan(film), A_DAY)
    folder = lab.pool_seeding / "Film"
    with not_answering(folder / "film.mkv", number=number):
        why = refused(lab)
    assert why.detail == f"{folder / 'film.mkv'}: {os.strerror(number)}"
    assert f"rename {folder}: then the same command goes on" in why.hint
    aside = folder.rename(lab.pool_seeding / "Film that cannot be read")
    content = {path: path.read_bytes() for path in aside.rglob("*") if path.is_file()}
    with not_answering(aside / "film.mkv", number=number):
        undo(lab, copy_lost=False)
    after = lab.seen()
    assert (after.stash, after.torrents) == (before.stash, before.torrents)
    assert {path: path.read_bytes() for path in aside.rglob("*") if path.is_file()} == content
    assert len(content) == len(FILM)
    assert lab.own_debris() == []
    assert statuses(lab) == [RunStatus.RETIRED] * 2


@pytest.mark.root
def test_a_disk_may_be_unmounted_for_the_while_instead(lab: SimulatedLab, film: str) -> None:
    before = lab.seen()
    lab.apply(lab.plan(film), A_DAY)
    copies = lab.seen().pool
    with not_answering(lab.pool_seeding / "Film/film.mkv"):
        hint = refused(lab).hint
    assert "unmount that disk, for good or until they are back" in hint
    assert hint.endswith("rehome undo 1 --copy-lost")
    with pool_dead(lab):
        undo(lab)
        assert changes(without_pool(before), lab.seen()) == []
    assert lab.seen().pool == copies


def test_no_folder_is_named_where_none_answers(lab: SimulatedLab, film: str) -> None:
    lab.apply(lab.plan(film), A_DAY)
    folder = lab.pool_seeding / "Film"
    with not_answering(folder, *(folder / name for name in FILM), folder / "extras"):
        hint = refused(lab).hint
    assert "rename" not in hint
    assert hint.startswith("mount that disk again, or mend it; or unmount")


def test_promise_1_a_copy_whose_bytes_cannot_be_read_is_kept_and_the_torrents_come_back(
    lab: SimulatedLab, film: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = lab.seen()
    lab.apply(lab.plan(film), A_DAY)

    def failing(path: Path, *more: object) -> FileStamp:
        if path.is_relative_to(lab.pool) and path.name == "film.mkv":
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        return verify_bytes(path, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(retire, "verify_bytes", failing)
    done: Applied = undo(lab, copy_lost=False)
    assert done.retired is not None
    (kept,) = done.retired.kept
    assert kept.reason == os.strerror(errno.EIO)
    assert Path(kept.path).stat().st_size == FILM["film.mkv"]
    after = lab.seen()
    assert (after.stash, after.torrents) == (before.stash, before.torrents)
    assert statuses(lab) == [RunStatus.RETIRED, RunStatus.COMMITTED]
