"""Workloads, Pipelines and Promotions in the cache, found by what they are to each other.

It says whom a change concerns, and may be late without harm: who acts reads the store. A controller
is told of a change once the index has it, so that nothing falls between an object that is not seen
yet and a change that concerns it.
"""

from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import Any

from upwell.api.image import ImageStream
from upwell.api.meta import ObjectKey, Resource
from upwell.api.pipeline import Pipeline, Stage
from upwell.api.promotion import Promotion
from upwell.controller import ObjectCache, Watch, of_both
from upwell.policy.images.streams import StreamName, StreamTag
from upwell.policy.promotion.stages import STAGED, PipelineStage, namespace_of, stages_with
from upwell.policy.rollouts.pod_template import SourceName, needed_sources
from upwell.policy.rollouts.settings import WORKLOADS, Workload, template_of
from upwell.policy.rollouts.triggers import followers_of

_ALL = ""
_SPREAD = "spread"


class WorkloadIndex:
    """Shared by all that runs workloads or sets their images; a call costs what it returns."""

    def __init__(self, cache: ObjectCache) -> None:
        self.cache = cache
        self._followers = [self.cache.index(kind, _streams) for kind in STAGED]
        self._placed = [self.cache.index(kind, _place) for kind in STAGED]
        self._users = [self.cache.index(kind, _sources) for kind in WORKLOADS]
        self._pipelines = self.cache.index(Pipeline, _pipeline_keys)
        self._active = self.cache.index(Promotion, _promotion_keys)

    async def ready(self) -> None:
        """Wait until everything was listed."""
        await self.cache.ready(*STAGED, Pipeline, Promotion)

    def followers(self, stream: StreamName) -> Iterator[ObjectKey]:
        """Yield the workloads whose image triggers follow a stream."""
        for index in self._followers:
            yield from (workload.key for workload in index.get(stream))

    def image_watches(self) -> Sequence[Watch[Any]]:
        """Return the watches by which whoever sets images learns what workloads shall have.

        A stream tells its followers, and a Pipeline whose spec has changed the workloads of its
        stages.
        """

        def following(stream: ImageStream) -> Iterable[ObjectKey]:
            return self.followers(StreamName(stream.namespace, stream.name))

        def staged(before: Pipeline | None, after: Pipeline | None) -> Iterable[ObjectKey]:
            if before is not None and after is not None and before.spec == after.spec:
                return ()
            return of_both(self.workloads_of)(before, after)

        return Watch(ImageStream, of_both(following)), Watch(Pipeline, staged)

    def users_of(self, namespace: str, source: SourceName) -> Iterator[ObjectKey]:
        """Yield the workloads whose templates name a Secret or ConfigMap."""
        for index in self._users:
            yield from (workload.key for workload in index.get((namespace, source)))

    def stages_of(self, workload: Resource) -> Iterator[PipelineStage]:
        """Yield the stages that a workload belongs to."""
        found = {one.key: one for key in _named(workload) for one in self._pipelines.get(key)}
        yield from stages_with(workload, found.values())

    async def all_stages_of(self, workload: Resource) -> Iterable[PipelineStage]:
        """Return the stages that a workload belongs to, once all Pipelines were listed."""
        await self.ready()
        return tuple(self.stages_of(workload))

    def workloads_of(self, pipeline: Pipeline) -> Iterator[ObjectKey]:
        """Yield the workloads that the stages of a Pipeline name or may select."""
        for key in _workload_keys(pipeline):
            if isinstance(key, ObjectKey):
                yield key
            else:
                for index in self._placed:
                    yield from (workload.key for workload in index.get(key))

    def pipelines(self) -> Iterator[ObjectKey]:
        """Yield all Pipelines."""
        yield from (pipeline.key for pipeline in self._pipelines.get(_ALL))

    def pipelines_with(self, stream: StreamName) -> Iterator[ObjectKey]:
        """Yield the Pipelines that have a component in a stream."""
        yield from (pipeline.key for pipeline in self._pipelines.get(stream))

    def coalescing(self) -> Iterator[ObjectKey]:
        """Yield the Pipelines whose next Release waits for builds."""
        yield from (pipeline.key for pipeline in self._pipelines.get("coalescing"))

    def under_way(self, pipeline: Pipeline, stage: Stage) -> Iterator[ObjectKey]:
        """Yield the promotions into a stage that have not ended."""
        key = ("stage", pipeline.namespace, pipeline.name, stage.name)
        yield from (one.key for one in self._active.get(key))

    def spread_promotions(self) -> Iterator[ObjectKey]:
        """Yield the promotions onto clusters that have ended: some may have been away."""
        yield from (one.key for one in self._active.get(_SPREAD))

    def promotions_of(self, release: Resource) -> Iterator[ObjectKey]:
        """Yield the promotions of a Release that have not ended."""
        key = ("release", release.namespace, release.name)
        yield from (one.key for one in self._active.get(key))


def _streams(workload: Resource) -> Iterator[StreamName]:
    yield from (entry.stream for entry in followers_of(workload).entries)


def _sources(workload: Workload) -> Iterator[tuple[str, SourceName]]:
    for source in needed_sources(template_of(workload)):
        yield workload.namespace, source


def _place(workload: Resource) -> Iterator[tuple[str, str]]:
    yield workload.KIND.kind, workload.namespace


def _named(workload: Resource) -> Iterator[Hashable]:
    """Yield the keys under which a stage may have a workload."""
    yield workload.key
    yield from _place(workload)


def _pipeline_keys(pipeline: Pipeline) -> Iterator[Hashable]:
    yield _ALL
    yield from _workload_keys(pipeline)
    for source in pipeline.spec.components:
        yield StreamTag.of(source.from_, pipeline.namespace).stream_name
    if pipeline.status.coalescing_since is not None:
        yield "coalescing"


def _workload_keys(pipeline: Pipeline) -> Iterable[ObjectKey | tuple[str, str]]:
    """Yield the keys of named workloads, and kind and namespace of those that are selected."""
    for stage in pipeline.spec.stages:
        if not stage.runs_here:
            continue
        namespace = namespace_of(pipeline, stage)
        for entry in stage.workloads:
            if entry.name:
                yield ObjectKey(entry.kind, namespace, entry.name)
            else:
                yield entry.kind, namespace


def _promotion_keys(promotion: Promotion) -> Iterator[Hashable]:
    if promotion.status.phase.is_final:
        if promotion.status.clusters:
            yield _SPREAD
        return
    spec = promotion.spec
    yield "stage", promotion.namespace, spec.pipeline, spec.stage
    yield "release", promotion.namespace, spec.release
