from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.catalog_lab import CatalogLab

from hashall.app import App
from hashall.lock import exclusive
from hashall.scan import ScanOptions
from seedkeep.errors import Locked, Misused
from seedkeep.settings import load

LAZY = ("hashall.app", "hashall.scan", "apsw", "requests", "qbittorrentapi", "rich", "xxhash")


@pytest.fixture
def app(lab: CatalogLab) -> App:
    return App(load("hashall", {"catalog_path": str(lab.db_path)}, environ={}))


def test_help_loads_none_of_the_work() -> None:
    """Issue: `--help` answers at once on a small machine."""
    code = (
        "import sys\nfrom hashall.cli import main\n"
        "sys.argv = ['hashall', 'scan', '--help']\n"
        "try:\n    main()\nexcept SystemExit:\n    print(sorted(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = done.stdout.splitlines()[-1]

    assert "'click'" in modules
    assert [name for name in LAZY if f"'{name}'" in modules] == []


def test_a_scan_waits_for_nobody(app: App, lab: CatalogLab) -> None:
    with exclusive(lab.db_path, "rehome apply plan.json"), pytest.raises(Locked) as error:
        app.scan([lab.root], ScanOptions(), lambda _: None)

    assert error.value.detail.endswith(": rehome apply plan.json")


def test_a_scan_makes_the_catalog_and_its_folder(tmp_path: Path) -> None:
    place = tmp_path / "new" / "deep" / "catalog.db"
    app = App(load("hashall", {"catalog_path": str(place)}, environ={}))
    (tmp_path / "files").mkdir()

    app.scan([tmp_path / "files"], ScanOptions(), lambda _: None)
    app.close()

    assert place.exists()


def test_a_root_that_is_not_there_makes_nothing(tmp_path: Path) -> None:
    place = tmp_path / "new" / "catalog.db"
    app = App(load("hashall", {"catalog_path": str(place)}, environ={}))

    with pytest.raises(Misused):
        app.scan([tmp_path / "missing"], ScanOptions(), lambda _: None)

    assert list(tmp_path.iterdir()) == []
    app.close()  # of a catalog that was never opened


def test_reading_needs_no_lock(app: App, lab: CatalogLab) -> None:
    with exclusive(lab.db_path, "hashall scan /stash"):
        assert app.status().torrents == 0
    app.close()


def test_the_client_is_the_one_of_the_settings(
    lab: CatalogLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    monkeypatch.setattr(
        "seedkeep.qbittorrent.connect", lambda *given, **named: asked.append((given, named))
    )
    environ = {
        "HASHALL_QBIT_URL": "http://box:8081",
        "HASHALL_QBIT_USERNAME": "ann",
        "HASHALL_QBIT_PASSWORD": "secret",
        "HASHALL_QBIT_TIMEOUT": "5s",
    }

    App(load("hashall", {}, environ=environ)).client()

    assert asked == [(("http://box:8081", "ann", "secret"), {"timeout_s": 5.0})]
