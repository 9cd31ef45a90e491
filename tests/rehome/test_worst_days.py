"""Days on which somebody else acts too: removes, moves, unmounts, fills the disk, or maps wrongly.

What a run cannot know beforehand must end in a state that a person can understand, with every byte
that is still there in its place.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.support.facts_builder import codes, paths
from tests.support.filesystems import bind, lab_folder, tmpfs, two_sides
from tests.support.gathering import Stage
from tests.support.lab import Lab
from tests.support.qbt import VERSIONS, RealClient, settle
from tests.support.relocating import (
    A_DAY,
    FILM,
    REFRESH_S,
    SimulatedLab,
    breaking,
    changes,
    killed_in,
    seed_family,
)
from tests.support.torrents import make_torrent
from tests.support.tree_snapshot import files_in, snapshot

from hashall import journal
from hashall.catalog import open_catalog
from hashall.catalog.runs import RunStatus
from hashall.journal import Run
from hashall.model import TorrentFileOnDisk, TorrentInstance
from rehome import switch
from rehome.app import App
from rehome.codec import to_json
from rehome.executor import NotAsBefore, RollbackFailed
from rehome.model import (
    FillPayload,
    Hide,
    MakeStaging,
    Place,
    Plan,
    ProveFolder,
    Relocate,
    Step,
    StopTorrents,
    Verdict,
)
from rehome.newcomers import refuse_newcomers
from rehome.outcome import Watch
from rehome.planning import StalePlan
from rehome.switch import ClientSwitch
from seedkeep.errors import Refused, SeedError
from seedkeep.sqlite import Database

BOOK = {"Book/book.txt": "the book", "Book/notes.txt": "and notes"}
Ending = Callable[[App], object]


def rollback(app: App) -> object:
    return app.rollback(1, Watch())


def resume(app: App) -> object:
    return app.resume(1, Watch())


def retire(app: App) -> object:
    return app.retire(1, due_only=False)


def number_of(plan: Plan, kind: type[Step], *, last: bool = False) -> int:
    found = [number for number, step in enumerate(plan.steps) if type(step) is kind]
    return found[-1 if last else 0]


def killed_after(lab: SimulatedLab, plan: Plan, kind: type[Step]) -> None:
    """A run that ended with the process, right after its last step of this kind."""
    with killed_in(number_of(plan, kind, last=True), afterwards=True):
        lab.apply(plan, A_DAY)


def status(lab: SimulatedLab) -> RunStatus:
    with lab.app() as app:
        return app.runs()[0].status


def hidden_file(plan: Plan, path: Path) -> Path:
    """Where the source that was at `path` waits."""
    (item,) = (r for r in plan.retire if Path(r.hidden_root).parent / r.name == path)
    return Path(item.hidden_root, item.name)


def sentence(plan: Plan, code: str) -> str:
    (found,) = [blocker.sentence for blocker in plan.blockers if blocker.code == code]
    return found


@pytest.fixture
def film(lab: SimulatedLab) -> str:
    torrent = lab.seed("Film", FILM)
    lab.look()
    return torrent


# -- an earlier run that is not over


def test_a_group_whose_source_is_still_kept_may_not_move_again(
    lab: SimulatedLab, film: str
) -> None:
    lab.apply(lab.plan(film), A_DAY)
    lab.client.api.torrents_stop(torrent_hashes=[film])
    shutil.move(lab.pool_seeding / "Film", lab.seeding / "Film")
    lab.client.api.torrents_set_location(location=str(lab.seeding), torrent_hashes=[film])
    settle(lab.client.api, [film], refresh_s=REFRESH_S)
    lab.look()
    again = lab.plan(film)
    assert codes(again) == ["run-open"]
    assert "`rehome retire 1`" in sentence(again, "run-open")


def test_promise_1_a_run_is_not_retired_while_another_one_of_its_plan_is_open(
    lab: SimulatedLab, film: str
) -> None:
    """Both have their hidden files under one name: the open one may need them to go back."""
    plan = lab.plan(film)
    lab.apply(plan, A_DAY)
    before = lab.seen()
    with lab.app() as app:
        second = journal.begin(
            app.catalog,
            kind="demote",
            plan_id=plan.plan_id,
            plan=to_json(plan),
            steps=[],
            torrents=[],
            actor="a test",
            reason="a test",
            retain=A_DAY,
        )
        with pytest.raises(Refused, match="another run of plan"):
            retire(app)
        assert [row.status for row in app.runs()] == [RunStatus.COMMITTED, RunStatus.OPEN]
        assert changes(before, lab.seen()) == []
        second.rolled_back("")
        retire(app)
        assert app.runs()[0].status is RunStatus.RETIRED


# -- groups that only look as if they could move


def unwant(scene: Stage, torrent: str, number: int) -> None:
    files = scene.client.lists[torrent]
    files[number] = type(files[number])(files[number].name, files[number].size, 0.0, False)


def test_a_file_that_is_not_wanted_and_lies_there_all_the_same_blocks(scene: Stage) -> None:
    """The client would move it by itself, to where nobody proved anything."""
    book = scene.seed(1, BOOK)
    unwant(scene, book, 1)
    scene.look()
    made = scene.plan(book)
    assert codes(made) == ["group-not-whole"]
    assert "'Book/notes.txt'" in sentence(made, "group-not-whole")


@pytest.mark.parametrize(
    "kept_as", ["Book/notes.txt.!qB", "Book/.unwanted/notes.txt", "Book/.unwanted/notes.txt.!qB"]
)
def test_a_file_that_is_not_wanted_and_had_begun_blocks_under_each_name_of_the_client(
    scene: Stage, kept_as: str
) -> None:
    """4.5 and 5.1 carry it over the border by themselves, while the torrent seeds nothing."""
    book = scene.seed(1, BOOK)
    unwant(scene, book, 1)
    (scene.seeding / kept_as).parent.mkdir(exist_ok=True)
    (scene.seeding / "Book/notes.txt").rename(scene.seeding / kept_as)
    scene.look()
    made = scene.plan(book)
    assert codes(made) == ["group-not-whole"]
    assert repr(kept_as) in sentence(made, "group-not-whole")


def test_a_file_that_is_not_wanted_and_is_not_there_does_not_block(scene: Stage) -> None:
    book = scene.seed(1, BOOK)
    unwant(scene, book, 1)
    (scene.seeding / "Book/notes.txt").unlink()
    scene.look()
    assert scene.plan(book).verdict is Verdict.MOVE


def test_a_sibling_that_seeds_through_symlinks_blocks(scene: Stage) -> None:
    """Its links would lead nowhere once the files have moved."""
    book = scene.seed(1, BOOK)
    for name in BOOK:
        link = scene.seeding / "linked" / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(scene.seeding / name)
    linked = scene.seed(2, BOOK, save_path=scene.seeding / "linked")
    scene.look()
    made = scene.plan(book)
    assert codes(made) == ["group-not-whole"]
    assert linked in sentence(made, "group-not-whole")


def test_a_sibling_whose_folder_is_a_symlink_blocks(scene: Stage) -> None:
    book = scene.seed(1, BOOK)
    (scene.seeding / "linked").mkdir()
    (scene.seeding / "linked/Book").symlink_to(scene.seeding / "Book")
    linked = scene.seed(2, BOOK, save_path=scene.seeding / "linked")
    scene.look()
    made = scene.plan(book)
    assert codes(made) == ["group-not-whole"]
    assert linked in sentence(made, "group-not-whole")


@contextmanager
def symlink(source: Path, point: Path) -> Iterator[Path]:
    point.rmdir()
    point.symlink_to(source)
    yield point


@pytest.mark.parametrize(
    "shown",
    [symlink, pytest.param(bind, marks=pytest.mark.root)],
)
@pytest.mark.parametrize("folder", ["Book", "Book/part"])
def test_a_torrent_whose_folder_is_a_symlink_or_a_mount_is_blocked_by_its_plan(
    scene: Stage, shown: Any, folder: str
) -> None:
    """Renaming its files one by one would take them out of where the user keeps them."""
    elsewhere = scene.seeding / "elsewhere"
    elsewhere.mkdir()
    (scene.seeding / folder).mkdir(parents=True)
    with shown(elsewhere, scene.seeding / folder):
        book = scene.seed(1, {"Book/part/a.txt": "a", "Book/part/b.txt": "b"})
        scene.look()
        made = scene.plan(book)
        assert codes(made) == ["group-not-whole"]
        assert "a symlink or a mount of its own" in sentence(made, "group-not-whole")


@pytest.mark.root
def test_a_torrent_whose_folder_is_another_filesystem_is_blocked_by_its_plan(scene: Stage) -> None:
    with tmpfs(scene.seeding / "Book"):
        book = scene.seed(1, BOOK)
        scene.look()
        made = scene.plan(book)
        assert codes(made) == ["group-not-whole"]
        assert "a symlink or a mount of its own" in sentence(made, "group-not-whole")


def test_a_pool_that_no_scan_has_seen_is_not_covered(scene: Stage) -> None:
    """It may be the bare folder that the pool would be mounted on."""
    book = scene.seed(1, BOOK)
    scene.scan(scene.stash)
    scene.sync()
    assert paths(scene.plan(book), "root-not-covered") == [str(scene.pool_seeding)]
    scene.scan(scene.pool)
    assert scene.plan(book).verdict is Verdict.MOVE


# -- torrents that come to the files while a run is under way


@pytest.mark.parametrize("wanted", [True, False])
def test_only_a_torrent_that_wants_the_hidden_files_counts_as_a_newcomer(
    scene: Stage, wanted: bool
) -> None:
    book = scene.seed(1, BOOK)
    scene.look()
    made = scene.plan(book)
    newcomer = scene.seed(2, {**BOOK, "Book/more.txt": "more"})
    if not wanted:
        for number in range(len(BOOK)):
            unwant(scene, newcomer, number)
    for name in BOOK:
        (scene.seeding / name).unlink()
    look = scene.gatherer().look(whole=False)
    if wanted:
        with pytest.raises(StalePlan, match="a torrent was added") as why:
            refuse_newcomers(look, made)
        assert newcomer in why.value.detail
    else:
        refuse_newcomers(look, made)


# -- files that others remove while a run is under way


@contextmanager
def removed_before(lab: SimulatedLab, plan: Plan, path: Path) -> Iterator[None]:
    """Somebody removes `path` when everything is checked and nothing hidden yet."""
    with lab.app() as app:

        def told(step: Step, what: str) -> None:
            if isinstance(step, StopTorrents) and what == "do":
                path.unlink()

        with pytest.raises(NotAsBefore) as why:
            app.apply(plan, A_DAY, "a test", Watch(told))
    assert_it_ended_around(why.value, path)
    yield


def assert_it_ended_around(why: NotAsBefore, path: Path) -> None:
    assert (why.exit_code, why.code) == (4, "not-as-before")
    assert f"gone, and not by us: {path}" in why.detail.splitlines()


def without(files: dict[str, Any], path: Path, root: Path) -> dict[str, Any]:
    return {name: item for name, item in files.items() if name != str(path.relative_to(root))}


def content_in(root: Path) -> dict[str, bytes]:
    """Every file, ours among them, by its path below `root`."""
    return {
        str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }


@pytest.fixture
def couple(lab: SimulatedLab) -> tuple[str, str]:
    """Two torrents of one film, each with names of its own."""
    one = lab.seed("Film", FILM)
    two = lab.cross_seed(one, "B", "cross")
    lab.look()
    lab.client.forget_states()
    return one, two


def assert_all_but(
    lab: SimulatedLab, path: Path, couple: tuple[str, str], before: dict[str, bytes]
) -> None:
    """Everything is back, but for one file of the first torrent, which is not started."""
    one, two = couple
    assert status(lab) is RunStatus.ROLLED_BACK
    assert content_in(lab.stash) == without(before, path, lab.stash)
    assert content_in(lab.pool) == {}
    assert lab.own_debris() == []
    settle(lab.client.api, list(couple), refresh_s=REFRESH_S)
    rows = lab.rows()
    assert {Path(row["save_path"]) for row in rows.values()} == {
        lab.seeding,
        lab.seeding / "cross",
    }
    assert rows[one]["state"].startswith("stopped")
    assert rows[two]["state"] == "stalledUP"
    assert lab.bad_states() == set()


def test_a_source_file_that_vanishes_before_it_is_hidden_ends_the_run_around_it(
    lab: SimulatedLab, couple: tuple[str, str]
) -> None:
    before, lost = content_in(lab.stash), lab.seeding / "Film/film.nfo"
    with removed_before(lab, lab.plan(couple[0]), lost):
        assert_all_but(lab, lost, couple, before)


@pytest.mark.parametrize("ending", [rollback, resume])
@pytest.mark.parametrize("kind", [Hide, Relocate, Place])
def test_a_hidden_file_that_somebody_deletes_ends_the_run_around_it(
    lab: SimulatedLab, couple: tuple[str, str], kind: type[Step], ending: Ending
) -> None:
    before, lost = content_in(lab.stash), lab.seeding / "Film/film.nfo"
    plan = lab.plan(couple[0])
    killed_after(lab, plan, kind)
    hidden_file(plan, lost).unlink()
    with lab.app() as app, pytest.raises(NotAsBefore) as why:
        ending(app)
    assert_it_ended_around(why.value, lost)
    assert couple[0] in why.value.detail
    assert couple[1] not in why.value.detail
    assert_all_but(lab, lost, couple, before)


def test_a_second_rollback_still_knows_what_the_first_one_could_not_find(
    lab: SimulatedLab, couple: tuple[str, str]
) -> None:
    before, lost = content_in(lab.stash), lab.seeding / "Film/film.nfo"
    plan = lab.plan(couple[0])
    killed_after(lab, plan, Relocate)
    hidden_file(plan, lost).unlink()

    def hiccup(_self: ClientSwitch, _torrents: object) -> None:
        raise SeedError("the client does not start anything just now")

    with pytest.MonkeyPatch.context() as patch, lab.app() as app:
        patch.setattr(ClientSwitch, "start", hiccup)
        with pytest.raises(RollbackFailed):
            rollback(app)
    with lab.app() as app, pytest.raises(NotAsBefore) as why:
        rollback(app)
    assert_it_ended_around(why.value, lost)
    assert_all_but(lab, lost, couple, before)


def test_a_torrent_with_a_missing_file_gets_its_management_back_all_the_same(
    lab: SimulatedLab,
) -> None:
    family = seed_family(lab)
    rows, lost = lab.rows(), lab.seeding / "managed/Film/film.nfo"
    killed_after(lab, plan := lab.plan(family.plain), Place)
    hidden_file(plan, lost).unlink()
    other = hidden_file(plan, lab.seeding / "cross/Film/film.nfo")
    other.unlink()
    with lab.app() as app, pytest.raises(NotAsBefore) as why:
        rollback(app)
    settle(lab.client.api, family.all, refresh_s=REFRESH_S)
    now = lab.rows()
    for torrent in (family.managed, family.stopped):
        assert torrent in why.value.detail
        for key in ("auto_tmm", "download_path", "save_path", "category"):
            assert now[torrent][key] == rows[torrent][key]
    assert now[family.managed]["auto_tmm"] is True
    assert now[family.stopped]["download_path"] == str(lab.stash / "incomplete")
    assert lab.bad_states() == set()


def test_a_run_that_only_copied_is_taken_back_without_a_client(
    lab: SimulatedLab, film: str
) -> None:
    before = lab.seen()
    killed_after(lab, lab.plan(film), FillPayload)
    lab.client.stop()
    with lab.app() as app:
        rollback(app)
    assert status(lab) is RunStatus.ROLLED_BACK
    lab.client.start()
    assert changes(before, lab.seen()) == []
    assert lab.own_debris() == []


# -- a filesystem that is not mounted


def interrupted(lab: SimulatedLab, plan: Plan) -> None:
    killed_after(lab, plan, FillPayload)


def committed(lab: SimulatedLab, plan: Plan) -> None:
    lab.apply(plan, A_DAY)


@dataclass(frozen=True)
class Unmounted:
    """What a run meets that finds a bare folder instead of its filesystem."""

    so_far: Callable[[SimulatedLab, Plan], None]
    stays: RunStatus
    ending: Ending
    becomes: RunStatus  # by the same command, once all is mounted again


ENDINGS = {
    "rollback": Unmounted(interrupted, RunStatus.OPEN, rollback, RunStatus.ROLLED_BACK),
    "resume": Unmounted(interrupted, RunStatus.OPEN, resume, RunStatus.COMMITTED),
    "retire": Unmounted(committed, RunStatus.COMMITTED, retire, RunStatus.RETIRED),
}


@pytest.mark.root
@pytest.mark.parametrize("side", ["stash", "pool"])
@pytest.mark.parametrize("command", ENDINGS)
def test_what_is_not_mounted_is_not_believed_gone(
    lab: SimulatedLab, film: str, command: str, side: str
) -> None:
    case = ENDINGS[command]
    case.so_far(lab, lab.plan(film))
    before = lab.seen()
    with tmpfs(getattr(lab, side)) as bare:
        with lab.app() as app, pytest.raises(Refused, match="not on the filesystem") as why:
            case.ending(app)
        assert why.value.exit_code == 3
        assert "mount it" in why.value.hint
        assert status(lab) is case.stays
        assert list(bare.iterdir()) == []
    assert changes(before, lab.seen()) == []
    with lab.app() as app:
        case.ending(app)
    assert status(lab) is case.becomes
    if case.becomes is not RunStatus.COMMITTED:
        assert lab.own_debris() == []


def test_a_hidden_file_that_cannot_be_looked_at_is_kept(lab: SimulatedLab, film: str) -> None:
    plan = lab.plan(film)
    lab.apply(plan, A_DAY)
    folder = hidden_file(plan, lab.seeding / "Film/film.mkv").parent
    aside = folder.with_name("aside")
    folder.rename(aside)
    folder.symlink_to(folder)  # a loop: whoever looks below it gets an error, not an absence
    with lab.app() as app:
        (applied,) = app.retire(1, due_only=False)
    assert applied.retired is not None
    assert {item.path for item in applied.retired.kept} == {
        str(Path(r.hidden_root, r.name)) for r in plan.retire
    }
    assert status(lab) is RunStatus.COMMITTED
    folder.unlink()
    aside.rename(folder)
    with lab.app() as app:
        retire(app)
    assert status(lab) is RunStatus.RETIRED
    assert files_in(lab.stash) == {}


# -- a person who did not wait


@pytest.mark.parametrize("ending", [rollback, resume])
@pytest.mark.parametrize("kind", [Hide, Relocate])
def test_a_torrent_that_was_moved_elsewhere_is_left_alone_and_named(
    lab: SimulatedLab, couple: tuple[str, str], kind: type[Step], ending: Ending
) -> None:
    (one, two), rescued = couple, lab.stash / "rescued"
    before = content_in(lab.seeding)
    shutil.copytree(lab.seeding / "Film", rescued / "Film")
    killed_after(lab, lab.plan(one), kind)
    api = lab.client.api
    api.torrents_set_location(location=str(rescued), torrent_hashes=[one])
    api.torrents_recheck(torrent_hashes=[one])
    settle(api, [one], refresh_s=REFRESH_S, progress=1.0)
    api.torrents_add_tags(tags="rescued", torrent_hashes=[one])
    mine = lab.rows()[one]
    with lab.app() as app, pytest.raises(NotAsBefore) as why:
        ending(app)
    assert one in why.value.detail
    assert two not in why.value.detail
    assert status(lab) is RunStatus.ROLLED_BACK
    assert content_in(lab.seeding) == before
    assert content_in(lab.pool) == {}
    settle(api, [one, two], refresh_s=REFRESH_S)
    rows = lab.rows()
    assert (rows[one]["save_path"], rows[one]["state"]) == (str(rescued), mine["state"])
    assert rows[two]["save_path"] == str(lab.seeding / "cross")
    assert rows[two]["state"] == "stalledUP"


@pytest.mark.parametrize("kind", [Hide, Relocate, Place])
def test_hidden_files_that_were_put_back_by_hand_do_not_stop_a_rollback(
    lab: SimulatedLab, kind: type[Step]
) -> None:
    family = seed_family(lab)
    before, plan = lab.seen(), lab.plan(family.plain)
    killed_after(lab, plan, kind)
    moved = [item for item in plan.retire if Path(item.hidden_root).parent == lab.seeding]
    assert len(moved) == len(FILM)
    for item in moved:
        home = lab.seeding / item.name
        home.parent.mkdir(parents=True, exist_ok=True)
        Path(item.hidden_root, item.name).rename(home)
    with lab.app() as app:
        rollback(app)
    assert status(lab) is RunStatus.ROLLED_BACK
    assert changes(before, lab.seen()) == []
    assert lab.own_debris() == []


# -- a catalog that cannot be written


@contextmanager
def failing_once(*names: str) -> Iterator[None]:
    """Each of these methods of the journal fails the first time."""

    def broken(real: Callable[..., None], left: list[str]) -> Callable[..., None]:
        def method(*arguments: Any) -> None:
            if left:
                raise SeedError(f"no room to write {left.pop()}")
            real(*arguments)

        return method

    with pytest.MonkeyPatch.context() as patch:
        waiting = []
        for name in names:
            left = [name]
            waiting.append(left)
            patch.setattr(Run, name, broken(getattr(Run, name), left))
        yield
        assert not any(waiting), "it never came to that"


@pytest.mark.parametrize("names", [("undone",), ("undone", "failed")], ids="+".join)
@pytest.mark.parametrize("kind", [MakeStaging, Hide, Relocate, Place])
def test_a_catalog_that_cannot_be_written_during_an_undo_leaves_a_run_that_a_rollback_ends(
    lab: SimulatedLab, kind: type[Step], names: tuple[str, ...]
) -> None:
    family = seed_family(lab)
    before, plan = lab.seen(), lab.plan(family.plain)
    with (
        failing_once(*names),
        breaking(number_of(plan, kind), afterwards=True),
        pytest.raises(RollbackFailed) as why,
    ):
        lab.apply(plan)
    assert "rehome rollback 1" in why.value.hint
    assert "no room to write undone" in why.value.detail
    assert status(lab) is RunStatus.OPEN
    with lab.app() as app:
        rollback(app)
    assert status(lab) is RunStatus.ROLLED_BACK
    assert changes(before, lab.seen()) == []
    assert lab.own_debris() == []
    assert lab.bad_states() == set()


# -- many files


def test_a_group_is_found_through_indexes_however_many_files_it_has(tmp_path: Path) -> None:
    catalog = open_catalog(tmp_path / "catalog.db", create=True)
    device = catalog.devices.register("ext4:one", "ext4", stable=True).device_id
    for torrent in ("a" * 40, "b" * 40):
        instance = TorrentInstance(
            torrent_id=torrent,
            infohash_v1=torrent,
            infohash_v2="",
            name="Many",
            payload_id=None,
            device_id=device,
            save_path=f"/{torrent[0]}",
            root_name="Many",
            category="",
            tags=(),
            problem=None,
            last_seen_at="2026-11-21T00:00:00Z",
        )
        names = [f"Many/{number}" for number in range(3_000)]
        catalog.payloads.put_instance(
            instance,
            [
                TorrentFileOnDisk(name, 1, device, f"{torrent[0]}/{name}", inode)
                for inode, name in enumerate(names, start=1)
            ],
        )
    asked: list[tuple[str, Any]] = []
    tuples = Database.tuples

    def noted(self: Database, sql: str, params: Any = ()) -> Iterator[tuple[Any, ...]]:
        asked.append((sql, params))
        return tuples(self, sql, params)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Database, "tuples", noted)
        assert catalog.payloads.group_of("a" * 40) == ("a" * 40, "b" * 40)
    lookups = [
        str(row["detail"])
        for row in catalog.db.all(f"EXPLAIN QUERY PLAN {asked[0][0]}", asked[0][1])
    ]
    assert [line for line in lookups if line.startswith("SCAN")] == []
    for index, column in (("torrent_files_by_inode", "inode"), ("torrent_files_by_path", "path")):
        (line,) = [line for line in lookups if index in line]
        assert line.endswith(f"INDEX {index} (device_id=? AND {column}=?)")
    catalog.db.close()


def test_each_torrents_list_is_asked_for_once_however_many_places_are_taken(scene: Stage) -> None:
    files = {f"Many/{number}": f"file {number}" for number in range(60)}
    many = scene.seed(1, files)
    for name, text in files.items():
        scene.write(scene.pool_seeding / name, text)
    others = [
        scene.seed(n, {f"Other {n}/a": f"other {n}"}, download_path=str(scene.stash / "incomplete"))
        for n in range(2, 7)
    ]
    scene.look()
    scene.client.asked_for_files.clear()
    made = scene.plan(many)
    assert made.verdict is Verdict.REUSE
    asked = Counter(scene.client.asked_for_files)
    assert {torrent: asked[torrent] for torrent in others} == dict.fromkeys(others, 1)
    assert asked[many] <= 2  # for the group itself, and as one that may hold its targets


# -- a client that calls other folders by our names


def map_wrongly(lab: Lab, side: str, other: Path) -> str:
    """A torrent to move, in a configuration that is wrong about one side of the client's paths."""
    made = make_torrent(lab.seeding, "Film", FILM)
    (other / "pool").mkdir(parents=True)
    shutil.copytree(lab.seeding, other / "stash")  # such a copy looks just like ours
    pairs = {
        "stash": (other / "stash", lab.seeding),
        "pool": (other / "pool", lab.pool_seeding),
    }
    theirs, ours = pairs[side]
    settings = json.loads(lab.config.read_text())
    settings["rehome"]["path_map"] = [f"{theirs}={ours}"]
    lab.config.write_text(json.dumps(settings))
    return lab.add(made, theirs if side == "stash" else lab.seeding)


SIDES = ("stash", "pool")


@pytest.mark.parametrize("side", SIDES)
def test_promise_8_a_wrong_path_map_is_refused_before_anything_is_copied_or_stopped(
    lab: SimulatedLab, monkeypatch: pytest.MonkeyPatch, side: str
) -> None:
    monkeypatch.setattr(switch, "PROOF_S", 0.1)
    with lab_folder() as other:
        film = map_wrongly(lab, side, other)
        lab.look()
        lab.client.forget_states()
        plan = lab.plan(film)
        assert plan.verdict is Verdict.MOVE
        before = lab.seen()
        begun: set[type[Step]] = set()
        copied: list[int] = []
        watch = Watch(lambda step, _what: begun.add(type(step)), copied.append)
        with lab.app() as app, pytest.raises(SeedError) as why:
            app.apply(plan, A_DAY, "a test", watch)
        assert why.value.code == "path-map-unproved"
        assert begun == {MakeStaging, ProveFolder}
        assert copied == []
        assert changes(before, lab.seen()) == []
        assert lab.own_debris() == []
        assert lab.client.states_of(film) == ["stalledUP"]
        assert status(lab) is RunStatus.ROLLED_BACK


@pytest.mark.real
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("version", VERSIONS)
def test_promise_8_the_real_client_cannot_be_taken_for_one_that_sees_our_folders(
    tmp_path: Path, version: str, side: str
) -> None:
    with (
        RealClient(version, profile=tmp_path / "client") as client,
        two_sides("shm") as sides,
        lab_folder() as other,
    ):
        lab = Lab(tmp_path / "home", *sides, client)
        film = map_wrongly(lab, side, other)
        settle(client.api, [film], progress=1.0)
        lab.look()
        plan = lab.home / "plan.json"
        lab.run("rehome", "plan", "--demote", "--torrent-hash", film, "-o", plan)
        trees, row = (snapshot(lab.stash), snapshot(lab.pool)), lab.rows()[film]
        done = lab.run("rehome", "apply", plan, "--force", "--json", expect=None)
        assert "path-map-unproved" in done.stdout + done.stderr
        assert done.returncode == 3
        assert (snapshot(lab.stash), snapshot(lab.pool)) == trees
        now = lab.rows()[film]
        assert {now[key] == row[key] for key in ("save_path", "state", "progress")} == {True}
