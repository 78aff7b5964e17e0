"""Tree from base images to workloads, as lines and as data; pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from upwell.api.cluster_operator import ClusterOperator
from upwell.api.meta import ObjectKey, format_time
from upwell.cli.core.output import format_age, shortened
from upwell.policy.explain.freshness import Freshness, Snapshot, reason_of, short
from upwell.policy.explain.graph import Node
from upwell.policy.images.names import UpstreamImage
from upwell.policy.images.streams import StreamTag
from upwell.policy.rollouts.settings import Workload
from upwell.policy.rollouts.summary import desired_replicas, rollout_of, serving
from upwell.policy.rollouts.triggers import hold_text

_BRANCH, _LAST, _PIPE, _BLANK = "├─ ", "└─ ", "│  ", "   "


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """Facts on one line of the tree, about a node."""

    name: str
    text: str = ""
    digest: str = ""
    since: datetime | None = None
    freshness: Freshness | None = None
    faults: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Counts:
    """Summary: numbers of workloads, of current ones, and of faults."""

    workloads: int
    current: int
    faults: int

    def __str__(self) -> str:
        text = f"{self.current} of {self.workloads} workloads run the newest of what they follow"
        if not self.faults:
            return text
        return f"{text}; {self.faults} {'fault' if self.faults == 1 else 'faults'}"


class StatusTree:
    """Tree of `upwell status`: the nodes that concern one namespace, or all.

    Before it come the components of the server that are faulty.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        now: datetime,
        namespace: str = "",
        components: Sequence[ClusterOperator] = (),
    ) -> None:
        self._components = components
        self._snapshot = snapshot
        self._graph = snapshot.graph
        self._now = now
        self._shown = self._concerning(namespace)

    def component_lines(self) -> Iterator[str]:
        """Yield a line for each component that is faulty."""
        for component in self._components:
            if (fault := component.fault) is not None:
                since = fault.last_transition_time
                age = f" (for {format_age(since, self._now)})" if since is not None else ""
                yield f"! component {component.name}: {fault.message or fault.reason}{age}"

    def lines(self) -> Iterator[str]:
        """Yield the tree; a node with several inputs is drawn once and named again."""
        drawn: set[Node] = set()
        for root in self._roots():
            if root not in drawn:
                yield from self._draw(root, drawn)
        for cycle in self._graph.cycles:
            if self._shown.issuperset(cycle):
                names = " -> ".join(map(str, (*cycle, cycle[0])))
                yield f"cycle, would build itself endlessly: {names}"

    def data(self) -> dict[str, Any]:
        """Return the same as JSON data: nodes in topological order, with their inputs."""
        nodes = [self._node_data(node) for node in self._graph.order() if node in self._shown]
        counts = self.counts()
        return {
            "components": [_component_data(one) for one in self._components],
            "nodes": nodes,
            "cycles": [[str(node) for node in cycle] for cycle in self._graph.cycles],
            "summary": {
                "workloads": counts.workloads,
                "current": counts.current,
                "faults": counts.faults,
            },
        }

    def counts(self) -> Counts:
        """Return the counts of the shown nodes."""
        facts = [self.facts(node) for node in self._shown]
        workloads = [self.facts(node) for node in self._shown if node in self._snapshot.workloads]
        current = sum(1 for f in workloads if f.freshness is not None and not f.freshness.behind)
        faulty = sum(one.fault is not None for one in self._components)
        return Counts(len(workloads), current, faulty + sum(len(f.faults) for f in facts))

    def facts(self, node: Node) -> NodeFacts:
        """Return the facts of a node."""
        match node:
            case UpstreamImage():
                return NodeFacts(str(node))
            case StreamTag():
                return self._tag_facts(node)
            case ObjectKey() if node in self._snapshot.configs:
                return self._config_facts(node)
            case ObjectKey() if node in self._snapshot.workloads:
                return self._workload_facts(node, self._snapshot.workloads[node])
            case _:
                return NodeFacts(str(node), "does not exist")

    def _concerning(self, namespace: str) -> frozenset[Node]:
        if not namespace:
            return frozenset(self._graph.nodes)
        own = {n for n in self._graph.nodes if getattr(n, "namespace", None) == namespace}
        own |= {key for key in self._snapshot.workloads if self._placed_from(key, namespace)}
        return frozenset(own.union(*(self._graph.ancestors(node) for node in own)))

    def _placed_from(self, key: ObjectKey, namespace: str) -> bool:
        """Return whether a Pipeline of this namespace promotes into the workload."""
        place = self._snapshot.lineage.placement(self._snapshot.workloads[key])
        return place is not None and place.pipeline.namespace == namespace

    def _roots(self) -> Iterator[Node]:
        """Yield nodes without input; then, for cycles without an input, their first node."""
        order = [node for node in self._graph.order() if node in self._shown]
        yield from (node for node in order if not self._graph.inputs(node))
        yield from order

    def _draw(self, root: Node, drawn: set[Node]) -> Iterator[str]:
        waiting: list[tuple[Node, str, str]] = [(root, "", "")]
        while waiting:
            node, branch, indent = waiting.pop()
            if node in drawn:
                yield f"{branch}{node} (shown above)"
                continue
            drawn.add(node)
            yield f"{branch}{self._line(self.facts(node))}"
            targets = [e.target for e in self._graph.outputs(node) if e.target in self._shown]
            for at, target in enumerate(reversed(targets)):
                mark, below = (_BRANCH, _PIPE) if at else (_LAST, _BLANK)
                waiting.append((target, indent + mark, indent + below))

    def _line(self, facts: NodeFacts) -> str:
        parts = [facts.text, facts.digest and short(facts.digest)]
        if facts.since is not None:
            parts.append(f"{format_age(facts.since, self._now)} ago")
        if facts.freshness is not None:
            parts.append(str(facts.freshness))
        waits_for = facts.freshness.waits_for if facts.freshness is not None else ""
        parts.extend(f"! {fault}" for fault in facts.faults if fault not in waits_for)
        text = shortened(", ".join(part for part in parts if part))
        return f"{facts.name}  {text}" if text else facts.name

    def _node_data(self, node: Node) -> dict[str, Any]:
        facts = self.facts(node)
        data: dict[str, Any] = {
            "name": facts.name,
            "kind": node.kind if isinstance(node, ObjectKey) else type(node).__name__,
            "state": facts.text,
            "digest": facts.digest,
            "since": format_time(facts.since) if facts.since else None,
            "faults": list(facts.faults),
            "inputs": [
                {"name": str(edge.source), "role": str(edge.role), "automatic": edge.automatic}
                for edge in self._graph.inputs(node)
            ],
        }
        if facts.freshness is not None:
            data["behind"] = facts.freshness.behind
            data["waitsFor"] = facts.freshness.waits_for
        return data

    def _tag_facts(self, tag: StreamTag) -> NodeFacts:
        history = self._snapshot.history(tag)
        faults = tuple(c.message for c in history.conditions if not c.is_true) if history else ()
        latest = history.latest if history is not None else None
        if latest is None:
            return NodeFacts(f"ImageStreamTag {tag}", "no image yet", faults=faults)
        return NodeFacts(
            f"ImageStreamTag {tag}", digest=latest.image, since=latest.created, faults=faults
        )

    def _config_facts(self, key: ObjectKey) -> NodeFacts:
        config = self._snapshot.configs[key]
        freshness = self._snapshot.config_freshness(config)
        newest = next(iter(self._snapshot.builds(key)), None)
        if newest is None:
            return NodeFacts(str(key), "no build yet", freshness=freshness)
        status = newest.status
        failed = status.phase.is_terminal and status.phase not in {"Complete", "Cancelled"}
        return NodeFacts(
            str(key),
            f"build {newest.name} {status.phase}",
            since=status.completion_timestamp or status.start_timestamp,
            freshness=freshness,
            faults=(f"{newest.name}: {reason_of(newest)}",) if failed else (),
        )

    def _workload_facts(self, key: ObjectKey, workload: Workload) -> NodeFacts:
        rollout = rollout_of(workload)
        revision = serving(workload)
        images: Mapping[str, str] = self._snapshot.running(workload)
        ready = f"{workload.status.ready_replicas}/{desired_replicas(workload)} ready"
        number = f", revision {revision.revision}" if revision is not None else ""
        place = self._snapshot.lineage.placement(workload)
        staged = f", {place.status.release or 'no release'} in {place}" if place is not None else ""
        hold = hold_text(workload) or (place.status.hold if place is not None else "")
        freshness = self._snapshot.workload_freshness(workload)
        held = f", on hold: {hold}" if hold and hold not in freshness.waits_for else ""
        return NodeFacts(
            str(key),
            ready + number + staged + held,
            digest=next(iter(images.values()), ""),
            since=(revision.live_at or revision.created) if revision is not None else None,
            freshness=freshness,
            faults=(rollout.text,) if rollout.state == "Failed" else (),
        )


def _component_data(component: ClusterOperator) -> dict[str, Any]:
    fault = component.fault
    since = fault.last_transition_time if fault is not None else None
    return {
        "name": component.name,
        "degraded": fault is not None,
        "reason": fault.reason if fault is not None else "",
        "message": fault.message if fault is not None else "",
        "since": format_time(since) if since is not None else None,
    }
