"""What the commands of rehome do, as values; no text for people in here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from pathlib import Path

from hashall import journal
from hashall.catalog import Catalog, open_catalog
from hashall.catalog.runs import RunRow, RunStatus, StepRow, StepState
from hashall.journal import Run
from hashall.lock import exclusive
from hashall.pathing import MountTable
from hashall.places import Places
from hashall.scan import ScanOptions, scan
from rehome import planning
from rehome.batch import EXECUTABLE, Batch, Scope
from rehome.config import Layout, layout_from
from rehome.config_check import ConfigCheck
from rehome.copy_lost import left_behind
from rehome.explain import Explanation
from rehome.gather import Gatherer
from rehome.interrupted import how_runs_ended
from rehome.lanes import step_from
from rehome.model import Direction, FillPayload, Plan, Step, TorrentMove, Verdict
from rehome.mounted import is_copy_there
from rehome.outcome import (
    ASKED_BACK,
    Applied,
    Ended,
    Outcome,
    Watch,
    Wishes,
    asked_of,
    is_due,
    plan_of,
)
from rehome.report import Report
from rehome.runner import Runner
from seedkeep import clock
from seedkeep import settings_table as table
from seedkeep.errors import Refused, SeedError
from seedkeep.settings import Settings
from seedkeep.torrent_client import TorrentClient

AGAIN = "the same command does the rest"


@dataclass(frozen=True)
class RunView:
    row: RunRow
    plan: Plan
    steps: tuple[tuple[StepRow, Step], ...]
    undone_by: int | None = None
    left_behind: tuple[str, ...] = ()  # on a lost disk that the way back did without

    @property
    def bytes_to_copy(self) -> int:
        """What is left to be copied when it is resumed."""
        return sum(
            copy.seen.size
            for row, step in self.steps
            if isinstance(step, FillPayload) and row.state is not StepState.DONE
            for copy in step.copies
            if self.row.status is RunStatus.OPEN
        )


@dataclass
class App:
    settings: Settings

    @cached_property
    def catalog(self) -> Catalog:
        return open_catalog(self.settings.get(table.CATALOG_PATH), create=False)

    @cached_property
    def layout(self) -> Layout:
        return layout_from(self.settings)

    @cached_property
    def places(self) -> Places:
        return Places(self.catalog, MountTable.read())

    @cached_property
    def client(self) -> TorrentClient:
        from seedkeep.qbittorrent import connect

        return connect(
            self.settings.get(table.QBIT_HOST),
            self.settings.get(table.QBIT_USERNAME),
            self.settings.get(table.QBIT_PASSWORD),
            timeout_s=self.settings.get(table.QBIT_TIMEOUT).total_seconds(),
        )

    def close(self) -> None:
        if "catalog" in self.__dict__:
            self.catalog.db.close()

    def plan(self, torrent_hash: str, direction: Direction = Direction.DEMOTE) -> Plan:
        """Plan the move of one group.  Changes nothing."""
        return planning.plan_one(self._gatherer(), torrent_hash, direction)

    def plan_batch(self, scope: Scope, direction: Direction) -> Batch:
        """Plan the moves of all groups of a scope.  Changes nothing."""
        planning.check_scope(scope)
        return planning.plan_batch(self._gatherer(), scope, direction)

    def report(self) -> Report:
        """What could go where.  Changes nothing."""
        return planning.report(self._gatherer())

    def explain(self, torrent_hash: str) -> Explanation:
        """Why a torrent is where it is, and what would change that."""
        return planning.explain_one(self._gatherer(), torrent_hash)

    def check_config(self) -> ConfigCheck:
        """Hold the configuration against the client's inventory."""
        return planning.check_configuration(self._gatherer())

    def check(self, plan: Plan) -> Plan:
        """Plan again from what is true now; what is executed is the plan that this returns.

        Raises:
            Refused: The plan forbids the move itself.
            StalePlan: Today's answer is another one.
        """
        if plan.verdict is Verdict.BLOCK:
            return planning.still(self.catalog, plan, plan)
        return planning.still(self.catalog, plan, self.plan(plan.asked_for, plan.direction))

    def _gatherer(self) -> Gatherer:
        layout, catalog = self.layout, self.catalog  # said first when they are missing
        return Gatherer(self.client, Places(catalog, MountTable.read()), layout)

    def apply(self, plan: Plan, retain: timedelta, reason: str, watch: Watch) -> Applied | None:
        """Check and execute one plan.  None when there is nothing to do; raises what went wrong."""
        if plan.verdict not in EXECUTABLE:
            self.check(plan)
            return None
        outcome = self.apply_all([plan], Wishes(retain=retain, reason=reason), watch)
        return _only(outcome.ended)

    def apply_all(self, plans: Sequence[Plan], wishes: Wishes, watch: Watch) -> Outcome:
        """Check and execute plans in their order."""
        runner = Runner(self, watch)
        with how_runs_ended(runner.lanes, "apply the same plan again for the rest"):
            if wishes.window is not None:
                clock.sleep(wishes.window.opens_in(clock.now()).total_seconds())
            with self._exclusive("rehome apply"):
                if len(plans) > 1:
                    watch.expect(planning.to_do(self._gatherer(), plans, wishes.max_groups))
                outcome = runner.apply(plans, wishes)
            self._rescan_as_asked(outcome.ended)
        return outcome

    def _rescan_as_asked(self, ended: Iterable[Ended]) -> None:
        """Scan the folders that groups left and those that they went to, if `apply` was to."""
        plans = [item.plan for item in ended if self._is_to_rescan(item)]
        folders = {Path(p) for m in _moves(plans) for p in (m.save_path, m.target_path)}
        tops = [path for path in folders if path.is_dir() and folders.isdisjoint(path.parents)]
        if tops:
            with self._exclusive("rehome apply --rescan"):
                scan(Places(self.catalog, MountTable.read()), sorted(tops), ScanOptions())

    def _is_to_rescan(self, item: Ended) -> bool:
        if item.run_id is None or item.applied is None:
            return False
        row = journal.find_run(self.catalog, item.run_id).row
        return row.status is not RunStatus.ROLLED_BACK and asked_of(row).rescan

    def resume(self, run_id: int, watch: Watch) -> Applied:
        """Bring a run that was interrupted to its end.  Raises what went wrong."""
        applied = _only(self.resume_all([run_id], watch))
        assert applied is not None  # or it failed
        return applied

    def resume_all(self, run_ids: Sequence[int], watch: Watch) -> tuple[Ended, ...]:
        runner = Runner(self, watch)
        with how_runs_ended(runner.lanes, "for what was rolled back, make a new plan"):
            with self._exclusive("rehome resume"):
                self._ask_back(run_ids, asked=False)
                ended = tuple(runner.resume(self._runs(run_ids)))
            self._rescan_as_asked(ended)
        return ended

    def rollback(self, run_id: int, watch: Watch) -> RunView:
        """Take a run back that was interrupted.  Raises what went wrong."""
        _only(self.rollback_all([run_id], watch))
        return self.run(run_id)

    def rollback_all(
        self, run_ids: Sequence[int], watch: Watch, *, copy_lost: bool = False
    ) -> tuple[Ended, ...]:
        runner = Runner(self, watch)
        with how_runs_ended(runner.lanes, AGAIN), self._exclusive("rehome rollback"):
            self._ask_back(run_ids, asked=True)
            return tuple(runner.rollback(self._runs(run_ids), copy_lost))

    def _ask_back(self, run_ids: Iterable[int], *, asked: bool) -> None:
        """Leave word with open runs, for whoever brings them to their end if this cannot."""
        for run in self._runs(run_ids):
            if run.row.status is RunStatus.OPEN and asked != (ASKED_BACK in run.row.note):
                with suppress(SeedError):  # a full disk stops the journal, not the way back
                    self.catalog.runs.note(run.run_id, ASKED_BACK if asked else "")

    def undo(
        self,
        run_id: int,
        retain: timedelta | None,
        reason: str,
        watch: Watch,
        *,
        copy_lost: bool = False,
    ) -> Applied:
        """Bring a committed run back while its source is kept.  Raises what went wrong.

        `copy_lost`: a person says that the disk with the copy is lost for good.
        """
        wishes = Wishes(retain=retain, reason=reason, copy_lost=copy_lost)
        runner = Runner(self, watch)
        with how_runs_ended(runner.lanes, AGAIN), self._exclusive(f"rehome undo {run_id}"):
            (run,) = self._runs([run_id])
            applied = _only([runner.undo(run, wishes)])
        assert applied is not None
        return applied

    def retire(
        self, run_id: int | None, *, due_only: bool, source_lost: bool = False
    ) -> list[Applied]:
        """Remove the hidden source of one committed run, or of all whose time has come.

        `source_lost`: a person says that its disk is lost; the run ends, nothing is removed.
        """
        with self._exclusive("rehome retire"):
            runner = Runner(self, Watch())
            if run_id is not None:
                (run,) = self._runs([run_id])
                if run.row.status is RunStatus.OPEN:
                    raise Refused(
                        f"run {run_id} was interrupted: nothing of it can be retired yet",
                        hint=f"end it first: rehome resume {run_id}, or rehome rollback {run_id}",
                    )
                committed = run.row.status is RunStatus.COMMITTED
                end = runner.close_without_source if source_lost else runner.retire
                return [end(run, plan_of(run.row))] if committed else []
            rows = [r for r in self.catalog.runs.all() if r.status is RunStatus.COMMITTED]
            return [runner.retire_or_say(row) for row in rows if is_due(row) or not due_only]

    def open_runs(self) -> list[int]:
        return [row.run_id for row in self.catalog.runs.all() if row.status is RunStatus.OPEN]

    def runs(self) -> list[RunRow]:
        return self.catalog.runs.all()

    def run(self, run_id: int) -> RunView:
        (run,) = self._runs([run_id])
        steps = tuple((row, step_from(row.step)) for row in run.steps())
        row, plan = run.row, plan_of(run.row)
        left = left_behind(row, plan, lambda: is_copy_there(self.places, plan))
        return RunView(row, plan, steps, self.catalog.runs.undone_by(run_id), left)

    def _runs(self, run_ids: Iterable[int]) -> list[Run]:
        return [journal.find_run(self.catalog, run_id) for run_id in run_ids]

    @contextmanager
    def _exclusive(self, doing: str) -> Iterator[None]:
        with exclusive(self.catalog.db.path, doing):
            yield


def _only(ended: Sequence[Ended]) -> Applied | None:
    """What became of the one group that was asked for."""
    (one,) = ended
    if one.error is not None:
        raise one.error
    return one.applied


def _moves(plans: Iterable[Plan]) -> Iterator[TorrentMove]:
    return (move for plan in plans for move in plan.torrents)


def read_plan(path: Path) -> Plan:
    from rehome import planfile

    return planfile.read(path)
