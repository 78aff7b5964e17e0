"""Objects whose reconciles fail by what does not pass: a fault of ours, or nonsense in them."""

from collections.abc import Sequence
from dataclasses import dataclass

from upwell.api.meta import ObjectKey

_MOST = 1000
"""Objects that are remembered; the log has all."""


@dataclass(frozen=True, slots=True)
class FailingReconcile:
    """A reconcile that has failed, and is tried again."""

    key: ObjectKey
    controller: str
    why: str


class FailingReconciles:
    """Those of all controllers of a process, each until it succeeds."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, ObjectKey], str] = {}

    def all(self) -> Sequence[FailingReconcile]:
        """Return them in the order of their keys."""
        found = [FailingReconcile(key, name, why) for (name, key), why in self._known.items()]
        return sorted(found, key=lambda one: (str(one.key), one.controller))

    def note(self, controller: str, key: ObjectKey, why: str) -> None:
        """Note that a reconcile has failed."""
        if (controller, key) in self._known or len(self._known) < _MOST:
            self._known[controller, key] = why

    def forget(self, controller: str, key: ObjectKey) -> None:
        """Note that a reconcile does not fail, or by what may pass."""
        self._known.pop((controller, key), None)

    def forget_all(self, controller: str) -> None:
        """Note that a controller begins anew."""
        for known in [one for one in self._known if one[0] == controller]:
            del self._known[known]
