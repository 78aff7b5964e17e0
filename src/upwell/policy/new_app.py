"""The objects of an application: streams, a build, a workload, a Service, a Route.

What it takes to go from a base image to a running workload, and to follow every change of the
base from then on.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from upwell.api.apps import (
    TRIGGERS_ANNOTATION,
    Deployment,
    DeploymentConfig,
    DeploymentConfigSpec,
    DeploymentSpec,
    DeploymentTrigger,
    ImageTriggerParams,
    LabelSelector,
)
from upwell.api.build import (
    BuildConfig,
    BuildConfigSpec,
    BuildOutput,
    BuildSource,
    BuildStrategy,
    BuildTriggerPolicy,
    DockerBuildStrategy,
    GitBuildSource,
    ImageChangeTrigger,
    SourceBuildStrategy,
    WebHookTrigger,
)
from upwell.api.core import (
    Container,
    ContainerPort,
    EnvVar,
    PodSpec,
    PodTemplate,
    PodTemplateMeta,
    Secret,
    Service,
    ServicePort,
    ServiceSpec,
)
from upwell.api.defaults import IMAGE_STREAM_TAG
from upwell.api.image import ImageStream
from upwell.api.meta import LocalReference, Model, ObjectMeta, ObjectReference, Resource
from upwell.api.route import Route, RoutePort, RouteSpec, RouteTarget
from upwell.policy.build_webhooks import SECRET_KEY
from upwell.policy.new_app_components import NewAppError, Repository, Strategy
from upwell.policy.new_app_images import FollowedImage

DEFAULT_PORT = 8080
APP_LABEL = "app"
UNRESOLVED = " "
"""The image of a container until its trigger sets it."""


@dataclass(frozen=True, slots=True)
class BuildPlan:
    """How the application's image is built."""

    repository: Repository
    strategy: Strategy
    context_dir: str = ""
    source_secret: str = ""
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    webhook_secret: str = field(default="", repr=False)
    """What the address of the build's webhooks has in it; empty: it has no webhooks."""
    inputs: tuple[FollowedImage, ...] = ()
    """Images besides the base that a Dockerfile takes something from."""


@dataclass(frozen=True, slots=True)
class Application:
    """What is to be made."""

    name: str
    base: FollowedImage | None = None
    """What is built from, or run as it is; None when a Dockerfile alone says."""
    build: BuildPlan | None = None
    port: int = DEFAULT_PORT
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    labels: Mapping[str, str] = field(default_factory=dict)
    expose: bool = False
    """Whether a Route leads to the Service."""
    as_deployment_config: bool = False


def application_objects(app: Application) -> tuple[Resource, ...]:
    """Return the objects in the order in which they are applied; raises NewAppError."""
    return tuple(_objects(app))


def _objects(app: Application) -> Iterator[Resource]:
    # Without the application's labels: other applications may stand on the streams too.
    yield from _declared(_followed(app)).values()
    if app.build is None:
        if app.base is None:
            raise NewAppError("an application needs an image or a repository")
        runs = app.base.stream_tag
    else:
        if any(image.stream == app.name for image in _followed(app)):
            raise NewAppError(
                f"the result would go into imagestream/{app.name}, which holds an image that it"
                " is made from: give the application another --name"
            )
        runs = f"{app.name}:latest"
        yield ImageStream(metadata=_metadata(app))
        if app.build.webhook_secret:
            yield _webhook_secret(app, app.build.webhook_secret)
        yield _build_config(app, app.build, runs)
    port_name = f"{app.port}-tcp"
    yield Service(
        metadata=_metadata(app),
        spec=ServiceSpec(
            selector=_selector(app),
            ports=(ServicePort(name=port_name, port=app.port, target_port=app.port),),
        ),
    )
    yield _deployment_config(app, runs) if app.as_deployment_config else _deployment(app, runs)
    if app.expose:
        yield Route(
            metadata=_metadata(app),
            spec=RouteSpec(
                to=RouteTarget(kind="Service", name=app.name),
                port=RoutePort(target_port=port_name),
            ),
        )


def _followed(app: Application) -> tuple[FollowedImage, ...]:
    base = (app.base,) if app.base is not None else ()
    return base + (app.build.inputs if app.build is not None else ())


def _declared(images: tuple[FollowedImage, ...]) -> dict[str, ImageStream]:
    """Return the streams to apply; of one with several new tags the last has them all."""
    return {image.stream: image.declared for image in images if image.declared is not None}


def _metadata(app: Application, **annotations: str) -> ObjectMeta:
    labels = {APP_LABEL: app.name, **app.labels}
    if annotations:
        return ObjectMeta(name=app.name, labels=labels, annotations=annotations)
    return ObjectMeta(name=app.name, labels=labels)


def _selector(app: Application) -> dict[str, str]:
    return {"deploymentconfig" if app.as_deployment_config else "deployment": app.name}


def _with_variables[M: Model](model: M, values: Mapping[str, str]) -> M:
    """Set `env`, if there is any: an empty list would stand in people's manifests."""
    if not values:
        return model
    env = tuple(EnvVar(name=name, value=value) for name, value in values.items())
    return model.model_copy(update={"env": env})


def _build_config(app: Application, plan: BuildPlan, output: str) -> BuildConfig:
    git = GitBuildSource(uri=plan.repository.uri, ref=plan.repository.ref or None)
    source = BuildSource(
        type="Git",
        git=git,
        context_dir=plan.context_dir or None,
        source_secret=LocalReference(name=plan.source_secret) if plan.source_secret else None,
    )
    triggers = _webhooks(app) if plan.webhook_secret else []
    triggers.append(BuildTriggerPolicy(type="ConfigChange"))
    if app.base is not None:
        triggers.append(BuildTriggerPolicy(type="ImageChange", image_change=ImageChangeTrigger()))
    triggers += [
        BuildTriggerPolicy(
            type="ImageChange", image_change=ImageChangeTrigger(from_=image.reference)
        )
        for image in plan.inputs
    ]
    return BuildConfig(
        metadata=_metadata(app),
        spec=BuildConfigSpec(
            source=source,
            strategy=_strategy(app.base, plan),
            output=BuildOutput(to=ObjectReference(kind=IMAGE_STREAM_TAG, name=output)),
            triggers=tuple(triggers),
        ),
    )


def webhook_secret_name(application: str) -> str:
    """Return the name of the Secret that the application's webhooks share."""
    return f"{application}-webhooks"


def _webhook_secret(app: Application, secret: str) -> Secret:
    metadata = _metadata(app).model_copy(update={"name": webhook_secret_name(app.name)})
    return Secret(metadata=metadata, data=Secret.encode_values({SECRET_KEY: secret.encode()}))


def _webhooks(app: Application) -> list[BuildTriggerPolicy]:
    """Return what `oc new-app` adds: a webhook of GitHub, and one for whatever calls."""
    hook = WebHookTrigger(secret_reference=LocalReference(name=webhook_secret_name(app.name)))
    return [
        BuildTriggerPolicy(type="GitHub", github=hook),
        BuildTriggerPolicy(type="Generic", generic=hook),
    ]


def _strategy(base: FollowedImage | None, plan: BuildPlan) -> BuildStrategy:
    if plan.strategy is Strategy.DOCKER:
        docker = DockerBuildStrategy(from_=base.reference if base else None)
        return BuildStrategy(type="Docker", docker_strategy=_with_variables(docker, plan.env))
    if base is None:
        raise NewAppError("a source build needs a builder image: write BUILDER~REPOSITORY")
    source = SourceBuildStrategy(from_=base.reference)
    return BuildStrategy(type="Source", source_strategy=_with_variables(source, plan.env))


def _template(app: Application) -> PodTemplate:
    port = ContainerPort(name=f"{app.port}-tcp", container_port=app.port, protocol="TCP")
    container = _with_variables(Container(name=app.name, image=UNRESOLVED, ports=(port,)), app.env)
    labels = {APP_LABEL: app.name, **app.labels, **_selector(app)}
    return PodTemplate(
        metadata=PodTemplateMeta(labels=labels), spec=PodSpec(containers=(container,))
    )


def _deployment(app: Application, runs: str) -> Deployment:
    entry = {
        "from": {"kind": IMAGE_STREAM_TAG, "name": runs},
        "fieldPath": f'spec.template.spec.containers[?(@.name=="{app.name}")].image',
    }
    return Deployment(
        metadata=_metadata(app, **{TRIGGERS_ANNOTATION: json.dumps([entry])}),
        spec=DeploymentSpec(
            replicas=1,
            selector=LabelSelector(match_labels=_selector(app)),
            template=_template(app),
        ),
    )


def _deployment_config(app: Application, runs: str) -> DeploymentConfig:
    follows = ImageTriggerParams(
        automatic=True,
        container_names=(app.name,),
        from_=ObjectReference(kind=IMAGE_STREAM_TAG, name=runs),
    )
    return DeploymentConfig(
        metadata=_metadata(app),
        spec=DeploymentConfigSpec(
            replicas=1,
            selector=_selector(app),
            template=_template(app),
            triggers=(
                DeploymentTrigger(type="ConfigChange"),
                DeploymentTrigger(type="ImageChange", image_change_params=follows),
            ),
        ),
    )
