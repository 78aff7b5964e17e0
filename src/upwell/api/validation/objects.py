"""Rules of an object beyond its types. Every fault has its path; nothing stops at the first."""

import re
from collections.abc import Iterator

from upwell.api.apps import CronJob, DaemonSet, Deployment, DeploymentConfig, Job, StatefulSet
from upwell.api.build import BuildConfig
from upwell.api.codec import unknown_fields
from upwell.api.core import ConfigMap, ResourceQuota, Secret, Service
from upwell.api.defaults import DOCKER_IMAGE
from upwell.api.image import ImageStream
from upwell.api.meta import Resource
from upwell.api.networking.network_policy import NetworkPolicy
from upwell.api.pipeline import Freeze, Pipeline
from upwell.api.pod import Pod
from upwell.api.route import Route
from upwell.api.storage import PersistentVolumeClaim
from upwell.api.subscription import Subscription
from upwell.api.validation.builds import validate_build_config, validate_image_reference
from upwell.api.validation.claims import validate_claim
from upwell.api.validation.data import data_faults
from upwell.api.validation.metadata import metadata_faults
from upwell.api.validation.network_policies import validate_network_policy
from upwell.api.validation.numbers import number_faults
from upwell.api.validation.pipelines import validate_freeze, validate_pipeline
from upwell.api.validation.services import service_faults
from upwell.api.validation.subscriptions import validate_subscription
from upwell.api.validation.workloads import pod_faults, workload_faults
from upwell.api.values.faults import Fault
from upwell.api.values.quantities import InvalidQuantityError, parse_quantity
from upwell.oci.reference import is_tag

_LABEL = r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"
_HOST = re.compile(rf"(?:\*\.)?{_LABEL}(?:\.{_LABEL})*")
_MAX_NAME = 253


def validate(resource: Resource) -> tuple[Fault, ...]:
    """Return every fault of a defaulted object; none means that it is valid."""
    claims = validate_claim(resource) if isinstance(resource, PersistentVolumeClaim) else ()
    found = (*metadata_faults(resource), *_spec(resource), *_resource_quota(resource), *claims)
    paths = {fault.path for fault in found}
    numbers = (fault for fault in number_faults(resource) if fault.path not in paths)
    return (*found, *numbers)


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
        case Deployment() | StatefulSet() | DaemonSet() | Job() | CronJob():
            yield from workload_faults(resource)
        case Service():
            yield from service_faults(resource)
        case Route():
            yield from _route(resource)
        case NetworkPolicy():
            yield from validate_network_policy(resource)
        case Subscription():
            yield from validate_subscription(resource)
        case Secret() | ConfigMap():
            yield from data_faults(resource)
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
    if isinstance(pod, Pod):
        yield from pod_faults(pod)


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
    yield from workload_faults(config)
    template = config.spec.template
    if template is None:
        return
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
