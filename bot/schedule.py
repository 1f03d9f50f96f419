"""What happens by the clock: looking at git, forgetting old deliveries, tidying. In memory, one set per process."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import structlog
from apscheduler.schedulers.background import BackgroundScheduler

log = structlog.get_logger("schedule")


class Schedule:
    """Named jobs. A job that still runs is not started again; one that raises is logged and comes again."""

    def __init__(self) -> None:
        # In memory on purpose: with a shared SQL store APScheduler 3 runs every job in every process, and it pickles.
        self._scheduler = BackgroundScheduler(timezone=UTC, job_defaults={"coalesce": True, "max_instances": 1})

    def every(
        self, name: str, period: timedelta, job: Callable[[], None], *, first_in: timedelta | None = None
    ) -> None:
        """Run `job` every `period`, the first time after `first_in` (one period by default)."""

        def guarded() -> None:
            try:
                job()
            except Exception:  # the edge of a background job: the next run must come
                log.exception("schedule.job_failed", job=name)

        first = datetime.now(UTC) + (period if first_in is None else first_in)
        self._scheduler.add_job(
            guarded, "interval", seconds=period.total_seconds(), id=name, next_run_time=first, misfire_grace_time=None
        )

    def start(self) -> None:
        """Begin."""
        self._scheduler.start()

    def stop(self) -> None:
        """Let running jobs end and start no more."""
        self._scheduler.shutdown(wait=True)
