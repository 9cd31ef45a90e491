"""The message that a rule sends to a web address."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from seedkeep.errors import Unreachable

if TYPE_CHECKING:
    from qbt_rules.api import Torrent

TIMEOUT_S = 10.0
MOST_NAMED = 50  # torrents


class NotDelivered(Unreachable):
    """The address did not take the message."""

    code = "notify"


def send(url: str, message: str, rule: str, torrents: Sequence[Torrent]) -> None:
    """POST one JSON document for all torrents of a rule.

    Raises:
        NotDelivered: Nobody answered in time, or not with a 2xx.
    """
    import requests

    body = {
        "message": message,
        "rule": rule,
        "count": len(torrents),
        "torrents": [
            {"hash": torrent.torrent_id, "name": torrent.name} for torrent in torrents[:MOST_NAMED]
        ],
    }
    try:
        # What follows the head of the answer is not read: it may never end.
        with requests.post(
            url, json=body, timeout=TIMEOUT_S, allow_redirects=False, stream=True
        ) as answer:
            status = answer.status_code
    except (requests.RequestException, ValueError) as why:  # the latter for some odd names of hosts
        # The address itself may hold a secret, so neither it nor the library's words are shown.
        raise NotDelivered(
            "the message was not taken", detail=type(why).__name__, hint="check the action's url"
        ) from None
    if status // 100 != 2:
        raise NotDelivered("the message was not taken", detail=f"HTTP {status}")
