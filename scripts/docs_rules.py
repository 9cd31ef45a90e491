"""The rule language's fields, operators and actions as Markdown, read from the code."""

from __future__ import annotations

from collections import defaultdict

from qbt_rules.language.action_table import ACTIONS
from qbt_rules.language.fields import FIELDS, Field
from qbt_rules.language.operators import OPERATORS

COSTS = (
    "with the list of torrents",
    "from the catalog",
    "a request for each torrent",
    "a look at each file",
)
ONCE = ("time", "transfer", "space")


def fields() -> str:
    """A row for each family and kind."""
    groups: dict[tuple[str, str, int], list[Field]] = defaultdict(list)
    for field in FIELDS.values():
        kind = f"{field.kind.value}, list" if field.many else field.kind.value
        groups[field.family, kind, field.cost].append(field)
    lines = ["| family | fields | kind | comes |", "|---|---|---|---|"]
    for (family, kind, cost), some in groups.items():
        names = ", ".join(f"`{field.name.partition('.')[2]}`" for field in some)
        comes = "once for all torrents" if family in ONCE else COSTS[cost]
        lines.append(f"| `{family}.` | {names} | {kind} | {comes} |")
    app = "any preference of the client, `version`, `api_version`"
    lines.append(f"| `app.` | {app} | as the client says | once for all torrents |")
    return "\n".join(lines)


def operators() -> str:
    lines = ["| kind | operators |", "|---|---|"]
    for kind, names in OPERATORS.items():
        lines.append(f"| {kind.value} | {', '.join(f'`{name}`' for name in names)} |")
    return "\n".join(lines)


def actions() -> str:
    lines = ["| action | does | parameters |", "|---|---|---|"]
    for kind in ACTIONS.values():
        params = []
        for param in kind.params:
            names = " or ".join(f"`{name}`" for name in (param.name, *param.also))
            need = "" if param.required else f", else {_default(param.default)}"
            params.append(f"{names}: {param.shape}{need}")
        lines.append(f"| `{kind.type}` | {kind.does} | {'; '.join(params)} |")
    return "\n".join(lines)


def _default(value: object) -> str:
    if value is None:
        return "as it is"
    return f"`{str(value).lower()}`" if isinstance(value, bool) else f"`{value}`"
