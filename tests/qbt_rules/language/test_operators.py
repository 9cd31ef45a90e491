"""What each operator means for each kind of field."""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.qbt_rules.language.subjects import NOW

from qbt_rules.language.fields import FIELDS, Kind, find_field
from qbt_rules.language.operators import ALL_OPERATORS, NEGATIVE, OPERATORS, compile_test
from qbt_rules.language.patterns import (
    PATIENCE,
    PLAIN_LENGTH,
    TooSlow,
    compile_search,
    is_plain,
)


def holds(field: str, operator: str, wanted: Any, value: Any) -> bool:
    return compile_test(find_field(field), operator, wanted, NOW)(value)


@pytest.mark.parametrize(
    ("field", "operator", "wanted", "fits", "misfits"),
    [
        ("info.name", "==", "Film", "Film", "film"),
        ("info.name", "!=", "Film", "film", "Film"),
        ("info.name", "contains", "ilm", "Film", "Fim"),
        ("info.name", "not_contains", "ilm", "Fim", "Film"),
        ("info.name", "matches", r"(?i)s\d\de\d\d", "Show.S01E02", "Show"),
        ("info.name", "==", 1984, "1984", "84"),
        ("info.category", "in", ["a", "b"], "b", "c"),
        ("info.category", "not_in", ["a", "b"], "c", "b"),
        ("info.ratio", ">=", 2.0, 2.0, 1.99),
        ("info.ratio", ">", "2", 2.1, 2),
        ("info.num_complete", "<=", 2, 2, 3),
        ("info.num_complete", "in", [1, "2"], 2, 3),
        ("info.size", "larger_than", "10GB", 10**10 + 1, 10**10),
        ("info.size", "smaller_than", "10 GiB", 10 * 2**30 - 1, 10 * 2**30),
        ("info.size", "==", "1 KiB", 1024, 1000),
        ("info.upspeed", "<", "5 MB/s", 4_999_999, 5_000_000),
        ("info.seeding_time", ">", "7d", 7 * 86_400 + 1, 7 * 86_400),
        ("info.seeding_time", "older_than", "14 days", 14 * 86_400 + 1, 14 * 86_400),
        ("info.seeding_time", "newer_than", 60, 59, 60),
        ("info.auto_tmm", "==", True, True, False),
        ("info.auto_tmm", "!=", "true", False, True),
        ("info.state", "==", "pausedUP", "stoppedUP", "stalledUP"),
        ("info.state", "in", ["uploading", "pausedUP"], "stoppedUP", "stoppedDL"),
        ("info.state", "not_in", ["stoppedUP"], "stalledUP", "stoppedUP"),
        ("info.state", "contains", "paused", "stoppedUP", "stalledUP"),
        ("info.state", "matches", "^stopped", "stoppedDL", "stalledUP"),
        ("app.save_path", "contains", "/stash", "/stash/x", "/pool"),
        ("app.max_active", ">", 3, 4, 3),
        ("time.weekday", "in", ["saturday", "sunday"], "sunday", "monday"),
    ],
)  # fmt: skip
def test_a_comparison(field: str, operator: str, wanted: Any, fits: Any, misfits: Any) -> None:
    assert holds(field, operator, wanted, fits) is True
    assert holds(field, operator, wanted, misfits) is False


def test_ages_are_counted_from_the_time_of_the_job() -> None:
    month_ago = NOW - timedelta(days=30)
    assert holds("info.completion_on", "older_than", "30 days", month_ago - timedelta(seconds=1))
    assert not holds("info.completion_on", "older_than", "30 days", month_ago)
    assert holds("info.added_on", "newer_than", "1h30m", NOW - timedelta(minutes=89))


def test_dates_compare_with_dates() -> None:
    assert holds("info.added_on", ">", "2026-01-31", datetime(2026, 2, 1, tzinfo=UTC))
    assert not holds(
        "info.added_on", ">=", "2026-01-31T12:00:00Z", datetime(2026, 1, 31, tzinfo=UTC)
    )


@pytest.mark.parametrize(
    ("operator", "wanted", "items", "expected"),
    [
        ("==", "hd", ["uhd", "hd"], True),
        ("==", "hd", ["uhd"], False),
        ("!=", "hd", ["uhd"], True),
        ("!=", "hd", ["uhd", "hd"], False),
        ("contains", "hd", ["uhd"], True),
        ("not_contains", "hd", ["uhd"], False),
        ("in", ["a", "b"], ["c", "b"], True),
        ("not_in", ["a", "b"], ["c"], True),
        ("not_in", ["a", "b"], ["c", "b"], False),
        ("matches", "^x", ["ax"], False),
        ("==", "hd", [], False),
        ("!=", "hd", [], True),
    ],
)
def test_of_a_list_one_item_is_enough_and_none_may_fit_a_negative(
    operator: str, wanted: Any, items: list[str], expected: bool
) -> None:
    assert holds("info.tags", operator, wanted, items) is expected


@given(st.lists(st.sampled_from(["a", "b", "c"])), st.sampled_from(sorted(NEGATIVE)))
def test_a_negative_operator_is_the_opposite_of_its_positive_one(
    items: list[str], negative: str
) -> None:
    wanted: Any = ["a", "b"] if negative == "not_in" else "a"
    positive = holds("info.tags", NEGATIVE[negative], wanted, items)
    assert holds("info.tags", negative, wanted, items) is not positive


@pytest.mark.parametrize(
    ("field", "operator", "wanted", "said"),
    [
        ("info.nmae", "==", "x", "did you mean info.name?"),
        ("ratio", "==", 1, "did you mean info.ratio?"),
        ("zzz", "==", 1, "there is no field zzz"),
        ("app.", "==", 1, "there is no field app."),
        ("info.name", "equals", "x", "there is no operator equals; did you mean ==?"),
        ("info.name", "contain", "x", "did you mean contains?"),
        ("info.name", ">", "x", "does not fit info.name, which is text"),
        ("info.ratio", "contains", 1, "does not fit info.ratio, which is number"),
        ("info.added_on", "==", "2026-01-01", "does not fit info.added_on"),
        ("info.ratio", ">", "two", "'two' is not a number"),
        ("info.ratio", ">", True, "must be a number"),
        ("info.ratio", ">", float("nan"), "must be a number"),
        ("info.size", ">", "10M", "write MB (1000s) or MiB (1024s)"),
        ("info.size", ">", [1], "must be a number"),
        ("info.added_on", "older_than", "30", "not a duration"),
        ("info.added_on", "older_than", "soon", "not a duration"),
        ("info.added_on", "older_than", "99999999w", "longer than dates go back"),
        ("info.added_on", ">", "soon", "is not a date"),
        ("info.auto_tmm", "==", "on", "must be true or false"),
        ("info.name", "in", "x", "must be a list"),
        ("info.name", "in", [], "must be a list with something in it"),
        ("info.name", "==", ["x"], "must be text"),
        ("info.name", "contains", True, "must be text"),
        ("info.name", "matches", "(", "is no regular expression"),
        ("info.state", "==", "seeding", "there is no state seeding; there are allocating, "),
        ("info.state", "==", "stalledup", "did you mean stalledUP?"),
        ("app.x", "==", ["x"], "must be text, a number, true or false"),
        ("time.weekday", "==", "mon", "there is no weekday mon; did you mean monday?"),
        ("time.weekday", "not_in", ["sunday", "x"], "there is no weekday x"),
        ("info.name", "matches", "[[:alpha:]]+", "there are no classes like [:alpha:]"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_what_would_be_right(
    field: str, operator: str, wanted: Any, said: str
) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011  the text is looked at
        compile_test(find_field(field), operator, wanted, NOW)
    assert said in str(refused.value)


def test_what_cannot_be_compared_is_no_answer() -> None:
    for odd in ("four", True, None):
        for operator in (">", "==", "!=", "in", "not_in"):
            with pytest.raises(TypeError):
                holds("app.max_active", operator, [3, 4] if "in" in operator else 3, odd)
    with pytest.raises(TypeError):
        holds("app.dht", "!=", "true", True)
    assert holds("app.dht", "==", True, True)
    assert holds("app.max_ratio", "in", ["none", 2], 2.0)


@pytest.mark.parametrize("operator", ["==", "!=", "<", ">", "in", "not_in"])
def test_a_number_of_any_length_is_a_number(operator: str) -> None:
    huge = 10**400
    wanted = [huge] if "in" in operator else huge
    assert holds("info.ratio", operator, wanted, 2.0) is (operator in ("!=", "<", "not_in"))


@pytest.mark.parametrize("written", ["monday", "Monday", "MONDAY"])
def test_weekdays_are_known_in_any_case(written: str) -> None:
    assert holds("time.weekday", "==", written, "monday")
    assert not holds("time.weekday", "not_in", [written, "friday"], "monday")


def test_every_kind_has_operators_and_every_operator_a_kind() -> None:
    assert set(OPERATORS) == set(Kind)
    assert {row.kind for row in FIELDS.values()} == set(Kind) - {Kind.ANY}
    assert {"==", "matches", "older_than", "larger_than", "not_in"} <= set(ALL_OPERATORS)


# -- patterns


def test_a_pattern_that_backtracks_without_end_is_given_up() -> None:
    search = compile_search(r"^(?:a|b|ab)*c$")
    began = time.monotonic()
    for _ in range(PATIENCE):
        with pytest.raises(TooSlow, match="takes more than"):
            search("ab" * 60 + "cd")
    with pytest.raises(TooSlow, match="not tried again"):
        search("short")
    assert time.monotonic() - began < 60


@pytest.mark.parametrize("pattern", ["(?i).*(1080p|2160p|4k).*", r"s\d+e\d+", "[(*+]{2}x", r"\(*a"])
def test_usual_patterns_are_plain(pattern: str) -> None:
    assert is_plain(pattern)


@pytest.mark.parametrize(
    "pattern",
    ["(a+)+b", "(a|aa)*", r"(a)\1", "(?P<x>a)(?P=x)", "a*b*c*d*", "(a){2,}", "(a)?(?(1)b)"],
)
def test_patterns_that_may_explode_are_timed(pattern: str) -> None:
    assert not is_plain(pattern)


@given(st.text(alphabet="ab1 .-", max_size=40))
def test_a_timed_pattern_finds_what_a_plain_one_finds(text: str) -> None:
    # The same language, once with a group that is repeated.
    assert compile_search(r"a(?:b)?1")(text) is compile_search(r"a(?:b){0,1}1")(text)


@pytest.mark.parametrize(
    "pattern",
    [
        *("(?:Film){e<=1}", "(Film){e}", "Film{i<=1,d<=2}", "(Film){1<=e<=3}", "x{2i+2d+1s<=4}"),
        *("(?i)(Film){s<2:[a-z]}", "(?:a){2}{e<=1}", r"\\{d}"),
    ],
)
def test_a_pattern_that_would_match_approximately_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"approximate matches.*write \\\{") as refused:
        compile_search(pattern)
    assert pattern in str(refused.value).replace("\\\\", "\\")


@pytest.mark.parametrize(
    "pattern",
    ["{" + "d<=1," * 40, "{" + "1d+2i<=3," * 40 + "!}", "[a" * 20_000],
    ids=["costs without an end", "costs with another end", "classes without an end"],
)
def test_looking_for_approximate_matches_takes_no_long_time_itself(pattern: str) -> None:
    begun = time.process_time()
    with suppress(ValueError):
        compile_search(pattern)
    assert time.process_time() - begun < 3


@pytest.mark.parametrize(
    ("pattern", "text", "other"),
    [
        (r"(?:Film)\{e<=1\}", "Film{e<=1}", "Filn"),
        ("[{e<=1}]x", "{x", "dx"),
        ("{side} (a)+", "{side} a", "side a"),  # a brace that repeats nothing is one
        (r"(b)+{2d}|\N{DIGIT ONE}{2}x", "11x", "1x"),
        ("(?:ab){,2}c{1,}{x}", "c{x}", "c"),
    ],
)
def test_a_brace_means_what_it_means_in_python_however_long_the_text_is(
    pattern: str, text: str, other: str
) -> None:
    search = compile_search(pattern)
    long = "z" * PLAIN_LENGTH
    assert [search(text), search(long + text)] == [True, True]
    assert [search(other), search(long + other)] == [False, False]
