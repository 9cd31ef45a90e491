"""Payloads and their torrents as text for people."""

from __future__ import annotations

from collections.abc import Sequence

from hashall.model import TorrentInstance
from hashall.payload_clients import ClientSync, Synced
from hashall.payload_report import (
    Candidate,
    Duplicate,
    Group,
    Likeness,
    Orphans,
    PayloadLine,
    Unmanaged,
)
from hashall.payload_sync import SyncResult
from hashall.payload_verify import Verification
from hashall.pieces import PieceReport
from hashall.render import age
from hashall.render_scan import counted, short_list
from hashall.views import TorrentView
from seedkeep import clock
from seedkeep.text import printable, table
from seedkeep.units import format_size


def synced(found: Synced) -> str:
    several = len(found.clients) > 1
    return "\n".join(line for item in found.clients for line in _client(item, several))


def _client(item: ClientSync, several: bool) -> list[str]:
    title = [f"{item.client}:"] if several else []
    if item.result is None:
        return [*title, f"not read: {item.error}", _known_as_of(item)]
    lines = [*title, *_result(item.result)]
    return [*lines, _known_as_of(item)] if item.result.unread else lines


def _known_as_of(item: ClientSync) -> str:
    """How old the knowledge is of what did not come."""
    if item.synced_at is None:
        return "its torrents were never all read; until then nothing is called an orphan"
    when = age(clock.parse_iso(item.synced_at))
    return f"all of its torrents were read last {when} ({item.synced_at}); orphans are told by that"


def _result(result: SyncResult) -> list[str]:
    lines = [f"{counted(result.torrents, 'torrent')}, {result.mapped} mapped to payloads"]
    if result.unchanged:
        lines.append(f"{result.unchanged} unchanged since the last sync")
    if result.left_over:
        lines.append(f"{result.left_over} left for the next sync (--limit)")
    if result.forgotten:
        lines.append(f"{result.forgotten} gone from qBittorrent and forgotten")
    if result.hashed.files:
        lines.append(
            f"{counted(result.hashed.files, 'file')} hashed ({format_size(result.hashed.bytes)})"
        )
    lines += short_list(
        f"{len(result.hashed.failed)} could not be hashed:",
        [f"{path}: {why}" for path, why in result.hashed.failed],
    )
    lines += short_list(
        f"{len(result.problems)} could not be mapped completely:",
        [f"{o.torrent_id[:12]} {o.name}: {o.problem}" for o in result.problems],
    )
    folders = sorted({str(path.parent) for o in result.outcomes for path in o.needs_scan})
    lines += short_list("run `hashall scan` on:", folders)
    lines += short_list(
        f"{len(result.unread)} could not be read; what was known of them is kept:",
        [f"{item.torrent_id[:12]} {item.why}".strip() for item in result.unread],
    )
    return lines


def torrent(view: TorrentView) -> str:
    instance = view.instance
    lines = [
        f"torrent      {instance.torrent_id}",
        f"name         {printable(instance.name)}",
        f"save path    {printable(instance.save_path)}",
        f"category     {printable(instance.category) or '-'}",
    ]
    if instance.problem:
        lines.append(f"problem      {printable(instance.problem)}")
    if view.payload is None:
        return "\n".join([*lines, "payload      none"])
    payload = view.payload.payload
    lines += [
        f"payload      {payload.payload_id} ({payload.status.value})",
        f"payload hash {payload.payload_hash or '- (needs a scan)'}",
        f"content hash {payload.content_hash or '-'}",
        f"media hash   {payload.media_hash or '-'}",
        f"device       {payload.device_id}",
        f"root         {printable(view.payload.root)}",
        f"size         {format_size(payload.total_bytes)} in {counted(payload.file_count, 'file')}",
        f"siblings     {len(view.group) - 1}",
    ]
    lines += [
        f"also on      device {other.payload.device_id}: {printable(other.root)}"
        for other in view.also_on
    ]
    rows = [
        (format_size(m.size), m.sha256[:16] if m.sha256 else "needs scan", m.relpath)
        for m in payload.members
    ]
    return "\n".join([*lines, "", table(("SIZE", "SHA-256", "FILE"), rows, "r")])


def siblings(view: TorrentView) -> str:
    rows = [_sibling(instance, view) for instance in view.group]
    total = (
        f"{len(view.group)} torrents share these bytes and move together"
        if len(view.group) > 1
        else "no other torrent shares its bytes"
    )
    text = table(("TORRENT", "SHARES", "CATEGORY", "SAVE PATH", "NAME"), rows)
    others = [
        f"the same payload is also on device {other.payload.device_id} at {printable(other.root)}:"
        f" {', '.join(t.torrent_id[:12] for t in other.torrents)}"
        for other in view.also_on
    ]
    return "\n".join([text, total, *others])


def _sibling(instance: TorrentInstance, view: TorrentView) -> tuple[str, ...]:
    same = instance.payload_id == view.instance.payload_id and instance.payload_id is not None
    if instance.torrent_id == view.instance.torrent_id:
        shares = "(itself)"
    else:
        shares = "payload" if same else "some files"
        if not same and instance.proved is not None and instance.proved == view.instance.proved:
            shares = "payload, when last seen"
    return (
        instance.torrent_id,
        shares,
        instance.category or "-",
        instance.save_path,
        instance.name,
    )


def payloads(lines: Sequence[PayloadLine]) -> str:
    rows = [
        (
            line.payload.payload_id,
            (line.payload.payload_hash or "needs scan")[:12],
            line.payload.device_id,
            line.residency.value,
            format_size(line.payload.total_bytes),
            line.payload.file_count,
            len(line.torrents),
            line.root,
        )
        for line in lines
    ]
    headers = ("ID", "PAYLOAD", "DEVICE", "SIDE", "SIZE", "FILES", "TORRENTS", "ROOT")
    return table(headers, rows, "rlrlrrr") if rows else "no payloads; run `hashall payload sync`"


def groups(found: Sequence[Group]) -> str:
    lines = []
    for number, group in enumerate(found, start=1):
        lines.append(
            f"group {number}: {counted(len(group.torrents), 'torrent')},"
            f" {counted(len(group.payloads), 'payload')}, {format_size(group.bytes)}"
        )
        lines += [
            f"  {t.key[:12]}  {printable(t.name)}  {printable(t.save_path)}" for t in group.torrents
        ]
    return "\n".join(lines) or "no two torrents share bytes"


def duplicates(found: Sequence[Duplicate]) -> str:
    lines = []
    for item in found:
        size = item.copies[0].payload.total_bytes
        lines.append(f"{item.payload_hash[:12]}  {format_size(size)}")
        lines += [
            f"  {copy.residency.value:5}  device {copy.payload.device_id}  {printable(copy.root)}"
            f"  ({format_size(free)} would go, {counted(len(copy.torrents), 'torrent')})"
            for copy, free in zip(item.copies, item.freeable, strict=True)
        ]
    if not lines:
        return "no payload lies on more than one device"
    total = sum(min(item.freeable) for item in found)
    lines.append(f"{counted(len(found), 'payload')} twice; at least {format_size(total)} can go")
    return "\n".join(lines)


def candidates(found: Sequence[Candidate]) -> str:
    lines = []
    for item in found:
        smaller = item.likeness is Likeness.SUBSET
        lines.append(f"{item.likeness.value}:")
        lines += [
            f"  {'in ' if smaller and at else ''}{line.payload.payload_id}"
            f"  {format_size(line.payload.total_bytes)}  {counted(line.payload.file_count, 'file')}"
            f"  {printable(line.root)}"
            for at, line in enumerate(item.payloads)
        ]
    if not lines:
        return "no payload resembles another"
    return "\n".join([*lines, "for a person to look at; nothing automatic uses this"])


def orphans(found: Orphans) -> str:
    rows = [
        (
            format_size(item.size),
            item.first_seen_at[:10],
            "linked" if item.linked else "",
            item.path,
        )
        for item in found.files
    ]
    lines = [table(("SIZE", "FIRST SEEN", "", "FILE"), rows, "r")] if rows else []
    more = found.found - len(found.files)
    if more:
        lines.append(f"… and {more} more (--most)")
    lines.append(
        f"{counted(found.found, 'file')} that no torrent wants, {format_size(found.bytes)}"
        " in those that no torrent links; nothing was removed"
    )
    if found.younger:
        lines.append(
            f"{counted(found.younger, 'more file')} within the grace, or newer than the last sync"
        )
    lines.append(f"torrents as of the sync of {found.synced_at}")
    lines += short_list(
        "not known of these torrents is what they want; a file above may be theirs:",
        [key[:12] for key in found.unlisted],
    )
    lines += short_list(
        "not where the client has them: a file above may be theirs; is the path map complete?",
        [key[:12] for key in found.elsewhere],
    )
    return "\n".join(lines)


def unmanaged(found: Sequence[Unmanaged]) -> str:
    rows = [(item.torrent.key[:12], item.reason, item.torrent.name) for item in found]
    if not rows:
        return "every torrent has a payload in the seeding roots"
    text = table(("TORRENT", "REASON", "NAME"), rows)
    return f"{text}\n{counted(len(rows), 'torrent')} cannot be placed"


def verification(found: Verification) -> str:
    lines = [f"torrent  {found.torrent_id}", f"name     {printable(found.name)}"]
    if found.pieces is not None:
        lines += _pieces(found.pieces)
    else:
        lines.append(f"read     {counted(found.files, 'file')}, {format_size(found.bytes_read)}")
    lines += short_list("wrong:", [f"{fault.path}: {fault.reason}" for fault in found.faults])
    lines.append("result   as it should be" if found.is_proved else "result   NOT proved")
    return "\n".join(lines)


def _pieces(report: PieceReport) -> list[str]:
    lines = [
        f"read     {report.checked} of {report.pieces} pieces ({report.version}),"
        f" {format_size(report.bytes_read)}"
    ]
    if report.unchecked:
        lines.append(
            f"skipped  {len(report.unchecked)} pieces that reach into files not there or not wanted"
        )
    if report.bad:
        numbers = ", ".join(map(str, report.bad[:10])) + ("…" if len(report.bad) > 10 else "")
        lines.append(f"bad      {counted(len(report.bad), 'piece')}: {numbers}")
    lines += short_list("files with a part in a bad piece:", list(report.files_in_bad))
    lines += short_list("missing, of another size, or not readable:", list(report.missing))
    return lines
