"""A machine of a test's own: mounts and a network that nobody else sees, on any machine with root.

What is mounted or listens in there cannot meet another test, so addresses and folders may be the
very ones that the documents name: /srv/stash, localhost:8080.
"""

from __future__ import annotations

import ctypes
import fcntl
import socket
import struct
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

CLONE_NEWNS, CLONE_NEWNET = 0x00020000, 0x40000000
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1


def sealed(function: Callable[[], T]) -> T:
    """Call `function` in a thread that has mounts and a loopback network of its own.

    Whatever it starts, threads and programs, is in there too; what it mounted is gone when the last
    of them has ended.
    """

    def inside() -> T:
        _leave_the_others()
        return function()

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(inside).result()


def _leave_the_others() -> None:
    """Namespaces belong to a thread: the rest of this process stays where it is."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS | CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "no namespaces of its own: this needs root")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    with socket.socket() as any_socket:
        ask = struct.pack("16sh14x", b"lo", 0)
        (flags,) = struct.unpack("16xh14x", fcntl.ioctl(any_socket, SIOCGIFFLAGS, ask))
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | IFF_UP))


def mount(kind: str, source: str | Path, point: Path, *options: str) -> None:
    """`mount -t kind -o options source point`; nobody has to unmount it in here."""
    chosen = ["-o", ",".join(options)] if options else []
    subprocess.run(["mount", "-t", kind, *chosen, "--", source, point], check=True)


def bind(source: Path, point: Path) -> None:
    """Show a folder at another place too."""
    subprocess.run(["mount", "--rbind", "--", source, point], check=True)
