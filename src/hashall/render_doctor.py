"""The doctor's report as text for people: one screen."""

from __future__ import annotations

from hashall.doctor import Diagnosis, Level
from seedkeep.text import printable

_MARKS = {Level.OK: "ok     ", Level.WARNING: "warning", Level.PROBLEM: "PROBLEM"}


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
        lines.append(f"nothing has to be changed; {warnings} to know")
    return "\n".join(lines)
