"""What `qbt-rules doctor` looks at.  What it means is decided in `doctor_rules`.

Nothing is changed: no folder, no database and no log is made.
"""

from __future__ import annotations

import os
import shutil
import socket
import stat
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from qbt_rules.hooks import Hook, hooks_of
from qbt_rules.seed_data_doctor import CatalogFacts, look_at_seed_data
from seedkeep import clock
from seedkeep.database_place import filesystem_type
from seedkeep.errors import SeedError
from seedkeep.settings import CONFIG_NAME, Settings
from seedkeep.settings_qbt_rules import (
    CLIENT_API_KEY,
    CLIENT_SERVER_URL,
    CONFIG_DIR,
    QUEUE_BACKEND,
    QUEUE_REDIS_URL,
    QUEUE_SQLITE_PATH,
    RULES_FILE,
    SERVER_API_KEY,
    SERVER_HOST,
    SERVER_PORT,
)
from seedkeep.settings_table import QBIT_HOST, QBIT_PASSWORD, QBIT_USERNAME

if TYPE_CHECKING:
    import requests

WAIT_S = 5.0  # for one answer
LOCAL = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class FolderFacts:
    path: Path
    exists: bool
    writable: bool  # by us; of what is missing: it could be made
    config: Path
    has_config: bool
    open_secrets: tuple[Path, ...]  # files with a secret in them that everybody can read


@dataclass(frozen=True)
class KeyFacts:
    number: int
    shortest: int  # characters
    origin: str


@dataclass(frozen=True)
class RulesFacts:
    path: Path
    exists: bool
    error: str = ""
    detail: str = ""
    enabled: int = 0
    contexts: frozenset[str] = frozenset()  # that rules in force name
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class QueueFacts:
    backend: str
    place: str
    exists: bool = False
    writable: bool = False
    filesystem: str = ""
    free_bytes: int = 0
    error: str = ""
    hint: str = ""


@dataclass(frozen=True)
class ClientFacts:
    host: str
    version: str = ""  # "" when it could not be asked
    error: str = ""
    hint: str = ""
    hooks: tuple[Hook, ...] = ()


@dataclass(frozen=True)
class ServerFacts:
    url: str
    port: int  # that the server listens on, by its settings
    version: str = ""  # "" when no server of ours answers
    errors: tuple[str, ...] = ()  # what its health says
    key_error: str = ""  # why it does not let us in
    error: str = ""
    local: bool = False
    port_free: bool = False
    other_port: bool = False  # the address has another one than the server, on this machine


@dataclass(frozen=True)
class Facts:
    now: datetime
    version: str  # ours
    folder: FolderFacts
    key: KeyFacts
    rules: RulesFacts
    queue: QueueFacts
    client: ClientFacts
    server: ServerFacts
    catalog: CatalogFacts


def gather(settings: Settings) -> Facts:
    import seedkeep

    return Facts(
        now=clock.now(),
        version=seedkeep.__version__,
        folder=_folder(settings),
        key=_key(settings),
        rules=_rules(settings[RULES_FILE]),
        queue=_queue(settings),
        client=_client(settings),
        server=_server(settings),
        catalog=look_at_seed_data(),
    )


def _folder(settings: Settings) -> FolderFacts:
    folder = settings[CONFIG_DIR]
    config = folder / CONFIG_NAME
    origins = [settings.origin(row) for row in (SERVER_API_KEY, CLIENT_API_KEY, QBIT_PASSWORD)]
    files = [_file_of(origin) for origin in origins]
    return FolderFacts(
        path=folder,
        exists=folder.is_dir(),
        writable=_writable(folder),
        config=config,
        has_config=config.is_file(),
        open_secrets=tuple(dict.fromkeys(path for path in files if path and _is_open(path))),
    )


def _file_of(origin: str) -> Path | None:
    """The file that a value was read from: "NAME_FILE (path)", "path:3:1 (path)", "path:3:1"."""
    if origin.endswith(")"):
        return Path(origin.partition(" (")[2][:-1])
    return Path(origin.rsplit(":", 2)[0]) if origin.count(":") >= 2 else None


def _is_open(path: Path) -> bool:
    try:
        return bool(path.stat().st_mode & stat.S_IROTH)
    except OSError:
        return False


def _writable(path: Path) -> bool:
    """Whether something can be made at or in `path`, or in the nearest folder above it."""
    there = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)


def _key(settings: Settings) -> KeyFacts:
    keys = settings[SERVER_API_KEY]
    return KeyFacts(len(keys), min(map(len, keys), default=0), settings.origin(SERVER_API_KEY))


def _rules(path: Path) -> RulesFacts:
    from qbt_rules.language.rulefile import load_rules

    if not path.exists():
        return RulesFacts(path, exists=False)
    try:
        book = load_rules(path)
    except SeedError as why:
        return RulesFacts(path, exists=True, error=why.brief, detail=why.detail)
    on = [rule for rule in book.rules if rule.enabled]
    contexts = frozenset(name for rule in on for name in rule.contexts or ())
    return RulesFacts(path, True, "", "", len(on), contexts, tuple(book.warnings))


def _queue(settings: Settings) -> QueueFacts:
    if settings[QUEUE_BACKEND] == "redis":
        from qbt_rules.config import open_queue

        place = QUEUE_REDIS_URL.shown(settings[QUEUE_REDIS_URL])
        try:
            queue = open_queue(settings)
        except SeedError as why:
            return QueueFacts("redis", place, error=why.brief, hint=why.hint)
        problems = queue.health().problems
        queue.close()
        return QueueFacts("redis", place, True, True, error="; ".join(problems))
    path = settings[QUEUE_SQLITE_PATH]
    folder = next(each for each in path.absolute().parents if each.is_dir())
    return QueueFacts(
        "sqlite",
        str(path),
        exists=path.exists(),
        writable=_writable(path.parent) and (not path.exists() or os.access(path, os.W_OK)),
        filesystem=filesystem_type(folder),
        free_bytes=shutil.disk_usage(folder).free,
    )


def _client(settings: Settings) -> ClientFacts:
    from seedkeep.qbittorrent import connect

    host = QBIT_HOST.shown(settings[QBIT_HOST])
    keys = settings[SERVER_API_KEY]
    try:
        client = connect(
            settings[QBIT_HOST], settings[QBIT_USERNAME], settings[QBIT_PASSWORD], timeout_s=WAIT_S
        )
        hooks = hooks_of(client.preferences(), keys)
    except SeedError as why:
        said = why.brief.removeprefix(f"qBittorrent at {host} ")
        said = f"{said} ({why.detail})" if why.detail else said
        return ClientFacts(host, error=said, hint=why.hint)
    return ClientFacts(host, client.version().app, hooks=hooks)


def _server(settings: Settings) -> ServerFacts:
    import requests

    url, port = settings[CLIENT_SERVER_URL], settings[SERVER_PORT]
    seen = ServerFacts(CLIENT_SERVER_URL.shown(url), port, local=urlsplit(url).hostname in LOCAL)
    try:
        with requests.Session() as session:
            session.trust_env = False
            answer = session.get(f"{url}/api/version", timeout=WAIT_S, allow_redirects=False)
    except requests.ConnectionError:
        return replace(
            seen,
            error="nobody answers",
            port_free=seen.local and _is_free(settings[SERVER_HOST], port),
            other_port=seen.local and urlsplit(url).port != port,
        )
    except requests.RequestException as why:
        return replace(seen, error=type(why).__name__)
    version = _version(answer)
    if not version:
        return replace(seen, error="another program answers")
    return _asked(settings, replace(seen, version=version))


def _version(answer: requests.Response) -> str:
    """ "" when it is not an answer of our API."""
    try:
        body = answer.json()
    except ValueError:
        return ""
    ours = isinstance(body, dict) and "qbittorrent_api_version" in body
    return str(body.get("version", "")) if ours else ""


def _asked(settings: Settings, seen: ServerFacts) -> ServerFacts:
    """What a server of ours says about itself, and whether it lets us in."""
    from qbt_rules.client import ServerClient
    from qbt_rules.config import client_key

    try:
        server = ServerClient(settings[CLIENT_SERVER_URL], client_key(settings), timeout_s=WAIT_S)
        errors = tuple(map(str, server.health().get("errors", ())))
        server.stats()
    except SeedError as why:
        return replace(seen, key_error=why.brief)
    return replace(seen, errors=errors)


def _is_free(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError:
        return False
    return True
