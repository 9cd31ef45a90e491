"""A clean Debian with Python, for somebody who has never seen this project; used inside `sealed`.

The tree that the set-up keeps in its cache is below, a tmpfs above takes what is written, and
/srv is shown in it under its own name: the client outside and the programs inside see the same
folders.  It has no network but its own loopback.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from scripts import image_base
from tests.support.doc_blocks import ROOT
from tests.support.filesystems import image, mounted, run
from tests.support.qbt import cache_folder
from tests.support.sealed import bind, mount

STASH_SIZE, POOL_SIZE = "256M", "2G"  # sparse; the default margin of a move is 1 GiB
CHECKOUT, WHEELS = "/home/stranger/seedkeep", "/wheels"
ENVIRONMENT = {
    "HOME": "/root",
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
    # Where pip finds what it would else download; the README's own line stays as it is.
    "PIP_NO_INDEX": "1",
    "PIP_FIND_LINKS": WHEELS,
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "PIP_ROOT_USER_ACTION": "ignore",
}


@contextmanager
def stash_and_pool(folder: Path) -> Iterator[None]:
    """A new ext4 at /srv/stash and a new XFS at /srv/pool, on images in `folder`."""
    mount("tmpfs", "srv", Path("/srv"), "size=1m")
    with ExitStack() as stack:
        for name, kind, size in (("stash", "ext4", STASH_SIZE), ("pool", "xfs", POOL_SIZE)):
            disk = image(folder, kind, size)
            stack.callback(disk.unlink)
            stack.enter_context(mounted(disk, Path("/srv", name), options="loop"))
        yield


@contextmanager
def clean_machine(folder: Path) -> Iterator[Path]:
    """The root of the machine.  What was mounted goes with the namespace."""
    above, machine = folder / "above", folder / "machine"
    for point in (above, machine):
        point.mkdir()
    mount("tmpfs", "above", above, "size=1g")
    for name in ("written", "work"):
        (above / name).mkdir()
    layers = (
        f"lowerdir={image_base.tree(cache_folder())}",
        f"upperdir={above / 'written'}",
        f"workdir={above / 'work'}",
    )
    mount("overlay", "machine", machine, *layers)
    shown = {
        "/proc": Path("/proc"),
        "/dev": Path("/dev"),
        "/srv": Path("/srv"),
        CHECKOUT: ROOT,
        WHEELS: cache_folder() / image_base.WHEELS,
    }
    for name, source in shown.items():
        point = Path(f"{machine}{name}")
        point.mkdir(parents=True, exist_ok=True)
        bind(source, point)
    (machine / "etc/hosts").write_text("127.0.0.1 localhost\n")
    for name in (CHECKOUT, WHEELS):
        run("mount", "-o", "remount,bind,ro", f"{machine}{name}")
    yield machine


@dataclass
class Terminal:
    """A shell on the machine, into which things are typed; variables last until it is closed."""

    machine: Path
    _typed: int = 0

    def __enter__(self) -> Self:
        self._output = tempfile.TemporaryFile()  # closed with the terminal
        self._shell = subprocess.Popen(
            ["chroot", self.machine, "bash", "--norc"],
            stdin=subprocess.PIPE,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            env=ENVIRONMENT,
            start_new_session=True,
        )
        self.type(f"cd {CHECKOUT}")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for ending, patience_s in ((signal.SIGTERM, 35.0), (signal.SIGKILL, 5.0)):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._shell.pid, ending)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._shell.wait(patience_s)
                break
        assert self._shell.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._shell.stdin.close()
        self._output.close()

    def type(self, text: str, *, timeout_s: float = 300.0) -> str:
        """Type lines, wait for their end, and give what they printed.

        Raises:
            AssertionError: One of them failed.
        """
        self._typed += 1
        end = f"--- {self._typed} ended with "
        self._put(f"set -e\n{without_input(text)}\nset +e\necho '{end}0'\n")
        deadline = time.monotonic() + timeout_s
        while end not in (seen := self.screen()):
            assert self._shell.poll() is None, f"{text}\nfailed:\n{seen[-8000:]}"
            assert time.monotonic() < deadline, f"{text}\ndid not end:\n{seen[-8000:]}"
            time.sleep(0.05)
        return seen.rpartition(f"--- {self._typed - 1} ended with 0\n")[2].partition(end)[0]

    def type_and_leave(self, text: str) -> None:
        """Type lines of which the last goes on, like a server."""
        self._put(without_input(text))

    def _put(self, text: str) -> None:
        assert self._shell.stdin is not None
        self._shell.stdin.write(f"{text}\n".encode())
        self._shell.stdin.flush()

    def screen(self) -> str:
        size = os.fstat(self._output.fileno()).st_size
        return os.pread(self._output.fileno(), size, 0).decode(errors="replace")


def without_input(text: str) -> str:
    """Lines whose programs cannot read what is typed after them."""
    return f"{{\n{text}\n}} </dev/null"
