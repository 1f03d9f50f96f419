"""Gauges that are read from the database when /metrics is asked, so that they are right after a restart."""

from collections.abc import Callable, Iterable

from prometheus_client import Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from bot.slack.outbox_rows import depth
from storage.phases import Phase
from storage.unit_of_work import Store

STEP_SECONDS = Histogram(
    "locktender_step_seconds",
    "How long one run of a delivery's step took",
    ["step"],
    buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)


class StoreCollector(Collector):
    """Deployments by phase, outbox depth, and what this process runs."""

    def __init__(self, store: Store, running: Callable[[], int]) -> None:
        self._store = store
        self._running = running

    def collect(self) -> Iterable[Metric]:
        """One look at the database."""
        with self._store.read() as uow:
            counts, waiting = uow.counts(), depth(uow)
        by_phase = GaugeMetricFamily("locktender_deployments", "Deployments by phase", labels=["phase"])
        for phase in Phase:
            by_phase.add_metric([str(phase)], counts.get(str(phase), 0))
        yield by_phase
        yield GaugeMetricFamily("locktender_outbox_depth", "Cards and messages that wait to be sent", value=waiting)
        yield GaugeMetricFamily("locktender_running_here", "Deployments that this process runs", value=self._running())
