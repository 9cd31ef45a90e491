"""Whether two programs found the same duplicates, to the last file."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

Groups = set[frozenset[frozenset[str]]]  # groups → inodes → names


def of_hashall(command: Sequence[str]) -> Groups:
    """What `hashall dupes --json` lists."""
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return {
        frozenset(frozenset(copy["paths"]) for copy in group["copies"])
        for group in json.loads(done.stdout)["duplicates"]["groups"]
    }


def of_jdupes(root: Path) -> Groups:
    """What `jdupes -rq` lists, with all hardlinks (-H); groups of one inode are left out."""
    done = subprocess.run(["jdupes", "-rqH0", root], stdout=subprocess.PIPE, check=True)
    groups = set()
    for block in done.stdout.split(b"\0\0"):
        inodes: dict[int, set[str]] = {}
        for name in filter(None, block.split(b"\0")):
            inodes.setdefault(os.lstat(name).st_ino, set()).add(os.fsdecode(name))
        if len(inodes) > 1:
            groups.add(frozenset(frozenset(names) for names in inodes.values()))
    return groups
