"""Writes that were refused for good, by object: when each is tried again.

A right, a quota or a webhook changes unseen: soon after the refusal that is likely, as somebody
reads of it, and later ever less.
"""

import random
from collections.abc import Callable

from upwell.api.meta import ObjectKey
from upwell.machine.backoff import Backoff

FIRST_SECONDS, LONGEST_SECONDS = 10.0, 300.0


class Refusals:
    """Counts refusals in a row. What is lost with the process costs a try.

    `first` is the seconds until a try after the first refusal, which grow up to LONGEST_SECONDS.
    """

    def __init__(
        self, first: float = FIRST_SECONDS, jitter: Callable[[], float] = random.random
    ) -> None:
        self._backoff = Backoff(first, LONGEST_SECONDS, jitter)
        self._counts: dict[ObjectKey, int] = {}

    def note(self, key: ObjectKey) -> float:
        """Note that a write of an object was refused; return the seconds until the next try."""
        count = self._counts[key] = self._counts.get(key, 0) + 1
        return self._backoff.delay(count)

    def forget(self, key: ObjectKey) -> None:
        """Note that an object was written, or needs no write any more."""
        self._counts.pop(key, None)
