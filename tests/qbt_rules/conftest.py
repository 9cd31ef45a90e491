"""The HTTP application in this process, on a real queue."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.rules_app import Api


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with Api.opened(tmp_path) as opened:
        yield opened
