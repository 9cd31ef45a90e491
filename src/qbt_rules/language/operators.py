"""What each operator asks of a value.

`compile_test` turns operator and value of a rule into a function once, so that ten thousand
torrents cost a call each.
"""

from __future__ import annotations

import difflib
import math
import operator
from collections.abc import Callable, Collection
from datetime import UTC, datetime

from qbt_rules.language.fields import WEEKDAYS, Field, Kind
from qbt_rules.language.patterns import compile_search
from qbt_rules.language.values import Value
from seedkeep.torrent_client import TorrentState
from seedkeep.units import parse_duration, parse_size

Test = Callable[[Value], bool]

_ORDER: dict[str, Callable[[Value, Value], bool]] = {
    ">": operator.gt,
    "<": operator.lt,
    ">=": operator.ge,
    "<=": operator.le,
    "larger_than": operator.gt,
    "smaller_than": operator.lt,
}
# A negative operator on a list asks that no item fits; it is the opposite of its positive one.
NEGATIVE = {"!=": "==", "not_contains": "contains", "not_in": "in"}
_LIKE_WORDS = ("==", "!=", "in", "not_in")
_AGE = ("older_than", "newer_than")
_TEXT_OPERATORS = ("==", "!=", "contains", "not_contains", "matches", "in", "not_in")
_NUMBER_OPERATORS = ("==", "!=", "in", "not_in", *_ORDER)
_DATE_OPERATORS = (*_AGE, ">", "<", ">=", "<=")
OPERATORS: dict[Kind, tuple[str, ...]] = {
    Kind.TEXT: _TEXT_OPERATORS,
    Kind.STATE: _TEXT_OPERATORS,
    Kind.NUMBER: _NUMBER_OPERATORS,
    Kind.BYTES: _NUMBER_OPERATORS,
    Kind.SPEED: _NUMBER_OPERATORS,
    Kind.SECONDS: (*_NUMBER_OPERATORS, *_AGE),
    Kind.DATE: _DATE_OPERATORS,
    Kind.FLAG: ("==", "!="),
    Kind.ANY: (*_TEXT_OPERATORS, *_ORDER),
}
ALL_OPERATORS = tuple(dict.fromkeys(name for names in OPERATORS.values() for name in names))

_OLD_STATES = {"pausedUP": "stoppedUP", "pausedDL": "stoppedDL"}
_SPELLINGS = {new: (new, old) for old, new in _OLD_STATES.items()}
STATES = (*(state.value for state in TorrentState), *_OLD_STATES)


# Words of other programs, and what they are here.
_OTHER_WORDS = {
    **dict.fromkeys(("=", "===", "eq", "equal", "equals", "is"), "=="),
    **dict.fromkeys(("<>", "ne", "not_equal", "not_equals", "is_not"), "!="),
    **dict.fromkeys(("gt", "greater", "greater_than", "more_than"), ">"),
    **dict.fromkeys(("lt", "less", "less_than", "fewer_than"), "<"),
    **dict.fromkeys(("gte", "ge", "=>", "at_least"), ">="),
    **dict.fromkeys(("lte", "le", "=<", "at_most"), "<="),
    **dict.fromkeys(("bigger_than", "bigger"), "larger_than"),
    **dict.fromkeys(("regex", "regexp", "match", "=~"), "matches"),
    **dict.fromkeys(("includes", "has", "like"), "contains"),
}


def compile_test(field: Field, name: str, wanted: Value, now: datetime) -> Test:
    """A function of one value of `field`; ages are counted from `now`.

    It may raise `patterns.TooSlow`.

    Raises:
        ValueError: The operator does not exist or does not fit the field, or the value does not
            fit either; the text says what would be right.
    """
    check_operator(field, name)
    if field.name == "time.weekday" and name in _LIKE_WORDS:
        wanted = [_weekday(day) for day in _list(wanted)] if "in" in name else _weekday(wanted)
    if name in NEGATIVE:
        positive = compile_test(field, NEGATIVE[name], wanted, now)
        return lambda value: not positive(value)
    test = _for_one(field.kind, name, wanted, now)
    if not field.many:
        return test
    return lambda items: any(map(test, items))


def check_operator(field: Field, name: str) -> None:
    fitting = OPERATORS[field.kind]
    if name in fitting:
        return
    if name in ALL_OPERATORS:
        raise ValueError(
            f"{name} does not fit {field.name}, which is {field.kind.value};"
            f" use one of {', '.join(fitting)}"
        )
    word = _OTHER_WORDS.get(name.lower().replace(" ", "_"))
    near = [word] if word else difflib.get_close_matches(name, ALL_OPERATORS, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(ALL_OPERATORS)}"
    raise ValueError(f"there is no operator {name}; {hint}")


def _for_one(kind: Kind, name: str, wanted: Value, now: datetime) -> Test:
    if kind is Kind.STATE:
        return _state_test(name, wanted)
    if kind is Kind.DATE:
        return _date_test(name, wanted, now)
    if name in _AGE:
        return _order_test(_ORDER[">" if name == "older_than" else "<"], _seconds(wanted))
    if name in _ORDER:
        order = _any_order_test if kind is Kind.ANY else _order_test
        return order(_ORDER[name], _number(wanted) if kind is Kind.ANY else _operand(kind, wanted))
    return _likeness_test(kind, name, wanted)


def _likeness_test(kind: Kind, name: str, wanted: Value) -> Test:
    if name == "in":
        chosen = frozenset(_operand(kind, item) for item in _list(wanted))
        return _any_test(chosen) if kind is Kind.ANY else lambda value: value in chosen
    if name == "contains":
        part = _text(wanted)
        return lambda value: part in str(value)
    if name == "matches":
        search = compile_search(_text(wanted))
        return lambda value: search(str(value))
    right = _operand(kind, wanted)
    return _any_test({right}) if kind is Kind.ANY else lambda value: bool(value == right)


def _order_test(compare: Callable[[Value, Value], bool], right: Value) -> Test:
    return lambda value: compare(value, right)


def _any_test(chosen: Collection[Value]) -> Test:
    # "true" is unlike true for ever, and so its opposite always right: neither is meant.
    kinds = {_sort_of(item) for item in chosen}

    def test(value: Value) -> bool:
        if _sort_of(value) not in kinds:
            raise TypeError
        return any(_sort_of(item) is _sort_of(value) and item == value for item in chosen)

    return test


def _sort_of(value: Value) -> type:
    return float if type(value) is int else type(value)


def _any_order_test(compare: Callable[[Value, Value], bool], right: Value) -> Test:
    # A preference may be text where somebody expected a number.
    def test(value: Value) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TypeError
        return compare(value, right)

    return test


def _state_test(name: str, wanted: Value) -> Test:
    if name in ("==", "in"):
        chosen = frozenset(map(_state, _list(wanted) if name == "in" else [wanted]))
        return lambda value: value in chosen
    test = _likeness_test(Kind.TEXT, name, wanted)
    return lambda value: any(map(test, _SPELLINGS.get(value, (value,))))


def _date_test(name: str, wanted: Value, now: datetime) -> Test:
    if name in _AGE:
        try:
            limit = now - parse_duration(_text(wanted))
        except OverflowError:
            raise ValueError(f"{wanted!r} is longer than dates go back") from None
        return _order_test(operator.lt if name == "older_than" else operator.gt, limit)
    return _order_test(_ORDER[name], _date(wanted))


def _plain(wanted: Value) -> Value:
    if isinstance(wanted, str | int | float):
        return wanted
    raise ValueError(f"the value {_shown(wanted)} must be text, a number, true or false")


def _text(wanted: Value) -> str:
    if isinstance(wanted, bool) or not isinstance(wanted, str | int | float):
        raise ValueError(f"the value {_shown(wanted)} must be text; put it in quotes")
    return str(wanted)


def _number(wanted: Value) -> int | float:
    if isinstance(wanted, str):
        try:
            return float(wanted) if "." in wanted else int(wanted)
        except ValueError:
            raise ValueError(f"the value {wanted!r} is not a number") from None
    number = isinstance(wanted, int | float) and not isinstance(wanted, bool)
    if not number or (isinstance(wanted, float) and math.isnan(wanted)):
        raise ValueError(f"the value {_shown(wanted)} must be a number")
    found: int | float = wanted
    return found


def _size(wanted: Value) -> int | float:
    return parse_size(wanted) if isinstance(wanted, str) else _number(wanted)


def _speed(wanted: Value) -> int | float:
    return _size(wanted.removesuffix("/s") if isinstance(wanted, str) else wanted)


def _seconds(wanted: Value) -> float:
    if isinstance(wanted, str) and not wanted.strip().isdecimal():
        return parse_duration(wanted).total_seconds()
    return _number(wanted)


def _flag(wanted: Value) -> bool:
    if isinstance(wanted, str) and wanted.lower() in ("true", "false"):
        return wanted.lower() == "true"
    if not isinstance(wanted, bool):
        raise ValueError(f"the value {_shown(wanted)} must be true or false")
    return wanted


def _date(wanted: Value) -> datetime:
    try:
        moment = datetime.fromisoformat(_text(wanted))
    except ValueError:
        raise ValueError(
            f"the value {_shown(wanted)} is not a date; write 2026-01-31 or 2026-01-31T12:00:00Z,"
            " or compare with older_than and newer_than"
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _state(wanted: Value) -> str:
    text = _text(wanted)
    if text not in STATES:
        near = difflib.get_close_matches(text, STATES, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(STATES))}"
        raise ValueError(f"there is no state {text}; {hint}")
    return _OLD_STATES.get(text, text)


def _weekday(wanted: Value) -> str:
    text = _text(wanted).lower()
    if text not in WEEKDAYS:
        near = difflib.get_close_matches(text, WEEKDAYS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(WEEKDAYS)}"
        raise ValueError(f"there is no weekday {text}; {hint}")
    return text


def _list(wanted: Value) -> list[Value]:
    if not isinstance(wanted, list) or not wanted:
        raise ValueError(f"the value {_shown(wanted)} must be a list with something in it")
    return wanted


_OPERANDS: dict[Kind, Callable[[Value], Value]] = {
    Kind.TEXT: _text,
    Kind.NUMBER: _number,
    Kind.BYTES: _size,
    Kind.SPEED: _speed,
    Kind.SECONDS: _seconds,
    Kind.FLAG: _flag,
    Kind.ANY: _plain,
}


def _operand(kind: Kind, wanted: Value) -> Value:
    """The value of a rule in the form that values of this kind have."""
    return _OPERANDS[kind](wanted)


def _shown(wanted: Value) -> str:
    text = repr(wanted)
    return text if len(text) <= 60 else text[:57] + "..."
