"""Workload, Service and Route of an application, and the Pipeline that moves it through stages."""

import json
from collections.abc import Iterator

from upwell.api.apps import (
    TRIGGERS_ANNOTATION,
    Deployment,
    DeploymentConfig,
    DeploymentConfigSpec,
    DeploymentConfigStrategy,
    DeploymentSpec,
    DeploymentStrategy,
    DeploymentTrigger,
    ImageTriggerParams,
    LabelSelector,
    RollingParams,
)
from upwell.api.core import Service, ServicePort, ServiceSpec
from upwell.api.defaults import IMAGE_STREAM_TAG
from upwell.api.meta import ObjectMeta, ObjectReference, Resource
from upwell.api.pipeline import (
    Approval,
    Check,
    ComponentSource,
    JobCheck,
    Pipeline,
    PipelineSpec,
    Stage,
    StageWorkloads,
    TcpCheck,
    Verification,
)
from upwell.api.pod_template import (
    ClaimVolume,
    Container,
    ContainerPort,
    PodSpec,
    PodTemplate,
    PodTemplateMeta,
    Probe,
    TcpSocketAction,
    Volume,
    VolumeMount,
)
from upwell.api.route import Route, RoutePort, RouteSpec, RouteTarget
from upwell.policy.new_app.application import Application, with_variables
from upwell.policy.rollouts.trigger_annotation import trigger_entry

UNRESOLVED = " "
"""The image of a container until its trigger, or a promotion, sets it."""
PROBE_PERIOD_SECONDS = 5
"""Period of a readiness probe that has succeeded once; before that it is asked far more often."""
PROBE_TIMEOUT_SECONDS = 2
PROGRESS_DEADLINE_SECONDS = 300
"""Time for the pull of an image and the start of an application, each."""


def workload_objects(app: Application, follows: str) -> Iterator[Resource]:
    """Yield what runs the application where it is built; its workload follows a stream's tag."""
    yield from _running(app, app.metadata, follows)


def staged_objects(app: Application, follows: str) -> Iterator[Resource]:
    """Yield a Pipeline, and what runs the application in each stage: the Pipeline moves it."""
    yield _pipeline(app, follows)
    for stage in app.stages:
        yield from _running(app, app.metadata.model_copy(update={"namespace": stage.namespace}))


def _running(app: Application, metadata: ObjectMeta, follows: str = "") -> Iterator[Resource]:
    yield Service(
        metadata=metadata,
        spec=ServiceSpec(
            selector=_selector(app),
            ports=(ServicePort(name=app.port_name, port=app.port, target_port=app.port),),
        ),
    )
    make = _deployment_config if app.as_deployment_config else _deployment
    yield make(app, metadata, follows)
    if app.expose:
        yield Route(
            metadata=metadata,
            spec=RouteSpec(
                to=RouteTarget(kind="Service", name=app.name),
                port=RoutePort(target_port=app.port_name),
            ),
        )


def _selector(app: Application) -> dict[str, str]:
    return {"deploymentconfig" if app.as_deployment_config else "deployment": app.name}


def _template(app: Application) -> PodTemplate:
    port = ContainerPort(name=app.port_name, container_port=app.port, protocol="TCP")
    container = Container(
        name=app.name, image=UNRESOLVED, ports=(port,), readiness_probe=_readiness(app)
    )
    container = with_variables(container, app.env)
    labels = {**app.all_labels, **_selector(app)}
    spec = PodSpec(containers=(container,))
    if app.volumes:
        mounts = tuple(VolumeMount(name=one.claim, mount_path=one.path) for one in app.volumes)
        mounted = container.model_copy(update={"volume_mounts": mounts})
        volumes = tuple(
            Volume(name=one.claim, persistent_volume_claim=ClaimVolume(claim_name=one.claim))
            for one in app.volumes
        )
        spec = PodSpec(containers=(mounted,), volumes=volumes)
    return PodTemplate(metadata=PodTemplateMeta(labels=labels), spec=spec)


def _readiness(app: Application) -> Probe | None:
    """Return the probe without which a rollout would end before the application listens."""
    if not app.is_probed:
        return None
    return Probe(
        tcp_socket=TcpSocketAction(port=app.port_name),
        period_seconds=PROBE_PERIOD_SECONDS,
        timeout_seconds=PROBE_TIMEOUT_SECONDS,
    )


def _deployment(app: Application, metadata: ObjectMeta, follows: str) -> Deployment:
    if follows:
        annotations = {TRIGGERS_ANNOTATION: json.dumps([trigger_entry(app.name, follows)])}
        metadata = metadata.model_copy(update={"annotations": annotations})
    spec = DeploymentSpec(
        replicas=1,
        selector=LabelSelector(match_labels=_selector(app)),
        template=_template(app),
    )
    if app.is_probed:
        spec = spec.model_copy(update={"progress_deadline_seconds": PROGRESS_DEADLINE_SECONDS})
    if app.volumes:  # two instances that write into one folder would damage it
        spec = spec.model_copy(update={"strategy": DeploymentStrategy(type="Recreate")})
    return Deployment(metadata=metadata, spec=spec)


def _deployment_config(app: Application, metadata: ObjectMeta, follows: str) -> DeploymentConfig:
    triggers = [DeploymentTrigger(type="ConfigChange")]
    if follows:
        image = ImageTriggerParams(
            automatic=True,
            container_names=(app.name,),
            from_=ObjectReference(kind=IMAGE_STREAM_TAG, name=follows),
        )
        triggers.append(DeploymentTrigger(type="ImageChange", image_change_params=image))
    spec = DeploymentConfigSpec(
        replicas=1,
        selector=_selector(app),
        template=_template(app),
        triggers=tuple(triggers),
    )
    if app.volumes:  # as above
        spec = spec.model_copy(update={"strategy": DeploymentConfigStrategy(type="Recreate")})
    elif app.is_probed:
        rolling = RollingParams(timeout_seconds=PROGRESS_DEADLINE_SECONDS)
        strategy = DeploymentConfigStrategy(type="Rolling", rolling_params=rolling)
        spec = spec.model_copy(update={"strategy": strategy})
    return DeploymentConfig(metadata=metadata, spec=spec)


def _pipeline(app: Application, follows: str) -> Pipeline:
    kind = DeploymentConfig if app.as_deployment_config else Deployment
    runs = StageWorkloads(kind=kind.KIND.kind, name=app.name)
    tag = ObjectReference(kind=IMAGE_STREAM_TAG, name=follows)
    stages = tuple(
        Stage(
            name=stage.name,
            namespace=stage.namespace,
            workloads=(runs,),
            approval=Approval() if stage.approval else None,
            verification=Verification(checks=(_check(app),)),
        )
        for stage in app.stages
    )
    components = (ComponentSource(name=app.name, from_=tag),)
    return Pipeline(metadata=app.metadata, spec=PipelineSpec(components=components, stages=stages))


def _check(app: Application) -> Check:
    """Return the given test, or that the application accepts connections."""
    if not app.test:
        return Check(name="answers", tcp=TcpCheck())
    job = JobCheck(component=app.name, command=("/bin/sh", "-c", app.test))
    return Check(name="test", job=job)
