"""SIGKILL of `rehome apply` before and after everything it does; one command ends it correctly."""

from __future__ import annotations

import random
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import pytest
from tests.support import checker
from tests.support.crash_stage import Stage, end, judge, staged
from tests.support.filesystems import lab_folder
from tests.support.qbt import VERSIONS, RealClient
from tests.support.simulated import SimulatedClient

REFRESH_S = 0.05
PARTS = 6  # so that several processes share the work
SEED = 20261121
DOZEN = 12


def simulated(version: str, folder: Path) -> SimulatedClient:
    profile = folder / "client"
    profile.mkdir()
    return SimulatedClient(version, profile=profile, refresh_s=REFRESH_S)


@cache
def crossings(version: str) -> list[str]:
    """What an undisturbed run crosses; the kill points."""
    with (
        lab_folder() as folder,
        simulated(version, folder) as client,
        staged(folder, client) as stage,
    ):
        names = stage.count()
        judge(stage, rolled_back=False)
    return names


class Stages:
    """A stage for each kill; one that was taken back is as it was, and serves again."""

    def __init__(self, version: str) -> None:
        self._version = version
        self._open = ExitStack()
        self._stage: tuple[SimulatedClient, Stage] | None = None

    def __enter__(self) -> Stages:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def next(self) -> tuple[SimulatedClient, Stage]:
        if self._stage is None:
            folder = self._open.enter_context(lab_folder())
            client = self._open.enter_context(simulated(self._version, folder))
            self._stage = client, self._open.enter_context(staged(folder, client))
        self._stage[0].forget_states()
        return self._stage

    def used_up(self) -> None:
        self._open.close()
        self._stage = None


def crash(stage: Stage, point: int, name: str) -> None:
    ended = stage.apply(kill_at=point)
    assert ended.code is None, f"not killed at {name}\n{ended.output}"
    checker.no_byte_is_lost(stage.lab, stage.before)


@pytest.mark.chaos
@pytest.mark.parametrize("how", ["resume", "rollback"])
@pytest.mark.parametrize("part", range(PARTS))
def test_a_kill_at_any_point_is_ended_by_one_command(how: str, part: int) -> None:
    version = VERSIONS[part % 2]
    names = crossings(version)
    assert len(names) > 60
    with Stages(version) as stages:
        for point in range(part, len(names), PARTS):
            client, stage = stages.next()
            crash(stage, point, names[point])
            rolled_back = end(stage, how)
            judge(stage, rolled_back=rolled_back)
            for torrent in stage.group:
                shown = client.states_of(torrent)
                bad = [s for s in shown if s.startswith(checker.BAD_STATES)]
                assert not bad, f"killed {names[point]}: {shown}"
            if not rolled_back:
                stages.used_up()


@pytest.mark.chaos
@pytest.mark.parametrize("how", ["resume", "rollback"])
@pytest.mark.parametrize("part", range(PARTS))
def test_the_client_may_have_been_restarted_meanwhile(how: str, part: int) -> None:
    version = VERSIONS[part % 2]
    names = crossings(version)
    with Stages(version) as stages:
        for point in range(part, len(names), PARTS * 2):
            client, stage = stages.next()
            crash(stage, point, names[point])
            client.restart()
            stage.client_was_killed = True
            rolled_back = end(stage, how)
            judge(stage, rolled_back=rolled_back)
            if not rolled_back:
                stages.used_up()


@pytest.mark.chaos
@pytest.mark.real
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("half", [0, 1])
def test_a_seeded_dozen_on_the_real_client(tmp_path: Path, version: str, half: int) -> None:
    names = crossings(version)
    chosen = random.Random(f"{SEED} {version}").sample(range(len(names)), DOZEN)
    for number, point in list(enumerate(chosen))[half::2]:
        folder = tmp_path / str(point)
        folder.mkdir()
        how = "resume" if number // 2 % 2 == 0 else "rollback"
        with (
            RealClient(version, profile=folder / "client") as client,
            staged(folder, client) as stage,
        ):
            ended = stage.apply(kill_at=point)
            assert ended.code is None, f"not killed at {names[point]}\n{ended.output}"
            if number % 3 == 0:
                client.kill()
                client.start()
                stage.client_was_killed = True
            judge(stage, rolled_back=end(stage, how))
