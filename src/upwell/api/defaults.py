"""Defaults of fields that an object leaves out (OpenShift's and Kubernetes' own).

Only defaults that other objects or people read are written into the object; the rest are read
through the functions below, so that applying a manifest again never shows a difference.
"""

from upwell.api.apps import DeploymentConfig, DeploymentTrigger
from upwell.api.build import (
    BinaryBuildSource,
    Build,
    BuildConfig,
    BuildSource,
    BuildStrategy,
    CommonSpec,
    RunPolicy,
)
from upwell.api.core import Secret, Service
from upwell.api.image import ImageStream
from upwell.api.meta import ObjectReference, Resource

DEFAULT_HISTORY_LIMIT = 5
DEFAULT_REVISION_LIMIT = 10
IMAGE_STREAM_TAG = "ImageStreamTag"
DOCKER_IMAGE = "DockerImage"

_TRIGGER_TYPES = {
    "imageChange": "ImageChange",
    "github": "GitHub",
    "gitlab": "GitLab",
    "bitbucket": "Bitbucket",
    "generic": "Generic",
    "configChange": "ConfigChange",
}


def apply_defaults(resource: Resource) -> Resource:
    """Return `resource` with its defaults; a complete object comes back as it is."""
    complete: Resource = resource
    match resource:
        case BuildConfig():
            complete = _build_config(resource)
        case Build():
            # A person may write one, without a BuildConfig.
            complete = resource.model_copy(update={"spec": _common(resource.spec)})
        case ImageStream():
            complete = _image_stream(resource)
        case DeploymentConfig():
            complete = _deployment_config(resource)
        case Service():
            complete = _service(resource)
        case Secret() if resource.string_data:
            complete = _secret(resource)
        case _:
            pass
    return complete


def _build_config(config: BuildConfig) -> BuildConfig:
    spec = _common(config.spec)
    strategy = spec.strategy
    triggers = tuple(
        trigger.model_copy(update={"type": _TRIGGER_TYPES[trigger.type]})
        if trigger.type in _TRIGGER_TYPES
        else trigger
        for trigger in spec.triggers
    )
    # A default trigger (no `from`) follows the strategy's image: without a stream it follows none.
    if strategy.base is None or strategy.base.kind != IMAGE_STREAM_TAG:
        triggers = tuple(
            trigger
            for trigger in triggers
            if trigger.type != "ImageChange"
            or (trigger.image_change is not None and trigger.image_change.from_ is not None)
        )
    changes = {"triggers": triggers, "run_policy": spec.run_policy or RunPolicy.SERIAL}
    return config.model_copy(update={"spec": spec.model_copy(update=changes)})


def _common[S: CommonSpec](spec: S) -> S:
    """Complete what a BuildConfig and a Build share."""
    changes: dict[str, object] = {
        "strategy": _strategy(spec.strategy),
        "source": _source(spec.source),
    }
    if spec.output.to is not None:
        changes["output"] = spec.output.model_copy(update={"to": _with_kind(spec.output.to)})
    return spec.model_copy(update=changes)


def _source(source: BuildSource) -> BuildSource:
    """Complete a source: a Binary one needs no `binary`, a type follows from what is set."""
    changes: dict[str, object] = {}
    if source.binary is None and source.git is None and (source.type or "").lower() == "binary":
        changes["binary"] = BinaryBuildSource()
    if source.images:
        changes["images"] = tuple(
            image.model_copy(update={"from_": _with_kind(image.from_)}) for image in source.images
        )
    source = source.model_copy(update=changes)
    return source.model_copy(update={"type": source.type or _source_type(source)})


def _source_type(source: BuildSource) -> str:
    for name, value in (
        ("Git", source.git),
        ("Binary", source.binary),
        ("Dockerfile", source.dockerfile),
        ("Image", source.images or None),
    ):
        if value is not None:
            return name
    return "None"


def _strategy(strategy: BuildStrategy) -> BuildStrategy:
    """Recompute the type from what is set; an unnamed kind of `from` is an ImageStreamTag."""
    if strategy.source_strategy is not None:
        source = strategy.source_strategy
        source = source.model_copy(update={"from_": _with_kind(source.from_)})
        return strategy.model_copy(update={"type": "Source", "source_strategy": source})
    if strategy.docker_strategy is not None:
        docker = strategy.docker_strategy
        if docker.from_ is not None:
            docker = docker.model_copy(update={"from_": _with_kind(docker.from_)})
        return strategy.model_copy(update={"type": "Docker", "docker_strategy": docker})
    if strategy.custom_strategy is not None:
        custom = strategy.custom_strategy
        custom = custom.model_copy(update={"from_": _with_kind(custom.from_)})
        return strategy.model_copy(update={"type": "Custom", "custom_strategy": custom})
    if strategy.jenkins_pipeline_strategy is not None:
        return strategy.model_copy(update={"type": "JenkinsPipeline"})
    return strategy


def _with_kind(reference: ObjectReference) -> ObjectReference:
    if reference.kind:
        return reference
    return reference.model_copy(update={"kind": IMAGE_STREAM_TAG})


def _image_stream(stream: ImageStream) -> ImageStream:
    tags = tuple(
        tag.model_copy(update={"from_": _with_kind(tag.from_)}) if tag.from_ else tag
        for tag in stream.spec.tags
    )
    if tags == stream.spec.tags:
        return stream
    return stream.model_copy(update={"spec": stream.spec.model_copy(update={"tags": tags})})


def _deployment_config(config: DeploymentConfig) -> DeploymentConfig:
    spec = config.spec
    changes: dict[str, object] = {}
    if spec.triggers is None:
        changes["triggers"] = (DeploymentTrigger(type="ConfigChange"),)
    if spec.replicas is None:
        changes["replicas"] = 1
    if not spec.selector and spec.template is not None:
        changes["selector"] = dict(spec.template.metadata.labels)
    if not changes:
        return config
    return config.model_copy(update={"spec": spec.model_copy(update=changes)})


def _service(service: Service) -> Service:
    ports = tuple(
        port if port.target_port is not None else port.model_copy(update={"target_port": port.port})
        for port in service.spec.ports
    )
    if ports == service.spec.ports:
        return service
    return service.model_copy(update={"spec": service.spec.model_copy(update={"ports": ports})})


def _secret(secret: Secret) -> Secret:
    """Fold `stringData` into `data`: it is a way to write, never one to read."""
    plain = {key: text.encode() for key, text in secret.string_data.items()}
    folded = secret.data | Secret.encode_values(plain)
    return secret.model_copy(update={"data": folded, "string_data": {}})
