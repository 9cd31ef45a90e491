"""Regular expressions that cannot hang the worker, whoever wrote them."""

from __future__ import annotations

import re
from collections.abc import Callable

import regex

TIME_LIMIT_S = 0.1  # for one text
PATIENCE = 3  # texts that took too long; then the pattern is not tried again
# A pattern without a repeated group and with few open repetitions costs at most about the cube of
# the length: some milliseconds for a name, hours for a long path.
PLAIN_LENGTH = 300
PLAIN_REPEATS = 2
_POSIX_CLASS = re.compile(r"(?<=\[)\[:\^?[a-z]+:\]")
# What stays as it is: what is escaped, classes, repetitions.  What is left of braces, Python takes
# literally, and the library for the costs of an approximate match.
_KEPT = r"\\N\{[^}]*\}|\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\{(?:\d+|\d*,\d*)\}"
_BRACE = re.compile(rf"({_KEPT})|\{{", re.DOTALL)
# Each text is a cost in one way only, or looking for many of them would take for ever.
_COST = (
    r"[deis](?:<=?\d+)?|\d+<=?[deis]<=?\d+"
    r"|(?:\d+[dis](?:\+\d*[dis])*|[dis](?:\+\d*[dis])+)<=?\d+"
)
_APPROXIMATE = re.compile(rf"{_KEPT}|(\{{(?:{_COST})(?:,(?:{_COST}))*(?::[^}}]*)?\}})", re.DOTALL)


class TooSlow(Exception):
    """The pattern needs too long for this text; whether it fits is not known."""


def compile_search(pattern: str) -> Callable[[str], bool]:
    """A function that says whether a text has a match anywhere; it may raise `TooSlow`.

    Raises:
        ValueError: It is no regular expression of Python's.
    """
    if found := _POSIX_CLASS.search(pattern):
        raise ValueError(
            f"{pattern!r}: there are no classes like {found[0]} here; write [a-z], \\d, \\s or \\w"
        )
    try:
        # Both have to take it: which of them is used depends on the text.
        plain = re.compile(pattern).search
        if costs := next(filter(None, (cost[1] for cost in _APPROXIMATE.finditer(pattern))), None):
            raise ValueError(
                f"{pattern!r}: {costs} asks for approximate matches, which there are none of here;"
                " for a brace write \\{"
            )
        timed = regex.compile(_BRACE.sub(lambda found: found[1] or r"\{", pattern)).search
    except (re.error, regex.error, OverflowError, RecursionError) as why:
        raise ValueError(f"{pattern!r} is no regular expression: {why}") from why
    slow = 0

    def search_timed(text: str) -> bool:
        # Reading the clock costs five times the search, so this is not for every name.
        nonlocal slow
        if slow >= PATIENCE:
            raise TooSlow(f"{pattern!r} took too long {slow} times and is not tried again")
        try:
            return timed(text, timeout=TIME_LIMIT_S) is not None
        except TimeoutError:
            slow += 1
            raise TooSlow(f"{pattern!r} takes more than {TIME_LIMIT_S} s") from None

    if not is_plain(pattern):
        return search_timed

    def search(text: str) -> bool:
        return plain(text) is not None if len(text) <= PLAIN_LENGTH else search_timed(text)

    return search


def is_plain(pattern: str) -> bool:
    """Whether backtracking is bounded well: no repeated group, no back reference, few repeats."""
    bare = re.sub(r"\\[1-9k]", "\\\\0", pattern)
    if bare != pattern or "(?P=" in pattern or "(?(" in pattern:
        return False
    bare = re.sub(r"\\.", "x", pattern, flags=re.DOTALL)
    bare = re.sub(r"\[\^?\]?[^\]]*\]", "x", bare)
    if re.search(r"\)(?:[*+]|\{)", bare):
        return False
    return len(re.findall(r"[*+]|\{\d*,\d*\}", bare)) <= PLAIN_REPEATS
