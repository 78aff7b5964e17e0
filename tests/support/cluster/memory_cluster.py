"""A cluster in memory: workloads in a store, owners of their images, Events and Pods."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from upwell.api.meta import ObjectKey, Resource
from upwell.cluster.errors import (
    ClusterError,
    FieldOwnedError,
    ListExpiredError,
    WorkloadChangedError,
    WriteRefusedError,
)
from upwell.cluster.interface import (
    FIELD_MANAGER,
    ImageWrite,
    OwnedPod,
    PodChange,
    PodRecord,
    WorkloadEvent,
)
from upwell.policy.cluster_rollouts.field_owners import OWN, image_owners, image_path, owners_of
from upwell.policy.rollouts.image_ownership import declared_images
from upwell.policy.rollouts.triggers import with_images
from upwell.store.interface import ConflictError, NotFoundError, Store

_ANNOTATIONS = ("f:metadata", "f:annotations")


def owned_by(manager: str, *paths: tuple[str, ...], operation: str = "Update") -> dict[str, object]:
    """Return an entry of managedFields."""
    fields: dict[str, object] = {}
    for path in paths:
        place = fields
        for step in path:
            place = place.setdefault(step, {})  # type: ignore[assignment]
    return {
        "manager": manager,
        "operation": operation,
        "fieldsType": "FieldsV1",
        "fieldsV1": fields,
    }


@dataclass
class MemoryWorkloads:
    """Implements ClusterWorkloads on a store."""

    store: Store
    told: list[WorkloadEvent] = field(default_factory=list)
    writes: int = 0
    events_asked: int = 0
    """Calls of `tell`."""
    fault: ClusterError | None = None
    """Raised by the next writes."""
    mute: ClusterError | None = None
    """Raised by the next Events."""
    admission: str = ""
    """Image that admission puts in the place of each that is set."""
    pods: "MemoryClusterPods | None" = None
    """Pods that may be deleted."""

    async def set_images(self, write: ImageWrite) -> Resource:
        self.writes += 1
        if self.fault is not None:
            raise self.fault
        read = write.workload
        try:
            stored = await self.store.get(type(read), read.namespace, read.name)
        except NotFoundError as error:
            raise WorkloadChangedError(str(error)) from error
        if (stored.uid, stored.resource_version) != (read.uid, read.resource_version):
            raise WorkloadChangedError(f"{read.key} has changed")
        present = declared_images(stored, write.images)
        entries = list(stored.metadata.managed_fields)
        for slot, image in write.images.items():
            others = image_owners(stored, slot) - {OWN}
            if others and image != present[slot] and not write.take_over:
                raise FieldOwnedError(f'conflict with "{min(others)[0]}": {slot[0]} image')
            if image != present[slot]:
                entries = [
                    one for one in entries if not _has(stored, one, image_path(stored, slot))
                ]
        for name, text in write.annotations.items():
            path = (*_ANNOTATIONS, f"f:{name}")
            others = owners_of(stored, path) - {OWN}
            if not others or stored.annotations.get(name) == text:
                continue
            if not write.take_over:
                raise FieldOwnedError(f'conflict with "{min(others)[0]}": {name}')
            entries = [one for one in entries if not _has(stored, one, path)]
        paths = [image_path(stored, slot) for slot in write.images]
        before = [one for one in entries if (one["manager"], one["operation"]) == OWN]
        entries = [one for one in entries if one not in before]
        noted = [(*_ANNOTATIONS, f"f:{name}") for name in write.annotations]
        entries.append(owned_by(FIELD_MANAGER, *paths, *noted, operation="Apply"))
        if self.admission:  # an API server holds it to be an update by who has asked
            entries.append(owned_by(FIELD_MANAGER, *paths))
        images = {slot: self.admission or image for slot, image in write.images.items()}
        changed = with_images(stored, images).with_metadata(
            annotations={**_without(stored, before), **write.annotations},
            managed_fields=tuple(entries),
        )
        try:
            return await self.store.update(changed)
        except ConflictError as error:
            raise WorkloadChangedError(str(error)) from error

    async def delete_pod(self, pod: ObjectKey, image: str) -> None:
        if self.fault is not None:
            raise self.fault
        found = (await self.pods.list())[0] if self.pods is not None else ()
        for one in found:
            if (one.namespace, one.name) != (pod.namespace, pod.name):
                continue
            if self.pods is not None and image in {part.image for part in one.containers}:
                await self.pods.put(one, gone=True)

    async def tell(self, event: WorkloadEvent) -> None:
        self.events_asked += 1
        if self.mute is not None:
            raise self.mute
        if _identity(event) not in {_identity(one) for one in self.told}:
            self.told.append(event)


def _identity(event: WorkloadEvent) -> tuple[object, ...]:
    return event.workload.uid, event.reason, event.message, event.at


def _without(workload: Resource, entries: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Return the annotations but for those that entries of managedFields own."""
    owned: set[str] = set()
    for one in entries:
        owned |= one["fieldsV1"].get("f:metadata", {}).get("f:annotations", {}).keys()
    return {name: text for name, text in workload.annotations.items() if f"f:{name}" not in owned}


def _has(workload: Resource, entry: dict[str, object], path: tuple[str, ...]) -> bool:
    alone = workload.with_metadata(managed_fields=(entry,))
    return bool(owners_of(alone, path))


class MemoryClusterPods:
    """Implements ClusterPods; a test says what changes, and when positions expire."""

    def __init__(self) -> None:
        self._pods: dict[tuple[str, str], PodRecord] = {}
        self._history: list[PodChange] = []
        self._forgotten = 0
        self._moved = asyncio.Condition()
        self.lists = 0
        self.refusal: ClusterError | None = None
        """Raised by lists and the beginning of watches."""

    async def put(self, pod: PodRecord, *, gone: bool = False) -> None:
        async with self._moved:
            place = (pod.namespace, pod.name)
            if gone:
                self._pods.pop(place, None)
            else:
                self._pods[place] = pod
            self._history.append(PodChange(pod, gone))
            self._moved.notify_all()

    async def forget(self) -> None:
        """Let every position before now expire, and every watch end."""
        async with self._moved:
            self._forgotten = len(self._history) + 1
            self._history.append(PodChange(_NOBODY, gone=True))
            self._moved.notify_all()

    async def list(self) -> tuple[Sequence[PodRecord], str]:
        self.lists += 1
        if self.refusal is not None:
            raise self.refusal
        return list(self._pods.values()), str(len(self._history))

    async def watch(self, since: str) -> AsyncGenerator[tuple[PodChange | None, str]]:
        if self.refusal is not None:
            raise self.refusal
        at = int(since)
        while True:
            async with self._moved:
                if at < self._forgotten:
                    raise ListExpiredError(f"{since} is too old")
                while len(self._history) <= at:
                    await self._moved.wait()
                if at < self._forgotten:
                    raise ListExpiredError(f"{since} is too old")
                change = self._history[at]
            at += 1
            yield change, str(at)


@dataclass
class MemoryInstances:
    """Implements ClusterInstances; a test says which Pods there are, and what they have written."""

    shown: list[OwnedPod] = field(default_factory=list)
    written: dict[tuple[str, str], bytes] = field(default_factory=dict)
    """Log, by names of the Pod and its container."""
    warned: dict[str, list[str]] = field(default_factory=dict)
    """Messages of Events, by the uid of the object."""

    async def pods(self, namespace: str, labels: Mapping[str, str]) -> Sequence[OwnedPod]:
        near = [one for one in self.shown if one.pod.namespace == namespace]
        return [one for one in near if labels.items() <= one.pod.labels.items()]

    async def warnings(self, namespace: str, uid: str) -> Sequence[str]:
        del namespace
        return self.warned.get(uid, [])

    async def log(self, pod: ObjectKey, container: str) -> AsyncGenerator[bytes]:
        text = self.written.get((pod.name, container))
        if text is None:
            raise WriteRefusedError(f"container {container} of {pod} has not started")
        yield text


_NOBODY = PodRecord("", "", "Pod", "", "", False, ())  # noqa: FBT003 - a record of nothing


def key_of(pod: PodRecord) -> ObjectKey:
    """Return the workload of a Pod."""
    return ObjectKey(pod.owner_kind, pod.namespace, pod.owner)
