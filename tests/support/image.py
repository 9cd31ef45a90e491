"""The container image, built with buildah from the checkout, and containers that run it.

There is no engine: a container here is a set of namespaces with the image's files as its root, set
up as an engine would.  Network and kernel are the machine's own; root has no more rights than
Docker gives it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from scripts import image_base
from scripts.client_tree import cache_folder
from scripts.platforms import Platform, runs_here
from tests.support.filesystems import lab_folder, run
from tests.support.qbt import wait_for

ROOT = Path(__file__).resolve().parents[2]
LABELS = {"VERSION": "9.8.7", "REVISION": "c0ffee", "CREATED": "2026-11-21T10:00:00Z"}
ROOM = 2 * 2**30  # bytes; a build takes about a third of it
EMULATED = 15.0  # so many times the patience, where each instruction is translated first
PLACES = ("/data", "/run/secrets")  # where containers of the tests get volumes, beside /config
# What Docker leaves to root in a container.
CAPABILITIES = "chown,dac_override,fowner,fsetid,kill,setgid,setuid,setpcap,net_bind_service"
CAPABILITIES += ",net_raw,sys_chroot,mknod,audit_write,setfcap"

# $1: the image's files, $2: ro or rw, $3: where to begin, $4: number of words about mounts (where
# inside, what); then the command.  /dev is what every container gets.
_SET_UP = """
root=$1 mode=$2 begin=$3 mounts=$4
shift 4
mount --bind "$root" "$root"
[ "$mode" = rw ] || mount -o remount,bind,ro "$root"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for name in null zero full random urandom tty; do
    : > "$root/dev/$name"
    mount --bind "/dev/$name" "$root/dev/$name"
done
mkdir -m 1777 "$root/dev/shm"
while [ "$mounts" -gt 0 ]; do
    mount --bind "$2" "$root$1"
    shift 2
    mounts=$((mounts - 2))
done
exec unshare --root "$root" --wd "$begin" "$@"
"""


@dataclass(frozen=True)
class Image:
    """A built image: its files, which are never changed by a test, and what it says of itself."""

    files: Path
    config: Mapping[str, Any]  # "Env", "Entrypoint", "Cmd", "Labels", "Healthcheck", ...
    platform: str  # linux/ARCH[/VARIANT]
    patience: float = 1.0  # what a limit that suits this machine is multiplied by

    @cached_property
    def environ(self) -> dict[str, str]:
        return dict(line.split("=", 1) for line in self.config["Env"])

    @property
    def size(self) -> int:
        """Bytes of all files, each inode once."""
        found = {}
        for folder, _, names in os.walk(self.files):
            for name in names:
                status = os.lstat(f"{folder}/{name}")
                found[status.st_dev, status.st_ino] = status.st_size
        return sum(found.values())

    def changed_since(self, moment: float) -> list[str]:
        """Files and folders whose content changed after `moment`, as the container names them."""
        found = []
        for folder, folders, names in os.walk(self.files):
            for name in [*folders, *names]:
                path = f"{folder}/{name}"
                if os.lstat(path).st_mtime > moment:
                    found.append(path.removeprefix(str(self.files)))
        return found


@contextmanager
def built(platform: Platform | None = None) -> Iterator[Image]:
    """Build the checkout's Dockerfile on the base image of the set-up, without any download.

    For another platform than this machine's apt may download a compiler.
    """
    cache = cache_folder()
    prepares = "make test-platforms" if platform else "make test"
    assert image_base.is_ready(ROOT, cache, platform), f"the set-up prepares it: {prepares}"
    assert platform is None or runs_here(platform), f"the set-up prepares it: {prepares}"
    patience = EMULATED if platform else 1.0
    with lab_folder(_place()) as folder:
        base = ["--storage-opt", f"vfs.imagestore={image_base.base(cache, platform) / 'store'}"]
        arguments = LABELS | {
            "BASE": image_base.TAG,
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": "/wheelhouse",
        }
        build: list[str | Path] = ["bud", "--isolation", "chroot", "--network", "host"]
        build += ["--pull-never", "--layers=false", "--format", "docker", "--tag", "seedkeep"]
        build += ["--volume", f"{image_base.wheels(cache, platform)}:/wheelhouse:ro"]
        build += ["--platform", platform.image] if platform else []
        for name, value in arguments.items():
            build += ["--build-arg", f"{name}={value}"]
        run(*image_base.buildah(folder, *base, *build, ROOT), timeout_s=600 * patience)
        about = json.loads(
            run(*image_base.buildah(folder, *base, "inspect", "--type", "image", "seedkeep"))
        )
        files = _files_of(folder / "store")
        for place in PLACES:  # an engine makes them when something is mounted there
            (files / place.lstrip("/")).mkdir(parents=True)
        yield Image(files, about["Docker"]["config"], _platform_of(about["OCIv1"]), patience)


def _platform_of(about: Mapping[str, str]) -> str:
    words = (about["os"], about["architecture"], about.get("variant", ""))
    return "/".join(word for word in words if word)


def _place() -> Path | None:
    """Memory, where there is enough: each layer is written several times.  None: the disk."""
    free = shutil.disk_usage("/dev/shm").free
    return Path("/dev/shm") if free > ROOM else None


def _files_of(store: Path) -> Path:
    """The top layer of the only image; with the vfs driver that is the whole tree."""
    (image,) = json.loads((store / "vfs-images/images.json").read_text())
    return store / "vfs/dir" / str(image["layer"])


@dataclass
class Container:
    """One run of an image.  `volumes`: /config or one of `PLACES` -> a folder here."""

    image: Image
    volumes: Mapping[str, Path]
    environ: Mapping[str, str] = field(default_factory=dict)
    user: str = "0:0"
    groups: str = ""  # more of them, as `group_add:` gives: "44,107"
    read_only: bool = True
    process: subprocess.Popen[bytes] | None = None

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """`docker run IMAGE command`, to its end."""
        return subprocess.run(
            self._words(command),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120 * self.image.patience,
            check=False,
        )

    def start(self, log: Path, *command: str) -> None:
        """`docker run -d`: output goes to `log`."""
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                self._words(command), stdin=subprocess.DEVNULL, stdout=out, stderr=out
            )

    def execute(self, *command: str) -> subprocess.CompletedProcess[str]:
        """`docker exec`: by the user that the container began with."""
        enter = ["nsenter", f"--target={self._first()}", "--mount", "--pid", "--root", "--wd"]
        return subprocess.run(
            [*enter, *self._as_user(command)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60 * self.image.patience,
            check=False,
        )

    def is_healthy(self) -> bool:
        """What the image's own check says now."""
        kind, *command = self.image.config["Healthcheck"]["Test"]
        assert kind == "CMD"
        return self.execute(*command).returncode == 0

    def stop(self) -> tuple[int, float]:
        """SIGTERM to the first process: its exit code, and the seconds it took."""
        assert self.process is not None
        begun = time.monotonic()
        os.kill(self._first(), signal.SIGTERM)
        try:
            return self.process.wait(60 * self.image.patience), time.monotonic() - begun
        finally:
            self.kill()

    def kill(self) -> None:
        """Everything in it ends, nothing is asked.  Harmless when nothing runs."""
        if self.process is None:
            return
        # Its user may have changed, and then it does not die with `unshare`.
        for pid in self._children():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.kill()
        self.process.wait()
        self.process = None

    def _first(self) -> int:
        """The container's process 1, as this machine counts."""
        wait_for(lambda: self._children() != [], "the container's first process")
        return self._children()[0]

    def _children(self) -> list[int]:
        assert self.process is not None
        pid = self.process.pid
        try:
            return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        except OSError:
            return []

    def _words(self, command: Sequence[str]) -> list[str]:
        namespaces = ["--mount", "--pid", "--fork", "--kill-child", "--propagation", "private"]
        mounts = [str(word) for pair in self.volumes.items() for word in pair]
        start = [*self.image.config["Entrypoint"], *(command or self.image.config["Cmd"])]
        mode = "ro" if self.read_only else "rw"
        set_up = [str(self.image.files), mode, self.image.config["WorkingDir"], str(len(mounts))]
        return [
            *("unshare", *namespaces, "sh", "-euc", _SET_UP, "container", *set_up, *mounts),
            *self._as_user(start),
        ]

    def _as_user(self, command: Sequence[str]) -> list[str]:
        user, group = self.user.split(":")
        kept = ",".join(f"+{name}" for name in CAPABILITIES.split(","))
        rights = [f"--groups={self.groups}"] if self.groups else ["--clear-groups"]
        rights += [f"--reuid={user}", f"--regid={group}"]
        rights += [f"--bounding-set=-all,{kept}", "--inh-caps=-all"]
        names = [
            f"{name}={value}" for name, value in (self.image.environ | dict(self.environ)).items()
        ]
        return ["setpriv", *rights, "--", "env", "-i", *names, *command]


@contextmanager
def running(container: Container, log: Path) -> Iterator[Container]:
    """A started container; killed in the end if the test has not stopped it."""
    container.start(log)
    try:
        yield container
    finally:
        container.kill()
