"""Write-only values of objects as one client sees them; pure.

Whoever may read the Secrets of a namespace sees the values in its objects too. All others see
placeholders, and may write them back.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from upwell.api.meta import Resource
from upwell.api.write_only.hidden import hidden, restored
from upwell.policy.access.roles import Action, Grant, is_allowed

_KEPT = 512
"""Objects whose hidden form is kept: a change is told to all who watch."""


class WriteOnlyValues:
    """Hides values, and finds them again. `key` outlives the process, as what was read may."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._recent: OrderedDict[int, tuple[Resource, Resource]] = OrderedDict()

    def hidden(self, resource: Resource) -> Resource:
        """Return the object without its write-only values; itself if it has none."""
        found = self._recent.get(id(resource))
        if found is not None and found[0] is resource:
            return found[1]
        shown = hidden(resource, self._key)
        if shown is not resource:
            self._recent[id(resource)] = resource, shown
            if len(self._recent) > _KEPT:
                self._recent.popitem(last=False)
        return shown

    def restored(self, document: Mapping[str, Any], old: Resource | None) -> dict[str, Any]:
        """Return a document with the values of `old` for placeholders; raises InvalidObjectError.

        `old` is the object that the document is to replace.
        """
        return restored(document, old, self._key)


@dataclass(frozen=True, slots=True)
class SecretView:
    """Objects as a client with these grants may see them; None: everything."""

    values: WriteOnlyValues
    grants: tuple[Grant, ...] | None
    _known: dict[str, bool] = field(default_factory=dict, repr=False, compare=False)

    def of(self, resource: Resource) -> Resource:
        """Return the object as the client may see it."""
        return resource if self._sees(resource.namespace) else self.values.hidden(resource)

    def restored(self, document: Mapping[str, Any], old: Resource | None) -> dict[str, Any]:
        """Return what the client means by a document; raises InvalidObjectError."""
        return self.values.restored(document, old)

    def _sees(self, namespace: str) -> bool:
        if self.grants is None:
            return True
        if (known := self._known.get(namespace)) is None:
            known = is_allowed(self.grants, Action("get", "secrets", namespace))
            self._known[namespace] = known
        return known


EVERYTHING_VISIBLE = SecretView(WriteOnlyValues(b""), None)
"""View of the server itself, which sends nothing of it."""
