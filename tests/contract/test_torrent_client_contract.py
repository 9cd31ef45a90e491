"""What `TorrentClient` promises, on real and simulated qBittorrent alike."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.contract.moving import after_restart, wait_until
from tests.support.qbt import LabClient, row_of, wait_for
from tests.support.torrents import MadeTorrent, make_torrent, sibling

from seedkeep.errors import Misused, Unreachable
from seedkeep.qbittorrent import QBittorrentClient, connect
from seedkeep.torrent_client import ClientRefused, NoSuchTorrent, TorrentFile, TorrentState

NOBODY = "a" * 40

Change = Callable[[QBittorrentClient, str, Path], None]
CHANGES: list[Change] = [
    lambda product, torrent_id, _: product.stop([torrent_id]),
    lambda product, torrent_id, _: product.start([torrent_id]),
    lambda product, torrent_id, _: product.look_again([torrent_id]),
    lambda product, torrent_id, _: product.set_force_start([torrent_id], True),
    lambda product, torrent_id, _: product.set_auto_management([torrent_id], True),
    lambda product, torrent_id, place: product.set_download_path(torrent_id, str(place)),
    lambda product, torrent_id, place: product.set_location(torrent_id, str(place)),
]


@pytest.fixture
def film(disk: Path) -> MadeTorrent:
    return make_torrent(disk, "Film", {"b.mkv": 70_000, "a/subs.srt": 100}, source="A")


def test_the_version_is_known_and_states_refresh_in_seconds(
    client: LabClient, product: QBittorrentClient
) -> None:
    assert product.version().api == {"4.5": (2, 8, 19), "5.1": (2, 11, 4)}[client.version]
    assert product.version().app.startswith(f"v{client.version}")
    assert product.refresh_interval() == client.refresh_s


def test_a_torrent_is_described_in_our_terms(
    client: LabClient, product: QBittorrentClient, disk: Path, film: MadeTorrent
) -> None:
    torrent_id = client.add(film.data, disk, category="films", tags=("two", "one"))
    (torrent,) = product.torrents()
    assert (torrent.torrent_id, torrent.infohash_v1) == (torrent_id, film.infohash)
    assert (torrent.name, torrent.size, torrent.amount_left) == ("Film", film.size, 0)
    assert (torrent.category, torrent.tags) == ("films", ("one", "two"))
    assert (torrent.save_path, torrent.download_path) == (str(disk), "")
    assert torrent.content_path == str(disk / "Film")
    assert (torrent.state, torrent.progress) == (TorrentState.STALLED_UP, 1)
    assert torrent.added_on is not None
    assert torrent.completion_on is not None
    assert torrent.completion_on >= torrent.added_on
    assert not any((torrent.auto_tmm, torrent.force_start, torrent.super_seeding))


def test_only_the_torrents_asked_for_are_answered_and_nothing_means_none(
    client: LabClient, product: QBittorrentClient, disk: Path, film: MadeTorrent
) -> None:
    one = client.add(film.data, disk)
    client.add(sibling(film, "B").data, disk)
    assert len(product.torrents()) == 2
    assert [t.torrent_id for t in product.torrents([one.upper(), NOBODY])] == [one]
    assert product.torrents([]) == []


def test_the_file_list_has_the_names_of_the_client_in_the_order_of_the_torrent(
    client: LabClient, product: QBittorrentClient, disk: Path, film: MadeTorrent
) -> None:
    torrent_id = client.add(film.data, disk, rename="Film (2020)")
    sizes = {"Film/b.mkv": 70_000, "Film/a/subs.srt": 100}
    assert product.files(torrent_id) == [
        TorrentFile(name.replace("Film/", "Film (2020)/"), sizes[name], 1.0, True)
        for name in film.paths
    ]
    assert (disk / "Film (2020)/b.mkv").exists()
    assert product.torrents([torrent_id])[0].name == "Film"  # says nothing about folders
    with pytest.raises(NoSuchTorrent):
        product.files(NOBODY)


def test_without_a_root_folder_the_content_path_is_the_shared_folder(
    client: LabClient, product: QBittorrentClient, disk: Path
) -> None:
    flat = make_torrent(disk, "flat", {"one": 100, "two": 200})
    torrent_id = client.add(flat.data, disk / "flat", no_root_folder=True)
    assert product.torrents([torrent_id])[0].content_path == str(disk / "flat")
    assert [file.name for file in product.files(torrent_id)] == ["one", "two"]


def test_stop_and_start_return_when_the_client_shows_it(
    client: LabClient, product: QBittorrentClient, disk: Path, film: MadeTorrent
) -> None:
    ids = [client.add(film.data, disk), client.add(sibling(film, "B").data, disk)]
    product.stop(ids)
    assert {t.state for t in product.torrents(ids)} == {TorrentState.STOPPED_UP}
    product.start(ids)
    assert {t.state for t in product.torrents(ids)} == {TorrentState.STALLED_UP}
    product.stop([])
    product.start([])
    assert {t.state for t in product.torrents(ids)} == {TorrentState.STALLED_UP}


def test_a_stop_that_was_confirmed_survives_a_kill(
    client: LabClient, product: QBittorrentClient, disk: Path, film: MadeTorrent
) -> None:
    torrent_id = client.add(film.data, disk)
    product.stop([torrent_id])
    after_restart(client, product, [torrent_id])
    assert product.torrents([torrent_id])[0].state is TorrentState.STOPPED_UP


def test_force_start_is_lost_by_stopping_and_can_be_restored(
    client: LabClient, product: QBittorrentClient, disk: Path, film: MadeTorrent
) -> None:
    torrent_id = client.add(film.data, disk)
    product.set_force_start([torrent_id], True)
    assert product.torrents([torrent_id])[0].force_start
    product.stop([torrent_id])
    product.start([torrent_id])
    assert not product.torrents([torrent_id])[0].force_start
    product.set_force_start([torrent_id], True)
    wait_until(product, [torrent_id], lambda t: t.state is TorrentState.FORCED_UP)


def test_ending_force_start_does_not_start_what_is_stopped(
    client: LabClient, product: QBittorrentClient, disk: Path, film: MadeTorrent
) -> None:
    torrent_id = client.add(film.data, disk, stopped=True)
    product.set_force_start([torrent_id], False)
    wait_until(product, [torrent_id], lambda t: t.state is TorrentState.STOPPED_UP, refreshes=2)
    assert not product.torrents([torrent_id])[0].force_start


@pytest.fixture
def managed(client: LabClient, disk: Path) -> str:
    """A torrent under automatic management whose category has a download path."""
    client.api.torrents_create_category(
        name="films",
        save_path=str(disk / "films"),
        download_path=str(disk / "unfinished"),
        enable_download_path=True,
    )
    made = make_torrent(disk / "films", "Film", {"a.mkv": 1000})
    return client.add(made.data, "", category="films", auto_tmm=True)


def test_under_automatic_management_no_path_can_be_set(
    client: LabClient, product: QBittorrentClient, disk: Path, managed: str
) -> None:
    before = product.torrents([managed])
    with pytest.raises(ClientRefused, match="automatic management"):
        product.set_download_path(managed, "")
    with pytest.raises(ClientRefused, match="automatic management"):
        product.set_location(managed, str(disk / "elsewhere"))
    assert not (disk / "elsewhere").exists()
    assert product.torrents([managed]) == before


def test_the_client_itself_answers_yes_and_does_nothing(
    client: LabClient, disk: Path, managed: str
) -> None:
    client.api.torrents_set_download_path(download_path="", torrent_hashes=[managed])
    client.api.torrents_set_save_path(save_path=str(disk / "x"), torrent_hashes=[managed])
    row = row_of(client.api, managed)
    assert row["save_path"] == str(disk / "films")
    assert row["download_path"] == str(disk / "unfinished")


def test_ending_management_leaves_a_download_path_that_can_be_cleared(
    client: LabClient, product: QBittorrentClient, disk: Path, managed: str
) -> None:
    product.set_auto_management([managed], False)
    (torrent,) = product.torrents([managed])
    assert (torrent.auto_tmm, torrent.download_path) == (False, str(disk / "unfinished"))
    product.set_download_path(managed, "")
    assert product.torrents([managed])[0].download_path == ""
    product.set_download_path(managed, str(disk / "other"))
    assert product.torrents([managed])[0].download_path == str(disk / "other")
    # qBittorrent keeps this value as it is; it means the same as none.
    product.set_download_path(managed, str(disk / "films"))
    assert product.torrents([managed])[0].download_path == ""


def test_management_comes_back_with_the_paths_of_the_category(
    client: LabClient, product: QBittorrentClient, disk: Path, managed: str
) -> None:
    before = product.torrents([managed])[0]
    product.set_auto_management([managed], False)
    product.set_download_path(managed, "")
    product.set_auto_management([managed], True)
    after = product.torrents([managed])[0]
    assert (after.auto_tmm, after.save_path) == (True, before.save_path)
    assert after.download_path == before.download_path


def test_a_location_is_compared_as_the_client_writes_it(
    client: LabClient, product: QBittorrentClient, disk: Path, film: MadeTorrent
) -> None:
    torrent_id = client.add(film.data, disk, stopped=True)
    product.set_location(torrent_id, f"/{disk}//one/../two/")
    wait_until(product, [torrent_id], lambda t: not t.state.is_busy, refreshes=2)
    assert product.torrents([torrent_id])[0].save_path == str(disk / "two")
    assert (disk / "two/Film/b.mkv").exists()


def test_setting_the_location_it_has_changes_nothing(
    client: LabClient, product: QBittorrentClient, disk: Path, film: MadeTorrent
) -> None:
    torrent_id = client.add(film.data, disk)
    product.set_location(torrent_id, str(disk))
    wait_until(product, [torrent_id], lambda t: t.state is TorrentState.STALLED_UP, refreshes=2)
    (torrent,) = product.torrents([torrent_id])
    assert (torrent.save_path, torrent.progress) == (str(disk), 1)


def test_a_location_that_cannot_be_made_is_refused_in_the_words_of_the_client(
    client: LabClient, product: QBittorrentClient, disk: Path, film: MadeTorrent
) -> None:
    torrent_id = client.add(film.data, disk)
    with pytest.raises(ClientRefused) as refused:
        product.set_location(torrent_id, "/proc/nowhere")
    assert "Cannot make save path" in refused.value.detail
    product.set_auto_management([torrent_id], False)
    with pytest.raises(ClientRefused) as refused:
        product.set_download_path(torrent_id, "/proc/nowhere")
    assert "Cannot create target directory" in refused.value.detail


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_an_unknown_torrent_is_refused_and_leaves_no_trace(
    client: LabClient, product: QBittorrentClient, disk: Path, change: Change
) -> None:
    with pytest.raises(NoSuchTorrent):
        change(product, NOBODY, disk / "made")
    assert not (disk / "made").exists()


def test_one_unknown_torrent_among_others_keeps_all_from_being_changed(
    client: LabClient, product: QBittorrentClient, disk: Path, film: MadeTorrent
) -> None:
    torrent_id = client.add(film.data, disk)
    with pytest.raises(NoSuchTorrent, match=NOBODY):
        product.stop([torrent_id, NOBODY])
    wait_until(product, [torrent_id], lambda t: t.state is TorrentState.STALLED_UP, refreshes=2)


def test_the_client_itself_makes_a_folder_for_an_unknown_torrent(
    client: LabClient, disk: Path
) -> None:
    client.api.torrents_set_location(location=str(disk / "made"), torrent_hashes=[NOBODY])
    assert (disk / "made").is_dir()


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("wrong", ["all", "", "abc", f"{NOBODY}|{NOBODY}"])
def test_what_is_no_id_does_not_reach_the_client(
    simulated_product: QBittorrentClient, disk: Path, change: Change, wrong: str
) -> None:
    with pytest.raises(Misused, match="is not a torrent id"):
        change(simulated_product, wrong, disk / "made")


def test_a_torrent_that_never_completed_has_no_completion_date(
    client: LabClient, product: QBittorrentClient, disk: Path, film: MadeTorrent
) -> None:
    client.api.torrents_add(
        torrent_files=film.data, save_path=str(disk / "nothing here"), is_stopped=True
    )
    wait_for(lambda: len(product.torrents()) == 1, "the torrent to be added")
    wait_until(product, [film.infohash], lambda t: t.state is TorrentState.STOPPED_DL)
    (torrent,) = product.torrents()
    assert (torrent.completion_on, torrent.progress) == (None, 0)
    assert torrent.amount_left == film.size


def test_a_recheck_is_busy_and_not_incomplete(
    client: LabClient, product: QBittorrentClient, disk: Path, film: MadeTorrent
) -> None:
    torrent_id = client.add(film.data, disk, stopped=True)
    client.api.torrents_recheck([torrent_id])
    for torrent in product.torrents([torrent_id]):
        assert torrent.progress == 1 or torrent.state.is_busy or torrent.state.is_stopped
    wait_until(
        product,
        [torrent_id],
        lambda t: t.state is TorrentState.STOPPED_UP and t.progress == 1,
        refreshes=2,
    )


def test_a_wrong_password_is_tried_once(guarded: LabClient) -> None:
    for _ in range(4):
        with pytest.raises(Unreachable) as refused:
            connect(guarded.url, "admin", "wrong horse")
        assert "refused the login" in refused.value.brief
        assert "wrong horse" not in str(refused.value)
    # Five failures ban the address: one more try each time would have done it by now.
    assert connect(guarded.url, "admin", guarded.password).version().app


def test_a_ban_is_told_in_the_words_of_the_client(guarded: LabClient) -> None:
    for _ in range(6):
        with pytest.raises(Unreachable) as refused:
            connect(guarded.url, "admin", "wrong horse")
    assert "banned" in refused.value.detail
    with pytest.raises(Unreachable, match="refused the login"):
        connect(guarded.url, "admin", guarded.password)


def test_a_session_that_ended_is_renewed(guarded: LabClient, disk: Path) -> None:
    product = connect(guarded.url, "admin", guarded.password)
    assert product.torrents() == []
    guarded.restart()
    assert product.torrents() == []


def test_a_client_that_is_gone_is_unreachable_and_comes_back(
    client: LabClient, product: QBittorrentClient
) -> None:
    client.kill()
    with pytest.raises(Unreachable, match="does not answer"):
        product.torrents()
    client.start()
    assert product.torrents() == []


# -- categories and trackers


def test_a_category_is_set_while_nothing_is_managed_and_nothing_moves(
    client: LabClient, product: QBittorrentClient, disk: Path, film: MadeTorrent
) -> None:
    torrent_id = client.add(film.data, disk, category="films")
    client.api.torrents_create_category("cold", save_path=str(disk / "cold"))
    product.set_category([torrent_id], "cold")
    (torrent,) = product.torrents()
    assert (torrent.category, torrent.save_path) == ("cold", str(disk))
    assert not (disk / "cold").exists()
    product.set_category([torrent_id], "")
    assert product.torrents()[0].category == ""


def test_a_category_that_nobody_made_is_refused(
    client: LabClient, product: QBittorrentClient, disk: Path, film: MadeTorrent
) -> None:
    torrent_id = client.add(film.data, disk)
    with pytest.raises(ClientRefused, match="set the category 'nobody made it'"):
        product.set_category([torrent_id], "nobody made it")
    with pytest.raises(NoSuchTorrent):
        product.set_category([NOBODY], "")


def test_categories_have_their_own_absolute_path_or_none_that_is_known(
    client: LabClient, product: QBittorrentClient, disk: Path
) -> None:
    assert product.categories() == {}
    client.api.torrents_create_category("films", save_path=f"{disk}/films/")
    client.api.torrents_create_category("relative", save_path="below/the/default")
    client.api.torrents_create_category("plain")
    found = product.categories()
    assert found["films"] == str(disk / "films")
    assert found["plain"] == ""
    assert not found["relative"].startswith(str(disk))


def test_trackers_are_addresses_without_dht_and_the_like(
    client: LabClient, product: QBittorrentClient, disk: Path, film: MadeTorrent
) -> None:
    torrent_id = client.add(film.data, disk)
    (tracker,) = product.trackers(torrent_id)
    assert tracker.startswith("http://127.0.0.1:9/")
    with pytest.raises(NoSuchTorrent):
        product.trackers(NOBODY)
