"""Real filesystems for tests: made in temporary folders, mounted, and always taken down again.

Needs root (`/dev/shm` against the disk does not).  Each is a context manager; when something is
still open at the end, the mount is detached lazily, so that no test leaves one behind.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import signal
import stat
import struct
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

LOOP_CONTROL = Path("/dev/loop-control")
LOOP_CTL_GET_FREE = 0x4C82
LOOP_MAJOR = 7
IOC_SHUTDOWN = 0x8004587D  # FS_IOC_SHUTDOWN
SHUTDOWN_AT_ONCE = 2  # nothing that waits is written any more
POOL_PREFIX = "seedkeeplab"
SIDES = ("shm", "ext4", "btrfs", "xfs", "zfs", "bind")


class Sides(NamedTuple):
    """Two empty directories on two different filesystems."""

    stash: Path
    pool: Path


def run(*command: str | Path, timeout_s: float = 120) -> str:
    """Run a tool and give its output; its complaint becomes the error."""
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=timeout_s
    )
    if done.returncode:
        said = os.fsdecode(done.stderr or done.stdout)
        raise AssertionError(f"{command} ended with {done.returncode}: {said}")
    return os.fsdecode(done.stdout)


@contextmanager
def lab_folder(parent: Path | None = None) -> Iterator[Path]:
    """An empty folder of its own; what is still mounted in it at the end is detached first."""
    with tempfile.TemporaryDirectory(prefix="seedkeep-lab-", dir=parent) as name:
        folder = Path(name).resolve()
        try:
            yield folder
        finally:
            detach_all_below(folder)  # or removing the folder would empty what is mounted there


def detach_all_below(folder: Path) -> None:
    _detach(lambda fields: fields[4].startswith(os.fsencode(folder) + b"/"))


def _detach(doomed: Callable[[list[bytes]], bool]) -> None:
    """Detach mounts by the fields of their line in the mount table, the newest first."""
    for line in reversed(Path("/proc/self/mountinfo").read_bytes().split(b"\n")):
        fields = line.split(b" ")
        if len(fields) > 4 and doomed(fields):
            point = fields[4].decode("unicode_escape").encode("latin-1")
            subprocess.run([b"umount", b"-l", b"--", point], capture_output=True, check=False)


@contextmanager
def mounted(
    source: str | Path, point: Path, *, fs_type: str | None = None, options: str = ""
) -> Iterator[Path]:
    """Mount `source` at `point` (made when missing) with `mount -o options`."""
    if not point.exists():
        point.mkdir(parents=True)
    command = [
        "mount",
        *(["-t", fs_type] if fs_type else []),
        *(["-o", options] if options else []),
    ]
    _mount_patiently([*command, "--", os.fspath(source), os.fspath(point)], options)
    try:
        yield point
    finally:
        unmount(point)


def _mount_patiently(command: list[str], options: str) -> None:
    """Two mounts that want the same free loop device: one of them has to ask again."""
    for _ in range(20):
        try:
            run(*command)
            return
        except AssertionError as why:
            if "loop" not in options.split(",") or "loop device" not in str(why):
                raise
            _make_loop_node()
            time.sleep(0.05)
    run(*command)


def _make_loop_node() -> None:
    """A container without devtmpfs has only the nodes that somebody made."""
    with LOOP_CONTROL.open("rb") as control:
        number = fcntl.ioctl(control, LOOP_CTL_GET_FREE)
    node = Path(f"/dev/loop{number}")
    with contextlib.suppress(FileExistsError):
        os.mknod(node, 0o660 | stat.S_IFBLK, os.makedev(LOOP_MAJOR, number))


def unmount(point: Path) -> None:
    """Unmount what is on top at `point`; detach it when it stays busy for a second."""
    for _ in range(10):
        done = subprocess.run(["umount", "--", point], capture_output=True, check=False)
        if done.returncode == 0 or b"not mounted" in done.stderr:
            return
        time.sleep(0.1)
    run("umount", "-l", "--", point)


def image(folder: Path, kind: str, size: str) -> Path:
    """An image file with a new filesystem of this kind; `mounted(…, options="loop")` shows it."""
    path = folder / f"{kind}-{uuid.uuid4().hex[:8]}.img"
    run("truncate", "-s", size, path)
    run(f"mkfs.{kind}", "-q", path)
    return path


@contextmanager
def _on_image(folder: Path, kind: str, size: str, name: str) -> Iterator[Path]:
    disk = image(folder, kind, size)
    with mounted(disk, folder / name, options="loop") as point:
        yield point
    disk.unlink()


def shut_down(point: Path) -> None:
    """Have an ext4 or XFS fail with EIO from now on, as if its disk were gone; unmounting works."""
    folder = os.open(point, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.ioctl(folder, IOC_SHUTDOWN, struct.pack("I", SHUTDOWN_AT_ONCE))
    finally:
        os.close(folder)


def ext4(folder: Path, size: str = "64M", *, name: str = "ext4") -> AbstractContextManager[Path]:
    """A new ext4 at `folder/name`."""
    return _on_image(folder, "ext4", size, name)


def xfs(folder: Path, size: str = "300M", *, name: str = "xfs") -> AbstractContextManager[Path]:
    """A new XFS at `folder/name`; mkfs.xfs takes no less than 300 MB."""
    return _on_image(folder, "xfs", size, name)


def btrfs(folder: Path, size: str = "128M", *, name: str = "btrfs") -> AbstractContextManager[Path]:
    """A new btrfs, its top, at `folder/name`; mkfs.btrfs takes no less than 109 MiB."""
    return _on_image(folder, "btrfs", size, name)


def btrfs_subvolume(path: Path) -> Path:
    """A new subvolume; it goes with its filesystem."""
    run("btrfs", "subvolume", "create", path)
    return path


def tmpfs(point: Path, size: str = "16M", *, source: str = "lab") -> AbstractContextManager[Path]:
    """A new tmpfs at `point`."""
    return mounted(source, point, fs_type="tmpfs", options=f"size={size}")


@contextmanager
def bind(source: Path, point: Path) -> Iterator[Path]:
    """Show a directory or a file at `point` too."""
    if not source.is_dir():
        point.touch()
    with mounted(source, point, options="bind"):
        yield point


@contextmanager
def two_sides(kind: str) -> Iterator[Sides]:
    """Two directories that no hardlink can join; kinds are in SIDES.

    shm: the disk and /dev/shm, without root.  ext4, xfs: two images.  btrfs: two subvolumes of one
    filesystem.  zfs: two datasets of one pool.  bind: directories of two ext4, each shown to the
    program by a bind mount only.
    """
    with ExitStack() as stack:
        folder = stack.enter_context(lab_folder())
        if kind == "shm":
            memory = stack.enter_context(lab_folder(Path("/dev/shm")))
            disk = folder / "stash"
            disk.mkdir()
            yield Sides(disk, memory)
        elif kind == "btrfs":
            top = stack.enter_context(btrfs(folder, size="256M"))
            yield Sides(btrfs_subvolume(top / "stash"), btrfs_subvolume(top / "pool"))
        elif kind == "zfs":
            datasets = stack.enter_context(zfs_pool(folder, size="192M"))
            yield Sides(datasets.create("stash"), datasets.create("pool"))
        elif kind in ("ext4", "xfs"):
            make = ext4 if kind == "ext4" else xfs
            size = "128M" if kind == "ext4" else "300M"
            disks = [stack.enter_context(make(folder, size, name=n)) for n in Sides._fields]
            yield Sides(*(_empty(disk / "data") for disk in disks))
        elif kind == "bind":
            disks = [
                stack.enter_context(ext4(folder, "128M", name=f"{n}-disk")) for n in Sides._fields
            ]
            shown = [
                stack.enter_context(bind(_empty(disk / "data"), folder / name))
                for disk, name in zip(disks, Sides._fields, strict=True)
            ]
            yield Sides(*shown)
        else:
            raise ValueError(f"{kind!r} is none of {SIDES}")


def _empty(folder: Path) -> Path:
    folder.mkdir()
    return folder


def file_in(directory: Path, name: str = "film.mkv") -> Path:
    """A small file in a directory, which is made when missing."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / name
    path.write_bytes(b"bytes")
    return path


@contextmanager
def as_nobody() -> Iterator[None]:
    """Act as a user without any privilege; needs root to come back."""
    set_dumpable = 4  # or the kernel gives /proc/self to root when the user changes
    libc = ctypes.CDLL(None, use_errno=True)
    os.setegid(65534)
    os.seteuid(65534)
    libc.prctl(set_dumpable, 1, 0, 0, 0)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        libc.prctl(set_dumpable, 1, 0, 0, 0)


# --- ZFS ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ZfsPool:
    """A pool on one image file, mounted at `root`."""

    name: str
    root: Path
    images: Path  # the folder where an import finds its disks

    def create(self, dataset: str) -> Path:
        """A new dataset; its mount point."""
        run("zfs", "create", f"{self.name}/{dataset}")
        return self.root / dataset

    def export(self) -> None:
        _when_idle("zpool", "export", self.name)

    def import_again(self) -> None:
        run("zpool", "import", "-d", self.images, "-o", "cachefile=none", self.name)


@contextmanager
def zfs_pool(folder: Path, size: str = "128M", *, disks: int = 1) -> Iterator[ZfsPool]:
    """A new pool at `folder/zpool`; with two disks they mirror each other."""
    name = f"{POOL_PREFIX}{uuid.uuid4().hex[:10]}"
    root = folder / "zpool"
    images = _empty(folder / "zpool-disks")
    paths = [images / f"{number}.img" for number in range(disks)]
    for path in paths:
        run("truncate", "-s", size, path)
    layout = ["mirror"] if disks > 1 else []
    with zfs_daemon():
        # Without a cache file a restarted daemon does not look for pools of the past.
        run("zpool", "create", "-o", "cachefile=none", "-m", root, name, *layout, *paths)
        try:
            yield ZfsPool(name, root, images)
        finally:
            with contextlib.suppress(AssertionError):  # exported by the test: nothing to destroy
                destroy_pool(name)


def destroy_pool(name: str) -> None:
    _when_idle("zpool", "destroy", "-f", name)


def _when_idle(*command: str) -> None:
    """zfs-fuse learns a little later than we do that a file was closed."""
    for _ in range(200):
        try:
            run(*command)
            return
        except AssertionError as why:
            if "busy" not in str(why):
                raise
            time.sleep(0.1)
    run(*command)


@contextmanager
def zfs_daemon() -> Iterator[None]:
    """zfs-fuse, of which a machine can have one: for one test process at a time.

    It deadlocks when two processes make, export or import pools at once (measured), so the others
    wait.  The kernel drops the lock of a process that dies.  May be nested within a process.  A
    daemon that somebody else started is used and left alone.
    """
    if _zfs_holders:
        _zfs_holders.append(None)
        try:
            yield
        finally:
            _zfs_holders.pop()
        return
    folder = Path(tempfile.gettempdir(), f"seedkeep-lab-zfs-{os.getuid()}")
    folder.mkdir(exist_ok=True)
    pidfile = folder / "zfs-fuse.pid"
    with (folder / "lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _stop_zfs(pidfile)  # of a test process that was killed
        if not _zfs_answers():
            _start_zfs(pidfile)
        _zfs_holders.append(None)
        try:
            yield
        finally:
            _zfs_holders.pop()
            _stop_zfs(pidfile)


_zfs_holders: list[None] = []  # one entry for each `with zfs_daemon()` of this process


def _zfs_answers() -> bool:
    command = ["zpool", "list"]
    return subprocess.run(command, capture_output=True, check=False, timeout=20).returncode == 0


def _start_zfs(pidfile: Path) -> None:
    quiet = subprocess.DEVNULL  # the daemon keeps them, and a pipe would never end
    command = ["zfs-fuse", "--no-kstat-mount", "--pidfile", str(pidfile)]
    subprocess.run(command, stdin=quiet, stdout=quiet, stderr=quiet, check=True, timeout=60)
    deadline = time.monotonic() + 20
    while not (_zfs_answers() and pidfile.exists()):
        assert time.monotonic() < deadline, "zfs-fuse did not answer within 20 s"
        time.sleep(0.05)


def _stop_zfs(pidfile: Path) -> None:
    """End a daemon of ours; every pool of it is a test's."""
    if not pidfile.exists():
        return
    pid = int(pidfile.read_text())
    if _command_of(pid) == "zfs-fuse":  # and not another process with a number given again
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)  # SIGTERM takes 3 s
    deadline = time.monotonic() + 20
    while _command_of(pid) == "zfs-fuse":
        assert time.monotonic() < deadline, f"zfs-fuse (pid {pid}) did not end within 20 s"
        time.sleep(0.02)
    _detach(lambda fields: any(f.startswith(POOL_PREFIX.encode()) for f in fields))
    pidfile.unlink()


def _command_of(pid: int) -> str | None:
    """The name of a running process; None when it has ended, reaped or not."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    name, _, rest = text.partition("(")[2].rpartition(")")
    return None if rest.split()[0] == "Z" else name
