"""A real filesystem with inode numbers of 2**63 and above: an overlay with xino."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.support.catalog_lab import settle
from tests.support.filesystems import lab_folder, mounted, tmpfs
from tests.support.linking import CONTENT


@contextmanager
def wide_overlay() -> Iterator[Path]:
    """Six files in folders of their layer, files0 to files3; the numbers in files3 are wide.

    Each folder has another `film`; files3 has `one` and `two` with equal bytes besides.
    """
    with lab_folder() as folder, ExitStack() as stack:
        layers = [folder / f"layer{number}" for number in range(4)]
        for layer in (*layers, folder / "upper"):
            stack.enter_context(tmpfs(layer, source=layer.name))
        for number, layer in enumerate(layers):
            equal = {"one": CONTENT, "two": CONTENT} if layer is layers[-1] else {}
            _write(layer / f"files{number}", {"film": b"film %d" % number, **equal})
        (folder / "upper/files").mkdir()
        (folder / "upper/work").mkdir()
        options = ",".join(
            (
                "lowerdir=" + ":".join(map(str, layers)),
                f"upperdir={folder}/upper/files",
                f"workdir={folder}/upper/work",
                "xino=on",
            )
        )
        stack.enter_context(mounted("overlay", folder / "all", fs_type="overlay", options=options))
        wide = folder / "all/files3"
        assert min(path.stat().st_ino for path in (wide, *wide.iterdir())) >= 2**63
        yield folder / "all"


def _write(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
        settle(folder / name)
    settle(folder)
