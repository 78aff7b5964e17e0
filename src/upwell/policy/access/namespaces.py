"""Namespaces beside its own, and clusters, that an object has the server work in; pure.

A stage sets workloads and runs Jobs in its namespace, a build and a hook of a rollout tag a stream
there. Whoever changes the spec is asked, each time: the spec says what is done there.
"""

from collections.abc import Iterator

from upwell.api.apps import DeploymentConfig
from upwell.api.builds.build import Build
from upwell.api.builds.config import BuildConfig
from upwell.api.defaults import IMAGE_STREAM_TAG
from upwell.api.meta import ObjectReference, Resource
from upwell.api.pipeline import Pipeline, Stage
from upwell.policy.access.needs import Need
from upwell.policy.access.roles import Action
from upwell.policy.images.streams import StreamTag
from upwell.policy.rollouts.hooks import declared_hooks

_PLURALS = {
    "Deployment": "deployments",
    "DeploymentConfig": "deploymentconfigs",
    "StatefulSet": "statefulsets",
    "DaemonSet": "daemonsets",
    "CronJob": "cronjobs",
}


def namespace_needs(resource: Resource) -> Iterator[Need]:
    """Yield the rights in other namespaces, and on clusters, that the object takes."""
    match resource:
        case Pipeline():
            for stage in resource.spec.stages:
                if not stage.runs_here:
                    yield _of_clusters(stage)
                elif stage.namespace and stage.namespace != resource.namespace:
                    yield from _of_stage(stage, stage.namespace)
        case Build() | BuildConfig():
            yield from _of_output(resource)
        case DeploymentConfig():
            for hook in declared_hooks(resource):
                for action in hook.tag_images:
                    yield from _of_tag(action.to, resource.namespace)
        case _:
            return


def _of_clusters(stage: Stage) -> Need:
    """Return the right to use the cluster that a stage names; if it selects, to use all."""
    if stage.clusters is not None:
        why = f"selects clusters by their labels (stage {stage.name})"
        return Need(Action("use", "clusters"), why, stays=False)
    why = f"sets workloads of cluster {stage.cluster} (stage {stage.name})"
    return Need(Action("use", "clusters", name=stage.cluster), why, stays=False)


def _of_stage(stage: Stage, namespace: str) -> Iterator[Need]:
    where = f"stage {stage.name}"
    kinds = sorted({entry.kind for entry in stage.workloads} & _PLURALS.keys())
    runs_jobs = any(check.job is not None for check in stage.verification.checks)
    verb, does = ("get", "reads") if stage.git is not None else ("patch", "sets images of")
    for plural in (_PLURALS[kind] for kind in kinds):
        why = f"{does} {plural} of namespace {namespace} ({where})"
        yield Need(Action(verb, plural, namespace), why, stays=False)
    if runs_jobs:
        why = f"runs Jobs in namespace {namespace} ({where})"
        yield Need(Action("create", "jobs", namespace), why, stays=False)
    if not kinds and not runs_jobs:
        why = f"tests what answers in namespace {namespace} ({where})"
        yield Need(Action("get", "services", namespace), why, stays=False)


def _of_output(build: Build | BuildConfig) -> Iterator[Need]:
    target = build.spec.output.to
    if target is not None and target.kind == IMAGE_STREAM_TAG:
        yield from _of_tag(target, build.namespace)


def _of_tag(target: ObjectReference, namespace: str) -> Iterator[Need]:
    stream = StreamTag.of(target, namespace).stream_name
    if stream.namespace != namespace:
        action = Action("push", "repositories", stream.namespace, stream.repository)
        yield Need(action, f"sets a tag of ImageStream {stream.repository}", stays=False)
