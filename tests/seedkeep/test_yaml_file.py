"""YAML as people expect it: text stays text, mistakes have a line, bombs do not go off."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedkeep.errors import Misused
from seedkeep.yaml_file import MAX_BYTES, BadYaml, load_yaml, parse_yaml, plain_scalar


def data(text: str) -> Any:
    return parse_yaml(text, "x.yml").data


@pytest.mark.parametrize(
    "word", ["on", "off", "yes", "no", "y", "010", "12:30", "1e5", "1_000", "2026-11-21", ".inf"]
)
def test_words_that_older_yaml_changes_stay_text(word: str) -> None:
    assert data(f"key: {word}") == {"key": word}


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("0", 0),
        ("-12", -12),
        ("0x1f", 31),
        ("0o17", 15),
        ("1.50", 1.5),
        ("1.0e3", 1000.0),
        (".5", 0.5),
    ],
)
def test_plain_words_have_their_types(word: str, value: object) -> None:
    assert data(f"key: {word}") == {"key": value}
    assert type(data(f"key: {word}")["key"]) is type(value)


def test_quotes_and_a_tag_make_text() -> None:
    assert data("""{a: "1", b: 'true', c: !!str 2, d: ! 3}""") == {
        "a": "1",
        "b": "true",
        "c": "2",
        "d": "3",
    }


def test_a_number_that_no_program_reads_stays_text() -> None:
    assert plain_scalar("9" * 5000) == "9" * 5000


def test_untyped_leaves_all_but_null_as_it_was_written() -> None:
    document = parse_yaml("{a: 1.10, b: true, c: , d: [0x1f, ~], e: '~'}", "x", typed=False)
    assert document.data == {
        "a": "1.10",
        "b": "true",
        "c": None,
        "d": ["0x1f", None],
        "e": "~",
    }


def test_keys_are_always_text() -> None:
    assert data("{1: a, true: b, on: c, ~: d}") == {"1": "a", "true": "b", "on": "c", "~": "d"}


@pytest.mark.parametrize("text", ["", "# nothing", "---\n", "---\n...\n"])
def test_an_empty_file_says_nothing(text: str) -> None:
    assert data(text) is None


def test_every_value_knows_its_place() -> None:
    document = parse_yaml("a:\n  b:\n    - x\n    - c: y\n", "x.yml")
    assert document.place(("a", "b")) == "x.yml:2:3"
    assert document.place(("a", "b", 1)) == "x.yml:4:7"
    assert document.place(("a", "b", 1, "c")) == "x.yml:4:7"
    assert document.place(("a", "other")) == "x.yml:1:1"
    assert document.place(()) == "x.yml"


def test_an_alias_repeats_its_anchor() -> None:
    assert data("a: &here [1, 2]\nb: *here\nc: &word x\nd: *word\n") == {
        "a": [1, 2],
        "b": [1, 2],
        "c": "x",
        "d": "x",
    }


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: 1\nb: 2\na: 3", r"x\.yml:3:1: a is here twice \(also in line 1\)"),
        ("a: b: c", r"x\.yml:1:5: mapping values are not allowed"),
        ("a:\n\t- b", r"x\.yml:2:1: "),
        ("a: [1", r"x\.yml:\d+:\d+: "),
        ("--- 1\n--- 2", r"x\.yml:2:1: a second document"),
        ("a: !!python/object:os.system x", r"x\.yml:1:4: the tag .*python/object"),
        ("a: !!set {b}", r"the tag .*set is not supported"),
        ("a: !mine [b]", r"the tag !mine is not supported"),
        ("a: *nothing", r"x\.yml:1:4: \*nothing stands for nothing"),
        ("a: &a [*a]", r"x\.yml:1:8: \*a stands for nothing"),
        ("? [a]\n: b", r"x\.yml:1:3: a key must be plain text"),
        ("a:\n\t- b", r"x\.yml:2:1: a tab; YAML is indented with spaces"),
        ("a: @b", r"x\.yml:1:4: text that begins with @ needs quotes"),
        ("a: b: c", r"x\.yml:1:5: mapping values .*; text with a colon in it needs quotes"),
        ('a: "\\d"', r"x\.yml:1:5: .*; write text with a backslash in single quotes: 'a\\d'"),
        ("a: [\n1", r"x\.yml:3?2?:\d+: .* for what begins in line 1; is a \[ not closed\?"),
        ("a: x\n'b", r"for what begins in line 2; is a quote not closed|is a quote not closed"),
        ("- a\n b: c", r"x\.yml:2:\d+: "),
        ("a: \x01", r"x\.yml: .*control characters"),
        ("%YAML 3.0\n--- a", r"x\.yml:1:1: "),
    ],
)
def test_a_mistake_is_reported_with_its_place(text: str, problem: str) -> None:
    with pytest.raises(BadYaml, match=problem) as caught:
        data(text)
    assert caught.value.exit_code == 2


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(BadYaml, match="nested deeper than 50"):
        data("[" * 100_000)


def test_aliases_that_multiply_are_refused_at_once() -> None:
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 30)
    )
    before = time.monotonic()
    with pytest.raises(BadYaml, match="more than 100000 values"):
        data(bomb)
    assert time.monotonic() - before < 5


def test_a_file_is_read_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / "x.yml"
    path.write_bytes(b"\xef\xbb\xbfname: \xc3\xbc\n")
    document = load_yaml(path)
    assert (document.data, document.name) == ({"name": "ü"}, str(path))


def test_a_file_that_is_not_utf8_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "x.yml"
    path.write_bytes(b"a: 1\nb: \xfc\n")
    with pytest.raises(BadYaml, match=r"x\.yml:2: not UTF-8"):
        load_yaml(path)


def test_a_file_that_is_too_large_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.yml"
    path.write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(Misused, match="larger than 1048576 bytes"):
        load_yaml(path)


def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(Misused, match="not a regular file"):
            load_yaml(path)
    with pytest.raises(Misused, match=r"cannot read .*missing\.yml\nNo such file"):
        load_yaml(tmp_path / "missing.yml")
    with pytest.raises(Misused, match=r"cannot read|not a regular file"):
        load_yaml(tmp_path)


@given(st.text(max_size=200))
def test_any_text_is_a_value_or_a_clear_error(text: str) -> None:
    try:
        found = data(text)
    except BadYaml as why:
        found = why.brief
    assert isinstance(found, (str, int, float, list, dict, type(None)))
