"""Every shape that a torrent can have, in a real client: what becomes of it in the catalog.

All shapes are in one client per version, so that the tests stay cheap.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import libtorrent
import pytest
from tests.support import shapes
from tests.support.filesystems import bind, two_sides
from tests.support.lab import Lab, hardlink_tree
from tests.support.qbt import RealClient, settle, wait_for
from tests.support.torrents import PIECE_SIZE, make_torrent, sibling, write_files

from hashall.catalog import Catalog, open_catalog
from hashall.metainfo import read_metainfo
from hashall.model import Payload, TorrentInstance
from hashall.pathing import MountTable
from hashall.payload_sync import Outcome, SyncResult, sync
from hashall.payload_verify import pieces_of_torrent
from hashall.places import Places
from hashall.qbittorrent import PathMap
from seedkeep.qbittorrent import QBittorrentClient, connect
from seedkeep.torrent_client import Inventory

pytestmark = [pytest.mark.real, pytest.mark.root]
KIB = 2**10
LARGE = 256 * 2**20  # bytes
V1 = libtorrent.create_torrent.v1_only
V2 = libtorrent.create_torrent.v2_only
HYBRID = 0
CANONICAL = libtorrent.create_torrent.canonical_files  # pads v1 torrents, too
COMPOSED, DECOMPOSED = "\u00e9t\u00e9.mkv", unicodedata.normalize("NFD", "\u00e9t\u00e9.mkv")


def by_libtorrent(lab: Lab, name: str, sizes: dict[str, int], kind: int) -> str:
    """A torrent that torf cannot make: v2, hybrid, padded."""
    root = lab.seeding / "made"
    write_files(root / name, dict(sizes))
    made = libtorrent.create_torrent(libtorrent.list_files(str(root / name)), PIECE_SIZE, kind)
    libtorrent.set_piece_hashes(made, str(root))
    data = libtorrent.bencode(made.generate())
    metainfo = read_metainfo(data)
    # qBittorrent names a torrent that has a v2 hash by its first 40 digits.
    torrent_id = (metainfo.infohash_v2 or metainfo.infohash_v1)[:40]
    lab.client.api.torrents_add(
        torrent_files=data, save_path=str(root), is_skip_checking=True, content_layout="Original"
    )
    settle(lab.client.api, [torrent_id], progress=1.0, refreshes=0)
    return torrent_id


def renamed_files(lab: Lab) -> str:
    torrent = lab.seed("Ugly", {"a.mkv": 70 * KIB, "sub/b.srt": 30}, below="renamed", rename="Nice")
    api = lab.client.api
    api.torrents_rename_file(torrent, old_path="Nice/a.mkv", new_path="Nice/A Film (2020).mkv")
    there = lab.seeding / "renamed/Nice/A Film (2020).mkv"
    wait_for(there.exists, "the renamed file")
    return torrent


def without_root(lab: Lab) -> tuple[str, Path]:
    made = make_torrent(lab.home, "flat", {"one.flac": 20 * KIB, "art/front.jpg": 400})
    shared = lab.seeding / "shared"
    hardlink_or_copy(lab.home / "flat", shared)
    (shared / "neighbour.txt").write_text("of somebody else")
    return lab.add(made, shared, no_root_folder=True), shared


def hardlink_or_copy(source: Path, target: Path) -> None:
    for path in source.rglob("*"):
        if path.is_file():
            copy = target / path.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())


def overlapping(lab: Lab) -> tuple[str, str]:
    """A season, and one of its episodes as a torrent of its own, on the same inode."""
    season = lab.seed("Season", {"e1.mkv": 90 * KIB, "e2.mkv": 80 * KIB}, below="overlap")
    single = lab.seeding / "overlap-single"
    hardlink_tree(lab.seeding / "overlap/Season/e1.mkv", single / "e1.mkv")
    made = make_torrent(single, "e1.mkv")
    return season, lab.add(made, single)


def incomplete(lab: Lab) -> str:
    """One piece is wrong, so the client gives the file its suffix for unfinished ones."""
    api = lab.client.api
    api.app_set_preferences({"incomplete_files_ext": True})
    made = make_torrent(lab.seeding / "unfinished", "Half", {"film.mkv": 3 * PIECE_SIZE})
    path = lab.seeding / "unfinished/Half/film.mkv"
    path.write_bytes(b"\0" * PIECE_SIZE + path.read_bytes()[PIECE_SIZE:])
    api.torrents_add(
        torrent_files=made.data, save_path=str(lab.seeding / "unfinished"), is_stopped=True
    )
    settle(api, [made.infohash], refreshes=0)
    api.torrents_recheck([made.infohash])
    unfinished = path.with_name("film.mkv.!qB")
    wait_for(unfinished.exists, "the suffix of unfinished files")
    settle(api, [made.infohash], refreshes=1)
    return made.infohash


def large(lab: Lab) -> str:
    """Takes the client some moments to check, and no room."""
    path = lab.seeding / "large/Large/zeros.bin"
    path.parent.mkdir(parents=True)
    with path.open("wb") as empty:
        empty.truncate(LARGE)
    made = make_torrent(lab.seeding / "large", "Large", None, piece_size=2**20)
    return lab.client.add(made.data, lab.seeding / "large")


def managed(lab: Lab) -> str:
    """Automatic management, and a category with a path for unfinished data."""
    lab.client.api.torrents_create_category(
        "auto",
        save_path=str(lab.seeding / "auto"),
        download_path=str(lab.seeding / "auto-unfinished"),
        enable_download_path=True,
    )
    return lab.seed("Managed", {"m.mkv": 50 * KIB}, below="auto", category="auto", auto_tmm=True)


@dataclass
class World:
    """All shapes, scanned and synced."""

    lab: Lab
    ids: dict[str, str]
    shared: Path
    catalog: Catalog
    client: QBittorrentClient
    result: SyncResult

    def sync(self, client: Any = None) -> SyncResult:
        return sync(client or self.client, Places(self.catalog, MountTable.read()), PathMap())

    def instance(self, name: str) -> TorrentInstance:
        found = self.catalog.payloads.instance(self.ids[name])
        assert found is not None
        return found

    def payload(self, name: str) -> Payload:
        instance = self.instance(name)
        assert instance.payload_id is not None, instance.problem
        return self.catalog.payloads.get(instance.payload_id)

    def members(self, name: str) -> dict[str, int]:
        assert self.payload(name).payload_hash
        return {member.relpath: member.size for member in self.payload(name).members}

    def group(self, name: str) -> set[str]:
        names = {key: shape for shape, key in self.ids.items()}
        return {names[key] for key in self.catalog.payloads.group_of(self.ids[name])}

    def outcome(self, name: str) -> Outcome:
        (found,) = [o for o in self.result.outcomes if o.torrent_id == self.ids[name]]
        return found


@contextmanager
def all_shapes(lab: Lab) -> Iterator[tuple[dict[str, str], Path]]:
    with ExitStack() as stack:
        ids = {
            "single": lab.seed("Lone.mkv", {"": 60 * KIB + 1}, below="single"),
            "folder": lab.seed("Folder", {"a.mkv": 50 * KIB, "b.jpg": 7}, below="folder"),
            "renamed": renamed_files(lab),
            "nested": lab.seed("Nest", {"S1/x/a.mkv": 9000, "S1/b.mkv": 800}, below="a/b/c"),
            "unwanted": shapes.unwanted_files(lab).asked,
            "empty file": shapes.with_an_empty_file(lab).asked,
            "composed": lab.seed("Composed", {COMPOSED: 5000, DECOMPOSED: 6000}, below="unicode"),
            "padded": by_libtorrent(lab, "Padded", {"a": 70_001, "b": 70_002}, V1 | CANONICAL),
            "v2": by_libtorrent(lab, "Two", {"a": 70_003, "b/c": 5}, V2),
            "hybrid": by_libtorrent(lab, "Hybrid", {"a": 70_004, "b/c": 6}, HYBRID),
            "managed": managed(lab),
            "incomplete": incomplete(lab),
            "large": large(lab),
        }
        ids["flat"], shared = without_root(lab)
        ids["season"], ids["episode"] = overlapping(lab)
        made = lab.made[ids["folder"]]
        ids["same path"] = lab.add(sibling(made, "B"), made.root)
        ids["other root"] = lab.cross_seed(ids["folder"], "C", "cross-seed")
        (lab.seeding / "behind").mkdir()
        (lab.seeding / "bind").mkdir()
        stack.enter_context(bind(lab.seeding / "behind", lab.seeding / "bind"))
        ids["bound"] = lab.seed("Bound", {"x.mkv": 4000}, below="bind")
        (lab.seeding / "target").mkdir()
        os.symlink(lab.seeding / "target", lab.seeding / "symlink")
        ids["symlinked"] = lab.seed("Linked", {"x.mkv": 4100}, below="symlink")
        yield ids, shared


@pytest.fixture(scope="module")
def world(version: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with (
        two_sides("shm") as sides,
        RealClient(version, profile=tmp_path_factory.mktemp("client")) as client,
    ):
        lab = Lab(tmp_path_factory.mktemp("home"), *sides, client)
        with all_shapes(lab) as (ids, shared):
            lab.run("hashall", "scan", lab.stash)
            with open_catalog(lab.catalog, create=False) as catalog:
                product = connect(client.url, timeout_s=20)
                result = sync(product, Places(catalog, MountTable.read()), PathMap())
                yield World(lab, ids, shared, catalog, product, result)
                product.close()


MEMBERS = {
    "single": {"Lone.mkv": 60 * KIB + 1},
    "folder": {"a.mkv": 50 * KIB, "b.jpg": 7},
    "same path": {"a.mkv": 50 * KIB, "b.jpg": 7},
    "other root": {"a.mkv": 50 * KIB, "b.jpg": 7},
    "flat": {"one.flac": 20 * KIB, "art/front.jpg": 400},
    "renamed": {"A Film (2020).mkv": 70 * KIB, "sub/b.srt": 30},
    "nested": {"S1/x/a.mkv": 9000, "S1/b.mkv": 800},
    "unwanted": {"film.mkv": 4 * PIECE_SIZE},
    "empty file": {"film.mkv": 150 * KIB, "sub/empty.txt": 0},
    "composed": {COMPOSED: 5000, DECOMPOSED: 6000},
    "padded": {"a": 70_001, "b": 70_002},
    "v2": {"a": 70_003, "b/c": 5},
    "hybrid": {"a": 70_004, "b/c": 6},
    "managed": {"m.mkv": 50 * KIB},
    "season": {"e1.mkv": 90 * KIB, "e2.mkv": 80 * KIB},
    "episode": {"e1.mkv": 90 * KIB},
    "bound": {"x.mkv": 4000},
    "symlinked": {"x.mkv": 4100},
}


@pytest.mark.parametrize("name", MEMBERS)
def test_members_are_what_the_torrent_wants(world: World, name: str) -> None:
    assert world.instance(name).problem is None
    assert world.members(name) == MEMBERS[name]


def test_the_client_tells_how_many_bytes_a_torrent_wants(world: World) -> None:
    """By that a plan notices that a torrent wants other files since the last sync."""
    rows = {torrent.torrent_id: torrent for torrent in world.client.torrents()}

    assert {name: rows[world.ids[name]].size for name in MEMBERS} == {
        name: sum(members.values()) for name, members in MEMBERS.items()
    }


@pytest.mark.parametrize("name", MEMBERS)
def test_each_shape_is_proved_by_its_own_pieces(world: World, name: str) -> None:
    """R-PAY-10"""
    report = pieces_of_torrent(world.client, world.ids[name], PathMap())

    assert report.is_proved, report
    assert report.version == ("v2" if name == "v2" else "v1")


def test_what_moves_together(world: World) -> None:
    together = {"folder", "same path", "other root"}
    for name in together:
        assert world.group(name) == together
    assert world.payload("folder").payload_id == world.payload("other root").payload_id
    assert world.group("season") == world.group("episode") == {"season", "episode"}
    assert world.payload("season").payload_id != world.payload("episode").payload_id
    for name in set(MEMBERS) - together - {"season", "episode"}:
        assert world.group(name) == {name}


def test_an_unfinished_torrent_has_no_payload_and_says_so(world: World) -> None:
    assert world.instance("incomplete").payload_id is None
    assert str(world.outcome("incomplete").problem).startswith("incomplete: ")


def test_a_bind_mount_and_a_symlink_lead_to_the_one_place(world: World) -> None:
    places = Places(world.catalog, MountTable.read())
    for name, real in (("bound", "behind/Bound"), ("symlinked", "target/Linked")):
        place = places.find(world.lab.seeding / real).place
        assert world.payload(name).root_path == place.relpath


def test_v2_torrents_are_found_by_all_their_hashes(world: World) -> None:
    for name in ("v2", "hybrid"):
        instance = world.instance(name)
        assert instance.infohash_v2.startswith(instance.torrent_id)
        for text in {instance.infohash_v1, instance.infohash_v2} - {""}:
            shown = world.lab.json("hashall", "payload", "show", text.upper()[:12])
            assert shown["torrent"]["instance"]["torrent_id"] == instance.torrent_id


def test_no_file_of_a_torrent_is_an_orphan_and_the_neighbour_is(world: World) -> None:
    config = ("--stash-seeding-root", world.lab.seeding)
    found = world.lab.json("hashall", "payload", "orphans", "--grace", "0s", *config)["orphans"]

    assert [Path(o["path"]).name for o in found["files"]] == ["neighbour.txt"]
    assert found["unlisted"] == []


@dataclass(frozen=True)
class AtThatMoment:
    """The client, with an inventory of a certain moment."""

    client: QBittorrentClient
    moment: Inventory

    def inventory(self) -> Inventory:
        return self.moment

    def __getattr__(self, name: str) -> Any:
        return getattr(self.client, name)


def test_a_second_sync_asks_for_nothing(world: World) -> None:
    def calls(result: SyncResult) -> set[str]:
        return {outcome.torrent_id for outcome in result.outcomes} - {world.ids["incomplete"]}

    wait_for(lambda: not calls(world.sync()), "folders that are old enough to be trusted")
    again = world.sync()
    assert (again.torrents, again.unchanged) == (len(world.ids), len(world.ids))


def test_a_file_that_is_renamed_in_the_client_is_followed(world: World) -> None:
    """No inventory shows such a renaming: the folder tells."""
    api, torrent = world.lab.client.api, world.ids["nested"]
    old, new = "Nest/S1/b.mkv", "Nest/S1/renamed.mkv"
    for before, after in ((old, new), (new, old)):
        api.torrents_rename_file(torrent, old_path=before, new_path=after)
        wait_for((world.lab.seeding / "a/b/c" / after).exists, "the new name")
        world.sync()
        assert world.instance("nested").problem is None
        assert after.removeprefix("Nest/") in world.members("nested")


def test_verify_tells_a_changed_byte_by_piece_and_by_hash(world: World) -> None:
    path = world.lab.seeding / "single/Lone.mkv"
    content = path.read_bytes()
    seen = path.stat()
    arguments: tuple[Any, ...] = ("hashall", "payload", "verify", world.ids["single"])
    assert world.lab.json(*arguments, "--sample", "5%")["verification"]["pieces"]["checked"] == 1
    try:
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns))
        wrong = world.lab.json(*arguments, "--pieces", expect=1)["verification"]["pieces"]
        assert wrong["files_in_bad"] == [str(path)]
        other = world.lab.json(*arguments, expect=1)["verification"]
        assert [fault["path"] for fault in other["faults"]] == [str(path)]
    finally:
        path.write_bytes(content)
        os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    assert "as it should be" in world.lab.run(*arguments).stdout
