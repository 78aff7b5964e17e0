"""One budget of requests per registry, shared by all callers; nothing here waits out a pause.

A 429 or 503 closes the registry's budget: until it opens, callers get the error at once, without a
request, and the work queue tries again later. What a registry tells in its answers is all that is
known: its limits are neither guessed nor configured. One that answers nothing, request after
request, is closed as well: each of them would keep its caller for as long as an answer may take.
"""

import asyncio
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC
from http import HTTPStatus
from random import random

from upwell.registry.errors import RateLimitedError, RegistryError, RegistryUnavailableError
from upwell.registry.hosts import DEFAULT_LIMITS, RegistryLimits
from upwell.registry.slots import RegistrySlots

FIRST_PAUSE = 2.0
LONGEST_PAUSE = 60.0
"""Seconds: a pause that the registry did not state doubles from the first to the longest."""
LONGEST_RETRY_AFTER = 6 * 3600.0
"""Seconds; also the window of Docker Hub's pull limit. A longer Retry-After is cut to this."""
PULL_PAUSE = 900.0
"""Seconds without a pull once none is left, unless an answer says sooner that some are."""

MOST_UNANSWERED = 8
"""Requests in a row without an answer that close a registry: one or two are no outage."""

_JITTER = 0.25
_EPOCH = 1e9
"""A number above it is a time since 1970, in seconds; below it is a number of seconds."""
_REMAINING = re.compile(r"\s*(?P<left>\d{1,9})\s*(?:;\s*w=(?P<window>\d{1,9}))?")
_RESET = re.compile(r"\d{1,12}")
_SECONDS = re.compile(r"\d{1,9}(?:\.\d{1,9})?")


@dataclass(slots=True)
class _RegistryBudget:
    limits: RegistryLimits
    slots: RegistrySlots
    until: float = 0.0
    pulls_until: float = 0.0
    status: int = 0
    """HTTP status because of which requests wait; 0: there was no answer."""
    failures: int = 0
    """Closings in a row without an ordinary answer between them."""
    unanswered: int = 0
    """Requests in a row that nothing was answered to."""
    next_start: float = field(default=0.0)


class RequestBudget:
    """Guards every registry by name. `clock` gives seconds since the epoch, `jitter` 0 to 1."""

    def __init__(
        self,
        limits: Callable[[str], RegistryLimits] = lambda _registry: DEFAULT_LIMITS,
        clock: Callable[[], float] = time.time,
        jitter: Callable[[], float] = random,
    ) -> None:
        self._limits = limits
        self._clock = clock
        self._jitter = jitter
        self._budgets: dict[str, _RegistryBudget] = {}

    async def take(self, registry: str, *, pull: bool = False, urgent: bool = False) -> None:
        """Wait for one of the registry's slots, which has to be given back; raises as `check` does.

        It waits while the slots are taken or the rate is reached; `urgent` ones wait for no others.
        `pull` says that the request counts as an image pull.
        """
        budget = self._budget(registry)
        self.check(registry, pull=pull)
        await budget.slots.acquire(urgent=urgent)
        try:
            if budget.limits.per_second is not None:
                await self._pace(budget, budget.limits.per_second)
            self.check(registry, pull=pull)  # it may have closed while we waited
        except BaseException:
            budget.slots.release()
            raise

    def give_back(self, registry: str) -> None:
        """Give a slot back."""
        self._budget(registry).slots.release()

    def check(self, registry: str, *, pull: bool = False) -> None:
        """Raise RateLimitedError or RegistryUnavailableError, with `retry_after`, while closed."""
        budget = self._budget(registry)
        now = self._clock()
        if budget.until > now:
            raise _refusal(registry, budget.status, budget.until - now)
        if pull and budget.pulls_until > now:
            raise RateLimitedError(registry, budget.pulls_until - now)

    def closed_for(self, registry: str) -> float:
        """Return for how many seconds a registry is closed; 0: it is not, or was never asked."""
        budget = self._budgets.get(registry)
        return max(budget.until - self._clock(), 0.0) if budget is not None else 0.0

    def observe(
        self, registry: str, status: int, headers: Mapping[str, str]
    ) -> RegistryError | None:
        """Take in one answer; returns the error to raise when it closed the budget.

        `headers` are looked up in lower case or case-insensitively.
        """
        budget = self._budget(registry)
        now = self._clock()
        self._observe_pulls(budget, headers, now)
        if status == HTTPStatus.UNAUTHORIZED:
            return None  # it wants a token: what it answers to one shows whether it works
        budget.unanswered = 0
        if status not in {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}:
            if budget.until <= now:  # else it was sent before the budget closed: it proves nothing
                budget.failures = 0
            return None
        self._close(budget, status, _retry_after(headers.get("retry-after", ""), now), now)
        return _refusal(registry, status, budget.until - now)

    def observe_silence(self, registry: str) -> None:
        """Take in that a request got no answer, or its token server gave none: not in time."""
        budget = self._budget(registry)
        now = self._clock()
        budget.unanswered += 1
        if budget.unanswered >= MOST_UNANSWERED and budget.until <= now:
            self._close(budget, 0, None, now)

    def closings(self) -> Mapping[str, bool]:
        """Return whether each registry that was asked is closed."""
        now = self._clock()
        return {name: budget.until > now for name, budget in sorted(self._budgets.items())}

    def _budget(self, registry: str) -> _RegistryBudget:
        budget = self._budgets.get(registry)
        if budget is None:
            limits = self._limits(registry)
            budget = _RegistryBudget(limits, RegistrySlots(limits.concurrency))
            self._budgets[registry] = budget
        return budget

    def _close(
        self, budget: _RegistryBudget, status: int, stated: float | None, now: float
    ) -> None:
        if budget.until <= now:
            budget.failures += 1  # once per closing, however many requests were under way
        pause = self._backoff(budget.failures) if stated is None else stated
        budget.until = max(budget.until, now + pause)
        budget.status = status

    async def _pace(self, budget: _RegistryBudget, per_second: float) -> None:
        now = self._clock()
        start = max(now, budget.next_start)
        budget.next_start = start + 1 / per_second
        if start > now:
            await asyncio.sleep(start - now)

    def _backoff(self, failures: int) -> float:
        pause = min(FIRST_PAUSE * 2 ** min(failures - 1, 16), LONGEST_PAUSE)
        return float(pause * (1 - _JITTER * self._jitter()))

    def _observe_pulls(
        self, budget: _RegistryBudget, headers: Mapping[str, str], now: float
    ) -> None:
        # Docker Hub: "100;w=21600". `w` is the window's length, not the time until it ends,
        # and HEAD is not counted: so HEADs go on, and tell when pulls are possible again.
        left = headers.get("ratelimit-remaining")
        match = _REMAINING.match(left) if left else None
        if match is None:
            return
        window = float(match["window"] or _until_reset(headers, now))
        if int(match["left"]) > 0:
            budget.pulls_until = 0.0
        elif budget.pulls_until <= now:
            budget.pulls_until = now + min(window, PULL_PAUSE)


def _refusal(registry: str, status: int, seconds: float) -> RegistryError:
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return RateLimitedError(registry, seconds)
    why = f"it answered HTTP {status}" if status else "it has answered nothing for a while"
    return RegistryUnavailableError(registry, f"{why}; next try in {seconds:.0f} s", seconds)


def _until_reset(headers: Mapping[str, str], now: float) -> float:
    """Return the seconds until a window ends, as GitLab tells them; the longest, if untold."""
    text = headers.get("ratelimit-reset", "").strip()
    if _RESET.fullmatch(text) is None:
        return PULL_PAUSE
    seconds = float(text)
    return max(seconds - now if seconds > _EPOCH else seconds, 1.0)


def _retry_after(text: str, now: float) -> float | None:
    """Seconds from now (RFC 9110, 10.2.3), or None where nothing usable was said."""
    text = text.strip()
    if _SECONDS.fullmatch(text):
        seconds = float(text)
    else:
        from email.utils import parsedate_to_datetime  # noqa: PLC0415 - few registries name a time

        try:
            date = parsedate_to_datetime(text)
        except ValueError:
            return None
        seconds = date.replace(tzinfo=date.tzinfo or UTC).timestamp() - now
    # "At once" from a registry that just refused would make us hammer it.
    return min(max(seconds, 1.0), LONGEST_RETRY_AFTER)
