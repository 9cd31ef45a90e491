"""Just enough of compose files to check the examples: what a service would see."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?::(?P<how>[-?])(?P<word>[^}]*))?\}")


@dataclass(frozen=True)
class Service:
    """One service after interpolation."""

    name: str
    body: Mapping[str, Any]
    secrets: Mapping[str, Any]  # the file's own, by name

    @property
    def environ(self) -> dict[str, str]:
        """Raises AssertionError for a value that YAML does not read as text."""
        given = self.body.get("environment", {})
        wrong = [name for name, value in given.items() if not isinstance(value, str)]
        assert wrong == [], "compose would not pass on what is meant: write quotes"
        return dict(given)

    @property
    def mounts(self) -> dict[str, str]:
        """Place inside -> place on the host, or the name of a volume."""
        found = {}
        for mount in self.body.get("volumes", ()):
            if isinstance(mount, str):
                source, target = mount.split(":")[:2]
            else:
                source, target = mount["source"], mount["target"]
            found[target] = source
        return found

    @property
    def secret_files(self) -> set[str]:
        """Paths that secrets have inside.  Raises KeyError for one that the file does not have."""
        used = [(name, self.secrets[name]["file"]) for name in self.body.get("secrets", ())]
        return {f"/run/secrets/{name}" for name, _ in used}


def services(path: Path, environ: Mapping[str, str]) -> list[Service]:
    """The services of a compose file, with `environ` as its `.env`.

    Raises:
        KeyError: A variable is needed (`:?`) and not there.
    """
    document = _filled(yaml.safe_load(path.read_text()), environ)
    secrets = document.get("secrets", {})
    return [Service(name, body, secrets) for name, body in document["services"].items()]


def _filled(value: Any, environ: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _filled(inner, environ) for key, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, environ) for inner in value]
    if isinstance(value, str):
        return VARIABLE.sub(lambda found: _value(found, environ), value)
    return value


def _value(found: re.Match[str], environ: Mapping[str, str]) -> str:
    if environ.get(found["name"]):
        return environ[found["name"]]
    if found["how"] == "-":
        return str(found["word"])
    raise KeyError(found["name"])
