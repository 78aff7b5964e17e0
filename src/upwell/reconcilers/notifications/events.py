"""Writes what has happened to objects as Events, for people: each thing once.

Events follow from statuses, so that a killed server forgets none and repeats none.
"""

import contextlib
import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from upwell.api.apps import Job
from upwell.api.builds.build import Build
from upwell.api.builds.config import BuildConfig
from upwell.api.cluster_operator import ClusterOperator
from upwell.api.clusters.cluster import Cluster
from upwell.api.core import Event, ResourceQuota, Service
from upwell.api.image import ImageStream
from upwell.api.image_policies.policy import ClusterImagePolicy, ImagePolicy
from upwell.api.meta import ObjectKey, ObjectMeta, ObjectReference, Resource
from upwell.api.networking.ingress import Ingress
from upwell.api.pipeline import Freeze, Pipeline, Quarantine
from upwell.api.promotion import Promotion, Release
from upwell.api.route import Route
from upwell.api.waves.wave import Wave
from upwell.controller import Controller, ObjectCache, Result, Watch
from upwell.policy.notifications.events import events_of
from upwell.policy.notifications.record import EventRecord
from upwell.policy.rollouts.settings import WORKLOADS
from upwell.store.interface import AlreadyExistsError, NotFoundError
from upwell.store.periodic import repeat

_log = logging.getLogger(__name__)

_DEFAULT = "default"
"""Namespace of Events of objects that lie in none."""
KEPT_FOR = timedelta(hours=24)
MOST = 5000
"""Events kept at once; the oldest go first."""
_CLEANUP_SECONDS = 600.0

EVENT_KINDS: tuple[type[Resource], ...] = (
    Build,
    BuildConfig,
    ImageStream,
    Job,
    Pipeline,
    Service,
    Route,
    Ingress,
    *WORKLOADS,
    Release,
    Promotion,
    Quarantine,
    Freeze,
    ClusterOperator,
    Cluster,
    ResourceQuota,
    ClusterImagePolicy,
    ImagePolicy,
    Wave,
)
"""The kinds that tell of something."""
_KINDS = {kind.KIND.kind: kind for kind in EVENT_KINDS}


class EventReconciler:
    """Compares what an object's status tells with the Events that there are."""

    def __init__(self, cache: ObjectCache, clock: Callable[[], datetime]) -> None:
        self._cache = cache
        self._store = cache.store
        self._clock = clock

    async def reconcile(self, key: ObjectKey) -> Result:
        """Tell what has happened to the object that `key` names; of one that is gone, nothing."""
        kind = _KINDS[key.kind]
        await self._cache.ready(kind)
        resource = self._cache.get(kind, key.namespace, key.name)
        if resource is None:
            return Result()
        oldest = self._clock() - KEPT_FOR
        for record in sorted(events_of(resource), key=lambda one: one.at):
            if record.at > oldest:
                await self._record(resource, record)
        return Result()

    async def _record(self, resource: Resource, record: EventRecord) -> None:
        namespace = resource.namespace or record.namespace or _DEFAULT
        name = record.name(resource)
        try:
            known = await self._store.get(Event, namespace, name)
        except NotFoundError:
            with contextlib.suppress(AlreadyExistsError):
                await self._store.create(_event(resource, record, name, namespace))
                _log_event(resource, record)
            return
        if known.last_timestamp is not None and _second(known.last_timestamp) < _second(record.at):
            again = {"count": known.count + 1, "last_timestamp": record.at}
            latest = {**again, "message": record.text}
            await self._store.update(known.model_copy(update=latest))
            _log_event(resource, record)

    async def remove_old(self) -> None:
        """Remove Events that are old, or too many."""
        events = [one for one in (await self._store.list(Event)).items if one.last_timestamp]
        events.sort(key=lambda one: one.last_timestamp or self._clock(), reverse=True)
        oldest = self._clock() - KEPT_FOR
        for at, event in enumerate(events):
            if at >= MOST or (event.last_timestamp or oldest) <= oldest:
                with contextlib.suppress(NotFoundError):
                    await self._store.delete(Event, event.namespace, event.name)


def _second(time: datetime) -> datetime:
    """Return the second of a time: Events of a cluster have no fractions (meta/v1 Time)."""
    return time.replace(microsecond=0)


def _log_event(resource: Resource, record: EventRecord) -> None:
    """Log what has happened, so that the log alone tells how a change went on."""
    level = logging.WARNING if record.warning else logging.INFO
    named = {"kind": resource.KIND.kind, "namespace": resource.namespace, "object": resource.name}
    _log.log(level, "event", extra={**named, "reason": record.reason, "text": record.text})


def _event(resource: Resource, record: EventRecord, name: str, namespace: str) -> Event:
    """Return the Event that lies in `namespace`.

    API servers refuse one elsewhere than its object, but in `default` of an object without a
    namespace (`legacyValidateEvent`): of such an object the Event names the namespace it concerns.
    """
    return Event(
        metadata=ObjectMeta(namespace=namespace, name=name),
        involved_object=record.pod
        or ObjectReference(
            kind=resource.KIND.kind,
            namespace=resource.namespace or (namespace if namespace != _DEFAULT else ""),
            name=resource.name,
            api_version=resource.KIND.api_version,
            uid=resource.metadata.uid,
        ),
        reason=record.reason,
        message=record.text,
        type="Warning" if record.warning else "Normal",
        first_timestamp=record.at,
        last_timestamp=record.at,
        source={"component": "upwell"},
    )


def event_controller(reconciler: EventReconciler, cache: ObjectCache) -> Controller:
    """Return the controller that tells of all kinds."""
    return Controller("events", reconciler, cache, tuple(map(Watch, EVENT_KINDS)), workers=1)


async def remove_old_events(reconciler: EventReconciler) -> None:
    """Remove old Events now and every ten minutes, for ever."""
    await repeat(reconciler.remove_old, _CLEANUP_SECONDS, "old events not removed")
