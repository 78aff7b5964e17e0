"""Write-only values of objects as one client sees them; pure.

Whoever may read the Secrets of a namespace sees the values in its objects too. All others see
placeholders, and may write them back.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from upwell.api.meta import Resource
from upwell.api.values.identity_cache import IdentityCache
from upwell.api.write_only.hidden import hidden, restored, write_only_fields
from upwell.policy.access.roles import Action, Grant, is_allowed


class WriteOnlyValues:
    """Hides values, and finds them again. `key` outlives the process, as what was read may."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._known = IdentityCache(self._hidden)

    def hidden(self, resource: Resource) -> Resource:
        """Return the object without its write-only values; itself if it has none.

        An object is hidden once, however many read it: what is stored never changes.
        """
        if not write_only_fields(type(resource)):
            return hidden(resource, self._key)
        return self._known(resource) or resource

    def _hidden(self, resource: Resource) -> Resource | None:
        """Return the hidden form of an object; None: that is the object itself."""
        shown = hidden(resource, self._key)
        return None if shown is resource else shown

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
        if self.grants is None or self._sees(self.grants, resource.namespace):
            return resource
        return self.values.hidden(resource)

    def restored(self, document: Mapping[str, Any], old: Resource | None) -> dict[str, Any]:
        """Return what the client means by a document; raises InvalidObjectError."""
        return self.values.restored(document, old)

    def _sees(self, grants: tuple[Grant, ...], namespace: str) -> bool:
        if (known := self._known.get(namespace)) is None:
            known = is_allowed(grants, Action("get", "secrets", namespace))
            self._known[namespace] = known
        return known


EVERYTHING_VISIBLE = SecretView(WriteOnlyValues(b""), None)
"""View of the server itself, which sends nothing of it."""
