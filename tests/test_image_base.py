"""What the set-up prepares for the tests of the container image, and only for them."""

from __future__ import annotations

from pathlib import Path

import pytest
from scripts import client_tree, environment, image_base, machine, setup
from scripts.steps import SetupError


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
