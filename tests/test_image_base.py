"""What the set-up prepares for the tests of the container image, and only for them."""

from __future__ import annotations

from pathlib import Path

import pytest
from scripts import client_tree, environment, image_base, machine, platforms, setup
from scripts.platforms import PLATFORMS, Platform
from scripts.steps import SetupError

ARMV7 = PLATFORMS[2]


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The first words of each command that would have been run."""
    commands: list[str] = []

    def note(command: list[str | Path], **_: object) -> None:
        commands.append(Path(command[0]).name)
        if command[0] == "mmdebstrap":
            next(word for word in command if str(word).endswith(".tar")).touch()  # type: ignore[union-attr]

    monkeypatch.setattr(image_base, "run", note)
    return commands


def checkout(folder: Path, pinned: str) -> Path:
    (folder / "requirements").mkdir(exist_ok=True)
    (folder / "requirements/image.txt").write_text(pinned)
    (folder / "requirements/compile.txt").touch()
    return folder


def test_base_and_wheels_are_made_once_and_again_for_what_changed(
    tmp_path: Path, ran: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, cache = checkout(tmp_path, "a==1"), tmp_path / "cache"
    assert not image_base.is_ready(root, cache)
    image_base.build(root, cache)
    assert ran == ["mmdebstrap", "buildah", "buildah", "buildah", "python"]
    assert image_base.is_ready(root, cache)
    image_base.build(root, cache)
    assert len(ran) == 5

    checkout(tmp_path, "a==2")
    stale = cache / image_base.WHEELS / "a-1.whl"
    stale.touch()
    assert not image_base.is_ready(root, cache)
    image_base.build(root, cache)
    assert ran[5:] == ["python"]
    assert not stale.exists(), "a wheel of another version could be taken for the right one"

    monkeypatch.setattr(image_base, "PACKAGES", "python3")
    assert not image_base.is_ready(root, cache)
    image_base.build(root, cache)
    assert ran[6:] == ["mmdebstrap", "buildah", "buildah", "buildah"]


def test_a_base_that_was_begun_and_not_finished_is_made_anew(
    tmp_path: Path, ran: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, cache = checkout(tmp_path, "a==1"), tmp_path / "cache"

    def fail(*_: object, **__: object) -> None:
        raise SetupError("no mirror")

    with monkeypatch.context() as broken:
        broken.setattr(image_base, "run", fail)
        with pytest.raises(SetupError, match="no mirror"):
            image_base.build(root, cache)
    assert not image_base.is_ready(root, cache)
    debris = cache / image_base.NAME / "half"
    debris.touch()
    image_base.build(root, cache)
    assert image_base.is_ready(root, cache)
    assert not debris.exists()


def test_another_platform_gets_a_base_and_wheels_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []

    def note(command: list[str | Path], **_: object) -> None:
        commands.append([str(word) for word in command])
        for word in command:
            if str(word).endswith("base.tar"):
                Path(word).touch()

    monkeypatch.setattr(image_base, "run", note)
    monkeypatch.setattr(image_base, "switch_on", lambda _: None)
    root, cache = checkout(tmp_path, "a==1"), tmp_path / "cache"
    image_base.build(root, cache, ARMV7)
    assert image_base.is_ready(root, cache, ARMV7)
    assert not image_base.is_ready(root, cache)
    assert sorted(path.name for path in cache.iterdir()) == [
        "image-base-armv7",
        "image-wheels-armv7",
    ]
    debootstrap, _, config, *_, pip = commands
    assert "--architectures=armhf" in debootstrap
    assert config[-5:] == ["--arch", "arm", "--variant", "v7", "base"]
    assert {"--platform=manylinux_2_31_armv7l", "--only-binary=:all:"} < set(pip)
    assert "--no-binary=pyyaml,regex" in pip


def test_buildah_keeps_everything_in_the_folder_that_it_is_given(tmp_path: Path) -> None:
    command = [str(word) for word in image_base.buildah(tmp_path, "images")]
    assert command[:5] == ["buildah", "--root", f"{tmp_path}/store", "--runroot", f"{tmp_path}/run"]
    assert command[-1] == "images"


def test_the_demo_needs_nothing_of_this(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(machine.IMAGE_PROGRAMS, "buildah", ("no-such-program",))
    assert machine.missing_packages() == []
    assert "buildah" in machine.missing_packages(images=True)
    monkeypatch.setattr(environment, "is_current", lambda _: True)
    monkeypatch.setattr(client_tree, "is_complete", lambda _: True)
    assert setup.is_ready(tmp_path, tmp_path)
    assert not setup.is_ready(tmp_path, tmp_path, images=True)
    assert machine.explain_missing(["buildah"]).splitlines()[1] == (
        "  buildah: program no-such-program"
    )


def emulator(folder: Path, *rows: str) -> None:
    (folder / "qemu-arm").write_text("\n".join([*rows, "offset 0", ""]))


def test_an_emulator_counts_only_if_containers_need_no_copy_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platforms, "REGISTERED", tmp_path)
    assert not platforms.runs_here(ARMV7)
    for rows in (("disabled", "flags: PF"), ("enabled", "flags: OC"), ("enabled",)):
        emulator(tmp_path, *rows)
        assert not platforms.runs_here(ARMV7), rows
    emulator(tmp_path, "enabled", "interpreter /usr/bin/qemu-arm-static", "flags: POCF")
    assert platforms.runs_here(ARMV7)


def test_a_kernel_that_takes_no_emulator_is_told_with_what_was_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("mount", "update-binfmts"):
        (tools / name).write_text(f"#!/bin/sh\necho {name} may not >&2\nexit 1\n")
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
    monkeypatch.setattr(platforms, "REGISTERED", tmp_path / "binfmt_misc")
    with pytest.raises(SetupError) as told:
        platforms.switch_on(ARMV7)
    assert "programs for armv7 do not run here" in str(told.value)
    assert "mount may not" in str(told.value)
    assert str(told.value).count("update-binfmts may not") == 2
    assert "install qemu-user-static" in str(told.value)


def test_only_the_image_on_other_platforms_needs_an_emulator(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(machine.PLATFORM_PROGRAMS, "arch-test", ("no-such-program",))
    assert "arch-test" not in machine.missing_packages(images=True)
    assert "arch-test" in machine.missing_packages(platforms=True)


def test_the_set_up_prepares_every_platform_that_this_machine_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed: list[str] = []
    made: list[Platform | None] = []
    monkeypatch.setattr(setup, "insist_on_rights", lambda: None)
    monkeypatch.setattr(machine, "missing_packages", lambda **_: ["arch-test"])
    monkeypatch.setattr(machine, "install_packages", lambda names, _: installed.extend(names))
    monkeypatch.setattr(image_base, "build", lambda _root, _cache, wanted: made.append(wanted))
    monkeypatch.setattr(platforms.this_machine, "machine", lambda: "aarch64")
    setup.prepare_platforms(tmp_path, tmp_path)
    assert installed == ["arch-test"]
    assert [wanted.name for wanted in made if wanted] == ["amd64", "armv7"]
