"""The controllers of promotion, and what wakes them."""

from collections.abc import Callable, Iterable
from datetime import datetime

from upwell.api.apps import Job
from upwell.api.build import Build
from upwell.api.image import ImageStream
from upwell.api.meta import ObjectKey, Resource
from upwell.api.pipeline import Freeze, Pipeline, Quarantine
from upwell.api.promotion import PIPELINE_LABEL, Promotion, Release
from upwell.controller import Controller, Watch
from upwell.policy.promotion.stages import STAGED, names_workload
from upwell.policy.promotion.verification_jobs import promotion_of
from upwell.policy.streams import split_tag
from upwell.reconcilers.build_view import BuildView
from upwell.reconcilers.promotion.pipelines import PipelineReconciler
from upwell.reconcilers.promotion.promotions import PromotionReconciler
from upwell.store.interface import Store


def pipelines(
    store: Store, builds: BuildView, clock: Callable[[], datetime], *, workers: int = 2
) -> Controller:
    """Return the controller that makes Releases and begins promotions."""
    wake = _Wake(store)
    return Controller(
        "pipelines",
        PipelineReconciler(store, builds, clock),
        store,
        (
            Watch(Pipeline),
            Watch(Release, wake.pipeline_of),
            Watch(Promotion, wake.pipeline_of),
            Watch(ImageStream, wake.pipelines_with_component),
            Watch(Build, wake.coalescing),
            Watch(Freeze, wake.every_pipeline),
            Watch(Quarantine, wake.every_pipeline),
            *(Watch(kind, wake.pipelines_with_workload) for kind in STAGED),
        ),
        workers=workers,
    )


def promotions(store: Store, reconciler: PromotionReconciler, *, workers: int = 4) -> Controller:
    """Return the controller that carries promotions out."""
    wake = _Wake(store)
    return Controller(
        "promotions",
        reconciler,
        store,
        (
            Watch(Promotion),
            Watch(Release, wake.promotions_of_release),
            Watch(Job, wake.promotion_of_job),
            *(Watch(kind, wake.promotions_with_workload) for kind in STAGED),
        ),
        workers=workers,
    )


class _Wake:
    """Maps a change to what has to decide anew."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def pipeline_of(self, changed: Resource) -> Iterable[ObjectKey]:
        name = changed.labels.get(PIPELINE_LABEL, "")
        return [ObjectKey(Pipeline.KIND.kind, changed.namespace, name)] if name else []

    async def every_pipeline(self, _: Resource) -> Iterable[ObjectKey]:
        return [one.key for one in await self._pipelines()]

    async def pipelines_with_component(self, stream: Resource) -> Iterable[ObjectKey]:
        repository = f"{stream.namespace}/{stream.name}"
        return [
            one.key
            for one in await self._pipelines()
            for source in one.spec.components
            if split_tag(source.from_, one.namespace)[0].repository == repository
        ]

    async def coalescing(self, _: Resource) -> Iterable[ObjectKey]:
        waits = [one for one in await self._pipelines() if one.status.coalescing_since is not None]
        return [one.key for one in waits]

    async def pipelines_with_workload(self, workload: Resource) -> Iterable[ObjectKey]:
        return [
            one.key
            for one in await self._pipelines()
            if any(names_workload(one, stage, workload) for stage in one.spec.stages)
        ]

    async def promotions_with_workload(self, workload: Resource) -> Iterable[ObjectKey]:
        stages = {
            (one.namespace, one.name, stage.name)
            for one in await self._pipelines()
            for stage in one.spec.stages
            if names_workload(one, stage, workload)
        }
        return [
            one.key
            for one in await self._active()
            if (one.namespace, one.spec.pipeline, one.spec.stage) in stages
        ]

    async def promotions_of_release(self, release: Resource) -> Iterable[ObjectKey]:
        return [
            one.key
            for one in await self._active()
            if (one.namespace, one.spec.release) == (release.namespace, release.name)
        ]

    async def promotion_of_job(self, job: Resource) -> Iterable[ObjectKey]:
        key = promotion_of(job) if isinstance(job, Job) else None
        return [key] if key is not None else []

    async def _pipelines(self) -> Iterable[Pipeline]:
        return (await self._store.list(Pipeline)).items

    async def _active(self) -> Iterable[Promotion]:
        promotions = (await self._store.list(Promotion)).items
        return [one for one in promotions if not one.status.phase.is_final]
