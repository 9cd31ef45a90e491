"""What holds for every test: it sees nothing of the person who runs it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import coverage
import pytest
from hypothesis import settings
from tests.support import warm_programs

# A machine that runs several qBittorrents makes single examples slow now and then.
settings.register_profile("seedkeep", deadline=None, print_blob=True)
settings.load_profile("seedkeep")

OWN_PREFIXES = ("HASHALL_", "REHOME_", "QBT_RULES_")
COLOUR = ("NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE")
# Days with real clients and kills, and what happens at every single step, go through lines that
# smaller tests have been through.  Watching them costs half of their time again, and a package that
# needs them for its coverage lacks tests.
UNMEASURED = ("real", "chaos", "slow", "repeated")
PROCESSES = ("COVERAGE_PROCESS_CONFIG", "COVERAGE_PROCESS_START")  # what makes programs measured
_made: list[Path] = []


def pytest_configure(config: pytest.Config) -> None:
    """Give the whole run a home of its own, so that no test finds a real ~/.hashall."""
    warm_programs.use()
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
    warm_programs.end()
    for home in _made:
        shutil.rmtree(home, ignore_errors=True)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    measuring = coverage.Coverage.current()
    if measuring is None or not any(item.get_closest_marker(name) for name in UNMEASURED):
        yield
        return
    with _unmeasured(measuring):
        yield


@contextmanager
def _unmeasured(measuring: coverage.Coverage) -> Iterator[None]:
    kept = {name: os.environ.pop(name) for name in PROCESSES if name in os.environ}
    measuring.stop()
    try:
        yield
    finally:
        measuring.start()
        os.environ.update(kept)
