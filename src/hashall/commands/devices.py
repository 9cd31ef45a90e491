"""`hashall devices …`, `hashall status`, `hashall roots`, `hashall stats`."""

from __future__ import annotations

from typing import Any

import click

from hashall.commands.common import answer, catalog_options, json_option, opened

device_argument = click.argument("device", metavar="DEVICE")


@click.group()
def devices() -> None:
    """Filesystems that the catalog knows.

    DEVICE is a number, an alias, or a path on it.
    """


@devices.command(name="list")
@catalog_options
@json_option
def list_devices(as_json: bool, **flags: Any) -> None:
    """List them: what identifies each, where it is mounted, what was catalogued."""
    from hashall import render

    with opened(flags) as app:
        answer("devices", app.devices(), render.devices, as_json)


@devices.command()
@device_argument
@catalog_options
@json_option
def show(device: str, as_json: bool, **flags: Any) -> None:
    """Show one: its key, where it was seen, whether its link counts prove anything.

    Example: hashall devices show /srv/pool
    """
    from hashall import device_choice, render_devices

    with opened(flags) as app:
        found = device_choice.details(app.places, device_choice.choose(app.places, device))
        answer("device", found, render_devices.details, as_json)


@devices.command()
@device_argument
@click.argument("name", required=False)
@click.option("--remove", is_flag=True, default=False, help="Take the alias away.")
@catalog_options
@json_option
def alias(device: str, name: str | None, remove: bool, as_json: bool, **flags: Any) -> None:
    """Give one a name to use in place of its number.

    Example: hashall devices alias /srv/pool pool
    """
    from hashall import device_choice, render_devices

    if (name is None) != remove:
        raise click.UsageError("Give either a NAME or --remove.")
    with opened(flags) as app:
        chosen = device_choice.choose(app.places, device)
        changed = device_choice.give_alias(app.places, chosen, name)
        answer("device_set", changed, render_devices.changed, as_json)


@devices.command()
@device_argument
@click.argument("mount_point", required=False)
@click.option("--remove", is_flag=True, default=False, help="Prefer none.")
@catalog_options
@json_option
def prefer(device: str, mount_point: str | None, remove: bool, as_json: bool, **flags: Any) -> None:
    """Choose the mount point through which its paths are shown and reached.

    Example: hashall devices prefer pool /srv/pool
    """
    from hashall import device_choice, render_devices

    if (mount_point is None) != remove:
        raise click.UsageError("Give either a MOUNT_POINT or --remove.")
    with opened(flags) as app:
        chosen = device_choice.choose(app.places, device)
        changed = device_choice.prefer(app.places, chosen, mount_point)
        answer("device_set", changed, render_devices.changed, as_json)


@devices.command()
@device_argument
@click.option("--force", is_flag=True, default=False, help="Do it; without, only tell.")
@catalog_options
@json_option
def forget(device: str, force: bool, as_json: bool, **flags: Any) -> None:
    """Remove what the catalog knows of one that is gone for good.  No file is touched.

    Example: hashall devices forget old-disk --force
    """
    from hashall import device_choice, render_devices
    from hashall.lock import exclusive

    with opened(flags) as app:
        chosen = device_choice.choose(app.places, device)
        with exclusive(app.catalog.db.path, f"hashall devices forget {device}"):
            told = device_choice.forget(app.places, chosen, force=force)
        answer("forgotten", told, render_devices.forgotten, as_json)


@click.command()
@catalog_options
@json_option
def status(as_json: bool, **flags: Any) -> None:
    """Tell what the catalog knows and how fresh that is."""
    from hashall import render

    with opened(flags) as app:
        answer("status", app.status(), render.status, as_json)


@click.command()
@catalog_options
@json_option
def roots(as_json: bool, **flags: Any) -> None:
    """List the folders that were scanned, how long ago, and what could not be read.

    Example: hashall roots --json
    """
    from hashall import render_devices

    with opened(flags) as app:
        answer("roots", app.status().roots, render_devices.roots, as_json)


@click.command()
@catalog_options
@json_option
def stats(as_json: bool, **flags: Any) -> None:
    """Count what is in the catalog: files, links, hashes, and how old the hashes are.

    Example: hashall stats
    """
    from hashall import lookup, render_devices

    with opened(flags) as app:
        answer("figures", lookup.figures(app.places), render_devices.stats, as_json)
