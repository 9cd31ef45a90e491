"""What the documentation says is what the programs do: commands, messages, codes, settings."""

from __future__ import annotations

import ast
import inspect
import json
import re
from collections.abc import Iterator
from dataclasses import fields
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from scripts import docs, docs_cli, docs_config, docs_json, docs_schema
from tests.support.doc_blocks import documents

from seedkeep import settings
from seedkeep.errors import SeedError
from seedkeep.settings_table import HASHALL, QBT_RULES, REHOME, SETTINGS

ROOT = Path(__file__).resolve().parent.parent
REHOME_PAGE = ROOT / "docs/tooling/REHOME.md"
CLI_PAGE = ROOT / "docs/tooling/cli.md"
TROUBLE_PAGE = ROOT / "docs/troubleshooting.md"
EXAMPLE = ROOT / "config/config.example.yml"
PROGRAMS = (HASHALL, REHOME, QBT_RULES)
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\[[^\]]*\]\((?![a-z]+:|//)([^)\s]+)\)")
# Lines of shown output that have to be what the programs say, word for word.
SPOKEN = re.compile(
    r"^(?:error: |hint: |undo: | +\d+\. | {2}(?P<blocker>[a-z-]+): |(?=[A-Z]{4,}: )|(?=run \d+)"
    r"|(?=the source )|(?=scanned )|(?=skipped )|(?=written )|(?=next: )|(?=dry run)|(?=then, )"
    r"|(?=\d+ (?:added|files|torrents|source))"
    r"|(?=these names )|(?=removed, )|(?=it (?:was|may) )| {7}(?=and, when |until now |ours: )"
    r"|(?=(?:make|prove|copy|read|link in|check|stop|hide|tell|wait|place|bring) ))(?P<text>\S.*)$"
)


# -- generated parts


def test_every_generated_part_is_what_the_code_says_today() -> None:
    assert len(docs.current()) >= 4
    late = [str(path.relative_to(ROOT)) for path in docs.stale()]
    assert late == [], "write them anew: python -m scripts.docs"


def test_a_part_that_was_edited_is_noticed() -> None:
    page = f"# A\n\n{docs.BEGIN.format(name='x')}\nby hand\n{docs.END}\n\nprose\n"
    made = docs.filled(page, {"x": lambda: "made\n"}, "page")
    assert made == page.replace("by hand", "made")
    assert docs.filled(made, {"x": lambda: "made"}, "page") == made


def test_a_page_without_its_part_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"page has the parts \[\], not \['x'\]"):
        docs.filled("# A\n", {"x": lambda: ""}, "page")


def test_every_table_and_column_of_the_catalog_has_a_meaning() -> None:
    tables = docs_schema.tables()
    assert {"runs", "payloads", "names_<device_id>", "files_<device_id>"} <= {
        table.name for table in tables
    }
    silent = [table.name for table in tables if not table.meaning]
    silent += [
        f"{t.name}.{column.name}" for t in tables for column in t.columns if not column.meaning
    ]
    assert silent == []


def test_a_meaning_for_a_column_that_is_gone_is_found() -> None:
    there = {
        (table.name, column.name) for table in docs_schema.tables() for column in table.columns
    }
    assert set(docs_schema.COLUMNS) - there == set()


# -- messages


@cache
def sayings() -> tuple[re.Pattern[str], ...]:
    """Every piece of text in the code as a pattern: what is filled in may be anything."""
    found = {
        pattern
        for path in sorted((ROOT / "src").rglob("*.py"))
        for pattern in templates(ast.parse(path.read_text()))
    }
    return tuple(re.compile(pattern) for pattern in sorted(found))


def templates(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = [
                re.escape(part.value)
                if isinstance(part, ast.Constant) and isinstance(part.value, str)
                else ".*"
                for part in node.values
            ]
            said = "".join(part for part in parts if part != ".*")
            # One word between two holes, like "… from …", would fit nearly everything.
            open_ended = parts[0] == parts[-1] == ".*"
            least = 2 if open_ended else 1
            if len(said) >= 4 and len(said.replace("\\", " ").split()) >= least:
                yield "".join(parts)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value) > 4:
            yield re.escape(node.value)


def is_said(text: str) -> bool:
    """Whether some text of the code can become `text`, alone or with another one behind it."""
    return any(pattern.fullmatch(text) for pattern in sayings())


def spoken_lines(page: str) -> Iterator[str]:
    for kind, block in FENCE.findall(page):
        if kind == "text":
            for line in block.splitlines():
                match = SPOKEN.match(line)
                if match:
                    yield match["text"]


def test_what_the_pages_show_as_output_is_what_the_programs_say() -> None:
    lines = [(path.name, line) for path in documents() for line in spoken_lines(path.read_text())]
    assert len(lines) > 60
    strange = [f"{page}: {line}" for page, line in lines if not is_said(line)]
    assert strange == [], "run the commands again and copy what they say now"


def test_every_message_in_the_tables_of_troubles_is_one_of_ours() -> None:
    sections = (
        REHOME_PAGE.read_text().partition("## Troubleshooting\n")[2],
        TROUBLE_PAGE.read_text().partition("## By error code\n")[0],
    )
    for section, least in zip(sections, (10, 15), strict=True):
        shown = re.findall(r"^\| `([a-zA-Z… ][^`]{9,})` +\|", section, re.MULTILINE)
        assert len(shown) >= least
        assert [message for message in shown if not is_shortened(message)] == []


def is_shortened(message: str) -> bool:
    """Whether `message` is a text of the code, where an ellipsis stands for any part of it."""
    wanted = re.compile(re.escape(message).replace("…", ".+"))
    return any(wanted.fullmatch(text) for text in filled_sayings())


@cache
def filled_sayings() -> tuple[str, ...]:
    """Every piece of text in the code with X for what is filled in."""
    return tuple(re.sub(r"\\(.)", r"\1", p.pattern.replace(".*", "X")) for p in sayings())


def test_output_that_no_program_says_is_found() -> None:
    page = (
        "```text\nerror: the moon is full\n  needs-scan: it is dark\n"
        "hide from /a in /b\n       until now on the moon\n```\n"
    )
    assert [line for line in spoken_lines(page) if not is_said(line)] == [
        "the moon is full",
        "it is dark",
        "hide from /a in /b",
        "until now on the moon",
    ]


# -- codes


def blocker_codes() -> set[str]:
    """The first argument of every `Blocker(...)` in rehome."""
    found = set()
    for path in (ROOT / "src/rehome").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Blocker":
                code = node.args[0]
                assert isinstance(code, ast.Constant), f"{path.name}: a code must be plain text"
                found.add(str(code.value))
    return found


def rows_of(page: str, heading: str) -> set[str]:
    """First cells in backticks of the tables below a heading."""
    section = page.split(f"## {heading}\n")[1].split("\n## ", maxsplit=1)[0]
    return set(re.findall(r"^\| `([a-z-]+)` \|", section, re.MULTILINE))


def test_every_blocker_is_explained_and_no_other() -> None:
    assert len(blocker_codes()) >= 10
    assert rows_of(REHOME_PAGE.read_text(), "What blocks a move") == blocker_codes()


def test_every_error_of_a_run_that_is_explained_exists() -> None:
    explained = rows_of(REHOME_PAGE.read_text(), "When a run fails")
    codes = {kind.code for kind in docs_cli.error_classes()}
    assert len(explained) >= 8
    assert explained - codes == set()
    rehome = {kind.code for kind in docs_cli.error_classes() if kind.__module__[:6] == "rehome"}
    assert rehome - explained - blocker_codes() == set()


def test_every_exit_code_has_a_row_with_its_meaning() -> None:
    page = CLI_PAGE.read_text()
    used = {kind.exit_code for kind in docs_cli.error_classes()}
    rows = [int(code) for code in re.findall(r"^\| (\d+) \| \w", page, re.MULTILINE)]
    assert {1, 2, 3, 4, 5, 75, 130, 143} <= used
    assert rows == sorted({0, *used})
    assert set(docs_cli.MEANINGS) == {0, *used}


def test_for_every_error_code_the_troubleshooting_says_what_to_do() -> None:
    section = TROUBLE_PAGE.read_text().partition("## By error code\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`[^|]+) \| \S", section, re.MULTILINE)
    told = [code for row in rows for code in re.findall(r"`([a-z-]+)`", row)]
    assert len(told) == len(set(told))
    assert set(told) == {kind.code for kind in docs_cli.error_classes()}


def test_every_error_class_has_a_row_with_its_code_and_exit_code() -> None:
    page = CLI_PAGE.read_text()
    missing = [
        kind.__name__
        for kind in docs_cli.error_classes()
        if f"| `{kind.code}` | {kind.exit_code} | " not in page
    ]
    assert missing == []
    assert SeedError in docs_cli.error_classes()


# -- JSON


def kinds_printed() -> set[str]:
    """First arguments of `answer(...)` and `emit_json(...)` in the commands."""
    found = set()
    sources = (
        path
        for package in ("hashall", "rehome", "qbt_rules")
        for path in (ROOT / "src" / package).rglob("*.py")
    )
    for path in sources:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and node.args:
                name = getattr(node.func, "id", getattr(node.func, "attr", ""))
                if name in ("answer", "emit_json") and isinstance(node.args[0], ast.Constant):
                    found.add(str(node.args[0].value))
    return found


def test_every_json_document_is_described() -> None:
    described = {document.kind for document in docs_json.DOCUMENTS}
    assert kinds_printed() - described == set()
    # `hashall export` writes its document as the rows come.
    assert described - kinds_printed() == {"batch", "error", "files", "plan"}


def test_the_documents_that_are_no_plain_values_have_the_described_fields() -> None:
    from rehome import render_runs
    from seedkeep import console

    for function, form in (
        (render_runs.applied_json, docs_json.AppliedDocument),
        (console._error_object, docs_json.ErrorDocument),
    ):
        tree = ast.parse(inspect.getsource(function))
        (made,) = (node for node in ast.walk(tree) if isinstance(node, ast.Dict))
        keys = [key.value for key in made.keys if isinstance(key, ast.Constant)]
        assert keys == [field.name for field in fields(form)]


# -- settings


def test_the_example_of_a_config_file_changes_nothing(tmp_path: Path) -> None:
    for program in PROGRAMS:
        loaded = settings.load(program, placed(program, EXAMPLE, tmp_path), {"HOME": str(tmp_path)})
        place = next(row for row in SETTINGS if program in row.programs and names_the_file(row))
        origins = {loaded.origin(row) for row in SETTINGS if program in row.programs}
        assert origins - {"default"} == {loaded.origin(place)}


def names_the_file(row: settings.Setting[Any]) -> bool:
    return row.key in (settings.CONFIG_KEY, settings.CONFIG_DIR_KEY)


def placed(program: str, config: Path, folder: Path) -> dict[str, Any]:
    """Flags with which `program` reads `config`."""
    if program != QBT_RULES:
        return {settings.CONFIG_KEY: str(config)}
    (folder / settings.CONFIG_NAME).write_text(config.read_text())
    return {settings.CONFIG_DIR_KEY: str(folder)}


def test_every_line_of_the_example_may_be_commented_in(tmp_path: Path) -> None:
    text, count = re.subn(r"^( *)#(\w+: )", r"\1\2", EXAMPLE.read_text(), flags=re.MULTILINE)
    assert count == len([row for row in SETTINGS if not names_the_file(row)])
    config = tmp_path / "all.yml"
    config.write_text(text)
    environ = {"HOME": str(tmp_path)}
    for program in PROGRAMS:
        loaded = settings.load(program, placed(program, config, tmp_path), environ)
        for row in SETTINGS:
            if program not in row.programs or names_the_file(row):
                continue
            assert loaded.origin(row).startswith(f"{tmp_path}/"), row.key
            if row.key in docs_config.EXAMPLES:
                assert loaded[row] != row.default, row.key
            elif not row.secret:
                assert row.shown(loaded[row]).replace(f"{tmp_path}", "~") == row.shown(row.default)


# -- the HTTP API


def test_every_answer_shown_has_exactly_the_fields_of_one_of_the_api() -> None:
    from qbt_rules import api_models

    models = [kind for kind in vars(api_models).values() if inspect.isclass(kind)]
    models = [kind for kind in models if issubclass(kind, api_models.BaseModel)]
    page = (ROOT / "docs/API.md").read_text()
    shown = [json.loads(block) for kind, block in FENCE.findall(page) if kind == "json"]
    assert len(shown) >= 3
    for body in shown:
        fitting = [kind for kind in models if set(kind.model_fields) == set(body)]
        assert fitting, body
        assert fitting[0].model_validate(body).model_dump(mode="json") == body


def test_the_fields_of_documents_made_by_hand_are_described() -> None:
    from qbt_rules.commands import rules

    for function, form in (
        (rules.validate_rules, docs_json.ValidatedDocument),
        (rules.show_rules, docs_json.RuleDocument),
    ):
        tree = ast.parse(inspect.getsource(function))
        (made,) = (node for node in ast.walk(tree) if isinstance(node, ast.Dict))
        keys = [key.value for key in made.keys if isinstance(key, ast.Constant)]
        assert keys == [field.name for field in fields(form)]


# -- links


def test_every_local_link_resolves() -> None:
    broken = []
    for document in documents():
        for target in LINK.findall(FENCE.sub("", document.read_text())):
            name, _, anchor = target.partition("#")
            there = (document.parent / name).resolve() if name else document
            if not there.exists():
                broken.append(f"{document.name}: {target}")
            elif anchor and anchor not in anchors(there.read_text()):
                broken.append(f"{document.name}: {target}: no such heading")
    assert broken == []


def anchors(page: str) -> set[str]:
    """Headings as the viewer turns them into anchors; what is in fenced blocks is none."""
    titles = re.findall(r"^#+ (.+)$", FENCE.sub("", page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_headings_go_down_one_level_at_a_time() -> None:
    jumps = []
    for document in documents():
        levels = [len(m) for m in re.findall(r"^(#+) ", FENCE.sub("", document.read_text()), re.M)]
        assert levels[:1] == [1], f"{document.name} begins with its title"
        jumps += [document.name for above, below in pairwise(levels) if below > above + 1]
    assert jumps == []


def test_the_readme_prints_the_table_of_the_scan_benchmark() -> None:
    page = (ROOT / "docs/architecture/performance-scan.md").read_text()
    readme = (ROOT / "README.md").read_text()
    found = re.search(
        r"^<!-- bench-scan -->\n(.*?)^<!-- end of bench-scan -->", readme, re.M | re.S
    )
    assert found is not None
    assert found[1].count("\n") > 4
    assert found[1] in page, "both have one table: copy it from the page"
