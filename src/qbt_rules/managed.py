"""What automatic management would make the client do by itself: the guard in front of it.

The client moves a managed torrent to its category's folder as soon as either changes.  To another
filesystem it copies, torrent by torrent, and breaks every hardlink on the way.
"""

from __future__ import annotations

import os

from qbt_rules.api import Torrent, World
from qbt_rules.language.values import Action

MANAGING = frozenset({"set_category", "set_auto_management"})


def why_not_manage(world: World, torrent: Torrent, action: Action) -> str:
    """Why a change of category or of management must not be made; "" when it may.

    A torrent of which nothing lies on the disk yet may go anywhere: where to download to is what
    categories are for.  Its progress does not tell: a cross-seed that was not checked yet shows
    0, and lies on the files of another torrent.  Without a catalog, or without rehome's roots,
    there is no border.
    """
    category = _ruling_category(torrent, action)
    if category is None or not world.disk.knows_places:
        return ""
    here = str(torrent.value("info.save_path"))
    folders = [there for there in world.managed_folders(category) if not _is(there, here)]
    if not folders or world.disk.has_files(torrent.torrent_id) is False:
        return ""
    if other := world.disk.needed_by_other(torrent.torrent_id):
        return f"the client would move its files, and {other} needs them where they are"
    for there in folders:
        if world.disk.same_filesystem(here, there) is not True:
            return (
                f"the client would move it to {there}, which is not known to be on the filesystem"
                f" of {here}: it would copy and break hardlinks; rehome moves between filesystems,"
                " with its category"
            )
    return ""


def _is(one: str, other: str) -> bool:
    return os.path.normpath(one) == os.path.normpath(other)


def _ruling_category(torrent: Torrent, action: Action) -> str | None:
    """The category whose folder the client would move the torrent to; None: it would not move."""
    if action.type == "set_auto_management":
        return str(torrent.value("info.category")) if action.params["enabled"] else None
    managed = torrent.value("info.auto_tmm") is not False
    # Set to "switch to manual mode", the client lets the torrent lie where it is.
    follows = managed and torrent.value("app.torrent_changed_tmm_enabled") is not False
    return str(action.params["category"]) if follows else None
