"""Secrets that an object has the server use: each takes the right to use it; pure."""

from collections.abc import Iterable, Iterator

from upwell.api.apps import DeploymentConfig, Job
from upwell.api.builds.build import Build, BuildRequest
from upwell.api.builds.config import BuildConfig
from upwell.api.clusters.cluster import Cluster
from upwell.api.meta import LocalReference, Resource
from upwell.api.networking.ingress import Ingress
from upwell.api.pipeline import Check, JobCheck, Pipeline, Stage
from upwell.api.pod import Pod
from upwell.api.pod_template import PodTemplate
from upwell.api.subscription import Subscription
from upwell.policy.access.needs import Need
from upwell.policy.access.roles import Action
from upwell.policy.builds.environment import sources_of
from upwell.policy.builds.objects import objects_read, objects_required
from upwell.policy.pod_security.templates import templates_of
from upwell.policy.rollouts.hooks import declared_hooks
from upwell.policy.rollouts.image_ownership import pod_template
from upwell.policy.rollouts.pod_template import SECRET, SourceName, needed_sources
from upwell.policy.routing.ingresses import certificate_secrets

type _Named = tuple[str, str]
"""A namespace, and the name of a Secret there."""


def secret_needs(resource: Resource) -> Iterator[Need]:
    """Yield the right to use each Secret that the object names."""
    for namespace, name in dict.fromkeys(_named(resource)):
        action = Action("use", "secrets", namespace, name)
        yield Need(action, f"uses Secret {namespace}/{name}")


def secrets_requested(request: BuildRequest) -> tuple[str, ...]:
    """Return the Secrets that a request for a build names, of the build's namespace."""
    options = request.docker_strategy_options
    arguments = options.build_args if options is not None else ()
    return tuple(_secrets(sorted(sources_of([*request.env, *arguments]))))


def _named(resource: Resource) -> Iterable[_Named]:
    match resource:
        case Build() | BuildConfig():
            return _here(resource, _of_build(resource))
        case Subscription():
            return _here(resource, _of_subscription(resource))
        case Pipeline():
            return _of_pipeline(resource)
        case Cluster():
            return _of_cluster(resource)
        case Ingress():
            return _here(resource, certificate_secrets(resource))
        case _:
            return _here(resource, _of_workload(resource))


def _of_cluster(cluster: Cluster) -> Iterator[_Named]:
    if cluster.spec.kube_config is not None:
        secret = cluster.spec.kube_config.secret_ref
        yield secret.namespace, secret.name


def _of_workload(resource: Resource) -> Iterator[str]:
    if isinstance(resource, DeploymentConfig):
        yield from _of_config(resource)
    elif isinstance(resource, Job | Pod):
        (placed,) = templates_of(resource)
        yield from _of_template(placed.template)
    elif (template := pod_template(resource)) is not None:
        yield from _of_template(template)


def _here(resource: Resource, names: Iterable[str]) -> Iterator[_Named]:
    yield from ((resource.namespace, name) for name in names if name)


def _of_build(build: Build | BuildConfig) -> Iterator[str]:
    yield from _secrets(objects_required(build))
    yield from _secrets(sorted(objects_read(build)))
    triggers = build.spec.triggers if isinstance(build, BuildConfig) else ()
    hooks = (trigger.webhook for trigger in triggers)
    yield from _names(hook.secret_reference for hook in hooks if hook is not None)


def _of_subscription(subscription: Subscription) -> Iterator[str]:
    webhook, notice = subscription.spec.webhook, subscription.spec.notice
    if webhook is not None:
        yield from _names((webhook.secret, webhook.headers))
    if notice is not None:
        yield notice.secret.name


def _of_pipeline(pipeline: Pipeline) -> Iterator[_Named]:
    for stage in pipeline.spec.stages:
        yield from _here(pipeline, _of_stage(stage))
        for check in stage.verification.checks:
            if check.job is not None:
                where = stage.namespace or pipeline.namespace
                yield from ((where, name) for name in _of_test(check.job))


def _of_stage(stage: Stage) -> Iterator[str]:
    if stage.git is not None:
        yield from _names((stage.git.secret,))
    for check in stage.verification.checks:
        yield from _names(_of_check(check))


def _of_check(check: Check) -> Iterator[LocalReference | None]:
    for kind in (check.metric, check.webhook):
        yield kind.secret if kind is not None else None


def _of_test(test: JobCheck) -> Iterator[str]:
    if test.template is not None:
        yield from _of_template(test.template)
    yield from _secrets(sorted(sources_of(test.env)))


def _of_config(config: DeploymentConfig) -> Iterator[str]:
    if config.spec.template is not None:
        yield from _of_template(config.spec.template)
    for hook in declared_hooks(config):
        if hook.exec_new_pod is not None:
            yield from _secrets(sorted(sources_of(hook.exec_new_pod.env)))
    strategy = config.spec.strategy
    if strategy.custom_params is not None:
        yield from _secrets(sorted(sources_of(strategy.custom_params.environment)))


def _of_template(template: PodTemplate) -> Iterator[str]:
    yield from _secrets(sorted(needed_sources(template)))
    yield from _names(template.spec.image_pull_secrets)


def _secrets(sources: Iterable[SourceName]) -> Iterator[str]:
    return (source.name for source in sources if source.kind == SECRET)


def _names(references: Iterable[LocalReference | None]) -> Iterator[str]:
    return (one.name for one in references if one is not None and one.name)
