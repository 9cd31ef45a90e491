"""Tests of whole relocations run on both versions of the real client."""

from __future__ import annotations

import pytest
from tests.support.qbt import VERSIONS


@pytest.fixture(
    scope="module",
    params=[
        # One worker has all tests of one version, so that each version's client starts once.
        pytest.param(version, marks=pytest.mark.xdist_group(f"client-{version}"))
        for version in VERSIONS
    ],
)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)
