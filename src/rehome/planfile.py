"""A plan as a file that a person can read and keep, and that cannot be changed unnoticed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from rehome.batch import Batch, batch_of_one
from rehome.codec import from_json, to_json
from rehome.model import Plan
from seedkeep.errors import Misused
from seedkeep.small_file import read_small_file

SCHEMA_VERSION = 1
MOST_BYTES = 256 * 2**20
# What a file can hold, by its kind: the key of its content, and the type of that.
_CONTENT: dict[str, tuple[str, type[Plan] | type[Batch]]] = {
    "rehome-plan": ("plan", Plan),
    "rehome-batch": ("batch", Batch),
}


class BadPlanFile(Misused):
    """A plan file that is no plan, or not the one that was written.  Nothing was changed."""

    code = "plan-file"


def dumps(made: Plan | Batch) -> str:
    """The plan as JSON text with its checksum; equal plans give equal text."""
    kind = "rehome-plan" if isinstance(made, Plan) else "rehome-batch"
    key, _ = _CONTENT[kind]
    body = {"schema_version": SCHEMA_VERSION, "kind": kind, key: to_json(made)}
    return json.dumps({**body, "checksum": _checksum(body)}, indent=1, sort_keys=True) + "\n"


def loads(text: str, source: str = "plan") -> Plan | Batch:
    """Read a plan, of one group or of many.

    Raises:
        BadPlanFile: It is no plan, of another version, or was edited.
    """
    try:
        data = json.loads(text)
    except ValueError as why:
        raise _bad(source, f"it is not JSON: {why}") from why
    except RecursionError as why:
        raise _bad(source, "it is nested far too deeply to be a plan") from why
    if not isinstance(data, dict) or data.get("kind") not in _CONTENT:
        raise _bad(source, "it is not a plan of rehome")
    version = data.get("schema_version")
    if type(version) is not int or version != SCHEMA_VERSION:  # True is 1 as well
        raise _bad(source, f"it has format {version!r}, not {SCHEMA_VERSION}")
    checksum = data.pop("checksum", None)
    if checksum != _checksum(data):
        raise _bad(source, "its checksum does not fit: the file was edited or cut off")
    key, form = _CONTENT[data["kind"]]
    try:
        return from_json(form, data.get(key))
    except (ValueError, TypeError) as why:
        raise _bad(source, str(why)) from why


def write(made: Plan | Batch, path: Path) -> None:
    try:
        path.write_text(dumps(made))
    except OSError as why:
        raise Misused(f"cannot write the plan to {path}", detail=str(why.strerror)) from why


def read_batch(path: Path) -> Batch:
    """A plan of many groups; one of a single group is a batch of one.

    Raises `Misused` for a file that cannot be read, else what `loads` raises.
    """
    made = _read(path)
    return made if isinstance(made, Batch) else batch_of_one(made)


def read(path: Path) -> Plan:
    """A plan of a single group; raises as `read_batch` does."""
    made = _read(path)
    if isinstance(made, Batch):
        raise _bad(str(path), "it is a plan of many groups")
    return made


def _read(path: Path) -> Plan | Batch:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise _bad(str(path), "it is far too large to be a plan")
        return loads(read_small_file(path, MOST_BYTES).decode(), str(path))
    except OSError as why:
        raise Misused(f"cannot read the plan {path}", detail=str(why.strerror)) from why
    except UnicodeDecodeError as why:
        raise _bad(str(path), "it is not UTF-8 text") from why


def _checksum(body: dict[str, Any]) -> str:
    text = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _bad(source: str, detail: str) -> BadPlanFile:
    return BadPlanFile(
        f"{source} cannot be applied",
        detail=detail,
        hint="plans are not edited; make a new one with: rehome plan --demote --torrent-hash …",
    )
