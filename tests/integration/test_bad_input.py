"""Bad input to the real programs, on both versions of qBittorrent.

Each gets a sentence that says what to do and the documented exit code, and nothing changes: no
file, no torrent, no run in the catalog.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.support import warm_programs
from tests.support.filesystems import mounted, tmpfs, two_sides
from tests.support.lab import PROGRAMS, Lab
from tests.support.qbt import RealClient, free_port, settle
from tests.support.recording_proxy import RecordingProxy
from tests.support.torrents import make_torrent
from tests.support.tree_snapshot import snapshot

from seedkeep.sqlite import open_database

pytestmark = pytest.mark.real
PASSWORD = "correct horse"
UNKNOWN = "0123456789abcdef" * 2 + "01234567"
KIB = 2**10
FAILED, USAGE, BLOCKED, PARTLY, UNREACHABLE = 1, 2, 3, 4, 5  # documented exit codes


class LockedLab(Lab):
    """A lab whose client wants a password."""

    def environ(self) -> dict[str, str]:
        return {**super().environ(), "HASHALL_QBIT_PASSWORD": PASSWORD}


@dataclass
class World:
    lab: LockedLab
    ids: dict[str, str]

    def __post_init__(self) -> None:
        self.catalogs = 0

    def another_catalog(self) -> Lab:
        """The same world with an empty home."""
        self.catalogs += 1
        home = self.lab.home.with_name(f"{self.lab.home.name}-{self.catalogs}")
        return LockedLab(home, self.lab.stash, self.lab.pool, self.lab.client, self.lab.made)

    def plan(self, name: str) -> Path:
        path = self.lab.home / f"{name}.json"
        self.lab.run("rehome", "plan", "--demote", "--torrent-hash", self.ids[name], "-o", path)
        return path

    def file_of(self, name: str) -> Path:
        made = self.lab.made[self.ids[name]]
        return made.root / made.paths[0]


def put_incomplete(lab: Lab) -> str:
    """A torrent that has everything but the last piece, and does not try to get it."""
    made = make_torrent(lab.seeding, "Incomplete", {"film.mkv": 200 * KIB})
    (lab.seeding / "Incomplete" / "film.mkv").write_bytes(b"\0" * 200 * KIB)
    api = lab.client.api
    api.torrents_add(torrent_files=made.data, save_path=str(lab.seeding), is_stopped=True)
    settle(api, [made.infohash], refreshes=0)
    lab.made[made.infohash] = made
    return made.infohash


def put(name: str) -> Callable[[Lab], str]:
    """A torrent that shares nothing with the others: content goes by the name of the file."""
    return lambda lab: lab.seed(name, {f"{name}.mkv": 60 * KIB, f"{name}.nfo": 50}, below=name)


NAMES = (
    "plain",
    "stopped since",
    "linked since",
    "linked and scanned since",
    "changed since",
    "removed since",
    "occupied since",
    "occupied",
    "foreign",
    "symlinked",
    "taken",
    "odd link",
)


@pytest.fixture(scope="module")
def client(version: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealClient]:
    profile = tmp_path_factory.mktemp("client")
    with RealClient(version, profile=profile, password=PASSWORD) as running:
        yield running


@pytest.fixture(scope="module")
def world(client: RealClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A scanned library of torrents, one for each thing that can be wrong with it."""
    with two_sides("shm") as sides:
        lab = LockedLab(tmp_path_factory.mktemp("home"), *sides, client)
        puts = {name: put(name) for name in NAMES} | {"incomplete": put_incomplete}
        with ThreadPoolExecutor(len(puts)) as pool:
            futures = {name: pool.submit(put_one, lab) for name, put_one in puts.items()}
        ids = {name: future.result() for name, future in futures.items()}
        lab.look()
        yield World(lab, ids)


def everything(lab: Lab) -> dict[str, Any]:
    """All that a command could have changed."""
    moving = ("save_path", "state", "progress", "auto_tmm", "download_path", "category", "tags")
    rows = lab.rows()
    return {
        "stash": snapshot(lab.stash),
        "pool": snapshot(lab.pool),
        "torrents": {torrent: [row[key] for key in moving] for torrent, row in rows.items()},
    }


def refuses(
    lab: Lab,
    *command: str | Path,
    code: int,
    says: Sequence[str],
    environ: dict[str, str] | None = None,
    wrapped: Sequence[str] = (),
) -> str:
    """Run a program, and see that it explains itself and leaves everything as it was."""
    before, runs = everything(lab), _runs(lab)
    program, *arguments = command
    done = run(lab, str(program), *arguments, environ=environ or {}, wrapped=wrapped)
    said = done.stdout + done.stderr
    assert done.returncode == code, said
    for words in says:
        assert words in said, said
    assert "Traceback" not in said
    assert "this is a bug" not in said
    assert everything(lab) == before
    assert _runs(lab) == runs
    return said


def run(
    lab: Lab,
    program: str,
    *arguments: str | Path,
    environ: dict[str, str],
    wrapped: Sequence[str],
) -> subprocess.CompletedProcess[str]:
    environ = {**lab.environ(), **environ}
    if not wrapped:
        words = [str(argument) for argument in arguments]
        return warm_programs.run(PROGRAMS[program], words, environ, timeout_s=120)
    return subprocess.run(
        [*wrapped, *lab.command(program, *arguments)],
        env=environ,
        capture_output=True,
        text=True,
        errors="surrogateescape",
        timeout=120,
        check=False,
    )


def _runs(lab: Lab) -> Any:
    if not lab.catalog.exists():
        return []
    with open_database(lab.catalog, create=False) as db:
        return list(db.tuples("SELECT run_id, status FROM runs"))


def plan_of(torrent: str) -> tuple[str, ...]:
    return ("rehome", "plan", "--demote", "--torrent-hash", torrent)


# -- hashes and torrents


def test_a_hash_that_no_torrent_has(world: World) -> None:
    says = ["the client has no torrent", UNKNOWN, "hint: check the hash"]
    refuses(world.lab, *plan_of(UNKNOWN), code=USAGE, says=says)


def test_a_hash_that_the_catalog_does_not_know(world: World) -> None:
    for command in ("show", "siblings"):
        says = ["the catalog knows no torrent", UNKNOWN, "hint: run `hashall payload sync`"]
        refuses(world.lab, "hashall", "payload", command, UNKNOWN, code=USAGE, says=says)


@pytest.mark.parametrize(
    "text", ["abcde", "not a hash", "../../etc", "é", os.fsdecode(b"\xff\xfe")], ids=ascii
)
def test_a_text_that_is_no_hash(world: World, text: str) -> None:
    says = ["is not a torrent hash", "hint: give 40 or 64 hex digits"]
    refuses(world.lab, *plan_of(text), code=USAGE, says=says)


def test_a_torrent_that_is_not_complete(world: World) -> None:
    said = refuses(
        world.lab,
        *plan_of(world.ids["incomplete"]),
        code=BLOCKED,
        says=["BLOCK", "group-not-whole", "incomplete"],
    )
    assert world.ids["incomplete"] in said


def test_a_torrent_that_came_after_the_last_sync(world: World) -> None:
    made = make_torrent(world.lab.seeding / "late", "Late", {"film.mkv": 9 * KIB})
    late = world.lab.client.add(made.data, made.root)
    says = ["the catalog does not know torrent", "hint: run `hashall payload sync`"]
    refuses(world.lab, *plan_of(late), code=BLOCKED, says=says)


# -- the client


@pytest.mark.parametrize("command", ["plan", "sync", "apply"])
def test_a_client_that_is_down(world: World, command: str) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    says = ["does not answer", nobody, "hint: is it running"]
    refuses(world.lab, *_asking(world, command), "--qbit-url", nobody, code=UNREACHABLE, says=says)


@pytest.mark.parametrize("command", ["plan", "sync", "apply"])
def test_a_wrong_password_is_tried_exactly_once(world: World, command: str) -> None:
    arguments = _asking(world, command)
    with RecordingProxy(world.lab.client.url) as proxy:
        refuses(
            world.lab,
            *arguments,
            "--qbit-url",
            proxy.url,
            environ={"HASHALL_QBIT_PASSWORD": "wrong"},
            code=UNREACHABLE,
            says=["refused the login", "hint: check user name and password"],
        )
        assert proxy.requests == ["POST /api/v2/auth/login"]


def test_a_right_password_is_tried_once_as_well(world: World) -> None:
    with RecordingProxy(world.lab.client.url) as proxy:
        world.lab.run(*plan_of(world.ids["plain"]), "--qbit-url", proxy.url)
    assert proxy.requests.count("POST /api/v2/auth/login") == 1


def test_a_wrong_password_is_not_shown(world: World) -> None:
    said = refuses(
        world.lab,
        *plan_of(world.ids["plain"]),
        environ={"HASHALL_QBIT_PASSWORD": "open sesame"},
        code=UNREACHABLE,
        says=["refused the login"],
    )
    assert "sesame" not in said


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"<html>Sign in</html>", "is not qBittorrent"),
        (b"", "is not qBittorrent"),
        (b"Ok.", "is not qBittorrent"),
    ],
    ids=["a page", "nothing", "ok to all"],
)
def test_something_else_answers_at_the_address(world: World, answer: bytes, words: str) -> None:
    with RecordingProxy(None, answer=answer) as proxy:
        refuses(
            world.lab,
            *plan_of(world.ids["plain"]),
            "--qbit-url",
            proxy.url,
            code=UNREACHABLE,
            says=[words, "hint:"],
        )


def _asking(world: World, command: str) -> tuple[str | Path, ...]:
    """A command that needs the client."""
    if command == "sync":
        return ("hashall", "payload", "sync")
    if command == "plan":
        return plan_of(world.ids["plain"])
    return ("rehome", "apply", world.plan("plain"), "--force")


# -- the catalog


def test_a_catalog_that_does_not_exist(world: World) -> None:
    nowhere = world.lab.home / "nowhere.db"
    for command in (
        plan_of(world.ids["plain"]),
        ("hashall", "payload", "sync"),
        ("rehome", "runs", "list"),
        ("rehome", "resume", "1"),
    ):
        says = [f"there is no catalog at {nowhere}", "hint: make one with: hashall scan"]
        refuses(world.lab, *command, "--db", nowhere, code=USAGE, says=says)
        assert not nowhere.exists()


@pytest.mark.parametrize("damage", ["no database", "cut off", "pages overwritten"])
def test_a_catalog_that_is_damaged(world: World, damage: str) -> None:
    broken = world.lab.home / f"{damage}.db"
    whole = _whole_catalog(world.lab)
    page = 4096
    broken.write_bytes(
        {
            "no database": b"this is a shopping list\n" * 900,
            "cut off": whole[: len(whole) // 2],
            "pages overwritten": whole[:page] + b"\xa5" * (len(whole) - page),
        }[damage]
    )
    before = broken.read_bytes()
    says = [str(broken), "hint:"]
    refuses(world.lab, *plan_of(world.ids["plain"]), "--db", broken, code=FAILED, says=says)
    assert broken.read_bytes() == before


def test_a_catalog_of_a_newer_version(world: World) -> None:
    newer = world.lab.home / "newer.db"
    newer.write_bytes(_whole_catalog(world.lab))
    with open_database(newer, create=False) as db:
        db.execute(
            "INSERT INTO schema_version (version, name, checksum, applied_at)"
            " VALUES (99, 'later', 'x', '2030-01-01T00:00:00Z')"
        )
    before = newer.read_bytes()
    for command in (plan_of(world.ids["plain"]), ("hashall", "scan", world.lab.seeding)):
        says = ["was written by a newer version", "hint: upgrade the program"]
        refuses(world.lab, *command, "--db", newer, code=FAILED, says=says)
    assert newer.read_bytes() == before


def _whole_catalog(lab: Lab) -> bytes:
    """The catalog as one file."""
    with open_database(lab.catalog, create=False) as db:
        db.script("PRAGMA wal_checkpoint(TRUNCATE)")
    return lab.catalog.read_bytes()


def test_a_library_root_that_was_never_scanned(world: World) -> None:
    lab = world.another_catalog()
    lab.run("hashall", "scan", lab.seeding, lab.pool)
    lab.run("hashall", "payload", "sync")
    says = ["root-not-covered", str(lab.media), "run `hashall scan`"]
    refuses(lab, *plan_of(world.ids["plain"]), code=BLOCKED, says=says)


def test_a_seeding_root_that_was_never_scanned(world: World) -> None:
    lab = world.another_catalog()
    lab.run("hashall", "scan", lab.media, lab.pool)
    lab.run("hashall", "payload", "sync")
    says = ["needs-scan", str(world.file_of("plain")), "root-not-covered", str(lab.seeding)]
    refuses(lab, *plan_of(world.ids["plain"]), code=BLOCKED, says=says)


@pytest.mark.parametrize("missing", ["stash", "pool"])
def test_a_root_that_does_not_exist(world: World, missing: str) -> None:
    nowhere = world.lab.home / "no such folder"
    says = [str(nowhere), "hint: is its disk mounted"]
    flag = f"--{missing}-seeding-root"
    refuses(world.lab, *plan_of(world.ids["plain"]), flag, nowhere, code=USAGE, says=says)


# -- the plan file


@pytest.mark.parametrize("edit", ["a path", "the verdict", "cut off", "no JSON", "another kind"])
def test_a_plan_file_that_was_edited(world: World, edit: str) -> None:
    plan = world.plan("plain")
    text = plan.read_text()
    plan.write_text(
        {
            "a path": text.replace(str(world.lab.pool), "/somewhere/else"),
            "the verdict": text.replace('"MOVE"', '"REUSE"'),
            "cut off": text[: len(text) // 2],
            "no JSON": "verdict: MOVE\n",
            "another kind": json.dumps({"kind": "shopping-list", "schema_version": 1}),
        }[edit]
    )
    assert plan.read_text() != text
    for flag in ("--force", "--dryrun"):
        says = [f"{plan} cannot be applied", "hint: plans are not edited; make a new one"]
        refuses(world.lab, "rehome", "apply", plan, flag, code=USAGE, says=says)


def test_a_plan_file_that_is_not_there_or_no_text(world: World) -> None:
    for name, content in (("nowhere.json", None), ("binary.json", b"\xff\xfe\0\1")):
        path = world.lab.home / name
        if content is not None:
            path.write_bytes(content)
        says = [str(path)]
        refuses(world.lab, "rehome", "apply", path, "--force", code=USAGE, says=says)


# -- a world that has changed since the plan was made


def _stale(world: World, name: str, change: Callable[[], object], *words: str) -> None:
    plan = world.plan(name)
    change()
    for flag in ("--dryrun", "--force"):
        says = ["the plan is stale", *words, "hint: make a new plan"]
        refuses(world.lab, "rehome", "apply", plan, flag, code=BLOCKED, says=says)


def test_a_torrent_was_stopped_since(world: World) -> None:
    torrent = world.ids["stopped since"]

    def stop() -> None:
        world.lab.client.api.torrents_stop(torrent_hashes=[torrent])
        settle(world.lab.client.api, [torrent])

    _stale(world, "stopped since", stop)


def test_a_file_was_linked_into_the_library_since(world: World) -> None:
    source = world.file_of("linked since")
    link = world.lab.media / "linked since.mkv"
    _stale(world, "linked since", lambda: os.link(source, link), "unaccounted-links")


def test_a_file_was_linked_into_the_library_and_scanned_since(world: World) -> None:
    link = world.lab.media / "linked and scanned since.mkv"

    def link_and_scan() -> None:
        os.link(world.file_of("linked and scanned since"), link)
        world.lab.run("hashall", "scan", world.lab.media)

    _stale(world, "linked and scanned since", link_and_scan, "outside-link", str(link))


def test_a_file_was_changed_since(world: World) -> None:
    path = world.file_of("changed since")
    _stale(world, "changed since", lambda: path.write_bytes(b"\1" * 60 * KIB), "needs-scan")


def test_a_torrent_was_removed_since(world: World) -> None:
    torrent = world.ids["removed since"]
    plan = world.plan("removed since")
    world.lab.client.api.torrents_delete(delete_files=False, torrent_hashes=[torrent])
    says = ["no torrent", torrent, "hint:"]
    refuses(world.lab, "rehome", "apply", plan, "--force", code=USAGE, says=says)


def test_its_place_was_taken_since(world: World) -> None:
    place = _place(world, "occupied since")

    def occupy() -> None:
        place.parent.mkdir(parents=True)
        place.write_bytes(b"somebody else's")

    _stale(world, "occupied since", occupy, "target-conflict", str(place))


# -- the pool


def test_its_place_has_other_bytes(world: World) -> None:
    place = _place(world, "occupied")
    place.parent.mkdir(parents=True)
    place.write_bytes(b"\2" * 60 * KIB)
    says = ["target-conflict", "are in the way", str(place)]
    refuses(world.lab, *plan_of(world.ids["occupied"]), code=BLOCKED, says=says)


def test_its_folder_has_a_file_that_is_not_its_own(world: World) -> None:
    other = _place(world, "foreign").with_name("other.mkv")
    other.parent.mkdir(parents=True)
    other.write_bytes(b"other")
    says = ["target-conflict", "are in the way", str(other)]
    refuses(world.lab, *plan_of(world.ids["foreign"]), code=BLOCKED, says=says)


def test_its_place_is_a_symlink(world: World) -> None:
    place = _place(world, "symlinked")
    place.parent.mkdir(parents=True)
    place.symlink_to(world.file_of("symlinked"))
    says = ["target-conflict", str(place)]
    refuses(world.lab, *plan_of(world.ids["symlinked"]), code=BLOCKED, says=says)


def test_another_torrent_seeds_at_its_place(world: World) -> None:
    lab, made = world.lab, world.lab.made[world.ids["taken"]]
    there = lab.pool_seeding / "taken"
    shutil.copytree(made.root / made.name, there / made.name)
    other = make_torrent(there, made.name, None, source="TRACKER-B")
    lab.client.add(other.data, there)
    says = ["target-conflict", "another torrent seeds from these places"]
    refuses(lab, *plan_of(world.ids["taken"]), code=BLOCKED, says=says)


def _place(world: World, name: str) -> Path:
    return world.lab.pool_seeding / world.file_of(name).relative_to(world.lab.seeding)


@pytest.mark.root
def test_a_pool_without_enough_room(world: World, tmp_path: Path) -> None:
    with tmpfs(tmp_path / "small", "1M") as small:
        lab = _with_pool(world, small)
        (small / "filling").write_bytes(b"\3" * 1000 * KIB)
        lab.look()
        says = ["no-space", "free; needed are", str(lab.pool_seeding)]
        refuses(lab, *plan_of(world.ids["plain"]), code=BLOCKED, says=says)


@pytest.mark.root
@pytest.mark.parametrize(
    ("names", "words"),
    [(6, "No space left on device"), (11, "Cannot make save path")],
    ids=["while copying", "when the client makes its folder"],
)
def test_a_pool_that_runs_full_on_the_way(
    world: World, tmp_path: Path, names: int, words: str
) -> None:
    """There is room for the bytes, which is all that one can know before, and none for names."""
    options = f"size=64M,nr_inodes={names}"
    with mounted("lab", tmp_path / "full", fs_type="tmpfs", options=options) as full:
        lab = _with_pool(world, full)
        lab.look()
        plan = lab.home / "plan.json"
        lab.run(*plan_of(world.ids["plain"]), "-o", plan)
        before = everything(lab)
        done = lab.run("rehome", "apply", plan, "--force", expect=PARTLY)
        assert "was rolled back" in done.stderr
        assert words in done.stderr
        assert everything(lab) == before
        (run,) = lab.json("rehome", "runs", "list")["runs"]
        assert run["status"] == "rolled-back"


def _with_pool(world: World, pool: Path) -> Lab:
    world.catalogs += 1
    home = world.lab.home.with_name(f"{world.lab.home.name}-{world.catalogs}")
    return LockedLab(home, world.lab.stash, pool, world.lab.client, world.lab.made)


# -- names and rights


@pytest.mark.root
def test_a_directory_that_cannot_be_read(world: World) -> None:
    lab = world.another_catalog()
    closed = lab.media / "closed"
    closed.mkdir()
    closed.chmod(0)
    weak = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search", "--inh-caps", "-all")
    try:
        refuses(
            lab,
            "hashall",
            "scan",
            lab.stash,
            lab.pool,
            wrapped=weak,
            code=PARTLY,
            says=["1 could not be read", str(closed), "not covered"],
        )
        lab.run("hashall", "payload", "sync")
        says = ["root-not-covered", str(closed), "run `hashall scan`"]
        refuses(lab, *plan_of(world.ids["plain"]), code=BLOCKED, says=says)
    finally:
        closed.chmod(0o755)
        closed.rmdir()


def test_a_library_name_that_is_not_utf_8_still_holds_a_torrent_back(world: World) -> None:
    lab = world.lab
    link = Path(os.fsdecode(os.fsencode(lab.media) + b"/caf\xe9 \xff.mkv"))
    os.link(world.file_of("odd link"), link)
    lab.run("hashall", "scan", lab.media)
    shown = os.fsencode(link).decode("utf-8", "backslashreplace")
    torrent = world.ids["odd link"]
    refuses(lab, *plan_of(torrent), code=BLOCKED, says=["outside-link", shown])
    blocked = lab.json(*plan_of(torrent), expect=BLOCKED)["plan"]
    assert blocked["blockers"][0]["paths"] == [os.fspath(link)]


def test_a_pool_whose_name_is_not_utf_8(world: World) -> None:
    """The client could not be told of it: its Web API takes text."""
    lab = world.lab
    pool = Path(os.fsdecode(os.fsencode(lab.pool) + b"/p\xf6\xf6l"))
    pool.mkdir()
    refuses(
        lab,
        *plan_of(world.ids["plain"]),
        "--pool-seeding-root",
        pool,
        code=BLOCKED,
        says=["group-not-whole", "qBittorrent cannot be told of", "p\\xf6\\xf6l", "not UTF-8"],
    )


def test_a_scan_of_a_folder_that_does_not_exist(world: World) -> None:
    nowhere = world.lab.home / "no such folder"
    refuses(world.lab, "hashall", "scan", nowhere, code=USAGE, says=[str(nowhere), "hint:"])
