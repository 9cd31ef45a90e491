"""Options that several `link` commands have, and opening what they work on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from typing import TYPE_CHECKING, Any

import click

from hashall.commands.common import opened
from hashall.commands.types import SIZE
from seedkeep.settings_cli import click_options
from seedkeep.settings_table import LIBRARY_ROOTS

if TYPE_CHECKING:
    from hashall.linking.model import PlanOptions
    from hashall.linking.service import Links
    from hashall.qbittorrent import PathMap
    from seedkeep.torrent_client import TorrentClient

library_options = click_options("hashall", LIBRARY_ROOTS)
device_option = click.option(
    "--device", metavar="DEVICE", help="Its number, its alias, or a path on it."
)


class _Month(click.ParamType[Any]):
    name = "date"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, date):
            return value
        parts = str(value).split("-")
        try:
            if len(parts) > 3 or [len(part) for part in parts] != [4, 2, 2][: len(parts)]:
                raise ValueError
            return date(*(int(part) for part in [*parts, "01", "01"][:3]))
        except ValueError:
            self.fail(f"{value!r} is no date: write 2026, 2026-01 or 2026-01-31", param, ctx)


def _all(*options: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def decorate(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


filter_options = _all(
    click.option(
        "--min-size",
        type=SIZE,
        default="1",
        show_default=True,
        metavar="SIZE",
        help="Leave smaller files alone; 0 takes empty ones too.",
    ),
    click.option(
        "--mtime-since",
        type=_Month(),
        metavar="DATE",
        help="Only files changed since: 2026, 2026-01 or 2026-01-31 (UTC).",
    ),
    click.option(
        "--include", multiple=True, metavar="GLOB", help="Only absolute paths that match."
    ),
    click.option("--exclude", multiple=True, metavar="GLOB", help="Never paths that match."),
    click.option(
        "--canonical",
        type=click.Choice(["most-links", "lexical", "oldest"]),
        default="most-links",
        show_default=True,
        help="Which of the equal files stays.",
    ),
)
act_options = _all(
    click.option(
        "--verify",
        type=click.Choice(["bytes", "hash", "none"]),
        default="bytes",
        show_default=True,
        help="Compare both files, read both into SHA-256, or trust the catalog.",
    ),
    click.option("--limit", type=click.IntRange(1), metavar="N", help="At most so many actions."),
    click.option(
        "--match-owner",
        is_flag=True,
        default=False,
        help="Link even where owner, mode or attributes differ: the link has the source's.",
    ),
    click.option("--low-priority", is_flag=True, default=False, help="Make way for others."),
    click.option(
        "--snapshot",
        is_flag=True,
        default=False,
        help="First take a snapshot, on ZFS and btrfs.",
    ),
    click.option(
        "--offline",
        is_flag=True,
        default=False,
        help="Do not ask qBittorrent which torrents are unfinished; go by the last sync.",
    ),
)


@contextmanager
def opened_links(flags: dict[str, Any], *, ask_client: bool = False) -> Iterator[Links]:
    from hashall.linking.service import Links
    from hashall.payload_clients import client_of, default_clients, path_map_of

    with opened(flags) as app:
        libraries = app.settings.get(LIBRARY_ROOTS)

        def clients() -> Iterator[tuple[TorrentClient, PathMap]]:
            for name in default_clients(app):
                yield client_of(app, name), path_map_of(app, name)

        yield Links(
            app.catalog, app.places, libraries=libraries, clients=clients if ask_client else None
        )


def plan_options(flags: dict[str, Any], *, same_device: bool, cross_device: bool) -> PlanOptions:
    from hashall.linking.model import Canonical, PlanOptions

    return PlanOptions(
        same_device=same_device,
        cross_device=cross_device,
        min_size=flags.pop("min_size"),
        mtime_since=flags.pop("mtime_since"),
        include=flags.pop("include"),
        exclude=flags.pop("exclude"),
        canonical=Canonical(flags.pop("canonical")),
    )
