"""Found files and their links as text for people."""

from __future__ import annotations

from collections.abc import Sequence

from hashall.catalog.lookups import TorrentUse
from hashall.file_links import FileLinks
from hashall.lookup import FoundFile
from hashall.model import LinkVerdict
from hashall.render_scan import counted
from seedkeep.text import printable, table
from seedkeep.units import format_size


def found_files(files: Sequence[FoundFile]) -> str:
    if not files:
        return "nothing found"
    rows = [
        (f.device_id, f.inode, f.nlink, format_size(f.size), (f.sha256 or "-")[:16], f.path)
        for f in files
    ]
    return table(("DEVICE", "INODE", "LINKS", "SIZE", "SHA-256", "FILE"), rows, "rrrrl")


def links(found: Sequence[FileLinks]) -> str:
    if not found:
        return "the catalog knows no file there"
    text = "\n\n".join(_file(links) for links in found)
    if len(found) == 1:
        return text
    open_ones = sum(links.verdict is not LinkVerdict.PROVED for links in found)
    told = f"{open_ones} of them not proved" if open_ones else "all of them proved"
    return f"{text}\n\n{len(found)} files, {told}"


def _file(links: FileLinks) -> str:
    lines = [
        printable(links.path),
        f"  inode {links.inode} on device {links.device_id}, {format_size(links.size)},"
        f" SHA-256 {links.sha256 or '-'}",
        f"  {links.verdict.value}: {counted(len(links.names), 'name')} known,"
        f" {links.nlink} on the disk" + (f"; {links.reason}" if links.reason else ""),
    ]
    lines += [f"  {printable(name.path)}  ({_used(name.torrents)})" for name in links.names]
    return "\n".join(lines)


def _used(torrents: Sequence[TorrentUse]) -> str:
    if not torrents:
        return "no torrent"
    return ", ".join(
        f"{use.torrent_id[:12]} {printable(use.name)}"
        + (f" in {printable(use.category)}" if use.category else "")
        for use in torrents
    )
