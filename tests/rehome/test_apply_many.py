"""Many groups in one `apply`: each all or none, waits shared, one failure its own affair."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, time, timedelta
from time import sleep as pause

import pytest
from tests.support.relocating import (
    NO_WAIT,
    SimulatedLab,
    changes,
    killed_in,
    seed_family,
)

from hashall.catalog.runs import RunStatus
from rehome.batch import Scope
from rehome.executor import RolledBack
from rehome.model import Direction, Plan, Relocate, StartTorrents, Step, StopTorrents
from rehome.outcome import Outcome, Watch, Wishes
from rehome.pace import Throttle, Window
from rehome.planning import StalePlan
from rehome.switch import ClientSwitch, WouldDownload
from rehome.verify import Checks
from rehome.world import World, WrongBytes
from seedkeep import clock
from seedkeep.console import Interrupted
from seedkeep.errors import Unreachable

NAMES = ("one", "two", "three")


def wishes(**more: object) -> Wishes:
    return Wishes(**{"retain": NO_WAIT, "reason": "a test", **more})  # type: ignore[arg-type]


@pytest.fixture
def plans(lab: SimulatedLab) -> list[Plan]:
    """Three groups with a folder in common that the pool does not have yet."""
    torrents = [lab.seed(name, {f"{name}.mkv": 50_000}, below="films") for name in NAMES]
    lab.look()
    lab.client.forget_states()
    return [lab.plan(torrent) for torrent in torrents]


def apply(lab: SimulatedLab, plans: Sequence[Plan], **more: object) -> Outcome:
    with lab.app() as app:
        return app.apply_all(plans, wishes(**more), Watch())


def sides(lab: SimulatedLab) -> list[str]:
    return [
        "pool" if str(row["save_path"]).startswith(str(lab.pool)) else "stash"
        for row in lab.rows().values()
    ]


def statuses(lab: SimulatedLab) -> list[RunStatus]:
    with lab.app() as app:
        return [row.status for row in app.runs()]


@contextmanager
def failing(
    kind: type[Step], error: Callable[[Step], BaseException | None], *, times: int = 1
) -> Iterator[None]:
    """Let the client's part of a step fail for those steps that `error` has an error for."""
    perform = World.perform_together
    left = times

    def performed(self: World, steps: Sequence[Step]) -> None:
        nonlocal left
        for step in steps:
            why = error(step) if left and type(step) is kind else None
            if why is not None:
                left -= 1
                raise why
        perform(self, steps)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(World, "perform_together", performed)
        yield


def asks_for(step: Step, plan: Plan) -> bool:
    move = plan.torrents[0]
    return move.torrent_id in repr(step)


def test_all_groups_move_each_under_its_own_run(lab: SimulatedLab, plans: list[Plan]) -> None:
    done = apply(lab, plans)
    assert [item.run_id for item in done.ended] == [1, 2, 3]
    assert not done.failed
    assert statuses(lab) == [RunStatus.RETIRED] * 3
    assert sides(lab) == ["pool"] * 3
    assert lab.bad_states() == set()
    assert lab.own_debris() == []


def test_the_client_is_told_of_all_groups_at_once(lab: SimulatedLab, plans: list[Plan]) -> None:
    lab.client.server.counts.clear()
    apply(lab, plans)
    assert lab.client.requests("torrents/stop") + lab.client.requests("torrents/pause") == 1
    # Once for the folder of both sides each; the groups share theirs.
    assert lab.client.requests("torrents/setLocation") == 2 + 1


@pytest.mark.parametrize("kind", [StopTorrents, Relocate, StartTorrents])
def test_promise_4_a_group_that_fails_goes_back_and_the_others_go_on(
    lab: SimulatedLab, plans: list[Plan], kind: type[Step]
) -> None:
    bad = plans[1]
    with failing(kind, lambda s: OSError("broken") if asks_for(s, bad) else None, times=2):
        done = apply(lab, plans)
    assert [isinstance(item.error, RolledBack) for item in done.ended] == [False, True, False]
    assert sides(lab).count("pool") == 2
    assert lab.rows()[bad.torrents[0].torrent_id]["save_path"] == str(lab.seeding / "films")
    assert lab.bad_states() == set()
    assert lab.own_debris() == []
    assert statuses(lab) == [RunStatus.RETIRED, RunStatus.ROLLED_BACK, RunStatus.RETIRED]


def test_promise_3_a_torrent_that_would_download_takes_only_its_own_group_back(
    lab: SimulatedLab, plans: list[Plan]
) -> None:
    culprit = plans[0].torrents[0].torrent_id
    start = ClientSwitch.start
    asked: list[int] = []

    def started(self: ClientSwitch, torrents: Sequence[object]) -> None:
        asked.append(len(torrents))
        if len(torrents) == 3:
            why = WouldDownload("it wants bytes")
            why.torrents = frozenset({culprit})
            raise why
        start(self, torrents)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ClientSwitch, "start", started)
        done = apply(lab, plans)
    assert asked[:2] == [3, 2]  # the others again, without it
    assert [item.error is None for item in done.ended] == [False, True, True]
    assert lab.bad_states() == set()


def test_when_the_client_is_gone_no_further_group_is_begun(
    lab: SimulatedLab, plans: list[Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rehome.lanes.MOST_TOGETHER", 1)
    with failing(StopTorrents, lambda _: Unreachable("nobody answers"), times=99):
        done = apply(lab, plans)
    assert len(done.ended) == 1
    assert (len(done.left), done.left_because) == (2, "qBittorrent does not answer")


def test_a_stale_group_does_not_stop_the_others(lab: SimulatedLab, plans: list[Plan]) -> None:
    (lab.seeding / "films/two/two.mkv").write_bytes(b"other bytes")
    done = apply(lab, plans)
    assert isinstance(done.ended[1].error, StalePlan)
    assert done.ended[1].run_id is None
    assert sides(lab).count("pool") == 2


def test_fail_fast_begins_no_group_after_one_that_failed(
    lab: SimulatedLab, plans: list[Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rehome.lanes.MOST_TOGETHER", 1)
    (lab.seeding / "films/one/one.mkv").write_bytes(b"other bytes")
    done = apply(lab, plans, fail_fast=True)
    assert [len(done.ended), len(done.left)] == [1, 2]
    assert done.left_because == "--fail-fast"


def test_no_more_groups_are_begun_than_asked_for(lab: SimulatedLab, plans: list[Plan]) -> None:
    done = apply(lab, plans, max_groups=2)
    assert [plan.asked_for for plan in done.left] == [plans[2].asked_for]
    assert done.left_because == "--max-groups 2"
    rest = apply(lab, plans, max_groups=1)  # the same plan again: what is done does not count
    assert [item.run_id for item in rest.ended] == [None, None, 3]
    assert not rest.failed
    assert not rest.left


def test_promise_7_after_a_kill_in_the_middle_one_command_goes_on_with_all(
    lab: SimulatedLab, plans: list[Plan]
) -> None:
    number = sum(len(plan.steps) for plan in plans) - 6  # after the first files were placed
    with killed_in(number, afterwards=True), lab.app() as app:
        app.apply_all(plans, wishes(), Watch())
    with lab.app() as app:
        assert app.open_runs() == [1, 2, 3]
        assert [item.error for item in app.resume_all(app.open_runs(), Watch())] == [None] * 3
    assert sides(lab) == ["pool"] * 3
    assert lab.own_debris() == []
    assert lab.bad_states() == set()


def test_promise_7_after_a_kill_in_the_middle_one_command_takes_all_back(
    lab: SimulatedLab, plans: list[Plan]
) -> None:
    before = lab.seen()
    number = sum(len(plan.steps) for plan in plans) - 6
    with killed_in(number, afterwards=True), lab.app() as app:
        app.apply_all(plans, wishes(), Watch())
    with lab.app() as app:
        assert [item.error for item in app.rollback_all(app.open_runs(), Watch())] == [None] * 3
    assert changes(before, lab.seen()) == []
    assert lab.own_debris() == []


def test_an_interruption_takes_back_what_has_not_committed(
    lab: SimulatedLab, plans: list[Plan]
) -> None:
    before = lab.seen()
    with (
        failing(StartTorrents, lambda _: KeyboardInterrupt()),
        pytest.raises(Interrupted),
    ):
        apply(lab, plans)
    assert changes(before, lab.seen()) == []
    assert statuses(lab) == [RunStatus.ROLLED_BACK] * 3


# -- what one group brings and another one has too


@pytest.mark.parametrize(("floor", "groups"), [("10KiB", 2), ("0", 1)])
def test_a_small_file_that_two_releases_have_does_not_make_one_group_of_them(
    lab: SimulatedLab, monkeypatch: pytest.MonkeyPatch, floor: str, groups: int
) -> None:
    """The second one is planned again when the first one has brought the file to the pool."""
    monkeypatch.setattr("rehome.lanes.MOST_TOGETHER", 1)
    nfo = b"greetings from the group"
    two = [lab.seed(name, {f"{name}.mkv": 50_000, "group.nfo": nfo}) for name in ("One", "Two")]
    lab.look()
    with lab.app(REHOME_REUSE_FLOOR=floor) as app:
        made = app.plan_batch(Scope(all_eligible=True, limit=9), Direction.DEMOTE)
        assert not app.apply_all(made.executable, wishes(), Watch()).failed
    names = [lab.pool_seeding / name / "group.nfo" for name in ("One", "Two")]
    assert [path.read_bytes() for path in names] == [nfo] * 2
    assert len({path.stat().st_ino for path in names}) == groups
    lab.look()
    with lab.app() as app:
        assert len({app.catalog.payloads.group_of(torrent) for torrent in two}) == groups


def test_a_large_file_that_two_releases_have_is_copied_once(
    lab: SimulatedLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rehome.lanes.MOST_TOGETHER", 1)
    track = bytes(range(256)) * 100
    for name in ("One", "Two"):
        lab.seed(name, {f"{name}.mkv": 50_000, "track.flac": track})
    lab.look()
    with lab.app() as app:
        made = app.plan_batch(Scope(all_eligible=True, limit=9), Direction.DEMOTE)
        assert not app.apply_all(made.executable, wishes(), Watch()).failed
    inodes = {(lab.pool_seeding / name / "track.flac").stat().st_ino for name in ("One", "Two")}
    assert len(inodes) == 1


# -- looking once more before the commit


@pytest.mark.parametrize(
    "checks", [Checks(spot_check=9), Checks(verify_hash=True), Checks(pieces=True)]
)
def test_what_is_checked_before_the_commit_and_differs_takes_the_run_back(
    lab: SimulatedLab, plans: list[Plan], checks: Checks
) -> None:
    """A pool that loses what it was given."""
    placed = lab.pool_seeding / "films/one/one.mkv"

    def spoil(_step: Step) -> None:
        if placed.exists():
            placed.write_bytes(bytes(50_000))

    with failing(StartTorrents, spoil):
        done = apply(lab, plans[:1], checks=checks)
    assert isinstance(done.failed[0].error, RolledBack)
    assert isinstance(done.failed[0].error.__cause__, WrongBytes)
    assert sides(lab) == ["stash"] * 3


@pytest.mark.parametrize(
    "checks", [Checks(spot_check=9), Checks(verify_hash=True), Checks(pieces=True)]
)
def test_a_run_that_is_resumed_is_checked_as_its_apply_was_asked_to(
    lab: SimulatedLab, plans: list[Plan], checks: Checks
) -> None:
    """The flags are in the journal: whoever resumes need not know them."""
    placed = lab.pool_seeding / "films/one/one.mkv"
    with killed_in(len(plans[0].steps) - 1, afterwards=False), lab.app() as app:
        app.apply_all(plans[:1], wishes(checks=checks), Watch())

    def spoil(_step: Step) -> None:
        if placed.exists():
            placed.write_bytes(bytes(50_000))

    with failing(StartTorrents, spoil), lab.app() as app:
        (ended,) = app.resume_all(app.open_runs(), Watch())
    assert isinstance(ended.error, RolledBack)
    assert isinstance(ended.error.__cause__, WrongBytes)
    assert sides(lab) == ["stash"] * 3


def test_a_run_that_was_not_to_be_checked_is_resumed_without(
    lab: SimulatedLab, plans: list[Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    with killed_in(len(plans[0].steps) - 1, afterwards=False), lab.app() as app:
        app.apply_all(plans[:1], wishes(), Watch())
    monkeypatch.setattr("rehome.verify.verify_bytes", None)
    with lab.app() as app:
        assert [item.error for item in app.resume_all(app.open_runs(), Watch())] == [None]


def scans_of(lab: SimulatedLab) -> set[tuple[str, str]]:
    """Where scans began, and when the newest did."""
    with lab.app() as app:
        return {(path, began) for _device, path, began, _completed in app.catalog.scans.roots()}


def test_the_folders_left_and_reached_are_scanned_if_that_was_asked_for(
    lab: SimulatedLab, plans: list[Plan]
) -> None:
    before = scans_of(lab)
    apply(lab, plans[:1], rescan=True)
    scanned = scans_of(lab)
    assert len(scanned - before) == 2  # on stash and on the pool
    apply(lab, plans[1:])
    assert scans_of(lab) == scanned


@pytest.mark.parametrize("rescan", [True, False])
def test_a_run_that_is_resumed_scans_afterwards_if_its_apply_was_asked_to(
    lab: SimulatedLab, plans: list[Plan], rescan: bool
) -> None:
    with killed_in(len(plans[0].steps) - 1, afterwards=False), lab.app() as app:
        app.apply_all(plans[:1], wishes(rescan=rescan), Watch())
    before = scans_of(lab)
    with lab.app() as app:
        app.resume_all(app.open_runs(), Watch())
    assert len(scans_of(lab) - before) == (2 if rescan else 0)


def test_a_run_that_was_rolled_back_scans_nothing_when_it_is_resumed(
    lab: SimulatedLab, plans: list[Plan]
) -> None:
    with killed_in(3, afterwards=False), lab.app() as app:
        app.apply_all(plans[:1], wishes(rescan=True), Watch())
    with lab.app() as app:
        runs = app.open_runs()
        app.rollback_all(runs, Watch())
    before = scans_of(lab)
    with lab.app() as app:
        app.resume_all(runs, Watch())
    assert scans_of(lab) == before


@pytest.mark.parametrize("checks", [Checks(spot_check=9), Checks(pieces=True)])
def test_what_is_checked_and_right_is_committed(
    lab: SimulatedLab, plans: list[Plan], checks: Checks
) -> None:
    assert not apply(lab, plans[:1], checks=checks).failed


def test_a_sample_has_each_content_once_and_is_the_same_every_time(lab: SimulatedLab) -> None:
    plan = lab.plan(seed_family(lab).plain)
    contents = {item.sha256 for item in plan.retire}
    assert len(Checks(verify_hash=True).chosen(plan)) == len(contents) == 3
    assert Checks(spot_check=2).chosen(plan) == Checks(spot_check=2).chosen(plan)
    assert len(Checks(spot_check=2).chosen(plan)) == 2
    assert Checks().chosen(plan) == []


# -- pace


def test_outside_its_window_no_group_is_begun(lab: SimulatedLab, plans: list[Plan]) -> None:
    local = clock.now().astimezone()
    window = Window((local - timedelta(hours=3)).time(), (local - timedelta(hours=2)).time())
    slept: list[float] = []
    with lab.app() as app, clock.using(sleep=slept.append):
        done = app.apply_all(plans, wishes(window=window), Watch())
    assert 20 * 3600 < slept[0] < 22 * 3600
    assert len(done.left) == 3
    assert "has closed" in done.left_because
    assert sides(lab) == ["stash"] * 3


def test_inside_its_window_groups_are_begun_at_once(lab: SimulatedLab, plans: list[Plan]) -> None:
    local = clock.now().astimezone()
    window = Window((local - timedelta(hours=1)).time(), (local + timedelta(hours=2)).time())
    assert not apply(lab, plans, window=window).left


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("01:00-07:00", ["01:00", "06:59"], ["00:59", "07:00"]),
        ("22:00-06:00", ["22:00", "23:59", "00:00", "05:59"], ["06:00", "21:59"]),
        ("00:00-24:00", ["00:00", "23:59"], []),
        ("20:00-24:00", ["23:59"], ["00:00", "19:59"]),
    ],
)
def test_a_window_may_reach_over_midnight(text: str, inside: list[str], outside: list[str]) -> None:
    window = Window.parse(text)

    def at(moment: str) -> datetime:
        return datetime.combine(datetime.now().astimezone().date(), time.fromisoformat(moment))

    assert all(window.is_open(at(moment)) for moment in inside)
    assert not any(window.is_open(at(moment)) for moment in outside)
    for moment in outside:
        assert window.is_open(at(moment) + window.opens_in(at(moment)))


@pytest.mark.parametrize("text", ["", "1-2", "25:00-01:00", "01:60-02:00", "03:00-03:00"])
def test_what_is_no_window_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        Window.parse(text)


def test_a_limit_holds_over_time_and_pauses_are_not_saved_up() -> None:
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    with clock.using(monotonic=lambda: now[0], sleep=sleep):
        throttle = Throttle(1000)
        for _ in range(50):
            throttle.passed(100)
        assert now[0] == pytest.approx(5.0, abs=0.1)
        now[0] += 60
        throttle.passed(1000)
        assert now[0] == pytest.approx(66.0, abs=0.2)


def test_a_copy_is_no_faster_than_the_limit(lab: SimulatedLab, plans: list[Plan]) -> None:
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        pause(min(seconds, 0.01))

    with clock.using(sleep=sleep):
        apply(lab, plans[:1], bytes_per_s=10_000)
    assert max(slept) == pytest.approx(5.0, abs=0.5)


def longest_sleep_of_resuming(lab: SimulatedLab) -> float:
    slept = [0.0]

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        pause(min(seconds, 0.01))

    with lab.app() as app, clock.using(sleep=sleep):
        assert not any(item.error for item in app.resume_all(app.open_runs(), Watch()))
    return max(slept)


def test_a_run_that_is_resumed_copies_no_faster_than_its_apply_was_allowed_to(
    lab: SimulatedLab, plans: list[Plan]
) -> None:
    with killed_in(1, afterwards=False), lab.app() as app:
        app.apply_all(plans[:1], wishes(bytes_per_s=10_000), Watch())
    assert longest_sleep_of_resuming(lab) == pytest.approx(5.0, abs=0.5)


def test_of_several_runs_that_are_resumed_the_lowest_limit_holds(
    lab: SimulatedLab, plans: list[Plan]
) -> None:
    for plan, limit in zip(plans, (None, 10_000, 25_000), strict=True):
        with killed_in(0, afterwards=False), lab.app() as app:
            app.apply_all([plan], wishes(bytes_per_s=limit), Watch())
    assert longest_sleep_of_resuming(lab) == pytest.approx(15.0, abs=0.5)  # 3 * 50 kB at 10 kB/s


def test_a_run_without_a_limit_is_resumed_without(lab: SimulatedLab, plans: list[Plan]) -> None:
    with killed_in(1, afterwards=False), lab.app() as app:
        app.apply_all(plans[:1], wishes(), Watch())
    assert longest_sleep_of_resuming(lab) < 1


def test_moments_are_aware() -> None:
    assert Window.parse("00:00-24:00").is_open(datetime(2026, 11, 21, 12, tzinfo=UTC))
