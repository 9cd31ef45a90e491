"""`/metrics`: what the queue says at the moment of the question, for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily
from prometheus_client.metrics_core import Metric

import seedkeep
from qbt_rules.health import health_report
from qbt_rules.model import JobStatus
from seedkeep import clock

if TYPE_CHECKING:
    from qbt_rules.server import Service

CONTENT_TYPE = CONTENT_TYPE_LATEST


def metrics_page(service: Service) -> bytes:
    # A registry of its own for each answer: the numbers are the queue's, not this process's.
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(service))
    return generate_latest(registry)


class _Collector:
    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterator[Metric]:
        stats = self._service.queue.stats()
        jobs = GaugeMetricFamily(
            "qbt_rules_jobs", "Jobs that are kept, by status.", labels=["status"]
        )
        for status in JobStatus:
            jobs.add_metric([status.value], stats.counts[status])
        yield jobs
        report = health_report(self._service)
        waiting = stats.oldest_pending_at
        oldest = 0.0 if waiting is None else (clock.now() - waiting).total_seconds()
        rows = {
            "queue_depth": ("Jobs that wait or are under way.", float(stats.depth)),
            "oldest_pending_seconds": ("Age of the job that waits longest.", max(0.0, oldest)),
            "jobs_per_hour": ("Jobs that ended per hour, in the last day.", stats.jobs_per_hour),
            "job_execution_seconds_average": (
                "Mean time of a job in the last day; NaN without any.",
                float("nan") if stats.average_execution_s is None else stats.average_execution_s,
            ),
            "worker_up": (
                "Whether a worker gives signs of life.",
                float(report["worker"]["status"] == "running"),
            ),
            "qbittorrent_up": (
                "Whether qBittorrent answers.",
                float(report["qbittorrent"]["connected"]),
            ),
            "rules_valid": ("Whether the rules file is valid.", float(report["rules"]["loaded"])),
            "open_relocations": (
                "Relocations that were interrupted and are not at their end.",
                float(len(self._service.open_runs())),
            ),
            "uptime_seconds": ("Time since the server was started.", self._service.uptime_s),
        }
        for name, (meaning, value) in rows.items():
            yield GaugeMetricFamily(f"qbt_rules_{name}", meaning, value=value)
        yield InfoMetricFamily(
            "qbt_rules_build", "Version of the server.", value={"version": seedkeep.__version__}
        )
