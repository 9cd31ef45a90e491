"""YAML as people expect it to work, with the line of every value.

Scalars follow YAML 1.2: `on`, `off`, `yes`, `no`, `010` and `12:30` are text.  Two deviations: keys
are always text, and a number with an exponent needs a point (`1e5` may be part of a hash).
Duplicate keys, more than one document, tags other than `!!str`, deep nesting, and files or aliases
that grow without measure are refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from seedkeep.errors import Misused
from seedkeep.small_file import read_small_file

MAX_BYTES = 1 << 20
MAX_DEPTH = 50
MAX_VALUES = 100_000  # after aliases are written out

KeyPath = tuple[str | int, ...]

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLS = {
    word: word.lower() == "true" for word in ("true", "True", "TRUE", "false", "False", "FALSE")
}
_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)", re.ASCII)
_HEX_OR_OCTAL = re.compile(r"0x[0-9a-fA-F]+|0o[0-7]+", re.ASCII)
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*)([eE][-+]?[0-9]+)?", re.ASCII)
_MAX_DIGITS = 4000  # int() of a longer text is refused by Python
_TEXT_TAGS = frozenset({"!", "tag:yaml.org,2002:str"})


class BadYaml(Misused):
    """The file is not YAML, or more than we accept.  The brief has file, line and column."""

    code = "yaml"


@dataclass(frozen=True)
class Document:
    """What a file says: `data` is None for an empty file."""

    name: str
    data: Any
    positions: Mapping[KeyPath, tuple[int, int]]  # of keys and items; (line, column) from 1

    def place(self, path: KeyPath) -> str:
        """ "config.yml:4:3" for the nearest known part of `path`."""
        line, column = self.position(path)
        return f"{self.name}:{line}:{column}" if line else self.name

    def position(self, path: KeyPath) -> tuple[int, int]:
        """(line, column) of the nearest known part of `path`; (0, 0) when it is the whole file."""
        while path and path not in self.positions:
            path = path[:-1]
        return self.positions.get(path, (0, 0))


def load_yaml(path: Path, *, typed: bool = True) -> Document:
    """Read a file; `typed=False` leaves every scalar but null as the text that was written.

    Raises:
        BadYaml: Not UTF-8, or not acceptable as YAML.
        Misused: It cannot be read, is not a regular file, or is too large.
    """
    content = read_small_file(path, MAX_BYTES)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as why:
        line = content.count(b"\n", 0, why.start) + 1
        raise BadYaml(f"{path}:{line}: not UTF-8") from why
    return parse_yaml(text, str(path), typed=typed)


def parse_yaml(text: str, name: str, *, typed: bool = True) -> Document:
    """Parse one document; `name` stands for the file in messages.  Raises `BadYaml`."""
    return _Builder(text, name, typed).document()


@dataclass
class _Built:
    value: Any
    weight: int  # values inside, aliases written out


@dataclass
class _Builder:
    text: str
    name: str
    typed: bool
    positions: dict[KeyPath, tuple[int, int]] = field(default_factory=dict)
    anchors: dict[str, _Built] = field(default_factory=dict)
    weight: int = 0
    events: Any = None  # PyYAML's parser

    def document(self) -> Document:
        # Events, not nodes: PyYAML's composer recurses in C and would overflow on deep nesting.
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        try:
            self.events = loader(self.text)
            try:
                return Document(self.name, self._stream(), self.positions)
            finally:
                self.events.dispose()
        except yaml.MarkedYAMLError as why:
            mark = why.problem_mark or why.context_mark
            raise self._error(mark, _in_words(why, self.text)) from why
        except yaml.YAMLError as why:
            raise BadYaml(f"{self.name}: {' '.join(str(why).split())}") from why

    def _stream(self) -> Any:
        self.events.get_event()  # stream start
        value = None
        if not isinstance(self.events.get_event(), yaml.StreamEndEvent):
            value = self._value(self.events.get_event(), ()).value
            self.events.get_event()  # document end
            event = self.events.get_event()
            if not isinstance(event, yaml.StreamEndEvent):
                raise self._error(event.start_mark, "a second document; only one is read")
        return value

    def _value(self, event: Any, path: KeyPath) -> _Built:
        if len(path) > MAX_DEPTH:
            raise self._error(event.start_mark, f"nested deeper than {MAX_DEPTH}")
        if isinstance(event, yaml.AliasEvent):
            built = self.anchors.get(str(event.anchor))
            if built is None:
                raise self._error(event.start_mark, f"*{event.anchor} stands for nothing before it")
            self._count(event, built.weight)
            return built
        before = self.weight
        self._count(event, 1)
        if isinstance(event, yaml.ScalarEvent):
            value = self._scalar(event)
        elif isinstance(event, yaml.MappingStartEvent):
            value = self._mapping(event, path)
        else:
            value = self._sequence(event, path)
        built = _Built(value, self.weight - before)
        if event.anchor is not None:
            self.anchors[event.anchor] = built
        return built

    def _count(self, event: Any, weight: int) -> None:
        self.weight += weight
        if self.weight > MAX_VALUES:
            raise self._error(event.start_mark, f"more than {MAX_VALUES} values")

    def _mapping(self, start: Any, path: KeyPath) -> dict[str, Any]:
        self._check_tag(start, "tag:yaml.org,2002:map")
        found: dict[str, Any] = {}
        while not isinstance(event := self.events.get_event(), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent):
                raise self._error(event.start_mark, "a key must be plain text")
            key = event.value
            if key in found:
                line = self.positions[(*path, key)][0]
                raise self._error(event.start_mark, f"{key} is here twice (also in line {line})")
            self._count(event, 1)
            self.positions[(*path, key)] = _position(event.start_mark)
            found[key] = self._value(self.events.get_event(), (*path, key)).value
        return found

    def _sequence(self, start: Any, path: KeyPath) -> list[Any]:
        self._check_tag(start, "tag:yaml.org,2002:seq")
        found: list[Any] = []
        while not isinstance(event := self.events.get_event(), yaml.SequenceEndEvent):
            here = (*path, len(found))
            self.positions[here] = _position(event.start_mark)
            found.append(self._value(event, here).value)
        return found

    def _scalar(self, event: Any) -> Any:
        if event.tag is not None and event.tag not in _TEXT_TAGS:
            raise self._error(event.start_mark, f"the tag {event.tag} is not supported")
        plain = event.tag is None and not event.style
        if not plain:
            return event.value
        return plain_scalar(event.value) if self.typed else _null_or_text(event.value)

    def _check_tag(self, event: Any, allowed: str) -> None:
        if event.tag not in (None, "!", allowed):
            raise self._error(event.start_mark, f"the tag {event.tag} is not supported")

    def _error(self, mark: Any, problem: str) -> BadYaml:
        place = "".join(f":{number}" for number in _position(mark)) if mark else ""
        return BadYaml(f"{self.name}{place}: {problem}")


def _in_words(why: Any, text: str) -> str:
    """What the parser found, and what people mostly have done then."""
    problem = str(why.problem or "not YAML")
    if "cannot start any token" in problem:
        found = text[why.problem_mark.index : why.problem_mark.index + 1]
        if found == "\t":
            return "a tab; YAML is indented with spaces"
        return f"text that begins with {found} needs quotes"
    advice = next((words for part, words in _ADVICE.items() if part in problem), "")
    begins = why.context_mark
    if begins is not None and begins.line < why.problem_mark.line:
        problem += f" for what begins in line {begins.line + 1}"
    return f"{problem}; {advice}" if advice else problem


_ADVICE = {  # by a part of libyaml's words
    "mapping values are not allowed": "text with a colon in it needs quotes",
    "unknown escape character": "write text with a backslash in single quotes: 'a\\d'",
    "unexpected end of stream": "is a quote not closed?",
    "',' or '}'": "is a { not closed?",
    "',' or ']'": "is a [ not closed?",
    "expected '-' indicator": "is it indented like the lines around it?",
    "expected key": "is it indented like the lines around it?",
    "expected <block end>": "is it indented like the lines around it?",
    "expected ':'": "a key needs a colon and a space behind it",
}


def plain_scalar(text: str) -> str | int | float | bool | None:
    """What an unquoted scalar means."""
    if text in _NULL:
        return None
    if text in _BOOLS:
        return _BOOLS[text]
    if len(text) <= _MAX_DIGITS:
        if _INT.fullmatch(text):
            return int(text)
        if _HEX_OR_OCTAL.fullmatch(text):
            return int(text, 0)
        if _FLOAT.fullmatch(text):
            return float(text)
    return text


def _null_or_text(text: str) -> str | None:
    return None if text in _NULL else text


def _position(mark: Any) -> tuple[int, int]:
    return mark.line + 1, mark.column + 1
