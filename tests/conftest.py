"""What holds for every test: it sees nothing of the person who runs it."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings

# A machine that runs several qBittorrents makes single examples slow now and then.
settings.register_profile("seedkeep", deadline=None, print_blob=True)
settings.load_profile("seedkeep")

OWN_PREFIXES = ("HASHALL_", "REHOME_", "QBT_RULES_")
COLOUR = ("NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE")
_made: list[Path] = []


def pytest_configure(config: pytest.Config) -> None:
    """Give the whole run a home of its own, so that no test finds a real ~/.hashall."""
    if hasattr(config, "workerinput"):
        return  # a worker inherits what the controller has set
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    os.environ.setdefault("SEEDKEEP_CACHE", str(Path(cache) / "seedkeep"))
    for name in list(os.environ):
        if name.startswith(OWN_PREFIXES) or name in COLOUR or name.startswith("XDG_"):
            del os.environ[name]
    _made.append(Path(tempfile.mkdtemp(prefix="seedkeep-home-")))
    os.environ["HOME"] = str(_made[0])


def pytest_unconfigure() -> None:
    for home in _made:
        shutil.rmtree(home, ignore_errors=True)
