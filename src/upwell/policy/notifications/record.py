"""Record of an event, as the status of an object shows it."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from upwell.api.meta import ObjectReference, Resource

_MAX_MESSAGE = 1024
"""Characters, as the Kubernetes API limits an Event's message."""


@dataclass(frozen=True, slots=True)
class EventRecord:
    """Event of an object; the same event later is counted once more."""

    reason: str
    message: str
    at: datetime
    warning: bool = False
    occasion: str = ""
    """Key among the events of the same object and reason, whatever the message says."""
    details: Mapping[str, object] = field(default_factory=dict)
    """JSON data for machines."""
    namespace: str = ""
    """Namespace that it concerns, of an object that lies in none."""
    identity: str = ""
    """Text by which it is known where the message may change."""
    pod: ObjectReference | None = None
    """Pod that it is about, of the object that tells of it."""
    told_by: str = ""
    """Reason of another event of the object that tells this one, too."""

    def name(self, resource: Resource) -> str:
        """Return the one name of its Event: recorded twice, it is there once."""
        seed = "\n".join((resource.metadata.uid or "", self.reason, self.identity or self.message))
        return f"{resource.name[:200]}.{hashlib.sha256(seed.encode()).hexdigest()[:16]}"

    @property
    def text(self) -> str:
        """The message, cut to what an Event may hold."""
        return self.message[:_MAX_MESSAGE]
