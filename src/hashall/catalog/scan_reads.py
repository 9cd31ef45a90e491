"""What a walk compares the disk with: one directory of the catalog at a time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hashall.scan_model import HashMode
from seedkeep.sqlite import Database, from_db, open_database, to_db

if TYPE_CHECKING:
    from hashall.model import RelPath

# (name, inode, size, mtime_ns, ctime_ns, nlink, has any hash, lacks the wanted hash)
KnownRow = tuple[str, int, int, int, int, int, int, int]

# A racy hash was taken in the very moment of the file's last change.
_LACKS = {
    HashMode.FULL: "(i.sha256 IS NULL OR i.racy)",
    # Samples cannot clear the doubt about a SHA-256, so a racy one waits for a full scan.
    HashMode.FAST: "(i.sha256 IS NULL AND (i.quick_hash IS NULL OR i.racy))",
}
_LACKS[HashMode.UPGRADE] = _LACKS[HashMode.FAST]


def lacks_hash(mode: HashMode) -> str:
    """SQL over `inodes_<n> AS i`: the inode has to be read for this mode."""
    return _LACKS[mode]


@dataclass
class KnownFolder:
    dir_id: int
    names: dict[str, KnownRow]
    dirs: dict[str, int]


class CatalogView:
    """The catalog as it was when the walk began, whatever is written meanwhile.

    All walkers of a place take theirs before the first write, so what counts as new or changed
    does not depend on who was quicker.
    """

    def __init__(self, catalog: str, device_id: int, mode: HashMode) -> None:
        self._db: Database = open_database(Path(catalog), create=False, readonly=True)
        n = int(device_id)
        self._dir = f"SELECT dir_id FROM dirs_{n} WHERE path = ?"
        self._names = f"""
            SELECT n.name, n.inode, i.size, i.mtime_ns, i.ctime_ns, i.nlink,
                   i.sha256 IS NOT NULL OR i.quick_hash IS NOT NULL, {lacks_hash(mode)}
              FROM names_{n} AS n JOIN inodes_{n} AS i USING (inode)
             WHERE n.dir_id = ? AND n.gone_at IS NULL
        """
        self._dirs = f"SELECT path, dir_id FROM dirs_{n} WHERE parent_id = ?"
        self._db.script("BEGIN")
        self._db.one("SELECT 1 FROM sqlite_schema")  # the snapshot is taken by the first read

    def folder(self, relpath: RelPath) -> KnownFolder | None:
        """None: the catalog does not know this directory, nor anything below it."""
        row = next(self._db.tuples(self._dir, (to_db(relpath),)), None)
        if row is None:
            return None
        dir_id: int = row[0]
        names = {
            known[0] if type(known[0]) is str else from_db(known[0]): known
            for known in self._db.tuples(self._names, (dir_id,))
        }
        dirs = {
            from_db(path).rpartition("/")[2]: child
            for path, child in self._db.tuples(self._dirs, (dir_id,))
        }
        return KnownFolder(dir_id, names, dirs)

    def close(self) -> None:
        self._db.close()
