"""Plan of a change as one client may see it: what it may not read is only counted; pure."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from upwell.api.image import ImageStream
from upwell.api.meta import ObjectKey, ObjectMeta
from upwell.api.pipeline import Pipeline
from upwell.api.waves.plan import (
    HiddenObjects,
    ImpactPlanStatus,
    PlannedAnswer,
    PlannedCanary,
    PlannedObject,
    PlannedObstacle,
    PlannedSource,
    PlanSummary,
)
from upwell.api.waves.wave import Wave, WaveSpec
from upwell.policy.explain.freshness import Snapshot
from upwell.policy.explain.graph import Node
from upwell.policy.images.names import UpstreamImage
from upwell.policy.images.streams import StreamTag
from upwell.policy.waves.canary import CanaryRules, canary_of
from upwell.policy.waves.estimate import Estimate
from upwell.policy.waves.impact import Impact, PlannedStep, StepAction
from upwell.policy.waves.progress import blocked

MOST_STEPS = 10_000
"""Objects that one answer names: some megabytes."""
_MOST_SOURCES = 20
"""Sources of an object that are named in place of those that are not shown."""
_WORKLOADS = (StepAction.ROLL_OUT, StepAction.PROMOTE)

type MayRead = Callable[[str, str], bool]
"""Tells whether the client may read objects of a kind in a namespace."""


@dataclass(frozen=True, slots=True)
class _Outlook:
    """Steps that go on, by when they have ended, and those that do not."""

    ends: Mapping[Node, timedelta]
    failed: Mapping[Node, str]
    """Steps whose last try has failed, and how."""
    stuck: Collection[Node]
    """Those, and what stands on builds among them."""


def plan_status(
    impact: Impact,
    estimate: Estimate,
    first: Collection[ObjectKey],
    failed: Mapping[Node, str],
    may_read: MayRead,
) -> ImpactPlanStatus:
    """Return the plan for a client; `first` are the workloads that go first.

    `failed` are the steps whose last try has failed; they and what is built on them do not go on.
    An object whose sources are not shown comes from the nearest before them that are. Empty where
    the client may not read the tag that changes.
    """
    roots = impact.change.roots
    if not roots or not all(_is_shown(node, may_read) for node in roots):
        return ImpactPlanStatus()
    shown = {node for node in impact.steps if _is_shown(node, may_read)}
    sources = _shown_sources(impact, shown)
    named = [one for one in impact.steps.values() if one.node in shown]
    stuck = {*failed, *blocked(impact.steps.values(), failed)}
    ends = {node: end for node, end in estimate.ends.items() if node not in stuck}
    outlook = _Outlook(ends, failed, stuck)
    steps = (
        _planned(
            one,
            sources[one.node],
            outlook,
            shown,
            may_read,
            is_first=one.node in first,
        )
        for one in named[:MOST_STEPS]
    )
    return ImpactPlanStatus(
        images=tuple(str(root) for root in roots),
        image_kind="ImageStreamTag"
        if any(isinstance(root, StreamTag) for root in roots)
        else "DockerImage",
        digest=impact.change.digest or None,
        steps=tuple(steps),
        left_out=max(0, len(named) - MOST_STEPS),
        hidden=_hidden(one for one in impact.steps.values() if one.node not in shown),
        summary=_summary(impact, estimate, outlook),
    )


def first_workloads(
    view: tuple[Impact, Snapshot, Estimate],
    wave: Wave | None,
    rules: CanaryRules,
    now: datetime,
) -> tuple[PlannedCanary | None, frozenset[ObjectKey]]:
    """Return which workloads go first, by the rules of the server; none where all go at once.

    `wave` is that of the change; None: it has none yet.
    """
    impact, snapshot, expected = view
    image = next((one.name for one in impact.change.roots if isinstance(one, UpstreamImage)), "")
    if not image:
        return None, frozenset()  # a change of a tag alone makes no Wave
    asked = wave or Wave(
        metadata=ObjectMeta(name="plan"),
        spec=WaveSpec(image=image, digest=impact.change.digest),
    )
    found = canary_of(asked, impact, snapshot, (), rules, now, expected.ends)
    if found is None or not found.workloads:
        return None, frozenset()
    keys = frozenset(ObjectKey(one.kind, one.namespace, one.name) for one in found.workloads)
    seconds = round(rules.healthy_for.total_seconds())
    return PlannedCanary(share=rules.share, healthy_for_seconds=seconds, workloads=len(keys)), keys


def _is_shown(node: Node, may_read: MayRead) -> bool:
    if isinstance(node, StreamTag):
        return may_read(ImageStream.KIND.kind, node.namespace)
    return not isinstance(node, ObjectKey) or may_read(node.kind, node.namespace)


def _shown_sources(
    impact: Impact, shown: Collection[Node]
) -> Mapping[Node, tuple[PlannedSource, ...]]:
    """Return by what the change comes to each object, of what is shown.

    The steps are in order; of a ring, what is not known yet is left out.
    """
    found: dict[Node, tuple[PlannedSource, ...]] = {}
    for step in impact.steps.values():
        own: dict[str, PlannedSource] = {}
        for edge in step.edges:
            role = str(edge.role)
            if edge.source in shown or edge.source not in impact.steps:
                name = str(edge.source)
                own[name] = PlannedSource(name=name, role=role, automatic=edge.automatic)
                continue
            for one in found.get(edge.source, ()):
                automatic = one.automatic and edge.automatic
                passed = PlannedSource(name=one.name, role=role, automatic=automatic, hidden=True)
                if len(own) < _MOST_SOURCES:
                    own.setdefault(one.name, passed)
        found[step.node] = tuple(own.values())
    return found


def _planned(
    step: PlannedStep,
    sources: tuple[PlannedSource, ...],
    outlook: _Outlook,
    shown: Collection[Node],
    may_read: MayRead,
    *,
    is_first: bool,
) -> PlannedObject:
    end = outlook.ends.get(step.node)
    place = step.place
    is_own = place is None or may_read(Pipeline.KIND.kind, place.pipeline.namespace)
    obstacles = tuple(
        PlannedObstacle(
            reason=one.reason if is_own else "its stage waits, in a namespace that is not shown",
            until=one.until,
            stops=one.stops,
        )
        for one in step.obstacles
    )
    if (failure := outlook.failed.get(step.node)) is not None:
        obstacles += (PlannedObstacle(reason=failure),)
    return PlannedObject(
        name=str(step.node),
        kind=step.node.kind if isinstance(step.node, ObjectKey) else "ImageStreamTag",
        action=str(step.action),
        level=step.level,
        on_base_change=_answer(step),
        sources=sources,
        after=tuple(str(node) for node in step.after if node in shown),
        stage=str(place) if place is not None and is_own else None,
        by_itself=step.arrives and step.node not in outlook.stuck,
        done=step.done,
        behind=step.behind,
        first=is_first,
        obstacles=obstacles,
        ends_after_seconds=round(end.total_seconds()) if end is not None else None,
    )


def _answer(step: PlannedStep) -> PlannedAnswer | None:
    """Return how a BuildConfig answers the change; the layers say whether a rebase is safe."""
    if step.action is not StepAction.REBUILD:
        return None
    found = step.forecast
    rebase = "ifSafe" if found.rebases else "no"
    return PlannedAnswer(
        answer=str(found.answer),
        rebase=rebase,
        against=found.against or None,
        registry=(found.registry or None) if found.rebases else None,
    )


def _hidden(steps: Iterable[PlannedStep]) -> HiddenObjects:
    actions = [one.action for one in steps]
    builds = actions.count(StepAction.REBUILD)
    workloads = sum(one in _WORKLOADS for one in actions)
    tags = len(actions) - builds - workloads
    return HiddenObjects(builds=builds, workloads=workloads, tags=tags)


def _summary(impact: Impact, estimate: Estimate, outlook: _Outlook) -> PlanSummary:
    builds, rollouts = impact.of(StepAction.REBUILD), impact.of(*_WORKLOADS)
    steps = impact.steps.values()
    to_do = (one.node for one in (*builds, *rollouts))
    whole = max((outlook.ends[node] for node in to_do if node in outlook.ends), default=None)
    return PlanSummary(
        builds=len(builds),
        rebased_if_safe=sum(one.forecast.rebases for one in builds),
        levels=len({one.level for one in builds}),
        workloads=len(rollouts),
        not_by_itself=sum(
            not one.arrives or one.node in outlook.stuck for one in (*builds, *rollouts)
        ),
        marked=sum(
            one.node in outlook.failed or any(each.stops for each in one.obstacles) for one in steps
        ),
        seconds=round(whole.total_seconds()) if whole is not None else None,
        guessed=estimate.guessed,
        unknown=estimate.unknown,
        builds_at_once=estimate.at_once,
    )
