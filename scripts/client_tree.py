"""qBittorrent 5.1 of Debian 13, unpacked into the cache folder beside the system's own 4.5.

Nothing of it is installed: the tests run the program through the tree's own dynamic loader.  For
`make test` also the one of Debian testing, whatever its version is by now, if it can be had.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path

from scripts.apt_sources import Mirror, find_mirror
from scripts.steps import SetupError, run, say, step

NAME = "qbittorrent-5.1"
SUITE = "trixie"
NEWEST, NEWEST_SUITE = "qbittorrent-newest", "testing"
WANTED = "v5.1"
COMPLETE = ".complete"  # written last, inside the tree, before it gets its name
FORWARDED = ("Acquire::http", "Acquire::https", "Acquire::Check-", "Acquire::Retries")


def cache_folder() -> Path:
    """SEEDKEEP_CACHE, else seedkeep/ below XDG_CACHE_HOME, else below ~/.cache."""
    named = os.environ.get("SEEDKEEP_CACHE")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "seedkeep"


def is_complete(tree: Path) -> bool:
    return (tree / COMPLETE).is_file() and (tree / "usr/bin/qbittorrent-nox").is_file()


def build(cache: Path) -> None:
    """Unpack the tree, or do nothing when it is whole.  The caller holds the set-up's lock.

    Raises:
        SetupError: No mirror known, the download failed, or the program does not run.
    """
    tree = cache / NAME
    if not is_complete(tree):
        _unpack(tree, SUITE, WANTED)


def build_newest(cache: Path) -> None:
    """The same for Debian testing's; tried once, because that suite need not have one that runs.

    What kept it away is said, and stands in a file beside, which may be removed to try again.
    """
    if newest_was_tried(cache):
        return
    try:
        _unpack(cache / NEWEST, NEWEST_SUITE, "v")
    except SetupError as why:
        (cache / f"{NEWEST}.missing").write_text(f"{why}\n")
        say(f"the tests do without Debian {NEWEST_SUITE}'s qBittorrent:\n{why}")


def newest_was_tried(cache: Path) -> bool:
    return is_complete(cache / NEWEST) or (cache / f"{NEWEST}.missing").exists()


def _unpack(tree: Path, suite: str, wanted: str) -> None:
    with step(f"qBittorrent of Debian {suite} into {tree}"):
        fresh = tree.with_name(f"{tree.name}.new")
        for debris in (tree, fresh):  # a broken tree, or what a killed set-up left
            if debris.exists():
                shutil.rmtree(debris)
        run(
            [
                "mmdebstrap",
                # Unpacking alone needs no root, but without it the mode has to be named.
                f"--mode={'auto' if os.geteuid() == 0 else 'chrootless'}",
                "--variant=extract",
                "--include=qbittorrent-nox,ca-certificates",
                *(f"--aptopt={option}" for option in fetch_options()),
                suite,
                fresh,
                mirror_of_this_machine().line_for(suite),
            ],
            log=tree.with_name(f"{tree.name}.log"),
        )
        version = ask_version(fresh, wanted)
        (fresh / COMPLETE).write_text(f"{version}\n")
        fresh.rename(tree)


def mirror_of_this_machine() -> Mirror:
    named = os.environ.get("SEEDKEEP_DEBIAN_MIRROR")
    if named:
        return Mirror(named, (SUITE,), ("main",))
    codename = platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    for suite in (SUITE, codename, "bookworm"):
        found = find_mirror(suite) if suite else None
        if found is not None:
            return found
    raise SetupError(
        "no Debian archive (suite bookworm or trixie, component main) stands in /etc/apt;\n"
        "name one: SEEDKEEP_DEBIAN_MIRROR=http://HOST/debian make setup"
    )


def fetch_options() -> list[str]:
    """How this machine's apt fetches (proxies, certificates); mmdebstrap reads none of it."""
    dump = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=False)
    return [line for line in dump.stdout.splitlines() if line.startswith(FORWARDED)]


def ask_version(tree: Path, wanted: str = WANTED) -> str:
    """Start the program once: a tree that cannot say its version is not one to test with."""
    loaders = sorted(tree.glob("usr/lib/*/ld-linux-*.so.*"))
    if not loaders:
        raise SetupError(f"{tree} holds no dynamic loader")
    folder = loaders[0].parent
    # libproxy's backend lies in a folder of its own, which its rpath finds only from the root.
    libraries = f"{folder}:{folder / 'libproxy'}"
    done = subprocess.run(
        [loaders[0], "--library-path", libraries, tree / "usr/bin/qbittorrent-nox", "--version"],
        capture_output=True,
        text=True,
        check=False,
    )
    if wanted not in done.stdout:
        raise SetupError(f"{tree}: expected {wanted}, got {done.stdout + done.stderr!r}")
    return done.stdout.strip()
