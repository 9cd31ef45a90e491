"""`payload sync` over all configured clients, and the client that has one torrent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from hashall.app import App
from hashall.emptied import NoTorrents
from hashall.lock import exclusive
from hashall.media_extras import use_extras
from hashall.model import MAIN_CLIENT
from hashall.payload_sync import SyncOptions, SyncResult, sync
from hashall.qbittorrent import PathMap
from seedkeep import settings_table as table
from seedkeep.errors import Misused, SeedError, Unreachable
from seedkeep.setting_types import ClientInstance
from seedkeep.small_file import read_small_file
from seedkeep.torrent_client import TorrentClient

MOST_PASSWORD = 4096  # bytes of a password file


@dataclass(frozen=True)
class ClientSync:
    """What one client came to; `error` when it could not be read at all."""

    client: str
    result: SyncResult | None
    error: str | None = None
    synced_at: str | None = None  # UTC; when all of its torrents were read last; None: never


@dataclass(frozen=True)
class Synced:
    clients: tuple[ClientSync, ...]

    @property
    def results(self) -> tuple[SyncResult, ...]:
        return tuple(item.result for item in self.clients if item.result is not None)

    @property
    def is_whole(self) -> bool:
        """Every client was read to its end."""
        return all(item.result is not None and not item.result.unread for item in self.clients)


def sync_clients(
    app: App,
    options: SyncOptions,
    names: Sequence[str],
    progress: Callable[[int, int], None],
) -> Synced:
    """Sync the main client and the configured others, or only those of `names`.

    Raises:
        Unreachable, NoTorrents: No client could be read.
    """
    catalog = app.catalog  # a missing one is said before a client is asked
    chosen = names or default_clients(app)
    for name in chosen:
        _known(app, name)
    done = []
    last: SeedError | None = None
    with exclusive(catalog.db.path, "hashall payload sync"):
        use_extras(catalog, app.settings.get(table.PAYLOAD_EXTRAS))
        for name in chosen:
            try:
                result = sync(
                    client_of(app, name),
                    app.places,
                    path_map_of(app, name),
                    replace(options, client=name),
                    progress=progress,
                )
                done.append(ClientSync(name, result))
            except (Unreachable, NoTorrents) as why:
                last = why
                hint = why.hint if isinstance(why, NoTorrents) else ""
                told = ": ".join(part for part in (why.brief, why.detail, hint) if part)
                done.append(ClientSync(name, None, told))
    if last is not None and all(item.result is None for item in done):
        raise last
    known = {state.client: state.synced_at for state in catalog.inventory.clients()}
    return Synced(tuple(replace(item, synced_at=known.get(item.client)) for item in done))


def default_clients(app: App) -> tuple[str, ...]:
    """The main one unless nobody named its address and others are configured; then the others."""
    others = tuple(instance.name for instance in app.settings.get(table.QBIT_INSTANCES))
    origin = app.settings.origin(table.QBIT_HOST)
    if origin.startswith("flag"):
        return (MAIN_CLIENT,)  # --qbit-url means that one
    return others if others and origin == "default" else (MAIN_CLIENT, *others)


def client_of(app: App, name: str) -> TorrentClient:
    if name == MAIN_CLIENT:
        return app.client()
    from seedkeep.qbittorrent import connect

    instance = _known(app, name)
    assert instance is not None
    password = ""
    if instance.password_file is not None:
        content = read_small_file(instance.password_file, MOST_PASSWORD)
        password = content.decode("utf-8", "surrogateescape").removesuffix("\n")
    return connect(
        instance.host,
        instance.username,
        password,
        timeout_s=app.settings.get(table.QBIT_TIMEOUT).total_seconds(),
    )


def path_map_of(app: App, name: str) -> PathMap:
    instance = _known(app, name)
    pairs = app.settings.get(table.PATH_MAP) if instance is None else instance.path_map
    return PathMap([*pairs])


def _known(app: App, name: str) -> ClientInstance | None:
    """None for the main client."""
    if name == MAIN_CLIENT:
        return None
    instances = app.settings.get(table.QBIT_INSTANCES)
    for instance in instances:
        if instance.name == name:
            return instance
    listed = ", ".join([MAIN_CLIENT, *(instance.name for instance in instances)])
    raise Misused(
        f"no qBittorrent is configured as {name}", hint=f"qbittorrent.instances has: {listed}"
    )
