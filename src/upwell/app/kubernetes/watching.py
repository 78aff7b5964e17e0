"""Reports on what a cluster keeps from this server: kinds it refuses, objects that are none."""

import asyncio
import hashlib
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime

from upwell.api.core import Event
from upwell.api.meta import ObjectMeta, ObjectReference
from upwell.controller import ObjectCache
from upwell.machine.components import Components
from upwell.store.interface import AlreadyExistsError, Store, StoreError
from upwell.store.unreadable import UnreadableObject, UnreadableObjects

_LOOK_SECONDS = 1.0
_NAMED = 5
"""Objects or kinds that a message names."""
_MOST_TEXT = 1000
"""Characters of an Event's message (core/v1 validation has 1024)."""


async def watch_objects(
    cache: ObjectCache, unreadable: UnreadableObjects, components: Components
) -> None:
    """Report as components which kinds the cluster refuses to tell of, and what cannot be read.

    Without the first nothing that needs such a kind is decided; the second are those of whoever
    has written them, and keep nobody else from anything.
    """
    kinds = components.add("cluster-kinds")
    objects = components.add("cluster-objects", required=False)
    while True:
        refused = list(dict.fromkeys(cache.faults().values()))
        if refused:
            kinds.fail("KindRefused", _some(refused))
        else:
            kinds.recover()
        if broken := [f"{one.key}: {one.fault}" for one in unreadable.all()]:
            objects.fail("ObjectUnreadable", f"mend or delete what is no object: {_some(broken)}")
        else:
            objects.recover()
        await asyncio.sleep(_LOOK_SECONDS)


async def tell_unreadable(
    unreadable: UnreadableObjects, store: Store, clock: Callable[[], datetime]
) -> None:
    """Tell of each object that cannot be read, once for each version, by an Event of its own."""
    told: set[str] = set()
    while True:
        present = {_event_name(one): one for one in unreadable.all()}
        told &= present.keys()
        for name, one in present.items():
            if name not in told:
                with suppress(StoreError):  # the log and the component have it too
                    with suppress(AlreadyExistsError):
                        await store.create(_event(one, name, clock()))
                    told.add(name)
        await asyncio.sleep(_LOOK_SECONDS)


def _event_name(found: UnreadableObject) -> str:
    about = f"{found.kind.kind}\n{found.uid}\n{found.resource_version}"
    return f"{found.key.name[:200]}.{hashlib.sha256(about.encode()).hexdigest()[:16]}"


def _event(found: UnreadableObject, name: str, now: datetime) -> Event:
    time = now.replace(microsecond=0)
    message = f"nothing is decided by this version, which is none of its kind: {found.fault}"
    return Event(
        metadata=ObjectMeta(namespace=found.key.namespace or "default", name=name),
        involved_object=ObjectReference(
            api_version=found.kind.api_version,
            kind=found.kind.kind,
            namespace=found.key.namespace,
            name=found.key.name,
            uid=found.uid,
        ),
        reason="Unreadable",
        message=message[:_MOST_TEXT],
        type="Warning",
        first_timestamp=time,
        last_timestamp=time,
        source={"component": "upwell"},
    )


def _some(texts: list[str]) -> str:
    more = len(texts) - _NAMED
    return "; ".join([*texts[:_NAMED], *([f"and {more} more"] if more > 0 else [])])
