"""The HTTP application of qbt-rules without a server around it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from werkzeug.test import Client, TestResponse

from qbt_rules.api_security import Keys
from qbt_rules.checks import ClientCheck, RulesCheck
from qbt_rules.model import Job
from qbt_rules.queue_manager import QueueManager, WorkerName, create_queue
from qbt_rules.server import Service, create_app
from seedkeep.errors import SeedError
from seedkeep.torrent_client import ClientVersion

KEY = "a-key-of-more-than-sixteen-characters"
WORKER = WorkerName(worker_id="test-worker", host="test", pid=1)
RULES = """\
rules:
  - name: tag what is new
    conditions: {context: on_added}
    actions:
      - {type: add_tag, params: {tag: new}}
"""


@dataclass
class Answering:
    """A qBittorrent of which only the version is asked."""

    problem: SeedError | None = None
    asked: int = 0
    connected: int = 0

    def version(self) -> ClientVersion:
        return ClientVersion("v5.1.0", (2, 11, 4))

    def torrents(self, ids: Collection[str] | None = None) -> Sequence[object]:
        self.asked += 1
        if self.problem is not None:
            raise self.problem
        return []

    def connect(self) -> Answering:
        self.connected += 1
        if self.problem is not None:
            raise self.problem
        return self


@dataclass
class Api:
    """Asks the application, with a valid key unless another is given."""

    queue: QueueManager
    rules_file: Path
    service: Service
    client: Answering = field(default_factory=Answering)

    @classmethod
    @contextmanager
    def opened(cls, folder: Path, **more: Any) -> Iterator[Api]:
        rules_file = folder / "rules.yml"
        rules_file.write_text(RULES)
        queue = more.pop("queue", None) or create_queue("sqlite", path=folder / "queue.db")
        answering = Answering()
        service = Service(
            queue=queue,
            keys=Keys(more.pop("keys", [KEY])),
            client=ClientCheck(answering.connect),
            rules=RulesCheck(rules_file),
            explain=more.pop("explain", lambda *_: []),
            **more,
        )
        try:
            yield cls(queue, rules_file, service, answering)
        finally:
            queue.close()

    def __post_init__(self) -> None:
        self.app = create_app(self.service)
        self._client = Client(self.app)

    def ask(self, method: str, path: str, *, key: str | None = KEY, **more: Any) -> TestResponse:
        headers = {"X-API-Key": key} if key is not None else {}
        environ = {"REMOTE_ADDR": "127.0.0.1"} | more.pop("environ_overrides", {})
        return self._client.open(
            path,
            method=method,
            headers=headers | more.pop("headers", {}),
            environ_overrides=environ,
            **more,
        )

    def get(self, path: str, **more: Any) -> Any:
        """The body of an answer that must be 200."""
        response = self.ask("GET", path, **more)
        assert response.status_code == 200, response.text
        return response.json

    def execute(self, query: str = "") -> Any:
        response = self.ask("POST", f"/api/execute?{query}")
        assert response.status_code == 202, response.text
        return response.json

    def reason(self, method: str, path: str, status: int = 400) -> str:
        """Why a request was refused."""
        response = self.ask(method, path)
        assert response.status_code == status, response.text
        body: Any = response.json
        assert set(body) == {"error", "message", "trace_id"}
        return str(body["message"])

    def take(self) -> Job:
        """The next job, as a worker gets it."""
        job = self.queue.dequeue(WORKER)
        assert job is not None
        return job
