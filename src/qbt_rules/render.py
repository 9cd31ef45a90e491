"""The server's answers and the settings as text for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from seedkeep.settings import SettingRow
from seedkeep.text import printable, table

Answer = Mapping[str, Any]


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
            job["created_at"].partition(".")[0].rstrip("Z") + "Z",
            "dry run" if job["dry_run"] else "",
        )
        for job in page["jobs"]
    ]
    if not rows:
        return "no jobs" if not page["total"] else f"no more jobs ({page['total']} in all)"
    listed = table(("JOB", "STATUS", "CONTEXT", "HASH", "CREATED", ""), rows)
    first, last = page["offset"] + 1, page["offset"] + len(rows)
    more = "" if len(rows) == page["total"] else f"\n{first} to {last} of {page['total']}"
    return listed + more


def job(found: Answer) -> str:
    rows = [
        ("job", found["job_id"]),
        ("status", found["status"]),
        ("context", found["context"] or "none"),
        ("torrent", found["hash"] or "all"),
        ("created", found["created_at"]),
        ("started", found["started_at"] or "-"),
        ("ended", found["completed_at"] or "-"),
    ]
    if found["dry_run"]:
        rows.append(("dry run", "nothing is changed"))
    if found["attempts"] > 1:
        rows.append(("attempts", str(found["attempts"])))
    lines = [f"{name + ':':<10}{printable(str(value))}" for name, value in rows]
    if found["error"]:
        lines.append("error:    " + printable(str(found["error"])))
    return "\n".join(lines + result(found["result"] or {}))


def result(found: Answer) -> list[str]:
    """Counts first; a list of actions below them."""
    lines = []
    for name, value in found.items():
        if isinstance(value, list):
            lines += [f"{name.replace('_', ' ')}:"] if value else []
            lines += [f"  {_entry(item)}" for item in value]
        elif isinstance(value, Mapping):
            lines.append(f"{name.replace('_', ' ')}: {_entry(value)}")
        else:
            lines.append(f"{name.replace('_', ' ')}: {printable(str(value))}")
    return lines


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
