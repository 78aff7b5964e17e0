"""AdmissionReviews of a cluster (admission.k8s.io/v1): what is asked, and how it is answered."""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from upwell.api.codec import resource_for
from upwell.cluster.interface import ClusterUser
from upwell.oci.json_values import has_more_values
from upwell.server.cluster_access.outline import TooManyStepsError, without_parts
from upwell.server.http.errors import ApiError, status_of
from upwell.server.http.target import RequestTarget
from upwell.server.http.values import (
    MAX_VALUES,
    number_of_values,
    require_bounded,
    too_many_values,
)

CREATE, UPDATE, DELETE = "CREATE", "UPDATE", "DELETE"
_API = "admission.k8s.io/v1"
_REVIEW = "AdmissionReview"
_TWICE = 2
"""Objects of a review: the one that shall be, and the one that is."""
_OBJECTS = frozenset({("request", "object"), ("request", "oldObject")})
_BESIDE = frozenset(
    (*path, *part) for path in _OBJECTS for part in (("status",), ("metadata", "managedFields"))
)
_MAX_WARNINGS = 20
_MAX_WARNING = 256
"""Letters; a cluster cuts longer ones off (warning headers, KEP-1693)."""

type Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class AdmissionRequest:
    """A write that a cluster asks about."""

    uid: str
    operation: str
    target: RequestTarget
    user: ClusterUser
    object: Document | None = field(repr=False)
    """As it shall be; None for a deletion."""
    old: Document | None = field(repr=False)
    """As it is; None for a new object."""
    is_cut: bool = False
    """True where statuses and managed fields were left out, as the review is large."""


@dataclass(frozen=True, slots=True)
class AdmissionAnswer:
    """Answer to a write: it may be, with what is changed of it, or it is refused."""

    refusal: ApiError | None = None
    warnings: Sequence[str] = ()
    patch: Sequence[Mapping[str, Any]] = ()
    """JSON Patch (RFC 6902)."""

    def document(self, uid: str) -> Document:
        """Return the AdmissionReview that answers the request of this uid."""
        response: Document = {"uid": uid, "allowed": self.refusal is None}
        if self.refusal is not None:
            status = status_of(self.refusal)
            response["status"] = {name: status[name] for name in ("code", "message", "reason")}
        if self.warnings:
            response["warnings"] = [one[:_MAX_WARNING] for one in self.warnings[:_MAX_WARNINGS]]
        if self.patch and self.refusal is None:
            text = json.dumps(list(self.patch)).encode()
            response |= {"patchType": "JSONPatch", "patch": base64.b64encode(text).decode()}
        return {"apiVersion": _API, "kind": _REVIEW, "response": response}


def parse_review(body: bytes, own: str = "") -> AdmissionRequest:
    """Return what is asked; raises ApiError or UnknownKindError.

    Of a review that is large, statuses and managed fields are left out: nobody is asked about them.
    Whatever the account `own` writes may be, so that of its reviews no object is read where that is
    large.
    """
    is_cut = has_more_values(body, _TWICE * MAX_VALUES)
    if is_cut:
        try:
            head = _read(without_parts(body, _OBJECTS), is_cut=True)
            if head.user.name == own:
                return head
            body = without_parts(body, _BESIDE)
        except TooManyStepsError:
            raise too_many_values("the AdmissionReview") from None
    return _read(body, is_cut=is_cut)


def _read(body: bytes, *, is_cut: bool) -> AdmissionRequest:
    if is_cut and has_more_values(body, _TWICE * MAX_VALUES):
        raise too_many_values("the AdmissionReview")
    try:
        review = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ApiError(400, f"the AdmissionReview is not JSON: {error}") from None
    found = _object(review, "the body")
    if (found.get("apiVersion"), found.get("kind")) != (_API, _REVIEW):
        raise ApiError(400, f"expected an {_REVIEW} of {_API}")
    request = _object(found.get("request"), "request")
    kind = _object(request.get("kind"), "request.kind")
    user = _object(request.get("userInfo"), "request.userInfo")
    groups = user.get("groups") or []
    if not isinstance(groups, list):
        raise ApiError(400, "request.userInfo.groups: expected a list")
    name = _text(user, "username")
    if not name or not name.isprintable():  # names stand in annotations, one a line
        raise ApiError(400, "request.userInfo.username: expected printable letters")
    group, version = _text(kind, "group"), _text(kind, "version")
    target = RequestTarget(
        resource_for(f"{group}/{version}" if group else version, _text(kind, "kind")),
        _text(request, "namespace"),
        _text(request, "name"),
        _text(request, "subResource"),
    )
    return AdmissionRequest(
        _text(request, "uid"),
        _text(request, "operation"),
        target,
        ClusterUser(name, tuple(map(str, groups))),
        *_objects(request),
        is_cut,
    )


def _objects(request: Document) -> tuple[Document | None, Document | None]:
    """Return the object as it shall be, and as it is; raises ApiError for one that gets too large.

    What is so large already may be made smaller, or deleted.
    """
    new, old = (
        _object(request[name], f"request.{name}") if request.get(name) is not None else None
        for name in ("object", "oldObject")
    )
    if new is not None and (old is None or number_of_values(new) > number_of_values(old)):
        require_bounded(new, "request.object")
    return new, old


def _object(value: Any, what: str) -> Document:
    if not isinstance(value, dict):
        raise ApiError(400, f"{what}: expected an object")
    return value


def _text(document: Document, name: str) -> str:
    value = document.get(name) or ""
    if not isinstance(value, str):
        raise ApiError(400, f"{name}: expected a text")
    return value
