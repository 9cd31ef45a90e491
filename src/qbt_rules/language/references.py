"""`${vars.x}` and `$ref: conditions.x`: parts of a rule file that are written once."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from seedkeep.yaml_file import Document, KeyPath

MOST_FOLLOWED = 10_000  # references to references double with each level
SECTIONS = ("vars", "conditions", "actions")
_VARIABLE = re.compile(r"\$\{([^}]*)\}")


class Wrong(Exception):
    """A mistake and where it is."""

    def __init__(self, path: KeyPath, text: str) -> None:
        super().__init__(text)
        self.path = path


@dataclass(frozen=True)
class References:
    sections: Mapping[str, Mapping[str, Any]]
    document: Document
    followed: Counter[str] = field(default_factory=Counter)  # sections

    @classmethod
    def of(cls, data: Any, document: Document) -> References:
        """Raises `Wrong`."""
        if data is None:
            return cls({}, document)
        if not isinstance(data, dict):
            raise Wrong(("refs",), f"refs is a mapping with {', '.join(SECTIONS)}")
        for name, section in data.items():
            if name not in SECTIONS:
                raise Wrong(("refs", name), f"refs has no {name}; it has {', '.join(SECTIONS)}")
            if not isinstance(section, dict):
                raise Wrong(("refs", name), f"refs.{name} must be a mapping")
        return cls(data, document)

    def follow(
        self, section: str, data: Any, path: KeyPath, inside: tuple[str, ...]
    ) -> tuple[Any, KeyPath, tuple[str, ...]]:
        """What stands at the end of a chain of `$ref`, and where; other data as it is.

        `inside` names the references that are open; one that is met again is a circle.

        Raises:
            Wrong: Unknown, of another section, circular, or not alone in its mapping.
        """
        while isinstance(data, dict) and "$ref" in data:
            name = data["$ref"]
            if len(data) > 1:
                raise Wrong(path, "$ref stands alone; put it beside others into a list")
            kind, _, wanted = name.partition(".") if isinstance(name, str) else ("", "", "")
            if kind != section or not wanted:
                raise Wrong((*path, "$ref"), f"$ref here must be like {section}.name")
            if name in inside:
                raise Wrong((*path, "$ref"), f"{name} contains itself")
            self.followed[section] += 1
            if self.followed[section] > MOST_FOLLOWED:
                raise Wrong((*path, "$ref"), f"the file uses more than {MOST_FOLLOWED} references")
            data = self._get(section, wanted, (*path, "$ref"))
            path, inside = ("refs", section, wanted), (*inside, name)
        return data, path, inside

    def fill(self, value: Any, path: KeyPath) -> Any:
        """`value` with its variables; a text that is one variable gets the variable's type.

        Raises:
            Wrong: A variable is unknown, or is no plain value inside of other text.
        """
        if isinstance(value, list):
            return [self.fill(item, (*path, index)) for index, item in enumerate(value)]
        if isinstance(value, dict):
            return {key: self.fill(item, (*path, key)) for key, item in value.items()}
        if not isinstance(value, str) or "${" not in value:
            return value
        whole = _VARIABLE.fullmatch(value)
        if whole is not None:
            return self._variable(whole[1], path)
        return _VARIABLE.sub(lambda match: self._as_text(match[1], path), value)

    def _as_text(self, name: str, path: KeyPath) -> str:
        found = self._variable(name, path)
        if isinstance(found, bool) or not isinstance(found, str | int | float):
            raise Wrong(path, f"${{{name}}} is no text, so it must stand alone")
        return str(found)

    def _variable(self, name: str, path: KeyPath) -> Any:
        kind, _, wanted = name.partition(".")
        if kind != "vars" or not wanted:
            raise Wrong(path, f"${{{name}}} must be like ${{vars.name}}")
        return self._get("vars", wanted, path)

    def _get(self, section: str, wanted: str, path: KeyPath) -> Any:
        known = self.sections.get(section, {})
        if wanted not in known:
            near = difflib.get_close_matches(wanted, known, n=1)
            hint = f"; did you mean {section}.{near[0]}?" if near else ""
            raise Wrong(path, f"refs has no {section}.{wanted}{hint}")
        return known[wanted]
