"""A disk in memory on which the steps of a plan can be performed: what would be left where?"""

from __future__ import annotations

from dataclasses import dataclass, field

from rehome.facts import Facts
from rehome.model import BuildView, FillPayload, MoveFiles, RemoveStaging, Step


@dataclass
class ModelDisk:
    """Paths and the SHA-256 behind them.  No step may write over a path or miss one."""

    files: dict[str, str] = field(default_factory=dict)
    copied: list[str] = field(default_factory=list)  # SHA-256 of each copy made

    @classmethod
    def of(cls, facts: Facts) -> ModelDisk:
        disk = cls()
        for torrent in facts.torrents:
            for file in torrent.files:
                assert file.sha256 is not None
                disk.files[str(torrent.save_path / file.name)] = file.sha256
        disk.files |= {reuse.path: reuse.sha256 for reuse in facts.reusable}
        disk.files |= {t.path: t.sha256 for t in facts.target_files if t.exists and t.sha256}
        return disk

    def perform(self, step: Step) -> None:
        """Steps that ask the client, or only look, change nothing here."""
        if isinstance(step, FillPayload):
            for copy in step.copies:
                assert self.files[copy.source] == copy.sha256
                self._put(copy.target, copy.sha256)
                self.copied.append(copy.sha256)
        elif isinstance(step, BuildView):
            for link in step.links:
                self._put(f"{step.root}/{link.name}", self.files[link.source])
        elif isinstance(step, MoveFiles):
            for name in step.names:
                self._move(f"{step.src_root}/{name}", f"{step.dst_root}/{name}")
        elif isinstance(step, RemoveStaging):
            for path in [path for path in self.files if path.startswith(f"{step.path}/")]:
                del self.files[path]

    def _put(self, path: str, sha256: str) -> None:
        assert path not in self.files, f"{path} would be written over"
        self.files[path] = sha256

    def _move(self, source: str, target: str) -> None:
        if source not in self.files and target in self.files:
            return  # moved already, which also makes an inverse harmless
        self._put(target, self.files.pop(source))
