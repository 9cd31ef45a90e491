"""Real qBittorrent for tests: a private one on loopback, with random ports and its own profile."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice, takewhile
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import qbittorrentapi
from tests.support.torrents import infohash_of

VERSIONS = ("4.5", "5.1")
NEWEST = "newest"  # of Debian testing, whatever it is by now; not on every machine
REFRESH_S = 1.5  # qBittorrent's default time between two refreshes of what it reports
START_TIMEOUT_S = 60.0
BUSY = re.compile("checking|moving|allocating|metaDL", re.IGNORECASE)

_CONFIG = """\
[LegalNotice]
Accepted=true
[Preferences]
General\\Locale=en
WebUI\\Address=127.0.0.1
WebUI\\Port={web_port}
WebUI\\LocalHostAuth={auth}
WebUI\\Username={username}
WebUI\\Password_PBKDF2="{password}"
[BitTorrent]
Session\\Port={port}
Session\\DHTEnabled=false
Session\\LSDEnabled=false
Session\\PeXEnabled=false
Session\\Interface=lo
Session\\QueueingSystemEnabled=false
Session\\DefaultSavePath={downloads}
"""


class LabClient(Protocol):
    """What a test may do to a client, real or simulated, from the outside."""

    version: str  # "4.5" or "5.1"
    username: str
    password: str
    profile: Path

    @property
    def url(self) -> str: ...
    @property
    def api(self) -> qbittorrentapi.Client: ...
    @property
    def refresh_s(self) -> float: ...
    def start(self) -> None: ...
    def stop(self) -> None: ...
    def kill(self) -> None: ...
    def restart(self) -> None: ...
    def close(self) -> None: ...
    def add(
        self,
        torrent_file: bytes,
        save_path: Path | str,
        *,
        category: str = "",
        tags: Sequence[str] = (),
        stopped: bool = False,
        auto_tmm: bool = False,
        rename: str | None = None,
        no_root_folder: bool = False,
        download_path: str | None = None,
        skip_checking: bool = True,
    ) -> str: ...


class ClientActions:
    """Putting torrents in, through the Web API; the same for real and simulated clients."""

    version: str
    username: str
    password: str

    @property
    def url(self) -> str:
        raise NotImplementedError

    @property
    def refresh_s(self) -> float:
        return REFRESH_S

    @property
    def api(self) -> qbittorrentapi.Client:
        """The raw Web API, for what a test does behind the product's back."""
        return qbittorrentapi.Client(
            host=self.url,
            username=self.username,
            password=self.password,
            FORCE_SCHEME_FROM_HOST=True,
            SIMPLE_RESPONSES=True,
            REQUESTS_ARGS={"timeout": 20},
        )

    def add(
        self,
        torrent_file: bytes,
        save_path: Path | str,
        *,
        category: str = "",
        tags: Sequence[str] = (),
        stopped: bool = False,
        auto_tmm: bool = False,
        rename: str | None = None,
        no_root_folder: bool = False,
        download_path: str | None = None,
        skip_checking: bool = True,
    ) -> str:
        """Add a torrent whose content is in place and wait until it seeds (or is stopped) at 100 %.

        `rename` renames the top folder or the single file in the client and on the disk, as a
        person would do it there.  Under `auto_tmm` the category (with its save path) must exist
        and `save_path` is ignored by the client.  Returns the torrent id.
        """
        infohash = infohash_of(torrent_file)
        api = self.api
        answer: Any = api.torrents_add(
            torrent_files=torrent_file,
            save_path=None if auto_tmm else str(save_path),
            category=category or None,
            tags=list(tags) or None,
            is_skip_checking=skip_checking,
            is_stopped=stopped,
            use_auto_torrent_management=auto_tmm,
            content_layout="NoSubfolder" if no_root_folder else "Original",
            download_path=download_path,
            use_download_path=True if download_path else None,
        )
        # From Web API 2.14 on the answer counts what was added.
        assert answer == "Ok." or answer["success_count"] == 1, answer
        # From checkingResumeData a torrent with its content in place goes to its state for good.
        settle(api, [infohash], progress=1.0, refreshes=0)
        if rename is not None:
            self.rename_root(infohash, rename)
        return infohash

    def rename_root(self, infohash: str, new: str) -> None:
        """Rename the top folder (or the single file) of a torrent and wait until it is done."""
        api = self.api
        names = [str(row["name"]) for row in api.torrents_files(infohash)]
        old = names[0].partition("/")[0]
        if names == [old]:
            api.torrents_rename_file(infohash, old_path=old, new_path=new)
        else:
            api.torrents_rename_folder(infohash, old_path=old, new_path=new)
        wait_for(
            lambda: all(
                str(row["name"]).partition("/")[0] == new for row in api.torrents_files(infohash)
            ),
            f"{old} to be renamed to {new}",
        )


def wait_for(condition: Callable[[], bool], what: str, timeout_s: float = 30.0) -> None:
    """Poll every 50 ms until `condition` holds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout_s:.0f} s in vain for {what}")
        time.sleep(0.05)


def settle(
    api: qbittorrentapi.Client,
    ids: Iterable[str],
    *,
    progress: float | None = None,
    refresh_s: float = REFRESH_S,
    refreshes: float = 2,
    timeout_s: float = 60.0,
) -> None:
    """Wait until the torrents are there, idle, and the same for some refreshes."""
    wanted = sorted(ids)
    since, before = time.monotonic(), ""
    deadline = since + timeout_s
    while True:
        rows = api.torrents_info(torrent_hashes=wanted)
        now = repr([(row["hash"], row["state"], row["progress"], row["save_path"]) for row in rows])
        quiet = len(rows) == len(wanted) and not any(BUSY.search(str(r["state"])) for r in rows)
        there = progress is None or all(row["progress"] == progress for row in rows)
        if now != before or not (quiet and there):
            since, before = time.monotonic(), now
        if quiet and there and time.monotonic() - since >= refreshes * refresh_s:
            return
        if time.monotonic() > deadline:
            raise AssertionError(f"torrents did not settle: {now}")
        time.sleep(min(0.05, refresh_s))


class RealClient(ClientActions):
    """A private qbittorrent-nox; the profile folder survives restarts, `close` ends everything.

    The process dies with the thread that started it (PR_SET_PDEATHSIG), so start it from a thread
    that lives as long as the test.
    """

    def __init__(
        self,
        version: str,
        *,
        profile: Path | None = None,
        username: str = "admin",
        password: str = "",
        settings: Mapping[str, str] | None = None,
    ) -> None:
        """`password` not empty: loopback must log in too.  `settings`: lines of [BitTorrent]."""
        self.version = version
        self.username, self.password = username, password
        self._own_profile = profile is None
        self.profile = profile or Path(tempfile.mkdtemp(prefix=f"qbt-{version}-"))
        self._settings = dict(settings or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._web_port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._web_port}"

    @property
    def pid(self) -> int:
        assert self._process is not None, "the client is not running"
        return self._process.pid

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
        """Start and wait until the Web API answers; the port stays the same over restarts."""
        assert self._process is None, "the client runs already"
        for _ in range(5):
            if self._web_port == 0:
                self._web_port = free_port()
                self._write_config()
            self._process = self._spawn()
            if self._answers():
                return
            self.kill()
            self._web_port = 0
        raise AssertionError(f"qBittorrent {self.version} did not start; see {self.profile}")

    def stop(self) -> None:
        """Ask to end (SIGTERM): what it knows is saved."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def kill(self) -> None:
        """SIGKILL: what it had not saved is lost."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        self.stop()
        self.start()

    def pause_process(self) -> None:
        """Stop answering without ending (SIGSTOP); `resume_process` goes on."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume_process(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def close(self) -> None:
        self.kill()
        if self._own_profile:
            shutil.rmtree(self.profile, ignore_errors=True)

    def _write_config(self) -> None:
        folder = self.profile / "qBittorrent" / "config"
        folder.mkdir(parents=True, exist_ok=True)
        text = _CONFIG.format(
            web_port=self._web_port,
            port=free_port(),
            auth="true" if self.password else "false",
            username=self.username,
            password=_pbkdf2(self.password),
            downloads=self.profile / "downloads",
        )
        lines = [f"Session\\{key}={value}" for key, value in self._settings.items()]
        (folder / "qBittorrent.conf").write_text(text + "\n".join(lines) + "\n")

    def _spawn(self) -> subprocess.Popen[bytes]:
        command, environment = launcher(self.version)
        environment |= {"HOME": str(self.profile), "LC_ALL": "C.UTF-8"}
        environment["PATH"] = os.environ.get("PATH", os.defpath)
        return subprocess.Popen(
            # setpriv, not preexec_fn: forking with Python threads about is not safe.
            ["setpriv", "--pdeathsig", "KILL", *command, f"--profile={self.profile}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
            cwd=self.profile,
            start_new_session=True,
        )

    def _answers(self) -> bool:
        """Wait for our own process to listen: another one may have taken the port."""
        assert self._process is not None
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline and self._process.poll() is None:
            if _listens(self._process.pid, self._web_port):
                with contextlib.suppress(qbittorrentapi.APIError):
                    self.api.app_version()
                    return True
            if _taken_by_other(self._process.pid, self._web_port):
                return False
            time.sleep(0.05)
        return False


def cache_folder() -> Path:
    """Where set-up keeps what is costly to make."""
    chosen = os.environ.get("SEEDKEEP_CACHE")
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "seedkeep"


def versions_here() -> tuple[str, ...]:
    """All that this machine can run; the set-up says why the newest one is not among them."""
    there = (cache_folder() / f"qbittorrent-{NEWEST}/.complete").is_file()
    return (*VERSIONS, NEWEST) if there else VERSIONS


def launcher(version: str) -> tuple[list[str], dict[str, str]]:
    """Command and environment that run this version's qbittorrent-nox."""
    if version == "4.5":
        program = Path("/usr/bin/qbittorrent-nox")
        assert program.exists(), f"{program} is missing: run `make setup`"
        return [str(program)], {}
    tree = cache_folder() / f"qbittorrent-{version}"
    program = tree / "usr/bin/qbittorrent-nox"
    assert program.exists(), f"{program} is missing: run `make setup`"
    libraries = [path for path in (tree / "usr/lib").glob("*-linux-gnu") if path.is_dir()]
    loaders = [path for folder in libraries for path in folder.glob("ld-linux*.so.*")]
    assert loaders, f"no dynamic loader below {tree}"
    folder = loaders[0].parent
    # libproxy keeps its backend in a folder of its own, found by rpath only when installed at /.
    search = ":".join(map(str, (folder, folder / "libproxy")))
    command = [str(loaders[0]), "--library-path", search, str(program)]
    return command, {
        "QT_PLUGIN_PATH": str(folder / "qt6/plugins"),
        "OPENSSL_CONF": "/dev/null",
        "OPENSSL_MODULES": str(folder / "ossl-modules"),
    }


def free_port() -> int:
    """A loopback port nobody listens on, outside the range the kernel hands out by itself.

    Between this call and its use nobody else gets the port by chance from the kernel; two callers
    can still draw the same number, which `RealClient.start` notices.
    """
    drawing = random.SystemRandom()
    while True:
        port = drawing.randrange(18000, 32000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def _listens(pid: int, port: int) -> bool:
    return bool(_listening_inodes(port) & _socket_inodes(pid))


def _taken_by_other(pid: int, port: int) -> bool:
    found = _listening_inodes(port)
    return bool(found) and not found & _socket_inodes(pid)


def _listening_inodes(port: int) -> set[str]:
    """The kernel lists listeners first, before what may be thousands of ended connections."""
    with Path("/proc/thread-self/net/tcp").open() as table:
        rows = (line.split() for line in islice(table, 1, None))
        listening = takewhile(lambda row: row[3] == "0A", rows)
        return {row[9] for row in listening if int(row[1].partition(":")[2], 16) == port}


def _socket_inodes(pid: int) -> set[str]:
    found = set()
    with contextlib.suppress(OSError):
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                target = os.readlink(entry)
                if target.startswith("socket:["):
                    found.add(target[8:-1])
    return found


def _pbkdf2(password: str) -> str:
    salt = os.urandom(16)
    key = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, 100_000, 64)
    return f"@ByteArray({base64.b64encode(salt).decode()}:{base64.b64encode(key).decode()})"


def row_of(api: qbittorrentapi.Client, torrent_id: str) -> dict[str, Any]:
    """One torrent as torrents/info has it."""
    (row,) = api.torrents_info(torrent_hashes=[torrent_id])
    return dict(row)
