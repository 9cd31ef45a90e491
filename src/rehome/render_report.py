"""Reports, explanations and checks of the configuration as text for people."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from rehome.config_check import ConfigCheck
from rehome.explain import Explanation
from rehome.model import Blocker, Direction, Verdict
from rehome.render import freed_on, sides, some_of
from rehome.report import Duplicate, Entry, Outlook, Report
from seedkeep import clock
from seedkeep.settings import SettingRow
from seedkeep.text import printable, table
from seedkeep.units import format_size


def report(made: Report) -> str:
    lines = [
        f"{made.torrents} torrent{'s' if made.torrents != 1 else ''} on {moment(made.made_at)}",
        f"stash  {printable(made.stash_seeding_root)}",
        f"pool   {printable(made.pool_seeding_root)}",
        *_outlook("demotions (stash → pool)", made.demotions, Direction.DEMOTE),
        *_outlook("promotions (pool → stash)", made.promotions, Direction.PROMOTE),
        "",
        f"on both sides: {len(made.duplicates)} payloads, {format_size(made.duplicate_bytes)}",
    ]
    if made.duplicates:
        lines += some_of(_duplicates(made.duplicates), "  ")
    return "\n".join(lines)


def moment(at: datetime) -> str:
    return clock.iso(at.replace(microsecond=0))


def _outlook(title: str, found: Outlook, direction: Direction) -> list[str]:
    source, _ = sides(direction)
    lines = [
        "",
        f"{title}: {len(found.eligible)} may go, {format_size(found.bytes_to_copy)} to copy,"
        f" {format_size(found.bytes_freed)} {freed_on(source, direction)}",
    ]
    lines += some_of([f"  {line}" for line in _entries(found.eligible)], "  ")
    if found.blocked:
        count = len(found.blocked)
        lines.append(f"  {count} group{'s' if count != 1 else ''} must stay on {source}")
        lines += [f"    {number} by {code}" for code, number in found.reasons]
        worst = [
            f"    {printable(entry.name)}, {format_size(entry.total_bytes)}:"
            f" {printable(entry.blockers[0].sentence)}"
            for entry in found.blocked
        ]
        lines += some_of(worst, "    ")
    return lines


def _entries(entries: Sequence[Entry]) -> list[str]:
    rows = [
        (
            entry.decision.value,
            format_size(entry.bytes_freed),
            format_size(entry.bytes_to_copy),
            entry.torrents,
            entry.torrent[:12],
            entry.name,
        )
        for entry in entries
    ]
    head = ("DECISION", "FREED", "TO COPY", "TORRENTS", "TORRENT", "NAME")
    return table(head, rows, "lrrr").splitlines() if rows else []


def _duplicates(found: Sequence[Duplicate]) -> list[str]:
    return [
        f"  {format_size(item.total_bytes)}  {printable(item.on_stash)}"
        f" ({item.torrents_on_stash} torrents) = {printable(item.on_pool)}"
        f" ({item.torrents_on_pool})"
        for item in found
    ]


def explanation(made: Explanation) -> str:
    lines = [_where(made), *_reasons(made.decision.blockers)]
    if made.too_young is not None:
        lines += ["a plan by --tag, --category or --all-eligible leaves it alone for now:"]
        lines += _reasons([made.too_young])
    if made.remedies:
        lines += ["", "what would change it:"]
        lines += [f"  {code}: {what}" for code, what in made.remedies]
    lines += ["", "moves together:"]
    rows = [(m.torrent[:12], m.state, m.category or "-", m.save_path, m.name) for m in made.members]
    lines.append(table(("TORRENT", "STATE", "CATEGORY", "SAVE PATH", "NAME"), rows))
    outside = [f"  {printable(name.path)}" for name in made.names if name.outside]
    if outside:
        lines += ["", "names outside the seeding domain:", *some_of(outside, "  ")]
    others = [
        f"  {printable(name.path)}" for name in made.names if not (name.outside or name.seeded)
    ]
    if others:
        lines += ["", "names in it that no torrent of the group has:", *some_of(others, "  ")]
    if made.runs:
        lines += ["", "runs:"]
        lines += [
            f"  {run.run_id}: {run.kind}, {run.status}, {run.started_at[:19]}Z,"
            f" by {printable(run.actor)}"
            for run in made.runs
        ]
    return "\n".join(lines)


def _where(made: Explanation) -> str:
    name = printable(made.name)
    if made.lives_on == "elsewhere":
        return f"{name} seeds from neither stash nor pool: rehome leaves it alone"
    here = f"{name} is on {made.lives_on}"
    if made.may_go:
        size = format_size(made.decision.bytes_freed)
        flag = "--promote" if made.could_go_to == "stash" else "--demote"
        return (
            f"{here} and may go to {made.could_go_to} ({made.decision.decision.value}, {size}"
            f" freed): rehome plan {flag} --torrent-hash {made.torrent}"
        )
    if made.decision.decision is Verdict.SKIP:
        return f"{here}, where it should be"
    return f"{here} and stays there, because:"


def _reasons(blockers: Sequence[Blocker]) -> list[str]:
    lines = []
    for blocker in blockers:
        lines.append(f"  {blocker.code}: {printable(blocker.sentence)}")
        lines += some_of([f"    {printable(path)}" for path in blocker.paths], "    ")
    return lines


def settings(rows: Sequence[SettingRow]) -> str:
    return table(("SETTING", "VALUE", "FROM"), [(r.key, r.value, r.origin) for r in rows])


def config_check(made: ConfigCheck) -> str:
    lines = [
        f"{made.torrents} torrents: {made.on_stash} on stash, {made.on_pool} on the pool,"
        f" {made.elsewhere} elsewhere",
        *_examples(made.elsewhere_examples, made.elsewhere_more),
    ]
    for use in made.rules:
        if use.number or use.torrents:
            name = f"rule {use.number} ({printable(use.rule)})" if use.number else "no rule"
            count = f"{use.torrents} torrent{'s' if use.torrents != 1 else ''}"
            lines.append(f"{use.direction.value}: {name}: {count}")
            lines += _examples(use.examples, use.more)
    for finding in made.findings:
        lines.append(f"{finding.weight.value}: {printable(finding.sentence)}")
        lines += _examples(finding.examples, finding.more)
    if made.is_sound:
        lines.append("the configuration can be used")
    return "\n".join(lines)


def _examples(shown: Sequence[str], more: int) -> list[str]:
    return [f"  {printable(line)}" for line in shown] + ([f"  … and {more} more"] if more else [])
