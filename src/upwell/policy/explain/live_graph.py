"""Graph of dependencies that follows each change of an object, at a cost of what it changes."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator

from upwell.api.builds.config import BuildConfig
from upwell.api.image import ImageStream
from upwell.api.meta import ObjectKey, Resource
from upwell.api.pipeline import Pipeline
from upwell.policy.explain.graph import Edge, Node, edges_of, merged, promotions_of
from upwell.policy.images.names import (
    ImageNames,
    Name,
    names_copied,
    names_of,
    names_read,
    names_run,
    names_written,
    naming_of,
)
from upwell.policy.promotion.stages import namespace_of
from upwell.policy.rollouts.settings import WORKLOADS


class LiveGraph:
    """The edges that `build_graph` finds among the same objects, kept up to date by `move`.

    An object's edges are its own; those of a Pipeline are kept with the workloads into which it
    promotes. What an object means by the name of an image depends on the streams: when one comes,
    goes, or gets other names, those are looked at again that use one of its names.
    """

    def __init__(self) -> None:
        self.names = ImageNames()
        """Names by which images are known."""
        self._items: dict[ObjectKey, Resource] = {}
        self._edges: dict[ObjectKey, frozenset[Edge]] = {}
        """By the object whose they are."""
        self._into = _Groups[Node, Edge]()
        self._out_of = _Groups[Node, Edge]()
        self._users = _Groups[Name, ObjectKey]()
        self._workloads = _Groups[str, ObjectKey]()
        """By namespace."""
        self._pipelines = _Groups[str, ObjectKey]()
        """By the namespaces of their stages."""

    def move(self, before: Resource | None, after: Resource | None) -> None:
        """Take a change in: an object before and after, None where there was, or is, none.

        `before` is what was taken in last.
        """
        if before is not None and after is not None and _decides_the_same(before, after):
            self._items[after.key] = after
            return
        stale: set[ObjectKey] = set()
        if before is not None:
            stale |= self._drop(before)
        if after is not None:
            stale |= self._put(after)
        if _renamed(before, after):
            stale |= self._rename(before, after)
        for key in stale:
            self._renew(key)

    def inputs(self, node: Node) -> tuple[Edge, ...]:
        """Return the edges into `node`, one from each source, in a fixed order."""
        return _one_for_each(self._into.get(node), lambda edge: edge.source)

    def outputs(self, node: Node) -> tuple[Edge, ...]:
        """Return the edges out of `node`, one to each target, in a fixed order."""
        return _one_for_each(self._out_of.get(node), lambda edge: edge.target)

    def __contains__(self, node: object) -> bool:
        return node in self._into or node in self._out_of or node in self._items

    def pipelines_in(self, namespace: str) -> Iterable[ObjectKey]:
        """Return the Pipelines that have a stage in a namespace."""
        return self._pipelines.get(namespace)

    def users(self, name: Name) -> Iterable[ObjectKey]:
        """Return the objects that name a stream, or an image of a repository."""
        return self._users.get(name)

    def edges(self) -> Iterator[Edge]:
        """Yield all edges, one for each two nodes."""
        for node in self._into:
            yield from self.inputs(node)

    def edges_among(self, items: Iterable[Resource]) -> list[Edge]:
        """Return the edges that objects have themselves, as `build_graph` finds them."""
        return [edge for item in items for edge in self._edges.get(item.key, ())]

    def _put(self, item: Resource) -> set[ObjectKey]:
        """Take an object in; return those whose edges it decides on."""
        self._items[item.key] = item
        for name in _names_used(item):
            self._users.put(name, item.key)
        return {item.key, *self._placed(item, _Groups.put)}

    def _drop(self, item: Resource) -> set[ObjectKey]:
        """Forget an object; return those whose edges it decided on."""
        self._items.pop(item.key, None)
        for name in _names_used(item):
            self._users.drop(name, item.key)
        return {item.key, *self._placed(item, _Groups.drop)}

    def _placed(
        self, item: Resource, move: Callable[["_Groups[str, ObjectKey]", str, ObjectKey], None]
    ) -> Iterator[ObjectKey]:
        """Move what has to do with stages in or out; yield the workloads that a Pipeline has."""
        if isinstance(item, WORKLOADS):
            move(self._workloads, item.namespace, item.key)
        elif isinstance(item, Pipeline):
            for namespace in {namespace_of(item, stage) for stage in item.spec.stages}:
                move(self._pipelines, namespace, item.key)
                yield from self._workloads.get(namespace)

    def _rename(self, before: Resource | None, after: Resource | None) -> set[ObjectKey]:
        """Take the names of a stream in; return who may mean something else by them now."""
        changed: set[Name] = set()
        if isinstance(before, ImageStream):
            self.names.drop(before)
            changed |= names_of(before)
        if isinstance(after, ImageStream):
            self.names.put(after)
            changed |= names_of(after)
        return {key for name in changed for key in self._users.get(name)}

    def _renew(self, key: ObjectKey) -> None:
        """Find the edges of an object anew."""
        item = self._items.get(key)
        new = frozenset(self._found(item)) if item is not None else frozenset()
        old = self._edges.pop(key, frozenset())
        if new:
            self._edges[key] = new
        for edge in old - new:
            self._into.drop(edge.target, edge)
            self._out_of.drop(edge.source, edge)
        for edge in new - old:
            self._into.put(edge.target, edge)
            self._out_of.put(edge.source, edge)

    def _found(self, item: Resource) -> Iterator[Edge]:
        yield from edges_of(item, self.names)
        if isinstance(item, WORKLOADS):
            named = [self._items[key] for key in self._pipelines.get(item.namespace)]
            yield from promotions_of([one for one in named if isinstance(one, Pipeline)], item)


class _Groups[K: Hashable, V: Hashable]:
    """Values by keys; those of a key have no order that means anything."""

    def __init__(self) -> None:
        self._found: dict[K, set[V]] = defaultdict(set)

    def get(self, key: K) -> Iterable[V]:
        return self._found.get(key, ())

    def __contains__(self, key: object) -> bool:
        return key in self._found

    def __iter__(self) -> Iterator[K]:
        return iter(self._found)

    def put(self, key: K, value: V) -> None:
        self._found[key].add(value)

    def drop(self, key: K, value: V) -> None:
        found = self._found[key]
        found.discard(value)
        if not found:
            del self._found[key]


def _decides_the_same(before: Resource, after: Resource) -> bool:
    """Return True if a change is of no edge: statuses change far more often than what decides."""
    match before, after:
        case BuildConfig(), BuildConfig():
            if before.status.tracked_images != after.status.tracked_images:
                return False
        case (Pipeline(), Pipeline()):
            return before.spec == after.spec
        case _ if not (isinstance(before, WORKLOADS) and isinstance(after, WORKLOADS)):
            return False
    return (before.spec, before.annotations, before.labels) == (
        (after.spec, after.annotations, after.labels)
    )


def _renamed(before: Resource | None, after: Resource | None) -> bool:
    names = [naming_of(one) if isinstance(one, ImageStream) else None for one in (before, after)]
    return names[0] != names[1]


def _names_used(item: Resource) -> set[Name]:
    """Return the names of images by which an object means streams."""
    match item:
        case ImageStream():
            return names_copied(item)
        case BuildConfig():
            return names_read(item) | names_written(item)
        case _ if isinstance(item, WORKLOADS):
            return names_run(item.spec.template, item.namespace)
        case _:
            return set()


def _one_for_each(edges: Iterable[Edge], end: Callable[[Edge], Node]) -> tuple[Edge, ...]:
    """Return the edges by their other ends, of several to the same what they say together."""
    found: dict[Node, Edge] = {}
    for edge in edges:
        known = found.get(end(edge))
        found[end(edge)] = merged(known, edge) if known is not None else edge
    return tuple(sorted(found.values(), key=lambda edge: str(end(edge))))
