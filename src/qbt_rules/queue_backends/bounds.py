"""What a job may keep: a result and an error of bounded size, a hash in one spelling."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from seedkeep.errors import Misused

MAX_RESULT = 64 * 1024  # characters of JSON
MAX_ERROR = 4 * 1024  # characters
_LISTED = 100  # items that a list keeps once the result is too large


def result_text(result: Mapping[str, Any]) -> str:
    """JSON of at most `MAX_RESULT` characters.

    A larger result loses list items first, then everything but its numbers; `truncated` says so.
    """
    text = _json(result)
    if len(text) <= MAX_RESULT:
        return text
    shorter = {key: _shortened(value) for key, value in result.items()}
    text = _json({**shorter, "truncated": True})
    if len(text) <= MAX_RESULT:
        return text
    numbers = {key: v for key, v in result.items() if isinstance(v, int | float) and len(key) < 64}
    return _json({**dict(list(numbers.items())[:_LISTED]), "truncated": True})


def error_text(error: str) -> str:
    error = _storable(error)
    return error if len(error) <= MAX_ERROR else error[: MAX_ERROR - 1] + "…"


def stored_context(context: str | None) -> str | None:
    """None for an empty one.  Raises `Misused` for what no database could give back as text."""
    try:
        (context or "").encode()
    except UnicodeEncodeError as why:
        raise Misused(
            "the context is not text",
            detail=f"its character {why.start} is half of a pair",
            hint="use letters, digits, - and _",
        ) from why
    return context or None


def stored_hash(torrent_hash: str | None) -> str | None:
    return torrent_hash.lower() if torrent_hash else None


def _shortened(value: Any) -> Any:
    return list(value[:_LISTED]) if isinstance(value, list | tuple) else value


def _json(value: Mapping[str, Any]) -> str:
    text = json.dumps(value, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    return _storable(text)


def _storable(text: str) -> str:
    """Names on a disk may be no text; such a byte becomes an escape that JSON reads, too."""
    return text.encode("utf-8", "backslashreplace").decode()
