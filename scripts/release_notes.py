"""What CHANGELOG.md says about one version, for the page of its release.

`python -m scripts.release_notes v0.1.0` prints the section.  A tag that is not the version of
pyproject.toml is an error, and so is a section that is missing or empty: better no release than a
wrong one.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEADING = re.compile(r"^## \[?(?P<version>[^\]\s]+)\]?", re.MULTILINE)
VERSION = re.compile(r"\d+\.\d+\.\d+(?:-[0-9A-Za-z.-]+)?")


class NoRelease(Exception):
    """This tag cannot be released; the text says why."""


def main() -> int:
    if len(sys.argv) != 2:
        print(f"usage: {Path(sys.argv[0]).name} TAG", file=sys.stderr)
        return 2
    try:
        version = version_of(sys.argv[1], (ROOT / "pyproject.toml").read_text())
        print(section((ROOT / "CHANGELOG.md").read_text(), version))
    except NoRelease as why:
        print(f"error: {why}", file=sys.stderr)
        return 1
    return 0


def version_of(tag: str, pyproject: str) -> str:
    """The version that the tag names.  Raises `NoRelease` if the project has another one."""
    version = tag.removeprefix("v")
    if not tag.startswith("v") or not VERSION.fullmatch(version):
        raise NoRelease(f"{tag} is no tag of a release; these look like v1.2.3 or v1.2.3-rc.1")
    declared = tomllib.loads(pyproject)["project"]["version"]
    if version != declared:
        raise NoRelease(f"the tag is {tag}, and pyproject.toml says {declared}")
    return version


def section(changelog: str, version: str) -> str:
    """The text below the version's heading, up to the next one.  Raises `NoRelease`."""
    headings = list(HEADING.finditer(changelog))
    for heading, following in zip(headings, [*headings[1:], None], strict=True):
        if heading["version"] == version:
            begin = changelog.find("\n", heading.end())
            text = changelog[begin : following.start() if following else None].strip()
            if begin < 0 or not text:
                break
            return text
    raise NoRelease(f"CHANGELOG.md says nothing about {version}")


if __name__ == "__main__":
    sys.exit(main())
