"""What the tests of the catalog share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.catalog_lab import CatalogLab


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[CatalogLab]:
    """An empty folder `lab.root` with an empty catalog."""
    made = CatalogLab(tmp_path)
    yield made
    made.close()
