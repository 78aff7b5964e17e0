"""Completion of an object of any kind."""

from typing import cast

from upwell.api.apps import (
    CronJob,
    DaemonSet,
    Deployment,
    DeploymentConfig,
    DeploymentConfigSpec,
    DeploymentConfigStrategy,
    DeploymentStrategy,
    Job,
    RollingParams,
    StatefulSet,
    StatefulSetSpec,
    VolumeClaimTemplate,
)
from upwell.api.builds.build import Build
from upwell.api.builds.config import BuildConfig, BuildTriggerPolicy
from upwell.api.core import Namespace, Secret, Service, ServicePort, ServiceSpec
from upwell.api.defaults import builds, core, images, jobs, pod_templates, workloads
from upwell.api.defaults.completion import Completion
from upwell.api.image import ImageStream
from upwell.api.meta import Model, Resource
from upwell.api.networking.network_policy import NetworkPolicy, NetworkPolicySpec
from upwell.api.pod import Pod
from upwell.api.pod_template import Container, PodSpec, Probe, Volume
from upwell.api.route import Route, RouteTls

_COMPLETION = (
    Completion(
        {
            **builds.STORED,
            **core.STORED,
            **images.STORED,
            **pod_templates.STORED,
            **workloads.STORED,
        }
    )
    .with_rule(PodSpec, pod_templates.pod_spec)
    .with_rule(Container, pod_templates.container)
    .with_rule(Probe, pod_templates.probe)
    .with_rule(Volume, pod_templates.volume)
    .with_rule(DeploymentStrategy, workloads.deployment_strategy)
    .with_rule(StatefulSetSpec, workloads.stateful_set_spec)
    .with_rule(VolumeClaimTemplate, workloads.claim_template)
    .with_rule(DeploymentConfigSpec, workloads.config_spec)
    .with_rule(DeploymentConfigStrategy, workloads.config_strategy)
    .with_rule(RollingParams, workloads.rolling_params)
    .with_rule(ServicePort, core.service_port)
    .with_rule(ServiceSpec, core.service_spec)
    .with_rule(RouteTls, core.route_tls)
    .with_rule(NetworkPolicySpec, core.network_policy_spec)
    .with_rule(BuildTriggerPolicy, builds.trigger_policy)
)
_WITH_SPEC = (
    Build,
    BuildConfig,
    CronJob,
    DaemonSet,
    Deployment,
    DeploymentConfig,
    ImageStream,
    Job,
    NetworkPolicy,
    Pod,
    Route,
    Service,
    StatefulSet,
)


def apply_defaults(resource: Resource) -> Resource:
    """Return `resource` as it is kept, with its defaults."""
    return with_defaults(with_kept_form(resource))


def with_defaults(resource: Resource) -> Resource:
    """Return what has its kept form with its defaults; a complete object comes back as it is."""
    if isinstance(resource, _WITH_SPEC):
        spec = completed(resource.spec)
        if spec is not resource.spec:
            resource = resource.model_copy(update={"spec": spec})
    return _of_metadata(resource)


def as_stored[R: Resource](resource: R) -> R:
    """Return an object that has its kept form as it is stored: complete, and its tags in order."""
    found = with_defaults(resource)
    if isinstance(found, ImageStream):
        found = images.with_sorted_tags(found)
    return cast("R", found)


def completed[M: Model](part: M) -> M:
    """Return a part of an object, such as a template, with its defaults."""
    return _COMPLETION.complete(part)


def with_kept_form(resource: Resource) -> Resource:
    """Return what a client has declared as it is kept: other spellings, nothing that is added."""
    match resource:
        case BuildConfig():
            return builds.settled_config(resource)
        case Build():
            return builds.settled_build(resource)
        case ImageStream():
            return images.named_kinds(resource)
        case Secret() if resource.string_data:
            return core.fold_string_data(resource)
        case _:
            return resource


def _of_metadata(resource: Resource) -> Resource:
    """Return an object with what its name, its namespace or its own type adds."""
    match resource:
        case DeploymentConfig():
            return workloads.deployment_config(resource)
        case DaemonSet():
            return workloads.daemon_set(resource)
        case Job():
            return jobs.job(resource)
        case Namespace():
            return core.namespace(resource)
        case Secret():
            return completed(resource)
        case _:
            return resource
