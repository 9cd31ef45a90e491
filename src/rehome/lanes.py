"""Groups on their way through a run, several side by side, and acts done for all of them at once.

Waiting for the client's next refresh is what a switch costs, so groups that switch together wait
together.  Each still has its own run in the journal: when an act for all fails, the groups that it
failed for are told apart, and only they go back.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from hashall import journal
from hashall.catalog.runs import StepRow
from hashall.journal import Run
from rehome.codec import from_json
from rehome.model import (
    STEP_KINDS,
    AwaitPlaces,
    Plan,
    Recheck,
    Relocate,
    SetCategory,
    SetManagement,
    StartTorrents,
    Step,
    StopTorrents,
)
from seedkeep.errors import SeedError, Unreachable

T = TypeVar("T")
Told = Callable[[Step, str], None]  # step, "do" | "done" | "undo" | "undone"
Failure = OSError | SeedError

# Steps that are asked of the client: for all lanes in one call, with one wait.
MERGED = (StopTorrents, StartTorrents, SetManagement, SetCategory, Relocate, AwaitPlaces)
MOST_TOGETHER = 50  # groups
MOST_COPIED_TOGETHER = 256 * 2**20  # bytes; a larger group switches as soon as it is copied
_ORDER = {name: number for number, name in enumerate(STEP_KINDS)}


@dataclass(eq=False)
class Lane:
    """One group and its run."""

    run: Run
    finish: Callable[[], None] = lambda: None  # verify and commit
    require_mounts: Callable[[], None] = lambda: None  # raises when stash or pool is away
    copy_lost: bool = False  # the disk with the copy is given up
    is_lost: Callable[[Step], bool] = lambda _: False  # its files are on that disk
    failure: BaseException | None = None  # why it goes back, or did not get anywhere
    error: SeedError | None = None  # how it ended, when it did not end well
    gone: frozenset[str] = frozenset()  # torrents that are left alone on the way back
    lame: frozenset[str] = frozenset()  # missed files before the run; not started on the way back
    stuck: list[str] = field(default_factory=list)  # what could not be undone
    stuck_phase: int | None = None

    @property
    def reason(self) -> str:
        if isinstance(self.failure, OSError | SeedError):
            return str(self.failure)
        if self.failure is None:
            return "it was interrupted"
        return f"interrupted: {type(self.failure).__name__}"


@dataclass(frozen=True, eq=False)
class Act:
    """One step of one lane."""

    lane: Lane
    row: StepRow
    step: Step

    @property
    def rank(self) -> tuple[int, int]:
        """Acts of equal rank may be done together; lanes keep abreast by it."""
        return self.step.phase, _ORDER[type(self.step).__name__]

    @property
    def is_merged(self) -> bool:
        return isinstance(self.step, MERGED)

    @property
    def torrents(self) -> frozenset[str]:
        return torrents_of(self.step)


def torrents_of(step: Step) -> frozenset[str]:
    """The torrents that a step asks something of the client for."""
    match step:
        case StopTorrents(torrents) | StartTorrents(torrents):
            return frozenset(was.torrent_id for was in torrents)
        case AwaitPlaces(places):
            return frozenset(torrent_id for torrent_id, _ in places)
        case Recheck():
            return frozenset(step.torrents)
        case SetManagement() | SetCategory() | Relocate():
            return frozenset({step.torrent_id})
    return frozenset()


def torrents_of_all(acts: Sequence[Act]) -> frozenset[str]:
    return frozenset().union(*(act.torrents for act in acts))


def by_lane(acts: Sequence[Act]) -> dict[Lane, list[Act]]:
    """The acts of each lane: they fail together."""
    shares: dict[Lane, list[Act]] = {}
    for act in acts:
        shares.setdefault(act.lane, []).append(act)
    return shares


def step_from(data: dict[str, object]) -> Step:
    """A step as the journal stored it."""
    return from_json(STEP_KINDS[str(data["step"])], data)


def step_of(row: StepRow) -> Step:
    return step_from(row.step)


def run_ahead(queue: list[Act]) -> list[Act]:
    """Take what a lane does next from the front of its queue: one act, or all that are merged."""
    first, count = queue[0], 1
    if first.is_merged:
        while count < len(queue) and queue[count].rank == first.rank:
            count += 1
    taken = queue[:count]
    del queue[:count]
    return taken


def attempt(
    items: Sequence[T],
    act: Callable[[Sequence[T]], None],
    torrents_of_item: Callable[[T], Collection[str]],
) -> list[tuple[T, Failure]]:
    """Do something for all; returns the items that it failed for.

    An error that names its torrents fails the items that have them; the others are done again
    without them, which is safe because every step is.  An error that names none is found by trying
    one by one.  When the client is gone, nothing more is tried.
    """
    if not items:
        return []
    try:
        act(items)
    except Unreachable as why:
        return [(item, why) for item in items]
    except (OSError, SeedError) as why:
        if len(items) == 1:
            return [(items[0], why)]
        named: frozenset[str] = getattr(why, "torrents", frozenset())
        guilty = [item for item in items if not named.isdisjoint(torrents_of_item(item))]
        if guilty:
            innocent = [item for item in items if item not in guilty]
            return [(item, why) for item in guilty] + attempt(innocent, act, torrents_of_item)
        return one_by_one(items, act, torrents_of_item)
    return []


def one_by_one(
    items: Sequence[T],
    act: Callable[[Sequence[T]], None],
    torrents_of_item: Callable[[T], Collection[str]],
) -> list[tuple[T, Failure]]:
    failed: list[tuple[T, Failure]] = []
    for item in items:
        if failed and isinstance(failed[-1][1], Unreachable):
            failed.append((item, failed[-1][1]))
        else:
            failed += attempt([item], act, torrents_of_item)
    return failed


def write_down(acts: Sequence[Act], entry: Callable[[Run, int], None]) -> None:
    """Make a journal entry for each act, all durable with one write."""
    if acts:
        with journal.written_together(acts[0].lane.run.catalog):
            for act in acts:
                entry(act.lane.run, act.row.seq)


def first_bundle(plans: Sequence[Plan], room: int) -> Sequence[Plan]:
    """Groups that are switched together next: many with little to copy, or one with much."""
    size = 0
    for count, plan in enumerate(plans):
        size += plan.bytes_to_copy
        if count and (count >= min(room, MOST_TOGETHER) or size > MOST_COPIED_TOGETHER):
            return plans[:count]
    return plans


def chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), MOST_TOGETHER):
        yield items[start : start + MOST_TOGETHER]
