"""The code blocks of the documents, and what is said about each in a mark that readers do not see.

A mark is an HTML comment in the line above a block.  Every block with commands is run by a test
unless it is marked:

    <!-- not run: WHY -->       nobody runs it here; its command lines are parsed all the same
    <!-- scene: NAME -->        from here on the library is fresh, in the state of that name
    <!-- ends with: 3 -->       the exit code of its last command, where that is not 0
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
FENCE = re.compile(
    r"^(?P<marks>(?:<!--[^\n]*-->\n)*)```(?P<kind>\w*)\n(?P<text>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
MARK = re.compile(r"<!-- (not run|scene|ends with): (.*?) -->")
PROMPT = "$ "
OURS = ("hashall", "rehome", "qbt-rules")
OTHERS = (
    *("apt", "apt-get", "buildah", "cargo", "chmod", "cp", "curl", "docker", "docker-compose"),
    *("export", "git", "install", "journalctl", "make", "man", "mkdir", "mount", "openssl", "pip"),
    *("pip3", "pipx", "podman", "python", "python3", "rsync", "source", "sqlite3", "sudo"),
    *("systemctl", "wget", "zfs"),
)
# A line that a person would type, in a block that is not said to be a shell's.
TYPED = re.compile(rf"^\s*(?:[\w/~.-]*/)?(?:{'|'.join((*OURS, *OTHERS))}) \S")
SERVES = re.compile(r"^(qbt-rules (?:.*--serve\b|serve\b)[^#\n]*)(?:#.*)?$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """One fenced block of a page."""

    page: Path
    line: int  # of its opening fence, from 1
    kind: str  # the word behind the fence; "" for none
    text: str
    marks: tuple[tuple[str, str], ...]  # (word, what is said), in order

    def mark(self, word: str) -> str:
        """What a mark says; "" when the block has none of this word."""
        return dict(self.marks).get(word, "")

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @cached_property
    def script(self) -> str:
        """What a shell would be told; "" when the block has no commands."""
        if self.kind == "sh":
            return self.text
        lines = self.text.splitlines()
        if self.kind == "text" and any(line.startswith(PROMPT) for line in lines):
            return "".join(f"{line[2:]}\n" for line in lines if line.startswith(PROMPT))
        return ""

    @property
    def is_run(self) -> bool:
        return bool(self.script) and not self.mark("not run")

    def escapes(self) -> list[str]:
        """Lines that look like commands although nothing runs them and no mark says why."""
        if self.script or self.mark("not run"):
            return []
        return [line for line in self.text.splitlines() if TYPED.match(line)]


def documents() -> list[Path]:
    return sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def blocks_of(page: Path) -> Iterator[Block]:
    text = page.read_text()
    for found in FENCE.finditer(text):
        line = text.count("\n", 0, found.start("kind")) + 1
        marks = tuple((word, said) for word, said in MARK.findall(found["marks"]))
        yield Block(page, line, found["kind"], found["text"], marks)


def calls_in(script: str) -> Iterator[str]:
    """Calls of our programs in a script, each without what stands around it."""
    for line in script.replace("\\\n", " ").splitlines():
        for part in re.split(r"&&|\|\||[|;>]", line.split(" #")[0]):
            # What follows `docker compose exec` is the name of a service, which may be a program's.
            found = re.search(rf"(?:^|[\s(]|bin/)(?<!exec )((?:{'|'.join(OURS)}) [\w-].*)", part)
            if found:
                yield found[1].strip()
