"""qBittorrent as a `TorrentClient`, from Web API 2.8.4 (qBittorrent 4.4) on.

The only module that imports `qbittorrentapi`.  qBittorrent answers 200 to most changes, also for
torrents that it does not have and for changes that it will not make, so each change here is
followed by reading until its effect shows.  docs/architecture/qbittorrent.md has the facts.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import count
from typing import Any, ParamSpec, TypeVar

import qbittorrentapi
import requests

from seedkeep.errors import Misused, SeedError, Unreachable
from seedkeep.qbittorrent_api import Api
from seedkeep.qbittorrent_arguments import absolute, by_value, checked_ids, in_chunks
from seedkeep.qbittorrent_details import DetailsOfTorrents
from seedkeep.qbittorrent_errors import (
    describe,
    explained,
    is_login,
    listed,
    no_such,
    without_password,
    words,
)
from seedkeep.qbittorrent_labels import LabelledClient
from seedkeep.qbittorrent_managing import ManagedTorrents
from seedkeep.qbittorrent_reading import WholeClient
from seedkeep.qbittorrent_rows import Row, read_file, read_torrent, rows_of
from seedkeep.torrent_client import (
    ClientRefused,
    ClientTooOld,
    ClientVersion,
    Torrent,
    TorrentFile,
    TorrentState,
)

OLDEST_API = (2, 8, 4)  # setDownloadPath, infohash_v1 and v2, download_path
_REFUSALS = ("", "Fails.", "Unauthorized")  # of a wrong password; the last word is 5.3.0's
IDS_PER_CALL = 1000
POLL_S = 0.1
SETTLE_S = 5.0  # how long a change may take to show, at qBittorrent's usual refresh of 1.5 s

P = ParamSpec("P")
T = TypeVar("T")
_BROKEN = frozenset({TorrentState.ERROR, TorrentState.MISSING_FILES})


class QBittorrentClient(WholeClient, LabelledClient, DetailsOfTorrents, ManagedTorrents):
    """A `TorrentClient` and a `DetailedClient` over qBittorrent's Web API.  One per thread."""

    def __init__(self, api: Api, host: str) -> None:
        """Use `connect`."""
        self._api = api
        self._host = host
        self._refresh_s: float | None = None
        self._shut_out: Unreachable | None = None
        self._version = self._read_version()

    def version(self) -> ClientVersion:
        return self._version

    def refresh_interval(self) -> float:
        if self._refresh_s is None:
            answer = self._read(self._api.app_preferences)
            self._refresh_s = Row("app/preferences", answer).integer("refresh_interval") / 1000
        return self._refresh_s

    def torrents(self, ids: Collection[str] | None = None) -> list[Torrent]:
        if ids is None:
            self._was_loading()
            return self._info()
        wanted = sorted(checked_ids(ids))
        found = self._some(wanted)
        return self._some(wanted) if len(found) < len(wanted) and self._was_loading() else found

    def _some(self, ids: Sequence[str]) -> list[Torrent]:
        return [
            torrent
            for some in in_chunks(ids, IDS_PER_CALL)
            for torrent in self._info(torrent_hashes=some)
        ]

    def files(self, torrent_id: str) -> list[TorrentFile]:
        (wanted,) = checked_ids([torrent_id])
        try:
            answer = self._read(self._api.torrents_files, torrent_hash=wanted)
        except qbittorrentapi.NotFound404Error as why:
            raise no_such([wanted]) from why
        return [read_file(row) for row in rows_of("torrents/files", answer)]

    def stop(self, ids: Collection[str]) -> None:
        """Stop.  A torrent in error or with missing files counts as stopped: it serves nobody."""
        self._change(
            ids,
            "stop",
            lambda wanted: self._api.torrents_stop(torrent_hashes=wanted),
            lambda torrent: torrent.state.is_stopped or torrent.state in _BROKEN,
        )

    def start(self, ids: Collection[str]) -> None:
        self._change(
            ids,
            "start",
            lambda wanted: self._api.torrents_start(torrent_hashes=wanted),
            lambda torrent: not torrent.state.is_stopped and torrent.state not in _BROKEN,
        )

    def look_again(self, ids: Collection[str]) -> None:
        lost = {
            torrent.torrent_id
            for torrent in self._existing(ids)
            if torrent.state is TorrentState.MISSING_FILES
        }

        def start_and_stop(wanted: Sequence[str]) -> None:
            # Starting is what makes it load the resume data anew; stopped while it loads, it never
            # runs.  A recheck would read everything.
            self._api.torrents_start(torrent_hashes=wanted)
            self._api.torrents_stop(torrent_hashes=wanted)

        self._change(
            lost, "find the files of", start_and_stop, lambda torrent: torrent.state.is_stopped
        )

    def recheck(self, ids: Collection[str]) -> None:
        # Nothing to read back: a small torrent has been checked before the next refresh.
        self._change(
            ids,
            "recheck",
            lambda wanted: self._api.torrents_recheck(torrent_hashes=wanted),
            lambda _: True,
        )

    def set_force_start(self, ids: Collection[str], on: bool) -> None:
        """Force, or end forcing of those that are forced.

        "Off" would start a stopped torrent; since a stopped one never shows as forced, it is
        left out.
        """
        asked = {torrent.torrent_id for torrent in self._existing(ids) if torrent.force_start != on}
        self._change(
            asked,
            "change force start of",
            lambda wanted: self._api.torrents_set_force_start(enable=on, torrent_hashes=wanted),
            lambda torrent: torrent.force_start == on,
        )

    def set_auto_management(self, ids: Collection[str], on: bool) -> None:
        """Switch ATM.  Switching it on moves data to the category's folder when it is elsewhere."""
        self._change(
            ids,
            f"switch automatic management {'on' if on else 'off'} for",
            lambda wanted: self._api.torrents_set_auto_management(enable=on, torrent_hashes=wanted),
            lambda torrent: torrent.auto_tmm == on,
        )

    def set_download_path(self, torrent_id: str, path: str) -> None:
        self.set_download_paths({torrent_id: path})

    def set_download_paths(self, paths: Mapping[str, str]) -> None:
        goals = {key.lower(): absolute(path) if path else "" for key, path in paths.items()}
        self._refuse_managed(goals, "download path")

        def shows(torrent: Torrent) -> bool:
            goal = goals[torrent.torrent_id]
            return torrent.download_path in (goal, "" if goal == torrent.save_path else goal)

        def ask(wanted: Sequence[str]) -> None:
            for goal, ids in by_value(goals, wanted):
                self._api.torrents_set_download_path(download_path=goal, torrent_hashes=ids)

        self._change(goals, "change the download path of", ask, shows)

    def make_folder(self, path: str) -> None:
        # setLocation makes the folder before it looks whether it knows the torrent (measured).
        goal = absolute(path)
        nobody = next(h for h in (f"{n:040x}" for n in count(1)) if not self.torrents([h]))
        try:
            self._call(self._api.torrents_set_location, location=goal, torrent_hashes=nobody)
        except (qbittorrentapi.HTTP4XXError, NotImplementedError) as why:
            raise ClientRefused(
                f"qBittorrent cannot make the folder {goal}",
                detail=f"{words(why)}: does it see that path, and may it write there?",
            ) from why

    def set_location(self, torrent_id: str, path: str) -> None:
        self.set_locations({torrent_id: path})

    def set_locations(self, places: Mapping[str, str]) -> None:
        # Looked up first: for an unknown hash qBittorrent would still create the directory.
        goals = {key.lower(): absolute(path) for key, path in places.items()}
        self._refuse_managed(goals, "location")

        def ask(wanted: Sequence[str]) -> None:
            for goal, ids in by_value(goals, wanted):
                self._api.torrents_set_location(location=goal, torrent_hashes=ids)

        self._change(
            goals,
            f"move to {next(iter(goals.values()), '')}",
            ask,
            lambda torrent: (
                torrent.state is TorrentState.MOVING
                or torrent.save_path == goals[torrent.torrent_id]
            ),
        )

    def close(self) -> None:
        """Close the connection; the session ends by itself."""
        self._api._trigger_session_initialization()

    def _read_version(self) -> ClientVersion:
        app = str(self._read(self._api.app_version)).strip()
        text = str(self._read(self._api.app_web_api_version)).strip()
        numbers = re.fullmatch(r"(\d+)\.(\d+)(?:\.(\d+))?", text)
        if numbers is None:
            raise Unreachable(
                f"what answers at {self._host} is not qBittorrent",
                detail=f"app/webapiVersion: {text[:80]!r}",
                hint="check the address; a reverse proxy may show its own login page",
            )
        api = (int(numbers[1]), int(numbers[2]), int(numbers[3] or 0))
        if api < OLDEST_API:
            raise ClientTooOld(
                f"qBittorrent {app} is too old",
                detail=f"its Web API is {text}; 2.8.4 is the oldest that can be used",
                hint="update to qBittorrent 4.4 or newer",
            )
        return ClientVersion(app=app, api=api)

    def _info(self, **filters: Any) -> list[Torrent]:
        answer = self._read(self._api.torrents_info, **filters)
        return [read_torrent(row) for row in rows_of("torrents/info", answer)]

    def _existing(self, ids: Collection[str]) -> list[Torrent]:
        """The torrents of `ids`, all of them or `NoSuchTorrent`."""
        wanted = checked_ids(ids)
        found = self.torrents(wanted)
        missing = wanted - {torrent.torrent_id for torrent in found}
        if missing:
            raise no_such(missing)
        return found

    def _refuse_managed(self, ids: Collection[str], what: str) -> None:
        managed = [torrent for torrent in self._existing(ids) if torrent.auto_tmm]
        if not managed:
            return
        refused = ClientRefused(
            f"the {what} of {managed[0].name} is under automatic management",
            detail="\n".join(
                f"{torrent.torrent_id}: qBittorrent would answer yes and do nothing, or end ATM"
                for torrent in managed[:10]
            ),
            hint="switch automatic torrent management off for it first",
        )
        refused.torrents = frozenset(torrent.torrent_id for torrent in managed)
        raise refused

    def _change(
        self,
        ids: Collection[str],
        what: str,
        ask: Callable[[Sequence[str]], None],
        done: Callable[[Torrent], bool],
    ) -> None:
        """Ask for a change and read until it shows on every torrent."""
        wanted = sorted(checked_ids(ids))
        if not wanted:
            return
        self._existing(wanted)
        for some in in_chunks(wanted, IDS_PER_CALL):
            try:
                self._call(ask, some)
            except (qbittorrentapi.HTTP4XXError, NotImplementedError) as why:
                raise ClientRefused(
                    f"qBittorrent refused to {what} {listed(some)}", detail=words(why)
                ) from why
        self._wait(wanted, what, done)

    def _wait(self, wanted: Sequence[str], what: str, done: Callable[[Torrent], bool]) -> None:
        limit = max(SETTLE_S, 4 * self.refresh_interval())
        deadline = time.monotonic() + limit
        while True:
            late = [torrent for torrent in self._existing(wanted) if not done(torrent)]
            if not late:
                return
            if time.monotonic() > deadline:
                refused = ClientRefused(
                    f"qBittorrent did not {what} {listed([t.torrent_id for t in late])}",
                    detail="\n".join(describe(torrent) for torrent in late[:10]),
                    hint="look at these torrents in qBittorrent, then try again",
                )
                refused.torrents = frozenset(torrent.torrent_id for torrent in late)
                raise refused
            time.sleep(min(POLL_S, self.refresh_interval() / 4))

    def _call(self, ask: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call the library; what is not an answer of qBittorrent becomes `Unreachable`.

        Raises:
            HTTP4XXError: An answer, for the caller to explain.
        """
        if self._shut_out is not None:
            raise self._shut_out
        try:
            return ask(*args, **kwargs)
        except Exception as why:
            if is_login(why):
                self._shut_out = explained(why, self._host)
                raise self._shut_out from why
            if isinstance(why, qbittorrentapi.HTTP4XXError | NotImplementedError | SeedError):
                raise
            if isinstance(why, qbittorrentapi.APIError | requests.RequestException | ValueError):
                raise explained(why, self._host) from why
            raise


def connect(
    host: str,
    username: str = "",
    password: str = "",
    *,
    timeout_s: float = 30.0,
    verify: bool | str = True,
) -> QBittorrentClient:
    """Log in, once, and look at the version.

    Args:
        host: `[http[s]://]name[:port][/path]`; http when it has no scheme.
        timeout_s: Per request, for connecting and for each wait for bytes.
        verify: Check the certificate of https; or the path of a CA bundle to check it with.

    Raises:
        Unreachable: Nobody answered, or the login was refused.
        ClientTooOld: The Web API is older than `OLDEST_API`.
    """
    if not host.strip():
        raise Misused("no address of qBittorrent is set", hint="for example http://127.0.0.1:8080")
    url = host if re.match(r"https?://", host, re.IGNORECASE) else f"http://{host}"
    api = Api(url, username, password, timeout_s, verify)
    try:
        # Always, even where qBittorrent asks for none: the answer carries the session's cookie,
        # and only with a session are later answers small.
        api.auth_log_in()
    except Exception as why:
        if isinstance(why, qbittorrentapi.LoginFailed) and api.said not in _REFUSALS:
            raise Unreachable(
                f"what answers at {without_password(url)} is not qBittorrent",
                detail=f"to a login it says {api.said[:80]!r}",
                hint="check the address; a reverse proxy may show its own login page",
            ) from why
        if isinstance(why, qbittorrentapi.APIError | requests.RequestException | ValueError):
            raise explained(why, url) from why
        raise
    return QBittorrentClient(api, url)
