"""rehome's plans and runs as text for people."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rehome.batch import Batch, name_of
from rehome.model import Direction, Plan, TorrentMove, Verdict
from seedkeep.text import printable, table
from seedkeep.units import format_size

MOST_PATHS = 10


def plan(made: Plan, output: Path | None) -> str:
    lines = [headline(made), *reasons(made)]
    if made.verdict in (Verdict.MOVE, Verdict.REUSE):
        lines.append("")
        lines.append(_torrents(made.torrents))
        lines.append("")
        lines += _sums(made)
    lines += _written(output, bool(made.steps))
    return "\n".join(lines)


def reasons(made: Plan) -> list[str]:
    """Every reason why a group stays, with its paths."""
    lines = []
    for blocker in made.blockers:
        lines.append(f"  {blocker.code}: {printable(blocker.sentence)}")
        lines += some_of([f"    {printable(path)}" for path in blocker.paths], "    ")
    return lines


def _written(output: Path | None, goes: bool) -> list[str]:
    if output is None:
        return []
    lines = [f"written to {printable(str(output))}"]
    if goes:
        lines.append(f"next: rehome apply {printable(str(output))} --dryrun")
    return lines


def headline(made: Plan) -> str:
    count = len(made.torrents)
    group = f"{count} torrent{'s' if count != 1 else ''}"
    target = sides(made.direction)[1]
    match made.verdict:
        case Verdict.BLOCK:
            return f"BLOCK: {group} {'stay where they are' if count != 1 else 'stays where it is'}"
        case Verdict.SKIP:
            return f"SKIP: {printable(name_of(made))} is on {target} already"
        case Verdict.MOVE:
            return f"MOVE: {group} to {target}, {format_size(made.bytes_to_copy)} to copy"
        case Verdict.REUSE:
            return f"REUSE: {group} to {target}, which has the bytes; nothing to copy"


def sides(direction: Direction) -> tuple[str, str]:
    """Where a group comes from and goes to, in words."""
    return ("the pool", "stash") if direction is Direction.PROMOTE else ("stash", "the pool")


def _torrents(moves: Sequence[TorrentMove]) -> str:
    rows = [
        (
            move.torrent_id[:12],
            move.running.value,
            f"{move.save_path} → {move.target_path}",
            move.name,
        )
        for move in moves
    ]
    lines = [table(("TORRENT", "STATE", "SAVE PATH", "NAME"), rows)]
    for move in moves:
        if move.target_category != move.category:
            was, then = printable(move.category), printable(move.target_category)
            lines.append(f"category of {move.torrent_id[:12]}: {was} → {then}")
    freed = [m.torrent_id[:12] for m in moves if m.auto_tmm and not m.target_auto_tmm]
    if freed:
        lines.append(f"automatic management is switched off for {', '.join(freed)}")
    kept = [move.torrent_id[:12] for move in moves if move.target_auto_tmm]
    if kept:
        lines.append(f"automatic management stays on for {', '.join(kept)}")
    return "\n".join(lines)


def _sums(made: Plan) -> list[str]:
    source, _ = sides(made.direction)
    size = format_size(made.bytes_freed)
    freed = f"{size} on {source}, once the source is retired"
    if made.keep_source:
        freed = (
            f"0 B: the copy on {source} stays"
            f" (apply --cleanup-duplicate-payload: {size} on {source})"
        )
    return [
        f"payload  {made.payload_hash}",
        f"size     {format_size(made.total_bytes)}",
        f"to copy  {format_size(made.bytes_to_copy)}",
        f"freed    {freed}",
        *_staying(made),
    ]


def _staying(made: Plan) -> list[str]:
    if not made.staying:
        return []
    source, _ = sides(made.direction)
    lines = [f"  {printable(path)}" for path in made.staying]
    title = (
        f"these names stay on {source} and keep their bytes there; no torrent of the group has"
        " them:"
    )
    return [title, *some_of(lines, "  ")]


def batch(made: Batch, output: Path | None) -> str:
    """Every group on a line, with the reasons of those that stay."""
    going = made.executable
    blocked = [plan for plan in made.groups if plan.verdict is Verdict.BLOCK]
    home = [plan for plan in made.groups if plan.verdict is Verdict.SKIP]
    source, target = sides(made.direction)
    lines = [
        f"{len(going)} of {len(made.groups)} groups go to {target}:"
        f" {format_size(made.bytes_to_copy)} to copy,"
        f" {format_size(made.bytes_freed)} {freed_on(source, made.direction)}"
    ]
    if going:
        lines += ["", _groups(going)]
    for plan in blocked:
        lines += ["", f"{printable(name_of(plan))}: {headline(plan)}", *reasons(plan)]
    if home:
        names = [f"  {printable(name_of(plan))}" for plan in home]
        lines += ["", f"on {target} already: {len(home)}", *some_of(names, "  ")]
    if made.left_out:
        names = [
            f"  {printable(item.name)}, {format_size(item.bytes_freed)}" for item in made.left_out
        ]
        lines += ["", f"beyond the limits: {len(made.left_out)}", *some_of(names, "  ")]
    return "\n".join([*lines, *_written(output, bool(going))])


def freed_on(source: str, direction: Direction) -> str:
    """A promotion frees nothing by itself."""
    if direction is Direction.PROMOTE:
        return f"could be freed on {source} with --cleanup-duplicate-payload"
    return f"freed on {source}"


def _groups(plans: Sequence[Plan]) -> str:
    rows = [
        (
            plan.verdict.value,
            format_size(plan.bytes_to_copy),
            format_size(plan.bytes_freed),
            len(plan.torrents),
            plan.asked_for[:12],
            name_of(plan),
        )
        for plan in plans
    ]
    return table(("DECISION", "TO COPY", "FREED", "TORRENTS", "TORRENT", "NAME"), rows, "lrrr")


def some_of(lines: list[str], indent: str) -> list[str]:
    more = len(lines) - MOST_PATHS
    return [*lines[:MOST_PATHS], *([f"{indent}… and {more} more"] if more > 0 else [])]
