"""Traces: tells an exporter of every import, build and rollout that has ended since the start.

Watches what the other reconcilers write, and writes itself only the annotation that names the
span of a build or a rollout: it stays when the objects that tell of its causes are pruned.
"""

from collections.abc import Callable, Iterator
from datetime import datetime

from upwell.api.apps import RevisionRecord
from upwell.api.builds.build import Build
from upwell.api.image import ImageStream
from upwell.api.meta import ObjectKey, Resource
from upwell.controller import Controller, ObjectCache, Result, Watch
from upwell.formats.trace_context import TraceContext
from upwell.policy.images.streams import StreamName
from upwell.policy.rollouts.history import Phase
from upwell.policy.rollouts.settings import WORKLOADS, Workload
from upwell.policy.tracing.spans import (
    TRACEPARENT_ANNOTATION,
    ImageLineage,
    build_spans,
    import_spans,
    results_of,
    rollout_spans,
)
from upwell.store.interface import NotFoundError
from upwell.tracing.interface import Span, SpanExporter

_KINDS: dict[str, type[Resource]] = {
    kind.KIND.kind: kind for kind in (ImageStream, Build, *WORKLOADS)
}


class TraceReconciler:
    """Exports each span once; what ended before this process began was exported by another."""

    def __init__(
        self, cache: ObjectCache, exporter: SpanExporter, clock: Callable[[], datetime]
    ) -> None:
        self._store = cache.store
        self._cache = cache
        self._makers = cache.index(Build, results_of)
        self._exporter = exporter
        self._clock = clock
        self._since = clock()
        self._exported: dict[ObjectKey, frozenset[TraceContext]] = {}
        self._under_way: set[tuple[str, str, datetime]] = set()
        """Rollouts of an earlier process that had not ended yet."""

    async def reconcile(self, key: ObjectKey) -> Result:
        """Export what has ended of the object that `key` names, and annotate what has begun."""
        try:
            found = await self._store.get(_KINDS[key.kind], key.namespace, key.name)
        except NotFoundError:
            self._exported.pop(key, None)
            return Result()
        match found:
            case ImageStream():
                await self._follow_stream(found)
            case Build():
                await self._follow_build(found)
            case _ if isinstance(found, WORKLOADS):
                await self._follow_rollouts(found)
        return Result()

    async def _follow_stream(self, stream: ImageStream) -> None:
        events = (event for history in stream.status.tags for event in history.items)
        if any(event.created >= self._since for event in events):
            lineage = await self._lineage()
            self._tell(stream.key, import_spans(stream, self._since, self._clock(), lineage))

    async def _follow_build(self, build: Build) -> None:
        ended = build.status.completion_timestamp
        if ended is not None and ended < self._since:
            return
        lineage = await self._lineage()
        await self._annotate(build, lineage.of_build(build))
        if build.status.phase.is_terminal:
            self._tell(build.key, build_spans(build, lineage))

    async def _follow_rollouts(self, workload: Workload) -> None:
        """Follow the newest revision, and what it has superseded."""
        mine = [one for one in workload.status.revisions if self._is_mine(workload, one)]
        if not mine:
            return
        lineage, now = await self._lineage(), self._clock()
        if mine[0] == workload.status.revisions[0]:
            await self._annotate(workload, lineage.of_rollout(workload, mine[0]))
        ended = [one for one in mine if one.phase != Phase.PROGRESSING]
        spans = (span for one in ended for span in rollout_spans(workload, one, now, lineage))
        self._tell(workload.key, spans)

    def _is_mine(self, workload: Workload, record: RevisionRecord) -> bool:
        """Return True if a rollout began or went on since the start of this process."""
        if record.created >= self._since:
            return True
        rollout = (workload.uid, record.hash, record.created)
        if record.phase == Phase.PROGRESSING:
            self._under_way.add(rollout)
        return rollout in self._under_way

    async def _annotate(self, resource: Resource, context: TraceContext) -> None:
        if resource.annotations.get(TRACEPARENT_ANNOTATION) == str(context):
            return
        annotations = {**resource.annotations, TRACEPARENT_ANNOTATION: str(context)}
        await self._store.update(resource.with_metadata(annotations=annotations))

    def _tell(self, key: ObjectKey, spans: Iterator[Span]) -> None:
        present = {span.context: span for span in spans}
        exported = self._exported.get(key, frozenset())
        self._exporter.export(span for context, span in present.items() if context not in exported)
        self._exported[key] = frozenset(present)

    async def _lineage(self) -> ImageLineage:
        await self._cache.ready(ImageStream, Build)
        return ImageLineage(self._stream, self._makers.get)

    def _stream(self, name: StreamName) -> ImageStream | None:
        return self._cache.get(ImageStream, name.namespace, name.name)


def trace_controller(reconciler: TraceReconciler, cache: ObjectCache) -> Controller:
    """Return the controller of traces. One worker: an import is exported before its effects."""
    watches = tuple(map(Watch, _KINDS.values()))
    return Controller("traces", reconciler, cache, watches, workers=1)
