"""Execute a plan, undo it, or do both halves under limits: the order of the whole run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from hashall.catalog.files import parent_of
from hashall.linking import snapshot
from hashall.linking.execute import ExecuteOptions, Executor
from hashall.linking.folders import Folders
from hashall.linking.model import (
    Action,
    ActionState,
    Execution,
    Kind,
    Plan,
    PlanOptions,
    PlanStatus,
    Result,
)
from hashall.linking.recover import Recovery
from hashall.linking.remove import Removal
from hashall.linking.service import Links
from hashall.linking.undo import Undo
from hashall.lock import exclusive
from hashall.model import Place
from seedkeep.errors import Refused, SeedError
from seedkeep.sqlite import transaction

LARGE = 8 << 20  # bytes; reading it takes longer than finding it
MOST_LOOKED_INTO = 512  # open folders of a dry run: half of the descriptors a shell allows

Begin = Callable[[int], None]  # told how many actions there are
Progress = Callable[[Result], None]


class NotApproved(Refused):
    """Nobody has approved the plan.  Nothing was changed."""

    code = "not-approved"


class PlanClosed(Refused):
    """The plan was executed or cancelled; it does nothing any more."""

    code = "plan-closed"


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How a plan is executed; what one action needs stands in `act`."""

    act: ExecuteOptions = field(default_factory=ExecuteOptions)
    dry_run: bool = True
    force: bool = False  # act on a plan that nobody approved
    snapshot: bool = False


def _nothing(_: object) -> None:
    pass


@dataclass
class Runner:
    links: Links
    begin: Begin = _nothing
    progress: Progress = _nothing

    def execute(self, plan_id: int, options: RunOptions) -> Execution:
        """Carry out what is still to do of a plan.

        Raises:
            Misused: No such plan.
            PlanClosed, NotApproved: Nothing was changed.  A plan that is cancelled while it runs
                ends before its next batch, as a result that says so.
            Locked: Another run holds the catalog.
        """
        plan = self.links.find(plan_id)
        _refuse_closed(plan)
        with Folders(self.links.places) as folders:
            if options.dry_run:
                return self._dry(plan, options, folders)
            if plan.status is PlanStatus.PENDING and not options.force:
                raise NotApproved(
                    f"plan {plan_id} is not approved",
                    hint=f"look at it with `hashall link show-plan {plan_id}`, then"
                    f" `hashall link approve {plan_id}`, or say --force",
                )
            with exclusive(self.links.catalog.db.path, f"hashall link execute {plan_id}"):
                return self._really(plan, options, folders)

    def undo(self, plan_id: int, *, dry_run: bool, limit: int | None) -> Execution:
        """Separate what the plan has linked; deletions cannot be undone."""
        plan = self.links.find(plan_id)
        with Folders(self.links.places) as folders:
            if dry_run:
                actions = self._linked(plan_id, limit)
                self.begin(len(actions))
                undo = Undo(self.links.catalog, folders, plan_id, self.progress)
                results = undo.run(actions, dry_run=True)
                return Execution(
                    plan_id=plan_id, name=plan.name, dry_run=True, undo=True, results=tuple(results)
                )
            with exclusive(self.links.catalog.db.path, f"hashall link execute --undo {plan_id}"):
                recovered = self._recover(folders)
                actions = self._linked(plan_id, limit)
                self.begin(len(actions))
                undo = Undo(self.links.catalog, folders, plan_id, self.progress)
                results = self._guarded(folders, lambda: undo.run(actions))
                return Execution(
                    plan_id=plan_id,
                    name=plan.name,
                    dry_run=False,
                    undo=True,
                    recovered=tuple(recovered.results),
                    notes=tuple(recovered.stuck),
                    results=tuple(results),
                    left=len(self._linked(plan_id, None)),
                )

    def auto(
        self, device: str, options: PlanOptions, run: RunOptions, min_savings: int
    ) -> Execution | None:
        """Plan and execute at once; None when the savings are not worth it."""
        if not run.dry_run and self.links.catalog.links.unsettled():
            with (
                exclusive(self.links.catalog.db.path, "hashall link auto"),
                Folders(self.links.places) as folders,
            ):
                self._recover(folders)  # whatever the savings are: a crash has to end
        actions, _ = self.links.decide(device, options)
        if sum(a.bytes_to_save for a in actions if a.kind is Kind.HARDLINK) < min_savings:
            return None
        if run.dry_run:
            with Folders(self.links.places) as folders:
                return self._look(0, "auto", _wanted(actions, run), run, folders)
        plan = self.links.plan("auto", device, options)
        return self.execute(plan.plan_id, replace(run, force=True))

    def _dry(self, plan: Plan, options: RunOptions, folders: Folders) -> Execution:
        todo = _wanted(self._planned(plan.plan_id), options)
        return self._look(plan.plan_id, plan.name, todo, options, folders)

    def _look(
        self,
        plan_id: int,
        name: str,
        todo: Sequence[Action],
        options: RunOptions,
        folders: Folders,
    ) -> Execution:
        self.begin(len(todo))
        executor = self._executor(plan_id, options, folders)
        removal = self._removal(plan_id, folders, todo)
        results = []
        for action in in_disk_order(todo):
            looker = removal if action.kind is Kind.DELETE else executor
            results.append(looker.look(action))
            self.progress(results[-1])
            folders.trim(MOST_LOOKED_INTO)
        results.sort(key=lambda result: result.seq)
        return Execution(plan_id=plan_id, name=name, dry_run=True, results=tuple(results))

    def _really(self, plan: Plan, options: RunOptions, folders: Folders) -> Execution:
        plan_id, tables = plan.plan_id, self.links.catalog.links
        executor = self._executor(plan_id, options, folders)  # qBittorrent is asked before all else
        recovered = self._recover(folders)
        todo = _wanted(self._planned(plan_id), options)
        taken = self._snapshots(plan_id, todo) if options.snapshot else ()
        tables.move(plan_id, PlanStatus.RUNNING)
        self.begin(len(todo))
        links = in_disk_order([action for action in todo if action.kind is Kind.HARDLINK])
        copies = [action for action in todo if action.kind is Kind.DELETE]
        removal = self._removal(plan_id, folders, copies)
        results = self._guarded(folders, lambda: executor.run(links) + removal.run(copies))
        left = len(self._planned(plan_id, ActionState.INTENDED))
        with transaction(self.links.catalog.db):
            cancelled = tables.is_cancelled(plan_id)
            if left == 0 and not cancelled:
                tables.move(plan_id, PlanStatus.EXECUTED)
        return Execution(
            plan_id=plan_id,
            name=plan.name,
            dry_run=False,
            recovered=tuple(recovered.results),
            results=tuple(results),
            left=left,
            cancelled=cancelled,
            snapshots=taken,
            notes=tuple(recovered.stuck),
        )

    def _guarded(self, folders: Folders, act: Callable[[], list[Result]]) -> list[Result]:
        """On Ctrl-C, SIGTERM and whatever else: leave names as the next run would have put them."""
        try:
            return act()
        except BaseException:
            self._recover(folders)
            raise

    def _recover(self, folders: Folders) -> Recovery:
        recovery = Recovery(self.links.catalog, folders)
        recovery.run()
        return recovery

    def _executor(self, plan_id: int, options: RunOptions, folders: Folders) -> Executor:
        return Executor(
            self.links.catalog,
            folders,
            plan_id,
            options.act,
            self.links.unfinished(),
            self.progress,
        )

    def _removal(self, plan_id: int, folders: Folders, todo: Sequence[Action]) -> Removal:
        deletes = any(action.kind is Kind.DELETE for action in todo)
        used = self.links.unfinished(finished_too=True) if deletes else frozenset()
        return Removal(self.links.catalog, folders, plan_id, used, self.progress)

    def _planned(self, plan_id: int, *also: ActionState) -> list[Action]:
        return self.links.catalog.links.actions(
            plan_id, states=[ActionState.PLANNED, *also], kinds=[Kind.HARDLINK, Kind.DELETE]
        )

    def _linked(self, plan_id: int, limit: int | None) -> list[Action]:
        found = self.links.catalog.links.actions(
            plan_id, states=[ActionState.DONE], kinds=[Kind.HARDLINK]
        )
        return found if limit is None else found[-limit:]

    def _snapshots(self, plan_id: int, todo: Sequence[Action]) -> tuple[str, ...]:
        """One for each filesystem of the plan.  Raises `SnapshotFailed`."""
        said = []
        for device_id in sorted({action.target.device_id for action in todo}):
            first = next(a.target for a in todo if a.target.device_id == device_id)
            path = self.links.places.abspath(Place(device_id, parent_of(first.path)))
            try:
                if path is None:
                    raise FileNotFoundError
                located = self.links.places.mounts.locate(path)
            except (OSError, SeedError):
                said.append(f"no snapshot of device {device_id}: it is not mounted")
                continue
            said.append(snapshot.take(located, self.links.places.mounts, plan_id).text)
        return tuple(said)


def _refuse_closed(plan: Plan) -> None:
    if plan.status in (PlanStatus.EXECUTED, PlanStatus.CANCELLED):
        raise PlanClosed(
            f"plan {plan.plan_id} is {plan.status.value}: it does nothing any more",
            hint="scan again and make a new plan: hashall link plan NAME",
        )


def in_disk_order(actions: Sequence[Action]) -> list[Action]:
    """Large files first, as planned; the others folder by folder, which saves seeks and syncs."""
    large = [action for action in actions if action.size >= LARGE]
    small = [action for action in actions if action.size < LARGE]
    small.sort(key=lambda a: (a.target.device_id, parent_of(a.target.path), a.target.inode))
    return large + small


def _wanted(actions: Sequence[Action], options: RunOptions) -> list[Action]:
    """What this run is to do, in order, under its limit."""
    kinds = {Kind.HARDLINK} | ({Kind.DELETE} if options.act.allow_delete else set())
    todo = [action for action in actions if action.kind in kinds]
    return todo if options.act.limit is None else todo[: options.act.limit]
