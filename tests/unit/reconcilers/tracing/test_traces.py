from datetime import timedelta
from typing import Any

import pytest
from tests.support.rollouts.memory_machine import Clock
from tests.support.tracing.recorder import SpanRecorder

from upwell.api.apps import (
    Deployment,
    DeploymentSpec,
    HookResult,
    RevisionRecord,
    WorkloadStatus,
)
from upwell.api.build import (
    Build,
    BuildOutput,
    BuildOutputStatus,
    BuildOutputTo,
    BuildPhase,
    BuildSpec,
    BuildStage,
    BuildTriggerCause,
    ImageChangeCause,
)
from upwell.api.core import Container, PodSpec, PodTemplate
from upwell.api.image import (
    ImageStream,
    ImageStreamSpec,
    ImageStreamStatus,
    ImportState,
    NamedTagEventList,
    TagEvent,
    TagReference,
)
from upwell.api.meta import ObjectMeta, ObjectReference, Resource
from upwell.controller import ObjectCache
from upwell.formats.trace_context import TraceContext
from upwell.oci import Digest
from upwell.policy.tracing.spans import TRACEPARENT_ANNOTATION, context_of
from upwell.reconcilers.tracing.reconciler import TraceReconciler
from upwell.store.memory import MemoryStore

NAMESPACE = "shop"
BASE, BUILDER, APP = (str(Digest.of(name)) for name in (b"base", b"builder", b"app"))


class TracedStore:
    """A store whose every object has been looked at after each write."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.store = MemoryStore(self.clock)
        self.recorder = SpanRecorder()
        self.restart()

    def restart(self) -> None:
        self.reconciler = TraceReconciler(ObjectCache(self.store), self.recorder, self.clock)

    async def put[R: Resource](self, resource: R) -> R:
        """Create the object, or write its status; and time goes on."""
        made = resource if resource.uid else await self.store.create(resource)
        if resource.KIND.has_status:
            status: Any = getattr(resource, "status", None)
            made = await self.store.update_status(made.with_status(status))
        self.clock.advance(1)
        await self.look()
        return await self.store.get(type(made), NAMESPACE, made.name)

    async def look(self) -> None:
        for kind in (ImageStream, Build, Deployment):
            for item in (await self.store.list(kind)).items:
                await self.reconciler.reconcile(item.key)


@pytest.fixture
def traced() -> TracedStore:
    return TracedStore()


def stream(traced: TracedStore, name: str, digest: str, *, imported: bool = True) -> ImageStream:
    event = TagEvent(
        created=traced.clock(), docker_image_reference=f"vendor/{name}@{digest}", image=digest
    )
    state = ImportState(source=f"vendor/{name}:1", imported_digest=digest) if imported else None
    history = NamedTagEventList(tag="latest", items=(event,), import_state=state)
    return ImageStream(
        metadata=ObjectMeta(name=name, namespace=NAMESPACE),
        status=ImageStreamStatus(tags=(history,)),
    )


def tag(name: str) -> ObjectReference:
    return ObjectReference(kind="ImageStreamTag", namespace=NAMESPACE, name=f"{name}:latest")


def build(name: str, *bases: tuple[str, str]) -> Build:
    causes = tuple(
        BuildTriggerCause(
            message="Image change",
            image_change_build=ImageChangeCause(
                image_id=f"vendor/{base}@{digest}", from_ref=tag(base)
            ),
        )
        for base, digest in bases
    )
    return Build(
        metadata=ObjectMeta(name=f"{name}-1", namespace=NAMESPACE),
        spec=BuildSpec(triggered_by=causes, output=BuildOutput(to=tag(name))),
    )


def ended(
    traced: TracedStore, build: Build, phase: BuildPhase, digest: str = "", **changes: object
) -> Build:
    now = traced.clock()
    status = build.status.model_copy(
        update={
            "phase": phase,
            "start_timestamp": now - timedelta(seconds=5),
            "completion_timestamp": now,
            "output": BuildOutputStatus(to=BuildOutputTo(image_digest=digest)) if digest else None,
            **changes,
        }
    )
    return build.with_status(status)


async def complete(traced: TracedStore, name: str, digest: str, *bases: tuple[str, str]) -> Build:
    """Run a build of `name`, and put its result into the stream of that name."""
    made = await traced.put(build(name, *bases))
    stages = (BuildStage(name="Build", start_time=traced.clock(), duration_milliseconds=1500),)
    made = await traced.put(ended(traced, made, BuildPhase.COMPLETE, digest, stages=stages))
    await traced.put(stream(traced, name, digest, imported=False))
    return made


def revision(
    traced: TracedStore, digest: str, *, number: int = 1, phase: str = "Complete"
) -> RevisionRecord:
    return RevisionRecord(
        revision=number,
        hash=f"h{number}",
        template=PodTemplate(),
        created=traced.clock(),
        phase=phase,
        cause="image change",
        images={"web": f"registry/app@{digest}"},
    )


def deployment(*revisions: RevisionRecord) -> Deployment:
    trigger = (
        '[{"from": {"kind": "ImageStreamTag", "name": "app:latest"},'
        ' "fieldPath": "spec.template.spec.containers[0].image"}]'
    )
    return Deployment(
        metadata=ObjectMeta(
            name="app", namespace=NAMESPACE, annotations={"image.openshift.io/triggers": trigger}
        ),
        spec=DeploymentSpec(
            template=PodTemplate(spec=PodSpec(containers=(Container(name="web", image=" "),)))
        ),
        status=WorkloadStatus(revisions=revisions),
    )


def with_revisions(workload: Deployment, *revisions: RevisionRecord) -> Deployment:
    return workload.with_status(workload.status.model_copy(update={"revisions": revisions}))


async def test_a_chain_of_builds_and_the_rollout_at_its_end_are_one_trace(
    traced: TracedStore,
) -> None:
    await traced.put(stream(traced, "base", BASE))
    first = await complete(traced, "builder", BUILDER, ("base", BASE))
    second = await complete(traced, "app", APP, ("builder", BUILDER))
    workload = await traced.put(deployment(revision(traced, APP, phase="Progressing")))
    (record,) = workload.status.revisions
    done = record.model_copy(update={"phase": "Complete", "live_at": traced.clock()})
    await traced.put(with_revisions(workload, done))

    imported, rollout = traced.recorder.named("import"), traced.recorder.named("rollout")
    builds = {s.attributes["upwell.name"]: s for s in traced.recorder.spans if s.name == "build"}
    assert imported.parent is None
    assert builds["builder-1"].parent == imported.context
    assert builds["app-1"].parent == builds["builder-1"].context
    assert rollout.parent == builds["app-1"].context
    assert {span.context.trace_id for span in traced.recorder.spans} == {imported.context.trace_id}
    assert (context_of(first), context_of(second)) == (
        builds["builder-1"].context,
        builds["app-1"].context,
    )
    steps = [s.name for s in traced.recorder.spans if s.parent == rollout.context]
    assert steps == ["rollout start", "rollout replace"]


async def test_a_stage_lasts_as_long_as_its_build_says(traced: TracedStore) -> None:
    await complete(traced, "app", APP)
    stage = traced.recorder.named("build Build")
    assert (stage.end - stage.start, stage.parent) == (
        timedelta(seconds=1.5),
        traced.recorder.named("build").context,
    )


async def test_each_span_is_told_once(traced: TracedStore) -> None:
    await traced.put(stream(traced, "base", BASE))
    await complete(traced, "app", APP, ("base", BASE))
    told = list(traced.recorder.spans)
    await traced.look()
    assert traced.recorder.spans == told


async def test_what_ended_before_the_start_is_not_told_again(traced: TracedStore) -> None:
    await traced.put(stream(traced, "base", BASE))
    await complete(traced, "app", APP, ("base", BASE))
    await traced.put(deployment(revision(traced, APP)))
    told = list(traced.recorder.spans)
    traced.restart()
    await traced.look()
    assert traced.recorder.spans == told


async def test_a_rollout_that_outlives_the_process_is_told_by_the_next(traced: TracedStore) -> None:
    workload = await traced.put(deployment(revision(traced, APP, phase="Progressing")))
    traced.restart()
    await traced.look()
    (record,) = workload.status.revisions
    await traced.put(with_revisions(workload, record.model_copy(update={"phase": "Complete"})))
    assert traced.recorder.named("rollout").start == record.created


async def test_a_build_stays_in_its_trace_when_its_causes_are_gone(traced: TracedStore) -> None:
    await traced.put(stream(traced, "base", BASE))
    made = await traced.put(build("app", ("base", BASE)))
    imported = traced.recorder.named("import")
    await traced.store.delete(ImageStream, NAMESPACE, "base")
    await traced.put(ended(traced, made, BuildPhase.COMPLETE, APP))
    span = traced.recorder.named("build")
    assert span.context.trace_id == imported.context.trace_id
    assert span.context == context_of(made)


async def test_of_several_causes_all_but_the_first_are_links(traced: TracedStore) -> None:
    for name, digest in (("base", BASE), ("tools", BUILDER)):
        await traced.put(stream(traced, name, digest))
    made = await traced.put(build("app", ("base", BASE), ("tools", BUILDER)))
    await traced.put(ended(traced, made, BuildPhase.COMPLETE, APP))
    imports = {
        s.attributes["upwell.name"]: s.context for s in traced.recorder.spans if s.name == "import"
    }
    span = traced.recorder.named("build")
    assert (span.parent, span.links) == (imports["base"], (imports["tools"],))


async def test_a_failure_says_why(traced: TracedStore) -> None:
    made = await traced.put(build("app"))
    why = {"reason": "FetchSourceFailed", "message": "no such repository"}
    await traced.put(ended(traced, made, BuildPhase.FAILED, **why))
    assert traced.recorder.named("build").failure == "FetchSourceFailed: no such repository"


async def test_a_rollout_that_another_one_overtakes_has_failed(traced: TracedStore) -> None:
    workload = await traced.put(deployment(revision(traced, BASE, phase="Progressing")))
    (old,) = workload.status.revisions
    over = old.model_copy(update={"phase": "Failed", "message": "superseded by revision 2"})
    new = revision(traced, APP, number=2, phase="Progressing")
    workload = await traced.put(with_revisions(workload, new, over))
    assert traced.recorder.named("rollout").failure == "superseded by revision 2"
    assert context_of(workload) != traced.recorder.named("rollout").context


async def test_hooks_follow_one_another(traced: TracedStore) -> None:
    record = revision(traced, APP)
    begun = record.created
    hooks = {
        moment: HookResult(phase=phase, ended=begun + timedelta(seconds=at), message=moment)
        for moment, phase, at in (("post", "Failed", 9), ("pre", "Complete", 4))
    }
    await traced.put(deployment(record.model_copy(update={"hooks": hooks})))
    pre, post = (traced.recorder.named(f"rollout hook {moment}") for moment in ("pre", "post"))
    assert (pre.start, pre.end, pre.failure) == (begun, begun + timedelta(seconds=4), "")
    assert (post.start, post.failure) == (pre.end, "post")


@pytest.mark.parametrize(("imported", "name"), [(True, "import"), (False, "push")])
async def test_an_image_from_outside_was_imported_or_pushed(
    traced: TracedStore, name: str, *, imported: bool
) -> None:
    await traced.put(stream(traced, "base", BASE, imported=imported))
    assert [span.name for span in traced.recorder.spans] == [name]


async def test_a_tag_that_follows_another_has_the_trace_of_its_source(traced: TracedStore) -> None:
    await traced.put(stream(traced, "base", BASE))
    follower = stream(traced, "copy", BASE, imported=False)
    spec = ImageStreamSpec(tags=(TagReference(name="latest", from_=tag("base")),))
    await traced.put(follower.model_copy(update={"spec": spec}))
    made = await traced.put(build("app", ("copy", BASE)))
    await traced.put(ended(traced, made, BuildPhase.COMPLETE, APP))
    assert traced.recorder.named("build").parent == traced.recorder.named("import").context


async def test_tags_that_follow_one_another_in_a_circle_end_the_search(traced: TracedStore) -> None:
    for name, other in (("a", "b"), ("b", "a")):
        spec = ImageStreamSpec(tags=(TagReference(name="latest", from_=tag(other)),))
        circular = stream(traced, name, BASE, imported=False)
        await traced.put(circular.model_copy(update={"spec": spec}))
    made = await traced.put(build("app", ("a", BASE)))
    assert context_of(made) == TraceContext.root(made.uid)


@pytest.mark.parametrize("text", ["", "nonsense", "00-" + "g" * 32 + "-" + "0" * 16 + "-01"])
async def test_an_annotation_that_is_no_traceparent_is_replaced(
    traced: TracedStore, text: str
) -> None:
    made = build("app").with_metadata(annotations={TRACEPARENT_ANNOTATION: text})
    put = await traced.put(made)
    assert context_of(put) == TraceContext.root(put.uid)
