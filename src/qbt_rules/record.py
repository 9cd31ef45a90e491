"""What a job did, as it is kept with the job: counts of everything, and a bounded list."""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from qbt_rules.api import Torrent
from qbt_rules.language.values import Action, Rule
from qbt_rules.model import JobResult

MOST_ROWS = 500  # actions that are listed one by one; all are counted
MOST_UNKNOWN = 50
MOST_TEXT = 500  # characters of a reason


class Outcome(enum.StrEnum):
    DONE = "done"
    WOULD = "would be done"  # in a dry run
    SKIPPED = "skipped"  # its effect was there already
    REFUSED = "refused"  # by us, before anything was asked: a guard said no
    BLOCKED = "blocked"  # by rehome's policy: a result, no failure
    FAILED = "failed"  # the client said no
    GONE = "gone"  # the torrent was removed meanwhile


# What the rule's other actions may rely on: without it they leave the torrent alone.  Not so where
# the client refuses a change: that only a live run finds out, and a dry run lists the same.
_ON_DISK = frozenset({"rehome_demote", "rehome_promote", "payload_verify"})


@dataclass
class Record:
    dry_run: bool
    torrents: int = 0
    matched: int = 0
    counts: Counter[Outcome] = field(default_factory=Counter)
    rows: list[dict[str, Any]] = field(default_factory=list)
    unknown: list[dict[str, Any]] = field(default_factory=list)
    unknown_count: int = 0
    runs: list[int] = field(default_factory=list)  # of rehome
    warnings: list[str] = field(default_factory=list)
    held: set[str] = field(default_factory=set)  # torrents that the rule at work is done with

    def add(
        self,
        rule: Rule,
        action: Action,
        torrents: Iterable[Torrent],
        outcome: Outcome,
        reason: str = "",
        **more: Any,
    ) -> None:
        """The same outcome for each of `torrents`."""
        for torrent in torrents:
            self.counts[outcome] += 1
            if _holds_back(action, outcome):
                self.held.add(torrent.torrent_id)
            if len(self.rows) >= MOST_ROWS or outcome is Outcome.SKIPPED:
                continue  # what was there already would fill the list of every scheduled job
            row = {
                "rule": rule.name,
                "action": action.type,
                "hash": torrent.torrent_id,
                "name": torrent.name,
                "outcome": outcome.value,
                **more,
            }
            self.rows.append(row | ({"reason": cut(reason)} if reason else {}))

    def add_unknown(self, rule: Rule, torrent: Torrent, reasons: Iterable[str]) -> None:
        self.unknown_count += 1
        if len(self.unknown) < MOST_UNKNOWN:
            self.unknown.append(
                {
                    "rule": rule.name,
                    "hash": torrent.torrent_id,
                    "reasons": [cut(reason) for reason in dict.fromkeys(reasons)],
                }
            )

    def result(self) -> JobResult:
        done = Outcome.WOULD if self.dry_run else Outcome.DONE
        return JobResult(
            torrents_processed=self.torrents,
            rules_matched=self.matched,
            actions_executed=self.counts[done],
            actions_skipped=self.counts[Outcome.SKIPPED],
            details={
                "dry_run": self.dry_run,
                "outcomes": {str(outcome): count for outcome, count in self.counts.items()},
                "actions": self.rows,
                "actions_not_listed": self._not_listed(),
                "unknown": self.unknown,
                "unknown_count": self.unknown_count,
                "runs": self.runs,
                "warnings": self.warnings,
            },
        )

    def _not_listed(self) -> int:
        return self.counts.total() - self.counts[Outcome.SKIPPED] - len(self.rows)


def cut(text: str) -> str:
    return text if len(text) <= MOST_TEXT else text[: MOST_TEXT - 1] + "…"


def _holds_back(action: Action, outcome: Outcome) -> bool:
    if outcome is Outcome.FAILED:
        return action.type in _ON_DISK
    return outcome in (Outcome.REFUSED, Outcome.BLOCKED)
