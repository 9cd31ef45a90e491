"""Names on a terminal: nothing in them can move the cursor, lie, or make printing fail."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedkeep.text import printable, table, width


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Film (2020) ü 映画.mkv", "Film (2020) ü 映画.mkv"),
        ("two\nlines\r\tand", "two\\nlines\\r\\tand"),
        ("\x1b[31mred\x00", "\\x1b[31mred\\x00"),
        (os.fsdecode(b"caf\xe9"), "caf\\xe9"),
        ("\x85", "\\x85"),
        ("exe\u202egpj", "exe\\u202egpj"),
        ("\u2028", "\\u2028"),
        ("\ud800", "\\ud800"),
        ("\U000e0001", "\\U000e0001"),
        ("a\u00a0b\u3000c", "a\u00a0b\u3000c"),
        ("👨‍👩‍👧", "👨‍👩‍👧"),
        ("back\\slash", "back\\slash"),
    ],
)
def test_a_name_is_shown_on_one_harmless_line(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text(alphabet=st.characters()))
def test_any_text_can_be_printed_after_it(text: str) -> None:
    shown = printable(text)
    shown.encode("utf-8")
    assert len(shown.splitlines()) <= 1
    assert "\x1b" not in shown


def test_width_counts_columns() -> None:
    assert [width(text) for text in ("abc", "映画", "Ａ", "e\u0301", "ü")] == [3, 4, 2, 1, 1]


def test_a_table_is_aligned_by_columns_of_the_terminal() -> None:
    rows = [("映画", 5), ("a\nb", 1234), ("long name", "")]
    assert table(("name", "files"), rows, "lr").split("\n") == [
        "name       files",
        "映画           5",
        "a\\nb        1234",
        "long name",
    ]


def test_columns_without_a_letter_are_left_aligned() -> None:
    assert table(("a", "b"), [("xx", "yy")], "r") == " a  b\nxx  yy"
    assert table(("a", "b"), []) == "a  b"


def test_a_row_with_too_few_cells_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="shorter"):
        table(("a", "b"), [("x",)])
