"""Every field a rule may name: what kind of value it has, and what asking for it costs."""

from __future__ import annotations

import difflib
import enum
from dataclasses import dataclass


class Kind(enum.Enum):
    """What can be compared with what."""

    TEXT = "text"
    STATE = "state"  # both spellings of a state are the same state
    NUMBER = "number"
    BYTES = "size"
    SPEED = "speed"  # bytes a second
    SECONDS = "duration"
    DATE = "date"
    FLAG = "true or false"
    ANY = "whatever the client says"  # preferences: text, number or flag


class Cost(enum.IntEnum):
    """What it takes to know a field of one torrent, dearest last; cheap conditions go first."""

    LISTED = 0  # comes with the list of all torrents, or once for the whole run
    CATALOG = 1  # read from the catalog or from a filesystem's head
    REQUEST = 2  # one request to the client for this torrent
    DISK = 3  # looks at each of the torrent's files


@dataclass(frozen=True)
class Field:
    name: str
    kind: Kind
    many: bool  # a list: a positive operator asks whether any item fits
    cost: Cost

    @property
    def family(self) -> str:
        return self.name.partition(".")[0]


_TEXT, _NUMBER, _BYTES, _SPEED = Kind.TEXT, Kind.NUMBER, Kind.BYTES, Kind.SPEED
_SECONDS, _DATE, _FLAG = Kind.SECONDS, Kind.DATE, Kind.FLAG

# Names are those of the Web API's torrents/info; what only newer versions have is unknown in older.
_INFO = {
    _TEXT: (
        "hash name category comment content_path download_path infohash_v1 infohash_v2 magnet_uri"
        " root_path save_path tracker"
    ),
    Kind.STATE: "state",
    _NUMBER: (
        "availability max_ratio num_complete num_incomplete num_leechs num_seeds popularity"
        " priority progress ratio ratio_limit trackers_count"
        # in minutes, as the client counts them; -1 is none, -2 as set for all
        " inactive_seeding_time_limit max_inactive_seeding_time max_seeding_time"
        " seeding_time_limit"
    ),
    _BYTES: (
        "amount_left completed downloaded downloaded_session size total_size uploaded"
        " uploaded_session"
    ),
    _SPEED: "dl_limit dlspeed up_limit upspeed",
    _SECONDS: ("eta reannounce seeding_time time_active"),
    _DATE: "added_on completion_on last_activity seen_complete",
    _FLAG: "auto_tmm f_l_piece_prio force_start has_metadata private seq_dl super_seeding",
}
_PROPERTIES = {
    _TEXT: "save_path comment created_by",
    _NUMBER: (
        "nb_connections nb_connections_limit peers peers_total pieces_have pieces_num seeds"
        " seeds_total share_ratio"
    ),
    _BYTES: (
        "piece_size total_downloaded total_downloaded_session total_size total_uploaded"
        " total_uploaded_session total_wasted"
    ),
    _SPEED: "dl_limit dl_speed dl_speed_avg up_limit up_speed up_speed_avg",
    _SECONDS: "eta reannounce seeding_time time_elapsed",
    _DATE: "addition_date completion_date creation_date last_seen",
    _FLAG: "is_private",
}
_TRACKERS = {
    _TEXT: "url msg",
    _NUMBER: "status tier num_peers num_seeds num_leeches num_downloaded",
}
_FILES = {_TEXT: "name", _BYTES: "size", _NUMBER: "progress priority availability"}
_PEERS = {
    _TEXT: "ip client country country_code connection flags",
    _NUMBER: "port progress relevance",
    _BYTES: "downloaded uploaded",
    _SPEED: "dl_speed up_speed",
}
_TRANSFER = {
    _TEXT: "connection_status",
    _NUMBER: "dht_nodes",
    _BYTES: "dl_info_data up_info_data free_space_on_disk",
    _SPEED: "dl_info_speed up_info_speed dl_rate_limit up_rate_limit",
}
_TIME = {_TEXT: "weekday date", _NUMBER: "hour minute day month year weekday_number"}
_PAYLOAD = {
    _TEXT: "payload_hash status residency",
    _NUMBER: "siblings file_count",
    _BYTES: "total_bytes",
    _DATE: "verified_at",
}
_LINKS = {_TEXT: "verdict", _NUMBER: "outside siblings"}
_SPACE = {_BYTES: "stash_free pool_free path_free"}

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
ONE_OFF = ("app.",)  # any name after the dot: the client's preferences


def _rows(family: str, names: dict[Kind, str], cost: Cost, *, many: bool = False) -> list[Field]:
    return [
        Field(f"{family}.{name}", kind, many, cost)
        for kind, some in names.items()
        for name in some.split()
    ]


_ALL = [
    *_rows("info", _INFO, Cost.LISTED),
    Field("info.tags", _TEXT, True, Cost.LISTED),
    *_rows("time", _TIME, Cost.LISTED),
    *_rows("transfer", _TRANSFER, Cost.LISTED),
    *_rows("space", _SPACE, Cost.CATALOG),
    *_rows("payload", _PAYLOAD, Cost.CATALOG),
    Field("payload.also_on", _TEXT, True, Cost.CATALOG),
    *_rows("properties", _PROPERTIES, Cost.REQUEST),
    *_rows("trackers", _TRACKERS, Cost.REQUEST, many=True),
    Field("trackers.count", _NUMBER, False, Cost.REQUEST),
    *_rows("files", _FILES, Cost.REQUEST, many=True),
    Field("files.count", _NUMBER, False, Cost.REQUEST),
    *_rows("peers", _PEERS, Cost.REQUEST, many=True),
    Field("peers.count", _NUMBER, False, Cost.REQUEST),
    Field("webseeds.url", _TEXT, True, Cost.REQUEST),
    *_rows("links", _LINKS, Cost.DISK),
    Field("links.outside_paths", _TEXT, True, Cost.DISK),
]
FIELDS: dict[str, Field] = {row.name: row for row in _ALL}


def find_field(name: str) -> Field:
    """The field of that name.  Raises `ValueError` that says what would be right."""
    row = FIELDS.get(name)
    if row is not None:
        return row
    if name.startswith(ONE_OFF) and name.partition(".")[2]:
        return Field(name, Kind.ANY, False, Cost.LISTED)
    near = difflib.get_close_matches(name, FIELDS, n=1)
    if not near:  # the family was forgotten: "ratio"
        near = [known for known in FIELDS if known.partition(".")[2] == name][:1]
    raise ValueError(f"there is no field {name}" + (f"; did you mean {near[0]}?" if near else ""))
