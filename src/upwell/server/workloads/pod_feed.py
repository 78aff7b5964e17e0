"""Pods to read and to watch: instances that the runtime says run, and Pods that are stored.

No view is stored: each list asks the runtime, and what differs from the last answer becomes an
event of the history that watches follow. Versions begin with the time of the start, in
microseconds, so that those of an earlier process have expired, and clients list again.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from datetime import datetime
from typing import cast

from upwell.api.codec import UnknownKindError, resource_of_kind
from upwell.api.meta import ObjectKey, Resource
from upwell.api.pod import Pod
from upwell.server.workloads.pod_view import pod_of, stored_pod_of
from upwell.store.history import ChangeRecord, History
from upwell.store.interface import (
    EVERYTHING,
    Change,
    ExpiredError,
    Listing,
    NotFoundError,
    Reader,
    Selector,
    StoreError,
    UnavailableError,
    WatchEvent,
)
from upwell.store.semantics import matches
from upwell.workload.interface import Owner, Runtime, WorkloadError

_LOG = logging.getLogger(__name__)

_HISTORY_LIMIT = 2048
"""Changes that a watch may be behind before it has to list again."""
_RECONNECT_SECONDS = 1.0

type _Pods = Mapping[tuple[str, str], Pod]
"""By namespace and name."""


class PodFeed:
    """Implements Reader for Pods alone; `started` is the time of the process's start."""

    def __init__(self, runtime: Runtime | None, objects: Reader, started: datetime) -> None:
        self._runtime = runtime
        self._objects = objects
        self._pods: _Pods = {}
        newest = int(started.timestamp() * 1_000_000)
        self._history = History(newest=newest, limit=_HISTORY_LIMIT)
        self._refreshing = asyncio.Lock()
        self._begun = 0
        self._watches = 0

    async def run(self) -> None:
        """Tell watches what changes, for ever."""
        if self._runtime is None:
            return
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow(self._runtime.changes))
            group.create_task(self._follow(lambda: self._objects.watch(Pod)))

    async def _follow(self, changes: Callable[[], AsyncIterator[object]]) -> None:
        while True:
            try:
                async for _ in changes():
                    if self._watches:
                        await self._refresh()
            except (WorkloadError, StoreError) as error:
                _LOG.warning("pods cannot be read", extra={"why": str(error)})
            await asyncio.sleep(_RECONNECT_SECONDS)

    async def get[R: Resource](self, kind: type[R], namespace: str, name: str) -> R:
        """Return one Pod; raises NotFoundError."""
        await self._refresh()
        pod = self._pods.get((namespace, name))
        if not isinstance(pod, kind):
            raise NotFoundError(ObjectKey(Pod.KIND.kind, namespace, name))
        return pod

    async def list[R: Resource](self, kind: type[R], selector: Selector = EVERYTHING) -> Listing[R]:
        """Return the Pods that match."""
        del kind
        await self._refresh()
        found = [pod for _, pod in sorted(self._pods.items()) if matches(selector, pod)]
        return cast("Listing[R]", Listing(found, str(self._history.newest)))

    async def watch[R: Resource](
        self, kind: type[R], selector: Selector = EVERYTHING, *, since: str = ""
    ) -> AsyncGenerator[WatchEvent[R]]:
        """Yield changes after `since` in order, for ever; raises ExpiredError."""
        if since and not (since.isascii() and since.isdigit()):
            raise ExpiredError(since)
        self._watches += 1
        try:
            listing = await self.list(kind, selector)
            for pod in () if since else listing.items:
                yield WatchEvent(Change.ADDED, pod)
            async for record in self._history.follow(int(since or listing.resource_version)):
                if event := record.seen_by(kind, selector):
                    yield event
        finally:
            self._watches -= 1

    async def _refresh(self) -> None:
        """Ask the runtime, unless somebody has begun to after this was called."""
        asked = self._begun
        async with self._refreshing:
            if self._begun == asked:
                self._begun += 1
                self._publish(await self._observe())

    async def _observe(self) -> _Pods:
        if self._runtime is None:
            raise UnavailableError("no container runtime is configured")
        try:
            instances = await self._runtime.instances()
        except WorkloadError as error:
            raise UnavailableError(str(error)) from error
        owners = {owner: await self._owner(owner) for owner in {one.owner for one in instances}}
        shown = [pod_of(one, owners[one.owner]) for one in instances]
        found = {(pod.namespace, pod.name): pod for pod in shown}
        for pod in (await self._objects.list(Pod)).items:
            found.setdefault((pod.namespace, pod.name), stored_pod_of(pod, None))
        return found

    async def _owner(self, owner: Owner) -> Resource | None:
        try:
            return await self._objects.get(
                resource_of_kind(owner.kind), owner.namespace, owner.name
            )
        except (NotFoundError, UnknownKindError):
            return None

    def _publish(self, found: _Pods) -> None:
        """Give a version to what is new or differs, and tell the watches."""
        records: list[ChangeRecord] = []

        def note(change: Change, pod: Pod, old: Pod | None) -> Pod:
            version = self._history.newest + len(records) + 1
            versioned = pod.with_metadata(resource_version=str(version))
            records.append(
                ChangeRecord(version, change, versioned, old.labels if old else None, body="")
            )
            return versioned

        gone = [old for place, old in self._pods.items() if _incarnation(found, place) != old.uid]
        for old in gone:
            note(Change.DELETED, old, old)
        pods = {}
        for place, pod in found.items():
            if _incarnation(self._pods, place) != pod.uid:
                pods[place] = note(Change.ADDED, pod, None)
            elif self._pods[place].with_metadata(resource_version=None) != pod:
                pods[place] = note(Change.MODIFIED, pod, self._pods[place])
            else:
                pods[place] = self._pods[place]
        self._pods = pods
        if records:
            self._history.publish(records)


def _incarnation(pods: _Pods, place: tuple[str, str]) -> str:
    return pods[place].uid if place in pods else ""
