"""The schema for editors accepts what the reader accepts, and finds the usual slips."""

from __future__ import annotations

from typing import Any

import jsonschema_rs
import pytest
from tests.qbt_rules.language.test_rulefile import REQUIREMENT, with_action, with_condition

from qbt_rules.language.rulefile import BadRules, parse_rules
from qbt_rules.language.schema import rules_schema
from seedkeep.yaml_file import parse_yaml

CHECK = jsonschema_rs.Draft202012Validator(rules_schema())


def accepts(text: str) -> bool:
    data: Any = parse_yaml(text, "rules.yml").data
    return bool(CHECK.is_valid(data))


def test_the_schema_is_one() -> None:
    assert jsonschema_rs.meta.is_valid(rules_schema())


@pytest.mark.parametrize(
    "text",
    [
        REQUIREMENT,
        with_action("stop"),
        with_action("{type: pause}"),
        with_action("{type: delete_torrent, params: {keep_files: true}}"),
        with_action("{type: add_tag, params: {tag: a}}"),
        with_condition("[{field: info.name, operator: ==, value: a}]"),
        with_condition("{context: [a, b]}"),
        with_condition("{field: app.max_ratio, operator: '>', value: 1}"),
        with_condition("{any: [{none: [{field: info.name, operator: ==, value: a}]}]}"),
        "refs: {conditions: {x: {field: info.name, operator: ==, value: a}}}\n"
        + with_condition("{$ref: conditions.x}"),
    ],
)
def test_what_the_reader_takes_the_schema_takes(text: str) -> None:
    parse_rules(text)
    assert accepts(text)


@pytest.mark.parametrize(
    "text",
    [
        with_action("{type: explode}"),
        with_action("{type: add_tag}"),
        with_action("{type: add_tag, params: {tga: a}}"),
        with_condition("{field: info.nmae, operator: ==, value: a}"),
        with_condition("{field: info.name, operator: equals, value: a}"),
        with_condition("{field: info.name, operator: ==}"),
        with_condition("{al: []}"),
        "rules: [{name: a}]",
        "rule: []",
    ],
)
def test_usual_slips_are_found_by_both(text: str) -> None:
    with pytest.raises(BadRules):
        parse_rules(text)
    assert not accepts(text)
