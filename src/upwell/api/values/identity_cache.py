"""Values that are made of objects, each once while its object is alive.

Objects never change, so what was made of one holds for as long as there is that very one.
"""

from collections import OrderedDict
from collections.abc import Callable
from weakref import ReferenceType, ref

from upwell.api.meta import Resource


class IdentityCache[T]:
    """Makes a value of each object once; beyond `most`, those that were longest unused go.

    The value must not refer to the object, which would never end. With `most`, one thread asks.
    """

    def __init__(self, make: Callable[[Resource], T], most: int | None = None) -> None:
        self._make = make
        self._most = most
        self._known: OrderedDict[int, tuple[ReferenceType[Resource], T]] = OrderedDict()
        """By the identity of the object."""

    def __call__(self, resource: Resource) -> T:
        """Return the value of this very object."""
        place = id(resource)
        found = self._known.get(place)
        if found is not None and found[0]() is resource:
            if self._most is not None:
                self._known.move_to_end(place)
            return found[1]
        value = self._make(resource)
        self._known[place] = ref(resource, lambda gone: self._forget(place, gone)), value
        if self._most is not None and len(self._known) > self._most:
            self._known.popitem(last=False)
        return value

    def __len__(self) -> int:
        """Return how many values there are."""
        return len(self._known)

    def _forget(self, place: int, gone: ReferenceType[Resource]) -> None:
        found = self._known.get(place)
        if found is not None and found[0] is gone:
            del self._known[place]
