"""The set-up: which mirror it takes, what it says is missing, when it does nothing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from scripts import client_tree, environment, machine, run_tests, setup, steps
from scripts.apt_sources import Mirror, find_mirror

DEB822 = """\
# a comment
Types: deb deb-src
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/security
Suites: bookworm-security
Components: main
"""
KEY_BLOCK = "Signed-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mQINBF\n"


def apt_folder(folder: Path) -> Path:
    (folder / "sources.list.d").mkdir()
    return folder


def test_the_mirror_is_read_from_a_deb822_file(tmp_path: Path) -> None:
    apt = apt_folder(tmp_path)
    (apt / "sources.list.d/debian.sources").write_text(DEB822)
    mirror = find_mirror("bookworm", apt)
    assert mirror is not None
    assert mirror.line_for("trixie") == (
        "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] "
        "http://mirror.example/debian trixie main"
    )


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("deb http://m.example/debian bookworm main", "deb http://m.example/debian trixie main"),
        (
            "deb [arch=amd64 signed-by=/k.gpg] http://m.example/debian bookworm main contrib # x",
            "deb [signed-by=/k.gpg] http://m.example/debian trixie main",
        ),
        ("  deb [trusted=yes] file:/m bookworm main", "deb [trusted=yes] file:/m trixie main"),
    ],
)
def test_the_mirror_is_read_from_a_one_line_file(tmp_path: Path, line: str, wanted: str) -> None:
    text = (
        f"# deb http://old.example/debian bookworm main\ndeb-src http://s.example x main\n{line}\n"
    )
    (apt_folder(tmp_path) / "sources.list").write_text(text)
    mirror = find_mirror("bookworm", tmp_path)
    assert mirror is not None
    assert mirror.line_for("trixie") == wanted


@pytest.mark.parametrize(
    "text",
    [
        "Enabled: no\nTypes: deb\nURIs: http://m.example/\nSuites: bookworm\nComponents: main\n",
        "Types: deb-src\nURIs: http://m.example/\nSuites: bookworm\nComponents: main\n",
        "Types: deb\nURIs: http://m.example/\nSuites: bookworm-updates\nComponents: main\n",
        "Types: deb\nURIs: http://m.example/\nSuites: bookworm\nComponents: contrib\n",
        "",
    ],
)
def test_an_archive_that_does_not_serve_the_suite_itself_is_no_mirror(
    tmp_path: Path, text: str
) -> None:
    (apt_folder(tmp_path) / "sources.list.d/a.sources").write_text(text)
    (tmp_path / "sources.list.d/b.list.disabled").write_text("deb http://m.example/ bookworm main")
    assert find_mirror("bookworm", tmp_path) is None


def test_a_key_that_stands_in_the_file_is_left_to_apts_keyring(tmp_path: Path) -> None:
    text = f"Types: deb\nURIs: http://m.example/\nSuites: bookworm\nComponents: main\n{KEY_BLOCK}"
    (apt_folder(tmp_path) / "sources.list.d/a.sources").write_text(text)
    mirror = find_mirror("bookworm", tmp_path)
    assert mirror is not None
    assert mirror.line_for("trixie") == "deb http://m.example/ trixie main"


def test_a_machine_without_a_debian_archive_is_told_how_to_name_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client_tree, "find_mirror", lambda _: None)
    with pytest.raises(steps.SetupError, match="SEEDKEEP_DEBIAN_MIRROR="):
        client_tree.mirror_of_this_machine()
    monkeypatch.setenv("SEEDKEEP_DEBIAN_MIRROR", "http://m.example/debian")
    assert client_tree.mirror_of_this_machine() == Mirror(
        "http://m.example/debian", ("trixie",), ("main",)
    )


def test_a_package_is_missing_when_one_of_its_programs_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.missing_packages() == []
    monkeypatch.setitem(machine.PROGRAMS, "zfs-fuse", ("zfs-fuse", "no-such-program"))
    assert machine.missing_packages() == ["zfs-fuse"]


def test_without_root_the_set_up_says_what_is_missing_and_which_command_brings_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(steps.SetupError) as told:
        machine.install_packages(["xfsprogs", "python3-venv"], tmp_path / "log")
    assert str(told.value).splitlines()[1:] == [
        "  xfsprogs: program mkfs.xfs",
        "  python3-venv: Python's venv and ensurepip",
        "run this as root, then repeat what you did:",
        "  apt-get update && apt-get install --no-install-recommends xfsprogs python3-venv",
    ]


def test_the_tests_say_that_they_need_root_to_mount(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(steps.SetupError, match=r"root: tests mount .*sudo make test"):
        setup.insist_on_rights()


def test_root_without_the_right_to_mount_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(machine, "_effective_capabilities", lambda: 0)
    assert [row.split(":")[0] for row in machine.missing_rights()] == ["CAP_SYS_ADMIN"]


def test_services_are_held_back_only_while_packages_are_installed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    policy = tmp_path / "policy-rc.d"
    monkeypatch.setattr(machine, "POLICY", policy)
    with machine._no_services():
        assert policy.read_text().endswith("exit 101\n")
        assert os.access(policy, os.X_OK)
    assert not policy.exists()


def test_a_policy_of_the_machine_itself_stays(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    policy = tmp_path / "policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 104\n")
    monkeypatch.setattr(machine, "POLICY", policy)
    with machine._no_services():
        assert "exit 104" in policy.read_text()
    assert "exit 104" in policy.read_text()


def test_the_cached_client_is_whole_only_with_its_last_file(tmp_path: Path) -> None:
    tree = tmp_path / client_tree.NAME
    (tree / "usr/bin").mkdir(parents=True)
    (tree / "usr/bin/qbittorrent-nox").touch()
    assert not client_tree.is_complete(tree)
    (tree / client_tree.COMPLETE).touch()
    assert client_tree.is_complete(tree)


def test_a_client_that_does_not_run_never_gets_its_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def unpack_half(command: list[str | Path], **_: object) -> None:
        assert command[0] == "mmdebstrap"
        (tmp_path / f"{client_tree.NAME}.new/usr/bin").mkdir(parents=True)

    monkeypatch.setattr(client_tree, "run", unpack_half)
    with pytest.raises(steps.SetupError, match="no dynamic loader"):
        client_tree.build(tmp_path)
    assert not (tmp_path / client_tree.NAME).exists()


@pytest.mark.parametrize(("user", "mode"), [(0, "auto"), (1000, "chrootless")])
def test_the_client_is_unpacked_by_whoever_sets_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, user: int, mode: str
) -> None:
    def unpack(command: list[str | Path], **_: object) -> None:
        assert f"--mode={mode}" in command
        program = tmp_path / f"{client_tree.NAME}.new/usr/bin/qbittorrent-nox"
        program.parent.mkdir(parents=True)
        program.touch()

    monkeypatch.setattr(os, "geteuid", lambda: user)
    monkeypatch.setattr(client_tree, "run", unpack)
    monkeypatch.setattr(client_tree, "ask_version", lambda *_: "qBittorrent v5.1.0")
    client_tree.build(tmp_path)
    assert client_tree.is_complete(tmp_path / client_tree.NAME)
    assert sorted(path.name for path in tmp_path.iterdir()) == [client_tree.NAME]


def test_a_failed_command_shows_the_end_of_its_output(tmp_path: Path) -> None:
    script = "for i in $(seq 100); do echo line $i; done; exit 7"
    with pytest.raises(steps.SetupError) as told:
        steps.run(["sh", "-c", script], log=tmp_path / "log")
    assert "ended with 7" in str(told.value)
    assert "line 100" in str(told.value)
    assert "line 50" not in str(told.value)


def checkout(folder: Path) -> Path:
    for name in ("requirements/dev.txt", "pyproject.toml", ".venv/bin/python"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("a")
    return folder


def commands_of(monkeypatch: pytest.MonkeyPatch, root: Path) -> list[str]:
    """Which commands building the environment would run now, each by its telling word."""
    ran: list[str] = []
    words = ("venv", "--require-hashes", "--no-deps")

    def note(command: list[str | Path], **_: object) -> None:
        ran.append(next(word for word in words if word in command))

    monkeypatch.setattr(environment, "run", note)
    environment.build(root, root / "log")
    return ran


def test_the_environment_is_made_again_only_for_what_changed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    root = checkout(tmp_path)
    whole = ["venv", "--require-hashes", "--no-deps"]
    assert commands_of(monkeypatch, root) == whole
    assert commands_of(monkeypatch, root) == []
    (root / "pyproject.toml").write_text("b")
    assert commands_of(monkeypatch, root) == ["--no-deps"]
    (root / "requirements/dev.txt").write_text("b")
    assert commands_of(monkeypatch, root) == whole
    (root / ".venv/bin/python").unlink()
    assert not environment.is_current(root)


def test_an_environment_that_came_with_a_copied_checkout_is_made_anew(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    old = checkout(tmp_path / "old")
    commands_of(monkeypatch, old)
    new = old.rename(tmp_path / "new")
    assert commands_of(monkeypatch, new) == ["venv", "--require-hashes", "--no-deps"]


def measured(covered: int, of: int) -> dict[str, dict[str, int]]:
    lines = {"covered_lines": covered, "num_statements": of}
    return {"summary": {**lines, "covered_branches": 0, "num_branches": 0}}


def test_coverage_counts_per_package_and_a_package_nobody_imported_counts_as_nothing() -> None:
    files = {
        "src/hashall/scan.py": measured(9, 10),
        "src/hashall/catalog/files.py": measured(0, 10),
        "src/seedkeep/units.py": measured(5, 5),
        "src/rehome/planner.py": measured(1, 4),
    }
    expected = {"seedkeep": 100.0, "hashall": 45.0, "rehome": 25.0, "qbt_rules": 0.0}
    assert run_tests.by_package(files) == expected


def test_the_tests_that_failed_are_named_without_the_group_that_shares_a_worker(
    tmp_path: Path,
) -> None:
    assert run_tests.last_failed(tmp_path) == []
    noted = tmp_path / ".pytest_cache/v/cache/lastfailed"
    noted.parent.mkdir(parents=True)
    noted.write_text('{"t.py::test_b[x@y]@client-4.5": true, "t.py::test_a@zfs": true}')
    assert run_tests.last_failed(tmp_path) == ["t.py::test_a", "t.py::test_b[x@y]"]


def test_programs_and_tests_are_compiled_once_whatever_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    for name in ("src/program.py", "tests/test_program.py"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("assert True")
    run_tests.compile_programs(tmp_path)
    run_tests.compile_tests(tmp_path, processes=1)
    assert len(list(tmp_path.rglob("program.*.pyc"))) == 1
    assert len(list(tmp_path.rglob("test_program.*-pytest-*.pyc"))) == 1


@pytest.mark.parametrize(
    ("failed", "alone", "expected"),
    [
        (0, 0, 0),
        (1, 0, 0),  # late among the others, right alone
        (1, 1, 1),  # wrong in any company
        (run_tests.MOST_UNSTEADY + 1, 0, 1),  # too many to be chance
    ],
)
def test_a_few_tests_that_failed_get_one_more_chance_alone(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    failed: int,
    alone: int,
    expected: int,
) -> None:
    names = [f"t.py::test_{number}" for number in range(failed)]
    monkeypatch.setattr(sys, "argv", ["run_tests"])
    monkeypatch.setattr(run_tests, "run_pytest", lambda _: (min(failed, 1), "== summary in 1s =="))
    monkeypatch.setattr(run_tests, "last_failed", lambda _: names)
    monkeypatch.setattr(run_tests, "run_alone", lambda _: alone)
    monkeypatch.setattr(run_tests, "report_coverage", lambda: [])
    monkeypatch.setattr(run_tests, "compile_programs", lambda _: None)
    monkeypatch.setattr(run_tests, "compile_tests", lambda _: None)
    assert run_tests.main() == expected
    said = capsys.readouterr().out
    assert ("unsteady: t.py::test_0" in said) is (failed == 1 and not alone)


def test_a_process_that_a_test_left_behind_is_ended_and_named() -> None:
    """It keeps the output open: whoever reads that, as a CI does, would wait for its end."""
    leaving = (
        "import sys, subprocess; subprocess.Popen(['sleep', '300']);"
        "print('== 1 in 2 s ==', flush=True); sys.exit(3)"
    )
    running = (
        "from scripts import run_tests as r; import sys;"
        f"print(r.run_to_the_end([sys.executable, '-c', {leaving!r}]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", running],
        cwd=run_tests.ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert re.fullmatch(
        r"== 1 in 2 s ==\n"
        r"a test left a process behind, which was ended: \d+: sleep 300\n"
        r"\(3, '== 1 in 2 s =='\)\n",
        done.stdout,
    )


def test_a_run_ends_also_when_nobody_reads_what_it_says() -> None:
    chatty = "for number in range(20_000): print(number)"
    running = (
        "from scripts import run_tests as r; import sys;"
        f"r.run_to_the_end([sys.executable, '-c', {chatty!r}])"
    )
    with subprocess.Popen(
        [sys.executable, "-c", running],
        cwd=run_tests.ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as run:
        assert run.stdout is not None
        try:
            assert run.stdout.readline() == b"0\n"
            run.stdout.close()
            run.wait(timeout=60)
        finally:
            run.kill()  # or a failure would be waited for, for ever


def test_a_newest_client_that_cannot_be_had_is_said_and_not_tried_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_command: object, **_: object) -> None:
        raise steps.SetupError("no such suite")

    monkeypatch.setattr(client_tree, "run", fail)
    monkeypatch.setenv("SEEDKEEP_DEBIAN_MIRROR", "http://mirror.example/debian")
    assert not client_tree.newest_was_tried(tmp_path)
    client_tree.build_newest(tmp_path)
    assert "no such suite" in "".join(capsys.readouterr())
    assert client_tree.newest_was_tried(tmp_path)
    monkeypatch.setattr(client_tree, "run", None)
    client_tree.build_newest(tmp_path)
