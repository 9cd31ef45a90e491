"""Whether something lies at a path, where a disk that fails must not look like an empty one."""

from __future__ import annotations

import errno
import os
from pathlib import Path


def lies_at(path: str | Path) -> bool:
    """False only where there surely is nothing; a disk that fails raises `OSError`.

    A name that is too long, or has a NUL in it, is nowhere.
    """
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False
    except OSError as why:
        if why.errno == errno.ENAMETOOLONG:
            return False
        raise
    return True


def may_lie_at(path: str | Path) -> bool:
    """The same, but True where nobody can say."""
    try:
        return lies_at(path)
    except OSError:
        return True


def why_unseen(path: str | Path) -> str:
    """Why nobody can say what lies there, in the system's words; "" when it can be said."""
    try:
        lies_at(path)
    except OSError as why:
        return why.strerror or str(why)
    return ""
