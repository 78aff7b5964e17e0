"""Chain of builds from an image stream tag, or up to it, as text or for Graphviz."""

from collections.abc import Iterator
from dataclasses import dataclass

from upwell.api.meta import ObjectKey
from upwell.policy.explain.graph import Edge, EdgeRole, Graph, Node
from upwell.policy.images.names import UpstreamImage
from upwell.policy.images.streams import StreamTag

MAX_LINES = 10_000
"""A node is printed once for each way to it, and layers of diamonds double the ways."""


@dataclass(frozen=True, slots=True)
class Chain:
    """A part of the graph as seen from one tag: image stream tags and BuildConfigs alone."""

    graph: Graph
    root: StreamTag
    reverse: bool = False
    """Show what the tag is built from."""
    triggers_only: bool = True
    """Leave out inputs whose change starts no build."""
    with_namespaces: bool = False

    def cycle(self) -> str | None:
        """Name the objects of a cycle that holds the tag, in order; None if there is none."""
        edges = [edge for edge in self.graph.edges if self._shown(edge)]
        for ring in Graph((), edges).cycles:
            if self.root in ring:
                at = ring.index(self.root)
                way = [*ring[at:], *ring[:at], self.root]
                names = " -> ".join(self._name(node) for node in way)
                return f"Cycle detected in build configurations: {names}"
        return None

    def lines(self) -> Iterator[str]:
        """Yield the chain, each step indented by a tab, as `oc adm build-chain` does."""
        count = 0
        waiting: list[tuple[Node, tuple[Node, ...]]] = [(self.root, ())]
        while waiting:
            node, above = waiting.pop()
            yield "\t" * len(above) + self._name(node)
            count += 1
            if count == MAX_LINES:
                yield f"(only the first {MAX_LINES} lines are shown)"
                return
            way = (*above, node)
            waiting += [(n, way) for n in reversed(self._next(node)) if n not in way]

    def dot(self) -> Iterator[str]:
        """Yield the chain as a Graphviz graph; edges point the way that a change takes."""
        numbers = {node: number for number, node in enumerate(self._nearest_first())}
        yield f'digraph "{self.root.stream}:{self.root.tag}" {{'
        for node, number in numbers.items():
            yield f'  {number} [label="{_label(node)}"];'
        for edge in self.graph.edges:
            inside = edge.source in numbers and edge.target in numbers
            closes = edge.source if self.reverse else edge.target
            if inside and self._shown(edge) and closes != self.root:
                ends = f"{numbers[edge.source]} -> {numbers[edge.target]}"
                yield f'  {ends} [label="{_edge_label(edge)}"];'
        yield "}"

    def _nearest_first(self) -> list[Node]:
        found: list[Node] = [self.root]
        for node in found:
            found += [n for n in dict.fromkeys(self._next(node)) if n not in found]
        return found

    def _next(self, node: Node) -> list[Node]:
        if self.reverse:
            return [edge.source for edge in self.graph.inputs(node) if self._shown(edge)]
        return [edge.target for edge in self.graph.outputs(node) if self._shown(edge)]

    def _shown(self, edge: Edge) -> bool:
        if isinstance(edge.source, UpstreamImage) or isinstance(edge.target, UpstreamImage):
            return False
        return edge.automatic or not self.triggers_only

    def _name(self, node: Node) -> str:
        match node:
            case StreamTag():
                namespace, name = node.namespace, f"istag/{node.stream}:{node.tag}"
            case ObjectKey():
                namespace, name = node.namespace, f"bc/{node.name}"
            case UpstreamImage():
                return str(node)
        return f"<{namespace} {name}>" if self.with_namespaces else name


def _label(node: Node) -> str:
    if isinstance(node, StreamTag):
        return f"ImageStreamTag|{node}"
    if isinstance(node, ObjectKey):
        return f"{node.kind}|{node.namespace}/{node.name}"
    return str(node)


def _edge_label(edge: Edge) -> str:
    if edge.role is EdgeRole.OUTPUT:
        return "BuildOutput"
    if edge.role is EdgeRole.TAG:
        return "Tag"
    return "BuildTriggerImage" if edge.automatic else "BuildInputImage"
