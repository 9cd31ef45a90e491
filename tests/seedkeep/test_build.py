"""Every program knows which build it is."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

import seedkeep
from seedkeep import build
from seedkeep.build import Build, commit_of_checkout, this_build

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def git(folder: Path, *words: str) -> str:
    settings = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
    done = subprocess.run(
        ["git", "-C", folder, *settings, *words], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    git(folder, "commit", "-q", "--allow-empty", "-m", "one")
    return folder


def test_an_image_says_its_commit_and_date_in_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEEDKEEP_COMMIT", f"{COMMIT}\n")
    monkeypatch.setenv("SEEDKEEP_BUILD_DATE", "2026-11-21T10:00:00Z")
    found = this_build()
    assert found == Build(seedkeep.__version__, COMMIT, "2026-11-21T10:00:00Z")
    assert str(found) == (
        f"{seedkeep.__version__} (commit 0123456789ab, built 2026-11-21T10:00:00Z)"
    )


def test_a_checkout_knows_its_commit_without_git(checkout: Path, tmp_path: Path) -> None:
    head = git(checkout, "rev-parse", "HEAD")
    assert commit_of_checkout(checkout) == head
    git(checkout, "pack-refs", "--all")
    assert not (checkout / ".git/refs/heads/main").exists()
    assert commit_of_checkout(checkout) == head
    git(checkout, "worktree", "add", "-q", "-b", "other", str(tmp_path / "worktree"))
    assert commit_of_checkout(tmp_path / "worktree") == head
    git(checkout, "checkout", "-q", "--detach")
    git(checkout, "commit", "-q", "--allow-empty", "-m", "two")
    assert commit_of_checkout(checkout) == git(checkout, "rev-parse", "HEAD") != head


def test_this_checkout_s_commit_is_the_one_that_git_says() -> None:
    root = Path(seedkeep.__file__).parents[2]
    said = subprocess.run(
        ["git", "-c", f"safe.directory={root}", "-C", root, "rev-parse", "HEAD"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert this_build().commit == said.stdout.strip()


@pytest.mark.parametrize("head", ["", "ref: refs/heads/main", "ref: ../../secret", "no commit"])
def test_a_git_folder_that_tells_nothing_is_no_error(tmp_path: Path, head: str) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git/HEAD").write_text(head)
    assert commit_of_checkout(tmp_path) == ""
    assert commit_of_checkout(tmp_path / "nowhere") == ""


def test_a_wheel_may_carry_a_note_and_without_anything_it_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = tmp_path / "site-packages" / "seedkeep"
    installed.mkdir(parents=True)
    monkeypatch.setattr(seedkeep, "__file__", str(installed / "__init__.py"))
    assert this_build() == Build(seedkeep.__version__, build.UNKNOWN, None)
    assert "commit unknown, built unknown" in str(this_build())
    note = installed / build.NOTE
    note.write_text(json.dumps({"git_commit": COMMIT, "build_date": "2026-11-21"}))
    assert this_build() == Build(seedkeep.__version__, COMMIT, "2026-11-21")
    note.write_text("[1]")
    assert this_build().commit == build.UNKNOWN
