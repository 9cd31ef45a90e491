"""A report as one HTML page that needs nothing else: no script, no font, no image."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from rehome.render_report import moment
from rehome.report import Duplicate, Entry, Outlook, Report
from seedkeep.text import printable
from seedkeep.units import format_size

STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8882; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .3rem .7rem .3rem 0;
         border-bottom: 1px solid var(--line); overflow-wrap: anywhere; }
th.n, td.n { text-align: right; white-space: nowrap; }
code { font-family: ui-monospace, monospace; font-size: .9em; }
summary { cursor: pointer; padding: .4rem 0; }
ul { margin: .2rem 0; padding-left: 1.2rem; }
.sums { display: flex; flex-wrap: wrap; gap: 1rem; padding: 0; list-style: none; }
.sums li { background: var(--soft); border-radius: .5rem; padding: .6rem 1rem; }
.sums b { display: block; font-size: 1.3rem; }
"""


def page(made: Report) -> str:
    """The whole document."""
    demotions, promotions = made.demotions, made.promotions
    sums = (
        (format_size(demotions.bytes_freed), "could be freed on stash"),
        (str(len(demotions.eligible)), "groups may go to the pool"),
        (str(len(promotions.eligible)), "groups may come to stash"),
        (format_size(made.duplicate_bytes), "lie on both sides"),
    )
    body = [
        "<h1>Placement of seeded data</h1>",
        f"<p>{made.torrents} torrents on <time>{moment(made.made_at)}</time>."
        f" Stash: {_code(made.stash_seeding_root)}, pool: {_code(made.pool_seeding_root)}.</p>",
        '<ul class="sums">',
        *(f"<li><b>{escape(number)}</b>{escape(what)}</li>" for number, what in sums),
        "</ul>",
        *_outlook("Demotions: from stash to pool", demotions),
        *_outlook("Promotions: from pool to stash", promotions),
        *_duplicates(made.duplicates),
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>rehome report</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + "\n</body>\n</html>"
    )


def _outlook(title: str, found: Outlook) -> list[str]:
    lines = [f"<h2>{escape(title)}</h2>"]
    if found.eligible:
        head = ("Decision", "Freed", "To copy", "Torrents", "Torrent", "Name")
        lines += _table(head, (_entry(entry) for entry in found.eligible), numbers=(1, 2, 3))
    else:
        lines.append("<p>None may go.</p>")
    if found.blocked:
        reasons = ", ".join(f"{count} by {_code(code)}" for code, count in found.reasons)
        lines += [
            f"<details><summary>{len(found.blocked)} stay ({reasons})</summary>",
            *_table(("Size", "Name", "Reasons"), map(_blocked, found.blocked), numbers=(0,)),
            "</details>",
        ]
    return lines


def _entry(entry: Entry) -> tuple[str, ...]:
    return (
        escape(entry.decision.value),
        escape(format_size(entry.bytes_freed)),
        escape(format_size(entry.bytes_to_copy)),
        str(entry.torrents),
        _code(entry.torrent[:12]),
        escape(printable(entry.name)),
    )


def _blocked(entry: Entry) -> tuple[str, ...]:
    reasons = "".join(
        f"<li>{_code(blocker.code)} {escape(printable(blocker.sentence))}"
        + (f"<ul>{''.join(f'<li>{_code(path)}</li>' for path in blocker.paths)}</ul>")
        * bool(blocker.paths)
        + "</li>"
        for blocker in entry.blockers
    )
    name = f"{escape(printable(entry.name))}<br>{_code(entry.torrent[:12])}"
    return escape(format_size(entry.total_bytes)), name, f"<ul>{reasons}</ul>"


def _duplicates(found: Sequence[Duplicate]) -> list[str]:
    lines = ["<h2>On both sides</h2>"]
    if not found:
        return [*lines, "<p>Nothing.</p>"]
    rows = (
        (
            escape(format_size(item.total_bytes)),
            f"{_code(item.on_stash)} ({item.torrents_on_stash} torrents)",
            f"{_code(item.on_pool)} ({item.torrents_on_pool} torrents)",
        )
        for item in found
    )
    return [*lines, *_table(("Size", "Stash", "Pool"), rows, numbers=(0,))]


def _table(
    head: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: Sequence[int]
) -> list[str]:
    """`rows` are HTML already; columns of `numbers` are set to the right."""

    def cells(tag: str, row: Sequence[str]) -> str:
        classes = [' class="n"' if at in numbers else "" for at in range(len(row))]
        return "".join(
            f"<{tag}{kind}>{cell}</{tag}>" for kind, cell in zip(classes, row, strict=True)
        )

    return [
        "<table>",
        f"<thead><tr>{cells('th', head)}</tr></thead>",
        "<tbody>",
        *(f"<tr>{cells('td', row)}</tr>" for row in rows),
        "</tbody>",
        "</table>",
    ]


def _code(text: str) -> str:
    return f"<code>{escape(printable(text))}</code>"
