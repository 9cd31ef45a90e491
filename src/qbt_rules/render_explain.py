"""Why rules would or would not act on a torrent, as text for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from qbt_rules.engine import ExplainedRule
from qbt_rules.language.conditions import Explained
from qbt_rules.language.values import Verdict
from seedkeep.text import printable

_WORDS: dict[Verdict, str] = {True: "yes", False: "no", None: "unknown"}
_GATHERS = ("all", "any", "none")
MOST_SEEN = 80  # characters of a value


def explained(rules: Sequence[ExplainedRule]) -> str:
    """A tree for each rule; what decided is marked with an asterisk."""
    if not rules:
        return "there is no rule"
    lines = [line for rule in rules for line in (*_rule(rule), "")]
    return "\n".join([*lines, "* decided"])


def _rule(found: ExplainedRule) -> Iterator[str]:
    verdict = found.condition.verdict
    acts = "would act" if verdict and found.runs else "would not act"
    yield f"{printable(found.rule)} ({found.place}): {acts}"
    if not found.enabled:
        yield "  it is switched off"
    elif not found.runs:
        contexts = ", ".join(found.contexts)
        yield f"  it runs in jobs of the context {contexts} only"
    yield from _part(found.condition, 1)


def _part(part: Explained, depth: int) -> Iterator[str]:
    if part.text in _GATHERS and not part.parts:
        yield f"{'  ' * depth}* yes     there are no conditions: every torrent fits"
        return
    mark = "*" if part.decided else " "
    text = f"{'  ' * depth}{mark} {_WORDS[part.verdict]:<8}{printable(part.text)}"
    if part.reason:
        text += f"   ({printable(part.reason)})"
    elif not part.parts:
        text += f"   (seen: {_seen(part.seen)})"
    yield text
    for below in part.parts:
        yield from _part(below, depth + 1)


def _seen(value: object) -> str:
    shown = printable(str(value))
    return shown if len(shown) <= MOST_SEEN else shown[: MOST_SEEN - 1] + "…"
