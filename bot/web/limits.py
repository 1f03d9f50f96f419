"""How often somebody may call: token buckets, one for each name. In memory, so each replica counts for itself."""

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

MOST_NAMES = 10_000
"""Names that are remembered; whoever called longest ago is forgotten first, and then has a full bucket again."""


class Buckets:
    """`burst` calls at once, `per_minute` in the long run, for each name. Thread-safe."""

    def __init__(self, per_minute: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_minute, self.burst = per_minute, burst
        self._rate = per_minute / 60
        self._burst = float(burst)
        self._clock = clock
        self._guard = threading.Lock()
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, name: str) -> int:
        """0 when the call may pass; else the whole seconds after which the next one may."""
        with self._guard:
            now = self._clock()
            left, at = self._left.pop(name, (self._burst, now))
            left = min(self._burst, left + (now - at) * self._rate)
            passed = left >= 1
            self._left[name] = (left - 1 if passed else left, now)
            if len(self._left) > MOST_NAMES:
                self._left.popitem(last=False)
            return 0 if passed else max(1, math.ceil((1 - left) / self._rate))
