"""Workloads, Pipelines and Promotions as watches tell them, found by what they are to each other.

It says whom a change concerns, and may be late without harm: who acts reads the store. Whoever is
woken through `on_change` is woken once the view has the change, so that nothing falls between an
object that is not seen yet and a change that concerns it.
"""

from collections.abc import Hashable, Iterable, Iterator

from upwell.api.meta import ObjectKey, Resource
from upwell.api.pipeline import Pipeline, Stage
from upwell.api.promotion import Promotion
from upwell.controller.cache import Handler, ObjectCache
from upwell.policy.images.streams import StreamName, split_tag
from upwell.policy.promotion.stages import STAGED, PipelineStage, namespace_of, stages_with
from upwell.policy.rollouts.pod_template import SourceName, needed_sources
from upwell.policy.rollouts.settings import WORKLOADS, Workload, template_of
from upwell.policy.rollouts.triggers import followers_of
from upwell.store.interface import Store

_ALL = ""


class WorkloadView:
    """Shared by all that runs workloads or sets their images; a call costs what it returns."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._view = ObjectCache(store, (*STAGED, Pipeline, Promotion), name="workload-view")
        self._followers = [self._view.index(kind, _streams) for kind in STAGED]
        self._placed = [self._view.index(kind, _place) for kind in STAGED]
        self._users = [self._view.index(kind, _sources) for kind in WORKLOADS]
        self._pipelines = self._view.index(Pipeline, _pipeline_keys)
        self._active = self._view.index(Promotion, _promotion_keys)

    async def run(self) -> None:
        """Keep up with the store until cancelled."""
        await self._view.run()

    async def ready(self) -> None:
        """Wait until everything was listed."""
        await self._view.ready()

    def on_change[R: Resource](self, kind: type[R], told: Handler[R]) -> None:
        """Call `told` at each change, once the view has it."""
        self._view.on_change(kind, told)

    def followers(self, stream: StreamName) -> Iterator[ObjectKey]:
        """Yield the workloads whose image triggers follow a stream."""
        for index in self._followers:
            yield from (workload.key for workload in index.get(stream))

    def users_of(self, namespace: str, source: SourceName) -> Iterator[ObjectKey]:
        """Yield the workloads whose templates name a Secret or ConfigMap."""
        for index in self._users:
            yield from (workload.key for workload in index.get((namespace, source)))

    def stages_of(self, workload: Resource) -> Iterator[PipelineStage]:
        """Yield the stages that a workload belongs to."""
        found = {one.key: one for key in _named(workload) for one in self._pipelines.get(key)}
        yield from stages_with(workload, found.values())

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
        yield split_tag(source.from_, pipeline.namespace)[0]
    if pipeline.status.coalescing_since is not None:
        yield "coalescing"


def _workload_keys(pipeline: Pipeline) -> Iterable[ObjectKey | tuple[str, str]]:
    """Yield the keys of named workloads, and kind and namespace of those that are selected."""
    for stage in pipeline.spec.stages:
        namespace = namespace_of(pipeline, stage)
        for entry in stage.workloads:
            if entry.name:
                yield ObjectKey(entry.kind, namespace, entry.name)
            else:
                yield entry.kind, namespace


def _promotion_keys(promotion: Promotion) -> Iterator[Hashable]:
    if promotion.status.phase.is_final:
        return
    spec = promotion.spec
    yield "stage", promotion.namespace, spec.pipeline, spec.stage
    yield "release", promotion.namespace, spec.release
