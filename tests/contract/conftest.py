"""The contract runs over real and simulated clients alike."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.qbt import VERSIONS, LabClient, RealClient
from tests.support.simulated import SimulatedClient

from seedkeep.qbittorrent import QBittorrentClient, connect

SIMULATED_REFRESH_S = 0.1

CLIENTS = [
    *(
        pytest.param(("real", version), id=f"real-{version}", marks=pytest.mark.real)
        for version in VERSIONS
    ),
    *(pytest.param(("simulated", version), id=f"simulated-{version}") for version in VERSIONS),
]


def make_client(kind: str, version: str, password: str = "") -> RealClient | SimulatedClient:
    if kind == "real":
        return RealClient(version, password=password)
    return SimulatedClient(version, password=password, refresh_s=SIMULATED_REFRESH_S)


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest) -> Iterator[LabClient]:
    kind, version = request.param
    with make_client(kind, version) as running:
        yield running


@pytest.fixture(params=CLIENTS)
def guarded(request: pytest.FixtureRequest) -> Iterator[LabClient]:
    """A client that wants user name and password, from loopback too."""
    kind, version = request.param
    with make_client(kind, version, password="right horse") as running:
        yield running


@pytest.fixture
def product(client: LabClient) -> Iterator[QBittorrentClient]:
    connected = connect(client.url, timeout_s=20)
    yield connected
    connected.close()


@pytest.fixture
def simulated_product() -> Iterator[QBittorrentClient]:
    """For what must not even be sent."""
    with SimulatedClient("5.1", refresh_s=SIMULATED_REFRESH_S) as running:
        connected = connect(running.url, timeout_s=20)
        yield connected
        connected.close()


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """A folder on the disk: one filesystem."""
    return tmp_path


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder in memory: another filesystem."""
    folder = Path(tempfile.mkdtemp(prefix="contract-", dir="/dev/shm"))
    yield folder
    shutil.rmtree(folder)
