"""Which build this is: version, commit, date.

An image says commit and date in two variables, a wheel that was made for others in `build.json`
beside this module, a checkout in its `.git`, which is read without running git.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import seedkeep
from seedkeep.settings import environment
from seedkeep.text import printable

COMMIT_VARIABLE, DATE_VARIABLE = "SEEDKEEP_COMMIT", "SEEDKEEP_BUILD_DATE"
NOTE = "build.json"  # {"git_commit": "…", "build_date": "…"}
UNKNOWN = "unknown"
LONGEST = 64  # characters of either
SHOWN_DIGITS = 12
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


@dataclass(frozen=True)
class Build:
    version: str
    commit: str  # "unknown" when nothing says it
    date: str | None  # as whoever built it wrote it; a checkout has none

    def __str__(self) -> str:
        commit = self.commit[:SHOWN_DIGITS] if _COMMIT.fullmatch(self.commit) else self.commit
        return f"{self.version} (commit {commit}, built {self.date or UNKNOWN})"


def this_build() -> Build:
    here = Path(seedkeep.__file__).parent
    note = _note(here / NOTE)
    return Build(
        version=seedkeep.__version__,
        commit=_said(environment().get(COMMIT_VARIABLE))
        or _said(note.get("git_commit"))
        or (commit_of_checkout(here.parent.parent) if here.parent.name == "src" else "")
        or UNKNOWN,
        date=_said(environment().get(DATE_VARIABLE)) or _said(note.get("build_date")) or None,
    )


def commit_of_checkout(root: Path) -> str:
    """The commit that is checked out in `root`; "" when its `.git` does not tell."""
    try:
        folder = _git_folder(root / ".git")
        head = (folder / "HEAD").read_text().strip()
        name = head.removeprefix("ref: ")
        found = head if name == head else _commit_of(name, folder)
    except (OSError, UnicodeDecodeError):
        return ""
    return found if _COMMIT.fullmatch(found) else ""


def _git_folder(path: Path) -> Path:
    """A worktree and a submodule have a file that names the folder."""
    if path.is_dir():
        return path
    return path.parent / path.read_text().removeprefix("gitdir: ").strip()


def _commit_of(name: str, folder: Path) -> str:
    """What a branch points to; "" when it is in neither form in which git keeps it."""
    shared = folder / "commondir"  # a worktree has its own HEAD and the branches of all
    common = folder / shared.read_text().strip() if shared.is_file() else folder
    if (common / name).is_file():
        return (common / name).read_text().strip()
    packed = common / "packed-refs"
    lines = packed.read_text().splitlines() if packed.is_file() else []
    return next((line.split(" ")[0] for line in lines if line.endswith(f" {name}")), "")


def _note(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _said(value: object) -> str:
    return printable(value.strip())[:LONGEST] if isinstance(value, str) else ""
