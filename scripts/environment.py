"""The virtual environment in the checkout: pinned packages with hashes, then the project itself."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

from scripts.steps import run, step

STAMP = ".seedkeep-setup.json"


def is_current(root: Path) -> bool:
    return _recorded(root) == _wanted(root) and _python(root).exists()


def build(root: Path, log: Path) -> None:
    """Make `.venv` what the lock file says; cheap when only the project's own metadata changed."""
    if is_current(root):
        return
    wanted, recorded = _wanted(root), _recorded(root)
    stamp = root / ".venv" / STAMP
    if (
        any(recorded.get(key) != wanted[key] for key in ("lock", "where"))
        or not _python(root).exists()
    ):
        with step(f"virtual environment .venv, Python {wanted['python']}"):
            stamp.unlink(missing_ok=True)
            # Cleared: what an older lock file installed must not satisfy an import by accident.
            run([sys.executable, "-m", "venv", "--clear", root / ".venv"], log=log)
        with step("pinned packages of requirements/dev.txt"):
            pinned: list[str | Path] = ["--require-hashes", "-r", root / "requirements/dev.txt"]
            run([*_pip(root), *pinned], log=log)
    with step("seedkeep itself, editable"):
        # Nothing is resolved or fetched here: all of it came with its hash just before.
        itself: list[str | Path] = ["--no-deps", "--no-build-isolation", "-e", root]
        run([*_pip(root), *itself], log=log)
    stamp.write_text(json.dumps(wanted))


def _pip(root: Path) -> list[str | Path]:
    return [_python(root), "-m", "pip", "install", "-q", "--disable-pip-version-check"]


def _python(root: Path) -> Path:
    return root / ".venv/bin/python"


def _recorded(root: Path) -> dict[str, str]:
    try:
        found = json.loads((root / ".venv" / STAMP).read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _wanted(root: Path) -> dict[str, str]:
    """What the environment is made from.  An environment keeps the Python it was made with."""
    return {
        "where": str(root),  # its scripts carry this path: a copied checkout needs its own
        "python": _recorded(root).get("python") or ".".join(map(str, sys.version_info[:3])),
        "lock": _digest(root / "requirements/dev.txt"),
        "project": _digest(root / "pyproject.toml"),
    }


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
