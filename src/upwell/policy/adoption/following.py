"""Objects that follow one image for one service: with notices, and within windows."""

from dataclasses import dataclass, replace

from upwell.api.apps import Deployment
from upwell.api.defaults import IMAGE_STREAM_TAG
from upwell.api.meta import ObjectMeta, ObjectReference, Resource
from upwell.api.pipeline import (
    Check,
    ComponentSource,
    Pipeline,
    PipelineSpec,
    Stage,
    StageWorkloads,
    TcpCheck,
    Verification,
    Window,
)
from upwell.formats.compose.model import ComposeProject, ComposeService, MountKind
from upwell.policy.adoption.images import followed_tag
from upwell.policy.adoption.names import object_name
from upwell.policy.adoption.objects import AdoptionPlan, project_plan, tcp_ports, watching_stream
from upwell.policy.adoption.workloads import APP_LABEL, begins_with
from upwell.policy.notifications.addresses import address_subscriptions
from upwell.policy.rollouts.volumes.snapshots import SNAPSHOT_ANNOTATION

STAGE = "live"
"""The only stage of what is updated within windows."""
_SUBJECT_KINDS = ("ImageStream", "Deployment", "Service")
"""Kinds of a service's objects whose events are told."""


@dataclass(frozen=True, slots=True)
class FollowOptions:
    """Ways in which an image is followed."""

    watch_only: bool = False
    """True: it is told of, and nothing runs."""
    window: Window | None = None
    """Time in which updates begin; None: any."""
    snapshot: bool = False
    """True: its volumes are copied before each update."""
    notify: tuple[str, ...] = ()
    """Addresses: Apprise URLs, or one http(s) URL for a webhook."""


def follow_plan(
    service: ComposeService, namespace: str, options: FollowOptions, project: str = ""
) -> AdoptionPlan:
    """Return the objects of a service, by the way its image is followed; raises AdoptionError.

    `project` is the Compose project that it belongs to.
    """
    name = object_name(service.name)
    subjects = [f"{namespace}/{kind}/{name}" for kind in _SUBJECT_KINDS]
    notices = address_subscriptions(name, options.notify, subjects, {APP_LABEL: name})
    if options.watch_only:
        return AdoptionPlan((watching_stream(service), *notices))
    volumes = {
        mount.source: mount.source
        for mount in service.mounts
        if mount.kind is MountKind.VOLUME and mount.source
    }
    if options.snapshot:
        service = replace(service, labels={**service.labels, SNAPSHOT_ANNOTATION: "true"})
    plan = project_plan(ComposeProject((service,), volumes, name=project))
    objects: list[Resource] = list(plan.objects)
    if options.window is not None:
        objects = [begins_with(one, service.image) for one in objects]
        objects.append(_pipeline(service, name, options.window))
    return replace(plan, objects=(*objects, *notices))


def _pipeline(service: ComposeService, name: str, window: Window) -> Pipeline:
    checks = (Check(name="answers", tcp=TcpCheck()),) if tcp_ports(service.ports) else ()
    stage = Stage(
        name=STAGE,
        workloads=(StageWorkloads(kind=Deployment.KIND.kind, name=name),),
        verification=Verification(checks=checks),
        windows=(window,),
    )
    tag = ObjectReference(kind=IMAGE_STREAM_TAG, name=followed_tag(name, service.image))
    return Pipeline(
        metadata=ObjectMeta(name=name, labels={APP_LABEL: name}),
        spec=PipelineSpec(components=(ComponentSource(name=name, from_=tag),), stages=(stage,)),
    )
