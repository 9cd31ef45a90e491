"""Reading thousands of file lists in a process of its own.

Parsing them here would share the interpreter with whoever maps them.  The process is started as a
new program, since an open database must not cross a fork.  It gets address, cookie and ids through
its standard input, where nobody else can read them, and gives back tuples in batches.  It ends when
that input ends, so it outlives nobody.  If it cannot be started, or ends too early, the rest is
read here.
"""

from __future__ import annotations

import gc
import logging
import marshal
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import IO, Any

from seedkeep import pipe
from seedkeep.qbittorrent_bulk import Address, Read, read_with_threads

WORTH_A_PROCESS = 500  # lists; fewer are read before another process has started

_PROGRAM = "from seedkeep.qbittorrent_reader import main; main()"

log = logging.getLogger(__name__)


def read_lists(address: Address, ids: Sequence[str]) -> Iterator[Read]:
    """Each torrent once, about in this order.  Reading stops when the caller stops taking."""
    rest = dict.fromkeys(ids)
    if len(rest) >= WORTH_A_PROCESS:
        for read in _read_beside(address, [*rest]):
            del rest[read.torrent_id]
            yield read
    for batch in read_with_threads(address, [*rest]) if rest else ():
        yield from batch


# -- this side


def _read_beside(address: Address, ids: list[str]) -> Iterator[Read]:
    """What another process reads; ends early, with a warning, when that process does."""
    try:
        process, answers = _start()
    except OSError as why:
        log.warning("file lists are read without a process of their own: %s", why)
        return
    assert process.stdin is not None
    try:
        try:
            _send(
                process.stdin,
                (address.url, address.cookie, address.timeout_s, address.verify, ids),
            )
            while (batch := _receive(answers)) is not None:
                for row in batch:
                    yield Read(*row)
        except (BrokenPipeError, EOFError):
            log.warning(
                "the process that reads file lists ended with %s; the rest is read without it",
                process.wait(),
            )
        else:
            process.wait()
    finally:
        process.terminate()  # nothing happens when it has ended
        process.stdin.close()
        answers.close()
        process.wait()


def _start() -> tuple[subprocess.Popen[bytes], IO[bytes]]:
    """The process, and the pipe of its answers: its standard output may get words of others."""
    # The pipe stays small: what is read long before it is mapped may be renamed meanwhile.
    ours, theirs = os.pipe()
    try:
        process = subprocess.Popen(
            # -P: nothing is imported from the directory that the program was started in.
            [sys.executable, "-P", "-c", _PROGRAM, str(theirs)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            pass_fds=(theirs,),
            bufsize=0,
        )
    except BaseException:
        os.close(ours)
        raise
    finally:
        os.close(theirs)
    return process, os.fdopen(ours, "rb", buffering=0)


# -- that side


def main() -> None:
    """The program of the other process."""
    # Ctrl-C, and the terminal's end, reach its whole group; the reader of the answers decides.
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    gc.disable()  # no cycles are made here
    orders = os.fdopen(os.dup(0), "rb", buffering=0)
    answers = os.fdopen(int(sys.argv[1]), "wb", buffering=0)
    try:
        *address, ids = _receive(orders)
        threading.Thread(target=_end_with_input, daemon=True).start()
        for batch in read_with_threads(Address(*address), ids):
            _send(answers, [tuple(read) for read in batch])
        _send(answers, None)
    except (EOFError, BrokenPipeError):
        pass  # nobody waits for answers any more


def _end_with_input() -> None:
    """Whoever asked has ended, or does not want the rest; a client may be waited for just now."""
    os.read(0, 1)
    os._exit(0)


# -- between them


def _send(out: IO[bytes], message: Any) -> None:
    pipe.send(out, marshal.dumps(message))


def _receive(source: IO[bytes]) -> Any:
    return marshal.loads(pipe.receive(source))
