"""`hashall links`: what is said of all names of a file is true at this moment."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from tests.support.catalog_lab import CatalogLab
from tests.support.filesystems import ext4, lab_folder
from tests.support.linking import an_instance

from hashall.file_links import find_links
from hashall.model import LinkVerdict, TorrentFileOnDisk
from seedkeep.sqlite import Database

ODD = os.fsdecode(b"caf\xe9")


def test_a_name_that_went_and_one_that_came_are_not_taken_for_each_other(lab: CatalogLab) -> None:
    """The disk has as many names as the catalog, and one of them is another."""
    film = lab.write("film")
    os.link(film, lab.root / "link")
    lab.scan()
    os.rename(lab.root / "link", lab.folder / "outside")
    (found,) = find_links(lab.places(), film)
    assert (found.verdict, found.nlink) == (LinkVerdict.UNACCOUNTED, 2)
    assert found.reason == "some of these names are gone: scan again"


@pytest.mark.root
def test_a_file_of_what_is_mounted_on_top_is_not_taken_for_the_hidden_one(lab: CatalogLab) -> None:
    """Fresh filesystems give their files the same inode numbers."""
    with lab_folder() as folder, ext4(folder, name="disk") as disk:
        hidden = make_film(disk / "sub")
        lab.scan(disk)
        with ext4(disk, name="sub") as over:
            assert make_film(over, inode=hidden) == hidden
            (found,) = find_links(lab.places(), disk)
        assert (found.verdict, found.nlink) == (LinkVerdict.UNKNOWN, 0)


def make_film(folder: Path, *, inode: int | None = None) -> int:
    """Returns the inode of a file with two names; `inode` is one that will be given soon."""
    folder.mkdir(exist_ok=True)
    for number in range(100):
        film = folder / f"film {number}"
        film.write_bytes(b"film")
        if inode is None or film.stat().st_ino == inode:
            break
    os.link(film, folder / "a link")
    film.rename(folder / "film")
    return (folder / "film").stat().st_ino


def test_a_folder_is_read_in_few_questions_however_many_files_it_has(
    lab: CatalogLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = lab.places()
    names = ["film", ODD, *(str(number) for number in range(100))]
    files = [lab.write(f"folder/{name}") for name in names]
    os.link(files[1], lab.root / "beside")
    lab.scan()
    seeded = [lab.spot(path).place for path in (files[1], lab.root / "beside")]
    on_disk = [TorrentFileOnDisk(at.relpath, 5, at.device_id, at.relpath, None) for at in seeded]
    an_instance(lab.catalog, "a" * 40, on_disk)
    asked = []
    start = Database._start

    def counted(db: Database, *question: Any) -> Any:
        asked.append(question)
        return start(db, *question)

    monkeypatch.setattr(Database, "_start", counted)
    found = {f.path: f for f in find_links(places, lab.root / "folder")}
    assert set(found) == {str(path) for path in files}
    assert {f.verdict for f in found.values()} == {LinkVerdict.PROVED}
    odd = found[str(files[1])].names
    assert [(name.path, len(name.torrents)) for name in odd] == [
        (str(lab.root / "beside"), 1),
        (str(files[1]), 1),
    ]
    assert sum(len(name.torrents) for f in found.values() for name in f.names) == 2
    assert len(asked) < 20
