"""What went wrong between us and qBittorrent, in words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from urllib.parse import urlsplit

import qbittorrentapi
import requests

from seedkeep.errors import Unreachable
from seedkeep.torrent_client import LoginRefused, NoSuchTorrent, Torrent

LOGIN_HINT = (
    "check user name and password; qBittorrent bans an address for an hour after five wrong tries,"
    " so they are not tried again"
)


def explained(why: Exception, host: str) -> Unreachable:
    """Why no answer of `host` can be used, as a person can act on it."""
    shown = without_password(host)
    if is_login(why):
        return LoginRefused(
            f"qBittorrent at {shown} refused the login", detail=words(why), hint=LOGIN_HINT
        )
    if isinstance(why, qbittorrentapi.HTTPError):
        return Unreachable(f"qBittorrent at {shown} answered with an error", detail=words(why))
    if isinstance(why, qbittorrentapi.APIConnectionError | requests.RequestException):
        return Unreachable(
            f"qBittorrent at {shown} does not answer",
            detail=_deepest(why),
            hint="is it running, and are address and port right?",
        )
    return Unreachable(f"the answer of {shown} cannot be read", detail=words(why))


def _deepest(why: BaseException) -> str:
    """The cause of a cause: "Connection refused", without what each layer wraps around it."""
    while (inner := why.__cause__ or why.__context__) is not None:
        why = inner
    return str(getattr(why, "strerror", None) or why)


def is_login(why: Exception) -> bool:
    """Was it the login that failed?  Also the one that the library makes when a session ended."""
    if isinstance(why, qbittorrentapi.LoginFailed):
        return True
    if not isinstance(why, qbittorrentapi.HTTP401Error | qbittorrentapi.HTTP403Error):
        return False
    request = getattr(why, "request", None)
    return urlsplit(str(getattr(request, "url", ""))).path.endswith("/auth/login")


def words(why: Exception) -> str:
    """What the server said, or what the library said about it."""
    response = getattr(why, "response", None)
    text = response.text.strip() if isinstance(response, requests.Response) else ""
    status = f"HTTP {response.status_code}" if isinstance(response, requests.Response) else ""
    said = text.splitlines()[0][:300] if text else str(why)
    return ": ".join(part for part in (status, said) if part)


def without_password(host: str) -> str:
    return re.sub(r"//[^/@]*@", "//", host)


def no_such(ids: Iterable[str]) -> NoSuchTorrent:
    missing = sorted(ids)
    error = NoSuchTorrent(
        f"qBittorrent has no torrent {listed(missing)}",
        detail="\n".join(missing[1:10]),
        hint="it may have been removed meanwhile",
    )
    error.torrents = frozenset(missing)
    return error


def listed(ids: Sequence[str]) -> str:
    return ids[0] if len(ids) == 1 else f"{ids[0]} and {len(ids) - 1} more"


def describe(torrent: Torrent) -> str:
    return (
        f"{torrent.torrent_id}  {torrent.name}: {torrent.state.value}, "
        f"{torrent.progress:.1%}, {torrent.save_path}"
    )
