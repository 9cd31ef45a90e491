"""The server's answers and the settings as text for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from seedkeep import clock
from seedkeep.settings import SettingRow
from seedkeep.text import printable, table

Answer = Mapping[str, Any]
MOST_ERROR = 60  # characters of a failed job's error in a list; `jobs show` has all of it


def queued(job: Answer) -> str:
    return f"job {job['job_id']} is {job['status']}"


def cancelled(job: Answer) -> str:
    return f"job {job['job_id']} is {job['status']}"


def jobs(page: Answer) -> str:
    rows = [
        (
            job["job_id"],
            job["status"],
            job["context"] or "-",
            (job["hash"] or "-")[:12],
            clock.to_second(job["created_at"]),
            "dry run" if job["dry_run"] else _cut(job["error"] or ""),
        )
        for job in page["jobs"]
    ]
    if not rows:
        return "no jobs" if not page["total"] else f"no more jobs ({page['total']} in all)"
    listed = table(("JOB", "STATUS", "CONTEXT", "HASH", "CREATED", ""), rows)
    first, last = page["offset"] + 1, page["offset"] + len(rows)
    more = "" if len(rows) == page["total"] else f"\n{first} to {last} of {page['total']}"
    return listed + more


def _moment(text: str | None) -> str:
    return clock.to_second(text) if text else "-"


def _cut(text: str) -> str:
    """One line of a table."""
    line = printable(" ".join(text.split()))
    return line if len(line) <= MOST_ERROR else f"{line[: MOST_ERROR - 1]}…"


def job(found: Answer) -> str:
    rows = [
        ("job", found["job_id"]),
        ("status", found["status"]),
        ("context", found["context"] or "none"),
        ("torrent", found["hash"] or "all"),
        ("created", clock.to_second(found["created_at"])),
        ("started", _moment(found["started_at"])),
        ("ended", _moment(found["completed_at"])),
    ]
    if found["dry_run"]:
        rows.append(("dry run", "nothing is changed"))
    if found["attempts"] > 1:
        rows.append(("attempts", str(found["attempts"])))
    if found.get("interruptions"):  # a server of before does not say
        rows.append(("stops", f"{found['interruptions']}, of the server while it was under way"))
    lines = [f"{name + ':':<10}{printable(str(value))}" for name, value in rows]
    if found["error"]:
        lines.append("error:    " + printable(str(found["error"])))
    return "\n".join(lines + result(found["result"] or {}))


def result(found: Answer) -> list[str]:
    """What was done to which torrent, and why not; what this program does not know comes last."""
    if not found:
        return []
    looked, fits = found.get("torrents_processed", 0), found.get("rules_matched", 0)
    outcomes = found.get("outcomes") or {}
    lines = [
        f"looked at {_count(looked, 'torrent')}; rules fit {_count(fits, 'time')}",
        ", ".join(f"{outcome}: {count}" for outcome, count in outcomes.items()) or "nothing to do",
        *(line for row in found.get("actions", ()) for line in _action(row)),
        *_more(found.get("actions_not_listed", 0), "actions"),
    ]
    unknown = found.get("unknown", ())
    lines += ["could not be decided:"] if unknown else []
    lines += [line for row in unknown for line in _undecided(row)]
    lines += _more(found.get("unknown_count", 0) - len(unknown), "undecided")
    lines += [f"warning: {printable(str(warning))}" for warning in found.get("warnings", ())]
    return lines + [line for name, value in found.items() for line in _other(name, value)]


_KNOWN = (
    *("torrents_processed", "rules_matched", "actions_executed", "actions_skipped", "dry_run"),
    *("outcomes", "actions", "actions_not_listed", "unknown", "unknown_count", "warnings"),
    "runs",  # each stands with its action
)


def _action(row: Answer) -> list[str]:
    """Two lines: what became of which torrent; by which rule, and why."""
    shown = {name: printable(str(value)) for name, value in row.items()}
    first = f"  {shown.get('outcome', ''):<15}{shown.get('action', '')}  {shown.get('name', '')}"
    second = [f"rule {shown.get('rule', '')}", shown.get("hash", "")]
    second += [f"run {shown['run']}"] if "run" in shown else []
    second += [shown["reason"]] if "reason" in shown else []
    return [first.rstrip(), f"{'':17}{'; '.join(second)}"]


def _undecided(row: Answer) -> list[str]:
    first = f"  rule {printable(row['rule'])}, torrent {printable(row['hash'])}"
    return [first, *(f"    {printable(reason)}" for reason in row["reasons"])]


def _more(count: int, what: str) -> list[str]:
    return [f"  and {count} more {what}"] if count > 0 else []


def _other(name: str, value: Any) -> list[str]:
    if name in _KNOWN:
        return []
    title = name.replace("_", " ")
    if isinstance(value, list):
        return [f"{title}:", *(f"  {_entry(item)}" for item in value)] if value else []
    return [f"{title}: {_entry(value)}"]


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def _entry(item: Any) -> str:
    if isinstance(item, Mapping):
        return ", ".join(f"{name} {printable(str(value))}" for name, value in item.items())
    return printable(str(item))


def stats(found: Answer) -> str:
    counts = found["jobs"]
    average = found["performance"]["average_execution_time"] or "-"
    rows = [
        ("jobs", str(counts["total"])),
        *((f"  {name}", str(count)) for name, count in counts.items() if name != "total"),
        ("average time", average),
        ("jobs per hour", str(found["performance"]["jobs_per_hour"])),
        ("queue", f"{found['queue']['backend']}, {found['queue']['depth']} to do"),
        ("uptime", found["uptime"]),
    ]
    return "\n".join(f"{name + ':':<15}{value}" for name, value in rows)


def health(found: Answer) -> str:
    client = found["qbittorrent"]
    rows = [
        ("server", f"{found['status']}, version {found['version']}"),
        ("queue", f"{found['queue']['backend']}, {found['queue']['pending_jobs']} waiting"),
        ("worker", found["worker"]["status"]),
        ("qbittorrent", client["version"] if client["connected"] else "not connected"),
        ("rules", _rules(found["rules"])),
    ]
    lines = [f"{name + ':':<13}{value}" for name, value in rows]
    lines += [f"error: {error}" for error in found.get("errors", [])]
    lines += [f"warning: {warning}" for warning in found["warnings"]]
    return "\n".join(lines)


def _rules(found: Answer) -> str:
    return f"{found['rules']} in force" if found["loaded"] else found["error"]


def reloaded(found: Answer) -> str:
    return "\n".join([f"{found['rules']} rules are in force", *found["warnings"]])


def settings(rows: Sequence[SettingRow]) -> str:
    return table(("SETTING", "VALUE", "FROM"), [(r.key, r.value, r.origin) for r in rows])


def rules(found: Sequence[Answer]) -> str:
    if not found:
        return "there is no rule"
    rows = [
        (
            number,
            rule["name"],
            "yes" if rule["enabled"] else "no",
            ", ".join(rule["contexts"]) if rule["contexts"] is not None else "any",
            ", ".join(rule["actions"]),
        )
        for number, rule in enumerate(found, 1)
    ]
    return table(("", "RULE", "ENABLED", "CONTEXT", "ACTIONS"), rows, "r")


def validated(found: Answer) -> str:
    count = found["rules"]
    word = "rule" if count == 1 else "rules"
    return "\n".join([f"{found['file']}: {count} {word}, no mistake", *found["warnings"]])
