"""Torrents for rules to look at, and a naive reading of the three-valued logic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from qbt_rules.language.conditions import compile_condition
from qbt_rules.language.rulefile import parse_rules
from qbt_rules.language.values import Condition, Gather, Leaf, Rule, Unknown, Verdict

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


@dataclass
class Told:
    """A subject that knows what it was told, and remembers what it was asked."""

    values: Mapping[str, Any]
    asked: list[str] = field(default_factory=list)

    def value(self, name: str) -> Any:
        self.asked.append(name)
        return self.values.get(name, Unknown(f"nobody said {name}"))


def verdict_of(conditions: str, **values: Any) -> Verdict:
    """What the YAML under `conditions:` says of a torrent; `info_name` stands for info.name."""
    told = {name.replace("_", ".", 1): value for name, value in values.items()}
    return judge(condition_of(conditions), told)


def judge(condition: Condition, values: Mapping[str, Any]) -> Verdict:
    return compile_condition(condition, NOW)(Told(values))


def condition_of(conditions: str) -> Condition:
    indented = "\n".join(f"      {line}" for line in conditions.strip("\n").split("\n"))
    return one_rule(f"conditions:\n{indented}").condition


def one_rule(body: str) -> Rule:
    """The rule with this body; an action is added where it has none."""
    lines = body.strip("\n").split("\n")
    if not any(line.startswith("actions:") for line in lines):
        lines.append("actions: [stop]")
    text = "rules:\n  - name: the rule\n" + "\n".join(f"    {line}" for line in lines)
    (rule,) = parse_rules(text).rules
    return rule


def naive(condition: Condition, truths: Mapping[str, Verdict]) -> Verdict:
    """The verdict by truth tables over numbers: false 0, unknown 1, true 2."""
    ranks: dict[Verdict, int] = {False: 0, None: 1, True: 2}
    back: dict[int, Verdict] = {rank: verdict for verdict, rank in ranks.items()}

    def rank(part: Condition) -> int:
        if isinstance(part, Leaf):
            return ranks[truths[part.field]]
        below = [rank(one) for one in part.parts]
        if part.gather is Gather.ALL:
            return min(below, default=2)
        most = max(below, default=0)
        return most if part.gather is Gather.ANY else 2 - most

    return back[rank(condition)]
