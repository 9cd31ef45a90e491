"""What a person says about a filesystem: its alias, its preferred mount point, that it is gone."""

from __future__ import annotations

from dataclasses import dataclass

from seedkeep.sqlite import Database, from_db, to_db, transaction

# Tables whose rows stay when their device goes; every other row that points to it goes too.
LOOSENED = frozenset({"torrent_instances"})
# A link plan goes as a whole when one of its actions is about the device.
PLANNED = frozenset({"link_actions"})


@dataclass(frozen=True)
class Sighting:
    """Under which number and where a filesystem was mounted."""

    st_dev: int  # of that time: it names nothing tomorrow
    mount_point: str
    first_seen_at: str  # UTC, ISO-8601
    last_seen_at: str


@dataclass(frozen=True)
class Remembered:
    """What the catalog knows of a device, and would forget with it."""

    files: int  # names, also those that are gone
    payloads: int
    torrents: int  # they stay, and have no payload until the next sync
    link_plans: int
    unsettled: tuple[str, ...]  # what is under way and needs the device


@dataclass(frozen=True)
class DeviceEdits:
    db: Database

    def sightings(self, device_id: int) -> tuple[Sighting, ...]:
        """The newest first."""
        rows = self.db.tuples(
            """
            SELECT st_dev, mount_point, first_seen_at, last_seen_at FROM device_sightings
             WHERE device_id = ? ORDER BY last_seen_at DESC, mount_point
            """,
            (device_id,),
        )
        return tuple(Sighting(st_dev, from_db(p), first, last) for st_dev, p, first, last in rows)

    def set_alias(self, device_id: int, alias: str | None) -> None:
        """Raises `ConstraintFailed` when another device has it."""
        self.db.execute("UPDATE devices SET alias = ? WHERE device_id = ?", (alias, device_id))

    def set_preferred(self, device_id: int, mount_point: str | None) -> None:
        self.db.execute(
            "UPDATE devices SET preferred_mount_point = ? WHERE device_id = ?",
            (None if mount_point is None else to_db(mount_point), device_id),
        )

    def remembered(self, device_id: int) -> Remembered:
        n = int(device_id)
        row = self.db.one(
            f"""
            SELECT (SELECT count(*) FROM names_{n}),
                   (SELECT count(*) FROM payloads WHERE device_id = :d),
                   (SELECT count(*) FROM torrent_instances WHERE device_id = :d),
                   (SELECT count(DISTINCT plan_id) FROM link_actions
                     WHERE :d IN (source_device, target_device))
            """,
            {"d": device_id},
        )
        assert row is not None
        names, payloads, torrents, plans = row
        return Remembered(names, payloads, torrents, plans, self._unsettled(device_id))

    def _unsettled(self, device_id: int) -> tuple[str, ...]:
        runs = self.db.tuples("SELECT run_id FROM runs WHERE status = 'open' ORDER BY run_id")
        plans = self.db.tuples(
            """
            SELECT DISTINCT plan_id FROM link_actions
             WHERE :d IN (source_device, target_device) AND state IN ('intended', 'undoing')
             ORDER BY plan_id
            """,
            {"d": device_id},
        )
        return (
            *(f"run {run} is open" for (run,) in runs),
            *(f"link plan {plan} was interrupted" for (plan,) in plans),
        )

    def owned(self) -> list[tuple[str, str]]:
        """(table, column) of whatever belongs to a device, as the schema says it."""
        rows = self.db.tuples(
            """
            SELECT m.name, f."from" FROM sqlite_schema AS m, pragma_foreign_key_list(m.name) AS f
             WHERE m.type = 'table' AND f."table" = 'devices' ORDER BY m.name
            """
        )
        return [(table, column) for table, column in rows if table not in LOOSENED | PLANNED]

    def forget(self, device_id: int) -> None:
        """Remove a device with everything that is known of it."""
        n = int(device_id)
        with transaction(self.db):
            # Else the order of the tables would have to follow what refers to what.
            self.db.execute("PRAGMA defer_foreign_keys = ON")
            self.db.execute(
                """
                UPDATE torrent_instances
                   SET device_id = NULL, payload_id = NULL, place_print = '',
                       problem = 'its filesystem was forgotten: run `hashall payload sync`'
                 WHERE device_id = :d
                    OR payload_id IN (SELECT payload_id FROM payloads WHERE device_id = :d)
                """,
                {"d": device_id},
            )
            self.db.execute(
                "UPDATE torrent_instances SET proved_device = NULL, proved_hash = NULL"
                " WHERE proved_device = ?",
                (device_id,),
            )
            self.db.execute(
                """
                DELETE FROM link_plans WHERE plan_id IN (
                    SELECT plan_id FROM link_actions WHERE :d IN (source_device, target_device))
                """,
                {"d": device_id},
            )
            for table, column in self.owned():
                self.db.execute(f"DELETE FROM {table} WHERE {column} = ?", (device_id,))
            self.db.execute("DELETE FROM devices WHERE device_id = ?", (device_id,))
            self.db.execute(f"DROP VIEW IF EXISTS files_{n}")
            for kind in ("names", "inodes", "dirs"):
                self.db.execute(f"DROP TABLE IF EXISTS {kind}_{n}")
