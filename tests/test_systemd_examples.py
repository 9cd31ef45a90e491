"""The units in examples/systemd are right for systemd, and call commands that exist."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from qbt_rules import service_manager, supervisor

UNITS = Path(__file__).parents[1] / "examples" / "systemd"
SERVICES = sorted(path.name for path in UNITS.glob("*.service"))
HARDENED = {
    *("NoNewPrivileges=yes", "PrivateTmp=yes", "ProtectSystem=strict", "ProtectHome=yes"),
    *("CapabilityBoundingSet=", "RestrictNamespaces=yes", "SystemCallErrorNumber=EPERM"),
}


def commands(service: str) -> Iterator[list[str]]:
    for line in (UNITS / service).read_text().splitlines():
        if line.startswith("ExecStart="):
            yield shlex.split(line.removeprefix("ExecStart="))


def test_there_is_a_timer_for_each_service_that_ends() -> None:
    timers = {path.stem for path in UNITS.glob("*.timer")}
    assert timers == {"seedkeep-scan", "seedkeep-report", "seedkeep-retire"}
    assert {Path(name).stem for name in SERVICES} == timers | {"seedkeep-server"}


def test_the_server_s_service_waits_for_its_word_and_watches_it() -> None:
    lines = set((UNITS / "seedkeep-server.service").read_text().splitlines())
    assert lines >= {"Type=notify", "NotifyAccess=main", "ExecReload=/bin/kill -HUP $MAINPID"}
    values = dict(line.split("=", 1) for line in lines if "=" in line and line[0] != "#")
    looks = service_manager.LOOK_S + service_manager.ANSWER_S + service_manager.OLDEST_PULSE_S
    assert int(values["WatchdogSec"]) > looks
    assert int(values["TimeoutStopSec"]) > supervisor.STOP_WITHIN_S


def test_systemd_has_nothing_to_say_against_the_units(tmp_path: Path) -> None:
    """With our own programs in the place of the installed ones, which it looks for."""
    for path in UNITS.iterdir():
        text = path.read_text().replace("/usr/local/bin/", f"{Path(sys.executable).parent}/")
        # The user is made on the real machine.
        (tmp_path / path.name).write_text(text.replace("User=seedkeep", "User=root"))
    units = sorted(str(path) for path in tmp_path.glob("*.[st]*") if path.suffix != ".md")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *units],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    ours = [line for line in done.stderr.splitlines() if "seedkeep-" in line]
    assert ours == []
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("service", SERVICES)
def test_each_command_exists_with_its_options(service: str) -> None:
    found = list(commands(service))
    assert found
    for program, *arguments in found:
        name = Path(sys.executable).parent / Path(program).name
        # --help is answered only after the command line was understood.
        done = subprocess.run(
            [name, *arguments, "--help"], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("Usage: ")


@pytest.mark.parametrize("service", SERVICES)
def test_each_service_is_hardened_and_waits_for_its_mounts(service: str) -> None:
    lines = set((UNITS / service).read_text().splitlines())
    assert lines >= HARDENED
    assert "RequiresMountsFor=/srv/stash /srv/pool" in lines


def test_only_what_has_to_write_to_the_disks_may() -> None:
    writing = {name for name in SERVICES if "ReadWritePaths=" in (UNITS / name).read_text()}
    assert writing == {"seedkeep-retire.service", "seedkeep-server.service"}
