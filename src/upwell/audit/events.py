"""Event of one request, and the JSON object of its line."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_MAX_TEXT = 300
_MAX_CHANGES = 20
_MAX_ANNOTATION = 2000
_DENIED = frozenset({401, 403, 429})


@dataclass(frozen=True, slots=True)
class FieldChange:
    """A field of an object that a request changed; without what must not be read."""

    path: str
    """`spec.replicas`, `metadata.labels[app]`, `spec.triggers[1].type`."""
    old: str | None = None
    """JSON, cut; None for a field that was not there, or whose value is not shown."""
    new: str | None = None

    def document(self) -> Mapping[str, str]:
        """Return the JSON object."""
        values = {"path": self.path, "old": self.old, "new": self.new}
        return {key: value[:_MAX_TEXT] for key, value in values.items() if value is not None}


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """One request and its outcome."""

    user: str
    """The token's name; empty when there was none."""
    source: str
    """The client's address."""
    verb: str
    resource: str
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    code: int = 0
    """The HTTP status of the answer; 0 when the client left before there was one."""
    reason: str = ""
    """Reason, as its author gives it: of actions on promotions."""
    changes: Sequence[FieldChange] = ()
    denied: bool = False
    """True of a refusal whose status does not say so."""
    annotations: Mapping[str, str] = field(default_factory=dict)
    """By keys as Kubernetes' audit events have them."""

    @property
    def is_denied(self) -> bool:
        """True if the request was refused for who sent it: it belongs among the denied."""
        return self.denied or self.code in _DENIED

    def document(self) -> Mapping[str, Any]:
        """Return the JSON object of the line, every text bounded."""
        document: dict[str, Any] = {
            "user": self.user[:_MAX_TEXT],
            "source": self.source[:_MAX_TEXT],
            "verb": self.verb,
            "resource": self.resource[:_MAX_TEXT],
            "subresource": self.subresource[:_MAX_TEXT],
            "namespace": self.namespace[:_MAX_TEXT],
            "name": self.name[:_MAX_TEXT],
            "code": self.code,
        }
        if self.reason:
            document["reason"] = self.reason[:_MAX_TEXT]
        if self.changes:
            document["changes"] = [one.document() for one in self.changes[:_MAX_CHANGES]]
        if len(self.changes) > _MAX_CHANGES:
            document["moreChanges"] = len(self.changes) - _MAX_CHANGES
        if self.annotations:
            found = {key: text[:_MAX_ANNOTATION] for key, text in self.annotations.items()}
            document["annotations"] = found
        return document
