"""Rules of an object beyond its types. Every fault has its path; nothing stops at the first."""

from collections.abc import Iterator

from upwell.api.apps import CronJob, DaemonSet, Deployment, DeploymentConfig, Job, StatefulSet
from upwell.api.builds.build import Build
from upwell.api.builds.config import BuildConfig
from upwell.api.clusters.cluster import Cluster
from upwell.api.clusters.validation import validate_cluster
from upwell.api.codec import unknown_fields
from upwell.api.core import ConfigMap, ResourceQuota, Secret, Service
from upwell.api.image import ImageStream
from upwell.api.kept import AUTOSCALER, Kept
from upwell.api.meta import Resource
from upwell.api.networking.ingress import Ingress
from upwell.api.networking.network_policy import NetworkPolicy
from upwell.api.pipeline import Freeze, Pipeline
from upwell.api.pod import Pod
from upwell.api.route import Route
from upwell.api.storage import PersistentVolumeClaim
from upwell.api.subscription import Subscription
from upwell.api.template import Template
from upwell.api.validation.autoscaling import autoscaler_faults
from upwell.api.validation.claims import validate_claim
from upwell.api.validation.data import data_faults
from upwell.api.validation.ingresses import ingress_faults
from upwell.api.validation.metadata import metadata_faults
from upwell.api.validation.network_policies import validate_network_policy
from upwell.api.validation.numbers import number_faults
from upwell.api.validation.openshift.objects import openshift_faults
from upwell.api.validation.pipelines import validate_freeze, validate_pipeline
from upwell.api.validation.services import service_faults
from upwell.api.validation.subscriptions import validate_subscription
from upwell.api.validation.waves import validate_wave
from upwell.api.validation.workloads import pod_faults, workload_faults
from upwell.api.values.faults import Fault
from upwell.api.values.quantities import InvalidQuantityError, parse_quantity
from upwell.api.waves.wave import Wave


def validate(resource: Resource) -> tuple[Fault, ...]:
    """Return every fault of a defaulted object; none means that it is valid."""
    found = (*metadata_faults(resource), *_spec(resource), *_resource_quota(resource))
    paths = {fault.path for fault in found}
    numbers = (fault for fault in number_faults(resource) if fault.path not in paths)
    return (*found, *numbers)


def _spec(resource: Resource) -> Iterator[Fault]:
    match resource:
        case BuildConfig() | Build() | ImageStream() | Route() | Template():
            yield from openshift_faults(resource)
        case Pipeline():
            yield from validate_pipeline(resource)
        case Freeze():
            yield from validate_freeze(resource)
        case Wave():
            yield from validate_wave(resource)
        case DeploymentConfig():
            yield from workload_faults(resource)
            yield from openshift_faults(resource)
        case Deployment() | StatefulSet() | DaemonSet() | Job() | CronJob():
            yield from workload_faults(resource)
        case Service():
            yield from service_faults(resource)
        case NetworkPolicy():
            yield from validate_network_policy(resource)
        case Subscription():
            yield from validate_subscription(resource)
        case Secret() | ConfigMap():
            yield from data_faults(resource)
        case _:
            yield from _others(resource)


def _others(resource: Resource) -> Iterator[Fault]:
    match resource:
        case PersistentVolumeClaim():
            yield from validate_claim(resource)
        case Ingress():
            yield from ingress_faults(resource)
        case Cluster():
            yield from validate_cluster(resource)
        case Kept() if resource.KIND.kind == AUTOSCALER:
            yield from autoscaler_faults(resource)
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
