"""A simulated qBittorrent: our own small server, on the real disk, with the measured behaviour.

It passes the same contract suite as the real 4.5 and 5.1, answers in milliseconds, refreshes as
fast as a test likes, can be killed at any moment, and remembers every state it showed.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.qbt import REFRESH_S, ClientActions, free_port
from tests.support.simulated_http import ApiServer, Fault
from tests.support.simulated_session import Session
from tests.support.simulated_torrent import FLAVOURS


class SimulatedClient(ClientActions):
    """Has the surface of `RealClient`, and more that only a simulation can offer."""

    def __init__(
        self,
        version: str,
        *,
        profile: Path | None = None,
        username: str = "admin",
        password: str = "",
        refresh_s: float = REFRESH_S,
        move_s: float = 0,
        saves_late: bool = False,
    ) -> None:
        """`password` not empty: everybody must log in.  `move_s`: seconds a move takes at least.

        `saves_late`: changes are saved with the next refresh; a kill before that forgets them, as
        the real ones do within some milliseconds.
        """
        self.version = version
        self.username, self.password = username, password
        self._own_profile = profile is None
        self.profile = profile or Path(tempfile.mkdtemp(prefix=f"simulated-{version}-"))
        self._refresh_s, self._move_s, self._saves_late = refresh_s, move_s, saves_late
        self._port = free_port()
        self._session: Session | None = None
        self._server: ApiServer | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def refresh_s(self) -> float:
        return self._refresh_s

    @property
    def session(self) -> Session:
        """The inside of the running client."""
        assert self._session is not None, "the client is not running"
        return self._session

    @property
    def server(self) -> ApiServer:
        assert self._server is not None, "the client is not running"
        return self._server

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def start(self) -> None:
        assert self._server is None, "the client runs already"
        self._session = Session(
            FLAVOURS[self.version],
            self.profile,
            refresh_s=self._refresh_s,
            move_s=self._move_s,
            saves_late=self._saves_late,
        )
        self._server = ApiServer(
            self._port, self._session.answer, username=self.username, password=self.password
        )

    def stop(self) -> None:
        if self._session is not None:
            self._session.save()
        self.kill()

    def kill(self) -> None:
        if self._server is not None:
            self._server.end()
            self._server = None
        if self._session is not None:
            self._session.end()
            self._session = None

    def restart(self) -> None:
        self.stop()
        self.start()

    def close(self) -> None:
        self.kill()
        if self._own_profile:
            shutil.rmtree(self.profile, ignore_errors=True)

    def states_of(self, torrent_id: str) -> list[str]:
        """Every state the running client has shown for a torrent, in order, without repeats."""
        with self.session.lock:
            return list(self.session.history.get(torrent_id, []))

    def forget_states(self) -> None:
        """Begin a new history: each torrent's present state is its first entry."""
        with self.session.lock:
            for past in self.session.history.values():
                del past[:-1]

    def requests(self, endpoint: str = "") -> int:
        """How many requests came since the start, in all or to one endpoint ("torrents/info")."""
        counts = self.server.counts
        return counts[endpoint] if endpoint else counts.total()

    def break_endpoint(
        self, endpoint: str, how: str, *, first: int = 1, times: int = 1_000_000
    ) -> None:
        """Make requests go wrong from the `first` after now on, `times` times.

        `how`: a status like "500" or "403"; "hang" (until the client ends); "drop" (the
        connection, nothing is done); "after" (done, then dropped); "ignore" (a yes, and nothing is
        done); "garble" (a proxy's page); "half" (of the right answer); any other text is sent as
        the answer.  The library repeats some failed requests by itself.
        """
        self.server.faults.append(Fault(endpoint, how, first, times))

    def mend(self) -> None:
        self.server.faults.clear()

    def set_uploaded(self, torrent_id: str, uploaded: int) -> None:
        """Pretend that peers took `uploaded` bytes."""
        with self.session.lock:
            self.session.torrents[torrent_id].uploaded = uploaded
