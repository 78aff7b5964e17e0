"""Resource JSON to objects and back: the one place that knows what the wire looks like.

Unknown fields are kept and can be listed; wrong types are refused with the path of every fault.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from upwell.api.decoding.faults import faults_of
from upwell.api.decoding.kinds import BY_API, BY_KIND, KINDS, is_known
from upwell.api.decoding.repair import beside, repaired_as
from upwell.api.meta import Model, ObjectKey, Resource
from upwell.api.values.faults import MAX_FAULTS, Fault, limited_faults

if TYPE_CHECKING:
    RESOURCES: tuple[type[Resource], ...]
    """Every kind, in the order in which a set of them is applied."""
else:

    def __getattr__(name: str) -> tuple[type[Resource], ...]:
        """Return RESOURCES, whose modules are loaded when somebody asks for all kinds."""
        if name == "RESOURCES":
            globals()[name] = tuple(names.resource() for names in KINDS)
            return globals()[name]
        raise AttributeError(name)


class InvalidObjectError(ValueError):
    """The document is not a valid object; `faults` has the reasons, `key` names it if it can.

    Those beyond MAX_FAULTS are left out.
    """

    def __init__(self, what: str, faults: tuple[Fault, ...], key: ObjectKey | None = None) -> None:
        self.faults = limited_faults(faults)
        super().__init__(f"{what} is invalid: " + "; ".join(str(fault) for fault in self.faults))
        self.what = what
        self.key = key


class UnknownKindError(ValueError):
    """No kind of ours has this apiVersion and kind."""

    def __init__(self, api_version: str, kind: str) -> None:
        if not kind:
            what = f"no kind beside apiVersion {api_version or '(none)'}"
            super().__init__(f"{what}: an object has both, as in `kind: Deployment`")
        else:
            what = f"unknown kind {kind} in {api_version or '(none)'}"
            super().__init__(f"{what}; {_kind_hint(kind)}{_change_hint(api_version, kind)}")
        self.api_version = api_version
        self.kind = kind


def _kind_hint(kind: str) -> str:
    """Return the kind that was probably meant, or what to do with one that there is not."""
    if near := get_close_matches(kind, BY_KIND, n=1, cutoff=0.75):
        found = BY_KIND[near[0]]
        renamed = "" if near[0] == kind else f"kind {found.kind} in "
        return f"did you mean {renamed}apiVersion {found.api_version}?"
    return "leave it out, or apply it to a cluster that has it: Upwell does nothing with it"


_SELECTED = "there, spec.selector is required"
_CHANGES = {
    "Ingress": (
        "there, a backend has service.name and service.port.number (or .name) in place of"
        " serviceName and servicePort, spec.backend is spec.defaultBackend,"
        " and each path has a pathType"
    ),
    "Deployment": _SELECTED,
    "DaemonSet": _SELECTED,
    "StatefulSet": _SELECTED,
}
"""By kind: what its beta versions, of which Kubernetes serves none any more, have otherwise."""


def _change_hint(api_version: str, kind: str) -> str:
    """Return what to change in an object of an old version, beside its apiVersion."""
    changed = _CHANGES.get(kind)
    return f" {changed}" if changed is not None and "/v1beta" in api_version else ""


def resource_for(api_version: str, kind: str) -> type[Resource]:
    """Return the class of a kind, OpenShift's group-less `v1` included; raises UnknownKindError."""
    try:
        return BY_API[api_version, kind].resource()
    except KeyError:
        raise UnknownKindError(api_version, kind) from None


def resource_of_kind(kind: str) -> type[Resource]:
    """Return the class of a kind by its bare name; raises UnknownKindError."""
    try:
        return BY_KIND[kind].resource()
    except KeyError:
        raise UnknownKindError("", kind) from None


def decode(document: Mapping[str, Any] | bytes | str) -> Resource:
    """Return the object of the kind that the document names; a null field counts as absent.

    Raises UnknownKindError or InvalidObjectError.
    """
    if isinstance(document, bytes | str):
        document = _load(document)
    api_version, kind = document.get("apiVersion"), document.get("kind")
    if not isinstance(api_version, str) or not isinstance(kind, str):
        raise UnknownKindError(str(api_version or ""), str(kind or ""))
    return decode_as(resource_for(api_version, kind), document)


def decode_as[R: Resource](resource: type[R], document: Mapping[str, Any] | bytes | str) -> R:
    """Return an object of `resource`; its apiVersion and kind are set to the kind's own.

    A null field counts as absent.
    Raises InvalidObjectError with every fault.
    """
    # Strict validation knows JSON's types; Python's own would refuse lists and time texts.
    document = _to_text(document)
    try:
        decoded = resource.model_validate_json(document)
    except ValidationError as error:
        name = _name_in(document)
        key = ObjectKey(resource.KIND.kind, "", name) if is_known(resource) else None
        what = f"{resource.KIND.kind} {name!r}"
        raise InvalidObjectError(what, faults_of(error), key) from None
    kind = resource.KIND
    if decoded.api_version == kind.api_version and decoded.kind == kind.kind:
        return decoded
    return decoded.model_copy(update={"api_version": kind.api_version, "kind": kind.kind})


def decode_and_check[R: Resource, T](
    resource: type[R], document: Mapping[str, Any], check: Callable[[R], T]
) -> T:
    """Return what `check` makes of the object; it raises InvalidObjectError for a wrong one.

    Of a document that is no object of the kind, the rest is checked too, so that one answer has
    every fault: `check` has no effect, as it is called for an object that nobody sent.
    """
    try:
        decoded = decode_as(resource, document)
    except InvalidObjectError as error:
        raise with_further_faults(error, resource, document, check) from None
    return check(decoded)


def check_part[M: Model, T](
    model: type[M], what: str, document: Mapping[str, Any], check: Callable[[M], T]
) -> T:
    """Return what `check` makes of data that is no object, as `decode_and_check` does."""
    try:
        decoded = decode_part(model, what, document)
    except InvalidObjectError as error:
        raise with_further_faults(error, model, document, check) from None
    return check(decoded)


def with_further_faults[M: Model, T](
    error: InvalidObjectError,
    model: type[M],
    document: Mapping[str, Any],
    check: Callable[[M], T],
) -> InvalidObjectError:
    """Return the error of what cannot be decoded, with what `check` finds in the rest of it."""
    if len(error.faults) > MAX_FAULTS:
        return error
    try:
        if (rest := repaired_as(model, _to_text(document))) is not None:
            check(rest)
    except InvalidObjectError as found:
        further = beside(found.faults, error.faults)
        return InvalidObjectError(error.what, (*error.faults, *further), error.key)
    return error


def decode_part[M: Model](model: type[M], what: str, document: Mapping[str, Any]) -> M:
    """Return data that is no object, such as the body of a subresource; `what` names it.

    A null field counts as absent. Raises InvalidObjectError with every fault.
    """
    try:
        return model.model_validate_json(_to_text(document))
    except ValidationError as error:
        raise InvalidObjectError(what, faults_of(error)) from None


def encode_json(resource: Resource) -> str:
    """Return the object's JSON text: every field that was set, apiVersion and kind first."""
    return _complete(resource).model_dump_json(exclude_unset=True, exclude_none=True)


def encode(resource: Resource) -> dict[str, Any]:
    """Return the object as JSON data."""
    document: dict[str, Any] = json.loads(encode_json(resource))
    return document


def encode_metadata_json(resource: Resource) -> str:
    """Return the JSON text of the object's metadata, as `encode_json` has them."""
    return resource.metadata.model_dump_json(exclude_unset=True, exclude_none=True)


def unknown_fields(model: BaseModel, path: str = "") -> Iterator[str]:
    """Yield the paths of fields that no model knows; they are kept, and worth a warning."""
    for name in model.model_extra or {}:
        yield f"{path}{name}"
    for name, field in type(model).model_fields.items():
        alias = field.serialization_alias or field.alias or name
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            yield from unknown_fields(value, f"{path}{alias}.")
        elif isinstance(value, tuple):
            for at, item in enumerate(value):
                if isinstance(item, BaseModel):
                    yield from unknown_fields(item, f"{path}{alias}[{at}].")


def _complete[R: Resource](resource: R) -> R:
    kind = resource.KIND
    if resource.api_version and resource.kind:
        return resource
    return resource.model_copy(update={"api_version": kind.api_version, "kind": kind.kind})


def _to_text(document: Mapping[str, Any] | bytes | str) -> bytes | str:
    if isinstance(document, bytes) and b"null" not in document:
        return document
    if isinstance(document, str) and "null" not in document:
        return document
    data = _load(document) if isinstance(document, bytes | str) else document
    try:
        return json.dumps(_without_nulls(data), default=str)
    except RecursionError as error:
        fault = Fault("", "nested too deeply")
        raise InvalidObjectError("the document", (fault,)) from error


def _without_nulls(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value


def _load(text: bytes | str) -> Mapping[str, Any]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidObjectError("the document", (Fault("", f"not JSON: {error}"),)) from error
    if not isinstance(document, dict):
        raise InvalidObjectError("the document", (Fault("", "expected an object"),))
    return document


def _name_in(document: bytes | str) -> str:
    try:
        return str(json.loads(document)["metadata"]["name"])
    except (ValueError, KeyError, TypeError):
        return ""
