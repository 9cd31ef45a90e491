"""What the documents tell a person to type is typed here, and what they show then is compared.

The library, the client and the server are where the documents say: /srv/stash, localhost:8080,
localhost:5000.  The README's blocks are typed by `test_stranger.py`.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support.doc_blocks import PROMPT, ROOT, SERVES, Block, blocks_of, documents
from tests.support.doc_scenes import SERVER_PORT, Stage, staged
from tests.support.sealed import sealed

FIRST_SCENE = "scanned and synced"
WORD = re.compile(r"(?<![\w$%])([A-Z]{3,})(?![\w=])")
VARYING = (
    (re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z"), "TIME"),
    (re.compile(r"\S+@\S+"), "WHO"),
    (re.compile(r"(?<!\w)[0-9a-f]{6,64}(?!\w)"), "HASH"),
    (re.compile(r"[\d.]+ (?:[KMGT]i)?B\b"), "SIZE"),
    (re.compile(r"\b\d+\b"), "NUMBER"),
)
HEX = re.compile(r"(?<![\w-])[0-9a-f]{6,40}(?![\w-])")
PREPARED = """\
trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT
trap 'echo "$place: $BASH_COMMAND" >&2' ERR
wait_for_the_server() {
  for _ in $(seq 600); do
    curl -fsS "http://localhost:$1/ping" >/dev/null 2>&1 && return
    sleep 0.1
  done
  cat "$HOME/server.log"; return 1
}
"""


@dataclass(frozen=True)
class Part:
    """The blocks of a page that are typed one after another into one shell."""

    page: Path
    scene: str
    blocks: tuple[Block, ...]

    def __str__(self) -> str:
        return f"{self.page.name}:{self.blocks[0].line}"

    @property
    def script(self) -> str:
        return "".join(block.script for block in self.blocks)

    @property
    def asks_a_server(self) -> bool:
        called = "qbt-rules" in self.script or f"localhost:{SERVER_PORT}" in self.script
        return called and not SERVES.search(self.script)


def parts_of(page: Path) -> Iterator[Part]:
    scene, blocks = FIRST_SCENE, list[Block]()
    for block in filter(lambda block: block.is_run, blocks_of(page)):
        if block.mark("scene"):
            if blocks:
                yield Part(page, scene, tuple(blocks))
            scene, blocks = block.mark("scene"), []
        blocks.append(block)
    if blocks:
        yield Part(page, scene, tuple(blocks))


PARTS = [part for page in documents() if page != ROOT / "README.md" for part in parts_of(page)]


@pytest.mark.root
@pytest.mark.repeated
@pytest.mark.parametrize("part", PARTS, ids=str)
def test_what_a_page_tells_people_to_type_works_when_typed(part: Part, tmp_path: Path) -> None:
    sealed(lambda: type_it(part, tmp_path))


def type_it(part: Part, folder: Path) -> None:
    with staged(folder, part.scene, with_server=part.asks_a_server) as stage:
        script = folder / "script"
        script.write_text(PREPARED + "".join(typed(block, stage) for block in part.blocks))
        done = subprocess.run(
            ["bash", script],
            cwd=stage.work,
            env=stage.environ(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-10_000:]
        unsaid = [
            f"{block.place}: {line}"
            for block in part.blocks
            for line in shown_below_prompts(block)
            if shape(line) not in set(map(shape, done.stdout.splitlines()))
        ]
        assert unsaid == [], done.stdout[-10_000:]


def typed(block: Block, stage: Stage) -> str:
    """The block as this stage's owner would type it, followed by a look at how it ended."""
    text = HEX.sub(lambda found: known(found[0], stage), block.script)
    text = WORD.sub(lambda found: stage.words.get(found[1], found[1]), text)
    text = SERVES.sub(rf'\1 >"$HOME/server.log" 2>\&1 &\nwait_for_the_server {SERVER_PORT}', text)
    code = block.mark("ends with")
    if not code:
        return f"place={block.place}\nset -e\n{text}\nset +e\n"
    looked = f'[ "$code" = {code} ] || {{ echo "$place ended with $code" >&2; exit 1; }}'
    return f"place={block.place}\n{text}\ncode=$?\n{looked}\n"


def known(digits: str, stage: Stage) -> str:
    """A torrent's hash in the documents as the hash of that torrent here, equally long."""
    return stage.hashes.get(digits[:6], digits)[: len(digits)]


def shown_below_prompts(block: Block) -> list[str]:
    """Lines that a page shows as what the commands print; an ellipsis stands for any number."""
    if block.kind != "text":
        return []
    lines = (line for line in block.text.splitlines() if not line.startswith(PROMPT))
    return [line for line in lines if line.strip() not in ("", "…")]


def shape(line: str) -> str:
    """A line without what differs from one library, moment and machine to another."""
    for pattern, name in VARYING:
        line = pattern.sub(name, line)
    return " ".join(line.split())


def test_a_line_that_is_not_printed_is_found() -> None:
    shown = "$ rehome retire 1\nrun 1: 2 torrents seed from the pool, 28.0 MiB copied\n…\n"
    block = Block(ROOT / "README.md", 1, "text", shown, ())
    (line,) = shown_below_prompts(block)
    assert shape(line) == shape("run 12:  1 torrents seed from the pool, 9 B copied")
    assert shape(line) != shape("run 12: 1 torrents seed from stash, 9 B copied")
    assert shape("a 6a1889a8d997 at 2026-11-21T17:19:48.1Z by a@b") == "a HASH at TIME by WHO"
