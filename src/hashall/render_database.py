"""The state of the catalog's file as text for people."""

from __future__ import annotations

from hashall.catalog_care import DatabaseCheck, DatabaseState, FileSize, Migrated, TreeCheck
from hashall.catalog_import import Imported
from seedkeep.text import printable
from seedkeep.units import format_size

MOST_LINES = 20


def state(view: DatabaseState) -> str:
    versions, pages = view.versions, view.pages
    waiting = f"; waiting: {', '.join(versions.pending)}" if versions.pending else ""
    free = pages.free_pages * pages.page_size
    lines = [
        f"catalog    {printable(str(view.path))}",
        f"size       {format_size(view.bytes)}, {format_size(free)} of it free,"
        f" {format_size(view.wal_bytes)} in the log",
        f"schema     {versions.schema} of {versions.known}{waiting}",
        f"journal    {pages.journal_mode}",
        f"SQLite     {versions.sqlite}",
        f"filesystem {view.filesystem or 'unknown'}",
        f"held by    {printable(view.holder) if view.holder else 'nobody'}",
    ]
    lines += [
        f"backup     {printable(str(copy.path))} ({format_size(copy.bytes)})"
        for copy in view.backups
    ]
    return "\n".join(lines)


def migrated(done: Migrated) -> str:
    if not done.applied:
        return f"schema {done.schema}: nothing to do"
    return "\n".join([*(f"applied {label}" for label in done.applied), f"schema {done.schema}"])


def saved(copy: FileSize) -> str:
    return f"written {printable(str(copy.path))} ({format_size(copy.bytes)})"


def imported(result: Imported) -> str:
    lines = [
        f"{result.taken} hashes taken over, {result.had_one} files had one already",
        f"{result.changed} files were changed since, {result.gone} are gone",
    ]
    if result.unscanned:
        lines.append(
            f"{result.unscanned} files are not in this catalog yet: scan them (--hash-mode fast),"
            " then import again"
        )
    if result.without_sha256:
        lines.append(f"{result.without_sha256} files had no SHA-256 there and have to be read")
    return "\n".join(lines)


def check(report: DatabaseCheck) -> str:
    lines = []
    for problem in report.problems:
        lines.append(f"{problem.code}: {problem.count} {problem.what}")
        lines += [f"  {printable(example)}" for example in problem.examples]
    lines.append(
        f"{len(report.problems)} kinds of contradictions: restore a backup, or scan anew"
        if report.problems
        else "the catalog agrees with itself"
    )
    if report.tree is not None:
        lines += _tree(report.tree)
    return "\n".join(lines)


def _tree(tree: TreeCheck) -> list[str]:
    lines = []
    for title, paths in (
        ("not there any more:", tree.missing),
        ("another file has the name:", tree.replaced),
        ("other size or mtime:", tree.changed),
        ("other link count:", tree.linked),
        ("cannot be looked at:", [f"{path}: {why}" for path, why in tree.unreadable.items()]),
    ):
        if paths:
            lines.append(f"{len(paths)} {title}")
            lines += [f"  {printable(path)}" for path in sorted(paths)[:MOST_LINES]]
    lines.append(f"{tree.names} names looked at, {tree.same} as the catalog has them")
    if tree.not_mounted:
        lines.append(f"{tree.not_mounted} are on filesystems that are not mounted")
    if tree.differing:
        lines.append("run `hashall scan` on the folders that changed")
    return lines
