"""What a doctor says: findings with what to change, as values and as one screen of text."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from seedkeep.text import printable


class Level(enum.Enum):
    OK = "ok"
    WARNING = "warning"  # works, with a limit that one should know
    PROBLEM = "problem"  # has to be changed


@dataclass(frozen=True)
class Symptom:
    level: Level
    subject: str  # a path, a pair of paths, "clock", "qBittorrent"
    what: str
    fix: str = ""  # what to change; "" when there is nothing to do


@dataclass(frozen=True)
class Diagnosis:
    healthy: bool  # no problem; there may be warnings
    findings: tuple[Symptom, ...]


_MARKS = {Level.OK: "ok     ", Level.WARNING: "warning", Level.PROBLEM: "PROBLEM"}


def diagnosis(findings: tuple[Symptom, ...]) -> Diagnosis:
    return Diagnosis(all(found.level is not Level.PROBLEM for found in findings), findings)


def report(found: Diagnosis) -> str:
    lines = []
    for finding in found.findings:
        subject, what = printable(finding.subject), printable(finding.what)
        lines.append(f"{_MARKS[finding.level]}  {subject}: {what}")
        if finding.fix and finding.level is not Level.OK:
            lines.append(f"         fix: {printable(finding.fix)}")
    problems = sum(finding.level is Level.PROBLEM for finding in found.findings)
    warnings = sum(finding.level is Level.WARNING for finding in found.findings)
    if problems:
        lines.append(f"{problems} to change, {warnings} to know")
    else:
        lines.append("nothing has to be changed" + (f"; {warnings} to know" if warnings else ""))
    return "\n".join(lines)
