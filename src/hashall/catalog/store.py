"""Opening the catalog."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from seedkeep.errors import Misused
from seedkeep.migrations import WrongSchema, current_version, migrate, pending
from seedkeep.sqlite import (
    DamagedDatabase,
    Database,
    DatabaseError,
    MissingDatabase,
    open_database,
)

if TYPE_CHECKING:
    from hashall.catalog.devices import DeviceTable
    from hashall.catalog.files import FileTable
    from hashall.catalog.inventory import InventoryTable
    from hashall.catalog.links import LinkTable
    from hashall.catalog.links_groups import LinkGroups
    from hashall.catalog.links_names import LinkedNames
    from hashall.catalog.payload_questions import PayloadQuestions
    from hashall.catalog.payloads import PayloadTable
    from hashall.catalog.runs import RunTable
    from hashall.catalog.scans import ScanTable

MIGRATIONS = "hashall.catalog.sql"


@dataclass(frozen=True)
class Catalog:
    """catalog.db, one attribute for each group of tables, imported when it is asked for."""

    db: Database

    @cached_property
    def devices(self) -> DeviceTable:
        from hashall.catalog.devices import DeviceTable

        return DeviceTable(self.db)

    @cached_property
    def payloads(self) -> PayloadTable:
        from hashall.catalog.payloads import PayloadTable

        return PayloadTable(self.db)

    @cached_property
    def payload_questions(self) -> PayloadQuestions:
        from hashall.catalog.payload_questions import PayloadQuestions

        return PayloadQuestions(self.db)

    @cached_property
    def inventory(self) -> InventoryTable:
        from hashall.catalog.inventory import InventoryTable

        return InventoryTable(self.db)

    @cached_property
    def scans(self) -> ScanTable:
        from hashall.catalog.scans import ScanTable

        return ScanTable(self.db)

    @cached_property
    def runs(self) -> RunTable:
        from hashall.catalog.runs import RunTable

        return RunTable(self.db)

    @cached_property
    def links(self) -> LinkTable:
        from hashall.catalog.links import LinkTable

        return LinkTable(self.db)

    @cached_property
    def linked_names(self) -> LinkedNames:
        from hashall.catalog.links_names import LinkedNames

        return LinkedNames(self.db)

    @cached_property
    def link_groups(self) -> LinkGroups:
        from hashall.catalog.links_groups import LinkGroups

        return LinkGroups(self.db)

    def files(self, device_id: int) -> FileTable:
        from hashall.catalog.files import FileTable

        return FileTable(self.db, device_id)

    def __enter__(self) -> Catalog:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.db.close()


class EmptyCatalog(Misused):
    """The file is there and has nothing in it."""

    code = "catalog-empty"


def open_catalog(path: Path, *, create: bool) -> Catalog:
    """Open catalog.db and bring its schema up to date.

    Raises:
        Misused: It does not exist, or is empty, and `create` is False.
        SeedError: It is damaged, of another program or from a newer version (it was not touched),
            or on a filesystem SQLite cannot trust.
    """
    check_catalog_file(path, may_be_empty=create)
    try:
        db = open_database(path, create=create)
    except MissingDatabase as why:
        raise Misused(
            f"there is no catalog at {path}",
            hint="make one with: hashall scan PATH…  (or name another with --db)",
        ) from why
    try:
        migrate(db, MIGRATIONS)
    except BaseException:
        db.close()
        raise
    return Catalog(db)


def check_catalog_file(path: Path, *, may_be_empty: bool) -> None:
    """Raise for a file that is no catalog of ours before anything could be written to it."""
    path = path.expanduser().absolute()
    if not path.is_file():
        return  # what opens it says what it is
    known = path.stat().st_size > 0 and _is_catalog(path)
    if not known and not may_be_empty:
        raise EmptyCatalog(
            f"the catalog {path} is empty",
            detail="it was cut off, or its first scan was killed at once",
            hint="restore a backup, or begin anew: hashall scan PATH…",
        )
    if not known:
        logging.getLogger(__name__).warning("%s was empty: a new catalog begins", path)


def _is_catalog(path: Path) -> bool:
    """False for a database without anything in it; raises for one of another program."""
    try:
        with open_database(path, readonly=True) as db:
            pending(db, MIGRATIONS)
            return current_version(db) > 0
    except (WrongSchema, DamagedDatabase):
        raise
    except DatabaseError:
        return True  # a read-only look cannot finish what a kill left; the real opening can
