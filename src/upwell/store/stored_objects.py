"""The objects of a store in memory, as of the last durable change: in order, and found quickly."""

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import cast

from upwell.api.meta import ObjectKey, Resource
from upwell.store import semantics
from upwell.store.history import ChangeRecord
from upwell.store.interface import Change, Selector


class StoredObjects:
    """Index of all objects by kind and namespace, by label, and by owner.

    A list costs as much as what it returns, whatever else is there.
    """

    def __init__(self, resources: Iterable[Resource]) -> None:
        self._placed: dict[str, dict[str, _Namespace]] = defaultdict(dict)
        """By kind and namespace."""
        self._owned: dict[str, set[ObjectKey]] = defaultdict(set)
        self._labelled: dict[tuple[str, str, str], dict[ObjectKey, Resource]] = defaultdict(dict)
        """By kind, label and value."""
        for resource in resources:
            self._put(resource)

    def get(self, key: ObjectKey) -> Resource | None:
        """Return one object."""
        namespace = self._placed[key.kind].get(key.namespace)
        return namespace.get(key.name) if namespace is not None else None

    def matching[R: Resource](self, kind: type[R], selector: Selector) -> list[R]:
        """Return the objects of a kind that match, by namespace and name."""
        name = kind.KIND.kind
        if selector.labels:
            found = self._with_labels(name, selector)
        elif selector.name:
            found = self._with_name(name, selector)
        else:
            found = list(self._in_order(name, selector.namespace))
        return cast("list[R]", found)

    def owned_by(self, uid: str) -> Iterable[ObjectKey]:
        """Return the keys of what names an object of this uid as its owner."""
        return self._owned.get(uid, ())

    def in_namespace(self, namespace: str) -> Iterator[Resource]:
        """Yield the objects of every kind that are in a namespace."""
        for kind in list(self._placed):
            yield from self._in_order(kind, namespace)

    def __iter__(self) -> Iterator[Resource]:
        for kind in self._placed:
            yield from self._in_order(kind, "")

    def apply(self, record: ChangeRecord) -> None:
        """Take a durable change in."""
        if record.change is Change.DELETED:
            self._remove(record.resource.key)
        else:
            self._put(record.resource)

    def _in_order(self, kind: str, namespace: str) -> Iterator[Resource]:
        placed = self._placed[kind]
        if namespace:
            placed = {namespace: placed[namespace]} if namespace in placed else {}
        for place in sorted(placed):
            yield from placed[place]

    def _with_name(self, kind: str, selector: Selector) -> list[Resource]:
        places = [selector.namespace] if selector.namespace else sorted(self._placed[kind])
        found = (self.get(ObjectKey(kind, place, selector.name)) for place in places)
        return [one for one in found if one is not None]

    def _with_labels(self, kind: str, selector: Selector) -> list[Resource]:
        sets = [self._labelled.get((kind, *label), {}) for label in selector.labels.items()]
        fewest = min(sets, key=len)
        found = [key for key, one in fewest.items() if semantics.matches(selector, one)]
        return [fewest[key] for key in sorted(found, key=lambda key: (key.namespace, key.name))]

    def _put(self, resource: Resource) -> None:
        key = resource.key
        placed = self._placed[key.kind]
        namespace = placed.get(key.namespace)
        if namespace is None:
            namespace = placed[key.namespace] = _Namespace()
        old = namespace.put(resource)
        if old is not None:
            self._forget(key, old)
        for uid in semantics.owner_uids(resource):
            self._owned[uid].add(key)
        for label, value in resource.labels.items():
            self._labelled[key.kind, label, value][key] = resource

    def _remove(self, key: ObjectKey) -> None:
        placed = self._placed[key.kind]
        namespace = placed.get(key.namespace)
        old = namespace.remove(key.name) if namespace is not None else None
        if old is None:
            return
        if not namespace:
            del placed[key.namespace]
        self._forget(key, old)

    def _forget(self, key: ObjectKey, old: Resource) -> None:
        """Take an object out of what finds it by its owners and labels."""
        for uid in semantics.owner_uids(old):
            self._owned[uid].discard(key)
            if not self._owned[uid]:
                del self._owned[uid]
        for label, value in old.labels.items():
            place = (key.kind, label, value)
            del self._labelled[place][key]
            if not self._labelled[place]:
                del self._labelled[place]


class _Namespace:
    """The objects of one kind in one namespace, in the order of their names."""

    def __init__(self) -> None:
        self._by_name: dict[str, Resource] = {}
        self._names: list[str] | None = None
        """The names in order; None until somebody asks, so that many at once are sorted once."""

    def __len__(self) -> int:
        return len(self._by_name)

    def __iter__(self) -> Iterator[Resource]:
        if self._names is None:
            self._names = sorted(self._by_name)
        return map(self._by_name.__getitem__, self._names)

    def get(self, name: str) -> Resource | None:
        return self._by_name.get(name)

    def put(self, resource: Resource) -> Resource | None:
        """Keep an object; return what it replaces."""
        name = resource.name
        old = self._by_name.get(name)
        self._by_name[name] = resource
        if old is None and self._names is not None:
            insort(self._names, name)
        return old

    def remove(self, name: str) -> Resource | None:
        """Forget an object, and return it, if it is there."""
        old = self._by_name.pop(name, None)
        if old is not None and self._names is not None:
            del self._names[bisect_left(self._names, name)]
        return old
