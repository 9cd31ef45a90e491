"""What a stranger finds in the checkout: no trace of a machine, pinned packages, true documents."""

from __future__ import annotations

import ast
import os
import pwd
import re
import subprocess
import sys
import tomllib
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
GENERIC_FOLDERS = {"/", "/tmp", "/home", "/root", "/srv", "/opt", "/src", "/mnt", "/var/tmp"}
PIN = re.compile(r"^(?P<name>[a-z0-9._-]+)==(?P<version>\S+)")
FENCE = re.compile(r"^```[a-z]*\n(.*?)^```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\[[^\]]*\]\((?![a-z]+:|//)([^)\s]+)\)")
NAMED_DOCUMENT = re.compile(r"\bdocs/[\w./-]+\.md\b")
REQUIREMENT = re.compile(r"\bR-[A-Z]{2,4}-\d+\b")
ASK_PIP = (
    "from pip._internal.models.index import PyPI;"
    "print('https://' + PyPI.netloc, 'https://' + PyPI.file_storage_domain)"
)


@cache
def repository_files() -> tuple[Path, ...]:
    """Tracked files, and new ones that are about to be."""
    # Named as safe because a container often runs as another user than the owner of the checkout.
    git = ["git", "-c", f"safe.directory={ROOT}", "-C", str(ROOT), "ls-files", "-z"]
    listed = said(*git, "--cached", "--others", "--exclude-standard")
    names = [ROOT / name for name in listed.split("\0") if name]
    return tuple(path for path in names if path.is_file())


def files_ending(*suffixes: str) -> list[Path]:
    return [path for path in repository_files() if path.suffix in suffixes]


def said(*command: str) -> str:
    # The person's own home: pip's settings may stand there, and the tests run with another one.
    env = {**os.environ, "HOME": pwd.getpwuid(os.geteuid()).pw_dir}
    return subprocess.run(command, capture_output=True, text=True, check=True, env=env).stdout


@cache
def registry_hosts() -> frozenset[str]:
    """Package hosts as this machine's pip and apt know them, so that they stand in no file."""
    settings = said(sys.executable, "-m", "pip", "config", "list")
    settings += said(sys.executable, "-c", ASK_PIP)
    apt = Path("/etc/apt")
    for path in [apt / "sources.list", *apt.glob("sources.list.d/*")]:
        settings += path.read_text(errors="replace") if path.is_file() else ""
    hosts = re.findall(r"https?://(?:[^/@\s]*@)?([\w.-]+)", settings)
    return frozenset(host for host in hosts if "." in host and not host[0].isdigit())


def lines_with(pattern: re.Pattern[str], files: tuple[Path, ...]) -> list[str]:
    found = []
    for path in files:
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            if pattern.search(line):
                found.append(f"{path.name}:{number}")
    return found


def a_host() -> re.Pattern[str]:
    return re.compile(rf"(?<![\w.])({'|'.join(map(re.escape, sorted(registry_hosts())))})(?![\w-])")


def a_folder_of_this_machine() -> re.Pattern[str]:
    """The checkout, or anything below the folder that holds it unless many machines have that."""
    above = "" if str(ROOT.parent) in GENERIC_FOLDERS else rf"|{re.escape(str(ROOT.parent))}/"
    return re.compile(rf"(?<![\w.])({re.escape(str(ROOT))}(?![\w-]){above})")


def test_no_file_names_a_package_registry() -> None:
    assert len(registry_hosts()) >= 2
    assert lines_with(a_host(), repository_files()) == []


def test_no_file_names_a_folder_of_this_machine() -> None:
    assert lines_with(a_folder_of_this_machine(), repository_files()) == []


def test_a_host_or_a_folder_that_slips_in_is_found(tmp_path: Path) -> None:
    host = min(registry_hosts())
    planted = tmp_path / "planted.txt"
    planted.write_text(f"fine\nsee https://{host}/simple\nand {ROOT}/src\n")
    assert lines_with(a_host(), (planted,)) == ["planted.txt:2"]
    assert lines_with(a_folder_of_this_machine(), (planted,)) == ["planted.txt:3"]


def requirements(name: str) -> dict[str, str]:
    text = (ROOT / "requirements" / name).read_text()
    found = map(PIN.match, text.splitlines())
    return {pin["name"]: pin["version"] for pin in found if pin}


@pytest.mark.parametrize("name", ["runtime.txt", "image.txt", "dev.txt", "compile.txt"])
def test_every_requirement_is_pinned_and_has_hashes_and_no_line_names_an_index(name: str) -> None:
    text = (ROOT / "requirements" / name).read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    entries = [line for line in lines if not line.lstrip().startswith("#")]
    assert len(entries) == len(requirements(name)) >= (1 if name == "compile.txt" else 11)
    assert [line for line in entries if "--hash=sha256:" not in line] == []
    assert [line for line in entries if line.startswith("-") or "://" in line] == []


def test_what_users_run_is_what_the_tests_ran_with() -> None:
    runtime, image, dev = map(requirements, ("runtime.txt", "image.txt", "dev.txt"))
    assert requirements("compile.txt") == {"setuptools": dev["setuptools"]}
    assert {name: image.get(name) for name in runtime} == runtime
    assert {name: dev.get(name) for name in image} == image
    assert {"redis", "hatchling"} <= set(image)


@pytest.mark.parametrize("python", ["3.11.2", "3.12.0", "3.13.0", "3.14.0"])
@pytest.mark.parametrize("name", ["runtime.txt", "image.txt", "dev.txt"])
def test_the_pins_are_whole_for_other_pythons_than_the_one_they_were_made_with(
    name: str, python: str
) -> None:
    """With hashes pip installs nothing that is not pinned; Debian 12 has 3.11.2."""
    pinned = requirements(name)
    minor = python.rpartition(".")[0]
    machine = {"python_full_version": python, "python_version": minor, "extra": ""}
    missing = {
        f"{wish.name} for {package}"
        for package in pinned
        for wish in map(Requirement, metadata.distribution(package).requires or ())
        if wish.marker is None or wish.marker.evaluate(machine)
        if canonicalize_name(wish.name) not in pinned
    }
    assert missing == set()


def test_every_dependency_of_the_project_is_pinned() -> None:
    project = project_table()
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"], "hatchling"]
    names = {re.split(r"[><=\[;]", wish)[0].lower() for wish in wanted}
    assert names - set(requirements("dev.txt")) == set()


def project_table() -> dict[str, Any]:
    return dict(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"])


def test_the_readme_begins_with_the_two_commands() -> None:
    blocks = "".join(FENCE.findall((ROOT / "README.md").read_text()))
    commands = [line.removeprefix("$ ").split("#")[0].strip() for line in blocks.splitlines()]
    assert [command for command in commands if command][:2] == ["make demo", "make test"]


def test_every_target_of_the_makefile_says_what_it_does() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):(?!=)", makefile, re.MULTILINE))
    shown = said("make", "-C", str(ROOT), "--no-print-directory")
    told = set(re.findall(r"^ *make ([a-z-]+) +\S", shown, re.MULTILINE))
    assert {"setup", "demo", "test", "test-fast", "check", "bench", "clean"} <= targets
    assert told == targets


def test_the_changelog_speaks_of_this_version() -> None:
    version = project_table()["version"]
    assert re.search(rf"^## .*\b{version}\b", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)


def test_every_link_between_documents_leads_somewhere() -> None:
    broken = []
    for document in files_ending(".md"):
        prose = FENCE.sub("", document.read_text())
        for target in LINK.findall(prose):
            name, _, anchor = target.partition("#")
            there = document.parent / name if name else document
            if not there.exists() or (anchor and anchor not in anchors(there)):
                broken.append(f"{document.name}: {target}")
    assert broken == []


def anchors(document: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in headings}


def test_every_document_that_code_and_documents_name_exists() -> None:
    missing = set()
    for path in files_ending(".py", ".md", ".toml"):
        for name in NAMED_DOCUMENT.findall(path.read_text()):
            if not (ROOT / name).exists():
                missing.add(f"{path.name}: {name}")
    assert missing == set()


def test_no_test_is_skipped_or_expected_to_fail() -> None:
    found = [
        f"{path.name}:{line}"
        for path in files_ending(".py")
        if path.is_relative_to(ROOT / "tests")
        for line in evasions(path.read_text())
    ]
    assert found == []


@pytest.mark.parametrize(
    "source",
    [
        "import pytest\n@pytest.mark.skipif(True, reason='no')\ndef test(): assert 1",
        "import pytest\ndef test():\n    pytest.skip('no')",
        "from pytest import mark\n@mark.xfail\ndef test(): assert 0",
        "import pytest\nzfs = pytest.importorskip('zfs')",
    ],
)
def test_a_planted_skip_is_found(source: str) -> None:
    assert evasions(source) != []


def evasions(source: str) -> list[str]:
    """Ways around a test, by attribute (`pytest.skip`) or by import (`from pytest import skip`)."""
    ways = {"skip", "skipif", "xfail", "importorskip", "skipTest"}
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and node.attr in ways:
            found.append(f"{node.lineno} {node.attr}")
        elif isinstance(node, ast.ImportFrom):
            found += [f"{node.lineno} {name.name}" for name in node.names if name.name in ways]
    return found


def test_every_requirement_that_a_test_names_is_written_down() -> None:
    written = set(REQUIREMENT.findall((ROOT / "docs/REQUIREMENTS.md").read_text()))
    named = {
        found
        for path in files_ending(".py")
        for found in REQUIREMENT.findall(path.read_text())
        if path.is_relative_to(ROOT / "tests")
    }
    assert len(written) > 50
    assert named - written == set()


def test_every_test_that_the_requirements_name_exists() -> None:
    named = re.findall(
        r"`(tests/[\w./]+)(?:::(\w+))?`", (ROOT / "docs/REQUIREMENTS.md").read_text()
    )
    missing = []
    for path, function in named:
        there = ROOT / path
        if not there.exists() or (function and f"def {function}(" not in there.read_text()):
            missing.append(f"{path}::{function}")
    assert named != []
    assert missing == []


def test_each_program_is_installed_and_answers_with_the_version() -> None:
    project = project_table()
    assert set(project["scripts"]) == {"hashall", "rehome", "qbt-rules"}
    for program in project["scripts"]:
        answer = said(str(Path(sys.executable).with_name(program)), "--version")
        assert str(project["version"]) in answer
