"""What a tag sets off: release notes, the image and its names, workflows that may do only that."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from scripts import image_tags, release_notes
from scripts.platforms import PLATFORMS
from scripts.release_notes import NoRelease, section, version_of

ROOT = Path(__file__).resolve().parent.parent
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
PYPROJECT = '[project]\nversion = "1.2.3"\n'
CHANGELOG = """\
# Changelog

## [Unreleased]

## [1.2.3] - 2026-11-21

### Added

- this

## 1.2.2

- that
"""
PINNED = re.compile(r"[\w-]+/[\w-]+@v\d+\.\d+\.\d+")


def test_the_notes_are_what_the_changelog_says_about_the_version() -> None:
    assert section(CHANGELOG, "1.2.3") == "### Added\n\n- this"
    assert section(CHANGELOG, "1.2.2") == "- that"


@pytest.mark.parametrize("version", ["1.2", "1.2.4", "Unreleased", "2.3"])
def test_nothing_is_released_without_words_about_it(version: str) -> None:
    with pytest.raises(NoRelease, match=f"says nothing about {version}"):
        section(CHANGELOG, version)


@pytest.mark.parametrize(
    ("tag", "said"),
    [
        ("v1.2.4", "the tag is v1.2.4, and pyproject.toml says 1.2.3"),
        ("1.2.3", "1.2.3 is no tag of a release"),
        ("v1.2", "v1.2 is no tag of a release"),
        ("v1.2.3; true", "no tag of a release"),
    ],
)
def test_a_tag_that_is_not_the_projects_version_is_refused(tag: str, said: str) -> None:
    assert version_of("v1.2.3", PYPROJECT) == "1.2.3"
    with pytest.raises(NoRelease, match=re.escape(said)):
        version_of(tag, PYPROJECT)


def test_a_release_is_the_latest_image_and_a_pre_release_is_not() -> None:
    assert image_tags.names("registry.example/Some/Seedkeep", "1.2.3") == [
        "registry.example/some/seedkeep:1.2.3",
        "registry.example/some/seedkeep:1.2",
        "registry.example/some/seedkeep:latest",
    ]
    assert image_tags.names("seedkeep", "1.3.0-rc.1") == ["seedkeep:1.3.0-rc.1"]


@pytest.mark.parametrize(
    ("module", "words"), [("release_notes", ()), ("image_tags", ("seedkeep",))]
)
def test_todays_version_could_be_released_and_another_not(
    module: str, words: tuple[str, ...]
) -> None:
    version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version is not None

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", f"scripts.{module}", *arguments]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    done = call(*words, f"v{version[1]}")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip()
    assert call(*words, "v99.0.0").returncode == 1
    assert call().returncode == 2


# Dockerfile


def lint(dockerfile: str) -> str:
    """What hadolint has against it."""
    program = Path(sys.executable).with_name("hadolint")
    command: list[str | Path] = [program, "--no-color", "--failure-threshold=style", "-"]
    done = subprocess.run(command, input=dockerfile, capture_output=True, text=True, check=False)
    assert (done.returncode == 0) == (done.stdout + done.stderr == "")
    return done.stdout + done.stderr


def test_the_dockerfile_is_clean_and_a_fault_in_it_is_found() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert lint(dockerfile) == ""
    assert "DL3015" in lint(dockerfile.replace("--no-install-recommends", ""))
    assert dockerfile.count("hadolint ignore=") == 2, "versions of Debian's packages are not pinned"


# Workflows


def workflow(path: Path) -> dict[str, Any]:
    document = yaml.safe_load(path.read_text())
    document["on"] = document.pop(True)  # `on` is a truth value in YAML 1.1
    return dict(document)


def steps(path: Path) -> list[dict[str, Any]]:
    return [step for job in workflow(path)["jobs"].values() for step in job["steps"]]


def test_the_promised_workflows_are_there() -> None:
    assert [path.stem for path in WORKFLOWS] == ["image", "release", "tests"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_has_the_least_rights_and_pinned_actions(path: Path) -> None:
    document = workflow(path)
    assert document["permissions"] == {"contents": "read"}
    extra = {
        right
        for job in document["jobs"].values()
        for right, level in job.get("permissions", {}).items()
        if level == "write"
    }
    assert extra == {"image": {"packages"}, "release": {"contents"}, "tests": set()}[path.stem]
    for job in document["jobs"].values():
        assert job["timeout-minutes"] <= 90
        assert re.fullmatch(r"[a-z]+-[\d.]+", job["runs-on"])
    for step in steps(path):
        assert ("uses" in step) != ("run" in step)
        assert PINNED.fullmatch(step.get("uses", "a/b@v1.2.3")), step
        assert "${{" not in step.get("run", ""), "what others write must not become a command"
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"] == {"persist-credentials": False}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_no_workflow_uploads_a_package(path: Path) -> None:
    assert (
        re.search(r"pypi|twine|hatch publish|uv publish", path.read_text(), re.IGNORECASE) is None
    )


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_what_a_workflow_calls_of_ours_exists(path: Path) -> None:
    for step in steps(path):
        for module in re.findall(r"python3 -m (scripts\.\w+)", step.get("run", "")):
            assert (ROOT / f"{module.replace('.', '/')}.py").exists()
        for program in re.findall(r"^\.ci/\w+", step.get("run", "")):
            assert (ROOT / program).exists()


def test_the_image_is_built_and_documented_for_the_platforms_that_it_is_tested_on() -> None:
    images = ",".join(platform.image for platform in PLATFORMS)
    (build,) = [
        step["with"]
        for step in steps(ROOT / ".github/workflows/image.yml")
        if step.get("uses", "").startswith("docker/build-push-action")
    ]
    assert build["platforms"] == images
    names = [platform.name for platform in PLATFORMS]
    said = f"{', '.join(names[:-1])} and {names[-1]}"
    page = (ROOT / "docs/Docker.md").read_text()
    assert f"It runs on {said}." in page
    assert f"--platform {images} " in page
    # What has a compiler in its build stage, and why.
    dockerfile, page = (ROOT / "Dockerfile").read_text(), page.casefold()
    for platform in PLATFORMS:
        assert (f"= {platform.debian} ]" in dockerfile) is bool(platform.compiled), platform.name
        assert f"{' and '.join(platform.compiled)} have no wheels for {platform.name}" in page or (
            not platform.compiled
        )


def test_a_tag_makes_an_image_for_three_platforms_and_a_release() -> None:
    image, release = (ROOT / f".github/workflows/{name}.yml" for name in ("image", "release"))
    for path in (image, release):
        assert workflow(path)["on"] == {"push": {"tags": ["v*"]}}
    (build,) = [s for s in steps(image) if s.get("uses", "").startswith("docker/build-push-action")]
    assert build["with"]["platforms"].split(",") == ["linux/amd64", "linux/arm64", "linux/arm/v7"]
    given = {line.split("=")[0] for line in build["with"]["build-args"].splitlines()}
    declared = set(re.findall(r"^ARG (\w+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE))
    assert given == {"VERSION", "REVISION", "CREATED"} <= declared


def test_the_modules_of_the_workflows_need_nothing_that_is_not_in_python() -> None:
    for module in (release_notes, image_tags):
        assert module.__file__ is not None
        code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import {module.__name__}"
        subprocess.run([sys.executable, "-I", "-S", "-c", code], check=True)
