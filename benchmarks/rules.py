"""Fifty rules on thousands of torrents, beside qbt-rules 0.3.2 with the same rules.

`python -m benchmarks.rules [--torrents 10000 30000] [--without-peer]`.  Prints seconds, requests
and memory of one dry run each, both as programs that start, fetch, evaluate and end.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.many_torrents import client_of, requests_since

PEER = "qbt-rules==0.3.2"
DEAR = ("torrents/files", "torrents/trackers", "torrents/properties")
OURS = """
import json, resource, sys, time
from datetime import UTC, datetime
from pathlib import Path
from qbt_rules.engine import RuleEngine
from qbt_rules.model import Job, JobStatus
from seedkeep.qbittorrent import connect

fetched = []
class Timed:
    def __init__(self, client): self.client = client
    def listed(self, ids=None):
        began = time.monotonic()
        rows = self.client.listed(ids)
        fetched.append(time.monotonic() - began)
        return rows
    def __getattr__(self, name): return getattr(self.client, name)

engine = RuleEngine(Path(sys.argv[2]), lambda: Timed(connect(sys.argv[1])))
job = Job(job_id="1", status=JobStatus.PROCESSING, context=None, torrent_hash=None, dry_run=True,
          created_at=datetime.now(UTC))
began = time.monotonic()
result = engine.run(job, lambda: False).as_json()
print(json.dumps({
    "run_s": time.monotonic() - began, "fetch_s": sum(fetched),
    "matched": result["rules_matched"],
    "memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
}))
"""


def rules() -> list[dict[str, Any]]:
    """Name patterns, ratios, sizes, ages, trackers and files, as people have them."""
    found = []
    for number in range(50):
        kind = number % 5
        conditions = [
            {
                "field": "info.name",
                "operator": "matches",
                "value": rf"(?i)\b{number}\d.*(1080p|2160p)",
            }
        ]
        if kind == 1:
            conditions = [
                {"field": "info.ratio", "operator": ">=", "value": 1 + number / 20},
                {"field": "info.category", "operator": "==", "value": "films"},
            ]
        elif kind == 2:
            conditions = [
                {
                    "field": "info.completion_on",
                    "operator": "older_than",
                    "value": f"{number} days",
                },
                {"field": "info.size", "operator": "larger_than", "value": "20GB"},
            ]
        elif kind == 3:
            conditions = [
                {"field": "info.name", "operator": "matches", "value": rf"^Title\.{number}\d\."},
                {"field": "trackers.url", "operator": "contains", "value": f"t{number % 5}."},
            ]
        elif kind == 4:
            conditions = [
                {"field": "info.name", "operator": "contains", "value": f".{number}1."},
                {"field": "files.name", "operator": "matches", "value": r"\.nfo$"},
            ]
        found.append(
            {
                "name": f"rule {number}",
                "conditions": {"all": conditions},
                "actions": [{"type": "add_tag", "params": {"tags": [f"tag{number}"]}}],
            }
        )
    return found


def peer_rules() -> list[dict[str, Any]]:
    """The same in its spelling: its rules need a trigger, and tags are a list."""
    return [{**rule, "conditions": {"trigger": "manual", **rule["conditions"]}} for rule in rules()]


def ours(url: str, folder: Path) -> dict[str, Any]:
    path = folder / "rules.yml"
    path.write_text(json.dumps({"rules": rules()}))
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", OURS, url, str(path)], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout) | {"wall_s": time.monotonic() - began}


def peer(url: str, folder: Path, program: Path) -> dict[str, Any]:
    config = folder / "config"
    config.mkdir(exist_ok=True)
    (config / "rules.yml").write_text(json.dumps({"rules": peer_rules()}))
    (config / "config.yml").write_text(
        json.dumps({"qbittorrent": {"host": url, "user": "a", "pass": "b"}, "logging": {}})
    )
    began = time.monotonic()
    process = subprocess.Popen(
        [program, "--trigger", "manual", "--dry-run", "--config-dir", config],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "LOG_LEVEL": "ERROR", "LOG_FILE": str(folder / "log")},
        cwd=folder,
    )
    _, status, used = os.wait4(process.pid, 0)  # of this child, not the most of all so far
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{program} ended with {process.returncode}")
    return {"wall_s": time.monotonic() - began, "memory_mib": used.ru_maxrss / 1024}


def peer_program(folder: Path) -> Path:
    """The known implementation, in an environment of its own."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "seedkeep/bench-rules"
    program = home / "bin/qbt-rules"
    if not program.exists():
        subprocess.run([sys.executable, "-m", "venv", home], check=True)
        subprocess.run([home / "bin/pip", "install", "-q", PEER], check=True, cwd=folder)
    return program


def line(name: str, count: int, found: dict[str, Any], asked: Counter[str]) -> str:
    dear = sum(asked[name] for name in DEAR)
    rest = asked.total() - dear
    inside = found.get("run_s", 0.0) - found.get("fetch_s", 0.0)
    shown = f"{inside:10.2f}" if "run_s" in found else " " * 10
    return (
        f"{name:<16}{count:>9,}{found['wall_s']:>9.2f}{shown}{rest:>10,}{dear:>10,}"
        f"{found['memory_mib']:>10.0f}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--torrents", type=int, nargs="+", default=[10_000, 30_000])
    parser.add_argument("--without-peer", action="store_true")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="bench-rules-"))
    try:
        print("50 rules, dry run: seconds as a program, seconds without start and fetching,")
        print("requests, requests for files and trackers of single torrents, peak memory in MiB\n")
        print(
            f"{'':<16}{'torrents':>9}{'program':>9}{'rules':>10}{'requests':>10}{'single':>10}"
            f"{'MiB':>10}"
        )
        for count in options.torrents:
            with client_of(count) as url:
                requests_since(url)
                found = ours(url, folder)
                print(line("seedkeep", count, found, requests_since(url)), flush=True)
                if not options.without_peer:
                    known = peer(url, folder, peer_program(folder))
                    print(line("qbt-rules 0.3.2", count, known, requests_since(url)), flush=True)
                    print(f"{'ratio':<16}{'':>9}{found['wall_s'] / known['wall_s']:>9.2f}")
    finally:
        shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
