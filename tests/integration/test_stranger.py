"""The README is enough: its own lines, typed on a clean machine, end with bytes on the pool.

A Debian with nothing but Python; a real qBittorrent 5.1; an ext4 stash and an XFS pool.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from tests.support.clean_machine import Terminal, clean_machine, stash_and_pool
from tests.support.doc_blocks import ROOT, SERVES, Block, blocks_of
from tests.support.lab import Lab
from tests.support.qbt import RealClient, row_of, wait_for
from tests.support.sealed import sealed

MIB = 2**20
CLIENT_PORT, SERVER_PORT = 8080, 5000
CONFIG = "root/.hashall/config.yml"
README = ROOT / "README.md"


class Reader:
    """Somebody who types the README's blocks in their order, and fills in what is left to him."""

    def __init__(self, machine: Path, torrent: str) -> None:
        self.machine, self.torrent = machine, torrent
        self._blocks: Iterator[Block] = blocks_of(README)

    def next_block(self, *, kind: str, holding: str) -> str:
        """The next block of a kind; `holding` is what has to stand in it."""
        block = next(b for b in self._blocks if b.kind == kind and "make demo" not in b.text)
        assert holding in block.text, f"{block.place} was expected to have {holding!r}"
        return re.sub(r"(?<![\w%])HASH(?!\w)", self.torrent, block.text)

    def left_out(self) -> list[str]:
        """Blocks with commands behind the last one that was read."""
        return [block.place for block in self._blocks if block.is_run]


@pytest.mark.real
@pytest.mark.root
def test_a_stranger_with_the_readme_moves_a_torrent_and_has_a_rule_react(tmp_path: Path) -> None:
    sealed(lambda: walk_the_path(tmp_path))


def walk_the_path(folder: Path) -> None:
    client = RealClient("5.1", profile=folder / "client")
    client._web_port = CLIENT_PORT
    client._write_config()
    with stash_and_pool(folder), client, clean_machine(folder) as machine:
        lab = Lab(folder / "notes", Path("/srv/stash"), Path("/srv/pool"), client)
        film = lab.seed("Film.2012", {"film.mkv": 24 * MIB, "extras/cut.mkv": 4 * MIB})
        other = lab.cross_seed(film, "TRACKER-B", "cross-seed", category="cross-seed")
        kept = lab.seed("Kept.2019", {"film.mkv": 9 * MIB})
        lab.import_into_library(kept, "Kept (2019)")
        reader = Reader(machine, film)
        with Terminal(machine) as terminal, Terminal(machine) as another:
            install(reader, terminal)
            move(reader, terminal)
            check_the_move(lab, [film, other], kept)
            let_a_rule_react(reader, terminal, another, client, film)
            key = (machine / "root/qbt-rules/api-key").read_text().strip()
            let_the_client_call(reader, lab, key)
            assert reader.left_out() == []


def install(reader: Reader, terminal: Terminal) -> None:
    there = terminal.type("python3 -c 'import click' 2>&1 || echo a clean machine")
    assert "a clean machine" in there
    terminal.type(reader.next_block(kind="sh", holding="pip install --require-hashes"))
    for program in ("hashall", "rehome", "qbt-rules"):
        assert "0." in terminal.type(f"{program} --version")
    terminal.type("cd")  # plan.json goes into the home folder: the checkout is not ours to write
    terminal.type(reader.next_block(kind="sh", holding="rehome config init"))
    shown = yaml.safe_load(reader.next_block(kind="yaml", holding="pool_seeding_root"))
    written = yaml.safe_load((reader.machine / CONFIG).read_text())
    for section, lines in shown.items():
        assert lines.items() <= written[section].items()


def move(reader: Reader, terminal: Terminal) -> None:
    said = terminal.type(reader.next_block(kind="sh", holding="rehome apply plan.json --force"))
    assert "3 torrents, 3 mapped to payloads" in said
    assert "outside-link" in said, "the report says why a film stays"
    assert "run 1: 2 torrents seed from the pool, 28.0 MiB copied" in said


def check_the_move(lab: Lab, movers: list[str], kept: str) -> None:
    rows = lab.rows()
    for torrent in movers:
        row, made = rows[torrent], lab.made[torrent]
        assert row["save_path"].startswith(str(lab.pool_seeding)), row
        assert row["progress"] == 1
        assert row["state"] in ("stalledUP", "uploading"), row
        for relpath in made.paths:
            placed = Path(row["save_path"]) / relpath
            content = placed.read_bytes()
            assert len(content) > 0
            assert placed.stat().st_nlink == len(movers), "both views are one file"
            assert lab.digest(made, relpath) == hashlib.sha256(content).hexdigest()
    assert rows[kept]["save_path"].startswith(str(lab.seeding))


def let_a_rule_react(
    reader: Reader, terminal: Terminal, another: Terminal, client: RealClient, film: str
) -> None:
    lines = reader.next_block(kind="sh", holding="qbt-rules init")
    terminal.type(SERVES.sub("", lines))
    terminal.type_and_leave(SERVES.search(lines)[0])
    wait_for(healthy, f"the server: {terminal.screen()[-2000:]}", 60)
    another.type('export PATH="$HOME/.local/share/seedkeep/bin:$PATH"')
    another.type(reader.next_block(kind="sh", holding="curl -fsS -X POST"))
    wait_for(lambda: tags(client, film) == {"new"}, f"the tag: {terminal.screen()[-2000:]}", 60)


def healthy() -> bool:
    try:
        asked = requests.get(f"http://127.0.0.1:{SERVER_PORT}/api/health", timeout=5)
    except requests.ConnectionError:
        return False
    return asked.status_code == 200


def let_the_client_call(reader: Reader, lab: Lab, key: str) -> None:
    hook = reader.next_block(kind="text", holding="curl -fsS").strip().replace("KEY", key)
    lab.client.api.app_set_preferences(
        {
            "autorun_on_torrent_added_enabled": True,
            "autorun_on_torrent_added_program": hook,
        }
    )
    book = lab.seed("Book", {"book.m4b": 2 * MIB}, below="books")
    wait_for(lambda: tags(lab.client, book) == {"new"}, "the tag that the hook asked for", 60)


def tags(client: Any, torrent: str) -> set[str]:
    return set(filter(None, row_of(client.api, torrent)["tags"].split(", ")))
