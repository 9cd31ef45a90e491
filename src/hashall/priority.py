"""Give way to everybody else: for this process and those that it starts from now on."""

from __future__ import annotations

import ctypes
import os
import platform
import struct

NICE = 15
# ioprio_set(2) has no wrapper in libc.  Its number goes by the program, not by the kernel: 32-bit
# containers are common on 64-bit kernels of ARM boards, and `uname` tells the kernel's machine.
_WIDE = {"x86_64": 251, "aarch64": 30, "riscv64": 30}
_NARROW = {"i386": 289, "i686": 289, "x86_64": 289} | dict.fromkeys(
    ("armv6l", "armv7l", "armv8l", "aarch64"), 314
)
_PROCESS, _IDLE_CLASS = 1, 3 << 13


def give_way() -> bool:
    """Nice, and the disk only when nobody else wants it; False: the disk was not to be asked.

    Idle reading counts only under a scheduler that knows of it (bfq).
    """
    os.nice(NICE)
    number = call_number(platform.machine(), struct.calcsize("P"))
    if number is None:
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    return bool(libc.syscall(number, _PROCESS, 0, _IDLE_CLASS) == 0)


def call_number(machine: str, word: int) -> int | None:
    """ioprio_set's for a program whose pointers have `word` bytes; None: not known."""
    return (_WIDE if word == 8 else _NARROW).get(machine)
