"""Rate limits of clients: a token bucket and a count of open requests for each."""

import math
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from upwell.server.http.errors import ApiError

_MAX_CLIENTS = 10_000
"""Buckets that are remembered; the one used longest ago is forgotten, and so full again."""


@dataclass(frozen=True, slots=True)
class Rate:
    """Requests per second in the long run, and at once after a rest."""

    per_second: float
    burst: int


class RateError(ApiError):
    """Too many requests; `retry_after` is in whole seconds."""

    def __init__(self, client: str, rate: Rate, seconds: float) -> None:
        self.retry_after = max(1, math.ceil(seconds))
        super().__init__(
            429,
            f"{client} sends more than {rate.per_second:g} requests per second:"
            f" try again in {self.retry_after} s",
        )


@dataclass(slots=True)
class _Bucket:
    left: float
    filled: float


class Rates:
    """Token buckets by client. `clock` gives seconds that never go back."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def take(self, client: str, rate: Rate) -> None:
        """Count one request of `client`; raises RateError when it has none left."""
        now = self._clock()
        bucket = self._buckets.get(client)
        if bucket is None:
            bucket = self._buckets[client] = _Bucket(rate.burst, now)
            if len(self._buckets) > _MAX_CLIENTS:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(client)
        bucket.left = min(rate.burst, bucket.left + (now - bucket.filled) * rate.per_second)
        bucket.filled = now
        if bucket.left < 1:
            raise RateError(client, rate, (1 - bucket.left) / rate.per_second)
        bucket.left -= 1


class OpenByClient:
    """Counts the watches and followed logs of each client, or of each namespace."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._open: Counter[str] = Counter()

    @contextmanager
    def counted(self, client: str) -> Iterator[None]:
        """Count one more while the block lasts; raises ApiError 429 at the limit."""
        if self._open[client] >= self._limit:
            raise ApiError(
                429, f"{client} has {self._limit} watches and followed logs open: close some first"
            )
        self._open[client] += 1
        try:
            yield
        finally:
            self._open[client] -= 1
            if not self._open[client]:
                del self._open[client]
