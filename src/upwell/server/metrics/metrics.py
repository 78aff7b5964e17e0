"""/metrics in Prometheus' text format: what is counted as it happens, and what is so right now.

Labels are bounded: kinds, phases, HTTP codes, and the first so many registries; never an object's
name. Counters live as long as the process.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from upwell.api.codec import RESOURCES
from upwell.policy.access.roles import REPOSITORIES
from upwell.server.auth.request_info import action_of, query_of

log = logging.getLogger(__name__)

OTHER = "other"
_MAX_REGISTRIES = 50
_RESOURCES = {resource.KIND.plural for resource in RESOURCES} | {REPOSITORIES}
_TIMEOUT_HEADER = "X-Prometheus-Scrape-Timeout-Seconds"
"""Seconds after which Prometheus gives a scrape up (its `scrape_timeout`), which it sends along."""
_OF_TIMEOUT = 0.8
"""Share of them in which the gauges are read: the rest is for the answer's way."""
_LONGEST_SECONDS = 60.0
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)

type Gauges = Callable[[], Awaitable[Sequence[Metric]]]
"""Returns what is so right now."""


class Metrics:
    """Counters and histograms, counted as things happen."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._requests = Counter(
            "upwell_http_requests",
            "Requests by verb, kind of object and HTTP status.",
            ["verb", "resource", "code"],
            registry=self.registry,
        )
        self._seconds = Histogram(
            "upwell_http_request_duration_seconds",
            "Time until the end of the answer; watches and followed logs are left out.",
            ["verb", "resource"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._lag = Histogram(
            "upwell_event_loop_lag_seconds",
            "Time that the event loop came late to a turn, once a second.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._checks = Counter(
            "upwell_registry_checks",
            "Questions to a registry what a tag names now.",
            ["registry"],
            registry=self.registry,
        )
        self._failures = Counter(
            "upwell_registry_check_failures",
            "Such questions that failed, by reason.",
            ["registry", "reason"],
            registry=self.registry,
        )
        self._verdicts = Counter(
            "upwell_image_policy_verdicts",
            "Judgements of images by image policies: at which point, in which mode, and the outcome"
            " (Verified, or why not).",
            ["at", "mode", "reason"],
            registry=self.registry,
        )
        self._registries: set[str] = set()

    def count_request(self, scope: Scope, code: int, seconds: float) -> None:
        """Count an HTTP request that has ended."""
        action = action_of(scope)
        resource = action.resource if action.resource in _RESOURCES else OTHER
        self._requests.labels(action.verb, resource, str(code)).inc()
        if action.verb != "watch" and "follow" not in query_of(scope):
            self._seconds.labels(action.verb, resource).observe(seconds)

    def observe_lag(self, seconds: float) -> None:
        """Note how late the event loop came to a turn."""
        self._lag.observe(seconds)

    def count_check(self, registry: str, failure: str = "") -> None:
        """Count a question to a registry; `failure` is the reason of the error it ended with."""
        name = self._bounded(registry)
        self._checks.labels(name).inc()
        if failure:
            self._failures.labels(name, failure).inc()

    def count_verdict(self, at: str, mode: str, reason: str) -> None:
        """Count the judgement of an image by a policy."""
        self._verdicts.labels(at, mode, reason).inc()

    def _bounded(self, registry: str) -> str:
        if registry not in self._registries and len(self._registries) >= _MAX_REGISTRIES:
            return OTHER
        self._registries.add(registry)
        return registry


class Measured:
    """ASGI middleware that counts every request, those that are refused included."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, code = time.monotonic(), 0

        async def watching(message: Message) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watching)
        finally:
            self._metrics.count_request(scope, code, time.monotonic() - started)


@dataclass(frozen=True, slots=True, eq=False)
class _Now(Collector):
    """Gauges that were read already, as a collector."""

    families: Sequence[Metric]

    def collect(self) -> Iterable[Metric]:
        return self.families


def create_routes(metrics: Metrics, gauges: Sequence[Gauges]) -> list[BaseRoute]:
    """Return the route of /metrics."""

    async def expose(request: Request) -> Response:
        families: list[Metric] = []
        try:
            async with asyncio.timeout(_time_for(request)):
                for read in gauges:
                    families.extend(await read())
        except TimeoutError:
            log.warning("gauges left out", extra={"why": "they take longer than the scrape may"})
        now = CollectorRegistry()
        now.register(_Now(families))
        text = generate_latest(metrics.registry) + generate_latest(now)
        return Response(text, headers={"Content-Type": CONTENT_TYPE_LATEST})

    return [Route("/metrics", expose)]


def _time_for(request: Request) -> float:
    """Return the seconds in which the gauges have to be read, or are left out."""
    try:
        timeout = float(request.headers.get(_TIMEOUT_HEADER, ""))
    except ValueError:
        return _LONGEST_SECONDS
    return min(timeout * _OF_TIMEOUT, _LONGEST_SECONDS) if timeout > 0 else _LONGEST_SECONDS
