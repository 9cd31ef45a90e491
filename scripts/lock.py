"""Compile requirements/*.txt from pyproject.toml: hashes in, index lines and hosts out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COMMON = (
    "--generate-hashes",
    "--strip-extras",
    "--allow-unsafe",  # pip-tools needs pip and setuptools: they get their hash like all others
    "--no-emit-index-url",
    "--no-emit-trusted-host",
    "--no-emit-find-links",
    "--quiet",
)
PROJECT = "pyproject.toml"
FILES = {
    "requirements/runtime.txt": (PROJECT,),
    # The container's: with Redis, and with what builds the project's own wheel.
    "requirements/image.txt": ("--extra=redis", "--build-deps-for=wheel", PROJECT),
    # What builds the project is pinned too, so that installing it fetches nothing.
    "requirements/dev.txt": ("--extra=dev", "--build-deps-for=editable", PROJECT),
    # What compiles the container's packages where they have no wheel; as dev.txt has it.
    "requirements/compile.txt": ("requirements/compile.in",),
}


def main() -> int:
    for name, what in FILES.items():
        command: list[str | Path] = [Path(sys.executable).with_name("pip-compile"), *COMMON]
        command += [*sys.argv[1:], f"--output-file={name}", *what]
        subprocess.run(command, cwd=ROOT, check=True)
        print(f"{name}: {(ROOT / name).read_text().count('==')} packages")
    return 0


if __name__ == "__main__":
    sys.exit(main())
