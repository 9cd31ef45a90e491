"""The rules of docs/architecture/architecture.md as functions over a module's syntax tree.

Each rule yields what it found as "line N: what".  `RULES` names them for the tests.
"""

from __future__ import annotations

import ast
import fnmatch
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

RANK = {"seedkeep": 0, "hashall": 1, "rehome": 2, "qbt_rules": 3}
OWN_FACE = (
    "cli",
    "commands",
    "render",
    "app",
)  # what a package shows to people, not to other packages
MOST_LINES = 400
MOST_FUNCTION_LINES = 60

CLIENT = ("seedkeep/torrent_client.py", "seedkeep/qbittorrent*.py")
DATABASE = ("seedkeep/sqlite.py",)
# A database's own backup and temporary files are no content; seedkeep cannot reach hashall's fsops.
OWN_FILES = ("seedkeep/sqlite.py", "seedkeep/migrations.py")
# fsreplace is fsops' part for links in the place of files, which would not fit into one module;
# fsops_probe is the doctor's; fsnew takes back what could not be written to its end.
FILE_CHANGES = (
    *("hashall/fsops.py", "hashall/fsops_probe.py", "hashall/fscopy.py", "hashall/fsnew.py"),
    *("hashall/fsreplace.py", "hashall/dirfd.py"),
    *OWN_FILES,
)
# database_place refuses network filesystems before a database is opened, below hashall.
MOUNTS = ("hashall/mounts.py", "hashall/devices.py", "seedkeep/database_place.py")
REAL_PATHS = ("hashall/pathing.py", *MOUNTS)
ENVIRONMENT = ("seedkeep/settings*.py",)
BRIDGE = ("qbt_rules/seed_data*.py",)
SQL = (
    "hashall/catalog/*",
    "rehome/runs.py",
    "qbt_rules/queue_backends/*",
    "seedkeep/sqlite.py",
    "seedkeep/migrations.py",
)

CHANGES_OF_OS = {
    *("link", "symlink", "rename", "renames", "replace", "unlink", "remove", "removedirs"),
    *("rmdir", "truncate", "mknod"),
}
HARMLESS_SHUTIL = {"shutil.which", "shutil.disk_usage", "shutil.get_terminal_size"}
CHANGES_OF_PATH = {"rename", "unlink", "rmdir", "hardlink_to", "symlink_to"}
STATEMENT = re.compile(
    r"\bSELECT\s.+\sFROM\b|\bINSERT\s+(OR\s+\w+\s+)?INTO\b|\bUPDATE\s+\S+\s+SET\b|\bDELETE\s+FROM\b"
    r"|\b(CREATE|DROP|ALTER)\s+(UNIQUE\s+|TEMP\s+)?(TABLE|INDEX|VIEW|TRIGGER)\b|\bPRAGMA\s+\w"
    r"|\bBEGIN\s+IMMEDIATE\b|\bATTACH\s+DATABASE\b",
    re.DOTALL,
)


@dataclass(frozen=True)
class Module:
    """One source file below src/."""

    path: str  # "hashall/scan.py"
    source: str

    @property
    def package(self) -> str:
        return self.path.split("/", 1)[0]

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.source)

    @cached_property
    def nodes(self) -> list[ast.AST]:
        return list(ast.walk(self.tree))

    def is_one_of(self, patterns: tuple[str, ...]) -> bool:
        return any(fnmatch.fnmatchcase(self.path, pattern) for pattern in patterns)

    @cached_property
    def imports(self) -> list[tuple[int, str]]:
        """Every imported thing as a dotted name, wherever in the file the import stands."""
        found = []
        for node in self.nodes:
            if isinstance(node, ast.Import):
                found += [(node.lineno, name.name) for name in node.names]
            elif isinstance(node, ast.ImportFrom):
                base = self._base(node)
                found += [(node.lineno, f"{base}.{name.name}") for name in node.names]
        return found

    def _base(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        above = Path(self.path).parts[: -node.level]
        return ".".join([*above, *([node.module] if node.module else [])])

    @cached_property
    def aliases(self) -> dict[str, str]:
        """Local name → dotted name that it was imported as."""
        found = {}
        for node in self.nodes:
            if isinstance(node, ast.Import):
                for name in node.names:
                    found[name.asname or name.name.split(".")[0]] = (
                        name.name if name.asname else name.name.split(".")[0]
                    )
            elif isinstance(node, ast.ImportFrom):
                for name in node.names:
                    found[name.asname or name.name] = f"{self._base(node)}.{name.name}"
        return found

    def mentions(self) -> Iterator[tuple[int, str]]:
        """Every `a.b.c` and imported name in use, spelled from its module."""
        for node in self.nodes:
            if isinstance(node, ast.Attribute | ast.Name):
                parts = _dotted(node)
                if parts and parts[0] in self.aliases:
                    yield node.lineno, ".".join([self.aliases[parts[0]], *parts[1:]])

    def method_calls(self) -> Iterator[tuple[ast.Call, str]]:
        """Calls of an attribute of something that is no imported module."""
        for node in self.nodes:
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                parts = _dotted(node.func)
                imported = self.aliases.get(parts[0], "") if parts else ""
                if not imported or imported[-1:].isupper() or _is_class(imported):
                    yield node, node.func.attr

    def texts(self) -> Iterator[tuple[int, str]]:
        """String constants and f-strings (holes as `?`); docstrings are prose and left out."""
        prose = set(_docstrings(self.tree))
        inside = {
            id(part)
            for node in self.nodes
            if isinstance(node, ast.JoinedStr)
            for part in node.values
        }
        for node in self.nodes:
            if isinstance(node, ast.JoinedStr):
                yield node.lineno, "".join(_literal(part) for part in node.values)
            elif id(node) in prose or id(node) in inside:
                continue
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.lineno, node.value


def modules(src: Path) -> Iterator[Module]:
    for path in sorted(src.rglob("*.py")):
        yield Module(path.relative_to(src).as_posix(), path.read_text())


Rule = Callable[[Module], Iterator[str]]


def imports_go_only_to_the_right(module: Module) -> Iterator[str]:
    mine = RANK[module.package]
    for line, name in module.imports:
        if RANK.get(name.split(".")[0], -1) > mine:
            yield f"line {line}: {module.package} imports {name}"


def nobody_imports_the_face_of_another_package(module: Module) -> Iterator[str]:
    for line, name in module.imports:
        package, *rest = name.split(".")
        if package in RANK and package != module.package and rest and rest[0] in OWN_FACE:
            yield f"line {line}: imports {name}"


def one_bridge_from_the_rules_to_the_catalog(module: Module) -> Iterator[str]:
    if module.package == "qbt_rules" and not module.is_one_of(BRIDGE):
        for line, name in module.imports:
            if name.split(".")[0] in ("hashall", "rehome"):
                yield f"line {line}: imports {name}"


def one_module_talks_to_qbittorrent(module: Module) -> Iterator[str]:
    yield from _only(module, CLIENT, "qbittorrentapi")


def one_module_opens_databases(module: Module) -> Iterator[str]:
    yield from _only(module, DATABASE, "apsw")
    yield from _only(module, (), "sqlite3")


def one_module_changes_files(module: Module) -> Iterator[str]:
    if module.is_one_of(FILE_CHANGES):
        return
    for line, name in module.mentions():
        if name.startswith("shutil.") and name not in HARMLESS_SHUTIL:
            yield f"line {line}: {name}"
        owner, _, function = name.rpartition(".")
        if owner in ("os", "posix") and function in CHANGES_OF_OS:
            yield f"line {line}: {name}"
    for call, method in module.method_calls():
        # str.replace has two arguments, Path.replace one; datetimes are replaced by keyword.
        replaces = method == "replace" and len(call.args) == 1 and not call.keywords
        if method in CHANGES_OF_PATH or replaces:
            yield f"line {call.lineno}: .{method}()"


def one_place_knows_real_paths_and_mounts(module: Module) -> Iterator[str]:
    if module.is_one_of(REAL_PATHS):
        return
    for line, name in module.mentions():
        if name in ("os.path.realpath", "posixpath.realpath"):
            yield f"line {line}: {name}"
    for call, method in module.method_calls():
        if method == "resolve" and not call.args:
            yield f"line {call.lineno}: .resolve()"
    for line, text in module.texts():
        if text == "findmnt" or "/mountinfo" in text:
            yield f"line {line}: {text}"


def one_place_reads_the_environment(module: Module) -> Iterator[str]:
    if module.is_one_of(ENVIRONMENT):
        return
    for line, name in module.mentions():
        if name.startswith(("os.environ", "os.getenv", "os.environb", "os.putenv")):
            yield f"line {line}: {name}"


def sql_stands_in_few_places(module: Module) -> Iterator[str]:
    if module.is_one_of(SQL):
        return
    for line, text in module.texts():
        if STATEMENT.search(text):
            yield f"line {line}: {' '.join(text.split())[:60]}"


def modules_stay_short(module: Module) -> Iterator[str]:
    lines = module.source.count("\n")
    if lines > MOST_LINES:
        yield f"line {lines}: more than {MOST_LINES} lines"


def functions_fit_on_a_screen(module: Module) -> Iterator[str]:
    for node in module.nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno
            if lines > MOST_FUNCTION_LINES:
                yield f"line {node.lineno}: {node.name} has {lines} lines"


RULES: tuple[Rule, ...] = (
    imports_go_only_to_the_right,
    nobody_imports_the_face_of_another_package,
    one_bridge_from_the_rules_to_the_catalog,
    one_module_talks_to_qbittorrent,
    one_module_opens_databases,
    one_module_changes_files,
    one_place_knows_real_paths_and_mounts,
    one_place_reads_the_environment,
    sql_stands_in_few_places,
    modules_stay_short,
    functions_fit_on_a_screen,
)


def _only(module: Module, places: tuple[str, ...], library: str) -> Iterator[str]:
    if not module.is_one_of(places):
        for line, name in module.imports:
            if name.split(".")[0] == library:
                yield f"line {line}: imports {library}"


def _dotted(node: ast.expr) -> list[str]:
    """`a.b.c` as its parts; empty for anything that starts with more than a name."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.insert(0, node.attr)
        node = node.value
    return [node.id, *parts] if isinstance(node, ast.Name) else []


def _is_class(dotted: str) -> bool:
    return dotted.rpartition(".")[2][:1].isupper()


def _docstrings(tree: ast.Module) -> Iterator[int]:
    holders = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(tree):
        if isinstance(node, holders) and node.body and isinstance(node.body[0], ast.Expr):
            yield id(node.body[0].value)


def _literal(part: ast.expr) -> str:
    return str(part.value) if isinstance(part, ast.Constant) else "?"
