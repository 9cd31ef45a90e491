"""The report of a plan as one page of HTML that needs nothing else."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from hashall.linking.service import LinkReport
from hashall.render_link import meaning
from seedkeep import clock
from seedkeep.text import printable
from seedkeep.units import format_size

_STYLE = """
:root { color-scheme: light dark; --ink: #1f2430; --paper: #fff; --line: #d6dae2; --bar: #2f6f9f; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e8ee; --paper: #14171d; --line: #353b48; --bar: #6fb1e0; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.5rem; }
.totals { display: flex; flex-wrap: wrap; gap: 1rem; padding: 0; list-style: none; }
.totals li { border: 1px solid var(--line); border-radius: .5rem; padding: .75rem 1.25rem; }
.totals b { display: block; font-size: 1.5rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .4rem .6rem; border-bottom: 1px solid var(--line);
  vertical-align: top; overflow-wrap: anywhere; }
td.n, th.n { text-align: right; white-space: nowrap; }
td.bar { width: 35%; } td.bar div { background: var(--bar); height: 1rem; min-width: 2px; }
code { font: .9em ui-monospace, monospace; }
"""


def page(value: LinkReport) -> str:
    plan = value.plan
    title = f"Plan {plan.plan_id}: {plan.name}"
    return "\n".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{_text(title)}</title><style>{_STYLE}</style></head><body>",
            f"<h1>{_text(title)}</h1>",
            f"<p>{_text(plan.status.value)}, made {clock.to_second(plan.created_at)}"
            f" by {_text(plan.actor)}; this page {clock.to_second(value.made_at)}</p>",
            *_totals(value),
            *_groups(value),
            *_skipped(value),
            *_deletions(value),
            "</body></html>",
        ]
    )


def _totals(value: LinkReport) -> Iterable[str]:
    plan = value.plan
    kinds = plan.actions
    cells = [
        (format_size(plan.bytes_to_save), "links would save"),
        (format_size(plan.bytes_saved), "saved so far"),
        (str(kinds["HARDLINK"].count), "names to link"),
        (str(kinds["NOOP"].count), "files linked already"),
        (str(sum(item.count for item in value.skipped)), "skipped"),
        (str(kinds["DELETE"].count), "deletions proposed"),
    ]
    yield '<ul class="totals">'
    yield from (f"<li><b>{_text(number)}</b>{_text(what)}</li>" for number, what in cells)
    yield "</ul>"


def _groups(value: LinkReport) -> Iterable[str]:
    largest = max((group.bytes_to_save for group in value.groups), default=0)
    rows = [
        f'<tr><td class="n">{format_size(group.bytes_to_save)}</td>'
        f'<td class="bar"><div style="width:{_percent(group.bytes_to_save, largest)}%"></div></td>'
        f'<td class="n">{group.links} × {format_size(group.size)}</td>'
        f"<td><code>{_text(group.path)}</code></td></tr>"
        for group in value.groups
    ]
    heads = '<th class="n">Saves</th><th></th><th class="n">Names</th><th>The file that stays</th>'
    yield from _table("Biggest groups", heads, rows)


def _skipped(value: LinkReport) -> Iterable[str]:
    most = max((item.count for item in value.skipped), default=0)
    rows = [
        f'<tr><td class="n">{item.count}</td>'
        f'<td class="bar"><div style="width:{_percent(item.count, most)}%"></div></td>'
        f'<td class="n">{format_size(item.bytes)}</td>'
        f"<td>{_text(meaning(item.reason))} (<code>{_text(item.reason)}</code>)</td></tr>"
        for item in value.skipped
    ]
    heads = '<th class="n">Files</th><th></th><th class="n">Size</th><th>Why</th>'
    yield from _table("Skipped", heads, rows)
    examples = [
        f"<tr><td><code>{_text(action.target)}</code></td>"
        f"<td>{_text(action.detail or meaning(action.reason))}</td></tr>"
        for action in value.examples
    ]
    yield from _table("Skipped files, the largest first", "<th>File</th><th>Why</th>", examples)


def _deletions(value: LinkReport) -> Iterable[str]:
    rows = [
        f"<tr><td><code>{_text(action.target)}</code></td>"
        f"<td><code>{_text(action.source)}</code></td></tr>"
        for action in value.deletions
    ]
    heads = "<th>Copy that nothing uses</th><th>The same bytes</th>"
    yield from _table("Copies on other filesystems", heads, rows)


def _table(title: str, heads: str, rows: Sequence[str]) -> Iterable[str]:
    if rows:
        yield f"<h2>{title}</h2><table><thead><tr>{heads}</tr></thead><tbody>"
        yield from rows
        yield "</tbody></table>"


def _percent(part: int, whole: int) -> int:
    return round(100 * part / whole) if whole else 0


def _text(text: str) -> str:
    return html.escape(printable(text))
