"""The settings of qbt-rules: the table of the requirement, and where its files are looked for."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest

from seedkeep import setting_types as types
from seedkeep.settings import HIDDEN, BadSetting, Settings, UnknownSetting, load
from seedkeep.settings_qbt_rules import (
    CLIENT_API_KEY,
    CONFIG_DIR,
    LOG_FILE,
    QUEUE_CLEANUP_AFTER,
    QUEUE_COALESCE,
    QUEUE_REDIS_URL,
    QUEUE_SQLITE_PATH,
    RULES_FILE,
    SERVER_API_KEY,
    SERVER_PORT,
    SERVER_TRUSTED_PROXIES,
)
from seedkeep.settings_table import QBT_RULES, SETTINGS

REQUIRED = """
QBT_RULES_SERVER_HOST --server-host server.host 0.0.0.0
QBT_RULES_SERVER_PORT --server-port server.port 5000
QBT_RULES_SERVER_API_KEY --server-api-key server.api_key -
QBT_RULES_SERVER_WORKERS --server-workers server.workers 1
QBT_RULES_QUEUE_BACKEND --queue-backend queue.backend sqlite
QBT_RULES_QUEUE_SQLITE_PATH --queue-sqlite-path queue.sqlite_path /config/qbt-rules.db
QBT_RULES_QUEUE_REDIS_URL --queue-redis-url queue.redis_url -
QBT_RULES_QUEUE_CLEANUP_AFTER --queue-cleanup-after queue.cleanup_after 7d
QBT_RULES_CLIENT_SERVER_URL --client-server-url client.server_url http://localhost:5000
QBT_RULES_CLIENT_API_KEY --client-api-key client.api_key -
QBT_RULES_QBITTORRENT_HOST --qbittorrent-host qbittorrent.host http://localhost:8080
QBT_RULES_QBITTORRENT_USERNAME --qbittorrent-username qbittorrent.username admin
QBT_RULES_QBITTORRENT_PASSWORD --qbittorrent-password qbittorrent.password -
QBT_RULES_RULES_FILE --rules-file rules.file /config/rules.yml
QBT_RULES_CONFIG_DIR --config-dir config.dir /config
QBT_RULES_LOG_LEVEL --log-level logging.level INFO
QBT_RULES_LOG_FILE --log-file logging.file /config/qbt-rules.log
"""
ROWS = {row.key: row for row in SETTINGS if QBT_RULES in row.programs}
# A value that each setting can have, other than its default.
ANOTHER = {"port": "6000", "workers": "3", "backend": "redis", "after": "2d", "level": "DEBUG"} | {
    "url": "redis://r:1/0",
    "host": "http://other:1",
}


def another(key: str) -> str:
    last = re.split(r"[._]", key)[-1]
    return "http://s:1" if key == "client.server_url" else ANOTHER.get(last, "/other/x")


def resolve(flags: dict[str, object] | None = None, **environ: str) -> Settings:
    return load(QBT_RULES, flags or {}, {"HOME": "/home/ann"} | environ)


@pytest.mark.parametrize("line", REQUIRED.split("\n")[1:-1], ids=lambda line: line.split()[2])
def test_every_setting_is_taken_from_its_places_in_order(line: str, tmp_path: Path) -> None:
    variable, flag, key, default = line.split()
    row = ROWS[key]
    assert row.env[0] == variable
    assert flag in row.flags_of(QBT_RULES)
    assert row.shown(row.default) == ("" if default == "-" else default)
    value = another(key)
    folder = tmp_path / "folder"
    folder.mkdir()
    section, name = key.split(".")
    (folder / "config.yml").write_text(f"{section}:\n  {name}: {value}\n")
    (tmp_path / "value").write_text(f"{value}\n")
    flags: dict[str, object] = {row.param: value}
    environ = {
        "QBT_RULES_CONFIG_DIR": str(folder),
        f"{variable}_FILE": str(tmp_path / "value"),
        f"FILE__{variable}": str(tmp_path / "value"),
    } | {variable: str(folder) if row is CONFIG_DIR else value}
    origins = []
    for weaker in (
        flags.clear,
        lambda: environ.pop(f"{variable}_FILE"),
        lambda: environ.pop(f"FILE__{variable}"),
        lambda: environ.pop(variable) if row is not CONFIG_DIR else None,
        (folder / "config.yml").unlink,
        lambda: None,
    ):
        found = resolve(flags, **environ)
        origins.append(found.origin(row))
        weaker()
    assert origins[:3] == [
        f"flag {' or '.join(row.flags)}",
        f"{variable}_FILE ({tmp_path / 'value'})",
        f"FILE__{variable} ({tmp_path / 'value'})",
    ]
    if row is not CONFIG_DIR:
        assert origins[3:] == [variable, f"{folder}/config.yml:2:3", "default"]


def test_the_files_lie_in_the_config_folder_wherever_it_is() -> None:
    moved = resolve({"config_dir": "/srv/qbt"})
    assert moved[RULES_FILE] == Path("/srv/qbt/rules.yml")
    assert moved[QUEUE_SQLITE_PATH] == Path("/srv/qbt/qbt-rules.db")
    assert moved[LOG_FILE] == Path("/srv/qbt/qbt-rules.log")
    assert moved.origin(RULES_FILE) == "default"


def test_the_config_file_may_send_the_other_files_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "config.yml").write_text("config:\n  dir: /data\n")
    found = resolve({"config_dir": None}, QBT_RULES_CONFIG_DIR=str(tmp_path))
    assert found[CONFIG_DIR] == tmp_path, "the environment is stronger"
    assert found[RULES_FILE] == tmp_path / "rules.yml"


def test_several_keys_may_be_valid(tmp_path: Path) -> None:
    (tmp_path / "config.yml").write_text("server:\n  api_key: [new key, old, new key]\n")
    found = resolve(QBT_RULES_CONFIG_DIR=str(tmp_path))
    assert found[SERVER_API_KEY] == ("new key", "old")
    assert found.secrets() == ["new key", "old"]
    assert resolve(QBT_RULES_SERVER_API_KEY="a,b\n\n c \n")[SERVER_API_KEY] == ("a,b", "c")


def test_no_secret_is_shown() -> None:
    found = resolve(
        QBT_RULES_SERVER_API_KEY="one\ntwo",
        QBT_RULES_CLIENT_API_KEY="three",
        QBT_RULES_QBITTORRENT_PASSWORD="four",
        QBT_RULES_QUEUE_REDIS_URL="redis://:five@host/0",
    )
    shown = " ".join(row.value for row in found.rows())
    assert not re.search("one|two|three|four|five", shown)
    assert f"redis://{HIDDEN}@host/0" in shown
    assert found[CLIENT_API_KEY] == "three"


@pytest.mark.parametrize(
    ("variable", "value", "problem"),
    [
        ("SERVER_PORT", "0", "server.port: 0 is not between 1 and 65535"),
        ("SERVER_PORT", "5_000", "server.port: '5_000' is not a whole number"),
        ("SERVER_PORT", "٥", "server.port: '٥' is not a whole number"),
        ("QUEUE_BACKEND", "mysql", "queue.backend: 'mysql' is none of sqlite, redis"),
        ("QUEUE_COALESCE", "maybe", "queue.coalesce: 'maybe' is neither true nor false"),
        ("QUEUE_REDIS_URL", "localhost", "queue.redis_url: must be an address like redis://"),
        ("QUEUE_REDIS_URL", "redis://r/jobs", "queue.redis_url: must name its database"),
        ("QUEUE_CLEANUP_AFTER", "0", "queue.cleanup_after: must be longer than 0"),
        ("QUEUE_CLEANUP_AFTER", "99999d", "queue.cleanup_after: '99999d' is more than 36500"),
        ("CLIENT_API_KEY", "a\x00b", "client.api_key: unusable value"),
        ("SERVER_BASE_URL", "/a b", "server.base_url: '/a b' is not a path"),
        ("SERVER_TRUSTED_PROXIES", "proxy", "server.trusted_proxies: 'proxy' does not appear"),
        ("SERVER_API_KEY", "a\x00b", "server.api_key: unusable value"),
    ],
)
def test_a_wrong_value_is_refused_with_its_place(variable: str, value: str, problem: str) -> None:
    with pytest.raises(BadSetting) as caught:
        resolve(**{f"QBT_RULES_{variable}": value})
    assert caught.value.brief.startswith(problem)
    assert caught.value.detail == f"read from QBT_RULES_{variable}"


def test_values_become_what_the_program_uses() -> None:
    found = resolve(
        QBT_RULES_QUEUE_CLEANUP_AFTER="30 days",
        QBT_RULES_QUEUE_COALESCE="No",
        QBT_RULES_SERVER_TRUSTED_PROXIES="10.0.0.7/8, ::1",
        QBT_RULES_LOG_FILE="none",
        QBT_RULES_QUEUE_REDIS_URL="unix:///run/redis.sock",
    )
    assert found[QUEUE_CLEANUP_AFTER] == timedelta(days=30)
    assert found[QUEUE_COALESCE] is False
    assert found[SERVER_TRUSTED_PROXIES] == ("10.0.0.0/8", "::1/128")
    assert found[LOG_FILE] is None
    assert found[QUEUE_REDIS_URL] == "unix:///run/redis.sock"
    assert found[SERVER_PORT] == 5000
    assert types.base_path("qbt/") == "/qbt"


def test_a_mistyped_name_is_an_error_with_the_right_one(tmp_path: Path) -> None:
    with pytest.raises(UnknownSetting) as caught:
        resolve(QBT_RULES_SERVER_PROT="1")
    assert caught.value.hint == "did you mean QBT_RULES_SERVER_PORT?"
    (tmp_path / "config.yml").write_text("server:\n  prot: 1\n")
    with pytest.raises(UnknownSetting) as caught:
        resolve(QBT_RULES_CONFIG_DIR=str(tmp_path))
    assert str(caught.value) == (
        f"{tmp_path}/config.yml:2:3: server.prot is not a setting\nhint: did you mean server.port?"
    )


@pytest.mark.parametrize("path", ["/dev/zero", "/proc/self/mem", "/", "/nowhere/at/all"])
def test_what_is_no_small_file_cannot_be_a_value(path: str) -> None:
    with pytest.raises(BadSetting) as caught:
        resolve(QBT_RULES_SERVER_API_KEY_FILE=path)
    assert "QBT_RULES_SERVER_API_KEY_FILE" in caught.value.detail


def test_a_value_file_has_a_largest_size(tmp_path: Path) -> None:
    (tmp_path / "big").write_text("x" * 70_000)
    with pytest.raises(BadSetting, match="larger than 65536 bytes"):
        resolve(QBT_RULES_SERVER_API_KEY_FILE=str(tmp_path / "big"))
