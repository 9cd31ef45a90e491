"""What Ctrl-C, SIGTERM or SIGHUP left behind: how each run ended, and what to do next."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from hashall.catalog.runs import RunStatus
from rehome.lanes import Lane
from seedkeep import console

MOST_NUMBERS = 10
_SAYS = {
    RunStatus.OPEN: ("stays open, in the middle", "stay open, in the middle"),
    RunStatus.ROLLED_BACK: (
        "was rolled back: nothing of it was moved",
        "were rolled back: nothing of them was moved",
    ),
    RunStatus.COMMITTED: ("is committed: it was moved", "are committed: they were moved"),
    RunStatus.RETIRED: ("is committed: it was moved", "are committed: they were moved"),
}


@contextmanager
def how_runs_ended(lanes: Sequence[Lane], again: str) -> Iterator[None]:
    """Let the error of an interruption tell how the runs of `lanes` ended.

    `lanes` is looked at then, and may be empty before.  `again` says what does the rest.
    """
    with console.interruption_tells(lambda: (_detail(lanes), _hint(lanes, again))):
        yield


def _detail(lanes: Sequence[Lane]) -> str:
    if not lanes:
        return "no run was begun: nothing was changed"
    by_words: dict[tuple[str, str], list[int]] = {}
    for lane in lanes:
        by_words.setdefault(_SAYS[lane.run.row.status], []).append(lane.run.run_id)
    lines = [f"{_named(runs)} {words[len(runs) > 1]}" for words, runs in by_words.items()]
    errors = [lane.error for lane in lanes if lane.error is not None]
    # An interruption alone has no words; what failed besides, or on the way back, has.
    more = [f"{error.brief}\n{error.detail}" for error in errors if error.detail]
    return "\n".join([*lines, *more])


def _named(runs: Sequence[int]) -> str:
    if len(runs) == 1:
        return f"run {runs[0]}"
    more = len(runs) - MOST_NUMBERS
    numbers = ", ".join(map(str, runs[:MOST_NUMBERS]))
    return f"runs {numbers}{f' and {more} more' if more > 0 else ''}"


def _hint(lanes: Iterable[Lane], again: str) -> str:
    left = [lane.run.run_id for lane in lanes if lane.run.row.status is RunStatus.OPEN]
    if not left:
        return again
    which = left[0] if len(left) == 1 else "--all"
    return f"go forward: rehome resume {which}, or back: rehome rollback {which}"
