"""Random libraries, random plans, one fault at a random moment, and one command that ends it.

`make chaos N=200` lives so many days, FIRST=100 begins with a later one; by default it is a seeded
dozen.  A day that went wrong is lived again with CHAOS_ONLY=number.
"""

from __future__ import annotations

import os

import pytest
from tests.support.chaos import FAULTS, day, judge, live
from tests.support.qbt import VERSIONS

SEED = os.environ.get("CHAOS_SEED", "20261121")
COUNT = int(os.environ.get("CHAOS_N", "12"))
ONLY = os.environ.get("CHAOS_ONLY")
FIRST = int(os.environ.get("CHAOS_FIRST", "0"))
NUMBERS = [int(ONLY)] if ONLY else range(FIRST, COUNT)

pytestmark = [pytest.mark.chaos, pytest.mark.real, pytest.mark.root]


@pytest.mark.parametrize("number", NUMBERS)
def test_a_day_with_one_fault_ends_with_every_promise_kept(number: int) -> None:
    fault = FAULTS[number % len(FAULTS)]
    with day(f"{SEED} {number}", VERSIONS[number // len(FAULTS) % 2]) as lived:
        live(lived, fault)
        judge(lived)
