"""Runs as text for people: how they go, how they ended, and what they were, months later."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from hashall.catalog.runs import RunRow, RunStatus, StepRow, StepState
from rehome.app import RunView
from rehome.batch import name_of
from rehome.model import Direction, Plan, Step, TorrentMove, Verdict
from rehome.outcome import Applied, Ended, Outcome, Watch
from rehome.render import some_of
from rehome.render_steps import step_lines
from seedkeep import clock, console
from seedkeep.progress import Progress
from seedkeep.text import printable, table
from seedkeep.units import format_duration, format_size

SIDES = {
    Direction.DEMOTE: ("stash", "the pool"),
    Direction.PROMOTE: ("the pool", "stash"),
    Direction.UNDO: ("the other side", "where they were before"),
}


def applied(result: Applied) -> str:
    if result.status is RunStatus.ROLLED_BACK:
        return f"run {result.run_id} was rolled back before: nothing to do"
    lines = _source(result)
    if result.retired is None or result.retired.files or result.status is RunStatus.COMMITTED:
        lines.insert(0, f"run {result.run_id}: {_moved(result.plan)}")
    return "\n".join(lines)


def retired(result: Applied) -> str:
    """What became of a source; where its torrents are by now is another question."""
    return f"run {result.run_id}: " + "\n".join(_source(result))


def _moved(made: Plan) -> str:
    count, target = len(made.torrents), SIDES[made.direction][1]
    if made.direction is Direction.UNDO:
        target = "where it was before" if count == 1 else target
        if not count:
            return (
                "the files are where they were before; its torrents are not in qBittorrent any more"
            )
    how = f"{format_size(made.bytes_to_copy)} copied" if made.bytes_to_copy else "nothing copied"
    return f"{count} torrent{'s seed' if count != 1 else ' seeds'} from {target}, {how}"


def _source(result: Applied) -> list[str]:
    """What becomes of the source, and what a person should know."""
    made, source = result.plan, SIDES[result.plan.direction][0]
    lines = []
    if result.retired is None and result.status is RunStatus.COMMITTED:
        lines.append(
            f"the source is hidden and kept until {_time(result.retire_at)};"
            f" then: rehome retire {result.run_id}"
        )
    if result.status is RunStatus.RETIRED and made.keep_source:
        lines.append(f"the copy on {source} stays where it was, without a torrent")
    elif result.status is RunStatus.RETIRED:
        lines.append(f"the source is retired, {format_size(result.bytes_freed)} freed on {source}")
    lines += [f"warning: {printable(line)}" for line in result.warnings]
    return lines + _kept(result)


def _kept(result: Applied) -> list[str]:
    """Source files that could not be removed, each with its reason; [] when there are none."""
    kept = result.retired.kept if result.retired is not None else ()
    if not kept:
        return []
    were = f"{len(kept)} source files were" if len(kept) != 1 else "1 source file was"
    lines = [f"{were} kept:"]
    lines += some_of([f"  {printable(f'{k.path}: {k.reason}')}" for k in kept], "")
    hidden = {f"{r.hidden_root}/{r.name}" for r in result.plan.retire}
    if not hidden.isdisjoint(k.path for k in kept):
        lines.append(
            "see what became of their copies; what is not needed any more you may delete,"
            f" and then: rehome retire {result.run_id}"
        )
    return lines


def applied_json(result: Applied) -> dict[str, Any]:
    return {
        "run_id": result.run_id,
        "status": result.status,
        "torrents": [move.torrent_id for move in result.plan.torrents],
        "bytes_copied": result.plan.bytes_to_copy,
        "retire_at": result.retire_at,
        "retired": result.retired,
        "warnings": list(result.warnings),
    }


def outcome(result: Outcome) -> str:
    """One line a group, then the sums."""
    lines = [line for item in result.ended for line in (group_line(item), *_remarks(item))]
    good = [item for item in result.ended if item.applied is not None]
    copied = sum(item.plan.bytes_to_copy for item in good)
    freed = sum(item.applied.bytes_freed for item in good if item.applied is not None)
    lines.append(
        f"{len(good)} of {len(result.ended) + len(result.left)} groups moved,"
        f" {format_size(copied)} copied, {format_size(freed)} freed so far"
    )
    if result.failed:
        lines.append(f"{len(result.failed)} did not end well; see above")
    kept = sum(bool(_kept(item.applied)) for item in good if item.applied is not None)
    if kept:
        sources = "1 source was" if kept == 1 else f"{kept} sources were"
        lines.append(f"{sources} not removed as a whole; see above")
    if result.left:
        lines.append(f"{len(result.left)} not begun: {result.left_because}")
    lines += _retained([item.applied for item in good if item.applied is not None])
    return "\n".join(lines)


def _retained(good: Sequence[Applied]) -> list[str]:
    """Until when sources are kept: the last one's time."""
    hidden = [a for a in good if a.status is RunStatus.COMMITTED and a.retired is None]
    if not hidden:
        return []
    until = max((a.retire_at for a in hidden if a.retire_at is not None), default=None)
    are = "sources are" if len(hidden) != 1 else "source is"
    return [f"{len(hidden)} {are} hidden and kept until {_time(until)}; then: rehome retire --due"]


def _remarks(item: Ended) -> list[str]:
    """What a person should know of a group besides its line."""
    lines = [printable(line) for line in item.error.detail.splitlines()[1:]] if item.error else []
    lines = some_of(lines, "")
    if item.applied is not None:
        lines += [f"warning: {printable(line)}" for line in item.applied.warnings]
        lines += _kept(item.applied)
    return [f"  {line}" for line in lines]


def group_line(item: Ended) -> str:
    name = printable(name_of(item.plan))
    if item.error is not None:
        run = f"run {item.run_id}: " if item.run_id is not None else ""
        run += "it is committed, but then: " if item.applied is not None else ""
        detail = item.error.detail.splitlines()
        return f"{name}: {run}{item.error.code}: {printable(item.error.brief)}" + (
            f" ({printable(detail[0])})" if detail else ""
        )
    if item.applied is None:
        return f"{name}: nothing to do"
    return f"{name}: {printable(applied(item.applied).splitlines()[0])}"


def outcome_json(result: Outcome) -> dict[str, Any]:
    return {
        "groups": [ended_json(item) for item in result.ended],
        "left": [plan.asked_for for plan in result.left],
        "left_because": result.left_because,
    }


def ended_json(item: Ended) -> dict[str, Any]:
    error = item.error
    return {
        "asked_for": item.plan.asked_for,
        "run_id": item.run_id,
        "applied": applied_json(item.applied) if item.applied else None,
        "left_behind": list(item.left_behind),
        "error": {"code": error.code, "brief": error.brief, "detail": error.detail}
        if error is not None
        else None,
    }


def run_json(view: RunView) -> dict[str, Any]:
    return {
        "run": view.row,
        "undone_by": view.undone_by,
        "left_behind": list(view.left_behind),
        "steps": [row for row, _ in view.steps],
    }


def runs(rows: Sequence[RunRow]) -> str:
    if not rows:
        return "no runs yet"
    cells = [
        (
            row.run_id,
            row.kind if row.undoes is None else f"{row.kind} {row.undoes}",
            row.status.value,
            _time(row.started_at),
            _time(row.retire_at) if row.status is RunStatus.COMMITTED else "-",
            row.actor,
        )
        for row in rows
    ]
    return table(("RUN", "WHAT", "STATUS", "STARTED", "SOURCE KEPT UNTIL", "BY"), cells, "r")


def run(view: RunView) -> str:
    row = view.row
    lines = [
        f"run      {row.run_id}: {row.kind}, {row.status.value.replace('-', ' ')}",
        f"by       {printable(row.actor)}: {printable(row.reason)}",
        f"started  {_time(row.started_at)}",
        f"ended    {_time(row.ended_at)}{_took(row.started_at, row.ended_at, ', after ')}",
        f"retired  {_time(row.retired_at)}"
        + (f", {format_size(row.bytes_freed)} freed" if row.bytes_freed is not None else ""),
    ]
    if row.status is RunStatus.COMMITTED:
        lines.append(f"kept     the source, until {_time(row.retire_at)}")
    lines += [f"undoes   run {row.undoes}"] if row.undoes is not None else []
    lines += [f"undone   by run {view.undone_by}"] if view.undone_by is not None else []
    lines += [f"note     {printable(row.note)}"] if row.note else []
    lines += [f"left     {printable(line)}" for line in view.left_behind]
    if view.plan.direction is Direction.UNDO:
        lines += [f"warning  {printable(line)}" for line in view.plan.warnings]
    lines += [f"payload  {view.plan.payload_hash}", f"copied   {_copied(view.plan)}"]
    lines += ["", _before_and_after(view.plan.torrents), "", "steps:"]
    for step_row, step in view.steps:
        lines += _step(step_row, step)
    lines += _next(row)
    return "\n".join(lines)


def _copied(plan: Plan) -> str:
    total = format_size(plan.total_bytes)
    if plan.verdict is Verdict.REUSE:
        return f"nothing of {total}; the other side had all of it"
    return f"{format_size(plan.bytes_to_copy)} of {total}"


def _before_and_after(moves: Sequence[TorrentMove]) -> str:
    rows = [
        (
            move.torrent_id[:12],
            move.running.value,
            f"{move.save_path} → {move.target_path}",
            _change(move.category or "-", move.target_category or "-"),
            _change(_on(move.auto_tmm), _on(move.target_auto_tmm)),
            move.name,
        )
        for move in moves
    ]
    return table(("TORRENT", "STATE", "SAVE PATH", "CATEGORY", "MANAGED", "NAME"), rows)


def _change(before: str, after: str) -> str:
    return before if before == after else f"{before} → {after}"


def _on(managed: bool) -> str:
    return "yes" if managed else "no"


def _step(row: StepRow, step: Step) -> list[str]:
    first, *_ = step_lines(step)
    moment = {
        StepState.PLANNED: None,
        StepState.INTENDED: row.intended_at,
        StepState.DONE: row.done_at,
        StepState.UNDONE: row.undone_at,
    }[row.state]
    took = _took(row.intended_at, row.done_at) if row.state is StepState.DONE else ""
    text = f"{row.seq + 1:3}. {row.state.value:8} {_time(moment):20} {took:>8} {printable(first)}"
    return [text, *([f"       {printable(row.error)}"] if row.error else [])]


def _next(row: RunRow) -> list[str]:
    if row.status is RunStatus.OPEN:
        return [f"next: rehome resume {row.run_id}, or rehome rollback {row.run_id}"]
    if row.status is RunStatus.COMMITTED:
        undo = f", or rehome undo {row.run_id}" if row.undoes is None else ""
        return [f"next: rehome retire {row.run_id}{undo}"]
    return []


def _time(moment: str | None) -> str:
    """To the second: nobody reads microseconds."""
    return clock.iso(clock.parse_iso(moment).replace(microsecond=0)) if moment else "-"


def _took(began: str | None, ended: str | None, before: str = "") -> str:
    """Between two moments of the journal; "" when one is missing."""
    if began is None or ended is None:
        return ""
    took = clock.parse_iso(ended) - clock.parse_iso(began)
    if took < timedelta(minutes=1):
        return f"{before}{took.total_seconds():.1f}s"
    return f"{before}{format_duration(timedelta(seconds=round(took.total_seconds())))}"


@contextmanager
def watching(
    plans: Sequence[Plan], as_json: bool, left: Mapping[str, int] | None = None
) -> Iterator[Watch]:
    """Say each step of a single group; of several, each group. Show how far copying is.

    `left`: bytes still to be copied, by what was asked for; None: as the plans say.
    """
    alone = len(plans) <= 1
    planned = {plan.asked_for: plan.bytes_to_copy for plan in plans}
    to_copy = dict(planned if left is None else left)  # what the total is made of
    total = sum(to_copy.values()) or None
    with Progress("copying", total=total, unit="bytes", rate=True, as_json=as_json) as progress:
        begun: list[Plan] = []

        def told(step: Step, what: str) -> None:
            if alone and not as_json and what in ("do", "undo"):
                console.note(
                    f"{'undo: ' if what == 'undo' else ''}{printable(step_lines(step)[0])}"
                )

        def expect(some: Sequence[Plan]) -> None:
            to_copy.clear()
            to_copy.update({plan.asked_for: plan.bytes_to_copy for plan in some})
            progress.set_total(sum(to_copy.values()) or None)

        def group(plan: Plan, ended: Ended | None) -> None:
            now = plan if ended is None else ended.plan
            is_refused = ended is not None and ended.run_id is None
            to_copy[plan.asked_for] = 0 if is_refused else now.bytes_to_copy
            progress.set_total(sum(to_copy.values()) or None)
            if alone or as_json:
                return
            if ended is None:
                begun.append(plan)
                progress.describe(f"group {len(begun)} of {len(plans)}")
                more = f", {format_size(plan.bytes_to_copy)} to copy" if plan.bytes_to_copy else ""
                more = ": nothing to do" if plan.verdict is Verdict.SKIP else more
                console.note(f"{len(begun)} of {len(plans)}: {printable(name_of(plan))}{more}")
            elif ended.error is not None:
                console.note(group_line(ended))

        yield Watch(told, progress.advance, group, expect)
