"""What a client tells of torrents beyond relocation, and the changes that move no data."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.support.qbt import LabClient, wait_for
from tests.support.torrents import NO_TRACKER, MadeTorrent, make_torrent, sibling

from seedkeep.errors import Misused
from seedkeep.qbittorrent import QBittorrentClient
from seedkeep.torrent_client import ClientRefused, ClientTooOld, NoSuchTorrent
from seedkeep.torrent_details import GLOBAL_LIMIT, NO_LIMIT, QueueMove

NOBODY = "a" * 40

Question = Callable[[QBittorrentClient, str], object]
QUESTIONS: list[Question] = [
    lambda product, torrent_id: product.properties(torrent_id),
    lambda product, torrent_id: product.tracker_details(torrent_id),
    lambda product, torrent_id: product.file_details(torrent_id),
    lambda product, torrent_id: product.peer_details(torrent_id),
    lambda product, torrent_id: product.webseeds(torrent_id),
]
Change = Callable[[QBittorrentClient, str], None]
CHANGES: list[Change] = [
    lambda product, torrent_id: product.delete([torrent_id], with_files=False),
    lambda product, torrent_id: product.reannounce([torrent_id]),
    lambda product, torrent_id: product.add_tags([torrent_id], ["a"]),
    lambda product, torrent_id: product.remove_tags([torrent_id], ["a"]),
    lambda product, torrent_id: product.set_upload_limit([torrent_id], 1),
    lambda product, torrent_id: product.set_download_limit([torrent_id], 1),
    lambda product, torrent_id: product.set_share_limits([torrent_id], 1.0, 1, None),
    lambda product, torrent_id: product.move_in_queue([torrent_id], QueueMove.TOP),
    lambda product, torrent_id: product.set_name(torrent_id, "x"),
    lambda product, torrent_id: product.set_category([torrent_id], ""),
]


@pytest.fixture
def film(disk: Path) -> MadeTorrent:
    return make_torrent(disk, "Film", {"b.mkv": 70_000, "a/subs.srt": 100}, source="A")


def test_everything_that_the_list_has_is_told_in_plain_values(
    client: LabClient, product: QBittorrentClient, disk: Path, film: MadeTorrent
) -> None:
    torrent_id = client.add(film.data, disk, category="films", tags=("two", "one"), stopped=True)
    (row,) = product.listed()
    assert row["hash"] == torrent_id
    assert (row["name"], row["size"], row["category"]) == ("Film", film.size, "films")
    assert row["tags"] == ("one", "two")
    assert row["state"] in ("stoppedDL", "stoppedUP", "checkingResumeData")
    assert isinstance(row["added_on"], datetime)
    assert (datetime.now(UTC) - row["added_on"]).total_seconds() < 600
    assert "eta" not in row  # it has none, and that is no number of seconds
    assert product.listed([torrent_id.upper(), NOBODY])[0]["hash"] == torrent_id
    assert product.listed([]) == []


def test_a_torrent_that_never_completed_has_no_date_of_completion(
    client: LabClient, product: QBittorrentClient, disk: Path, film: MadeTorrent
) -> None:
    client.api.torrents_add(
        torrent_files=film.data, save_path=str(disk / "elsewhere"), is_stopped=True
    )
    wait_for(lambda: len(product.listed()) == 1, "the torrent")
    (row,) = product.listed()
    assert row["completion_on"] is None


def test_the_questions_about_one_torrent_are_answered(
    client: LabClient, product: QBittorrentClient, disk: Path, film: MadeTorrent
) -> None:
    torrent_id = client.add(film.data, disk)
    properties = product.properties(torrent_id)
    assert properties["save_path"].rstrip("/") == str(disk)
    assert isinstance(properties["addition_date"], datetime)
    assert properties["creation_date"] is None or isinstance(properties["creation_date"], datetime)
    files = {row["name"]: row["size"] for row in product.file_details(torrent_id)}
    assert files == {"Film/b.mkv": 70_000, "Film/a/subs.srt": 100}
    trackers = product.tracker_details(torrent_id)
    assert [row["url"] for row in trackers] == [NO_TRACKER]
    assert product.peer_details(torrent_id) == []
    assert product.webseeds(torrent_id) == []


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_question_about_a_torrent_that_is_gone_says_so(
    simulated_product: QBittorrentClient, question: Question
) -> None:
    with pytest.raises(NoSuchTorrent):
        question(simulated_product, NOBODY)


def test_the_client_tells_of_itself(client: LabClient, product: QBittorrentClient) -> None:
    assert product.transfer().get("free_space_on_disk", 1) > 0  # absent until it has looked
    assert product.transfer()["dl_info_speed"] == 0
    assert isinstance(product.preferences()["save_path"], str)
    assert not [name for name in product.preferences() if "password" in name]


def test_tags_come_and_go_without_touching_others(
    client: LabClient, product: QBittorrentClient, disk: Path, film: MadeTorrent
) -> None:
    ids = [client.add(film.data, disk, tags=("old",)), client.add(sibling(film, "B").data, disk)]
    product.add_tags(ids, ["one", "two words"])
    assert [t.tags for t in product.torrents(ids[:1])] == [("old", "one", "two words")]
    product.remove_tags(ids, ["old", "one"])
    assert {t.tags for t in product.torrents(ids)} == {("two words",)}


@pytest.mark.parametrize("tags", [[], [""], ["a,b"], [" "]])
def test_what_would_remove_all_tags_is_not_sent(
    simulated_product: QBittorrentClient, tags: list[str]
) -> None:
    with pytest.raises(Misused, match="a tag is a text without a comma"):
        simulated_product.remove_tags([NOBODY], tags)


def test_a_category_is_made_once_and_set(
    client: LabClient, product: QBittorrentClient, disk: Path, film: MadeTorrent
) -> None:
    torrent_id = client.add(film.data, disk)
    product.create_category("films")
    product.create_category("films")
    product.set_category([torrent_id], "films")
    assert product.torrents([torrent_id])[0].category == "films"
    with pytest.raises(ClientRefused):
        product.set_category([torrent_id], "nobody made this")
    with pytest.raises(Misused):
        product.create_category("")


def test_limits_are_set_and_taken_away(
    client: LabClient, product: QBittorrentClient, disk: Path, film: MadeTorrent
) -> None:
    torrent_id = client.add(film.data, disk)
    product.set_upload_limit([torrent_id], 50_000)
    product.set_download_limit([torrent_id], 60_000)
    product.set_share_limits([torrent_id], 2.5, 1_440, None)
    (torrent,) = product.torrents([torrent_id])
    assert (torrent.upload_limit, torrent.download_limit) == (50_000, 60_000)
    assert (torrent.ratio_limit, torrent.seeding_time_limit) == (2.5, 1_440)
    product.set_upload_limit([torrent_id], 0)
    product.set_share_limits([torrent_id], NO_LIMIT, GLOBAL_LIMIT, None)
    (torrent,) = product.torrents([torrent_id])
    assert torrent.upload_limit <= 0
    assert (torrent.ratio_limit, torrent.seeding_time_limit) == (NO_LIMIT, GLOBAL_LIMIT)


@pytest.mark.parametrize("limits", [(GLOBAL_LIMIT, 366 * 24 * 60), (10_000, 60)])
def test_a_limit_that_an_old_client_would_cut_is_refused_by_us(
    client: LabClient,
    product: QBittorrentClient,
    disk: Path,
    film: MadeTorrent,
    limits: tuple[float, int],
) -> None:
    torrent_id = client.add(film.data, disk)
    with pytest.raises(ClientRefused, match="cannot keep such a share limit"):
        product.set_share_limits([torrent_id], *limits, None)
    (torrent,) = product.torrents([torrent_id])
    assert (torrent.ratio_limit, torrent.seeding_time_limit) == (GLOBAL_LIMIT, GLOBAL_LIMIT)


def test_a_limit_that_an_old_client_does_not_know_is_refused_by_us(
    client: LabClient, product: QBittorrentClient, disk: Path, film: MadeTorrent
) -> None:
    torrent_id = client.add(film.data, disk)
    if client.version == "4.5":
        with pytest.raises(ClientTooOld, match="no limit for inactive seeding"):
            product.set_share_limits([torrent_id], 1.0, 60, 60)
        return
    product.set_share_limits([torrent_id], 1.0, 60, 60)
    assert product.torrents([torrent_id])[0].seeding_time_limit == 60


def test_a_client_that_does_not_queue_refuses_a_place_in_the_queue(
    client: LabClient, product: QBittorrentClient, disk: Path, film: MadeTorrent
) -> None:
    torrent_id = client.add(film.data, disk)
    for move in QueueMove:
        with pytest.raises(ClientRefused):
            product.move_in_queue([torrent_id], move)


def test_a_torrent_is_renamed_and_its_files_are_not(
    client: LabClient, product: QBittorrentClient, disk: Path, film: MadeTorrent
) -> None:
    torrent_id = client.add(film.data, disk)
    product.set_name(torrent_id, "Another name")
    assert product.torrents([torrent_id])[0].name == "Another name"
    assert (disk / "Film/b.mkv").exists()


@pytest.mark.parametrize("with_files", [False, True])
def test_a_deleted_torrent_is_gone_and_its_files_only_when_told(
    client: LabClient, product: QBittorrentClient, disk: Path, film: MadeTorrent, with_files: bool
) -> None:
    torrent_id = client.add(film.data, disk)
    product.reannounce([torrent_id])
    product.delete([torrent_id], with_files=with_files)
    assert product.torrents() == []
    assert (disk / "Film/b.mkv").exists() is not with_files


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_a_torrent_that_is_gone_says_so(
    simulated_product: QBittorrentClient, change: Change
) -> None:
    with pytest.raises(NoSuchTorrent):
        change(simulated_product, NOBODY)
