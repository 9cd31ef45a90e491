"""Runs from their first step to their last: apply, resume, roll back, retire, undo; one or many."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from hashall import journal
from hashall.catalog import Catalog
from hashall.catalog.runs import RunRow, RunStatus
from hashall.journal import Run
from hashall.pathing import MountTable
from hashall.places import Places
from rehome import executor, planning, recovery
from rehome.batch import EXECUTABLE, is_still
from rehome.codec import to_json
from rehome.commit import Commit
from rehome.config import Layout
from rehome.copy_lost import WITHOUT_COPY, is_on_copy_side, left_behind
from rehome.gather import Gatherer
from rehome.lanes import MOST_TOGETHER, Lane, chunks, first_bundle
from rehome.look import Look
from rehome.model import Direction, Plan, Recheck, Verdict
from rehome.mounted import is_copy_there, require_mounts, require_source_lost
from rehome.newcomers import refuse_newcomers
from rehome.outcome import (
    Applied,
    Ended,
    Outcome,
    Watch,
    Wishes,
    actor,
    as_error,
    as_it_is,
    asked_of,
    is_due,
    plan_of,
    slowest,
    why_stop,
)
from rehome.pace import throttled
from rehome.planner import fingerprint, plan_group, with_cleanup
from rehome.planning import StalePlan
from rehome.retire import Kept, Retired, clean_up, retire
from rehome.switch import ClientSwitch
from rehome.undo import plan_undo
from rehome.undo_facts import look_for_undo, refuse_entangled, refuse_undo
from rehome.world import Copying, World
from seedkeep import clock
from seedkeep import settings_table as table
from seedkeep.errors import Refused, SeedError
from seedkeep.settings import Settings
from seedkeep.torrent_client import TorrentClient


class Ground(Protocol):
    """What runs stand on; each is opened when it is needed."""

    @property
    def settings(self) -> Settings: ...
    @property
    def catalog(self) -> Catalog: ...
    @property
    def layout(self) -> Layout: ...
    @property
    def places(self) -> Places: ...
    @property
    def client(self) -> TorrentClient: ...


@dataclass
class Runner:
    ground: Ground
    watch: Watch
    bytes_per_s: int | None = None
    lanes: list[Lane] = field(default_factory=list)  # of all runs that were begun or taken up
    _seen: dict[str, Plan | SeedError] = field(default_factory=dict)  # for rechecks, by plan id
    _approved: Mapping[str, Plan] = field(default_factory=dict)
    _afterwards: Look | None = None

    # -- apply

    def apply(self, plans: Sequence[Plan], wishes: Wishes) -> Outcome:
        """Execute plans in their order; a group that fails stays where it was, the others go on."""
        self.bytes_per_s = wishes.bytes_per_s
        waiting = [plan for plan in plans if plan.verdict in EXECUTABLE]
        ended: list[Ended] = []
        because = ""
        while len(ended) < len(waiting) and not because:
            begun = sum(item.run_id is not None for item in ended)
            room = MOST_TOGETHER if wishes.max_groups is None else wishes.max_groups - begun
            if room <= 0:
                because = f"--max-groups {wishes.max_groups}"
            elif wishes.window is not None and not wishes.window.is_open(clock.now()):
                because = f"the window {wishes.window} has closed"
            else:
                some = first_bundle(waiting[len(ended) :], room)
                done = self._apply_together(some, replace(wishes, again=len(plans) > 1))
                ended += done
                because = why_stop(done, wishes)
        left = tuple(waiting[len(ended) :])
        return Outcome(tuple(ended), left, because if left else "")

    def _apply_together(self, plans: Sequence[Plan], wishes: Wishes) -> list[Ended]:
        ended: dict[str, Ended] = {}
        lanes: dict[Lane, Plan] = {}
        now = planning.plans_now(self._gatherer(), plans, self.ground.layout)
        for plan in plans:
            today = now[plan.asked_for]
            if wishes.again and isinstance(today, Plan) and today.verdict is Verdict.SKIP:
                self.watch.group(today, None)
                ended[plan.plan_id] = Ended(plan, None, None, None)
                continue
            self.watch.group(plan, None)
            try:
                fresh = self._still(plan, today)
                if wishes.cleanup_duplicate:
                    fresh = with_cleanup(fresh)
                run = self._begin(fresh, wishes)
            except SeedError as why:
                ended[plan.plan_id] = Ended(plan, None, None, why)
                continue
            lanes[self._lane(run, fresh)] = plan
        for item, plan in zip(self._go(list(lanes)), lanes.values(), strict=True):
            ended[plan.plan_id] = item
        found = [ended[plan.plan_id] for plan in plans]
        for plan, item in zip(plans, found, strict=True):
            self.watch.group(plan, item)
        return found

    def _still(self, plan: Plan, now: Plan | SeedError) -> Plan:
        if isinstance(now, SeedError):
            raise now
        return planning.still(self.ground.catalog, plan, now)

    def _begin(self, plan: Plan, wishes: Wishes, undoes: int | None = None) -> Run:
        retain = self.ground.settings.get(table.RETAIN) if wishes.retain is None else wishes.retain
        return journal.begin(
            self.ground.catalog,
            kind=plan.direction.value,
            plan_id=plan.plan_id,
            plan=to_json(plan),
            steps=[to_json(step) for step in plan.steps],
            torrents=[move.torrent_id for move in plan.torrents],
            actor=actor(),
            reason=wishes.reason,
            retain=retain,
            undoes=undoes,
            checks=to_json(wishes.asked),
        )

    # -- what every way of going on shares

    def _lane(self, run: Run, plan: Plan, copy_lost: bool = False) -> Lane:
        given_up = copy_lost or asked_of(run.row).copy_lost
        lane = Lane(
            run,
            finish=lambda: self._verify_and_commit(run, plan),
            require_mounts=lambda: self._require_mounts(run, plan, copy_lost),
            copy_lost=given_up,
            is_lost=lambda step: given_up and is_on_copy_side(step, plan.direction),
        )
        self.lanes.append(lane)
        return lane

    def _require_mounts(self, run: Run, plan: Plan, copy_lost: bool = False, many: int = 1) -> None:
        places, row = self.ground.places, run.row
        require_mounts(places, row, plan, copy_lost=copy_lost, among_others=many > 1)

    def _verify_and_commit(self, run: Run, plan: Plan) -> None:
        undoes = run.row.undoes
        original = journal.find_run(self.ground.catalog, undoes) if undoes is not None else None
        commit = self._commit()
        if original is None:
            checks, path_map = asked_of(run.row), self.ground.layout.path_map
            if checks.verify(plan, self._copying()) or checks.pieces:
                self._afterwards = None  # that took its time
            checks.verify_torrents(self.ground.client, plan, path_map, self._copying())
        if not plan.keep_source and not asked_of(run.row).copy_lost:
            refuse_newcomers(self._look_afterwards(), plan)
        if original is None:
            commit.finish(run, plan)
        else:
            commit.finish_undo(run, plan, original, plan_of(original.row))

    def _look_afterwards(self) -> Look:
        """One for all groups that were switched together."""
        if self._afterwards is None:
            self._afterwards = self._gatherer().look(whole=False)
        return self._afterwards

    def _commit(self) -> Commit:
        return Commit(self.ground.client, self.ground.places, self.ground.layout.path_map)

    def _go(self, lanes: Sequence[Lane]) -> list[Ended]:
        """Bring open runs to their end, side by side."""
        if lanes:
            self._afterwards = None
            executor.apply(lanes, self._world(lanes), self.watch.told)
        return [self._ended(lane) for lane in lanes]

    def _ended(self, lane: Lane) -> Ended:
        run, plan = lane.run, plan_of(lane.run.row)
        if lane.error is not None:
            return Ended(plan, run.run_id, None, lane.error)
        try:
            return Ended(plan, run.run_id, self.after_commit(run, plan), None)
        except (OSError, SeedError) as why:  # it is committed: what is left can be repeated
            hint = f"run {run.run_id} is committed; rehome resume {run.run_id} does what is left"
            return Ended(plan, run.run_id, as_it_is(run, plan), as_error(why, hint))

    def after_commit(self, run: Run, plan: Plan) -> Applied:
        """Clean up; retire what is due.  Safe to repeat; does nothing for a run that is closed."""
        if run.row.status is not RunStatus.COMMITTED:
            return as_it_is(run, plan)
        clean_up(plan)
        if run.row.undoes is not None and not asked_of(run.row).copy_lost:
            # It may have been interrupted before it cleaned up.
            clean_up(plan_of(journal.find_run(self.ground.catalog, run.row.undoes).row))
        self._commit().refresh(plan)
        if plan.keep_source:
            run.freed(0)
            run.retired("the source stays where it was, without a torrent")
        elif not plan.retire:
            run.retired()
        elif is_due(run.row):
            return self.retire(run, plan)
        return as_it_is(run, plan)

    def _world(self, lanes: Iterable[Lane]) -> World:
        timeout = self.ground.settings.get(table.SWITCH_TIMEOUT).total_seconds()
        approved = {lane.run.row.plan_id: plan_of(lane.run.row) for lane in lanes}
        return World(
            lambda: ClientSwitch(self.ground.client, timeout),
            self._recheck,
            self._copying(),
            lambda steps: self._look(steps, approved),
        )

    def _copying(self) -> Copying:
        return throttled(self.watch.copying, self.bytes_per_s)

    def _gatherer(self) -> Gatherer:
        places = Places(self.ground.catalog, MountTable.read())
        return Gatherer(self.ground.client, places, self.ground.layout)

    def _look(self, steps: Sequence[Recheck], approved: Mapping[str, Plan]) -> None:
        """Gather the facts of all groups that are about to be switched.

        The age of the scans is let be: it was right when the copy began, and nothing can have
        scanned since.  So is the room that our own copies have taken meanwhile.
        """
        gatherer = self._gatherer()
        by_direction: dict[Direction, list[Recheck]] = {}
        for step in steps:
            by_direction.setdefault(step.direction, []).append(step)
        for direction, some in by_direction.items():
            found = gatherer.facts_of([step.asked_for for step in some], direction)
            for step in some:
                facts = found[step.asked_for]
                if isinstance(facts, SeedError):
                    self._seen[step.plan_id] = facts
                    continue
                facts = replace(facts, open_runs=(), uncovered=(), free_bytes=2**62)
                if fingerprint(facts)[:12] == step.plan_id:
                    self._seen[step.plan_id] = approved[step.plan_id]
                else:
                    self._seen[step.plan_id] = plan_group(facts, self.ground.layout)
        self._approved = approved

    def _recheck(self, step: Recheck) -> None:
        """What was approved must still be right, now that only the switch is left."""
        now, approved = self._seen.pop(step.plan_id), self._approved[step.plan_id]
        if isinstance(now, SeedError):
            raise now
        if now is approved or is_still(replace(approved, keep_source=now.keep_source), now):
            return
        blocked = "\n".join(f"{b.code}: {b.sentence}" for b in now.blockers)
        raise StalePlan(
            "something changed after the plan was approved, and before the switch",
            detail=blocked or "a file, a torrent's state or a place on the pool is not as it was",
            hint="make a new plan",
        )

    # -- ending what was interrupted

    def resume(self, runs: Sequence[Run]) -> list[Ended]:
        """Bring interrupted runs to their end."""
        ended: list[Ended] = []
        for some in chunks(runs):
            ended += self._resume_together(some)
        return ended

    def _resume_together(self, runs: Sequence[Run]) -> list[Ended]:
        plans = {run.run_id: plan_of(run.row) for run in runs}
        refused: dict[int, Ended] = {}
        lanes = []
        for run in runs:
            plan = plans[run.run_id]
            try:
                if run.row.status in (RunStatus.OPEN, RunStatus.COMMITTED):
                    self._require_mounts(run, plan)
            except SeedError as why:
                refused[run.run_id] = Ended(plan, run.run_id, None, why)
                continue
            lanes.append(self._lane(run, plan))
        interrupted = [lane for lane in lanes if lane.run.row.status is RunStatus.OPEN]
        if interrupted:
            self.bytes_per_s = slowest(lane.run.row for lane in interrupted)
            recovery.take_back_switch(interrupted, self._world(interrupted), self.watch.told)
        self._go([lane for lane in interrupted if lane.error is None])
        found = {lane.run.run_id: self._ended(lane) for lane in lanes} | refused
        return [found[run.run_id] for run in runs]

    def rollback(self, runs: Sequence[Run], copy_lost: bool = False) -> list[Ended]:
        """Take interrupted runs back; those that are rolled back already are left as they are."""
        for run in runs:
            if run.row.status in (RunStatus.COMMITTED, RunStatus.RETIRED):
                raise Refused(
                    f"run {run.run_id} is {run.row.status.value}:"
                    " it cannot be rolled back any more",
                    detail="its torrents seed from where the run brought them",
                    hint=f"`rehome undo {run.run_id}` brings them back while the source is kept",
                )
        lanes = []
        for run in runs:
            if run.row.status is RunStatus.OPEN:
                plan = plan_of(run.row)
                self._require_mounts(run, plan, copy_lost, len(runs))
                lane = self._lane(run, plan, copy_lost)
                lost = f", {WITHOUT_COPY}" if copy_lost else ""
                lane.failure = SeedError(f"rolled back by the user{lost}")
                lanes.append(lane)
        for some in chunks(lanes):
            recovery.recover(some, self._world(some), self.watch.told)
        errors = {lane.run.run_id: lane.error for lane in lanes}
        return [self._taken_back(run, errors.get(run.run_id)) for run in runs]

    def _taken_back(self, run: Run, error: SeedError | None) -> Ended:
        row, plan = run.row, plan_of(run.row)
        left = left_behind(row, plan, lambda: is_copy_there(self.ground.places, plan))
        return Ended(plan, run.run_id, None, error, left)

    # -- taking back what is committed

    def undo(self, run: Run, wishes: Wishes) -> Ended:
        """Bring a committed run back, by a run of its own; the source must still be kept."""
        original = plan_of(run.row)
        refuse_undo(self.ground.catalog, run, original)
        self._require_mounts(run, original, wishes.copy_lost)
        look = self._gatherer().look(whole=False)
        now = look_for_undo(look, run, original, copy_lost=wishes.copy_lost)
        plan = plan_undo(original, now)
        fresh = self._begin(plan, wishes, undoes=run.run_id)
        lane = self._lane(fresh, plan)
        (ended,) = self._go([lane])
        return ended

    # -- after the commit

    def retire(self, run: Run, plan: Plan) -> Applied:
        """Remove the hidden source of a committed run."""
        self._require_mounts(run, plan)
        refuse_entangled(self.ground.catalog, run, plan)
        clean_up(plan)
        retired = retire(plan, in_use=self._in_use())
        run.freed(retired.bytes_freed)
        if retired.kept:
            first = retired.kept[0]
            self.ground.catalog.runs.note(run.run_id, f"kept {len(retired.kept)}: {first.reason}")
        else:
            run.retired()
        return replace(as_it_is(run, plan), retired=retired)

    def close_without_source(self, run: Run, plan: Plan) -> Applied:
        """End a committed run whose hidden source is on a lost disk.  Removes nothing."""
        require_source_lost(self.ground.places, plan)
        refuse_entangled(self.ground.catalog, run, plan)
        run.retired("its source was on a disk that is lost: nothing was removed")
        return as_it_is(run, plan)

    def _in_use(self) -> Callable[[Path], bool]:
        """Whether a folder is needed although it is empty: as a root, or by some torrent."""
        layout = self.ground.layout
        roots = (layout.stash_seeding_root, layout.pool_seeding_root)
        paths = {Path(i.save_path) for i in self.ground.catalog.payloads.instances()}
        needed = paths.union(*(path.parents for path in paths)) if paths else paths
        return lambda folder: folder in needed or not any(r in folder.parents for r in roots)

    def retire_or_say(self, row: RunRow) -> Applied:
        """One run that cannot be retired now does not hold up the others."""
        run, plan = Run(self.ground.catalog, row.run_id), plan_of(row)
        try:
            return self.retire(run, plan)
        except (OSError, SeedError) as why:
            reason = f"{as_error(why).brief}: {as_error(why).detail}".removesuffix(": ")
            kept = Retired(0, 0, (Kept(plan.staging, reason),))
            return replace(as_it_is(run, plan), retired=kept)
