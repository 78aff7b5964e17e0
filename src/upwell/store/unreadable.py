"""Objects of an API server that are none of their kind: somebody has edited them into nonsense.

Its own schema lets through what no schema can express. They are told apart from objects that are
gone: whoever takes them for deleted would do what the object was there to keep from being done.
"""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from upwell.api.codec import InvalidObjectError, decode_as
from upwell.api.meta import Kind, ObjectKey, ObjectMeta, Resource
from upwell.store.interface import UnreadableError

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class UnreadableObject:
    """An object as it was seen last, and the fields that are wrong."""

    kind: Kind
    key: ObjectKey
    uid: str
    resource_version: str
    fault: str


class UnreadableObjects:
    """Those of one server, as far as they were met; each version of one is logged once."""

    def __init__(self) -> None:
        self._known: dict[ObjectKey, UnreadableObject] = {}

    def all(self) -> Sequence[UnreadableObject]:
        """Return them in the order of their keys."""
        return sorted(self._known.values(), key=lambda one: str(one.key))

    def decode[R: Resource](self, kind: type[R], document: Mapping[str, Any]) -> R | None:
        """Return the object that a server has, or note that it is none of its kind."""
        try:
            found = decode_object(kind, document)
        except UnreadableError as error:
            self._note(kind, document, error)
            return None
        self.forget(found.key)
        return found

    def forget(self, key: ObjectKey) -> None:
        """Note that an object is gone, or well."""
        self._known.pop(key, None)

    def forget_others(self, kind: Kind, namespace: str, present: Collection[ObjectKey]) -> None:
        """Note that a list (of a namespace, or of all) has no others of a kind."""
        for key in list(self._known):
            is_meant = key.kind == kind.kind and namespace in {"", key.namespace}
            if is_meant and key not in present:
                self.forget(key)

    def _note(
        self, kind: type[Resource], document: Mapping[str, Any], error: UnreadableError
    ) -> None:
        meta = named_alone(kind, document).metadata
        found = UnreadableObject(
            kind.KIND, error.key, meta.uid or "", meta.resource_version or "", error.fault
        )
        if self._known.get(error.key) != found:
            self._known[error.key] = found
            log.warning("object cannot be read", extra={"key": str(error.key), "why": error.fault})


def decode_object[R: Resource](kind: type[R], document: Mapping[str, Any]) -> R:
    """Return the object in a server's answer; raises UnreadableError."""
    try:
        return decode_as(kind, document)
    except InvalidObjectError as error:
        fault = "; ".join(str(one) for one in error.faults)
        raise UnreadableError(named_alone(kind, document).key, fault) from error


def named_alone[R: Resource](kind: type[R], document: Mapping[str, Any]) -> R:
    """Return an object of which nothing but name, uid and version is known.

    Its other fields may be missing altogether.
    """
    stated = document.get("metadata")
    said = stated if isinstance(stated, Mapping) else {}
    known = {
        field: str(said[field])
        for field in ("name", "namespace", "uid", "resourceVersion")
        if said.get(field)
    }
    try:
        return decode_as(kind, {"metadata": known})
    except InvalidObjectError:
        meta = ObjectMeta(
            name=known.get("name", ""),
            namespace=known.get("namespace", ""),
            uid=known.get("uid", ""),
            resource_version=known.get("resourceVersion", ""),
        )
        return cast("R", kind.model_construct(metadata=meta))
