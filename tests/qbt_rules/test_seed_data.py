"""Rules that see the disk through the catalog, and act on it through rehome."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from unittest import mock

import pytest
from tests.qbt_rules.disk_stage import DiskStage, disk_stage
from tests.qbt_rules.rules_stage import one, outcomes
from tests.support.engines import forked
from tests.support.qbt import VERSIONS, RealClient, wait_for
from tests.support.simulated import SimulatedClient
from tests.support.torrents import sibling

from qbt_rules.disk import NoDisk
from qbt_rules.engine import RuleEngine
from qbt_rules.language.values import Unknown
from qbt_rules.model import JobStatus
from qbt_rules.queue_backends.sqlite_queue import SQLiteQueue
from qbt_rules.seed_data import open_seed_data
from qbt_rules.worker import WorkerOptions, run_worker
from rehome import recovery
from rehome.lanes import Lane, Told
from rehome.outcome import Watch
from rehome.world import World
from seedkeep import clock

FILM = {"film.mkv": 300_000, "film.nfo": 50}
THE_RULE = """
rules:
  - name: "Seed-only content goes to the pool"
    conditions:
      context: scheduled
      all:
        - {field: links.outside, operator: "==", value: 0}
        - {field: links.verdict, operator: "==", value: proved}
        - {field: payload.residency, operator: "==", value: stash}
        - {field: info.completion_on, operator: older_than, value: 0s}
        - {field: space.stash_free, operator: smaller_than, value: 500TB}
    actions:
      - {type: rehome_demote, params: {retain: 24h}}
      - {type: add_tag, params: {tag: "on-pool"}}
"""


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[DiskStage]:
    with (
        SimulatedClient("5.1", refresh_s=0.05) as client,
        disk_stage(client, tmp_path) as prepared,
    ):
        yield prepared


# -- fields


def test_a_rule_sees_where_a_payload_lives_and_who_uses_it(stage: DiskStage) -> None:
    lab = stage.lab
    alone = lab.seed("Alone", FILM)
    sibling = lab.cross_seed(alone, "B", "cross")
    used = lab.seed("Used", {"used.mkv": 200_000})
    library = lab.import_into_library(used, "Used (2020)")
    cold = lab.seed("Cold", {"cold.mkv": 100_000}, on_pool=True)
    lab.look()
    assert stage.value(alone, "payload.residency") == "stash"
    assert stage.value(cold, "payload.residency") == "pool"
    assert stage.value(alone, "payload.siblings") == 1
    assert stage.value(alone, "payload.payload_hash") == stage.value(
        sibling, "payload.payload_hash"
    )
    assert stage.value(alone, "payload.total_bytes") == 300_050
    assert stage.value(alone, "payload.file_count") == 2
    assert stage.value(alone, "payload.status") == "complete"
    assert stage.value(alone, "payload.also_on") == ()
    assert stage.value(alone, "links.verdict") == "proved"
    assert stage.value(alone, "links.outside") == 0
    assert stage.value(alone, "links.siblings") == 2
    assert stage.value(used, "links.outside") == 1
    assert stage.value(used, "links.outside_paths") == (str(library / "used.mkv"),)
    assert stage.value(alone, "space.stash_free") > 0
    assert stage.value(alone, "space.pool_free") > 0
    wait_for(  # others write to the disk, also between two looks
        lambda: stage.value(alone, "space.path_free") == stage.value(alone, "space.stash_free"),
        "the free space at its path to be that of stash",
    )


def test_names_of_its_own_side_are_not_outside_for_a_torrent_on_the_pool(
    stage: DiskStage,
) -> None:
    lab = stage.lab
    cold = lab.seed("Cold", {"cold.mkv": 100_000}, on_pool=True)
    twin = lab.pool_seeding / "cross/Cold"
    twin.mkdir(parents=True)
    (twin / "cold.mkv").hardlink_to(lab.pool_seeding / "Cold/cold.mkv")
    lab.look()
    assert stage.value(cold, "links.outside") == 0
    assert stage.value(cold, "links.siblings") == 1
    (lab.pool / "kept.mkv").hardlink_to(lab.pool_seeding / "Cold/cold.mkv")
    lab.look()
    assert stage.value(cold, "links.outside_paths") == (str(lab.pool / "kept.mkv"),)


def test_a_copy_on_the_other_side_is_seen(stage: DiskStage) -> None:
    torrent_id = stage.lab.seed("Twice", FILM)
    shutil.copytree(stage.lab.seeding / "Twice", stage.lab.pool_seeding / "Twice")
    twin = sibling(stage.lab.made[torrent_id], "B")
    stage.lab.client.add(twin.data, stage.lab.pool_seeding)
    stage.lab.look()
    assert stage.value(torrent_id, "payload.also_on") == ("pool",)
    assert stage.value(twin.infohash, "payload.also_on") == ("stash",)


def test_a_name_that_no_scan_has_seen_makes_the_links_unknown(stage: DiskStage) -> None:
    torrent_id = stage.lab.seed("Film", FILM)
    stage.lab.look()
    (stage.lab.stash / "secret.mkv").hardlink_to(stage.lab.seeding / "Film/film.mkv")
    assert stage.value(torrent_id, "links.verdict") == "unaccounted"
    outside = stage.value(torrent_id, "links.outside")
    assert isinstance(outside, Unknown)
    assert "2 names, known are 1" in outside.reason


def test_what_the_catalog_does_not_know_is_unknown(stage: DiskStage) -> None:
    known = stage.lab.seed("Film", FILM)
    stage.lab.look()
    new = stage.lab.seed("New", {"new.mkv": 1000})
    assert "hashall payload sync" in stage.value(new, "payload.residency").reason
    disk = stage.disk()
    moved = disk.value(known, "payload.residency", "/elsewhere")
    assert isinstance(moved, Unknown)
    assert "lies elsewhere" in moved.reason
    assert isinstance(disk.value(known, "payload.verified_at", str(stage.lab.seeding)), Unknown)
    assert isinstance(disk.value(known, "space.path_free", "/nowhere/at/all"), Unknown)
    disk.close()
    (stage.lab.seeding / "Film/film.mkv").unlink()
    assert stage.value(known, "links.verdict") == "unknown"


def test_a_rule_sees_when_the_bytes_of_all_files_were_last_proved(stage: DiskStage) -> None:
    torrent_id = stage.lab.seed("Film", FILM)
    stage.lab.look()
    film = stage.lab.seeding / "Film/film.mkv"
    never = stage.value(torrent_id, "payload.verified_at")
    assert "2 of 2 files were not read since the scan" in never.reason
    stage.lab.run("hashall", "payload", "verify", torrent_id)
    first = stage.value(torrent_id, "payload.verified_at")
    assert 0 <= (clock.now() - first).total_seconds() < 60

    rot(film)
    stage.lab.run("hashall", "payload", "verify", torrent_id, expect=1)
    rotten = stage.value(torrent_id, "payload.verified_at")
    assert "1 of its files had other bytes when last read" in rotten.reason


def test_pieces_prove_the_files_and_a_bad_one_takes_that_back(stage: DiskStage) -> None:
    torrent_id = stage.lab.seed("Film", FILM)
    stage.lab.look()
    a_part = "{type: payload_verify, params: {sample: 5%}}"
    assert stage.run(one("{}", a_part))["outcomes"] == {"done": 1}
    assert isinstance(stage.value(torrent_id, "payload.verified_at"), Unknown)
    assert stage.run(one("{}", "payload_verify"))["outcomes"] == {"done": 1}
    condition = "{field: payload.verified_at, operator: newer_than, value: 1h}"
    assert stage.run(one(condition, "stop"), dry_run=True)["rules_matched"] == 1
    rot(stage.lab.seeding / "Film/film.mkv")
    assert stage.run(one("{}", "payload_verify"))["outcomes"] == {"failed": 1}
    assert isinstance(stage.value(torrent_id, "payload.verified_at"), Unknown)


def rot(path: Path) -> None:
    """Other bytes under the same size and times: only reading finds it."""
    stamp = path.stat()
    with path.open("r+b") as out:
        out.write(b"\0rotten\0")
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))


def test_a_payload_that_was_not_read_has_no_hash(stage: DiskStage) -> None:
    stage.lab.run("hashall", "scan", stage.lab.pool)
    torrent_id = stage.lab.seed("Film", FILM)
    stage.lab.run("hashall", "payload", "sync", expect=None)
    assert isinstance(stage.value(torrent_id, "payload.payload_hash"), Unknown)


def test_without_a_catalog_there_is_no_disk(stage: DiskStage) -> None:
    disk = open_seed_data(stage.connect)
    assert isinstance(disk, NoDisk)
    assert "there is no catalog" in disk.why
    disk.close()


# -- demotion


def test_the_rule_that_this_system_exists_for(stage: DiskStage) -> None:
    lab = stage.lab
    goes = lab.seed("Goes", FILM)
    follows = lab.cross_seed(goes, "B", "cross")
    stays = lab.seed("Stays", {"stays.mkv": 200_000})
    lab.import_into_library(stays, "Stays (2020)")
    lab.look()

    dry = stage.run(THE_RULE, context="scheduled", dry_run=True)
    assert {row["name"] for row in dry["actions"]} == {"Goes"}
    assert lab.rows()[goes]["save_path"] == str(lab.seeding)

    result = stage.run(THE_RULE, context="scheduled")
    moved = [row for row in result["actions"] if row["action"] == "rehome_demote"]
    assert {row["hash"] for row in moved} == {goes, follows}
    assert {row["outcome"] for row in moved} == {"done"}
    assert len(result["runs"]) == 1
    assert f"{result['runs'][0]}" in lab.run("rehome", "runs", "list").stdout
    rows = lab.rows()
    assert rows[goes]["save_path"] == str(lab.pool_seeding)
    assert rows[follows]["save_path"] == str(lab.pool_seeding / "cross")
    assert rows[stays]["save_path"] == str(lab.seeding)
    assert rows[goes]["tags"] == "on-pool"

    again = stage.run(THE_RULE, context="scheduled")
    assert again["actions_executed"] == 0
    assert again["runs"] == []


@pytest.mark.parametrize("busy_with", ["the copy", "the way back"])
def test_a_run_that_takes_too_long_for_a_server_that_ends_is_taken_back(
    stage: DiskStage, tmp_path: Path, busy_with: str
) -> None:
    """Left alone, the container would be killed in the middle, and the run stay open for good."""
    lab, path = stage.lab, tmp_path / "queue.db"
    goes = lab.seed("Goes", FILM)
    lab.look()
    before = lab.rows()[goes]
    (tmp_path / "rules.yml").write_text(THE_RULE)
    queue = SQLiteQueue(path)
    asked = queue.enqueue("scheduled")
    busy, recover = tmp_path / "busy", recovery.recover

    def copying(_bytes: int) -> None:
        if busy_with == "the way back":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        busy.touch()
        time.sleep(30)

    def going_back(lanes: Sequence[Lane], world: World, told: Told) -> None:
        if busy_with == "the way back":
            busy.touch()
            time.sleep(3)
        recover(lanes, world, told)

    def work() -> int:
        engine = RuleEngine(
            tmp_path / "rules.yml", stage.connect, lambda: open_seed_data(stage.connect)
        )
        with (
            mock.patch("qbt_rules.seed_data.Watch", return_value=Watch(copying=copying)),
            mock.patch.object(recovery, "recover", going_back),
        ):
            options = WorkerOptions(grace_s=0.1)
            return run_worker(lambda: SQLiteQueue(path), lambda: engine, options, "x")

    child = forked(work)
    try:
        wait_for(busy.exists, f"{busy_with} to begin", timeout_s=60)
    except AssertionError:
        os.kill(child, signal.SIGKILL)
        raise
    finally:
        os.kill(child, signal.SIGTERM)
        _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    back = queue.get_job(asked.job_id)
    assert back is not None
    assert (back.status, back.attempts) == (JobStatus.PENDING, 0)
    queue.close()
    assert [run["status"] for run in lab.json("rehome", "runs", "list")["runs"]] == ["rolled-back"]
    assert lab.rows()[goes] | {"time_active": 0} == before | {"time_active": 0}
    assert [path for path in lab.pool_seeding.rglob("*") if path.is_file()] == []
    result = stage.run(THE_RULE, context="scheduled")
    assert result["outcomes"] == {"done": 2}


def test_a_group_that_policy_holds_is_a_result_with_every_reason(stage: DiskStage) -> None:
    torrent_id = stage.lab.seed("Used", FILM)
    stage.lab.import_into_library(torrent_id, "Used (2020)")
    stage.lab.look()
    result = stage.run(one("{}", "rehome_demote"))
    assert outcomes(result) == [("rehome_demote", "Used", "blocked")]
    assert "media" in result["actions"][0]["reason"]
    assert stage.lab.rows()[torrent_id]["save_path"] == str(stage.lab.seeding)


def test_a_group_that_is_home_is_skipped_and_an_unknown_one_blocked(stage: DiskStage) -> None:
    stage.lab.seed("Cold", {"cold.mkv": 100_000}, on_pool=True)
    stage.lab.look()
    stage.lab.seed("New", {"new.mkv": 1000})
    result = stage.run(one("{}", "rehome_demote"))
    assert result["outcomes"] == {"skipped": 1, "blocked": 1}
    assert "payload sync" in result["actions"][0]["reason"]


def test_a_promotion_without_the_bytes_on_stash_is_blocked(stage: DiskStage) -> None:
    stage.lab.seed("Cold", {"cold.mkv": 100_000}, on_pool=True)
    stage.lab.look()
    result = stage.run(one("{}", "rehome_promote"))
    assert result["outcomes"] == {"blocked": 1}
    assert "no-blind-copy" in result["actions"][0]["reason"]


# -- the last copy


DELETE = "{type: delete_torrent, params: {delete_files: true}}"
TWICE = f"  - name: again\n    actions: [{DELETE}]\n"
DELETE_LAST = "{type: delete_torrent, params: {delete_files: true, allow_last_copy: true}}"


def test_the_only_copy_is_not_deleted_unless_that_is_said(stage: DiskStage) -> None:
    stage.lab.seed("Film", FILM)
    stage.lab.look()
    result = stage.run(one("{}", DELETE))
    assert outcomes(result) == [("delete_torrent", "Film", "refused")]
    assert "no other copy of" in result["actions"][0]["reason"]
    assert (stage.lab.seeding / "Film/film.mkv").exists()
    assert stage.run(one("{}", DELETE_LAST))["outcomes"] == {"done": 1}
    assert not (stage.lab.seeding / "Film/film.mkv").exists()


def test_a_disk_that_fails_is_not_said_to_have_no_files(
    stage: DiskStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there are none, `set_category` may send a torrent anywhere."""
    torrent_id = stage.lab.seed("Film", FILM)
    stage.lab.look()
    lstat = os.lstat

    def failing(path: str | Path, **options: int | None) -> os.stat_result:
        if "Film" in str(path):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return lstat(path, **options)

    disk = open_seed_data(stage.connect)
    try:
        assert disk.has_files(torrent_id) is True
        with monkeypatch.context() as patch:
            patch.setattr(os, "lstat", failing)
            assert disk.has_files(torrent_id) is None
        shutil.rmtree(stage.lab.seeding / "Film")
        assert disk.has_files(torrent_id) is False
    finally:
        disk.close()


def test_files_that_a_library_keeps_by_a_hardlink_may_go(stage: DiskStage) -> None:
    torrent_id = stage.lab.seed("Film", FILM)
    library = stage.lab.import_into_library(torrent_id, "Film (2020)")
    stage.lab.look()
    assert stage.run(one("{}", DELETE))["outcomes"] == {"done": 1}
    assert (library / "film.mkv").exists()
    assert not (stage.lab.seeding / "Film/film.mkv").exists()


def test_a_sibling_that_stays_keeps_its_files_whoever_else_goes(stage: DiskStage) -> None:
    first = stage.lab.seed("Film", FILM)
    stage.lab.add(sibling(stage.lab.made[first], "B"), stage.lab.seeding)
    stage.lab.look()
    result = stage.run(one("{}", DELETE_LAST), max_deletes=1)
    assert result["outcomes"] == {"refused": 2}
    assert len(stage.lab.rows()) == 2
    assert (stage.lab.seeding / "Film/film.mkv").exists()


def test_a_sibling_that_no_sync_has_seen_keeps_its_files(stage: DiskStage) -> None:
    first = stage.lab.seed("Film", FILM)
    stage.lab.look()
    stage.lab.add(sibling(stage.lab.made[first], "B"), stage.lab.seeding, tags=("new",))
    result = stage.run(one("{field: info.tags, operator: '!=', value: new}", DELETE_LAST))
    assert "the catalog does not know it there" in result["actions"][0]["reason"]
    assert (stage.lab.seeding / "Film/film.mkv").exists()


def test_a_file_that_was_replaced_since_the_sync_stays(stage: DiskStage) -> None:
    torrent_id = stage.lab.seed("Film", {"film.mkv": 300_000})
    stage.lab.import_into_library(torrent_id, "Film (2020)")
    stage.lab.look()
    path = stage.lab.seeding / "Film/film.mkv"
    path.unlink()
    path.write_bytes(b"\7" * 300_000)
    result = stage.run(one("{}", DELETE))
    assert "was changed since the last sync" in result["actions"][0]["reason"]
    assert path.exists()


def test_two_copies_do_not_vouch_for_each_other_when_both_go(stage: DiskStage) -> None:
    first = stage.lab.seed("Film", {"film.mkv": 300_000})
    other = stage.lab.pool_seeding / "Film"
    shutil.copytree(stage.lab.seeding / "Film", other)
    stage.lab.client.add(sibling(stage.lab.made[first], "B").data, stage.lab.pool_seeding)
    stage.lab.look()
    lists = [
        stage.run(one("{}", DELETE) + TWICE, dry_run=dry_run)["outcomes"]
        for dry_run in (True, False)
    ]
    assert lists == [{"refused": 4}, {"refused": 4}]
    assert (other / "film.mkv").exists()


def test_files_that_another_torrent_needs_at_the_same_path_stay(stage: DiskStage) -> None:
    first = stage.lab.seed("Film", FILM)
    stage.lab.add(sibling(stage.lab.made[first], "B"), stage.lab.seeding, tags=("keep",))
    stage.lab.look()
    rules = one("{field: info.tags, operator: '!=', value: keep}", DELETE_LAST)
    result = stage.run(rules)
    assert outcomes(result) == [("delete_torrent", "Film", "refused")]
    assert "the torrent Film needs" in result["actions"][0]["reason"]


def test_a_copy_elsewhere_lets_the_files_go_once_it_was_read(stage: DiskStage) -> None:
    stage.lab.seed("Film", {"film.mkv": 300_000})
    copy = stage.lab.pool / "copy.mkv"
    shutil.copy(stage.lab.seeding / "Film/film.mkv", copy)
    stage.lab.look()
    before = copy.read_bytes()
    stamp = copy.stat()
    copy.write_bytes(b"x" + before[1:])
    os.utime(copy, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert stage.run(one("{}", DELETE))["outcomes"] == {"refused": 1}
    copy.write_bytes(before)
    assert stage.run(one("{}", DELETE))["outcomes"] == {"done": 1}


def test_files_of_a_torrent_that_changed_since_the_sync_stay(stage: DiskStage) -> None:
    torrent_id = stage.lab.seed("Film", FILM)
    stage.lab.import_into_library(torrent_id, "Film (2020)")
    stage.lab.look()
    api = stage.lab.client.api
    api.torrents_rename_file(
        torrent_hash=torrent_id, old_path="Film/film.mkv", new_path="Film/other.mkv"
    )
    result = stage.run(one("{}", DELETE))
    assert "lists other files than the catalog" in result["actions"][0]["reason"]


def test_files_of_a_torrent_that_no_sync_has_seen_stay(stage: DiskStage) -> None:
    stage.lab.seed("Film", FILM)
    stage.lab.run("hashall", "scan", stage.lab.stash)
    result = stage.run(one("{}", DELETE_LAST))
    assert "the catalog does not know the torrent" in result["actions"][0]["reason"]


# -- other deeds


def test_files_are_verified_against_the_torrents_own_hashes(stage: DiskStage) -> None:
    stage.lab.seed("Good", {"good.mkv": 100_000})
    stage.lab.seed("Bad", {"bad.mkv": 100_000})
    stage.lab.look()
    (stage.lab.seeding / "Bad/bad.mkv").write_bytes(b"\0" * 100_000)
    result = stage.run(one("{}", "payload_verify"))
    found = {row["name"]: (row["outcome"], row["reason"]) for row in result["actions"]}
    assert found["Good"][0] == "done"
    assert found["Bad"][0] == "failed"
    assert "bad.mkv" in found["Bad"][1]


def test_a_rule_scans_folders(stage: DiskStage) -> None:
    stage.lab.seed("Film", FILM)
    stage.lab.look()
    (stage.lab.media / "new.mkv").write_bytes(b"new")
    result = stage.run(one("{}", f"{{type: hashall_scan, params: {{paths: [{stage.lab.media}]}}}}"))
    assert "1 added" in result["actions"][0]["reason"]


def test_a_location_on_the_same_filesystem_is_known_to_be_so(stage: DiskStage) -> None:
    stage.lab.look()
    disk = stage.disk()
    seeding = str(stage.lab.seeding)
    assert disk.same_filesystem(seeding, f"{seeding}/new/folder") is True
    assert disk.same_filesystem(seeding, str(stage.lab.pool_seeding)) is False
    assert disk.same_filesystem("/nowhere/at/all", seeding) is None
    disk.close()


@pytest.mark.real
@pytest.mark.parametrize("version", VERSIONS)
def test_a_real_client_serves_from_the_pool_after_the_rule(tmp_path: Path, version: str) -> None:
    with RealClient(version) as client, disk_stage(client, tmp_path) as stage:
        goes = stage.lab.seed("Goes", FILM)
        stage.lab.look()
        result = stage.run(THE_RULE, context="scheduled")
        assert result["outcomes"] == {"done": 2}
        wait_for(
            lambda: stage.lab.rows()[goes]["state"] in ("stalledUP", "uploading"), "it to seed"
        )
        row = stage.lab.rows()[goes]
        assert (row["save_path"].rstrip("/"), row["progress"], row["tags"]) == (
            str(stage.lab.pool_seeding),
            1,
            "on-pool",
        )
