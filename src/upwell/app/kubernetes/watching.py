"""Reports on what a cluster keeps from this server: kinds it refuses, objects that are none."""

import asyncio
import hashlib
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from upwell.api.codec import UnknownKindError, resource_of_kind
from upwell.api.core import Event
from upwell.api.meta import ObjectMeta, ObjectReference
from upwell.controller import ObjectCache
from upwell.machine.components import Components
from upwell.reconcilers.cluster_rollouts.pods import PodIndex
from upwell.store.interface import AlreadyExistsError, Store, StoreError
from upwell.store.unreadable import UnreadableObject, UnreadableObjects

_LOOK_SECONDS = 1.0
_NAMED = 5
"""Objects or kinds that a message names."""
_MOST_TEXT = 1000
"""Characters of an Event's message (core/v1 validation has 1024)."""


async def watch_objects(
    cache: ObjectCache,
    pods: Collection[PodIndex],
    unreadable: UnreadableObjects,
    components: Components,
) -> None:
    """Report as components which kinds the cluster refuses to tell of, and what cannot be read.

    Without the first nothing that needs such a kind is decided; the second are those of whoever
    has written them, and keep nobody else from anything.
    """
    kinds = components.add("cluster-kinds")
    objects = components.add("cluster-objects", required=False)
    while True:
        of_pods = filter(None, (one.fault() for one in pods))
        refused = list(dict.fromkeys([*cache.faults().values(), *of_pods]))
        if refused:
            kinds.fail("KindRefused", _some(refused))
        else:
            kinds.recover()
        failing = [f"{one.key}: {one.controller}: {one.why}" for one in cache.failing.all()]
        if broken := [f"{one.key}: {one.fault}" for one in unreadable.all()]:
            objects.fail("ObjectUnreadable", f"mend or delete what is no object: {_some(broken)}")
        elif failing:
            objects.fail("ReconcileFailed", f"nothing is decided by what fails: {_some(failing)}")
        else:
            objects.recover()
        await asyncio.sleep(_LOOK_SECONDS)


async def tell_undecided(
    unreadable: UnreadableObjects, cache: ObjectCache, clock: Callable[[], datetime]
) -> None:
    """Tell of each object by which nothing can be decided, once for each fault, by an Event.

    It cannot be read, or a reconcile of it fails. Each version of an object has one Event, which
    has the last fault.
    """
    told: dict[str, str] = {}
    while True:
        found = [*map(_unreadable, unreadable.all()), *_failing(cache)]
        present = {one.event_name: one for one in found}
        told = {name: message for name, message in told.items() if name in present}
        for name, one in present.items():
            if told.get(name) != one.message:
                with suppress(StoreError):  # the log and the component have it too
                    await _tell(cache.store, one.event(name, clock()))
                    told[name] = one.message
        await asyncio.sleep(_LOOK_SECONDS)


async def _tell(store: Store, event: Event) -> None:
    """Create an Event, or have the one of its name say it now; raises StoreError."""
    try:
        await store.create(event)
    except AlreadyExistsError:
        known = await store.get(Event, event.namespace, event.name)
        latest = {"message": event.message, "last_timestamp": event.last_timestamp}
        await store.update(known.model_copy(update={**latest, "count": known.count + 1}))


@dataclass(frozen=True, slots=True)
class _Undecided:
    """An object by which nothing can be decided."""

    subject: ObjectReference
    version: str
    reason: str
    message: str

    @property
    def event_name(self) -> str:
        """Name of its Event: one for each version of the object."""
        of = self.subject
        about = f"{of.kind}\n{of.uid}\n{self.version}"
        return f"{of.name[:200]}.{hashlib.sha256(about.encode()).hexdigest()[:16]}"

    def event(self, name: str, now: datetime) -> Event:
        """Return its Event."""
        return _event(self, name, now.replace(microsecond=0))


def _unreadable(found: UnreadableObject) -> _Undecided:
    subject = ObjectReference(
        api_version=found.kind.api_version,
        kind=found.kind.kind,
        namespace=found.key.namespace,
        name=found.key.name,
        uid=found.uid,
    )
    message = f"nothing is decided by this version, which is none of its kind: {found.fault}"
    return _Undecided(subject, found.resource_version, "Unreadable", message)


def _failing(cache: ObjectCache) -> Iterator[_Undecided]:
    for one in cache.failing.all():
        try:
            kind = resource_of_kind(one.key.kind)
            known = cache.get(kind, one.key.namespace, one.key.name)
        except (UnknownKindError, LookupError):
            continue  # a key that stands for no single object
        if known is not None:
            subject = ObjectReference(
                api_version=kind.KIND.api_version,
                kind=kind.KIND.kind,
                namespace=known.namespace,
                name=known.name,
                uid=known.uid,
            )
            message = f"{one.controller} cannot decide by this object, and tries again: {one.why}"
            version = f"generation {known.generation}, {one.controller}"
            yield _Undecided(subject, version, "ReconcileFailed", message)


def _event(found: _Undecided, name: str, time: datetime) -> Event:
    return Event(
        metadata=ObjectMeta(namespace=found.subject.namespace or "default", name=name),
        involved_object=found.subject,
        reason=found.reason,
        message=found.message[:_MOST_TEXT],
        type="Warning",
        first_timestamp=time,
        last_timestamp=time,
        source={"component": "upwell"},
    )


def _some(texts: list[str]) -> str:
    more = len(texts) - _NAMED
    return "; ".join([*texts[:_NAMED], *([f"and {more} more"] if more > 0 else [])])
