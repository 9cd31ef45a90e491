"""What the tests build the container image from: a base image and wheels, in the cache folder.

No image can be pulled everywhere, so Debian 13 with its own Python 3.13 takes the place of
python:3.13-slim.  It lies in an image store of its own, which the tests only read.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from scripts.client_tree import fetch_options, mirror_of_this_machine
from scripts.steps import SetupError, run, step

SUITE = "trixie"
PYTHON = "3.13"  # what SUITE has: the wheels have to fit
# curl is for the stranger of tests/integration/test_stranger.py, who types the README's web hook.
PACKAGES = "python3,python3-venv,tini,tzdata,ca-certificates,curl"
LEFT_OUT = ("/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/man/*")
TAG = f"localhost/seedkeep-base:{SUITE}"
NAME, WHEELS = "image-base", "image-wheels"  # folders in the cache
COMPLETE = ".complete"  # written last; holds what the folder was made from
REQUIREMENTS = "requirements/image.txt"


def is_ready(root: Path, cache: Path) -> bool:
    return all(_is_made(cache / name, of) for name, of in _wanted(root).items())


def build(root: Path, cache: Path) -> None:
    """Make what is missing.  The caller holds the set-up's lock and is root.

    Raises:
        SetupError: A download failed, or an image could not be made.
    """
    wanted = _wanted(root)
    if not _is_made(cache / NAME, wanted[NAME]):
        with step(f"base image of Debian {SUITE} into {cache / NAME}"):
            _make_base(_emptied(cache / NAME), cache / f"{NAME}.log")
            (cache / NAME / COMPLETE).write_text(wanted[NAME])
    if not _is_made(cache / WHEELS, wanted[WHEELS]):
        with step(f"wheels for the image into {cache / WHEELS}"):
            _download_wheels(root, _emptied(cache / WHEELS), cache / f"{WHEELS}.log")
            (cache / WHEELS / COMPLETE).write_text(wanted[WHEELS])


def tree(cache: Path) -> Path:
    """The files of the base as a plain folder.  Read-only: the image store owns it."""
    programs = sorted((cache / NAME / "store/vfs/dir").glob("*/usr/bin/python3"))
    if not programs:
        raise SetupError(f"no base image in {cache / NAME}: `make test` makes it")
    return programs[0].parents[2]


def buildah(folder: Path, *words: str | Path) -> list[str | Path]:
    """A buildah command with its images and containers in `folder` and nowhere else."""
    places: list[str | Path] = ["--root", folder / "store", "--runroot", folder / "run"]
    return ["buildah", *places, "--storage-driver", "vfs", *words]


def _make_base(folder: Path, log: Path) -> None:
    tree = folder / "base.tar"
    command: list[str | Path] = ["mmdebstrap", "--variant=minbase", f"--include={PACKAGES}"]
    command += ["--dpkgopt=force-unsafe-io"]  # a killed set-up begins anew anyway
    command += [f"--dpkgopt=path-exclude={pattern}" for pattern in LEFT_OUT]
    command += [f"--aptopt={option}" for option in fetch_options()]
    run([*command, SUITE, tree, mirror_of_this_machine().line_for(SUITE)], log=log)
    run(buildah(folder, "from", "--name", "base", "scratch"), log=log)
    run(buildah(folder, "add", "--quiet", "base", tree, "/"), log=log)
    run(buildah(folder, "commit", "--quiet", "--rm", "--format", "docker", "base", TAG), log=log)
    tree.unlink()


def _download_wheels(root: Path, folder: Path, log: Path) -> None:
    command: list[str | Path] = [root / ".venv/bin/python", "-m", "pip", "download", "-q"]
    command += ["--disable-pip-version-check", "--require-hashes", "--no-deps"]
    command += ["--only-binary=:all:", "--python-version", PYTHON]
    run([*command, "--dest", folder, "--requirement", root / REQUIREMENTS], log=log)


def _wanted(root: Path) -> dict[str, str]:
    """What each folder would be made from today."""
    base = "\n".join((SUITE, PACKAGES, *LEFT_OUT, TAG))
    pinned = (root / REQUIREMENTS).read_bytes()
    return {NAME: base, WHEELS: f"{PYTHON} {hashlib.sha256(pinned).hexdigest()}"}


def _is_made(folder: Path, of: str) -> bool:
    try:
        return (folder / COMPLETE).read_text() == of
    except OSError:
        return False


def _emptied(folder: Path) -> Path:
    if folder.exists():  # an older one, or what a killed set-up left
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    return folder
