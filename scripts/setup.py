"""`make setup`: prepare a machine for the demo and the tests.  Safe to repeat, quick when done.

Three parts, each checked before anything is done: system packages, `.venv`, and qBittorrent 5.1 in
the cache folder.  For `make test` (`--mounts`) also Debian testing's qBittorrent and what the
container image is built from; for `make test-platforms` (`--platforms`) the same for each other
platform, and its emulator.  Only the standard library is used; nothing else is there yet.
"""

from __future__ import annotations

import argparse
import fcntl
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scripts import client_tree, environment, image_base, machine, platforms
from scripts.steps import SetupError, say

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    parser = argparse.ArgumentParser(prog="make setup", description=__doc__)
    parser.add_argument(
        "--mounts",
        action="store_true",
        help="for every test: insist on the right to mount, and prepare building the image",
    )
    parser.add_argument(
        "--platforms",
        action="store_true",
        help="prepare building and running the image for other processors",
    )
    options = parser.parse_args()
    cache = client_tree.cache_folder()
    try:
        prepare(ROOT, cache, images=options.mounts)
        if options.mounts:
            insist_on_rights()
        if options.platforms:
            prepare_platforms(ROOT, cache)
    except SetupError as why:
        say(str(why))
        return 2
    return 0


def prepare(root: Path, cache: Path, *, images: bool = False) -> None:
    """Bring the machine to where `make demo` runs, with `images` also `make test`."""
    began = time.monotonic()
    if is_ready(root, cache, images=images):
        say(f"nothing to do ({time.monotonic() - began:.2f} s)")
        return
    with only_one(cache):  # another set-up may have done it all while this one waited
        packages = machine.missing_packages(images=images)
        if packages:
            machine.install_packages(packages, cache / "apt.log")
        environment.build(root, cache / "pip.log")
        client_tree.build(cache)
        if images:
            insist_on_rights()
            client_tree.build_newest(cache)
            image_base.build(root, cache)
    say(f"ready in {time.monotonic() - began:.1f} s")


def prepare_platforms(root: Path, cache: Path) -> None:
    """After `prepare`: emulators, and a base image and wheels for each other platform.

    Each base takes some minutes, because its packages are set up by an emulated processor.
    """
    insist_on_rights()
    with only_one(cache):
        packages = machine.missing_packages(images=True, platforms=True)
        if packages:
            machine.install_packages(packages, cache / "apt.log")
        for platform in platforms.foreign():
            image_base.build(root, cache, platform)


def is_ready(root: Path, cache: Path, *, images: bool = False) -> bool:
    return (
        environment.is_current(root)
        and client_tree.is_complete(cache / client_tree.NAME)
        and not machine.missing_packages(images=images)
        and (not images or image_base.is_ready(root, cache))
        and (not images or client_tree.newest_was_tried(cache))
    )


def insist_on_rights() -> None:
    missing = machine.missing_rights()
    if missing:
        rows = "\n".join(f"  {row}" for row in missing)
        raise SetupError(f"everything is installed, and the tests still miss:\n{rows}")


@contextmanager
def only_one(cache: Path) -> Iterator[None]:
    """One set-up at a time for this cache; the kernel frees the lock when a process dies."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "setup.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another set-up is running; waiting for it ...")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    sys.exit(main())
