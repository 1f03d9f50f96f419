"""The stand-in's queue and executors: quiet period, equal items coalesced, builds in threads, items forgotten."""

import threading
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from bot.sandbox.jenkins_model import BuildContext, BuildRecord, Job, QueueItem, Result, StageFailed, Stopped


@dataclass(frozen=True)
class Pace:
    """How fast a Jenkins is, in seconds; its own defaults are 2 executors, 5, 300 and nearly 0."""

    executors: int = 2
    quiet_period: float = 0.05  # an item waits at least this long
    forget_after: float = 300.0  # an item can be asked for this long after it left the queue
    start_lag: float = 0.0  # an item has left the queue this long before its build can be seen


class Engine:
    """The queue of one Jenkins and its executors. Everything is guarded by `changed`, which is notified of changes."""

    def __init__(self, pace: Pace) -> None:
        self.changed = threading.Condition(threading.RLock())
        self.jobs: dict[str, Job] = {}
        self.quieting = False
        self.pace = pace
        self._items: dict[int, QueueItem] = {}
        self._builds: dict[str, list[BuildRecord]] = {}
        self._numbers: dict[str, int] = {}
        self._next_id = 1
        self._closing = False
        self._threads = [
            threading.Thread(target=self._executor, name=f"jenkins-executor-{n}", daemon=True)
            for n in range(pace.executors)
        ]

    def start(self) -> None:
        """Start the executors."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop what runs and end the executors; a build whose code does not listen is left behind after 5 seconds."""
        with self.changed:
            self._closing = True
            for build in self.running():
                build.stop.set()
            self.changed.notify_all()
        for thread in self._threads:
            thread.join(timeout=5)

    # ------------------------------------------------------------ queue

    def schedule(self, job: Job, parameters: Mapping[str, str], user: str) -> tuple[QueueItem, bool]:
        """The item that waits for these parameters, and whether it is new: an equal one that waits is returned."""
        with self.changed:
            for item in self.waiting():
                if item.job is job and item.parameters == parameters:
                    return item, False
            now = time.time()
            quiet = self.pace.quiet_period if job.quiet_period is None else job.quiet_period
            item = QueueItem(self._next_id, job, MappingProxyType(dict(parameters)), user, now, now + quiet)
            self._items[item.id] = item
            self._next_id += 1
            self.changed.notify_all()
            return item, True

    def waiting(self) -> list[QueueItem]:
        """What is in the queue."""
        with self.changed:
            return [item for item in self._items.values() if item.left_at is None]

    def item(self, number: int) -> QueueItem | None:
        """An item that waits, or left not too long ago."""
        with self.changed:
            item = self._items.get(number)
            if item and item.left_at is not None and time.time() - item.left_at > self.pace.forget_after:
                del self._items[number]
                return None
            return item

    def forget(self) -> None:
        """Forget the items that left the queue, as Jenkins does after five minutes."""
        with self.changed:
            self._items = {item.id: item for item in self.waiting()}

    def cancel(self, number: int) -> bool:
        """Take an item out of the queue; False when it does not wait."""
        with self.changed:
            item = self._items.get(number)
            if item is None or item.left_at is not None:
                return False
            item.cancelled, item.left_at = True, time.time()
            return True

    def why(self, item: QueueItem) -> str | None:
        """Why it still waits, in Jenkins' words."""
        with self.changed:
            left = item.due - time.time()
            if item.left_at is not None:
                return None
            if left > 0:
                return f"In the quiet period. Expires in {left:.1f} sec"
            if self.quieting:
                return "Jenkins is about to shut down"
            busy = self._blocking(item)
            if busy:
                return f"Build #{busy.number} is already in progress (ETA: N/A)"
            return "Waiting for next available executor"

    def blocked(self, item: QueueItem) -> bool:
        """True when another build of the same job keeps it in the queue."""
        return self._blocking(item) is not None

    def _blocking(self, item: QueueItem) -> BuildRecord | None:
        if item.job.concurrent:
            return None
        return next((build for build in self.running() if build.job is item.job), None)

    # ------------------------------------------------------------ builds

    def builds(self, job: str) -> list[BuildRecord]:
        """The builds of a job, newest first."""
        with self.changed:
            return list(reversed(self._builds.get(job, [])))

    def build(self, job: str, number: int) -> BuildRecord | None:
        """One build."""
        return next((build for build in self.builds(job) if build.number == number), None)

    def next_number(self, job: str) -> int:
        """The number of the next build."""
        return self._numbers.get(job, 0) + 1

    def running(self) -> list[BuildRecord]:
        """The builds that have not ended."""
        with self.changed:
            return [build for builds in self._builds.values() for build in builds if build.building]

    def delete(self, job: str, number: int) -> None:
        """Delete a build, as "discard old builds" does."""
        with self.changed:
            self._builds[job] = [build for build in self._builds.get(job, []) if build.number != number]

    def remove(self, job: str) -> None:
        """Delete a job with its builds; one of the same name starts again at 1."""
        with self.changed:
            for known in (self.jobs, self._builds, self._numbers):
                known.pop(job, None)

    # ------------------------------------------------------------ executors

    def _executor(self) -> None:
        while True:
            item = self._take()
            if item is None:
                return
            if self.pace.start_lag:
                time.sleep(self.pace.start_lag)
            self._execute(self._begin(item))

    def _take(self) -> QueueItem | None:
        """The next item that may start, taken out of the queue; None at the end."""
        with self.changed:
            while not self._closing:
                now = time.time()
                ready = [i for i in self.waiting() if i.due <= now and not self.blocked(i) and not self.quieting]
                if ready:
                    ready[0].left_at = now
                    return ready[0]
                due = [i.due - now for i in self.waiting() if i.due > now]
                self.changed.wait(min(due, default=None))
            return None

    def _begin(self, item: QueueItem) -> BuildRecord:
        with self.changed:
            name = item.job.name
            number = self._numbers[name] = self.next_number(name)
            build = BuildRecord(number, item.id, item.job, item.parameters, item.user, time.time())
            build.console += f"Started by user {item.user}\n".encode()
            self._builds.setdefault(name, []).append(build)
            item.number = number
            if self._closing:
                build.stop.set()
            self.changed.notify_all()
            return build

    def _execute(self, build: BuildRecord) -> None:
        context = BuildContext(build)
        try:
            result = build.job.run(context)
        except Stopped:
            result = Result.ABORTED
        except StageFailed as error:
            context.log(f"ERROR: {error}")
            result = Result.FAILURE
        except Exception:  # noqa: BLE001 - whatever a job's code raises fails its build and stands in its console
            context.log(traceback.format_exc())
            result = Result.FAILURE
        order = list(Result)
        result = max(result, build.result or result, key=order.index)
        context.log(f"Finished: {result}")
        with self.changed:
            build.result, build.seconds = result, time.time() - build.started
            build.ended.set()
            self.changed.notify_all()
