"""An execution of links that is killed, and a process that watches every name meanwhile."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import select
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from tests.support.catalog_lab import CatalogLab
from tests.support.linking import LinkLab, contents, same_file

from hashall.linking import execute
from hashall.linking.execute import ExecuteOptions
from hashall.linking.model import PlanOptions
from hashall.linking.running import PlanClosed, Runner, RunOptions

SETTLED = 1_600_000_000  # an mtime of the past


@dataclass
class KillStage:
    """Groups of equal files below `folder/files`, scanned, with a plan; the catalog is closed."""

    folder: Path
    groups: list[list[Path]]
    before: dict[str, bytes]
    plan_id: int

    @property
    def root(self) -> Path:
        return self.folder / "files"

    def act(self, began: Callable[[], None] = lambda: None) -> None:
        """Execute the plan to its end, as the command does."""
        lab = CatalogLab(self.folder)
        try:
            runner = Runner(LinkLab(lab).links(), begin=lambda _: began())
            options = RunOptions(act=ExecuteOptions(), dry_run=False, force=True)
            runner.execute(self.plan_id, options)
        finally:
            lab.close()

    def resume(self) -> None:
        """The same again; a plan that was just about to be closed may be closed already."""
        with contextlib.suppress(PlanClosed):
            self.act()

    def judge_interrupted(self) -> None:
        """Right after a kill: every name is there and reads as before; new ones are ours."""
        now = contents(self.root)
        assert {name: now.get(name) for name in self.before} == self.before
        assert all(Path(name).name.startswith(".seedkeep-") for name in now.keys() - self.before)

    def judge_finished(self) -> None:
        """After a resume: linked, nothing of ours left, and the catalog knows it without a scan."""
        assert contents(self.root) == self.before
        assert [group for group in self.groups if not same_file(*group)] == []
        lab = CatalogLab(self.folder)
        try:
            summary = lab.scan()
            assert (summary.added, summary.changed, summary.deleted) == (0, 0, 0)
            actions = lab.catalog.links.actions(self.plan_id)
            assert {action.state.value for action in actions} <= {"done", "planned"}
        finally:
            lab.close()


def staged(folder: Path, seed: int | str, *, groups: int, size: int = 3000) -> KillStage:
    rng = random.Random(seed)
    lab = CatalogLab(folder)
    try:
        made = []
        for number in range(groups):
            content = rng.randbytes(rng.randint(1, size))
            count = rng.randint(2, 4)
            group = [
                lab.root / f"d{rng.randrange(4)}" / f"{number}-{copy}" for copy in range(count)
            ]
            for path in group:
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(content)
                os.utime(path, (SETTLED, SETTLED))
            if rng.random() < 0.3:
                second = group[-1].with_name(group[-1].name + "-again")
                os.link(group[-1], second)
                group.append(second)
            made.append(group)
        lab.scan()
        plan = LinkLab(lab).links().plan("kill", None, PlanOptions())
        return KillStage(folder, made, contents(lab.root), plan.plan_id)
    finally:
        lab.close()


def killed_after(stage: KillStage, delay_s: float, *, batch: int) -> bool:
    """Execute in a child that gets SIGKILL so long after its first act.  False: it had ended."""
    ready, tell = os.pipe()
    child = _fork()
    if child == 0:
        os.close(ready)
        execute.BATCH_ACTIONS = batch
        _end_with(lambda: stage.act(lambda: os.close(tell)))
    os.close(tell)
    select.select([ready], [], [], 60)  # until the first act, or the child's end
    os.close(ready)
    time.sleep(delay_s)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return True
    assert os.WEXITSTATUS(status) == 0, "the execution failed; its traceback is on stderr"
    return False


@contextmanager
def watched(stage: KillStage) -> Iterator[None]:
    """Another process reads every name over and over; at the end none may ever have been amiss."""
    wanted = {
        stage.root / name: hashlib.sha256(content).digest()
        for name, content in stage.before.items()
    }
    answers, tell = os.pipe()
    stop, end = os.pipe()
    child = _fork()
    if child == 0:
        os.close(end)
        os.close(answers)
        _end_with(lambda: _watch(wanted, stop, tell))
    os.close(tell)
    os.close(stop)
    try:
        yield
    finally:
        os.close(end)
        said = b""
        while part := os.read(answers, 65536):
            said += part
        os.close(answers)
        os.waitpid(child, 0)
    rounds, *amiss = said.decode().splitlines()
    assert amiss == []
    assert int(rounds) > 0


def _watch(wanted: dict[Path, bytes], stop: int, tell: int) -> None:
    amiss: list[str] = []
    rounds = 0
    while not select.select([stop], [], [], 0)[0] or rounds == 0:
        rounds += 1
        for path, digest in wanted.items():
            try:
                if hashlib.sha256(path.read_bytes()).digest() != digest:
                    amiss.append(f"{path} reads differently")
            except OSError as why:
                amiss.append(f"{path}: {why}")
    os.write(tell, "\n".join([str(rounds), *amiss[:20]]).encode())


def _fork() -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the runner has threads; we exec none
        return os.fork()


def _end_with(act: Callable[[], None]) -> NoReturn:
    try:
        sys.settrace(None)
        act()
        os._exit(0)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(70)
    raise AssertionError  # not reached
