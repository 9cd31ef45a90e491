"""Plans of links and their actions.  States move along arrows, and the WHERE says so."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from hashall.linking.model import (
    Action,
    ActionState,
    FileAt,
    Kind,
    Plan,
    PlanStatus,
    Total,
)
from hashall.model import RelPath
from seedkeep import clock
from seedkeep.errors import Refused
from seedkeep.sqlite import Database, Row, from_db, to_db

_DOABLE = "('HARDLINK', 'DELETE')"
BEFORE: dict[PlanStatus, tuple[PlanStatus, ...]] = {
    PlanStatus.APPROVED: (PlanStatus.PENDING,),
    PlanStatus.CANCELLED: (PlanStatus.PENDING, PlanStatus.APPROVED, PlanStatus.RUNNING),
    PlanStatus.RUNNING: (PlanStatus.PENDING, PlanStatus.APPROVED, PlanStatus.RUNNING),
    PlanStatus.EXECUTED: (PlanStatus.RUNNING,),
}
ACTION_BEFORE: dict[ActionState, tuple[ActionState, ...]] = {
    ActionState.PLANNED: (ActionState.INTENDED,),  # a crash came before its first change
    ActionState.INTENDED: (ActionState.PLANNED,),
    ActionState.DONE: (ActionState.INTENDED, ActionState.UNDOING),
    ActionState.SKIPPED: (ActionState.PLANNED, ActionState.INTENDED),
    ActionState.UNDOING: (ActionState.DONE,),
    ActionState.UNDONE: (ActionState.UNDOING,),
}


class WrongPlanState(Refused):
    """The plan is cancelled, executed or running: it cannot become what was asked."""

    code = "plan-state"


@dataclass(frozen=True)
class Settled:
    """What became of an action, as it is to be written."""

    seq: int
    state: ActionState
    reason: str = ""
    detail: str = ""
    bytes_saved: int | None = None


@dataclass(frozen=True)
class LinkTable:
    db: Database

    # -- plans

    def create(self, name: str, options: dict[str, Any], actor: str) -> int:
        self.db.execute(
            "INSERT INTO link_plans (name, status, options, actor, created_at)"
            " VALUES (?, 'pending', ?, ?, ?)",
            (name, json.dumps(options), actor, clock.iso(clock.now())),
        )
        return self.db.last_insert_rowid()

    def add(self, plan_id: int, actions: Iterable[Action]) -> None:
        self.db.executemany(
            f"INSERT INTO link_actions VALUES (?{', ?' * 20}, NULL)",
            (_row_of(plan_id, action) for action in actions),
        )

    def move(self, plan_id: int, to: PlanStatus, *, actor: str = "") -> None:
        """Raises `WrongPlanState` where no arrow leads to `to`."""
        stamps = {
            PlanStatus.APPROVED: ", approved_at = :now, approved_by = :actor",
            PlanStatus.RUNNING: ", started_at = coalesce(started_at, :now)",
            PlanStatus.EXECUTED: ", ended_at = :now",
            PlanStatus.CANCELLED: ", ended_at = :now",
        }
        row = self.db.one(
            f"""
            UPDATE link_plans SET status = :to {stamps[to]}
             WHERE plan_id = :id AND status IN (SELECT value FROM json_each(:before))
            RETURNING plan_id
            """,
            {
                "to": to.value,
                "id": plan_id,
                "now": clock.iso(clock.now()),
                "actor": actor,
                "before": json.dumps([status.value for status in BEFORE[to]]),
            },
        )
        if row is None:
            plan = self.get(plan_id)
            status = plan.status.value if plan else "gone"
            cannot = "already" if status == to.value else f"and cannot become {to.value}"
            raise WrongPlanState(
                f"plan {plan_id} is {status} {cannot}",
                hint="make a new plan: hashall link plan NAME",
            )

    def is_cancelled(self, plan_id: int) -> bool:
        """As of this moment: another process may have done it."""
        cancelled = PlanStatus.CANCELLED.value
        query = "SELECT 1 FROM link_plans WHERE plan_id = ? AND status = ?"
        return self.db.one(query, (plan_id, cancelled)) is not None

    def note(self, plan_id: int, note: str) -> None:
        self.db.execute("UPDATE link_plans SET note = ? WHERE plan_id = ?", (note, plan_id))

    def get(self, plan_id: int) -> Plan | None:
        row = self.db.one("SELECT * FROM link_plans WHERE plan_id = ?", (plan_id,))
        return self._plan(row) if row else None

    def all(self, *states: PlanStatus) -> list[Plan]:
        """In their order; with states, those that are in one of them."""
        rows = self.db.all(
            """
            SELECT * FROM link_plans
             WHERE :states = '[]' OR status IN (SELECT value FROM json_each(:states))
             ORDER BY plan_id
            """,
            {"states": json.dumps([state.value for state in states])},
        )
        return [self._plan(row) for row in rows]

    def _plan(self, row: Row) -> Plan:
        kinds = {kind.value: Total() for kind in Kind}
        states = {state.value: 0 for state in ActionState}
        to_save = saved = 0
        for kind, state, count, size, planned, freed in self.db.tuples(
            """
            SELECT kind, state, count(*), sum(size), sum(bytes_to_save),
                   coalesce(sum(bytes_saved), 0)
              FROM link_actions WHERE plan_id = ? GROUP BY kind, state
            """,
            (row["plan_id"],),
        ):
            passed_over = kind in ("SKIP", "NOOP")
            before = kinds[kind]
            kinds[kind] = Total(
                before.count + count, before.bytes + (size if passed_over else planned)
            )
            saved += freed
            if not passed_over:
                states[state] += count
            if kind == "HARDLINK":
                to_save += planned
        return Plan(
            plan_id=row["plan_id"],
            name=row["name"],
            status=PlanStatus(row["status"]),
            options=json.loads(row["options"]),
            actor=row["actor"],
            created_at=row["created_at"],
            approved_at=row["approved_at"],
            approved_by=row["approved_by"],
            started_at=row["started_at"],
            ended_at=row["ended_at"],
            note=row["note"],
            actions=kinds,
            states=states,
            bytes_to_save=to_save,
            bytes_saved=saved,
        )

    # -- actions

    def actions(
        self,
        plan_id: int,
        *,
        states: Sequence[ActionState] = tuple(ActionState),
        kinds: Sequence[Kind] = tuple(Kind),
        limit: int | None = None,
    ) -> list[Action]:
        rows = self.db.all(
            """
            SELECT * FROM link_actions WHERE plan_id = ?
               AND state IN (SELECT value FROM json_each(?))
               AND kind IN (SELECT value FROM json_each(?))
             ORDER BY seq LIMIT ?
            """,
            (
                plan_id,
                json.dumps([state.value for state in states]),
                json.dumps([kind.value for kind in kinds]),
                -1 if limit is None else limit,
            ),
        )
        return [_action(row) for row in rows]

    def biggest(self, plan_id: int, limit: int) -> list[Action]:
        """What saves most first; then by the order of the plan."""
        rows = self.db.all(
            "SELECT * FROM link_actions WHERE plan_id = ?"
            " ORDER BY bytes_to_save DESC, kind = 'NOOP', seq LIMIT ?",
            (plan_id, limit),
        )
        return [_action(row) for row in rows]

    def unsettled(self) -> list[tuple[int, Action]]:
        """(plan, action) of everything that an interrupted run left in the middle."""
        rows = self.db.all(
            "SELECT * FROM link_actions WHERE state IN ('intended', 'undoing')"
            " ORDER BY plan_id, seq"
        )
        return [(row["plan_id"], _action(row)) for row in rows]

    def intend(self, plan_id: int, seqs: Iterable[int], to: ActionState) -> None:
        """Durable when the transaction around it is: a crash may follow."""
        now = clock.iso(clock.now())
        self.db.executemany(
            """
            UPDATE link_actions SET state = ?, changed_at = ?
             WHERE plan_id = ? AND seq = ? AND state IN (SELECT value FROM json_each(?))
            """,
            [(to.value, now, plan_id, seq, _before(to)) for seq in seqs],
        )

    def settle(self, plan_id: int, settled: Iterable[Settled]) -> None:
        now = clock.iso(clock.now())
        self.db.executemany(
            """
            UPDATE link_actions SET state = ?, reason = iif(? = '', reason, ?), detail = ?,
                   bytes_saved = ?, changed_at = ?
             WHERE plan_id = ? AND seq = ? AND state IN (SELECT value FROM json_each(?))
            """,
            [
                (
                    s.state.value,
                    s.reason,
                    s.reason,
                    s.detail,
                    s.bytes_saved,
                    now,
                    plan_id,
                    s.seq,
                    _before(s.state),
                )
                for s in settled
            ],
        )

    def passed_over(self, plan_id: int, limit: int) -> list[Action]:
        """Actions that are or were skipped, the largest files first."""
        rows = self.db.all(
            "SELECT * FROM link_actions WHERE plan_id = ? AND (kind = 'SKIP' OR state = 'skipped')"
            " ORDER BY size DESC, seq LIMIT ?",
            (plan_id, limit),
        )
        return [_action(row) for row in rows]

    def reasons(self, plan_id: int) -> dict[str, Total]:
        """Why actions were or will be skipped → how many, of how many bytes; most first."""
        rows = self.db.tuples(
            """
            SELECT reason, count(*), sum(size) FROM link_actions
             WHERE plan_id = ? AND (kind = 'SKIP' OR state = 'skipped')
             GROUP BY reason ORDER BY 2 DESC, 1
            """,
            (plan_id,),
        )
        return {reason: Total(count, size) for reason, count, size in rows}

    def groups(self, plan_id: int, limit: int) -> list[tuple[str, int, int, int, int, RelPath]]:
        """(sha256, size, links, bytes to save, device, path that stays); most bytes first."""
        rows = self.db.tuples(
            f"""
            SELECT sha256, size, count(*), sum(bytes_to_save), source_device, min(source_path)
              FROM link_actions WHERE plan_id = ? AND kind IN {_DOABLE}
             GROUP BY sha256, size, source_device
             ORDER BY 4 DESC, 1 LIMIT ?
            """,
            (plan_id, limit),
        )
        return [(*row[:5], from_db(row[5])) for row in rows]


def _before(to: ActionState) -> str:
    return json.dumps([state.value for state in ACTION_BEFORE[to]])


def _row_of(plan_id: int, a: Action) -> tuple[object, ...]:
    return (
        plan_id,
        a.seq,
        a.kind.value,
        a.state.value,
        a.sha256,
        a.size,
        a.source.device_id,
        to_db(a.source.path),
        a.source.inode,
        a.source.mtime_ns,
        a.target.device_id,
        to_db(a.target.path),
        a.target.inode,
        a.target.mtime_ns,
        a.target_mode,
        a.target_uid,
        a.target_gid,
        a.bytes_to_save,
        a.bytes_saved,
        a.reason,
        a.detail,
    )


def _file(row: Row, side: str) -> FileAt:
    return FileAt(
        row[f"{side}_device"],
        from_db(row[f"{side}_path"]),
        row[f"{side}_inode"],
        row[f"{side}_mtime_ns"],
    )


def _action(row: Row) -> Action:
    return Action(
        seq=row["seq"],
        kind=Kind(row["kind"]),
        sha256=row["sha256"],
        size=row["size"],
        source=_file(row, "source"),
        target=_file(row, "target"),
        target_mode=row["target_mode"],
        target_uid=row["target_uid"],
        target_gid=row["target_gid"],
        bytes_to_save=row["bytes_to_save"],
        reason=row["reason"],
        detail=row["detail"],
        state=ActionState(row["state"]),
        bytes_saved=row["bytes_saved"],
    )
