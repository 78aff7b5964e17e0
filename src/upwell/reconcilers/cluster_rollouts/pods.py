"""Pods of a cluster in memory: those of each workload, and which digests run where."""

import asyncio
import logging
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator
from contextlib import aclosing
from dataclasses import dataclass

from upwell.api.apps import DeploymentConfig
from upwell.api.meta import ObjectKey
from upwell.cluster.errors import ClusterError, ListExpiredError
from upwell.cluster.interface import ClusterPods, PodRecord
from upwell.machine.backoff import Backoff, asked_delay
from upwell.machine.clock import elapsed
from upwell.reconcilers.rollouts.traffic import KeyFeed

log = logging.getLogger(__name__)

_PAUSES = Backoff(first=1.0, longest=30.0)
_FAULT_SECONDS = 45.0
"""For which a refusal counts: what is refused is asked for again before, and refused again."""


@dataclass(frozen=True, slots=True)
class RunningImage:
    """An image that Pods of a workload run on a node."""

    digest: str
    image: str
    """As the Pods name it."""
    workload: ObjectKey
    node: str
    pods: int


class PodIndex:
    """Follows the Pods of a cluster: a list, then what changes, from wherever a watch broke off.

    Every replica does, to say what runs; the one that leads decides by it too.
    """

    def __init__(self, pods: ClusterPods, elapsed: Callable[[], float] = elapsed) -> None:
        self.changed = KeyFeed()
        """Workloads whose Pods changed, for whoever decides about them."""
        self.changed_configs = KeyFeed()
        """DeploymentConfigs of them, about which another decides."""
        self._pods = pods
        self._elapsed = elapsed
        self._fault, self._failed_at = "", 0.0
        self._is_listed = False
        self._position = ""
        self._by_owner: dict[ObjectKey, dict[str, PodRecord]] = defaultdict(dict)
        self._owners: dict[tuple[str, str], ObjectKey] = {}

    def __len__(self) -> int:
        return len(self._owners)

    @property
    def is_listed(self) -> bool:
        """True once all Pods were listed."""
        return self._is_listed

    def fault(self) -> str:
        """Return why the Pods cannot be followed now: the cluster refuses to tell of them.

        A cluster that does not answer refuses nothing.
        """
        return self._fault if self._elapsed() - self._failed_at < _FAULT_SECONDS else ""

    def workloads(self) -> Collection[ObjectKey]:
        """Return the workloads that have Pods."""
        return tuple(self._by_owner)

    def of(self, workload: ObjectKey) -> Collection[PodRecord]:
        """Return the Pods of a workload."""
        return tuple(self._by_owner[workload].values()) if workload in self._by_owner else ()

    def running(self, workload: ObjectKey) -> Iterator[RunningImage]:
        """Yield what a workload runs: one record for each digest and node."""
        found = Counter(
            (digest, image, pod.node)
            for pod in self.of(workload)
            for digest, image in {(one.digest, one.image) for one in pod.containers}
            if digest
        )
        for (digest, image, node), count in found.items():
            yield RunningImage(digest, image, workload, node, count)

    async def run(self, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        """Keep up with the cluster until cancelled; what fails is tried again after a pause."""
        failures = 0
        while True:
            try:
                async for key in self.changes():
                    is_config = key.kind == DeploymentConfig.KIND.kind
                    (self.changed_configs if is_config else self.changed).add(key)
                    failures = 0
            except ClusterError as error:
                failures += 1
                self._fault = "" if error.retryable else str(error)
                self._failed_at = self._elapsed()
                pause = max(_PAUSES.delay(failures), asked_delay(error))
                log.warning("Pods not followed", extra={"retry_in": pause, "why": str(error)})
                await sleep(pause)

    async def changes(self) -> AsyncIterator[ObjectKey]:
        """Keep up with the cluster, and yield the workloads whose Pods changed; never ends.

        Raises a ClusterError; called again, it goes on from where it was. A position that is too
        old is one, too: whoever calls again waits between two lists.
        """
        while True:
            if not self._position:
                async for key in self._list():
                    yield key
            try:
                async with aclosing(self._pods.watch(self._position)) as changes:
                    async for change, position in changes:
                        if change is not None:
                            concerned = self._take(change.pod, gone=change.gone)
                            if concerned is not None:
                                yield concerned
                        self._position = position
            except ListExpiredError:
                self._position = ""
                raise

    async def _list(self) -> AsyncIterator[ObjectKey]:
        """Take all in."""
        found, position = await self._pods.list()
        present = {(pod.namespace, pod.name) for pod in found}
        changed = set()
        for place in self._owners.keys() - present:
            changed.add(self._remove(place))
        for pod in found:
            if (concerned := self._take(pod, gone=False)) is not None:
                changed.add(concerned)
        self._position, self._is_listed = position, True
        self._fault = ""
        for key in changed:
            yield key

    def _take(self, pod: PodRecord, *, gone: bool) -> ObjectKey | None:
        """Take a Pod in, and return its workload if anything of it is new."""
        place, key = (pod.namespace, pod.name), ObjectKey(pod.owner_kind, pod.namespace, pod.owner)
        if gone:
            return self._remove(place) if place in self._owners else None
        if self._owners.setdefault(place, key) != key:
            # Adopted, or let go by its labels: what it does says nothing about the one before.
            self._remove(place)
            self._owners[place] = key
        pods = self._by_owner[key]
        if pods.get(pod.name) == pod:
            return None
        pods[pod.name] = pod
        return key

    def _remove(self, place: tuple[str, str]) -> ObjectKey:
        key = self._owners.pop(place)
        pods = self._by_owner[key]
        pods.pop(place[1], None)
        if not pods:
            del self._by_owner[key]
        return key
