"""The spans of a change: from the import of an image through builds to rollouts; pure.

Which change caused a build or a rollout stands in the objects: in the causes of the Build, in the
history of the tag, in the images of the revision. A trace is read from there.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from upwell.api.apps import RevisionRecord
from upwell.api.builds.build import Build, BuildPhase
from upwell.api.defaults import IMAGE_STREAM_TAG
from upwell.api.image import ImageStream, NamedTagEventList, TagEvent
from upwell.api.meta import Resource
from upwell.formats.trace_context import TraceContext
from upwell.policy.images.streams import StreamName, StreamTag
from upwell.policy.rollouts.history import Phase
from upwell.policy.rollouts.settings import Workload
from upwell.policy.rollouts.triggers import followers_of
from upwell.tracing.interface import Span

TRACEPARENT_ANNOTATION = "upwell.dev/traceparent"
"""On a Build or a workload: the span of the build, or of the newest rollout."""


type Tag = tuple[StreamName, str]
"""A tag of a stream."""
type Made = tuple[StreamName, str, str]
"""A tag of a stream, and the digest that it got."""


class OriginPendingError(Exception):
    """No answer yet to where an image comes from: a build runs that may have pushed it.

    A build's tag has the image before its status says so; the end of the build decides.
    """


def results_of(build: Build) -> Iterator[Made]:
    """Yield what a build has pushed to a tag of a stream."""
    to, output = build.spec.output.to, build.status.output
    if to is None or to.kind != IMAGE_STREAM_TAG or output is None or output.to is None:
        return
    named = StreamTag.of(to, build.namespace)
    yield named.stream_name, named.tag, output.to.image_digest


def tags_being_made(build: Build) -> Iterator[Tag]:
    """Yield the tag of a stream that a build may push to at any time, while it runs."""
    to = build.spec.output.to
    if to is not None and to.kind == IMAGE_STREAM_TAG and build.status.phase in _RUNNING:
        named = StreamTag.of(to, build.namespace)
        yield named.stream_name, named.tag


def context_of(resource: Resource) -> TraceContext | None:
    """Return the context that an object carries."""
    return TraceContext.parse(resource.annotations.get(TRACEPARENT_ANNOTATION, ""))


@dataclass(frozen=True, slots=True)
class ImageLineage:
    """Origin of every image, as far as the objects still tell.

    Whatever asks for it raises OriginPendingError as long as a running build may be it.
    """

    stream: Callable[[StreamName], ImageStream | None]
    makers: Callable[[Made], Iterable[Build]]
    """Returns the builds with a result, as `results_of` names it."""
    running: Callable[[Tag], Iterable[Build]]
    """Returns the builds that may push to a tag at any time, as `tags_being_made` names it."""

    def of_image(self, stream: StreamName, tag: str, digest: str) -> TraceContext | None:
        """Return the span that made `digest` an image of the tag: of an import or of a build."""
        seen: set[tuple[StreamName, str]] = set()
        while (stream, tag) not in seen:  # tags may follow one another in a circle
            seen.add((stream, tag))
            found = self.stream(stream)
            history = found.status.tag(tag) if found is not None else None
            if found is None or history is None:
                return None
            event = next((one for one in history.items if one.image == digest), None)
            if event is None:
                return None
            build = self.maker(stream, tag, event)
            if build is not None:
                return self.of_build(build)
            source = _followed(found, tag)
            if source is None:
                return import_context(found, tag, event)
            stream, tag = source
        return None

    def maker(self, stream: StreamName, tag: str, event: TagEvent) -> Build | None:
        """Return the first build that pushed the image of an event of the tag."""
        made = self.makers((stream, tag, event.image))
        first = min(made, key=lambda one: one.status.completion_timestamp or _END, default=None)
        begun = (one.status.start_timestamp for one in self.running((stream, tag)))
        if first is None and any(start is not None and start <= event.created for start in begun):
            raise OriginPendingError
        return first

    def causes(self, build: Build) -> list[TraceContext]:
        """Return the spans of the image changes that started a build."""
        found = []
        for cause in build.spec.triggered_by:
            change = cause.image_change_build
            if change is not None and change.from_ref is not None:
                named = StreamTag.of(change.from_ref, build.namespace)
                digest = change.image_id.partition("@")[2]
                found.append(self.of_image(named.stream_name, named.tag, digest))
        return _known(found)

    def of_build(self, build: Build) -> TraceContext:
        """Return the span of a build: the one that it carries, or else the one that it gets."""
        carried = context_of(build)
        if carried is not None:
            return carried
        first = next(iter(self.causes(build)), None)
        return first.child(build.uid) if first is not None else TraceContext.root(build.uid)

    def changes(self, workload: Workload, record: RevisionRecord) -> list[TraceContext]:
        """Return the spans of the images that are new in a revision."""
        older = [one for one in workload.status.revisions if one.revision < record.revision]
        before = max(older, key=lambda one: one.revision).images if older else {}
        found = []
        for entry in followers_of(workload).entries:
            container = entry.slot[0]
            image = record.images.get(container, "")
            if image != before.get(container):
                found.append(self.of_image(entry.stream, entry.tag.tag, image.partition("@")[2]))
        return _known(found)

    def of_rollout(self, workload: Workload, record: RevisionRecord) -> TraceContext:
        """Return the span of a revision's rollout."""
        seed = "/".join(rollout_identity(workload, record))
        carried = context_of(workload)
        own = TraceContext.root(seed)
        if carried is not None and carried.child(seed) == carried:
            return carried
        first = next(iter(self.changes(workload, record)), None)
        return first.child(seed) if first is not None else own.child(seed)


def rollout_identity(workload: Workload, record: RevisionRecord) -> tuple[str, str, str]:
    """Return what tells a rollout from all others: a revision may come back, and is a new one."""
    return workload.uid, record.hash, record.created.isoformat()


def import_context(stream: ImageStream, tag: str, event: TagEvent) -> TraceContext:
    """Return the first span of the change that an image from outside is."""
    return TraceContext.root(f"{stream.uid}/{tag}/{event.image}/{event.created.isoformat()}")


def import_spans(
    lineage: ImageLineage, stream: ImageStream, tag: str, event: TagEvent, now: datetime
) -> Iterator[Span]:
    """Yield the span of an event's image if it came from outside, by import or by push.

    An import begins with the question to upstream, and ends `now`, when its answer is seen.
    """
    name = StreamName(stream.namespace, stream.name)
    if _followed(stream, tag) is not None or lineage.maker(name, tag, event) is not None:
        return
    history = stream.status.tag(tag)
    yield Span(
        "push" if history is None or _was_pushed(history, event) else "import",
        import_context(stream, tag, event),
        event.created,
        now,
        attributes=_about(stream)
        | {"upwell.tag": tag, "upwell.image": event.docker_image_reference},
    )


def build_spans(lineage: ImageLineage, build: Build, now: datetime) -> Iterator[Span]:
    """Yield the spans of a build that has ended, `now` if it does not say when, and its stages."""
    status = build.status
    end = status.completion_timestamp or now
    begun = status.start_timestamp or end
    context, causes = lineage.of_build(build), lineage.causes(build)
    parent, links = _relations(context, causes)
    attributes = _about(build) | {"upwell.build.phase": status.phase.value}
    if status.output is not None and status.output.to is not None:
        attributes["upwell.image"] = status.output.to.image_digest
    failed = status.phase is not BuildPhase.COMPLETE
    yield Span(
        "build",
        context,
        begun,
        end,
        parent,
        links,
        attributes,
        f"{status.reason}: {status.message or ''}" if failed else "",
    )
    for stage in status.stages:
        if stage.start_time is not None:
            yield Span(
                f"build {stage.name}",
                context.child(f"{build.uid}/{stage.name}"),
                stage.start_time,
                stage.start_time + stage.duration,
                context,
                attributes=_about(build),
            )


def rollout_spans(
    lineage: ImageLineage, workload: Workload, record: RevisionRecord, now: datetime
) -> Iterator[Span]:
    """Yield the spans of a rollout that has ended `now`, and of its steps.

    Its steps are `start`, until the first new instance takes traffic, and `replace`, until all
    are new; and each hook's end.
    """
    context, changes = lineage.of_rollout(workload, record), lineage.changes(workload, record)
    parent, links = _relations(context, changes)
    attributes = _about(workload) | {
        "upwell.revision": str(record.revision),
        "upwell.cause": record.cause,
    }
    failure = (record.message or "failed") if record.phase == Phase.FAILED else ""
    yield Span("rollout", context, record.created, now, parent, links, attributes, failure)

    def step(name: str, start: datetime, end: datetime, failure: str = "") -> Span:
        own = context.child(f"{context.span_id}/{name}")
        return Span(
            f"rollout {name}", own, start, end, context, attributes=attributes, failure=failure
        )

    if record.live_at is not None:
        yield step("start", record.created, record.live_at)
        yield step("replace", record.live_at, now)
    begun = record.created
    for moment, hook in sorted(record.hooks.items(), key=lambda item: item[1].ended):
        yield step(f"hook {moment}", begun, hook.ended, hook.message if _failed(hook.phase) else "")
        begun = hook.ended


_RUNNING = frozenset({BuildPhase.PENDING, BuildPhase.RUNNING})
_END = datetime.max.replace(tzinfo=UTC)
"""After every time."""


def _failed(phase: str) -> bool:
    return phase == Phase.FAILED.value


def _known(contexts: Sequence[TraceContext | None]) -> list[TraceContext]:
    return list(dict.fromkeys(one for one in contexts if one is not None))


def _relations(
    context: TraceContext, causes: Sequence[TraceContext]
) -> tuple[TraceContext | None, tuple[TraceContext, ...]]:
    """Return the parent of a span, which is a cause within its trace, and the other causes."""
    parent = next((one for one in causes if one.trace_id == context.trace_id), None)
    return parent, tuple(one for one in causes if one != parent)


def _followed(stream: ImageStream, tag: str) -> tuple[StreamName, str] | None:
    """Return the tag of a stream that the tag takes its images from, if it does."""
    declared = next((one for one in stream.spec.tags if one.name == tag), None)
    if declared is None or declared.from_ is None or declared.from_.kind != IMAGE_STREAM_TAG:
        return None
    source = StreamTag.source_in(stream, declared.from_)
    return source.stream_name, source.tag


def _was_pushed(history: NamedTagEventList, event: TagEvent) -> bool:
    return history.import_state is None or (
        history.pushed_digest == event.image and history.import_state.imported_digest != event.image
    )


def _about(resource: Resource) -> dict[str, str]:
    return {
        "upwell.kind": resource.KIND.kind,
        "upwell.namespace": resource.namespace,
        "upwell.name": resource.name,
    }
