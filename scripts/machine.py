"""What the tests and the demo need from the machine, and how apt brings it.

A need is a program (or a file), not a package: a person may have built qBittorrent by hand, and a
package that is listed but half unpacked helps nobody.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from scripts.platforms import foreign
from scripts.steps import SetupError, run, step

PROGRAMS = {
    "qbittorrent-nox": ("qbittorrent-nox",),
    "mmdebstrap": ("mmdebstrap",),
    "e2fsprogs": ("mkfs.ext4",),
    "xfsprogs": ("mkfs.xfs",),
    "btrfs-progs": ("mkfs.btrfs", "btrfs"),
    "zfs-fuse": ("zfs-fuse", "zpool", "zfs"),
    "util-linux": ("findmnt", "setpriv"),
    "redis-server": ("redis-server",),
    "jdupes": ("jdupes",),
    "rmlint": ("rmlint",),
    "curl": ("curl",),
    "systemd": ("systemd-analyze",),
    "groff-base": ("groff",),
    "libcap2-bin": ("setcap",),
    "procps": ("kill",),
    "mount": ("mount", "umount", "losetup"),
}
# Only for the tests of the container image; the demo does without.
IMAGE_PROGRAMS = {"buildah": ("buildah",), "shellcheck": ("shellcheck",)}
# Only for the image on other platforms than this machine's; mmdebstrap asks arch-test.
PLATFORM_PROGRAMS = {
    "qemu-user-static": tuple(f"qemu-{platform.qemu}-static" for platform in foreign()),
    "binfmt-support": ("update-binfmts",),
    "arch-test": ("arch-test",),
}
FILES = {"ca-certificates": Path("/etc/ssl/certs/ca-certificates.crt")}
POLICY = Path("/usr/sbin/policy-rc.d")
POLICY_TEXT = (
    "#!/bin/sh\n# Written by seedkeep's set-up for the length of one apt-get run.\nexit 101\n"
)
CAP_SYS_ADMIN = 21  # bit in CapEff: may mount


def missing_packages(*, images: bool = False, platforms: bool = False) -> list[str]:
    """Debian packages whose programs, files or modules are not here; with what images need."""
    wanted = PROGRAMS | (IMAGE_PROGRAMS if images else {})
    wanted |= PLATFORM_PROGRAMS if platforms else {}
    missing = [
        package
        for package, programs in wanted.items()
        if not all(shutil.which(program, path=search_path()) for program in programs)
    ]
    missing += [package for package, path in FILES.items() if not path.exists()]
    if not _can_make_environments():
        missing.append("python3-venv")
    return missing


def search_path() -> str:
    """PATH with the folders that hold mkfs and its like, which people's shells often leave out."""
    return f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin"


def install_packages(packages: Sequence[str], log: Path) -> None:
    """Let apt bring `packages`, starting no service.

    Raises:
        SetupError: Not root, no apt, or apt failed.
    """
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise SetupError(explain_missing(packages))
    env = {
        **os.environ,
        "PATH": search_path(),
        "DEBIAN_FRONTEND": "noninteractive",
        "LC_ALL": "C.UTF-8",
    }
    wait = ("-o", "DPkg::Lock::Timeout=600")
    with step(f"system packages {' '.join(packages)}"), _no_services():
        run(["apt-get", "update", "-q"], log=log, env=env)
        install = ["apt-get", "install", "-q", "-y", "--no-install-recommends"]
        run([*install, *wait, *packages], log=log, env=env)
    missing = missing_packages(images=True, platforms=True)
    still = [package for package in missing if package in packages]
    if still:
        raise SetupError(f"apt-get ended well, and yet these are missing: {' '.join(still)}")


def explain_missing(packages: Sequence[str]) -> str:
    rows = [f"  {package}: {_what_for(package)}" for package in packages]
    return "\n".join(
        [
            "this machine lacks what the tests and the demo are made of, and only root can add it:",
            *rows,
            "run this as root, then repeat what you did:",
            "  apt-get update && apt-get install --no-install-recommends " + " ".join(packages),
        ]
    )


def missing_rights() -> list[str]:
    """What keeps the tests from mounting filesystems; empty when nothing does."""
    found = []
    if os.geteuid() != 0:
        found.append("root: tests mount ext4, xfs, btrfs and ZFS images (try: sudo make test)")
    elif not _effective_capabilities() >> CAP_SYS_ADMIN & 1:
        found.append("CAP_SYS_ADMIN: tests mount filesystems (a container needs --privileged)")
    for device, used in (("/dev/loop-control", "loop mounts"), ("/dev/fuse", "ZFS by zfs-fuse")):
        if not Path(device).exists():
            found.append(
                f"{device}: {used} (try: modprobe {'loop' if 'loop' in device else 'fuse'})"
            )
    if not Path("/dev/shm").is_dir():
        found.append("/dev/shm: the second filesystem of most tests (mount a tmpfs there)")
    return found


def _what_for(package: str) -> str:
    programs = (PROGRAMS | IMAGE_PROGRAMS | PLATFORM_PROGRAMS).get(package)
    if programs is not None:
        return f"program {', '.join(programs)}"
    return str(FILES.get(package, "Python's venv and ensurepip"))


def _can_make_environments() -> bool:
    try:
        import ensurepip  # noqa: F401  Debian keeps it in another package than python3
        import venv  # noqa: F401
    except ImportError:
        return False
    return True


def _effective_capabilities() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16)
    return 0


@contextmanager
def _no_services() -> Iterator[None]:
    """Keep packages from starting daemons: zfs-fuse would; the tests start their own.

    A policy that is already there is the machine's own and stays.
    """
    if POLICY.exists() and POLICY.read_text(errors="replace") != POLICY_TEXT:
        yield
        return
    POLICY.write_text(POLICY_TEXT)
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        POLICY.unlink(missing_ok=True)
