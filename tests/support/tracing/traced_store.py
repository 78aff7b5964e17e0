"""Streams, builds and Deployments in memory, whose traces are recorded after each write."""

from datetime import timedelta
from typing import Any

import pytest
from tests.support.rollouts.memory_machine import MemoryClock
from tests.support.tracing.recorder import SpanRecorder

from upwell.api.apps import (
    Deployment,
    DeploymentSpec,
    RevisionRecord,
    WorkloadStatus,
)
from upwell.api.builds.build import (
    Build,
    BuildOutputStatus,
    BuildOutputTo,
    BuildPhase,
    BuildSpec,
    BuildStage,
    BuildTriggerCause,
    ImageChangeCause,
)
from upwell.api.builds.inputs import BuildOutput
from upwell.api.image import (
    ImageStream,
    ImageStreamStatus,
    ImportState,
    NamedTagEventList,
    TagEvent,
)
from upwell.api.meta import ObjectMeta, ObjectReference, Resource
from upwell.api.pod_template import Container, PodSpec, PodTemplate
from upwell.controller import ObjectCache
from upwell.oci import Digest
from upwell.reconcilers.tracing.reconciler import TraceReconciler
from upwell.store.memory import MemoryStore

NAMESPACE = "shop"


BASE, BUILDER, APP = (str(Digest.of(name)) for name in (b"base", b"builder", b"app"))


class TracedStore:
    """A store whose every object has been looked at after each write."""

    def __init__(self) -> None:
        self.clock = MemoryClock()
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


async def running(traced: TracedStore, name: str, *bases: tuple[str, str]) -> Build:
    """Begin a build of `name`."""
    made = await traced.put(build(name, *bases))
    begun = {"phase": BuildPhase.RUNNING, "start_timestamp": traced.clock()}
    return await traced.put(made.with_status(made.status.model_copy(update=begun)))


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
