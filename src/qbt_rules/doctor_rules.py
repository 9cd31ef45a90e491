"""What the facts of `doctor` mean for qbt-rules, and what to change.  Pure: opens nothing."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from qbt_rules.doctor import (
    ClientFacts,
    Facts,
    FolderFacts,
    KeyFacts,
    QueueFacts,
    RulesFacts,
    ServerFacts,
)
from qbt_rules.hooks import CONTEXTS, Hook, hook_line
from qbt_rules.seed_data_doctor import CatalogFacts, RootFacts
from seedkeep import clock
from seedkeep.diagnosis import Diagnosis, Level, Symptom, diagnosis
from seedkeep.errors import SeedError
from seedkeep.units import format_duration, format_size

SHORT_KEY = 16  # characters
LITTLE_SPACE = 100 * 2**20  # bytes
NETWORK = ("nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "fuse.rclone")
INIT = "qbt-rules init"


def unreadable(why: SeedError) -> Diagnosis:
    """The settings themselves cannot be used, so nothing else can be looked at."""
    what = "; ".join(part for part in (why.brief, *why.detail.splitlines()) if part)
    fix = why.hint or "correct it there; docs/tooling/settings.md lists every setting"
    return diagnosis((Symptom(Level.PROBLEM, "settings", what, fix),))


def judge(facts: Facts) -> Diagnosis:
    """Equal facts give an equal report."""
    return diagnosis(tuple(_findings(facts)))


def _findings(facts: Facts) -> Iterator[Symptom]:
    yield from _folder(facts.folder)
    yield _key(facts.key)
    yield from _rules(facts.rules)
    yield from _queue(facts.queue)
    yield _client(facts.client)
    if facts.client.version:
        yield from _hooks(facts)
    yield _server(facts.server, facts.version)
    yield from _catalog(facts)


def _folder(folder: FolderFacts) -> Iterator[Symptom]:
    subject = f"folder {folder.path}"
    if not folder.writable:
        what = "this user may not write there" if folder.exists else "it cannot be made"
        fix = f"chown it to this user, or name another one: --config-dir, then {INIT}"
        yield Symptom(Level.PROBLEM, subject, what, fix)
    elif not folder.has_config:
        what = f"there is no {folder.config.name} in it: defaults and variables are all there is"
        yield Symptom(Level.WARNING, subject, what, INIT)
    else:
        yield Symptom(Level.OK, subject, f"{folder.config.name} is read from it")
    for path in folder.open_secrets:
        what = "it holds a secret, and everybody on this machine can read it"
        yield Symptom(Level.WARNING, str(path), what, f"chmod 600 {path}")


def _key(key: KeyFacts) -> Symptom:
    if not key.number:
        return Symptom(
            Level.PROBLEM,
            "API key",
            "there is none, and the server does not start without",
            f"{INIT} makes one; or name a file with it in QBT_RULES_SERVER_API_KEY_FILE",
        )
    if key.shortest < SHORT_KEY:
        what = f"{key.shortest} characters may be guessed"
        return Symptom(Level.WARNING, "API key", what, "make one: openssl rand -hex 32")
    return Symptom(Level.OK, "API key", f"{key.number} from {key.origin}")


def _rules(rules: RulesFacts) -> Iterator[Symptom]:
    subject = f"rules {rules.path}"
    if not rules.exists:
        yield Symptom(Level.WARNING, subject, "there is no such file: nothing is done", INIT)
    elif rules.error:
        first = next(iter(rules.detail.splitlines()), "")
        what = f"{rules.error}: {first}" if first else rules.error
        yield Symptom(Level.PROBLEM, subject, what, "qbt-rules rules validate names every mistake")
    else:
        yield Symptom(Level.OK, subject, f"{rules.enabled} in force")
    for warning in rules.warnings:
        yield Symptom(Level.WARNING, subject, warning, "change the rule")


def _queue(queue: QueueFacts) -> Iterator[Symptom]:
    subject = f"queue {queue.place}"
    if queue.error:
        yield Symptom(Level.PROBLEM, subject, queue.error, queue.hint or "look at Redis")
        return
    if queue.backend == "sqlite":
        if queue.filesystem in NETWORK:
            what = f"it is on {queue.filesystem}: locks fail"
            fix = "keep it on a local disk: QBT_RULES_QUEUE_SQLITE_PATH"
            yield Symptom(Level.PROBLEM, subject, what, fix)
            return
        if not queue.writable:
            fix = "chown it to this user, or name another one: QBT_RULES_QUEUE_SQLITE_PATH"
            yield Symptom(Level.PROBLEM, subject, "this user may not write it", fix)
            return
        if queue.free_bytes < LITTLE_SPACE:
            what = f"{format_size(queue.free_bytes)} free beside it"
            yield Symptom(Level.WARNING, subject, what, "free some space: each job is written")
    state = "is there" if queue.exists else "the server will make it"
    yield Symptom(Level.OK, subject, f"{queue.backend}, {state}")


def _client(client: ClientFacts) -> Symptom:
    subject = f"qBittorrent {client.host}"
    if client.version:
        return Symptom(Level.OK, subject, client.version)
    fix = client.hint or "set qbittorrent.host, qbittorrent.username and the password"
    return Symptom(Level.PROBLEM, subject, client.error, fix)


def _hooks(facts: Facts) -> Iterator[Symptom]:
    by_context = {hook.context: hook for hook in facts.client.hooks}
    for context in CONTEXTS:
        hook, subject = by_context.get(context), f"hook {context}"
        line = (
            "in qBittorrent, Downloads, with the server's address as it is reached from there:"
            f" {hook_line(facts.server.url, context)}"
        )
        if hook is not None:
            yield _hook(hook, subject, line, facts.server)
        elif context in facts.rules.contexts:
            what = "qBittorrent does not call, and rules wait for it"
            yield Symptom(Level.WARNING, subject, what, line)
        else:
            yield Symptom(Level.OK, subject, "qBittorrent does not call, and no rule waits for it")


def _hook(hook: Hook, subject: str, line: str, server: ServerFacts) -> Symptom:
    if not hook.enabled:
        return Symptom(Level.WARNING, subject, "it is there and switched off", "switch it on")
    if hook.key != "right":
        what = "it has no API key" if hook.key == "none" else "its API key is none of the server's"
        return Symptom(Level.PROBLEM, subject, what, f"{line}, with the key instead of KEY")
    if hook.asked != hook.context:
        asked = f"context {hook.asked}" if hook.asked else "no context"
        return Symptom(Level.WARNING, subject, f"it asks for {asked}", line)
    if not hook.has_id:
        return Symptom(Level.WARNING, subject, "it names no torrent, so all are looked at", line)
    if hook.port not in (None, server.port) and server.local:
        what = f"it calls port {hook.port}, and the server has {server.port}"
        return Symptom(Level.WARNING, subject, what, line)
    return Symptom(Level.OK, subject, "qBittorrent calls with a valid key")


def _server(server: ServerFacts, ours: str) -> Symptom:
    subject = f"server {server.url}"
    if not server.version:
        return _silent_server(server, subject)
    if server.key_error:
        fix = "client.api_key must be one of the server's server.api_key"
        return Symptom(Level.PROBLEM, subject, server.key_error, fix)
    if server.errors:
        fix = "the server's log has the reason; qbt-rules health"
        return Symptom(Level.PROBLEM, subject, f"it answers, but: {'; '.join(server.errors)}", fix)
    if server.version != ours:
        what = f"it is version {server.version}, and this program is {ours}"
        return Symptom(Level.WARNING, subject, what, "restart the server after an update")
    return Symptom(Level.OK, subject, f"it answers, version {server.version}")


def _silent_server(server: ServerFacts, subject: str) -> Symptom:
    if server.other_port:
        what = f"nobody answers there, and server.port is {server.port}"
        return Symptom(Level.PROBLEM, subject, what, "set client.server_url to the server's port")
    if server.port_free:
        what = f"it does not run; port {server.port} is free"
        return Symptom(Level.WARNING, subject, what, "start it: qbt-rules --serve")
    if server.local:
        what = f"{server.error}, and port {server.port} is taken by something else"
        fix = "choose another: server.port and client.server_url"
        return Symptom(Level.PROBLEM, subject, what, fix)
    fix = "start it there, or set client.server_url"
    return Symptom(Level.PROBLEM, subject, server.error, fix)


def _catalog(facts: Facts) -> Iterator[Symptom]:
    catalog = facts.catalog
    subject = "catalog" if catalog.path is None else f"catalog {catalog.path}"
    if catalog.error:
        yield _no_catalog(catalog, subject)
        return
    yield _freshness(facts, subject)
    if catalog.open_runs:
        which = ", ".join(map(str, catalog.open_runs))
        what = f"relocations of rehome were interrupted: run {which}"
        fix = "rehome resume --all (the server itself resumes those that rules began)"
        yield Symptom(Level.WARNING, subject, what, fix)
    if not catalog.layout_set:
        what = "not named: rules cannot demote or promote"
        yield Symptom(Level.OK, "stash and pool", what)
    elif catalog.layout_error:
        yield Symptom(Level.PROBLEM, "stash and pool", catalog.layout_error, catalog.layout_hint)
    for root in catalog.roots:
        yield _root(root)
    keys = {root.fs_key for root in catalog.roots if not root.error}
    if len(catalog.roots) == 2 and len(keys) == 1 and not any(r.error for r in catalog.roots):
        fix = "name a folder of another filesystem: rehome.pool_seeding_root"
        yield Symptom(Level.PROBLEM, "stash and pool", "they are one filesystem", fix)


def _no_catalog(catalog: CatalogFacts, subject: str) -> Symptom:
    if catalog.path is not None and not catalog.exists:
        what = "there is none: payload.*, links.* and rehome's actions are unknown to rules"
        fix = "when you want them: hashall scan PATH…, then hashall payload sync"
        return Symptom(Level.OK if not catalog.layout_set else Level.WARNING, subject, what, fix)
    return Symptom(Level.PROBLEM, subject, catalog.error, catalog.hint or "hashall doctor")


def _freshness(facts: Facts, subject: str) -> Symptom:
    catalog = facts.catalog
    if catalog.newest_scan is None:
        return Symptom(Level.WARNING, subject, "nothing was scanned yet", "hashall scan PATH…")
    age = facts.now - clock.parse_iso(catalog.newest_scan)
    shown = format_duration(timedelta(minutes=age // timedelta(minutes=1)))
    if age > catalog.max_scan_age:
        limit = format_duration(catalog.max_scan_age)
        what = f"the newest scan is {shown} old, and moves ask for {limit}"
        fix = "hashall scan PATH…, hashall payload sync; each night by examples/systemd"
        return Symptom(Level.WARNING, subject, what, fix)
    what = f"{catalog.torrents} torrents, the newest scan is {shown} old"
    return Symptom(Level.OK, subject, what)


def _root(root: RootFacts) -> Symptom:
    subject = f"{root.name} {root.path}"
    if root.error:
        fix = f"mount it, or change rehome.{root.name}_seeding_root"
        return Symptom(Level.PROBLEM, subject, root.error, fix)
    if not root.writable:
        fix = "run qbt-rules as the user that qBittorrent runs as"
        return Symptom(Level.PROBLEM, subject, "this user may not write there", fix)
    what = f"{root.fs_type}, {format_size(root.free_bytes)} free"
    return Symptom(Level.OK, subject, what)
