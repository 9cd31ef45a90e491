"""What the doctor's facts mean, and what to change.  Pure: opens nothing."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from datetime import datetime, timedelta

from hashall.catalog.inventory import ClientState
from hashall.catalog.scans import MOST_AHEAD
from hashall.devices import link_count_doubt
from hashall.disk_failures import DISK_ERRORS
from hashall.doctor import CatalogFacts, Facts, PairFacts, RootFacts
from seedkeep import clock
from seedkeep.diagnosis import Diagnosis, Level, Symptom, diagnosis
from seedkeep.units import format_size

OLDEST_SQLITE = (3, 51, 3)  # fixes the WAL reset bug
CLOCK_SKEW_S = 2.0
OLD_SYNC = timedelta(days=7)
SAVE_IT = "look at the disk: `dmesg`, `smartctl -a`; save what matters from it first"
LITTLE_SPACE = 100 * 2**20  # bytes
NO_SPACE = 10 * 2**20  # bytes
NETWORK = ("nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "fuse.rclone")
FIXES = {
    "overlay": "keep the files outside of the container's layers: mount a volume for them",
    "fuse.mergerfs": "scan the disks below it and link there: a name on another branch is not"
    " counted, and a link between branches fails",
    "nfs": "run hashall on the server, where the files are local",
    "nfs4": "run hashall on the server, where the files are local",
    "cifs": "run hashall on the server, where the files are local",
    "tmpfs": "nothing, as long as it may be scanned again after a reboot",
}
LOCAL = "keep the files on a local filesystem with hardlinks (ext4, xfs, btrfs, ZFS)"


def judge(facts: Facts) -> Diagnosis:
    """Equal facts give an equal report."""
    return diagnosis(tuple(_findings(facts)))


def _findings(facts: Facts) -> Iterator[Symptom]:
    yield from _catalog(facts.catalog)
    yield _clock(facts)
    for client in facts.catalog.clients:
        yield _client(client, facts.now)
    if not facts.roots:
        yield Symptom(
            Level.WARNING, "roots", "nothing was scanned yet", "name folders: hashall doctor PATH…"
        )
    for root in facts.roots:
        yield from _root(root)
    yield from _pairs(facts.pairs)


def _catalog(catalog: CatalogFacts) -> Iterator[Symptom]:
    subject = f"catalog {catalog.path}"
    if catalog.error:
        level = Level.PROBLEM if catalog.exists else Level.WARNING
        yield Symptom(level, subject, catalog.error, catalog.hint)
    if catalog.filesystem in NETWORK:
        fix = "keep it on a local disk: HASHALL_DB or --db"
        yield Symptom(Level.PROBLEM, subject, f"it is on {catalog.filesystem}: locks fail", fix)
    elif catalog.filesystem in ("tmpfs", "ramfs", "overlay"):
        why = "goes with a reboot" if catalog.filesystem != "overlay" else "goes with its container"
        yield Symptom(
            Level.WARNING, subject, f"what is on {catalog.filesystem} {why}", "move it to a disk"
        )
    elif catalog.filesystem.startswith("fuse"):
        yield Symptom(
            Level.WARNING,
            subject,
            f"it is on {catalog.filesystem}, which may lack shared memory",
            "move it to a local disk if commands fail",
        )
    if catalog.sqlite and tuple(map(int, catalog.sqlite.split("."))) < OLDEST_SQLITE:
        yield Symptom(
            Level.PROBLEM, subject, f"SQLite {catalog.sqlite} can damage it", "update apsw"
        )
    if catalog.free_bytes < max(LITTLE_SPACE, 2 * catalog.bytes):
        level = Level.PROBLEM if catalog.free_bytes < NO_SPACE else Level.WARNING
        what = f"{format_size(catalog.free_bytes)} free beside {format_size(catalog.bytes)}"
        yield Symptom(level, subject, what, "free some space there: a migration copies the file")
    if not catalog.error:
        held = f"; {catalog.held_by}" if catalog.held_by else ""
        yield Symptom(
            Level.OK, subject, f"{format_size(catalog.bytes)}, SQLite {catalog.sqlite}{held}"
        )


def _clock(facts: Facts) -> Symptom:
    newest = facts.catalog.newest_scan
    if newest is not None and clock.parse_iso(newest) > facts.now:
        return Symptom(
            Level.PROBLEM,
            "clock",
            f"it is {clock.to_second(facts.now)},"
            f" and the newest scan was at {clock.to_second(newest)}",
            "set the clock; a scan made under a wrong one has to be made again",
        )
    if facts.now.year < 2026:
        return Symptom(
            Level.PROBLEM, "clock", f"it says {clock.to_second(facts.now)}", "set the clock"
        )
    return Symptom(Level.OK, "clock", clock.to_second(facts.now))


def _client(client: ClientState, now: datetime) -> Symptom:
    """How old the knowledge is that moves and orphans are decided by."""
    subject = f"client {client.client}"
    last = "its torrents were never all read"
    if client.synced_at is not None:
        last = f"all of its torrents were read last at {client.synced_at}"
    if client.unread:
        what = f"{last}; {client.unread} of {client.torrents} cannot be read: {client.why}"
        fix = "`hashall payload sync` names them: mend them in qBittorrent, or remove them there"
        return Symptom(Level.WARNING, subject, what, fix)
    age = None if client.synced_at is None else now - clock.parse_iso(client.synced_at)
    if age is not None and age < -MOST_AHEAD:
        fix = "set the clock, then run `hashall payload sync`, without a limit, a category or a tag"
        return Symptom(Level.WARNING, subject, last, fix)
    if age is None or age > OLD_SYNC:
        fix = "run `hashall payload sync`, without a limit, a category or a tag; see what it says"
        return Symptom(Level.WARNING, subject, last, fix)
    return Symptom(Level.OK, subject, last)


def _root(root: RootFacts) -> Iterator[Symptom]:
    subject = str(root.path)
    if root.offline:
        fix = "mount it, or forget it for good: hashall devices forget DEVICE"
        yield Symptom(Level.WARNING, subject, root.error, fix)
        return
    if root.error:
        fix = "mount it, or name another folder"
        yield Symptom(Level.PROBLEM, subject, root.error, SAVE_IT if root.silent else fix)
        return
    doubt = link_count_doubt(root.fs_type)
    fix = FIXES.get(root.fs_type, LOCAL)
    if doubt is not None:
        what = f"link counts prove nothing on {root.fs_type}: {doubt}"
        yield Symptom(Level.WARNING, subject, what, fix)
    elif not root.stable:
        what = f"{root.fs_type} has no lasting id: after a new mount it counts as another one"
        yield Symptom(Level.WARNING, subject, what, FIXES.get(root.fs_type, "scan it again then"))
    if root.probe is None:
        yield Symptom(Level.OK, subject, f"{root.fs_type}, not probed")
    elif root.probe.errno:
        yield _no_probe(root)
    else:
        yield from _probed(root)


def _no_probe(root: RootFacts) -> Symptom:
    assert root.probe is not None
    why = os.strerror(root.probe.errno)
    if root.probe.errno in DISK_ERRORS:
        what = f"its disk fails when a file is made ({why})"
        return Symptom(Level.PROBLEM, str(root.path), what, SAVE_IT)
    what = f"no file can be made here ({why}): it can be scanned, and nothing can be linked"
    fixes = {
        errno.EROFS: "mount it writable, if links are wanted",
        errno.EACCES: "give this user write access, if links are wanted",
        errno.ENOSPC: "free some space",
    }
    return Symptom(
        Level.WARNING, str(root.path), what, fixes.get(root.probe.errno, "look why, then try again")
    )


def _probed(root: RootFacts) -> Iterator[Symptom]:
    subject, link = str(root.path), root.inside
    assert root.probe is not None
    assert link is not None
    if abs(root.probe.ahead_s) > CLOCK_SKEW_S:
        what = f"its clock is {root.probe.ahead_s:+.0f} s from ours"
        yield Symptom(Level.WARNING, subject, what, "synchronise the clocks of both machines")
    if link.errno:
        what = f"hardlinks do not work here: {os.strerror(link.errno)}"
        yield Symptom(Level.PROBLEM, subject, what, FIXES.get(root.fs_type, LOCAL))
    elif not link.same_inode or link.nlink != 2:
        shown = f"{link.nlink} links" if link.same_inode else "another inode number"
        what = f"a file with two names shows {shown}: hardlinks cannot be told here"
        yield Symptom(Level.PROBLEM, subject, what, FIXES.get(root.fs_type, LOCAL))
    else:
        what = f"{root.fs_type}, hardlinks work, {format_size(root.free_bytes)} free"
        yield Symptom(Level.OK, subject, what)


def _pairs(pairs: tuple[PairFacts, ...]) -> Iterator[Symptom]:
    wrong = False
    told: set[frozenset[str]] = set()
    for pair in pairs:
        finding = _pair(pair)
        paths = frozenset((str(pair.first.path), str(pair.second.path)))
        if finding is not None and paths not in told:
            told.add(paths)
            wrong = True
            yield finding
    if pairs and not wrong:
        count = len(pairs) // 2
        what = f"{count} probed: links work inside each filesystem, and only there"
        yield Symptom(Level.OK, "pairs of folders", what)


def _pair(pair: PairFacts) -> Symptom | None:
    """None when the kernel does what the identities say."""
    first, second, link = pair.first, pair.second, pair.link
    subject = f"{first.path} → {second.path}"
    same = first.fs_key == second.fs_key
    if same and link.errno == errno.EXDEV and first.mount_point != second.mount_point:
        return Symptom(
            Level.PROBLEM,
            subject,
            f"no link between them, although both are {first.fs_key} (st_dev {first.st_dev}):"
            f" they are reached through two mounts, {first.mount_point} and {second.mount_point}",
            "mount the folder above both once, and use paths below that one mount everywhere",
        )
    if same and link.errno:
        return Symptom(
            Level.PROBLEM,
            subject,
            f"no link between them, although both are {first.fs_key}: {os.strerror(link.errno)}",
            FIXES.get(first.fs_type, "look for project quotas or missing rights on the second"),
        )
    if same and not link.same_inode:
        what = "a link between them shows as another inode: hardlinks cannot be told here"
        return Symptom(Level.PROBLEM, subject, what, FIXES.get(first.fs_type, LOCAL))
    if not same and not link.errno:
        return Symptom(
            Level.PROBLEM,
            subject,
            f"a link between them works, although they count as {first.fs_key} and {second.fs_key}",
            "scan both through one mount, and report this with the output of --json",
        )
    return None
