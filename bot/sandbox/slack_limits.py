"""How often Slack lets an app call each method: https://docs.slack.dev/apis/web-api/rate-limits."""

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Rates:
    """Calls per minute of each tier, and of messages into one channel. `post_burst` may go at once."""

    tiers: tuple[int, int, int, int] = (20, 20, 50, 100)  # tier 1 is 1+, but connections.open is let off lightly
    posts_per_minute: int = 60
    post_burst: int = 5


UNLIMITED = Rates(tiers=(10**9, 10**9, 10**9, 10**9), posts_per_minute=10**9, post_burst=10**9)


@dataclass
class _Bucket:
    tokens: float
    at: float


@dataclass
class Limiter:
    """Token buckets, one per method, and one per channel for messages. Thread-safe."""

    rates: Rates = field(default_factory=Rates)
    clock: Callable[[], float] = time.monotonic
    _buckets: dict[str, _Bucket] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def wait(self, method: str, tier: int | None, channel: str) -> int:
        """0 when the call may go ahead (and is counted), else the whole seconds of Retry-After.

        `tier` is 1 to 4, or None for chat.postMessage's rule: about one a second and channel.
        """
        if tier is None:
            return self._take(f"{method} {channel}", self.rates.posts_per_minute, self.rates.post_burst)
        per_minute = self.rates.tiers[tier - 1]
        return self._take(method, per_minute, per_minute)

    def _take(self, key: str, per_minute: float, burst: float) -> int:
        now = self.clock()
        with self._lock:
            bucket = self._buckets.setdefault(key, _Bucket(burst, now))
            bucket.tokens = min(burst, bucket.tokens + (now - bucket.at) * per_minute / 60)
            bucket.at = now
            if bucket.tokens >= 1:
                bucket.tokens -= 1
                return 0
            return max(1, math.ceil((1 - bucket.tokens) * 60 / per_minute))
