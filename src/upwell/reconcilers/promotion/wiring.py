"""The controllers of promotion, and what wakes them."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

from upwell.api.apps import Job
from upwell.api.builds.build import Build
from upwell.api.clusters.cluster import Cluster
from upwell.api.image import ImageStream
from upwell.api.image_policies.policy import ClusterImagePolicy, ImagePolicy
from upwell.api.meta import ObjectKey, ObjectMeta, Resource
from upwell.api.pipeline import Freeze, Pipeline, Quarantine
from upwell.api.promotion import PIPELINE_LABEL, Promotion, Release
from upwell.api.waves.wave import Wave
from upwell.controller import Controller, Watch, of_both
from upwell.policy.clusters.condition import has_changed
from upwell.policy.health.promotion import drift_of
from upwell.policy.images.streams import StreamName
from upwell.policy.promotion.claims import FindObstacle, unobstructed
from upwell.policy.promotion.stages import STAGED
from upwell.policy.promotion.verification.jobs import promotion_of
from upwell.policy.waves.approval import approval_view
from upwell.reconcilers.authority import UNASKED, Authority
from upwell.reconcilers.builds.index import BuildIndex
from upwell.reconcilers.promotion.pipelines import PipelineReconciler
from upwell.reconcilers.promotion.promotions import PromotionReconciler
from upwell.reconcilers.promotion.turns import PromotionTurns
from upwell.reconcilers.rollouts.index import WorkloadIndex
from upwell.reconcilers.signatures.policies import UNRESTRICTED, ImagePolicies


def pipeline_controller(
    index: WorkloadIndex,
    builds: BuildIndex,
    clock: Callable[[], datetime],
    authority: Authority = UNASKED,
    policies: ImagePolicies = UNRESTRICTED,
    *,
    obstacle: FindObstacle = unobstructed,
    per_stage: int = 0,
) -> Controller:
    """Return the controller that makes Releases and begins promotions.

    `per_stage` rollouts are under way at once in stages of one name; 0: as many as come.
    """
    turns = PromotionTurns(index.cache, clock, per_stage) if per_stage else None

    return Controller(
        "pipelines",
        PipelineReconciler(
            index.cache.store,
            builds,
            clock,
            authority,
            stages_of=index.all_stages_of,
            policies=policies,
            obstacle=obstacle,
            turns=turns,
        ),
        index.cache,
        _pipeline_watches(index, turns),
        workers=2,
    )


def promotion_controller(index: WorkloadIndex, reconciler: PromotionReconciler) -> Controller:
    """Return the controller that carries promotions out."""

    def under_way(workload: Resource) -> Iterable[ObjectKey]:
        for pipeline, stage in index.stages_of(workload):
            yield from index.under_way(pipeline, stage)

    return Controller(
        "promotions",
        reconciler,
        index.cache,
        (
            Watch(Promotion),
            Watch(Release, of_both(index.promotions_of)),
            Watch(Job, of_both(_promotions_of)),
            *(Watch(kind, of_both(under_way)) for kind in STAGED),
        ),
    )


def _pipeline_watches(index: WorkloadIndex, turns: PromotionTurns | None) -> Sequence[Watch[Any]]:
    """Return the watches of what wakes a Pipeline."""

    def with_component(stream: ImageStream) -> Iterable[ObjectKey]:
        return index.pipelines_with(StreamName(stream.namespace, stream.name))

    def every(_before: Resource | None, _after: Resource | None) -> Iterable[ObjectKey]:
        return index.pipelines()

    def changed_policy(before: Resource | None, after: Resource | None) -> Iterable[ObjectKey]:
        """Yield every Pipeline after a policy has changed: what it finds, judgements have made."""
        if before is None or after is None or before.generation != after.generation:
            yield from index.pipelines()

    def changed_cluster(before: Cluster | None, after: Cluster | None) -> Iterable[ObjectKey]:
        """Yield every Pipeline after a cluster has come, gone, or stands otherwise."""
        if before is None or after is None or has_changed(before, after):
            yield from index.pipelines()

    def of_wave(before: Wave | None, after: Wave | None) -> Iterable[ObjectKey]:
        """Yield every Pipeline after an approval, which its next Release may wait for."""
        if approval_view(before) != approval_view(after):
            yield from index.pipelines()

    def coalescing(_before: Build | None, _after: Build | None) -> Iterable[ObjectKey]:
        return index.coalescing()

    return [
        Watch(Pipeline),
        Watch(Release, of_both(_pipelines_of)),
        Watch(Promotion, of_both(_pipelines_of)),
        *((Watch(Promotion, turns.woken),) if turns is not None else ()),
        Watch(ImageStream, of_both(with_component)),
        Watch(Freeze, every),
        Watch(Quarantine, every),
        Watch(ClusterImagePolicy, changed_policy),
        Watch(ImagePolicy, changed_policy),
        *_stage_watches(index),
        Watch(Build, coalescing),
        Watch(Wave, of_wave),
        Watch(Cluster, changed_cluster),
    ]


def _stage_watches(index: WorkloadIndex) -> Sequence[Watch[Any]]:
    """Return the watches of what a Pipeline reads of the workloads of its stages."""

    def of_stages(workload: Resource) -> Iterable[ObjectKey]:
        return (pipeline.key for pipeline, _ in index.stages_of(workload))

    def staging(before: Resource | None, after: Resource | None) -> Iterable[ObjectKey]:
        if before is None or after is None or _is_staged_anew(before, after):
            yield from of_both(of_stages)(before, after)

    return [Watch(kind, staging) for kind in STAGED]


def _is_staged_anew(before: Resource, after: Resource) -> bool:
    """Return True if a change of a workload may be one for its Pipeline.

    Most are of how its rollout goes: that is the promotion's, which tells the Pipeline.
    """
    return (
        before.generation != after.generation
        or _unversioned(before) != _unversioned(after)
        or list(drift_of("", (before,))) != list(drift_of("", (after,)))
    )


def _unversioned(workload: Resource) -> ObjectMeta:
    return workload.metadata.model_copy(update={"resource_version": ""})


def _pipelines_of(changed: Resource) -> Iterable[ObjectKey]:
    name = changed.labels.get(PIPELINE_LABEL, "")
    return [ObjectKey(Pipeline.KIND.kind, changed.namespace, name)] if name else []


def _promotions_of(job: Job) -> Iterable[ObjectKey]:
    key = promotion_of(job)
    return [key] if key is not None else []
