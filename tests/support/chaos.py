"""One random day: a random library, a random plan, one fault at a random moment, one way out."""

from __future__ import annotations

import contextlib
import hashlib
import random
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from tests.support import checker
from tests.support.checker import Before
from tests.support.filesystems import ext4, lab_folder, run
from tests.support.lab import Lab
from tests.support.qbt import RealClient
from tests.support.random_library import CATEGORY, Group, Library, fill
from tests.support.recording_proxy import RecordingProxy

LONGEST_S = 150.0  # an apply, with everything that it waits for
FILLER = "filler"


@dataclass
class Day:
    """Everything of one case."""

    rng: random.Random
    lab: Lab
    client: RealClient
    proxy: RecordingProxy
    library: Library
    before: Before
    told: list[str] = field(default_factory=list)  # what happened, for who reads a failure
    changed: dict[Path, str] = field(default_factory=dict)  # source file → its new digest
    foreign: dict[Path, bytes] = field(default_factory=dict)
    client_was_killed: bool = False
    mend: Callable[[], None] = lambda: None

    def tell(self, what: str) -> None:
        self.told.append(what)

    @property
    def plan(self) -> Path:
        return self.lab.home / "plan.json"

    def rehome(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        done = self.lab.run("rehome", *arguments, expect=None)
        self.tell(f"rehome {' '.join(map(str, arguments))}: {done.returncode}\n{done.stderr}")
        return done

    def runs(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.lab.json("rehome", "runs", "list")["runs"]
        return rows


@contextmanager
def day(seed: str, version: str) -> Iterator[Day]:
    """A library that is scanned and synced, with a client that can be broken in every way."""
    rng = random.Random(seed)
    with ExitStack() as stack:
        folder = stack.enter_context(lab_folder())
        stash = stack.enter_context(ext4(folder, "96M", name="stash-disk")) / "data"
        pool = stack.enter_context(ext4(folder, "48M", name="pool-disk")) / "data"
        stash.mkdir()
        pool.mkdir()
        client = stack.enter_context(RealClient(version, profile=folder / "client"))
        proxy = stack.enter_context(RecordingProxy(client.url))
        lab = Lab(folder / "home", stash, pool, client)
        _through_proxy(lab, proxy)
        library = fill(lab, rng)
        lab.look()
        yield Day(rng, lab, client, proxy, library, checker.look(lab))


def _through_proxy(lab: Lab, proxy: RecordingProxy) -> None:
    text = lab.config.read_text().replace(lab.client.url, proxy.url)
    lab.config.write_text(text.replace('"20s"', '"4s"'))


# -- faults; each leaves in `day.mend` what ends it


def kill_rehome(day: Day, apply: subprocess.Popen[str]) -> None:
    apply.kill()


def kill_client(day: Day, apply: subprocess.Popen[str]) -> None:
    day.client.kill()
    day.client_was_killed = True
    day.mend = day.client.start


def restart_client(day: Day, apply: subprocess.Popen[str]) -> None:
    day.client.restart()
    day.client_was_killed = True


def kill_both(day: Day, apply: subprocess.Popen[str]) -> None:
    apply.kill()
    kill_client(day, apply)


def fill_disk(day: Day, apply: subprocess.Popen[str]) -> None:
    filler = day.lab.pool.parent / FILLER
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as out:
        while True:
            out.write(bytes(2**18))
    with contextlib.suppress(OSError), filler.open("ab", buffering=0) as out:
        while True:
            out.write(bytes(512))
    day.mend = filler.unlink


def make_read_only(day: Day, apply: subprocess.Popen[str]) -> None:
    disk = day.lab.pool.parent
    for _ in range(40):  # not while a file is open for writing
        done = subprocess.run(["mount", "-o", "remount,ro", disk], capture_output=True, check=False)
        if done.returncode == 0:
            day.mend = partial(_run, "mount", "-o", "remount,rw", disk)
            return
        time.sleep(0.05)
    day.tell("the pool could not be remounted")


def _run(*command: str | Path) -> None:
    run(*command)


def take_permission(day: Day, apply: subprocess.Popen[str]) -> None:
    """Even root may not change an immutable folder."""
    folders = [day.lab.pool_seeding, *(path.parent for path in _sources(day) if path.exists())]
    folder = day.rng.choice(folders)
    run("chattr", "+i", folder)
    day.tell(f"immutable: {folder}")
    day.mend = partial(_run, "chattr", "-i", folder)


def change_source(day: Day, apply: subprocess.Popen[str]) -> None:
    there = [path for path in _sources(day) if path.exists()]
    if not there:
        return
    path = day.rng.choice(there)
    with contextlib.suppress(FileNotFoundError), path.open("r+b") as out:
        out.seek(path.stat().st_size // 2)
        out.write(b"#")
        out.flush()
        inode = path.stat().st_ino
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        for name in day.lab.stash.rglob("*"):  # all its names changed with it
            if name.is_file() and name.stat().st_ino == inode:
                day.changed[name] = digest
        day.changed[path] = digest
        day.tell(f"changed: {path}")


def add_foreign(day: Day, apply: subprocess.Popen[str]) -> None:
    source = day.rng.choice(_sources(day))
    target = day.lab.pool_seeding / source.relative_to(day.lab.seeding)
    with contextlib.suppress(FileExistsError, NotADirectoryError):
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as out:
            out.write(b"somebody else's")
        day.foreign[target] = b"somebody else's"
        day.tell(f"foreign: {target}")


def answer_500(day: Day, apply: subprocess.Popen[str]) -> None:
    day.proxy.break_down("500")
    day.mend = day.proxy.mend


def hang(day: Day, apply: subprocess.Popen[str]) -> None:
    day.proxy.break_down("hang")
    day.mend = day.proxy.mend


FAULTS: tuple[Callable[[Day, subprocess.Popen[str]], None], ...] = (
    *(kill_rehome, kill_client, restart_client, kill_both, fill_disk, make_read_only),
    *(take_permission, change_source, add_foreign, answer_500, hang),
)


def _sources(day: Day) -> list[Path]:
    return sorted(path for group in day.library.groups for path in group.paths)


# -- the day


def live(day: Day, fault: Callable[[Day, subprocess.Popen[str]], None]) -> None:
    """Plan, apply, break, mend, end; then retire or undo what was committed."""
    scope = (
        ("--category", CATEGORY) if day.rng.random() < 0.5 else ("--all-eligible", "--limit", "9")
    )
    made = day.rehome("plan", "--demote", *scope, "-o", day.plan)
    assert made.returncode in (0, 3), day.told
    retain = day.rng.choice(("0", "1d"))
    command = day.lab.command("rehome", "apply", day.plan, "--force", "--retain", retain)
    with subprocess.Popen(
        command, env=day.lab.environ(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as apply:
        _wait_for_the_moment(day, apply)
        ended = apply.poll() is not None
        day.tell(f"{fault.__name__}, retain {retain}{', after the end' if ended else ''}")
        fault(day, apply)
        if day.rng.random() < 0.4:  # it may be over while the run still goes on
            time.sleep(day.rng.uniform(0, 6))
            _mend(day)
        try:
            said, _ = apply.communicate(timeout=LONGEST_S)
        except subprocess.TimeoutExpired:
            apply.kill()
            said, _ = apply.communicate()
            raise AssertionError(f"apply did not end\n{said}") from None
    day.tell(f"apply: {apply.returncode}\n{said}")
    assert "Traceback" not in said, said
    _mend(day)
    checker.wait_for_rest(day.lab)
    _end_open_runs(day)
    _end_committed_runs(day)


def _mend(day: Day) -> None:
    day.mend()
    day.mend = lambda: None


def _wait_for_the_moment(day: Day, apply: subprocess.Popen[str]) -> None:
    """Any moment; in half of the days one within the switch."""
    within_switch, delay = day.rng.random() < 0.5, day.rng.uniform(0, 7)
    deadline = time.monotonic() + (20 if within_switch else delay + 1)
    while within_switch and apply.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(FileNotFoundError):  # folders come and go while this looks
            if any(day.lab.seeding.rglob(".seedkeep-*-hidden")):
                break
        time.sleep(0.02)
    deadline = time.monotonic() + delay
    while apply.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)


def _end_open_runs(day: Day) -> None:
    for _ in range(2):  # what was in the way may take a moment longer to be gone
        still_open = [row["run_id"] for row in day.runs() if row["status"] == "open"]
        if not still_open:
            return
        how = day.rng.choice(("resume", "rollback"))
        which = ["--all"] if day.rng.random() < 0.5 else [str(run) for run in still_open]
        for run_id in which:
            done = day.rehome(how, run_id)
            assert done.returncode in (0, 4), "\n".join(day.told)
    assert not [row for row in day.runs() if row["status"] == "open"], "\n".join(day.told)


def _end_committed_runs(day: Day) -> None:
    for row in day.runs():
        if row["status"] == "committed":
            how = day.rng.choice(("retire", "undo"))
            more = ("--retain", "0") if how == "undo" else ()
            done = day.rehome(how, str(row["run_id"]), *more)
            assert done.returncode in (0, 4) or (day.changed and done.returncode == 3), day.told


# -- what must be true then


def judge(day: Day) -> None:
    """Every promise, by looking; nothing of the product is asked but what is still kept."""
    try:
        _judge(day)
    except AssertionError as why:
        raise AssertionError(f"{why}\n\n" + "\n".join(day.told)) from why


def _judge(day: Day) -> None:
    lab, before = day.lab, day.before
    checker.wait_for_rest(lab)
    altered = {str(path.relative_to(lab.stash)) for path in day.changed}
    lost = {
        hashlib.sha256(entry.content).hexdigest()
        for tree in (before.stash, before.pool)
        for name, entry in tree.items()
        if entry.content is not None and entry.kind == "file"
        if not (tree is before.stash and name in altered)
    } - checker.digests(lab)
    assert not lost, f"{len(lost)} contents exist nowhere any more"
    missing = set(day.changed.values()) - checker.digests(lab)
    assert not missing, "what somebody wrote into a source is gone"
    for path, content in day.foreign.items():
        assert path.read_bytes() == content, f"{path} was touched"
    sides = {group: checker.side_of(lab, list(group.torrents)) for group in day.library.groups}
    on_pool = {t for group, side in sides.items() if side == "pool" for t in group.torrents}
    checker.torrents_are_whole(
        lab,
        before,
        managed_may_end=frozenset(day.library.managed & on_pool),
        may_differ=frozenset({"completion_on"} if day.client_was_killed else ()),
        unread=_torrents_of_changed(day),
    )
    checker.library_is_untouched(lab, _without(before, altered))
    for group, side in sides.items():
        _judge_group(day, group, side)
    _judge_leftovers(day, on_pool)
    if not on_pool and not day.changed and not day.foreign:
        checker.as_it_was(lab, before)


def _torrents_of_changed(day: Day) -> frozenset[str]:
    """Torrents whose bytes somebody changed: what they read now is that person's business."""
    return frozenset(
        torrent
        for group in day.library.groups
        if not day.changed.keys().isdisjoint(group.paths)
        for torrent in group.torrents
    )


def _without(before: Before, names: set[str]) -> Before:
    kept = {name: entry for name, entry in before.stash.items() if name not in names}
    return replace(before, stash=kept)


def _judge_group(day: Day, group: Group, side: str) -> None:
    assert not (group.must_stay and side == "pool"), f"{group.kind} has links in a library"
    rows = day.lab.rows(group.torrents)
    for torrent in group.torrents:
        if side == "stash":
            for key in ("save_path", "download_path", "auto_tmm"):
                was = day.before.rows[torrent][key]
                assert rows[torrent][key] == was, f"{group.kind} {torrent[:8]}: {key}"
        else:
            unfinished = rows[torrent]["download_path"]
            assert unfinished in ("", rows[torrent]["save_path"]), f"{torrent[:8]}: {unfinished}"
    if side == "stash":
        for path in group.paths:
            was = day.before.stash[str(path.relative_to(day.lab.stash))]
            stat = path.lstat()
            assert (stat.st_mode & 0o7777, (stat.st_uid, stat.st_gid)) == (was.mode, was.owner)
            if path not in day.changed:
                assert path.read_bytes() == was.content, path
                assert stat.st_mtime_ns == was.mtime_ns, path


def _judge_leftovers(day: Day, on_pool: set[str]) -> None:
    left = checker.leftovers(day.lab)
    kept = [row for row in day.runs() if row["status"] == "committed"]
    if kept:
        assert day.changed, f"not retired: {kept}"  # what cannot be proved is kept
    else:
        assert left == [], left
    if not day.changed:
        gone = [
            path
            for group in day.library.groups
            if set(group.torrents) <= on_pool
            for path in group.paths
            if path.exists()
        ]
        assert gone == [], f"the source is still there: {gone}"
