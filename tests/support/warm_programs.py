"""Our programs without the seconds of their imports: a waiting process has done them, and forks.

Each run is a process of its own, with its own arguments, environment, folder and output, and it may
die as it likes.  Where the imports or the start are what is asked, or would differ, the program is
started as a person starts it: under coverage, in namespaces of a test's own, and with another
language or other settings of Python than this process has.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import pkgutil
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Any

PACKAGES = ("seedkeep", "hashall", "rehome")
LIBRARIES = ("rich.console", "rich.progress", "rich.table", "yaml")  # imported where they are used
MEASURED = ("COVERAGE_PROCESS_CONFIG", "COVERAGE_PROCESS_START")
OF_THE_START = ("PYTHON", "LC_", "LANG")  # variables that only a new interpreter would read
NAMESPACES = ("mnt", "net", "user", "pid")
MOST = 2**20  # bytes of a request
FAILED = 70  # exit code of a child that could not become the program
_starting = threading.Lock()
_started: list[_Waiting] = []
_in_use = False


def use() -> None:
    """From now on; what measures programs, or shows them to people, starts them itself."""
    global _in_use  # noqa: PLW0603
    _in_use = True


def end() -> None:
    """Nothing waits any more."""
    while _started:
        process = _started.pop().process
        assert process.stdin is not None
        process.stdin.close()
        process.wait()


def run(
    module: str, arguments: Sequence[str], environ: Mapping[str, str], timeout_s: float
) -> subprocess.CompletedProcess[str]:
    """Run `main` of a module; raises `subprocess.TimeoutExpired`, and kills it then."""
    command = cold_command(module, arguments)
    if not _fits(environ):
        return subprocess.run(
            command,
            env=dict(environ),
            capture_output=True,
            text=True,
            errors="surrogateescape",
            timeout=timeout_s,
            check=False,
        )
    with _file() as out, _file() as err:
        code = _waiting().run(module, arguments, environ, (out, err), timeout_s)
        for stream in (out, err):
            stream.seek(0)
        said = out.read(), err.read()
    return subprocess.CompletedProcess(command, code, *said)


def cold_command(module: str, arguments: Sequence[str]) -> list[str]:
    return [sys.executable, "-c", f"from {module} import main; main()", *arguments]


def _file() -> IO[str]:
    return tempfile.TemporaryFile("w+", errors="surrogateescape")


def _fits(environ: Mapping[str, str]) -> bool:
    return (
        _in_use
        and not any(name in environ for name in MEASURED)
        and _of_the_start(environ) == _waiting().of_the_start
        and _namespaces() == _waiting().namespaces
    )


def _of_the_start(environ: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environ.items() if name.startswith(OF_THE_START)}


def _namespaces() -> list[str]:
    """Of this thread: they need not be those of the process."""
    return [os.readlink(f"/proc/thread-self/ns/{kind}") for kind in NAMESPACES]


@dataclass(frozen=True)
class _Waiting:
    """The process that forks; it ends when the pipe to it closes, and so with us."""

    address: str
    process: subprocess.Popen[bytes]
    of_the_start: Mapping[str, str]
    namespaces: list[str]

    def run(
        self,
        module: str,
        arguments: Sequence[str],
        environ: Mapping[str, str],
        streams: Sequence[IO[str]],
        timeout_s: float,
    ) -> int:
        """The exit code, negative for a signal."""
        asked = {"module": module, "arguments": list(arguments), "environ": dict(environ)}
        asked |= {"folder": os.getcwd()}
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as line:
            line.settimeout(timeout_s)
            line.connect(self.address)
            socket.send_fds(line, [json.dumps(asked).encode()], [s.fileno() for s in streams])
            child = int(line.recv(100))
            try:
                return int(line.recv(100))
            except TimeoutError:
                os.kill(child, signal.SIGKILL)
                command = cold_command(module, arguments)
                raise subprocess.TimeoutExpired(command, timeout_s) from None


def _waiting() -> _Waiting:
    with _starting:
        if not _started or _started[0].process.poll() is not None:
            end()
            _started.append(_start())
        return _started[0]


def _start() -> _Waiting:
    environ = {name: value for name, value in os.environ.items() if name not in MEASURED}
    environ["PYTHONUNBUFFERED"] = "1"
    process = subprocess.Popen(
        [sys.executable, "-P", __file__], env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    address = process.stdout.readline().decode().strip()
    process.stdout.close()
    assert address, "the process that starts programs did not come up"
    namespaces = [os.readlink(f"/proc/{process.pid}/ns/{kind}") for kind in NAMESPACES]
    return _Waiting("\0" + address, process, _of_the_start(environ), namespaces)


# -- the other side


def _serve() -> None:
    """Fork a program for each request until stdin ends."""
    for package in PACKAGES:
        folders = importlib.import_module(package).__path__
        for module in pkgutil.walk_packages(folders, f"{package}."):
            importlib.import_module(module.name)
    for library in LIBRARIES:
        importlib.import_module(library)
    gc.collect()
    gc.freeze()  # or the first search for garbage in each child would copy all of it
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener,
        selectors.DefaultSelector() as selector,
    ):
        address = f"seedkeep-programs-{os.getpid()}"
        listener.bind("\0" + address)
        listener.listen(64)
        print(address, flush=True)
        selector.register(listener, selectors.EVENT_READ)
        selector.register(sys.stdin, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is sys.stdin:
                    return
                if key.fileobj is listener:
                    _fork(listener, selector)
                else:
                    selector.unregister(key.fileobj)
                    _report(key.fd, *key.data)


def _fork(listener: socket.socket, selector: selectors.BaseSelector) -> None:
    line, _ = listener.accept()
    data, streams, _, _ = socket.recv_fds(line, MOST, 2)
    child = os.fork()
    if child == 0:
        selector.close()
        listener.close()
        line.close()
        _be_the_program(json.loads(data), streams)
    for fd in streams:
        os.close(fd)
    line.send(str(child).encode())
    selector.register(os.pidfd_open(child), selectors.EVENT_READ, (child, line))


def _report(pidfd: int, child: int, line: socket.socket) -> None:
    os.close(pidfd)
    _, status = os.waitpid(child, 0)
    with line, suppress(OSError):  # whoever asked may have gone
        line.send(str(os.waitstatus_to_exitcode(status)).encode())


def _be_the_program(asked: dict[str, Any], streams: Sequence[int]) -> None:
    code = FAILED
    try:
        nothing = os.open(os.devnull, os.O_RDONLY)
        for fd, number in zip((nothing, *streams), range(3), strict=True):
            os.dup2(fd, number)
            os.close(fd)
        os.environ.clear()
        os.environ.update(asked["environ"])
        os.chdir(asked["folder"])
        sys.argv = ["-c", *asked["arguments"]]
        code = _exit_code(importlib.import_module(asked["module"]).main)
        threading._shutdown()  # type: ignore[attr-defined]  # as at every end: threads are awaited
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _exit_code(main: Any) -> int:
    try:
        main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    _serve()
