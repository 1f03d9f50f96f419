"""Gauges that are read from the database when /metrics is asked, so that they are right after a restart."""

from collections.abc import Callable, Iterable

import structlog
from prometheus_client import Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError

from bot.slack.outbox_rows import depth, failing
from storage.phases import Phase
from storage.unit_of_work import Store

STEP_SECONDS = Histogram(
    "locktender_step_seconds",
    "How long one run of a delivery's step took",
    ["step"],
    buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
log = structlog.get_logger("metrics")


class StoreCollector(Collector):
    """Deployments by phase, outbox depth, and what this process runs."""

    def __init__(self, store: Store, running: Callable[[], int]) -> None:
        self._store = store
        self._running = running

    def collect(self) -> Iterable[Metric]:
        """One look at the database; without it, what this process runs is still told."""
        yield GaugeMetricFamily("locktender_running_here", "Deployments that this process runs", value=self._running())
        try:
            with self._store.read() as uow:
                counts, waiting, errors = uow.counts(), depth(uow), failing(uow)
        except SQLAlchemyError as error:
            log.warning("metrics.database_unreadable", error=type(error).__name__)
            return
        by_phase = GaugeMetricFamily("locktender_deployments", "Deployments by phase", labels=["phase"])
        for phase in Phase:
            by_phase.add_metric([str(phase)], counts.get(str(phase), 0))
        yield by_phase
        yield GaugeMetricFamily("locktender_outbox_depth", "Cards and messages that wait to be sent", value=waiting)
        by_error = GaugeMetricFamily(
            "locktender_outbox_failing", "Of those, the ones whose last try failed, by Slack's error", labels=["error"]
        )
        for code, count in errors.items():
            by_error.add_metric([code], count)
        yield by_error
