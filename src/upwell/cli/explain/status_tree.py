"""Tree from base images to workloads, as lines and as data; pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any

from upwell.api.apps import CronJob
from upwell.api.cluster_operator import ClusterOperator
from upwell.api.meta import ObjectKey, format_time
from upwell.cli.core.output import format_age, shortened
from upwell.cli.explain.tree_lines import tree_lines
from upwell.formats.human_duration import human_duration
from upwell.policy.explain.clusters import ClusterStanding, standings
from upwell.policy.explain.freshness import Follower, Freshness, Snapshot, images_of, short
from upwell.policy.explain.graph import Node
from upwell.policy.explain.image_policies import PolicyRecord
from upwell.policy.health.fault import FaultEvent, HealthFault
from upwell.policy.health.judgement import faults_of
from upwell.policy.images.names import UpstreamImage
from upwell.policy.images.streams import StreamTag
from upwell.policy.rollouts.settings import Workload
from upwell.policy.rollouts.summary import desired_replicas, serving
from upwell.policy.rollouts.triggers import hold_text


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """Facts on one line of the tree, about a node."""

    name: str
    text: str = ""
    digest: str = ""
    since: datetime | None = None
    freshness: Freshness | None = None
    faults: Sequence[HealthFault] = ()
    verdicts: Sequence[PolicyRecord] = ()


@dataclass(frozen=True, slots=True)
class Counts:
    """Summary: numbers of workloads, of current ones, of faults, and of what nobody can tell."""

    workloads: int
    current: int
    faults: int
    unknown: int

    def __str__(self) -> str:
        text = f"{self.current} of {self.workloads} workloads run the newest of what they follow"
        text += f"; of {self.unknown} that is unknown" if self.unknown else ""
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
        self._known: dict[Node, NodeFacts] = {}
        self._now = now
        self._shown = self._concerning(namespace)
        drawn = {_key_of(node) for node in self._shown}
        self._standings = [
            one
            for place in snapshot.lineage.placed_elsewhere()
            if namespace in {"", place.pipeline.namespace}
            for one in standings(snapshot.lineage, place)
        ]
        self._others = [
            fault
            for fault in snapshot.faults
            if fault.key not in drawn and namespace in {"", fault.key.namespace}
        ]

    def component_lines(self) -> Iterator[str]:
        """Yield a line for each component that is faulty."""
        for fault in self._component_faults():
            age = f" (for {format_age(fault.since, self._now)})" if fault.since is not None else ""
            yield f"! component {fault.key.name}: {fault}{age}"

    def other_lines(self) -> Iterator[str]:
        """Yield a line for each fault of an object that is not in the tree."""
        for fault in self._others:
            served = fault.event is not FaultEvent.NOT_SERVED or "not served" in fault.message
            yield f"! {fault.key}{':' if served else ' is not served:'} {shortened(str(fault))}"

    def cluster_lines(self) -> Iterator[str]:
        """Yield each stage on other clusters, and below it a line for each of its clusters."""
        for stage, found in groupby(self._standings, lambda one: str(one.place)):
            yield stage
            in_stage = list(found)
            for one in in_stage:
                age = f", {format_age(one.since, self._now)} ago" if one.since is not None else ""
                text = shortened(f"{'' if one.is_current else '! '}{one}")
                yield f"{'└─ ' if one is in_stage[-1] else '├─ '}{text}{age}"

    def _component_faults(self) -> Sequence[HealthFault]:
        return [fault for one in self._components for fault in faults_of(one)]

    def lines(self) -> Iterator[str]:
        """Yield the tree; a node with several inputs is drawn once and named again."""
        yield from tree_lines(self._roots(), self._targets, lambda one: self._line(self.facts(one)))
        for cycle in self._snapshot.endless:
            if self._shown.issuperset(cycle):
                names = " -> ".join(map(str, (*cycle, cycle[0])))
                yield f"cycle, would build itself endlessly: {names}"

    def backlog_lines(self) -> Iterator[str]:
        """Yield how many builds wait for their turn, if any do, and how long all will take."""
        backlog = self._snapshot.backlog(self._now)
        if not backlog.waiting:
            return
        queue = f"builds that wait for their turn: {backlog.waiting}, running: {backlog.running}"
        if backlog.remaining is None:
            yield f"{queue}; none has ended yet that tells how long they take"
        else:
            yield f"{queue}; about {human_duration(backlog.remaining)} until all have ended"

    def data(self) -> dict[str, Any]:
        """Return the same as JSON data: nodes in topological order, with their inputs."""
        nodes = [self._node_data(node) for node in self._graph.order() if node in self._shown]
        counts = self.counts()
        return {
            "components": [_component_data(one) for one in self._components],
            "nodes": nodes,
            "clusters": [_standing_data(one) for one in self._standings],
            "cycles": [[str(node) for node in cycle] for cycle in self._snapshot.endless],
            "faults": [_fault_data(one) for one in self._faults()],
            "unserved": [
                {"name": str(one.key), "reason": one.reason, "message": one.message}
                for one in self._faults()
                if one.event is FaultEvent.NOT_SERVED
            ],
            "builds": self._backlog_data(),
            "summary": {
                "workloads": counts.workloads,
                "current": counts.current,
                "faults": counts.faults,
                "unknown": counts.unknown,
            },
        }

    def _backlog_data(self) -> dict[str, Any]:
        backlog = self._snapshot.backlog(self._now)
        left = backlog.remaining
        return {
            "waiting": backlog.waiting,
            "running": backlog.running,
            "remainingSeconds": round(left.total_seconds()) if left is not None else None,
            "withoutHistory": backlog.guessed,
        }

    def counts(self) -> Counts:
        """Return the counts of the shown nodes; what is current has no fault either."""
        workloads = [self.facts(node) for node in self._shown if self._follower(node) is not None]
        told = [(one.freshness, one.faults) for one in workloads if one.freshness is not None]
        current = sum(freshness.is_current and not faults for freshness, faults in told)
        unknown = sum(bool(freshness.unknown) for freshness, _ in told)
        return Counts(len(workloads), current, len(self._faults()), unknown)

    def _faults(self) -> Sequence[HealthFault]:
        """Return every fault that is shown, in the order of the lines."""
        nodes = [node for node in self._graph.order() if node in self._shown]
        in_tree = [fault for node in nodes for fault in self.facts(node).faults]
        return [*self._component_faults(), *in_tree, *self._others]

    def facts(self, node: Node) -> NodeFacts:
        """Return the facts of a node."""
        if (known := self._known.get(node)) is None:
            known = self._known[node] = self._facts(node)
        return known

    def _facts(self, node: Node) -> NodeFacts:
        match node:
            case UpstreamImage():
                return NodeFacts(str(node))
            case StreamTag():
                return self._tag_facts(node)
            case ObjectKey() if node in self._snapshot.configs:
                return self._config_facts(node)
            case ObjectKey() if node in self._snapshot.workloads:
                return self._workload_facts(node, self._snapshot.workloads[node])
            case ObjectKey() if node in self._snapshot.cron_jobs:
                return self._cron_job_facts(node, self._snapshot.cron_jobs[node])
            case _:
                return NodeFacts(str(node), "does not exist")

    def _concerning(self, namespace: str) -> frozenset[Node]:
        if not namespace:
            return frozenset(self._graph.nodes)
        own = {n for n in self._graph.nodes if getattr(n, "namespace", None) == namespace}
        own |= {node for node in self._graph.nodes if self._placed_from(node, namespace)}
        return frozenset(own.union(*(self._graph.ancestors(node) for node in own)))

    def _follower(self, node: Node) -> Follower | None:
        """Return the workload or CronJob that a node is, if it is one."""
        if not isinstance(node, ObjectKey):
            return None
        return self._snapshot.workloads.get(node) or self._snapshot.cron_jobs.get(node)

    def _placed_from(self, node: Node, namespace: str) -> bool:
        """Return whether a Pipeline of this namespace promotes into the workload."""
        follower = self._follower(node)
        place = self._snapshot.lineage.placement(follower) if follower is not None else None
        return place is not None and place.pipeline.namespace == namespace

    def _targets(self, node: Node) -> Sequence[Node]:
        return [e.target for e in self._graph.outputs(node) if e.target in self._shown]

    def _roots(self) -> Iterator[Node]:
        """Yield nodes without input; then, for cycles without an input, their first node."""
        order = [node for node in self._graph.order() if node in self._shown]
        yield from (node for node in order if not self._graph.inputs(node))
        yield from order

    def _line(self, facts: NodeFacts) -> str:
        parts = [facts.text, facts.digest and short(facts.digest)]
        if facts.since is not None:
            parts.append(f"{format_age(facts.since, self._now)} ago")
        if facts.freshness is not None and not (facts.freshness.is_current and facts.faults):
            parts.append(str(facts.freshness))
        waits_for = facts.freshness.waits_for if facts.freshness is not None else ""
        parts.extend(told for fault in facts.faults if (told := _beyond(fault, waits_for)))
        parts.extend(_policy_text(facts.verdicts))
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
            "faults": [str(fault) for fault in facts.faults],
            "inputs": [
                {"name": str(edge.source), "role": str(edge.role), "automatic": edge.automatic}
                for edge in self._graph.inputs(node)
            ],
        }
        if facts.verdicts:
            data["imagePolicies"] = [_verdict_data(one) for one in facts.verdicts]
        if facts.freshness is not None:
            unknown = facts.freshness.unknown
            data["behind"] = facts.freshness.behind if not unknown else None
            data["unknown"] = unknown
            data["waitsFor"] = facts.freshness.waits_for
        return data

    def _tag_facts(self, tag: StreamTag) -> NodeFacts:
        history = self._snapshot.history(tag)
        faults = self._snapshot.faults_about(tag.stream_key, tag.tag)
        latest = history.latest if history is not None else None
        if latest is None:
            known = tag.stream_name in self._snapshot.streams
            text = "no image yet" if known else f"! {tag.stream_key} does not exist: create it"
            return NodeFacts(f"ImageStreamTag {tag}", text, faults=faults)
        return NodeFacts(
            f"ImageStreamTag {tag}",
            "" if self._snapshot.is_followed(tag) else "imported once, not scheduled",
            digest=latest.image,
            since=latest.created,
            faults=faults,
            verdicts=self._snapshot.policies.about(latest.image, tag.namespace),
        )

    def _config_facts(self, key: ObjectKey) -> NodeFacts:
        config = self._snapshot.configs[key]
        freshness = self._snapshot.config_freshness(config)
        newest = next(iter(self._snapshot.builds(key)), None)
        faults = self._snapshot.faults_about(key)
        if newest is None:
            return NodeFacts(str(key), "no build yet", freshness=freshness, faults=faults)
        status = newest.status
        return NodeFacts(
            str(key),
            f"build {newest.name} {status.phase}",
            since=status.completion_timestamp or status.start_timestamp,
            freshness=freshness,
            faults=faults,
            verdicts=[
                record
                for image in images_of(newest)
                for record in self._snapshot.policies.about(image, newest.namespace)
            ],
        )

    def _workload_facts(self, key: ObjectKey, workload: Workload) -> NodeFacts:
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
            faults=self._snapshot.faults_about(key),
            verdicts=self._snapshot.verdicts(workload),
        )

    def _cron_job_facts(self, key: ObjectKey, cron: CronJob) -> NodeFacts:
        place = self._snapshot.lineage.placement(cron)
        staged = f", {place.status.release or 'no release'} in {place}" if place is not None else ""
        hold = hold_text(cron) or (place.status.hold if place is not None else "")
        freshness = self._snapshot.workload_freshness(cron)
        held = f", on hold: {hold}" if hold and hold not in freshness.waits_for else ""
        schedule = "suspended" if cron.spec.suspend else f"schedule {cron.spec.schedule}"
        return NodeFacts(
            str(key),
            schedule + staged + held,
            digest=next(iter(self._snapshot.running(cron).values()), ""),
            freshness=freshness,
            faults=self._snapshot.faults_about(key),
            verdicts=self._snapshot.verdicts(cron),
        )


def _beyond(fault: HealthFault, said: str) -> str:
    """Return what a fault adds to what its line says already; empty: nothing."""
    if fault.message not in said:
        return f"! {fault}"
    return f"next: {fault.next_step}" if fault.next_step not in said else ""


def _policy_text(verdicts: Sequence[PolicyRecord]) -> Iterator[str]:
    """Yield each verdict once; what is refused, or would be, with the image that it is about."""
    texts = {
        str(one) if one.passed else f"! {short(one.image)} {one}": None
        for one in sorted(verdicts, key=lambda one: one.passed)
    }
    yield from texts


def _standing_data(standing: ClusterStanding) -> dict[str, Any]:
    pipeline, since = standing.place.pipeline, standing.since
    return {
        "pipeline": f"{pipeline.namespace}/{pipeline.name}",
        "stage": standing.place.stage.name,
        "cluster": standing.cluster,
        "release": standing.release,
        "since": format_time(since) if since is not None else None,
        "newest": standing.newest.release,
        "phase": str(standing.newest.phase),
        "message": standing.newest.message,
    }


def _verdict_data(record: PolicyRecord) -> dict[str, Any]:
    return {
        "policy": record.policy,
        "image": record.image,
        "namespace": record.namespace,
        "mode": "enforce" if record.enforced else "warn",
        "at": list(record.points),
        "passed": record.passed,
        "reason": record.reason or "Verified",
        "message": record.message,
        "since": format_time(record.since),
    }


def _key_of(node: Node) -> ObjectKey | None:
    if isinstance(node, StreamTag):
        return node.stream_key
    return node if isinstance(node, ObjectKey) else None


def _fault_data(fault: HealthFault) -> dict[str, Any]:
    return {
        "name": str(fault.key) + (f":{fault.part}" if fault.part else ""),
        "kind": fault.key.kind,
        "reason": fault.reason,
        "message": fault.message,
        "nextStep": fault.next_step,
        "since": format_time(fault.since) if fault.since is not None else None,
    }


def _component_data(component: ClusterOperator) -> dict[str, Any]:
    fault = next(iter(faults_of(component)), None)
    since = fault.since if fault is not None else None
    return {
        "name": component.name,
        "degraded": fault is not None,
        "reason": fault.reason if fault is not None else "",
        "message": fault.message if fault is not None else "",
        "since": format_time(since) if since is not None else None,
    }
