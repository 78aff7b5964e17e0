"""Objects on their way from one store into another.

A cluster gives each object a uid, a time and a generation of its own. The ones that it had go with
it in an annotation, so that the way back restores them; references follow (uids), and what a status
says of generations is counted from the new one.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from upwell.api.codec import RESOURCES, decode_as, encode
from upwell.api.core import Service
from upwell.api.meta import Resource
from upwell.api.schemas.custom_names import with_own_name

ORIGIN = "upwell.dev/imported-from"
"""JSON of what the object had where it comes from: uid, creationTimestamp, generation."""
UNFINISHED = "upwell.dev/import-unfinished"
"""Present until the status of an imported object has been written."""
_MARKS = frozenset({ORIGIN, UNFINISHED})
_ADDRESSES = {"clusterIP", "clusterIPs"}
_HEADLESS = "None"
_GENERATIONS = {"observedGeneration"}
_MOST_GENERATION = 2**53
_LAST = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class ObjectOrigin:
    """Identity of an object where it was exported."""

    uid: str
    created: str
    generation: int
    generation_here: int = 1
    """Generation that it got by its import."""

    @classmethod
    def of(cls, resource: Resource) -> "ObjectOrigin | None":
        """Return what an imported object's annotation says; None for any other object.

        Whoever may write the object may have written the annotation, too.
        """
        try:
            kept = json.loads(resource.annotations[ORIGIN])
            said = kept["uid"], kept["creationTimestamp"], kept["generation"], kept["here"]
        except (KeyError, TypeError, ValueError, RecursionError):
            return None
        return cls(*said) if _is_possible(*said) else None

    def annotation(self) -> str:
        """Return it as the annotation's text."""
        return json.dumps(
            {
                "uid": self.uid,
                "creationTimestamp": self.created,
                "generation": self.generation,
                "here": self.generation_here,
            }
        )


def in_order(resources: Iterable[Resource]) -> list[Resource]:
    """Return objects so that each comes after what it lives in, and after its owners."""
    ranks = {kind: rank for rank, kind in enumerate(RESOURCES)}
    waiting = sorted(resources, key=lambda one: (ranks.get(type(one), len(ranks)), one.key))
    by_uid = {one.uid: one for one in waiting}
    placed: dict[str, Resource] = {}

    def place(one: Resource, above: frozenset[str]) -> None:
        if one.uid in placed or one.uid in above:
            return
        for owner in one.metadata.owner_references:
            if owner.uid in by_uid:
                place(by_uid[owner.uid], above | {one.uid})
        placed[one.uid] = one

    for one in waiting:
        place(one, frozenset())
    return list(placed.values())


def for_cluster[R: Resource](resource: R, uids: Mapping[str, str]) -> R:
    """Return an object as it is to be created on a cluster; `uids` has the new of each old uid."""
    document = encode(resource)
    meta = document["metadata"]
    origin = ObjectOrigin(
        resource.uid, str(meta.get("creationTimestamp") or ""), resource.generation
    )
    for name in ("uid", "creationTimestamp", "generation", "resourceVersion", "managedFields"):
        meta.pop(name, None)
    _without_address(resource, document)
    marks = {ORIGIN: origin.annotation(), UNFINISHED: "true"}
    meta["annotations"] = {**meta.get("annotations", {}), **marks}
    shifted = _shifted(document, origin.generation_here - origin.generation)
    return decode_as(type(resource), _with_uids(shifted, uids))


def from_cluster(resources: Iterable[Resource]) -> Iterator[Resource]:
    """Yield objects with the identity that they had before they were imported, if they were.

    Services have no addresses: those were of the cluster's own range.

    Each identity is one object's: a copy that somebody has made with all annotations has its own.
    """
    listed = list(resources)
    origins = _origins(listed)
    uids = {uid: origin.uid for uid, origin in origins.items()}
    for one in listed:
        document = encode(one)
        _without_address(one, document)
        meta = document["metadata"]
        if (origin := origins.get(one.uid)) is not None:
            since = origin.generation - origin.generation_here
            document = _shifted(document, since)
            meta = document["metadata"]
            meta |= {"uid": origin.uid, "generation": max(0, one.generation + since)}
            if origin.created:
                meta["creationTimestamp"] = origin.created
        if annotations := meta.pop("annotations", None):
            kept = {key: text for key, text in annotations.items() if key not in _MARKS}
            meta |= {"annotations": kept} if kept else {}
        yield with_own_name(decode_as(type(one), _with_uids(document, uids)))


def _without_address(resource: Resource, document: dict[str, Any]) -> None:
    """Take away the address of a Service, which each place gives out of its own range.

    That of a headless one is the word that says so.
    """
    if isinstance(resource, Service) and resource.spec.cluster_ip != _HEADLESS:
        spec = document.get("spec", {})
        document["spec"] = {key: one for key, one in spec.items() if key not in _ADDRESSES}


def _is_possible(uid: Any, created: Any, *generations: Any) -> bool:
    for one in generations:
        if type(one) is not int or not 0 <= one <= _MOST_GENERATION:
            return False
    try:
        is_time = created == "" or datetime.fromisoformat(created).tzinfo is not None
    except (TypeError, ValueError):
        return False
    return is_time and isinstance(uid, str) and bool(uid)


def _origins(resources: Iterable[Resource]) -> dict[str, ObjectOrigin]:
    """Return the identities that objects get back, by uid: of several that claim one, the oldest.

    None gets one that an object has which is there.
    """
    by_age = sorted(resources, key=lambda one: (one.metadata.creation_timestamp or _LAST, one.key))
    taken = {one.uid for one in by_age}
    origins: dict[str, ObjectOrigin] = {}
    for one in by_age:
        origin = ObjectOrigin.of(one)
        if origin is not None and origin.uid not in taken:
            taken.add(origin.uid)
            origins[one.uid] = origin
    return origins


def _shifted(document: dict[str, Any], by: int) -> dict[str, Any]:
    """Return the document with the generations that its status speaks of moved."""
    if "status" not in document:
        return document
    return {**document, "status": _moved(document["status"], by)}


def _moved(value: Any, by: int) -> Any:
    if isinstance(value, dict):
        return {
            key: max(0, item + by)
            if key in _GENERATIONS and isinstance(item, int)
            else _moved(item, by)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_moved(item, by) for item in value]
    return value


def _with_uids(value: Any, uids: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {
            key: uids.get(item, item)
            if key == "uid" and isinstance(item, str)
            else _with_uids(item, uids)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_with_uids(item, uids) for item in value]
    return value
