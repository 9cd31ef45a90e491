"""What the tests build the container image from: a base image and wheels, in the cache folder.

No image can be pulled everywhere, so Debian 13 with its own Python 3.13 takes the place of
python:3.13-slim.  It lies in an image store of its own, which the tests only read.  Each other
platform has a base and wheels of its own; platform None is always this machine's.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from scripts.client_tree import fetch_options, mirror_of_this_machine
from scripts.platforms import Platform, switch_on
from scripts.steps import SetupError, run, step

SUITE = "trixie"
PYTHON = "3.13"  # what SUITE has: the wheels have to fit
GLIBC = range(17, 42)  # 2.N: the oldest that wheels are made for, to the one SUITE has
# curl is for the stranger of tests/integration/test_stranger.py, who types the README's web hook.
PACKAGES = "python3,python3-venv,tini,tzdata,ca-certificates,curl"
LEFT_OUT = ("/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/man/*")
TAG = f"localhost/seedkeep-base:{SUITE}"
NAME, WHEELS = "image-base", "image-wheels"  # folders in the cache
COMPLETE = ".complete"  # written last; holds what the folder was made from
REQUIREMENTS = ("requirements/image.txt", "requirements/compile.txt")


def base(cache: Path, platform: Platform | None = None) -> Path:
    """The folder of the base image."""
    return cache / (f"{NAME}-{platform.name}" if platform else NAME)


def wheels(cache: Path, platform: Platform | None = None) -> Path:
    """The folder of the wheels, and of the sources of what has none."""
    return cache / (f"{WHEELS}-{platform.name}" if platform else WHEELS)


def is_ready(root: Path, cache: Path, platform: Platform | None = None) -> bool:
    return _is_made(base(cache, platform), _wanted_base()) and _is_made(
        wheels(cache, platform), _wanted_wheels(root, platform)
    )


def build(root: Path, cache: Path, platform: Platform | None = None) -> None:
    """Make what is missing.  The caller holds the set-up's lock and is root.

    Raises:
        SetupError: A download failed, an image could not be made, or nothing of `platform` runs.
    """
    if platform is not None:
        switch_on(platform)
    folder, of = base(cache, platform), _wanted_base()
    if not _is_made(folder, of):
        with step(f"base image of Debian {SUITE} into {folder}"):
            _make_base(_emptied(folder), folder.with_name(f"{folder.name}.log"), platform)
            (folder / COMPLETE).write_text(of)
    folder, of = wheels(cache, platform), _wanted_wheels(root, platform)
    if not _is_made(folder, of):
        with step(f"wheels for the image into {folder}"):
            log = folder.with_name(f"{folder.name}.log")
            _download_wheels(root, _emptied(folder), log, platform)
            (folder / COMPLETE).write_text(of)


def tree(cache: Path) -> Path:
    """The files of the base as a plain folder.  Read-only: the image store owns it."""
    programs = sorted((base(cache) / "store/vfs/dir").glob("*/usr/bin/python3"))
    if not programs:
        raise SetupError(f"no base image in {base(cache)}: `make test` makes it")
    return programs[0].parents[2]


def buildah(folder: Path, *words: str | Path) -> list[str | Path]:
    """A buildah command with its images and containers in `folder` and nowhere else."""
    places: list[str | Path] = ["--root", folder / "store", "--runroot", folder / "run"]
    return ["buildah", *places, "--storage-driver", "vfs", *words]


def _make_base(folder: Path, log: Path, platform: Platform | None) -> None:
    tree = folder / "base.tar"
    command: list[str | Path] = ["mmdebstrap", "--variant=minbase", f"--include={PACKAGES}"]
    command += ["--dpkgopt=force-unsafe-io"]  # a killed set-up begins anew anyway
    command += [f"--dpkgopt=path-exclude={pattern}" for pattern in LEFT_OUT]
    command += [f"--aptopt={option}" for option in fetch_options()]
    if platform is not None:
        command.append(f"--architectures={platform.debian}")
    run([*command, SUITE, tree, mirror_of_this_machine().line_for(SUITE)], log=log)
    run(buildah(folder, "from", "--name", "base", "scratch"), log=log)
    if platform is not None:
        kind: list[str | Path] = ["--arch", platform.architecture, "--variant", platform.variant]
        run(buildah(folder, "config", *kind, "base"), log=log)
    run(buildah(folder, "add", "--quiet", "base", tree, "/"), log=log)
    run(buildah(folder, "commit", "--quiet", "--rm", "--format", "docker", "base", TAG), log=log)
    tree.unlink()


def _download_wheels(root: Path, folder: Path, log: Path, platform: Platform | None) -> None:
    command: list[str | Path] = [root / ".venv/bin/python", "-m", "pip", "download", "-q"]
    command += ["--disable-pip-version-check", "--require-hashes", "--no-deps"]
    command += ["--only-binary=:all:", "--python-version", PYTHON, "--dest", folder]
    if platform is not None:
        command += [f"--platform=manylinux_2_{minor}_{platform.machine}" for minor in GLIBC]
        command += [f"--platform=manylinux2014_{platform.machine}"]
        # Sources are asked for their metadata, by the setuptools that the set-up has pinned.
        command += [f"--no-binary={','.join(platform.compiled)}"] if platform.compiled else []
        command += ["--no-build-isolation"]
    for pinned in REQUIREMENTS:
        command += ["--requirement", root / pinned]
    run(command, log=log)


def _wanted_base() -> str:
    """What a base would be made from today."""
    return "\n".join((SUITE, PACKAGES, *LEFT_OUT, TAG))


def _wanted_wheels(root: Path, platform: Platform | None) -> str:
    pinned = hashlib.sha256(b"".join((root / name).read_bytes() for name in REQUIREMENTS))
    compiled = platform.compiled if platform else ()
    return " ".join((PYTHON, pinned.hexdigest(), *compiled))


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
