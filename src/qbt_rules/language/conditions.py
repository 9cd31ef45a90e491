"""Conditions with three values: true, false, unknown.

A group's parts are asked cheapest first, and no part is asked once the answer is known.  In this
logic the order changes no answer, only what it costs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from qbt_rules.language.fields import Cost, find_field
from qbt_rules.language.operators import NEGATIVE, compile_test
from qbt_rules.language.patterns import TooSlow
from qbt_rules.language.values import (
    Condition,
    Gather,
    Leaf,
    Unknown,
    Value,
    Verdict,
    leaves,
)


class Subject(Protocol):
    """One torrent, as far as rules can see it."""

    def value(self, field: str) -> Value:
        """The field's value or `Unknown`; asks for what is needed, once."""
        ...


Check = Callable[[Subject], Verdict]
Judge = Callable[[Value], Verdict]


@dataclass(frozen=True)
class Explained:
    """A condition with what was seen and what came of it."""

    text: str  # "info.ratio >= 2.0", or "all"
    place: str
    verdict: Verdict
    seen: Value = None  # the field's value, of a comparison
    reason: str = ""  # why a comparison is unknown
    decided: bool = False  # changing the verdict of this part could change the verdict of the whole
    parts: tuple[Explained, ...] = ()


def cost_of(condition: Condition) -> Cost:
    """The dearest field that a condition may have to ask for."""
    return max((find_field(leaf.field).cost for leaf in leaves(condition)), default=Cost.LISTED)


def compile_condition(condition: Condition, now: datetime) -> Check:
    """A function that judges one torrent; ages are counted from `now`.

    Raises:
        ValueError: As `compile_test` and `find_field`; never for a rule book that was checked.
    """
    if isinstance(condition, Leaf):
        return _leaf(condition, now)
    parts = sorted(condition.parts, key=cost_of)
    checks = tuple(compile_condition(part, now) for part in parts)
    if condition.gather is Gather.ALL:
        return checks[0] if len(checks) == 1 else _all(checks)
    some = _any(checks)
    if condition.gather is Gather.ANY:
        return some
    return lambda subject: invert(some(subject))


def _leaf(leaf: Leaf, now: datetime) -> Check:
    name = leaf.field
    judge = _judge(leaf, now)

    def check(subject: Subject) -> Verdict:
        value = subject.value(name)
        if value.__class__ is Unknown:
            return None
        try:
            return judge(value)
        except (TooSlow, TypeError):
            return None

    return check


def _judge(leaf: Leaf, now: datetime) -> Judge:
    """The comparison as a function of a value that is known, or a list that is known in part."""
    field = find_field(leaf.field)
    test = compile_test(field, leaf.operator, leaf.value, now)
    if not field.many:
        return test
    undecided = leaf.operator in NEGATIVE  # what more items might still change

    def judge(items: Sequence[Value]) -> Verdict:
        known = [item for item in items if item.__class__ is not Unknown]
        verdict = test(known)
        return None if verdict is undecided and len(known) < len(items) else verdict

    return judge


def _all(checks: tuple[Check, ...]) -> Check:
    def check(subject: Subject) -> Verdict:
        verdict: Verdict = True
        for part in checks:
            found = part(subject)
            if found is False:
                return False
            if found is None:
                verdict = None
        return verdict

    return check


def _any(checks: tuple[Check, ...]) -> Check:
    def check(subject: Subject) -> Verdict:
        verdict: Verdict = False
        for part in checks:
            found = part(subject)
            if found:
                return True
            if found is None:
                verdict = None
        return verdict

    return check


def invert(verdict: Verdict) -> Verdict:
    return None if verdict is None else not verdict


def explain(condition: Condition, subject: Subject, now: datetime) -> Explained:
    """Every part with its verdict; unlike a job, this asks all of them."""
    return _mark(_explain(condition, subject, now))


def _explain(condition: Condition, subject: Subject, now: datetime) -> Explained:
    if isinstance(condition, Leaf):
        return _explain_leaf(condition, subject, now)
    parts = tuple(_explain(part, subject, now) for part in condition.parts)
    verdict = combine(condition.gather, [part.verdict for part in parts])
    return Explained(condition.gather.value, condition.place, verdict, parts=parts)


def _explain_leaf(leaf: Leaf, subject: Subject, now: datetime) -> Explained:
    text = f"{leaf.field} {leaf.operator} {leaf.value!r}"
    value = subject.value(leaf.field)
    if isinstance(value, Unknown):
        return Explained(text, leaf.place, None, reason=value.reason)
    seen, reason = _in_part(value)
    try:
        verdict = _judge(leaf, now)(value)
        return Explained(text, leaf.place, verdict, seen, "" if verdict is not None else reason)
    except TooSlow as why:
        return Explained(text, leaf.place, None, value, reason=str(why))
    except TypeError:
        told = f"qBittorrent tells {leaf.field} as {type(value).__name__}, which cannot be compared"
        return Explained(text, leaf.place, None, value, reason=told)


def _in_part(value: Value) -> tuple[Value, str]:
    """A value to show, None for unknown items of a list; and the reason of the first of these."""
    if not isinstance(value, list | tuple):
        return value, ""
    seen = [None if isinstance(item, Unknown) else item for item in value]
    reason = next((item.reason for item in value if isinstance(item, Unknown)), "")
    return seen if reason else value, reason


def combine(gather: Gather, verdicts: list[Verdict]) -> Verdict:
    """Kleene's tables."""
    if gather is Gather.ALL:
        if False in verdicts:
            return False
        return None if None in verdicts else True
    some = True if True in verdicts else None if None in verdicts else False
    return some if gather is Gather.ANY else invert(some)


def _mark(whole: Explained) -> Explained:
    """Mark the parts that decided: those whose verdict the whole could not do without."""
    if not whole.parts:
        return replace(whole, decided=True)
    if whole.text == Gather.ALL.value:
        deciding = {whole.verdict}
    else:
        some = whole.verdict if whole.text == Gather.ANY.value else invert(whole.verdict)
        deciding = {some}
    return replace(
        whole,
        decided=True,
        parts=tuple(_mark(part) if part.verdict in deciding else part for part in whole.parts),
    )
