"""Waiting for the client: nothing is believed before it lasts, and nothing may download."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from tests.support.facts_builder import torrent_id
from tests.support.listed_client import ListedClient

from rehome.model import CheckFiles, ProveFolder, Relocate, Running, SetManagement, Was
from rehome.switch import ClientSwitch, InTheWay, NotSettled, Unproved, WouldDownload
from seedkeep import clock
from seedkeep.errors import Partial
from seedkeep.torrent_client import Torrent, TorrentState

ONE, TWO = torrent_id(1), torrent_id(2)
UP, STOPPED = TorrentState.STALLED_UP, TorrentState.STOPPED_UP
MISSING, BUSY = TorrentState.MISSING_FILES, TorrentState.CHECKING_RESUME_DATA
TIMEOUT_S = 10.0


@dataclass
class Script(ListedClient):
    """Does as it is told at once, except where a test plays a scene; time passes only in sleep."""

    now_s: float = 0.0
    done: list[tuple[Any, ...]] = field(default_factory=list)
    scene: Callable[[float, Torrent], dict[str, Any]] = lambda _now, _torrent: {}
    makes_folders: bool = True

    def torrents(self, ids: Collection[str] | None = None) -> list[Torrent]:
        listed = super().torrents(ids)
        return [replace(torrent, **self.scene(self.now_s, torrent)) for torrent in listed]

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds

    def _each(self, ids: Collection[str], what: str, **changes: Any) -> None:
        self.done += [(what, torrent_id) for torrent_id in sorted(ids)]
        for key in ids:
            self.change(key, **changes)

    def stop(self, ids: Collection[str]) -> None:
        self._each(ids, "stop", state=STOPPED)

    def start(self, ids: Collection[str]) -> None:
        self._each(ids, "start", state=UP)

    def look_again(self, ids: Collection[str]) -> None:
        self._each(ids, "look", state=STOPPED)

    def recheck(self, ids: Collection[str]) -> None:
        self._each(ids, "check", state=STOPPED, progress=1.0)

    def set_force_start(self, ids: Collection[str], on: bool) -> None:
        self._each(ids, "force", state=TorrentState.FORCED_UP, force_start=on)

    def set_auto_management(self, ids: Collection[str], on: bool) -> None:
        self._each(ids, f"manage {on}", auto_tmm=on)

    def set_download_paths(self, paths: Mapping[str, str]) -> None:
        for key, path in paths.items():
            assert not self.rows[key].auto_tmm, "the client would answer yes and do nothing"
            self._each([key], f"download path {path!r}", download_path=path)

    def set_locations(self, places: Mapping[str, str]) -> None:
        for key, path in places.items():
            self._each([key], f"move to {path}", save_path=path)

    def make_folder(self, path: str) -> None:
        if self.makes_folders:
            Path(path).mkdir()


@pytest.fixture
def client() -> Iterator[Script]:
    script = Script()
    script.put(1, "/stash", {"F/a": 5})
    script.put(2, "/stash/x", {"F/a": 5})
    with clock.using(monotonic=lambda: script.now_s, sleep=script.sleep):
        yield script


def switch(client: Script) -> ClientSwitch:
    return ClientSwitch(client, TIMEOUT_S)


@contextmanager
def within(client: Script, seconds: float) -> Iterator[None]:
    began = client.now_s
    yield
    assert client.now_s - began <= seconds


def was(running: Running, *ids: str) -> tuple[Was, ...]:
    return tuple(Was(key, running) for key in ids or (ONE,))


# -- stopping and starting


def test_torrents_that_are_at_rest_are_stopped_at_once(client: Script) -> None:
    with within(client, 0):
        switch(client).stop(was(Running.RUNNING, ONE, TWO))
    assert client.done == [("stop", ONE), ("stop", TWO)]


def test_a_torrent_that_is_being_checked_is_waited_for_before_it_is_stopped(client: Script) -> None:
    client.scene = lambda now, _t: {"state": BUSY} if now < 3 else {}
    switch(client).stop(was(Running.RUNNING))
    assert 3 <= client.now_s < 4
    assert client.done == [("stop", ONE)]


def test_a_torrent_that_never_comes_to_rest_is_an_error_that_describes_it(client: Script) -> None:
    client.scene = lambda _now, _t: {"state": TorrentState.MOVING}
    with pytest.raises(NotSettled, match="within 10 s") as why:
        switch(client).stop(was(Running.RUNNING))
    assert f"{ONE} moving 100.0% at /stash" in why.value.detail
    assert client.done == []


def test_a_torrent_that_is_gone_is_not_settled(client: Script) -> None:
    client.remove(TWO)
    with pytest.raises(NotSettled) as why:
        switch(client).rest([ONE, TWO])
    assert "of 2 torrents it shows 1" in why.value.detail


def test_nothing_to_wait_for_takes_no_time(client: Script) -> None:
    with within(client, 0):
        switch(client).rest([])


@pytest.mark.parametrize(
    ("running", "what"),
    [(Running.RUNNING, "start"), (Running.FORCED, "force"), (Running.STOPPED, "stop")],
)
def test_each_torrent_gets_back_the_kind_of_state_it_had(
    client: Script, running: Running, what: str
) -> None:
    client.change(ONE, state=STOPPED)
    switch(client).start(was(running))
    assert client.done == [(what, ONE)]


def test_a_state_is_believed_only_after_it_lasted_two_refreshes(client: Script) -> None:
    """Trap 5: it shows 100 % and can still fall back one refresh later."""
    client.scene = lambda now, _t: {"state": BUSY, "progress": 0.0} if 1 < now < 2 else {}
    switch(client).start(was(Running.RUNNING))
    assert client.now_s >= 2 + 2 * client.refresh_interval()


def test_a_torrent_that_waits_in_the_queue_runs(client: Script) -> None:
    client.scene = lambda _now, _t: {"state": TorrentState.QUEUED_UP}
    switch(client).start(was(Running.RUNNING))
    assert client.done == [("start", ONE)]


def test_a_forced_torrent_that_is_not_forced_again_is_not_settled(client: Script) -> None:
    client.scene = lambda _now, _t: {"force_start": False}
    with pytest.raises(NotSettled, match="seed again"):
        switch(client).start(was(Running.FORCED))


# -- downloading


@pytest.mark.parametrize(
    "state",
    [
        TorrentState.DOWNLOADING,
        TorrentState.STALLED_DL,
        TorrentState.QUEUED_DL,
        TorrentState.FORCED_DL,
        TorrentState.META_DL,
    ],
)
def test_promise_3_a_torrent_that_begins_to_download_is_stopped_at_once_with_all_the_others(
    client: Script, state: TorrentState
) -> None:
    client.scene = lambda _now, t: {"state": state} if t.torrent_id == TWO else {}
    with within(client, 0), pytest.raises(WouldDownload) as why:
        switch(client).start(was(Running.RUNNING, ONE, TWO))
    assert client.done[-2:] == [("stop", ONE), ("stop", TWO)]
    assert TWO in why.value.detail
    assert ONE not in why.value.detail


def test_promise_3_a_download_that_begins_while_we_wait_is_seen_within_a_poll(
    client: Script,
) -> None:
    client.scene = lambda now, _t: {"state": BUSY if now < 2 else TorrentState.DOWNLOADING}
    with within(client, 2.2), pytest.raises(WouldDownload):
        switch(client).start(was(Running.RUNNING))
    assert client.done[-1] == ("stop", ONE)


# -- files that the client lost sight of


def test_a_stopped_torrent_that_misses_its_files_looks_again_and_stays_stopped(
    client: Script,
) -> None:
    client.change(ONE, state=MISSING)
    switch(client).start(was(Running.STOPPED))
    assert client.done == [("look", ONE), ("stop", ONE)]


def test_a_running_torrent_that_misses_its_files_is_started_only_when_it_is_whole(
    client: Script,
) -> None:
    client.change(ONE, state=MISSING)
    switch(client).start(was(Running.RUNNING))
    assert client.done == [("look", ONE), ("start", ONE)]


def test_promise_3_what_the_client_forgot_is_checked_and_never_started_before(
    client: Script,
) -> None:
    client.change(ONE, state=MISSING, progress=0.0)
    switch(client).start(was(Running.RUNNING))
    assert client.done == [("look", ONE), ("check", ONE), ("start", ONE)]


def test_a_torrent_that_goes_on_missing_its_files_is_an_error(client: Script) -> None:
    client.scene = lambda _now, _t: {"state": MISSING, "progress": 0.0}
    with pytest.raises(NotSettled, match="does not find the files") as why:
        switch(client).start(was(Running.RUNNING))
    assert "missingFiles" in why.value.detail
    assert ("start", ONE) not in client.done


# -- relocating

MOVE = Relocate(ONE, "/stash", "/pool", "/nowhere/stash", "/nowhere/pool", ("F/a",), ())


def test_a_torrent_is_told_its_new_place(client: Script) -> None:
    switch(client).relocate([MOVE])
    assert client.done == [("move to /pool", ONE)]


def test_a_torrent_that_is_there_already_is_not_told_again(client: Script) -> None:
    client.change(ONE, save_path="/pool/")
    switch(client).relocate([MOVE])
    assert client.done == []


def test_a_place_that_never_shows_is_an_error(client: Script) -> None:
    client.scene = lambda _now, _t: {"save_path": "/stash"}
    switch(client).relocate([MOVE])
    with pytest.raises(NotSettled, match="show every torrent at its new place"):
        switch(client).await_places({MOVE.torrent_id: MOVE.client_to})


@pytest.mark.parametrize("side", ["from", "to"])
@pytest.mark.parametrize("kind", ["file", "broken symlink"])
def test_promise_5_files_on_either_side_stop_a_relocation_before_the_client_is_told(
    client: Script, tmp_path: Path, side: str, kind: str
) -> None:
    roots = {"from": tmp_path / "stash", "to": tmp_path / "pool"}
    (roots[side] / "F").mkdir(parents=True)
    there = roots[side] / "F/a"
    if kind == "file":
        there.write_text("x")
    else:
        there.symlink_to("nowhere")
    step = replace(MOVE, from_root=str(roots["from"]), to_root=str(roots["to"]))
    with pytest.raises(InTheWay, match="appeared while"):
        switch(client).relocate([step])
    assert client.done == []


# -- management


def test_management_ends_before_the_download_path_is_cleared(client: Script) -> None:
    client.change(ONE, auto_tmm=True, download_path="/tmp")
    switch(client).manage([SetManagement(ONE, False, "", True, "/tmp")])
    assert client.done == [("manage False", ONE), ("download path ''", ONE)]


def test_management_that_is_given_back_brings_its_own_download_path(client: Script) -> None:
    switch(client).manage([SetManagement(ONE, False, "", True, "/tmp").inverse()])  # type: ignore[list-item]
    assert client.done == [("manage True", ONE)]


def test_a_download_path_is_given_back(client: Script) -> None:
    switch(client).manage([SetManagement(ONE, False, "", False, "/tmp").inverse()])  # type: ignore[list-item]
    assert client.done == [("download path '/tmp'", ONE)]


def test_what_is_as_it_should_be_is_not_set_again(client: Script) -> None:
    switch(client).manage([SetManagement(ONE, False, "", True, "")])
    client.change(ONE, auto_tmm=True)
    switch(client).manage([SetManagement(ONE, True, "", False, "")])
    assert client.done == []


# -- looking on the disk


def test_files_with_their_sizes_are_whole(client: Script, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("12345")
    switch(client).check(CheckFiles(str(tmp_path), (("a", 5),)))


@pytest.mark.parametrize(("kind", "found"), [("missing", "nothing"), ("short", "4 bytes")])
def test_progress_in_the_client_is_no_proof_of_data(
    client: Script, tmp_path: Path, kind: str, found: str
) -> None:
    if kind == "short":
        (tmp_path / "a").write_text("1234")
    with pytest.raises(Partial, match="a is not complete") as why:
        switch(client).check(CheckFiles(str(tmp_path), (("a", 5),)))
    assert why.value.detail == f"{found}, not 5 bytes"


# -- one folder under two names


def test_a_folder_that_the_client_makes_and_we_see_is_proved(
    client: Script, tmp_path: Path
) -> None:
    with within(client, 0):
        switch(client).prove_folder(ProveFolder(str(tmp_path / "p"), str(tmp_path / "p")))


def test_promise_8_a_folder_that_we_do_not_see_proves_nothing(
    client: Script, tmp_path: Path
) -> None:
    (tmp_path / "container").mkdir()
    step = ProveFolder(str(tmp_path / "p"), str(tmp_path / "container/p"))
    with pytest.raises(Unproved) as why:
        switch(client).prove_folder(step)
    assert why.value.code == "path-map-unproved"
    assert "path_map" in why.value.hint


def test_a_folder_that_is_there_already_proves_nothing(client: Script, tmp_path: Path) -> None:
    with pytest.raises(InTheWay, match="exists already"):
        switch(client).prove_folder(ProveFolder(str(tmp_path), str(tmp_path)))
