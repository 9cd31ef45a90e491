"""A group that uses everything a run can touch, and the ways to end an interrupted run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support import checker, forked
from tests.support.filesystems import two_sides
from tests.support.lab import Lab
from tests.support.qbt import LabClient, RealClient
from tests.support.torrents import sibling

KIB = 1024


@dataclass
class Stage:
    lab: Lab
    group: list[str]
    managed: frozenset[str]
    before: checker.Before
    log: Path
    client_was_killed: bool = False
    ended_run: int = 0

    @property
    def plan(self) -> Path:
        return self.lab.home / "plan.json"

    def run(self, program: str, *arguments: str | Path, kill_at: int | None = None) -> forked.Ended:
        environ = self.lab.environ()
        return forked.run(program, *arguments, environ=environ, log=self.log, kill_at=kill_at)

    def apply(self, *, kill_at: int | None = None) -> forked.Ended:
        return self.run("rehome", "apply", self.plan, "--force", "--retain", "0", kill_at=kill_at)

    def newest_run(self) -> int:
        """The number of the last run that was written down; 0: none."""
        listed = self.run("rehome", "runs", "list", "--json")
        assert listed.code == 0, listed.output
        runs = json.loads(listed.output[listed.output.index("{") :])["runs"]
        return max((row["run_id"] for row in runs), default=0)

    def count(self) -> list[str]:
        """The crossings of an undisturbed apply, in order."""
        names = self.lab.home / "crossings"
        environ = self.lab.environ()
        arguments = ("apply", self.plan, "--force", "--retain", "0")
        done = forked.run("rehome", *arguments, environ=environ, log=self.log, counting=names)
        assert done.code == 0, done.output
        return names.read_text().splitlines()


@contextmanager
def staged(folder: Path, client: LabClient) -> Iterator[Stage]:
    """A library ready for `rehome apply`: scanned, synced, planned.

    Its group: a folder under automatic management, a stopped cross-seed with hardlinks in a root
    of its own and a left-over download path, and a forced torrent on the very path of the first.
    Beside it a torrent that stays, and a library.
    """
    with ExitStack() as stack:
        sides = stack.enter_context(two_sides("shm"))
        lab = Lab(folder / "home", sides.stash, sides.pool, client)
        group = _fill(lab)
        stage = Stage(lab, group, frozenset(group[:1]), checker.look(lab), folder / "log")
        for command in (
            ("hashall", "scan", lab.stash, lab.pool),
            ("hashall", "payload", "sync"),
            ("rehome", "plan", "--demote", "--torrent-hash", group[0], "-o", stage.plan),
        ):
            ended = stage.run(*command)
            assert ended.code == 0, f"{command}\n{ended.output}"
        yield stage


def _fill(lab: Lab) -> list[str]:
    api = lab.client.api
    films = lab.seeding / "films"
    films.mkdir()
    (lab.stash / "unfinished").mkdir()  # the client makes it when it is told of it
    api.torrents_create_category("films", save_path=str(films))
    files: dict[str, bytes | int] = {
        "film.mkv": 300 * KIB,
        "extras/cut.mkv": 100 * KIB,
        "film.nfo": b"words",
        "empty": b"",
    }
    first = lab.seed("Film", files, below="films", category="films", auto_tmm=True, tags=["one"])
    cross = lab.cross_seed(
        first, "B", "cross-seed", stopped=True, download_path=str(lab.stash / "unfinished")
    )
    twin = lab.add(sibling(lab.made[first], "C"), films)
    api.torrents_set_force_start(enable=True, torrent_hashes=twin)
    if isinstance(lab.client, RealClient):  # the simulated client knows no limits
        api.torrents_set_upload_limit(limit=123_000, torrent_hashes=twin)
    stays = lab.seed("Stays", {"other.mkv": 50 * KIB}, below="films")
    lab.import_into_library(stays, "Stays (2020)")
    pooled = lab.pool_seeding / "old" / "cut.mkv"  # a part of the group that the pool has already
    pooled.parent.mkdir()
    pooled.write_bytes((films / "Film/extras/cut.mkv").read_bytes())
    return [first, cross, twin]


def judge(stage: Stage, *, rolled_back: bool) -> None:
    """All promises that one run can keep, after it was ended by one command."""
    lab, before = stage.lab, stage.before
    checker.wait_for_rest(lab)
    checker.no_byte_is_lost(lab, before)
    # A client that comes up while files are hidden finds them missing, and counts their return as
    # a completion.  Nothing that we could do from outside brings the old date back (measured).
    may_differ = {"completion_on"} if stage.client_was_killed else set()
    checker.torrents_are_whole(
        lab, before, managed_may_end=stage.managed, may_differ=frozenset(may_differ)
    )
    checker.library_is_untouched(lab, before)
    assert checker.leftovers(lab) == []
    side = checker.side_of(lab, stage.group)
    if rolled_back:
        assert side == "stash"
        checker.as_it_was(lab, before)
    else:
        assert side == "pool"
        checker.only_one_copy_on_the_pool(lab, stage.group)
        assert not (lab.seeding / "films/Film").exists()
        assert not (lab.seeding / "cross-seed/Film").exists()


def end(stage: Stage, how: str) -> bool:
    """End an interrupted run by one command, twice; True when it was rolled back."""
    run = stage.newest_run()
    if run <= stage.ended_run:
        ended = stage.run("rehome", how, str(run + 1))
        assert "there is no run" in ended.output
        assert ended.code == 2, ended.output
        return True  # killed before anything was written down: nothing has happened
    stage.ended_run = run
    ended = stage.run("rehome", how, str(run))
    if how == "rollback" and ended.code == 3:
        assert "cannot be rolled back any more" in ended.output
        ended = stage.run("rehome", "resume", str(run))  # it had committed: the way is forward
        how = "resume"
    assert ended.code == 0, ended.output
    once = (checker.digests(stage.lab), stage.lab.rows(stage.group).keys())
    again = stage.run("rehome", how, str(run))
    assert again.code == 0, again.output
    assert (checker.digests(stage.lab), stage.lab.rows(stage.group).keys()) == once
    return how == "rollback"
