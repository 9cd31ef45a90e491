"""What the rule language speaks in: rules, conditions, actions, and values that may be unknown."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Unknown:
    """In the place of a value that could not be had; no rule acts on it."""

    reason: str  # for people: "the file list is not known yet"


# None is no value of a field: whatever has none ("never completed") is Unknown with its reason.
Value = Any
# True, False, or None for "unknown", as in SQL.
Verdict = bool | None


class Gather(enum.Enum):
    """How the parts of a group are put together."""

    ALL = "all"
    ANY = "any"
    NONE = "none"


@dataclass(frozen=True)
class Leaf:
    """One comparison."""

    field: str  # "info.name"
    operator: str
    value: Value  # as the file has it, variables filled in
    place: str  # "rules.yml:12:9"


@dataclass(frozen=True)
class Group:
    gather: Gather
    parts: tuple[Condition, ...]
    place: str


Condition = Leaf | Group


@dataclass(frozen=True)
class Action:
    """One thing to do with a torrent; the parameters are checked, typed and complete."""

    type: str
    params: Mapping[str, Value]
    place: str


@dataclass(frozen=True)
class Rule:
    name: str
    condition: Group  # an empty ALL fits every torrent
    actions: tuple[Action, ...]
    contexts: frozenset[str] | None  # None: every job
    enabled: bool
    stop_on_match: bool
    place: str

    def runs_in(self, context: str | None) -> bool:
        """Whether a job of `context` (None: a job without one) runs this rule."""
        return self.enabled and (self.contexts is None or context in self.contexts)


@dataclass(frozen=True)
class RuleBook:
    """A whole rule file that was found right."""

    name: str
    rules: tuple[Rule, ...]
    warnings: tuple[str, ...] = field(default=())

    def for_context(self, context: str | None) -> tuple[Rule, ...]:
        """In file order."""
        return tuple(rule for rule in self.rules if rule.runs_in(context))


def leaves(condition: Condition) -> Iterator[Leaf]:
    """Every comparison below a condition, in file order."""
    if isinstance(condition, Leaf):
        yield condition
    else:
        for part in condition.parts:
            yield from leaves(part)
