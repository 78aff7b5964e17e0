"""ReplicaSets: the revisions of Deployments, for `kubectl rollout history` and `rollout undo`.

kubectl goes back by itself: it writes the template and the annotations of a ReplicaSet into the
Deployment. So each earlier revision carries the annotation that keeps automation away from it.
"""

import uuid
from collections.abc import AsyncGenerator, Mapping
from typing import cast

from upwell.api.apps import Deployment, RevisionRecord
from upwell.api.meta import ObjectKey, ObjectMeta, OwnerReference, Resource
from upwell.api.replica_set import ReplicaSet, ReplicaSetSpec, ReplicaSetStatus
from upwell.policy.rollouts.history import wanted_revision
from upwell.policy.rollouts.triggers import HOLD_ANNOTATION, without_hold
from upwell.store.interface import (
    EVERYTHING,
    Change,
    Listing,
    NotFoundError,
    Reader,
    Selector,
    WatchEvent,
)

_IDENTITIES = uuid.UUID("a7d7a5d2-5b0e-4f0c-9a60-6d2f1f2c7b35")
_REVISION = "deployment.kubernetes.io/revision"
_CAUSE = "kubernetes.io/change-cause"
_HASH_LENGTH = 10


def replica_sets_of(deployment: Deployment) -> list[ReplicaSet]:
    """Return one for each revision that is remembered, newest first."""
    wanted = wanted_revision(deployment)
    return [
        _replica_set(deployment, record, wanted=record.hash == wanted)
        for record in deployment.status.revisions
    ]


def _replica_set(deployment: Deployment, record: RevisionRecord, *, wanted: bool) -> ReplicaSet:
    annotations = {_REVISION: str(record.revision), _CAUSE: record.cause}
    if wanted:
        annotations = {**deployment.annotations, **annotations}
    else:
        held = {HOLD_ANNOTATION: f"rolled back to revision {record.revision} by hand"}
        annotations = {**without_hold(deployment).annotations, **annotations, **held}
    status = deployment.status
    return ReplicaSet(
        api_version=ReplicaSet.KIND.api_version,
        kind=ReplicaSet.KIND.kind,
        metadata=ObjectMeta(
            name=f"{deployment.name}-{record.hash[:_HASH_LENGTH]}",
            namespace=deployment.namespace,
            uid=str(uuid.uuid5(_IDENTITIES, f"{deployment.uid}/{record.hash}")),
            creation_timestamp=record.created,
            resource_version=deployment.resource_version,
            generation=1,
            labels=dict(record.template.metadata.labels),
            annotations=annotations,
            owner_references=(_owner(deployment),),
        ),
        spec=ReplicaSetSpec(
            replicas=_desired_replicas(deployment) if wanted else 0,
            selector=deployment.spec.selector,
            template=record.template,
        ),
        status=ReplicaSetStatus(
            replicas=status.updated_replicas,
            ready_replicas=min(status.ready_replicas, status.updated_replicas),
            available_replicas=min(status.available_replicas, status.updated_replicas),
            observed_generation=1,
        )
        if wanted
        else ReplicaSetStatus(observed_generation=1),
    )


def _desired_replicas(deployment: Deployment) -> int:
    return 1 if deployment.spec.replicas is None else deployment.spec.replicas


def _owner(deployment: Deployment) -> OwnerReference:
    return OwnerReference(
        api_version=Deployment.KIND.api_version,
        kind=Deployment.KIND.kind,
        name=deployment.name,
        uid=deployment.uid,
        controller=True,
    )


class ReplicaSetReader:
    """Implements Reader for ReplicaSets alone; their versions are those of their Deployments."""

    def __init__(self, objects: Reader) -> None:
        self._objects = objects

    async def get[R: Resource](self, kind: type[R], namespace: str, name: str) -> R:
        """Return one; raises NotFoundError."""
        listing = await self.list(kind, Selector(namespace, name=name))
        for found in listing.items:
            return found
        raise NotFoundError(ObjectKey(ReplicaSet.KIND.kind, namespace, name))

    async def list[R: Resource](self, kind: type[R], selector: Selector = EVERYTHING) -> Listing[R]:
        """Return those that match."""
        del kind
        listing = await self._objects.list(Deployment, Selector(selector.namespace))
        found = [
            one
            for deployment in listing.items
            for one in replica_sets_of(deployment)
            if _matches(one, selector)
        ]
        found.sort(key=lambda one: (one.namespace, one.name))
        return cast("Listing[R]", Listing(found, listing.resource_version))

    async def watch[R: Resource](
        self, kind: type[R], selector: Selector = EVERYTHING, *, since: str = ""
    ) -> AsyncGenerator[WatchEvent[R]]:
        """Yield changes after `since` in order, for ever; raises ExpiredError.

        From a watch of the Deployments that begins at the client's version.
        """
        del kind
        listing = await self.list(ReplicaSet, selector)
        known = {one.uid: one for one in listing.items} if since else {}
        events = self._objects.watch(Deployment, Selector(selector.namespace), since=since)
        async for event in events:
            gone = event.change is Change.DELETED
            present = {
                one.uid: one
                for one in ([] if gone else replica_sets_of(event.resource))
                if _matches(one, selector)
            }
            owner = event.resource.uid
            for change, one in _changes(_owned(known, owner), present):
                versioned = one.with_metadata(resource_version=event.resource.resource_version)
                yield cast("WatchEvent[R]", WatchEvent(change, versioned))
            known = {uid: one for uid, one in known.items() if not _is_owned(one, owner)} | present


type _ByUid = Mapping[str, ReplicaSet]


def _changes(old: _ByUid, new: _ByUid) -> list[tuple[Change, ReplicaSet]]:
    gone = [(Change.DELETED, one) for uid, one in old.items() if uid not in new]
    return gone + [
        (Change.MODIFIED if uid in old else Change.ADDED, one)
        for uid, one in new.items()
        if uid not in old or _content(one) != _content(old[uid])
    ]


def _content(one: ReplicaSet) -> ReplicaSet:
    """Return what matters of it: the version is raised by every change of its Deployment."""
    return one.with_metadata(resource_version=None)


def _owned(known: _ByUid, owner: str) -> _ByUid:
    return {uid: one for uid, one in known.items() if _is_owned(one, owner)}


def _is_owned(one: ReplicaSet, owner: str) -> bool:
    return any(reference.uid == owner for reference in one.metadata.owner_references)


def _matches(one: ReplicaSet, selector: Selector) -> bool:
    return selector.name in {"", one.name} and all(
        one.labels.get(key) == text for key, text in selector.labels.items()
    )
