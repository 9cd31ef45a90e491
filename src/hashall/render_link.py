"""What `hashall link` found and did, as text for people."""

from __future__ import annotations

from collections.abc import Sequence

from hashall.linking.analyze import CopyView, CrossView, DeviceLinks, GroupView, LinkAnalysis
from hashall.linking.model import ActionState, Execution, Plan, PlanStatus, Result
from hashall.linking.service import LinkReport, LinkStatus, PlanView
from seedkeep import clock
from seedkeep.text import printable, table
from seedkeep.units import format_size

MOST_LINES = 20
WIDE = 60  # columns of a bar
_MEANINGS = {
    "already-linked": "are the same file by now",
    "attributes-differ": "have other ACLs or extended attributes (--match-owner links them)",
    "bytes-differ": "do not have the same bytes",
    "changed": "changed since the plan was made",
    "filtered-names": "have names that the filters leave out, so nothing would be freed",
    "immutable": "are immutable or append-only",
    "in-library": "are in a library",
    "io-error": "could not be read",
    "just-written": "were written when they were hashed: scan again",
    "damaged": "had other bytes when `hashall verify` read them: restore them",
    "leftover": "have a temporary name of an unknown run beside them",
    "missing": "are gone",
    "mode-differs": "have another mode (--match-owner links them)",
    "no-permission": "may not be changed by this user",
    "no-source": "have no finished file to link to",
    "no-space": "found no space",
    "not-a-file": "are no regular files any more",
    "not-mounted": "are on a filesystem that is not mounted",
    "open-for-writing": "are open for writing in another program",
    "other-filesystem": "are on different filesystems or mounts",
    "owner-differs": "have another owner (--match-owner links them)",
    "read-only": "are on a read-only filesystem",
    "seeded": "are used by a torrent",
    "sparse": "have holes",
    "too-many-links": "have as many names as the filesystem allows",
    "unfinished": "belong to an unfinished torrent",
    "unknown-links": "are on a filesystem whose link counts prove nothing",
    "unsafe-path": "have a symlink or a file in the place of a directory",
    "unseen-names": "have names in no scan, so nothing would be freed",
}


def meaning(reason: str) -> str:
    """What a reason says of the files that it holds for."""
    return f"they {_MEANINGS.get(reason, 'could not be linked')}"


def analysis(found: LinkAnalysis) -> str:
    lines = [_devices(found.devices), ""]
    saved = sum(device.savings for device in found.devices)
    groups = sum(device.groups for device in found.devices)
    lines.append(f"{_count(groups, 'group')} of equal files; links would save {format_size(saved)}")
    for group in found.groups:
        lines += _group(group)
    lines += _more(found.more_groups)
    if found.cross:
        lines += ["", "on more than one filesystem, which no hardlink can join:"]
        for cross in found.cross:
            lines += _cross(cross)
        lines += _more(found.more_cross)
    return "\n".join(lines)


def _devices(devices: Sequence[DeviceLinks]) -> str:
    rows = [
        (
            device.device_id,
            device.totals.files,
            device.totals.inodes,
            format_size(device.totals.bytes),
            format_size(device.totals.linked_bytes),
            device.groups,
            format_size(device.savings),
            ", ".join(device.mount_points) or f"(not mounted) {device.fs_key}",
        )
        for device in devices
    ]
    heads = ("DEVICE", "FILES", "INODES", "SIZE", "SAVED ALREADY", "GROUPS", "CAN SAVE", "AT")
    text = table(heads, rows, "rrrrrrr")
    unhashed = sum(device.totals.unhashed for device in devices)
    if unhashed:
        text += f"\n{unhashed} inodes have no SHA-256 and are in no group: scan again"
    return text


def _group(group: GroupView) -> list[str]:
    head = (
        f"{group.sha256[:12]}  {format_size(group.size)} in {len(group.inodes)} inodes,"
        f" save {format_size(group.savings)}"
    )
    lines = ["", head]
    for inode in group.inodes:
        notes = [f"{inode.unseen} more names in no scan"] if inode.unseen else []
        notes += ["a torrent is writing to it"] if inode.unfinished else []
        first, *others = inode.paths
        note = f"  ({'; '.join(notes)})" if notes else ""
        lines.append(f"  {printable(first)}{note}")
        lines += [f"    = {printable(path)}" for path in others]
    return lines


def _cross(cross: CrossView) -> list[str]:
    head = f"{cross.sha256[:12]}  {format_size(cross.size)} × {len(cross.copies)}"
    return ["", head, *(line for copy in cross.copies for line in _copy(copy))]


def _copy(copy: CopyView) -> list[str]:
    uses = [_count(len(copy.torrents), "torrent")] if copy.torrents else []
    uses += [f"library {printable(library)}" for library in copy.libraries]
    first, *others = copy.paths
    note = f"  ({', '.join(uses)})" if uses else ""
    return [
        f"  device {copy.device_id}  {printable(first)}{note}",
        *(f"    = {printable(path)}" for path in others),
    ]


# -- plans


def planned(view: PlanView) -> str:
    number = view.plan.plan_id
    lines = [f"plan {number} is made: {printable(view.plan.name)}", *_totals(view.plan)]
    lines += _reasons(view.reasons)
    doable = view.plan.actions["HARDLINK"].count + view.plan.actions["DELETE"].count
    if doable:
        lines.append(f"next: hashall link show-plan {number}, then hashall link execute {number}")
    else:
        lines.append("there is nothing to do")
    return "\n".join(lines)


def previewed(view: PlanView) -> str:
    lines = ["dry run: no plan was kept", *_totals(view.plan), *_reasons(view.reasons)]
    return "\n".join([*lines, *_actions(view)])


def plan(view: PlanView) -> str:
    found = view.plan
    lines = [
        f"plan      {found.plan_id}: {printable(found.name)}",
        f"status    {_status(found)}",
        f"made      {clock.to_second(found.created_at)} by {printable(found.actor)}",
        *_totals(found),
        *_reasons(view.reasons),
    ]
    return "\n".join([*lines, *_actions(view)])


def _status(found: Plan) -> str:
    done, left = found.states["done"], found.states["planned"] + found.states["intended"]
    text = found.status.value
    if found.status is PlanStatus.RUNNING:
        text = f"executed in part: {done} done, {left} left"
    if found.status is PlanStatus.APPROVED and found.approved_at and found.approved_by:
        text += f" {clock.to_second(found.approved_at)} by {printable(found.approved_by)}"
    undone = found.states["undone"]
    return f"{text}, {undone} undone" if undone else text


def _totals(found: Plan) -> list[str]:
    kinds = found.actions
    words = {
        "HARDLINK": f"links     {kinds['HARDLINK'].count},"
        f" saving {format_size(found.bytes_to_save)}",
        "NOOP": f"linked    {_count(kinds['NOOP'].count, 'file')} with several names already",
        "SKIP": f"skipped   {kinds['SKIP'].count}",
        "DELETE": f"proposed  {kinds['DELETE'].count} deletions of copies on other filesystems,"
        f" freeing {format_size(kinds['DELETE'].bytes)} (only with --allow-delete)",
    }
    lines = [text for kind, text in words.items() if kinds[kind].count or kind == "HARDLINK"]
    if found.states["done"] or found.states["undone"]:
        lines.append(f"saved     {format_size(found.bytes_saved)} so far")
    return lines


def _reasons(reasons: dict[str, int]) -> list[str]:
    return [f"  {count} × {reason}: {meaning(reason)}" for reason, count in reasons.items()]


def _actions(view: PlanView) -> list[str]:
    lines = []
    for action in view.actions:
        what = f"{action.kind} {format_size(action.bytes_to_save)}"
        note = action.reason if action.state == "planned" else f"{action.state} {action.reason}"
        lines += ["", f"{action.seq:>4}. {what}{f'  [{note.strip()}]' if note.strip() else ''}"]
        lines.append(f"      {printable(action.target)}")
        lines.append(f"      {_arrow(action.kind)} {printable(action.source)}")
    return [*lines, *_more(view.more)]


def _arrow(kind: str) -> str:
    return "the same bytes are at" if kind == "DELETE" else "→"


def plans(found: Sequence[Plan]) -> str:
    if not found:
        return "no plans; make one with: hashall link plan NAME"
    rows = [
        (
            item.plan_id,
            item.status.value,
            item.actions["HARDLINK"].count,
            format_size(item.bytes_to_save),
            format_size(item.bytes_saved),
            clock.to_second(item.created_at),
            item.name,
        )
        for item in found
    ]
    heads = ("PLAN", "STATUS", "LINKS", "CAN SAVE", "SAVED", "MADE", "NAME")
    return table(heads, rows, "rlrrr")


def status(found: LinkStatus) -> str:
    lines = [_devices(found.devices)]
    if found.plans:
        lines += ["", plans(found.plans)]
    if found.unsettled:
        lines.append(
            f"{found.unsettled} actions were interrupted: any `hashall link execute … --force` or"
            " --undo puts them in order first"
        )
    return "\n".join(lines)


# -- execution


def execution(done: Execution) -> str:
    lines = [f"snapshot  {printable(text)}" for text in done.snapshots]
    lines += [f"from an interrupted run: {_one(result)}" for result in done.recovered]
    lines += [f"needs a look: {printable(note)}" for note in done.notes]
    lines += [_one(result) for result in done.results[:MOST_LINES]]
    lines += _more(len(done.results) - MOST_LINES)
    lines += _reasons(_counted(done.results))
    lines.append(_summary(done))
    if done.dry_run:
        flag = " --undo" if done.undo else ""
        again = f"hashall link execute {done.plan_id}{flag} --force"
        todo = f"; to do it: {again}" if done.plan_id else ""
        lines.append(f"dry run: nothing was changed{todo}")
    elif done.cancelled:
        lines.append(_cancelled(done))
    elif done.left:
        lines.append(f"{done.left} are left; the same command goes on")
    return "\n".join(lines)


def auto(done: Execution | None) -> str:
    if done is None:
        return "the savings are less than --min-savings: nothing was done"
    return execution(done)


def _summary(done: Execution) -> str:
    if done.dry_run:
        able = sum(result.state is not ActionState.SKIPPED for result in done.results)
        gain = "" if done.undo else f", saving {format_size(done.bytes_saved)}"
        return f"{able} would be done{gain}; {done.skipped} would be skipped"
    if done.undo:
        return (
            f"{done.done} separated, using {format_size(-done.bytes_saved)}; {done.skipped} skipped"
        )
    return f"{done.done} done, saved {format_size(done.bytes_saved)}; {done.skipped} skipped"


def _cancelled(done: Execution) -> str:
    rest = f"{done.left} were not done and will not be" if done.left else "nothing of it was left"
    undo = f"hashall link execute {done.plan_id} --undo --force"
    return f"somebody cancelled the plan meanwhile: {rest}; to separate what is linked: {undo}"


def _one(result: Result) -> str:
    words = {
        ActionState.DONE: "linked" if result.kind.value == "HARDLINK" else "deleted",
        ActionState.PLANNED: "to do",
        ActionState.SKIPPED: "skipped",
        ActionState.UNDONE: "separated",
    }
    text = f"{words.get(result.state, result.state.value)}: {printable(result.target)}"
    if result.state is ActionState.SKIPPED:
        return f"{text}: {printable(result.detail)} ({result.reason})"
    if result.state is ActionState.UNDONE and result.detail:
        return f"{text} ({printable(result.detail)})"
    if result.state is ActionState.UNDONE or (result.state, result.bytes_saved) == (
        ActionState.PLANNED,
        0,
    ):
        return text
    return f"{text} → {printable(result.source)}, {format_size(result.bytes_saved)}"


def _counted(results: Sequence[Result]) -> dict[str, int]:
    found: dict[str, int] = {}
    for result in results:
        if result.state is ActionState.SKIPPED:
            found[result.reason] = found.get(result.reason, 0) + 1
    return found


# -- report


def report(value: LinkReport) -> str:
    found = value.plan
    lines = [
        f"plan {found.plan_id}: {printable(found.name)} ({_status(found)})",
        f"made {clock.to_second(found.created_at)} by {printable(found.actor)};"
        f" this report {clock.to_second(value.made_at)}",
        "",
        *_totals(found),
    ]
    largest = max((group.bytes_to_save for group in value.groups), default=0)
    if value.groups:
        lines += ["", "biggest groups"]
    for group in value.groups:
        bar = "█" * max(round(WIDE * group.bytes_to_save / largest), 1) if largest else ""
        lines.append(f"  {format_size(group.bytes_to_save):>10}  {bar}")
        lines.append(f"              {_count(group.links, 'link')} to {printable(group.path)}")
    if value.skipped:
        lines += ["", "skipped"]
    for item in value.skipped:
        lines.append(
            f"  {item.count} × {item.reason}: {meaning(item.reason)}, {format_size(item.bytes)}"
        )
    for action in value.examples[:MOST_LINES]:
        why = printable(action.detail) or meaning(action.reason)
        lines.append(f"    {printable(action.target)}: {why}")
    if value.deletions:
        lines += ["", "copies on other filesystems that nothing uses"]
    lines += [
        f"  {printable(action.target)}: the same bytes are at {printable(action.source)}"
        for action in value.deletions
    ]
    return "\n".join(lines)


def _more(count: int) -> list[str]:
    return [f"  … and {count} more (--json lists all, or raise --limit)"] if count > 0 else []


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
