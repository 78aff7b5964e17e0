"""Rules of an object beyond its types. Every fault has its path; nothing stops at the first."""

import base64
import binascii
import re
from collections.abc import Iterator, Mapping

from upwell.api.apps import DaemonSet, Deployment, DeploymentConfig, StatefulSet
from upwell.api.build import BuildConfig
from upwell.api.codec import unknown_fields
from upwell.api.core import ConfigMap, PodTemplate, ResourceQuota, Secret, Service
from upwell.api.defaults import DOCKER_IMAGE
from upwell.api.image import ImageStream
from upwell.api.meta import Resource
from upwell.api.networking.network_policy import NetworkPolicy
from upwell.api.pipeline import Freeze, Pipeline
from upwell.api.pod import Pod, template_of_pod
from upwell.api.route import Route
from upwell.api.storage import PersistentVolumeClaim
from upwell.api.subscription import Subscription
from upwell.api.validation.builds import validate_build_config, validate_image_reference
from upwell.api.validation.claims import validate_claim
from upwell.api.validation.network_policies import validate_network_policy
from upwell.api.validation.numbers import number_faults
from upwell.api.validation.pipelines import validate_freeze, validate_pipeline
from upwell.api.validation.subscriptions import validate_subscription
from upwell.api.values.faults import Fault
from upwell.api.values.quantities import InvalidQuantityError, parse_quantity
from upwell.oci import InvalidReferenceError, Reference
from upwell.oci.reference import is_tag

_LABEL = r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_HOST = re.compile(rf"(?:\*\.)?{_LABEL}(?:\.{_LABEL})*")
_DATA_KEY = re.compile(r"(?!\.\Z)[A-Za-z0-9._-]+")
_MAX_NAME = 253
_MAX_NAMESPACE = 63
_NAMES_WITH_COLONS = {"Image", "ImageStreamTag", "ImageStreamImage"}
_PATH_SEGMENT = re.compile(r"(?!\.{1,2}\Z)[^/%\x00-\x1f]+")
_PATH_SEGMENT_NAMES = {"Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"}
"""Kinds whose names are any segment of a path (rbac/v1 ValidateRBACName)."""


def validate(resource: Resource) -> tuple[Fault, ...]:
    """Return every fault of a defaulted object; none means that it is valid."""
    return (
        *_metadata(resource),
        *number_faults(resource),
        *_spec(resource),
        *_resource_quota(resource),
        *(validate_claim(resource) if isinstance(resource, PersistentVolumeClaim) else ()),
    )


def _metadata(resource: Resource) -> Iterator[Fault]:
    meta = resource.metadata
    if not meta.name and not meta.generate_name:
        yield Fault("metadata.name", "required")
    elif resource.KIND.kind not in _NAMES_WITH_COLONS:
        name = meta.name or f"{meta.generate_name}x"
        is_segment = resource.KIND.kind in _PATH_SEGMENT_NAMES
        form = _PATH_SEGMENT if is_segment else _NAME
        if len(name) > _MAX_NAME or form.fullmatch(name) is None:
            what = "segment of a path" if is_segment else "lower-case DNS name"
            yield Fault("metadata.name", f"{name!r} is not a {what}")
    if meta.namespace and (
        len(meta.namespace) > _MAX_NAMESPACE or re.fullmatch(_LABEL, meta.namespace) is None
    ):
        yield Fault("metadata.namespace", f"{meta.namespace!r} is not a lower-case DNS label")


def _spec(resource: Resource) -> Iterator[Fault]:
    match resource:
        case ImageStream():
            yield from _image_stream(resource)
        case BuildConfig():
            yield from validate_build_config(resource)
        case Pipeline():
            yield from validate_pipeline(resource)
        case Freeze():
            yield from validate_freeze(resource)
        case DeploymentConfig():
            yield from _deployment_config(resource)
        case Deployment() | StatefulSet() | DaemonSet():
            yield from _template(resource.spec.template, "spec.template")
        case Service():
            yield from _service(resource)
        case Route():
            yield from _route(resource)
        case NetworkPolicy():
            yield from validate_network_policy(resource)
        case Subscription():
            yield from validate_subscription(resource)
        case Secret() | ConfigMap():
            yield from _data(resource)
        case _:
            yield from _pod(resource)


def _resource_quota(quota: Resource) -> Iterator[Fault]:
    if not isinstance(quota, ResourceQuota):
        return
    for name, text in quota.spec.hard.items():
        try:
            parse_quantity(text)
        except InvalidQuantityError as error:
            yield Fault(f"spec.hard[{name}]", str(error))
    for field in unknown_fields(quota):
        if field.startswith("spec.scope"):
            yield Fault(field, "is not supported: a quota counts all that its namespace holds")


def _pod(pod: Resource) -> Iterator[Fault]:
    for fault in _template(template_of_pod(pod), "spec.template") if isinstance(pod, Pod) else ():
        yield Fault(fault.path.removeprefix("spec.template."), fault.message)


def _service(service: Service) -> Iterator[Fault]:
    names = [port.name for port in service.spec.ports]
    if len(names) > 1 and len(set(names)) != len(names):
        yield Fault("spec.ports", "several ports need names that differ")


def _route(route: Route) -> Iterator[Fault]:
    if len(route.spec.host) > _MAX_NAME:
        yield Fault("spec.host", f"longer than {_MAX_NAME} characters")
    elif route.spec.host and _HOST.fullmatch(route.spec.host) is None:
        yield Fault("spec.host", f"{route.spec.host!r} is not a host name")
    if not route.spec.to.name:
        yield Fault("spec.to.name", "required: the Service that answers")


def _image_stream(stream: ImageStream) -> Iterator[Fault]:
    seen: set[str] = set()
    for at, tag in enumerate(stream.spec.tags):
        path = f"spec.tags[{at}]"
        if not is_tag(tag.name):
            yield Fault(f"{path}.name", f"{tag.name!r} is not a tag")
        if tag.name in seen:
            yield Fault(f"{path}.name", f"{tag.name!r} is declared twice")
        seen.add(tag.name)
        if tag.from_ is not None:
            yield from validate_image_reference(tag.from_, f"{path}.from")
        if tag.scheduled and (tag.from_ is None or tag.from_.kind != DOCKER_IMAGE):
            yield Fault(f"{path}.importPolicy.scheduled", f"needs from.kind {DOCKER_IMAGE}")


def _deployment_config(config: DeploymentConfig) -> Iterator[Fault]:
    template = config.spec.template
    if template is None:
        yield Fault("spec.template", "required")
        return
    yield from _template(template, "spec.template")
    names = {container.name for container in template.spec.containers}
    for at, trigger in enumerate(config.spec.triggers or ()):
        if trigger.type != "ImageChange":
            continue
        path = f"spec.triggers[{at}].imageChangeParams"
        params = trigger.image_change_params
        if params is None:
            yield Fault(path, "required")
            continue
        if not params.container_names:
            yield Fault(f"{path}.containerNames", "required")
        for name in params.container_names:
            if name not in names | {c.name for c in template.spec.init_containers}:
                yield Fault(f"{path}.containerNames", f"no container is named {name!r}")


def _template(template: PodTemplate, path: str) -> Iterator[Fault]:
    if not template.spec.containers:
        yield Fault(f"{path}.spec.containers", "required: at least one container")
    seen: set[str] = set()
    volumes = {volume.name for volume in template.spec.volumes}
    for at, container in enumerate(template.spec.containers):
        where = f"{path}.spec.containers[{at}]"
        if not container.name or container.name in seen:
            yield Fault(f"{where}.name", f"{container.name!r} is empty or used twice")
        seen.add(container.name)
        if container.image.strip():
            try:
                Reference.parse(container.image.strip())
            except InvalidReferenceError as error:
                yield Fault(f"{where}.image", str(error))
        for mount_at, mount in enumerate(container.volume_mounts):
            if mount.name not in volumes:
                yield Fault(
                    f"{where}.volumeMounts[{mount_at}].name", f"no volume is named {mount.name!r}"
                )


def _data(resource: Secret | ConfigMap) -> Iterator[Fault]:
    yield from _keys(resource.data, "data")
    if isinstance(resource, Secret):
        yield from _base64(resource.data, "data")
        return
    yield from _keys(resource.binary_data, "binaryData")
    yield from _base64(resource.binary_data, "binaryData")


def _keys(values: Mapping[str, str], path: str) -> Iterator[Fault]:
    for key in values:
        # Keys become file names in containers: none may lead out of its folder.
        if len(key) > _MAX_NAME or _DATA_KEY.fullmatch(key) is None or key.startswith(".."):
            yield Fault(f"{path}[{key}]", "not a key: use letters, digits, '-', '_' and '.'")


def _base64(values: Mapping[str, str], path: str) -> Iterator[Fault]:
    for key, text in values.items():
        try:
            base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            yield Fault(f"{path}.{key}", "not base64")
