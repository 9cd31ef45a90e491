"""A rule file into rules, or every mistake in it with its line.

A file is taken as a whole: one mistake anywhere, and none of its rules runs.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from qbt_rules.language.action_table import OLD_NAMES, find_action, read_params
from qbt_rules.language.fields import find_field
from qbt_rules.language.operators import compile_test
from qbt_rules.language.references import References, Wrong
from qbt_rules.language.values import Action, Condition, Gather, Group, Leaf, Rule, RuleBook
from seedkeep.errors import Misused
from seedkeep.yaml_file import Document, KeyPath, load_yaml, parse_yaml

RULE_KEYS = ("name", "enabled", "conditions", "actions", "stop_on_match")
TOP_KEYS = ("rules", "refs")
GATHERS = tuple(gather.value for gather in Gather)
CONTEXT_KEYS = ("context", "trigger")
LEAF_KEYS = ("field", "operator", "value")
ACTION_KEYS = ("type", "params")
MOST_MISTAKES = 50
_ELSEWHERE = {  # what is written one level too high, or into the wrong file
    ("a rule file", "schedule"): "the schedule stands in config.yml",
    **{("a rule", key): f"{key} stands below conditions, indented" for key in GATHERS},
    ("a rule", "context"): "context stands below conditions, indented",
    **{("an action", key): f"{key} stands in params: {{{key}: ...}}" for key in ("tag", "tags")},
}


class BadRules(Misused):
    """The rule file has mistakes; none of its rules is used.  The detail lists them by line."""

    code = "rules"


def load_rules(path: Path) -> RuleBook:
    """Read and check a whole rule file.

    Raises:
        BadRules: With every mistake found.
        BadYaml: It is no YAML that we accept.
        Misused: It cannot be read.
    """
    try:
        return read_rules(load_yaml(path))
    except Misused as why:
        if not isinstance(why.__cause__, FileNotFoundError):
            raise
        raise Misused(
            f"there is no rules file {path}",
            hint="qbt-rules init writes one to begin with; --rules-file FILE names another",
        ) from why


def parse_rules(text: str, name: str = "rules.yml") -> RuleBook:
    """The same from text.  Raises `BadRules`, `BadYaml`."""
    return read_rules(parse_yaml(text, name))


def read_rules(document: Document) -> RuleBook:
    """The same from a document.  Raises `BadRules`."""
    reader = _Reader(document)
    book = reader.book()
    if reader.mistakes:
        shown = [text for _, text in sorted(reader.mistakes)[:MOST_MISTAKES]]
        more = len(reader.mistakes) - len(shown)
        count = "a mistake" if len(reader.mistakes) == 1 else f"{len(reader.mistakes)} mistakes"
        raise BadRules(
            f"{document.name} has {count}; none of its rules is used",
            detail="\n".join(shown + ([f"and {more} more"] if more else [])),
            hint="correct the lines named and check with: qbt-rules --validate",
        )
    return book


@dataclass
class _Reader:
    document: Document
    mistakes: list[tuple[tuple[int, int], str]] = field(default_factory=list)  # line, column; text
    warnings: list[str] = field(default_factory=list)
    refs: References = field(init=False)

    def book(self) -> RuleBook:
        data = self.document.data
        self.refs = References({}, self.document)
        rules: list[Rule] = []
        if not isinstance(data, dict):
            self._wrong((), "a rule file begins with `rules:`, and the list of rules is below it")
            return RuleBook(self.document.name, ())
        self._only(data, TOP_KEYS, (), "a rule file")
        try:
            self.refs = References.of(data.get("refs"), self.document)
        except Wrong as why:
            self._wrong(why.path, str(why))
        rows = data.get("rules")
        if not isinstance(rows, list):
            self._wrong(("rules",), "rules must be a list")
            rows = []
        for index, row in enumerate(rows):
            rule = self._rule(row, ("rules", index))
            if rule is not None:
                rules.append(rule)
        paths = {self.document.place(at): at for at in [("rules", n) for n in range(len(rows))]}
        self._no_name_twice(rules, paths)
        return RuleBook(self.document.name, tuple(rules), tuple(self.warnings))

    def _no_name_twice(self, rules: Iterable[Rule], paths: Mapping[str, KeyPath]) -> None:
        seen: dict[str, str] = {}
        for rule in rules:
            if rule.name in seen:
                self._wrong(paths[rule.place], f"{rule.name!r} is also at {seen[rule.name]}")
            seen.setdefault(rule.name, rule.place)

    def _rule(self, row: Any, path: KeyPath) -> Rule | None:
        if not isinstance(row, dict):
            self._wrong(path, "a rule is a mapping with name, conditions and actions")
            return None
        self._only(row, RULE_KEYS, path, "a rule")
        name = row.get("name")
        if not isinstance(name, str) or not name.strip():
            self._wrong(path, "a rule needs a name")
            name = ""
        if "conditions" in row and row["conditions"] is None:
            # Most often what was meant is indented too little, or commented out.
            text = "conditions is empty; leave it out in a rule that fits every torrent"
            self._wrong((*path, "conditions"), text)
        contexts, condition = self._conditions(row.get("conditions"), (*path, "conditions"))
        return Rule(
            name=name,
            condition=condition,
            actions=tuple(self._actions(row.get("actions"), (*path, "actions"))),
            contexts=contexts,
            enabled=self._flag(row, "enabled", True, path),
            stop_on_match=self._flag(row, "stop_on_match", False, path),
            place=self.document.place(path),
        )

    def _flag(self, row: Mapping[str, Any], key: str, default: bool, path: KeyPath) -> bool:
        value = row.get(key, default)
        if not isinstance(value, bool):
            self._wrong((*path, key), f"{key} must be true or false")
            return default
        return value

    # -- conditions

    def _conditions(self, data: Any, path: KeyPath) -> tuple[frozenset[str] | None, Group]:
        contexts = None
        if isinstance(data, dict):
            named = [key for key in CONTEXT_KEYS if key in data]
            if len(named) > 1:
                self._wrong((*path, named[1]), "context and trigger are the same; give context")
            elif named:
                if named[0] == "trigger":
                    place = self.document.place((*path, "trigger"))
                    self.warnings.append(f"{place}: trigger is the old word; write context")
                contexts = self._contexts(data[named[0]], (*path, named[0]))
            data = {key: value for key, value in data.items() if key not in CONTEXT_KEYS}
        if data is None or data == {}:
            return contexts, Group(Gather.ALL, (), self.document.place(path))
        found = self._condition(data, path, ())
        if isinstance(found, Leaf):
            found = Group(Gather.ALL, (found,), found.place)
        return contexts, found or Group(Gather.ALL, (), self.document.place(path))

    def _contexts(self, value: Any, path: KeyPath) -> frozenset[str]:
        names = value if isinstance(value, list) else [value]
        if not names or not all(isinstance(name, str) and name for name in names):
            self._wrong(path, "context must be a name or a list of names")
            return frozenset()
        return frozenset(names)

    def _condition(self, data: Any, path: KeyPath, inside: tuple[str, ...]) -> Condition | None:
        """A comparison, a group, a reference, or a bare list, which means `all`.

        `inside` names the references that led here, so that none contains itself.
        """
        try:
            data, path, inside = self.refs.follow("conditions", data, path, inside)
        except Wrong as why:
            self._wrong(why.path, str(why))
            return None
        if isinstance(data, list):
            return self._group(Gather.ALL, data, path, inside)
        if not isinstance(data, dict):
            self._wrong(path, "a condition is a mapping with field, operator and value, or a group")
            return None
        if set(data) & set(LEAF_KEYS):
            return self._leaf(data, path)
        self._only(data, GATHERS, path, "conditions")
        groups = [
            self._group(gather, data[gather.value], (*path, gather.value), inside)
            for gather in Gather
            if gather.value in data
        ]
        found = tuple(group for group in groups if group is not None)
        if not found:
            self._wrong(path, f"a group needs one of {', '.join(GATHERS)}")
            return None
        return found[0] if len(found) == 1 else Group(Gather.ALL, found, found[0].place)

    def _group(
        self, gather: Gather, data: Any, path: KeyPath, inside: tuple[str, ...]
    ) -> Group | None:
        if isinstance(data, dict):
            data, single = [data], True
        else:
            single = False
        if not isinstance(data, list) or not data:
            # Nothing in `any` would never fit and nothing in `none` always; both are slips.
            self._wrong(path, f"{gather.value} must be a list of conditions with something in it")
            return None
        parts = [
            self._condition(part, path if single else (*path, index), inside)
            for index, part in enumerate(data)
        ]
        return Group(
            gather, tuple(part for part in parts if part is not None), self.document.place(path)
        )

    def _leaf(self, data: Mapping[str, Any], path: KeyPath) -> Leaf | None:
        self._only(data, LEAF_KEYS, path, "a condition")
        missing = [key for key in LEAF_KEYS if data.get(key) is None]
        if data.get("operator") == "":  # `operator: >` is YAML's way to begin a folded text
            self._wrong((*path, "operator"), "the operator is empty; write > and < in quotes")
            return None
        if missing:
            self._wrong(path, f"a condition needs {' and '.join(missing)}")
            return None
        if not isinstance(data["field"], str) or not isinstance(data["operator"], str):
            self._wrong(path, "field and operator must be text")
            return None
        try:
            value = self.refs.fill(data["value"], (*path, "value"))
            row = find_field(data["field"])
            compile_test(row, data["operator"], value, datetime.now(UTC))
        except Wrong as why:
            self._wrong(why.path, str(why))
        except ValueError as why:
            self._wrong((*path, "field"), str(why))
        else:
            return Leaf(row.name, data["operator"], value, self.document.place(path))
        return None

    # -- actions

    def _actions(self, data: Any, path: KeyPath, inside: tuple[str, ...] = ()) -> list[Action]:
        if not isinstance(data, list) or not data:
            self._wrong(path, "actions must be a list with something in it")
            return []
        found: list[Action] = []
        for index, given in enumerate(data):
            try:
                row, at, seen = self.refs.follow("actions", given, (*path, index), inside)
            except Wrong as why:
                self._wrong(why.path, str(why))
                continue
            if isinstance(row, list):
                found += self._actions(row, at, seen)
            else:
                found += filter(None, [self._action(row, at)])
        return found

    def _action(self, row: Any, path: KeyPath) -> Action | None:
        if isinstance(row, str):
            row = {"type": row}
        if not isinstance(row, dict) or not isinstance(row.get("type"), str):
            self._wrong(path, "an action is written {type: add_tag, params: {tag: new}}")
            return None
        self._only(row, ACTION_KEYS, path, "an action")
        given = row.get("params") or {}
        if not isinstance(given, dict):
            self._wrong((*path, "params"), "params must be a mapping")
            return None
        name = row["type"]
        if name in OLD_NAMES:
            place = self.document.place(path)
            self.warnings.append(f"{place}: {name} is the old word; write {OLD_NAMES[name]}")
            name = OLD_NAMES[name]
        if "keep_files" in given:
            place = self.document.place((*path, "params", "keep_files"))
            self.warnings.append(f"{place}: keep_files is the old word; write delete_files")
        try:
            kind = find_action(name)
            filled = self.refs.fill(given, (*path, "params"))
            return Action(kind.type, read_params(kind, filled), self.document.place(path))
        except Wrong as why:
            self._wrong(why.path, str(why))
        except ValueError as why:
            self._wrong(path, str(why))
        return None

    # -- mistakes

    def _only(
        self, data: Mapping[str, Any], keys: tuple[str, ...], path: KeyPath, what: str
    ) -> None:
        for key in data:
            if key not in keys:
                near = difflib.get_close_matches(key, keys, n=1)
                hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(keys)}"
                hint = _ELSEWHERE.get((what, key), hint)
                self._wrong((*path, key), f"{what} has no {key}; {hint}")

    def _wrong(self, path: KeyPath, text: str) -> None:
        at = self.document.position(path)
        self.mistakes.append((at, f"{self.document.place(path)}: {text}"))
