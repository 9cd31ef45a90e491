"""The HTTP API as Markdown, from the specification that the server itself gives."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

METHODS = ("get", "post", "delete")
NO_SECTION = ("ErrorAnswer",)  # described in the prose of the page


@cache
def specification() -> dict[str, Any]:
    from qbt_rules.api_security import Keys
    from qbt_rules.checks import ClientCheck, RulesCheck
    from qbt_rules.queue_manager import create_queue
    from qbt_rules.server import Service, create_app

    def nobody(*_: Any) -> Any:
        raise AssertionError("nobody is asked")

    with tempfile.TemporaryDirectory() as folder:
        queue = create_queue("sqlite", path=Path(folder) / "queue.db")
        try:
            app = create_app(
                Service(
                    queue=queue,
                    keys=Keys(["key"]),
                    client=ClientCheck(nobody),
                    rules=RulesCheck(Path(folder)),
                    explain=nobody,
                )
            )
            found: dict[str, Any] = app.api_doc
        finally:
            queue.close()
    return found


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(method, path, operation) in the order in which the code declares them."""
    for path, item in specification()["paths"].items():
        for method in METHODS:
            if method in item:
                yield method.upper(), path, item[method]


def endpoints() -> str:
    lines = ["| request | key | does |", "|---|---|---|"]
    for method, path, operation in operations():
        key = "yes" if operation.get("security") else "no"
        lines.append(
            f"| [`{method} {path}`](#{_anchor(method, path)}) | {key} | {operation['summary']} |"
        )
    for method, path, operation in operations():
        lines += ["", *_section(method, path, operation)]
    return "\n".join(lines)


def _anchor(method: str, path: str) -> str:
    return re.sub(r"[^\w\- ]", "", f"{method} {path}".lower()).replace(" ", "-")


def _section(method: str, path: str, operation: dict[str, Any]) -> Iterator[str]:
    yield f"### {method} {path}"
    yield ""
    yield f"{operation['summary']}. {operation.get('description', '')}".strip()
    parameters = operation.get("parameters", [])
    if parameters:
        yield from ("", "| parameter | in | value | meaning |", "|---|---|---|---|")
        for one in parameters:
            meaning = one.get("description", "")
            yield f"| `{one['name']}` | {one['in']} | {_value(one['schema'])} | {meaning} |"
    yield from ("", "| status | body |", "|---|---|")
    bodies: dict[str, list[str]] = {}
    for status, response in sorted(operation["responses"].items()):
        bodies.setdefault(_body(response), []).append(status)
    for body, statuses in bodies.items():
        yield f"| {', '.join(statuses)} | {body} |"


def _value(schema: dict[str, Any]) -> str:
    default = (
        f"; `{_text(schema['default'])}` without it" if schema.get("default") is not None else ""
    )
    if "enum" in schema:
        return " \\| ".join(f"`{word}`" for word in schema["enum"]) + default
    if "minimum" in schema:
        return f"{schema['minimum']:.0f} to {schema['maximum']:.0f}{default}"
    if "maxLength" in schema:
        return f"{schema['minLength']} to {schema['maxLength']} characters{default}"
    if "pattern" in schema:
        return f"40 or 64 hex digits{default}"
    return {"boolean": "true or false", "string": "text"}[schema["type"]] + default


def _text(default: Any) -> str:
    return str(default).lower() if isinstance(default, bool) else str(default)


def _body(response: dict[str, Any]) -> str:
    (kind, content), *_ = response["content"].items()
    name = str(content["schema"].get("$ref", "")).rpartition("/")[2]
    if not name:
        return str(kind)
    return "an [error](#errors)" if name in NO_SECTION else f"[{name}](#{name.lower()})"


def answers() -> str:
    """The fields of every body, each once."""
    lines: list[str] = []
    schemas = specification()["components"]["schemas"]
    for name in _used():
        lines += [f"### {name}", ""]
        if told := schemas[name].get("description"):
            lines += [told, ""]
        lines += ["| field | value |", "|---|---|"]
        lines += [f"| `{f}` | {_kind(s)} |" for f, s in schemas[name]["properties"].items()]
        lines.append("")
    return "\n".join(lines)


def _used() -> list[str]:
    schemas = specification()["components"]["schemas"]
    found: dict[str, None] = {}
    todo = [
        content["schema"].get("$ref", "").rpartition("/")[2]
        for _, _, operation in operations()
        for response in operation["responses"].values()
        for content in response["content"].values()
    ]
    while todo:
        name = todo.pop(0)
        if name and name not in found and name not in NO_SECTION and "properties" in schemas[name]:
            found[name] = None
            todo += re.findall(r"#/[\w/]+/(\w+)", str(schemas[name]["properties"]))
    return list(found)


def _kind(schema: dict[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(_kind(part) for part in schema["anyOf"])
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        values = specification()["components"]["schemas"][name].get("enum")
        return " \\| ".join(f"`{v}`" for v in values) if values else f"[{name}](#{name.lower()})"
    if schema.get("type") == "array":
        return f"list of {_kind(schema['items'])}"
    if schema.get("format") == "date-time":
        return "time"
    kind = str(schema.get("type", "anything"))
    return {"string": "text", "boolean": "true or false"}.get(kind, kind)
