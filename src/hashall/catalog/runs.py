"""The journal's tables: runs and their steps.  States move along arrows, and the WHERE says so."""

from __future__ import annotations

import enum
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from seedkeep import clock
from seedkeep.errors import SeedError
from seedkeep.sqlite import Database, Row, transaction


class RunStatus(enum.Enum):
    OPEN = "open"
    COMMITTED = "committed"
    RETIRED = "retired"
    ROLLED_BACK = "rolled-back"


class StepState(enum.Enum):
    PLANNED = "planned"
    INTENDED = "intended"
    DONE = "done"
    UNDONE = "undone"


BEFORE: dict[StepState, tuple[StepState, ...]] = {
    # Undone and begun again: a run that is resumed takes its switch back first.
    StepState.INTENDED: (StepState.PLANNED, StepState.INTENDED, StepState.UNDONE),
    StepState.DONE: (StepState.INTENDED,),
    StepState.UNDONE: (StepState.INTENDED, StepState.DONE, StepState.UNDONE),
}
RUN_BEFORE: dict[RunStatus, RunStatus] = {
    RunStatus.COMMITTED: RunStatus.OPEN,
    RunStatus.ROLLED_BACK: RunStatus.OPEN,
    RunStatus.RETIRED: RunStatus.COMMITTED,
}


class WrongState(SeedError):
    """The journal is not where this process believed; another one may have moved it."""

    code = "journal"


@dataclass(frozen=True)
class StepRow:
    seq: int
    step: dict[str, Any]
    state: StepState
    intended_at: str | None
    done_at: str | None
    undone_at: str | None
    error: str


@dataclass(frozen=True, kw_only=True)
class RunRow:
    run_id: int
    kind: str
    plan_id: str
    plan: dict[str, Any]
    status: RunStatus
    actor: str
    reason: str
    started_at: str
    ended_at: str | None
    retain_s: int
    retire_at: str | None
    retired_at: str | None
    bytes_freed: int | None
    note: str
    undoes: int | None = None  # the committed run that this one takes back
    checks: dict[str, Any] = field(default_factory=dict)  # asked for; whoever resumes has to do it


@dataclass(frozen=True)
class RunTable:
    db: Database

    def begin(
        self,
        *,
        kind: str,
        plan_id: str,
        plan: dict[str, Any],
        steps: Sequence[dict[str, Any]],
        torrents: Sequence[str],
        actor: str,
        reason: str,
        retain_s: int,
        undoes: int | None = None,
        checks: dict[str, Any] | None = None,
    ) -> int:
        """Write a run with all its steps; durable when this returns."""
        now = clock.iso(clock.now())
        with transaction(self.db):
            self.db.execute(
                """
                INSERT INTO runs
                       (kind, plan_id, plan, status, actor, reason, retain_s, started_at, undoes,
                        checks)
                VALUES (?, ?, ?, 'open', ?, ?, ?, ?, ?, ?)
                """,
                (
                    *(kind, plan_id, json.dumps(plan), actor, reason, retain_s, now, undoes),
                    json.dumps(checks or {}),
                ),
            )
            run_id = self.db.last_insert_rowid()
            self.db.executemany(
                "INSERT INTO run_torrents VALUES (?, ?)", [(run_id, t) for t in torrents]
            )
            self.db.executemany(
                "INSERT INTO run_steps (run_id, seq, step, state) VALUES (?, ?, ?, 'planned')",
                [(run_id, seq, json.dumps(step)) for seq, step in enumerate(steps)],
            )
        return run_id

    def move_step(self, run_id: int, seq: int, to: StepState) -> None:
        now = clock.iso(clock.now())
        row = self.db.one(
            f"""
            UPDATE run_steps SET state = :to, {to.value}_at = :now, error = ''
             WHERE run_id = :run AND seq = :seq
               AND state IN (SELECT value FROM json_each(:before))
               AND (SELECT status FROM runs WHERE run_id = :run) = 'open'
            RETURNING seq
            """,
            {
                "to": to.value,
                "now": now,
                "run": run_id,
                "seq": seq,
                "before": json.dumps([state.value for state in BEFORE[to]]),
            },
        )
        if row is None:
            raise WrongState(f"step {seq} of run {run_id} cannot become {to.value} now")

    def note_error(self, run_id: int, seq: int, error: str) -> None:
        self.db.execute(
            "UPDATE run_steps SET error = ? WHERE run_id = ? AND seq = ?", (error, run_id, seq)
        )

    def end(
        self,
        run_id: int,
        to: RunStatus,
        *,
        retire_at: datetime | None = None,
        note: str = "",
    ) -> None:
        stamp = "retired_at" if to is RunStatus.RETIRED else "ended_at"
        row = self.db.one(
            f"""
            UPDATE runs SET status = :to, {stamp} = :now,
                   retire_at = coalesce(:retire_at, retire_at),
                   note = iif(:note = '', note, :note)
             WHERE run_id = :run AND status = :before RETURNING run_id
            """,
            {
                "to": to.value,
                "now": clock.iso(clock.now()),
                "retire_at": clock.iso(retire_at) if retire_at else None,
                "note": note,
                "run": run_id,
                "before": RUN_BEFORE[to].value,
            },
        )
        if row is None:
            raise WrongState(f"run {run_id} cannot become {to.value} now")

    def add_freed(self, run_id: int, freed: int) -> None:
        """Count bytes that left stash; retiring may take several tries."""
        self.db.execute(
            "UPDATE runs SET bytes_freed = coalesce(bytes_freed, 0) + ? WHERE run_id = ?",
            (freed, run_id),
        )

    def note(self, run_id: int, note: str) -> None:
        self.db.execute("UPDATE runs SET note = ? WHERE run_id = ?", (note, run_id))

    def get(self, run_id: int) -> RunRow | None:
        row = self.db.one("SELECT * FROM runs WHERE run_id = ?", (run_id,))
        return _run(row) if row else None

    def all(self) -> list[RunRow]:
        return [_run(row) for row in self.db.all("SELECT * FROM runs ORDER BY run_id")]

    def open(self) -> list[RunRow]:
        """Those that are under way or were interrupted, oldest first."""
        return [
            _run(row)
            for row in self.db.all("SELECT * FROM runs WHERE status = 'open' ORDER BY run_id")
        ]

    def torrents(self, run_id: int) -> tuple[str, ...]:
        """The torrents that a run is about, by their keys."""
        return tuple(
            key
            for (key,) in self.db.tuples(
                "SELECT torrent_hash FROM run_torrents WHERE run_id = ? ORDER BY torrent_hash",
                (run_id,),
            )
        )

    def undone_by(self, run_id: int) -> int | None:
        """The run that took this one back, or is about to."""
        row = self.db.one(
            "SELECT run_id FROM runs WHERE undoes = ? AND status <> 'rolled-back'", (run_id,)
        )
        return int(row["run_id"]) if row else None

    def steps(self, run_id: int) -> list[StepRow]:
        rows = self.db.all("SELECT * FROM run_steps WHERE run_id = ? ORDER BY seq", (run_id,))
        return [
            StepRow(
                seq=row["seq"],
                step=json.loads(row["step"]),
                state=StepState(row["state"]),
                intended_at=row["intended_at"],
                done_at=row["done_at"],
                undone_at=row["undone_at"],
                error=row["error"],
            )
            for row in rows
        ]

    def unfinished(self) -> list[tuple[int, RunStatus, str]]:
        """(run, status, torrent) of every run that is open, or whose source is still kept."""
        rows = self.db.tuples("""
            SELECT run_id, status, torrent_hash FROM runs JOIN run_torrents USING (run_id)
             WHERE status IN ('open', 'committed') ORDER BY run_id, torrent_hash
        """)
        return [(run_id, RunStatus(status), torrent) for run_id, status, torrent in rows]

    def unfinished_with(self, torrents: Sequence[str]) -> list[tuple[int, RunStatus]]:
        """Runs on one of these torrents that are open, or whose source is still kept."""
        rows = self.db.tuples(
            """
            SELECT DISTINCT run_id, status FROM runs JOIN run_torrents USING (run_id)
             WHERE status IN ('open', 'committed')
               AND torrent_hash IN (SELECT value FROM json_each(?))
             ORDER BY run_id
            """,
            (json.dumps(list(torrents)),),
        )
        return [(run_id, RunStatus(status)) for run_id, status in rows]


def _run(row: Row) -> RunRow:
    return RunRow(
        run_id=row["run_id"],
        kind=row["kind"],
        plan_id=row["plan_id"],
        plan=json.loads(row["plan"]),
        status=RunStatus(row["status"]),
        actor=row["actor"],
        reason=row["reason"],
        started_at=row["started_at"],
        ended_at=row["ended_at"],
        retain_s=row["retain_s"],
        retire_at=row["retire_at"],
        retired_at=row["retired_at"],
        bytes_freed=row["bytes_freed"],
        note=row["note"],
        undoes=row["undoes"],
        checks=json.loads(row["checks"]),
    )
