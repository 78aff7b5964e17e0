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
from upwell.policy.images.streams import StreamName
from upwell.policy.promotion.stages import STAGED
from upwell.policy.promotion.verification.jobs import promotion_of
from upwell.reconcilers.builds.cache import BuildView
from upwell.reconcilers.promotion.pipelines import PipelineReconciler
from upwell.reconcilers.promotion.promotions import PromotionReconciler
from upwell.reconcilers.rollouts.cache import WorkloadView


def pipelines(
    view: WorkloadView, builds: BuildView, clock: Callable[[], datetime], *, workers: int = 2
) -> Controller:
    """Return the controller that makes Releases and begins promotions."""

    async def with_component(stream: Resource) -> Iterable[ObjectKey]:
        return view.pipelines_with(StreamName(stream.namespace, stream.name))

    async def every(_: Resource) -> Iterable[ObjectKey]:
        return view.pipelines()

    controller = Controller(
        "pipelines",
        PipelineReconciler(view.store, builds, clock),
        view.store,
        (
            Watch(Release, _pipeline_of),
            Watch(Promotion, _pipeline_of),
            Watch(ImageStream, with_component),
            Watch(Freeze, every),
            Watch(Quarantine, every),
        ),
        workers=workers,
    )

    def changed(before: Pipeline | None, after: Pipeline | None) -> None:
        _ask(controller, (one.key for one in (after or before,) if one is not None))

    def workload_changed(before: Resource | None, after: Resource | None) -> None:
        for workload in (before, after):
            if workload is not None:
                _ask(controller, (pipeline.key for pipeline, _ in view.stages_of(workload)))

    def build_changed(_before: Build | None, _after: Build | None) -> None:
        _ask(controller, view.coalescing())

    view.on_change(Pipeline, changed)
    for kind in STAGED:
        view.on_change(kind, workload_changed)
    builds.on_change(Build, build_changed)
    return controller


def promotions(
    view: WorkloadView, reconciler: PromotionReconciler, *, workers: int = 4
) -> Controller:
    """Return the controller that carries promotions out."""

    async def of_release(release: Resource) -> Iterable[ObjectKey]:
        return view.promotions_of(release)

    controller = Controller(
        "promotions",
        reconciler,
        view.store,
        (Watch(Release, of_release), Watch(Job, _promotion_of)),
        workers=workers,
    )

    def changed(before: Promotion | None, after: Promotion | None) -> None:
        _ask(controller, (one.key for one in (after or before,) if one is not None))

    def workload_changed(before: Resource | None, after: Resource | None) -> None:
        for workload in (before, after):
            for pipeline, stage in view.stages_of(workload) if workload is not None else ():
                _ask(controller, view.under_way(pipeline, stage))

    view.on_change(Promotion, changed)
    for kind in STAGED:
        view.on_change(kind, workload_changed)
    return controller


def _ask(controller: Controller, keys: Iterable[ObjectKey]) -> None:
    for key in keys:
        controller.queue.add(key)


async def _pipeline_of(changed: Resource) -> Iterable[ObjectKey]:
    name = changed.labels.get(PIPELINE_LABEL, "")
    return [ObjectKey(Pipeline.KIND.kind, changed.namespace, name)] if name else []


async def _promotion_of(job: Resource) -> Iterable[ObjectKey]:
    key = promotion_of(job) if isinstance(job, Job) else None
    return [key] if key is not None else []
