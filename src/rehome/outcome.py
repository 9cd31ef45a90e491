"""What is asked of runs and how they ended: values, and how a run's row becomes one."""

from __future__ import annotations

import getpass
import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from hashall.catalog.runs import RunRow, RunStatus, StepState
from hashall.journal import Run
from rehome.codec import from_json, to_json
from rehome.lanes import Told
from rehome.model import Direction, Plan
from rehome.pace import Window
from rehome.retire import Retired
from rehome.verify import Checks
from rehome.world import NOT_KEPT, Copying
from seedkeep import clock
from seedkeep.console import SystemFailure
from seedkeep.errors import Refused, SeedError, Unreachable

# The note of an open run that a person wants back: it stays when the way back fails at once.
ASKED_BACK = "rehome rollback was asked for"


@dataclass(frozen=True)
class Applied:
    """How a run ended."""

    run_id: int
    plan: Plan
    status: RunStatus
    retire_at: str | None
    retired: Retired | None  # what this call removed; None: nothing
    bytes_freed: int  # by the whole run so far
    warnings: tuple[str, ...] = ()  # what a person should know, now that it is done


@dataclass(frozen=True)
class Ended:
    """What became of one group."""

    plan: Plan
    run_id: int | None  # None: refused before anything was begun
    applied: Applied | None  # None: there was nothing to do, or it failed
    error: SeedError | None
    left_behind: tuple[str, ...] = ()  # what may be on a lost disk that the way back did without


@dataclass(frozen=True)
class Outcome:
    """What became of all groups."""

    ended: tuple[Ended, ...]
    left: tuple[Plan, ...] = ()  # not begun
    left_because: str = ""

    @property
    def failed(self) -> tuple[Ended, ...]:
        return tuple(item for item in self.ended if item.error is not None)


@dataclass(frozen=True)
class Watch:
    """Where a run tells what it does."""

    told: Told = lambda _step, _what: None
    copying: Copying = lambda _bytes: None
    group: Callable[[Plan, Ended | None], None] = lambda _plan, _ended: None  # None: it begins
    expect: Callable[[Sequence[Plan]], None] = lambda _plans: None  # those with something to do


@dataclass(frozen=True)
class Asked(Checks):
    """What holds for a run whoever brings it to its end; the journal keeps it as `checks`."""

    bytes_per_s: int | None = None
    rescan: bool = False
    copy_lost: bool = False  # the disk with the copy is given up


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What a person asked of `apply`."""

    retain: timedelta | None  # None: as the settings say
    reason: str
    checks: Checks = field(default_factory=Checks)
    cleanup_duplicate: bool = False
    max_groups: int | None = None
    fail_fast: bool = False
    window: Window | None = None
    bytes_per_s: int | None = None
    rescan: bool = False
    copy_lost: bool = False
    again: bool = False  # a group that is there already counts as done in an earlier night

    @property
    def asked(self) -> Asked:
        return Asked(
            **vars(self.checks),
            bytes_per_s=self.bytes_per_s,
            rescan=self.rescan,
            copy_lost=self.copy_lost,
        )


def as_it_is(run: Run, plan: Plan) -> Applied:
    row = run.row
    told = plan.warnings if plan.direction is Direction.UNDO else ()
    # A step may also have why it could not be undone, of a way back that was given up since.
    noted = (step.error for step in run.steps() if step.state is StepState.DONE)
    warnings = (*told, *(remark for remark in noted if remark.startswith(NOT_KEPT)))
    freed = row.bytes_freed or 0
    return Applied(run.run_id, plan, row.status, row.retire_at, None, freed, warnings)


def as_error(why: OSError | SeedError, hint: str = "") -> SeedError:
    """What a person can read of it."""
    return why if isinstance(why, SeedError) else SystemFailure(str(why), hint=hint)


def why_stop(done: Iterable[Ended], wishes: Wishes) -> str:
    """Why no further group is begun; "" when they go on."""
    errors = [item.error for item in done if item.error is not None]
    if errors and wishes.fail_fast:
        return "--fail-fast"
    if any(client_is_gone(error) for error in errors):
        return "qBittorrent does not answer"
    return ""


def ways_out_of(row: RunRow) -> tuple[str, str]:
    """The commands for a run when the disk with its copy, or the other one, is lost for good.

    "" where there is none.
    """
    close = f"rehome retire {row.run_id} --source-lost"
    if row.status is RunStatus.OPEN:
        return f"rehome rollback {row.run_id} --copy-lost", ""
    if row.status is not RunStatus.COMMITTED:
        return "", ""
    return (f"rehome undo {row.run_id} --copy-lost", close) if row.undoes is None else (close, "")


def client_is_gone(error: BaseException | None) -> bool:
    """Whether what went wrong is, at bottom, that nobody answers."""
    while error is not None:
        if isinstance(error, Unreachable):
            return True
        error = error.__cause__
    return False


def plan_of(row: RunRow) -> Plan:
    """Raises `Refused` for a run of another version, whose steps this one may not understand."""
    try:
        return from_json(Plan, row.plan)
    except ValueError as why:
        raise _of_another_version(row, why) from why


def asked_of(row: RunRow) -> Asked:
    """What `apply` was asked for that whoever resumes the run has to do, too.

    Raises:
        Refused: Another version asked for something that this one does not know.
    """
    try:
        return from_json(Asked, to_json(Asked()) | row.checks)
    except ValueError as why:
        raise _of_another_version(row, why) from why


def slowest(rows: Iterable[RunRow]) -> int | None:
    """Bytes a second that each of these runs allows; None: none of them has a limit."""
    rates = (asked_of(row).bytes_per_s for row in rows)
    return min((rate for rate in rates if rate is not None), default=None)


def _of_another_version(row: RunRow, why: ValueError) -> Refused:
    return Refused(
        f"run {row.run_id} was written by another version of rehome",
        detail=str(why),
        hint="use the version that began it",
    )


def is_due(row: RunRow) -> bool:
    return row.retire_at is not None and clock.parse_iso(row.retire_at) <= clock.now()


def actor() -> str:
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (KeyError, OSError):
        return f"unknown@{socket.gethostname()}"
