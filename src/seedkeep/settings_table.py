"""Every setting of every program, declared once.

The resolver, the click options, `show-config` and the page of settings are made from these rows.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from seedkeep.setting_types import (
    LEVELS,
    ClientInstance,
    PathPair,
    SaveRule,
    client_instances,
    duration,
    endings,
    file_path,
    level,
    one_of,
    path_pairs,
    positive,
    root_path,
    root_paths,
    save_rules,
    show_endings,
    show_instances,
    show_optional,
    show_pairs,
    show_paths,
    show_rules,
    show_size,
    show_url,
    size,
    text,
    url,
)
from seedkeep.settings import Setting
from seedkeep.settings_qbt_rules import QBT_RULES, QBT_RULES_SETTINGS
from seedkeep.units import format_duration

HASHALL, REHOME = "hashall", "rehome"
_ALL = frozenset({HASHALL, REHOME, QBT_RULES})
_CATALOG = frozenset({HASHALL, REHOME})
_REHOME = frozenset({REHOME})

CONFIG_FILE = Setting(
    key="config.file",
    env=("HASHALL_CONFIG",),
    flags=("--config",),
    parse=file_path,
    default=Path("~/.hashall/config.yml"),
    metavar="FILE",
    help="Config file; the default one may be absent.",
    programs=_CATALOG,
)
CATALOG_PATH = Setting(
    key="catalog.path",
    env=("HASHALL_DB",),
    flags=("--db",),
    parse=file_path,
    default=Path("~/.hashall/catalog.db"),
    metavar="FILE",
    help="The catalog.",
    programs=_CATALOG,
)
QBIT_HOST = Setting(
    key="qbittorrent.host",
    env=("QBT_RULES_QBITTORRENT_HOST", "HASHALL_QBIT_URL"),
    flags=("--qbit-url", "--qbittorrent-host"),
    parse=url,
    default="http://localhost:8080",
    metavar="URL",
    help="Address of qBittorrent's Web UI.",
    programs=_ALL,
    show=show_url,
)
QBIT_USERNAME = Setting(
    key="qbittorrent.username",
    env=("QBT_RULES_QBITTORRENT_USERNAME", "HASHALL_QBIT_USERNAME"),
    flags=("--qbit-username", "--qbittorrent-username"),
    parse=text,
    default="admin",
    metavar="NAME",
    help="User of qBittorrent's Web UI.",
    programs=_ALL,
)
QBIT_PASSWORD = Setting(
    key="qbittorrent.password",
    env=("QBT_RULES_QBITTORRENT_PASSWORD", "HASHALL_QBIT_PASSWORD"),
    flags=("--qbittorrent-password",),
    flag_only_in=frozenset({QBT_RULES}),  # everybody on a machine can read a command line
    parse=text,
    default="",
    help="Password of qBittorrent's Web UI.",
    programs=_ALL,
    secret=True,
)
QBIT_TIMEOUT = Setting(
    key="qbittorrent.timeout",
    env=("QBT_RULES_QBITTORRENT_TIMEOUT", "HASHALL_QBIT_TIMEOUT"),
    parse=positive(duration),
    default=timedelta(seconds=30),
    metavar="DURATION",
    help="How long to wait for one answer of qBittorrent.",
    programs=_ALL,
    show=format_duration,
)
QBIT_INSTANCES: Setting[tuple[ClientInstance, ...]] = Setting(
    key="qbittorrent.instances",
    parse=client_instances,
    default=(),
    metavar="SECTION",
    help="More qBittorrents of one catalog: a name for each, with `host`, `username`,"
    " `password_file` and `path_map`.",
    programs=_CATALOG,
    show=show_instances,
)
LOG_LEVEL = Setting(
    key="logging.level",
    env=("QBT_RULES_LOG_LEVEL", "HASHALL_LOG_LEVEL"),
    flags=("--log-level",),
    parse=level,
    default="INFO",
    metavar="LEVEL",
    help=f"One of {', '.join(LEVELS)}.",
    programs=_ALL,
)
PAYLOAD_EXTRAS: Setting[tuple[str, ...]] = Setting(
    key="payload.extras",
    env=("HASHALL_PAYLOAD_EXTRAS",),
    parse=endings,
    default=(".nfo", ".sfv", ".srr", ".srs", ".txt", "sample"),
    metavar="ENDINGS",
    help="Files that do not count when payloads are compared for the same media: endings of names,"
    " and `sample` for files and folders of that name.  `hashall payload sync` takes it over.",
    programs=frozenset({HASHALL}),
    show=show_endings,
)
STASH_SEEDING_ROOT: Setting[Path | None] = Setting(
    key="rehome.stash_seeding_root",
    env=("REHOME_STASH_SEEDING_ROOT",),
    flags=("--stash-seeding-root",),
    parse=root_path,
    default=None,
    metavar="FOLDER",
    help="Folder of the fast filesystem that torrents seed from.",
    programs=_CATALOG,
    show=show_optional,
)
POOL_SEEDING_ROOT: Setting[Path | None] = Setting(
    key="rehome.pool_seeding_root",
    env=("REHOME_POOL_SEEDING_ROOT",),
    flags=("--pool-seeding-root",),
    parse=root_path,
    default=None,
    metavar="FOLDER",
    help="Folder of the large filesystem that torrents seed from.",
    programs=_CATALOG,
    show=show_optional,
)
LIBRARY_ROOTS: Setting[tuple[Path, ...]] = Setting(
    key="rehome.library_roots",
    env=("REHOME_LIBRARY_ROOTS",),
    flags=("--library-root",),
    parse=root_paths,
    default=(),
    metavar="FOLDER",
    help="Folders outside the seeding roots that hold hardlinks; `:` between them.",
    programs=_CATALOG,
    multiple=True,
    show=show_paths,
)
PATH_MAP: Setting[tuple[PathPair, ...]] = Setting(
    key="rehome.path_map",
    env=("REHOME_PATH_MAP",),
    flags=("--path-map",),
    parse=path_pairs,
    default=(),
    metavar="CLIENT=OURS",
    help="The client's name of a folder and ours, where they differ (containers).",
    programs=_CATALOG,
    multiple=True,
    show=show_pairs,
)
MAX_SCAN_AGE = Setting(
    key="rehome.max_scan_age",
    env=("REHOME_MAX_SCAN_AGE",),
    flags=("--max-scan-age",),
    parse=duration,
    default=timedelta(hours=24),
    metavar="DURATION",
    help="An older scan is not trusted for a move.",
    programs=_REHOME,
    show=format_duration,
)
MIN_AGE = Setting(
    key="rehome.min_age",
    env=("REHOME_MIN_AGE",),
    flags=("--min-age",),
    parse=duration,
    default=timedelta(days=1),
    metavar="DURATION",
    help="A plan by `--tag`, `--category` or `--all-eligible` leaves a group alone until all its"
    " torrents have been complete for this long: Sonarr and Radarr import first.  `0`: no wait.",
    programs=_REHOME,
    show=format_duration,
)
RETAIN = Setting(
    key="rehome.retain",
    env=("REHOME_RETAIN",),
    parse=duration,
    default=timedelta(hours=24),
    metavar="DURATION",
    help="How long the old copy is kept after a move.",
    programs=_REHOME,
    show=format_duration,
)
SPACE_MARGIN = Setting(
    key="rehome.space_margin",
    env=("REHOME_SPACE_MARGIN",),
    flags=("--space-margin",),
    parse=size,
    default=2**30,
    metavar="SIZE",
    help="Bytes that must stay free on the target.",
    programs=_REHOME,
    show=show_size,
)
REUSE_FLOOR = Setting(
    key="rehome.reuse_floor",
    env=("REHOME_REUSE_FLOOR",),
    parse=size,
    default=2**20,
    metavar="SIZE",
    help="A smaller file is copied although the pool has its bytes in another payload: a link would"
    " make one group of the two.  Nothing is copied of a payload that is there as a whole.",
    programs=_REHOME,
    show=show_size,
)
SWITCH_TIMEOUT = Setting(
    key="rehome.switch_timeout",
    env=("REHOME_SWITCH_TIMEOUT",),
    parse=positive(duration),
    default=timedelta(minutes=2),
    metavar="DURATION",
    help="How long to wait for qBittorrent to use the new place.",
    programs=_REHOME,
    show=format_duration,
)
SAVE_PATHS: Setting[tuple[SaveRule, ...]] = Setting(
    key="rehome.save_paths",
    parse=save_rules,
    default=(),
    metavar="RULES",
    help="Save paths on stash and pool by `category`, `tracker` and `tag`, the first rule that fits"
    " wins; without one the pool has the same folders as stash.  Config file only.",
    programs=_REHOME,
    show=show_rules,
)
AUTO_TMM = Setting(
    key="rehome.auto_tmm",
    env=("REHOME_AUTO_TMM",),
    parse=one_of("off", "keep-by-category"),
    default="off",
    metavar="off|keep-by-category",
    help="What becomes of automatic management: `off` after a move, or kept on where the category"
    " on the other side has the save path that the torrent goes to.",
    programs=_REHOME,
)

SETTINGS: tuple[Setting[Any], ...] = (
    CONFIG_FILE,
    CATALOG_PATH,
    QBIT_HOST,
    QBIT_USERNAME,
    QBIT_PASSWORD,
    QBIT_TIMEOUT,
    QBIT_INSTANCES,
    LOG_LEVEL,
    PAYLOAD_EXTRAS,
    STASH_SEEDING_ROOT,
    POOL_SEEDING_ROOT,
    LIBRARY_ROOTS,
    PATH_MAP,
    MAX_SCAN_AGE,
    MIN_AGE,
    RETAIN,
    SPACE_MARGIN,
    REUSE_FLOOR,
    SWITCH_TIMEOUT,
    SAVE_PATHS,
    AUTO_TMM,
    *QBT_RULES_SETTINGS,
)
