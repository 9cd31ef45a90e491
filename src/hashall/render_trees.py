"""Trees as text for people."""

from __future__ import annotations

from hashall.equal_trees import EqualTrees
from hashall.tree_compare import Comparison
from hashall.treehash import MOST_MISSING, TreeView
from seedkeep.text import printable
from seedkeep.units import format_size


def tree(view: TreeView) -> str:
    lines = [
        f"tree hash  {view.tree_hash or '- (something has no hash)'}",
        f"path       {printable(view.path)} (device {view.device_id})",
        f"content    {_files(view.files)}, {format_size(view.bytes)}",
    ]
    if view.holes:
        more = " (the first ones)" if len(view.holes) == MOST_MISSING else ""
        lines.append(f"not hashed, or not read{more}; run `hashall scan` on it:")
        lines += [f"  {printable(hole)}" for hole in view.holes]
    return "\n".join(lines)


def comparison(found: Comparison) -> str:
    lines = [tree(found.first), "", tree(found.second), ""]
    if found.equal:
        lines.append("the trees are equal")
    elif found.equal is None:
        lines.append("no difference is known, but not everything has a hash")
    else:
        lines.append("the trees differ")
    lines += [
        f"  {differing.how.value}: {printable(differing.path)}" for differing in found.differences
    ]
    if not found.complete:
        lines.append("  … and more (--differences lists more)")
    return "\n".join(lines)


def equal_trees(found: EqualTrees) -> str:
    lines = []
    for group in found.groups:
        lines.append(
            f"{len(group.copies)} copies of {format_size(group.bytes)} in {_files(group.files)},"
            f" {format_size(group.redundant)} beyond one copy  {group.tree_hash[:16]}"
        )
        lines += [f"  {printable(copy.path)} (device {copy.device_id})" for copy in group.copies]
        lines.append("")
    if found.groups:
        what = "group" if len(found.groups) == 1 else "groups"
        lines.append(
            f"{len(found.groups)} {what} of equal directories with"
            f" {format_size(found.redundant)} beyond one copy"
        )
    else:
        lines.append("no equal directories")
    if found.incomplete:
        lines.append(
            f"directories that were not compared: {found.incomplete}, because something in them has"
            " no SHA-256; run `hashall scan`"
        )
    return "\n".join(lines)


def _files(number: int) -> str:
    return f"{number} file" if number == 1 else f"{number} files"
