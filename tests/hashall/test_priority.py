"""Giving way to others: the one system call that has no name in libc."""

from __future__ import annotations

import pytest

from hashall.priority import call_number


@pytest.mark.parametrize(
    ("machine", "word", "number"),
    [
        ("x86_64", 8, 251),
        ("aarch64", 8, 30),
        ("armv7l", 4, 314),
        ("aarch64", 4, 314),  # the container is for armv7, the kernel is not
        ("armv8l", 4, 314),
        ("x86_64", 4, 289),
        ("s390x", 8, None),
    ],
)
def test_the_call_goes_by_the_program_and_not_by_the_kernel(
    machine: str, word: int, number: int | None
) -> None:
    assert call_number(machine, word) == number
