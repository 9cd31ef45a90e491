"""What the doctor makes of facts: each thing that is wrong is told with what to do about it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.support.catalog_lab import CatalogLab
from tests.support.rules_app import KEY, RULES, Api
from tests.support.simulated import SimulatedClient
from werkzeug.serving import make_server

from qbt_rules import doctor
from qbt_rules.config import load_settings
from qbt_rules.doctor import (
    ClientFacts,
    Facts,
    FolderFacts,
    KeyFacts,
    QueueFacts,
    RulesFacts,
    ServerFacts,
)
from qbt_rules.doctor_rules import judge
from qbt_rules.health import NO_WORKER
from qbt_rules.hooks import Hook, hook_line, hooks_of
from qbt_rules.seed_data_doctor import CatalogFacts, RootFacts, look_at_seed_data
from seedkeep.diagnosis import Level, report

HOOK = Hook("on_added", "on_added", enabled=True, has_id=True, key="right", port=5000)
ROOTS = (
    RootFacts("stash", Path("/s"), "", True, "ext4:1", "ext4", 10**12),
    RootFacts("pool", Path("/p"), "", True, "ext4:2", "ext4", 10**13),
)
WELL = Facts(
    now=datetime(2026, 11, 21, 12, tzinfo=UTC),
    version="0.1.0",
    folder=FolderFacts(Path("/config"), True, True, Path("/config/config.yml"), True, ()),
    key=KeyFacts(1, 64, "QBT_RULES_SERVER_API_KEY"),
    rules=RulesFacts(Path("/config/rules.yml"), True, enabled=2, contexts=frozenset({"on_added"})),
    queue=QueueFacts("sqlite", "/config/q.db", True, True, "ext4", 10**10),
    client=ClientFacts("http://c:8080", "v5.1.0", hooks=(HOOK,)),
    server=ServerFacts("http://localhost:5000", 5000, "0.1.0", local=True),
    catalog=CatalogFacts(
        Path("/c.db"),
        exists=True,
        newest_scan="2026-11-21T10:00:00Z",
        max_scan_age=timedelta(days=1),
        torrents=7,
        layout_set=True,
        roots=ROOTS,
    ),
)


def changed(part: str, **values: Any) -> Facts:
    return replace(WELL, **{part: replace(getattr(WELL, part), **values)})


def test_where_all_is_well_nothing_has_to_be_changed() -> None:
    found = judge(WELL)
    assert found.healthy
    assert {finding.level for finding in found.findings} == {Level.OK}
    text = report(found)
    assert text.endswith("nothing has to be changed")
    assert "fix:" not in text
    assert len(text.splitlines()) <= 24


NO_SERVER: dict[str, Any] = {"version": "", "error": "nobody answers"}


@pytest.mark.parametrize(
    ("facts", "level", "said"),
    [
        (changed("folder", writable=False), Level.PROBLEM, "may not write"),
        (changed("folder", has_config=False), Level.WARNING, "no config.yml"),
        (changed("folder", open_secrets=(Path("/k"),)), Level.WARNING, "everybody"),
        (changed("key", number=0), Level.PROBLEM, "there is none"),
        (changed("key", shortest=5), Level.WARNING, "may be guessed"),
        (changed("rules", exists=False), Level.WARNING, "no such file"),
        (changed("rules", error="mistakes", detail="3: x"), Level.PROBLEM, "mistakes: 3: x"),
        (changed("rules", warnings=("old name",)), Level.WARNING, "old name"),
        (changed("queue", writable=False), Level.PROBLEM, "may not write"),
        (changed("queue", filesystem="nfs4"), Level.PROBLEM, "locks fail"),
        (changed("queue", free_bytes=10), Level.WARNING, "10 B free"),
        (changed("queue", error="Redis is away"), Level.PROBLEM, "Redis is away"),
        (changed("client", version="", error="refused"), Level.PROBLEM, "refused"),
        (changed("client", hooks=()), Level.WARNING, "does not call"),
        (changed("client", hooks=(replace(HOOK, enabled=False),)), Level.WARNING, "off"),
        (changed("client", hooks=(replace(HOOK, key="none"),)), Level.PROBLEM, "no API key"),
        (changed("client", hooks=(replace(HOOK, key="wrong"),)), Level.PROBLEM, "none of"),
        (changed("client", hooks=(replace(HOOK, asked="x"),)), Level.WARNING, "context x"),
        (changed("client", hooks=(replace(HOOK, has_id=False),)), Level.WARNING, "no torrent"),
        (changed("client", hooks=(replace(HOOK, port=1),)), Level.WARNING, "port 1"),
        (changed("server", key_error="not accepted"), Level.PROBLEM, "not accepted"),
        (changed("server", errors=("no worker",)), Level.PROBLEM, "no worker"),
        (changed("server", version="0.0.9"), Level.WARNING, "0.0.9"),
        (changed("server", **NO_SERVER, port_free=True), Level.WARNING, "is free"),
        (changed("server", **NO_SERVER, other_port=True), Level.PROBLEM, "server.port is 5000"),
        (changed("server", **NO_SERVER), Level.PROBLEM, "taken by something else"),
        (changed("server", **NO_SERVER, local=False), Level.PROBLEM, "nobody answers"),
        (changed("catalog", error="damaged"), Level.PROBLEM, "damaged"),
        (changed("catalog", error="none", exists=False), Level.WARNING, "there is none"),
        (changed("catalog", newest_scan=None), Level.WARNING, "nothing was scanned"),
        (changed("catalog", open_runs=(3, 4)), Level.WARNING, "were interrupted: run 3, 4"),
        (
            changed("catalog", newest_scan="2026-11-18T10:00:00Z"),
            Level.WARNING,
            "3d2h old, and moves ask for 1d",
        ),
        (
            changed("catalog", layout_error="no pool", layout_hint="set it", roots=()),
            Level.PROBLEM,
            "no pool",
        ),
        (changed("catalog", roots=(ROOTS[0], ROOTS[0])), Level.PROBLEM, "one filesystem"),
        (
            changed("catalog", roots=(ROOTS[0], replace(ROOTS[1], error="gone"))),
            Level.PROBLEM,
            "gone",
        ),
        (
            changed("catalog", roots=(ROOTS[0], replace(ROOTS[1], writable=False))),
            Level.PROBLEM,
            "may not write",
        ),
    ],
)
def test_what_is_wrong_is_told_with_a_fix(facts: Facts, level: Level, said: str) -> None:
    found = judge(facts)
    wrong = [finding for finding in found.findings if finding.level is not Level.OK]
    assert [(finding.level, said in finding.what) for finding in wrong] == [(level, True)]
    assert wrong[0].fix
    assert found.healthy is (level is Level.WARNING)


def test_without_a_catalog_and_without_roots_all_is_well_too() -> None:
    facts = changed("catalog", error="none", exists=False, layout_set=False, roots=())
    assert judge(facts).healthy
    assert {f.level for f in judge(facts).findings} == {Level.OK}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (hook_line("http://h:5000", "on_added").replace("KEY", KEY), HOOK),
        (
            f'curl "http://h/api/execute?key={KEY}&context=on_completed&hash=%I"',
            replace(HOOK, asked="on_completed", port=None),
        ),
        (
            'wget "http://h:80/api/execute?apikey=guess"',
            replace(HOOK, asked="", key="wrong", has_id=False, port=80),
        ),
        (
            "curl http://h:80/api/execute",
            replace(HOOK, asked="", key="none", has_id=False, port=80),
        ),
    ],
)
def test_a_hook_is_read_as_it_will_be_called(line: str, expected: Hook) -> None:
    names = {"autorun_on_torrent_added_enabled": True, "autorun_on_torrent_added_program": line}
    assert hooks_of(names, {KEY}) == (expected,)
    assert hooks_of({**names, "autorun_program": "notify-send %N"}, {KEY}) == (expected,)
    assert KEY not in repr(hooks_of(names, {KEY}))


@contextmanager
def served(app: Any) -> Iterator[str]:
    """The address of a WSGI application on loopback."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        server.shutdown()
        thread.join()


def test_the_facts_are_what_is_there(
    api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("werkzeug"), "disabled", True)
    (tmp_path / "rules.yml").write_text(RULES)

    def facts(url: str, client: str, key: str = KEY) -> Facts:
        flags = {"config.dir": tmp_path, "client.server_url": url, "qbittorrent.host": client}
        given = {name: str(value) for name, value in flags.items()}
        return doctor.gather(load_settings({**given, "server.api_key": key}))

    with SimulatedClient("5.1", refresh_s=0.1) as client, served(api.app) as url:
        found = facts(url, client.url)
        assert found.folder == FolderFacts(tmp_path, True, True, tmp_path / "config.yml", False, ())
        assert (found.key.number, found.key.shortest) == (1, len(KEY))
        assert (found.rules.enabled, found.rules.contexts) == (1, {"on_added"})
        assert (found.queue.writable, found.queue.error) == (True, "")
        assert found.client == ClientFacts(client.url, "v5.1.0")
        assert found.server.version == found.version
        assert found.server.errors == (NO_WORKER,)
        wrong = facts(url, "http://127.0.0.1:9", "some-other-key-of-the-right-length")
        assert "does not accept the API key" in wrong.server.key_error
        assert wrong.client.error == "does not answer (Connection refused)"
        assert facts(client.url, client.url).server.error == "another program answers"
    silent = facts(url, client.url).server
    assert (silent.error, silent.other_port) == ("nobody answers", True)


def test_catalog_and_roots_are_looked_at_as_rehome_would(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = CatalogLab(tmp_path)
    lab.write("stash/a", b"a")
    lab.scan()
    monkeypatch.setenv("HASHALL_DB", str(lab.catalog.db.path))
    monkeypatch.setenv("REHOME_STASH_SEEDING_ROOT", str(lab.root / "stash"))
    found = look_at_seed_data()
    assert (found.error, found.exists, found.torrents) == ("", True, 0)
    assert found.newest_scan is not None
    assert "pool_seeding_root" in found.layout_error
    monkeypatch.setenv("REHOME_POOL_SEEDING_ROOT", str(lab.root / "gone"))
    stash, pool = look_at_seed_data().roots
    assert (stash.error, stash.writable) == ("", True)
    assert stash.free_bytes > 0
    assert pool.error == "there is no such folder"
    monkeypatch.setenv("HASHALL_DB", str(tmp_path / "none.db"))
    assert look_at_seed_data().exists is False
    monkeypatch.setenv("HASHALL_CONFIG", str(tmp_path / "none.yml"))
    assert look_at_seed_data().path is None
