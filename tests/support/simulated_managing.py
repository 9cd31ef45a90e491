"""Endpoints of the simulated client for details of torrents, and for changes that move no data."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tests.support.simulated_http import Answer, Form, Refusal
from tests.support.simulated_torrent import SimTorrent

if TYPE_CHECKING:
    from tests.support.simulated_session import Session

Endpoint = Callable[[Form], Answer | None]
GIB = 2**30
SPECIAL_TRACKERS = ("** [DHT] **", "** [PeX] **", "** [LSD] **")


def managing(session: Session) -> dict[str, Endpoint]:
    return {
        "torrents/properties": lambda form: _properties(session._one(form)),
        "torrents/trackers": lambda form: _trackers(session._one(form)),
        "torrents/webseeds": lambda form: _of(session._one(form), []),
        "sync/torrentPeers": lambda form: _of(session._one(form), {"peers": {}, "rid": 1}),
        "sync/maindata": lambda _: {
            "rid": 1,
            "full_update": True,
            "server_state": {
                "connection_status": "firewalled",
                "dht_nodes": 0,
                "dl_info_data": 0,
                "dl_info_speed": 0,
                "up_info_data": 0,
                "up_info_speed": 0,
                "free_space_on_disk": 100 * GIB,
            },
        },
        "torrents/reannounce": lambda form: _each(session, form, lambda _: None),
        "torrents/setUploadLimit": lambda form: _set(session, form, "up_limit", "limit"),
        "torrents/setDownloadLimit": lambda form: _set(session, form, "dl_limit", "limit"),
        "torrents/setShareLimits": lambda form: _share_limits(session, form),
        "torrents/rename": lambda form: _rename(session._one(form), form.need("name")),
        "torrents/topPrio": lambda form: _move(session, form, -(2**31)),
        "torrents/bottomPrio": lambda form: _move(session, form, 2**31),
        "torrents/increasePrio": lambda form: _move(session, form, -1),
        "torrents/decreasePrio": lambda form: _move(session, form, 1),
    }


def _of(_: SimTorrent, answer: Answer) -> Answer:
    return answer


def _move(session: Session, form: Form, by: int) -> None:
    if session.queue is None:
        raise Refusal(409, "Torrent queueing must be enabled")
    queue, named = session.queue, {torrent.hash for torrent in session._some(form)}
    some = [torrent_id for torrent_id in queue if torrent_id in named]
    for torrent_id in some if by in (-1, 2**31) else reversed(some):
        place = max(0, min(len(queue) - 1, queue.index(torrent_id) + by))
        queue.remove(torrent_id)
        queue.insert(place, torrent_id)


def _each(session: Session, form: Form, change: Callable[[SimTorrent], None]) -> None:
    for torrent in session._some(form):
        change(torrent)


def _set(session: Session, form: Form, name: str, given: str) -> None:
    _each(session, form, lambda torrent: setattr(torrent, name, int(form.need(given))))


def _share_limits(session: Session, form: Form) -> None:
    if session.flavour.version != "4.5":
        form.need("inactiveSeedingTimeLimit")  # or 400, as for the others
    for torrent in session._some(form):
        torrent.ratio_limit = float(form.need("ratioLimit"))
        torrent.seeding_time_limit = int(form.need("seedingTimeLimit"))


def _rename(torrent: SimTorrent, name: str) -> None:
    if not name.strip():
        raise Refusal(409, "Incorrect torrent name")
    torrent.name = name


def _properties(torrent: SimTorrent) -> dict[str, Any]:
    return {
        "save_path": torrent.save_path,
        "addition_date": torrent.added_on,
        "completion_date": torrent.completion_on,
        "creation_date": -1,
        "piece_size": torrent.piece_length,
        "pieces_num": len(torrent.pieces),
        "pieces_have": sum(torrent.have),
        "total_size": torrent.size,
        "total_uploaded": torrent.uploaded,
        "share_ratio": torrent.uploaded / torrent.size if torrent.size else 0,
        "comment": "",
        "eta": 8_640_000,
    }


def _trackers(torrent: SimTorrent) -> list[dict[str, Any]]:
    message = torrent.tracker_message
    own = {"url": torrent.tracker, "status": 1, "tier": 0, "msg": message, "num_peers": -1}
    return [
        *({"url": url, "status": 2, "tier": "", "msg": ""} for url in SPECIAL_TRACKERS),
        *([own] if torrent.tracker else []),
    ]
