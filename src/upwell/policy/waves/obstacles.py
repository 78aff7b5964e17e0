"""Obstacles: what keeps a change from going on at an object by itself, and who may remove it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from upwell.api.builds.config import PAUSED_ANNOTATION, BuildConfig
from upwell.api.conditions import find
from upwell.api.meta import ObjectKey
from upwell.api.pipeline import Freeze, Quarantine
from upwell.api.values.base_changes import OnBaseChange
from upwell.api.waves.wave import Wave
from upwell.policy.builds.base_changes import BaseForecast
from upwell.policy.builds.new_build import awaited_upload, awaits_upload
from upwell.policy.explain.freshness import Snapshot
from upwell.policy.explain.graph import Edge, Node
from upwell.policy.explain.lineage import StagePlacement
from upwell.policy.images.repository_tags import effective_tags
from upwell.policy.images.streams import StreamTag
from upwell.policy.promotion.stages import lifted
from upwell.policy.promotion.windows import bar
from upwell.policy.rollouts.commands import resumes
from upwell.policy.rollouts.settings import Workload, is_paused
from upwell.policy.rollouts.triggers import (
    IMAGE_TRIGGERED,
    KEPT_BACK,
    Mode,
    Reason,
    followers_of,
    hold_end,
    hold_text,
    lifts_hold,
)
from upwell.policy.waves.approval import NO_APPROVALS, asks_for_approval, waiting_changes
from upwell.policy.waves.gate import closed_gate, needs_approval


@dataclass(frozen=True, slots=True)
class PlanObstacle:
    """One reason; with a time, it is over by itself then."""

    reason: str
    until: datetime | None = None
    passes: bool = False
    """It is over by itself, at a time that is not known."""

    @property
    def stops(self) -> bool:
        """Return True if somebody has to act."""
        return self.until is None and not self.passes


class PlanObstacles:
    """Finder of what is in the way of a change at a time."""

    def __init__(
        self,
        snapshot: Snapshot,
        digest: str,
        now: datetime,
        freezes: Sequence[Freeze],
        quarantines: Sequence[Quarantine],
        waves: Sequence[Wave],
        *,
        will_wait: bool = False,
    ) -> None:
        """`will_wait`: a Wave of the change that is not there yet will need an approval."""
        self._will_wait = will_wait
        self._known_above: dict[Node, tuple[StreamTag, ...]] = {}
        self._snapshot = snapshot
        self._digest = digest
        self._waves = waves
        self._now = now
        self._freezes = freezes
        self._quarantine = next(
            (q for q in quarantines if digest and q.spec.digest == digest), None
        )

    def of(
        self,
        node: Node,
        edges: Sequence[Edge],
        place: StagePlacement | None,
        expected: BaseForecast,
    ) -> Iterator[PlanObstacle]:
        """Yield the obstacles at a node that the change reaches by these edges.

        `expected` is the answer of a BuildConfig.
        """
        if isinstance(node, StreamTag):
            yield from _at_tag(node, edges)
            return
        if not isinstance(node, ObjectKey):
            return
        if (config := self._snapshot.configs.get(node)) is not None:
            yield from self._at_config(config, edges, expected)
        elif (workload := self._snapshot.workloads.get(node)) is not None:
            if place is not None:
                yield from self._at_stage(place)
            else:
                yield from self._at_workload(workload, edges)

    def _at_config(
        self, config: BuildConfig, edges: Sequence[Edge], expected: BaseForecast
    ) -> Iterator[PlanObstacle]:
        start = f"`upwell start-build {config.name} -n {config.namespace}`"
        if not any(edge.automatic for edge in edges):
            follows = [one for one in config.spec.triggers if one.type == "ImageChange"]
            if any(one.image_change is not None and one.image_change.paused for one in follows):
                yield PlanObstacle(f"its trigger is paused: {start} builds it")
            else:
                yield PlanObstacle(f"it has no trigger for {edges[0].source}: {start} builds it")
        if config.annotations.get(PAUSED_ANNOTATION) == "true":
            yield PlanObstacle(f"annotation {PAUSED_ANNOTATION} is set: remove it to build")
        if expected.answer is OnBaseChange.NOTIFY:
            yield PlanObstacle(f"a change of its base builds nothing: {start} builds it")
        elif expected.answer is OnBaseChange.REBASE and expected.against:
            yield PlanObstacle(f"it is only rebased, and not now: {expected.against}; {start}")
        if awaits_upload(config, self._snapshot.builds(config.key)):
            yield PlanObstacle(awaited_upload(config))
        if (found := self._quarantine) is not None:
            yield PlanObstacle(
                f"Quarantine {found.name} ({found.spec.reason}):"
                f" `upwell quarantine lift {found.name}` ends it"
            )
        yield from self._of_waves()
        for tag in {tag for edge in edges for tag in self._above(edge.source)}:
            yield from self._of_stream(tag)

    def _at_workload(self, workload: Workload, edges: Sequence[Edge]) -> Iterator[PlanObstacle]:
        yield from _of_trigger(workload, edges)
        triggered = find(workload.status.conditions, IMAGE_TRIGGERED)
        if triggered is None or triggered.reason not in KEPT_BACK:
            return
        passes = KEPT_BACK[triggered.reason]
        if triggered.reason == Reason.WAVE_APPROVAL:
            passes = self._is_approved(edges)
        yield PlanObstacle(triggered.message, passes=passes)

    def _is_approved(self, edges: Sequence[Edge]) -> bool:
        """Return True if nobody's approval is missing, though a workload has still to take it in.

        It may wait for another change, of which this is not the plan.
        """
        own = [one for one in self._waves if self._digest and one.spec.digest == self._digest]
        if not own or any(map(needs_approval, own)):
            return False
        tags = {tag for edge in edges for tag in self._above(edge.source)}
        return not any(True for tag in tags for _ in self._of_stream(tag))

    def _of_waves(self) -> Iterator[PlanObstacle]:
        """Yield what keeps the change back everywhere."""
        known = [one for one in self._waves if one.spec.digest == self._digest]
        if known:
            gates = map(closed_gate, known)
            yield from (PlanObstacle(gate.text) for gate in gates if gate is not None)
        elif self._will_wait:
            yield PlanObstacle("its Wave will wait for approval: `upwell wave approve` gives it")

    def _above(self, node: Node) -> tuple[StreamTag, ...]:
        """Return what `_tags_above` yields, looked up once for all that comes from a node."""
        if node not in self._known_above:
            self._known_above[node] = tuple(self._tags_above(node))
        return self._known_above[node]

    def _tags_above(self, node: Node) -> Iterator[StreamTag]:
        """Yield a tag, and those that it takes its image from."""
        waiting, seen = [node], {node}
        for one in waiting:  # grows meanwhile
            if isinstance(one, StreamTag):
                yield one
                above = {edge.source for edge in self._snapshot.graph.inputs(one)} - seen
                waiting += above
                seen |= above

    def _of_stream(self, tag: StreamTag) -> Iterator[PlanObstacle]:
        """Yield the approval that the owner of a stream asks for."""
        stream = self._snapshot.streams.get(tag.stream_name)
        if stream is None or not asks_for_approval(stream):
            return
        if not self._digest:
            if any(one.name == tag.tag and one.imports for one in effective_tags(stream)):
                text = f"ImageStream {stream.namespace}/{stream.name} asks for approval of changes"
                given = f"--stream {stream.name} -n {stream.namespace}"
                yield PlanObstacle(f"{text}: `upwell wave approve WAVE {given}` gives it")
            return
        for change in waiting_changes(stream, lambda _: self._waves, NO_APPROVALS):
            if change.tag == tag and self._digest in change.digests:
                yield PlanObstacle(change.text)

    def _at_stage(self, place: StagePlacement) -> Iterator[PlanObstacle]:
        pipeline, stage = place.pipeline, place.stage
        if stage.promotion != "Automatic":
            where = f"pipeline/{pipeline.name} --stage {stage.name} -n {pipeline.namespace}"
            yield PlanObstacle(
                f"a person promotes into stage {stage.name}: `upwell promote {where}`"
            )
        if place.status.hold:
            hold = lifted(pipeline, stage, place.status.hold, "`upwell resume` lifts it")
            yield PlanObstacle(f"{place} is held: {hold}")
        if stage.approval is not None:
            who = ", ".join(stage.approval.approvers) or "who may approve"
            yield PlanObstacle(
                f"stage {stage.name} needs {stage.approval.required} approval of {who}"
            )
        found = bar(pipeline, stage, self._freezes, self._now)
        if found is not None:
            yield PlanObstacle(f"stage {stage.name} waits for {found.message}", found.until)

    def rejections(self, place: StagePlacement, edges: Sequence[Edge]) -> Iterator[PlanObstacle]:
        """Yield the rejections of what the tags have that go into a stage."""
        tags = [edge.source for edge in edges if isinstance(edge.source, StreamTag)]
        for event in map(self._snapshot.latest, tags):
            rejected = self._snapshot.lineage.rejected(place, event.image) if event else ""
            if rejected:
                yield PlanObstacle(rejected)


def _at_tag(tag: StreamTag, edges: Sequence[Edge]) -> Iterator[PlanObstacle]:
    if any(edge.automatic for edge in edges):
        return
    command = f"`upwell import-image {tag.name} -n {tag.namespace}`"
    yield PlanObstacle(f"it was imported once and is not scheduled: {command} imports it again")


def _of_trigger(workload: Workload, edges: Sequence[Edge]) -> Iterator[PlanObstacle]:
    what = f"{workload.KIND.singular}/{workload.name} -n {workload.namespace}"
    if not any(edge.automatic for edge in edges):
        modes = {one.mode for one in followers_of(workload).entries}
        if Mode.PAUSED in modes:
            yield PlanObstacle(f"its image trigger is paused: `upwell set triggers {what} --auto`")
        elif Mode.MANUAL in modes:
            yield PlanObstacle(f"its image trigger is manual: `upwell rollout latest {what}`")
        else:
            source = edges[0].source
            tag = source if isinstance(source, StreamTag) else "STREAM:TAG"
            yield PlanObstacle(
                f"it names {source} and follows no tag: `upwell set triggers {what}"
                f" --from-image={tag}` changes that"
            )
    if hold := hold_text(workload):
        lifts = lifts_hold(workload, "`upwell resume`")
        yield PlanObstacle(f"it is held: {hold}; {lifts} lifts it", hold_end(workload))
    if is_paused(workload):
        yield PlanObstacle(f"it is paused: {resumes(workload, f'`upwell rollout resume {what}`')}")
