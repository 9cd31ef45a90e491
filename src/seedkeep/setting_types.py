"""What the value of a setting may look like: parsers, and the way back to text.

Parsers get text, or a list or mapping from the config file, and raise `ValueError` with words for
the user.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from seedkeep.settings import HIDDEN
from seedkeep.units import format_size, parse_duration, parse_size

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


LONGEST = timedelta(days=36_500)  # so that a date before or after it is a date still
_TRUTH = {
    **dict.fromkeys(("true", "yes", "on", "1"), True),
    **dict.fromkeys(("false", "no", "off", "0"), False),
}


class PathPair(NamedTuple):
    """The same folder under the client's name and under ours."""

    client: str  # as the torrent client writes it
    ours: str  # absolute


class SaveRule(NamedTuple):
    """Where torrents of one kind live on stash and on the pool; "" and None: whatever it is."""

    category: str = ""  # on stash
    tracker: str = ""  # host, or the domain above it
    tag: str = ""
    stash: Path | None = None
    pool: Path | None = None
    pool_category: str = ""


def text(given: Any) -> str:
    if not isinstance(given, str):
        raise ValueError("must be one text, not a list or a section")
    return given


def url(given: Any) -> str:
    """An http or https address without a trailing slash."""
    address = text(given).strip().rstrip("/")
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be an address like http://localhost:8080")
    return address


def show_url(address: str) -> str:
    """The address without a password that somebody wrote into it."""
    user, at, host = urlsplit(address).netloc.rpartition("@")
    return address.replace(f"{user}{at}{host}", f"{HIDDEN}@{host}", 1) if at else address


def without_login(address: str) -> tuple[str, str, str]:
    """(address, username, password): what somebody wrote before the @ stands by itself."""
    user, at, host = urlsplit(address).netloc.rpartition("@")
    if not at:
        return address, "", ""
    name, _, password = user.partition(":")
    return address.replace(f"{user}@{host}", host, 1), unquote(name), unquote(password)


def level(given: Any) -> str:
    name = text(given).strip().upper()
    if name not in LEVELS:
        raise ValueError(f"{given!r} is none of {', '.join(LEVELS)}")
    return name


def file_path(given: Any) -> Path:
    """Absolute; a relative path starts in the working directory."""
    path = _path(given)
    return path if path.parts[0] == "~" else path.absolute()


def root_path(given: Any) -> Path:
    """A folder for data: absolute as written, because its meaning must not move with the caller."""
    path = _path(given)
    if not path.is_absolute() and path.parts[0] != "~":
        raise ValueError(f"{text(given)!r} is not an absolute path")
    return path


def _path(given: Any) -> Path:
    written = text(given)
    if not written.strip() or "\0" in written:
        raise ValueError("must be a path")
    if written.startswith("~") and written != "~" and not written.startswith("~/"):
        raise ValueError(f"{written!r}: only ~/ is understood, not another user's home")
    return Path(written)


def root_paths(given: Any) -> tuple[Path, ...]:
    """A list of folders, or text with `:` between them."""
    items = given if isinstance(given, (list, tuple)) else text(given).split(":")
    return tuple(dict.fromkeys(root_path(item) for item in items if item != ""))


def path_pairs(given: Any) -> tuple[PathPair, ...]:
    """A list of `{client: /data, ours: /srv/data}` or of "client=ours", or text with commas."""
    items = given if isinstance(given, (list, tuple)) else text(given).split(",")
    pairs = tuple(_pair(item) for item in items if item != "")
    clients = [pair.client for pair in pairs]
    for client in clients:
        if clients.count(client) > 1:
            raise ValueError(f"{client} is mapped twice")
    return pairs


def _pair(given: Any) -> PathPair:
    if isinstance(given, Mapping):
        if set(given) != {"client", "ours"}:
            raise ValueError("each pair needs `client` and `ours`, nothing else")
        client, ours = text(given["client"]), text(given["ours"])
    else:
        client, equals, ours = text(given).strip().partition("=")
        if not equals or "=" in ours:
            raise ValueError(f"{given!r} is not client=ours (paths with = need the config file)")
    if not client.startswith("/"):
        raise ValueError(f"{client!r}: the client's path is not absolute")
    if not ours.startswith("/"):
        raise ValueError(f"{ours!r}: our path is not absolute")
    return PathPair(client.rstrip("/") or "/", ours.rstrip("/") or "/")


def whole_number(least: int, most: int) -> Callable[[Any], int]:
    def parse(given: Any) -> int:
        written = text(given).strip()
        # int() would also take "1_0" and digits of other scripts.
        if not (written.isascii() and written.isdecimal() and len(written) < 20):
            raise ValueError(f"{written!r} is not a whole number")
        if not least <= int(written) <= most:
            raise ValueError(f"{written} is not between {least} and {most}")
        return int(written)

    return parse


def truth(given: Any) -> bool:
    """ "true", "yes", "on", "1" or their opposites, in any case."""
    word = text(given).strip().lower()
    if word not in _TRUTH:
        raise ValueError(f"{given!r} is neither true nor false")
    return _TRUTH[word]


def show_truth(value: bool) -> str:
    return "true" if value else "false"


def one_of(*words: str) -> Callable[[Any], str]:
    def parse(given: Any) -> str:
        word = text(given).strip().lower()
        if word not in words:
            raise ValueError(f"{given!r} is none of {', '.join(words)}")
        return word

    return parse


def secrets(given: Any) -> tuple[str, ...]:
    """Keys that are all valid: a list, or text with one in each line."""
    items = given if isinstance(given, (list, tuple)) else text(given).splitlines()
    keys = tuple(dict.fromkeys(stripped for item in items if (stripped := text(item).strip())))
    if any(not key.isprintable() for key in keys):
        raise ValueError("a key must be printable text")
    return keys


def secret(given: Any) -> str:
    """One key: of several lines the first that has one, so that two settings may share a file."""
    return next(iter(secrets(given)), "")


def optional_file(given: Any) -> Path | None:
    """A file, or None for "none"."""
    return None if text(given).strip().lower() in ("", "none") else file_path(given)


def duration(given: Any) -> timedelta:
    value = parse_duration(text(given))
    if value > LONGEST:
        raise ValueError(f"{given!r} is more than {LONGEST.days} days")
    return value


def size(given: Any) -> int:
    return parse_size(text(given))


def positive(parse: Callable[[Any], timedelta]) -> Callable[[Any], timedelta]:
    def checked(given: Any) -> timedelta:
        value = parse(given)
        if not value:
            raise ValueError("must be longer than 0")
        return value

    return checked


def show_size(value: int) -> str:
    short = format_size(value)
    return short if parse_size(short) == value else f"{value} B"


def show_optional(value: object) -> str:
    return "" if value is None else str(value)


def show_paths(paths: Iterable[Path]) -> str:
    return ":".join(map(str, paths))


def show_pairs(pairs: Sequence[PathPair]) -> str:
    return ",".join(f"{pair.client}={pair.ours}" for pair in pairs)


def redis_url(given: Any) -> str:
    address = text(given).strip()
    parts = urlsplit(address)
    if address and (
        parts.scheme not in ("redis", "rediss", "unix") or not (parts.hostname or parts.path)
    ):
        raise ValueError("must be an address like redis://localhost:6379/0")
    if parts.scheme != "unix" and not re.fullmatch(r"/?[0-9]*", parts.path):
        raise ValueError("must name its database by a number, like redis://localhost:6379/0")
    return address


def base_path(given: Any) -> str:
    """ "/qbt-rules", or "" for the root."""
    path = text(given).strip().strip("/")
    if not re.fullmatch(r"[A-Za-z0-9._~/-]*", path) or "//" in path:
        raise ValueError(f"{given!r} is not a path like /qbt-rules")
    return f"/{path}" if path else ""


def networks(given: Any) -> tuple[str, ...]:
    """Addresses and networks, as a list or as text with commas."""
    import ipaddress

    items = given if isinstance(given, (list, tuple)) else text(given).split(",")
    stripped = [text(item).strip() for item in items]
    return tuple(str(ipaddress.ip_network(item, strict=False)) for item in stripped if item)


def show_networks(values: Sequence[str]) -> str:
    return ",".join(values)


def save_rules(given: Any) -> tuple[SaveRule, ...]:
    """A list of mappings with the fields of `SaveRule`; only a config file can say that."""
    if given == "":
        return ()
    if not isinstance(given, (list, tuple)):
        raise ValueError("must be a list of rules, each with `category`, `tracker` or `tag`")
    return tuple(_save_rule(item, number) for number, item in enumerate(given, 1))


def _save_rule(given: Any, number: int) -> SaveRule:
    if not isinstance(given, Mapping):
        raise ValueError(f"rule {number} must be a mapping")
    unknown = sorted(set(given) - set(SaveRule._fields))
    if unknown:
        raise ValueError(
            f"rule {number}: {', '.join(unknown)} is none of {', '.join(SaveRule._fields)}"
        )
    values: dict[str, Any] = {
        key: root_path(value) if key in ("stash", "pool") else text(value).strip()
        for key, value in given.items()
        if value is not None
    }
    rule = SaveRule(**values)
    if not (rule.category or rule.tracker or rule.tag or rule.stash):
        raise ValueError(f"rule {number} fits everything; say category, tracker, tag or stash")
    if not (rule.pool or rule.pool_category or rule.stash):
        raise ValueError(f"rule {number} changes nothing; say pool, stash or pool_category")
    if rule.pool_category and not rule.category:
        raise ValueError(
            f"rule {number}: pool_category without category could not be taken back"
            " when a torrent is promoted"
        )
    return rule


def show_rules(rules: Sequence[SaveRule]) -> str:
    return "; ".join(
        ", ".join(f"{key}={value}" for key, value in rule._asdict().items() if value)
        for rule in rules
    )


def endings(given: Any) -> tuple[str, ...]:
    """Endings of file names with their dots, in lower case; the word `sample` stays as it is."""
    words = given.replace(",", " ").split() if isinstance(given, str) else given
    if not isinstance(words, (list, tuple)) or not all(isinstance(word, str) for word in words):
        raise ValueError("must be a list of endings such as nfo, sfv, sample")
    found = {word.strip().lower().lstrip(".") for word in words}
    if odd := sorted(word for word in found if not word or "/" in word or "." in word):
        raise ValueError(f"{odd[0]!r} is no ending of a file name; write nfo for files like a.nfo")
    return tuple(sorted(word if word == "sample" else f".{word}" for word in found))


def show_endings(words: Sequence[str]) -> str:
    return " ".join(word.removeprefix(".") for word in words)


def items(given: Any) -> tuple[Any, ...]:
    """A list whose entries another module reads."""
    if not isinstance(given, (list, tuple)):
        raise ValueError("must be a list, one entry behind each dash")
    return tuple(given)


def show_items(values: Sequence[Any]) -> str:
    return f"{len(values)} entries" if values else ""


class ClientInstance(NamedTuple):
    """One more qBittorrent, beside the main one."""

    name: str
    host: str
    username: str
    password_file: Path | None  # a password itself would be read by whoever sees the file
    path_map: tuple[PathPair, ...]


def client_instances(given: Any) -> tuple[ClientInstance, ...]:
    """A mapping of names to `{host: …, username: …, password_file: …, path_map: […]}`."""
    if not isinstance(given, Mapping):
        raise ValueError("must be a section with one name per instance")
    return tuple(_instance(str(name), row) for name, row in given.items())


def _instance(name: str, row: Any) -> ClientInstance:
    if name == "main" or not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", name):
        raise ValueError(
            f"{name!r}: a name has small letters, digits, - and _; main is qbittorrent.host"
        )
    if not isinstance(row, Mapping) or "host" not in row:
        raise ValueError(f"{name}: needs at least `host`")
    if unknown := set(row) - {"host", "username", "password_file", "path_map"}:
        raise ValueError(f"{name}: {', '.join(sorted(map(str, unknown)))} is not known here")
    return ClientInstance(
        name=name,
        host=url(row["host"]),
        username=text(row.get("username", "admin")),
        password_file=root_path(row["password_file"]) if "password_file" in row else None,
        path_map=path_pairs(row.get("path_map", ())),
    )


def show_instances(instances: Sequence[ClientInstance]) -> str:
    return ", ".join(f"{item.name}={show_url(item.host)}" for item in instances)
