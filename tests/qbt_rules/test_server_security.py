"""Who may ask, what a browser is told, and whose word about the caller counts."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from tests.support.rules_app import KEY, Api

from qbt_rules.api_security import MOST_ADDRESSES, Keys, WrongKeys
from seedkeep import clock

OPEN = ["/ping", "/api/health", "/api/version", "/api/openapi.json"]
GUARDED = [
    ("POST", "/api/execute"),
    ("GET", "/api/jobs"),
    ("GET", "/api/jobs/x"),
    ("DELETE", "/api/jobs/x"),
    ("GET", "/api/stats"),
    ("POST", "/api/reload"),
    ("GET", "/metrics"),
    ("GET", "/nothing"),
    ("PUT", "/api/stats"),
]


@pytest.mark.parametrize(("method", "path"), GUARDED)
@pytest.mark.parametrize("key", [None, "", "wrong", KEY[:-1], KEY + "x", KEY.upper()])
def test_without_a_valid_key_nothing_is_told(
    api: Api, method: str, path: str, key: str | None
) -> None:
    response = api.ask(method, path, key=key)
    body: Any = response.json
    assert response.status_code == 401
    assert body.pop("trace_id")
    assert body == {"error": "Unauthorized", "message": "Invalid or missing API key"}
    assert api.queue.stats().total == 0


def test_every_endpoint_is_either_guarded_or_open_on_purpose(api: Api) -> None:
    for rule in api.app.url_map.iter_rules():
        methods = (rule.methods or set()) - {"HEAD", "OPTIONS"}
        for method in methods:
            status = api.ask(method, rule.rule.replace("<job_id>", "x"), key=None).status_code
            assert (status == 401) != (rule.rule in OPEN), rule.rule


@pytest.mark.parametrize(
    ("headers", "query"),
    [
        ({"X-API-Key": KEY}, ""),
        ({"Authorization": f"Bearer {KEY}"}, ""),
        ({"Authorization": f"bearer  {KEY} "}, ""),
        ({}, f"?key={KEY}"),
        ({}, f"?apikey={KEY}"),
        ({"X-API-Key": "wrong"}, f"?key={KEY}"),
    ],
)
def test_the_key_may_stand_in_a_header_or_in_the_query(
    api: Api, headers: dict[str, str], query: str
) -> None:
    assert api.ask("GET", f"/api/stats{query}", key=None, headers=headers).status_code == 200


@pytest.mark.parametrize("header", ["Basic dXNlcjpwYXNz", "Bearer", "Bearer ", f"Token {KEY}", KEY])
def test_other_kinds_of_authorization_are_none(api: Api, header: str) -> None:
    response = api.ask("GET", "/api/stats", key=None, headers={"Authorization": header})
    assert response.status_code == 401


def test_several_keys_are_valid_so_that_they_can_be_changed(tmp_path: Path) -> None:
    with Api.opened(tmp_path, keys=["the-new-one", "schlüssel mit ümläut"]) as api:
        assert api.ask("GET", "/api/stats", key="the-new-one").status_code == 200
        header = "schlüssel mit ümläut".encode().decode("latin-1")
        assert api.ask("GET", "/api/stats", key=header).status_code == 200
        query = "?key=schl%C3%BCssel%20mit%20%C3%BCml%C3%A4ut"
        assert api.ask("GET", f"/api/stats{query}", key=None).status_code == 200
        assert api.ask("GET", "/api/stats", key=KEY).status_code == 401


def test_keys_are_compared_as_bytes_without_a_way_out_in_between(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[tuple[bytes, bytes]] = []

    def compare(one: bytes, other: bytes) -> bool:
        seen.append((one, other))
        return one == other

    monkeypatch.setattr("qbt_rules.api_security.hmac.compare_digest", compare)
    keys = Keys(["first", "second"])
    for offered in (b"first", b"x", b"\xff\x00" * 5000):
        seen.clear()
        keys.accept([offered])
        assert len(seen) == 2, "the first match must not end the comparison"
        assert {len(digest) for pair in seen for digest in pair} == {32}
    with pytest.raises(ValueError, match="at least one key"):
        Keys([])


# Guessing


def test_after_some_wrong_keys_an_address_has_to_wait(api: Api) -> None:
    now = [1000.0]
    with clock.using(monotonic=lambda: now[0]):
        for _ in range(10):
            assert api.ask("GET", "/api/stats", key="guess").status_code == 401
        response = api.ask("GET", "/api/stats", key=KEY)
        assert response.status_code == 429
        assert response.headers["Retry-After"] == "60"
        assert response.json["message"] == (  # type: ignore[index]
            "too many wrong API keys from 127.0.0.1; wait 60 s"
        )
        assert api.ask("GET", "/ping", key=None).status_code == 200
        other = {"REMOTE_ADDR": "10.0.0.9"}
        assert api.ask("GET", "/api/stats", environ_overrides=other).status_code == 200
        now[0] += 61
        assert api.ask("GET", "/api/stats").status_code == 200


def test_a_forgotten_key_is_no_guess(api: Api) -> None:
    for _ in range(30):
        assert api.ask("GET", "/api/stats", key=None).status_code == 401
    assert api.ask("GET", "/api/stats").status_code == 200


def test_the_count_of_guesses_has_a_largest_size() -> None:
    wrong = WrongKeys(most=1)
    for number in range(MOST_ADDRESSES + 50):
        wrong.count(f"address {number}")
    assert len(wrong._seen) == MOST_ADDRESSES
    assert wrong.wait_s("address 0") == 0
    assert wrong.wait_s(f"address {MOST_ADDRESSES}") > 0


# Headers


@pytest.mark.parametrize("path", ["/ping", "/api/stats", "/nothing", "/metrics"])
@pytest.mark.parametrize("key", [KEY, None])
def test_every_answer_tells_a_browser_to_be_careful(api: Api, path: str, key: str | None) -> None:
    headers = api.ask("GET", path, key=key).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cache-Control"] == "no-store"
    assert "Access-Control-Allow-Origin" not in headers
    assert "Set-Cookie" not in headers


# Logs


def test_no_key_gets_into_the_log(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="qbt_rules")
    api.ask("GET", f"/api/stats?key={KEY}&x=1", key=None)
    api.ask("GET", "/api/stats?key=almost-the-key", key=None)
    api.ask("GET", "/api/stats", key="almost-the-key")
    assert caplog.records
    assert "almost-the-key" not in caplog.text
    assert KEY not in caplog.text


def test_a_path_cannot_forge_a_line_of_the_log(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="qbt_rules")
    response = api.ask("GET", "/a%0aERROR%20forged%1b[31m")
    assert response.status_code == 404
    assert all("\n" not in record.getMessage() for record in caplog.records)
    assert "\x1b" not in caplog.text


# Proxies


LOOPBACK = ("127.0.0.0/8",)


@pytest.mark.parametrize(
    ("trusted", "remote", "prefix", "location"),
    [
        ((), "127.0.0.1", "/evil", "/"),
        (LOOPBACK, "127.0.0.1", "/qbt/", "/qbt"),
        (LOOPBACK, "10.0.0.1", "/evil", "/"),
        (LOOPBACK, "127.0.0.1", "//evil.example", "/"),
        (LOOPBACK, "127.0.0.1", "/a<b", "/"),
    ],
)
def test_a_prefix_is_believed_from_a_trusted_proxy_only(
    tmp_path: Path, trusted: tuple[str, ...], remote: str, prefix: str, location: str
) -> None:
    with Api.opened(tmp_path, trusted_proxies=trusted) as api:
        document: Any = api.ask(
            "GET",
            "/api/openapi.json",
            headers={"X-Forwarded-Prefix": prefix},
            environ_overrides={"REMOTE_ADDR": remote},
        ).json
        assert document["servers"] == [{"url": location}]


@pytest.mark.parametrize("path", ["", "/qbt-rules"])
def test_a_proxy_may_remove_the_prefix_or_leave_it(tmp_path: Path, path: str) -> None:
    with Api.opened(tmp_path, base_url="/qbt-rules") as api:
        assert api.ask("POST", f"{path}/api/execute").status_code == 202
        document: Any = api.ask("GET", f"{path}/api/openapi.json").json
        assert document["servers"] == [{"url": "/qbt-rules"}]


def test_what_only_begins_like_the_prefix_is_not_below_it(tmp_path: Path) -> None:
    with Api.opened(tmp_path, base_url="/qbt") as api:
        assert api.ask("GET", "/qbtx/ping").status_code == 404
        assert api.ask("GET", "/qbt/ping").status_code == 200
        assert api.ask("GET", "/qbt/api/openapi.json").json["servers"] == [  # type: ignore[index]
            {"url": "/qbt"}
        ]


@pytest.mark.parametrize(
    ("remote", "forwarded", "blamed"),
    [
        ("127.0.0.1", "203.0.113.7", "203.0.113.7"),
        ("127.0.0.1", "1.2.3.4, 203.0.113.7", "203.0.113.7"),
        ("127.0.0.1", "1.2.3.4, 203.0.113.7, 127.0.0.2", "203.0.113.7"),
        ("127.0.0.1", "nonsense", "127.0.0.1"),
        ("198.51.100.1", "203.0.113.7", "198.51.100.1"),
        ("", "203.0.113.7", ""),
    ],
)
def test_guesses_are_counted_for_the_caller_and_not_for_the_proxy(
    tmp_path: Path, remote: str, forwarded: str, blamed: str
) -> None:
    with Api.opened(tmp_path, trusted_proxies=("127.0.0.0/8",)) as api:
        api.ask(
            "GET",
            "/api/stats",
            key="wrong",
            headers={"X-Forwarded-For": forwarded},
            environ_overrides={"REMOTE_ADDR": remote},
        )
        assert list(api.service.wrong_keys._seen) == [blamed]
