"""The platforms that the container image is made for, and what runs another one's programs here.

The kernel hands a program of another processor to qemu-user: binfmt_misc knows it by its first
bytes.  With the flag F the emulator was opened when it was registered, so it need not lie in the
container.
"""

from __future__ import annotations

import platform as this_machine
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from scripts.steps import SetupError

REGISTERED = Path("/proc/sys/fs/binfmt_misc")


@dataclass(frozen=True)
class Platform:
    """One kind of machine under each of its names."""

    name: str  # in the documentation and in the cache folder
    debian: str
    image: str  # in the workflow, for buildah and for Docker: linux/ARCH[/VARIANT]
    machine: str  # what `uname -m` says there, and what wheels carry in their names
    qemu: str  # in the name of the emulator
    elf: int  # e_machine of its programs
    compiled: tuple[str, ...] = ()  # pins that have no wheel; pip makes one in the build stage

    @property
    def architecture(self) -> str:
        return self.image.split("/")[1]

    @property
    def variant(self) -> str:
        """v7, or nothing."""
        return "".join(self.image.split("/")[2:])


PLATFORMS = (
    Platform("amd64", "amd64", "linux/amd64", "x86_64", "x86_64", 62),
    Platform("arm64", "arm64", "linux/arm64", "aarch64", "aarch64", 183),
    Platform("armv7", "armhf", "linux/arm/v7", "armv7l", "arm", 40, ("pyyaml", "regex")),
)


def foreign() -> tuple[Platform, ...]:
    """Those that this machine is not."""
    return tuple(p for p in PLATFORMS if p.machine != this_machine.machine())


def runs_here(platform: Platform) -> bool:
    """Whether the kernel starts programs of `platform`, in a container too."""
    try:
        rows = (REGISTERED / f"qemu-{platform.qemu}").read_text().splitlines()
    except OSError:
        return False
    flags = next((row.removeprefix("flags:") for row in rows if row.startswith("flags:")), "")
    return "enabled" in rows and "F" in flags


def switch_on(platform: Platform) -> None:
    """Register the emulator, which stays until the machine is started anew; root only.

    Debian's package does it when it is installed, but not in a container.

    Raises:
        SetupError: The kernel does not take it.
    """
    if runs_here(platform):
        return
    said = []
    for command in (
        ["mount", "-t", "binfmt_misc", "binfmt_misc", str(REGISTERED)],
        ["update-binfmts", "--import", f"qemu-{platform.qemu}"],
        ["update-binfmts", "--enable", f"qemu-{platform.qemu}"],
    ):
        if command[0] == "mount" and (REGISTERED / "register").exists():
            continue
        if shutil.which(command[0]) is None:
            raise SetupError(f"{command[0]} is missing: install qemu-user-static, binfmt-support")
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        said += [f"  {line}" for line in (done.stdout + done.stderr).splitlines()]
    if not runs_here(platform):
        raise SetupError(
            "\n".join(
                [
                    f"programs for {platform.name} do not run here, not even emulated:",
                    *said,
                    f"{REGISTERED}/qemu-{platform.qemu} should be there, enabled, with flag F;",
                    "in a container the host has to register it: install qemu-user-static there",
                ]
            )
        )
