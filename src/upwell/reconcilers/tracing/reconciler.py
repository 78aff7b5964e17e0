"""Traces: tells an exporter of every import, build and rollout that has ended since the start.

Watches what the other reconcilers write, and writes itself only the annotation that names the
span of a build or a rollout: it stays when the objects that tell of its causes are pruned.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator
from datetime import datetime
from functools import partial
from typing import Any

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
    OriginPendingError,
    build_spans,
    import_spans,
    results_of,
    rollout_identity,
    rollout_spans,
    tags_being_made,
)
from upwell.store.interface import NotFoundError
from upwell.tracing.interface import Span, SpanExporter

type Subject = tuple[Hashable, Callable[[datetime], Iterable[Span]]]
"""An import, build or rollout, told from the others of its object; and its spans, by its end."""

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
        self._running = cache.index(Build, tags_being_made)
        self._exporter = exporter
        self._clock = clock
        self._since = clock()
        self._exported: dict[ObjectKey, frozenset[Hashable]] = {}
        """Subjects whose spans were exported, or that have none, by object.

        What becomes of an object later, a build that is pruned for instance, gives them no others.
        """
        self._under_way: set[tuple[str, str, str]] = set()
        """Rollouts of an earlier process that had not ended yet."""
        self._pending: dict[ObjectKey, dict[Hashable, datetime]] = {}
        """Objects that wait for the end of a build, with the ends of their subjects that do."""

    async def reconcile(self, key: ObjectKey) -> Result:
        """Export what has ended of the object that `key` names, and annotate what has begun."""
        try:
            found = await self._store.get(_KINDS[key.kind], key.namespace, key.name)
        except NotFoundError:
            self._exported.pop(key, None)
            self._pending.pop(key, None)
            return Result()
        try:
            match found:
                case ImageStream():
                    await self._follow_stream(found)
                case Build():
                    await self._follow_build(found)
                case _ if isinstance(found, WORKLOADS):
                    await self._follow_rollouts(found)
        except OriginPendingError:
            self._pending.setdefault(key, {})
        return Result()

    def woken(self, before: Build | None, after: Build | None) -> Iterator[ObjectKey]:
        """Yield a changed build, and once it does not run what may have waited for its end."""
        changed = after or before
        if changed is None:
            return
        yield changed.key
        if after is None or not any(tags_being_made(after)):
            yield from tuple(self._pending)

    async def _follow_stream(self, stream: ImageStream) -> None:
        events = [
            (history.tag, event)
            for history in stream.status.tags
            for event in history.items
            if event.created >= self._since
        ]
        if not events:
            self._tell(stream.key, ())
            return
        lineage = await self._lineage()
        self._tell(
            stream.key,
            [
                (
                    (tag, event.image, event.created),
                    partial(import_spans, lineage, stream, tag, event),
                )
                for tag, event in events
            ],
        )

    async def _follow_build(self, build: Build) -> None:
        ended = build.status.completion_timestamp
        if ended is not None and ended < self._since:
            self._tell(build.key, ())
            return
        lineage = await self._lineage()
        await self._annotate(build, lineage.of_build(build))
        is_over = build.status.phase.is_terminal and ended is not None
        spans = partial(build_spans, lineage, build)
        self._tell(build.key, [(build.uid, spans)] if is_over else ())

    async def _follow_rollouts(self, workload: Workload) -> None:
        """Follow the newest revision, and what it has superseded."""
        mine = [one for one in workload.status.revisions if self._is_mine(workload, one)]
        if not mine:
            self._tell(workload.key, ())
            return
        lineage = await self._lineage()
        self._tell(
            workload.key,
            [
                (rollout_identity(workload, one), partial(rollout_spans, lineage, workload, one))
                for one in mine
                if one.phase != Phase.PROGRESSING
            ],
        )
        if mine[0] == workload.status.revisions[0]:
            await self._annotate(workload, lineage.of_rollout(workload, mine[0]))

    def _is_mine(self, workload: Workload, record: RevisionRecord) -> bool:
        """Return True if a rollout began or went on since the start of this process."""
        if record.created >= self._since:
            return True
        rollout = rollout_identity(workload, record)
        if record.phase == Phase.PROGRESSING:
            self._under_way.add(rollout)
        return rollout in self._under_way

    async def _annotate(self, resource: Resource, context: TraceContext) -> None:
        if resource.annotations.get(TRACEPARENT_ANNOTATION) == str(context):
            return
        annotations = {**resource.annotations, TRACEPARENT_ANNOTATION: str(context)}
        await self._store.update(resource.with_metadata(annotations=annotations))

    def _tell(self, key: ObjectKey, subjects: Iterable[Subject]) -> None:
        """Export the spans of each subject of an object once, when its origin is known.

        Without subjects, it waits for nothing any more.
        """
        exported, ends = self._exported.get(key, frozenset()), self._pending.pop(key, {})
        decided: set[Hashable] = set()
        waiting: dict[Hashable, datetime] = {}
        for subject, spans in subjects:
            end = ends.get(subject) or self._clock()
            try:
                if subject not in exported:
                    self._exporter.export(tuple(spans(end)))
                decided.add(subject)
            except OriginPendingError:
                waiting[subject] = end
        if decided:
            self._exported[key] = frozenset(decided)
        else:
            self._exported.pop(key, None)
        if waiting:
            self._pending[key] = waiting

    async def _lineage(self) -> ImageLineage:
        await self._cache.ready(ImageStream, Build)
        return ImageLineage(self._stream, self._makers.get, self._running.get)

    def _stream(self, name: StreamName) -> ImageStream | None:
        return self._cache.get(ImageStream, name.namespace, name.name)


def trace_controller(reconciler: TraceReconciler, cache: ObjectCache) -> Controller:
    """Return the controller of traces. One worker: an import is exported before its effects."""
    watches: tuple[Watch[Any], ...] = (
        Watch(Build, reconciler.woken),
        *(Watch(kind) for kind in _KINDS.values() if kind is not Build),
    )
    return Controller("traces", reconciler, cache, watches, workers=1)
