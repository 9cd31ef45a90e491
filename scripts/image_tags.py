"""The names that the image of a release gets, one in each line.

`python -m scripts.image_tags NAME v1.2.3` prints NAME:1.2.3, NAME:1.2 and NAME:latest; a
pre-release like v1.3.0-rc.1 gets its own name only, so nobody is updated to it by accident.
"""

from __future__ import annotations

import sys
from pathlib import Path

from scripts.release_notes import ROOT, NoRelease, version_of


def main() -> int:
    if len(sys.argv) != 3:
        print(f"usage: {Path(sys.argv[0]).name} NAME TAG", file=sys.stderr)
        return 2
    _, name, tag = sys.argv
    try:
        version = version_of(tag, (ROOT / "pyproject.toml").read_text())
    except NoRelease as why:
        print(f"error: {why}", file=sys.stderr)
        return 1
    print("\n".join(names(name, version)))
    return 0


def names(name: str, version: str) -> list[str]:
    """`name` may have upper-case letters, as a repository's may; an image's may not."""
    minor = version.rpartition(".")[0]
    tags = [version] if "-" in version else [version, minor, "latest"]
    return [f"{name.lower()}:{tag}" for tag in tags]


if __name__ == "__main__":
    sys.exit(main())
