"""The end of a program that made very many values."""

from __future__ import annotations

import subprocess
import sys

import pytest

VALUES = """
import os
from seedkeep.collector import end_quickly, keep_to_the_end, without_collector
class Value:
    def __del__(self, write=os.write):  # at the end of a process little else works
        write(1, b"freed\\n")
with without_collector():
    value = Value()
    value.itself = value
    {keep}
    del value
{end}
os.write(1, b"the end\\n")
"""


@pytest.mark.parametrize(
    ("keep", "end", "said"),
    [
        ("", "", "the end\nfreed\n"),
        ("", "end_quickly()", "the end\n"),
        ("keep_to_the_end(value)", "end_quickly()", "the end\n"),
        ("value.itself = None", "end_quickly()", "freed\nthe end\n"),
        ("value.itself = None; keep_to_the_end(value)", "end_quickly()", "the end\n"),
    ],
)
def test_what_is_alive_at_a_quick_end_is_left_to_the_system(keep: str, end: str, said: str) -> None:
    code = VALUES.format(keep=keep, end=end)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == (said, "")
