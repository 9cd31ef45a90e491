"""The stage of the tests that move something."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.support.gathering import Stage, stage
from tests.support.relocating import SimulatedLab, simulated_lab


@pytest.fixture
def lab() -> Iterator[SimulatedLab]:
    with simulated_lab() as made:
        yield made


@pytest.fixture
def scene() -> Iterator[Stage]:
    with stage() as made:
        yield made
