"""The state of everything that a job needs, as one answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import seedkeep
from qbt_rules.api_answers import queue_state
from qbt_rules.checks import InvalidRules, RulesCheck
from seedkeep.clock import iso

if TYPE_CHECKING:
    from qbt_rules.server import Service

NO_WORKER = "Worker thread not responding"
NO_CLIENT = "Cannot connect to qBittorrent"
BAD_RULES = "The rules file has mistakes; the rules read before stay in force"
NO_RULES = "There is no rules file"


def health_report(service: Service) -> dict[str, Any]:
    """The body of /api/health.

    Anybody may ask, so it says that something is wrong and not why: the log has the reason.
    """
    queue = service.queue.health()
    client = service.client.look()
    rules = _rules(service.rules)
    working = queue.worker is not None and queue.worker.alive
    errors = list(queue.problems)
    errors += [] if working else [NO_WORKER]
    errors += [NO_CLIENT] if client.version is None else []
    errors += [BAD_RULES] if rules["error"] == BAD_RULES else []
    last = queue.last_completed_at
    report: dict[str, Any] = {
        "status": "unhealthy" if errors else "healthy",
        "version": seedkeep.__version__,
        "queue": queue_state(queue),
        "worker": {
            "status": "running" if working else "not running",
            "last_job_completed": None if last is None else iso(last),
        },
        "qbittorrent": {"connected": client.version is not None, "version": client.version},
        "rules": rules,
        "warnings": [
            *queue.warnings,
            *([NO_RULES] if rules["error"] == NO_RULES else []),
            *_open_runs(service.open_runs()),
        ],
    }
    return report | ({"errors": errors} if errors else {})


def _open_runs(runs: tuple[int, ...]) -> list[str]:
    if not runs:
        return []
    which = ", ".join(map(str, runs))
    what = "Relocations were" if len(runs) > 1 else "A relocation was"
    return [f"{what} interrupted and not brought to the end yet: run {which} of rehome"]


def _rules(rules: RulesCheck) -> dict[str, Any]:
    if not rules.is_there():
        return {"loaded": False, "rules": None, "error": NO_RULES}
    try:
        return {"loaded": True, "rules": rules.read().count, "error": None}
    except InvalidRules:
        return {"loaded": False, "rules": None, "error": BAD_RULES}
