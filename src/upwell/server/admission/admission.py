"""From a document that a client sent to an object that may be stored; pure.

In this order: the place in the path, types (every fault), images that triggers own, defaults,
validation. Controllers write through the store and do not pass here.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from upwell.api.builds.build import Build
from upwell.api.builds.config import BuildConfig
from upwell.api.codec import InvalidObjectError, decode, resource_for, with_further_faults
from upwell.api.core import LimitRange, ResourceQuota
from upwell.api.defaults import with_defaults, with_kept_form
from upwell.api.defaults.builds import with_unchanged_spec
from upwell.api.defaults.effects import MEANT, effectless_fields
from upwell.api.image import ImageStream
from upwell.api.kept import Kept
from upwell.api.legacy import to_group_form
from upwell.api.meta import Resource
from upwell.api.storage import BLOCK, PersistentVolumeClaim
from upwell.policy.access.role_bindings import binding_advice
from upwell.policy.admission.faults import admission_faults
from upwell.policy.builds.input_analysis import build_warnings
from upwell.policy.images.generations import settle_generations
from upwell.policy.images.schedule import interval_fault
from upwell.policy.images.selection import selection_faults
from upwell.policy.quotas.limit_ranges import range_warnings
from upwell.policy.quotas.usage import unknown_names
from upwell.policy.rollouts.image_ownership import (
    ignored_images,
    keep_triggered_images,
    trigger_warnings,
    untaken_images,
)
from upwell.policy.rollouts.requests import is_rolled_back
from upwell.policy.rollouts.settings import rollout_warnings
from upwell.policy.rollouts.starts.exclusive_use import exclusive_use_warnings
from upwell.policy.routing.port_protocols import protocol_warnings
from upwell.server.admission import promotions as promotions_admission
from upwell.server.http.errors import ApiError
from upwell.server.http.target import RequestTarget

UNKNOWN_FIELD = "unknown field"
"""Beginning of the warnings about fields that nobody knows."""
_MAX_WARNINGS = 20
_MAX_WARNING = 256

type Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Admitted:
    """An object to store, and what its author should know."""

    resource: Resource
    warnings: tuple[str, ...] = ()
    declared: Resource | None = None
    """Declaration of its author, where defaults add to that."""


def admit(
    target: RequestTarget,
    document: Document,
    old: Resource | None,
    user: str = "",
    *,
    applied: bool = False,
) -> Admitted:
    """Return the object that the document becomes at `target`, where `old` is now.

    `user` is who sends it; `applied` documents repeat what their manifest says, set or not.

    Raises ApiError, UnknownKindError or InvalidObjectError.
    """
    placed = _placed(target, document)
    try:
        declared = with_kept_form(decode(placed))
    except InvalidObjectError as error:
        raise with_further_faults(
            error,
            target.resource,
            placed,
            lambda rest: _require_valid(
                with_defaults(_with_identity(with_kept_form(rest), old)), old
            ),
        ) from None
    # Before images are kept: when one is pulled follows from what was declared.
    resource = complete = with_defaults(_with_identity(declared, old))
    goes_back = old is not None and is_rolled_back(old, complete)
    if old is not None and not goes_back:
        resource = keep_triggered_images(old, complete)
    if isinstance(resource, Build) and isinstance(old, Build):
        resource = with_unchanged_spec(resource, old)
    is_wish = old is not None and not applied and not goes_back
    untaken = untaken_images(old, declared, resource) if old is not None and is_wish else ()
    oddities = (*ignored_images(declared, resource), *untaken, *_oddities(resource))
    known = set(_oddities(old)) if oddities and old is not None else set()
    warnings = tuple(_worth_saying(o for o in oddities if o not in known))
    if isinstance(resource, ImageStream):
        known_stream = old if isinstance(old, ImageStream) else None
        resource = settle_generations(known_stream, resource)
    resource = promotions_admission.admitted(resource, old, user)
    _require_valid(resource, old)
    return Admitted(resource, warnings, None if complete is declared else declared)


def _with_identity(resource: Resource, old: Resource | None) -> Resource:
    """Return an object with the uid that it has, which a client may leave out."""
    if old is None or resource.uid:
        return resource
    return resource.with_metadata(uid=old.uid)


def _require_valid(resource: Resource, old: Resource | None) -> None:
    """Raise InvalidObjectError with what is wrong with a complete object in the place of `old`."""
    if faults := admission_faults(resource, old):
        what = f"{resource.KIND} {resource.name!r}"
        raise InvalidObjectError(what, faults, resource.key)


def _placed(target: RequestTarget, document: Document) -> Document:
    """Return the document with the place that the path names; raises ApiError on another."""
    kind = target.kind
    document = to_group_form(document)
    api_version = document.get("apiVersion") or kind.api_version
    named = document.get("kind") or kind.kind
    if not isinstance(api_version, str) or not isinstance(named, str):
        raise ApiError(400, "apiVersion and kind must be texts")
    if resource_for(api_version, named) is not target.resource:
        raise ApiError(400, f"expected {kind.api_version} {kind}, found {api_version} {named}")
    metadata = document.get("metadata") or {}
    if not isinstance(metadata, dict):
        metadata = {"name": metadata}  # the codec says what is wrong with it
    place = {"namespace": target.namespace, "name": target.name}
    for field, wanted in place.items():
        found = metadata.get(field)
        if wanted and found and found != wanted:
            raise ApiError(
                400, f"the object's {field} {found!r} is not that of the request, {wanted!r}"
            )
    placed = metadata | {field: value for field, value in place.items() if value}
    if not kind.namespaced:
        placed.pop("namespace", None)
    return {**document, "apiVersion": kind.api_version, "kind": kind.kind, "metadata": placed}


def _oddities(resource: Resource) -> Iterator[str]:
    """Yield what an object has that its author may have meant differently."""
    if isinstance(resource, Kept):
        advice = binding_advice(resource)
        yield f"a {resource.KIND} is kept and has no effect: {advice or resource.INSTEAD}"
        return
    for path, instead in effectless_fields(resource):
        if path.startswith("status."):  # a client's status is not written
            continue
        if instead and not instead.startswith(MEANT):
            yield f"{path} has no effect: {instead}"
        else:
            unknown = f'{UNKNOWN_FIELD} "{path[:_MAX_WARNING]}" is kept and has no effect'
            yield f"{unknown}; {instead}" if instead else unknown
    yield from trigger_warnings(resource)
    yield from protocol_warnings(resource)
    yield from rollout_warnings(resource)
    yield from exclusive_use_warnings(resource)
    if isinstance(resource, ResourceQuota):
        for name in unknown_names(resource.spec.hard):
            yield f"spec.hard[{name}] limits nothing: no kind of this server counts as it"
    if isinstance(resource, LimitRange):
        yield from range_warnings(resource)
    if isinstance(resource, PersistentVolumeClaim) and resource.spec.volume_mode == BLOCK:
        yield "spec.volumeMode Block has no effect: each claim is a folder"
    if isinstance(resource, BuildConfig):
        yield from build_warnings(resource)
    if isinstance(resource, ImageStream):
        if fault := interval_fault(resource):
            yield fault
        yield from map(str, selection_faults(resource))


def _worth_saying(oddities: Iterable[str]) -> Iterator[str]:
    for count, oddity in enumerate(oddities):
        if count == _MAX_WARNINGS:
            yield "there is more of this kind"
            return
        yield oddity[:_MAX_WARNING]
