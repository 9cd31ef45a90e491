"""The program `rehome`, called in this process."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rehome.cli import cli
from seedkeep import console


@dataclass
class Program:
    """What it said last."""

    capture: pytest.CaptureFixture[str]
    out: str = ""
    err: str = ""

    def __call__(self, *arguments: str | Path) -> int:
        """The exit code."""
        code = console.run(cli, [str(argument) for argument in arguments], "rehome")
        self.out, self.err = self.capture.readouterr()
        return code

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def told(self) -> list[str]:
        """Lines from the error on."""
        return self.err[self.err.index("error: ") :].splitlines()

    @property
    def error(self) -> dict[str, Any]:
        """The same of `--json`."""
        error: dict[str, Any] = self.json["error"]
        return error
