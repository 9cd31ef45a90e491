"""Values of the torrent client: which torrent a hash means, what a state means."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace

import pytest

from seedkeep.errors import Misused
from seedkeep.qbittorrent_rows import Row, read_torrent
from seedkeep.torrent_client import NoSuchTorrent, Torrent, TorrentState, resolve

V1 = "0123456789abcdef0123456789abcdef01234567"
V2 = "fedcba98" * 8

ROW = {
    "hash": V1,
    "infohash_v1": V1,
    "infohash_v2": "",
    "name": "Film",
    "state": "stalledUP",
    "progress": 1,
    "size": 10,
    "amount_left": 0,
    "save_path": "/stash/films/",
    "download_path": "",
    "content_path": "/stash/films/Film",
    "category": "films",
    "tags": "two, one,three",
    "auto_tmm": False,
    "force_start": False,
    "super_seeding": False,
    "added_on": 1_700_000_000,
    "completion_on": 1_700_000_100,
    "uploaded": 5,
    "ratio": 0.5,
    "up_limit": -1,
    "dl_limit": 0,
    "ratio_limit": -2,
    "seeding_time_limit": -2,
    "tracker": "",
}


def read(**changes: object) -> Torrent:
    return read_torrent(Row("torrents/info", ROW | changes))


PLAIN = read()
HYBRID = read(hash=V2[:40], infohash_v1="99" * 20, infohash_v2=V2, name="Hybrid")


@pytest.mark.parametrize(
    "text", [V1, V1.upper(), f"  {V1}\n", V1[:6], V1[:39], V1[:7].upper()], ids=str.strip
)
def test_a_hash_or_its_beginning_finds_the_torrent(text: str) -> None:
    assert resolve([PLAIN, HYBRID], text) is PLAIN


@pytest.mark.parametrize("text", [V2, V2[:40], "99" * 20, "9999999", V2.upper(), V2[:50]])
def test_a_hybrid_torrent_is_found_by_each_of_its_hashes(text: str) -> None:
    assert resolve([PLAIN, HYBRID], text) is HYBRID


def test_a_whole_hash_never_stands_for_a_longer_one() -> None:
    other = replace(PLAIN, torrent_id="77" * 20, infohash_v1="", infohash_v2=V1 + "00" * 12)
    assert resolve([PLAIN, other], V1) is PLAIN


@pytest.mark.parametrize("text", ["", "12345", "all", "xyzxyz", "0" * 65, "../../etc", "0123456 7"])
def test_what_cannot_be_a_hash_is_a_mistake(text: str) -> None:
    with pytest.raises(Misused, match="is not a torrent hash"):
        resolve([PLAIN], text)


def test_an_unknown_hash_is_named() -> None:
    with pytest.raises(NoSuchTorrent, match="f" * 40):
        resolve([PLAIN], "f" * 40)


def test_a_beginning_that_fits_several_torrents_lists_them() -> None:
    twin = replace(PLAIN, torrent_id=V1[:39] + "0", infohash_v1=V1[:39] + "0", name="Twin")
    with pytest.raises(Misused) as several:
        resolve([PLAIN, twin], V1[:10])
    assert "Film" in several.value.detail
    assert "Twin" in several.value.detail
    assert resolve([PLAIN, twin], V1) is PLAIN


@pytest.mark.parametrize(
    ("shown", "meant"),
    [
        ("pausedUP", TorrentState.STOPPED_UP),
        ("stoppedUP", TorrentState.STOPPED_UP),
        ("pausedDL", TorrentState.STOPPED_DL),
        ("stoppedDL", TorrentState.STOPPED_DL),
        ("checkingResumeData", TorrentState.CHECKING_RESUME_DATA),
        ("somethingNew", TorrentState.UNKNOWN),
    ],
)
def test_the_spellings_of_both_generations_mean_the_same(shown: str, meant: TorrentState) -> None:
    assert read(state=shown).state is meant


@pytest.mark.parametrize("state", TorrentState)
def test_a_state_is_at_most_one_of_busy_stopped_seeding_downloading(state: TorrentState) -> None:
    kinds = (state.is_busy, state.is_stopped, state.is_seeding, state.is_downloading)
    neither = {
        TorrentState.QUEUED_UP,
        TorrentState.MISSING_FILES,
        TorrentState.ERROR,
        TorrentState.UNKNOWN,
    }
    assert sum(kinds) == (0 if state in neither else 1)


@pytest.mark.parametrize("never", [-1, 0, 2**32 - 1])
def test_never_completed_has_three_spellings(never: int) -> None:
    assert read(completion_on=never).completion_on is None


def test_moments_are_utc_and_tags_sorted_and_paths_clean() -> None:
    assert PLAIN.added_on is not None
    assert PLAIN.added_on.isoformat() == "2023-11-14T22:13:20+00:00"
    assert PLAIN.tags == ("one", "three", "two")
    assert PLAIN.save_path == "/stash/films"


@pytest.mark.parametrize("path", ["", "/stash/films", "/stash/films/"])
def test_a_download_path_that_is_the_save_path_is_none(path: str) -> None:
    assert read(download_path=path).download_path == ""


def test_the_values_do_not_load_the_library() -> None:
    code = "import sys, seedkeep.torrent_client; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert not re.search(r"\b(qbittorrentapi|requests|urllib3)\b", loaded)
