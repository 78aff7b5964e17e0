"""Impact of a change of an image: what it reaches, in which order, by itself or by whom."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from itertools import islice

from upwell.api.meta import ObjectKey
from upwell.api.pipeline import Freeze, Quarantine
from upwell.api.waves.wave import Wave
from upwell.oci import InvalidReferenceError, Reference
from upwell.policy.builds.base_changes import BaseForecast, forecast
from upwell.policy.builds.triggers import digest_of
from upwell.policy.explain.freshness import Snapshot
from upwell.policy.explain.graph import Edge, EdgeRole, Node, standing_on
from upwell.policy.explain.lineage import StagePlacement
from upwell.policy.images.imported import change_behind
from upwell.policy.images.names import UpstreamImage
from upwell.policy.images.streams import StreamTag
from upwell.policy.promotion.stages import upstream
from upwell.policy.waves.obstacles import PlanObstacle, PlanObstacles

_MOST_BEHIND = 1_000
"""Objects behind a step that are counted, as for the order of builds: more makes no difference."""


_NO_FORECAST = BaseForecast()


class StepAction(StrEnum):
    """Action on an object when the change reaches it."""

    IMPORT = "import"
    """A tag takes the new image from its registry."""
    TAG = "tag"
    """A tag takes the new image from another tag, or from a build."""
    REBUILD = "rebuild"
    ROLL_OUT = "roll out"
    PROMOTE = "promote"
    """A Pipeline brings it into the stage that has the workload."""


@dataclass(frozen=True, slots=True)
class PlannedChange:
    """The change that is asked about: the images that change, and into what."""

    roots: tuple[Node, ...]
    digest: str = ""
    """Digest of the new image; empty: not known, so that nothing has it yet."""
    will_wait: bool = False
    """Its Wave will need an approval, if it is not there yet."""
    taken: frozenset[str] = frozenset()
    """Digests that tags are known to have taken of it: of an index, one manifest perhaps."""


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """One object that the change reaches."""

    node: Node
    action: StepAction
    level: int
    """Builds on the longest way from the change to here, this one included."""
    edges: tuple[Edge, ...]
    """The edges by which the change comes."""
    after: tuple[Node, ...] = ()
    """Workloads of earlier stages, which are verified before."""
    obstacles: tuple[PlanObstacle, ...] = ()
    """Reasons why the change does not go on here by itself, now."""
    arrives: bool = True
    """The change gets here by itself, at some time: neither this step nor all before it stop."""
    done: bool = False
    """It has the new image already."""
    behind: int = 0
    """Objects that stand on this one, up to 1,000."""
    place: StagePlacement | None = None
    """The stage that has the workload."""
    forecast: BaseForecast = field(default_factory=BaseForecast)
    """Answer of a BuildConfig: whether its image is put on the new base, or built."""


@dataclass(frozen=True)
class Impact:
    """Steps of a change, each after those that it comes from; the members of rings come last."""

    change: PlannedChange
    steps: Mapping[Node, PlannedStep] = field(default_factory=dict)

    def of(self, *actions: StepAction) -> list[PlannedStep]:
        """Return the steps of these actions that are to be done, in order."""
        return [one for one in self.steps.values() if one.action in actions and not one.done]

    def targets(self, node: Node) -> list[Node]:
        """Return what comes right after `node`, in order."""
        return self._targets.get(node, [])

    def __post_init__(self) -> None:
        targets: dict[Node, list[Node]] = defaultdict(list)
        for step in self.steps.values():
            for edge in step.edges:
                targets[edge.source].append(step.node)
        object.__setattr__(self, "_targets", targets)

    _targets: Mapping[Node, list[Node]] = field(init=False, repr=False, compare=False)


def roots_of(snapshot: Snapshot, image: str, namespace: str) -> tuple[Node, ...]:
    """Return what is known by the name `image`: an image of a registry, or `[NS/]STREAM:TAG`.

    Empty: nothing here stands on it.
    """
    origin = snapshot.origin(image)
    if isinstance(origin, StreamTag):
        return (origin,) if origin in snapshot.graph else ()
    if origin is not None and (
        origin in snapshot.graph or any(_running_directly(snapshot, [origin]))
    ):
        return (origin,)
    tag = stream_tag(image, namespace)
    return (tag,) if tag is not None and tag in snapshot.graph else ()


def impact_of(
    snapshot: Snapshot,
    change: PlannedChange,
    now: datetime,
    *,
    freezes: Iterable[Freeze] = (),
    quarantines: Iterable[Quarantine] = (),
    waves: Iterable[Wave] = (),
) -> Impact:
    """Return what the change reaches. Costs as much as what it reaches, not as what there is.

    `waves` are those of the image.
    """
    into = _edges_into(snapshot, change)
    stages = _stages(snapshot, into)
    obstacles = PlanObstacles(
        snapshot,
        change.digest,
        now,
        tuple(freezes),
        tuple(quarantines),
        tuple(waves),
        will_wait=change.will_wait,
    )
    steps: dict[Node, PlannedStep] = {}
    order, rings = _order(into, stages)
    roots, on_rings = frozenset(change.roots), frozenset(rings)
    for node in (*order, *rings):
        if node in roots:
            continue
        place = stages.placed.get(node)
        edges = _by_stage(into[node], place)
        before = [one for edge in edges if (one := steps.get(edge.source)) is not None]
        expected = _forecast(snapshot, node, edges)
        stops = list(obstacles.of(node, edges, place, expected))
        if place is not None and before and all(one.done for one in before):
            stops += obstacles.rejections(place, edges)
        if node in on_rings:
            stops.append(PlanObstacle("it is made from its own result: nothing is built endlessly"))
        done = _is_done(snapshot, node, edges, steps, change)
        steps[node] = PlannedStep(
            node,
            _action(node, edges),
            max((one.level for one in before), default=0) + _is_build(snapshot, node),
            edges,
            stages.before(node),
            () if done else tuple(stops),
            done or (_comes(edges, steps) and not any(one.stops for one in stops)),
            done,
            _behind(snapshot, node),
            place,
            expected,
        )
    return Impact(change, steps)


def stream_tag(image: str, namespace: str) -> StreamTag | None:
    """Return the tag that `[NAMESPACE/]STREAM:TAG` names; None for what has more parts."""
    where, slash, name = image.rpartition("/")
    if "/" in where or "@" in image:
        return None
    return StreamTag.named(name, where if slash else namespace)


def _running_directly(snapshot: Snapshot, roots: Iterable[Node]) -> Iterator[Edge]:
    """Yield an edge to each workload that names an image of a registry itself, and follows no tag.

    The graph has none: no change comes to it.
    """
    names = {root.name: root for root in roots if isinstance(root, UpstreamImage)}
    for key, workload in snapshot.workloads.items() if names else ():
        if snapshot.graph.inputs(key):
            continue
        template = workload.spec.template
        for container in template.spec.containers if template is not None else ():
            if (root := names.get(_canonical(container.image))) is not None:
                yield Edge(root, key, EdgeRole.DEPLOY, automatic=False)


def _canonical(image: str) -> str:
    try:
        return str(replace(Reference.parse(image.strip()), digest=None))
    except InvalidReferenceError:
        return ""


def _edges_into(snapshot: Snapshot, change: PlannedChange) -> dict[Node, list[Edge]]:
    """Return the edges of the change by their targets; the roots have none."""
    roots = change.roots
    into: dict[Node, list[Edge]] = {root: [] for root in roots}
    for edge in _running_directly(snapshot, roots):
        into.setdefault(edge.target, []).append(edge)
    waiting = list(roots)
    while waiting:
        for edge in snapshot.graph.outputs(waiting.pop()):
            if edge.role is EdgeRole.KEPT and not _has_kept(snapshot, edge.target, change):
                continue  # it imports the image no more
            if edge.target not in into:
                into[edge.target] = []
                waiting.append(edge.target)
            into[edge.target].append(edge)
    return into


class _Stages:
    """The stages of the workloads that a change reaches."""

    def __init__(self, placed: Mapping[Node, StagePlacement]) -> None:
        self.placed = placed
        self._members: dict[tuple[str, str, str], list[Node]] = defaultdict(list)
        for node, place in placed.items():
            self._members[self._key(place, place.stage.name)].append(node)

    def before(self, node: Node) -> tuple[Node, ...]:
        """Return the workloads of the stages that come right before."""
        place = self.placed.get(node)
        if place is None:
            return ()
        return tuple(
            one
            for name in upstream(place.pipeline, place.stage)
            for one in self._members.get(self._key(place, name), ())
        )

    @staticmethod
    def _key(place: StagePlacement, stage: str) -> tuple[str, str, str]:
        return (place.pipeline.namespace, place.pipeline.name, stage)


def _stages(snapshot: Snapshot, nodes: Iterable[Node]) -> _Stages:
    placed: dict[Node, StagePlacement] = {}
    for node in nodes:
        workload = snapshot.workloads.get(node) if isinstance(node, ObjectKey) else None
        place = snapshot.lineage.placement(workload) if workload is not None else None
        if place is not None:
            placed[node] = place
    return _Stages(placed)


def _order(into: Mapping[Node, Sequence[Edge]], stages: _Stages) -> tuple[list[Node], list[Node]]:
    """Return the nodes, each after all that it comes from; then those on rings, and behind them."""
    missing = {node: len(edges) + len(stages.before(node)) for node, edges in into.items()}
    then: dict[Node, list[Node]] = defaultdict(list)
    for node, edges in into.items():
        for source in (*(edge.source for edge in edges), *stages.before(node)):
            then[source].append(node)
    ordered = [node for node, count in missing.items() if not count]
    for node in ordered:  # grows meanwhile
        for target in then[node]:
            missing[target] -= 1
            if not missing[target]:
                ordered.append(target)
    rings = [node for node, count in missing.items() if count]
    return ordered, rings


def _by_stage(edges: Iterable[Edge], place: StagePlacement | None) -> tuple[Edge, ...]:
    """Return the edges to a node; a stage decides about its workloads, not their own triggers."""
    if place is None:
        return tuple(edges)
    automatic = place.stage.promotion == "Automatic"
    return tuple(replace(one, role=EdgeRole.PROMOTE, automatic=automatic) for one in edges)


def _action(node: Node, edges: Sequence[Edge]) -> StepAction:
    roles = {edge.role for edge in edges}
    if isinstance(node, StreamTag):
        imports = roles & {EdgeRole.IMPORT, EdgeRole.KEPT}
        return StepAction.IMPORT if imports else StepAction.TAG
    if EdgeRole.PROMOTE in roles:
        return StepAction.PROMOTE
    return StepAction.ROLL_OUT if EdgeRole.DEPLOY in roles else StepAction.REBUILD


def _is_build(snapshot: Snapshot, node: Node) -> bool:
    return isinstance(node, ObjectKey) and node in snapshot.configs


def _behind(snapshot: Snapshot, node: Node) -> int:
    outputs = snapshot.graph.outputs
    return sum(1 for _ in islice(standing_on(node, outputs), _MOST_BEHIND)) if outputs(node) else 0


def _forecast(snapshot: Snapshot, node: Node, edges: Sequence[Edge]) -> BaseForecast:
    config = snapshot.configs.get(node) if isinstance(node, ObjectKey) else None
    if config is None or not isinstance(node, ObjectKey):
        return _NO_FORECAST
    return forecast(config, snapshot.builds(node), (str(edge.source) for edge in edges))


def _comes(edges: Iterable[Edge], steps: Mapping[Node, PlannedStep]) -> bool:
    """Return True if the change comes by one of the edges by itself; a root always changes."""
    return any(
        edge.automatic and (edge.source not in steps or steps[edge.source].arrives)
        for edge in edges
    )


def _is_done(
    snapshot: Snapshot,
    node: Node,
    edges: Sequence[Edge],
    steps: Mapping[Node, PlannedStep],
    change: PlannedChange,
) -> bool:
    """Return True if an object has the new image, and all that it comes from too."""
    sources = [edge.source for edge in edges]
    if not change.digest or not all(_has_image(snapshot, one, steps, change) for one in sources):
        return False
    if isinstance(node, StreamTag):
        latest = _digest_now(snapshot, node)
        return _has_imported(snapshot, node, change) or all(
            isinstance(one, ObjectKey) or latest == _digest_now(snapshot, one, change.digest)
            for one in sources
        )
    if not isinstance(node, ObjectKey):
        return False
    if (config := snapshot.configs.get(node)) is not None:
        return not snapshot.config_freshness(config).behind
    workload = snapshot.workloads.get(node)
    if workload is None:
        return False
    running = {digest_of(image) for image in snapshot.running(workload).values()}
    return all(_digest_now(snapshot, one, change.digest) in running for one in sources)


def _has_image(
    snapshot: Snapshot, source: Node, steps: Mapping[Node, PlannedStep], change: PlannedChange
) -> bool:
    if source in steps:
        return steps[source].done
    return _digest_now(snapshot, source, change.digest) == change.digest


def _has_imported(snapshot: Snapshot, tag: StreamTag, change: PlannedChange) -> bool:
    """Return True if what a tag has is imported from the image: one manifest of an index, too.

    Upstream may have named another index since, in which that manifest is the same.
    """
    history = snapshot.history(tag)
    state = history.import_state if history is not None else None
    latest = _digest_now(snapshot, tag)
    if latest in change.taken or _has_kept(snapshot, tag, change):
        return True
    return (
        state is not None
        and state.upstream_digest == change.digest
        and state.imported_digest == latest
    )


def _has_kept(snapshot: Snapshot, tag: Node, change: PlannedChange) -> bool:
    """Return True if what a tag has came by the change that is asked about."""
    history = snapshot.history(tag) if isinstance(tag, StreamTag) else None
    kept = change_behind(history) if history is not None else None
    return bool(change.digest) and kept is not None and kept.digest == change.digest


def _digest_now(snapshot: Snapshot, node: Node, upstream_digest: str = "") -> str:
    """Return the digest of a tag; of an image of a registry, that which is told."""
    if not isinstance(node, StreamTag):
        return upstream_digest
    latest = snapshot.latest(node)
    return digest_of(latest.image) if latest is not None else ""
