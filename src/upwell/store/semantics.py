"""Semantics of writes: pure functions from the stored object and the wanted one to the next.

The single home of the rules of the Kubernetes API that every local store keeps: identity,
generation, status apart from spec, finalizers, conflicts, writes that change nothing.
Versions are given by the store when it stages the result.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from upwell.api.core import Namespace
from upwell.api.defaults import as_stored
from upwell.api.meta import ObjectMeta, Resource
from upwell.store.interface import ConflictError, RejectedError, Selector


@dataclass(frozen=True, slots=True)
class Birth:
    """Identity that `create` gives a new object; the time is UTC."""

    uid: str
    name: str
    time: datetime


_VERSION_DIGITS = 19
"""Of a number of 64 bits (Kubernetes' resourceVersions)."""


def created[R: Resource](resource: R, birth: Birth) -> R:
    """Return the first state of a new object, without a status where the kind has one."""
    _require_place(resource)
    if not birth.name:
        raise RejectedError(f"{resource.KIND} has no name: set metadata.name or generateName")
    fresh = _with_first_status(resource) if resource.KIND.has_status else resource
    named = _of_its_kind(fresh).with_metadata(
        name=birth.name,
        uid=birth.uid,
        creation_timestamp=_to_seconds(birth.time),
        deletion_timestamp=None,
        generation=1,
        resource_version=None,
    )
    return as_stored(named)


def restored[R: Resource](resource: R) -> R:
    """Return an object of another store as it is kept here; raises RejectedError."""
    _require_place(resource)
    if not (resource.name and resource.uid):
        raise RejectedError(f"{resource.KIND} {resource.name!r} has no name or no uid")
    return as_stored(_of_its_kind(resource))


def updated[R: Resource](stored: R, wanted: R) -> R:
    """Return `stored` with the metadata and spec of `wanted`, or `stored` itself if equal.

    Raises ConflictError if `wanted` was read before the last write, or from another incarnation.
    """
    _require_current(stored, wanted)
    meta = stored.metadata
    owned_by_store = {
        "uid": meta.uid,
        "namespace": meta.namespace,
        "resource_version": meta.resource_version,
        "generation": meta.generation,
        "creation_timestamp": meta.creation_timestamp,
        "deletion_timestamp": meta.deletion_timestamp,
    }
    candidate = _of_its_kind(_with_status_of(stored, wanted)).with_metadata(**owned_by_store)
    candidate = as_stored(candidate)
    if candidate == stored:
        return stored
    if _without_metadata(candidate) != _without_metadata(stored):
        return candidate.with_metadata(generation=stored.generation + 1)
    return candidate


def with_new_status[R: Resource](stored: R, wanted: R) -> R:
    """Return `stored` with the status of `wanted`, or `stored` itself if equal.

    Raises ConflictError as `updated` does, RejectedError for a kind without status.
    """
    if not stored.KIND.has_status:
        raise RejectedError(f"{stored.key} was not written: a {stored.KIND} has no status")
    _require_current(stored, wanted)
    candidate = _with_status_of(wanted, stored)
    return stored if candidate == stored else candidate


def is_finished(resource: Resource) -> bool:
    """Return True if deletion was asked for and no finalizer holds it up any more."""
    return resource.is_deleting and not resource.metadata.finalizers


def marked_for_deletion[R: Resource](stored: R, now: datetime) -> R:
    """Return the state after a request to delete; one that was made before stands."""
    if stored.is_deleting:
        return stored
    marked = stored.with_metadata(deletion_timestamp=_to_seconds(now))
    if not isinstance(stored, Namespace):
        return marked
    return marked.model_copy(update={"status": {**stored.status, "phase": "Terminating"}})


def is_version(text: str) -> bool:
    """Return True for the text of a resourceVersion that a store may have given."""
    return text.isascii() and text.isdigit() and len(text) <= _VERSION_DIGITS


def require_version(stored: Resource, resource_version: str) -> None:
    """Raise ConflictError unless `resource_version` is empty or the stored one."""
    if resource_version and resource_version != stored.resource_version:
        raise ConflictError(stored.key)


def owner_uids(resource: Resource) -> Iterator[str]:
    """Yield the uid of everything whose deletion deletes `resource`, if nothing else owns it."""
    for owner in resource.metadata.owner_references:
        yield owner.uid


def matches(selector: Selector, resource: Resource) -> bool:
    """Return True if a list or watch with this selector wants the object."""
    return is_named(selector, resource) and has_labels(selector, resource.labels)


def is_named(selector: Selector, resource: Resource) -> bool:
    """Return True if the parts of the selector that no write can change match."""
    return selector.namespace in {"", resource.namespace} and selector.name in {"", resource.name}


def has_labels(selector: Selector, labels: Mapping[str, str] | None) -> bool:
    """Return True if `labels` has every label of the selector."""
    return not selector.labels or (labels is not None and selector.labels.items() <= labels.items())


def _require_place(resource: Resource) -> None:
    kind = resource.KIND
    if kind.namespaced and not resource.namespace:
        raise RejectedError(f"{kind} {resource.name!r} needs a namespace")
    if not kind.namespaced and resource.namespace:
        raise RejectedError(f"{kind} {resource.name!r} cannot be in a namespace")


def _require_current(stored: Resource, wanted: Resource) -> None:
    require_version(stored, wanted.resource_version)
    if wanted.uid and wanted.uid != stored.uid:
        raise ConflictError(stored.key, "it was deleted and created anew since it was read")


def _of_its_kind[R: Resource](resource: R) -> R:
    kind = resource.KIND
    if resource.api_version == kind.api_version and resource.kind == kind.kind:
        return resource
    return resource.model_copy(update={"api_version": kind.api_version, "kind": kind.kind})


def _with_first_status[R: Resource](resource: R) -> R:
    status = resource.first_status()
    return _without_status(resource) if status is None else resource.with_status(status)


def _without_status[R: Resource](resource: R) -> R:
    if "status" not in resource.model_fields_set:
        return resource
    default = type(resource).model_fields["status"].get_default(call_default_factory=True)
    copy = resource.model_copy(update={"status": default})
    copy.model_fields_set.discard("status")  # a status that nobody set is not on the wire
    return copy


def _with_status_of[R: Resource](source: R, target: R) -> R:
    if not source.KIND.has_status:
        return target
    if "status" not in source.model_fields_set:
        return _without_status(target)
    return target.model_copy(update={"status": getattr(source, "status")})  # noqa: B009 - not every Resource has one


def _without_metadata[R: Resource](resource: R) -> R:
    return resource.model_copy(update={"metadata": _NO_METADATA})


_NO_METADATA = ObjectMeta()


def _to_seconds(time: datetime) -> datetime:
    """Kubernetes keeps these times in whole seconds; clients compare them as text."""
    return time.replace(microsecond=0)
