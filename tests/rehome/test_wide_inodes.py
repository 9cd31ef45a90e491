"""Groups and copies on a filesystem with inode numbers of 2**63 and above."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.support.catalog_lab import CatalogLab, settle
from tests.support.facts_builder import LAYOUT, facts, link
from tests.support.linking import CONTENT
from tests.support.listed_client import a_torrent
from tests.support.wide_inodes import wide_overlay

from hashall.hashing import FileStamp
from hashall.model import LinkVerdict, TorrentFileOnDisk, stored_inode
from hashall.qbittorrent import Mapped, WantedFile
from rehome import retire
from rehome.codec import from_json, to_json
from rehome.gather_strangers import Strangers
from rehome.look import Look
from rehome.model import Fingerprint, Retirement
from rehome.planner import plan_group
from rehome.world import verify_bytes


@pytest.fixture
def film(tmp_path: Path) -> Iterator[Path]:
    with wide_overlay() as folder:
        yield folder / "files3/one"


@pytest.mark.root
def test_a_torrent_that_has_the_same_inode_under_another_name_is_met(
    film: Path, tmp_path: Path
) -> None:
    lab = CatalogLab(tmp_path)
    stamp = FileStamp.of(film.stat())
    other = a_torrent("one", film.parent)
    mapped = Mapped(other, film.parent, "", (WantedFile("one", "one", stamp.size, stamp),))
    look = SimpleNamespace(
        places=lab.places(),
        changed={other.torrent_id: mapped},
        inventory={other.torrent_id: other},
    )
    device = lab.spot(film).device.device_id
    ours = TorrentFileOnDisk("film", stamp.size, device, "another name", stamp.inode)
    direct, by_symlink = Strangers(cast(Look, look)).of(["ours"], [ours])
    assert direct == {other.torrent_id}
    assert by_symlink == frozenset()
    lab.close()


@pytest.mark.root
def test_a_copy_that_replaces_several_names_is_read_once(
    film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []

    def counted(path: Path, *arguments: Any) -> FileStamp:
        read.append(path)
        return verify_bytes(path, *arguments)

    monkeypatch.setattr(retire, "verify_bytes", counted)
    items = tuple(_hidden(tmp_path / ".seedkeep-0-hidden", name, film) for name in ("a", "b"))
    done = retire.retire(replace(plan_group(facts(), LAYOUT), retire=items))
    assert (done.files, done.kept) == (2, ())
    assert read == [film]


def _hidden(folder: Path, name: str, witness: Path) -> Retirement:
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(CONTENT)
    settle(folder / name)
    stamp = FileStamp.of((folder / name).stat())
    seen = Fingerprint(stamp.inode, stamp.size, stamp.mtime_ns)
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    return Retirement(str(folder), name, seen, sha256, str(witness))


@pytest.mark.parametrize("verdict", [LinkVerdict.UNACCOUNTED, LinkVerdict.UNKNOWN])
def test_a_blocker_names_the_inode_by_the_number_that_stat_shows(verdict: LinkVerdict) -> None:
    unproved = link(stored_inode(2**63 + 5), 20, "/stash/film", verdict=verdict, nlink=2)
    (blocker,) = plan_group(facts(links=(unproved,)), LAYOUT).blockers
    assert f"inode {2**63 + 5} " in blocker.sentence


SEEN = Fingerprint(stored_inode(2**63 + 5), 20, 1)
AS_A_PERSON_READS_IT = {"inode": 2**63 + 5, "size": 20, "mtime_ns": 1}


def test_plans_and_journal_have_the_number_that_stat_shows() -> None:
    assert to_json(SEEN) == AS_A_PERSON_READS_IT
    assert from_json(Fingerprint, AS_A_PERSON_READS_IT) == SEEN


def test_a_plan_of_before_with_the_number_of_the_catalog_is_understood() -> None:
    assert from_json(Fingerprint, {**AS_A_PERSON_READS_IT, "inode": SEEN.inode}) == SEEN


@pytest.mark.parametrize("number", [2**64, -(2**63) - 1])
def test_promise_8_a_number_that_no_inode_can_have_is_refused(number: int) -> None:
    with pytest.raises(ValueError, match="inode"):
        from_json(Fingerprint, {**AS_A_PERSON_READS_IT, "inode": number})
