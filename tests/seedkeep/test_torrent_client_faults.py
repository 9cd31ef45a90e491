"""A qBittorrent that answers slowly, half, with nonsense, or not at all."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.qbt import free_port
from tests.support.simulated import SimulatedClient
from tests.support.torrents import make_torrent

from seedkeep.errors import Misused, Unreachable
from seedkeep.qbittorrent import QBittorrentClient, connect
from seedkeep.torrent_client import ClientRefused, ClientTooOld, TorrentState

PASSWORD = "right horse"


@pytest.fixture
def client() -> Iterator[SimulatedClient]:
    with SimulatedClient("5.1", refresh_s=0.05, password=PASSWORD) as running:
        yield running


@pytest.fixture
def product(client: SimulatedClient) -> Iterator[QBittorrentClient]:
    connected = connect(client.url, "admin", PASSWORD, timeout_s=1)
    yield connected
    connected.close()


@pytest.fixture
def torrent_id(client: SimulatedClient, tmp_path: Path) -> str:
    made = make_torrent(tmp_path, "Film", {"a.mkv": 70_000})
    return client.add(made.data, tmp_path)


def test_nobody_listening_is_said_with_the_address() -> None:
    port = free_port()
    with pytest.raises(Unreachable) as gone:
        connect(f"127.0.0.1:{port}", timeout_s=1)
    assert f"http://127.0.0.1:{port}" in gone.value.brief
    assert gone.value.hint


@pytest.mark.parametrize("address", ["", "  "])
def test_an_empty_address_is_a_mistake_and_not_somebody_elses(
    address: str, client: SimulatedClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QBITTORRENTAPI_HOST", client.url)
    with pytest.raises(Misused, match="no address"):
        connect(address)
    assert client.requests() == 0


def test_a_password_in_the_address_is_not_shown() -> None:
    with pytest.raises(Unreachable) as gone:
        connect(f"http://me:horse@127.0.0.1:{free_port()}", timeout_s=1)
    assert "horse" not in gone.value.brief


def test_the_environment_of_the_library_is_not_used(
    client: SimulatedClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("QBITTORRENTAPI_USERNAME", "admin")
    monkeypatch.setenv("QBITTORRENTAPI_PASSWORD", PASSWORD)
    monkeypatch.setenv("QBITTORRENTAPI_API_KEY", "qbt_key")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("QBITTORRENTAPI_DO_NOT_VERIFY_WEBUI_CERTIFICATE", "1")
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine 127.0.0.1 login admin password {PASSWORD}\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with pytest.raises(Unreachable, match="refused the login"):
        connect(client.url)
    product = connect(client.url, "admin", PASSWORD)
    assert product._api._session.verify is True
    product.close()


def test_one_login_is_made_and_no_more(client: SimulatedClient) -> None:
    with pytest.raises(Unreachable, match="refused the login"):
        connect(client.url, "admin", "wrong")
    assert client.requests("auth/login") == 1
    assert client.requests() == 1


def test_a_password_that_was_changed_meanwhile_is_tried_once_more_and_never_again(
    client: SimulatedClient, product: QBittorrentClient
) -> None:
    client.server.password = "new horse"
    client.server.sessions.clear()
    before = client.requests("auth/login")
    for _ in range(5):
        with pytest.raises(Unreachable, match="refused the login"):
            product.torrents()
    assert client.requests("auth/login") == before + 1


# 403 and 404 are what a reverse proxy says when qBittorrent is away, or when it wants a login.
@pytest.mark.parametrize(
    "how", ["403", "404", "500", "drop", "hang", "garble", "2.", "[]", "null", ""]
)
def test_a_broken_answer_while_connecting_is_no_qbittorrent(
    client: SimulatedClient, how: str
) -> None:
    client.break_endpoint("app/webapiVersion", how)
    with pytest.raises(Unreachable):
        connect(client.url, "admin", PASSWORD, timeout_s=0.3)


@pytest.mark.parametrize(
    "how",
    [
        *("403", "404", "500", "drop", "hang", "garble", "half", "{}", "null", "[1]", "[{}]"),
        '[{"hash": 1}]',
    ],
)
def test_a_broken_list_of_torrents_is_unreachable_and_never_an_empty_list(
    client: SimulatedClient, product: QBittorrentClient, torrent_id: str, how: str
) -> None:
    client.break_endpoint("torrents/info", how)
    with pytest.raises(Unreachable):
        product.torrents()
    client.mend()
    assert [torrent.torrent_id for torrent in product.torrents()] == [torrent_id]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("progress", "1"),
        ("progress", True),
        ("progress", math.nan),
        ("ratio", math.inf),
        ("ratio_limit", -math.inf),
        ("uploaded", True),
        ("size", math.nan),
        ("size", 1.5),
        ("save_path", None),
        ("auto_tmm", 0),
        ("added_on", "never"),
        ("hash", 7),
        ("tags", ["one"]),
    ],
)
def test_a_value_of_the_wrong_kind_is_named(
    client: SimulatedClient, product: QBittorrentClient, torrent_id: str, key: str, value: object
) -> None:
    (row,) = client.api.torrents_info()
    client.break_endpoint("torrents/info", json.dumps([dict(row) | {key: value}]))
    with pytest.raises(Unreachable) as odd:
        product.torrents()
    assert key in odd.value.detail


@pytest.mark.parametrize("key", ["hash", "state", "progress", "save_path", "download_path"])
def test_a_value_that_is_missing_is_named_and_not_assumed(
    client: SimulatedClient, product: QBittorrentClient, torrent_id: str, key: str
) -> None:
    (row,) = client.api.torrents_info()
    client.break_endpoint(
        "torrents/info", json.dumps([{name: row[name] for name in row if name != key}])
    )
    with pytest.raises(Unreachable) as odd:
        product.torrents()
    assert odd.value.detail == f"{key!r} is missing"


@pytest.mark.parametrize("how", ["403", "garble", "half", "{}", "[{}]"])
def test_a_broken_file_list_is_unreachable(
    client: SimulatedClient, product: QBittorrentClient, torrent_id: str, how: str
) -> None:
    client.break_endpoint("torrents/files", how)
    with pytest.raises(Unreachable):
        product.files(torrent_id)


@pytest.mark.parametrize("status", ["403", "404"])
@pytest.mark.parametrize(
    ("endpoint", "ask"),
    [
        ("torrents/info", lambda product, _: product.listed()),
        ("torrents/info", lambda product, _: product.inventory()),
        ("app/preferences", lambda product, _: product.preferences()),
        ("app/preferences", lambda product, _: product.refresh_interval()),
        ("sync/maindata", lambda product, _: product.transfer()),
        ("torrents/categories", lambda product, _: product.categories()),
        ("torrents/categories", lambda product, _: product.managed_folders("films")),
    ],
)
def test_a_question_that_qbittorrent_never_refuses_was_not_answered_by_it(
    client: SimulatedClient,
    product: QBittorrentClient,
    endpoint: str,
    status: str,
    ask: Callable[[QBittorrentClient, str], object],
) -> None:
    client.break_endpoint(endpoint, status)
    with pytest.raises(Unreachable, match="answered with an error") as odd:
        ask(product, "")
    assert f"HTTP {status}" in odd.value.detail


@pytest.mark.parametrize(
    "ask",
    [
        lambda product, torrent_id: product.properties(torrent_id),
        lambda product, torrent_id: product.tracker_details(torrent_id),
        lambda product, torrent_id: product.trackers(torrent_id),
        lambda product, torrent_id: product.files(torrent_id),
    ],
)
def test_a_forbidden_question_about_one_torrent_does_not_mean_that_it_is_gone(
    client: SimulatedClient,
    product: QBittorrentClient,
    torrent_id: str,
    ask: Callable[[QBittorrentClient, str], object],
) -> None:
    for endpoint in ("properties", "trackers", "files"):
        client.break_endpoint(f"torrents/{endpoint}", "403")
    with pytest.raises(Unreachable, match="answered with an error"):
        ask(product, torrent_id)


@pytest.mark.parametrize("status", ["400", "403", "404", "409"])
def test_a_category_that_cannot_be_made_is_refused(
    client: SimulatedClient, product: QBittorrentClient, status: str
) -> None:
    client.break_endpoint("torrents/createCategory", status)
    with pytest.raises(ClientRefused, match="refused the category 'films'") as refused:
        product.create_category("films")
    assert f"HTTP {status}" in refused.value.detail


def test_one_failed_request_is_repeated(
    client: SimulatedClient, product: QBittorrentClient, torrent_id: str
) -> None:
    client.break_endpoint("torrents/info", "500", times=1)
    assert len(product.torrents()) == 1
    client.break_endpoint("torrents/stop", "after", times=1)  # done, and the answer lost
    product.stop([torrent_id])
    assert product.torrents([torrent_id])[0].state is TorrentState.STOPPED_UP


def test_a_client_that_hangs_is_waited_for_no_longer_than_agreed(
    client: SimulatedClient, product: QBittorrentClient
) -> None:
    client.break_endpoint("torrents/info", "hang")
    start = time.monotonic()
    with pytest.raises(Unreachable, match="does not answer"):
        product.torrents()
    assert time.monotonic() - start < 4  # two tries of a second each, and a pause


def test_yes_without_an_effect_is_a_refusal(
    client: SimulatedClient, product: QBittorrentClient, torrent_id: str
) -> None:
    client.break_endpoint("torrents/stop", "ignore")
    with pytest.raises(ClientRefused) as ignored:
        product.stop([torrent_id])
    assert "stalledUP" in ignored.value.detail
    assert torrent_id in ignored.value.brief


def test_refusals_of_the_client_have_its_words(
    client: SimulatedClient, product: QBittorrentClient, torrent_id: str, tmp_path: Path
) -> None:
    with pytest.raises(ClientRefused) as refused:
        product.set_location(torrent_id, "/proc/nowhere")
    assert "Cannot make save path" in str(refused.value)
    assert product.torrents([torrent_id])[0].save_path == str(tmp_path)


@pytest.mark.parametrize("path", ["", "relative", "./here", "nul\0"])
def test_a_location_that_is_not_absolute_is_not_sent(
    client: SimulatedClient, product: QBittorrentClient, torrent_id: str, path: str
) -> None:
    with pytest.raises(Misused, match="not an absolute path"):
        product.set_location(torrent_id, path)
    assert client.requests("torrents/setLocation") == 0


def test_a_qbittorrent_without_download_paths_is_too_old(client: SimulatedClient) -> None:
    client.break_endpoint("app/webapiVersion", "2.8.3")
    with pytest.raises(ClientTooOld) as old:
        connect(client.url, "admin", PASSWORD)
    assert (old.value.code, old.value.exit_code) == ("client-version", 3)
    assert "2.8.3" in old.value.detail


def test_only_the_web_api_version_decides(client: SimulatedClient) -> None:
    client.break_endpoint("app/version", "v3.0.0-custom")
    assert connect(client.url, "admin", PASSWORD).version().api == (2, 11, 4)


def test_many_torrents_are_one_request_and_their_change_a_few(
    client: SimulatedClient, product: QBittorrentClient, tmp_path: Path
) -> None:
    for number in range(20):
        made = make_torrent(tmp_path, f"{number}.mkv", {"": 100})
        client.add(made.data, tmp_path)
    before = client.requests("torrents/info")
    ids = [torrent.torrent_id for torrent in product.torrents()]
    assert client.requests("torrents/info") == before + 1
    product.stop(ids)
    assert client.requests("torrents/stop") == 1
    assert client.requests("torrents/info") <= before + 12


def test_hashes_are_asked_for_in_pieces(
    client: SimulatedClient, product: QBittorrentClient, torrent_id: str
) -> None:
    before = client.requests("torrents/info")
    many = [f"{number:040x}" for number in range(2500)]
    assert [t.torrent_id for t in product.torrents([*many, torrent_id])] == [torrent_id]
    assert client.requests("torrents/info") == before + 3
