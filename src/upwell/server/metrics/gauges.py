"""Gauges of the state of all objects."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from itertools import islice
from math import nan
from operator import itemgetter

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from upwell.api.builds.build import Build, BuildPhase
from upwell.api.codec import RESOURCES
from upwell.api.core import Namespace, ResourceQuota, Secret
from upwell.api.meta import Resource
from upwell.machine.components import ComponentState
from upwell.machine.tasks import together
from upwell.policy.access.roles import SYSTEM_NAMESPACE
from upwell.policy.builds.backlog import Backlog
from upwell.policy.explain.freshness import Snapshot
from upwell.policy.health.fault import FaultEvent
from upwell.policy.health.judgement import faults_of
from upwell.policy.quotas.usage import readable
from upwell.policy.rollouts.settings import WORKLOADS
from upwell.policy.rollouts.summary import RolloutState, rollout_of
from upwell.server.auth.tokens import TOKEN_TYPE, TokenRecord
from upwell.store.interface import Selector, Store, StoreError

log = logging.getLogger(__name__)

_KEPT_SECONDS = 5.0
"""Seconds for which gauges count while nothing changes: what has not ended yet takes longer."""
_MAX_TOKENS = 1000
"""Tokens that have a metric."""
_MAX_LIMITS = 1000
"""Limits of namespaces that have a metric."""
_UNLISTED = frozenset({"Forbidden", "NotFound"})
"""Reasons of a StoreError (meta/v1 StatusReason): a kind may not be listed, or is not served."""
_WAITING = (BuildPhase.NEW, BuildPhase.PENDING)


class StateGauges:
    """Reads all objects at once, when one has changed or the last gauges are some seconds old.

    Who asks while they are made gets these.
    """

    def __init__(self, store: Store, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._clock = clock
        self._making = asyncio.Lock()
        self._made: _Made | None = None

    async def __call__(self) -> Sequence[Metric]:
        """Return the gauges; none while the store does not answer."""
        asked = asyncio.get_running_loop().time()
        try:
            async with self._making:
                if not await self._counts(asked):
                    self._made = await self._make()
                made = self._made
        except StoreError as error:
            log.warning("gauges of objects left out", extra={"why": str(error)})
            made = None
        return made.gauges if made is not None else ()

    async def _counts(self, asked: float) -> bool:
        """Return True if the last gauges are those of now, or were made since somebody asked."""
        made, now = self._made, asyncio.get_running_loop().time()
        if made is None or made.began + _KEPT_SECONDS < now:
            return False
        return made.began >= asked or made.version == await self._version()

    async def _version(self) -> str:
        """Return the version of the last change of any object."""
        nothing = await self._store.list(Namespace, Selector(name=SYSTEM_NAMESPACE))
        return nothing.resource_version

    async def _make(self) -> "_Made":
        began, version = asyncio.get_running_loop().time(), await self._version()
        kinds = [kind for kind in RESOURCES if kind.KIND.is_stored]
        found = await together(self._listed(kind) for kind in kinds)
        unknown = {kind for kind, items in zip(kinds, found, strict=True) if items is None}
        objects = [item for items in found for item in items or ()]
        gauges = await asyncio.to_thread(_gauges_of, objects, unknown, self._clock())
        return _Made(gauges, version, began)

    async def _listed(self, kind: type[Resource]) -> Sequence[Resource] | None:
        """Return the objects of a kind; None of one that a cluster does not list for the server.

        Raises another StoreError.
        """
        try:
            return (await self._store.list(kind)).items
        except StoreError as error:
            if error.reason not in _UNLISTED:
                raise
            return None


@dataclass(frozen=True, slots=True)
class _Made:
    gauges: Sequence[Metric]
    version: str
    """Version of the last change before they were begun."""
    began: float
    """Time of the loop."""


def _gauges_of(
    objects: Sequence[Resource], unknown: Collection[type[Resource]], now: datetime
) -> Sequence[Metric]:
    snapshot = Snapshot(objects)
    kinds = [kind for kind in RESOURCES if kind not in unknown]
    return [
        labelled("upwell_objects", "Objects by kind.", "kind", _counted(objects, kinds)),
        *_builds([item for item in objects if isinstance(item, Build)]),
        *_backlog(snapshot.backlog(now)),
        *_rollouts(snapshot),
        *fault_gauges(objects),
        *token_gauges(item for item in objects if isinstance(item, Secret)),
        *quota_gauges(item for item in objects if isinstance(item, ResourceQuota)),
    ]


def _counted(objects: Iterable[Resource], kinds: Iterable[type[Resource]]) -> dict[str, float]:
    counts = Counter(item.KIND.kind for item in objects)
    return {str(kind.KIND.kind): counts[kind.KIND.kind] for kind in kinds}


def _builds(builds: Sequence[Build]) -> list[Metric]:
    phases = Counter(build.status.phase for build in builds)
    waiting = sum(phases[phase] for phase in _WAITING)
    by_phase = {str(phase): float(phases[phase]) for phase in BuildPhase}
    return [
        labelled("upwell_builds", "Builds that are kept, by phase.", "phase", by_phase),
        gauge("upwell_builds_waiting", "Builds that have not started.", waiting),
    ]


def _backlog(backlog: Backlog) -> list[Metric]:
    what = "Estimated seconds until all builds have ended that run or wait for their turn."
    remaining = backlog.remaining
    seconds = remaining.total_seconds() if remaining is not None else nan
    return [gauge("upwell_builds_remaining_seconds", what, seconds)]


def _rollouts(snapshot: Snapshot) -> list[Metric]:
    workloads = [item for item in snapshot.workloads.values() if isinstance(item, WORKLOADS)]
    states = Counter(rollout_of(workload).state for workload in workloads)
    behind = sum(bool(snapshot.workload_freshness(workload).behind) for workload in workloads)
    by_state = {str(state): float(states[state]) for state in RolloutState}
    return [
        labelled("upwell_rollouts", "Newest rollouts of workloads, by state.", "state", by_state),
        gauge("upwell_workloads_behind", "Workloads that lack a change of an image.", behind),
    ]


def fault_gauges(objects: Iterable[Resource]) -> list[Metric]:
    """Return the gauges of what is wrong with objects now."""
    faults = [fault for item in objects for fault in faults_of(item)]
    by_reason = Counter((fault.key.kind, fault.reason) for fault in faults)
    what = "Faults of objects, as `upwell status` names them."
    family = GaugeMetricFamily("upwell_faults", what, labels=["kind", "reason"])
    for labels, count in sorted(by_reason.items()):
        family.add_metric(labels, count)
    failing = sum(fault.event is FaultEvent.IMPORT_FAILED for fault in faults)
    return [family, gauge("upwell_imports_failing", "Tags whose last import failed.", failing)]


def token_gauges(secrets: Iterable[Secret]) -> list[Metric]:
    """Return the end of each token that has one, of the first so many that end."""
    what = "Ends of tokens, in seconds since 1970."
    family = GaugeMetricFamily("upwell_token_expiry_timestamp_seconds", what, labels=["token"])
    ends: dict[str, float] = {}
    for secret in secrets:
        if secret.type == TOKEN_TYPE and secret.namespace == SYSTEM_NAMESPACE:
            with suppress(ValueError):  # a damaged one opens nothing
                record = TokenRecord.of(secret)
                if record.expires is not None:
                    ends[record.name] = record.expires.timestamp()
    for name, end in islice(sorted(ends.items(), key=itemgetter(1)), _MAX_TOKENS):
        family.add_metric([name], end)
    return [family]


def quota_gauges(quotas: Iterable[ResourceQuota]) -> list[Metric]:
    """Return what is used of each limit of namespaces, of the first so many of them."""
    labels = ["namespace", "resource"]
    most = GaugeMetricFamily("upwell_quota_limit", "Limits of ResourceQuotas.", labels=labels)
    used = GaugeMetricFamily("upwell_quota_used", "Amounts used of them.", labels=labels)
    found: dict[tuple[str, str], tuple[Decimal, Decimal]] = {}
    for quota in sorted(quotas, key=lambda one: one.namespace):
        amounts = readable(quota.status.used)
        for name, limit in readable(quota.status.hard).items():
            place = (quota.namespace, name)
            lower = min(limit, found[place][0]) if place in found else limit
            found[place] = (lower, amounts.get(name, Decimal(0)))
    for place, (limit, amount) in islice(found.items(), _MAX_LIMITS):
        most.add_metric(place, float(limit))
        used.add_metric(place, float(amount))
    return [most, used]


def budget_gauges(closings: Mapping[str, bool]) -> list[Metric]:
    """Return the gauges of registries, by whether each has told us to wait."""
    closed = {registry: float(is_closed) for registry, is_closed in closings.items()}
    what = "Whether a registry told us to wait (1) or may be asked (0)."
    return [labelled("upwell_registry_budget_closed", what, "registry", closed)]


def component_metrics(states: Iterable[ComponentState]) -> list[Metric]:
    """Return whether each component works, and how often it was started anew."""
    up = GaugeMetricFamily(
        "upwell_component_up",
        "Whether a component of the server works (1) or is faulty (0).",
        labels=["component"],
    )
    restarts = CounterMetricFamily(
        "upwell_component_restarts", "Starts of a component after a fault.", labels=["component"]
    )
    for state in states:
        up.add_metric([state.name], not state.faulty)
        restarts.add_metric([state.name], state.restarts)
    return [up, restarts]


def connection_metrics(count: int, refused: Mapping[str, int]) -> list[Metric]:
    """Return how many connections are open, and how many were refused or cut off, by reason."""
    family = CounterMetricFamily(
        "upwell_connections_refused",
        "Connections that were refused, or closed by a limit, by reason.",
        labels=["reason"],
    )
    for reason, times in sorted(refused.items()):
        family.add_metric([reason], times)
    return [gauge("upwell_connections", "Open connections of clients.", count), family]


def gauge(name: str, what: str, value: float) -> Metric:
    """Return a gauge without labels."""
    return GaugeMetricFamily(name, what, value=value)


def labelled(name: str, what: str, label: str, values: dict[str, float]) -> Metric:
    """Return a gauge with one label."""
    family = GaugeMetricFamily(name, what, labels=[label])
    for text, value in values.items():
        family.add_metric([text], value)
    return family
