"""Run one of our programs in a forked child: quick as a function call, mortal as a process."""

from __future__ import annotations

import importlib
import os
import pkgutil
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import hashall.cli
import rehome.cli
import seedkeep
from hashall import fsops, journal
from rehome import retire, world
from seedkeep import console
from seedkeep.qbittorrent import QBittorrentClient

# All of it before any fork: a child would import it anew, and an import lock must not be held.
for _package in (seedkeep, hashall, rehome):
    for _module in pkgutil.walk_packages(_package.__path__, f"{_package.__name__}."):
        importlib.import_module(_module.name)

PROGRAMS = {"hashall": hashall.cli.cli, "rehome": rehome.cli.cli}

RUN_METHODS = ("intend", "done", "undone", "commit", "retired", "rolled_back")
CLIENT_METHODS = (
    *("stop", "start", "set_force_start"),
    *("set_auto_management", "set_download_path", "set_location"),
)
FILE_CHANGES = (
    *("make_dirs", "copy_in", "link_files", "move_files"),
    *("remove_tree_of_ours", "retire_file", "remove_empty_dirs"),
)


@dataclass(frozen=True)
class Ended:
    code: int | None  # None: killed
    output: str


def run(
    program: str,
    *arguments: str | Path,
    environ: Mapping[str, str],
    log: Path,
    kill_at: int | None = None,
    of: str = "",
    counting: Path | None = None,
) -> Ended:
    """Run to the end, or until crossing number `kill_at` (from 0), where SIGKILL comes.

    `of`: count only crossings of this name, like "fsops.move_files".
    `counting`: a file that gets the name of every crossing on a line.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the parent has threads
        child = os.fork()
    if child == 0:
        _be_the_program(program, arguments, environ, log, _Watch(kill_at, of, counting))
    _, status = os.waitpid(child, 0)
    output = log.read_text(errors="replace")
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL, output
        return Ended(None, output)
    code = os.WEXITSTATUS(status)
    assert code != 70, f"the child itself failed\n{output}"
    return Ended(code, output)


class _Watch:
    """Counts crossings, writes them down, and ends the process at the chosen one."""

    def __init__(self, kill_at: int | None, of: str, counting: Path | None) -> None:
        self._left, self._of, self._counting = kill_at, of, counting

    def cross(self, name: str) -> None:
        if self._counting is not None:
            with self._counting.open("a") as out:
                out.write(name + "\n")
        if self._of not in ("", name):
            return
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        if self._left is not None:
            self._left -= 1


def _be_the_program(
    program: str,
    arguments: tuple[str | Path, ...],
    environ: Mapping[str, str],
    log: Path,
    watch: _Watch,
) -> None:
    try:
        sys.settrace(None)
        os.environ.clear()
        os.environ.update(environ)
        fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.dup2(fd, 1)
        os.dup2(fd, 2)
        sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
        sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
        with crossings(watch.cross):
            code = console.run(PROGRAMS[program], [str(a) for a in arguments], program)
            watch.cross("the end")
        sys.stdout.flush()
        os._exit(code)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(70)


@contextmanager
def crossings(cross: Callable[[str], None]) -> Iterator[None]:
    """Call `cross` before everything durable that a run does, and so after the thing before it.

    Journal entries, calls that change the client, and changes of files.
    """
    targets: list[tuple[Any, str]] = [(journal.Run, name) for name in RUN_METHODS]
    targets += [(QBittorrentClient, name) for name in CLIENT_METHODS]
    targets += [(fsops, name) for name in FILE_CHANGES]
    targets += [(journal, "begin")]
    with pytest.MonkeyPatch.context() as patch:
        for owner, name in targets:
            patch.setattr(
                owner,
                name,
                _watched(
                    f"{owner.__name__.rpartition('.')[2]}.{name}", getattr(owner, name), cross
                ),
            )
        yield


def _watched(
    name: str, real: Callable[..., Any], cross: Callable[[str], None]
) -> Callable[..., Any]:
    def call(*arguments: Any, **named: Any) -> Any:
        cross(name)
        return real(*arguments, **named)

    return call


# Patched by name above; what a module took by `from` would escape the watch.
assert vars(world)["fsops"] is vars(retire)["fsops"] is fsops
