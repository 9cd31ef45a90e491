"""What each action on the client does: is it done already, do it, and what is true afterwards."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from qbt_rules.api import Torrent
from qbt_rules.language.values import Unknown, Value
from seedkeep.torrent_client import TorrentState
from seedkeep.torrent_details import GLOBAL_LIMIT, DetailedClient, QueueMove

Params = Mapping[str, Value]
STOPPED = frozenset({TorrentState.STOPPED_UP.value, TorrentState.STOPPED_DL.value})


@dataclass(frozen=True)
class Effect:
    """An action on the client.  `act` does for all what `shown` says of each."""

    is_done: Callable[[Torrent, Params], bool]
    act: Callable[[DetailedClient, Sequence[Torrent], Params], None]
    shown: Callable[[Torrent, Params], None]


def ids_of(torrents: Sequence[Torrent]) -> list[str]:
    return [torrent.torrent_id for torrent in torrents]


def _never_done(torrent: Torrent, params: Params) -> bool:  # noqa: ARG001
    return False


def _show_nothing(torrent: Torrent, params: Params) -> None:
    """Nothing of the torrent is left to be seen."""


def _is(torrent: Torrent, field: str, value: Value) -> bool:
    return bool(torrent.value(field) == value)


# -- running


def _is_stopped(torrent: Torrent) -> bool:
    return torrent.value("info.state") in STOPPED


def _show_stopped(torrent: Torrent, _: Params) -> None:
    side = TorrentState.STOPPED_UP if _is_complete(torrent) else TorrentState.STOPPED_DL
    torrent.put("info.state", side.value)
    torrent.put("info.force_start", False)


def _show_started(torrent: Torrent, _: Params) -> None:
    side = TorrentState.STALLED_UP if _is_complete(torrent) else TorrentState.STALLED_DL
    torrent.put("info.state", side.value)


def _show_forced(torrent: Torrent, _: Params) -> None:
    side = TorrentState.FORCED_UP if _is_complete(torrent) else TorrentState.FORCED_DL
    torrent.put("info.state", side.value)
    torrent.put("info.force_start", True)


def _is_complete(torrent: Torrent) -> bool:
    return _is(torrent, "info.progress", 1)


def _start(client: DetailedClient, torrents: Sequence[Torrent], _: Params) -> None:
    # A forced torrent that is stopped does not show as forced: a plain start is what is meant.
    client.start(ids_of(torrents))


def _show_checking(torrent: Torrent, _: Params) -> None:
    side = TorrentState.CHECKING_UP if _is_complete(torrent) else TorrentState.CHECKING_DL
    torrent.put("info.state", side.value)
    for field in ("info.progress", "info.amount_left"):
        torrent.put(field, Unknown("it is being checked"))


# -- labels


def _tags(torrent: Torrent) -> set[str]:
    tags = torrent.value("info.tags")
    return set() if isinstance(tags, Unknown) else set(tags)


def _put_tags(torrent: Torrent, tags: set[str]) -> None:
    torrent.put("info.tags", tuple(sorted(tags)))


def _set_tags(client: DetailedClient, torrents: Sequence[Torrent], params: Params) -> None:
    wanted = set(params["tags"])
    surplus: dict[tuple[str, ...], list[Torrent]] = {}
    for torrent in torrents:
        surplus.setdefault(tuple(sorted(_tags(torrent) - wanted)), []).append(torrent)
    if wanted:
        client.add_tags(ids_of(torrents), sorted(wanted))
    for tags, some in surplus.items():
        if tags:
            client.remove_tags(ids_of(some), tags)


def _set_category(client: DetailedClient, torrents: Sequence[Torrent], params: Params) -> None:
    if params["create"] and params["category"]:
        client.create_category(params["category"])
    client.set_category(ids_of(torrents), params["category"])


def _show_category(torrent: Torrent, params: Params) -> None:
    torrent.put("info.category", params["category"])
    _show_managed(torrent)


def _show_management(torrent: Torrent, params: Params) -> None:
    torrent.put("info.auto_tmm", params["enabled"])
    _show_managed(torrent)


def _show_managed(torrent: Torrent) -> None:
    """A managed torrent goes to its category's folder when either was changed."""
    if torrent.value("info.auto_tmm") is True:
        for name in ("save_path", "content_path", "download_path"):
            torrent.put(f"info.{name}", Unknown("it follows its category"))
        torrent.forget("payload", "links", "space")


# -- limits


def _limit_is(field: str) -> Callable[[Torrent, Params], bool]:
    def is_done(torrent: Torrent, params: Params) -> bool:
        now = torrent.value(field)
        return not isinstance(now, Unknown) and max(now, 0) == params["limit"]

    return is_done


_SHARE = {
    "ratio": "info.ratio_limit",
    "seeding_time": "info.seeding_time_limit",
    "inactive_seeding_time": "info.inactive_seeding_time_limit",
}


def _share_limits(torrent: Torrent, params: Params) -> tuple[float, int, int | None]:
    """What the torrent is to have; what the rule does not give stays."""

    def wanted(name: str) -> Value:
        if params[name] is not None:
            return params[name]
        now = torrent.value(_SHARE[name])
        return GLOBAL_LIMIT if isinstance(now, Unknown) else now

    return float(wanted("ratio")), int(wanted("seeding_time")), params["inactive_seeding_time"]


def _has_share_limits(torrent: Torrent, params: Params) -> bool:
    return all(
        params[name] is None or _is(torrent, field, params[name]) for name, field in _SHARE.items()
    )


def _set_share_limits(client: DetailedClient, torrents: Sequence[Torrent], params: Params) -> None:
    groups: dict[tuple[float, int, int | None], list[Torrent]] = {}
    for torrent in torrents:
        groups.setdefault(_share_limits(torrent, params), []).append(torrent)
    for (ratio, seeding, inactive), some in groups.items():
        client.set_share_limits(ids_of(some), ratio, seeding, inactive)


def _show_share_limits(torrent: Torrent, params: Params) -> None:
    for name, field in _SHARE.items():
        if params[name] is not None:
            torrent.put(field, params[name])


# -- places


def _set_location(client: DetailedClient, torrents: Sequence[Torrent], params: Params) -> None:
    client.set_locations({torrent.torrent_id: params["location"] for torrent in torrents})


def _show_location(torrent: Torrent, params: Params) -> None:
    torrent.put("info.save_path", params["location"])
    torrent.put("info.auto_tmm", False)
    torrent.forget("payload", "links", "space")
    torrent.put("info.content_path", Unknown("it was moved"))


def _rename(client: DetailedClient, torrents: Sequence[Torrent], params: Params) -> None:
    for torrent in torrents:
        client.set_name(torrent.torrent_id, params["name"])


def _queue(move: QueueMove) -> Effect:
    def first(torrent: Torrent, _: Params) -> bool:
        return move is QueueMove.TOP and _is(torrent, "info.priority", 1)

    def show(torrent: Torrent, _: Params) -> None:
        torrent.put("info.priority", Unknown("it was moved in the queue"))

    return Effect(first, lambda client, some, _: client.move_in_queue(ids_of(some), move), show)


EFFECTS: dict[str, Effect] = {
    "stop": Effect(
        lambda torrent, _: _is_stopped(torrent),
        lambda client, some, _: client.stop(ids_of(some)),
        _show_stopped,
    ),
    "start": Effect(lambda torrent, _: not _is_stopped(torrent), _start, _show_started),
    "force_start": Effect(
        lambda torrent, _: _is(torrent, "info.force_start", True) and not _is_stopped(torrent),
        lambda client, some, _: client.set_force_start(ids_of(some), True),
        _show_forced,
    ),
    "recheck": Effect(
        _never_done, lambda client, some, _: client.recheck(ids_of(some)), _show_checking
    ),
    "reannounce": Effect(
        _never_done,
        lambda client, some, _: client.reannounce(ids_of(some)),
        lambda torrent, _: torrent.forget("trackers", "peers"),
    ),
    "delete_torrent": Effect(
        _never_done,
        lambda client, some, params: client.delete(ids_of(some), with_files=params["delete_files"]),
        _show_nothing,
    ),
    "set_category": Effect(
        lambda torrent, params: _is(torrent, "info.category", params["category"]),
        _set_category,
        _show_category,
    ),
    "add_tag": Effect(
        lambda torrent, params: set(params["tags"]) <= _tags(torrent),
        lambda client, some, params: client.add_tags(ids_of(some), params["tags"]),
        lambda torrent, params: _put_tags(torrent, _tags(torrent) | set(params["tags"])),
    ),
    "remove_tag": Effect(
        lambda torrent, params: not set(params["tags"]) & _tags(torrent),
        lambda client, some, params: client.remove_tags(ids_of(some), params["tags"]),
        lambda torrent, params: _put_tags(torrent, _tags(torrent) - set(params["tags"])),
    ),
    "set_tags": Effect(
        lambda torrent, params: set(params["tags"]) == _tags(torrent),
        _set_tags,
        lambda torrent, params: _put_tags(torrent, set(params["tags"])),
    ),
    "set_upload_limit": Effect(
        _limit_is("info.up_limit"),
        lambda client, some, params: client.set_upload_limit(ids_of(some), params["limit"]),
        lambda torrent, params: torrent.put("info.up_limit", params["limit"]),
    ),
    "set_download_limit": Effect(
        _limit_is("info.dl_limit"),
        lambda client, some, params: client.set_download_limit(ids_of(some), params["limit"]),
        lambda torrent, params: torrent.put("info.dl_limit", params["limit"]),
    ),
    "set_share_limits": Effect(_has_share_limits, _set_share_limits, _show_share_limits),
    "set_auto_management": Effect(
        lambda torrent, params: _is(torrent, "info.auto_tmm", params["enabled"]),
        lambda client, some, params: client.set_auto_management(ids_of(some), params["enabled"]),
        _show_management,
    ),
    "queue_top": _queue(QueueMove.TOP),
    "queue_up": _queue(QueueMove.UP),
    "queue_down": _queue(QueueMove.DOWN),
    "queue_bottom": _queue(QueueMove.BOTTOM),
    "set_location": Effect(
        lambda torrent, params: _is(torrent, "info.save_path", params["location"].rstrip("/")),
        _set_location,
        _show_location,
    ),
    "rename": Effect(
        lambda torrent, params: _is(torrent, "info.name", params["name"]),
        _rename,
        lambda torrent, params: torrent.put("info.name", params["name"]),
    ),
}
