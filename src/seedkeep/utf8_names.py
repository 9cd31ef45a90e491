"""Names of files as UTF-8, whatever the locale: the catalog and qBittorrent know them so."""

from __future__ import annotations

import os
import sys

from seedkeep.settings import environment


def require_utf8_names() -> None:
    """Begin this process anew in Python's UTF-8 mode when names have another encoding here.

    To be called before anything else: nothing that was done is kept but the process itself, with
    its arguments, environment and open files.  How Python encodes names is settled at its start;
    bytes that are no UTF-8 stay what they are, as surrogate escapes.
    """
    if sys.getfilesystemencoding() == "utf-8" or sys.flags.utf8_mode or not sys.executable:
        return
    environ = {**environment(), "PYTHONUTF8": "1"}  # for the processes that this one starts
    arguments = [sys.executable, "-X", "utf8", *sys.orig_argv[1:]]  # under -I only this one counts
    os.execve(sys.executable, arguments, environ)
