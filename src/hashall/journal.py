"""The journal of runs: every act is written down, durably, before it happens.

A step is known here only as the JSON it was stored as; what it means is the business of whoever
planned it.  Abort and crash recovery are one code path: undo the open steps, newest first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from hashall.catalog import Catalog
from hashall.catalog.runs import RunRow, RunStatus, StepRow, StepState
from seedkeep import clock
from seedkeep.errors import Misused
from seedkeep.sqlite import transaction


@dataclass(frozen=True)
class Run:
    """One run of the journal, by its id."""

    catalog: Catalog
    run_id: int

    @property
    def row(self) -> RunRow:
        row = self.catalog.runs.get(self.run_id)
        assert row is not None  # rows are never deleted
        return row

    def steps(self) -> list[StepRow]:
        return self.catalog.runs.steps(self.run_id)

    def begun_steps(self) -> list[StepRow]:
        """Steps that may have touched the world and are not undone, oldest first."""
        return [s for s in self.steps() if s.state in (StepState.INTENDED, StepState.DONE)]

    def todo_steps(self) -> list[StepRow]:
        """Steps that are not known to be done, oldest first."""
        return [s for s in self.steps() if s.state is not StepState.DONE]

    def intend(self, seq: int) -> None:
        """Durable when this returns: a crash may follow."""
        self.catalog.runs.move_step(self.run_id, seq, StepState.INTENDED)

    def done(self, seq: int) -> None:
        self.catalog.runs.move_step(self.run_id, seq, StepState.DONE)

    def remark(self, seq: int, what: str) -> None:
        """Keep with a step that is done what a person should know of it."""
        self.catalog.runs.note_error(self.run_id, seq, what)

    def undone(self, seq: int) -> None:
        self.catalog.runs.move_step(self.run_id, seq, StepState.UNDONE)

    def failed(self, seq: int, why: str) -> None:
        self.catalog.runs.note_error(self.run_id, seq, why)

    def commit(self) -> None:
        """From here on there is no way back through the journal."""
        retire_at = clock.now() + timedelta(seconds=self.row.retain_s)
        self.catalog.runs.end(self.run_id, RunStatus.COMMITTED, retire_at=retire_at)

    def rolled_back(self, note: str) -> None:
        self.catalog.runs.end(self.run_id, RunStatus.ROLLED_BACK, note=note)

    def freed(self, count: int) -> None:
        """`count` bytes left the source; adds up over several tries."""
        self.catalog.runs.add_freed(self.run_id, count)

    def retired(self, note: str = "") -> None:
        """Nothing of the source is left in hiding."""
        self.catalog.runs.end(self.run_id, RunStatus.RETIRED, note=note)


def begin(
    catalog: Catalog,
    *,
    kind: str,
    plan_id: str,
    plan: dict[str, Any],
    steps: Sequence[dict[str, Any]],
    torrents: Sequence[str],
    actor: str,
    reason: str,
    retain: timedelta,
    undoes: int | None = None,
    checks: dict[str, Any] | None = None,
) -> Run:
    """Write down a run before its first act."""
    run_id = catalog.runs.begin(
        kind=kind,
        plan_id=plan_id,
        plan=plan,
        steps=steps,
        torrents=torrents,
        actor=actor,
        reason=reason,
        retain_s=int(retain.total_seconds()),
        undoes=undoes,
        checks=checks,
    )
    return Run(catalog, run_id)


@contextmanager
def written_together(catalog: Catalog) -> Iterator[None]:
    """Several entries, of several runs, become durable with one write: all of them or none."""
    with transaction(catalog.db):
        yield


def find_run(catalog: Catalog, run_id: int) -> Run:
    """Raises `Misused` when there is no such run."""
    if catalog.runs.get(run_id) is None:
        raise Misused(f"there is no run {run_id}", hint="list them with: rehome runs list")
    return Run(catalog, run_id)
