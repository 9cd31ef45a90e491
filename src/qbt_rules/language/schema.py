"""The rule language as a JSON schema, for editors that complete and check while one types."""

from __future__ import annotations

from typing import Any

from qbt_rules.language.action_table import ACTIONS, OLD_NAMES, ActionKind
from qbt_rules.language.fields import FIELDS, ONE_OFF
from qbt_rules.language.operators import ALL_OPERATORS
from qbt_rules.language.values import Gather

_TEXTS = {"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}


def rules_schema() -> dict[str, Any]:
    """Draft 2020-12.  Looser than the reader: what fits what is only checked there."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Rules of qbt-rules",
        "type": "object",
        "required": ["rules"],
        "additionalProperties": False,
        "properties": {
            "rules": {"type": "array", "items": {"$ref": "#/$defs/rule"}},
            "refs": {
                "type": "object",
                "additionalProperties": False,
                "properties": {
                    name: {"type": "object"} for name in ("vars", "conditions", "actions")
                },
            },
        },
        "$defs": {
            "rule": _rule(),
            "conditions": _conditions(),
            "groups": _groups(),
            "condition": {
                "oneOf": [
                    {"$ref": "#/$defs/comparison"},
                    {"$ref": "#/$defs/groups"},
                    _reference("conditions"),
                    {"type": "array", "items": {"$ref": "#/$defs/condition"}},
                ]
            },
            "comparison": _comparison(),
            "action": {
                "oneOf": [
                    {"enum": _names_without_parameters()},
                    _reference("actions"),
                    *(_action(kind) for kind in ACTIONS.values()),
                ]
            },
        },
    }


def _rule() -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["name", "actions"],
        "additionalProperties": False,
        "properties": {
            "name": {"type": "string", "minLength": 1},
            "enabled": {"type": "boolean", "default": True},
            "stop_on_match": {
                "type": "boolean",
                "default": False,
                "description": "later rules of the job leave the torrents alone that this one fits",
            },
            "conditions": {"$ref": "#/$defs/conditions"},
            "actions": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/action"}},
        },
    }


def _conditions() -> dict[str, Any]:
    """What stands under a rule's `conditions`: a condition, and the context beside it."""
    context = {"context": {**_TEXTS, "description": "run only in jobs of this context"}}
    comparison, groups = _comparison(), _groups()
    return {
        "anyOf": [
            {**groups, "properties": {**context, **groups["properties"]}, "minProperties": 0},
            {**comparison, "properties": {**context, **comparison["properties"]}},
            _reference("conditions"),
            {"type": "array", "items": {"$ref": "#/$defs/condition"}},
        ]
    }


def _groups() -> dict[str, Any]:
    some = {
        "oneOf": [
            {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/condition"}},
            {"$ref": "#/$defs/comparison"},
        ]
    }
    return {
        "type": "object",
        "minProperties": 1,
        "additionalProperties": False,
        "properties": {gather.value: some for gather in Gather},
    }


def _comparison() -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["field", "operator", "value"],
        "additionalProperties": False,
        "properties": {
            "field": {
                "anyOf": [
                    {"enum": sorted(FIELDS)},
                    {"type": "string", "pattern": f"^({'|'.join(ONE_OFF)})".replace(".", r"\.")},
                ]
            },
            "operator": {"enum": list(ALL_OPERATORS)},
            "value": {},
        },
    }


def _reference(section: str) -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["$ref"],
        "additionalProperties": False,
        "properties": {"$ref": {"type": "string", "pattern": rf"^{section}\."}},
    }


def _action(kind: ActionKind) -> dict[str, Any]:
    old = [name for name, new in OLD_NAMES.items() if new == kind.type]
    names = {name: param for param in kind.params for name in (param.name, *param.also)}
    properties: dict[str, Any] = {
        name: {"description": param.shape} for name, param in names.items()
    }
    if kind.type == "delete_torrent":
        properties["keep_files"] = {"type": "boolean", "deprecated": True}
    params = {"type": "object", "additionalProperties": False, "properties": properties}
    return {
        "type": "object",
        "description": kind.does,
        "required": ["type", *(["params"] if any(p.required for p in kind.params) else [])],
        "additionalProperties": False,
        "properties": {"type": {"enum": [kind.type, *old]}, "params": params},
    }


def _names_without_parameters() -> list[str]:
    free = [kind.type for kind in ACTIONS.values() if not any(p.required for p in kind.params)]
    return [*free, *(old for old, new in OLD_NAMES.items() if new in free)]
