"""Graph of dependencies: upstream images, stream tags, BuildConfigs and workloads.

An edge points the way that a change takes: from a base image to all that must follow it.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property

from upwell.api.apps import CronJob, DaemonSet, Deployment, DeploymentConfig, StatefulSet
from upwell.api.builds.config import BuildConfig, BuildTriggerPolicy
from upwell.api.defaults import DOCKER_IMAGE, IMAGE_STREAM_TAG
from upwell.api.image import ImageStream
from upwell.api.meta import ObjectKey, ObjectReference, Resource
from upwell.api.pipeline import Pipeline
from upwell.policy.images.imported import change_behind
from upwell.policy.images.names import ImageNames, ImageNode, UpstreamImage
from upwell.policy.images.repository_tags import effective_tags
from upwell.policy.images.streams import StreamTag
from upwell.policy.promotion.claims import foreign_claim
from upwell.policy.promotion.stages import (
    STAGED,
    NoContainerError,
    images_for,
    names_workload,
    stages_with,
)
from upwell.policy.rollouts.image_ownership import pod_template
from upwell.policy.rollouts.settings import Workload
from upwell.policy.rollouts.triggers import Mode, followers_of

type Node = ImageNode | ObjectKey
type Neighbours = Callable[[Node], list[Node]]

_CONFIG_KIND = BuildConfig.KIND.kind


class EdgeRole(StrEnum):
    """Role of an edge's source for its target; for one pair, the first of these counts."""

    IMPORT = "import"
    """A tag imports an upstream image."""
    TAG = "tag"
    """A tag takes its image from another tag."""
    BASE = "base"
    """A BuildConfig's strategy builds from a tag or image."""
    INPUT = "input"
    """A build reads a tag in some other way: another stage, a copied file, a trigger of its own."""
    OUTPUT = "output"
    """A BuildConfig pushes to a tag."""
    DEPLOY = "deploy"
    """A workload runs a tag."""
    PROMOTE = "promote"
    """A workload gets what a tag names through the stages of a Pipeline."""
    KEPT = "kept"
    """A tag has what it imported of an upstream image, which it declares no more."""


@dataclass(frozen=True, slots=True)
class Edge:
    """`target` is made from `source`; `automatic` unless a person must pass each change on."""

    source: Node
    target: Node
    role: EdgeRole
    automatic: bool


class Graph:
    """The edges between images, builds and workloads, and what follows from them.

    Neighbours and results are in a fixed order, so that equal objects give equal answers.
    """

    def __init__(self, nodes: Iterable[Node], edges: Iterable[Edge]) -> None:
        pairs: dict[tuple[Node, Node], Edge] = {}
        for edge in edges:
            pair = (edge.source, edge.target)
            pairs[pair] = merged(pairs[pair], edge) if pair in pairs else edge
        names = {node: str(node) for node in (*nodes, *(end for pair in pairs for end in pair))}
        ordered = sorted(pairs.items(), key=lambda one: (names[one[0][0]], names[one[0][1]]))
        self.edges = tuple(edge for _, edge in ordered)
        self.nodes: tuple[Node, ...] = tuple(sorted(names, key=names.__getitem__))
        self._known = frozenset(names)
        self._into = _grouped((edge.target, edge) for edge in self.edges)
        self._out_of = _grouped((edge.source, edge) for edge in self.edges)

    def __contains__(self, node: object) -> bool:
        return node in self._known

    def inputs(self, node: Node) -> tuple[Edge, ...]:
        """Return the edges into `node`: what it is made from."""
        return self._into.get(node, ())

    def outputs(self, node: Node) -> tuple[Edge, ...]:
        """Return the edges out of `node`: what is made from it."""
        return self._out_of.get(node, ())

    def producers(self, tag: StreamTag) -> frozenset[ObjectKey]:
        """Return the BuildConfigs that push to `tag`, or to a tag that it takes its image from."""
        return frozenset(self._nearest_builds(tag))

    def upstream(self, config: ObjectKey) -> frozenset[ObjectKey]:
        """Return every BuildConfig whose result reaches `config`, through any number of builds.

        Members of a cycle that holds `config` are left out: to wait for them would never end.
        """
        reached = self._reachable(config, self._sources)
        own_cycle = self._component_of.get(config, frozenset())
        return frozenset(
            node
            for node in reached - own_cycle - {config}
            if isinstance(node, ObjectKey) and node.kind == _CONFIG_KIND
        )

    def ancestors(self, node: Node) -> tuple[Node, ...]:
        """Return everything that reaches `node`, itself left out."""
        return tuple(sorted(self._reachable(node, self._sources) - {node}, key=str))

    def descendants(self, node: Node) -> tuple[Node, ...]:
        """Return everything that `node` reaches, itself left out."""
        return tuple(sorted(self._reachable(node, self._targets) - {node}, key=str))

    def order(self) -> tuple[Node, ...]:
        """Return every node after all that it is made from; a cycle's members stand together."""
        return self._order

    def place_of(self, node: Node) -> int:
        """Return the place of a node in that order, from 0."""
        return self._places[node]

    @cached_property
    def cycles(self) -> tuple[tuple[Node, ...], ...]:
        """The rings of what is made from itself, each as the way around it."""
        return tuple(
            self._way_around(component)
            for component in self._components
            if len(component) > 1 or self._feeds_itself(component)
        )

    def cycle_of(self, node: Node) -> frozenset[Node]:
        """Return `node` and all that it reaches and is reached by; empty: it is in no cycle."""
        component = self._component_of.get(node, frozenset())
        return component if len(component) > 1 or self._feeds_itself(component) else frozenset()

    def of_changes(self, followed: Collection[tuple[str, ObjectKey]]) -> "Graph":
        """Return the graph of the ways that a change takes by itself; its cycles never end.

        `followed` are the names of images, each with the BuildConfig that builds by itself when it
        changes.
        """
        return Graph(
            (),
            (
                edge
                for edge in self.edges
                if edge.role is EdgeRole.OUTPUT
                or (isinstance(edge.target, StreamTag) and edge.automatic)
                or (str(edge.source), edge.target) in followed
            ),
        )

    def _sources(self, node: Node) -> list[Node]:
        return [edge.source for edge in self._into.get(node, ())]

    def _targets(self, node: Node) -> list[Node]:
        return [edge.target for edge in self._out_of.get(node, ())]

    @staticmethod
    def _reachable(start: Node, neighbours: Neighbours) -> set[Node]:
        seen: set[Node] = set()
        waiting = [start]
        while waiting:
            for node in neighbours(waiting.pop()):
                if node not in seen:
                    seen.add(node)
                    waiting.append(node)
        return seen

    def _nearest_builds(self, tag: StreamTag) -> Iterator[ObjectKey]:
        seen: set[Node] = {tag}
        waiting: list[Node] = [tag]
        while waiting:
            for source in self._sources(waiting.pop()):
                if isinstance(source, ObjectKey):
                    yield source
                elif source not in seen:
                    seen.add(source)
                    waiting.append(source)

    @cached_property
    def _components(self) -> tuple[frozenset[Node], ...]:
        return tuple(_strong_components(self.nodes, self._sources))

    @cached_property
    def _order(self) -> tuple[Node, ...]:
        return tuple(node for component in self._components for node in sorted(component, key=str))

    @cached_property
    def _places(self) -> Mapping[Node, int]:
        return {node: place for place, node in enumerate(self._order)}

    @cached_property
    def _component_of(self) -> Mapping[Node, frozenset[Node]]:
        return {node: component for component in self._components for node in component}

    def _feeds_itself(self, component: frozenset[Node]) -> bool:
        return any(node in self._targets(node) for node in component)

    def _way_around(self, component: frozenset[Node]) -> tuple[Node, ...]:
        """Return the shortest way from the component's first node back to it."""
        start = min(component, key=str)
        came_from: dict[Node, Node] = {}
        waiting = [start]
        for node in waiting:
            for target in self._targets(node):
                if target == start:
                    return _path(start, node, came_from)
                if target in component and target not in came_from:
                    came_from[target] = node
                    waiting.append(target)
        return (start,)


def _grouped(edges: Iterable[tuple[Node, Edge]]) -> Mapping[Node, tuple[Edge, ...]]:
    found: dict[Node, list[Edge]] = defaultdict(list)
    for node, edge in edges:
        found[node].append(edge)
    return {node: tuple(ones) for node, ones in found.items()}


def standing_on(start: Node, outputs: Callable[[Node], Iterable[Edge]]) -> Iterator[ObjectKey]:
    """Yield the BuildConfigs and workloads that are reached from `start`, each once, near first."""
    seen = {start}
    waiting = [start]
    for node in waiting:  # grows meanwhile
        for edge in outputs(node):
            if edge.target not in seen:
                seen.add(edge.target)
                waiting.append(edge.target)
                if isinstance(edge.target, ObjectKey):
                    yield edge.target


def build_graph(
    objects: Iterable[Resource],
    names: ImageNames | None = None,
    edges: Iterable[Edge] | None = None,
) -> Graph:
    """Return the graph of these ImageStreams, BuildConfigs, workloads and Pipelines, no others.

    `names` are those of these streams, and `edges` those of the objects, if they are known.
    """
    known = list(objects)
    if edges is None:
        edges = _found_edges(known, names)
    return Graph(_own_nodes(known), edges)


def _found_edges(known: Collection[Resource], names: ImageNames | None) -> Iterator[Edge]:
    if names is None:
        names = ImageNames(item for item in known if isinstance(item, ImageStream))
    pipelines = [item for item in known if isinstance(item, Pipeline)]
    for item in known:
        yield from edges_of(item, names)
        if isinstance(item, STAGED):
            yield from promotions_of(pipelines, item)


def _own_nodes(known: Iterable[Resource]) -> Iterator[Node]:
    for item in known:
        match item:
            case ImageStream():
                yield from (StreamTag(item.namespace, item.name, tag) for tag in _tags(item))
            case BuildConfig() | DeploymentConfig() | Deployment() | StatefulSet() | DaemonSet():
                yield item.key
            case _:
                pass


def edges_of(item: Resource, names: ImageNames) -> Iterator[Edge]:
    """Yield the edges that an ImageStream, BuildConfig or workload declares; others have none."""
    match item:
        case ImageStream():
            yield from _of_stream(item, names)
        case BuildConfig():
            yield from _of_build_config(item, names)
        case DeploymentConfig() | Deployment() | StatefulSet() | DaemonSet() | CronJob():
            yield from _of_workload(item, names)
        case _:
            pass


def _tags(stream: ImageStream) -> Iterator[str]:
    yield from (tag.name for tag in stream.spec.tags)
    yield from (tag.tag for tag in stream.status.tags)


def _of_stream(stream: ImageStream, names: ImageNames) -> Iterator[Edge]:
    declared = tuple(_declared_by(stream, names))
    yield from declared
    pairs = {(one.source, one.target) for one in declared}
    for history in stream.status.tags:
        change = change_behind(history)
        origin = names.origin(change.image) if change is not None else None
        target = StreamTag(stream.namespace, stream.name, history.tag)
        if origin is not None and (origin, target) not in pairs:
            yield Edge(origin, target, EdgeRole.KEPT, automatic=False)


def _declared_by(stream: ImageStream, names: ImageNames) -> Iterator[Edge]:
    for tag in effective_tags(stream):
        target = StreamTag(stream.namespace, stream.name, tag.name)
        if tag.from_ is None:
            continue
        if tag.from_.kind == DOCKER_IMAGE:
            origin = names.origin(tag.from_.name)
            if origin is not None:
                role = EdgeRole.IMPORT if isinstance(origin, UpstreamImage) else EdgeRole.TAG
                yield Edge(origin, target, role, automatic=tag.scheduled)
        elif tag.from_.kind == IMAGE_STREAM_TAG:
            source = StreamTag.source_in(stream, tag.from_)
            yield Edge(source, target, EdgeRole.TAG, automatic=True)


def _of_build_config(config: BuildConfig, names: ImageNames) -> Iterator[Edge]:
    spec = config.spec
    base = _kept(spec.strategy.base, config, names)
    automatic = {
        node: not trigger.image_change.paused if trigger.image_change else True
        for trigger in spec.triggers
        if trigger.type == "ImageChange"
        and (node := _kept(_trigger_source(trigger), config, names) or base) is not None
    }
    reads = dict.fromkeys([*_read_by(config, names), *automatic], EdgeRole.INPUT)
    if base is not None:
        reads[base] = EdgeRole.BASE
    for node, role in reads.items():
        yield Edge(node, config.key, role, automatic=automatic.get(node, False))
    output = _kept(spec.output.to, config, names)
    if output is not None:
        yield Edge(config.key, output, EdgeRole.OUTPUT, automatic=True)


def _trigger_source(trigger: BuildTriggerPolicy) -> ObjectReference | None:
    return trigger.image_change.from_ if trigger.image_change else None


def _read_by(config: BuildConfig, names: ImageNames) -> Iterator[ImageNode]:
    """Yield what the build reads beside its strategy's image."""
    for image in config.status.tracked_images:
        node = names.find(image, config.namespace)
        if node is not None:
            yield node
    for source in config.spec.source.images:
        node = _kept(source.from_, config, names)
        if node is not None:
            yield node


def _kept(
    reference: ObjectReference | None, config: BuildConfig, names: ImageNames
) -> ImageNode | None:
    if reference is None or not reference.name:
        return None
    if reference.kind == DOCKER_IMAGE:
        return names.find(reference.name, config.namespace)
    if reference.kind in {IMAGE_STREAM_TAG, ""}:
        return StreamTag.of(reference, config.namespace)
    return None  # an ImageStreamImage is one digest for ever: no change comes from it


def _of_workload(workload: Workload | CronJob, names: ImageNames) -> Iterator[Edge]:
    followed: dict[StreamTag, bool] = {}
    for follower in followers_of(workload).entries:
        tag = follower.tag
        automatic = follower.mode is Mode.AUTOMATIC
        followed[tag] = followed.get(tag, False) or automatic
    for tag, automatic in followed.items():
        yield Edge(tag, workload.key, EdgeRole.DEPLOY, automatic=automatic)
    template = pod_template(workload)
    for container in template.spec.containers if template is not None else ():
        node = names.find(container.image.strip(), workload.namespace)
        if isinstance(node, StreamTag) and node not in followed:
            yield Edge(node, workload.key, EdgeRole.DEPLOY, automatic=False)


def promotions_of(pipelines: Iterable[Pipeline], workload: Workload | CronJob) -> Iterator[Edge]:
    """Yield an edge to `workload` from the tag of each component that it gets by a Pipeline.

    `pipelines` are all that may name it: one of them has it.
    """
    stages = tuple(stages_with(workload, pipelines))
    for pipeline, stage in stages:
        entry = names_workload(pipeline, stage, workload)
        if entry is None or foreign_claim(pipeline, stage, workload, stages):
            continue
        components = pipeline.spec.components
        tags = {one.name: StreamTag.of(one.from_, pipeline.namespace) for one in components}
        with suppress(NoContainerError):
            for name in set(images_for(entry, workload, {name: name for name in tags}).values()):
                automatic = stage.promotion == "Automatic"
                yield Edge(tags[name], workload.key, EdgeRole.PROMOTE, automatic=automatic)


def merged(one: Edge, other: Edge) -> Edge:
    """Return what two edges between the same nodes say together."""
    roles = list(EdgeRole)
    first = min(one, other, key=lambda edge: roles.index(edge.role))
    return replace(first, automatic=one.automatic or other.automatic)


def _path(start: Node, end: Node, came_from: Mapping[Node, Node]) -> tuple[Node, ...]:
    way = [end]
    while way[-1] != start:
        way.append(came_from[way[-1]])
    return tuple(reversed(way))


def _strong_components(nodes: Iterable[Node], sources: Neighbours) -> Iterator[frozenset[Node]]:
    """Yield the strongly connected components, each after all that it is made from (Tarjan).

    Without recursion: a chain of builds may be longer than Python's stack.
    """
    index: dict[Node, int] = {}
    low: dict[Node, int] = {}
    stack: list[Node] = []
    open_nodes: set[Node] = set()
    for root in nodes:
        work = [(root, iter(sources(root)))] if root not in index else []
        while work:
            node, rest = work[-1]
            if node not in index:
                index[node] = low[node] = len(index)
                stack.append(node)
                open_nodes.add(node)
            for source in rest:
                if source not in index:
                    work.append((source, iter(sources(source))))
                    break
                if source in open_nodes:
                    low[node] = min(low[node], index[source])
            else:
                work.pop()
                if work:
                    parent = work[-1][0]
                    low[parent] = min(low[parent], low[node])
                if low[node] == index[node]:
                    yield _pop_component(node, stack, open_nodes)


def _pop_component(root: Node, stack: list[Node], open_nodes: set[Node]) -> frozenset[Node]:
    members: set[Node] = set()
    while root not in members:
        members.add(stack.pop())
    open_nodes -= members
    return frozenset(members)
