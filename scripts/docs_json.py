"""What `--json` prints, as an outline that is read from the types of the values."""

from __future__ import annotations

import enum
import types
import typing
from collections import Counter
from dataclasses import dataclass, fields
from dataclasses import is_dataclass as is_plain_dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from hashall.catalog.runs import RunRow, RunStatus, StepRow
from hashall.catalog_care import DatabaseCheck, DatabaseState, FileSize, Migrated
from hashall.catalog_import import Imported
from hashall.device_choice import DeviceDetails, Forgotten
from hashall.duplicates import Duplicates
from hashall.equal_trees import EqualTrees
from hashall.file_links import FileLinks
from hashall.linking.analyze import LinkAnalysis
from hashall.linking.model import Execution
from hashall.linking.model import Plan as LinkPlan
from hashall.linking.service import LinkReport, LinkStatus, PlanView
from hashall.lookup import DeviceFigures, ExportedFile, FoundFile
from hashall.model import Device
from hashall.payload_clients import Synced
from hashall.payload_report import Candidate, Duplicate, Group, Orphans, PayloadLine, Unmanaged
from hashall.payload_verify import Verification
from hashall.scan import ScanSummary
from hashall.tree_compare import Comparison
from hashall.treehash import TreeView
from hashall.verify import Verified
from hashall.views import DeviceView, RootView, StatusView, TorrentView
from qbt_rules import api_models
from qbt_rules.engine import ExplainedRule
from rehome.batch import Batch
from rehome.config_check import ConfigCheck
from rehome.explain import Explanation
from rehome.model import Plan, Step
from rehome.report import Report
from rehome.retire import Retired
from seedkeep.diagnosis import Diagnosis
from seedkeep.first_run import Initialised
from seedkeep.settings import SettingRow

WORDS: dict[Any, str] = {
    int: "integer",
    str: "text",
    bool: "true or false",
    float: "number",
    datetime: "time",
    Path: "text",
    type(None): "null",
    Any: "anything",
}


@dataclass(frozen=True)
class AppliedDocument:
    """`rehome.render_runs.applied_json`; a test compares the keys."""

    run_id: int
    status: RunStatus
    torrents: list[str]
    bytes_copied: int
    retire_at: str | None
    retired: Retired | None
    warnings: list[str]


@dataclass(frozen=True)
class RunDocument:
    run: RunRow
    undone_by: int | None
    left_behind: list[str]
    steps: list[StepRow]


@dataclass(frozen=True)
class FailureDocument:
    code: str
    brief: str
    detail: str


@dataclass(frozen=True)
class EndedDocument:
    asked_for: str
    run_id: int | None
    applied: AppliedDocument | None
    left_behind: list[str]
    error: FailureDocument | None


@dataclass(frozen=True)
class OutcomeDocument:
    groups: list[EndedDocument]
    left: list[str]
    left_because: str


@dataclass(frozen=True)
class ValidatedDocument:
    """`qbt_rules.commands.rules`; a test compares the keys."""

    file: str
    rules: int
    warnings: list[str]


@dataclass(frozen=True)
class RuleDocument:
    name: str
    enabled: bool
    contexts: list[str] | None
    actions: list[str]
    place: str


@dataclass(frozen=True)
class ErrorDocument:
    code: str
    brief: str
    detail: str
    hint: str
    exit_code: int


@dataclass(frozen=True)
class Document:
    kind: str
    commands: str
    form: Any


DOCUMENTS = (
    Document("scan", "hashall scan", ScanSummary),
    Document("sync", "hashall payload sync", Synced),
    Document("torrent", "hashall payload show", TorrentView),
    Document("siblings", "hashall payload siblings", TorrentView),
    Document("payloads", "hashall payload list", list[PayloadLine]),
    Document("payload_groups", "hashall payload groups", list[Group]),
    Document("payload_duplicates", "hashall payload duplicates", list[Duplicate]),
    Document("payload_candidates", "hashall payload candidates", list[Candidate]),
    Document("orphans", "hashall payload orphans", Orphans),
    Document("unmanaged", "hashall payload unmanaged", list[Unmanaged]),
    Document("verification", "hashall payload verify", Verification),
    Document("link_analysis", "hashall link analyze", LinkAnalysis),
    Document("link_plan", "hashall link plan, hashall link show-plan", PlanView),
    Document(
        "link_plans",
        "hashall link list-plans, hashall link approve, hashall link cancel",
        list[LinkPlan],
    ),
    Document("link_status", "hashall link status", LinkStatus),
    Document("link_report", "hashall link report", LinkReport),
    Document("link_execution", "hashall link execute", Execution),
    Document("link_auto", "hashall link auto", Execution | None),
    Document("devices", "hashall devices list", list[DeviceView]),
    Document("device", "hashall devices show", DeviceDetails),
    Document("device_set", "hashall devices alias, hashall devices prefer", Device),
    Document("forgotten", "hashall devices forget", Forgotten),
    Document("status", "hashall status", StatusView),
    Document("roots", "hashall roots", list[RootView]),
    Document("figures", "hashall stats", list[DeviceFigures]),
    Document("duplicates", "hashall dupes", Duplicates),
    Document("equal_trees", "hashall dupes --trees", EqualTrees),
    Document("links", "hashall links", list[FileLinks]),
    Document("found", "hashall find", list[FoundFile]),
    Document("tree", "hashall tree-hash with one path", TreeView),
    Document("trees", "hashall tree-hash with two paths", Comparison),
    Document("verified", "hashall verify", Verified),
    Document("files", "hashall export", list[ExportedFile]),
    Document("doctor", "hashall doctor, qbt-rules doctor", Diagnosis),
    Document("database", "hashall db status", DatabaseState),
    Document("migrated", "hashall db migrate", Migrated),
    Document("backup", "hashall db backup", FileSize),
    Document("check", "hashall db check", DatabaseCheck),
    Document("imported", "hashall db import", Imported),
    Document("plan", "rehome plan, rehome apply --dryrun", Plan),
    Document("batch", "rehome plan with a scope of several groups", Batch),
    Document("report", "rehome report", Report),
    Document("explanation", "rehome explain", Explanation),
    Document("config_check", "rehome config check", ConfigCheck),
    Document("applied", "rehome apply --force, rehome resume, rehome undo", AppliedDocument),
    Document(
        "outcome",
        "rehome apply --force with a plan of several groups, rehome resume --all,"
        " rehome rollback --all",
        OutcomeDocument,
    ),
    Document("retired", "rehome retire", list[AppliedDocument]),
    Document("run", "rehome runs show, rehome rollback", RunDocument),
    Document("runs", "rehome runs list", list[RunRow]),
    Document("queued", "qbt-rules run", api_models.Queued),
    Document("job", "qbt-rules run --wait, qbt-rules jobs show", api_models.JobDetail),
    Document("jobs", "qbt-rules jobs list", api_models.JobList),
    Document("cancelled", "qbt-rules jobs cancel", api_models.Cancelled),
    Document("stats", "qbt-rules stats", api_models.StatsAnswer),
    Document("health", "qbt-rules health", api_models.Unhealthy),
    Document("reloaded", "qbt-rules rules reload", api_models.Reloaded),
    Document("validated", "qbt-rules rules validate", ValidatedDocument),
    Document("rules", "qbt-rules rules list", list[RuleDocument]),
    Document("explained", "qbt-rules explain", list[ExplainedRule]),
    Document("initialised", "qbt-rules init, rehome config init", Initialised),
    Document("settings", "qbt-rules config show, rehome config show", list[SettingRow]),
    Document("error", "any command that fails", ErrorDocument),
)


def documents() -> str:
    """What each command prints, then the fields of every kind of object, each once."""
    lines = ["| command | key | value |", "|---|---|---|"]
    for document in DOCUMENTS:
        lines.append(f"| {document.commands} | `{document.kind}` | {_word(document.form)} |")
    for kind in _objects():
        lines += ["", f"### {kind.__name__}", "", "| field | value |", "|---|---|"]
        lines += [f"| `{name}` | {_word(form)} |" for name, form in fields_of(kind).items()]
    return "\n".join(lines)


def fields_of(kind: Any) -> dict[str, Any]:
    """Names and types, of a dataclass or of a model of the HTTP API."""
    hints = typing.get_type_hints(kind)
    names = [f.name for f in fields(kind)] if is_plain_dataclass(kind) else kind.model_fields
    return {name: hints[name] for name in names}


def is_object(form: Any) -> bool:
    return isinstance(form, type) and (is_plain_dataclass(form) or issubclass(form, BaseModel))


def _objects() -> list[Any]:
    """Dataclasses that the documents are made of, in the order in which a reader meets them."""
    found: dict[Any, None] = {}
    todo = [document.form for document in DOCUMENTS]
    while todo:
        form = todo.pop(0)
        if form == Step:
            continue
        if is_object(form) and form not in found:
            found[form] = None
            todo += fields_of(form).values()
        todo += typing.get_args(form)
    return list(found)


def _word(form: Any) -> str:
    """The kind of a value, in words; objects are links to their fields."""
    if form == Step:
        return "step"
    if typing.get_origin(form) is not None or isinstance(form, types.UnionType):
        return _composed(typing.get_origin(form), typing.get_args(form))
    if is_object(form):
        return f"[{form.__name__}](#{form.__name__.lower()})"
    if isinstance(form, type) and issubclass(form, enum.Enum):
        return " \\| ".join(f"`{member.value}`" for member in form)
    return WORDS[form]


def _composed(origin: Any, args: tuple[Any, ...]) -> str:
    """The kind of a value that is made of others."""
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(_word, args))
    if origin is list or (origin is tuple and args[-1] is Ellipsis):
        return f"list of {_word(args[0])}"
    if origin is tuple:
        return f"[{', '.join(map(_word, args))}]"
    return f"object, each value {_word(int if origin is Counter else args[-1])}"
