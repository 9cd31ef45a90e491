"""The hooks that a client calls, as its preferences have them and as they should be."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

# Preferences of qBittorrent: is the program run, and which.
_PREFERENCES = {
    "on_added": ("autorun_on_torrent_added_enabled", "autorun_on_torrent_added_program"),
    "on_completed": ("autorun_enabled", "autorun_program"),
}
CONTEXTS = tuple(_PREFERENCES)
_OURS = "/api/execute"
_KEY = re.compile(
    r"(?:X-API-Key:\s*|Authorization:\s*Bearer\s+|[?&](?:api)?key=)([^\s\"'&]+)", re.IGNORECASE
)
_CONTEXT = re.compile(r"[?&]context=([\w-]+)")
_PORT = re.compile(r"https?://[^\s/\"']*?:(\d+)/")
_IDS = ("%K", "%I", "%J")  # torrent id, v1 and v2 infohash


@dataclass(frozen=True)
class Hook:
    """One hook that calls a qbt-rules server.  The key itself is not kept."""

    context: str  # the context that it should ask for
    asked: str  # the context that it asks for; "" for none
    enabled: bool
    has_id: bool  # it names the torrent
    key: str  # "right", "wrong", "none"
    port: int | None


def hooks_of(preferences: Mapping[str, Any], keys: Collection[str]) -> tuple[Hook, ...]:
    """Those of our hooks that a client has; other programs that it runs are not ours."""
    found = []
    for context, (enabled, program) in _PREFERENCES.items():
        line = str(preferences.get(program) or "")
        if _OURS in line:
            found.append(_read(line, context, bool(preferences.get(enabled)), keys))
    return tuple(found)


def _read(line: str, context: str, enabled: bool, keys: Collection[str]) -> Hook:
    key = _KEY.search(line)
    asked, port = _CONTEXT.search(line), _PORT.search(line)
    return Hook(
        context=context,
        asked=asked[1] if asked else "",
        enabled=enabled,
        has_id=any(name in line for name in _IDS),
        key="none" if key is None else "right" if key[1] in keys else "wrong",
        port=int(port[1]) if port else None,
    )


def hook_line(server_url: str, context: str) -> str:
    """What to write into qBittorrent; KEY stands for the API key."""
    return (
        f'curl -fsS -m 10 --retry 5 --retry-connrefused -X POST -H "X-API-Key: KEY"'
        f' "{server_url}{_OURS}?context={context}&hash=%K"'
    )
