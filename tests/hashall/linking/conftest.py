"""What the tests of links share."""

from __future__ import annotations

import pytest
from tests.support.catalog_lab import CatalogLab
from tests.support.linking import LinkLab


@pytest.fixture
def linked(lab: CatalogLab) -> LinkLab:
    """An empty folder `linked.root` with an empty catalog."""
    return LinkLab(lab)
